"""Reflectance spectra of the ground from 400 to 2500 nm: canopies and soils from tables, all else from closed forms."""

from functools import cache
from pathlib import Path

import numpy as np

#: Wavelengths of all spectra, nm.
WAVELENGTH = 400.0 + 5.0 * np.arange(421)
#: Absorption of pure water, 1/m, and the wavelengths, nm: rounded from Pope and Fry 1997 (Applied Optics 36, 8710)
#: and Kou et al. 1993 (Applied Optics 32, 3531).
_WATER_NM = (400, 440, 480, 500, 520, 550, 570, 600, 630, 660, 680, 700, 720, 740, 760, 800, 850, 900, 970, 1100, 2500)
_WATER = (
    *(0.0066, 0.0064, 0.0127, 0.0204, 0.0409, 0.0565, 0.0695, 0.222, 0.292, 0.410, 0.465, 0.624, 1.23, 2.71, 2.6),
    *(2.0, 4.2, 6.7, 45.0, 20.0, 1e4),
)
#: Absorption index of ice and the wavelengths, nm: rounded from Warren 1984 (Applied Optics 23, 1206).
_ICE_NM = (400, 550, 600, 700, 800, 900, 1000, 1030, 1100, 1200, 1300, 1400, 1500, 1600, 1700, 1850, 2000, 2250, 2500)
_ICE = (
    *(2.7e-9, 3.1e-9, 5.7e-9, 2.9e-8, 1.34e-7, 4.2e-7, 1.62e-6, 2.3e-6, 1.9e-6, 8e-6, 1.3e-5, 2e-5, 5.9e-4, 3.1e-4),
    *(1.9e-4, 7e-5, 1.6e-3, 2.1e-4, 8e-4),
)
#: What wetness darkens soil by at most in the visible and near infrared, and by how much more beyond.
_WET = (0.5, 0.25)


@cache
def _tables() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / "canopies.npz") as data:
        return dict(data)


def canopies() -> np.ndarray:
    """Return the spectra of 64 canopies of leaf area 0.3 to 6.5 (PROSAIL), shape (canopies, wavelengths)."""
    return _tables()["canopy"] / 1e4


def soils(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return reflectance spectra of soils that differ as measured ones do, more or less wet and rough.

    As in all functions here the shape is (count, wavelengths), at `WAVELENGTH`.
    """
    mean, ways = _tables()["soil_mean"], _tables()["soil_ways"]
    dry = np.exp(mean + np.clip(rng.standard_normal((count, len(ways))), -2, 2) @ ways)
    wetness, bright = rng.uniform(0, 1, (count, 1)), rng.uniform(0.7, 1, (count, 1))
    beyond = 1 / (1 + np.exp(-(WAVELENGTH - 1300) / 50))
    return np.clip(bright * dry * (1 - wetness * (_WET[0] + _WET[1] * beyond)), 0.004, 0.8)


def artificial(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return reflectance spectra of built-up ground, as `soils`: asphalt, concrete, tiles and bright roofs."""
    x = WAVELENGTH / 1000
    edge = 1 / (1 + np.exp(-(x - 0.57) / 0.03))
    asphalt = 0.07 + 0.05 * (1 - np.exp(-(x - 0.4) / 0.5))
    concrete = 0.18 + 0.16 * (1 - np.exp(-(x - 0.4) / 0.25)) - 0.04 * np.exp(-(((x - 2.3) / 0.12) ** 2))
    tiles = 0.06 + 0.2 * edge + 0.1 * np.clip(x - 0.7, 0, 1) - 0.03 * np.exp(-(((x - 0.87) / 0.08) ** 2))
    roof = 0.45 + 0.1 * (1 - np.exp(-(x - 0.4) / 0.1)) - 0.1 * np.clip(x - 1, 0, 1.5)
    share = rng.dirichlet((2, 1.5, 0.8, 0.3), count)
    return share @ np.array([asphalt, concrete, tiles, roof]) * rng.uniform(0.8, 1.2, count)[:, None]


def waters(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return reflectance spectra of water without glint, clear to turbid, as `soils`.

    Gordon et al. 1988 (Journal of Geophysical Research 93, 10909) of absorption by water, algae and dissolved matter
    and of backscattering by particles; the surface lets 0.52 of the radiance out.
    """
    x = WAVELENGTH
    pure = np.exp(np.interp(x, _WATER_NM, np.log(_WATER)))
    chlorophyll, dissolved = 10 ** rng.uniform(-0.5, 1.2, count), 10 ** rng.uniform(-1.5, 0, count)
    particles = 10 ** rng.uniform(-0.3, 1.5, count)
    algae = 0.04 * np.exp(-(((x - 440) / 60) ** 2)) + 0.02 * np.exp(-(((x - 675) / 15) ** 2))
    absorbed = (
        pure
        + np.outer(chlorophyll**0.65, algae)
        + np.outer(dissolved, np.exp(-0.015 * (x - 440)))
        + np.outer(particles, 0.03 * np.exp(-0.011 * (x - 440)))
    )
    scattered = 0.0012 * (x / 500) ** -4.3 + np.outer(particles, 0.01 * (x / 555) ** -0.7)
    part = scattered / (absorbed + scattered)
    return np.pi * 0.52 * (0.0949 * part + 0.0794 * part**2) / (1 - 0.5 * 0.3 * part)


def snows(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return reflectance spectra of snow of grains of 0.1 to 1 mm, some with soot, as `soils`.

    R = exp(-3.6 sqrt(alpha d)) with the absorption alpha of ice and the diameter d (after Kokhanovsky and Zege 2004,
    Applied Optics 43, 1589).
    """
    ice = np.exp(np.interp(WAVELENGTH, _ICE_NM, np.log(_ICE)))
    alpha = 4 * np.pi * ice / (WAVELENGTH * 1e-9)
    grain, soot = 10 ** rng.uniform(-4, -3, count), rng.uniform(0, 0.12, count)
    return np.exp(-3.6 * np.sqrt(np.outer(grain, alpha)) - np.outer(soot, (WAVELENGTH / 500) ** -1.0))
