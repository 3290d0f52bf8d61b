"""Dark dense vegetation: which pixels it is, and the aerosol thickness that makes its colours right.

Over dark vegetation the reflectance at 2.2 um hardly depends on aerosol and tells that in the red and blue (Kaufman
et al. 1997, IEEE TGRS 35, 1286): red = 0.5 * swir, and blue = 0.5 * red + 0.005 as in Sen2Cor.
"""

import numpy as np

from steps.core.compiled import formula, njit
from steps.sentinel2.kinds import REFLECTANCE_SCALE, REFLECTANCE_ZERO
from steps.sentinel2.scene_classes import VEGETATION

#: Limits of the surface reflectance at 2.2 um, the strictest first; a looser one is used only for want of pixels.
SWIR_LIMITS = (0.05, 0.10, 0.12)
_SWIR_LOWEST = 0.01
_RED_HIGHEST = 0.10
_NIR_HIGHEST = 0.38
_NDVI_LOWEST = 0.10
#: Lowest cosine of the sun's incidence, of 75 degrees.
_COS_INCIDENCE = 0.2588
#: One standard deviation of the relations: of red / swir, and of blue - 0.5 * red.
_RED_RATIO = 0.5
_RED_RATIO_SPREAD = 0.1
_BLUE_RATIO = 0.5
_BLUE_OFFSET = 0.005
_BLUE_SPREAD = 0.004


@formula
def _reflectance(stored):
    return (stored - float(REFLECTANCE_ZERO)) * REFLECTANCE_SCALE


@njit(cache=True, nogil=True)
def dark_vegetation(red, nir, swir, classes, near_cloud, ratio, cos_incidence, result):
    """Find dark dense vegetation in a block of rows.

    Parameters
    ----------
    red, nir
        Stored reflectance at the top of the atmosphere (uint16), shape (rows, columns).
    swir
        Stored surface reflectance at 2.2 um (uint16), same shape.
    classes
        Scene classification, same shape.
    near_cloud
        Of pixels that are `ratio` times larger, bool; its first row is that of the block's.
    ratio
        See `near_cloud`.
    cos_incidence
        Stored cosine of the sun's incidence (1e-4).
    result
        Output, uint8: 0, or 1 + the number of the strictest of `SWIR_LIMITS` that the pixel meets.
    """
    for i in range(red.shape[0]):
        for j in range(red.shape[1]):
            r, n, s = _reflectance(red[i, j]), _reflectance(nir[i, j]), _reflectance(swir[i, j])
            result[i, j] = 0
            if (
                classes[i, j] == VEGETATION
                and swir[i, j] > 0
                and _SWIR_LOWEST < s < SWIR_LIMITS[2]
                and r <= _RED_HIGHEST
                and n < _NIR_HIGHEST
                and n - r > _NDVI_LOWEST * (n + r)
                and cos_incidence[i, j] * 1e-4 > _COS_INCIDENCE
                and not near_cloud[i // ratio, j // ratio]
            ):
                result[i, j] = 1 if s < SWIR_LIMITS[0] else (2 if s < SWIR_LIMITS[1] else 3)


def fit_thickness(
    aot_nodes: np.ndarray,
    blue: np.ndarray,
    red: np.ndarray,
    swir: np.ndarray,
    prior: np.ndarray | None = None,
    prior_spread: float = 0.1,
) -> np.ndarray:
    """Return the aerosol thickness at which surface reflectances best obey the relations of dark vegetation.

    The red has to be half of the 2.2 um reflectance within a spread of 20 %, the blue has to be
    0.5 * red + 0.005 within 0.004. The second, which does not involve 2.2 um, thus weighs more. A prior, a forecast
    of the thickness, counts as a third measurement.

    Parameters
    ----------
    aot_nodes
        Aerosol optical thickness at 550 nm, ascending, shape (n,).
    blue, red, swir
        Surface reflectances that follow from each of them, shape (n, ...); linear between the nodes.
    prior, prior_spread
        Expected thickness, shape (...), and its standard deviation.

    Returns
    -------
    numpy.ndarray
        Shape (...), within the nodes; NaN where a reflectance is NaN.
    """
    residuals = [
        (red - _RED_RATIO * swir) / (_RED_RATIO_SPREAD * np.maximum(swir, 0.02)),
        (blue - _BLUE_RATIO * red - _BLUE_OFFSET) / _BLUE_SPREAD,
    ]
    if prior is not None:
        shape = (-1, *(1,) * np.ndim(prior))
        residuals.append((aot_nodes.reshape(shape) - prior) / prior_spread)
    start = np.stack(residuals)[:, :-1]
    change = np.diff(np.stack(residuals), axis=1)
    # In each interval the sum of squares is a parabola of the fraction t; the lowest of their minima wins.
    t = np.clip(-(start * change).sum(axis=0) / np.maximum((change**2).sum(axis=0), 1e-30), 0, 1)
    misfit = ((start + t * change) ** 2).sum(axis=0)
    best = np.argmin(np.where(np.isnan(misfit), np.inf, misfit), axis=0)[None]
    fraction = np.take_along_axis(t, best, 0)[0]
    return aot_nodes[best[0]] + fraction * np.diff(aot_nodes)[best[0]] + 0 * misfit[0]


def highest_thickness(aot_nodes: np.ndarray, reflectance: np.ndarray) -> np.ndarray:
    """Return the aerosol thickness above which a dark surface's reflectance would be negative.

    Parameters
    ----------
    aot_nodes
        As for `fit_thickness`.
    reflectance
        Surface reflectance that follows from each level, falling, shape (n, ...).

    Returns
    -------
    numpy.ndarray
        Shape (...), within the nodes; infinite where the reflectance is NaN or positive at every node.
    """
    positive = reflectance >= 0
    last = np.clip(positive.sum(axis=0) - 1, 0, aot_nodes.size - 2)[None]
    upper, lower = (np.take_along_axis(reflectance, last + k, 0)[0] for k in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        zero = aot_nodes[last[0]] + np.clip(upper / (upper - lower), 0, 1) * (
            aot_nodes[last[0] + 1] - aot_nodes[last[0]]
        )
    return np.where(positive.all(axis=0) | np.isnan(reflectance).any(axis=0), np.inf, zero)
