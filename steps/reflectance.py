"""Surface reflectance over flat terrain, with the light from each pixel's surroundings taken out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from steps.artefacts import (
    AOT,
    BLOCK,
    BOA,
    CLASSIFICATION,
    REFLECTANCE_OFFSET,
    REFLECTANCE_SCALE,
    TERRAIN,
    TOA,
    WVP,
    Grid,
    create,
    grid_of,
    read,
    read_bands,
    read_json,
    row_blocks,
    write_json,
)
from steps.atmosphere import (
    BandAtmosphere,
    LookUpTable,
    environment_share,
    load_table,
    outside_domain,
    surface_reflectance,
)
from steps.atmosphere.scene import (
    CELL,
    Mesh,
    SceneAtmosphere,
    evaluator,
    geometry,
    inversion_nodes,
    level_ground,
    thinned,
)
from steps.cli import cli
from steps.errors import StepError
from steps.kernels.adjacency import ENVIRONMENT, environment, environment_weights
from steps.kernels.classes import clear_ground
from steps.kernels.inversion import column_excess, invert, thinness
from steps.kernels.mesh import nearest
from steps.kernels.resampling import block_mean
from steps.parallel import Backend, workers
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Air:
    """What the coefficients are computed for.

    Attributes
    ----------
    mesh
        Of the nodes.
    nodes
        Elevations (km), aerosol thickness and column of water vapour (g/cm2) that `inversion_nodes` takes.
    level
        Elevation of level ground, m; None where there is relief.
    column
        Water vapour at the nodes that `column_excess` takes.
    """

    mesh: Mesh
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray]
    level: int | None
    column: np.ndarray


@dataclass(frozen=True)
class _Tile:
    """The whole tile, whatever part of it is processed.

    Attributes
    ----------
    grid
        At 10 m.
    means
        Of all its pixels, from the report of the water vapour.
    clear, classified
        Which pixels of a coarse grid show ground, and that grid.
    """

    grid: Grid
    means: dict
    clear: np.ndarray
    classified: Grid


@dataclass(frozen=True)
class _Surroundings:
    """What the reflectance of the surroundings is computed from.

    Attributes
    ----------
    air
        At 60 m.
    thinness, excess
        What `invert` takes.
    clear
        Which pixels show ground.
    radius_km
        How far they reach.
    tile
        What they are a part of.
    """

    air: _Air
    thinness: np.ndarray | None
    excess: np.ndarray
    clear: np.ndarray
    radius_km: float
    tile: _Tile


def run(
    toa: list[Path],
    classification: Path,
    terrain: list[Path],
    metadata: Path,
    angles: Path,
    aot: Path,
    wvp: Path,
    lut: Path,
    scene_means: Path,
    boa: list[Path],
    report: Path,
    adjacency: bool = True,
    adjacency_km: float = 6.0,
    threads: int = 1,
    backend: Backend = "threads",
    scheduler: str = "local",
) -> None:
    """Compute surface reflectance over flat terrain at 10, 20 and 60 m.

    Parameters
    ----------
    toa
        Top-of-atmosphere reflectance, a raster for each of these pixel sizes or some of them.
    classification
        Scene classification of the whole tile, of any pixel size; clouds do not count as surroundings.
    terrain
        Terrain rasters of the grids of `toa`, in the same order.
    metadata, angles, lut
        The scene, its angles, and the atmosphere's look-up table.
    aot, wvp
        Aerosol optical thickness and water vapour at 20 m.
    scene_means
        Report of the water vapour, which tells means of the whole tile.
    boa
        Outputs: surface reflectance, in the order of `toa`.
    report
        Output, JSON, for each of `resolutions`: by band the valid pixels, the share of negative ones and the mean;
        inputs outside the table.
    adjacency
        Whether to take out the light that the surroundings scatter into the line of sight.
    adjacency_km
        Radius of these surroundings; what is farther counts as the scene's mean.
    threads, backend, scheduler
        Workers, see `steps.parallel.workers`.

    Raises
    ------
    StepError
        If the grids differ, an input cannot be read or the output cannot be written.
    """
    scene, angle_grid, table = Scene.read(metadata), AngleGrid(angles), load_table(lut)
    air, tile = (read(aot, AOT, AOT.name), read(wvp, WVP, WVP.name)), None
    if adjacency:
        tile = _tile(scene, classification, scene_means)
    sources, reports = list(zip(toa, terrain, strict=True)), []
    with workers(backend, threads, scheduler) as run_all:
        scenes = list(run_all(_scene, sources, air, tile, adjacency_km))
        bands = [(k, band) for k, (grid, *_) in enumerate(scenes) for band in OUTPUT_BANDS[round(grid.resolution)]]
        fields = list(run_all(_field, bands, toa, scenes, table, scene, angle_grid))
        for k, ((grid, fine, _), path) in enumerate(zip(scenes, boa, strict=True)):
            of_bands = {band: field for (i, band), field in zip(bands, fields, strict=True) if i == k}
            blocks, counts = list(row_blocks(grid.height)), []
            with create(path, BOA, grid, list(of_bands)) as output:
                results = run_all(_invert, blocks, (*sources[k], wvp), fine, of_bands)
                for rows, (block, count) in zip(blocks, results, strict=True):
                    for band, values in zip(of_bands, block, strict=True):
                        output.write(band, values, rows.start)
                    counts.append(count)
            reports.append(_report(angle_grid, scene, fine, dict(zip(of_bands, sum(counts), strict=True))))
    write_json(report, {"adjacency": adjacency, "adjacency_km": adjacency_km, "resolutions": reports, "defaults": []})


def _tile(scene: Scene, classification: Path, scene_means: Path) -> _Tile | None:
    """Return the whole tile, None where hardly any of its ground is clear."""
    clear = clear_ground(read(classification, CLASSIFICATION, "SCL"))
    if clear is None:
        logger.warning("hardly any clear pixel: the surroundings' light is not taken out")
        return None
    means = read_json(scene_means)["scene"]
    return _Tile(scene.tile_grid or scene.grid, means, clear, grid_of(classification, CLASSIFICATION))


def _report(angles: AngleGrid, scene: Scene, air: _Air, counts: dict[str, np.ndarray]) -> dict:
    """Return what there is to tell of one resolution."""
    outside = {}
    for band in counts:
        outside |= _outside(angles, band, air, scene)
    for name, share in outside.items():
        logger.warning("%.1f %% of the scene: %s outside the look-up table, its limit is taken", 100 * share, name)
    bands = {band: _figures(*count) for band, count in counts.items()}
    return {"resolution": round(air.mesh.grid.resolution), "bands": bands, "outside_domain": outside}


def _scene(
    sources: tuple[Path, Path], air: tuple[np.ndarray, np.ndarray], tile: _Tile | None, radius_km: float
) -> tuple[Grid, _Air, _Surroundings | None]:
    """Return the grid of a raster, the air over its pixels, and the surroundings if the tile is known."""
    toa, terrain = sources
    grid = grid_of(toa, TOA)
    if grid_of(terrain, TERRAIN) != grid:
        raise StepError(f"{terrain}: its grid is not that of {toa}; delete both and run their stages again")
    elevation = read(terrain, TERRAIN, "elevation")
    resolution = round(grid.resolution)
    fine, ratio = _air(Mesh(grid, CELL[resolution]), elevation, *air), ENVIRONMENT // resolution
    if tile is None:
        return grid, fine, None
    clear = nearest(tile.clear, *tile.classified.positions(grid.at(ENVIRONMENT)))
    centres = elevation[ratio // 2 :: ratio, ratio // 2 :: ratio].copy()
    coarse = fine if ratio == 1 else _air(Mesh(grid.at(ENVIRONMENT), CELL[60]), centres, *air)
    thin = None if coarse.level is not None else thinness(centres)
    excess = _excess(coarse, thin, block_mean(air[1], 3), 0)
    return grid, fine, _Surroundings(coarse, thin, excess, clear, radius_km, tile)


def _air(mesh: Mesh, elevation: np.ndarray, aot: np.ndarray, wvp: np.ndarray) -> _Air:
    relief = mesh.elevation(elevation)
    at_sea_level = [mesh.at_sea_level(v, 20, relief) * AOT.scale for v in (aot, wvp)]
    profiles = [thinned(v, relief.levels) for v in at_sea_level]
    level, column = level_ground(elevation), at_sea_level[1]
    if level is not None:
        column = thinned(column, level / 1000)
    return _Air(mesh, (relief.levels, *profiles), level, np.sqrt(column)[..., None].astype("f4"))


def _excess(air: _Air, thin: np.ndarray | None, water_vapour: np.ndarray, first_row: int) -> np.ndarray:
    excess = np.empty(water_vapour.shape, np.int16)
    column_excess(water_vapour, thin, air.column, air.mesh.cell, first_row, excess)
    return excess


def _field(item: tuple[int, str], toa: Sequence[Path], scenes, table: LookUpTable, scene: Scene, angles: AngleGrid):
    """Return the nodes' numbers and the surroundings' reflectance (or None) of one band of one of the rasters."""
    k, band = item
    _, air, surroundings = scenes[k]
    evaluate = evaluator(table, scene, band)
    around = None
    if surroundings:
        around = _environment(evaluate, angles, band, toa[k], surroundings)
    return _nodes(evaluate, angles, band, air), around


def _nodes(evaluate, angles: AngleGrid, band: str, air: _Air) -> np.ndarray:
    elevation, aot, column = air.nodes
    atmosphere = SceneAtmosphere(
        evaluate, angles, band, air.mesh.x, air.mesh.y, elevation_km=elevation, aot550=aot, water_vapour=column
    )
    return inversion_nodes(atmosphere, *air.nodes, air.level)


def _environment(evaluate, angles, band: str, toa: Path, surroundings: _Surroundings) -> np.ndarray:
    """Return the reflectance of the surroundings of each pixel of 60 m."""
    around, air = surroundings, surroundings.air
    height = grid_of(toa, TOA).height
    ratio = height // around.clear.shape[0]
    stored = np.vstack([block_mean(read(toa, TOA, band, rows), ratio) for rows in row_blocks(height, 3 * BLOCK)])
    clear = around.clear & (stored > 0)
    nodes = _nodes(evaluate, angles, band, air)
    boa, counts = np.empty_like(stored), np.empty((stored.shape[0], 3), np.int64)
    invert(stored, around.thinness, around.excess, None, 1, nodes, air.mesh.cell, 0, boa, counts)
    reflectance = boa * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET)
    middle = _middle(evaluate, angles, band, around.tile)
    mean = float(surface_reflectance(around.tile.means["clear"][band] * REFLECTANCE_SCALE + REFLECTANCE_OFFSET, middle))
    weights = environment_weights(partial(environment_share, atmosphere=middle), ENVIRONMENT / 1000, around.radius_km)
    q = float(middle.transmittance_up / middle.direct_up) - 1
    reflected = float(middle.spherical_albedo) * mean
    return environment(reflectance, clear, weights, (q + reflected) / (1 - reflected), mean=mean)


def _middle(evaluate, angles: AngleGrid, band: str, tile: _Tile) -> BandAtmosphere:
    """Return the atmosphere under the mean angles and the means of a tile."""
    share = np.linspace(0, tile.grid.resolution, 9)
    points = np.meshgrid(tile.grid.left + share * tile.grid.width, tile.grid.top - share * tile.grid.height)
    mean_angles = (float(v.mean()) for v in geometry(angles, band, *points))
    return evaluate(*mean_angles, *(tile.means[name] for name in ("elevation_km", "aot550", "water_vapour")))


def _invert(
    rows: slice, rasters: tuple[Path, Path, Path], air: _Air, fields: dict[str, tuple]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the surface reflectance of a block of rows, shape (bands, rows, width), and the bands' counts."""
    toa, terrain, wvp = rasters
    resolution = round(air.mesh.grid.resolution)
    stored = read_bands(toa, TOA, list(fields), rows)
    thin = None if air.level is not None else thinness(read(terrain, TERRAIN, "elevation", rows))
    # A column per pixel matters where bands absorb and pixels are smaller than the column's own detail: not at 10 m.
    excess = None
    if resolution > 10:
        n = resolution // 20
        column = block_mean(read(wvp, WVP, WVP.name, slice(rows.start * n, rows.stop * n)), n)
        excess = _excess(air, thin, column, rows.start)
    boa, counts = np.empty_like(stored), np.empty((*stored.shape[:2], 3), np.int64)
    ratio, cell = ENVIRONMENT // resolution, CELL[resolution]
    for k, (nodes, around) in enumerate(fields.values()):
        invert(stored[k], thin, excess, around, ratio, nodes, cell, rows.start, boa[k], counts[k])
    return boa, counts.sum(axis=1)


def _figures(valid: int, negative: int, total: int) -> dict[str, float]:
    return {
        "valid_pixels": int(valid),
        "negative_share": negative / max(valid, 1),
        "mean_reflectance": (total / valid) * REFLECTANCE_SCALE + REFLECTANCE_OFFSET if valid else None,
    }


def _outside(angles: AngleGrid, band: str, air: _Air, scene: Scene) -> dict[str, float]:
    """Return the share of the nodes at which an input is outside the look-up table, for each such input."""
    sun, view, _ = geometry(angles, band, *np.meshgrid(air.mesh.x, air.mesh.y))
    elevation, aot, column = (v[1] for v in air.nodes)
    counts = outside_domain(
        sun_zenith=sun,
        view_zenith=view,
        elevation_km=elevation,
        aot550=aot,
        water_vapour=column,
        ozone=np.full(sun.shape, scene.auxiliary.ozone),
    )
    return {name: count / sun.size for name, count in counts.items()}


if __name__ == "__main__":
    cli(run)
