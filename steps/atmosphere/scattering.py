"""Single scattering and phase functions: closed forms that both the solver and the band averages use.

The atmosphere is plane parallel. Molecules and aerosol lie above the ground in exponential profiles with scale
heights of 8 and 2 km, so that with x = exp(-z / 8 km) the optical thickness above a height is tau_r x + tau_a x**4.
"""

from math import cos, exp, radians, sin

import numpy as np

from steps.core.compiled import njit

#: Share of pure dipole scattering in molecular scattering, (1 - d) / (1 + d / 2) with the depolarisation factor of air
#: d = 0.0279 that 6S uses (Hansen and Travis 1974, eq. 2.15); the rest is isotropic.
DIPOLE = (1 - 0.0279) / (1 + 0.0279 / 2)
#: Scale heights of molecules over that of aerosol: 8 km / 2 km.
HEIGHT_RATIO = 4

# Gauss-Legendre quadrature from 0 to 1.
_nodes, _weights = np.polynomial.legendre.leggauss(20)
_X = 0.5 * (1 + _nodes)
_W = 0.5 * _weights


@njit(cache=True, nogil=True)
def cos_scattering_angle(sun_zenith, view_zenith, relative_azimuth):
    """Return the cosine of the angle between the sun's rays and the line of sight.

    Angles in degrees; relative azimuth 0 means sun and sensor on the same side, so this is -1 for exact backscatter.
    """
    s, v, a = radians(sun_zenith), radians(view_zenith), radians(relative_azimuth)
    return max(-1.0, min(1.0, -cos(s) * cos(v) - sin(s) * sin(v) * cos(a)))


@njit(cache=True, nogil=True)
def rayleigh_phase(cos_angle, dipole=DIPOLE):
    """Return the phase function of molecules for unpolarised light, mean 1 (Hansen and Travis 1974, eq. 2.14)."""
    return dipole * 0.75 * (1 + cos_angle * cos_angle) + 1 - dipole


@njit(cache=True, nogil=True)
def single_scattering(rayleigh, aerosol, phase_rayleigh, phase_aerosol, sun_cosine, view_cosine):
    """Return the reflectance of light scattered once, exact for the exponential profiles.

    rho = (P_r I_r + P_a I_a) / (4 mu_s mu_v),  I = integral of exp(-M tau) d tau_r (d tau_a),  M = 1/mu_s + 1/mu_v.

    I_r + I_a is known in closed form; I_r is integrated over x = exp(-z / 8 km) with 20 Gauss points (error below
    1e-9 for M tau < 30).

    Parameters
    ----------
    rayleigh, aerosol
        Optical thickness; of the aerosol the delta-M scaled one.
    phase_rayleigh, phase_aerosol
        Phase functions at the scattering angle; the aerosol's times its albedo, scaled with 1 / (1 - albedo f)
        as delta-M wants it (TMS of Nakajima and Tanaka 1988).
    sun_cosine, view_cosine
        Cosines of the zenith angles.
    """
    mass = 1 / sun_cosine + 1 / view_cosine
    both = -np.expm1(-mass * (rayleigh + aerosol)) / mass
    molecules = both
    if aerosol > 0:
        molecules = 0.0
        for i in range(_X.size):
            x = _X[i]
            molecules += rayleigh * _W[i] * exp(-mass * (rayleigh * x + aerosol * (x * x) * (x * x)))
    return (phase_rayleigh * molecules + phase_aerosol * (both - molecules)) / (4 * sun_cosine * view_cosine)


def legendre_moments(angle: np.ndarray, phase: np.ndarray, degree: int) -> np.ndarray:
    """Return b_0 ... b_degree of P(mu) = sum b_l P_l(mu), of a phase function tabulated at `angle` (degrees).

    The phase function is taken as log-linear in the angle. What the table does not resolve of the forward peak, that
    is 1 - b_0, is added as a Dirac peak, which delta-M removes again.
    """
    order = np.argsort(angle)
    x, w = np.polynomial.legendre.leggauss(300)
    values = np.exp(np.interp(np.degrees(np.arccos(x)), angle[order], np.log(phase[order])))
    polynomials = np.polynomial.legendre.legvander(x, degree)
    odd = 2 * np.arange(degree + 1) + 1
    moments = odd / 2 * ((w * values) @ polynomials)
    return moments + odd * (1 - moments[0])


def delta_m(moments: np.ndarray) -> tuple[np.ndarray, float]:
    """Return Legendre moments b_0 ... without the last, scaled, and the share f of scattering in the forward peak.

    The delta-M method (Wiscombe 1977, Journal of the Atmospheric Sciences 34, 1408):

    f is the last moment over 2 l + 1; the others become (b_l - (2 l + 1) f) / (1 - f).
    """
    odd = 2 * np.arange(moments.size) + 1
    f = max(float(moments[-1] / odd[-1]), 0.0)
    return (moments[:-1] - odd[:-1] * f) / (1 - f), f
