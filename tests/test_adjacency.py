"""The environment of a pixel: weights, means, and the closed loop over a disc."""

from functools import partial

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import convolve
from synthetic import SyntheticScene, table

from steps.atmosphere.adjacency import counted_in, environment, environment_weights, surroundings
from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.inversion import (
    aerosol_environment,
    environment_share,
    rayleigh_environment,
    surface_reflectance,
)
from steps.atmosphere.scene import WholeTile
from steps.classification.classes import light_around
from steps.core.rasters import write
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import TOA
from steps.sentinel2.responses import reference_response
from steps.water_vapour import _scene_means

PIXEL = 0.06


@pytest.mark.parametrize("share", [rayleigh_environment, aerosol_environment])
def test_weights_follow_the_share_of_light(share):
    weights = environment_weights(share, PIXEL, 6.0)
    half = weights.shape[0] // 2
    distance = np.hypot(*np.meshgrid(*[PIXEL * np.arange(-half, half + 1)] * 2))
    assert weights.sum() == pytest.approx(share(6.0), abs=1e-9)
    assert weights.min() >= 0
    for radius in (0.3, 1.0, 3.0):
        assert weights[distance <= radius].sum() == pytest.approx(share(radius), abs=0.01)


def everywhere(reflectance, counted, half):
    """Return the image with `half` pixels more at each edge and ground where there is none, cell by cell in NumPy."""
    size, (rows, columns) = half // 10, reflectance.shape
    cells = np.full((-(-rows // size), -(-columns // size)), np.nan)
    for i, j in np.ndindex(cells.shape):
        cell = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
        if (counted[cell] == 1).any():
            cells[i, j] = reflectance[cell][counted[cell] == 1].mean()
    known = np.argwhere(~np.isnan(cells))
    for cell in np.argwhere(np.isnan(cells)):
        cells[tuple(cell)] = cells[tuple(known[np.hypot(*(known - cell).T).argmin()])]
    middles = [size * (np.arange(n) + 0.5) - 0.5 for n in cells.shape]
    places = [np.clip(np.arange(-half, n + half), *m[[0, -1]]) for n, m in zip(reflectance.shape, middles, strict=True)]
    result = RegularGridInterpolator(middles, cells)(tuple(np.meshgrid(*places, indexing="ij")))
    result[half:-half, half:-half] += counted * (reflectance - result[half:-half, half:-half])
    return result


def test_environment_is_a_convolution_over_ground_that_goes_on():
    random = np.random.default_rng(0)
    reflectance = random.uniform(0, 0.5, (68, 45)).astype("f4")
    counted = random.choice(np.array([0, 0.5, 1], "f4"), reflectance.shape, p=[0.2, 0.2, 0.6])
    counted[:, 20:30] = 0  # two cells, with one that is nearest to each
    weights = environment_weights(aerosol_environment, PIXEL, 3.0)
    mean, half = reflectance[counted == 1].mean(dtype="f8"), weights.shape[0] // 2
    anomaly = everywhere(reflectance, counted, half) - mean
    expected = mean + convolve(anomaly, weights, mode="constant")[half:-half, half:-half]
    result = environment(reflectance, counted, weights, mean)
    np.testing.assert_allclose(result, expected, atol=2e-6)
    assert (environment(reflectance, counted, weights, mean, threads=2) == result).all()


def test_coast_goes_on_beyond_the_edge_and_under_what_is_not_seen():
    """A part of a coast has the surroundings of the whole, to a fifth of what the scene's mean would make there."""
    coast = np.full((320, 300), 0.02, "f4")
    coast[:, 130:] = 0.4
    part, every = np.s_[120:200], np.ones(coast.shape, "f4")
    weights, mean = environment_weights(aerosol_environment, PIXEL, 6.0), float(coast.mean())
    seen = every.copy()
    seen[:120] = 0
    expected = environment(coast, every, weights, mean)[part]
    cut = environment(coast[part], every[part], weights, mean)
    unseen = environment(coast * seen, seen, weights, mean)[part]
    by_mean = environment(np.where(seen > 0, coast, np.float32(mean)), every, weights, mean)[part]
    for found in (cut, unseen):
        assert np.abs(found - expected).max() < np.abs(by_mean - expected).max() / 5


def test_what_sends_up_light():
    """Ground, shadow and cirrus, and clouds; what has no data sends nothing; nothing without ground."""
    classes = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]], "u1")
    np.testing.assert_array_equal(light_around(classes), [[0, 1, 1, 1, 1, 1, 1, 1, -1, -1, 1, 1]])
    assert light_around(np.array([[0, 8, 9, 10]], "u1")) is None


def test_light_of_clouds_counts_by_the_air_above_them():
    """Against profiles that fall exponentially by 8 and 2 km, from 2.5 km up."""
    air = band_atmosphere(
        table(), reference_response("S2A", "B02"), sun_zenith=45, view_zenith=5, relative_azimuth=100, elevation_km=0,
        aot550=0.3, water_vapour=1.5, ozone=0.3,
    )  # fmt: skip
    light = np.array([[1, 0, -1]], "f4")
    molecules, aerosol = air.rayleigh_diffuse_up, air.aerosol_diffuse_up
    above = (molecules * np.exp(-2.5 / 8) + aerosol * np.exp(-2.5 / 2)) / (molecules + aerosol)
    assert counted_in(light, air)[0] == pytest.approx([1, 0, above], abs=0.005)


def test_mean_of_the_scene_is_that_of_its_numbers(tmp_path):
    """What a part of a tile takes from the whole makes of it the surroundings that the whole makes by itself."""
    scene = SyntheticScene(tmp_path, 60, 50, sun_zenith=55)
    random = np.random.default_rng(4)
    classes = random.choice(np.array([0, 2, 3, 4, 9], "u1"), scene.grid.at(60).shape, p=[0.1, 0.1, 0.1, 0.5, 0.2])
    stored = np.where(classes == 9, 7000, random.integers(1300, 1800, classes.shape))
    stored = np.where(classes == 0, 0, stored).astype("u2")
    write(tmp_path / "toa.tif", TOA, scene.grid.at(60), {"B02": stored})
    air = np.full(classes.shape, 200, "u2")
    means = _scene_means(tmp_path / "toa.tif", classes, np.zeros(1), air, np.full(1, 1.5))
    tile = WholeTile(table(), scene.scene, AngleGrid(scene.angles), means)
    middle = tile.middle("B02")
    uniform = surface_reflectance(stored * 1e-4 - 0.1, middle).astype("f4")
    counted = counted_in(light_around(classes), middle)
    by_itself, by_numbers = (
        surroundings(uniform, counted, middle, PIXEL, 1.2, mean) for mean in (None, tile.far_away("B02", middle))
    )
    np.testing.assert_allclose(by_numbers, by_itself, rtol=1e-4, atol=1e-6)


def test_contrast_that_the_uniform_inversion_lost():
    """Over small contrasts: true reflectance -> signal -> uniform inversion -> the true environment again."""
    random = np.random.default_rng(0)
    truth = (0.2 + random.uniform(-0.01, 0.01, (64, 80))).astype("f4")
    clear, q, albedo = np.ones(truth.shape, bool), 0.4, 0.15
    weights = environment_weights(aerosol_environment, PIXEL, 0.6)
    weights /= weights.sum()  # or else the mean of the scene at the edges matters
    around = environment(truth, clear, weights, truth.mean())
    signal = (truth + q * around) / (1 - albedo * around)
    uniform = signal / (1 + q + albedo * signal)
    coupling = (q + albedo * 0.2) / (1 - albedo * 0.2)
    inside = np.s_[10:-10, 10:-10]  # what goes on beyond the edges has other contrast
    plain, found = (environment(uniform, clear, weights, uniform.mean(), q)[inside] for q in (0, coupling))
    assert np.abs(found - around[inside]).max() < np.abs(plain - around[inside]).max() / 5


def test_weights_wider_than_the_scene():
    weights = environment_weights(rayleigh_environment, PIXEL, 20.0)
    reflectance = np.full((5, 9), 0.2, "f4")
    np.testing.assert_allclose(environment(reflectance, reflectance > 0, weights, 0.2), 0.2, atol=1e-6)


def test_middle_of_a_disc():
    """A dark disc in bright land: its middle sees the share of light that the environment function says."""
    half = 120
    distance = np.hypot(*np.meshgrid(*[PIXEL * np.arange(-half, half + 1)] * 2))

    class Atmosphere:
        rayleigh_diffuse_up, aerosol_diffuse_up = 0.05, 0.1

    share = partial(environment_share, atmosphere=Atmosphere)
    for radius in (0.3, 1.0, 3.0):
        reflectance = np.where(distance <= radius, 0.05, 0.4).astype("f4")
        mean = reflectance.mean()
        result = environment(reflectance, reflectance > 0, environment_weights(share, PIXEL, 6.0), mean)
        expected = 0.05 * share(radius) + 0.4 * (share(6.0) - share(radius)) + mean * (1 - share(6.0))
        assert result[half, half] == pytest.approx(expected, abs=0.005)
