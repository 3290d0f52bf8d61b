"""Band averages at many points, from look-up tables that are cut to the wavelengths of one band: the kernel.

`steps.atmosphere.band` cuts the tables and says what the results are.
"""

from math import acos, cos, degrees, exp, isnan, log, nan, radians, sqrt
from typing import NamedTuple

import numpy as np

from steps.atmosphere.scattering import cos_scattering_angle, rayleigh_phase, single_scattering
from steps.atmosphere.tables import STANDARD_PRESSURE
from steps.core.compiled import helper, njit


class Quadrature(NamedTuple):
    """Points between scattering wavelengths that stand for a band's cells: index of the lower one, fraction, weight."""

    node: np.ndarray
    fraction: np.ndarray
    weight: np.ndarray


class Scattering(NamedTuple):
    """The arrays of a `LookUpTable` of the same names, cut to the wavelengths of one band; number of Fourier modes."""

    knots: tuple[np.ndarray, ...]
    extinction: np.ndarray
    albedo: np.ndarray
    peak: np.ndarray
    rayleigh: np.ndarray
    angle: np.ndarray
    log_phase: np.ndarray
    multiple: np.ndarray
    transmittance_down: np.ndarray
    transmittance_up: np.ndarray
    spherical_albedo: np.ndarray
    aerosol_transmittance_up: np.ndarray
    modes: int


class Gas(NamedTuple):
    """Weights of a band's cells, and coefficients of the gases in these at levels of the logarithm of pressure."""

    weight: np.ndarray
    log_pressure: np.ndarray
    water_vapour: np.ndarray
    other: np.ndarray
    ozone: np.ndarray


class Band(NamedTuple):
    """What the kernel takes for one band under one aerosol model."""

    quadrature: Quadrature
    scattering: Scattering
    gas: Gas


class _Point(NamedTuple):
    """Pressure relative to the standard one, aerosol thickness and directions of one point.

    Cosines are those of the zenith angles and, as `cos_angle`, of the scattering angle, which lies at `angle_fraction`
    between angle `angle_index` of the phase function and the next one.
    """

    pressure_ratio: float
    aot: float
    sun_cosine: float
    view_cosine: float
    cos_angle: float
    angle_index: int
    angle_fraction: float


class _Place(NamedTuple):
    """Where a point lies among the splines of the table.

    Attributes
    ----------
    first
        Index of the first of the four splines that are not zero, for pressure, aerosol, sun and view.
    weights
        The splines, shape (4, 4).
    no_aerosol
        Those of no aerosol, shape (4,).
    view_azimuth
        Splines of the view zenith times Fourier terms of the azimuth.
    """

    first: tuple[int, int, int, int]
    weights: np.ndarray
    no_aerosol: np.ndarray
    view_azimuth: np.ndarray


@helper(cache=True, nogil=True)
def _spline_weights(knots, x, weights):
    """Set the four cubic B-splines that are not zero at x; return the index of the first (de Boor 1978)."""
    last = knots.size - 5
    i = 3
    while i < last and x >= knots[i + 1]:
        i += 1
    weights[0] = 1.0
    for k in range(1, 4):
        saved = 0.0
        for j in range(k):
            right, left = knots[i + j + 1], knots[i + 1 - k + j]
            term = weights[j] / (right - left)
            weights[j] = saved + (right - x) * term
            saved = (x - left) * term
        weights[k] = saved
    return i - 3


@helper(cache=True, nogil=True)
def _bracket(axis, x):
    """Return index and fraction for linear interpolation in an ascending axis, extrapolated at its ends."""
    low, high = 0, axis.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if axis[middle] < x:
            low = middle
        else:
            high = middle
    return low, (x - axis[low]) / (axis[low + 1] - axis[low])


@helper(cache=True, nogil=True)
def _multiple(coefficients, p, a, s, weights, by_aot, view_azimuth):
    """Contract the table of multiple scattering of one wavelength with spline weights and the Fourier series.

    The last axis of `coefficients` is view zenith times Fourier mode, with the factors `view_azimuth`.
    """
    total = 0.0
    for i in range(4):
        for j in range(4):
            pair = weights[0, i] * by_aot[j]
            if pair == 0.0:
                continue
            for k in range(4):
                part = 0.0
                for d in range(view_azimuth.size):
                    part += coefficients[p + i, a + j, s + k, d] * view_azimuth[d]
                total += pair * weights[2, k] * part
    return total


@helper(cache=True, nogil=True)
def _contract2(coefficients, i, j, by_i, by_j):
    total = 0.0
    for a in range(4):
        for b in range(4):
            total += by_i[a] * by_j[b] * coefficients[i + a, j + b]
    return total


@helper(cache=True, nogil=True)
def _contract3(coefficients, i, j, k, by_i, by_j, by_k):
    total = 0.0
    for a in range(4):
        if by_i[a] != 0.0:
            total += by_i[a] * _contract2(coefficients[i + a], j, k, by_j, by_k)
    return total


@helper(cache=True, nogil=True)
def _at_node(n, point, place, table, result):
    """Set the nine scattering quantities of one point at one wavelength.

    In `result`: path reflectance of molecules and aerosol and of molecules alone, total transmittances down and up,
    their direct parts, spherical albedo, and the diffuse upward transmittances of molecules alone and aerosol alone.
    """
    sun, view, i, f = point.sun_cosine, point.view_cosine, point.angle_index, point.angle_fraction
    (p, a, s, v), weights, none = place.first, place.weights, place.no_aerosol
    lowest = np.int64(0)  # not just 0, for whose type helpers would be compiled again
    molecules, aerosol = table.rayleigh[n] * point.pressure_ratio, table.extinction[n] * point.aot
    keep = 1 - table.albedo[n] * table.peak[n]
    log_p = table.log_phase[n, i] * (1 - f) + table.log_phase[n, i + 1] * f
    phase = rayleigh_phase(point.cos_angle)
    once = single_scattering(molecules, aerosol * keep, phase, exp(log_p) * table.albedo[n] / keep, sun, view)
    result[0] = once + _multiple(table.multiple[n], p, a, s, weights, weights[1], place.view_azimuth)
    once = single_scattering(molecules, 0.0, phase, 0.0, sun, view)
    result[1] = once + _multiple(table.multiple[n], p, lowest, s, weights, none, place.view_azimuth)
    up = table.transmittance_up[n]
    result[2] = _contract3(table.transmittance_down[n], p, a, s, weights[0], weights[1], weights[2])
    result[3] = _contract3(up, p, a, v, weights[0], weights[1], weights[3])
    result[4] = exp(-(molecules + aerosol) / sun)
    result[5] = exp(-(molecules + aerosol) / view)
    result[6] = _contract2(table.spherical_albedo[n], p, a, weights[0], weights[1])
    result[7] = _contract3(up, p, lowest, v, weights[0], none, weights[3]) - exp(-molecules / view)
    result[8] = _contract2(table.aerosol_transmittance_up[n], a, v, weights[1], weights[3]) - exp(-aerosol / view)


@helper(cache=True, nogil=True)
def _band_means(quadrature, at_node, band):
    """Average the scattering quantities over a band.

    Between the scattering wavelengths reflectances go with a power of the wavelength, and transmittances have an
    optical thickness -ln T that does. `at_node` is overwritten.
    """
    node, fraction, weight = quadrature
    for k in range(band.size):
        transmittance = 2 <= k <= 5
        for n in range(at_node.shape[0]):
            y = at_node[n, k]
            at_node[n, k] = log(max(-log(max(y, 1e-12)), 1e-12)) if transmittance else log(max(y, 1e-12))
        band[k] = 0.0
        for j in range(node.size):
            y = exp(at_node[node[j], k] * (1 - fraction[j]) + at_node[node[j] + 1, k] * fraction[j])
            band[k] += weight[j] * (exp(-y) if transmittance else y)


@helper(cache=True, nogil=True)
def _gas_means(gas, log_pressure, mass, water_vapour, ozone):
    """Return the band means of the transmittances of other gases, of all water vapour and of half of it."""
    weight, axis, water, other, absorption = gas
    i, f = _bracket(axis, log_pressure)
    log_mass, column = log(mass), water_vapour * mass
    rest, whole, half = 0.0, 0.0, 0.0
    for k in range(weight.size):
        c0 = other[i, 0, k] * (1 - f) + f * other[i + 1, 0, k]
        c1 = other[i, 1, k] * (1 - f) + f * other[i + 1, 1, k]
        c2 = other[i, 2, k] * (1 - f) + f * other[i + 1, 2, k]
        a = (water[i, 0, k] * (1 - f) + f * water[i + 1, 0, k]) * column
        b = exp(water[i, 1, k] * (1 - f) + f * water[i + 1, 1, k]) * column
        rest += weight[k] * exp(-exp(c0 + log_mass * (c1 + log_mass * c2)) - absorption[k] * ozone * mass)
        whole += weight[k] * exp(-a / sqrt(1 + b))
        half += weight[k] * exp(-0.5 * a / sqrt(1 + 0.5 * b))
    return rest, whole, half


@njit(cache=True, nogil=True)
def evaluate(points, pressures, band, result):
    """Set the fields of `steps.atmosphere.band.BandAtmosphere`, in their order, at points.

    Parameters
    ----------
    points
        (7, points) float64: the arguments of `band_atmosphere` from `sun_zenith` on, within `DOMAIN`; NaN gives NaN.
    pressures
        (points,) float64, hPa.
    band
        `Band`.
    result
        Output, (points, 10) float64.
    """
    table = band.scattering
    knots, modes = table.knots, table.modes
    weights, none, view_azimuth = np.zeros((4, 4)), np.zeros(4), np.empty(4 * modes)
    none[0] = 1.0
    at_node, mean = np.empty((table.extinction.size, 9)), np.empty(9)
    for q in range(points.shape[1]):
        sun_zenith, view_zenith, azimuth = points[0, q], points[1, q], points[2, q]
        aot, water_vapour, ozone = points[4, q], points[5, q], points[6, q]
        if isnan(sun_zenith + view_zenith + azimuth + points[3, q] + aot + water_vapour + ozone):
            for k in range(result.shape[1]):
                result[q, k] = nan
            continue
        sun, view = cos(radians(sun_zenith)), cos(radians(view_zenith))
        first = (
            _spline_weights(knots[0], pressures[q], weights[0]),
            _spline_weights(knots[1], aot, weights[1]),
            _spline_weights(knots[2], sun, weights[2]),
            _spline_weights(knots[3], view_zenith, weights[3]),
        )
        for m in range(modes):
            factor = cos(m * radians(180 - azimuth))
            for k in range(4):
                view_azimuth[k * modes + m] = weights[3, k] * factor
        cos_angle = cos_scattering_angle(sun_zenith, view_zenith, azimuth)
        i, f = _bracket(table.angle, degrees(acos(cos_angle)))
        point = _Point(pressures[q] / STANDARD_PRESSURE, aot, sun, view, cos_angle, i, f)
        place = _Place(first, weights, none, view_azimuth)
        for n in range(table.extinction.size):
            _at_node(n, point, place, table, at_node[n])
        _band_means(band.quadrature, at_node, mean)
        other, water, half = _gas_means(band.gas, log(pressures[q]), 1 / sun + 1 / view, water_vapour, ozone)
        result[q, 0] = mean[1] + (mean[0] - mean[1]) * half
        result[q, 1], result[q, 2] = other, water
        for k in range(2, mean.size):
            result[q, k + 1] = mean[k]
