"""Successive orders of scattering in a plane-parallel atmosphere of molecules and aerosol.

The source function of an order follows from the radiance of the order before, and is integrated along straight lines
through layers in which it is linear in optical depth (Lenoble et al. 2007, JQSRT 107, 479). Azimuth is a Fourier
series. Molecular scattering is polarised (Stokes I, Q, U), aerosol scattering is not. Radiance is in units of
reflectance, pi L / (mu_s F_s). All sun directions are solved at once, and the view directions are extra nodes of the
angular grid with no weight. No result depends on a linear algebra library or on the number of threads.
"""

from dataclasses import dataclass
from math import cos, exp, pi, sqrt

import numpy as np

from steps.atmosphere.scattering import DIPOLE, HEIGHT_RATIO, delta_m
from steps.core.compiled import helper, njit

#: Orders of scattering at most, and the largest increment of any result that is neglected.
MAX_ORDER = 200
NEGLIGIBLE = 2e-7


@dataclass(frozen=True)
class Solution:
    """Scattering properties of an atmosphere without gas absorption, over a black ground.

    Attributes
    ----------
    multiple
        Shape (modes, views, suns): Fourier coefficients of the reflectance of light scattered twice and more; the
        reflectance is the sum over m of multiple[m] cos(m (180 - relative azimuth)).
    transmittance_down, transmittance_up
        Direct and diffuse, for each sun and each view direction.
    spherical_albedo
        Share of isotropic light from the ground that the atmosphere sends back.
    sky
        Shape (modes, Gauss angles, suns): Fourier coefficients of the radiance of the sky at the ground, in the order
        of NumPy's Gauss quadrature over the cosine of the zenith angle from 0 to 1; the radiance is the sum over m of
        sky[m] cos(m azimuth from the sun). The forward peak that delta-M takes away is not in it.
    """

    multiple: np.ndarray
    transmittance_down: np.ndarray
    transmittance_up: np.ndarray
    spherical_albedo: float
    sky: np.ndarray


def solve(
    rayleigh: float,
    aerosol: float,
    albedo: float,
    moments: np.ndarray,
    sun_cosines: np.ndarray,
    view_cosines: np.ndarray,
    *,
    modes: int = 4,
    layers: int | None = None,
    dipole: float = DIPOLE,
) -> Solution:
    """Solve one atmosphere at one wavelength.

    The error of a finite number of layers goes with its inverse square, so it is taken out by solving twice, with
    the full and with half the number, and extrapolating (Richardson).

    Parameters
    ----------
    rayleigh, aerosol
        Optical thickness of molecules and aerosol.
    albedo
        Single scattering albedo of the aerosol.
    moments
        Legendre moments b_0 ... b_2n of its phase function; n (even) is the number of Gauss angles in a hemisphere.
    sun_cosines, view_cosines
        Cosines of the zenith angles.
    modes
        Number of Fourier modes; 3 hold all Rayleigh scattering.
    layers
        An even number; chosen by the optical thickness unless given.
    dipole
        Share of pure dipole scattering in molecular scattering, 1 without depolarisation.
    """
    scaled, f = delta_m(moments)
    aerosol, scaled = aerosol * (1 - albedo * f), scaled * albedo * (1 - f) / (1 - albedo * f)
    layers = layers or 2 * int(12 + 8 * (rayleigh + aerosol))
    fine = _solve(rayleigh, aerosol, scaled, sun_cosines, view_cosines, dipole, modes, layers)
    coarse = _solve(rayleigh, aerosol, scaled, sun_cosines, view_cosines, dipole, modes, layers // 2)
    return Solution(*((4 * a - b) / 3 for a, b in zip(fine, coarse, strict=True)))


def _solve(rayleigh, aerosol, moments, suns, views, dipole, modes, layers):
    """Return the attributes of `Solution` for a finite number of layers; `moments` include the albedo."""
    x, w = np.polynomial.legendre.leggauss(moments.size // 2)
    gauss, weights = 0.5 * (x + 1), 0.5 * w
    tau, share = _levels(rayleigh, aerosol, layers)
    multiple, sky = np.empty((modes, views.size, suns.size)), np.empty((modes, gauss.size, suns.size))
    beams = np.concatenate([suns, views])
    multiple[0], flux, sky[0] = _orders(0, tau, share, moments, dipole, gauss, weights, views, beams, suns.size)
    for m in range(1, modes):
        multiple[m], _, sky[m] = _orders(m, tau, share, moments, dipole, gauss, weights, views, suns, suns.size)
    multiple[1:] *= 2
    sky[1:] *= 2
    transmittance = np.exp(-tau[-1] / beams) + flux[:-1]
    return multiple, transmittance[: suns.size], transmittance[suns.size :], flux[-1], sky


@njit(cache=True, nogil=True)
def _levels(rayleigh, aerosol, layers):
    """Return the optical depth of the levels, and the aerosol's share in the extinction there.

    With x = exp(-z / 8 km) and tau(x) = rayleigh x + aerosol x**4, level k of n is where
    [tau(x) / tau(1) + x] / 2 = u / 2 + (1 - cos(pi u)) / 4 with u = k / n: dense where the optical depth and where the
    composition changes, and near the top and the ground, where grazing radiance changes fast.
    """
    tau, share = np.zeros(layers + 1), np.zeros(layers + 1)
    for k in range(layers + 1):
        u = k / layers
        low, high, target = 0.0, 1.0, 0.5 * u + 0.25 * (1 - cos(pi * u))
        for _ in range(50):
            x = 0.5 * (low + high)
            if 0.5 * (x + (rayleigh * x + aerosol * x**HEIGHT_RATIO) / (rayleigh + aerosol)) < target:
                low = x
            else:
                high = x
        x = 0.0 if k == 0 else high
        tau[k] = rayleigh * x + aerosol * x**HEIGHT_RATIO
        dense = HEIGHT_RATIO * aerosol * x ** (HEIGHT_RATIO - 1)
        share[k] = dense / (rayleigh + dense) if rayleigh > 0 else 1.0
    return tau, share


@helper(cache=True, nogil=True)
def _legendre(m, degree, x):
    """Return sqrt((l-m)! / (l+m)!) P_l^m(x) for l = 0 ... degree, by the usual recurrence in l."""
    p = np.zeros(degree + 1)
    if m > degree:
        return p
    p[m] = 1.0
    for k in range(1, m + 1):
        p[m] *= sqrt(max(0.0, 1 - x * x) * (2 * k - 1) / (2 * k))
    if m < degree:
        p[m + 1] = x * sqrt(2 * m + 1.0) * p[m]
    for n in range(m + 2, degree + 1):
        p[n] = ((2 * n - 1) * x * p[n - 1] - sqrt((n - 1.0) ** 2 - m * m) * p[n - 2]) / sqrt(float(n * n - m * m))
    return p


@njit(cache=True, nogil=True)
def _rayleigh_terms(m, mu, dipole):
    """Return the terms of Fourier mode m of the Rayleigh phase matrix for (I, Q, U).

    The matrix from direction mu' to mu is the sum over terms k of t_k(mu) t_k(mu')^T: a dipole scatters according to
    the light's polarisation tensor, of which a mode contains one component (mode 0 has the isotropic one besides).
    This is Chandrasekhar 1950, eq. I.(219)-(220), factorised.
    """
    terms = np.zeros((2, 3))
    s2 = max(0.0, 1 - mu * mu)
    if m == 0:
        terms[0, 0] = 1.0
        c = sqrt(dipole / 2)
        terms[1, 0], terms[1, 1] = c * (1 - 1.5 * s2), -1.5 * c * s2
    elif m == 1:
        c = sqrt(0.75 * dipole * s2)
        terms[0, 0], terms[0, 1], terms[0, 2] = c * mu, c * mu, c
    elif m == 2:
        c = 0.25 * sqrt(3 * dipole)
        terms[0, 0], terms[0, 1], terms[0, 2] = c * s2, -c * (1 + mu * mu), 2 * c * mu
    return terms


@helper(cache=True, nogil=True)
def _phase_terms(m, moments, dipole, directions):
    """Return for each direction the aerosol's Legendre functions and the Rayleigh terms of mode m."""
    polynomials, terms = np.empty((directions.size, moments.size)), np.empty((directions.size, 2, 3))
    for i in range(directions.size):
        polynomials[i] = _legendre(m, moments.size - 1, directions[i])
        terms[i] = _rayleigh_terms(m, directions[i], dipole)
    return polynomials, terms


@helper(cache=True, nogil=True)
def _phase_matrix(moments, outgoing, incoming):
    """Return the Fourier mode of the aerosol's phase function, sum over l of b_l P_l(mu) P_l(mu')."""
    matrix = np.empty((outgoing.shape[0], incoming.shape[0]))
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            matrix[i, j] = np.sum(moments * outgoing[i] * incoming[j])
    return matrix


@helper(cache=True, nogil=True)
def _layer_weights(tau, directions):
    """Return the weights of `_integrate` for each direction and layer, shape (directions, 3, layers).

    With t the slant optical thickness of a layer: exp(-t); of the source at the near end 1 - exp(-t) - far; at the
    far end far = [1 - (1 + t) exp(-t)] / t.
    """
    weights = np.empty((directions.size, 3, tau.size - 1))
    for i in range(directions.size):
        for k in range(tau.size - 1):
            t = (tau[k + 1] - tau[k]) / abs(directions[i])
            e = exp(-t)
            far = (1 - (1 + t) * e) / t if t > 1e-4 else t / 2
            weights[i, 0, k], weights[i, 1, k], weights[i, 2, k] = e, 1 - e - far, far
    return weights


@helper(cache=True, nogil=True)
def _integrate(upward, weights, source, radiance):
    """Integrate a source along a line through all layers; `source` and `radiance` have shape (levels, columns).

    L(next) = L(last) exp(-t) + near J(next) + far J(last), exact for a source that is linear in optical depth. What
    enters from outside is given in `radiance` at the first level on the way.
    """
    levels, columns = source.shape
    for n in range(1, levels):
        k, last = (levels - 1 - n, levels - n) if upward else (n, n - 1)
        layer = min(k, last)
        attenuation, near, far = weights[0, layer], weights[1, layer], weights[2, layer]
        for c in range(columns):
            radiance[k, c] = radiance[last, c] * attenuation + near * source[k, c] + far * source[last, c]


@helper(cache=True, nogil=True)
def _sum_products(factors, fields, out):
    """Set out = sum of factors[j] * fields[j] over all factors, the number of which is a multiple of 4."""
    out[:] = 0.0
    for j in range(0, factors.size, 4):
        f0, f1, f2, f3 = factors[j], factors[j + 1], factors[j + 2], factors[j + 3]
        r0, r1, r2, r3 = fields[j], fields[j + 1], fields[j + 2], fields[j + 3]
        for c in range(out.size):
            out[c] += f0 * r0[c] + f1 * r1[c] + f2 * r2[c] + f3 * r3[c]


@helper(cache=True, nogil=True)
def _excite(radiance, terms, weights, excited):
    """Project radiance on the terms of the Rayleigh phase matrix: excited[k] = sum over directions of w t_k . L."""
    part = np.empty_like(excited[0])
    for k in range(2):
        excited[k] = 0.0
        for p in range(radiance.shape[0]):
            factors = weights * terms[: weights.size, k, p]
            _sum_products(factors, radiance[p].reshape(radiance.shape[1], -1), part.reshape(-1))
            excited[k] += part


@helper(cache=True, nogil=True)
def _mix(share, terms, excited, source):
    """Mix the aerosol's source, given in `source`, with that of the molecules, at all levels."""
    for k in range(share.size):
        f, d0, d1 = share[k], (1 - share[k]) * terms[0], (1 - share[k]) * terms[1]
        for c in range(source.shape[1]):
            source[k, c] = f * source[k, c] + d0 * excited[0, k, c] + d1 * excited[1, k, c]


@helper(cache=True, nogil=True)
def _sunlight(tau, beams, terms, aerosol, excited, source):
    """Set what direct sunlight excites, and the aerosol's source function, of shape (directions, levels, columns)."""
    for c in range(beams.size):
        light = np.exp(-tau / beams[c]) * (0.25 / beams[c])
        excited[0, :, c], excited[1, :, c] = terms[c, 0, 0] * light, terms[c, 1, 0] * light
        for i in range(source.shape[0]):
            source[i, :, c] = aerosol[i, c] * light


@helper(cache=True, nogil=True)
def _propagate(directions, share, terms, layer_weights, excited, source, scattered):
    """Turn the aerosol's source function into radiance, all directions and Stokes components.

    Shapes: `terms` (directions, 2, 3), `source` (directions, levels, columns), `scattered` (Stokes components,
    directions, levels, columns).
    """
    for i in range(source.shape[0]):
        for p in range(scattered.shape[0]):
            if p > 0:
                source[i] = 0.0
            _mix(share, terms[i, :, p], excited, source[i])
            _integrate(directions[i] > 0, layer_weights[i], source[i], scattered[p, i])


@njit(cache=True, nogil=True)
def _orders(m, tau, share, moments, dipole, gauss, weights, views, beams, suns):
    """Sum all orders of scattering of one Fourier mode.

    Parameters
    ----------
    m
        Fourier mode. Mode 0 has one more column than there are beams: light of radiance 1 from below.
    tau, share
        From `_levels`.
    moments
        Legendre moments of the aerosol's phase function times its albedo.
    dipole
        Share of dipole scattering of the molecules.
    gauss, weights
        Of the Gauss quadrature over the cosine in a hemisphere.
    views, beams
        Cosines of the view zenith angles and of those of the incident beams, the first `suns` of which are suns.

    Returns
    -------
    reflectance, flux, sky
        Shapes (views, suns), (columns,) and (gauss, suns): order 2 and more, upward at the top; all orders, downward at
        the ground, as a share of the illumination; all orders, radiance of the sky at the angles of `gauss`.
    """
    half, nodes, columns = gauss.size, 2 * gauss.size, beams.size + (1 if m == 0 else 0)
    directions = np.concatenate((gauss, -gauss, views))
    half_weights = 0.5 * np.concatenate((weights, weights))
    polynomials, terms = _phase_terms(m, moments, dipole, directions)
    polynomials_sun, terms_sun = _phase_terms(m, moments, dipole, -beams)
    aerosol = _phase_matrix(moments, polynomials, polynomials[:nodes]) * half_weights
    layer_weights = _layer_weights(tau, directions)

    shape = (1 if m > 2 else (2 if m == 0 else 3), directions.size, tau.size, columns)
    radiance, scattered = np.zeros(shape), np.zeros(shape)
    source, excited = np.zeros(shape[1:]), np.zeros((2, tau.size, columns))
    _sunlight(tau, beams, terms_sun, _phase_matrix(moments, polynomials, polynomials_sun), excited, source)
    if m == 0:
        scattered[0, :half, -1, -1] = 1.0
    reflectance, flux, sky = np.zeros((views.size, suns)), np.zeros(columns), np.zeros((half, suns))
    for order in range(1, MAX_ORDER):
        _propagate(directions, share, terms, layer_weights, excited, source, scattered)
        down = np.zeros(columns)
        for i in range(half):
            down += 2 * weights[i] * gauss[i] * scattered[0, half + i, -1]
            sky[i] += scattered[0, half + i, -1, :suns]
        flux += down
        if order > 1:
            reflectance += scattered[0, nodes:, 0, :suns]
        if order > 2 and max(np.max(np.abs(down)), np.max(np.abs(scattered[0, nodes:, 0]))) < NEGLIGIBLE:
            break
        radiance, scattered = scattered, radiance
        scattered[0, :half, -1] = 0.0
        _excite(radiance, terms, half_weights, excited)
        for i in range(directions.size):
            _sum_products(aerosol[i], radiance[0].reshape(directions.size, -1), source[i].reshape(-1))
    return reflectance, flux, sky
