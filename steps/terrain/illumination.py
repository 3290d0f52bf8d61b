"""Shape and illumination of the ground, pixel by pixel."""

import math

import numpy as np

from steps.core.compiled import njit


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
