"""From the top of the atmosphere to the surface and back: the equations of the inversion, and nothing else.

The reflectance that reaches the sensor is (Vermote et al. 1997, IEEE TGRS 35, 675, eqs. 1 and 5)

    toa = path + [direct * surface + diffuse * environment] / (1 - albedo * environment)

with `path` that of the atmosphere alone, `direct` and `diffuse` the transmittances down and up, of light that comes
straight from the pixel and of light that its surroundings (of reflectance `environment`) send and the atmosphere
scatters into the line of sight, `total` both together, and `albedo` the spherical albedo. `signal` is toa - path. All
may be given in any common unit: divided by the gases, by the way down, or as stored numbers.

Each equation is one function of scalars, which compiled kernels call for each pixel, and other code with arrays that
broadcast. Arguments have the names above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steps.core.compiled import formula, larger

if TYPE_CHECKING:
    from steps.atmosphere.band import BandAtmosphere

_HALF = np.float32(0.5)  # does not turn a kernel's numbers into double precision


@formula
def ground_signal(surface, environment, direct, diffuse, albedo):
    """Return what the ground adds to the path: the signal of a pixel in its surroundings."""
    return (direct * surface + diffuse * environment) / (1 - albedo * environment)


@formula
def attenuation(signal, total, albedo):
    """Return signal / surface of uniform ground: the total transmittance, more the brighter the ground is."""
    return total + albedo * signal


@formula
def uniform_surface(signal, total, albedo):
    """Return the reflectance of uniform ground.

    Where the signal is so negative that the attenuation is less than half the total transmittance, half of it is taken:
    such a pixel is very negative, instead of coming out beyond the pole as a bright one.
    """
    return signal / larger(attenuation(signal, total, albedo), _HALF * total)


@formula
def contrast(signal, environment, total, albedo):
    """Return direct * (surface - environment): how a pixel stands out from its surroundings, at the sensor."""
    return signal - environment * attenuation(signal, total, albedo)


def toa_reflectance(
    surface: np.ndarray, atmosphere: BandAtmosphere, environment: np.ndarray | None = None
) -> np.ndarray:
    """Return the reflectance at the top of the atmosphere over flat Lambertian ground.

    Parameters
    ----------
    surface
        Reflectance of the pixel; everything broadcasts.
    atmosphere
        From `band_atmosphere`.
    environment
        Mean reflectance of the surroundings; None = the same as the pixel's.
    """
    a = atmosphere
    around = surface if environment is None else environment
    upward = ground_signal(surface, around, a.direct_up, a.transmittance_up - a.direct_up, a.spherical_albedo)
    return a.gas_transmittance * (a.path_reflectance + a.water_transmittance * a.transmittance_down * upward)


def surface_reflectance(toa: np.ndarray | float, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return the reflectance of uniform flat Lambertian ground from that at the top of the atmosphere.

    Parameters
    ----------
    toa
        Reflectance at the top of the atmosphere; everything broadcasts.
    atmosphere
        From `band_atmosphere`.
    """
    a = atmosphere
    upward = (toa / a.gas_transmittance - a.path_reflectance) / (a.water_transmittance * a.transmittance_down)
    return uniform_surface(upward, a.transmittance_up, a.spherical_albedo)


def rayleigh_environment(radius_km: np.ndarray) -> np.ndarray:
    """Return F_R, the share of the light scattered by molecules into the line of sight that left within a radius.

    0 to 1, shape of `radius_km`; 6S manual, part 1, environment functions at nadir.
    """
    return 1 - 0.930 * np.exp(-0.080 * radius_km) - 0.070 * np.exp(-1.100 * radius_km)


def aerosol_environment(radius_km: np.ndarray) -> np.ndarray:
    """Return F_A, the same share for scattering by aerosol, as `rayleigh_environment`."""
    return 1 - 0.448 * np.exp(-0.27 * radius_km) - 0.552 * np.exp(-2.83 * radius_km)


def environment_share(radius_km: np.ndarray, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return F(r) = (t_A F_A + t_R F_R) / (t_A + t_R), 0 to 1, with the diffuse upward transmittances t.

    Shape of `radius_km`; source as of `rayleigh_environment`.
    """
    r, a = atmosphere.rayleigh_diffuse_up, atmosphere.aerosol_diffuse_up
    return (a * aerosol_environment(radius_km) + r * rayleigh_environment(radius_km)) / (a + r)
