"""Band averages of everything the inversion needs, for many points at once."""

import functools
from dataclasses import dataclass
from math import acos, cos, degrees, exp, isnan, log, nan, radians, sqrt
from typing import NamedTuple

import numpy as np

from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.responses import cell_weights
from steps.atmosphere.scattering import cos_scattering_angle, rayleigh_phase, single_scattering
from steps.atmosphere.tables import STANDARD_PRESSURE, gases, pressure
from steps.core.compiled import helper, njit
from steps.sentinel2.scene import SpectralResponse

#: What the look-up tables cover; anything outside is moved to the nearest limit. Units as in `band_atmosphere`.
DOMAIN = {
    "sun_zenith": (0.0, 80.0),
    "view_zenith": (0.0, 12.0),
    "elevation_km": (-0.5, 9.0),
    "aot550": (0.0, 3.0),
    "water_vapour": (0.0, 8.0),
    "ozone": (0.15, 0.55),
}


@dataclass(frozen=True)
class BandAtmosphere:
    """The atmosphere as one band sees it, averaged over the response weighted with the solar irradiance.

    All fields are float64 arrays of one shape, without unit.

    Attributes
    ----------
    path_reflectance
        Of the atmosphere over a black ground, before the gases of `gas_transmittance`:
        rho_R + (rho - rho_R) T_H2O(U / 2), where rho_R is that of molecules alone.
    gas_transmittance
        Of all gases but water vapour, down and up.
    water_transmittance
        Of water vapour, down and up.
    transmittance_down, transmittance_up
        Scattering transmittance, direct and diffuse, sun to ground and ground to sensor.
    direct_down, direct_up
        Their direct parts, exp(-tau / mu).
    spherical_albedo
        Share of isotropic light from the ground that the atmosphere sends back.
    rayleigh_diffuse_up, aerosol_diffuse_up
        Diffuse upward transmittance of molecules alone and of aerosol alone: weights of the adjacency kernel.
    """

    path_reflectance: np.ndarray
    gas_transmittance: np.ndarray
    water_transmittance: np.ndarray
    transmittance_down: np.ndarray
    transmittance_up: np.ndarray
    direct_down: np.ndarray
    direct_up: np.ndarray
    spherical_albedo: np.ndarray
    rayleigh_diffuse_up: np.ndarray
    aerosol_diffuse_up: np.ndarray


def outside_domain(**inputs: np.ndarray) -> dict[str, int]:
    """Count the values of each input of `band_atmosphere` that lie outside `DOMAIN` and would be moved to its limits.

    Returns
    -------
    dict
        Name of the input to a number of values, only those that are not 0. NaN is not counted.
    """
    counts = {}
    for name, (low, high) in DOMAIN.items():
        if name in inputs:
            values = np.asarray(inputs[name])
            counts[name] = int(np.count_nonzero((values < low - 1e-9) | (values > high + 1e-9)))
    return {name: count for name, count in counts.items() if count}


def band_atmosphere(
    table: LookUpTable,
    response: SpectralResponse,
    *,
    sun_zenith: np.ndarray | float,
    view_zenith: np.ndarray | float,
    relative_azimuth: np.ndarray | float,
    elevation_km: np.ndarray | float,
    aot550: np.ndarray | float,
    water_vapour: np.ndarray | float,
    ozone: np.ndarray | float,
) -> BandAtmosphere:
    """Return the atmosphere as one band sees it.

    Parameters
    ----------
    table
        Look-up table of the aerosol model.
    response
        Relative response of the band.
    sun_zenith, view_zenith, relative_azimuth
        Degrees; relative azimuth 0 = sun and sensor on the same side.
    elevation_km
        Of the ground.
    aot550
        Aerosol optical thickness at 550 nm above the ground.
    water_vapour, ozone
        Columns above the ground, g/cm2 and cm-atm.

    Returns
    -------
    BandAtmosphere
        Fields of the shape to which the inputs broadcast. Inputs outside `DOMAIN` are moved to its limits
        (`outside_domain` counts them); NaN gives NaN.
    """
    inputs = {
        "sun_zenith": sun_zenith,
        "view_zenith": view_zenith,
        "relative_azimuth": relative_azimuth,
        "elevation_km": elevation_km,
        "aot550": aot550,
        "water_vapour": water_vapour,
        "ozone": ozone,
    }
    clipped = [np.clip(np.asarray(v, "f8"), *DOMAIN.get(k, (-np.inf, np.inf))) for k, v in inputs.items()]
    shape = np.broadcast_shapes(*(v.shape for v in clipped))
    points = np.array([np.broadcast_to(v, shape).ravel() for v in clipped])
    band = _prepared(table, response)
    result = np.empty((points.shape[1], 10))
    _evaluate(points, pressure(points[3]), band, result)
    return BandAtmosphere(*(column.reshape(shape) for column in np.ascontiguousarray(result.T)))


class _Quadrature(NamedTuple):
    """Points between scattering wavelengths that stand for a band's cells: index of the lower one, fraction, weight."""

    node: np.ndarray
    fraction: np.ndarray
    weight: np.ndarray


class _Scattering(NamedTuple):
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


class _Gas(NamedTuple):
    """Weights of a band's cells, and coefficients of the gases in these at levels of the logarithm of pressure."""

    weight: np.ndarray
    log_pressure: np.ndarray
    water_vapour: np.ndarray
    other: np.ndarray
    ozone: np.ndarray


class _Band(NamedTuple):
    """What the kernel takes for one band under one aerosol model."""

    quadrature: _Quadrature
    scattering: _Scattering
    gas: _Gas


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


@functools.lru_cache(maxsize=128)
def _prepared(table: LookUpTable, response: SpectralResponse) -> _Band:
    gas = gases()
    weights = cell_weights(response, gas.wavelength, gas.step) * gas.solar_irradiance
    lit = np.flatnonzero(weights)
    weights, wavelength = weights[lit] / weights.sum(), gas.wavelength[lit] / 1000
    node, fraction, weight = _gauss_points(wavelength, weights, table.wavelength)
    used = slice(node.min(), node.max() + 2)
    multiple = table.multiple[used]
    scattering = _Scattering(
        knots=table.knots,
        extinction=table.extinction[used],
        albedo=table.albedo[used],
        peak=table.peak[used],
        rayleigh=table.rayleigh[used],
        angle=table.angle,
        log_phase=table.log_phase[used],
        multiple=multiple.reshape(*multiple.shape[:4], -1),
        transmittance_down=table.transmittance_down[used],
        transmittance_up=table.transmittance_up[used],
        spherical_albedo=table.spherical_albedo[used],
        aerosol_transmittance_up=table.aerosol_transmittance_up[used],
        modes=multiple.shape[-1],
    )
    cut = [np.ascontiguousarray(a[..., lit]) for a in (gas.water_vapour, gas.other, gas.ozone)]
    return _Band(_Quadrature(node - node.min(), fraction, weight), scattering, _Gas(weights, gas.log_pressure, *cut))


def _gauss_points(wavelength: np.ndarray, weights: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Replace the sum over a band's cells by a few points between each pair of scattering wavelengths.

    Between two scattering wavelengths every quantity is a smooth function of f, the fraction of the logarithm of the
    wavelength (`_band_means`), so that its sum over the cells there is a Gauss quadrature of three points for the
    weights over f (Golub and Welsch 1969), exact to 1e-7.

    Returns
    -------
    node, fraction, weight
        Index of the lower scattering wavelength, f, and weight of each point.
    """
    index = np.clip(np.searchsorted(nodes, wavelength) - 1, 0, nodes.size - 2)
    position = np.log(wavelength / nodes[index]) / np.log(nodes[index + 1] / nodes[index])
    result = []
    for i in np.unique(index):
        f, w = position[index == i], weights[index == i]
        basis, _ = np.linalg.qr(np.vander(f, min(3, f.size), increasing=True) * np.sqrt(w)[:, None])
        points, vectors = np.linalg.eigh(basis.T @ (f[:, None] * basis))
        first = (basis.T @ np.sqrt(w)) @ vectors
        result.append((np.full(points.size, i), points, first**2))
    return tuple(np.concatenate(column) for column in zip(*result, strict=True))


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
def _evaluate(points, pressures, band, result):
    """Set `result`, shape (points, 10), the fields of `BandAtmosphere` in their order."""
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
