"""Between the pixel sizes of the bands: block means downwards, linear or cubic-spline interpolation upwards by three.

Pixels are areas: a coarse pixel and the block of fine pixels it covers have the same centre. Stored numbers are
uint16 with 0 for no data.
"""

import numpy as np

from steps.core.compiled import helper, njit

#: The pole of the cubic B-spline's prefilter (Unser, Aldroubi and Eden 1993, table 1).
_POLE = np.sqrt(3) - 2
#: Pixels of the repeated edge; what lies beyond weighs less than |pole|^12 = 1.4e-7.
_EDGE = 12


def _weights(kernel) -> np.ndarray:
    """Return the weights of the coarse pixels -2 ... 2 around their own for the three fine pixels of one."""
    return np.array([[kernel(abs(k - (phase - 1) / 3)) for k in range(-2, 3)] for phase in range(3)])


def _linear(x: float) -> float:
    return max(1 - x, 0.0)


def _cubic(x: float) -> float:
    """Evaluate the cubic B-spline (Unser 1999, Splines: a perfect fit, equation 3)."""
    return 2 / 3 - x * x * (2 - x) / 2 if x < 1 else max(2 - x, 0.0) ** 3 / 6


_WEIGHTS = {1: _weights(_linear), 3: _weights(_cubic)}


@njit(cache=True, nogil=True)
def _block_mean(values, factor, result):
    share = np.float64(factor * factor)
    total, least = np.empty(values.shape[1], np.uint32), np.empty(values.shape[1], np.uint16)
    for i in range(result.shape[0]):
        # Down the columns first: these loops are vectorised, and most of the work.
        for j in range(len(total)):
            total[j] = least[j] = values[i * factor, j]
        for k in range(i * factor + 1, (i + 1) * factor):
            for j in range(len(total)):
                total[j] += values[k, j]
                least[j] = min(least[j], values[k, j])
        for j in range(result.shape[1]):
            block, lowest = np.uint32(0), np.uint16(65535)
            for k in range(j * factor, (j + 1) * factor):
                block += total[k]
                lowest = min(lowest, least[k])
            result[i, j] = np.uint16(block / share + 0.5) if lowest else 0


def block_mean(values: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of pixels, rounding half up; a block with any pixel without data has none.

    Parameters
    ----------
    values
        uint16 (rows, columns), whole blocks.
    factor
        Pixels of a block on each side.

    Returns
    -------
    numpy.ndarray
        uint16 (rows / factor, columns / factor).
    """
    result = np.empty((values.shape[0] // factor, values.shape[1] // factor), "u2")
    _block_mean(values, factor, result)
    return result


@helper(cache=True, nogil=True)
def _fill_row(row, known):
    """Give pixels without data the value of the nearest one in the row, of two the left; tell whether there is one."""
    last, any_known = -1, False
    for j in range(len(row)):
        if known[j]:
            for k in range(last + 1, j):
                row[k] = row[j] if last < 0 or j - k < k - last else row[last]
            last, any_known = j, True
    if any_known:
        for k in range(last + 1, len(row)):
            row[k] = row[last]
    return any_known


@njit(cache=True, nogil=True)
def _filled(values):
    """Return float64 values without gaps: filled along the rows, and rows without any from the nearest row."""
    result = values.astype(np.float64)
    last = -1
    for i in range(len(result)):
        if _fill_row(result[i], values[i] > 0):
            for k in range(last + 1, i):
                nearest = i if last < 0 or i - k < k - last else last
                for j in range(result.shape[1]):
                    result[k, j] = result[nearest, j]
            last = i
    for k in range(last + 1 if last >= 0 else len(result), len(result)):
        for j in range(result.shape[1]):
            result[k, j] = result[last, j]
    return result


@njit(cache=True, nogil=True)
def _prefilter(values):
    """Turn the rows into coefficients of the cubic B-spline that passes through them, along the first axis, in place.

    Recursive filter of Unser, Aldroubi and Eden 1993 (equations 2.5 and 2.6), mirrored at the ends.
    """
    rows, columns = values.shape
    start, power = np.zeros(columns), 1.0
    for k in range(rows):
        for j in range(columns):
            start[j] += values[k, j] * power
        power *= _POLE
    for j in range(columns):
        values[0, j] = start[j]
    for i in range(1, rows):
        for j in range(columns):
            values[i, j] += _POLE * values[i - 1, j]
    scale = _POLE / (_POLE * _POLE - 1)
    for j in range(columns):
        values[rows - 1, j] = 6 * scale * (values[rows - 1, j] + _POLE * values[rows - 2, j])
    for i in range(rows - 2, -1, -1):
        for j in range(columns):
            values[i, j] = _POLE * (values[i + 1, j] - 6 * values[i, j])


def coefficients(values: np.ndarray, order: int) -> np.ndarray:
    """Prepare a coarse band for `triple`.

    Parameters
    ----------
    values
        uint16 (rows, columns), 0 = no data.
    order
        1 for linear, 3 for cubic-spline interpolation.

    Returns
    -------
    numpy.ndarray
        float64 (rows + 4, columns + 4): the band with its gaps filled and its edge repeated, or its spline
        coefficients.
    """
    padded = np.pad(_filled(values), _EDGE, mode="edge")
    if order == 3:
        _prefilter(padded)
        columns_first = np.ascontiguousarray(padded.T)
        _prefilter(columns_first)
        padded = columns_first.T
    return np.ascontiguousarray(padded[_EDGE - 2 : 2 - _EDGE, _EDGE - 2 : 2 - _EDGE])


@njit(cache=True, nogil=True)
def _triple(spline, known, weights, first, result):
    line = np.empty(spline.shape[1])
    for i in range(result.shape[0]):
        parent, phase = divmod(first + i, 3)
        for j in range(len(line)):
            line[j] = 0.0
            for k in range(5):
                line[j] += weights[phase, k] * spline[parent + k, j]
        for j in range(result.shape[1]):
            column, phase = divmod(j, 3)
            if known[parent, column] == 0:
                result[i, j] = 0
                continue
            value = 0.5
            for k in range(5):
                value += weights[phase, k] * line[column + k]
            result[i, j] = min(max(np.floor(value), 1.0), 65535.0)


def triple(spline: np.ndarray, values: np.ndarray, order: int, rows: slice) -> np.ndarray:
    """Interpolate a band to pixels of a third of the size; the fine pixels of one without data have none.

    The same as `scipy.ndimage.zoom(values, 3, order=order, mode="nearest", grid_mode=True)`, rounded half up.

    Parameters
    ----------
    spline
        What `coefficients` gave.
    values
        The coarse band, uint16 (rows, columns), 0 = no data.
    order
        As given to `coefficients`.
    rows
        Which rows of the result to return.

    Returns
    -------
    numpy.ndarray
        uint16 (rows.stop - rows.start, 3 * columns).
    """
    result = np.empty((rows.stop - rows.start, 3 * values.shape[1]), "u2")
    _triple(spline, values, _WEIGHTS[order], rows.start, result)
    return result
