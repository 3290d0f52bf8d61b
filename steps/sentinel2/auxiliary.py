"""The granule's auxiliary data: meteorology (AUX_ECMWFT) and aerosol (AUX_CAMSFO), GRIB edition 1."""

import logging
from pathlib import PurePosixPath

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from steps.sentinel2.safe import Safe
from steps.sentinel2.scene import Auxiliary

logger = logging.getLogger(__name__)

#: (parameter table, parameter) of ECMWF's local GRIB 1 tables to short name.
_PARAMETERS = {
    (128, 137): "tcwv",
    (128, 151): "msl",
    (128, 206): "tco3",
    (210, 207): "aod550",
    (210, 208): "ssaod550",
    (210, 209): "duaod550",
    (210, 210): "omaod550",
    (210, 211): "bcaod550",
    (210, 212): "suaod550",
    (210, 213): "aod469",
    (210, 214): "aod670",
    (210, 215): "aod865",
    (210, 216): "aod1240",
}
#: Mass of a column of 1 DU (2.6867e20 molecules/m2) of ozone, kg/m2.
_DOBSON_UNIT = 2.1415e-5


def read_auxiliary(safe: Safe, granule: PurePosixPath, ozone: float) -> tuple[Auxiliary, tuple[str, ...]]:
    """Read the auxiliary data of the granule; files and messages may be missing.

    Parameters
    ----------
    safe, granule
        The product's files and the path of its granule inside.
    ozone
        Column to take where the product has none, DU.

    Returns
    -------
    Auxiliary, tuple of str
        And a sentence for each default.
    """
    defaults = []
    weather, *_ = _read(safe, str(granule / "AUX_DATA/AUX_ECMWFT"))
    aerosol, latitude, longitude = _read(safe, str(granule / "AUX_DATA/AUX_CAMSFO"))
    means = {name: float(values.mean()) for name, values in weather.items()}
    column = means["tco3"] / _DOBSON_UNIT if "tco3" in means else ozone
    if "tco3" not in means:
        defaults.append(f"Ozone: the product has no AUX_ECMWFT with ozone; {ozone:g} DU from the configuration.")
        logger.warning("%s: %s", safe.path, defaults[-1])
    cams = {name: _table(values) for name, values in aerosol.items() if "aod" in name}
    return Auxiliary(
        ozone=column / 1000,
        water_vapour=means["tcwv"] / 10 if "tcwv" in means else None,
        pressure=means["msl"] / 100 if "msl" in means else None,
        latitude=_table(latitude) if cams else None,
        longitude=_table(longitude) if cams else None,
        cams=cams or None,
    ), tuple(defaults)


def _table(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _read(safe: Safe, name: str) -> tuple[dict[str, np.ndarray], np.ndarray | None, np.ndarray | None]:
    """Return the fields by short name (rows north to south), and latitude and longitude of their points, degrees.

    GDAL decodes the values from a copy in memory, so that nothing is left beside the input. What a message is comes
    from its own header, because GDAL's names of the local parameters differ between versions.
    """
    if not safe.exists(name):
        return {}, None, None
    try:
        content = safe.read(name)
        parameters = _parameters(content)
        with rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile(content) as memory, memory.open(driver="GRIB") as grib:
            if grib.count != len(parameters):
                raise ValueError(f"{grib.count} fields in {len(parameters)} messages")
            transform, (rows, columns) = grib.transform, grib.shape
            fields = {
                _PARAMETERS[key]: grib.read(index) for index, key in enumerate(parameters, 1) if key in _PARAMETERS
            }
    except (RasterioError, ValueError) as problem:
        logger.warning("%s: is not used, because it cannot be read (%s)", safe.label(name), problem)
        return {}, None, None
    latitude, longitude = np.meshgrid(
        transform.f + transform.e * (np.arange(rows) + 0.5),
        transform.c + transform.a * (np.arange(columns) + 0.5),
        indexing="ij",
    )
    usable = {name: values for name, values in fields.items() if np.isfinite(values).all()}
    return usable, latitude.round(6), longitude.round(6)


def _parameters(content: bytes) -> list[tuple[int, int]]:
    """Return parameter table and parameter of each message (WMO FM 92 GRIB edition 1, section 1, octets 4 and 9)."""
    found, position = [], 0
    while (position := content.find(b"GRIB", position)) >= 0:
        length, edition = int.from_bytes(content[position + 4 : position + 7]), content[position + 7 : position + 8]
        if edition != b"\1" or length < 36 or position + length > len(content):
            raise ValueError("it is truncated or not of edition 1")
        found.append((content[position + 11], content[position + 16]))
        position += length
    if not found:
        raise ValueError("it is empty")
    return found
