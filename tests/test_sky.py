"""The sky's light on slopes, against single scattering in closed form and another solver's radiance."""

import dataclasses

import numpy as np
import pytest

from steps.atmosphere import sky
from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.scattering import delta_m, legendre_moments
from steps.atmosphere.tables import aerosol_model, rayleigh_thickness
from steps.sentinel2.scene import SpectralResponse

SLOPES = np.radians([0, 10, 25, 45])
TURNS = np.radians([0, 45, 90, 135, 180])


@pytest.fixture(scope="module")
def table() -> LookUpTable:
    """What a look-up table tells of the air, without what it holds of light."""
    model = aerosol_model("continental")
    moments = [legendre_moments(model.angle, phase, 24) for phase in model.phase]
    facts = {
        "aerosol": "continental",
        "wavelength": model.wavelength,
        "extinction": model.extinction,
        "albedo": model.albedo,
        "peak": np.array([delta_m(b)[1] for b in moments]),
        "rayleigh": rayleigh_thickness(),
        "angle": model.angle,
        "log_phase": np.log(model.phase),
    }
    nothing = dict.fromkeys({field.name for field in dataclasses.fields(LookUpTable)} - set(facts))
    return LookUpTable(**facts, **nothing)


def number_of(table, wavelength):
    return int(np.abs(table.wavelength - wavelength).argmin())


def integrated(radiance, normal_slope, turn):
    """Integrate a sky over the directions in view of a slope; radiance is a function of cosine and azimuth."""
    x, w = np.polynomial.legendre.leggauss(200)
    cosine, azimuth = np.meshgrid((x + 1) / 2, 2 * np.pi * np.arange(400) / 400, indexing="ij")
    facing = np.cos(normal_slope) * cosine + np.sin(normal_slope) * np.sqrt(1 - cosine**2) * np.cos(azimuth - turn)
    return float((w[:, None] * radiance(cosine, azimuth) * np.maximum(facing, 0)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("zenith", [20, 60])
def test_thin_air_without_aerosol_is_single_scattering_by_molecules(table, zenith):
    """In the near infrared light is scattered once, but for one or two percent; molecules scatter as 1 + cos^2."""
    sun = np.cos(np.radians(zenith))
    got = sky.sky_of(table, number_of(table, 0.86), zenith, 0.0, 0.0)
    depth = float(table.rayleigh[number_of(table, 0.86)])

    def once(cosine, azimuth):
        angle = cosine * sun + np.sqrt((1 - cosine**2) * (1 - sun**2)) * np.cos(azimuth)
        path = (np.exp(-depth / cosine) - np.exp(-depth / sun)) / (cosine - sun + 1e-9)
        return (1 + angle**2) * path

    level = integrated(once, 0, 0)
    expected = [[integrated(once, s, t) / level for t in TURNS] for s in SLOPES]
    np.testing.assert_allclose(got.on(SLOPES, TURNS), expected, atol=0.03)


def test_level_ground_gets_what_level_ground_gets(table):
    got = sky.sky_of(table, number_of(table, 0.49), 50, 0.2, 0.0)
    np.testing.assert_allclose(got.on(np.zeros(1), TURNS), 1, atol=1e-4)
    assert 0.1 < got.near < 0.4
    assert got.peak > 0


def test_terms_give_back_the_light_they_were_made_from(table):
    """Within 1.3 % of all light on level ground, up to slopes of 45 degrees and a sun at 65."""
    response = SpectralResponse(table.wavelength[5] * 1000, 1.0, (1.0,))
    for zenith in (0, 40, 65):
        low, high = sky.sky_terms(table, response, zenith, 0.2, (0.0, 2.0))
        assert np.abs(low - high).max() > 0.05
        sun = np.cos(np.radians(zenith))
        here = sky.sky_of(table, 5, zenith, 0.2, 0.0)
        share = (here.peak + here.level) / (here.peak + here.level + np.exp(-0.45 / sun))
        slope, turn = SLOPES[:, None], TURNS
        incidence = np.cos(slope) * sun + np.sin(slope) * np.sqrt(1 - sun**2) * np.cos(turn)
        u, v = incidence - np.cos(slope) * sun, 1 - np.cos(slope)
        near, *b = low
        got = near * np.maximum(incidence, 0) / sun + 1 - near
        got = got + b[0] * u + b[1] * v + b[2] * u**2 + b[3] * u * v + b[4] * v**2
        error = np.abs(got - here.on(SLOPES, TURNS)) * share
        assert error.max() < 0.013
        assert error.mean() < 0.004


@pytest.mark.slow
@pytest.mark.parametrize(("zenith", "aot550"), [(45.0, 0.3), (65.0, 0.1)])
def test_light_is_that_of_the_sky_of_sasktran2(table, zenith, aot550):
    """The simulator's sky, by a solver that shares nothing with ours, integrated over the hemisphere in view."""
    pytest.importorskip("sasktran2")
    from steps.simulation.scattering import WAVELENGTHS
    from steps.simulation.sky import SLOPES as GIVEN
    from steps.simulation.sky import TURNS as AROUND
    from steps.simulation.sky import sky as other

    theirs = other(zenith, {"continental": 1.0}, aot550)
    for wavelength in (0.488, 0.67, 0.86):
        number = number_of(table, wavelength)
        after = int(WAVELENGTHS.searchsorted(table.wavelength[number]))
        share = (table.wavelength[number] - WAVELENGTHS[after - 1]) / (WAVELENGTHS[after] - WAVELENGTHS[after - 1])
        near, far = ((1 - share) * light[after - 1] + share * light[after] for light in (theirs.near, theirs.far))
        ours = sky.sky_of(table, number, zenith, aot550, 0.0)
        got = ours.on(np.radians(GIVEN[:5]), np.radians(AROUND))
        np.testing.assert_allclose(got, (near + far)[:5], atol=0.025)
        assert np.abs(got - (near + far)[:5]).mean() < 0.006
        assert ours.near == pytest.approx(near[0, 0], abs=0.04)
