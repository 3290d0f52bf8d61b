"""The atmosphere: radiative transfer, look-up tables, gas absorption, band averages and the inversion to the surface.

Everything that knows how light travels between the sun, the ground and the sensor lives in this package. A reader may
start with `inversion` (the equations), then `band` (what goes into them), `lut` and `solver` (where it comes from).
"""

import functools

import numpy as np

import steps.kernels  # noqa: F401  (before numba: places its cache)
from steps.aerosol_models import AEROSOL_MODELS, lut_path
from steps.atmosphere.band import DOMAIN, BandAtmosphere, band_atmosphere, outside_domain
from steps.atmosphere.choice import choose_aerosol_model, model_of_vegetation
from steps.atmosphere.inversion import (
    adjacent_reflectance,
    aerosol_environment,
    environment_share,
    ground_signal,
    illumination,
    rayleigh_environment,
    surface_reflectance,
    terrain_reflectance,
    terrain_toa_reflectance,
    toa_reflectance,
)
from steps.atmosphere.lut import LookUpTable, build_table, load_table, make_table, write_table
from steps.atmosphere.responses import reference_response
from steps.atmosphere.tables import pressure

__all__ = [
    "AEROSOL_MODELS",
    "DOMAIN",
    "BandAtmosphere",
    "LookUpTable",
    "adjacent_reflectance",
    "aerosol_environment",
    "band_atmosphere",
    "build_table",
    "cached_table",
    "choose_aerosol_model",
    "environment_share",
    "ground_signal",
    "illumination",
    "invert_reflectance",
    "load_table",
    "lut_path",
    "make_table",
    "model_of_vegetation",
    "outside_domain",
    "pressure",
    "rayleigh_environment",
    "reference_response",
    "surface_reflectance",
    "terrain_reflectance",
    "terrain_toa_reflectance",
    "toa_reflectance",
    "write_table",
]


@functools.cache
def cached_table(aerosol: str) -> LookUpTable:
    """Return the look-up table of an aerosol model from the cache folder, built there first if it is not there yet."""
    return make_table(aerosol, lut_path(aerosol))


def invert_reflectance(
    toa_reflectance: np.ndarray,
    *,
    satellite: str,
    band: str,
    sun_zenith: np.ndarray,
    view_zenith: np.ndarray,
    relative_azimuth: np.ndarray,
    elevation_km: np.ndarray,
    aot550: np.ndarray,
    water_vapour: np.ndarray,
    ozone: np.ndarray,
    aerosol: str,
) -> np.ndarray:
    """Return the reflectance of uniform flat ground, with the shipped response of a satellite.

    Usable without a workflow: the look-up table is found in the cache folder, or built there once (half a minute).

    Parameters
    ----------
    toa_reflectance
        At the top of the atmosphere.
    satellite, band
        `S2A` or `S2B`; `B01` ... `B12`.
    sun_zenith, view_zenith, relative_azimuth, elevation_km, aot550, water_vapour, ozone
        As for `band_atmosphere`.
    aerosol
        One of `AEROSOL_MODELS`.

    Raises
    ------
    StepError
        If the satellite, the band or the aerosol model is unknown.
    """
    atmosphere = band_atmosphere(
        cached_table(aerosol),
        reference_response(satellite, band),
        sun_zenith=sun_zenith,
        view_zenith=view_zenith,
        relative_azimuth=relative_azimuth,
        elevation_km=elevation_km,
        aot550=aot550,
        water_vapour=water_vapour,
        ozone=ozone,
    )
    return surface_reflectance(np.asarray(toa_reflectance, float), atmosphere)
