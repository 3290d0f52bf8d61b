"""Shape and illumination of the ground, pixel by pixel."""

import math

import numpy as np

from steps.core.compiled import formula, njit
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO

#: Stored number of the highest reflectance that the correction of terrain makes, 1.5.
HIGHEST = np.float32(REFLECTANCE_ZERO + 1.5 * REFLECTANCE_ONE)


@njit(cache=True, nogil=True)
def gradient(elevation, pixel):
    """Rise of the ground per metre towards the east and the south, the directions of growing columns and rows.

    Horn (1981), Hill shading and the reflectance map, Proc. IEEE 69, 14.

    Parameters
    ----------
    elevation
        (rows + 2, columns + 2) float32, m, north up.
    pixel
        Pixel size, m.

    Returns
    -------
    tuple of ndarray
        Two (rows, columns) float32 arrays.
    """
    rows, columns = elevation.shape[0] - 2, elevation.shape[1] - 2
    east = np.empty((rows, columns), np.float32)
    south = np.empty((rows, columns), np.float32)
    scale = np.float32(1 / (8 * pixel))
    for i in range(rows):
        a, b, c = elevation[i], elevation[i + 1], elevation[i + 2]
        for j in range(columns):
            east[i, j] = ((a[j + 2] - a[j]) + np.float32(2) * (b[j + 2] - b[j]) + (c[j + 2] - c[j])) * scale
            south[i, j] = ((c[j] - a[j]) + np.float32(2) * (c[j + 1] - a[j + 1]) + (c[j + 2] - a[j + 2])) * scale
    return east, south


@njit(cache=True, nogil=True)
def at_pixels(nodes, spacing, row, rows, columns):
    """Interpolate a field between its nodes, bilinearly.

    Parameters
    ----------
    nodes
        (m, n) float32, n >= 2; node (a, b) lies on the centre of pixel (a * spacing, b * spacing).
    spacing
        Pixels from node to node; (m - 1) * spacing >= last row, and so for the columns.
    row, rows, columns
        First row and number of rows and columns of the result.

    Returns
    -------
    ndarray
        (rows, columns) float32.
    """
    result = np.empty((rows, columns), np.float32)
    line = np.empty(nodes.shape[1], np.float32)
    for i in range(rows):
        a = min(int((row + i) / spacing), nodes.shape[0] - 2)
        u = np.float32((row + i) / spacing - a)
        for b in range(line.size):
            line[b] = nodes[a, b] + (nodes[a + 1, b] - nodes[a, b]) * u
        for j in range(columns):
            b = min(int(j / spacing), line.size - 2)
            result[i, j] = line[b] + (line[b + 1] - line[b]) * np.float32(j / spacing - b)
    return result


@njit(cache=True, nogil=True)
def slope_aspect_incidence(east, south, sun_east, sun_north):
    """Slope, aspect and cosine of the solar incidence angle of tilted ground.

    Parameters
    ----------
    east, south
        (rows, columns) float32, rise of the ground per metre.
    sun_east, sun_north
        (rows, columns) float32: tangent of the sun zenith times the sine, cosine of the sun azimuth.

    Returns
    -------
    tuple of ndarray
        Slope (0-90 degrees), aspect (azimuth of the outward normal, 0-360 degrees, 0 on level ground), cosine of the
        angle between the normal and the sun (negative on slopes turned away): the scalar product of the unit vectors
        along (-east, south, 1) and (sun_east, sun_north, 1).
    """
    slope = np.empty(east.shape, np.float32)
    aspect = np.empty(east.shape, np.float32)
    cos_incidence = np.empty(east.shape, np.float32)
    degrees = np.float32(180 / math.pi)
    one = np.float32(1)
    for i in range(east.shape[0]):
        for j in range(east.shape[1]):
            p, q, s, t = east[i, j], south[i, j], sun_east[i, j], sun_north[i, j]
            square = p * p + q * q
            slope[i, j] = math.atan(math.sqrt(square)) * degrees
            azimuth = math.atan2(-p, q) * degrees if square > 0 else np.float32(0)
            aspect[i, j] = azimuth if azimuth >= 0 else azimuth + np.float32(360)
            cos_incidence[i, j] = (one - p * s + q * t) / math.sqrt((one + square) * (one + s * s + t * t))
    return slope, aspect, cos_incidence


@formula
def relative_irradiance(cosine_ratio, lit, sky_view, transmittance, direct, albedo, surroundings):
    """Return the light that falls on tilted ground, relative to level open ground under the same atmosphere.

    It is the sum of direct light, of diffuse light from the sky (a share of which, equal to the direct transmittance,
    comes from around the sun: Hay 1979, Calculation of monthly mean solar radiation for horizontal and inclined
    surfaces, Solar Energy 23, 301) with what sky and ground throw back and forth, and of light from the slopes in
    view (Proy, Tanre and Deschamps 1989, Evaluation of topographic effects in remotely sensed data, Remote Sensing
    of Environment 30, 21).

    Parameters
    ----------
    cosine_ratio
        Cosine of the local incidence angle over the cosine of the sun zenith.
    lit
        1 in direct sunlight, 0 in shadow.
    sky_view
        Share of the sky in view, 0-1.
    transmittance, direct
        Downward transmittance, total and direct.
    albedo
        Spherical albedo of the atmosphere.
    surroundings
        Reflectance of the surroundings.

    Returns
    -------
    float
        1 on level open ground; surface reflectance is that of level ground divided by it.
    """
    level = transmittance / (1 - albedo * surroundings)
    diffuse = level - direct
    # What is more and less than on level ground, so that there it is 1 to the last digit.
    from_sun = lit * (cosine_ratio - 1) * (direct + diffuse * direct) - (1 - lit) * direct
    hidden_sky = diffuse * (1 - lit * direct) * (1 - sky_view)
    return 1 + (from_sun - hidden_sky) / level + surroundings * (1 - sky_view)


@njit(cache=True, nogil=True)
def correct_terrain(boa, ground, cloud, row, nodes, cell, surroundings, ratio, limit, result, counts):
    """Turn the reflectance of level ground into that of the ground as it lies.

    Parameters
    ----------
    boa
        (rows, columns) float32, stored surface reflectance with its fractions, 0 = no data.
    ground
        The terrain raster's stored bands of these rows: elevation, slope, cos_incidence, sky_view, cast_shadow.
    cloud
        (rows, columns) bool: where clouds hide the ground, whose reflectance is only rounded.
    row
        First row in the scene.
    nodes
        (10, m, n) float32: cosine of the sun zenith, and for downward transmittance, its direct part and spherical
        albedo the coefficients of powers 0, 1, 2 of the elevation, m. Node (0, 0) is at the scene's upper left
        corner, the next one `cell` pixels on, the last one at or beyond the edge.
    cell
        Pixels from node to node.
    surroundings
        (m, n) float32: mean reflectance around each cell of `ratio` x `ratio` pixels of the scene.
    ratio
        Pixels per cell.
    limit
        Lower limit of the cosine of incidence in sunlight, and of the irradiance relative to level ground.
    result
        (rows, columns) uint16, stored surface reflectance, 0 = no data.
    counts
        (rows, 3) int64, result: valid pixels, those in shadow, those at a limit.
    """
    elevation, slope, cos_incidence, sky_view, cast_shadow = ground
    columns = boa.shape[1]
    one, limit = np.float32(1), np.float32(limit)
    line = np.empty((10, nodes.shape[2]), np.float32)
    value = np.empty(10, np.float32)
    for i in range(boa.shape[0]):
        a = (row + i) // cell
        u = np.float32((row + i + 0.5) / cell - a)
        for k in range(10):
            for b in range(line.shape[1]):
                line[k, b] = nodes[k, a, b] + (nodes[k, a + 1, b] - nodes[k, a, b]) * u
        around = surroundings[(row + i) // ratio]
        valid, shaded, limited = 0, 0, 0
        for j in range(columns):
            result[i, j] = 0
            if boa[i, j] == 0:
                continue
            valid += 1
            if cloud[i, j]:
                result[i, j] = np.uint16(boa[i, j] + np.float32(0.5))
                continue
            b = j // cell
            v = np.float32((j + 0.5) / cell - b)
            for k in range(10):
                value[k] = line[k, b] + (line[k, b + 1] - line[k, b]) * v
            h = np.float32(elevation[i, j])
            cosine = cos_incidence[i, j] * np.float32(1e-4)
            lit = np.float32(cast_shadow[i, j] == 0 and cosine > 0)
            floor = min(limit, value[0])
            at_limit = lit > 0 and cosine < floor
            # The raster's rounded cosine would make level ground lighter or darker.
            cosine_ratio = max(cosine, floor) / value[0] if slope[i, j] else one
            relative = relative_irradiance(
                cosine_ratio,
                lit,
                sky_view[i, j] * np.float32(1e-4),
                value[1] + h * (value[2] + h * value[3]),
                value[4] + h * (value[5] + h * value[6]),
                value[7] + h * (value[8] + h * value[9]),
                around[j // ratio],
            )
            at_limit |= relative < limit
            more = one / max(relative, limit) - one
            stored = boa[i, j] + (boa[i, j] - np.float32(REFLECTANCE_ZERO)) * more
            highest = max(boa[i, j], HIGHEST)
            at_limit |= stored > highest + one
            result[i, j] = np.uint16(max(min(stored, highest), one) + np.float32(0.5))
            shaded += lit == 0
            limited += at_limit
        counts[i, 0], counts[i, 1], counts[i, 2] = valid, shaded, limited
