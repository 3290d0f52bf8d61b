"""From top-of-atmosphere to surface reflectance, pixel by pixel, with coefficients known at the nodes of a mesh.

The signal that reaches the sensor is (Vermote et al. 1997, IEEE TGRS 35, 675, eqs. 1 and 5)

    toa = path + transmittance * [boa + q * environment] / [(1 + q) * (1 - albedo * environment)],

with `path` the path reflectance under the gases, `transmittance` that of gases, water, downward and upward scattering
together, `q` the ratio of diffuse to direct upward transmittance and `albedo` the spherical albedo. Solved for the
surface, over a uniform one (environment = boa) without `q`:

    signal = (toa - path) / transmittance,
    uniform: boa = signal / (1 + albedo * signal),
    else: blurred = signal * (1 - albedo * environment), boa = blurred + q * (blurred - environment).

At a node each is a polynomial in the thinness of the air, x = exp(-z / 4 km): aerosol and water vapour, which thin out
as exp(-z / 2 km), go with x^2, molecules nearly with its root, so that few powers do for a mountain inside a cell.
Between nodes the polynomials are interpolated bilinearly. So no pixel looks anything up, and the compiler makes vector
code of the innermost loop. Two rows of pixels share the coefficients of the line between them, half a pixel from both.
"""

import numpy as np
from numba import njit

#: Powers of the thinness in the polynomials of a node, in their order: path, gain, q, albedo. The gain is
#: 1 / transmittance; its root, which is nearer to a polynomial, is what is stored.
POWERS = (3, 4, 4, 3)
#: Numbers per node: the polynomials, then the relative change of the gain with the excess of a pixel's column of water
#: vapour over that of the nodes (powers 1 and 2).
COEFFICIENTS = sum(POWERS) + 2
_PATH, _GAIN, _Q, _ALBEDO, _CHANGE = np.cumsum((0, *POWERS)).tolist()
#: Height (km) in which the thinness falls to 1/e; it is stored as uint16 in steps of a metre or less.
THINNESS_HEIGHT = 4.0
THINNESS_ONE = 50000
#: Stored excess of water vapour, int16, g/cm2.
EXCESS_UNIT = 1e-4
#: Stored numbers, see `steps.artefacts.BOA`: the number of reflectance 0, of reflectance 1, and the limits.
_ZERO, _ONE = np.float32(1000), np.float32(10000)
_LOWEST, _HIGHEST = np.float32(1), np.float32(32767)
_HALF, _ONE_F = np.float32(0.5), np.float32(1)
_MILLI, _NONE, _EXCESS, _LARGEST = np.float32(1e-3), np.float32(0), np.float32(EXCESS_UNIT), np.float32(32767)

#: A product and a sum may become one instruction (rounded once). Nothing else may be rearranged.
_FUSED = {"contract"}


def thinness(elevation: np.ndarray) -> np.ndarray:
    """Return the stored thinness of the air (uint16) at elevations in m (int16)."""
    metres = np.arange(-32768, 32768)
    stored = np.rint(THINNESS_ONE * np.exp(-metres / (1000 * THINNESS_HEIGHT))).clip(0, 65535).astype(np.uint16)
    return np.roll(stored, -32768)[elevation.view(np.uint16)]


@njit(cache=True, nogil=True, fastmath=_FUSED)
def upsample_row(coarse, ratio, fine):
    """Interpolate a row of cell values linearly at the centres of pixels that are `ratio` times smaller.

    Parameters
    ----------
    coarse
        Values at cell centres, shape (cells,), float32.
    ratio
        Pixels per cell.
    fine
        Output, shape (pixels,), float32; beyond the outer centres the outer value holds.
    """
    first = ratio // 2  # pixel at or after the first cell's centre, by `after` pixels
    after = np.float32(first - 0.5 * (ratio - 1))
    fine[:first] = coarse[0]
    for k in range(ratio):  # the long loop is the inner one
        weight = (np.float32(k) + after) / np.float32(ratio)
        out = fine[first + k :: ratio]
        for cell in range(min(coarse.size - 1, out.size)):
            out[cell] = coarse[cell] + (coarse[cell + 1] - coarse[cell]) * weight
        out[coarse.size - 1 :] = coarse[-1]


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _bracket(coarse, row, ratio, buffers, held):
    # The numbers of the buffers with the upsampled coarse rows above and below the centre of `row`, and the weight of
    # the second. An upsampled row stays in its buffer while it is wanted; `held` says which one is in which.
    above = (row + ratio - ratio // 2) // ratio - 1
    weight = np.float32((row + 0.5) / ratio - 0.5 - above)
    first, second = max(above, 0), min(above + 1, coarse.shape[0] - 1)
    for wanted in (first, second):
        if held[wanted % 4] != wanted:
            upsample_row(coarse[wanted], ratio, buffers[wanted % 4])
            held[wanted % 4] = wanted
    return np.uint64(first % 4), np.uint64(second % 4), weight


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _interpolated(nodes, row, cell, line, slope):
    # The nodes' numbers at a vertical position (pixels from the first node), and their change per pixel to the right.
    above = int(row) // cell
    weight, step = np.float32(row / cell - above), _ONE_F / np.float32(cell)
    before, after, here, right = nodes[above].ravel(), nodes[above + 1].ravel(), line.ravel(), slope.ravel()
    for k in range(here.size):
        here[k] = before[k] + (after[k] - before[k]) * weight
    for k in range(here.size - line.shape[1]):
        right[k] = (here[k + line.shape[1]] - here[k]) * step


@njit(cache=True, nogil=True, fastmath=_FUSED)
def column_excess(water_vapour, air, column, cell, first_row, excess):
    """Compare the water vapour of a block of rows with that of the nodes.

    Parameters
    ----------
    water_vapour
        Stored column (uint16, 0.001 g/cm2, 0 = that of the nodes), shape (rows, width).
    air, cell, first_row
        As for `invert`.
    column
        At the nodes, shape (node rows, node columns, 1), float32: g/cm2 at the elevation of thinness 1 (sea level), or
        over level ground (`air` None) above that.
    excess
        Output, int16, in `EXCESS_UNIT`, shape of `water_vapour`.
    """
    line = np.empty((column.shape[1], 1), np.float32)
    slope = np.zeros_like(line)
    for i in range(excess.shape[0]):
        _interpolated(column, np.float64(first_row + i) + 0.5, cell, line, slope)
        for j in range(excess.shape[1]):
            known = line[j // cell, 0] + slope[j // cell, 0] * (np.float32(j % cell) + _HALF)
            if air is not None:
                known *= (np.float32(air[i, j]) / np.float32(THINNESS_ONE)) ** 2
            more = np.float32(water_vapour[i, j]) * _MILLI - known if water_vapour[i, j] != 0 else _NONE
            excess[i, j] = min(max(np.rint(more / _EXCESS), -_LARGEST), _LARGEST)


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _stored(boa):
    return np.uint16(np.int32(min(max(boa * _ONE + (_ZERO + _HALF), _LOWEST), _HIGHEST)))


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _three(line, slope, g, k):
    # Three numbers at the left edge of a cell, and their change per pixel.
    return (line[g, k], line[g, k + 1], line[g, k + 2]), (slope[g, k], slope[g, k + 1], slope[g, k + 2])


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _at3(numbers, t):
    c, d = numbers
    return c[0] + d[0] * t, c[1] + d[1] * t, c[2] + d[2] * t


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _polynomial(c, x):
    return c[0] + x * (c[1] + x * c[2])


@njit(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _pixel(toa, air, excess, surroundings, near, i, j, path, gain, q, albedo, last):
    # The formula, for pixel (i, j), with the coefficients there; over level ground the polynomials are constant.
    gain_3, q_3, change, curve = last
    if air is None:
        p, g, r, s = path[0], gain[0], q[0], albedo[0]
    else:
        x = np.float32(air[i, j])
        p, g = _polynomial(path, x), _polynomial((gain[0], gain[1], gain[2] + x * gain_3), x)
        r, s = _polynomial((q[0], q[1], q[2] + x * q_3), x), _polynomial(albedo, x)
    signal = (np.float32(toa[i, j]) - p) * g * g
    if excess is not None:
        more = np.float32(excess[i, j])
        signal *= _ONE_F + more * (change + more * curve)
    if surroundings is None:
        value = signal / max(_ONE_F + s * signal, _HALF)  # a far too dark pixel stays dark
    else:
        upper, lower, weight = near
        around = surroundings[upper, j] + (surroundings[lower, j] - surroundings[upper, j]) * weight
        blurred = signal - signal * (s * around)
        value = blurred + r * (blurred - around)
    return _stored(value) if toa[i, j] != 0 else np.uint16(0)


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _rows(toa, air, excess, surroundings, first, second, i, k, line, slope, cell, ramp, boa):
    # Rows i and k of pixels; `line` and `slope` are the nodes' numbers between them, `first` and `second` what
    # `_bracket` gives for each, `ramp` the pixel centres' distances from a cell's left edge. Scalars and unsigned
    # indices (never counted from the end) are what lets the compiler make vector code; slices of the rows would do that
    # too, but counting the references to them takes as long as the pixels.
    i, k = np.uint64(i), np.uint64(k)
    for g in range(line.shape[0] - 1):
        start, stop = np.uint64(g * cell), np.uint64(min((g + 1) * cell, toa.shape[1]))
        path, gain = _three(line, slope, g, _PATH), _three(line, slope, g, _GAIN)
        q, albedo = _three(line, slope, g, _Q), _three(line, slope, g, _ALBEDO)
        gain_3, q_3 = _three(line, slope, g, _GAIN + 3), _three(line, slope, g, _Q + 3)
        change = _three(line, slope, g, _CHANGE - 1)
        for j in range(start, stop):
            t = ramp[j - start]
            _, v, w = _at3(change, t)
            last = _at3(gain_3, t)[0], _at3(q_3, t)[0], v, w
            p, c, r, s = _at3(path, t), _at3(gain, t), _at3(q, t), _at3(albedo, t)
            one = _pixel(toa, air, excess, surroundings, first, i, j, p, c, r, s, last)
            boa[k, j] = _pixel(toa, air, excess, surroundings, second, k, j, p, c, r, s, last)
            boa[i, j] = one


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _count(boa, counts):
    none, below, total = np.uint16(0), np.uint16(0), np.uint32(0)  # narrow: more of them in a vector
    for j in range(boa.size):
        none = np.uint16(none + np.uint16(boa[j] == 0))
        below = np.uint16(below + np.uint16(boa[j] < np.uint16(1000)))
        total = np.uint32(total + np.uint32(boa[j]))
    counts[0], counts[1], counts[2] = boa.size - none, below - none, total


@njit(cache=True, nogil=True, fastmath=_FUSED)
def invert(toa, air, excess, environment, ratio, nodes, cell, first_row, boa, counts):
    """Invert a block of rows to surface reflectance.

    Parameters
    ----------
    toa
        Stored top-of-atmosphere reflectance (uint16, 0 = no data), shape (rows, width), no wider than 65535.
    air
        Stored thinness of the air (uint16, from `thinness`), same shape; None over level ground, for which the nodes'
        polynomials have to be constant.
    excess
        Excess of water vapour (int16, from `column_excess`), same shape; None where the nodes' column is enough.
    environment
        Reflectance of the surroundings (float32) of pixels that are `ratio` times larger, of the whole scene; None
        for a uniform surface, whose surroundings reflect as much as the pixel itself.
    ratio
        See `environment`.
    nodes
        Shape (node rows, node columns, `COEFFICIENTS`), float32, for stored numbers: node (0, 0) is at the scene's
        upper left corner, the next one `cell` pixels on, the last one at or beyond the edge.
    cell
        Pixels between nodes, an even number; the innermost loop is fastest with multiples of 64.
    first_row
        Row of the scene that the block begins with, an even number.
    boa
        Output: stored surface reflectance (uint16, 0 = no data, limited to 1-32767), shape of `toa`.
    counts
        Output, shape (rows, 3), int64: valid pixels of each row, those below zero reflectance, and the sum of their
        stored numbers.
    """
    line = np.empty((nodes.shape[1], nodes.shape[2]), np.float32)
    slope = np.zeros_like(line)
    buffers, held = np.empty((4, toa.shape[1]), np.float32), np.full(4, -1)
    ramp = np.arange(cell).astype(np.float32) + _HALF
    none = np.uint64(0), np.uint64(0), _ONE_F
    for i in range(0, toa.shape[0], 2):
        k = min(i + 1, toa.shape[0] - 1)
        _interpolated(nodes, np.float64(first_row + i + 1), cell, line, slope)
        if environment is None:
            _rows(toa, air, excess, None, none, none, i, k, line, slope, cell, ramp, boa)
        else:
            first = _bracket(environment, first_row + i, ratio, buffers, held)
            second = _bracket(environment, first_row + k, ratio, buffers, held)
            _rows(toa, air, excess, buffers, first, second, i, k, line, slope, cell, ramp, boa)
        _count(boa[i], counts[i])
        _count(boa[k], counts[k])
