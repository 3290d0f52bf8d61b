"""What ground looks like: how likely a surface reflectance is in all bands together.

Vegetation, soil, built-up ground and water and their mixtures fill a small part of what reflectances could be. Whoever
takes the aerosol for too thin sees ground that is too blue, and too blue to be true. The prior is a mixture of normal
distributions of log(reflectance + `SHIFT`), continued in a straight line below 0. It is fitted to measured spectra of
soils, dry plants and built-up ground, and to simulated ones of vegetation and water
(`steps.atmosphere.extract_surface_prior`).
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from steps.atmosphere.tables import DATA
from steps.core.compiled import njit

FILE = "surface_prior.npz"
#: Bands that tell aerosol from ground: those in windows of the atmosphere, without the neighbours of B05 and B8A.
BANDS = ("B01", "B02", "B03", "B04", "B05", "B8A", "B11", "B12")
#: Added to reflectances before their logarithm is taken, so that small errors of dark ground stay small.
SHIFT = 0.01
#: Standard deviation of what radiative transfer and noise add to reflectance.
_ERROR = 0.0015


class SurfacePrior(NamedTuple):
    """A mixture of k normal distributions in d dimensions.

    Attributes
    ----------
    log_scale
        Logarithm of each one's weight and of its density at the mean, shape (k,).
    mean
        Shape (k, d).
    whitening
        Lower triangle L for which L (x - mean) has unit covariance, shape (k, d, d).
    """

    log_scale: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray


@cache
def _shipped() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, means and covariances of the prior in the repository."""
    with np.load(DATA / FILE) as arrays:
        weights, mean, covariance = (arrays[name].astype("f8") for name in ("weights", "means", "covariances"))
    return weights, mean, covariance


def surface_prior(error: np.ndarray | float = 0.0) -> SurfacePrior:
    """Return the shipped prior, widened by what surface reflectances are wrong by.

    Parameters
    ----------
    error
        Standard deviation of what calibration makes of them, one number or shape (d,).
    """
    weights, mean, covariance = _shipped()
    of_logarithm = np.hypot(_ERROR, error) / np.exp(mean)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance + of_logarithm[..., None] ** 2 * np.eye(mean.shape[1])))
    log_scale = np.log(weights) + np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    return SurfacePrior(log_scale - mean.shape[1] / 2 * np.log(2 * np.pi), mean, whitening)


@njit(cache=True, nogil=True)
def log_density(reflectance, prior, result):
    """Compute the logarithm of the prior's density of surface reflectance.

    Parameters
    ----------
    reflectance
        Shape (n, d), float64, in the order of `BANDS`.
    prior
        `SurfacePrior`.
    result
        Output, shape (n,), float64; not a number where a reflectance is none.
    """
    log_scale, mean, whitening = prior
    d = reflectance.shape[1]
    x, distance = np.empty(d), np.empty(log_scale.size)
    for n in range(reflectance.shape[0]):
        slope = 0.0
        for b in range(d):
            positive = np.log(max(reflectance[n, b], 0.0) + SHIFT)
            x[b] = positive + min(reflectance[n, b], 0.0) / SHIFT
            slope += positive
        highest = -np.inf
        for k in range(log_scale.size):
            square = 0.0
            for i in range(d):
                y = 0.0
                for j in range(i + 1):
                    y += whitening[k, i, j] * (x[j] - mean[k, j])
                square += y * y
            distance[k] = log_scale[k] - 0.5 * square
            highest = max(highest, distance[k])
        total = 0.0
        for k in range(log_scale.size):
            total += np.exp(distance[k] - highest)
        # The density of reflectance, not of its logarithm.
        result[n] = highest + np.log(total) - slope
