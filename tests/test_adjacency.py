"""The environment of a pixel: weights, means, and the closed loop over a disc."""

from functools import partial

import numpy as np
import pytest
from scipy.ndimage import convolve
from synthetic import table

from steps.atmosphere.adjacency import counted_in, environment, environment_weights
from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.inversion import aerosol_environment, environment_share, rayleigh_environment
from steps.classification.classes import light_around
from steps.sentinel2.responses import reference_response

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


def test_environment_is_a_convolution():
    random = np.random.default_rng(0)
    reflectance = random.uniform(0, 0.5, (70, 45)).astype("f4")
    counted = random.choice(np.array([0, 0.5, 1], "f4"), reflectance.shape)
    weights = environment_weights(aerosol_environment, PIXEL, 0.9)
    mean = reflectance[counted == 1].mean(dtype="f8")
    expected = mean + convolve(counted * (reflectance - mean), weights, mode="constant")
    result = environment(reflectance, counted, weights, mean)
    np.testing.assert_allclose(result, expected, atol=2e-6)
    assert (environment(reflectance, counted, weights, mean, threads=2) == result).all()


def test_what_sends_up_light():
    """Ground, shadow and cirrus, and clouds; what has no data sends nothing; nothing without ground."""
    classes = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]], "u1")
    np.testing.assert_array_equal(light_around(classes), [[0, 1, 1, 1, 1, 1, 1, 1, -1, -1, 1, 1]])
    assert light_around(np.array([[0, 8, 9, 10]], "u1")) is None


def test_light_of_clouds_counts_by_the_air_above_them():
    """Against profiles that fall exponentially by 8 and 2 km, from 2.5 km up, less the way up that it does not need."""
    air = band_atmosphere(
        table(), reference_response("S2A", "B02"), sun_zenith=45, view_zenith=5, relative_azimuth=100, elevation_km=0,
        aot550=0.3, water_vapour=1.5, ozone=0.3,
    )  # fmt: skip
    light = np.array([[1, 0, -1]], "f4")
    molecules, aerosol = air.rayleigh_diffuse_up, air.aerosol_diffuse_up
    above = (molecules * np.exp(-2.5 / 8) + aerosol * np.exp(-2.5 / 2)) / (molecules + aerosol)
    assert counted_in(light, air)[0] == pytest.approx([1, 0, above * air.transmittance_up], abs=0.005)


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
    plain = np.abs(environment(uniform, clear, weights, uniform.mean()) - around).max()
    assert np.abs(environment(uniform, clear, weights, uniform.mean(), coupling) - around).max() < plain / 5


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
