"""A tile at a glance: its images at 80 m.

JPEG 2000 holds an image as an ever finer sequence of wavelets. The finest, in which three quarters of an image's bytes
are, need not be decoded.
"""

from collections.abc import Mapping

import numpy as np

from steps.core.rasters import Grid
from steps.l1c.metadata import L1C, internal_numbers
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.scene import OVERVIEW

#: Pixels of the overview around one without data that the wavelets mix with it.
_BLURRED = 1


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


def area_means(stored: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    """Return the means of a band, whose grid is given, over the larger pixels of the overview's.

    They are 0 where a pixel has no data. What of a pixel of the overview lies outside of the grid does not count.
    """
    from scipy.sparse import csr_array

    def shares(start: float, size: int, count: int) -> csr_array:
        """Return which share of each pixel of the overview each pixel along one side is."""
        ratio = target.resolution / grid.resolution
        low = start + ratio * np.arange(count)[:, None]
        first = np.floor(low)
        index = first + np.arange(np.ceil(ratio) + 1)
        covered = np.clip(np.minimum(low + ratio, index + 1) - np.maximum(low, index), 0, None)
        covered[(index < 0) | (index >= size)] = 0
        covered /= covered.sum(axis=1, keepdims=True)
        row = np.broadcast_to(np.arange(count)[:, None], index.shape)
        there = covered > 0
        return csr_array((covered[there], (row[there], index[there].astype(int))), shape=(count, size))

    down = shares((grid.top - target.top) / grid.resolution, grid.height, target.height)
    right = shares((target.left - grid.left) / grid.resolution, grid.width, target.width)
    result = np.rint(right @ (down @ stored.astype("f4")).T).T.astype(stored.dtype)
    result[(right @ (down @ (stored == 0).astype("f4")).T).T > 0] = 0
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
