"""Samples of clear ground: in each cell, the mean of all pixels of each of a few kinds."""

import numpy as np

from steps.core.compiled import helper, njit
from steps.sentinel2.kinds import REFLECTANCE_SCALE, REFLECTANCE_ZERO
from steps.sentinel2.scene_classes import SOIL, VEGETATION, WATER

#: Kinds of ground, whose number + 1 stands for them.
KINDS = ("dark vegetation", "vegetation", "sparse vegetation", "bare ground", "water")
#: Which of them tell the aerosol's type, shape (kinds, 1, 1): leaves and water. The colour of soil differs more from
#: place to place than that of aerosols.
TELL_TYPE = np.array([True, True, False, False, True])[:, None, None]
#: What the aerosol thickness that such ground tells is wrong by besides, an absolute and a relative part. The aerosol's
#: colour is not known exactly. The colour of soil, and of what grows sparsely on it, is much the same all over a scene
#: and hardly known: what one of 1900 measured soils tells is wrong by 0.2, and one of PROSAIL tells 0.2 too much. Water
#: tells it to 0.03 + 5 % elsewhere (two thirds; Levy et al. 2013, Atmospheric Measurement Techniques 6, 2989).
ERRORS = ((0.01, 0.08), (0.03, 0.1), (0.3, 0.4), (0.3, 0.4), (0.03, 0.1))
#: The same of how the thickness differs from cell to cell, where most of these errors are alike, of what grows. Others
#: tell their own pattern: that of sediment and surf, of fields and towns.
LOCAL_ERRORS = ((0.02, 0.05), (0.03, 0.08), (0.06, 0.12))
DARK, _GREEN, _SPARSE, _BARE, _WATER = range(1, len(KINDS) + 1)
#: Vegetation index at the top of the atmosphere above which land counts as vegetation and as sparse vegetation.
_NDVI = (0.5, 0.25)
#: Ground is no sample with a pixel so near (pixels) that is so much brighter in red at the top of the atmosphere: a
#: wavelet undershoots beside an edge by some percent of its height, and how much light snow and clouds throw over is
#: known to some percent, too, which is more than the aerosol.
_EDGE_REACH = 2
_EDGE = 0.1
#: Water is a sample up to so much above the darkest one of its cell in B12, at the top of the atmosphere: what is
#: brighter has a part of the shore, of boats or of glint. Above the second, glint is so strong that what it is wrong by
#: is more than the aerosol's signal.
_BRIGHTER = 0.004
_STRONG_GLINT = 0.05
#: Lowest cosine of the sun's incidence, of 75 degrees.
COS_INCIDENCE = 0.2588
#: Land is a sample where it gets as much sunlight as level ground, but for this share. Slopes that turn away from the
#: sun get more of their light from the blue sky and look as if seen through haze; they also look like dark vegetation.
_UNEVEN = 0.1


@njit(cache=True, nogil=True)
def _beside_an_edge(red, i, j):
    """Return whether a pixel nearby is much brighter than this one."""
    limit = red[i, j] + np.int64(_EDGE / REFLECTANCE_SCALE)
    for y in range(max(i - _EDGE_REACH, 0), min(i + _EDGE_REACH + 1, red.shape[0])):
        for x in range(max(j - _EDGE_REACH, 0), min(j + _EDGE_REACH + 1, red.shape[1])):
            if red[y, x] > limit:
                return True
    return False


@helper(cache=True, nogil=True)
def _amid_water(classes, i, j):
    """Return whether a pixel and all its neighbours are water."""
    for y in range(max(i - 1, 0), min(i + 2, classes.shape[0])):
        for x in range(max(j - 1, 0), min(j + 2, classes.shape[1])):
            if classes[y, x] != WATER:
                return False
    return True


@njit(cache=True, nogil=True)
def kinds_of_ground(red, nir, dark, classes, near_cloud, ratio, cos_incidence, sun_cosine, result):
    """Find the kind of ground of each pixel.

    Parameters
    ----------
    red, nir
        Stored reflectance at the top of the atmosphere (uint16), shape (rows, columns).
    dark
        Which pixels are dark dense vegetation, uint8, same shape; not 0 where they are.
    classes
        Scene classification, same shape.
    near_cloud
        Of pixels that are `ratio` times larger, bool.
    ratio
        See `near_cloud`.
    cos_incidence
        Stored cosine of the sun's incidence (1e-4).
    sun_cosine
        That on level ground.
    result
        Output, uint8: 1 + the number of one of `KINDS`; 0 where none is seen in clear air and enough light, beside a
        much brighter pixel, and where water is not amid water.
    """
    zero = np.int64(REFLECTANCE_ZERO)
    for i in range(red.shape[0]):
        for j in range(red.shape[1]):
            result[i, j] = 0
            if red[i, j] == 0 or nir[i, j] == 0 or near_cloud[i // ratio, j // ratio]:
                continue
            if _beside_an_edge(red, i, j):
                continue
            cosine = cos_incidence[i, j] * 1e-4
            lit = cosine > COS_INCIDENCE and abs(cosine - sun_cosine) <= _UNEVEN * sun_cosine
            if classes[i, j] == WATER:
                result[i, j] = _WATER if _amid_water(classes, i, j) else 0
            elif lit and (classes[i, j] == VEGETATION or classes[i, j] == SOIL):
                r, n = np.int64(red[i, j]) - zero, np.int64(nir[i, j]) - zero
                if dark[i, j]:
                    result[i, j] = DARK
                elif n - r > _NDVI[0] * (n + r):
                    result[i, j] = _GREEN
                elif n - r > _NDVI[1] * (n + r):
                    result[i, j] = _SPARSE
                else:
                    result[i, j] = _BARE


@njit(cache=True, nogil=True)
def drop_bright_water(swir, kinds, size):
    """Make no samples of water that is brighter than the darkest of its cell, or in strong glint.

    Parameters
    ----------
    swir
        Stored reflectance in B12 at the top of the atmosphere (uint16), 0 without data, shape (rows, columns).
    kinds
        Input and output, of `kinds_of_ground`.
    size
        Pixels along a side of a cell.
    """
    strong = REFLECTANCE_ZERO + np.int64(_STRONG_GLINT / REFLECTANCE_SCALE)
    for top in range(0, kinds.shape[0], size):
        for left in range(0, kinds.shape[1], size):
            cell, values = kinds[top : top + size, left : left + size], swir[top : top + size, left : left + size]
            darkest = np.int64(65535)
            for i, j in np.ndindex(cell.shape):
                if cell[i, j] == _WATER and values[i, j] > 0:
                    darkest = min(darkest, np.int64(values[i, j]))
            limit = min(darkest + np.int64(_BRIGHTER / REFLECTANCE_SCALE), strong)
            for i, j in np.ndindex(cell.shape):
                if cell[i, j] == _WATER and values[i, j] > limit:
                    cell[i, j] = 0


@njit(cache=True, nogil=True)
def sample_means(values, kinds, number, size):
    """Return the mean of a band over the pixels of each kind in each cell.

    Parameters
    ----------
    values
        Numbers, shape (rows, columns).
    kinds
        0 or 1 + the number of the kind, same shape.
    number
        Of kinds.
    size
        Pixels along a side of a cell; the last cells may be cut.

    Returns
    -------
    mean : numpy.ndarray
        Float64 of shape (number, ceil(rows / size), ceil(columns / size)), NaN where there is no pixel.
    count : numpy.ndarray
        Pixels, int64, same shape.
    """
    shape = (number, -(-values.shape[0] // size), -(-values.shape[1] // size))
    mean, count = np.zeros(shape), np.zeros(shape, np.int64)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            k = kinds[i, j]
            if k:
                mean[k - 1, i // size, j // size] += values[i, j]
                count[k - 1, i // size, j // size] += 1
    for k, i, j in np.ndindex(shape):
        mean[k, i, j] = mean[k, i, j] / count[k, i, j] if count[k, i, j] > 0 else np.nan
    return mean, count
