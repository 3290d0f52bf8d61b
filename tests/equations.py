"""Equations of the inversion in plain NumPy, written out as in the papers: what the formulas in use are tested against.

Sources: Vermote et al. 1997 (IEEE TGRS 35, 675) for the adjacency effect, Richter 1998 (Applied Optics 37, 4004) for
inclined terrain.
"""

from __future__ import annotations

import numpy as np

from steps.atmosphere.band import BandAtmosphere


def ground_signal(toa: np.ndarray, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return X = (rho_TOA / T_g - path) / (T_w T_d)."""
    a = atmosphere
    return (toa / a.gas_transmittance - a.path_reflectance) / (a.water_transmittance * a.transmittance_down)


def adjacent_reflectance(toa: np.ndarray, atmosphere: BandAtmosphere, environment: np.ndarray) -> np.ndarray:
    """Return the reflectance of flat ground in surroundings of reflectance `environment`.

    rho = [X (1 - S rho_e) - (T_u - t_dir) rho_e] / t_dir
    """
    a = atmosphere
    x = ground_signal(toa, atmosphere)
    diffuse_up = a.transmittance_up - a.direct_up
    return (x * (1 - a.spherical_albedo * environment) - diffuse_up * environment) / a.direct_up


#: Terms of a sky that is equally bright everywhere.
UNIFORM_SKY = (0.0, 0.0, -0.5, 0.0, 0.0, 0.0)


def illumination(
    atmosphere: BandAtmosphere,
    environment: np.ndarray,
    *,
    cos_incidence: np.ndarray,
    cos_slope: np.ndarray,
    sun_cosine: np.ndarray,
    sky_view: np.ndarray,
    lit: np.ndarray,
    terrain: np.ndarray,
    sky: tuple[float, ...] = UNIFORM_SKY,
) -> np.ndarray:
    """Return the irradiance of inclined ground as a share of the sunlight on flat ground above the atmosphere.

    E = b t_dir c + (T_d - t_dir) [k b c + V / V_0 (1 - k + P)] + (G - T_d) V + G rho_t (1 - V),  c = cos i / mu_s
    G = T_d / (1 - S rho_e),  V_0 = (1 + cos s) / 2,  P = b1 u + b2 v + b3 u^2 + b4 u v + b5 v^2

    direct sunlight, the sky's light of which the share k comes from around the sun, light that ground and sky throw
    back and forth, and light from the slopes in view. On flat ground (c = V = b = 1) it is G.

    Parameters
    ----------
    atmosphere
        From `band_atmosphere`.
    environment
        Mean reflectance rho_e of the surroundings.
    cos_incidence, cos_slope, sun_cosine
        Cosine of the sun's incidence on the slope (`b` makes it count as 0 if negative), of the slope, and of the sun's
        incidence on flat ground.
    sky_view
        V, share of the sky's hemisphere that is seen.
    lit
        b, 1 in the sun and 0 in cast shadow.
    terrain
        Mean reflectance rho_t of the slopes in view.
    sky
        k, b1 ... b5; see `steps.atmosphere.sky`.
    """
    a, (near, b1, b2, b3, b4, b5) = atmosphere, sky
    sun = np.where(cos_incidence > 0, lit, 0) * cos_incidence / sun_cosine
    u, v = cos_incidence - cos_slope * sun_cosine, 1 - cos_slope
    total = a.transmittance_down / (1 - a.spherical_albedo * environment)
    smooth = 1 - near + b1 * u + b2 * v + b3 * u**2 + b4 * u * v + b5 * v**2
    seen = near * sun + sky_view / ((1 + cos_slope) / 2) * np.maximum(smooth, 0)
    thrown_back = (total - a.transmittance_down) * sky_view
    return (
        a.direct_down * sun
        + (a.transmittance_down - a.direct_down) * seen
        + thrown_back
        + total * terrain * (1 - sky_view)
    )


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
