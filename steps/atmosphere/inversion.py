"""From the top of the atmosphere to the surface and back: all equations of the inversion, and nothing else.

Symbols: `atmosphere` is a `BandAtmosphere`; `X` (here `ground_signal`) is the reflectance that the ground adds, free
of gases and of the way down; rho_e (`environment`) is the mean reflectance of the surroundings. Everything broadcasts.
Sources: Vermote et al. 1997 (IEEE TGRS 35, 675) for the uniform ground and the adjacency effect, Richter 1998
(Applied Optics 37, 4004) for inclined terrain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from steps.atmosphere.band import BandAtmosphere


def toa_reflectance(
    surface: np.ndarray, atmosphere: BandAtmosphere, environment: np.ndarray | None = None
) -> np.ndarray:
    """Return the reflectance at the top of the atmosphere over flat Lambertian ground.

    rho_TOA = T_g { path + T_w T_d [t_dir rho + (T_u - t_dir) rho_e] / (1 - S rho_e) }

    Parameters
    ----------
    surface
        Reflectance rho of the pixel.
    atmosphere
        From `band_atmosphere`.
    environment
        Mean reflectance rho_e of the surroundings; None = the same as the pixel's.
    """
    a = atmosphere
    around = surface if environment is None else environment
    upward = a.direct_up * surface + (a.transmittance_up - a.direct_up) * around
    ground = a.water_transmittance * a.transmittance_down * upward / (1 - a.spherical_albedo * around)
    return a.gas_transmittance * (a.path_reflectance + ground)


def ground_signal(toa: np.ndarray | float, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return X = (rho_TOA / T_g - path) / (T_w T_d)."""
    a = atmosphere
    return (toa / a.gas_transmittance - a.path_reflectance) / (a.water_transmittance * a.transmittance_down)


def surface_reflectance(toa: np.ndarray | float, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return the reflectance of uniform flat Lambertian ground: y / (1 + S y) with y = X / T_u.

    Where the top of the atmosphere is far darker than the path (1 + S y below 1/2), 1/2 is taken: such a pixel is very
    negative, instead of coming out beyond the pole as a bright one.
    """
    y = ground_signal(toa, atmosphere) / atmosphere.transmittance_up
    return y / np.maximum(1 + atmosphere.spherical_albedo * y, 0.5)


def adjacent_reflectance(toa: np.ndarray, atmosphere: BandAtmosphere, environment: np.ndarray) -> np.ndarray:
    """Return the reflectance of flat ground in surroundings of reflectance `environment`.

    rho = [X (1 - S rho_e) - (T_u - t_dir) rho_e] / t_dir
    """
    a = atmosphere
    x = ground_signal(toa, atmosphere)
    diffuse_up = a.transmittance_up - a.direct_up
    return (x * (1 - a.spherical_albedo * environment) - diffuse_up * environment) / a.direct_up


def illumination(
    atmosphere: BandAtmosphere,
    environment: np.ndarray,
    *,
    cos_incidence: np.ndarray,
    sun_cosine: np.ndarray,
    sky_view: np.ndarray,
    lit: np.ndarray,
    terrain: np.ndarray,
) -> np.ndarray:
    """Return the irradiance of inclined ground as a share of the sunlight on flat ground above the atmosphere.

    E = b t_dir c + t_dif [b k c + (1 - b k) V] + (t_dir + t_dif) rho_t (1 - V),  c = cos i / mu_s
    t_dif = T_d - t_dir + T_d S rho_e / (1 - S rho_e),  k = t_dir

    direct sunlight, the sky's light of which the share k comes from around the sun (Hay 1979), and light from the
    slopes in view. On flat ground (c = V = b = 1) it is T_d / (1 - S rho_e).

    Parameters
    ----------
    atmosphere
        From `band_atmosphere`.
    environment
        Mean reflectance rho_e of the surroundings.
    cos_incidence, sun_cosine
        Cosine of the sun's incidence on the slope (`b` makes it count as 0 if negative) and on flat ground.
    sky_view
        V, share of the sky's hemisphere that is seen.
    lit
        b, 1 in the sun and 0 in cast shadow.
    terrain
        Mean reflectance rho_t of the slopes in view.
    """
    a = atmosphere
    b = np.where(cos_incidence > 0, lit, 0)
    tilt = cos_incidence / sun_cosine
    reflected = a.spherical_albedo * environment
    diffuse = a.transmittance_down - a.direct_down + a.transmittance_down * reflected / (1 - reflected)
    around_sun = b * a.direct_down
    sky = diffuse * (around_sun * tilt + (1 - around_sun) * sky_view)
    return b * a.direct_down * tilt + sky + (a.direct_down + diffuse) * terrain * (1 - sky_view)


def terrain_toa_reflectance(
    surface: np.ndarray, atmosphere: BandAtmosphere, environment: np.ndarray, irradiance: np.ndarray
) -> np.ndarray:
    """Return the reflectance at the top of the atmosphere over inclined ground that receives `irradiance`.

    rho_TOA = T_g { path + T_w [E t_dir rho + T_d (T_u - t_dir) rho_e / (1 - S rho_e)] }
    """
    a = atmosphere
    ground = irradiance * a.direct_up * surface + _stray(a, environment)
    return a.gas_transmittance * (a.path_reflectance + a.water_transmittance * ground)


def terrain_reflectance(
    toa: np.ndarray, atmosphere: BandAtmosphere, environment: np.ndarray, irradiance: np.ndarray
) -> np.ndarray:
    """Return the reflectance of inclined ground that receives `irradiance` (from `illumination`).

    rho = { [rho_TOA / T_g - path] / T_w - T_d (T_u - t_dir) rho_e / (1 - S rho_e) } / (E t_dir)
    """
    a = atmosphere
    ground = ground_signal(toa, atmosphere) * a.transmittance_down
    return (ground - _stray(a, environment)) / (irradiance * a.direct_up)


def _stray(a: BandAtmosphere, environment: np.ndarray) -> np.ndarray:
    """Return the light of the surroundings that is scattered into the line of sight."""
    diffuse_up = a.transmittance_up - a.direct_up
    return a.transmittance_down * diffuse_up * environment / (1 - a.spherical_albedo * environment)


def rayleigh_environment(radius_km: np.ndarray) -> np.ndarray:
    """Return F_R, the share of the light scattered by molecules into the line of sight that left within a radius."""
    return 1 - 0.930 * np.exp(-0.080 * radius_km) - 0.070 * np.exp(-1.100 * radius_km)


def aerosol_environment(radius_km: np.ndarray) -> np.ndarray:
    """Return F_A, the same for scattering by aerosol (both: 6S manual, part 1, environment functions at nadir)."""
    return 1 - 0.448 * np.exp(-0.27 * radius_km) - 0.552 * np.exp(-2.83 * radius_km)


def environment_share(radius_km: np.ndarray, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return F(r) = (t_A F_A + t_R F_R) / (t_A + t_R), weighted with the diffuse upward transmittances."""
    r, a = atmosphere.rayleigh_diffuse_up, atmosphere.aerosol_diffuse_up
    return (a * aerosol_environment(radius_km) + r * rayleigh_environment(radius_km)) / (a + r)
