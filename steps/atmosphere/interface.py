"""The inversion as a function for users and checkers, without a workflow: tables are found or built by themselves."""

import functools

import numpy as np

from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.inversion import surface_reflectance
from steps.atmosphere.lut import LookUpTable, make_table
from steps.atmosphere.models import lut_path
from steps.sentinel2.responses import reference_response


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
