"""Horizons of an elevation model: sky-view factor by line sweeps, cast shadow by rays towards the sun."""

import math

import numpy as np

from steps.core.compiled import helper, njit

#: Side in pixels of the cells whose highest point lets a ray pass over them in one step.
CELL = 16
#: Columns that are worked on together along many lines, so that the rows these cross stay in the processor's cache.
TILE = 16
#: Lines that are worked on together.
LINES = 64
#: The horizon is searched in this many directions.
DIRECTIONS = 16


@njit(cache=True, nogil=True)
def horizon_tangents(height, reciprocal, stack, tangent):
    """Find the horizon of every point of a profile, looking towards its end.

    From the end backwards the points that can still be a horizon form a convex hull; each is pushed and popped
    once, so the work grows with the number of points and not with its square (Dozier, Bruno and Downey 1981, A faster
    solution to the horizon problem, Computers & Geosciences 7, 145).

    Parameters
    ----------
    height
        (n,) heights at equal distances, m.
    reciprocal
        (n,) reciprocal of the distance of points so many steps apart, 1/m; the first is not used.
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
        best = (height[j] - z) * reciprocal[j - i]
        while top > 0:
            j = stack[top - 1]
            farther = (height[j] - z) * reciprocal[j - i]
            if farther < best:
                break
            best = farther
            top -= 1
        tangent[i] = best
        top += 1
        stack[top] = i


@helper(cache=True, nogil=True, error_model="numpy")
def _visible_sky(tangent, rise):
    """Return the sky seen one way, as a share of what level open ground sees, over the cosine of the slope.

    The integrand of Dozier and Frew (1990), Rapid calculation of terrain parameters for radiation modeling from
    digital elevation data, IEEE TGRS 28, 963, eq. 7b, written with the tangent of the horizon; `rise` is the slope
    of the ground in that direction, and the ground itself is a horizon too. The horizon's angle from the zenith is
    the arc cosine of Abramowitz and Stegun (1964), 4.4.45, good to 5e-5.
    """
    one = np.float32(1)
    t = max(max(tangent, rise), np.float32(0))
    square = one / (one + t * t)
    cosine = math.sqrt(square)
    sine = t * cosine
    series = np.float32(-0.2121144) + sine * (np.float32(0.0742610) - sine * np.float32(0.0187293))
    from_zenith = math.sqrt(max(one - sine, np.float32(0))) * (np.float32(1.5707288) + sine * series)
    return square - rise * (from_zenith - sine * cosine)


@helper(cache=True, nogil=True, error_model="numpy")
def _both_ways(ahead, ahead_before, behind, behind_before, weight, rise):
    """Turn the slope along a line of pixels into the sky seen both ways, given the horizons of the lines beside it."""
    for j in range(rise.size):
        front = ahead[j] + (ahead_before[j] - ahead[j]) * weight[j]
        back = behind[j] + (behind_before[j] - behind[j]) * weight[j]
        rise[j] = _visible_sky(front, rise[j]) + _visible_sky(back, -rise[j])


@helper(cache=True, nogil=True)
def _columns_inside(offset, first, lines, rows):
    """Return the first column of each line first + n + offset in 0 <= row < rows, and the one after the last."""
    result = np.empty((lines, 2), np.int64)
    for n in range(lines):
        start, stop = 0, offset.size
        while start < stop and not 0 <= first + n + offset[start] < rows:
            start += 1
        while start < stop and not 0 <= first + n + offset[stop - 1] < rows:
            stop -= 1
        result[n, 0], result[n, 1] = start, stop
    return result


@helper(cache=True, nogil=True)
def _gather(elevation, offset, weight, first, inside, profile):
    """Interpolate the elevation along lines."""
    for tile in range(0, offset.size, TILE):
        for n in range(profile.shape[0]):
            for j in range(max(tile, inside[n, 0]), min(tile + TILE, inside[n, 1])):
                z = elevation[first + n + offset[j], j]
                profile[n, j] = z + (elevation[first + n + offset[j] + 1, j] - z) * weight[j]


@helper(cache=True, nogil=True)
def _gather_rise(along, across, unit, offset, first, inside, rise):
    """Take the slope in the direction of lines from the pixels on them."""
    for tile in range(0, offset.size, TILE):
        for n in range(rise.shape[0]):
            for j in range(max(tile, inside[n, 0]), min(tile + TILE, inside[n, 1])):
                i = first + n + offset[j]
                rise[n, j] = along[i, j] * unit[0] + across[i, j] * unit[1]


@helper(cache=True, nogil=True)
def _scatter(values, offset, first, inside, sky):
    """Add the values of lines to the pixels on them."""
    for tile in range(0, offset.size, TILE):
        for n in range(values.shape[0]):
            for j in range(max(tile, inside[n, 0]), min(tile + TILE, inside[n, 1])):
                sky[first + n + offset[j], j] += values[n, j]


@njit(cache=True, nogil=True)
def add_sky(elevation, gradient_along, gradient_across, corner, pixel, shear, first, last, sky):
    """Add the sky seen in two opposite directions, along lines of one inclination, to the pixels between the lines.

    Line k runs through row k + shear * column; on it the elevation is interpolated between two rows, and the horizon
    of a pixel between the horizons of the two lines beside it, which is exact on a plane.

    Parameters
    ----------
    elevation
        Float32, m; 1 pixel or more around `sky` on each side.
    gradient_along, gradient_across
        (rows, columns) float32, rise per metre with growing column and with growing row.
    corner
        Row and column of `elevation` where `sky` begins.
    pixel
        Pixel size, m.
    shear
        Rows per column of the lines, -1 to 1.
    first, last
        The lines first <= k < last are worked on; each pixel has exactly one k.
    sky
        (rows, columns) float32, added to.
    """
    width, lines = elevation.shape[1], last - first + 1
    length = math.sqrt(1 + shear * shear)
    offset, weight = np.empty(width, np.int32), np.empty(width, np.float32)
    reciprocal = np.empty(width, np.float32)
    for j in range(width):
        offset[j] = math.floor(shear * j)
        weight[j] = shear * j - offset[j]
        reciprocal[j] = 1 / (pixel * length * max(j, 1))
    # The line before the first is needed for the pixels between the two.
    inside = _columns_inside(offset, first - 1, lines, elevation.shape[0] - 1)
    profile = np.empty((lines, width), np.float32)
    _gather(elevation, offset, weight, first - 1, inside, profile)
    stack = np.empty(width, np.int32)
    ahead, behind = np.zeros((lines, width), np.float32), np.zeros((lines, width), np.float32)
    for n in range(lines):
        if inside[n, 0] < inside[n, 1]:
            part = slice(inside[n, 0], inside[n, 1])
            horizon_tangents(profile[n, part], reciprocal, stack, ahead[n, part])
            horizon_tangents(profile[n, part][::-1], reciprocal, stack, behind[n, part][::-1])
    inner = slice(corner[1], corner[1] + sky.shape[1])
    ahead, behind, offset, weight = ahead[:, inner], behind[:, inner], offset[inner], weight[inner]
    inside = _columns_inside(offset, first - corner[0], lines - 1, sky.shape[0])
    rise = np.zeros((lines - 1, sky.shape[1]), np.float32)
    unit = (np.float32(1 / length), np.float32(shear / length))
    _gather_rise(gradient_along, gradient_across, unit, offset, first - corner[0], inside, rise)
    for n in range(1, lines):
        a, b, c, d, seen = ahead[n], ahead[n - 1], behind[n], behind[n - 1], rise[n - 1]
        part = slice(inside[n - 1, 0], inside[n - 1, 1])
        _both_ways(a[part], b[part], c[part], d[part], weight[part], seen[part])
    _scatter(rise, offset, first - corner[0], inside, sky)


@njit(cache=True, nogil=True)
def cell_heights(elevation):
    """Return the lowest point of every CELL x CELL pixels, and the highest of them and the pixels around them."""
    height, width = elevation.shape
    shape = ((height - 1) // CELL + 1, (width - 1) // CELL + 1)
    lowest, highest = np.full(shape, np.float32(np.inf)), np.full(shape, np.float32(-np.inf))
    for a in range(shape[0]):
        for b in range(shape[1]):
            for i in range(max(a * CELL - 1, 0), min((a + 1) * CELL + 1, height)):
                for j in range(max(b * CELL - 1, 0), min((b + 1) * CELL + 1, width)):
                    highest[a, b] = max(highest[a, b], elevation[i, j])
                    if i // CELL == a and j // CELL == b:
                        lowest[a, b] = min(lowest[a, b], elevation[i, j])
    return lowest, highest


@helper(cache=True, nogil=True)
def _farthest_obstacle(lowest, highest, top, a, b, down, right, climb):
    """Return a number of pixels beyond which no ray from a cell can hit, going (down, right) a pixel.

    At every step of a cell the rays are within one cell of the one from the middle.
    """
    rows, columns = highest.shape
    farthest, n = 0, 0
    while True:
        ray = lowest[a, b] + (n - 1) * CELL * climb
        i, j = math.floor(a + 0.5 + n * down), math.floor(b + 0.5 + n * right)
        if ray > top or not (-1 <= i <= rows and -1 <= j <= columns):
            return farthest
        for y in range(max(i - 1, 0), min(i + 2, rows)):
            for x in range(max(j - 1, 0), min(j + 2, columns)):
                if highest[y, x] >= ray:
                    farthest = (n + 1) * CELL
        n += 1


@helper(cache=True, nogil=True)
def _steps_inside(position, step, size):
    """Count the steps that a coordinate can make before the pixel at or before it is not in 0 ... size - 2."""
    if step > 1e-9:
        return math.ceil((size - 1 - position) / step) - 1
    if step < -1e-9:
        return math.floor(position / -step)
    return 1 << 30


@helper(cache=True, nogil=True)
def _is_shaded(ground, strides, cells, cell_strides, along, aside, forward, sideways, climb, last):
    """Follow a ray from a pixel until it hits the ground or has made `last` steps.

    Each step goes one pixel `forward` (1 or -1) along one axis of the grid and `sideways` (-1 to 1) along the other;
    the ground between two pixels of the other axis is linear. Arrays are flat, with their strides along both axes.
    """
    start = ground[along * strides[0] + aside * strides[1]]
    n = 1
    while n <= last:
        q, p = along + n * forward, aside + n * sideways
        a, b = q // CELL, int(p) // CELL
        leave = (a + 1) * CELL - q if forward > 0 else q - a * CELL + 1
        if sideways > 1e-9:
            leave = min(leave, int(((b + 1) * CELL - p) / sideways) + 1)
        elif sideways < -1e-9:
            leave = min(leave, int((b * CELL - p) / sideways) + 1)
        stop = min(n + leave, last + 1)
        if start + n * climb <= cells[a * cell_strides[0] + b * cell_strides[1]]:
            for m in range(n, stop):
                p = aside + m * sideways
                k = (along + m * forward) * strides[0] + int(p) * strides[1]
                z = ground[k] + (ground[k + strides[1]] - ground[k]) * (p - int(p))
                if z > start + m * climb + 1e-3:
                    return True
        n = stop
    return False


@helper(cache=True, nogil=True)
def _ray(ground, shape, cells, across, y, x, east, south, pixel, last):
    """Return whether the ray from a pixel to the sun hits within `last` steps (components east and south)."""
    height, width = shape
    longest = max(abs(east), abs(south), 1e-6)
    climb = pixel / longest
    if abs(east) >= abs(south):
        forward, sideways = (1 if east > 0 else -1), south / longest
        last = min(last, width - 1 - x if east > 0 else x, _steps_inside(y, sideways, height))
        return _is_shaded(ground, (1, width), cells, (1, across), x, y, forward, sideways, climb, last)
    forward, sideways = (1 if south > 0 else -1), east / longest
    last = min(last, height - 1 - y if south > 0 else y, _steps_inside(x, sideways, width))
    return _is_shaded(ground, (width, 1), cells, (across, 1), y, x, forward, sideways, climb, last)


@njit(cache=True, nogil=True)
def cast_shadow(elevation, cells, margin, pixel, sun_east, sun_north, row, shadow):
    """Find the pixels whose straight line to the sun meets the ground.

    The ray is compared with the ground where it crosses the columns (or rows, whichever it crosses more of), between
    whose pixels the ground is linear; cells that lie below the ray are passed over at once.

    Parameters
    ----------
    elevation
        (height, width) float32, m, with `margin` >= 1 pixels around the rows and columns that are asked for.
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
    lowest, highest = cells
    top, (rows, columns) = highest.max(), shadow.shape
    ground, blocks, across = elevation.ravel(), highest.ravel(), highest.shape[1]
    first = (row + margin) // CELL
    for a in range(first, (row + margin + rows - 1) // CELL + 1):
        lines = (max(a * CELL - row - margin, 0), min((a + 1) * CELL - row - margin, rows))
        for b in range(margin // CELL, (margin + columns - 1) // CELL + 1):
            start, stop = max(b * CELL - margin, 0), min((b + 1) * CELL - margin, columns)
            east, south = np.float64(sun_east[lines[0], start]), -np.float64(sun_north[lines[0], start])
            longest = max(abs(east), abs(south), 1e-6)
            limit = _farthest_obstacle(lowest, highest, top, a, b, south / longest, east / longest, pixel / longest)
            for i in range(lines[0], lines[1]):
                for j in range(start, stop):
                    east, south = np.float64(sun_east[i, j]), -np.float64(sun_north[i, j])
                    y, x = i + row + margin, j + margin
                    shadow[i, j] = _ray(ground, elevation.shape, blocks, across, y, x, east, south, pixel, limit)
