"""Shipped facts: aerosol models, the US62 profile, Rayleigh optical thickness and gas absorption.

The files are made by `python -m steps.atmosphere.extract`; the README.md beside them tells their origin.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steps.atmosphere.models import check_model
from steps.sentinel2.scene import SpectralResponse

DATA = Path(__file__).parent / "data"
#: Pressure to which the Rayleigh optical thickness refers, hPa.
STANDARD_PRESSURE = 1013.0
#: Parts into which `gases` cuts the steps between the altitudes of its table.
_PARTS = 8
#: Wavelengths in um (the 20 of 6S without 0.35) at which scattering is solved.
_FIRST = 1


@dataclass(frozen=True)
class AerosolModel:
    """Optical properties of one aerosol model at the scattering wavelengths.

    Attributes
    ----------
    wavelength
        um, shape (n,).
    extinction
        Relative to 550 nm, shape (n,).
    albedo
        Of single scattering, shape (n,).
    angle
        Scattering angles of `phase` in degrees, ascending, shape (k,).
    phase
        Phase function with mean 1, shape (n, k).
    """

    wavelength: np.ndarray
    extinction: np.ndarray
    albedo: np.ndarray
    angle: np.ndarray
    phase: np.ndarray


@dataclass(frozen=True)
class Gases:
    """Coefficients of the gas transmittances on a regular wavelength grid, by pressure of the ground.

    Attributes
    ----------
    wavelength
        nm, shape (n,), every `step`.
    log_pressure
        Natural logarithm of hPa, ascending, shape (k,).
    water_vapour
        (a, ln b) of -ln T = a u / sqrt(1 + b u), shape (k, 2, n); u in g/cm2.
    other
        (c0, c1, c2) of -ln T = exp(c0 + c1 ln m + c2 ln2 m), shape (k, 3, n).
    ozone
        k of -ln T = k u, shape (n,); u in cm-atm.
    solar_irradiance
        W/m2/um, shape (n,).
    """

    wavelength: np.ndarray
    step: float
    log_pressure: np.ndarray
    water_vapour: np.ndarray
    other: np.ndarray
    ozone: np.ndarray
    solar_irradiance: np.ndarray


def _read(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def aerosol_model(aerosol: str) -> AerosolModel:
    """Return the optical properties of an aerosol model."""
    check_model(aerosol)
    d = _read(f"aerosol_{aerosol}")
    wavelength, extinction, albedo = (
        np.array(d[key])[_FIRST:] for key in ("wavelength_um", "extinction", "single_scattering_albedo")
    )
    angle, phase = np.array(d["scattering_angle"])[::-1], np.array(d["phase_function"])[_FIRST:, ::-1]
    return AerosolModel(wavelength, extinction, albedo, angle, np.ascontiguousarray(phase))


@functools.cache
def _profile() -> tuple[np.ndarray, np.ndarray]:
    d = _read("profile")
    return np.array(d["altitude_km"], float), np.log(d["pressure_hpa"])


def pressure(elevation_km: np.ndarray) -> np.ndarray:
    """Return the pressure (hPa, shape of `elevation_km`): atmosphere US62, log-linear between whole km."""
    altitude, log_pressure = _profile()
    z = np.asarray(elevation_km, float)
    i = np.clip(np.floor(z).astype(int), 0, altitude.size - 2)
    return np.exp(log_pressure[i] + (z - altitude[i]) * (log_pressure[i + 1] - log_pressure[i]))


def rayleigh_thickness() -> np.ndarray:
    """Return the Rayleigh optical thickness at `STANDARD_PRESSURE`, shape (scattering wavelengths,)."""
    return np.array(_read("profile")["rayleigh_optical_thickness"])[_FIRST:]


@functools.cache
def gases() -> Gases:
    """Return the gas absorption coefficients.

    Those between the altitudes of the table are on cubic splines, and so many are given that a line from one to the
    next has no kink that counts: in relief, transmittances shall be smooth functions of the elevation.
    """
    d = _read("gases")
    water, other = np.array(d["water_vapour"]), np.array(d["other"])
    water[:, 1] = np.log(np.maximum(water[:, 1], 1e-9))
    order = np.argsort(pressure(d["altitude_km"]))
    log_pressure = np.log(pressure(d["altitude_km"]))[order]
    number = log_pressure.size
    finer = np.interp(np.arange(_PARTS * (number - 1) + 1) / _PARTS, np.arange(number), log_pressure)
    to_finer = spline_weights(log_pressure, finer)
    water, other = (np.tensordot(to_finer, v[order], 1) for v in (water, other))
    return Gases(
        d["start_nm"] + d["step_nm"] * np.arange(water.shape[-1]),
        d["step_nm"],
        finer,
        water,
        other,
        np.array(d["ozone"]),
        np.array(d["solar_irradiance"]),
    )


def water_vapour_transmittance(response: SpectralResponse, column: np.ndarray, elevation_km: np.ndarray) -> np.ndarray:
    """Return the mean transmittance of water vapour in a band, weighted with the sun's light.

    Parameters
    ----------
    response
        Of the band.
    column : shape (n,)
        On the slant way, above the ground, g/cm2.
    elevation_km : shape (k,)
        Of the ground, 0-9 km.

    Returns
    -------
    shape (k, n)
    """
    gas = gases()
    weight = np.interp(gas.wavelength, response.wavelength, response.values, left=0, right=0) * gas.solar_irradiance
    inside = weight > 0
    weight = weight[inside] / weight.sum()
    a, log_b = (
        np.array([np.interp(np.log(pressure(elevation_km)), gas.log_pressure, row) for row in values.T]).T
        for values in np.moveaxis(gas.water_vapour[:, :, inside], 1, 0)
    )
    u = np.asarray(column)[:, None]
    return np.array([np.exp(-x * u / np.sqrt(1 + np.exp(y) * u)) @ weight for x, y in zip(a, log_b, strict=True)])


def spline_weights(knots: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the weights, shape (x, knots), of values at knots in the cubic spline through them (not-a-knot ends).

    Not SciPy's, which takes half a second to import: a polynomial and a cube that begins at each inner knot, the
    outer two of which are none.
    """

    def basis(v: np.ndarray) -> np.ndarray:
        t, begins = ((w - knots[0]) / (knots[-1] - knots[0]) for w in (v[:, None], knots[2:-2]))
        return np.concatenate([t ** np.arange(4), np.maximum(t - begins, 0) ** 3], axis=1)

    return np.linalg.solve(basis(knots).T, basis(x).T).T
