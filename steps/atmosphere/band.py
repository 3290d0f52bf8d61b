"""Band averages of everything the inversion needs, for many points at once."""

import functools
from dataclasses import dataclass

import numpy as np

from steps.atmosphere.band_kernel import Band, Gas, Quadrature, Scattering, evaluate
from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.responses import cell_weights
from steps.atmosphere.tables import gases, pressure
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
    water_vapour: np.ndarray | float | None,
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
        Columns above the ground, g/cm2 and cm-atm. With None for the former all gases are left out, which saves a
        fifth of the time; their transmittances are 1.

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
        "water_vapour": 0.0 if water_vapour is None else water_vapour,
        "ozone": ozone,
    }
    clipped = [np.clip(np.asarray(v, "f8"), *DOMAIN.get(k, (-np.inf, np.inf))) for k, v in inputs.items()]
    shape = np.broadcast_shapes(*(v.shape for v in clipped))
    points = np.array([np.broadcast_to(v, shape).ravel() for v in clipped])
    absorbing, clear = _prepared(table, response)
    band = clear if water_vapour is None else absorbing
    result = np.empty((points.shape[1], 10))
    evaluate(points, pressure(points[3]), np.lexsort(points[:3]), band, result)
    return BandAtmosphere(*(column.reshape(shape) for column in np.ascontiguousarray(result.T)))


@functools.lru_cache(maxsize=128)
def _prepared(table: LookUpTable, response: SpectralResponse) -> tuple[Band, Band]:
    """Return what the kernel takes for a band, with gases and without."""
    gas = gases()
    weights = cell_weights(response, gas.wavelength, gas.step) * gas.solar_irradiance
    lit = np.flatnonzero(weights)
    weights, wavelength = weights[lit] / weights.sum(), gas.wavelength[lit] / 1000
    node, fraction, weight = _gauss_points(wavelength, weights, table.wavelength)
    used = slice(node.min(), node.max() + 2)
    multiple = table.multiple[used]
    scattering = Scattering(
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
    absorbing = Band(Quadrature(node - node.min(), fraction, weight), scattering, Gas(weights, gas.log_pressure, *cut))
    # One cell that absorbs nothing: of water none, of the others the exponential of so little, of ozone none.
    nothing = zip(cut, (0.0, -1e3, 0.0), strict=True)
    clear = Gas(np.ones(1), gas.log_pressure, *(np.full((*a.shape[:-1], 1), value) for a, value in nothing))
    return absorbing, absorbing._replace(gas=clear)


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
