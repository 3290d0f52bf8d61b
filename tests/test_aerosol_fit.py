"""Aerosol from the ground: the prior of surface reflectance, samples of the ground, and the fit of the thickness."""

from functools import partial

import numpy as np
import pytest
from equations import adjacent_reflectance
from scipy.stats import lognorm, multivariate_normal
from synthetic import table

from steps.atmosphere import aerosol_fit
from steps.atmosphere.adjacency import environment, environment_weights
from steps.atmosphere.aerosol_fit import Thickness, fit_thickness
from steps.atmosphere.aerosol_scene import AOT_NODES, Samples, _sample, limit_of
from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.ground_samples import KINDS, drop_bright_water, kinds_of_ground, sample_means
from steps.atmosphere.inversion import environment_share, surface_reflectance, toa_reflectance
from steps.atmosphere.scene import Coefficients
from steps.atmosphere.surface_prior import BANDS, SHIFT, log_density, surface_prior
from steps.core import rasters
from steps.core.rasters import Grid
from steps.sentinel2.kinds import TOA
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene_classes import CLOUD_HIGH, SNOW, SOIL, VEGETATION, WATER

NODES = np.linspace(0.01, 1, 34)


def density(reflectance):
    result = np.empty(len(reflectance))
    log_density(np.asarray(reflectance, "f8"), surface_prior(), result)
    return result


def test_density_is_that_of_scipy():
    prior = surface_prior()
    random = np.random.default_rng(1)
    reflectance = random.uniform(0, 0.5, (50, len(BANDS)))
    covariance = np.linalg.inv(np.swapaxes(prior.whitening, 1, 2) @ prior.whitening)
    scale = np.exp(prior.log_scale) / np.sqrt(np.linalg.det(2 * np.pi * covariance)) ** -1
    expected = sum(
        w * multivariate_normal.pdf(np.log(reflectance + SHIFT), m, c)
        for w, m, c in zip(scale, prior.mean, covariance, strict=True)
    ) / np.prod(reflectance + SHIFT, axis=1)
    assert scale.sum() == pytest.approx(1, abs=1e-6)
    likely = expected > 0
    assert likely.any()
    np.testing.assert_allclose(np.exp(density(reflectance))[likely], expected[likely], rtol=1e-6)


def test_less_than_black_is_unlikely_and_more_so_the_darker():
    forest = np.array([0.011, 0.0145, 0.03, 0.019, 0.055, 0.25, 0.11, 0.038])
    darker = forest - np.outer([0, 0.015, 0.03, 0.06], [1, 1, 0.5, 1, 0, 0, 0, 0])
    assert (np.diff(density(darker)) < -5).all()
    assert np.isnan(density([[np.nan] * len(BANDS)])[0])


def test_kinds_of_ground_of_one_pixel_each():
    red = np.array([[1300, 1500, 2000, 2200, 1300, 1300, 0, 1300]], "u2")
    nir = np.array([[4000, 5000, 4000, 2900, 1100, 4000, 4000, 4000]], "u2")
    dark = np.array([[1, 0, 0, 0, 0, 1, 1, 1]], "u1")
    classes = np.array([[VEGETATION, VEGETATION, SOIL, SOIL, WATER, CLOUD_HIGH, VEGETATION, VEGETATION]], "u1")
    # Three pixels of each, of which the middle one is looked at: water is a sample amid water only.
    red, nir, dark, classes = (np.repeat(values, 3, axis=1) for values in (red, nir, dark, classes))
    near = np.zeros(red.shape, bool)
    near[0, 21:] = True
    result = np.empty(red.shape, "u1")
    for cosine, level in ((0.7, 0.7), (0.66, 0.7)):
        kinds_of_ground(red, nir, dark, classes, near, 1, np.full(red.shape, 1e4 * cosine, "i2"), level, result)
        assert result[0, 1::3].tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
    for cosine, level in ((0.6, 0.7), (0.8, 0.7), (0.2, 0.2)):  # slopes away from the sun and to it, hardly any light
        kinds_of_ground(red, nir, dark, classes, near, 1, np.full(red.shape, 1e4 * cosine, "i2"), level, result)
        assert result[0, 1::3].tolist() == [0, 0, 0, 0, 5, 0, 0, 0]


def test_samples_of_water_have_no_shore_and_no_boat():
    """Lakes with ragged shores, seen as means of 80 m of which most that is called water has a part of the shore.

    One lake is in strong glint.
    """
    from scipy.ndimage import gaussian_filter

    shape = (96, 96)
    wet = gaussian_filter(np.random.default_rng(4).normal(size=(8 * 96, 8 * 96)), 30) > 0.005
    share = wet.reshape(96, 8, 96, 8).mean((1, 3))
    red, swir = (np.rint(1e4 * (0.1 + 0.02 * share + shore * (1 - share))).astype("u2") for shore in (0.1, 0.3))
    boat = tuple(np.argwhere(share == 1)[50])
    swir[boat] += 100
    lost = tuple(np.argwhere(share == 1)[90])
    swir[lost] = 0
    row, column = np.unravel_index((share == 1).reshape(6, 16, 6, 16).sum((1, 3)).argmax(), (6, 6))
    glinting = slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)
    swir[glinting] += 400
    classes = np.where(share > 0.5, WATER, SOIL).astype("u1")
    result = np.empty(shape, "u1")
    unlit, near = np.zeros(shape, "i2"), np.zeros(shape, bool)
    nir = np.maximum(swir, 1)
    kinds_of_ground(red, nir, np.zeros(shape, "u1"), classes, near, 1, unlit, 0.7, result)
    drop_bright_water(swir, result, 16)
    taken = result == KINDS.index("water") + 1
    assert share[classes == WATER].mean() < 0.98  # else there is nothing to show
    assert taken.sum() > 300
    assert not taken[boat]
    assert not taken[glinting].any()
    assert (share[taken] > 0.985).all()
    assert share[taken].mean() > 0.999


def test_dark_ground_limits_the_thickness_unless_it_is_odd():
    """Air whose path reflectance is a tenth of the thickness, over ground that is darker in four cells and in one."""
    toa = np.full((len(BANDS), 1, 8, 8), 0.12)
    toa[..., 4:6, 4:6] = 0.035
    toa[..., 1, 1] = 0.02
    clear = np.zeros(64)
    air = [[Coefficients(clear + 0.1 * node, clear + 1, clear, clear)] * len(BANDS) for node in AOT_NODES]
    samples = Samples(toa, toa, np.ones((1, 8, 8), int), np.zeros(0), 0.0, 0.0)
    limit = limit_of(samples, air, lambda function, items, *shared: [function(item, *shared) for item in items])
    below = [AOT_NODES[highest >= AOT_NODES].max() for highest in (1.2, 0.35)]
    expected = np.full((8, 8), below[0])
    expected[4:6, 4:6] = below[1]
    np.testing.assert_array_equal(limit, expected)


def test_no_ground_beside_snow():
    """A forest and one pixel of snow, which the forest around it is no sample."""
    red, nir = np.full((9, 9), 1300, "u2"), np.full((9, 9), 4000, "u2")
    red[4, 4] = nir[4, 4] = 9000
    classes = np.where(red == 9000, SNOW, VEGETATION).astype("u1")
    result = np.empty(red.shape, "u1")
    near, lit = np.zeros(red.shape, bool), np.full(red.shape, 7000, "i2")
    kinds_of_ground(red, nir, np.zeros(red.shape, "u1"), classes, near, 1, lit, 0.7, result)
    assert (result[2:7, 2:7] == 0).all()
    result[2:7, 2:7] = 2
    assert (result == 2).all()


@pytest.mark.parametrize("band", ["B01", "B04"])
def test_samples_amid_snow_are_as_dark_as_they_are(tmp_path, band):
    """Forest and snow in equal parts, seen through known air: what the sample and its surroundings are inverted to."""
    air = band_atmosphere(
        table(), reference_response("S2A", band), sun_zenith=60, view_zenith=5, relative_azimuth=100, elevation_km=0,
        aot550=0.1, water_vapour=1.5, ozone=0.3,
    )  # fmt: skip
    forest = np.kron(np.random.default_rng(3).random((24, 24)) < 0.5, np.ones((6, 6), bool))
    surface = np.where(forest, 0.03, 0.85).astype("f4")
    counted = np.ones(surface.shape, "f4")
    weights = environment_weights(partial(environment_share, atmosphere=air), 0.08, 6.0)
    surroundings = environment(surface, counted, weights, surface.mean())
    stored = np.rint((toa_reflectance(surface, air, surroundings) + 0.1) * 1e4).astype("u2")
    rasters.write(tmp_path / "stack.tif", TOA, Grid(32631, 0, 0, 80, *stored.shape[::-1]), {band: stored})
    kinds = np.where(forest, 2, 0).astype("u1")
    seen, around, _ = _sample((band, air), tmp_path / "stack.tif", kinds, counted, 16)
    found = adjacent_reflectance(seen[1], air, surface_reflectance(around[1], air))
    np.testing.assert_allclose(found[2:-2, 2:-2], 0.03, atol=0.001)
    np.testing.assert_allclose(found, 0.03, atol=0.002)  # what lies beyond the edge is not known


def test_means_of_samples_are_those_of_numpy():
    random = np.random.default_rng(2)
    values, kinds = random.uniform(size=(70, 45)), random.integers(0, 3, (70, 45)).astype("u1")
    mean, count = sample_means(values, kinds, 2, 16)
    assert mean.shape == count.shape == (2, 5, 3)
    for kind, i, j in np.ndindex(mean.shape):
        part = np.s_[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        chosen = values[part][kinds[part] == kind + 1]
        assert count[kind, i, j] == chosen.size
        assert mean[kind, i, j] == pytest.approx(chosen.mean())
    assert np.isnan(sample_means(values, np.zeros_like(kinds), 1, 16)[0]).all()


def gaussian(mean, spread):
    """A likelihood in the form of a normal distribution, shape (nodes, ...)."""
    return -0.5 * ((NODES.reshape(-1, *(1,) * np.ndim(mean)) - mean) / spread) ** 2


def test_one_sample_and_what_was_expected_meet_by_their_precisions(monkeypatch):
    """A cell by itself: of two lognormal distributions the logarithms have the sum of their precisions."""
    monkeypatch.setattr(aerosol_fit, "ODD", 1e-12)
    monkeypatch.setattr(aerosol_fit, "INDEPENDENT", 1.0)
    monkeypatch.setattr(aerosol_fit, "NEIGHBOURHOODS", ((None, (0, 0)),))
    one = np.ones((1, 1))
    expected = Thickness(0.3 * one, 0.1 * one)
    prior, spread = lognorm.interval(0.6827, *_of(0.3, 0.1)), 0.25
    middle, width = np.log(prior).mean(), np.diff(np.log(prior)).item() / 2
    sample = -0.5 * ((np.log(NODES) - np.log(0.5)) / spread) ** 2
    found = fit_thickness(NODES, sample[:, None, None, None] * one, one[None], *[((1e-3, 0),)] * 2, expected, 1.28)
    precision = width**-2 + spread**-2
    both = (middle / width**2 + np.log(0.5) / spread**2) / precision
    assert found.aot550.item() == pytest.approx(np.exp(both + 0.5 / precision), abs=2e-3)
    assert found.uncertainty.item() == pytest.approx(np.exp(both) / np.sqrt(precision), rel=0.04)


def _of(mean, deviation):
    """Shape, location and scale of SciPy's lognormal distribution of a mean and a standard deviation."""
    shape = np.sqrt(np.log1p((deviation / mean) ** 2))
    assert lognorm.stats(shape, 0, mean / np.exp(shape**2 / 2)) == pytest.approx((mean, deviation**2))
    return shape, 0, mean / np.exp(shape**2 / 2)


def test_a_cell_without_a_sample_takes_after_its_neighbours():
    """Hazy in the west, clear in the east, with a gap in each half, and no sample of the other kind anywhere."""
    truth = np.where(np.arange(60) < 30, 0.5, 0.2) * np.ones((60, 1))
    there = np.zeros((2, 60, 60))
    there[0] = 1
    there[0, 20:24, 10:14] = there[0, 20:24, 46:50] = 0
    likelihood = np.full((NODES.size, *there.shape), np.nan)
    likelihood[:, 0] = gaussian(truth, 0.03)
    expected = Thickness(np.full(truth.shape, 0.3), np.full(truth.shape, 0.15))
    found = fit_thickness(NODES, likelihood, there, *[((0.01, 0.08),) * 2] * 2, expected, 1.28)
    in_gaps = found.aot550[22, [12, 48]], found.uncertainty[22, [12, 48]]
    np.testing.assert_allclose(in_gaps[0], truth[22, [12, 48]], atol=0.06)
    assert (in_gaps[1] > 1.1 * found.uncertainty[22, [4, 56]]).all()


def test_vegetation_tells_how_cells_differ_and_the_mean_stays():
    """Aerosol in waves of 12 km, vegetation that tells 0.03 too much everywhere, and soil with a pattern of its own."""
    rows, columns = np.indices((40, 40)) * 1.28
    truth = 0.3 + 0.04 * np.sin(2 * np.pi * rows / 12) * np.sin(2 * np.pi * columns / 12)
    fields = 0.3 + 0.2 * np.sign(np.sin(2 * np.pi * (rows + columns) / 5))
    there = np.ones((2, *truth.shape))
    likelihood = np.stack([gaussian(truth + 0.03, 0.02), gaussian(fields, 0.05)], axis=1)
    expected = Thickness(np.full(truth.shape, 0.25), np.full(truth.shape, 0.1))
    errors = ((0.01, 0.08), (0.3, 0.4))
    found = fit_thickness(NODES, likelihood, there, errors, ((0.02, 0.05),), expected, 1.28)
    without = fit_thickness(NODES, likelihood, there, errors, (), expected, 1.28)
    wrong = found.aot550 - truth, without.aot550 - truth
    assert wrong[0].mean() == pytest.approx(wrong[1].mean(), abs=2e-3)
    assert wrong[0].std() < 0.65 * wrong[1].std()
    assert (found.uncertainty > abs(wrong[0].mean())).all()


def test_what_the_prior_does_not_know_counts_little():
    """One cell that says 0.9 with certainty among many that say 0.2."""
    truth, one = np.full((20, 20), 0.2), np.ones((1, 20, 20))
    truth[10, 10] = 0.9
    expected = Thickness(np.full(truth.shape, 0.2), np.full(truth.shape, 0.1))
    found = fit_thickness(NODES, gaussian(truth, 0.03)[:, None], one, *[((0.01, 0.08),)] * 2, expected, 1.28)
    assert abs(found.aot550[10, 10] - 0.2) < 0.05


def test_without_any_sample_it_is_what_was_expected():
    expected = Thickness(np.full((9, 9), 0.3), np.full((9, 9), 0.05))
    nothing = np.full((NODES.size, len(KINDS), 9, 9), np.nan)
    found = fit_thickness(
        NODES, nothing, np.zeros((len(KINDS), 9, 9)), *[((0.01, 0.1),) * len(KINDS)] * 2, expected, 1.28
    )
    np.testing.assert_allclose(found.aot550, 0.3, atol=0.01)
    assert (found.uncertainty >= 0.05).all()
