"""Elevation, slope, aspect, solar incidence, cast shadow and sky view of the ground."""

import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from steps.core.cli import cli
from steps.core.code import code_digest
from steps.core.parallel import workers
from steps.core.rasters import BLOCK, Grid, create, read, read_bands, row_blocks
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import TERRAIN, TERRAIN_SCALES
from steps.sentinel2.scene import Scene
from steps.terrain.elevation import ElevationModel, elevation_model
from steps.terrain.horizon import DIRECTIONS, LINES, add_sky, cast_shadow, cell_heights
from steps.terrain.illumination import at_pixels, gradient, slope_aspect_incidence
from steps.terrain.kept import KeptShape

logger = logging.getLogger(__name__)

#: A tile has relief if its highest and lowest points differ by this much, m.
RELIEF = 50
#: The surroundings matter as far as a mountain of the scene's relief throws shadow under a sun 8 degrees high, this
#: many times its height (where it hides less than 1 % of the sky), and at most so far, m.
_REACH = 7
_FARTHEST = 10_000
#: The direction of the sun is interpolated between nodes so far apart, m: a divisor of `steps.l1c.roi.ALIGNMENT`.
_SUN_NODES = 960
_LIE = ("slope", "cos_incidence", "sky_view", "cast_shadow")


def run(
    metadata: Path,
    angles: Path,
    terrain_10m: Path | None,
    terrain_20m: Path,
    terrain_60m: Path | None,
    terrain_80m: Path,
    dem: Path | None = None,
    altitude: float = 0.0,
    threads: int = 1,
) -> None:
    """Describe the ground at 10, 20, 60 and 80 m: elevation, slope, aspect, solar incidence, cast shadow, sky view.

    Cast shadow and sky view of 10 m are those of 20 m; pixels of 60 m lie and are lit as those of 20 m are in the mean.
    Elevation and sky view are kept in the cache folder for the next product of the same tile and elevation model.

    Parameters
    ----------
    metadata, angles
        The scene and its sun angles.
    terrain_10m, terrain_20m, terrain_60m, terrain_80m
        The rasters to write, those of 10 and 60 m if they are wanted; that of 80 m is of the whole tile. Tags tell
        elevation_min, elevation_max, elevation_mean (m), of the whole tile tile_elevation_mean and `relief` (yes or
        no), `dem` (names of the files used), `missing_percent` and `default` (what was assumed).
    dem
        Elevation model: a raster, a VRT or a folder of tiles. None: flat terrain at `altitude`.
    altitude
        Elevation of the flat terrain, m.
    threads
        Threads to use.

    Raises
    ------
    StepError
        If the elevation model cannot be used or does not touch the scene.
    """
    scene, angle_grid = Scene.read(metadata), AngleGrid(angles)
    rasters = ((terrain_20m, 20), (terrain_10m, 10), (terrain_60m, 60))
    wanted = [(path, scene.grid.at(size)) for path, size in rasters if path]
    outputs, grids = zip(*wanted, (terrain_80m, scene.overview), strict=True)
    suns = [_Sun(angle_grid, grid) for grid in grids]
    if dem is None:
        default = f"no elevation model: flat terrain at {altitude:g} m"
        logger.warning("%s", default)
        for path, grid, sun in zip(outputs, grids, suns, strict=True):
            _write_flat(path, grid, sun, altitude, default)
        return
    with elevation_model(dem, scene.overview, _FARTHEST, scene.roi or scene.whole, threads) as model:
        for note in model.notes:
            logger.warning("%s", note)
        code = code_digest("steps.dem"), rasterio.__version__, rasterio.__gdal_version__
        shape = KeptShape(model.digest, model.beyond, scene.whole, scene.grid, *code)
        ground = _Ground(model, scene, shape, *_look(model, scene.overview))
        for path, grid, sun in zip(outputs, grids, suns, strict=True):
            _write_relief(path, grid, sun, ground, None if grid.resolution in (20, 80) else terrain_20m, threads)
        shape.used()


@dataclass(frozen=True)
class _Ground:
    """An elevation model, the scene, what is kept of its ground, how far the model matters (m), its level, and tags."""

    model: ElevationModel
    scene: Scene
    shape: KeptShape
    reach: float
    level: float
    tags: dict[str, str]

    def tile(self, grid: Grid) -> Grid:
        """Return the grid of the whole tile that a grid of the scene is a part of."""
        return grid if grid == self.scene.overview else self.scene.whole.at(round(grid.resolution))


def _write_relief(terrain: Path, grid: Grid, sun: "_Sun", ground: _Ground, coarse: Path | None, threads: int) -> None:
    """Write a raster, with what `_lie_from` takes of the raster of 20 m `coarse` where that is given."""
    margin = 1 if coarse else max(1, math.ceil(ground.reach / grid.resolution))
    model, tile = ground.model, ground.tile(grid)
    # The horizon of a part may be anywhere in the tile.
    seen = grid if coarse else tile
    size = round(grid.resolution)

    def known() -> np.ndarray:
        elevation = model.read(seen, margin, tile, threads)
        _fill(elevation, margin, ground.level)
        return elevation

    wide = ground.shape.array(f"elevation_{size}m", known)
    rows, columns = grid.within(seen)
    elevation = wide[rows.start : rows.stop + 2 * margin, columns.start : columns.stop + 2 * margin]
    inside = elevation[margin:-margin, margin:-margin]
    tags: dict[str, Any] = ground.tags | _elevation_tags(
        float(inside.min()), float(inside.max()), float(inside.mean(dtype="f8"))
    )
    tags.update(dem=",".join(model.names), missing_percent=f"{model.missing:.3f}")
    if model.notes:
        tags["default"] = "; ".join(model.notes)
    if coarse:
        lie_at = _lie_from(coarse, grid)
    else:
        corner, near = (rows.start + margin, columns.start + margin), np.ascontiguousarray(elevation)
        sky = ground.shape.array(f"sky_view_{size}m", lambda: _sky_view(near, margin, wide, corner, grid, threads))
        lie_at = _lie(sky, _shadow(near, margin, grid, sun, threads))

    def described(rows: slice) -> dict[str, np.ndarray]:
        around = elevation[rows.start + margin - 1 : rows.stop + margin + 1, margin - 1 : grid.width + margin + 1]
        east, south = gradient(around, grid.resolution)
        sun_east, sun_north = sun.at(rows)
        slope, aspect, cos_incidence = slope_aspect_incidence(east, south, sun_east, sun_north)
        layers = {"elevation": around[1:-1, 1:-1], "slope": slope, "aspect": aspect, "cos_incidence": cos_incidence}
        layers |= lie_at(rows)
        layers["cast_shadow"] |= layers["cos_incidence"] <= 0
        return {band: _stored(band, values) for band, values in layers.items()}

    blocks = list(row_blocks(grid.height))
    with (
        create(terrain, TERRAIN, grid, list(TERRAIN_SCALES), **tags) as raster,
        workers("threads", threads) as run_all,
    ):
        for rows, layers in zip(blocks, run_all(described, blocks), strict=True):
            for band, values in layers.items():
                raster.write(band, values, rows.start)


def _stored(band: str, values: np.ndarray) -> np.ndarray:
    return np.rint(values / np.float32(TERRAIN_SCALES[band])).astype("int16")


def _tile_tags(relief: bool, mean: float) -> dict[str, str]:
    return {"relief": "yes" if relief else "no", "tile_elevation_mean": f"{mean:.2f}"}


def _elevation_tags(lowest: float, highest: float, mean: float) -> dict[str, str]:
    return {
        "elevation_min": f"{lowest:.1f}",
        "elevation_max": f"{highest:.1f}",
        "elevation_mean": f"{mean:.2f}",
    }


class _Sun:
    """Direction of the sun over a grid: tangent of its zenith times sine and cosine of its azimuth."""

    def __init__(self, angles: AngleGrid, grid: Grid):
        self._grid = grid
        self._spacing = round(_SUN_NODES / grid.resolution)
        rows, columns = (np.arange(math.ceil((n - 1) / self._spacing) + 2) * self._spacing for n in grid.shape)
        x = grid.left + (columns + 0.5) * grid.resolution
        y = grid.top - (rows + 0.5) * grid.resolution
        zenith, azimuth = np.radians(angles.sun(*np.meshgrid(x, y)))
        self._east = (np.tan(zenith) * np.sin(azimuth)).astype("f4")
        self._north = (np.tan(zenith) * np.cos(azimuth)).astype("f4")

    def at(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the east and north components of rows of pixels."""
        return self._pixels(self._east, rows), self._pixels(self._north, rows)

    def on_level_ground(self, rows: slice) -> np.ndarray:
        """Return the cosine of the incidence angle on level ground, which is that of the zenith, of rows of pixels."""
        return self._pixels(1 / np.sqrt(1 + self._east**2 + self._north**2), rows)

    def _pixels(self, nodes: np.ndarray, rows: slice) -> np.ndarray:
        return at_pixels(nodes, self._spacing, rows.start, rows.stop - rows.start, self._grid.width)


def _write_flat(terrain: Path, grid: Grid, sun: _Sun, altitude: float, default: str) -> None:
    constant = {"elevation": round(altitude), "slope": 0, "aspect": 0, "sky_view": 10000, "cast_shadow": 0}
    tags = _tile_tags(False, altitude) | _elevation_tags(altitude, altitude, altitude)
    with create(terrain, TERRAIN, grid, list(TERRAIN_SCALES), compress=True, default=default, **tags) as raster:
        for band, value in constant.items():
            block = np.full((BLOCK, grid.width), value, np.int16)
            for rows in row_blocks(grid.height):
                raster.write(band, block[: rows.stop - rows.start], rows.start)
        for rows in row_blocks(grid.height):
            raster.write("cos_incidence", _stored("cos_incidence", sun.on_level_ground(rows)), rows.start)


def _look(model: ElevationModel, tile: Grid) -> tuple[float, float, dict[str, str]]:
    """Return how far around a pixel (m) the ground matters, its level where it is unknown, and tags of a tile."""
    step = 200
    columns, rows = (math.ceil(n * tile.resolution / step) for n in (tile.width, tile.height))
    margin = _FARTHEST // step
    around = model.read(Grid(tile.epsg, tile.left, tile.top, step, columns, rows), margin)
    inside = around[margin:-margin, margin:-margin]
    difference, relief = (float(np.nanmax(v) - np.nanmin(v)) for v in (around, inside))
    mean = float(np.nanmean(np.where(np.isnan(inside), model.beyond, inside), dtype="f8"))
    level = mean if math.isnan(model.beyond) else model.beyond
    return min(_FARTHEST, difference * _REACH), level, _tile_tags(relief >= RELIEF, mean)


def _fill(elevation: np.ndarray, margin: int, level: float) -> None:
    """Put a level where a tile around a region has no elevation, and nothing that could be a horizon around.

    Beside its border the scene goes on level, so that a model cut to the scene makes no slopes there.
    """
    inside = elevation[margin:-margin, margin:-margin]
    inside[np.isnan(inside)] = level
    near = elevation[margin - 1 : 1 - margin or None, margin - 1 : 1 - margin or None]
    for ring, border in (
        (near[:, 0], near[:, 1]),
        (near[:, -1], near[:, -2]),
        (near[0], near[1]),
        (near[-1], near[-2]),
    ):
        np.copyto(ring, border, where=np.isnan(ring))
    np.copyto(elevation, inside.min(), where=np.isnan(elevation))


def _lie(sky_view: np.ndarray, shadow: np.ndarray) -> Callable:
    """Return a function of rows that gives sky view (0-1) and cast shadow, from the stored numbers of the former."""
    return lambda rows: {
        "sky_view": sky_view[rows] * np.float32(TERRAIN_SCALES["sky_view"]),
        "cast_shadow": shadow[rows],
    }


def _shadow(elevation: np.ndarray, margin: int, grid: Grid, sun, threads: int) -> np.ndarray:
    """Search the way to the sun from each pixel; return cast shadow."""
    shadow = np.empty(grid.shape, bool)
    cells = cell_heights(elevation)

    def cast(rows: slice) -> None:
        east, north = sun.at(rows)
        cast_shadow(elevation, cells, margin, grid.resolution, east, north, rows.start, shadow[rows])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(cast, row_blocks(grid.height)))
    return shadow


def _sky_view(elevation: np.ndarray, margin: int, wide, corner: tuple[int, int], grid: Grid, threads) -> np.ndarray:
    """Search the horizons in `wide`, in which the pixels begin at `corner`; return stored numbers of the sky view."""
    near = slice(margin - 1, 1 - margin or None)
    east, south = gradient(elevation[near, near], grid.resolution)
    steps = range(-(DIRECTIONS // 8), DIRECTIONS // 4 - DIRECTIONS // 8)
    sky = np.zeros(grid.shape, np.float32)
    with ThreadPoolExecutor(threads) as pool:
        for angle in steps:
            _sweep(pool, wide, east, south, corner, grid.resolution, angle + 1, sky)
        # The other half of the directions are nearer to the columns than to the rows.
        wide, east, south = (np.ascontiguousarray(a.T) for a in (wide, east, south))
        turned = np.ascontiguousarray(sky.T)
        for angle in steps:
            _sweep(pool, wide, south, east, corner[::-1], grid.resolution, angle, turned)
    sky = turned.T / (np.sqrt(1 + east.T**2 + south.T**2) * DIRECTIONS)
    return _stored("sky_view", sky)


def _sweep(pool, elevation, along, across, corner, pixel: float, angle: int, sky: np.ndarray) -> None:
    """Add the sky seen along lines that rise `angle` steps of the circle from the rows."""
    shear = round(math.tan(2 * math.pi * angle / DIRECTIONS), 12)
    ends = sorted(math.floor(shear * column) for column in (corner[1], corner[1] + sky.shape[1] - 1))
    lines = range(corner[0] - ends[1], corner[0] + sky.shape[0] - ends[0])

    def add(first: int) -> None:
        last = min(first + LINES, lines.stop)
        add_sky(elevation, along, across, corner, pixel, shear, first, last, sky)

    list(pool.map(add, lines[::LINES]))


def _lie_from(coarse: Path, grid: Grid) -> Callable:
    """Return a function of rows that gives how pixels of 10 or 60 m lie by the raster of 20 m: layers by name.

    Those of 10 m get its sky view and cast shadow. Those of 60 m see what their parts throw back together, so they have
    the means of the cosines of slopes and of incidence, where that is 0 in shadow. On slopes that are smoothed instead
    reflectance is wrong by twice as much.
    """
    n = round(max(grid.resolution / 20, 20 / grid.resolution))
    cosine = np.cos(np.radians(np.arange(90 / TERRAIN_SCALES["slope"] + 1) * TERRAIN_SCALES["slope"])).astype("f4")

    def finer(rows: slice) -> dict[str, np.ndarray]:
        part = slice(rows.start // n, -(-rows.stop // n))
        sky_view, shadow = (
            read(coarse, TERRAIN, band, part).repeat(n, 0).repeat(n, 1)[: rows.stop - rows.start, : grid.width]
            for band in ("sky_view", "cast_shadow")
        )
        return {"sky_view": sky_view * np.float32(TERRAIN_SCALES["sky_view"]), "cast_shadow": shadow > 0}

    def coarser(rows: slice) -> dict[str, np.ndarray]:
        part = slice(rows.start * n, rows.stop * n)
        slope, incidence, sky_view, shadow = read_bands(coarse, TERRAIN, _LIE, part)
        incidence[shadow > 0] = 0
        shape = (rows.stop - rows.start, n, grid.width, n)
        upright, lit, sky_view = (
            layer.reshape(shape).mean((1, 3), dtype="f4") for layer in (cosine[slope], incidence, sky_view)
        )
        return {
            "slope": np.degrees(np.arccos(np.minimum(upright, 1))),
            "cos_incidence": lit * np.float32(TERRAIN_SCALES["cos_incidence"]),
            "sky_view": sky_view * np.float32(TERRAIN_SCALES["sky_view"]),
            "cast_shadow": lit <= 0,
        }

    return finer if grid.resolution < 20 else coarser


if __name__ == "__main__":
    cli(run)
