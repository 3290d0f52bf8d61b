"""Between cells and finer pixels: interpolation and nearest neighbours, in plain NumPy."""

import numpy as np


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
