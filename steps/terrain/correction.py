"""From the reflectance of level ground to that of the ground as it lies, pixel by pixel."""

from typing import NamedTuple

import numpy as np

from steps.core.compiled import formula, helper, larger, njit
from steps.sentinel2.kinds import GAIN, REFLECTANCE_ONE, REFLECTANCE_ZERO

#: Numbers per node that `correct_terrain` takes: cosine of the sun zenith, then for downward transmittance, its direct
#: part and spherical albedo the coefficients of powers 0, 1, 2 of the elevation, m.
NODE_TERMS = 10
#: Stored number of the highest reflectance that the correction of terrain makes, 1.5.
HIGHEST = np.float32(REFLECTANCE_ZERO + 1.5 * REFLECTANCE_ONE)
_BLACK = np.float32(REFLECTANCE_ZERO)
_ONE = np.float32(1)
_HALF = np.float32(0.5)
_ZERO = np.float32(0)
#: Scales of stored cosines and sky views, and of slopes in radians.
_SHARE = np.float32(1e-4)
_SLOPE = np.float32(np.radians(0.01))
#: Least share of its own half space that a slope is taken to see of the sky if mountains hide none.
_LEAST_OPEN = np.float32(0.25)
#: Stored number of a gain of 1, and the largest.
_GAIN_ONE = np.float32(1 / GAIN.scale)
_LARGEST = np.float32(65535)
#: Rows of the scratch that holds how the ground lies: elevation, and the attributes of `Lie`.
_LIE = 6
#: A product and a sum may become one instruction (rounded once). Nothing else may be rearranged.
_FUSED = {"contract"}


class Lie(NamedTuple):
    """How ground lies to the sun and the sky; each is 0 on level open ground.

    Attributes
    ----------
    sun
        What the sunlight is more than on level ground: the cosine of the incidence angle over that of the sun zenith,
        less 1; -1 in shadow.
    opening
        Sky in view over the sky that the slope itself leaves open, less 1.
    hidden
        Share of the upper half space that is not sky, weighted by the cosine to the slope's normal.
    u, v
        Cosine of the incidence angle, less that of the slope times that of the sun zenith; 1 less that of the slope.
    """

    sun: float
    opening: float
    hidden: float
    u: float
    v: float


class Downward(NamedTuple):
    """Transmittance of the atmosphere on the way down, total and direct, and its spherical albedo."""

    transmittance: float
    direct: float
    albedo: float


class SkyTerms(NamedTuple):
    """Terms of a sky, see `steps.atmosphere.sky`: the share that comes from around the sun, and a polynomial."""

    near: float
    b1: float
    b2: float
    b3: float
    b4: float
    b5: float


@formula
def relative_irradiance(lie, downward, sky_terms, surroundings):
    """Return the light that falls on tilted ground, relative to level open ground under the same atmosphere.

    It is the sum of direct light, of diffuse light from the sky (`steps.atmosphere.sky`), of what ground and sky throw
    back and forth, which comes from all of the sky alike, and of light from the slopes in view (Proy, Tanre and
    Deschamps 1989, Evaluation of topographic effects in remotely sensed data, Remote Sensing of Environment 30, 21).

    Parameters
    ----------
    lie, downward, sky_terms
        `Lie` of the ground, `Downward` of the atmosphere, and `SkyTerms`.
    surroundings
        Reflectance of the surroundings.

    Returns
    -------
    float
        1 on level open ground; surface reflectance is that of level ground divided by it.
    """
    sun, opening, hidden, u, v = lie
    transmittance, direct, albedo = downward
    near, b1, b2, b3, b4, b5 = sky_terms
    level = transmittance / (_ONE - albedo * surroundings)
    # What is more and less than on level ground, so that there it is 1 to the last digit.
    smooth = larger(u * (b1 + b3 * u) + v * (b2 + b4 * u + b5 * v), near - _ONE)
    sky = near * sun + opening * (_ONE - near) + (_ONE + opening) * smooth
    more = direct * sun + (transmittance - direct) * sky - (level - transmittance) * hidden
    return _ONE + more / level + surroundings * hidden


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _cosine(degrees):
    """Return the cosine of a stored slope, good to 3e-5, in arithmetic that any processor does alike."""
    x = np.float32(degrees) * _SLOPE
    x *= x
    return _ONE - x * (_HALF - x * (np.float32(1 / 24) - x * (np.float32(1 / 720) - x * np.float32(1 / 40320))))


@helper(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _describe(ground, cloud, i, start, sun_cosine, step, limit, lie):
    """Set how a piece of a row lies; clouds count as level ground.

    `sun_cosine` is that of the sun zenith at the left edge, and `step` its change per pixel.
    """
    elevation, slope, incidence, sky_view, cast_shadow = ground[0], ground[1], ground[2], ground[3], ground[4]
    for t in range(lie.shape[1]):
        j, level = start + t, sun_cosine + step * (np.float32(t) + _HALF)
        height, u, v = np.float32(elevation[i, j]), _ZERO, _ZERO
        sun, opening, hidden = _ZERO, _ZERO, _ZERO
        if not cloud[i, j]:
            cosine, upright = np.float32(incidence[i, j]) * _SHARE, _cosine(slope[i, j])
            if slope[i, j] != 0:  # the raster's rounded cosine would make level ground lighter or darker
                u, v = cosine - upright * level, _ONE - upright
                sun = max(cosine, min(limit, level)) / level - _ONE
            if cast_shadow[i, j] != 0 or cosine <= _ZERO:
                sun = -_ONE
            view = np.float32(sky_view[i, j]) * _SHARE
            opening, hidden = view / max(_ONE - v * _HALF, _LEAST_OPEN) - _ONE, _ONE - view
        lie[0, t], lie[1, t], lie[2, t], lie[3, t], lie[4, t], lie[5, t] = height, sun, opening, hidden, u, v


@helper(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _relative(around, lie, left, right, step, sky, start, relative):
    """Set the irradiance of a piece of a row relative to that of level ground.

    `left` and `right` are the numbers of the nodes beside it, `step` the reciprocal of the pixels between these, `sky`
    the terms at an elevation of 0 and their change per m.
    """
    height, sun, opening, hidden, u, v = lie[0], lie[1], lie[2], lie[3], lie[4], lie[5]
    t0, t1, t2 = left[1], left[2], left[3]
    d0, d1, d2 = left[4], left[5], left[6]
    a0, a1, a2 = left[7], left[8], left[9]
    t0s, t1s, t2s = (right[1] - t0) * step, (right[2] - t1) * step, (right[3] - t2) * step
    d0s, d1s, d2s = (right[4] - d0) * step, (right[5] - d1) * step, (right[6] - d2) * step
    a0s, a1s, a2s = (right[7] - a0) * step, (right[8] - a1) * step, (right[9] - a2) * step
    n, b1, b2, b3, b4, b5 = sky[0, 0], sky[0, 1], sky[0, 2], sky[0, 3], sky[0, 4], sky[0, 5]
    nh, b1h, b2h, b3h, b4h, b5h = sky[1, 0], sky[1, 1], sky[1, 2], sky[1, 3], sky[1, 4], sky[1, 5]
    first = np.uint64(start)
    for t in range(np.uint64(lie.shape[1])):
        x, h = np.float32(np.int32(t)) + _HALF, height[t]
        downward = Downward(
            t0 + x * t0s + h * (t1 + x * t1s + h * (t2 + x * t2s)),
            d0 + x * d0s + h * (d1 + x * d1s + h * (d2 + x * d2s)),
            a0 + x * a0s + h * (a1 + x * a1s + h * (a2 + x * a2s)),
        )
        terms = SkyTerms(n + h * nh, b1 + h * b1h, b2 + h * b2h, b3 + h * b3h, b4 + h * b4h, b5 + h * b5h)
        how = Lie(sun[t], opening[t], hidden[t], u[t], v[t])
        relative[t] = relative_irradiance(how, downward, terms, around[first + t])


@helper(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _correct(boa, sun, relative, limit, i, start, result):
    """Correct a piece of a row of one band; return how many of its pixels are valid, in shadow and at a limit."""
    first, valid, shaded, limited = np.uint64(start), np.uint32(0), np.uint32(0), np.uint32(0)
    for t in range(np.uint64(relative.size)):
        flat = boa[i, first + t]
        stored = flat + (flat - _BLACK) * (_ONE / max(relative[t], limit) - _ONE)
        highest = max(flat, HIGHEST)
        number = np.uint16(np.int32(max(min(stored, highest), _ONE) + _HALF))
        result[i, first + t] = number if flat != _ZERO else np.uint16(0)
        known = flat != _ZERO
        valid = np.uint32(valid + np.uint32(known))
        shaded = np.uint32(shaded + np.uint32(known & (sun[t] == -_ONE)))
        limited = np.uint32(limited + np.uint32(known & ((relative[t] < limit) | (stored > highest + _ONE))))
    return valid, shaded, limited


@helper(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def _store_gain(relative, limit, gain):
    """Store what reflectance was multiplied with."""
    for t in range(gain.size):
        gain[t] = np.uint16(np.int32(min(_GAIN_ONE / max(relative[t], limit) + _HALF, _LARGEST)))


@helper(cache=True, nogil=True, fastmath=_FUSED)
def _between(above, below, weight, line):
    """Interpolate the nodes' numbers between two rows of nodes of all bands."""
    for k in range(line.shape[0]):
        for g in range(line.shape[1]):
            for m in range(line.shape[2]):
                line[k, g, m] = above[k, g, m] + (below[k, g, m] - above[k, g, m]) * weight


@helper(cache=True, nogil=True)
def _repeat(cells, ratio, pixels):
    """Give each pixel of a row the number of its cell, in all bands."""
    for k in range(pixels.shape[0]):
        for j in range(pixels.shape[1]):
            pixels[k, j] = cells[k, j // ratio]


class Light(NamedTuple):
    """What lights the ground of a scene, by band.

    Attributes
    ----------
    nodes
        (bands, m, n, NODE_TERMS) float32. Node (0, 0) is at the scene's upper left corner, the next one `cell` pixels
        on, the last one at or beyond the edge.
    cell
        Pixels from node to node.
    sky
        (bands, 2, 6) float32: `SkyTerms` at an elevation of 0, and their change per m.
    surroundings
        (bands, m, n) float32: mean reflectance around each cell of `ratio` x `ratio` pixels of the scene.
    ratio
        Pixels per cell.
    """

    nodes: np.ndarray
    cell: int
    sky: np.ndarray
    surroundings: np.ndarray
    ratio: int


@njit(cache=True, nogil=True, fastmath=_FUSED, error_model="numpy")
def correct_terrain(boa, ground, cloud, row, light, limit, result, gain, counts):
    """Turn the reflectance of level ground into that of the ground as it lies.

    Parameters
    ----------
    boa
        (bands, rows, columns) float32, stored surface reflectance with its fractions, 0 = no data.
    ground
        (5, rows, columns) int16, the terrain raster's stored bands of these rows: elevation, slope, cos_incidence,
        sky_view, cast_shadow.
    cloud
        (rows, columns) bool: where clouds hide the ground, whose reflectance is only rounded.
    row
        First row in the scene.
    light
        `Light` of the whole scene.
    limit
        Lower limit of the cosine of incidence in sunlight, and of the irradiance relative to level ground.
    result
        (bands, rows, columns) uint16, stored surface reflectance, 0 = no data.
    gain
        (bands, rows, columns) uint16, result: stored number of what reflectance was multiplied with, or None.
    counts
        (bands, rows, 3) int64, result: valid pixels, those in shadow, those at a limit.
    """
    bands, rows, columns = boa.shape
    nodes, cell, sky, surroundings, ratio = light
    limit, step = np.float32(limit), _ONE / np.float32(cell)
    line = np.empty((bands, nodes.shape[2], NODE_TERMS), np.float32)
    around, scratch = np.empty((bands, columns), np.float32), np.empty(_LIE * cell, np.float32)
    irradiance = np.empty(cell, np.float32)
    counts[:] = 0
    for i in range(rows):
        a = (row + i) // cell
        weight = np.float32((row + i + 0.5) / cell - a)
        _between(nodes[:, a], nodes[:, a + 1], weight, line)
        if i == 0 or (row + i) % ratio == 0:
            _repeat(surroundings[:, (row + i) // ratio], ratio, around)
        for g in range(line.shape[1] - 1):
            start, stop = g * cell, min((g + 1) * cell, columns)
            if start >= stop:
                break
            lie = scratch[: _LIE * (stop - start)].reshape((_LIE, stop - start))
            slant = (line[0, g + 1, 0] - line[0, g, 0]) * step
            _describe(ground, cloud, i, start, line[0, g, 0], slant, limit, lie)
            for k in range(bands):
                relative = irradiance[: stop - start]
                _relative(around[k], lie, line[k, g], line[k, g + 1], step, sky[k], start, relative)
                valid, shaded, limited = _correct(boa[k], lie[1], relative, limit, i, start, result[k])
                if gain is not None:
                    _store_gain(relative, limit, gain[k, i, start:stop])
                counts[k, i, 0] += valid
                counts[k, i, 1] += shaded
                counts[k, i, 2] += limited
