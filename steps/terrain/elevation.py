"""The user's elevation model, whatever its files, on the pixel grids of a scene."""

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from steps.core.errors import StepError
from steps.core.rasters import BLOCK, Grid, raster_errors_as
from steps.terrain.mosaic import Lattice, box_if_any, box_in, lattice_of, mosaic, turn_of
from steps.terrain.tiles import NotElevation, Tile, candidates, may_touch, open_tile

logger = logging.getLogger(__name__)

#: Voids are bridged as far as this from what is known, m, and up to this share of the scene, percent.
BRIDGED = 2500
MOST_BRIDGED = 10
#: An area of 0 m is void if its rim is higher than the first (m) plus this times a pixel: no shore is as steep.
_CLIFF = 30
_STEEP = 0.5
#: Relief is looked at over about so many metres; steeper than 45 degrees at half of all places is no landscape.
_SLOPE_BASE = 30
_STEEPEST = 1.0
#: A model of this many different heights or fewer may be a mask.
_FEW = 4
_REMEDY = "give the tiles that are missing, or leave `dem` out for flat terrain at `altitude`"


@dataclass(frozen=True)
class ElevationModel:
    """An elevation model around a scene, in memory.

    Attributes
    ----------
    names
        Of the files that touch the tile.
    missing
        Share of the scene for which the model has no elevation, percent.
    notes
        Sentences: what was assumed, for the user and for the product.
    beyond
        Elevation where the tile around a part has none, m: 0 at sea, else NaN.
    digest
        Of its heights and where they lie.
    """

    names: tuple[str, ...]
    missing: float
    notes: tuple[str, ...]
    beyond: float
    digest: str
    _lattice: Lattice
    _file: str

    def read(self, grid: Grid, margin: int = 0, tile: Grid | None = None, threads: int = 1) -> np.ndarray:
        """Warp the model to a grid.

        Coarser models are interpolated with cubic B-splines, whose slopes show no facets; finer ones bilinearly over
        the footprint of the new pixels.

        Parameters
        ----------
        grid
            The scene's.
        margin
            Pixels around the scene.
        tile
            The scene's, or that of the same pixels of which it is a part. GDAL is asked for the blocks of the whole:
            in each it approximates the projection anew, which in blocks of the part changes slopes by a tenth of a
            degree.
        threads
            Threads to use.

        Returns
        -------
        (height + 2 margin, width + 2 margin) float32, m, NaN where the model has no data.
        """
        target, part = _padded(tile or grid, margin), _padded(grid, margin)
        rows, columns = part.within(target)
        result = np.empty(part.shape, np.float32)
        source = _virtual(self._file, self._lattice, target)

        def read(row: int) -> None:
            with _warped(source, target) as warped:
                for column in range(columns.start // BLOCK * BLOCK, columns.stop, BLOCK):
                    block = warped.read(1, window=Window(column, row, BLOCK, BLOCK))
                    first, left = max(row, rows.start), max(column, columns.start)
                    seen = block[first - row : rows.stop - row, left - column : columns.stop - column]
                    first, left = first - rows.start, left - columns.start
                    result[first : first + seen.shape[0], left : left + seen.shape[1]] = seen

        with rasterio.Env(GDAL_CACHEMAX=128 * 2**20), ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, range(rows.start // BLOCK * BLOCK, rows.stop, BLOCK)))
        return result


@contextlib.contextmanager
def elevation_model(
    dem: Path, tile: Grid, margin: float = 0, part: Grid | None = None, threads: int = 1
) -> Iterator[ElevationModel]:
    """Find the files of an elevation model, and hold what they tell of a tile in memory for the block.

    Files that hold something else are left out, voids are filled from around, and missing parts at whose edge the
    model has come down to 0 m are sea. Both sides of the date line are joined.

    Parameters
    ----------
    dem
        A raster or VRT, or a folder in which tiles are found by their extension, however deep.
    tile
        The whole tile, which `part` may go beyond by less than a pixel.
    margin
        How far around the tile elevation is wanted, m.
    part
        What must have elevation: the tile unless given.
    threads
        Threads to use.

    Raises
    ------
    StepError
        If there is no elevation model at `dem`, it cannot be used, it is not one, or it leaves too much of the scene
        without elevation.
    """
    target = _padded(tile, round(margin / tile.resolution))

    def explain(error: Exception) -> StepError:
        return StepError(f"{dem}: the elevation model cannot be read ({error}); check its files")

    with rasterio.Env(GDAL_CACHEMAX=128 * 2**20), raster_errors_as(explain):
        tiles, notes = _tiles(dem, target)
        lattice = lattice_of(tiles, target, part or tile, BRIDGED)
        heights = mosaic(tiles, lattice, threads)
        filled = _complete(dem, heights, lattice, tile, part or tile, threads)
        notes += filled.notes
        names = tuple(sorted({tile.path.name for tile, _ in tiles}))
        with MemoryFile(ext=".tif") as file:
            _store(file, heights, lattice)
            digest = _digest(heights, lattice)
            del heights
            yield ElevationModel(names, filled.missing, tuple(notes), filled.beyond, digest, lattice, file.name)


def _padded(grid: Grid, margin: int) -> Grid:
    """Return the grid with `margin` more pixels on each side."""
    left, top = grid.left - margin * grid.resolution, grid.top + margin * grid.resolution
    return Grid(grid.epsg, left, top, grid.resolution, grid.width + 2 * margin, grid.height + 2 * margin)


def _tiles(dem: Path, target: Grid) -> tuple[list[tuple[Tile, float]], list[str]]:
    """Return the tiles that touch the target with their turns in longitude, and what is assumed about them."""
    paths, others = candidates(dem)
    if others:
        logger.info("not elevation by their names: %s", ", ".join(path.name for path in others))
    degrees = box_in(target, rasterio.crs.CRS.from_epsg(4326))
    tiles, ignored = [], []
    for path in paths:
        if dem.is_file() or may_touch(path, degrees):
            try:
                tiles.append(open_tile(path))
            except NotElevation as error:
                if len(paths) == 1:
                    raise
                ignored.append(error)
    if ignored and not tiles:
        raise ignored[0]
    boxes = {crs: box_if_any(target, crs) for crs in {tile.crs for tile in tiles}}
    used = [(tile, turn) for tile in tiles for turn in turn_of(tile, boxes[tile.crs])]
    if not used:
        raise _nowhere(dem, tiles)
    notes = [note for tile, _ in used for note in tile.notes]
    if ignored:
        more = f" (and {len(ignored) - 1} more such files)" if len(ignored) > 1 else ""
        notes.append(f"not used as elevation: {str(ignored[0]).split(';')[0]}{more}")
    return used, list(dict.fromkeys(notes))


def _nowhere(dem: Path, tiles: Sequence[Tile] = ()) -> StepError:
    where = ""
    if tiles:
        west, south, east, north = tiles[0].bounds
        crs = tiles[0].crs.to_string()
        where = f" ({tiles[0].path.name} lies at {west:g} to {east:g}, {south:g} to {north:g} in {crs:.60})"
    return StepError(
        f"{dem}: the elevation model does not touch the scene{where}; give one that covers it, or leave `dem` out for "
        "flat terrain at `altitude`"
    )


@dataclass
class _Filled:
    """What was done about voids, as `ElevationModel` tells it."""

    missing: float = 0.0
    beyond: float = math.nan
    notes: list[str] = field(default_factory=list)


def _complete(dem: Path, heights: np.ndarray, lattice: Lattice, tile: Grid, part: Grid, threads: int) -> _Filled:
    """Fill what is no height, in place, and look whether the rest can be heights in metres."""
    from steps.terrain import voids

    filled = _Filled()
    if voids.level_sea(heights):
        filled.notes.append(f"depths of the sea in {dem.name} are taken as sea level")
    if voids.false_zeros(heights, _CLIFF + _STEEP * max(lattice.pixel)):
        filled.notes.append(f"areas of 0 m amid higher ground in {dem.name} are taken as without data")
    void = np.isnan(heights)
    if void.any():
        _fill_voids(dem, heights, void, lattice, tile, part, threads, filled)
    if voids.steepness(heights, lattice.pixel, _SLOPE_BASE) > _STEEPEST:
        raise StepError(
            f"{dem}: most of it is steeper than 45 degrees, so that its heights are in other units than metres or it "
            "is no elevation; convert it, or set the unit or scale of its band"
        )
    different = voids.few(heights, _FEW)
    if different is not None:
        values = " and ".join(f"{value:g}" for value in different)
        filled.notes.append(f"{dem.name} has no other heights than {values} m around the scene")
    return filled


def _fill_voids(dem: Path, heights, void, lattice: Lattice, tile: Grid, part: Grid, threads: int, filled: _Filled):
    """Fill voids in place; raise if too much of the part has no elevation."""
    from steps.terrain import voids

    wanted = _within(lattice, part)
    inside = wanted | _within(lattice, tile)
    void &= inside
    if not np.any(wanted & ~void):
        raise _nowhere(dem)
    at_sea = voids.sea(void, heights, inside & ~void, (2 * BRIDGED / lattice.pixel[0], 2 * BRIDGED / lattice.pixel[1]))
    heights[at_sea] = 0
    land = void & ~at_sea
    if at_sea.any() and not any(edge.any() for edge in (land[0], land[-1], land[:, 0], land[:, -1])):
        filled.beyond = 0.0
    share_at_sea, share = (100 * float(np.mean(mask[wanted])) for mask in (at_sea, land))
    if share <= MOST_BRIDGED:
        voids.bridge(heights, land, lattice.pixel, BRIDGED, threads)
    if share > MOST_BRIDGED or np.isnan(heights[wanted]).any():
        raise StepError(
            f"{dem}: {share:.3f} % of the scene has no elevation, too much to fill in from around, and the model does "
            f"not end at the sea there; {_REMEDY}"
        )
    filled.missing = share_at_sea + share
    filled.notes += _notes(dem, share_at_sea, share)


def _notes(dem: Path, at_sea: float, bridged: float) -> list[str]:
    notes = []
    if at_sea > 0:
        notes.append(f"{at_sea:.3f} % of the scene has no elevation in {dem.name} and is taken as sea level")
    if bridged > 0:
        notes.append(f"{bridged:.3f} % of the scene has no elevation in {dem.name} and is filled in from around")
    return notes


def _within(lattice: Lattice, grid: Grid) -> np.ndarray:
    """Return which pixels of the lattice a grid touches."""
    from rasterio.features import geometry_mask
    from rasterio.warp import transform

    share = np.linspace(0, 1, 50)
    ends = np.zeros(50), np.ones(50)
    across = np.concatenate([share, ends[1], share[::-1], ends[0]])
    down = np.concatenate([ends[0], share, ends[1], share[::-1]])
    x = grid.left + across * grid.width * grid.resolution
    y = grid.top - down * grid.height * grid.resolution
    x, y = (np.array(v) for v in transform(f"EPSG:{grid.epsg}", lattice.crs, x, y))
    if lattice.crs.is_geographic:  # beside the lattice, which may go on beyond 180 degrees
        middle = lattice.left + lattice.width / 2 * lattice.dx
        x += 360 * np.round((middle - x) / 360)
    ring = {"type": "Polygon", "coordinates": [np.column_stack([x, y]).tolist()]}
    shape = lattice.height, lattice.width
    return geometry_mask([ring], shape, lattice.transform, all_touched=True, invert=True)


def _digest(heights: np.ndarray, lattice: Lattice) -> str:
    digest = hashlib.blake2b(f"{lattice.crs.to_wkt()} {tuple(lattice.transform)} {heights.shape}".encode())
    digest.update(np.ascontiguousarray(heights).data)
    return digest.hexdigest()


def _store(file: MemoryFile, heights: np.ndarray, lattice: Lattice) -> None:
    profile = {"driver": "GTiff", "width": lattice.width, "height": lattice.height, "count": 1, "dtype": "float32"}
    options = {"tiled": True, "bigtiff": "if_safer", "nodata": np.nan, "transform": lattice.transform}
    with file.open(**profile, **options) as raster:
        raster.write(heights, 1)


def _virtual(file: str, lattice: Lattice, target: Grid) -> str:
    """Return a virtual raster of the part of the lattice that a grid needs, as GDAL's VRT XML."""
    crs, dx, dy = lattice.crs, lattice.dx, lattice.dy
    west, south, east, north = box_in(target, crs)
    # Grown by the reach of the interpolation.
    column, row = math.floor((west - lattice.left) / dx) - 8, math.floor((lattice.top - north) / dy) - 8
    left, top = lattice.left + column * dx, lattice.top - row * dy
    width, height = int((east - left) / dx) + 8, int((top - south) / dy) + 8
    # Over the date line longitudes go on beyond 180 degrees, here and in the projection.
    projection = crs.to_proj4() + " +lon_wrap=180" if crs.is_geographic and east > 180 else crs.to_wkt()
    size = f'xSize="{lattice.width}" ySize="{lattice.height}"'
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(projection)}</SRS>'
        f"<GeoTransform>{left!r},{dx!r},0,{top!r},0,{-dy!r}</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"><NoDataValue>nan</NoDataValue><ComplexSource>'
        f'<SourceFilename relativeToVRT="0">{file}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{-column}" yOff="{-row}" {size}/><NODATA>nan</NODATA>'
        "</ComplexSource></VRTRasterBand></VRTDataset>"
    )


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
            nodata=float("nan"),
            dtype="float32",
            tolerance=0.01,
        ) as result:
            yield result
