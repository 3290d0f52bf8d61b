"""Pixels of the shore: which of them are water for the most part."""

import numpy as np

from steps.classification.rules import OPEN
from steps.core.compiled import helper, njit
from steps.sentinel2.scene_classes import DARK, SOIL, UNCLASSIFIED, VEGETATION, WATER

#: Pixels from a pixel of the shore within which the land and the water that it may be a mixture of are looked for.
WINDOW = 4
#: Share of water from which a pixel is water; a little more than half, since half a pixel is often met and either.
MOST = 0.6
#: How often the shore is looked at, pixel by pixel from the water on.
TIMES = 2
#: Pixels around a pixel that decide whether it becomes water: each time the window and their neighbours.
SHORE_REACH = TIMES * (WINDOW + 1)


@helper(cache=True, nogil=True)
def _beside_water(scl):
    """Return which pixels are water or have a neighbour, also at a corner, that is (bool, shape of `scl`)."""
    rows, columns = scl.shape
    result = np.zeros(scl.shape, np.bool_)
    near = np.zeros(columns + 2, np.bool_)  # water in a column of this row and those beside it
    for i in range(rows):
        near[:] = False
        for y in range(max(i - 1, 0), min(i + 2, rows)):
            for j in range(columns):
                near[j + 1] |= scl[y, j] == WATER
        for j in range(columns):
            result[i, j] = near[j] or near[j + 1] or near[j + 2]
    return result


@helper(cache=True, nogil=True)
def _share_of_water(scl, beside, b8a, b11, i, j):
    """Return which share of a pixel is water, by the pixels around that are not of the shore; 0 if there are none."""
    total, count = np.zeros((2, 2)), np.zeros(2)
    for y in range(max(i - WINDOW, 0), min(i + WINDOW + 1, scl.shape[0])):
        for x in range(max(j - WINDOW, 0), min(j + WINDOW + 1, scl.shape[1])):
            wet = scl[y, x] == WATER
            inland = not beside[y, x] and (scl[y, x] == DARK or scl[y, x] == VEGETATION or scl[y, x] == SOIL)
            if wet or inland:
                k = int(wet)
                total[k, 0] += b8a[y, x]
                total[k, 1] += b11[y, x]
                count[k] += 1
    if count[0] == 0 or count[1] == 0:
        return 0.0
    result, weight = 0.0, 0.0
    for band, value in enumerate((b8a[i, j], b11[i, j])):
        land, water = total[0, band] / count[0], total[1, band] / count[1]
        # The band in which land and water differ more says more.
        result += (land - value) * (land - water)
        weight += (land - water) ** 2
    return result / max(weight, 1e-9)


@njit(cache=True, nogil=True)
def shore_is_water(scl, b8a, b11):
    """Turn pixels beside water that are water for the most part into water, in place.

    Mixed with land, water is dark, vegetation or nothing to the rules. What it is mixed of lies around: a forest as
    dark as that beside a lake goes on behind the shore, and is not taken for it.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
        Classes.
    b8a, b11 : float32, shape (rows, columns)
        Reflectance.
    """
    rows, columns = scl.shape
    for _ in range(TIMES):
        before, beside = scl.copy(), _beside_water(scl)
        for i in range(rows):
            for j in range(columns):
                if not beside[i, j]:
                    continue
                c = before[i, j]
                mixed = c in (DARK, VEGETATION, SOIL, UNCLASSIFIED, OPEN)
                if mixed and _share_of_water(before, beside, b8a, b11, i, j) > MOST:
                    scl[i, j] = WATER
