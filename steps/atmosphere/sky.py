"""How the diffuse light of the sky depends on the slope that it falls on, from the radiance that the solver finds.

On a slope of inclination s whose normal is at the angle i to the sun, under a sky that mountains do not hide, it is,
relative to that on level ground,

    near cos i / cos z + (1 - near) + b1 u + b2 v + b3 u^2 + b4 u v + b5 v^2,
    u = cos i - cos s cos z,   v = 1 - cos s,

z being the sun's zenith angle, and the first cos i 0 where it is negative. `near` is the share that comes from around
the sun, and goes where the sun goes; the rest is the polynomial of second degree in the slope's normal that a smooth
sky makes (Ramamoorthi and Hanrahan 2001, On the relationship between radiance and irradiance, JOSA A 18, 2448). Up to
slopes of 45 degrees and a sun at 65 this errs by 1.3 % of all light on level ground at most, by 0.4 % in the mean.
"""

import functools
from dataclasses import dataclass
from math import cos, exp, radians, sqrt

import numpy as np

from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.scattering import legendre_moments
from steps.atmosphere.scene import thinned
from steps.atmosphere.solver import solve
from steps.atmosphere.tables import STANDARD_PRESSURE, pressure
from steps.sentinel2.scene import SpectralResponse

#: Numbers that `sky_terms` returns for an elevation: `near`, b1 ... b5.
TERMS = 6
#: Radius of the sky around the sun that goes where the sun goes, degrees.
_AUREOLE = 20.0
#: Gauss angles in a hemisphere, as for the look-up tables.
_GAUSS = 12
#: Slopes, and angles between the sun's azimuth and the one that the ground faces, for which the terms are fitted.
_SLOPES = np.radians(np.arange(0, 56, 5.0))
_TURNS = np.radians(np.arange(0, 181, 15.0))
#: Azimuths of the sky in an integral.
_AZIMUTHS = 720


def sky_terms(
    table: LookUpTable, response: SpectralResponse, sun_zenith: float, aot550: float, elevation_km: tuple[float, float]
) -> np.ndarray:
    """Return the terms of one band at two elevations, between which they are linear.

    Parameters
    ----------
    table
        Look-up table of the aerosol model.
    response
        Of the band.
    sun_zenith
        Degrees.
    aot550
        Above sea level.
    elevation_km
        Lowest and highest.

    Returns
    -------
    numpy.ndarray
        Shape (2, `TERMS`).
    """
    middle = float(np.average(np.log(response.wavelength / 1000), weights=response.values))
    nodes = np.log(table.wavelength)
    after = int(np.clip(nodes.searchsorted(middle), 1, nodes.size - 1))
    share = (middle - nodes[after - 1]) / (nodes[after] - nodes[after - 1])
    aot = [float(thinned(np.array(aot550), z)) for z in elevation_km]
    before, behind = (
        np.array([_terms(table, i, sun_zenith, *air) for air in zip(aot, elevation_km, strict=True)])
        for i in (after - 1, after)
    )
    return before + share * (behind - before)


@functools.lru_cache(maxsize=256)
def _terms(table: LookUpTable, wavelength: int, sun_zenith: float, aot550: float, elevation_km: float) -> np.ndarray:
    """Return the terms at one wavelength of the table."""
    sky, sun = sky_of(table, wavelength, sun_zenith, aot550, elevation_km), cos(radians(sun_zenith))
    slope, turn = _SLOPES[:, None], _TURNS
    incidence = np.cos(slope) * sun + np.sin(slope) * sqrt(1 - sun**2) * np.cos(turn)
    u, v = incidence - np.cos(slope) * sun, 1 - np.cos(slope) + 0 * turn
    basis = np.stack([u, v, u * u, u * v, v * v], axis=-1).reshape(-1, TERMS - 1)
    rest = (sky.on(_SLOPES, _TURNS) - sky.near * np.maximum(incidence, 0) / sun - (1 - sky.near)).ravel()
    # As often as there is such a slope in mountains, roughly; level ground is what it is anyway.
    weight = np.repeat(np.sin(_SLOPES) * np.exp(-np.degrees(_SLOPES) / 25) + 0.02, _TURNS.size)[:, None]
    normal = (basis * weight).T @ basis + 1e-9 * np.eye(TERMS - 1)  # under a sun in the zenith u is 0
    return np.concatenate([[sky.near], np.linalg.solve(normal, (basis * weight).T @ rest)])


@dataclass(frozen=True)
class Sky:
    """The diffuse light of an open sky at one wavelength.

    Attributes
    ----------
    sun
        Cosine of the sun's zenith angle.
    radiance
        Fourier coefficients of the radiance at Gauss angles, see `solver.Solution.sky`.
    level
        The light that these send to level ground, as a share of the sun's light above the atmosphere.
    peak
        What delta-M takes for direct light and is not: it comes from the sun's place.
    near
        Share of the diffuse light on level ground that comes from within `_AUREOLE` of the sun.
    """

    sun: float
    radiance: np.ndarray
    level: float
    peak: float
    near: float

    def on(self, slopes: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Return the light on slopes relative to that on level ground, shape (slopes, turns).

        Parameters
        ----------
        slopes, turns
            Inclination, and angle from the sun's azimuth to the one that the ground faces, radians.
        """
        x, w = np.polynomial.legendre.leggauss(_GAUSS)
        slope, turn = slopes[:, None], np.cos(turns)
        facing = np.cos(slope) * self.sun + np.sin(slope) * sqrt(1 - self.sun**2) * turn
        light = self.peak * np.maximum(facing, 0) / self.sun
        for mode, radiance in enumerate(self.radiance):
            light += (_seen(slopes, (x + 1) / 2, mode) @ (w / 2 * radiance))[:, None] * np.cos(mode * turns) / np.pi
        return light / (self.peak + self.level)


def sky_of(table: LookUpTable, wavelength: int, sun_zenith: float, aot550: float, elevation_km: float) -> Sky:
    """Return the sky above an elevation.

    Parameters
    ----------
    table, wavelength
        Look-up table of the aerosol model, and the number of one of its wavelengths.
    sun_zenith
        Degrees.
    aot550, elevation_km
        Aerosol above the elevation.
    """
    sun, phase = cos(radians(sun_zenith)), np.exp(table.log_phase[wavelength])
    molecules = float(table.rayleigh[wavelength] * pressure(np.array(elevation_km))) / STANDARD_PRESSURE
    aerosol, albedo = max(float(table.extinction[wavelength]) * aot550, 1e-9), float(table.albedo[wavelength])
    moments = legendre_moments(table.angle, phase, 2 * _GAUSS)
    solution = solve(molecules, aerosol, albedo, moments, np.array([sun]), np.ones(1))
    x, w = np.polynomial.legendre.leggauss(_GAUSS)
    level = float((w / 2 * (x + 1) * solution.sky[0, :, 0]).sum())
    direct = exp(-(molecules + aerosol) / sun)
    diffuse = float(solution.transmittance_down[0]) - direct
    # The light that is never scattered by more than this angle, as if what is scattered by less went straight on.
    angle = np.radians(np.linspace(0, _AUREOLE, 201))
    forward = np.trapezoid(np.interp(np.degrees(angle), table.angle, phase) * np.sin(angle) / 2, angle)
    molecules_forward = np.trapezoid(0.375 * (1 + np.cos(angle) ** 2) * np.sin(angle), angle)
    within = exp(-(molecules * (1 - molecules_forward) + aerosol * (1 - albedo * forward)) / sun)
    return Sky(sun, solution.sky[:, :, 0], level, diffuse - level, (within - direct) / diffuse)


def _seen(slopes: np.ndarray, cosine: np.ndarray, mode: int) -> np.ndarray:
    """Return the integrals over the azimuth of a Fourier mode times the cosine to a slope's normal, where positive."""
    azimuth = 2 * np.pi * np.arange(_AZIMUTHS) / _AZIMUTHS
    slope, sine = slopes[:, None, None], np.sqrt(1 - cosine**2)
    facing = np.cos(slope) * cosine[:, None] + np.sin(slope) * sine[:, None] * np.cos(azimuth)
    return (np.maximum(facing, 0) * np.cos(mode * azimuth)).sum(axis=-1) * 2 * np.pi / _AZIMUTHS
