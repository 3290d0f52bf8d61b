"""Noise and calibration against ESA's Radiometric Uncertainty Tool: `pip install --no-deps s2-rut-python`."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_uncertainty import IRRADIANCE

from steps.atmosphere.uncertainty import CALIBRATION, NOISE, noise_variance
from steps.sentinel2.scene import Band

SUN_ZENITH = 40.0
REFLECTANCES = (0.05, 0.2, 0.4)
#: What all pixels of a band share; the tool names drift of the diffuser and systematic straylight together.
SHARED = ("u_gamma", "u_diff", "u_stray_xtalk", "u_sys")


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
    squares = sum(parts[name] ** 2 for name in SHARED if name != "u_sys") + ageing**2 + straylight**2
    # Crosstalk is a constant, which counts in the dark: at the brightest it does not.
    assert np.sqrt(squares[-1]) / REFLECTANCES[-1] == pytest.approx(CALIBRATION[band], rel=0.1)


@pytest.mark.parametrize("band", NOISE)
def test_noise_is_at_least_that_of_the_tool(band, tool):
    """The requirement is met with a reserve: the noise is 0.4 to 0.8 of it, in B01, of 60 m, a tenth."""
    parts, resampled = tool(band)
    constant, slope = noise_variance(band, Band(0, IRRADIANCE[band], None), SUN_ZENITH, 1.0)
    ours = np.sqrt(constant + slope * np.array(REFLECTANCES))
    ratio = parts["u_noise"] / resampled / ours
    print(f"{band}: noise of the tool by ours {np.round(ratio, 2)}")  # noqa: T201
    assert np.all(ratio > 0.05)
    assert np.all(ratio < 1)
