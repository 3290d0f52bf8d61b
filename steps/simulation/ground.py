"""The ground of a scene: which spectra each pixel mixes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steps.simulation import fields, spectra
from steps.simulation.banding import Sampled

#: Kinds of cover, in the order in which the landscape rises from the waters.
COVERS = ("water", "urban", "desert", "bare", "crop", "grass", "forest", "snow")
#: Spectra a kind.
_VARIETY = 24
#: Side of a parcel in pixels of 10 m.
_PARCEL = 18.0


@dataclass(frozen=True)
class Ground:
    """A mosaic at 10 m: each pixel is a mixture of two spectra under a brightness.

    Attributes
    ----------
    spectra
        Shape (spectra, wavelengths of `spectra.WAVELENGTH`).
    first, second
        Which spectra, uint16 (rows, columns).
    share
        Of the second.
    brightness
        That the mixture is multiplied with.
    cover
        Number of the kind in `COVERS`, uint8.
    """

    spectra: np.ndarray
    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    brightness: np.ndarray
    cover: np.ndarray

    def reflectance(self, sampled: Sampled) -> np.ndarray:
        """Return the reflectance in a band, given by its spectral weights, float32 (rows, columns)."""
        band = sampled.mean(spectra.WAVELENGTH, self.spectra).astype("f4")
        mixed = band[self.first] * (1 - self.share) + band[self.second] * self.share
        return mixed * self.brightness


def mosaic(shape: tuple[int, int], shares: Mapping[str, float], rng: np.random.Generator) -> Ground:
    """Make a fractal mosaic of parcels.

    Parameters
    ----------
    shape
        Rows and columns of 10 m.
    shares
        Kind of cover (`COVERS`) to its share of the area; the shares are scaled to a sum of 1.
    """
    library = _library(rng)
    parcel = fields.parcels(shape, _PARCEL, rng)
    height = fields.fractal(shape, 2.6, rng)
    number = parcel.max() + 1
    count = np.bincount(parcel.ravel(), minlength=number)
    # A parcel is of one kind, but water and snow have shores of their own.
    mean = np.bincount(parcel.ravel(), height.ravel(), minlength=number) / np.maximum(count, 1)
    level = np.where(_rank_share(height, shares), height, mean[parcel])
    rank = fields.quantiles(level + 1e-6 * height)
    weights = np.array([shares.get(kind, 0.0) for kind in COVERS])
    cover = np.searchsorted(np.cumsum(weights / weights.sum())[:-1], rank, side="right").astype("u1")
    return _filled(cover, parcel, number, library, rng)


def _rank_share(height: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """Return where water and snow may be, by height."""
    rank, total = fields.quantiles(height), sum(shares.values())
    return (rank < shares.get("water", 0) / total) | (rank > 1 - shares.get("snow", 0) / total)


def _library(rng: np.random.Generator) -> dict[str, np.ndarray]:
    canopies = spectra.canopies()
    near, red = (canopies[:, np.searchsorted(spectra.WAVELENGTH, nm)] for nm in (865, 665))
    dense = np.argsort(near - red)
    return {
        "water": spectra.waters(_VARIETY, rng),
        "urban": spectra.artificial(_VARIETY, rng),
        "bare": spectra.soils(_VARIETY, rng),
        "canopy": canopies,
        # Crowns shade each other, which the brightness does.
        "forest": canopies[dense[len(dense) // 3 :]],
        "snow": spectra.snows(_VARIETY, rng),
    }


def _filled(
    cover: np.ndarray, parcel: np.ndarray, number: int, library: Mapping[str, np.ndarray], rng: np.random.Generator
) -> Ground:
    names = list(library)
    starts = dict(zip(names, np.cumsum([0, *(len(library[n]) for n in names)]), strict=False))
    texture = fields.fractal(cover.shape, 1.8, rng).astype("f4")
    fine = fields.fractal(cover.shape, 0.8, rng).astype("f4")
    first, second = np.zeros((2, *cover.shape), "u2")
    share, brightness = np.zeros((2, *cover.shape), "f4")
    #: Kind: spectra of both parts, range of the second's share, of the brightness, and how far both vary in a parcel.
    recipe = {
        "water": ("water", "water", (0, 1), (1, 1), 0.02),
        "urban": ("urban", "canopy", (0.1, 0.6), (0.8, 1.1), 0.10),
        "bare": ("bare", "canopy", (0, 0.15), (0.9, 1.1), 0.04),
        "desert": ("bare", "bare", (0, 1), (0.9, 1.3), 0.04),
        "crop": ("canopy", "bare", (0, 0.6), (0.9, 1.1), 0.04),
        "grass": ("canopy", "bare", (0.1, 0.7), (0.85, 1), 0.04),
        "forest": ("forest", "canopy", (0, 0.3), (0.45, 0.85), 0.12),
        "snow": ("snow", "snow", (0, 1), (0.9, 1), 0.02),
    }
    for kind, (one, other, shares, bright, varied) in recipe.items():
        here = cover == COVERS.index(kind)
        if not here.any():
            continue
        of = parcel[here]
        # Waters are one or two in a scene, not one a parcel.
        groups = np.zeros(number, "i8") if kind in ("water", "snow") else np.arange(number)
        picks = [rng.integers(len(library[name]), size=number)[groups] + starts[name] for name in (one, other)]
        first[here], second[here] = (pick[of] for pick in picks)
        mix, light = (rng.uniform(*ends, number)[groups] for ends in (shares, bright))
        share[here] = np.clip(mix[of] + 0.08 * texture[here] * (shares[1] > shares[0]), 0, 1)
        brightness[here] = light[of] * np.clip(1 + varied * (0.7 * texture[here] + 0.7 * fine[here]), 0.3, 2)
    return Ground(np.concatenate([library[n] for n in names]), first, second, share, brightness, cover)
