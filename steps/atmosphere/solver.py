"""Successive orders of scattering in a plane-parallel atmosphere of molecules and aerosol.

The radiance of each order is integrated along straight lines through layers of equal optical thickness, with the
source function of the order before, linear in optical depth inside a layer (Lenoble et al. 2007, JQSRT 107, 479).
Azimuth is a Fourier series. Molecular scattering is polarised (Stokes I, Q, U), aerosol scattering is not. Radiance is
in units of reflectance, pi L / (mu_s F_s). All sun directions are solved at once, and the view directions are extra
nodes of the angular grid with no weight. No result depends on a linear algebra library or on the number of threads.
"""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from steps.atmosphere.scattering import DIPOLE, HEIGHT_RATIO, delta_m

from numba import njit  # isort: skip

#: Scattering orders at most, and the increment at which to stop (or below which to sum the rest geometrically).
MAX_ORDER, NEGLIGIBLE, GEOMETRIC = 200, 1e-7, 3e-4


@dataclass(frozen=True)
class Solution:
    """Scattering properties of an atmosphere without gas absorption, over a black ground.

    Attributes
    ----------
    multiple
        Shape (modes, views, suns): Fourier coefficients of the reflectance of light scattered twice and more; the
        reflectance is the sum over m of multiple[m] cos(m (180 - relative azimuth)) .
    transmittance_down, transmittance_up
        Direct and diffuse, for each sun and each view direction.
    spherical_albedo
        Share of isotropic light from the ground that the atmosphere sends back.
    """

    multiple: np.ndarray
    transmittance_down: np.ndarray
    transmittance_up: np.ndarray
    spherical_albedo: float


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
) -> Solution:
    """Solve one atmosphere at one wavelength.

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
        Default 24 + 40 * total optical thickness.
    """
    scaled, f = delta_m(moments)
    aerosol, albedo = aerosol * (1 - albedo * f), albedo * (1 - f) / (1 - albedo * f)
    x, w = np.polynomial.legendre.leggauss(scaled.size // 2)
    gauss, weights = 0.5 * (x + 1), 0.5 * w
    tau, share, mean_share = _levels(rayleigh, aerosol, layers or int(24 + 40 * (rayleigh + aerosol)))
    beams = np.concatenate([sun_cosines, view_cosines])
    suns = sun_cosines.size
    multiple = np.zeros((modes, view_cosines.size, suns))
    for m in range(modes):
        columns = beams if m == 0 else sun_cosines
        reflectance, flux = _orders(
            m, tau, share, mean_share, albedo * scaled, gauss, weights, view_cosines, columns, m == 0
        )
        multiple[m] = reflectance[:, :suns] * (1 if m == 0 else 2)
        if m == 0:
            transmittance = np.exp(-tau[-1] / beams) + flux[:-1]
            spherical_albedo = flux[-1]
    return Solution(multiple, transmittance[:suns], transmittance[suns:], spherical_albedo)


@njit(cache=True, nogil=True)
def _levels(rayleigh, aerosol, layers):
    """Return levels of equal spacing in optical thickness, and the aerosol's share at levels and in layers.

    tau(x) = rayleigh x + aerosol x**4 with x = exp(-z / 8 km), solved by bisection. The share is that of the
    aerosol in the local extinction.
    """
    tau = np.linspace(0.0, rayleigh + aerosol, layers + 1)
    share, above = np.empty(layers + 1), np.empty(layers + 1)
    for k in range(layers + 1):
        low, high = 0.0, 1.0
        for _ in range(60):
            x = 0.5 * (low + high)
            if rayleigh * x + aerosol * x**HEIGHT_RATIO < tau[k]:
                low = x
            else:
                high = x
        dense = HEIGHT_RATIO * aerosol * x ** (HEIGHT_RATIO - 1)
        share[k] = dense / (rayleigh + dense)
        above[k] = aerosol * x**HEIGHT_RATIO
    if rayleigh == 0:
        share[:] = 1.0
    return tau, share, np.diff(above) / (tau[1] - tau[0])


@njit(cache=True, nogil=True)
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
def _dipole(m, mu):
    """Return the terms of Fourier mode m of the Rayleigh phase matrix for (I, Q, U).

    The matrix from direction mu' to mu is the sum over terms k of t_k(mu) t_k(mu')^T: scattering by a dipole depends on
    the light's polarisation tensor alone, of which a mode contains one component (mode 0: two, one of them the
    isotropic one). Written out from Chandrasekhar 1950, eq. (I.217)-(I.220).
    """
    terms = np.zeros((2, 3))
    s2 = max(0.0, 1 - mu * mu)
    if m == 0:
        terms[0, 0] = 1.0
        c = sqrt(DIPOLE / 2)
        terms[1, 0], terms[1, 1] = c * (1 - 1.5 * s2), -1.5 * c * s2
    elif m == 1:
        c = sqrt(0.75 * DIPOLE * s2)
        terms[0, 0], terms[0, 1], terms[0, 2] = c * mu, c * mu, c
    elif m == 2:
        c = 0.25 * sqrt(3 * DIPOLE)
        terms[0, 0], terms[0, 1], terms[0, 2] = c * s2, -c * (1 + mu * mu), 2 * c * mu
    return terms


@njit(cache=True, nogil=True)
def _first_order(m, tau, mean_share, moments, mu, sun, radiance, column):
    """Fill one column of `radiance` with sunlight scattered once, exact for layers of constant composition."""
    layers, step = tau.size - 1, tau[1] - tau[0]
    polynomials_sun, dipole_sun = _legendre(m, moments.size - 1, -sun), _dipole(m, -sun)
    for i in range(radiance.shape[1]):
        polynomials, dipole = _legendre(m, moments.size - 1, mu[i]), _dipole(m, mu[i])
        aerosol = np.sum(moments * polynomials * polynomials_sun) * 0.25 / sun
        a = abs(mu[i])
        attenuation = exp(-step / a)
        if mu[i] > 0:
            gain = (1 - exp(-step * (1 / a + 1 / sun))) / (1 + a / sun)
        else:
            x = 1 / a - 1 / sun
            near = step / a if abs(x) * step < 1e-6 else (1 - exp(-step * x)) / (x * a)
            gain = exp(-step / sun) * near
        for p in range(radiance.shape[0]):
            molecules = (dipole[0, p] * dipole_sun[0, 0] + dipole[1, p] * dipole_sun[1, 0]) * 0.25 / sun
            value = 0.0
            for n in range(layers):
                k = layers - 1 - n if mu[i] > 0 else n
                source = (1 - mean_share[k]) * molecules + (mean_share[k] * aerosol if p == 0 else 0.0)
                value = value * attenuation + source * exp(-tau[k] / sun) * gain
                radiance[p, i, k if mu[i] > 0 else k + 1, column] = value


@njit(cache=True, nogil=True)
def _sum_products(factors, fields, out):
    """Set out = sum over j of factors[j] * fields[j]; the number of terms is a multiple of 4."""
    out[:] = 0.0
    for j in range(0, factors.size, 4):
        f0, f1, f2, f3 = factors[j], factors[j + 1], factors[j + 2], factors[j + 3]
        r0, r1, r2, r3 = fields[j], fields[j + 1], fields[j + 2], fields[j + 3]
        for c in range(out.size):
            out[c] += f0 * r0[c] + f1 * r1[c] + f2 * r2[c] + f3 * r3[c]


@njit(cache=True, nogil=True)
def _integrate(upward, source, attenuation, near, far, radiance):
    """Integrate a source along a line through all layers; `source` and `radiance` have shape (levels, columns).

    L(next) = L exp(-t) + near J(next) + far J(last), exact for a source that is linear in optical depth.
    """
    levels = source.shape[0]
    for n in range(1, levels):
        k, last = (levels - 1 - n, levels - n) if upward else (n, n - 1)
        for c in range(source.shape[1]):
            radiance[k, c] = radiance[last, c] * attenuation + near * source[k, c] + far * source[last, c]


@njit(cache=True, nogil=True)
def _orders(m, tau, share, mean_share, moments, gauss, weights, views, beams, isotropic):
    """Sum all orders of scattering of one Fourier mode.

    Parameters
    ----------
    moments
        Legendre moments of the aerosol's phase function times its albedo.
    beams
        Cosines of the sun directions, one column each.
    isotropic
        Whether to add a last column: light of radiance 1 from below instead of a sun.

    Returns
    -------
    reflectance, flux
        Shapes (views, columns) and (columns,): order 2 and more upward at the top, and all orders downward at the
        ground as a share of the illumination.
    """
    half, degree, levels = gauss.size, moments.size - 1, tau.size
    nodes = 2 * half
    directions = np.concatenate((gauss, -gauss, views))
    polarised = 1 if m > 2 else (2 if m == 0 else 3)
    columns = beams.size + (1 if isotropic else 0)
    radiance = np.zeros((polarised, nodes, levels, columns))
    for c in range(beams.size):
        _first_order(m, tau, mean_share, moments, directions, beams[c], radiance, c)
    if isotropic:
        for i in range(half):
            radiance[0, i, :, -1] = np.exp(-(tau[-1] - tau) / gauss[i])
    reflectance, flux = np.zeros((views.size, columns)), np.zeros(columns)
    for i in range(half):
        flux += 2 * weights[i] * gauss[i] * radiance[0, half + i, -1]

    polynomials, dipole = np.empty((directions.size, degree + 1)), np.empty((directions.size, 2, 3))
    for i in range(directions.size):
        polynomials[i], dipole[i] = _legendre(m, degree, directions[i]), _dipole(m, directions[i])
    aerosol = np.empty((directions.size, nodes))
    for i in range(directions.size):
        for j in range(nodes):
            aerosol[i, j] = 0.5 * weights[j % half] * np.sum(moments * polynomials[i] * polynomials[j])

    scattered = np.empty_like(radiance)
    source, line = np.empty((levels, columns)), np.empty((levels, columns))
    excited = np.empty((2, levels, columns))
    previous, previous_ratio = 0.0, 0.0
    for order in range(2, MAX_ORDER):
        _excite(radiance, dipole, weights, excited)
        largest = 0.0
        for i in range(directions.size):
            step = (tau[1] - tau[0]) / abs(directions[i])
            attenuation = exp(-step)
            far = (1 - (1 + step) * attenuation) / step if step > 1e-4 else step / 2
            near = 1 - attenuation - far
            for p in range(polarised if i < nodes else 1):
                _source(p, share, aerosol[i], radiance, dipole[i], excited, source)
                target = scattered[p, i] if i < nodes else line
                target[-1 if directions[i] > 0 else 0] = 0.0
                _integrate(directions[i] > 0, source, attenuation, near, far, target)
            if i >= nodes:
                reflectance[i - nodes] += line[0]
                largest = max(largest, np.max(np.abs(line[0])))
            elif i >= half:
                gain = 2 * weights[i - half] * gauss[i - half] * scattered[0, i, -1]
                flux += gain
                largest = max(largest, np.max(np.abs(gain)))
        radiance, scattered = scattered, radiance
        ratio = largest / previous if previous > 0 else 0.0
        if largest < NEGLIGIBLE:
            break
        previous, previous_ratio = largest, ratio
    return reflectance, flux


@njit(cache=True, nogil=True)
def _excite(radiance, dipole, weights, excited):
    """Project the radiance on the terms of the Rayleigh phase matrix: excited[k] = sum over directions of w t_k . L."""
    excited[:] = 0.0
    half = weights.size
    for k in range(2):
        for p in range(radiance.shape[0]):
            factors = np.empty(2 * half)
            for j in range(2 * half):
                factors[j] = 0.5 * weights[j % half] * dipole[j, k, p]
            for j in range(2 * half):
                excited[k] += factors[j] * radiance[p, j]


@njit(cache=True, nogil=True)
def _source(p, share, aerosol, radiance, dipole, excited, source):
    """Set the source function of Stokes component p in one direction, at all levels."""
    if p == 0:
        flat = radiance[0].reshape(radiance.shape[1], -1)
        _sum_products(aerosol, flat, source.reshape(-1))
    else:
        source[:] = 0.0
    for k in range(share.size):
        f, d0, d1 = share[k], (1 - share[k]) * dipole[0, p], (1 - share[k]) * dipole[1, p]
        for c in range(source.shape[1]):
            source[k, c] = f * source[k, c] + d0 * excited[0, k, c] + d1 * excited[1, k, c]
