"""From top-of-atmosphere to surface reflectance, pixel by pixel, with coefficients known at the nodes of a mesh.

The equations are those of `steps.atmosphere.inversion`, in stored numbers: `path` is the path reflectance under the
gases, `total` the transmittance of gases, water, the way down and the way up, and `direct` the part of it that comes
straight from the pixel. At a node each is a polynomial in the density factor of the air, x = exp(-z / 4 km): aerosol
and water vapour, which thin out as exp(-z / 2 km), go with x^2, molecules nearly with its root, so that few powers do
for a mountain inside a cell. Between nodes the polynomials are interpolated bilinearly. So no pixel looks anything up,
and the compiler makes vector code of the innermost loop. Up to four rows of pixels share the coefficients of the line
in their middle.

Where a pixel's water vapour differs from that of the nodes, by the excess e (see `POWERS`), its signal is made that
under the nodes' air,

    signal + e * [toa * (change + curve * e) - (path_change + path_curve * e)],

with the relative change of 1 / total, and that of the path over total (which is small: a path that the water darkens
is brightened with everything else).
"""

from typing import NamedTuple

import numpy as np

from steps.atmosphere.inversion import contrast, uniform_surface
from steps.core.compiled import helper, njit
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO

#: Powers of the density factor in the polynomials of a node, in order: path (a stored number), total, root of 1 /
#: direct, albedo (per stored number), and what the excess of water vapour changes: 1 / total, relatively, and path /
#: total, in units of the present 1 / total. In haze five are needed for 2e-4 in surface reflectance over 2 km of
#: relief. The excess is the difference of the roots of a pixel's column and of the nodes': the logarithm of the
#: transmittance is linear in the root in strong bands, in the column in weak ones.
POWERS = (5, 5, 5, 3, 3, 3)
#: Numbers per node: the polynomials, then the changes of 1 / total and of the path with the square of the excess.
COEFFICIENTS = sum(POWERS) + 2
_PATH, _TOTAL, _ROOT, _ALBEDO, _CHANGE, _PATH_CHANGE, _CURVES = np.cumsum((0, *POWERS)).tolist()
#: Height (km) in which the density factor falls to 1/e; it is stored as uint16 in steps of a metre or less.
DENSITY_HEIGHT = 4.0
DENSITY_ONE = 50000
#: Stored excess of water vapour, int16: difference of roots of columns in g/cm2.
EXCESS_UNIT = 1e-4
#: Stored numbers, see `steps.sentinel2.kinds.BOA`: that of reflectance 0, what 1 adds, and the limits.
_BLACK = np.float32(REFLECTANCE_ZERO)
_ONE = np.float32(REFLECTANCE_ONE)
_LOWEST = np.float32(1)
_HIGHEST = np.float32(32767)
_HALF = np.float32(0.5)
_ONE_F = np.float32(1)
_MILLI = np.float32(1e-3)
_NONE = np.float32(0)
_EXCESS = np.float32(EXCESS_UNIT)
_LARGEST = np.float32(32767)

#: Where the centres of smaller pixels lie between those of two cells, by how many of them there are in a cell.
_SIXTHS = tuple(np.float32((k + 0.5) / 6) for k in range(6))
_THIRDS = tuple(np.float32(k / 3) for k in range(3))
_WHOLE = (np.float32(0),)

#: A product and a sum may become one instruction (rounded once). Nothing else may be rearranged.
_FUSED = {"contract"}


class Block(NamedTuple):
    """The pixels of a block of rows.

    Attributes
    ----------
    toa
        Stored top-of-atmosphere reflectance (uint16, 0 = no data), shape (rows, width), no wider than 65535.
    density
        Stored density factor of the air (uint16, from `density_factor`), same shape; None over level ground, for which
        the nodes' polynomials have to be constant.
    excess
        Excess of water vapour (int16, from `column_excess`), same shape; None where the nodes' column is enough.
    """

    toa: np.ndarray
    density: np.ndarray | None = None
    excess: np.ndarray | None = None


class Environment(NamedTuple):
    """The reflectance of the surroundings of a whole scene (float32), of pixels that are `ratio` times larger."""

    reflectance: np.ndarray
    ratio: int


class Nodes(NamedTuple):
    """What the atmosphere does to one band of a scene, at the nodes of a mesh.

    Attributes
    ----------
    coefficients
        Shape (node rows, node columns, coefficients), float32: node (0, 0) is at the scene's upper left corner, the
        next one `cell` pixels on, the last one at or beyond the edge.
    cell
        Pixels between nodes; the innermost loops are fastest with multiples of 64.
    """

    coefficients: np.ndarray
    cell: int


class _Middle(NamedTuple):
    """The nodes' numbers in the middle of rows that share them.

    Attributes
    ----------
    line, slope
        Numbers at the left edge of each cell, and their change per pixel.
    cell
        Pixels per cell.
    ramp
        Distances of the pixels' centres from a cell's left edge, pixels.
    """

    line: np.ndarray
    slope: np.ndarray
    cell: int
    ramp: np.ndarray


def density_factor(elevation: np.ndarray) -> np.ndarray:
    """Return the stored density factor of the air (uint16) at elevations in m (int16)."""
    metres = np.arange(-32768, 32768)
    stored = np.rint(DENSITY_ONE * np.exp(-metres / (1000 * DENSITY_HEIGHT))).clip(0, 65535).astype(np.uint16)
    return np.roll(stored, -32768)[elevation.view(np.uint16)]


@njit(cache=True, nogil=True, fastmath=_FUSED)
def upsample_row(coarse, ratio, fine):
    """Interpolate a row of cell values linearly at the centres of pixels that are `ratio` times smaller.

    Parameters
    ----------
    coarse
        Values at cell centres, shape (cells,), float32.
    ratio
        Pixels per cell: 1, 3 or 6.
    fine
        Output, shape (pixels,), float32; beyond the outer centres the outer value holds.

    Raises
    ------
    ValueError
        For another ratio.
    """
    first = ratio // 2  # pixel at or after the first cell's centre
    for j in range(first):
        fine[j] = coarse[0]
    if ratio == 6:
        _between(coarse, fine[first:], _SIXTHS)
    elif ratio == 3:
        _between(coarse, fine[first:], _THIRDS)
    elif ratio == 1:
        _between(coarse, fine[first:], _WHOLE)
    else:
        raise ValueError("1, 3 or 6 pixels per cell")


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _between(coarse, fine, weights):
    # The compiler knows the number of weights, and so makes vector code over the cells.
    n, one, last = np.uint64(len(weights)), np.uint64(1), coarse.size - 1
    cells = min(last, fine.size // len(weights))
    for cell in range(np.uint64(cells)):
        value, step = coarse[cell], coarse[cell + one] - coarse[cell]
        for k in range(n):
            fine[cell * n + k] = value + step * weights[k]
    for j in range(cells * len(weights), fine.size):
        cell = min(j // len(weights), last)
        step = coarse[min(cell + 1, last)] - coarse[cell]
        fine[j] = coarse[cell] + step * weights[j % len(weights)]


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _bracket(coarse, row, ratio, buffers, held):
    # The numbers of the buffers with the upsampled coarse rows, as stored numbers, above and below the centre of `row`,
    # and the weight of the second. An upsampled row stays in its buffer while it is wanted (four rows of pixels lie
    # between five coarse ones at most); `held` says which one is in which.
    above = (row + ratio - ratio // 2) // ratio - 1
    weight = np.float32((row + 0.5) / ratio - 0.5 - above)
    first, second = max(above, 0), min(above + 1, coarse.shape[0] - 1)
    for wanted in (first, second):
        if held[wanted % 8] != wanted:
            upsample_row(coarse[wanted] * _ONE, ratio, buffers[wanted % 8])
            held[wanted % 8] = wanted
    return np.uint64(first % 8), np.uint64(second % 8), weight


@njit(cache=True, nogil=True)
def rows_together(cell):
    """Return how many rows of pixels share the coefficients of the line in their middle, 1/32 cell from it at most."""
    return min(4, max(1, cell // 8))


@helper(cache=True, nogil=True, fastmath=_FUSED)
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
def column_excess(water_vapour, density, column, cell, first_row, excess):
    """Compare the water vapour of a block of rows with that of the nodes.

    Parameters
    ----------
    water_vapour
        Stored column (uint16, 0.001 g/cm2, 0 = that of the nodes), shape (rows, width).
    density, cell, first_row
        As in `Block` and `Nodes`, and for `invert`.
    column
        At the nodes, shape (node rows, node columns, 1), float32: root of g/cm2 at the elevation of density factor 1
        (sea level), or over level ground (`density` None) above that.
    excess
        Output, int16, in `EXCESS_UNIT`, shape of `water_vapour`.
    """
    line = np.empty((column.shape[1], 1), np.float32)
    slope = np.zeros_like(line)
    rows = rows_together(cell)
    for i in range(excess.shape[0]):
        if i % rows == 0:
            _interpolated(column, first_row + i + 0.5 * rows, cell, line, slope)
        for j in range(excess.shape[1]):
            known = line[j // cell, 0] + slope[j // cell, 0] * (np.float32(j % cell) + _HALF)
            if density is not None:
                known *= np.float32(density[i, j]) / np.float32(DENSITY_ONE)
            more = np.sqrt(np.float32(water_vapour[i, j]) * _MILLI) - known if water_vapour[i, j] != 0 else _NONE
            excess[i, j] = min(max(np.rint(more / _EXCESS), -_LARGEST), _LARGEST)


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _powers(line, slope, g, k):
    # Five numbers at the left edge of a cell, and their change per pixel: scalars, which cannot overlap the output.
    return (
        (line[g, k], line[g, k + 1], line[g, k + 2], line[g, k + 3], line[g, k + 4]),
        (slope[g, k], slope[g, k + 1], slope[g, k + 2], slope[g, k + 3], slope[g, k + 4]),
    )


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _at(numbers, t):
    c, d = numbers
    return c[0] + d[0] * t, c[1] + d[1] * t, c[2] + d[2] * t, c[3] + d[3] * t, c[4] + d[4] * t


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _middle(line, g, k):
    # A number in the middle of a cell: what changes with the excess of water vapour is small, one does for the cell.
    return (line[g, k] + line[g + 1, k]) * _HALF


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _middles(line, g, k):
    return _middle(line, g, k), _middle(line, g, k + 1), _middle(line, g, k + 2)


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _polynomial(c, x):
    return c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * c[4])))


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _thin(density, rows, j):
    if density is None:
        return _NONE, _NONE, _NONE, _NONE
    a, b, c, d = rows
    return np.float32(density[a, j]), np.float32(density[b, j]), np.float32(density[c, j]), np.float32(density[d, j])


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _five(density, c, x):
    # A polynomial of five powers in four rows; over level ground it is constant.
    if density is None:
        return c[0], c[0], c[0], c[0]
    return _polynomial(c, x[0]), _polynomial(c, x[1]), _polynomial(c, x[2]), _polynomial(c, x[3])


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _three(density, c, x):
    if density is None:
        return c[0], c[0], c[0], c[0]
    return (
        c[0] + x[0] * (c[1] + x[0] * c[2]),
        c[0] + x[1] * (c[1] + x[1] * c[2]),
        c[0] + x[2] * (c[1] + x[2] * c[2]),
        c[0] + x[3] * (c[1] + x[3] * c[2]),
    )


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _signal(toa, excess, i, j, path, change, path_change, curves):
    stored = np.float32(toa[i, j])
    signal = stored - path
    if excess is not None:
        more = np.float32(excess[i, j])
        signal += more * (stored * (change + more * curves[0]) - (path_change + more * curves[1]))
    return signal


@helper(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _boa(toa, surroundings, near, i, j, signal, total, root, albedo, like):
    # The formula, in stored numbers of the type of `like`: integers cut off what is below 1, so they want a half more.
    black = _BLACK + _HALF - np.float32(type(like)(0.5))
    if surroundings is None:
        number = uniform_surface(signal, total, albedo) + black
    else:
        upper, lower, weight = near
        around = surroundings[upper, j] + (surroundings[lower, j] - surroundings[upper, j]) * weight
        number = contrast(signal, around, total, albedo) * root * root + (around + black)
    number = type(like)(min(max(number, _LOWEST), _HIGHEST))
    return number if toa[i, j] != 0 else type(like)(0)


@njit(cache=True, nogil=True, fastmath=_FUSED)
def _rows(block, surroundings, near, rows, middle, boa):
    # Four rows of pixels; `surroundings` are upsampled rows, and `near` is what `_bracket` gives for each row. Scalars
    # and unsigned indices (never counted from the end) are what lets the compiler make vector code; slices of the rows
    # would do that too, but counting the references to them takes as long as the pixels. One polynomial after the
    # other, for all rows: fewer coefficients have to be at hand at a time.
    toa, density, excess = block
    line, slope, cell, ramp = middle
    like = boa.dtype.type(0)
    a, b, c, d = rows
    for g in range(line.shape[0] - 1):
        start, stop = np.uint64(g * cell), np.uint64(min((g + 1) * cell, toa.shape[1]))
        path, total = _powers(line, slope, g, _PATH), _powers(line, slope, g, _TOTAL)
        root, albedo = _powers(line, slope, g, _ROOT), _powers(line, slope, g, _ALBEDO)
        change, path_change = _middles(line, g, _CHANGE), _middles(line, g, _PATH_CHANGE)
        curves = _middle(line, g, _CURVES), _middle(line, g, _CURVES + 1)
        for j in range(start, stop):
            t, x = ramp[j - start], _thin(density, rows, j)
            p, m, n = _five(density, _at(path, t), x), _three(density, change, x), _three(density, path_change, x)
            first = _signal(toa, excess, a, j, p[0], m[0], n[0], curves)
            second = _signal(toa, excess, b, j, p[1], m[1], n[1], curves)
            third = _signal(toa, excess, c, j, p[2], m[2], n[2], curves)
            fourth = _signal(toa, excess, d, j, p[3], m[3], n[3], curves)
            s, u, r = (
                _three(density, _at(albedo, t), x),
                _five(density, _at(total, t), x),
                _five(density, _at(root, t), x),
            )
            one = _boa(toa, surroundings, near[0], a, j, first, u[0], r[0], s[0], like)
            two = _boa(toa, surroundings, near[1], b, j, second, u[1], r[1], s[1], like)
            three = _boa(toa, surroundings, near[2], c, j, third, u[2], r[2], s[2], like)
            boa[d, j] = _boa(toa, surroundings, near[3], d, j, fourth, u[3], r[3], s[3], like)
            boa[a, j], boa[b, j], boa[c, j] = one, two, three


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _count(boa, counts):
    none, below, total = np.uint16(0), np.uint16(0), np.uint32(0)  # narrow: more of them in a vector
    half = boa.dtype.type(0.5)  # 0 of integers
    for j in range(boa.size):
        none = np.uint16(none + np.uint16(boa[j] == 0))
        below = np.uint16(below + np.uint16(boa[j] < np.uint16(REFLECTANCE_ZERO)))
        total = np.uint32(total + np.uint32(boa[j] + half))
    counts[0], counts[1], counts[2] = boa.size - none, below - none, total


@njit(cache=True, nogil=True, fastmath=_FUSED)
def invert(block, environment, nodes, first_row, boa, counts):
    """Invert a block of rows to surface reflectance.

    Parameters
    ----------
    block
        `Block`.
    environment
        `Environment`; None for a uniform surface, whose surroundings reflect as much as the pixel itself.
    nodes
        `Nodes` with `COEFFICIENTS`, for stored numbers; their `cell` is a multiple of `rows_together`.
    first_row
        Row of the scene that the block begins with, a multiple of `rows_together`.
    boa
        Output: stored surface reflectance (uint16, or float32 to keep fractions; 0 = no data, limited to 1-32767),
        shape of the block.
    counts
        Output, shape (rows, 3), int64: valid pixels of each row, those below zero reflectance, and the sum of their
        stored numbers.
    """
    toa, (coefficients, cell) = block.toa, nodes
    line = np.empty((coefficients.shape[1], coefficients.shape[2]), np.float32)
    slope = np.zeros_like(line)
    buffers, held = np.empty((8, toa.shape[1]), np.float32), np.full(8, -1)
    ramp = np.arange(cell).astype(np.float32) + _HALF
    none = np.uint64(0), np.uint64(0), _ONE_F
    together, middle = rows_together(cell), _Middle(line, slope, cell, ramp)
    for i in range(0, toa.shape[0], together):
        last = min(i + together, toa.shape[0]) - 1  # it comes again if there are fewer than four, as at 60 m
        a, b, c, d = i, min(i + 1, last), min(i + 2, last), min(i + 3, last)
        rows = np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d)
        _interpolated(coefficients, first_row + i + 0.5 * together, cell, line, slope)
        if environment is None:
            near = none, none, none, none
            _rows(block, None, near, rows, middle, boa)
        else:
            reflectance, ratio = environment
            near = (
                _bracket(reflectance, first_row + a, ratio, buffers, held),
                _bracket(reflectance, first_row + b, ratio, buffers, held),
                _bracket(reflectance, first_row + c, ratio, buffers, held),
                _bracket(reflectance, first_row + d, ratio, buffers, held),
            )
            _rows(block, buffers, near, rows, middle, boa)
        for k in range(i, last + 1):
            _count(boa[k], counts[k])
