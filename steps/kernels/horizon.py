"""Horizons of an elevation model: sky-view factor by line sweeps, cast shadow by rays towards the sun."""

import math

import numpy as np
from numba import njit

#: Side in pixels of the cells whose highest point lets a ray pass over them in one step.
CELL = 16
#: The horizon is searched in this many directions.
DIRECTIONS = 16


@njit(cache=True, nogil=True)
def horizon_tangents(height, spacing, stack, tangent):
    """Find the horizon of every point of a profile, looking towards its end.

    From the end backwards the points that can still be a horizon form a convex hull; each is pushed and popped
    once, so the work grows with the number of points and not with its square (Dozier, Bruno and Downey 1981, A faster
    solution to the horizon problem, Computers & Geosciences 7, 145).

    Parameters
    ----------
    height
        (n,) heights at equal distances, m.
    spacing
        Distance of neighbours, m.
    stack
        (n,) int32 scratch.
    tangent
        (n,) result: tangent of the elevation angle of the horizon, negative if all further points are lower, and
        0 for the last point.
    """
    last = height.size - 1
    stack[0] = last
    top = 0
    tangent[last] = 0
    for i in range(last - 1, -1, -1):
        z = height[i]
        j = stack[top]
        best = (height[j] - z) / np.float32(j - i)
        while top > 0:
            j = stack[top - 1]
            farther = (height[j] - z) / np.float32(j - i)
            if farther < best:
                break
            best = farther
            top -= 1
        tangent[i] = best / spacing
        top += 1
        stack[top] = i


@njit(cache=True, nogil=True)
def _arc_tangent(x):
    """Arc tangent of x >= 0 to 1e-5 (Abramowitz and Stegun 1964, 4.4.47)."""
    u = x if x <= np.float32(1) else np.float32(1) / x
    v = u * u
    series = np.float32(0.1801410) + v * (np.float32(-0.0851330) + v * np.float32(0.0208351))
    result = u * (np.float32(0.9998660) + v * (np.float32(-0.3302995) + v * series))
    return result if x <= np.float32(1) else np.float32(math.pi / 2) - result


@njit(cache=True, nogil=True)
def _visible_sky(tangent, rise):
    """Sky seen in one direction, as a share of what level open ground sees there and over the cosine of the slope.

    The integrand of Dozier and Frew (1990), Rapid calculation of terrain parameters for radiation modeling from
    digital elevation data, IEEE TGRS 28, 963, eq. 7b, written with the tangent of the horizon; `rise` is the slope
    of the ground in that direction, and the ground itself is a horizon too.
    """
    t = max(tangent, rise, np.float32(0))
    square = np.float32(1) / (np.float32(1) + t * t)
    from_zenith = np.float32(math.pi / 2) - _arc_tangent(t)
    return square - rise * (from_zenith - t * square)


@njit(cache=True, nogil=True)
def add_sky(elevation, gradient_along, gradient_across, margin, pixel, shear, first, last, sky):
    """Add the sky seen in two opposite directions, along lines of one inclination, to the pixels between the lines.

    Line k runs through row k + shear * column; on it the elevation is interpolated between two rows, and the horizon
    of a pixel between the horizons of the two lines beside it, which is exact on a plane.

    Parameters
    ----------
    elevation
        (rows + 2 margin, columns + 2 margin) float32, m, with margin >= 1.
    gradient_along, gradient_across
        (rows, columns) float32, rise per metre with growing column and with growing row.
    margin
        Pixels of `elevation` around the others.
    pixel
        Pixel size, m.
    shear
        Rows per column of the lines, -1 to 1.
    first, last
        The lines first <= k < last are worked on; each pixel has exactly one k.
    sky
        (rows, columns) float32, added to.
    """
    height, width = elevation.shape
    rows, columns = sky.shape
    spacing = np.float32(pixel * math.sqrt(1 + shear * shear))
    along = np.float32(1 / math.sqrt(1 + shear * shear))
    across = np.float32(shear / math.sqrt(1 + shear * shear))
    offset = np.empty(width, np.int32)
    weight = np.empty(width, np.float32)
    for j in range(width):
        offset[j] = math.floor(shear * j)
        weight[j] = shear * j - offset[j]
    profile = np.empty(width, np.float32)
    stack = np.empty(width, np.int32)
    horizons = np.zeros((2, 2, width), np.float32)
    for k in range(first - 1, last):
        now, before = horizons[k & 1], horizons[(k + 1) & 1]
        start, stop = width, 0
        for j in range(width):
            i = k + offset[j]
            if 0 <= i < height - 1:
                profile[j] = elevation[i, j] * (np.float32(1) - weight[j]) + elevation[i + 1, j] * weight[j]
                start = min(start, j)
                stop = j + 1
        if start < stop:
            line = slice(start, stop)
            horizon_tangents(profile[line], spacing, stack, now[0, line])
            horizon_tangents(profile[line][::-1], spacing, stack, now[1, line][::-1])
        if k < first:
            continue
        for j in range(max(start, margin), min(stop, width - margin)):
            i, c = k + offset[j] - margin, j - margin
            if 0 <= i < rows:
                rise = gradient_along[i, c] * along + gradient_across[i, c] * across
                w = weight[j]
                ahead = now[0, j] + (before[0, j] - now[0, j]) * w if w > 0 else now[0, j]
                behind = now[1, j] + (before[1, j] - now[1, j]) * w if w > 0 else now[1, j]
                sky[i, c] += _visible_sky(ahead, rise) + _visible_sky(behind, -rise)


@njit(cache=True, nogil=True)
def cell_heights(elevation):
    """Return the highest point of every CELL x CELL pixels and the row of pixels around them."""
    height, width = elevation.shape
    result = np.full(((height - 1) // CELL + 1, (width - 1) // CELL + 1), np.float32(-np.inf))
    for i in range(height):
        for j in range(width):
            z = elevation[i, j]
            for a in range(max(i - 1, 0) // CELL, min(i + 1, height - 1) // CELL + 1):
                for b in range(max(j - 1, 0) // CELL, min(j + 1, width - 1) // CELL + 1):
                    result[a, b] = max(result[a, b], z)
    return result


@njit(cache=True, nogil=True)
def _steps_to_leave(position, step):
    """Count the steps until a coordinate has left its cell."""
    if step > 0:
        return math.ceil(((math.floor(position) // CELL + 1) * CELL - position) / step)
    if step < 0:
        return math.floor((position - math.floor(position) // CELL * CELL) / -step) + 1
    return 1 << 30


@njit(cache=True, nogil=True)
def _ground(elevation, y, x):
    """Elevation between two pixels of a row or a column, minus infinity outside."""
    if y < 0 or x < 0 or y > elevation.shape[0] - 1 or x > elevation.shape[1] - 1:
        return -np.inf
    a, b = math.floor(y), math.floor(x)
    z = np.float64(elevation[a, b])
    if y > a:
        return z + (elevation[a + 1, b] - z) * (y - a)
    if x > b:
        return z + (elevation[a, b + 1] - z) * (x - b)
    return z


@njit(cache=True, nogil=True)
def _is_shaded(elevation, cells, top, i, j, down, right, climb):
    """Follow the ray from pixel (i, j) by steps of (down, right), one of them 1 or -1, until it hits or is free."""
    height, width = elevation.shape
    start = elevation[i, j]
    n = 1
    while True:
        y, x, ray = i + n * down, j + n * right, start + n * climb
        if ray > top or y < 0 or x < 0 or y > height - 1 or x > width - 1:
            return False
        leave = max(1, min(_steps_to_leave(y, down), _steps_to_leave(x, right)))
        if ray <= cells[math.floor(y) // CELL, math.floor(x) // CELL]:
            for m in range(n, n + leave):
                if _ground(elevation, i + m * down, j + m * right) > start + m * climb + 1e-3:
                    return True
        n += leave


@njit(cache=True, nogil=True)
def cast_shadow(elevation, cells, margin, pixel, sun_east, sun_north, row, shadow):
    """Find the pixels whose straight line to the sun meets the ground.

    The ray is compared with the ground where it crosses the columns (or rows, whichever it crosses more of), between
    whose pixels the ground is linear; cells that lie below the ray are passed over at once.

    Parameters
    ----------
    elevation
        (height, width) float32, m, with `margin` pixels around the rows and columns that are asked for.
    cells
        `cell_heights(elevation)`.
    margin, pixel
        Pixels; pixel size, m.
    sun_east, sun_north
        (rows, columns) float32: tangent of the sun zenith times the sine, cosine of the sun azimuth.
    row
        First of the rows, not counting the margin.
    shadow
        (rows, columns) bool, result.
    """
    top = cells.max()
    for i in range(shadow.shape[0]):
        for j in range(shadow.shape[1]):
            east, north = np.float64(sun_east[i, j]), np.float64(sun_north[i, j])
            longest = max(abs(east), abs(north))
            shadow[i, j] = longest > 1e-6 and _is_shaded(
                elevation, cells, top, i + row + margin, j + margin, -north / longest, east / longest, pixel / longest
            )
