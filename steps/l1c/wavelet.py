"""A JPEG 2000 image at a coarser resolution, made from its pixels instead of its file.

The overview of a tile is made of means of what a decoder makes of an image whose finest wavelets it leaves out. The
same numbers come from the pixels, by the reversible 5/3 wavelet (ISO/IEC 15444-1, annex F) that an image without loss
goes through, in the tiles that the images of SAFE products have: of a product that has pixels and no such files, of
images in other tiles, and of those that are decoded in full anyway.

One level of wavelets is left out and no more. Each thins out more than it blurs, so that texture aliases and edges
overshoot: with three levels left out, soil among vegetation told an aerosol thickness that was 0.1 too low.
"""

import numpy as np

from steps.core.compiled import helper, njit
from steps.sentinel2.bands import TILE_SIZE

#: Side that GDAL's decoder takes for small enough, pixels.
_SMALL = 128


def reduced(pixels: np.ndarray, size: int, factor: int, height: int | None = None) -> np.ndarray:
    """Return an image at a coarser resolution, as `steps.l1c.jp2.reduced` returns that of a SAFE product.

    Parameters
    ----------
    pixels
        uint16 (rows, columns); the image, or rows of it that begin with one of its tiles and end with one or with it.
    size
        Pixel size, m.
    factor
        An even number.
    height
        Rows of the image, unless the pixels are all of it.

    Returns
    -------
    numpy.ndarray
        uint16, (ceil(rows / factor), ceil(columns / factor)).
    """
    sides = np.array([height or pixels.shape[0], pixels.shape[1]])
    # GDAL's decoder halves where the tiles' sides are even.
    if sides.max() <= _SMALL or (np.minimum(sides, TILE_SIZE[size]) % 2).any():
        return averaged(pixels, factor)
    low = np.empty([-(-n // 2) for n in pixels.shape], "u2")
    _low_pass(pixels, TILE_SIZE[size], low)
    return averaged(low, factor // 2)


def averaged(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the rounded means of squares of `side` x `side` pixels (uint16), or of what an edge leaves of them.

    Pixels that are 0 do not count: they have no data, or a wavelet took them below it. Where all are 0 the mean is 0.
    """
    result = np.empty([-(-n // side) for n in pixels.shape], "u2")
    _means(pixels, side, result)
    return result


@njit(cache=True, nogil=True)
def _means(pixels, side, result):
    rows, columns = pixels.shape
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            total, number = 0, 0
            for y in range(i * side, min((i + 1) * side, rows)):
                for x in range(j * side, min((j + 1) * side, columns)):
                    total += np.int64(pixels[y, x])
                    number += pixels[y, x] > 0
            result[i, j] = (total + number // 2) // max(number, 1)


@njit(cache=True, nogil=True)
def _low_pass(pixels, tile, low):
    # Tiles begin at multiples of their size, which is even, so that samples of even index are the low ones.
    for top in range(0, pixels.shape[0], tile):
        for left in range(0, pixels.shape[1], tile):
            work = pixels[top : top + tile, left : left + tile].astype(np.int32)
            work = _half_columns(_half_rows(work))
            for i in range(work.shape[0]):
                for j in range(work.shape[1]):
                    # as a decoder does
                    low[top // 2 + i, left // 2 + j] = min(max(work[i, j], 0), 65535)


@helper(cache=True, nogil=True)
def _half_rows(x):
    """Return the low samples of every column; beyond its ends it goes on mirrored."""
    rows, columns = x.shape
    low = np.empty(((rows + 1) // 2, columns), np.int32)
    if rows == 1:
        for j in range(columns):
            low[0, j] = x[0, j]
        return low
    before, after = np.empty(columns, np.int32), np.empty(columns, np.int32)
    for n in range(low.shape[0]):
        if 2 * n + 1 < rows:
            following = 2 * n + 2 if 2 * n + 2 < rows else 2 * n
            for j in range(columns):
                after[j] = x[2 * n + 1, j] - ((x[2 * n, j] + x[following, j]) >> 1)
        for j in range(columns):
            low[n, j] = x[2 * n, j] + (((before[j] if n > 0 else after[j]) + after[j] + 2) >> 2)
            before[j] = after[j]
    return low


@helper(cache=True, nogil=True)
def _half_columns(x):
    """Return the low samples of every row."""
    rows, columns = x.shape
    low = np.empty((rows, (columns + 1) // 2), np.int32)
    if columns == 1:
        for i in range(rows):
            low[i, 0] = x[i, 0]
        return low
    for i in range(rows):
        before = after = x[i, 1] - ((x[i, 0] + x[i, 2 if columns > 2 else 0]) >> 1)
        for n in range(low.shape[1]):
            if 2 * n + 1 < columns:
                following = 2 * n + 2 if 2 * n + 2 < columns else 2 * n
                after = x[i, 2 * n + 1] - ((x[i, 2 * n] + x[i, following]) >> 1)
            low[i, n] = x[i, 2 * n] + ((before + after + 2) >> 2)
            before = after
    return low
