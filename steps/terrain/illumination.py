"""Shape and illumination of the ground, pixel by pixel."""

import math

import numpy as np

from steps.core.compiled import formula, njit


@njit(cache=True, nogil=True)
def gradient(elevation, pixel):
    """Return the rise of the ground per metre towards east and south, the directions of growing columns and rows.

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


@njit(cache=True, nogil=True, error_model="numpy")
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
    parts = nodes.shape[1] - 1
    weight = np.empty(columns, np.float32)
    for j in range(columns):
        weight[j] = j / spacing - min(j // spacing, parts - 1)
    for i in range(rows):
        a = min((row + i) // spacing, nodes.shape[0] - 2)
        u = np.float32((row + i) / spacing - a)
        right = nodes[a, 0] + (nodes[a + 1, 0] - nodes[a, 0]) * u
        for b in range(parts):
            left, right = right, nodes[a, b + 1] + (nodes[a + 1, b + 1] - nodes[a, b + 1]) * u
            last = columns if b == parts - 1 else min((b + 1) * spacing, columns)
            for j in range(b * spacing, last):
                result[i, j] = left + (right - left) * weight[j]
    return result


@formula
def _arctangent(ratio):
    """Return the arctangent (degrees) of a number from 0 to 1, to 1e-5 degrees, and of 0 exactly.

    Abramowitz and Stegun (1964), Handbook of mathematical functions, eq. 4.4.49. Unlike the library's it is computed
    for several pixels at once.
    """
    square = ratio * ratio
    series = np.float32(0.0028662257)
    series = series * square - np.float32(0.0161657367)
    series = series * square + np.float32(0.0429096138)
    series = series * square - np.float32(0.0752896400)
    series = series * square + np.float32(0.1065626393)
    series = series * square - np.float32(0.1420889944)
    series = series * square + np.float32(0.1999355085)
    series = series * square - np.float32(0.3333314528)
    return (series * square + np.float32(1)) * ratio * np.float32(180 / math.pi)


@njit(cache=True, nogil=True, error_model="numpy")
def slope_aspect_incidence(east, south, sun_east, sun_north):
    """Return slope, aspect and cosine of the solar incidence angle of tilted ground.

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
    one, least = np.float32(1), np.float32(1e-30)
    for i in range(east.shape[0]):
        for j in range(east.shape[1]):
            p, q, s, t = east[i, j], south[i, j], sun_east[i, j], sun_north[i, j]
            square = p * p + q * q
            rise = np.sqrt(square)
            steep = rise > one
            angle = _arctangent(one / rise if steep else rise)
            slope[i, j] = np.float32(90) - angle if steep else angle
            # The azimuth by octants: from north or south to east or west, and then around.
            across = abs(p) > abs(q)
            narrow, wide = (abs(q), abs(p)) if across else (abs(p), abs(q))
            angle = _arctangent(narrow / (wide + least))
            angle = np.float32(90) - angle if across else angle
            angle = np.float32(180) - angle if q < 0 else angle
            aspect[i, j] = np.float32(360) - angle if p > 0 else angle
            cos_incidence[i, j] = (one - p * s + q * t) / np.sqrt((one + square) * (one + s * s + t * t))
    return slope, aspect, cos_incidence
