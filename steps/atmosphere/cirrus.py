"""Thin cirrus: the light that it adds, found from B10, and what the other bands see without it.

B10 (1375 nm) lies where water vapour hides the ground, and sees clouds of ice above most of that vapour. Where ice
hardly absorbs, in the visible and near infrared, thin cirrus is as bright as in B10 but for the vapour above it: one
ratio for a scene, which its ground tells (Gao et al. 1998, Journal of Geophysical Research 103, 32169; Gao et al. 2002,
IEEE TGRS 40, 1659; Richter et al. 2011, International Journal of Remote Sensing 32, 2931). In the short-wave infrared
it is darker, and how much depends on the size of its crystals.

With its reflectance R in a band, a cirrus adds R to what the band sees, of which 1 - R comes through from below.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steps.core.compiled import njit
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO

#: Height above the ground that is assumed, m: most cirrus of middle latitudes lies between 8 and 12 km (Sassen et al.
#: 2008, Journal of Geophysical Research 113, D00A12). Bands that look 0.6 degrees apart see it 20 m elsewhere for 2 km.
HEIGHT = 10_000.0
#: Reflectance in the visible relative to that in B10, before the scene is looked at, and its standard uncertainty: the
#: vapour above clouds of 8 to 12 km leaves 0.6 to 0.94 of B10's light (Richter et al. 2011), in humid air less.
RATIO = (1.25, 0.4)
#: The same of the short-wave infrared relative to the visible: crystals of 20 to 60 um absorb a third to two thirds
#: there; rather too little is taken out than too much (Sen2Cor takes half of it in both bands).
ICE = {"B11": (0.5, 0.15), "B12": (0.4, 0.15)}
#: What vapour leaves of B09's light above a cloud, as a power of what it leaves of B10's (Richter et al. 2011).
_B09_POWER = 0.1
#: Bands by which the ratios are found, and what predicts the ground in them.
_PREDICTED = ("B02", "B03", "B04", "B05")
_PREDICTORS = ("B8A", *ICE)
#: Standard uncertainty of a slope, at least: ground is not quite linear in other bands.
_EXACT = 0.06
#: Standard deviation of the Gaussian that smooths B10, m: of the noise, 0.0015, a sixth is left.
_SMOOTHING = 150.0
#: Reflectance in B10 below which nothing is cirrus, and from twice which on all of it is: twice the noise left.
_LEAST = 0.0006
#: What molecules above the vapour reflect in B10 at most: all of the air would reflect 0.0007 (optical thickness
#: 0.0025).
_CLEAR = 0.0006
#: Reflectance in B10 at which cirrus is thick: there the correction stays as it is.
_THICK = 0.1
#: Parts of the scene along each side that are left out in turn, to see how much the result depends on each.
_PARTS = 4


class Ratios(NamedTuple):
    """Reflectance of the cirrus in each band relative to that in B10, and standard uncertainty of the visible one."""

    of_band: dict[str, float]
    uncertainty: float


class Term(NamedTuple):
    """Linear equation of the stored numbers of a band without cirrus: `added` + `gain` * those with it, coarse maps."""

    added: np.ndarray
    gain: np.ndarray


def cirrus_in_b10(b10: np.ndarray, ground: np.ndarray, valid: np.ndarray, pixel: float) -> np.ndarray:
    """Return the reflectance of cirrus in B10, smooth, 0 where there is none.

    Parameters
    ----------
    b10, ground
        Reflectance at the top of the atmosphere, and what of it is the ground's; shape (rows, columns).
    valid
        Where they are known.
    pixel
        Its size, m.
    """
    from scipy.ndimage import gaussian_filter

    if not valid.any():
        return np.zeros(b10.shape, np.float32)
    excess = np.where(valid, b10 - ground, 0).astype("f4")
    weight = gaussian_filter(valid.astype("f4"), _SMOOTHING / pixel, mode="nearest")
    smooth = gaussian_filter(excess, _SMOOTHING / pixel, mode="nearest") / np.maximum(weight, np.float32(1e-3))
    # What molecules reflect is in all pixels, so in those with the least, too.
    smooth -= np.clip(np.percentile(smooth[valid], 25), 0, _CLEAR).astype("f4")
    seen = np.clip(2 * (smooth - np.float32(_LEAST)), 0, np.maximum(smooth, 0))
    return np.where(valid, np.minimum(seen, np.float32(_THICK)), np.float32(0))


def displaced(cirrus: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the cirrus that lies `down` rows and `right` columns from each pixel; arrays of one shape."""
    from scipy.ndimage import map_coordinates

    rows, columns = np.indices(cirrus.shape, np.float32)
    return map_coordinates(cirrus, (rows + down, columns + right), np.float32, order=1, mode="nearest")


def ratios(toa: Mapping[str, np.ndarray], cirrus: Mapping[str, np.ndarray], ground: np.ndarray) -> Ratios:
    """Return how bright the cirrus is in each band, from how the scene's ground looks with more and less of it.

    What the ground reflects in one band is predicted, linearly, from others; what is left goes with the cirrus, as it
    is in that band less than what it is in those. Three unknowns, the ratio in the visible and near infrared and those
    in B11 and B12, follow from some such bands and from what is usual, by the certainty of each.

    Parameters
    ----------
    toa, cirrus
        Band to reflectance at the top of the atmosphere, and to that of the cirrus in B10 where the band sees it.
    ground
        Where ground is seen, through cirrus or not.
    """
    usual, spread = RATIO
    shares = {band: share for band, (share, _) in ICE.items()}
    # Rows: the ratio; how much darker B11 and B12 are. Each is to be 0, by its standard uncertainty.
    known = np.array([[1.0, 0, 0], *([-share, *row] for share, row in zip(shares.values(), np.eye(2), strict=True))])
    values, weights = np.array([usual, 0, 0]), 1 / np.array([spread, *(usual * u for _, u in ICE.values())])
    if ground.any() and cirrus["B02"][ground].std() > _LEAST:
        fits = [_regression(band, toa, cirrus[band], ground) for band in _PREDICTED]
        deviations = np.array([max(np.sqrt((_PARTS**2 - 1) * np.var(slope[1:])), _EXACT) for _, slope in fits])
        weights = np.concatenate([1 / deviations, weights])
        solved = [
            _least_squares([*(row[k] for row, _ in fits), *known], [*(slope[k] for _, slope in fits), *values], weights)
            for k in range(_PARTS**2 + 1)
        ]
    else:
        solved = [_least_squares(known, values, weights)]
    found, parts = solved[0], np.array(solved[1:] or solved)
    of_band = dict.fromkeys((band for band in toa if band != "B10"), float(found[0]))
    of_band |= dict(zip(ICE, map(float, found[1:]), strict=True))
    if "B09" in of_band:
        of_band["B09"] **= 1 - _B09_POWER
    # Parts do not differ in what they are told.
    varies = np.sqrt((len(parts) - 1) * np.var(parts[:, 0])) if len(solved) > 1 else spread
    return Ratios(of_band, float(min(max(varies, _EXACT), spread)))


def _least_squares(rows: ArrayLike, values: ArrayLike, weights: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(np.array(rows) * weights[:, None], np.array(values) * weights)[0]


def _regression(
    band: str, toa: Mapping[str, np.ndarray], cirrus: np.ndarray, ground: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how a band goes with the cirrus where others say the same, and what that is made of.

    Returns
    -------
    rows : shape (1 + parts, 3)
        Factors of the unknowns of `ratios`, whose sum the slope is; first of the whole scene, then without each part.
    slopes : shape (1 + parts,)
    """
    down, right = (np.arange(n) * _PARTS // n for n in ground.shape)
    part = (down[:, None] * _PARTS + right)[ground]
    others = [toa[b][ground] for b in _PREDICTORS]
    seen = np.stack([np.ones(part.size), *others, cirrus[ground], toa[band][ground]]).astype("f8")
    products = np.stack([seen[:, part == k] @ seen[:, part == k].T for k in range(_PARTS**2)])
    whole = products.sum(axis=0)
    moments = np.concatenate([whole[None], whole - products])
    solved = np.stack([np.linalg.lstsq(m[:-1, :-1], m[:-1, -1])[0] for m in moments])
    # A cirrus of reflectance R adds R (1 - what is below).
    dark = 1 - whole[0] / whole[0, 0]
    by_others = solved[:, 1:-1] * dark[1:-2]
    return np.column_stack([dark[-1] - by_others[:, 0], -by_others[:, 1:]]), solved[:, -1]


def without(toa: np.ndarray, cirrus: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return the reflectance at the top of the atmosphere without the cirrus, (toa - cirrus) / (1 - hidden).

    Parameters
    ----------
    toa
        Reflectance with it.
    cirrus
        Reflectance of the cirrus in the same band.
    hidden
        Share of the light from below that it hides, 0 to 1.
    """
    return (toa - cirrus) / (1 - hidden)


def term(cirrus: np.ndarray, ratio: float, hidden: float) -> Term:
    """Return the equation of the stored numbers of a band without cirrus.

    Parameters
    ----------
    cirrus
        Reflectance in B10 where the band sees the cirrus, coarse.
    ratio, hidden
        Reflectance in the band, and the share of light from below that is lost, relative to that.
    """
    gain = 1 / (1 - np.float32(hidden) * cirrus)
    zero, one = np.float32(REFLECTANCE_ZERO), np.float32(REFLECTANCE_ONE)
    return Term(zero - gain * (zero + one * np.float32(ratio) * cirrus), gain)


@njit(cache=True, nogil=True)
def remove(stored, added, gain, rows, columns, result):
    """Compute the stored numbers of a block of rows without cirrus.

    Parameters
    ----------
    stored
        Stored reflectance (uint16, 0 = no data), shape (rows, columns).
    added, gain
        The coarse maps of `Term`, float32.
    rows, columns
        Where the block's pixels lie in these, in units of their pixels from the middle of the first; beyond the edge
        its value counts.
    result
        Output: stored reflectance, shape of `stored`.
    """
    height, width = added.shape
    left, part = np.empty(columns.size, np.int32), np.empty(columns.size, np.float32)
    for j in range(columns.size):
        place = min(max(columns[j], 0.0), width - 1.0)
        left[j] = min(int(place), max(width - 2, 0))
        part[j] = place - left[j]
    right = min(1, width - 1)
    for i in range(rows.size):
        place = min(max(rows[i], 0.0), height - 1.0)
        above = min(int(place), max(height - 2, 0))
        below, weight = min(above + 1, height - 1), np.float32(place - above)
        of_added = added[above] + (added[below] - added[above]) * weight
        of_gain = gain[above] + (gain[below] - gain[above]) * weight
        for j in range(columns.size):
            k, t = left[j], part[j]
            a = of_added[k] + (of_added[k + right] - of_added[k]) * t
            g = of_gain[k] + (of_gain[k + right] - of_gain[k]) * t
            value = min(max(a + g * np.float32(stored[i, j]) + np.float32(0.5), np.float32(1)), np.float32(65535))
            result[i, j] = np.uint16(value) if stored[i, j] != 0 else np.uint16(0)
