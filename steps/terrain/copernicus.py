"""Tiles of the Copernicus elevation model, as the public buckets have them: 1 degree by 1 degree, heights over EGM2008.

Where there is but sea there is no tile. A few countries are in the model of 90 m alone.
"""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from steps.core import checksums
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.core.transfer import Store

#: Where the tiles of each model are, by its pixel size in m.
BUCKETS = {
    30: "https://copernicus-dem-30m.s3.eu-central-1.amazonaws.com",
    90: "https://copernicus-dem-90m.s3.eu-central-1.amazonaws.com",
}
#: Arc seconds in names of tiles, tenths.
_SECONDS = {30: 10, 90: 30}
#: How far around a scene elevation matters, m; that of `steps.dem` and some pixels.
_AROUND = 11_000


def corners(grid: Grid) -> list[tuple[int, int]]:
    """Return latitude and longitude (whole degrees) of the south-west corner of each tile that a grid needs."""
    width, height = grid.width * grid.resolution, grid.height * grid.resolution
    left, top = grid.left - _AROUND, grid.top + _AROUND
    box = (left, top - height - 2 * _AROUND, left + width + 2 * _AROUND, top)
    west, south, east, north = transform_bounds(f"EPSG:{grid.epsg}", "EPSG:4326", *box, densify_pts=21)
    east += 360 * (east < west)  # across the meridian of 180 degrees
    longitudes = np.arange(np.floor(west), np.floor(east) + 1)
    return [
        (int(latitude), int((longitude + 180) % 360 - 180))
        for latitude in np.arange(np.floor(south), np.floor(north) + 1)
        for longitude in longitudes
    ]


def tile_name(size: int, latitude: int, longitude: int) -> str:
    """Return the name of a tile, given by pixel size (m) and south-west corner, without `.tif`."""
    north = f"{'S' if latitude < 0 else 'N'}{abs(latitude):02}_00"
    east = f"{'W' if longitude < 0 else 'E'}{abs(longitude):03}_00"
    return f"Copernicus_DSM_COG_{_SECONDS[size]}_{north}_{east}_DEM"


def addresses(
    store: Store, base: str | None, size: int, places: Iterable[tuple[int, int]], folder: Path
) -> dict[tuple[int, int], str]:
    """Return the address of the tile of each place that has one, by the buckets' own lists.

    Parameters
    ----------
    store
        How addresses are reached.
    base
        Address with `tileList.txt` and the folders of the tiles of both models, None: the public buckets.
    size
        See `tile_name`; a tile that there is not at 30 m is taken at 90 m.
    places
        South-west corners, see `tile_name`.
    folder
        The cache, where the lists are kept.

    Raises
    ------
    StepError
        If a list cannot be had.
    """
    found: dict[tuple[int, int], str] = {}
    for one in (size,) if size == 90 else (size, 90):
        missing = {tile_name(one, *place): place for place in places if place not in found}
        if missing:
            root = base or BUCKETS[one]
            names = folder / f"tiles_{zlib.crc32(root.encode()):08x}.txt"
            store.fetch(f"{root}/tileList.txt", names)
            listed = missing.keys() & set(names.read_text().split())
            found |= {missing[name]: f"{root}/{name}/{name}.tif" for name in listed}
    return found


def cached(store: Store, address: str, latitude: int, longitude: int, folder: Path) -> Path:
    """Return a tile from the cache, fetched if it is not there or damaged.

    Parameters
    ----------
    store, address
        See `addresses`.
    latitude, longitude
        South-west corner, degrees.
    folder
        The cache. Each tile in it carries its checksum.

    Raises
    ------
    StepError
        If the tile cannot be had, or is another one.
    """
    path = folder / address.rpartition("/")[2]
    if path.exists():
        try:
            checksums.check(path)
        except StepError:
            path.unlink(missing_ok=True)
    store.fetch(address, path, _sealed(latitude, longitude))
    return path


def _sealed(latitude: int, longitude: int) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        """Raise `StepError` unless a file is a raster of the tile's place, and append its checksum."""
        try:
            with rasterio.open(path) as tile:
                middle = (tile.bounds.left + tile.bounds.right) / 2, (tile.bounds.bottom + tile.bounds.top) / 2
                tile.read(1)
        except RasterioError as error:
            raise StepError(f"it is no raster ({error})") from error
        if abs(middle[0] - longitude - 0.5) > 0.1 or abs(middle[1] - latitude - 0.5) > 0.1:
            raise StepError(f"it is a tile around {middle[1]:.1f} N, {middle[0]:.1f} E")
        checksums.seal(path)

    return check


def write_sea(path: Path, grid: Grid) -> None:
    """Write an elevation model of 0 m around a grid."""
    size = 1000
    shape = (int(n * grid.resolution + 4 * _AROUND) // size for n in (grid.height, grid.width))
    height, width = shape
    place = rasterio.transform.from_origin(grid.left - 2 * _AROUND, grid.top + 2 * _AROUND, size, size)
    options = {"driver": "GTiff", "crs": f"EPSG:{grid.epsg}", "transform": place, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", height=height, width=width, **options) as raster:
        raster.write(np.zeros((height, width), "f4"), 1)
