"""The auxiliary data of an L1C product: small GRIB files of weather and aerosol on 9 x 9 points."""

import struct
from collections.abc import Mapping

import numpy as np

from steps.core.rasters import Grid
from steps.simulation.particles import mixture

#: Points of a side.
_POINTS = 9
#: (table, parameter) of ECMWF.
_CODES = {
    "tcwv": (128, 137),
    "msl": (128, 151),
    "tco3": (128, 206),
    "aod550": (210, 207),
    "ssaod550": (210, 208),
    "duaod550": (210, 209),
    "omaod550": (210, 210),
    "bcaod550": (210, 211),
    "suaod550": (210, 212),
    "aod469": (210, 213),
    "aod670": (210, 214),
    "aod865": (210, 215),
    "aod1240": (210, 216),
}
#: kg/m2 of a column of 1 DU of ozone.
_DOBSON_UNIT = 2.1415e-5
#: Shares of sea salt, dust, organic matter, black carbon and sulphate that the models are taken for: so much black
#: carbon, with the single scattering albedo of soot (0.21; OPAC), that they absorb as the models do.
_SPECIES = {
    "continental": (0.03, 0.12, 0.33, 0.11, 0.41),
    "maritime": (0.75, 0.02, 0.05, 0.01, 0.17),
    "urban": (0.02, 0.05, 0.38, 0.37, 0.18),
    "desert": (0.02, 0.90, 0.03, 0.00, 0.05),
    "biomass": (0.01, 0.02, 0.77, 0.05, 0.15),
}


def weather(water_vapour: float, ozone: float, pressure: float) -> dict[str, float]:
    """Return the fields of AUX_ECMWFT (kg/m2, Pa) for water vapour in g/cm2, ozone in DU and pressure in hPa."""
    return {"tcwv": 10 * water_vapour, "msl": 100 * pressure, "tco3": ozone * _DOBSON_UNIT}


def aerosol(aot550: float, shares: Mapping[str, float]) -> dict[str, float]:
    """Return the fields of AUX_CAMSFO, optical thicknesses, for that at 550 nm of a mixture of models."""
    total = sum(shares.values())
    nanometres = (469, 670, 865, 1240)
    extinction = mixture(shares, np.array(nanometres) / 1000, 2).extinction
    parts = np.array([_SPECIES[model] for model in shares]).T @ np.array(list(shares.values())) / total
    species = {f"{name}aod550": aot550 * part for name, part in zip(("ss", "du", "om", "bc", "su"), parts, strict=True)}
    spectral = {f"aod{nm}": aot550 * value for nm, value in zip(nanometres, extinction, strict=True)}
    return {"aod550": aot550, **species, **spectral}


def grib(values: Mapping[str, float], grid: Grid) -> bytes:
    """Return GRIB messages (edition 1, WMO FM 92) of fields of constant values, by their short names, around a tile."""
    from rasterio.warp import transform

    half = max(grid.width, grid.height) * grid.resolution / 2
    x, y = grid.left + grid.width * grid.resolution / 2, grid.top - grid.height * grid.resolution / 2
    east, north = transform(f"EPSG:{grid.epsg}", "EPSG:4326", [x - 1.5 * half, x + 1.5 * half], [y + half, y - half])
    content = b""
    for name, value in values.items():
        table, parameter = _CODES[name]
        body = _product(table, parameter) + _grid(north, east) + _data(value) + b"7777"
        content += b"GRIB" + (8 + len(body)).to_bytes(3, "big") + b"\x01" + body
    return content


def _product(table: int, parameter: int) -> bytes:
    date, forecast = (24, 1, 20, 0, 0), (0, 2, 142, 10, 0, 0, 0)
    return bytes((0, 0, 28, table, 98, 1, 255, 128, parameter, 1, 0, 0, *date, *forecast, 21, 0, 0, 0))


def _grid(north: list[float], east: list[float]) -> bytes:
    def thousandths(degrees: float) -> bytes:
        number = round(abs(degrees) * 1000)
        return (number | (0x800000 if degrees < 0 else 0)).to_bytes(3, "big")

    corners = thousandths(north[0]) + thousandths(east[0]) + b"\x80" + thousandths(north[1]) + thousandths(east[1])
    steps = [round(1000 * abs(a[1] - a[0]) / (_POINTS - 1)) for a in (east, north)]
    return (
        bytes((0, 0, 32, 0, 255, 0))
        + struct.pack(">HH", _POINTS, _POINTS)
        + corners
        + struct.pack(">HHB", *steps, 0)
        + bytes(4)
    )


def _data(value: float) -> bytes:
    """Pack a field of one value: all of it is in the reference, with 24 bits."""
    exponent = 64
    while value >= 16.0 ** (exponent - 64):
        exponent += 1
    while value and value < 16.0 ** (exponent - 65):
        exponent -= 1
    mantissa = round(value / 16.0 ** (exponent - 64) * 2**24)
    packed = bytes(_POINTS * _POINTS)
    padding = bytes(len(packed) % 2 ^ 1)  # sections have an even number of octets
    size = 11 + len(packed) + len(padding)
    return (
        size.to_bytes(3, "big")
        + bytes((8 * len(padding), 0, 0, exponent))
        + mantissa.to_bytes(3, "big")
        + bytes((8,))
        + packed
        + padding
    )
