"""A tile at a glance: its images at 80 m, which are quick to decode.

JPEG 2000 holds an image as an ever finer sequence of wavelets; those that are finer than wanted are not decoded.
"""

from collections.abc import Mapping

import numpy as np

from steps.core.mesh import interpolate
from steps.core.rasters import Grid
from steps.l1c.metadata import L1C, internal_numbers
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.kinds import REFLECTANCE_OFFSET, REFLECTANCE_SCALE
from steps.sentinel2.scene import OVERVIEW

#: Pixels of the overview around one without data that the wavelets mix with it.
_BLURRED = 2
#: Stored number of reflectance 0.
_REFLECTANCE_0 = round(-REFLECTANCE_OFFSET / REFLECTANCE_SCALE)


def reduced(product: L1C, band: str) -> np.ndarray:
    """Return a band of 10 or 20 m on the overview's grid, in the internal scale, without decoding it in full.

    Of images whose tiles are not those of SAFE products it differs from `reduced_rows` at the borders of tiles.

    Raises
    ------
    StepError
        If it cannot be decoded.
    """
    dn = product.safe.reduced(product.images[band], OVERVIEW // PIXEL_SIZE[band])
    return internal_numbers(product, band, dn, 20)[0]


def reduced_rows(product: L1C, band: str, dn: np.ndarray) -> np.ndarray:
    """Return rows of a band of 10 or 20 m on the overview's grid, made from its digital numbers.

    Parameters
    ----------
    dn
        Rows of the whole tile that begin with a tile of the image (`TILE_SIZE`) and end with one or with the image.
    """
    from steps.l1c import wavelet

    size = PIXEL_SIZE[band]
    low = wavelet.reduced(dn, size, OVERVIEW // size, product.scene.grid.at(size).height)
    return internal_numbers(product, band, low, 20)[0]


def interpolated(stored: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    """Return a band, whose grid is given, interpolated to the overview's; 0 where a pixel around has no data."""
    at = grid.positions(target)
    result = np.rint(interpolate(stored.astype("f4"), *at)).astype(stored.dtype)
    result[interpolate((stored == 0).astype("f4"), *at) > 0] = 0
    return result


def any_within(flags: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    """Return which pixels (bool) of the overview's grid hold a finer pixel, of the given grid, whose flag is not 0."""
    result = np.zeros(target.shape, np.bool_)
    at = (np.clip(np.rint(p).astype(int), 0, n - 1) for p, n in zip(target.positions(grid), target.shape, strict=True))
    result[tuple(index[i] for index, i in zip(at, np.nonzero(flags), strict=True))] = True
    return result


def clear_unreliable(bands: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
    """Take from all bands of an overview, in place, the pixels near those that lack data in one of them or are lost.

    Aerosol, water vapour, surroundings and means of the tile are found without them.
    """
    from scipy.ndimage import maximum_filter

    lacking = np.any([lost, *(stored == 0 for stored in bands.values())], axis=0)
    if lacking.any():
        lacking = maximum_filter(lacking, 2 * _BLURRED + 1, mode="nearest")
        for stored in bands.values():
            stored[lacking] = 0


def not_below_zero(stored: np.ndarray) -> np.ndarray:
    """Return a band with reflectance 0 for the pixels beside bright ones that the wavelets took below it.

    Some get the number of no data so. Unlike what is missing, these make no area, and are not at the edge of one.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    result = np.maximum(stored, stored.dtype.type(_REFLECTANCE_0))
    lacking = stored == 0
    if lacking.any():
        areas = maximum_filter(minimum_filter(lacking, 2 * _BLURRED + 1), 4 * _BLURRED + 1)
        result[lacking & areas] = 0
    return result
