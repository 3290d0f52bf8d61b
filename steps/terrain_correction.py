"""Correct surface reflectance for the light that slopes really get."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from steps.atmosphere.lut import LookUpTable, table_of
from steps.atmosphere.relief import SCALE_HEIGHT, Mesh, thinned
from steps.atmosphere.scene import evaluator
from steps.atmosphere.sky import sky_terms
from steps.classification.classes import is_one_of
from steps.core.cli import cli
from steps.core.documents import read_document, write_document
from steps.core.errors import StepError
from steps.core.mesh import nearest_indices
from steps.core.parallel import Backend, RunAll, workers
from steps.core.rasters import Grid, bands_of, create, grid_of, read, read_bands, row_blocks, tags_of, write
from steps.core.resampling import block_mean
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import native_bands
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, GAIN, TERRAIN, UNROUNDED_BOA
from steps.sentinel2.reports import CorrectedRaster, SceneMeans, TerrainReport
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUD_HIGH, CLOUD_MEDIUM
from steps.terrain.correction import Light, correct_terrain

logger = logging.getLogger(__name__)

#: Pixels between the nodes at which the atmosphere is computed, 1.92 km; see `steps.atmosphere.relief.CELL`.
CELL = {10: 192, 20: 96, 60: 32}
#: Slopes in view lie in a square of this side around a pixel, made of cells of this side, m.
_AROUND = 1020
_CELL = 60
#: Least range of elevation between which the sky is taken to change linearly, km.
_LEAST_RANGE = 0.2
_GROUND = ("elevation", "slope", "cos_incidence", "sky_view", "cast_shadow")


def run(
    boa: list[Path],
    terrain: list[Path],
    classification: Path,
    metadata: Path,
    angles: Path,
    aot: Path,
    aerosol_model: Path,
    scene_means: Path,
    corrected: list[Path],
    report: Path,
    gain: list[Path] | None = None,
    correction: Literal["auto", "always"] = "auto",
    min_cos_incidence: float = 0.08,
    threads: int = 1,
    backend: Backend = "threads",
    scheduler: str = "local",
) -> None:
    """Correct surface reflectance for slope, shadow, visible sky and the light of the slopes around.

    Flat-terrain reflectance is divided by the irradiance of the ground as it lies relative to level open ground. Clouds
    are left as they are.

    Parameters
    ----------
    boa
        Surface reflectance over flat terrain, unrounded, a raster for each pixel size.
    terrain
        Terrain rasters of the same grids, in the same order.
    classification
        Scene classification at 20 m.
    metadata, angles, aot, aerosol_model
        The scene, its sun angles, its aerosol at 20 m, and its aerosol model.
    scene_means
        `SceneMeans`, means and ranges of the whole tile.
    corrected
        The reflectance rasters to write, in the order of `boa`.
    report
        Output: `TerrainReport`.
    gain
        If wanted: what reflectance was multiplied with, in the order of `boa`, for the uncertainty.
    correction
        auto: only if the terrain raster says that there is relief; otherwise `boa` is only rounded.
    min_cos_incidence
        Lower limit of the cosine of the incidence angle in sunlight, and of the irradiance relative to level ground
        in shadow: reflectance grows at most by its reciprocal.
    threads, backend, scheduler
        Workers, see `steps.core.parallel.workers`.

    Raises
    ------
    StepError
        If the correction is demanded and there is no elevation model.
    """
    gains: Sequence[Path | None] = gain or [None] * len(boa)
    rasters = list(zip(boa, terrain, corrected, gains, strict=True))
    chosen = [correction == "always" or tags_of(path, TERRAIN)["relief"] != "no" for path in terrain]
    for path in terrain if correction == "always" else ():
        if "dem" not in tags_of(path, TERRAIN):
            raise StepError(
                f"{path}: terrain correction is `on` without an elevation model; give `dem` or set it `auto`"
            )
    tile = None
    if any(chosen):
        tile = _tile_of(classification, metadata, angles, aot, table_of(aerosol_model), scene_means)
    with workers(backend, threads, scheduler) as run_all:
        reports = tuple(
            _corrected(*files, tile, min_cos_incidence, run_all) if tile and is_chosen else _rounded(*files)
            for files, is_chosen in zip(rasters, chosen, strict=True)
        )
    write_document(report, TerrainReport(min_cos_incidence, reports))


class _Tile(NamedTuple):
    """What the correction takes from a scene, whatever the pixel size.

    Attributes
    ----------
    scene, angles, table
        The scene, its angles, and the look-up table of its aerosol.
    aot
        Stored aerosol optical thickness at 20 m.
    cloud, classified
        Where clouds hide the ground, and the grid of that.
    sky
        See `_sky_over`.
    """

    scene: Scene
    angles: AngleGrid
    table: LookUpTable
    aot: np.ndarray
    cloud: np.ndarray
    classified: Grid
    sky: tuple[float, float, tuple[float, float]]


def _tile_of(
    classification: Path, metadata: Path, angles: Path, aot: Path, table: LookUpTable, scene_means: Path
) -> _Tile:
    scene, angle_grid = Scene.read(metadata), AngleGrid(angles)
    return _Tile(
        scene,
        angle_grid,
        table,
        read(aot, AOT, AOT.name),
        is_one_of(read(classification, CLASSIFICATION, "SCL"), (CLOUD_MEDIUM, CLOUD_HIGH)),
        grid_of(classification, CLASSIFICATION),
        _sky_over(scene, angle_grid, read_document(scene_means, SceneMeans)),
    )


def _corrected(
    boa: Path, terrain: Path, corrected: Path, gain: Path | None, tile: _Tile, limit: float, run_all: RunAll
) -> CorrectedRaster:
    """Correct one raster; return what there is to tell."""
    grid = grid_of(boa, BOA)
    resolution = round(grid.resolution)
    if grid_of(terrain, TERRAIN) != grid:
        raise StepError(f"{terrain}: its pixel grid is not that of {boa}; run the stage that makes it again")
    mesh = Mesh(grid, CELL[resolution])
    atmosphere = _atmosphere_nodes(mesh, terrain, tile.aot)
    bands, blocks = bands_of(boa, BOA), list(row_blocks(grid.height))
    parts = run_all(_field, bands, boa, mesh, tile.angles, atmosphere, tile.sky, tile.table, tile.scene)
    nodes, sky, around = (np.stack(part) for part in zip(*parts, strict=True))
    light = Light(nodes, CELL[resolution], sky, around, _CELL // resolution)
    in_classes, counts = nearest_indices(tile.cloud.shape, *tile.classified.positions(grid)), []
    gained = _gained(bands, resolution)
    with contextlib.ExitStack() as stack:
        raster = stack.enter_context(create(corrected, BOA, grid, bands))
        gains = stack.enter_context(create(gain, GAIN, grid, gained)) if gain else None
        results = run_all(_correct, blocks, boa, terrain, tile.cloud, in_classes, light, limit, bool(gain))
        for rows, (block, more, count) in zip(blocks, results, strict=True):
            for k, band in enumerate(bands):
                raster.write(band, block[k], rows.start)
                if gains and band in gained:
                    gains.write(band, more[k], rows.start)
            counts.append(count)
    valid, shaded, limited = np.sum(counts, axis=0).T
    return CorrectedRaster(
        resolution,
        applied=True,
        shadow_percent=round(100 * float(shaded[0] / max(valid[0], 1)), 3),
        limited_percent={band: round(100 * float(limited[k] / max(valid[k], 1)), 3) for k, band in enumerate(bands)},
    )


def _gained(bands: Sequence[str], resolution: int) -> list[str]:
    """Return the bands of which the gain is wanted: those whose pixels are finest there."""
    return [band for band in native_bands(resolution) if band in bands]


def _rounded(boa: Path, _terrain: Path, corrected: Path, gain: Path | None) -> CorrectedRaster:
    """Write reflectance as it is, rounded, and a gain of 1 if wanted; return what there is to tell."""
    logger.info("no relief: reflectance stays as it is")
    bands, grid = bands_of(boa, BOA), grid_of(boa, BOA)
    with create(corrected, BOA, grid, bands) as raster:
        for rows in row_blocks(grid.height):
            for band, values in zip(bands, read_bands(boa, BOA, bands, rows), strict=True):
                raster.write(band, values, rows.start)
    if gain:
        one = np.full(grid.shape, round(1 / GAIN.scale), GAIN.dtype)
        write(gain, GAIN, grid, dict.fromkeys(_gained(bands, round(grid.resolution)), one))
    return CorrectedRaster(round(grid.resolution), applied=False)


def _atmosphere_nodes(mesh: Mesh, terrain: Path, aot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return three elevations (km) that span the relief around each node, and the aerosol above them."""
    relief = mesh.elevation(read(terrain, TERRAIN, "elevation"))
    low, high = relief.elevation_nodes[0], relief.elevation_nodes[-1]
    elevation_nodes = np.stack([low, (low + high) / 2, high])
    aerosol = mesh.at_sea_level(aot, 20, relief) * AOT.scale
    return elevation_nodes, thinned(aerosol, elevation_nodes)


def _sky_over(scene: Scene, angles: AngleGrid, means: SceneMeans) -> tuple[float, float, tuple[float, float]]:
    """Return the sun zenith, aerosol above sea level and range of elevation (km) for which a tile's sky is computed."""
    tile = scene.whole
    middle = tile.left + tile.width * tile.resolution / 2, tile.top - tile.height * tile.resolution / 2
    sun_zenith, _ = angles.sun(*(np.array([[v]]) for v in middle))
    at_sea_level = means.aot550.mean * np.exp(means.elevation_km.mean / SCALE_HEIGHT)
    low, high = means.elevation_km.lowest, max(means.elevation_km.highest, means.elevation_km.lowest + _LEAST_RANGE)
    return float(sun_zenith[0, 0]), float(at_sea_level), (low, high)


def _field(
    band: str,
    boa: Path,
    mesh: Mesh,
    angles: AngleGrid,
    atmosphere: tuple[np.ndarray, np.ndarray],
    sky: tuple[float, float, tuple[float, float]],
    table: LookUpTable,
    scene: Scene,
):
    """Return the nodes' numbers, the terms of the sky and the surroundings' reflectance of one band."""
    nodes = _nodes(mesh, angles, *atmosphere, evaluator(table, scene, band))
    low, high = sky_terms(table, scene.bands[band].response, *sky)
    slope = (high - low) / (1000 * (sky[2][1] - sky[2][0]))
    terms = np.array([low - slope * 1000 * sky[2][0], slope], "f4")
    return nodes, terms, _surroundings(boa, band, round(mesh.grid.resolution))


def _nodes(
    mesh: Mesh, angles: AngleGrid, elevation_nodes: np.ndarray, aot550: np.ndarray, evaluate: Callable
) -> np.ndarray:
    """Return the numbers that `correct_terrain` wants at the nodes, for one band."""
    sun_zenith, _ = angles.sun(*np.meshgrid(mesh.x, mesh.y))
    atmosphere = evaluate(sun_zenith, 0.0, 0.0, elevation_nodes, aot550, 0.0)
    terms = [np.cos(np.radians(sun_zenith))]
    low, middle, high = elevation_nodes * 1000
    step = middle - low
    for a, b, c in (atmosphere.transmittance_down, atmosphere.direct_down, atmosphere.spherical_albedo):
        # The parabola through the values at the three elevations, in powers of the elevation.
        slope, bend = (c - a) / (2 * step), (a + c - 2 * b) / (2 * step**2)
        terms += [b - slope * middle + bend * middle**2, slope - 2 * bend * middle, bend]
    return np.stack(terms, axis=-1).astype("f4")


def _surroundings(boa: Path, band: str, resolution: int) -> np.ndarray:
    """Return the mean reflectance in the square around each cell of `_CELL` m, float32."""
    from scipy.ndimage import uniform_filter

    stored = block_mean(read(boa, BOA, band), _CELL // resolution)
    known = (stored > 0).astype("f4")
    reflectance = (stored * np.float32(BOA.scale) + np.float32(BOA.offset)) * known
    total, share = (uniform_filter(a, _AROUND // _CELL, mode="constant") for a in (reflectance, known))
    return np.divide(total, share, out=np.zeros_like(total), where=share > 1e-6).clip(0, 1)


def _correct(
    rows: slice, boa: Path, terrain: Path, cloud: np.ndarray, in_classes, light: Light, limit: float, with_gain: bool
):
    """Return the corrected reflectance and the gain of a block of rows, (bands, rows, width), and the bands' counts."""
    level, ground = (
        read_bands(boa, UNROUNDED_BOA, bands_of(boa, BOA), rows),
        read_bands(terrain, TERRAIN, _GROUND, rows),
    )
    result, counts = np.empty(level.shape, BOA.dtype), np.empty((*level.shape[:2], 3), np.int64)
    cloudy = cloud[in_classes[0][rows, None], in_classes[1]]
    gain = np.empty(level.shape, GAIN.dtype) if with_gain else None
    correct_terrain(level, ground, cloudy, rows.start, light, limit, result, gain, counts)
    return result, gain, counts.sum(axis=1)


if __name__ == "__main__":
    cli(run)
