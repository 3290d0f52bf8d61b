"""Make the prior of surface reflectance again.

`python -m steps.atmosphere.extract_surface_prior --folder steps/atmosphere/data`

For developers only; no run of the pipeline needs this. It draws spectra of soils, dry plants and built-up ground
(measured ones of the package `earthlib`), of canopies over them (PROSAIL: Jacquemoud et al. 2009, Remote Sensing of
Environment 113, S56) and of water, mixes them as pixels do, and fits a mixture of normal distributions to them. It
needs `pip install prosail earthlib`.
"""

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from steps.atmosphere.extract import write_checksums
from steps.atmosphere.responses import cell_weights
from steps.atmosphere.surface_prior import BANDS, FILE, SHIFT
from steps.core.cli import cli
from steps.sentinel2.responses import reference_response

#: Spectra to draw, and distributions to fit.
SPECTRA = 30_000
COMPONENTS = 30
#: Wavelengths of PROSAIL, nm.
WAVELENGTH = np.arange(400, 2501.0)
#: Kinds of pure ground, and how often a pixel of land is mostly of one and partly of another.
KINDS = ("canopy", "soil", "dry", "built", "water")
MAIN_SHARES = (0.38, 0.23, 0.19, 0.13, 0.07)
OTHER_SHARES = (0.58, 0.19, 0.12, 0.08, 0.03)
#: Share of water among all pixels, and of land that is mixed.
OF_WATER = 0.15
MIXED = 0.75
#: What water is made from, at the bands' middle (nm): absorption of pure water (1/m; Pope and Fry 1997, Applied Optics
#: 36, 8710; Kou et al. 1993, Applied Optics 32, 3531), and of phytoplankton relative to that at 443 nm.
MIDDLE = (443, 492, 560, 665, 704, 865, 1614, 2202)
PURE_WATER = (0.0069, 0.0154, 0.0619, 0.429, 0.704, 4.6, 670.0, 2200.0)
PLANKTON = (1, 0.72, 0.22, 0.42, 0.05, 0, 0, 0)
#: Sun glint to Sentinel-2 is some hundredths in summer (Harmel et al. 2018, Remote Sensing of Environment 204, 308): a
#: third of the waters have none, a third this in the mean, and a third any up to the second.
GLINT = 0.02
STRONG_GLINT = 0.12
#: Steps of the fit, and what is added to the variances of a distribution (of the logarithm).
STEPS = 60
LEAST_SPREAD = 0.02
#: Measured spectra that `tests/test_plain_spectra.py` looks at, which are in the second half for that.
OF_TESTS = ("FS21_FS619", "MCON_Tower_LitterNeedles_Canopy", "Marsh", "spcsmg.003-")
#: Lowest reflectance from 400 to 500 nm of a measured spectrum that is taken; some instruments give zeros there.
LEAST_BLUE = 0.004
#: Share of the soils that are made of PROSAIL's two, which are bluer below 490 nm than any that is measured here; of
#: the dry plants that are canopies of PROSAIL; of the built-up ground that is a straight line.
OF_PROSAIL = 0.2
DRY_CANOPIES = 0.5
STRAIGHT = 0.3
#: Water on a wet soil, mm at most, and what wetness darkens it by.
WATER_FILM = 0.2
DARKENED = 0.5


def measured(kind: Literal["bare", "npv", "built"], half: Literal[0, 1]) -> np.ndarray:
    """Return measured spectra of soils, dry plants or built-up ground at `WAVELENGTH`, shape (spectra, wavelengths).

    They are of the package `earthlib` 1.1.0: soils of the ICRAF-ISRIC library, built-up ground of Santa Barbara (Herold
    et al. 2004, Remote Sensing of Environment 91, 304) and others. The prior is fitted to the first half; simulated
    scenes and tests are made of the second. Soils of one place are in one half.
    """
    import pandas as pd
    from spectral.io import envi

    folder = Path(str(importlib.resources.files("earthlib"))) / "data"
    library = envi.open(folder / "spectra.sli.hdr", folder / "spectra.sli")
    names, wavelength = pd.read_csv(folder / "spectra.csv"), 1000 * np.array(library.bands.centers)
    place = names.groupby(["LAT", "LON"], dropna=False).ngroup().to_numpy()
    other = np.where(names.SOURCE == "icraf-isric-soil-database", place, names.index) % 2
    other[names.NAME.str.strip().isin(OF_TESTS)] = 1
    blue = library.spectra[:, wavelength <= 500].min(axis=1)
    wanted = (kind == names.LEVEL_2) & (other == half) & (blue > LEAST_BLUE)
    return np.array([np.interp(WAVELENGTH, wavelength, spectrum) for spectrum in library.spectra[wanted]])


def wet_soil(random: np.random.Generator, dry: np.ndarray) -> np.ndarray:
    """Return the reflectance at `WAVELENGTH` of a measured soil, more or less wet, rough and shaded."""
    wetness, film = random.uniform(), random.uniform(0, WATER_FILM * 1e-3)
    absorption = np.exp(np.interp(WAVELENGTH, MIDDLE, np.log(PURE_WATER)))
    wet = dry * (1 - DARKENED * wetness) * np.exp(-2 * wetness * film * absorption)
    return np.clip(random.uniform(0.7, 1.1) * wet, 0.004, 0.9)


def soil_of_prosail(random: np.random.Generator, dry: np.ndarray, wet: np.ndarray) -> np.ndarray:
    """Return the reflectance at `WAVELENGTH` of a soil between dry and wet, more or less red, with iron or without."""
    share = random.uniform()
    spectrum = share * dry ** random.uniform(0.8, 1.3) + (1 - share) * random.uniform(1, 3) * wet
    redness = random.uniform(-0.1, 1.3)
    spectrum = spectrum * (np.minimum(WAVELENGTH, 900) / 900) ** redness
    for depth, middle, width in ((0.35 * redness, 500, 70), (0.12, 900, 90)):
        spectrum = spectrum * (1 - random.uniform(0, 1) * depth * np.exp(-(((WAVELENGTH - middle) / width) ** 2)))
    beyond = np.maximum(np.log(WAVELENGTH / 1600), 0)
    spectrum = spectrum * np.exp(random.normal(0, 0.2) * beyond)
    return np.clip(spectrum / spectrum.max() * random.uniform(0.08, 0.6), 0.005, 0.8)


def canopy(random: np.random.Generator, ground: np.ndarray, *, dry: bool) -> np.ndarray:
    """Return the reflectance at `WAVELENGTH` of a canopy of green or dry leaves over a ground (PROSAIL-D)."""
    from prosail import run_prosail

    thin, dense = random.uniform(0.2, 2), random.uniform(1, 8)
    chlorophyll = random.uniform(0, 12) if dry else np.clip(random.normal(45, 18), 10, 90)
    leaf = {
        "n": random.uniform(1.2, 2.3),
        "cab": chlorophyll,
        "car": random.uniform(0, 4) if dry else chlorophyll * random.uniform(0.18, 0.32),
        "ant": 0.0 if dry else random.choice([0.0, random.uniform(0, 4)]),
        "cbrown": random.uniform(0.3, 1.5) if dry else abs(random.normal(0, 0.25)),
        "cw": random.uniform(0.001, 0.008) if dry else random.uniform(0.006, 0.04),
        "cm": random.uniform(0.005, 0.02) if dry else random.uniform(0.002, 0.016),
    }
    light = {
        "tts": random.uniform(20, 68),
        "tto": random.uniform(0, 11),
        "psi": random.uniform(0, 180),
    }
    return run_prosail(
        **leaf,
        lai=random.choice([thin, dense]),
        lidfa=random.uniform(30, 75),
        hspot=random.uniform(0.02, 0.4),
        **light,
        prospect_version="D",
        rsoil0=ground,
    )


def straight(random: np.random.Generator) -> np.ndarray:
    """Return the reflectance at `WAVELENGTH` of roofs, roads and rock: nearly a straight line."""
    spectrum = random.uniform(0.05, 0.4) * (WAVELENGTH / 1000) ** random.uniform(-0.1, 0.8)
    return spectrum * (1 - random.uniform(0, 0.2) * (WAVELENGTH > 1500))


def water(random: np.random.Generator) -> np.ndarray:
    """Return the reflectance of water in each of `BANDS`, from clear to turbid, some of it with a glint.

    Gordon et al. 1988 (Journal of Geophysical Research 93, 10909): the reflectance below the surface is
    0.089 u + 0.125 u^2 with u = backscattering / (absorption + backscattering).
    """
    wavelength, plankton = np.array(MIDDLE), np.array(PLANKTON)
    chlorophyll, sediment, humus = 10 ** random.uniform((-1, -1, -1.7), (1.7, 2.0, 0.5))
    absorption = PURE_WATER + 0.05 * chlorophyll**0.65 * plankton
    absorption += humus * np.exp(-random.uniform(0.013, 0.018) * (wavelength - 443))
    absorption += 0.03 * sediment * np.exp(-0.011 * (wavelength - 443))
    scattering = 0.00145 * (500 / wavelength) ** 4.32 + 0.001 * chlorophyll**0.6
    scattering += 0.012 * sediment * (550 / wavelength) ** random.uniform(0, 1.2)
    u = scattering / (absorption + scattering)
    below = 0.089 * u + 0.125 * u**2
    glint = random.choice([0, random.exponential(GLINT), random.uniform(0, STRONG_GLINT)])
    return np.pi * 0.52 * below / (1 - 1.7 * below) + glint


def one_of(random: np.random.Generator, spectra: np.ndarray) -> np.ndarray:
    """Return one of several spectra."""
    return spectra[random.integers(len(spectra))]


def pure_spectra(random: np.random.Generator, number: int) -> dict[str, np.ndarray]:
    """Return reflectances of `number` spectra of each of `KINDS` in `BANDS`, shape (number, bands)."""
    from prosail.spectral_library import get_spectra

    soils, dry_plants, surfaces = measured("bare", 0), measured("npv", 0), measured("built", 0)
    of_prosail = get_spectra().soil
    average = np.array([cell_weights(reference_response("S2A", band), WAVELENGTH, 1.0) for band in BANDS])
    average /= average.sum(axis=1, keepdims=True)

    def soil() -> np.ndarray:
        if random.uniform() < OF_PROSAIL:
            return soil_of_prosail(random, of_prosail.rsoil1, of_prosail.rsoil2)
        return wet_soil(random, one_of(random, soils))

    def dry() -> np.ndarray:
        return canopy(random, soil(), dry=True) if random.uniform() < DRY_CANOPIES else one_of(random, dry_plants)

    def surface() -> np.ndarray:
        return straight(random) if random.uniform() < STRAIGHT else one_of(random, surfaces)

    draw = {
        "canopy": lambda: average @ canopy(random, soil(), dry=False),
        "soil": lambda: average @ soil(),
        "dry": lambda: average @ dry(),
        "built": lambda: average @ surface(),
        "water": lambda: water(random),
    }
    return {kind: np.array([draw[kind]() for _ in range(number)]) for kind in KINDS}


def pixels(random: np.random.Generator, pure: dict[str, np.ndarray], number: int) -> np.ndarray:
    """Return reflectances of pixels, shape (number, bands): water, and land of up to four kinds, more or less lit."""

    def one(kinds: Sequence[float]) -> np.ndarray:
        return one_of(random, pure[random.choice(KINDS, p=kinds)])

    result = []
    for _ in range(number):
        if random.uniform() < OF_WATER:
            result.append(one([kind == "water" for kind in KINDS]))
            continue
        shares = np.ones(1)
        if random.uniform() < MIXED:
            shares = np.sort(random.dirichlet(np.full(random.integers(2, 5), 0.8)))[::-1]
        parts = [one(MAIN_SHARES if n == 0 else OTHER_SHARES) for n in range(shares.size)]
        result.append(random.uniform(0.55, 1.05) * (shares @ parts))
    return np.array(result)


def fit_mixture(random: np.random.Generator, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a mixture of normal distributions by expectation and maximisation.

    Dempster, Laird and Rubin 1977 (Journal of the Royal Statistical Society B 39, 1), begun from k-means.

    Parameters
    ----------
    random
        For the start.
    points
        Shape (n, d).

    Returns
    -------
    tuple of numpy.ndarray
        Weights (k,), means (k, d) and covariances (k, d, d).
    """
    from scipy.cluster.vq import kmeans2
    from scipy.stats import multivariate_normal

    _, nearest = kmeans2(points, COMPONENTS, minit="++", rng=random, iter=20)
    belongs = np.eye(COMPONENTS)[nearest]
    for _ in range(STEPS):
        belongs = belongs[:, belongs.sum(axis=0) > 5 * points.shape[1]]
        total = belongs.sum(axis=0)
        means = belongs.T @ points / total[:, None]
        around = points[:, None] - means
        covariances = np.einsum("nk,nki,nkj->kij", belongs, around, around, optimize=True) / total[:, None, None]
        covariances += LEAST_SPREAD**2 * np.eye(points.shape[1])
        weights = total / total.sum()
        density = [
            w * multivariate_normal.pdf(points, m, c) for w, m, c in zip(weights, means, covariances, strict=True)
        ]
        belongs = np.transpose(density) / np.sum(density, axis=0)[:, None]
    return weights, means, covariances


def run(folder: Path) -> None:
    """Write the prior into FOLDER, and the checksums of what is there."""
    random = np.random.default_rng(20)
    pure = pure_spectra(random, SPECTRA // 10)
    points = np.log(pixels(random, pure, SPECTRA) + SHIFT)
    weights, means, covariances = fit_mixture(random, points)
    np.savez_compressed(
        folder / FILE, weights=weights.astype("f4"), means=means.astype("f4"), covariances=covariances.astype("f4")
    )
    write_checksums(folder)


if __name__ == "__main__":
    cli(run)
