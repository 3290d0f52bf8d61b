"""The solver against published values, another code, conservation of energy, and plain NumPy."""

import numpy as np
import pytest

from steps.atmosphere.models import AEROSOL_MODELS
from steps.atmosphere.scattering import (
    cos_scattering_angle,
    delta_m,
    legendre_moments,
    rayleigh_phase,
    single_scattering,
)
from steps.atmosphere.solver import _levels, _rayleigh_terms, solve
from steps.atmosphere.tables import aerosol_model, rayleigh_thickness

# Reflectance of a Rayleigh atmosphere of optical thickness 0.1 without depolarisation over a black ground, as published
# by the 6S authors (rtcodes.ltdri.org, benchmark 1; 6SV agrees with the tables of Coulson et al. 1960 within 0.2 %).
# Columns: view zenith; sun zenith 23.0739, 53.1301, 78.4630, each at azimuth 0 (backscatter), 90, 180.
PUBLISHED = np.array(
    [
        [0.0000, 0.03916, 0.03916, 0.03916, 0.04337, 0.04337, 0.04337, 0.08599, 0.08599, 0.08599],
        [11.4783, 0.04235, 0.03922, 0.03634, 0.05057, 0.04384, 0.03865, 0.09709, 0.08786, 0.08458],
        [32.8599, 0.04940, 0.04021, 0.03316, 0.07077, 0.04800, 0.03854, 0.14567, 0.10311, 0.11184],
        [58.6677, 0.06541, 0.04894, 0.04073, 0.11784, 0.06762, 0.06882, 0.28998, 0.16489, 0.23845],
        [78.4630, 0.11842, 0.09388, 0.09387, 0.24472, 0.14393, 0.19590, 0.70246, 0.37921, 0.65075],
    ]
)


def cosine(degrees):
    return np.cos(np.radians(np.atleast_1d(degrees).astype(float)))


def clear(gauss):
    """Moments of a phase function that does not matter."""
    return np.eye(1, 2 * gauss + 1)[0]


def path(solution, single, azimuth):
    modes = np.cos(np.arange(len(solution.multiple)) * np.radians(180 - azimuth))
    return single + modes @ solution.multiple[:, 0, 0]


def test_rayleigh_atmosphere_has_the_published_reflectance(record_property):
    suns = [23.0739, 53.1301, 78.4630]
    s = solve(0.1, 0.0, 1.0, clear(12), cosine(suns), cosine(PUBLISHED[:, 0]), modes=3, dipole=1.0)
    own = np.empty((len(PUBLISHED), 3, 3))
    for i, view in enumerate(PUBLISHED[:, 0]):
        for j, sun in enumerate(suns):
            for k, azimuth in enumerate((0.0, 90.0, 180.0)):
                phase = rayleigh_phase(cos_scattering_angle(sun, view, azimuth), 1.0)
                once = single_scattering(0.1, 0.0, phase, 0.0, cosine(sun)[0], cosine(view)[0])
                own[i, j, k] = once + np.cos(np.arange(3) * np.radians(180 - azimuth)) @ s.multiple[:, i, j]
    own = own.reshape(len(PUBLISHED), 9)
    record_property("reflectance, relative", float(np.abs(own / PUBLISHED[:, 1:] - 1).max()))
    np.testing.assert_allclose(own, PUBLISHED[:, 1:], rtol=1e-3)


def sasktran(rayleigh, aerosol, albedo, moments, sun, view, azimuths):
    """Path reflectance at the azimuths, T_d T_u and S by vector discrete ordinates of sasktran2."""
    sk = pytest.importorskip("sasktran2", reason="the package sasktran2 is not installed")
    config, streams = sk.Config(), 16
    config.num_stokes, config.num_streams, config.num_threads = 3, streams, 1
    config.multiple_scatter_source = sk.MultipleScatterSource.DiscreteOrdinates
    config.num_singlescatter_moments = moments.size
    config.delta_m_scaling = True
    height = np.linspace(0, 100e3, 4001)
    depth = rayleigh * np.exp(-height / 8e3) + aerosol * np.exp(-height / 2e3)
    levels = np.interp(-np.linspace(depth[0], depth[-1], 51), -depth, height)
    levels[0] = 0
    geometry = sk.Geometry1D(
        cosine(sun)[0], 0.0, 6371e3, levels, sk.InterpolationMethod.LowerInterpolation, sk.GeometryType.PlaneParallel
    )
    rays = sk.ViewingGeometry()
    for azimuth in azimuths:
        rays.add_ray(sk.GroundViewingSolar(cosine(sun)[0], np.radians(azimuth) + np.pi, cosine(view)[0], 200e3))
    air, dust = (
        np.append(-np.diff(t * np.exp(-levels / h)) / (1 - np.exp(-levels[-1] / h)) / np.diff(levels), 1e-30)
        for t, h in ((rayleigh, 8e3), (aerosol, 2e3))
    )
    scattering = air + dust * albedo
    share, dipole = air / scattering, (1 - 0.0279) / (1 + 0.0279 / 2)
    greek = np.zeros((4 * moments.size, levels.size))
    greek[0], greek[8], greek[9], greek[11] = np.outer([1, dipole / 2, 3 * dipole, np.sqrt(1.5) * dipole], share)
    greek[::4] += np.outer(moments, 1 - share)
    grounds, wavelengths = np.array([0, 0.3, 0.6]), np.array([500.0, 501, 502])
    atmosphere = sk.Atmosphere(geometry, config, wavelengths_nm=wavelengths, calculate_derivatives=False)
    three = [np.repeat(a[..., None], 3, -1) for a in (air + dust, scattering / (air + dust), greek)]
    atmosphere["air"] = sk.constituent.Manual(*three)
    atmosphere["ground"] = sk.constituent.LambertianSurface(grounds, wavelengths)
    radiance = np.asarray(sk.Engine(config, geometry, rays).calculate_radiance(atmosphere)["radiance"])[..., 0]
    black, grey, bright = radiance.reshape(3, -1) * np.pi / cosine(sun)[0]
    a, b = grey - black, bright - black  # = T r / (1 - S r)
    spherical = (a / 0.3 - b / 0.6) / (a - b)
    return black, (a / 0.3 * (1 - 0.3 * spherical))[0], spherical[0]


@pytest.mark.slow
@pytest.mark.parametrize("wavelength", [0.443, 0.488, 0.67, 0.86, 1.65])
@pytest.mark.parametrize("aot", [0.2, 1.0, 1.6])
def test_solver_agrees_with_sasktran2(wavelength, aot, record_property):
    model, sun, view, azimuths = aerosol_model("continental"), 35.0, 5.0, [0.0, 60.0, 100.0, 180.0]
    i = int(np.argmin(abs(model.wavelength - wavelength)))
    rayleigh, aerosol, albedo = rayleigh_thickness()[i], aot * model.extinction[i], model.albedo[i]
    # The same polynomial of degree 127 is the phase function of both.
    moments = legendre_moments(model.angle, model.phase[i] / total(model, i), 128)[:-1]
    black, transmittance, spherical = sasktran(rayleigh, aerosol, albedo, moments, sun, view, azimuths)
    s = solve(rayleigh, aerosol, albedo, moments[:25], cosine(sun), cosine(view))
    keep = 1 - albedo * delta_m(moments[:25])[1]
    own = []
    for azimuth in azimuths:
        angle = cos_scattering_angle(sun, view, azimuth)
        phase = np.polynomial.legendre.legval(angle, moments) * albedo / keep
        once = single_scattering(
            rayleigh, aerosol * keep, rayleigh_phase(angle), phase, cosine(sun)[0], cosine(view)[0]
        )
        own.append(path(s, once, azimuth))
    both_ways = s.transmittance_down * s.transmittance_up
    record_property("path, relative", float(np.abs(np.array(own) / black - 1).max()))
    record_property("transmittance both ways, relative", float(np.abs(both_ways / transmittance - 1).max()))
    record_property("spherical albedo", float(np.abs(s.spherical_albedo - spherical).max()))
    np.testing.assert_allclose(own, black, rtol=2e-3)  # the bar is 5e-3
    np.testing.assert_allclose(both_ways, transmittance, rtol=2e-4)  # 1e-3
    np.testing.assert_allclose(s.spherical_albedo, spherical, atol=5e-5)  # 1e-4


def total(model, i):
    """Mean of the tabulated phase function over all directions."""
    x, w = np.polynomial.legendre.leggauss(300)
    return w @ np.exp(np.interp(np.degrees(np.arccos(x)), model.angle, np.log(model.phase[i]))) / 2


def test_light_is_conserved_without_absorption():
    x, w = np.polynomial.legendre.leggauss(24)
    suns = 0.5 * (x + 1)
    model = aerosol_model("continental")
    moments = legendre_moments(model.angle, model.phase[6], 24)
    s = solve(0.2, 0.5, 1.0, moments, suns, cosine(0.0), modes=1)
    # What isotropic light from the ground does not lose to the ground, it loses to space.
    assert abs(1 - w @ (suns * s.transmittance_down) - s.spherical_albedo) < 1e-4


def test_transmittance_is_the_same_both_ways():
    model = aerosol_model("urban")
    moments = legendre_moments(model.angle, model.phase[3], 24)
    s = solve(0.2, 0.4, 0.8, moments, cosine([0, 8]), cosine([0, 8]), modes=1)
    np.testing.assert_array_equal(s.transmittance_down, s.transmittance_up)


@pytest.mark.slow
def test_layers_and_angles_are_enough():
    model = aerosol_model("continental")
    for rayleigh, aot, i in ((0.24, 0.3, 2), (0.36, 3.0, 0), (0.016, 1.5, 12)):
        aerosol, albedo = aot * model.extinction[i], model.albedo[i]
        suns, views = cosine([0, 40, 75, 80]), cosine([0, 12])
        coarse, fine = (legendre_moments(model.angle, model.phase[i], n) for n in (24, 40))
        own = solve(rayleigh, aerosol, albedo, coarse, suns, views)
        better = solve(rayleigh, aerosol, albedo, fine, suns, views, layers=120)
        np.testing.assert_allclose(own.transmittance_down, better.transmittance_down, atol=4e-5)
        np.testing.assert_allclose(own.spherical_albedo, better.spherical_albedo, atol=6e-5)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_rayleigh_terms_are_the_fourier_modes_of_the_phase_matrix(mode):
    for mu, other in ((0.3, -0.8), (0.9, 0.2), (-0.5, -0.6)):
        matrix = np.zeros((3, 3))
        for phi in 2 * np.pi * np.arange(8) / 8:
            matrix += phase_matrix(mu, other, phi) * fourier(mode, phi) / 8
        own = _rayleigh_terms(mode, mu, 0.9).T @ _rayleigh_terms(mode, other, 0.9)
        np.testing.assert_allclose(abs(own), abs(matrix), atol=1e-14)  # the sign of U is a convention


def phase_matrix(mu, other, phi):
    """Rayleigh phase matrix for I, Q, U from the projections of the transverse unit vectors (Chandrasekhar I.213)."""
    s, t = np.sqrt(1 - mu**2), np.sqrt(1 - other**2)
    out = np.array([[mu * np.cos(phi), mu * np.sin(phi), -s], [-np.sin(phi), np.cos(phi), 0]])
    into = np.array([[other, 0, -t], [0, 1, 0]])
    (a, b), (c, d) = out @ into.T
    matrix = np.array(
        [
            [(a * a + b * b + c * c + d * d) / 2, (a * a - b * b + c * c - d * d) / 2, a * b + c * d],
            [(a * a + b * b - c * c - d * d) / 2, (a * a - b * b - c * c + d * d) / 2, a * b - c * d],
            [a * c + b * d, a * c - b * d, a * d + b * c],
        ]
    )
    return 1.5 * 0.9 * matrix + 0.1 * np.diag([1, 0, 0])


def fourier(mode, phi):
    """Cosine for even entries of the matrix, sine where one index is U."""
    c, s = np.cos(mode * phi), np.sin(mode * phi)
    return np.array([[c, c, s], [c, c, s], [s, s, c]])


@pytest.mark.parametrize(("rayleigh", "aerosol"), [(0.24, 0.0), (0.24, 0.3), (0.36, 4.0), (0.0, 0.5)])
def test_single_scattering_is_the_sum_over_thin_layers(rayleigh, aerosol):
    for sun, view in ((1.0, 1.0), (0.17, 0.98)):
        x = np.linspace(0, 1, 200_001)
        tau, above = rayleigh * x + aerosol * x**4, aerosol * x**4
        light = np.exp(-(tau[1:] + tau[:-1]) / 2 * (1 / sun + 1 / view))
        source = 1.1 * (np.diff(tau) - np.diff(above)) + 0.7 * np.diff(above)
        expected = np.sum(light * source) / (4 * sun * view)
        assert abs(single_scattering(rayleigh, aerosol, 1.1, 0.7, sun, view) / expected - 1) < 1e-6


def test_levels_hold_both_profiles():
    tau, share = _levels(0.2, 0.6, 400)
    assert tau[0] == 0
    assert abs(tau[-1] - 0.8) < 1e-12
    assert (np.diff(tau) > 0).all()
    aerosol = np.sum((share[1:] + share[:-1]) / 2 * np.diff(tau))
    assert abs(aerosol - 0.6) < 1e-4


def test_delta_m_keeps_the_mean_and_scales_asymmetry():
    g = 0.7
    moments = (2 * np.arange(10) + 1) * g ** np.arange(10)  # Henyey and Greenstein
    scaled, f = delta_m(moments)
    assert abs(f - g**9) < 1e-15
    assert abs(scaled[0] - 1) < 1e-15
    assert abs(scaled[1] / 3 - (g - f) / (1 - f)) < 1e-15


@pytest.mark.slow
@pytest.mark.parametrize("name", AEROSOL_MODELS)
def test_phase_functions_are_complete_but_for_the_forward_peak(name):
    model = aerosol_model(name)
    for i in range(model.wavelength.size):
        assert 0.89 < total(model, i) < 1.001
    assert (np.diff(model.angle) > 0).all()
    assert model.extinction[np.argmin(abs(model.wavelength - 0.55))] == 1
    assert (model.albedo <= 1).all()
