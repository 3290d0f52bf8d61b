"""From top-of-atmosphere to surface reflectance, pixel by pixel, with coefficients known at the nodes of a mesh.

The signal that reaches the sensor is (Vermote et al. 1997, IEEE TGRS 35, 675, eqs. 1 and 5)

    toa = path + transmittance * [boa + q * environment] / [(1 + q) * (1 - albedo * environment)],

with `path` the path reflectance under the gases, `transmittance` that of gases, water, downward and upward scattering
together, `q` the ratio of diffuse to direct upward transmittance and `albedo` the spherical albedo. Solved for the
surface, over a uniform one (environment = boa) without `q`:

    signal = toa - path,
    uniform: boa = signal / (transmittance + albedo * signal),
    else: blurred = signal * (1 - albedo * environment) / transmittance, boa = blurred + q * (blurred - environment).

At a node each of the four is a polynomial in the elevation; between nodes the polynomials are interpolated
bilinearly. So no pixel looks anything up, and the compiler makes vector code of the innermost loop.
"""

import numpy as np
from numba import njit

from steps.kernels.polynomial import along_cell, value_at

#: Powers of the elevation (m), from 0 on, in the polynomials at a node.
POWERS = 4
#: Numbers per node: the polynomials of path, transmittance, q, albedo, and of the water vapour column that the
#: transmittance holds for; then its relative change with the excess of a pixel's column over that one (powers 1 and 2).
COEFFICIENTS = 5 * POWERS + 2
_PATH, _TRANSMITTANCE, _Q, _ALBEDO, _COLUMN, _CHANGE = range(0, COEFFICIENTS, POWERS)
#: Stored numbers, see `steps.artefacts.BOA`: the number of reflectance 0, of reflectance 1, and the limits.
_ZERO, _ONE = np.float32(1000), np.float32(10000)
_LOWEST, _HIGHEST = np.float32(1), np.float32(32767)
_MILLI, _NONE = np.float32(1e-3), np.float32(0)
_HALF, _ONE_F = np.float32(0.5), np.float32(1)

#: A product and a sum may become one instruction (rounded once). Nothing else may be rearranged.
_FUSED = {"contract"}


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
    # The upsampled coarse rows above and below the centre of `row`, and the weight of the second. An upsampled row
    # stays in its buffer while it is wanted; `held` says which one is in which.
    above = (row + ratio - ratio // 2) // ratio - 1
    weight = np.float32((row + 0.5) / ratio - 0.5 - above)
    first, second = max(above, 0), min(above + 1, coarse.shape[0] - 1)
    for wanted in (first, second):
        if held[wanted % 2] != wanted:
            upsample_row(coarse[wanted], ratio, buffers[wanted % 2])
            held[wanted % 2] = wanted
    return buffers[first % 2], buffers[second % 2], weight


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _stored(boa):
    return np.uint16(np.int32(min(max(boa * _ONE + (_ZERO + _HALF), _LOWEST), _HIGHEST)))


@njit(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _invert_row(toa, elevation, water_vapour, upper, lower, weight, line, cell, ramp, boa):
    # One row of pixels; `line` are the nodes' numbers at that row, `upper` and `lower` bracketing rows of environment
    # reflectance or None, `ramp` the pixel centres' distances from a cell's left edge. Its scalars and unsigned
    # indices (never counted from the end) are what lets the compiler make vector code; slices of the rows would do
    # that too, but counting the references to them takes as long as the pixels.
    for g in range(line.shape[0] - 1):
        start, stop = np.uint64(g * cell), np.uint64(min((g + 1) * cell, toa.size))
        left, right = line[g], line[g + 1]
        step = _ONE_F / np.float32(cell)
        path = along_cell(left, right, _PATH, step)
        transmittance = along_cell(left, right, _TRANSMITTANCE, step)
        q = along_cell(left, right, _Q, step)
        albedo = along_cell(left, right, _ALBEDO, step)
        column = along_cell(left, right, _COLUMN, step)
        change, curve = left[_CHANGE], left[_CHANGE + 1]
        d_change, d_curve = (right[_CHANGE] - change) * step, (right[_CHANGE + 1] - curve) * step
        for j in range(start, stop):
            t = ramp[j - start]
            h = np.float32(elevation[j])
            signal, share = np.float32(toa[j]) - value_at(path, t, h), value_at(transmittance, t, h)
            if water_vapour is not None:
                known = water_vapour[j] != 0
                excess = np.float32(water_vapour[j]) * _MILLI - value_at(column, t, h) if known else _NONE
                share *= _ONE_F + excess * ((change + d_change * t) + excess * (curve + d_curve * t))
            if upper is None:
                value = signal / (share + value_at(albedo, t, h) * signal)
            else:
                around = upper[j] + (lower[j] - upper[j]) * weight
                blurred = signal * (_ONE_F - value_at(albedo, t, h) * around) / share
                value = blurred + value_at(q, t, h) * (blurred - around)
            boa[j] = _stored(value) if toa[j] != 0 else np.uint16(0)


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _count(boa, counts):
    none, below, total = np.uint16(0), np.uint16(0), np.uint32(0)  # narrow: more of them in a vector
    for j in range(boa.size):
        none = np.uint16(none + np.uint16(boa[j] == 0))
        below = np.uint16(below + np.uint16(boa[j] < np.uint16(1000)))
        total = np.uint32(total + np.uint32(boa[j]))
    counts[0], counts[1], counts[2] = boa.size - none, below - none, total


@njit(cache=True, nogil=True, fastmath=_FUSED)
def invert(toa, elevation, water_vapour, environment, ratio, nodes, cell, first_row, boa, counts):
    """Invert a block of rows to surface reflectance.

    Parameters
    ----------
    toa
        Stored top-of-atmosphere reflectance (uint16, 0 = no data), shape (rows, width), no wider than 65535.
    elevation
        Metres (int16), same shape.
    water_vapour
        Stored column (uint16, 0.001 g/cm2, 0 = that of the nodes), same shape; None where the nodes' is enough.
    environment
        Reflectance of the surroundings (float32) of pixels that are `ratio` times larger, of the whole scene; None
        for a uniform surface, whose surroundings reflect as much as the pixel itself.
    ratio
        See `environment`.
    nodes
        Shape (node rows, node columns, `COEFFICIENTS`), float32, path and transmittance in stored numbers: node
        (0, 0) is at the scene's upper left corner, the next one `cell` pixels on, the last one at or beyond the edge.
    cell
        Pixels between nodes; the innermost loop is fastest with multiples of 64.
    first_row
        Row of the scene that the block begins with.
    boa
        Output: stored surface reflectance (uint16, 0 = no data, limited to 1-32767), shape of `toa`.
    counts
        Output, shape (rows, 3), int64: valid pixels of each row, those below zero reflectance, and the sum of their
        stored numbers.
    """
    line = np.empty((nodes.shape[1], COEFFICIENTS), np.float32)
    buffers = np.empty((2, toa.shape[1]), np.float32)
    held = np.full(2, -1)
    ramp = np.arange(cell).astype(np.float32) + _HALF
    for i in range(toa.shape[0]):
        row = first_row + i
        above = row // cell
        weight = np.float32((row - above * cell + 0.5) / cell)
        before, after, between = nodes[above].ravel(), nodes[above + 1].ravel(), line.ravel()
        for k in range(between.size):
            between[k] = before[k] + (after[k] - before[k]) * weight
        vapour = None if water_vapour is None else water_vapour[i]
        if environment is None:
            _invert_row(toa[i], elevation[i], vapour, None, None, weight, line, cell, ramp, boa[i])
        else:
            upper, lower, weight = _bracket(environment, row, ratio, buffers, held)
            _invert_row(toa[i], elevation[i], vapour, upper, lower, weight, line, cell, ramp, boa[i])
        _count(boa[i], counts[i])
