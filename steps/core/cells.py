"""Statistics of coarse cells of pixels."""

import numpy as np

from steps.core.compiled import njit


@njit(cache=True, nogil=True)
def cell_moments(values, size, nodata):
    """Return the valid pixels of each cell: their number, lowest, highest, mean and variance.

    Parameters
    ----------
    values
        Integers, shape (rows, columns).
    size
        Pixels along a side of a cell; the last cells may be cut.
    nodata
        Value of pixels to leave out.

    Returns
    -------
    numpy.ndarray
        Shape (5, ceil(rows / size), ceil(columns / size)), float64; 0 where a cell has no valid pixel.
    """
    rows, columns = -(-values.shape[0] // size), -(-values.shape[1] // size)
    result = np.zeros((5, rows, columns))
    for i in range(rows):
        for j in range(columns):
            low, high, count, total, square = 65536, -65536, 0, 0, 0
            for k in range(i * size, min((i + 1) * size, values.shape[0])):
                row = values[k][j * size : min((j + 1) * size, values.shape[1])]
                for m in range(row.size):
                    value = np.int64(row[m])
                    if value != nodata:
                        low, high = min(low, value), max(high, value)
                        count += 1
                        total += value
                        square += value * value
            if count:
                mean = total / count
                result[0, i, j], result[1, i, j], result[2, i, j], result[3, i, j] = count, low, high, mean
                result[4, i, j] = max(square / count - mean * mean, 0.0)
    return result
