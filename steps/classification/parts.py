"""Connected parts of a mask, such as single clouds: their pixels, counted and given another class."""

import numpy as np

from steps.core.compiled import njit


def connected(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the parts of a mask (rows, columns) that hang together, if only at corners.

    Returns labels from 1 on, int32, 0 outside of the mask, and the last of them.
    """
    from scipy import ndimage

    return ndimage.label(mask, np.ones((3, 3)))


@njit(cache=True, nogil=True)
def pixels_in(labels, count, place):
    """Return how many pixels of each connected part are in a place.

    Parameters
    ----------
    labels, count
        Labels, int32 (rows, columns), and the last of them.
    place : bool, shape (rows, columns)

    Returns
    -------
    int64, shape (count + 1,)
        By the label; 0 of what is in no part.
    """
    result = np.zeros(count + 1, np.int64)
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            result[labels[i, j]] += place[i, j]
    result[0] = 0
    return result


@njit(cache=True, nogil=True)
def reclassify(scl, labels, chosen, value):
    """Give the pixels of the chosen connected parts another class, in place.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
    labels : int32, shape (rows, columns)
    chosen : bool, shape (labels,)
        By the label, False for 0.
    value
        The class.
    """
    for i in range(scl.shape[0]):
        for j in range(scl.shape[1]):
            if chosen[labels[i, j]]:
                scl[i, j] = value
