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


class _Sky(NamedTuple):
    """What depends on the directions of sun and view alone.

    Attributes
    ----------
    sun_cosine, view_cosine
        Of the zenith angles.
    molecules
        Phase function of molecules.
    first_sun, first_view
        Index of the first of the four splines that are not zero, in the cosine of the sun and in the view zenith.
    by_sun, by_view
        These.
    view_azimuth
        Splines of the view zenith times Fourier terms of the azimuth.
    aerosol
        Phase function of the aerosol as single scattering takes it, of each wavelength.
    multiple, down, up
        Multiple scattering and the transmittances: of each knot of pressure, of aerosol and wavelength.
    known
        Of which knots of pressure and of aerosol they are set.
    """

    sun_cosine: float
    view_cosine: float
    molecules: float
    first_sun: int
    first_view: int
    by_sun: np.ndarray
    by_view: np.ndarray
    view_azimuth: np.ndarray
    aerosol: np.ndarray
    multiple: np.ndarray
    down: np.ndarray
    up: np.ndarray
    known: np.ndarray


class _Air(NamedTuple):
    """Pressure relative to the standard one, aerosol thickness, and where both lie among the splines of the table.

    Attributes
    ----------
    first_pressure, first_aot
        Index of the first of the four splines that are not zero.
    by_pressure, by_aot
        These.
    """

    pressure_ratio: float
    aot550: float
    first_pressure: int
    first_aot: int
    by_pressure: np.ndarray
    by_aot: np.ndarray


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
def _no_sky(table):
    """Return a sky for no directions, with arrays for `_toward` to set."""
    knots, size = table.multiple.shape[1:3], table.albedo.size
    return _Sky(
        sun_cosine=1.0,
        view_cosine=1.0,
        molecules=1.0,
        first_sun=0,
        first_view=0,
        by_sun=np.empty(4),
        by_view=np.empty(4),
        view_azimuth=np.empty(4 * table.modes),
        aerosol=np.empty(size),
        multiple=np.empty((*knots, size)),
        down=np.empty((*knots, size)),
        up=np.empty((*knots, size)),
        known=np.empty(knots, np.bool_),
    )


@helper(cache=True, nogil=True)
def _toward(sun_zenith, view_zenith, azimuth, table, sky):
    """Return the sky for other directions, with the arrays of `sky`, of which no knots are known yet."""
    sun_cosine, cos_angle = cos(radians(sun_zenith)), cos_scattering_angle(sun_zenith, view_zenith, azimuth)
    first_sun = _spline_weights(table.knots[2], sun_cosine, sky.by_sun)
    first_view = _spline_weights(table.knots[3], view_zenith, sky.by_view)
    for m in range(table.modes):
        factor = cos(m * radians(180 - azimuth))
        for k in range(4):
            sky.view_azimuth[k * table.modes + m] = sky.by_view[k] * factor
    i, f = _bracket(table.angle, degrees(acos(cos_angle)))
    for n in range(table.albedo.size):
        phase = exp(table.log_phase[n, i] * (1 - f) + table.log_phase[n, i + 1] * f)
        sky.aerosol[n] = phase * table.albedo[n] / (1 - table.albedo[n] * table.peak[n])
    sky.known[:] = False
    scalars = sun_cosine, cos(radians(view_zenith)), rayleigh_phase(cos_angle), first_sun, first_view
    return _Sky(*scalars, *sky[5:])


@helper(cache=True, nogil=True)
def _know(p, a, table, sky):
    """Set the tables of `sky` at one knot of pressure and of aerosol."""
    multiple, down, up = table.multiple, table.transmittance_down, table.transmittance_up
    sun, view = sky.first_sun, sky.first_view
    for n in range(table.albedo.size):
        sky.multiple[p, a, n] = sky.down[p, a, n] = sky.up[p, a, n] = 0.0
        for k in range(4):
            part = 0.0
            for d in range(sky.view_azimuth.size):
                part += multiple[n, p, a, sun + k, d] * sky.view_azimuth[d]
            sky.multiple[p, a, n] += sky.by_sun[k] * part
            sky.down[p, a, n] += sky.by_sun[k] * down[n, p, a, sun + k]
            sky.up[p, a, n] += sky.by_view[k] * up[n, p, a, view + k]
    sky.known[p, a] = True


@helper(cache=True, nogil=True)
def _at_nodes(sky, air, table, result):
    """Set the nine scattering quantities of one point at each wavelength.

    In a row of `result`: path reflectance of molecules and aerosol and of molecules alone, total transmittances down
    and up, their direct parts, spherical albedo, and the diffuse upward transmittances of molecules alone and aerosol
    alone.
    """
    # Taken out of the tuples here, since in the loops each look into one would count references, a third of the time.
    sun, view, p, a, v = sky.sun_cosine, sky.view_cosine, air.first_pressure, air.first_aot, sky.first_view
    by_pressure, by_aot, by_view = air.by_pressure, air.by_aot, sky.by_view
    multiple, down, up, phase = sky.multiple, sky.down, sky.up, sky.aerosol
    spherical_albedo, aerosol_up = table.spherical_albedo, table.aerosol_transmittance_up
    rayleigh, extinction, albedo, peak = table.rayleigh, table.extinction, table.albedo, table.peak
    for n in range(rayleigh.size):
        molecules, aerosol = rayleigh[n] * air.pressure_ratio, extinction[n] * air.aot550
        scaled = aerosol * (1 - albedo[n] * peak[n])
        result[n, 0] = single_scattering(molecules, scaled, sky.molecules, phase[n], sun, view)
        result[n, 1] = single_scattering(molecules, 0.0, sky.molecules, 0.0, sun, view)
        result[n, 2] = result[n, 3] = result[n, 6] = 0.0
        result[n, 4] = exp(-(molecules + aerosol) / sun)
        result[n, 5] = exp(-(molecules + aerosol) / view)
        result[n, 7] = -exp(-molecules / view)
        result[n, 8] = -exp(-aerosol / view)
        for i in range(4):
            result[n, 1] += by_pressure[i] * multiple[p + i, 0, n]
            result[n, 7] += by_pressure[i] * up[p + i, 0, n]
            for j in range(4):
                weight = by_pressure[i] * by_aot[j]
                result[n, 0] += weight * multiple[p + i, a + j, n]
                result[n, 2] += weight * down[p + i, a + j, n]
                result[n, 3] += weight * up[p + i, a + j, n]
                result[n, 6] += weight * spherical_albedo[n, p + i, a + j]
                result[n, 8] += by_aot[i] * by_view[j] * aerosol_up[n, a + i, v + j]


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
def evaluate(points, pressures, order, band, result):
    """Set the fields of `steps.atmosphere.band.BandAtmosphere`, in their order, at points.

    Parameters
    ----------
    points
        (7, points) float64: the arguments of `band_atmosphere` from `sun_zenith` on, within `DOMAIN`; NaN gives NaN.
    pressures
        (points,) float64, hPa.
    order
        (points,) int64: all points, fastest with those of the same directions behind each other.
    band
        `Band`.
    result
        Output, (points, 10) float64.
    """
    table = band.scattering
    by_pressure, by_aot = np.empty(4), np.empty(4)
    at_node, mean = np.empty((table.extinction.size, 9)), np.empty(9)
    sky, before = _no_sky(table), np.full(3, nan)
    for q in order:
        sun_zenith, view_zenith, azimuth = points[0, q], points[1, q], points[2, q]
        aot, water_vapour, ozone = points[4, q], points[5, q], points[6, q]
        if isnan(sun_zenith + view_zenith + azimuth + points[3, q] + aot + water_vapour + ozone):
            for k in range(result.shape[1]):
                result[q, k] = nan
            continue
        if before[0] != sun_zenith or before[1] != view_zenith or before[2] != azimuth:
            before[0], before[1], before[2] = sun_zenith, view_zenith, azimuth
            sky = _toward(sun_zenith, view_zenith, azimuth, table, sky)
        p = _spline_weights(table.knots[0], pressures[q], by_pressure)
        a = _spline_weights(table.knots[1], aot, by_aot)
        for i in range(p, p + 4):
            for j in (0, a, a + 1, a + 2, a + 3):
                if not sky.known[i, j]:
                    _know(i, j, table, sky)
        _at_nodes(sky, _Air(pressures[q] / STANDARD_PRESSURE, aot, p, a, by_pressure, by_aot), table, at_node)
        _band_means(band.quadrature, at_node, mean)
        mass = 1 / sky.sun_cosine + 1 / sky.view_cosine
        other, water, half = _gas_means(band.gas, log(pressures[q]), mass, water_vapour, ozone)
        result[q, 0] = mean[1] + (mean[0] - mean[1]) * half
        result[q, 1], result[q, 2] = other, water
        for k in range(2, mean.size):
            result[q, k + 1] = mean[k]
