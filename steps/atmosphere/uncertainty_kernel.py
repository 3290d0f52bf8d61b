"""Standard uncertainty of surface reflectance, pixel by pixel, from polynomials that are known at the nodes of a mesh.

At a node the variance is a polynomial in the reflectance of the pixel and in that of its surroundings
(`steps.atmosphere.uncertainty`); between nodes the polynomials are interpolated bilinearly.
"""

import numpy as np

from steps.atmosphere.polynomial import along_cell, value_at
from steps.core.compiled import njit
from steps.sentinel2.kinds import GAIN, REFLECTANCE_OFFSET, REFLECTANCE_SCALE, UNCERTAINTY

#: Coefficients per node: powers 0 to 2 of the pixel's reflectance, and for each powers 0 to 3 of the surroundings'.
SURFACE_TERMS = 3
ENVIRONMENT_TERMS = 4
#: Surroundings are taken as at least black and at most this bright.
HIGHEST_ENVIRONMENT = 1.2
#: Of the stored numbers.
UNIT = UNCERTAINTY.scale
#: Relative standard uncertainty of the difference between the light on a slope or in a shadow and that on level ground:
#: a choice of ours, about what slopes of a model of 30 m are wrong by (2 to 3 degrees at slopes of 20).
IRRADIANCE_ERROR = 0.12
_TERMS = SURFACE_TERMS * ENVIRONMENT_TERMS
_SCALE = np.float32(REFLECTANCE_SCALE)
_OFFSET = np.float32(REFLECTANCE_OFFSET)
_BRIGHTEST = np.float32(HIGHEST_ENVIRONMENT)
_LOWEST = np.float32(1)
_HIGHEST = np.float32(65535)
_IRRADIANCE = np.float32(IRRADIANCE_ERROR)
_GAIN = np.float32(GAIN.scale)
_ZERO = np.float32(0)
_HALF = np.float32(0.5)
_ONE = np.float32(1)


@njit(cache=True, nogil=True)
def _row(boa, around, line, cell, result):
    # One row of pixels; `line` are the nodes' numbers at that row, `around` the reflectance of the surroundings.
    step = _ONE / np.float32(cell)
    for g in range(line.shape[0] - 1):
        start, stop = g * cell, min((g + 1) * cell, boa.size)
        x, near, out = boa[start:stop], around[start:stop], result[start:stop]
        left, right = line[g], line[g + 1]
        constant = along_cell(left, right, 0, step)
        linear = along_cell(left, right, 4, step)
        square = along_cell(left, right, 8, step)
        for j in range(x.size):
            t = np.float32(np.int32(j)) + _HALF  # 32 bits: vector code
            r = np.float32(x[j]) * _SCALE + _OFFSET
            variance = value_at(constant, t, near[j]) + r * (
                value_at(linear, t, near[j]) + r * value_at(square, t, near[j])
            )
            value = min(max(np.sqrt(max(variance, _ZERO)) + _HALF, _LOWEST), _HIGHEST)
            out[j] = np.uint16(np.int32(value)) if x[j] != 0 else np.uint16(0)


@njit(cache=True, nogil=True)
def standard_uncertainty(boa, environment, nodes, first_row, result):
    """Compute the standard uncertainty of a block of rows of surface reflectance.

    Parameters
    ----------
    boa
        Stored surface reflectance (uint16, 0 = no data), shape (rows, width).
    environment, nodes
        As for `steps.atmosphere.inversion_kernel.invert`, but with `SURFACE_TERMS` * `ENVIRONMENT_TERMS` coefficients,
        of the variance in units of `UNIT` squared.
    first_row
        Row of the scene that the block begins with.
    result
        Output: stored standard uncertainty (uint16, 0 = no data, limited to 1-65535), shape of `boa`.
    """
    coefficients, cell = nodes
    width, columns = boa.shape[1], coefficients.shape[1]
    line = np.empty((columns, _TERMS), np.float32)
    around, held = np.empty(width, np.float32), -1
    for i in range(boa.shape[0]):
        row = first_row + i
        above = row // cell
        weight = np.float32((row - above * cell + 0.5) / cell)
        for g in range(columns):
            for k in range(_TERMS):
                upper, lower = coefficients[above, g, k], coefficients[above + 1, g, k]
                line[g, k] = upper + (lower - upper) * weight
        if environment is None:
            for j in range(width):
                around[j] = min(max(np.float32(boa[i, j]) * _SCALE + _OFFSET, _ZERO), _BRIGHTEST)
        elif row // environment.ratio != held:
            reflectance, ratio = environment
            held = row // ratio
            for g in range(reflectance.shape[1]):
                around[g * ratio : (g + 1) * ratio] = min(max(reflectance[held, g], _ZERO), _BRIGHTEST)
        _row(boa[i], around, line, cell, result[i])


@njit(cache=True, nogil=True)
def through_terrain(boa, gain, uncertainty):
    """Turn the standard uncertainty of reflectance over level ground into that of the ground as it lies.

    The correction of terrain multiplies errors as it does reflectance, and adds its own: the light that falls on a
    slope or in a shadow is known to `IRRADIANCE_ERROR` of what it differs from that on level ground.

    Parameters
    ----------
    boa
        Stored surface reflectance over level ground (uint16, 0 = no data).
    gain
        Stored number of what it was multiplied with (uint16), same shape.
    uncertainty
        Stored standard uncertainty (uint16, 0 = no data), changed in place.
    """
    for i in range(boa.shape[0]):
        for j in range(boa.shape[1]):
            factor = np.float32(gain[i, j]) * _GAIN
            own = (np.float32(boa[i, j]) * _SCALE + _OFFSET) * (factor - _ONE) * _IRRADIANCE / np.float32(UNIT)
            value = np.sqrt((np.float32(uncertainty[i, j]) * factor) ** 2 + own**2)
            if uncertainty[i, j] != 0:
                uncertainty[i, j] = np.uint16(np.int32(min(max(value + _HALF, _LOWEST), _HIGHEST)))
