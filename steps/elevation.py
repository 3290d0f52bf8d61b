"""The user's elevation model, whatever its files, on the pixel grid of a scene."""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from steps.artefacts import BLOCK, Grid
from steps.errors import StepError

_EXTENSIONS = {".tif", ".tiff", ".dt0", ".dt1", ".dt2", ".hgt"}
#: Companions of a Copernicus tile: edit, error, fill and water masks, previews.
_COMPANION = re.compile(r"_(ACM|EDM|FLM|HEM|WBM|SRC|QL)$", re.IGNORECASE)
#: The south-west corner that most tiles carry in their names (`N42_00_E010`, `N42E010`, `e010_n42`).
_LATITUDE = re.compile(r"(?<![a-z])([ns])(\d\d)(?!\d)", re.IGNORECASE)
_LONGITUDE = re.compile(r"(?<![a-z])([ew])(\d\d\d)(?!\d)", re.IGNORECASE)
#: Tiles are at most this large, degrees: one whose name says that it is farther away is not opened.
_LARGEST_TILE = 6
#: Stands for no data between the files and the warped raster; for integer tiles that do not declare one, too.
_VOID = -32768.0


@dataclass(frozen=True)
class _Tile:
    path: Path
    crs: rasterio.crs.CRS
    transform: Affine
    width: int
    height: int
    nodata: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        t = self.transform
        return t.c, t.f + self.height * t.e, t.c + self.width * t.a, t.f


def _padded(grid: Grid, margin: int) -> Grid:
    """Return the grid with `margin` more pixels on each side."""
    left, top = grid.left - margin * grid.resolution, grid.top + margin * grid.resolution
    return Grid(grid.epsg, left, top, grid.resolution, grid.width + 2 * margin, grid.height + 2 * margin)


def read_elevation(
    dem: Path, grid: Grid, margin: int = 0, tile: Grid | None = None, threads: int = 1
) -> tuple[np.ndarray, list[str]]:
    """Mosaic and warp an elevation model.

    Coarser models are interpolated with cubic B-splines, whose slopes show no facets; finer ones bilinearly over the
    footprint of the new pixels. Both sides of the date line are joined.

    Parameters
    ----------
    dem
        A raster or VRT, or a folder in which tiles are found by their extension, however deep.
    grid
        The scene's.
    margin
        Pixels around the scene.
    tile
        The scene's, or that of the same pixels of which it is a part. GDAL is asked for the blocks of the whole: in
        each it approximates the projection anew, which in blocks of the part changes slopes by a tenth of a degree.
    threads
        Threads to use.

    Returns
    -------
    elevation
        (height + 2 margin, width + 2 margin) float32, m, NaN where the model has no data.
    names
        Of the files that touch the tile.

    Raises
    ------
    StepError
        If there is no elevation model at `dem`, it cannot be used, or it does not touch the scene.
    """
    target, part = _padded(tile or grid, margin), _padded(grid, margin)
    rows, columns = part.within(target)
    result = np.empty(part.shape, np.float32)

    def read(row: int) -> None:
        with _warped(mosaic, target) as warped:
            for column in range(columns.start // BLOCK * BLOCK, columns.stop, BLOCK):
                block = warped.read(1, window=Window(column, row, BLOCK, BLOCK))
                first, left = max(row, rows.start), max(column, columns.start)
                seen = block[first - row : rows.stop - row, left - column : columns.stop - column]
                first, left = first - rows.start, left - columns.start
                result[first : first + seen.shape[0], left : left + seen.shape[1]] = seen

    with rasterio.Env(GDAL_CACHEMAX=128 * 2**20), ThreadPoolExecutor(threads) as pool:
        try:
            tiles, mosaic = _mosaic(dem, target)
            list(pool.map(read, range(rows.start // BLOCK * BLOCK, rows.stop, BLOCK)))
        except RasterioError as problem:
            raise StepError(f"{dem}: the elevation model cannot be read ({problem}); check its files") from problem
    inside = result[margin : margin + grid.height, margin : margin + grid.width]
    if np.isnan(inside).all():
        raise _nowhere(dem)
    return result, [tile.path.name for tile in tiles]


@contextlib.contextmanager
def _warped(mosaic: str, target: Grid) -> Iterator[WarpedVRT]:
    with rasterio.open(mosaic) as source:
        step = source.res[1] * (111_000 if source.crs.is_geographic else source.crs.linear_units_factor[1])
        kernel = Resampling.cubic_spline if step > target.resolution else Resampling.bilinear
        with WarpedVRT(
            source,
            crs=f"EPSG:{target.epsg}",
            transform=target.transform,
            width=target.width,
            height=target.height,
            resampling=kernel,
            src_nodata=_VOID,
            nodata=float("nan"),
            dtype="float32",
            tolerance=0.01,
        ) as result:
            yield result


def _nowhere(dem: Path) -> StepError:
    return StepError(
        f"{dem}: the elevation model does not touch the scene; give one that covers it, or leave `dem` out for flat "
        "terrain at `altitude`"
    )


def _candidates(dem: Path) -> list[Path]:
    if dem.is_file():
        return [dem]
    if not dem.is_dir():
        raise StepError(f"{dem}: there is no such elevation model; correct `dem` or leave it out")
    found = sorted(
        path
        for path in dem.rglob("*")
        if path.suffix.lower() in _EXTENSIONS and not _COMPANION.search(path.stem) and path.is_file()
    )
    if not found:
        raise StepError(f"{dem}: holds no elevation tiles ({' '.join(sorted(_EXTENSIONS))}); correct `dem`")
    return found


def _may_touch(path: Path, box: tuple[float, float, float, float]) -> bool:
    """Whether a tile can reach the box (degrees), as far as its name tells."""
    latitude, longitude = _LATITUDE.search(path.stem), _LONGITUDE.search(path.stem)
    if not (latitude and longitude):
        return True
    south = int(latitude[2]) * (-1 if latitude[1] in "sS" else 1)
    west = int(longitude[2]) * (-1 if longitude[1] in "wW" else 1)
    west += 360 * (west + _LARGEST_TILE < box[0])
    return box[1] - _LARGEST_TILE <= south <= box[3] and box[0] - _LARGEST_TILE <= west <= box[2]


def _open_tile(path: Path) -> _Tile:
    with rasterio.open(path) as source:
        t = source.transform
        if source.crs is None or t.b or t.d or t.e >= 0:
            raise StepError(f"{path}: has no map projection or is not north up; mend it with gdalwarp")
        nodata = _VOID if source.nodata is None else source.nodata
        return _Tile(path, source.crs, t, source.width, source.height, nodata)


def _box(target: Grid, crs) -> tuple[float, float, float, float]:
    """Return the target's bounds in another projection; the east may be over 180 degrees."""
    right, bottom = target.left + target.width * target.resolution, target.top - target.height * target.resolution
    west, south, east, north = transform_bounds(f"EPSG:{target.epsg}", crs, target.left, bottom, right, target.top)
    return west, south, east + 360 * (east < west), north


def _mosaic(dem: Path, target: Grid) -> tuple[list[_Tile], str]:
    """Return the tiles that touch the target, and a virtual raster of them as GDAL's VRT XML."""
    paths = _candidates(dem)
    degrees = _box(target, "EPSG:4326")
    tiles = [_open_tile(path) for path in paths if dem.is_file() or _may_touch(path, degrees)]
    for tile in tiles:
        if tile.crs != tiles[0].crs:
            raise StepError(f"{tile.path}: has another map projection than {tiles[0].path.name}; give tiles of one")
    if not tiles:
        raise _nowhere(dem)
    crs = tiles[0].crs
    dx, dy = min(tile.transform.a for tile in tiles), min(-tile.transform.e for tile in tiles)
    box = _box(target, crs)
    turns = (-360, 0, 360) if crs.is_geographic else (0,)
    used = [(tile, turn) for tile in tiles for turn in turns if _touches(tile, turn, box, (dx, dy))]
    if not used:
        raise _nowhere(dem)
    # The virtual raster is the box, grown by the reach of the interpolation and snapped to the first tile's pixels.
    origin, turn = used[0][0].transform, used[0][1]
    column = math.floor((box[0] - origin.c - turn) / dx) - 8
    row = math.floor((origin.f - box[3]) / dy) - 8
    left, top = origin.c + turn + column * dx, origin.f - row * dy
    width, height = int((box[2] - left) / dx) + 8, int((top - box[1]) / dy) + 8
    # Over the date line longitudes go on beyond 180 degrees, here and in the projection.
    projection = crs.to_proj4() + " +lon_wrap=180" if crs.is_geographic and box[2] > 180 else crs.to_wkt()
    sources = "".join(_source(tile, turn, left, top, dx, dy) for tile, turn in used)
    return sorted({tile for tile, _ in used}, key=lambda tile: tile.path), (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(projection)}</SRS>'
        f"<GeoTransform>{left!r},{dx!r},0,{top!r},0,{-dy!r}</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"><NoDataValue>{_VOID}</NoDataValue>{sources}</VRTRasterBand>'
        "</VRTDataset>"
    )


def _touches(tile: _Tile, turn: float, box: Sequence[float], reach: tuple[float, float]) -> bool:
    west, south, east, north = tile.bounds
    dx, dy = 4 * reach[0], 4 * reach[1]
    return west + turn < box[2] + dx and east + turn > box[0] - dx and south < box[3] + dy and north > box[1] - dy


def _source(tile: _Tile, turn: float, left: float, top: float, dx: float, dy: float) -> str:
    west, south, east, north = tile.bounds
    column, row = round((west + turn - left) / dx, 6), round((top - north) / dy, 6)
    columns, rows = round((east - west) / dx, 6), round((north - south) / dy, 6)
    return (
        f'<ComplexSource resampling="bilinear"><SourceFilename relativeToVRT="0">{escape(str(tile.path.absolute()))}'
        f"</SourceFilename><SourceBand>1</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="{tile.width}" ySize="{tile.height}"/>'
        f'<DstRect xOff="{column}" yOff="{row}" xSize="{columns}" ySize="{rows}"/>'
        f"<NODATA>{tile.nodata}</NODATA></ComplexSource>"
    )
