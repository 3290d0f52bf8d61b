"""Standard uncertainty (k = 1) of surface reflectance, propagated through the inversion.

The law of propagation (JCGM 100:2008, Guide to the expression of uncertainty in measurement, eq. 16): each input is
moved by its standard uncertainty, the whole inversion, surroundings included, is done again, and the squares of the
changes are added up; twice the product of two changes is added as far as the inputs are correlated. For given
surroundings the reflectance that comes out is linear in the pixel's own, so the variance is a polynomial of second
degree in that; with the reflectance of the surroundings it changes smoothly. Its coefficients are all that the kernel
`uncertainty_kernel.standard_uncertainty` needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steps.atmosphere.band import DOMAIN
from steps.atmosphere.inversion import contrast, ground_signal
from steps.atmosphere.scene import Coefficients
from steps.atmosphere.uncertainty_kernel import ENVIRONMENT_TERMS, HIGHEST_ENVIRONMENT, SURFACE_TERMS, UNIT
from steps.sentinel2.scene import Band


@dataclass(frozen=True)
class InputUncertainties:
    """Standard uncertainties of what the inversion takes.

    Attributes
    ----------
    calibration
        Relative, of top-of-atmosphere reflectance, the same for a pixel and its surroundings: the mission's goal of 3 %
        (Drusch et al. 2012, Remote Sensing of Environment 120, 25) is a bound, within which a rectangular distribution
        has this deviation. `CALIBRATION` tells it by band.
    aot550
        Absolute and relative part: the accuracy that ESA asks of its Level-2A products (Sentinel-2 L2A Data Quality
        Report). The absolute part may be an array, as what the retrieval says of itself.
    water_vapour
        Absolute part (g/cm2) and relative part: errors of `CALIBRATION` in B8A and B09 make 0.15 of a column of 2.
    elevation, elevation_without_dem
        Km. SRTM's mission requirement is 16 m at 90 % confidence (Farr et al. 2007, Reviews of Geophysics 45, RG2004);
        without a DEM, a choice of ours for a lowland.
    calibration_with_aerosol
        Correlation of the first two, see `WITH_AEROSOL`. All others are independent of each other.
    """

    calibration: float = 0.03 / np.sqrt(3)
    aot550: tuple[float | np.ndarray, float] = (0.03, 0.1)
    water_vapour: tuple[float, float] = (0.1, 0.05)
    elevation: float = 0.01
    elevation_without_dem: float = 0.1
    calibration_with_aerosol: float = 0.0


INPUTS = InputUncertainties()
#: Absolute and relative part of the standard uncertainty of aerosol thickness that is not told by the scene. CAMS: its
#: root mean square error against AERONET is 0.1 to 0.15 by region, at means of 0.2 to 0.4 (Gueymard and Yang 2020,
#: Atmospheric Environment 225, 117216). CLIMATOLOGY: two thirds of the monthly means of AERONET sites lie within 0.05 +
#: 0.3 of the value, and single days scatter around their month by about half of it. FIXED: a value that was measured
#: nearby stands for 100 km, over which aerosol differs by about 0.05 (Anderson et al. 2003, Journal of the Atmospheric
#: Sciences 60, 119).
AOT550 = {"CAMS": (0.05, 0.25), "CLIMATOLOGY": (0.05, 0.6), "FIXED": (0.05, 0.1)}

#: Reference radiance (W/m2/sr/um), the camera's signal-to-noise ratio there, and the share of the noise's variance
#: there that does not depend on the signal: S2A's noise model of the mission's quality control, as ESA's Radiometric
#: Uncertainty Tool has it (2025), which is what was measured in flight (Gascon et al. 2017, Remote Sensing 9, 584). The
#: requirement (Drusch et al. 2012) is 1.3 to 2.5 times as much noise. The form, variance = a + b * radiance, is that of
#: Gorrono et al. 2017 (Remote Sensing 9, 178).
NOISE = {
    "B01": (129.0, 1390, 0.40),
    "B02": (128.0, 209, 0.05),
    "B03": (128.0, 239, 0.04),
    "B04": (108.0, 222, 0.04),
    "B05": (74.5, 247, 0.12),
    "B06": (68.0, 215, 0.13),
    "B07": (67.0, 223, 0.16),
    "B08": (103.0, 216, 0.03),
    "B8A": (52.5, 158, 0.10),
    "B09": (9.0, 219, 0.48),
    "B10": (6.0, 390, 0.34),
    "B11": (4.0, 159, 0.56),
    "B12": (1.5, 167, 0.58),
}

#: Standard uncertainty of the calibration, relative, which all pixels of a band share: root of the sum of the squares
#: of what ESA's Radiometric Uncertainty Tool has (Gorrono et al. 2017; values of S2A, 2025) for the reflectance of the
#: diffuser, cosine, straylight and ageing, for non-linearity, and for straylight in and out of the field of view.
CALIBRATION = {
    "B01": 0.0167,
    "B02": 0.0166,
    "B03": 0.0149,
    "B04": 0.0144,
    "B05": 0.0147,
    "B06": 0.0157,
    "B07": 0.0149,
    "B08": 0.0148,
    "B8A": 0.0151,
    "B09": 0.0181,
    "B11": 0.0191,
    "B12": 0.0205,
}
#: Correlation of calibration with aerosol thickness where the ground tells the latter: a band that sees too much of it
#: makes the aerosol too thick, which takes a part of that out again. Means over 500 draws of `CALIBRATION` in fourteen
#: simulated scenes, next to the uncertainty that the retrieval tells; 0.3 in B01 and B02, up to 0.06 in other bands.
WITH_AEROSOL = {"B01": 0.3, "B02": 0.3}
#: `CALIBRATION` of B09, and standard uncertainty of the column (g/cm2), where the column is found by B09: it takes up
#: what calibration in B09 is wrong by, and what is left is the error of the reflectance that B07, B8A and B11 make
#: expect there, 0.022 of their calibration (`steps.water_vapour.CONTINUUM`) and 0.02 of the spectra of soils and
#: plants.
CALIBRATION_BY_CONTINUUM = 0.03
VAPOUR_BY_CONTINUUM = (0.001, 0.0)


@dataclass(frozen=True)
class Change:
    """What one input does.

    Attributes
    ----------
    more, less
        The atmosphere with more and with less of it.
    share
        Of the difference, to count.
    with_calibration
        Correlation with the calibration.
    """

    more: Coefficients
    less: Coefficients
    share: np.ndarray | float
    with_calibration: float = 0.0


def noise_variance(name: str, band: Band, sun_zenith: np.ndarray, earth_sun: float) -> tuple[np.ndarray, np.ndarray]:
    """Return constant and slope of the noise's variance as a function of top-of-atmosphere reflectance.

    Parameters
    ----------
    name, band
        Of the band.
    sun_zenith
        Degrees, of any shape, which is that of the results.
    earth_sun
        `Scene.earth_sun`; reflectance = pi radiance / (earth_sun * irradiance * cos(sun_zenith)).
    """
    radiance, ratio, constant = NOISE[name]
    unit = np.pi / (earth_sun * band.solar_irradiance * np.cos(np.radians(sun_zenith)))
    variance = (radiance / ratio * unit) ** 2
    return constant * variance, (1 - constant) * variance / (radiance * unit)


def changes(
    at: Callable[..., Coefficients],
    other: Callable[..., Coefficients],
    elevation_km: np.ndarray,
    aot550: np.ndarray,
    water_vapour: np.ndarray,
    *,
    with_dem: bool,
    inputs: InputUncertainties = INPUTS,
) -> tuple[Coefficients, list[Change]]:
    """Return the atmosphere, and how it changes with aerosol, water vapour, elevation and aerosol model.

    Parameters
    ----------
    at, other
        Functions of elevation (km), aerosol thickness and water vapour column (g/cm2) that return coefficients, for the
        aerosol used and for one that is a standard deviation off (as `SceneAtmosphere.at`).
    elevation_km, aot550, water_vapour
        Arrays of one shape.
    with_dem
        Whether the elevation is from a DEM.
    inputs
        Standard uncertainties.
    """
    nominal = at(elevation_km, aot550, water_vapour)
    aot, column, height = spans(elevation_km, aot550, water_vapour, with_dem=with_dem, inputs=inputs)
    thicker, thinner = (at(elevation_km, one, water_vapour) for one in aot[:2])
    return nominal, [
        Change(thicker, thinner, aot[2], inputs.calibration_with_aerosol),
        Change(at(elevation_km, aot550, column[0]), at(elevation_km, aot550, column[1]), column[2]),
        Change(at(height[0], aot550, water_vapour), at(height[1], aot550, water_vapour), height[2]),
        Change(other(elevation_km, aot550, water_vapour), nominal, np.float64(1)),
    ]


def spans(elevation_km, aot550, water_vapour, *, with_dem: bool, inputs: InputUncertainties = INPUTS) -> list[tuple]:
    """Return more, less and share (see `Change`) of aerosol thickness, water vapour and elevation, in this order.

    Parameters are as of `changes`; units are those of the inputs.
    """
    result = []
    for name, value in (("aot550", aot550), ("water_vapour", water_vapour)):
        absolute, relative = getattr(inputs, name)
        u, (low, high) = absolute + relative * value, DOMAIN[name]
        # Near an end of the domain the span is one-sided, and its slope is scaled to the full uncertainty.
        more, less = np.clip(value + u, None, high), np.clip(value - u, low, high - u)
        result.append((more, less, u / (more - less)))
    u = inputs.elevation if with_dem else inputs.elevation_without_dem
    return [*result, (elevation_km + u, elevation_km - u, np.float64(0.5))]


def surface_variance(
    surface: np.ndarray,
    environment: np.ndarray | None,
    nominal: Coefficients,
    changed: Sequence[Change],
    noise: tuple[np.ndarray, np.ndarray],
    inputs: InputUncertainties = INPUTS,
) -> np.ndarray:
    """Return the variance of surface reflectance (reflectance squared); all arrays broadcast.

    Parameters
    ----------
    surface
        Reflectance of the pixel.
    environment
        Reflectance of its surroundings; None for the inversion that takes the surface for uniform.
    nominal, changed
        From `changes`.
    noise
        From `noise_variance`. It counts in the pixel alone: the surroundings are the mean of many.
    inputs
        Standard uncertainties.
    """
    uniform = environment is None
    toa = _forward(nominal, surface, surface if uniform else environment)
    around = None if uniform else _forward(nominal, environment, environment)
    result = correlated = 0.0
    for change in changed:
        moved = change.share * (_inverse(change.more, toa, around) - _inverse(change.less, toa, around))
        result = result + moved**2
        correlated = correlated + change.with_calibration * moved
    up, down = 1 + inputs.calibration, 1 - inputs.calibration
    bright, dark = ((f * toa, None if around is None else f * around) for f in (up, down))
    calibrated = (_inverse(nominal, *bright) - _inverse(nominal, *dark)) / 2
    result = result + calibrated**2 + 2 * correlated * calibrated
    deviation = np.sqrt(np.maximum(noise[0] + noise[1] * toa, 0))
    return result + ((_inverse(nominal, toa + deviation, around) - _inverse(nominal, toa - deviation, around)) / 2) ** 2


def _forward(c: Coefficients, surface, environment):
    return c.path + ground_signal(surface, environment, 1.0, c.q, c.albedo) / c.gain


def _inverse(c: Coefficients, toa, around):
    # `around` is the surroundings' TOA reflectance: their surface reflectance is that of uniform ground.
    if around is None:
        return c.uniform(toa)
    environment = c.uniform(around)
    return environment + contrast(c.signal(toa), environment, 1 + c.q, c.albedo)


def _points(count: int) -> np.ndarray:
    # Chebyshev points of the root of the surroundings' reflectance: denser where it is dark and the variance small.
    return ((1 - np.cos(np.pi * (np.arange(count) + 0.5) / count)) / 2) ** 2 * HIGHEST_ENVIRONMENT


def _fit(points: np.ndarray) -> np.ndarray:
    # Matrix from values at points to the coefficients of the polynomial through them, lowest power first.
    return np.linalg.inv(np.vander(points, increasing=True))


def variance_nodes(
    nominal: Coefficients,
    changed: Sequence[Change],
    noise: tuple[np.ndarray, np.ndarray],
    *,
    adjacency: bool,
    inputs: InputUncertainties = INPUTS,
) -> np.ndarray:
    """Return the numbers per node that `steps.atmosphere.uncertainty_kernel.standard_uncertainty` takes.

    Parameters
    ----------
    nominal, changed, noise, inputs
        See `surface_variance`; at the nodes, shape (node rows, node columns).
    adjacency
        Whether the inversion takes the surroundings into account. If not, what the polynomials call surroundings is
        the pixel itself.

    Returns
    -------
    numpy.ndarray
        Shape (node rows, node columns, `SURFACE_TERMS` * `ENVIRONMENT_TERMS`), float32.
    """
    result = np.zeros((*nominal.path.shape, SURFACE_TERMS, ENVIRONMENT_TERMS), np.float32)
    if adjacency:
        surface, around = np.linspace(0, 1, SURFACE_TERMS), _points(ENVIRONMENT_TERMS)
        pixel, surroundings = surface[:, None, None, None], around[:, None, None]
        variance = surface_variance(pixel, surroundings, nominal, changed, noise, inputs) / UNIT**2
        result[:] = np.einsum("ir,je,reyx->yxij", _fit(surface), _fit(around), variance)
    else:
        # With the same for both, the terms of the highest power of the surroundings go on where those of 1 end.
        surface = _points(SURFACE_TERMS + ENVIRONMENT_TERMS - 1)
        variance = surface_variance(surface[:, None, None], None, nominal, changed, noise, inputs) / UNIT**2
        powers = np.einsum("kr,ryx->yxk", _fit(surface), variance)
        result[..., 0, :], result[..., 1:, -1] = powers[..., :ENVIRONMENT_TERMS], powers[..., ENVIRONMENT_TERMS:]
    return result.reshape(*nominal.path.shape, -1)
