"""The granule's auxiliary data: meteorology (ECMWF) and aerosol (CAMS), in files of GRIB edition 1.

What a file holds is told by its messages, not by its name: the aerosol of CAMS comes as forecast (AUX_CAMSFO), as
reanalysis in reprocessed products (AUX_CAMSRE) or as analysis (AUX_CAMSAN).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from steps.artefacts import Grid
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
#: Lowest and highest value that the atmosphere can have. Water vapour (kg/m2): from the winter of Antarctica to the
#: wettest tropics. Sea-level pressure (Pa): beyond the records of 870 and 1085 hPa. Ozone (kg/m2): 60 to 650 DU, around
#: the records of 73 and 600.
_RANGES = {"tcwv": (0.01, 100.0), "msl": (85_000.0, 110_000.0), "tco3": (60 * _DOBSON_UNIT, 650 * _DOBSON_UNIT)}
#: The same of aerosol optical thickness: it is nowhere 0, but what a single species gives may be, and a little less by
#: the packing of GRIB.
_AEROSOL_RANGE, _SPECIES_RANGE = (5e-4, 10.0), (-1e-3, 10.0)
#: Files with aerosol in the order in which they are taken, by the end of their names: a forecast last.
_PREFERRED = ("CAMSRE", "CAMSAN", "CAMSFO")
#: Degrees by which the points of a field may end beside the middle of the tile.
_BESIDE = 0.5


@dataclass(frozen=True)
class _Fields:
    """The fields of one file, rows north to south, by short name, and the coordinates of their points, degrees."""

    name: str
    values: dict[str, np.ndarray]
    latitude: np.ndarray
    longitude: np.ndarray


def read_auxiliary(safe: Safe, granule: PurePosixPath, grid: Grid, ozone: float) -> tuple[Auxiliary, tuple[str, ...]]:
    """Read the auxiliary data of the granule; files and messages may be missing.

    Files that are broken, fields that lie elsewhere and values that the atmosphere cannot have are set aside.

    Parameters
    ----------
    safe, granule
        The product's files and the path of its granule inside.
    grid
        The tile's.
    ozone
        Column to take where the product has none, DU.

    Returns
    -------
    Auxiliary, tuple of str
        And a sentence for each default, and for what was set aside.
    """
    defaults: list[str] = []
    files = list(_files(safe, granule, _middle(grid), defaults))
    weather = {name: f.values[name] for f in reversed(files) for name in ("tcwv", "msl", "tco3") if name in f.values}
    means = {name: float(values.mean()) for name, values in weather.items()}
    if "tco3" not in means:
        defaults.append(f"Ozone: the product has no AUX_ECMWFT with ozone; {ozone:g} DU from the configuration.")
    cams = _preferred([f for f in files if "aod550" in f.values], defaults)
    for sentence in defaults:
        logger.warning("%s: %s", safe.path, sentence)
    return Auxiliary(
        ozone=(means["tco3"] / _DOBSON_UNIT if "tco3" in means else ozone) / 1000,
        water_vapour=means["tcwv"] / 10 if "tcwv" in means else None,
        pressure=means["msl"] / 100 if "msl" in means else None,
        latitude=_table(cams.latitude) if cams else None,
        longitude=_table(cams.longitude) if cams else None,
        cams={name: _table(values) for name, values in cams.values.items() if "aod" in name} if cams else None,
    ), tuple(defaults)


def _table(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _middle(grid: Grid) -> tuple[float, float]:
    """Return latitude and longitude of the middle of a grid, degrees."""
    from rasterio.warp import transform

    x = grid.left + grid.width * grid.resolution / 2
    y = grid.top - grid.height * grid.resolution / 2
    (longitude,), (latitude,) = transform(f"EPSG:{grid.epsg}", "EPSG:4326", [x], [y])
    return latitude, longitude


def _preferred(files: list[_Fields], defaults: list[str]) -> _Fields | None:
    """Return the file whose aerosol is taken; None without any."""
    order = {name: rank for rank, name in enumerate(_PREFERRED)}
    files = sorted(files, key=lambda f: (order.get(f.name.rpartition("_")[2], len(order)), f.name))
    if len(files) > 1:
        others = ", ".join(f.name for f in files[1:])
        defaults.append(f"Aerosol: {files[0].name} was taken, not {others}, which the product has, too.")
    return files[0] if files else None


def _files(safe: Safe, granule: PurePosixPath, middle: tuple[float, float], defaults: list[str]) -> Iterator[_Fields]:
    """Yield the files that hold something usable; `defaults` gets a sentence for what is set aside."""
    folder = granule / "AUX_DATA"
    for name in safe.names():
        path = PurePosixPath(name)
        # Decoders leave indexes and statistics beside the files.
        if path.parent != folder or path.suffix in (".idx", ".xml"):
            continue
        try:
            fields = _read(path.name, safe.read(name))
        except (RasterioError, ValueError) as problem:
            defaults.append(f"Auxiliary data: {path.name} is not used, because it cannot be read ({problem}).")
            continue
        if not _near(fields, middle):
            defaults.append(f"Auxiliary data: {path.name} is not used, because its points lie beside the tile.")
        elif usable := _plausible(fields, defaults):
            yield _Fields(path.name, usable, fields.latitude, fields.longitude)


def _near(fields: _Fields, middle: tuple[float, float]) -> bool:
    """Tell whether the points of a field lie around a place (latitude, longitude)."""
    latitude, longitude = fields.latitude[:, 0], fields.longitude[0]
    east = (middle[1] - longitude[0] + _BESIDE) % 360 - _BESIDE
    width = (longitude[-1] - longitude[0]) % 360
    return bool(
        latitude.min() - _BESIDE <= middle[0] <= latitude.max() + _BESIDE and -_BESIDE <= east <= width + _BESIDE
    )


def _plausible(fields: _Fields, defaults: list[str]) -> dict[str, np.ndarray]:
    """Return the fields whose values the atmosphere can have."""
    usable = {}
    for name, values in fields.values.items():
        species = name.endswith("aod550") and name != "aod550"
        low, high = _RANGES.get(name, _SPECIES_RANGE if species else _AEROSOL_RANGE)
        if np.isfinite(values).all() and low <= values.min() and values.max() <= high:
            usable[name] = values
        else:
            found, allowed = f"{np.min(values):.4g} to {np.max(values):.4g}", f"{low:g} to {high:g}"
            defaults.append(
                f"Auxiliary data: {name} of {fields.name} is not used, because it is {found}, and not {allowed}."
            )
    return usable


def _read(name: str, content: bytes) -> _Fields:
    """Return all fields of a file; raise `ValueError` if it is broken.

    GDAL decodes the values from a copy in memory, so that nothing is left beside the input. What a message is comes
    from its own header, because GDAL's names of the local parameters differ between versions.
    """
    parameters = _parameters(content)
    with rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile(content) as memory, memory.open(driver="GRIB") as grib:
        if grib.count != len(parameters):
            raise ValueError(f"{grib.count} fields in {len(parameters)} messages")
        transform, (rows, columns) = grib.transform, grib.shape
        values = {_PARAMETERS[key]: grib.read(index) for index, key in enumerate(parameters, 1) if key in _PARAMETERS}
    latitude, longitude = np.meshgrid(
        transform.f + transform.e * (np.arange(rows) + 0.5),
        transform.c + transform.a * (np.arange(columns) + 0.5),
        indexing="ij",
    )
    return _Fields(name, values, latitude.round(6), longitude.round(6))


def _parameters(content: bytes) -> list[tuple[int, int]]:
    """Return parameter table and parameter of each message, and check that all of it is there.

    WMO FM 92 GRIB edition 1: section 1 (octets 4 and 9 are table and parameter, 8 says which sections follow), 2 (the
    grid), 3 (the bit map, which these files have not) and 4 (the values, of octet 11 bits each). A decoder would fill
    what is missing with whatever lies in memory.

    Raises
    ------
    ValueError
        If it is not so.
    """
    found, grids, position = [], set(), 0
    while position < len(content):
        length = int.from_bytes(content[position + 4 : position + 7])
        message = content[position : position + length]
        if message[:4] != b"GRIB" or message[7:8] != b"\1" or message[-4:] != b"7777":
            raise ValueError("it is truncated or not of edition 1")
        product = _section(message, 8)
        grid = _section(message, 8 + len(product))
        data = _section(message, 8 + len(product) + len(grid))
        if len(product) < 28 or product[7] != 0x80 or len(grid) < 28 or len(data) < 11:
            raise ValueError("a message has other sections than expected")
        columns, rows = int.from_bytes(grid[6:8]), int.from_bytes(grid[8:10])
        bits = rows * columns * data[10] + (data[3] & 0x0F)
        if 8 + len(product) + len(grid) + len(data) + 4 != length or not rows * columns or bits > 8 * (len(data) - 11):
            raise ValueError("a message is shorter than its grid asks for")
        grids.add(grid)
        found.append((product[3], product[8]))
        position += length
    if len(grids) != 1:
        raise ValueError("its messages are of several grids" if grids else "it is empty")
    return found


def _section(message: bytes, start: int) -> bytes:
    """Return the section that begins at `start`, as long as its first three octets say."""
    return message[start : start + int.from_bytes(message[start : start + 3])]
