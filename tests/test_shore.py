"""Water: its shore by shares that are known, and shadows of clouds that look like it or fall on snow."""

import numpy as np
import pytest
from scipy import ndimage

from steps.classification import cloud_shadow
from steps.classification.shore import shore_is_water
from steps.scene_classification import classify_scene
from steps.sentinel2.bands import STACK_BANDS

SUN, VIEW = (45.0, 150.0), {"view_zenith": 8, "view_azimuth": 290}
#: Reflectance in STACK_BANDS order: land, clear water, and flood water with some 100 mg/l of sediment under haze.
FIELD = (0.12, 0.08, 0.08, 0.06, 0.11, 0.24, 0.28, 0.32, 0.10, 0.001, 0.22, 0.12)
DARK_FOREST = (0.11, 0.075, 0.06, 0.035, 0.05, 0.11, 0.13, 0.14, 0.05, 0.001, 0.07, 0.03)
LAKE = (0.13, 0.10, 0.07, 0.04, 0.035, 0.03, 0.028, 0.025, 0.01, 0.001, 0.012, 0.008)
FLOOD = (0.15, 0.14, 0.145, 0.15, 0.14, 0.10, 0.10, 0.07, 0.02, 0.001, 0.02, 0.01)
SNOW = (0.80, 0.78, 0.76, 0.76, 0.75, 0.74, 0.73, 0.70, 0.40, 0.003, 0.12, 0.10)
CLOUD = (0.55, 0.52, 0.50, 0.49, 0.50, 0.51, 0.52, 0.53, 0.30, 0.010, 0.45, 0.38)
SOIL = (0.13, 0.11, 0.13, 0.17, 0.19, 0.21, 0.23, 0.25, 0.10, 0.002, 0.33, 0.28)
#: What the simulator makes of fields, soil and snow in the shadow of a cloud: the last two resemble water.
SHADED_FIELD = (0.11, 0.095, 0.066, 0.041, 0.050, 0.078, 0.083, 0.086, 0.030, 0.001, 0.033, 0.016)
SHADED_SOIL = (0.12, 0.108, 0.074, 0.054, 0.053, 0.052, 0.052, 0.051, 0.018, 0.001, 0.025, 0.018)
SHADED_SNOW = (0.33, 0.299, 0.222, 0.172, 0.160, 0.140, 0.130, 0.122, 0.050, 0.001, 0.006, 0.006)


def bands_of(spectra):
    return {name: np.ascontiguousarray(spectra[..., i], "f4") for i, name in enumerate(STACK_BANDS)}


@pytest.mark.slow
@pytest.mark.parametrize("land", [FIELD, DARK_FOREST])
@pytest.mark.parametrize("water", [LAKE, FLOOD])
def test_water_is_found_up_to_its_shore(land, water, record_property):
    """A landscape of lakes and islands, of which each pixel holds a share that is counted in 8x8 parts of it."""
    rng = np.random.default_rng(4)
    height = ndimage.gaussian_filter(rng.normal(size=(960, 960)), 40)
    share = (height < np.quantile(height, 0.3)).reshape(120, 8, 120, 8).mean(axis=(1, 3))
    spectra = share[..., None] * np.array(water) + (1 - share[..., None]) * np.array(land)
    spectra *= rng.lognormal(0, 0.02, (120, 120, 1)) * rng.lognormal(0, 0.005, (120, 120, 12))
    scl = classify_scene(bands_of(spectra), 20, *SUN, mode="improved", **VIEW)[0]
    wet = scl == 6
    record_property("more than half water: found, share", float(wet[share > 0.5].mean()))
    record_property("less than half water: false, share", float(wet[share < 0.5].mean()))
    assert wet[share > 0.5].mean() > 0.95
    assert wet[share < 0.5].mean() < 0.01
    mixed = (share > 0.7) & (share < 1)
    assert wet[mixed].mean() > 0.9


def test_forest_by_a_lake_stays():
    """As dark as if it were mostly water, but it goes on behind the shore."""
    scl = np.full((20, 30), 4, "u1")
    scl[:, :10] = 6
    b8a, b11 = np.full((2, 20, 30), 0.1, "f4")
    b8a[:, :10] = b11[:, :10] = 0.02
    expected = scl.copy()
    shore_is_water(scl, b8a, b11)
    np.testing.assert_array_equal(scl, expected)
    b8a[:, 10], b11[:, 10] = 0.04, 0.05  # three quarters, and five eighths
    shore_is_water(scl, b8a, b11)
    expected[:, 10] = 6
    np.testing.assert_array_equal(scl, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ground", "shaded", "share"), [(SOIL, SHADED_SOIL, 0.5), (SNOW, SHADED_SNOW, 0.5), (SNOW, SHADED_SNOW, 0.0)]
)
def test_shadows_that_look_like_water(ground, shaded, share):
    """Among a share of fields, or where there is nothing but snow; a lake is water on."""
    rng = np.random.default_rng(6)
    noise = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 8)
    cloud = noise > np.quantile(noise, 0.88)
    move = np.rint(1200 * np.array(cloud_shadow.displacement(*SUN, *VIEW.values())) / 20)
    shade = ndimage.shift(cloud.astype("u1"), move, order=0) == 1
    fields = (rng.random((10, 10)) < share).repeat(40, 0).repeat(40, 1)
    lake = np.zeros(cloud.shape, np.bool_)
    lake[330:, 150:330] = True
    kind = np.where(cloud, 5, np.where(lake, 4, 2 * fields + shade))
    spectra = np.array((ground, shaded, FIELD, SHADED_FIELD, LAKE, CLOUD))[kind]
    spectra *= rng.lognormal(0, 0.04, (400, 400, 1)) * rng.lognormal(0, 0.005, (400, 400, 12))
    toa = bands_of(spectra)
    alone = np.broadcast_to(np.array(shaded), (20, 20, 12))
    assert (classify_scene(bands_of(alone), 20, *SUN)[0] == 6).all()
    scl = classify_scene(toa, 20, *SUN, mode="improved", **VIEW)[0]
    assert (scl[(kind == 1) | (kind == 3)] == 3).mean() > 0.8
    assert (scl[(kind == 0) | (kind == 2)] == 3).mean() < 0.03
    assert (scl[lake & ~cloud] == 6).mean() > 0.95
