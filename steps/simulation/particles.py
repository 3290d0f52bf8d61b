"""Optical properties of aerosol mixtures and of the molecules of air, as sasktran2 wants them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

#: Scale height of molecules, m.
MOLECULES_HEIGHT = 8000.0
#: Scale height of aerosol, m.
AEROSOL_HEIGHT = 2000.0
#: Depolarisation factor of air (Young 1980, Applied Optics 19, 3427).
DEPOLARISATION = 0.0279


@dataclass(frozen=True)
class Aerosol:
    """A mixture at some wavelengths.

    Attributes
    ----------
    extinction
        Relative to 550 nm, shape (wavelengths,).
    albedo
        Of single scattering, same shape.
    moments
        Legendre moments (2 l + 1) chi_l of the phase function without its forward peak, shape (wavelengths, moments).
    peak
        Share of the scattered light in the peak forward of all tabulated angles, which goes on as if not scattered.
    """

    extinction: np.ndarray
    albedo: np.ndarray
    moments: np.ndarray
    peak: np.ndarray

    def at(self, these: np.ndarray) -> "Aerosol":
        """Return the aerosol at some of its wavelengths, given by their indices."""
        return Aerosol(self.extinction[these], self.albedo[these], self.moments[these], self.peak[these])

    def without_peak(self) -> tuple[np.ndarray, np.ndarray]:
        """Return extinction and albedo, shape (wavelengths,), if light in the forward peak counts as not scattered."""
        left = 1 - self.albedo * self.peak
        return self.extinction * left, self.albedo * (1 - self.peak) / left


def path_of(name: str) -> Path:
    """Return the path of a table of physical properties that ships with the package."""
    return Path(__file__).parents[1] / "atmosphere" / "data" / f"{name}.json"


@cache
def table(name: str) -> dict:
    """Return a table of physical properties that ships with the package, with units in its names."""
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def mixture(shares: Mapping[str, float], wavelength: np.ndarray, moments: int) -> Aerosol:
    """Mix aerosol models externally.

    Parameters
    ----------
    shares
        Model (`continental` ...) to its share of the optical thickness at 550 nm; the shares are scaled to a sum of 1.
    wavelength
        um, 0.35 to 3.75.
    moments
        Number of moments of the phase function.
    """
    total = sum(shares.values())
    extinction, scattering = np.zeros((2, wavelength.size))
    phase = np.zeros((wavelength.size, moments))
    for model, share in shares.items():
        data = {key: np.asarray(value) for key, value in table(f"aerosol_{model}").items()}
        x, nodes = np.log(wavelength), np.log(data["wavelength_um"])
        one = share / total * np.exp(np.interp(x, nodes, np.log(data["extinction"])))
        scattered = one * np.interp(x, nodes, data["single_scattering_albedo"])
        tables = np.array([_moments(data["scattering_angle"], row, moments) for row in data["phase_function"]])
        extinction += one
        scattering += scattered
        phase += scattered[:, None] * np.array([np.interp(x, nodes, column) for column in tables.T]).T
    phase /= scattering[:, None]
    return Aerosol(extinction, scattering / extinction, phase / phase[:, :1], np.maximum(1 - phase[:, 0], 0))


@cache
def _quadrature(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return angles, degrees, and the weights that make moments chi of values there; (moments, angles)."""
    x, weight = np.polynomial.legendre.leggauss(400)
    return np.degrees(np.arccos(x)), np.polynomial.legendre.legvander(x, count - 1).T * (weight / 2)


def _moments(angle: np.ndarray, phase: np.ndarray, count: int) -> np.ndarray:
    """Return the moments of a tabulated phase function; what the first lacks of 1 is forward of the first angle."""
    at, weights = _quadrature(count)
    order = np.argsort(angle)
    chi = weights @ np.exp(np.interp(at, angle[order], np.log(phase[order])))
    return (2 * np.arange(count) + 1) * chi


def rayleigh_thickness(wavelength: np.ndarray) -> np.ndarray:
    """Return the optical thickness of air at 1013.25 hPa for wavelengths in um.

    Bodhaine et al. 1999 (Journal of Atmospheric and Oceanic Technology 16, 1854), equation 30, at sea level and 45
    degrees of latitude.
    """
    x = wavelength**2
    return 0.0021520 * (1.0455996 - 341.29061 / x - 0.90230850 * x) / (1 + 0.0027059889 / x - 85.968563 * x)
