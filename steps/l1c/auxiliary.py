"""The granule's auxiliary data: meteorology and aerosol, GRIB edition 1.

What a file is tells its content: the meteorology is called AUX_ECMWFT, the aerosol AUX_CAMSFO (forecast) or, in
reprocessed products, AUX_CAMSRE or AUX_CAMSAN (reanalysis).
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l1c.grib import Message
from steps.l1c.protocol import Product
from steps.sentinel2.meteorology import CENTRE, FIELDS
from steps.sentinel2.scene import Auxiliary

logger = logging.getLogger(__name__)

#: The forecast of aerosol; it counts after any other file, which knows the observations of the day itself.
_FORECAST = "AUX_CAMSFO"
#: Mass of a column of 1 DU (2.6867e20 molecules/m2) of ozone, kg/m2.
_DOBSON_UNIT = 2.1415e-5


#: Packing may take what is 0 a little below it.
_PART = (-0.01, 10)
_WHOLE = (5e-4, 10)
#: Lowest and highest value on Earth of the fields that are used, in their units. Water vapour: from the polar winter to
#: the wettest tropics; pressure: records are 870 and 1085 hPa; ozone: 50 to 700 DU, records are 73 and about 600 DU.
_LIMITS = {
    "tcwv": (0.02, 100),
    "msl": (85_000, 110_000),
    "tco3": (50 * _DOBSON_UNIT, 700 * _DOBSON_UNIT),
    **dict.fromkeys(("aod550", "aod469", "aod670", "aod865", "aod1240"), _WHOLE),
    **dict.fromkeys(("ssaod550", "duaod550", "omaod550", "bcaod550", "suaod550"), _PART),
}
#: The fields by name, and their names by what they are in the tables of ECMWF.
_FIELDS = {name: field for group in FIELDS.values() for name, field in group.items()}
_NAMES = {(field.table, field.parameter): name for name, field in _FIELDS.items()}


def read_auxiliary(
    safe: Product, granule: PurePosixPath, ozone: float, grid: Grid | None = None
) -> tuple[Auxiliary, tuple[str, ...]]:
    """Read the auxiliary data of the granule; files and fields may be missing.

    Of several files with aerosol the first by name is taken, the forecast last. A file that is damaged or of another
    place, and a field whose values cannot be, are set aside.

    Parameters
    ----------
    safe, granule
        The product's files and the path of its granule inside.
    ozone
        Column to take where the product has none, DU.
    grid
        Of the tile, to check the files' places by.

    Returns
    -------
    Auxiliary, tuple of str
        And a sentence for each default, and for all that was set aside.
    """
    defaults: list[str] = []
    tile = _corners(grid) if grid else None
    files = {name: dict(_fields(safe, name, tile, defaults)) for name in _files(safe, granule)}
    found = {name: message for fields in reversed(files.values()) for name, message in fields.items()}
    means = {name: float(message.values.mean()) for name, message in found.items()}
    if "tco3" not in means:
        defaults.append(f"Ozone: the product has no AUX_ECMWFT with ozone; {ozone:g} DU from the configuration.")
    for sentence in defaults:
        logger.warning("%s: %s", safe.path, sentence)
    source = next((name for name, fields in files.items() if "aod550" in fields), None)
    aerosol = {name: message for name, message in (files[source] if source else {}).items() if "aod" in name}
    return Auxiliary(
        ozone=(means["tco3"] / _DOBSON_UNIT if "tco3" in means else ozone) / 1000,
        ozone_source="AUX_ECMWFT" if "tco3" in means else "CONFIG",
        water_vapour=means["tcwv"] / 10 if "tcwv" in means else None,
        pressure=means["msl"] / 100 if "msl" in means else None,
        **_aerosol(aerosol),
        cams_file=source and PurePosixPath(source).name,
    ), tuple(defaults)


def _files(safe: Product, granule: PurePosixPath) -> list[str]:
    """Return the files to look at, those that are believed first."""
    return sorted(safe.auxiliary_files(granule), key=lambda name: (PurePosixPath(name).name == _FORECAST, name))


def _aerosol(fields: dict[str, Message]) -> dict:
    if not fields:
        return {}
    points = np.meshgrid(fields["aod550"].latitude, fields["aod550"].longitude, indexing="ij")
    latitude, longitude = (_table(values.round(6)) for values in points)
    cams = {name: _table(message.values) for name, message in fields.items()}
    return {"latitude": latitude, "longitude": longitude, "cams": cams}


def _table(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _fields(
    safe: Product, name: str, tile: tuple[np.ndarray, np.ndarray] | None, defaults: list[str]
) -> Iterator[tuple[str, Message]]:
    """Yield the known fields of a file by short name; what is set aside is told in a sentence of `defaults`."""
    file = PurePosixPath(name)
    try:
        found = safe.messages(name)
        if tile:
            for message in found:
                _check_place(message, tile)
    except (StepError, ValueError) as error:
        defaults.append(f"Auxiliary data: {file.name} is not used: {error}.")
        return
    shape = next((m.values.shape for m in found), None)
    for message in found:
        short = _NAMES.get((message.table, message.parameter), "") if message.centre == CENTRE else ""
        if short not in _LIMITS:
            continue
        values, (lowest, highest) = message.values, _LIMITS[short]
        if values.shape != shape or not ((values >= lowest) & (values <= highest)).all():
            ends = f"{values.min():g} to {values.max():g} {_FIELDS[short].unit}".removesuffix(" 1")
            defaults.append(
                f"Auxiliary data: {short} of {file.name} is not used: {ends} is not within {lowest:g} to {highest:g}."
            )
            continue
        # Numbers of four bytes, as EOPF's Zarr has them: both forms of a product shall give the same results.
        yield short, replace(message, values=values.astype("f4").astype("f8"))


def _corners(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of the corners of a tile, and last of its middle, degrees."""
    from rasterio.warp import transform

    down, right = np.array([0, 0, 1, 1, 0.5]), np.array([0, 1, 0, 1, 0.5])
    x, y = grid.left + right * grid.width * grid.resolution, grid.top - down * grid.height * grid.resolution
    east, north = transform(f"EPSG:{grid.epsg}", "EPSG:4326", x, y)
    return np.array(north), np.array(east)


def _check_place(message: Message, tile: tuple[np.ndarray, np.ndarray]) -> None:
    """Raise `ValueError` unless the points of a message lie around the tile, of which `_corners` is given.

    They reach from its upper left to its lower right corner; the other corners lie beside them, far from the central
    meridian and near the poles even farther.
    """
    for at, points in zip(tile, (message.latitude, message.longitude), strict=True):
        middle, half = (points[0] + points[-1]) / 2, abs(points[-1] - points[0]) / 2
        distance = np.abs((at - middle + 180) % 360 - 180)
        if (distance > 2 * half).any() or distance[-1] > half:
            place = f"{message.latitude.mean():.2f} N, {message.longitude.mean():.2f} E"
            raise ValueError(f"its points around {place} are not the tile's")
