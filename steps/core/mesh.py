"""Between pixels and coarser cells: statistics of cells, interpolation back to pixels."""

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


def interpolate(field: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate bilinearly on the grid of given rows and columns.

    Parameters
    ----------
    field
        Shape (..., m, n).
    rows, columns
        Positions in units of the field's rows and columns, from 0; clipped to the field.

    Returns
    -------
    numpy.ndarray
        Shape (..., len(rows), len(columns)).
    """
    for axis, position in ((-2, rows), (-1, columns)):
        last = field.shape[axis] - 1
        position = np.clip(position, 0, last)
        lower = np.minimum(position.astype(int), max(last - 1, 0))
        weight = (position - lower).astype(field.dtype)
        if axis == -2:
            weight = weight[:, None]
        first = np.take(field, lower, axis)
        field = first + (np.take(field, np.minimum(lower + 1, last), axis) - first) * weight
    return field


def nearest(field: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Take the nearest pixels on the grid of given rows and columns; arguments and result as of `interpolate`."""
    at = nearest_indices(field.shape[-2:], rows, columns)
    return field[..., at[0][:, None], at[1]]


def nearest_indices(shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
    """Return which rows and columns of a field of this shape are nearest to given ones, as of `interpolate`."""
    return [np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in zip((rows, columns), shape, strict=True)]
