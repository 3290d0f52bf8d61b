"""Tiles of an elevation model on one pixel lattice, whatever their projections, and whether they agree."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.terrain.tiles import Tile

#: No place on Earth is higher, and no sea deeper, m.
HIGHEST = 9000
_DEEPEST = -11_500
#: Of more different impossible heights than the first, in a larger share than the second, no void is the reason.
_VALUES = 20
_SHARE = 0.01
#: Tiles may differ by the first (m) and by the second times the coarser one's pixel: by datum, canopy and slope.
_DIFFERENCE = 30
_SLOPE = 0.5
#: The lattice has at most so many pixels (float32); a finer model is averaged.
_MOST_PIXELS = 180_000_000
#: Rows and columns of the lattice read at a time, as pixels of a tile.
_PART = 2048


@dataclass(frozen=True)
class Lattice:
    """North-up pixels in the projection of a model; in degrees the east goes on beyond 180 over the date line."""

    crs: CRS
    left: float
    top: float
    dx: float
    dy: float
    width: int
    height: int

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) to map coordinates."""
        return Affine(self.dx, 0, self.left, 0, -self.dy, self.top)

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel, m."""
        if not self.crs.is_geographic:
            unit = self.crs.linear_units_factor[1]
            return self.dy * unit, self.dx * unit
        middle = math.radians(self.top - self.height / 2 * self.dy)
        return self.dy * 111_000, self.dx * 111_000 * max(math.cos(middle), 0.01)

    def bounds(self, rows: slice, columns: slice) -> tuple[float, float, float, float]:
        """Return west, south, east and north of a part, in units of the projection."""
        west, east = (self.left + self.dx * n for n in (columns.start, columns.stop))
        north, south = (self.top - self.dy * n for n in (rows.start, rows.stop))
        return west, south, east, north

    def part(self, bounds: Sequence[float], grown: int = 0) -> tuple[slice, slice]:
        """Return the rows and columns that touch a box (west, south, east, north), and `grown` more on each side."""
        west, south, east, north = bounds
        rows = math.floor((self.top - north) / self.dy + 1e-6), math.ceil((self.top - south) / self.dy - 1e-6)
        columns = math.floor((west - self.left) / self.dx + 1e-6), math.ceil((east - self.left) / self.dx - 1e-6)
        down, across = (
            slice(min(max(a - grown, 0), n), max(min(b + grown, n), 0))
            for (a, b), n in ((rows, self.height), (columns, self.width))
        )
        return down, across


def box_in(grid: Grid, crs: CRS) -> tuple[float, float, float, float]:
    """Return a grid's bounds as `box_if_any`; ValueError: it has no place in the projection."""
    if (box := box_if_any(grid, crs)) is None:
        raise ValueError(f"{crs.to_string()} has no place for the grid")
    return box


def box_if_any(grid: Grid, crs: CRS) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a grid in another projection, in its units; None where it has no place.

    The east may be over 180 degrees.
    """
    right, bottom = grid.left + grid.width * grid.resolution, grid.top - grid.height * grid.resolution
    try:
        west, south, east, north = transform_bounds(f"EPSG:{grid.epsg}", crs, grid.left, bottom, right, grid.top)
    except RasterioError:
        return None
    if not np.isfinite((west, south, east, north)).all():
        return None
    return west, south, east + 360 * (east < west), north


def turn_of(tile: Tile, box: Sequence[float] | None) -> list[float]:
    """Return by how many degrees (0, and -360 or 360 over the date line) a tile has to be moved to touch the box."""
    if box is None:
        return []
    west, south, east, north = tile.bounds
    reach = 4 * max(abs(v) for v in (tile.transform.a, tile.transform.b, tile.transform.d, tile.transform.e))
    if not (south < box[3] + reach and north > box[1] - reach):
        return []
    turns = (-360, 0, 360) if tile.crs.is_geographic else (0,)
    return [turn for turn in turns if west + turn < box[2] + reach and east + turn > box[0] - reach]


def lattice_of(tiles: Sequence[tuple[Tile, float]], target: Grid, part: Grid, around: float) -> Lattice:
    """Return the lattice of the finest tile: over the target, as far as `around` (m) beside the tiles or the part."""
    tile, turn = min(tiles, key=lambda pair: (not pair[0].regular, round(pair[0].step, 3), abs(pair[0].transform.a)))
    crs, t = tile.crs, tile.transform
    west, south, east, north = box_in(target, crs)
    dx, dy = (t.a, -t.e) if tile.regular else (math.hypot(t.a, t.d), math.hypot(t.b, t.e))
    grow = max(1.0, math.sqrt((east - west) / dx * ((north - south) / dy) / _MOST_PIXELS))
    dx, dy = dx * grow, dy * grow
    # Snapped to the tile's pixels, and grown by the reach of interpolation.
    first = math.floor((west - t.c - turn) / dx) - 8, math.floor((t.f - north) / dy) - 8
    whole = Lattice(
        crs, t.c + turn + first[0] * dx, t.f - first[1] * dy, dx, dy,
        int((east - west) / dx) + 16, int((north - south) / dy) + 16,
    )  # fmt: skip
    bounds = [box_in(part, crs), *(_bounds_in(tile, turn, crs) for tile, turn in tiles)]
    union = *np.min(bounds, axis=0)[:2], *np.max(bounds, axis=0)[2:]
    rows, columns = whole.part(union, math.ceil(around / min(whole.pixel)))
    west, _, _, north = whole.bounds(rows, columns)
    return Lattice(crs, west, north, dx, dy, columns.stop - columns.start, rows.stop - rows.start)


def _bounds_in(tile: Tile, turn: float, crs: CRS) -> tuple[float, float, float, float]:
    west, south, east, north = tile.bounds
    if tile.crs == crs:
        return west + turn, south, east + turn, north
    return transform_bounds(tile.crs, crs, west, south, east, north)


def mosaic(tiles: Sequence[tuple[Tile, float]], lattice: Lattice, threads: int) -> np.ndarray:
    """Return the heights (m, float32, NaN where there are none) of the tiles on a lattice; the finest come first.

    Raises
    ------
    StepError
        If the heights of a tile cannot be metres, or tiles do not agree where they overlap or meet.
    """
    heights = np.full((lattice.height, lattice.width), np.nan, np.float32)
    for number, (tile, turn) in enumerate(sorted(tiles, key=lambda pair: (round(pair[0].step, 3), pair[0].path))):
        rows, columns = lattice.part(_bounds_in(tile, turn, lattice.crs))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        new = _on_lattice(tile, turn, lattice, (rows, columns), threads)
        if number:
            _check_agreement(tile, heights, new, (rows, columns), max(tile.step, *lattice.pixel))
        old = heights[rows, columns]
        np.copyto(old, new, where=np.isnan(old))
    return heights


def _on_lattice(tile: Tile, turn: float, lattice: Lattice, part: tuple[slice, slice], threads: int) -> np.ndarray:
    result = np.empty([s.stop - s.start for s in part], np.float32)
    coarser = max(1.0, min(lattice.pixel) / tile.step)
    step = max(64, round(_PART / coarser))
    corners = [(row, column) for row in range(0, result.shape[0], step) for column in range(0, result.shape[1], step)]

    def one(corner: tuple[int, int]) -> None:
        inner = [slice(c, min(c + step, n)) for c, n in zip(corner, result.shape, strict=True)]
        rows, columns = (slice(s.start + p.start, s.stop + p.start) for s, p in zip(inner, part, strict=True))
        result[*inner] = _block(tile, turn, lattice, (rows, columns))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, corners))
    return result


def _block(tile: Tile, turn: float, lattice: Lattice, block: tuple[slice, slice]) -> np.ndarray:
    shape = tuple(s.stop - s.start for s in block)
    result = np.full(shape, np.nan, np.float32)
    t = Affine.translation(turn, 0) @ tile.transform
    offset = _offset(tile, t, lattice)
    bounds = lattice.bounds(*block)
    if offset is None and tile.crs != lattice.crs:
        bounds = transform_bounds(lattice.crs, tile.crs, *bounds)
    if offset is None:
        corners = np.array([~t @ (x, y) for x in bounds[::2] for y in bounds[1::2]])
        first, last = np.floor(corners.min(axis=0)) - 3, np.ceil(corners.max(axis=0)) + 3
    else:
        first, last = (np.array([getattr(s, end) for s in block[::-1]]) - offset for end in ("start", "stop"))
    size = tile.width, tile.height
    columns, rows = (slice(int(max(a, 0)), int(min(b, n))) for a, b, n in zip(first, last, size, strict=True))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return result
    values = _plausible(tile, tile.read(rows, columns))
    if offset is not None:
        row, column = rows.start + offset[1] - block[0].start, columns.start + offset[0] - block[1].start
        result[row : row + values.shape[0], column : column + values.shape[1]] = values
        return result
    reproject(
        values,
        result,
        src_transform=t @ Affine.translation(columns.start, rows.start),
        src_crs=tile.crs,
        src_nodata=np.nan,
        dst_transform=lattice.transform @ Affine.translation(block[1].start, block[0].start),
        dst_crs=lattice.crs,
        dst_nodata=np.nan,
        resampling=Resampling.average if min(lattice.pixel) > 1.5 * tile.step else Resampling.bilinear,
    )
    return result


def _offset(tile: Tile, t: Affine, lattice: Lattice) -> np.ndarray | None:
    """Return the column and row of the lattice at which the pixels of a tile begin, None if they are not the same."""
    if tile.crs != lattice.crs or not tile.regular:
        return None
    if not np.allclose((t.a, -t.e), (lattice.dx, lattice.dy), rtol=1e-3 / max(tile.width, tile.height), atol=0):
        return None
    offset = np.array([(t.c - lattice.left) / lattice.dx, (lattice.top - t.f) / lattice.dy])
    whole = np.rint(offset)
    return whole.astype(int) if np.abs(offset - whole).max() < 0.01 else None


def _plausible(tile: Tile, heights: np.ndarray) -> np.ndarray:
    """Make NaN, in place, of what is no height on Earth; raise if that is no void but another unit."""
    impossible = (heights > HIGHEST) | (heights < _DEEPEST)
    count = np.count_nonzero(impossible)
    if count:
        found = heights[impossible]
        if count > _SHARE * np.count_nonzero(~np.isnan(heights)) and np.unique(found).size > _VALUES:
            raise StepError(
                f"{tile.path}: has heights from {found.min():.0f} to {found.max():.0f}, and {HIGHEST} m is the highest "
                "on Earth: it is in other units than metres, or no elevation; convert it with gdal_calc, or set the "
                "unit or scale of its band"
            )
        heights[impossible] = np.nan
    return heights


def _check_agreement(tile: Tile, heights: np.ndarray, new: np.ndarray, part: tuple[slice, slice], step: float) -> None:
    """Raise if a tile differs from those before it where they overlap or meet by more than their pixels explain."""
    grown = tuple(slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(part, heights.shape, strict=True))
    old = heights[grown]
    known = ~np.isnan(old)
    if not known.any():
        return
    mine = np.full(old.shape, np.nan, np.float32)
    mine[tuple(slice(s.start - g.start, s.stop - g.start) for s, g in zip(part, grown, strict=True))] = new
    both = np.abs(old[::3, ::3] - mine[::3, ::3])
    added = ~known & ~np.isnan(mine)
    merged = np.where(known, old, mine)
    steps = []
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        seam = (added[first] & known[second]) | (known[first] & added[second])
        steps.append(np.abs(merged[first][seam] - merged[second][seam]))
    for differences, where in ((both[~np.isnan(both)], "overlap"), (np.concatenate(steps), "meet")):
        median = float(np.median(differences)) if differences.size >= 20 else 0.0
        if median > _DIFFERENCE + _SLOPE * step:
            raise StepError(
                f"{tile.path}: differs by {median:.0f} m from the other files of the elevation model where they {where}"
                ", so that one of them is no elevation in metres; take that away"
            )
