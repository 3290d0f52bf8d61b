"""Surface reflectance over flat terrain, with the light from each pixel's surroundings taken out."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from steps.atmosphere.adjacency import ENVIRONMENT, counted_in, surroundings
from steps.atmosphere.band import outside_domain
from steps.atmosphere.inversion_kernel import (
    Block,
    Environment,
    Nodes,
    column_excess,
    density_factor,
    invert,
)
from steps.atmosphere.inversion_nodes import inversion_nodes
from steps.atmosphere.lut import table_of
from steps.atmosphere.relief import CELL, Mesh, flat_elevation, thinned
from steps.atmosphere.scene import WholeTile, geometry
from steps.classification.classes import light_around
from steps.core.cli import cli
from steps.core.documents import read_document, write_document
from steps.core.errors import StepError
from steps.core.mesh import nearest
from steps.core.parallel import Backend, RunAll, workers
from steps.core.rasters import BLOCK, Kind, create, grid_of, read, read_bands, row_blocks
from steps.core.resampling import block_mean
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import OUTPUT_BANDS, PIXEL_SIZE
from steps.sentinel2.kinds import (
    AOT,
    BOA,
    CLASSIFICATION,
    REFLECTANCE_OFFSET,
    REFLECTANCE_SCALE,
    TERRAIN,
    TOA,
    UNROUNDED_BOA,
    WVP,
)
from steps.sentinel2.reports import BandFigures, InvertedRaster, ReflectanceReport, SceneMeans
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _AtmosphereNodes:
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
class _Surroundings:
    """What the reflectance of the surroundings is computed from.

    Attributes
    ----------
    atmosphere
        At 60 m.
    density_factor, excess
        What `invert` takes.
    light
        From where pixels send up light, see `counted_in`.
    radius_km
        How far they reach.
    """

    atmosphere: _AtmosphereNodes
    density_factor: np.ndarray | None
    excess: np.ndarray
    light: np.ndarray
    radius_km: float


class _Field(NamedTuple):
    """What one band is inverted with.

    Attributes
    ----------
    environment
        The surroundings at 60 m, None without their light.
    nodes
        From `inversion_nodes`.
    """

    environment: Environment | None
    nodes: Nodes


def run(
    toa: list[Path],
    classification: Path,
    terrain: list[Path],
    metadata: Path,
    angles: Path,
    aot: Path,
    wvp: Path,
    aerosol_model: Path,
    scene_means: Path,
    boa: list[Path],
    report: Path,
    adjacency: bool = True,
    adjacency_km: float = 6.0,
    unrounded: bool = False,
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
    metadata, angles, aerosol_model
        The scene, its angles, and its aerosol model.
    aot, wvp
        Aerosol optical thickness and water vapour at 20 m.
    scene_means
        `SceneMeans`, means and ranges of the whole tile.
    boa
        Outputs: surface reflectance, in the order of `toa`.
    report
        Output: `ReflectanceReport`.
    adjacency
        Whether to take out the light that the surroundings scatter into the line of sight.
    adjacency_km
        Radius of these surroundings; what is farther counts as the scene's mean.
    unrounded
        Keep the fractions of the stored numbers, for the terrain correction, which divides them.
    threads, backend, scheduler
        Workers, see `steps.core.parallel.workers`.

    Raises
    ------
    StepError
        If the grids differ, an input cannot be read or the output cannot be written.
    """
    scene, angle_grid, kind = Scene.read(metadata), AngleGrid(angles), UNROUNDED_BOA if unrounded else BOA
    tile = WholeTile(table_of(aerosol_model), scene, angle_grid, read_document(scene_means, SceneMeans))
    maps = read(aot, AOT, AOT.name), read(wvp, WVP, WVP.name)
    rasters = list(zip(toa, terrain, strict=True))
    atmospheres, coarse, heights = _atmospheres(rasters, maps)
    surroundings = _surroundings(coarse, heights, maps[1], classification, adjacency_km) if adjacency else None
    with workers(backend, threads, scheduler) as run_all:
        fields = _fields(toa, atmospheres, surroundings, tile, run_all)
        reports = [
            _report(angle_grid, scene, atmosphere, _write(path, kind, (*raster, wvp), atmosphere, of_bands, run_all))
            for path, raster, atmosphere, of_bands in zip(boa, rasters, atmospheres, fields, strict=True)
        ]
    write_document(report, ReflectanceReport(adjacency, adjacency_km, tuple(reports)))


def _fields(
    toa: list[Path],
    atmospheres: list[_AtmosphereNodes],
    surroundings: _Surroundings | None,
    tile: WholeTile,
    run_all: RunAll,
) -> list[dict[str, _Field]]:
    """Return, for each raster, what its bands are inverted with; each node and each band's surroundings once."""
    bands = [OUTPUT_BANDS[round(atmosphere.mesh.grid.resolution)] for atmosphere in atmospheres]
    wanted = {
        (atmosphere.mesh.spacing, band): (atmosphere, band)
        for atmosphere, names in zip(atmospheres, bands, strict=True)
        for band in names
    }
    around = dict.fromkeys(band for names in bands for band in names)
    if surroundings:
        coarse = surroundings.atmosphere
        wanted |= {(coarse.mesh.spacing, band): (coarse, band) for band in around}
    nodes = dict(zip(wanted, run_all(_nodes, list(wanted.values()), tile), strict=True))
    if surroundings:
        sources = _sources(toa, atmospheres)
        items = [(band, sources[band], nodes[coarse.mesh.spacing, band]) for band in around]
        around = dict(zip(around, run_all(_environment, items, surroundings, tile), strict=True))
    return [
        {band: _field(atmosphere.mesh, nodes[atmosphere.mesh.spacing, band], around[band]) for band in names}
        for atmosphere, names in zip(atmospheres, bands, strict=True)
    ]


def _field(mesh: Mesh, nodes: np.ndarray, around: np.ndarray | None) -> _Field:
    ratio = ENVIRONMENT // round(mesh.grid.resolution)
    return _Field(None if around is None else Environment(around, ratio), Nodes(nodes, mesh.cell))


def _write(
    path: Path,
    kind: Kind,
    sources: tuple[Path, Path, Path],
    atmosphere: _AtmosphereNodes,
    fields: dict[str, _Field],
    run_all: RunAll,
) -> dict[str, np.ndarray]:
    """Write surface reflectance from rasters of reflectance, terrain and water vapour; return each band's counts."""
    blocks, counts = list(row_blocks(atmosphere.mesh.grid.height)), []
    with create(path, kind, atmosphere.mesh.grid, list(fields)) as output:
        results = run_all(_invert, blocks, sources, atmosphere, fields, kind)
        for rows, (block, count) in zip(blocks, results, strict=True):
            for band, values in zip(fields, block, strict=True):
                output.write(band, values, rows.start)
            counts.append(count)
    return dict(zip(fields, sum(counts), strict=True))


def _report(
    angles: AngleGrid, scene: Scene, atmosphere: _AtmosphereNodes, counts: dict[str, np.ndarray]
) -> InvertedRaster:
    """Return what there is to tell of one resolution."""
    outside: dict[str, float] = {}
    for band in counts:
        outside |= _outside(angles, band, atmosphere, scene)
    for name, share in outside.items():
        logger.warning("%.1f %% of the scene: %s outside the look-up table, its limit is taken", 100 * share, name)
    bands = {band: _figures(*count) for band, count in counts.items()}
    return InvertedRaster(round(atmosphere.mesh.grid.resolution), bands, outside)


def _sources(toa: list[Path], atmospheres: list[_AtmosphereNodes]) -> dict[str, Path]:
    """Return for each band the raster of its own pixel size, or for want of that the first one that has it."""
    result: dict[str, Path] = {}
    for path, atmosphere in zip(toa, atmospheres, strict=True):
        size = round(atmosphere.mesh.grid.resolution)
        result |= {band: path for band in OUTPUT_BANDS[size] if PIXEL_SIZE[band] == size or band not in result}
    return result


def _atmospheres(
    rasters, maps: tuple[np.ndarray, np.ndarray]
) -> tuple[list[_AtmosphereNodes], _AtmosphereNodes, np.ndarray]:
    """Return the atmosphere over the pixels of each pair of rasters, that at 60 m, and the elevation there (m).

    Rasters whose nodes lie at the same places share what is computed for them.
    """
    found: dict[float, _AtmosphereNodes] = {}
    meshes: list[Mesh] = []
    heights = None
    for toa, terrain in rasters:
        grid = grid_of(toa, TOA)
        if grid_of(terrain, TERRAIN) != grid:
            raise StepError(f"{terrain}: its grid is not that of {toa}; delete both and run their stages again")
        resolution = round(grid.resolution)
        meshes.append(Mesh(grid, CELL[resolution]))
        if heights is None or resolution == ENVIRONMENT or meshes[-1].spacing not in found:
            elevation, ratio = read(terrain, TERRAIN, "elevation"), ENVIRONMENT // resolution
            if heights is None or ratio == 1:
                heights = elevation[ratio // 2 :: ratio, ratio // 2 :: ratio].copy()
            found.setdefault(meshes[-1].spacing, _atmosphere_nodes(meshes[-1], elevation, *maps))
    assert heights is not None  # there is a raster at least
    mesh = Mesh(meshes[0].grid.at(ENVIRONMENT), CELL[ENVIRONMENT])
    coarse = found.get(mesh.spacing) or _atmosphere_nodes(mesh, heights, *maps)
    return [replace(found[mesh.spacing], mesh=mesh) for mesh in meshes], coarse, heights


def _surroundings(
    atmosphere: _AtmosphereNodes, heights: np.ndarray, wvp: np.ndarray, classification: Path, radius_km: float
) -> _Surroundings | None:
    """Return the surroundings, None where hardly any ground of the tile is clear."""
    light = light_around(read(classification, CLASSIFICATION, "SCL"))
    if light is None:
        logger.warning("hardly any clear pixel: the surroundings' light is not taken out")
        return None
    light = nearest(light, *grid_of(classification, CLASSIFICATION).positions(atmosphere.mesh.grid))
    thin = None if atmosphere.level is not None else density_factor(heights)
    excess = _excess(atmosphere, thin, block_mean(wvp, 3), 0)
    return _Surroundings(atmosphere, thin, excess, light, radius_km)


def _atmosphere_nodes(mesh: Mesh, elevation: np.ndarray, aot: np.ndarray, wvp: np.ndarray) -> _AtmosphereNodes:
    relief = mesh.elevation(elevation)
    at_sea_level = [mesh.at_sea_level(v, 20, relief) * kind.scale for v, kind in ((aot, AOT), (wvp, WVP))]
    aots, columns = (thinned(v, relief.elevation_nodes) for v in at_sea_level)
    level, column = flat_elevation(elevation), at_sea_level[1]
    if level is not None:
        column = thinned(column, level / 1000)
    return _AtmosphereNodes(
        mesh, (relief.elevation_nodes, aots, columns), level, np.sqrt(column)[..., None].astype("f4")
    )


def _excess(
    atmosphere: _AtmosphereNodes, thin: np.ndarray | None, water_vapour: np.ndarray, first_row: int
) -> np.ndarray:
    excess = np.empty(water_vapour.shape, np.int16)
    column_excess(water_vapour, thin, atmosphere.column, atmosphere.mesh.cell, first_row, excess)
    return excess


def _nodes(item: tuple[_AtmosphereNodes, str], tile: WholeTile) -> np.ndarray:
    """Return the nodes' numbers of one band."""
    atmosphere, band = item
    return inversion_nodes(
        tile.over(band, atmosphere.mesh.x, atmosphere.mesh.y, tile.ranges), *atmosphere.nodes, atmosphere.level
    )


def _environment(item: tuple[str, Path, np.ndarray], around: _Surroundings, tile: WholeTile) -> np.ndarray:
    """Return the reflectance of the surroundings of each pixel of 60 m in one band, from its raster and its nodes."""
    band, toa, nodes = item
    height = grid_of(toa, TOA).height
    ratio = height // around.light.shape[0]
    stored = np.vstack([block_mean(read(toa, TOA, band, rows), ratio) for rows in row_blocks(height, 3 * BLOCK)])
    boa, counts = np.empty_like(stored), np.empty((stored.shape[0], 3), np.int64)
    block = Block(stored, around.density_factor, around.excess)
    invert(block, None, Nodes(nodes, around.atmosphere.mesh.cell), 0, boa, counts)
    reflectance = boa * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET)
    middle = tile.middle(band)
    mean, counted = tile.far_away(band, middle), counted_in(around.light, middle) * (stored > 0)
    return surroundings(reflectance, counted, middle, ENVIRONMENT / 1000, around.radius_km, mean)


def _invert(
    rows: slice, rasters: tuple[Path, Path, Path], atmosphere: _AtmosphereNodes, fields: dict[str, _Field], kind: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Return the surface reflectance of a block of rows, shape (bands, rows, width), and the bands' counts."""
    toa, terrain, wvp = rasters
    resolution = round(atmosphere.mesh.grid.resolution)
    stored = read_bands(toa, TOA, list(fields), rows)
    thin = None if atmosphere.level is not None else density_factor(read(terrain, TERRAIN, "elevation", rows))
    # A column per pixel matters where bands absorb and pixels are smaller than the column's own detail: not at 10 m.
    excess = None
    if resolution > 10:
        n = resolution // 20
        column = block_mean(read(wvp, WVP, WVP.name, slice(rows.start * n, rows.stop * n)), n)
        excess = _excess(atmosphere, thin, column, rows.start)
    boa, counts = np.empty(stored.shape, kind.dtype), np.empty((*stored.shape[:2], 3), np.int64)
    for k, field in enumerate(fields.values()):
        invert(Block(stored[k], thin, excess), field.environment, field.nodes, rows.start, boa[k], counts[k])
    return boa, counts.sum(axis=1)


def _figures(valid: int, negative: int, total: int) -> BandFigures:
    mean = (total / valid) * REFLECTANCE_SCALE + REFLECTANCE_OFFSET if valid else None
    return BandFigures(int(valid), negative / max(valid, 1), mean)


def _outside(angles: AngleGrid, band: str, atmosphere: _AtmosphereNodes, scene: Scene) -> dict[str, float]:
    """Return the share of the nodes at which an input is outside the look-up table, for each such input."""
    sun, view, _ = geometry(angles, band, *np.meshgrid(atmosphere.mesh.x, atmosphere.mesh.y))
    elevation, aot, column = (v[1] for v in atmosphere.nodes)
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
