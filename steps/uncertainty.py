"""Standard uncertainty of surface reflectance."""

import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steps.atmosphere.adjacency import ENVIRONMENT, counted_in, environment, environment_weights
from steps.atmosphere.inversion import environment_share
from steps.atmosphere.inversion_kernel import Environment, Nodes
from steps.atmosphere.lut import table_of
from steps.atmosphere.relief import CELL, Mesh, filled
from steps.atmosphere.scene import WholeTile
from steps.atmosphere.uncertainty import (
    CALIBRATION,
    CALIBRATION_BY_CONTINUUM,
    INPUTS,
    VAPOUR_BY_CONTINUUM,
    WITH_AEROSOL,
    InputUncertainties,
    changes,
    noise_variance,
    spans,
    variance_nodes,
)
from steps.atmosphere.uncertainty_kernel import standard_uncertainty, through_terrain
from steps.classification.classes import light_around
from steps.core.cells import cell_moments
from steps.core.cli import cli
from steps.core.documents import read_document
from steps.core.errors import StepError
from steps.core.mesh import interpolate, nearest
from steps.core.rasters import Grid, create, grid_of, read, row_blocks, tags_of, values
from steps.core.resampling import block_mean
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import OUTPUT_BANDS, native_bands
from steps.sentinel2.kinds import (
    AOT,
    AOT_UNCERTAINTY,
    BOA,
    CLASSIFICATION,
    GAIN,
    REFLECTANCE_OFFSET,
    REFLECTANCE_SCALE,
    TERRAIN,
    UNCERTAINTY,
    WVP,
)
from steps.sentinel2.reports import SceneMeans
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)

#: Rows at a time: a multiple of the tile height of a raster.
_ROWS = 1536


class _Maps(NamedTuple):
    """What is known of the atmosphere over a scene.

    Attributes
    ----------
    elevation, aot, wvp
        Stored numbers at 20 m.
    aot_uncertainty, cells
        How well the aerosol is known, in cells of the whole tile, and their grid.
    with_dem, aerosol_by_ground, vapour_by_b09
        Whether the elevation is that of a DEM, whether the ground tells the aerosol, and whether the water vapour is
        what makes B09 agree with other bands.
    """

    elevation: np.ndarray
    aot: np.ndarray
    wvp: np.ndarray
    aot_uncertainty: np.ndarray
    cells: Grid
    with_dem: bool
    aerosol_by_ground: bool
    vapour_by_b09: bool


class _State(NamedTuple):
    """The state of the atmosphere at the nodes of a mesh, and how well it is known.

    Attributes
    ----------
    mesh
        Of the nodes.
    elevation_km, aot550, water_vapour
        At the nodes; water vapour in g/cm2.
    ranges
        Values that span the elevations, aerosol and water vapour of the tile, and their uncertainty.
    maps
        What these are taken from.
    inputs
        Uncertainty of these and of all else.
    """

    mesh: Mesh
    elevation_km: np.ndarray
    aot550: np.ndarray
    water_vapour: np.ndarray
    ranges: tuple[np.ndarray, ...]
    maps: _Maps
    inputs: InputUncertainties


def run(
    boa: list[Path],
    classification: Path,
    terrain: Path,
    metadata: Path,
    angles: Path,
    aot: Path,
    aot_uncertainty: Path,
    wvp: Path,
    aerosol_model: Path,
    scene_means: Path,
    uncertainty: list[Path],
    gain: list[Path] | None = None,
    adjacency: bool = True,
    adjacency_km: float = 6.0,
    threads: int = 1,
) -> None:
    """Compute the standard uncertainty (k = 1) of surface reflectance, of each band where its pixels are finest.

    It propagates noise and calibration of the L1C product, aerosol thickness, water vapour, elevation and the choice of
    the aerosol model through the inversion over flat terrain.

    Parameters
    ----------
    boa
        Surface reflectance before terrain correction, a raster for each pixel size.
    classification
        Scene classification of the whole tile, of any pixel size; clouds do not count as surroundings.
    terrain, aot, wvp
        Terrain, aerosol optical thickness and water vapour at 20 m.
    metadata, angles, aerosol_model
        The scene, its angles, and its aerosol model.
    aot_uncertainty
        How well the aerosol is known, in cells of the whole tile.
    scene_means
        `SceneMeans`, means and ranges of the whole tile.
    uncertainty
        Outputs: standard uncertainty, in the order of `boa`.
    gain
        What the correction of terrain multiplied the reflectance with, in the order of `boa`, where there is one.
    adjacency, adjacency_km
        As for the reflectance.
    threads
        Workers.

    Raises
    ------
    StepError
        If the grids differ, a look-up table is missing, an input cannot be read or an output cannot be written.
    """
    scene, angle_grid, means = Scene.read(metadata), AngleGrid(angles), read_document(scene_means, SceneMeans)
    tile, other = (WholeTile(table_of(aerosol_model, other=one), scene, angle_grid, means) for one in (False, True))
    known = values(aot_uncertainty, AOT_UNCERTAINTY, AOT_UNCERTAINTY.name)
    inputs = replace(INPUTS, aot550=(float(known.max()), 0.0))
    maps = _Maps(
        read(terrain, TERRAIN, "elevation"),
        read(aot, AOT, AOT.name),
        read(wvp, WVP, WVP.name),
        known,
        grid_of(aot_uncertainty, AOT_UNCERTAINTY),
        "dem" in tags_of(terrain, TERRAIN),
        tags_of(aot, AOT).get("method") == "DDV",
        tags_of(wvp, WVP).get("method") == "B09",
    )
    light = light_around(read(classification, CLASSIFICATION, "SCL")) if adjacency else None
    aots, columns, elevations = (
        np.concatenate(span[:2]) for span in spans(*tile.ranges, with_dem=maps.with_dem, inputs=inputs)
    )
    ranges = elevations, aots, columns
    models: dict[str, Any] = {"aerosol": tile.table.aerosol, "other_aerosol": other.table.aerosol}
    logger.info("aerosol models %s, elevation from a DEM: %s, %s", list(models.values()), maps.with_dem, inputs)
    for source, target, gains in zip(boa, uncertainty, gain or itertools.repeat(None, len(boa)), strict=True):
        grid = grid_of(source, BOA)
        if grid_of(terrain, TERRAIN) != grid.at(20):
            raise StepError(
                f"{terrain}: its pixels are not those of {source} at 20 m; delete both and run their stages again"
            )
        mesh, light_here = Mesh(grid, CELL[round(grid.resolution)]), None
        if light is not None:
            light_here = nearest(light, *grid_of(classification, CLASSIFICATION).positions(grid.at(ENVIRONMENT)))
        state = _state(mesh, maps, ranges, inputs)
        bands = [band for band in native_bands(round(grid.resolution)) if band in OUTPUT_BANDS[round(grid.resolution)]]
        with create(target, UNCERTAINTY, grid, bands, **models) as output, ThreadPoolExecutor(threads) as pool:
            for band in bands:
                stored, around = read(source, BOA, band), None
                if light_here is not None:
                    around = _environment(stored, light_here, tile, band, adjacency_km, threads)
                nodes = _nodes(band, state, tile, other, adjacency=around is not None)
                gained = read(gains, GAIN, band) if gains else None
                _write_band(output, band, stored, around, nodes, gained, pool)


def _state(mesh: Mesh, maps: _Maps, ranges: tuple[np.ndarray, ...], inputs: InputUncertainties) -> _State:
    """Return the state of the atmosphere at the nodes, at which the aerosol is as uncertain as around there."""
    places = (maps.cells.top - mesh.y, mesh.x - maps.cells.left)
    of_aot = interpolate(maps.aot_uncertainty, *(v / maps.cells.resolution - 0.5 for v in places))
    return _State(
        mesh,
        _at_nodes(maps.elevation, TERRAIN.nodata, mesh) * 1e-3,
        _at_nodes(maps.aot, AOT.nodata, mesh) * AOT.scale,
        _at_nodes(maps.wvp, WVP.nodata, mesh) * WVP.scale,
        ranges,
        maps,
        replace(inputs, aot550=(of_aot, 0.0)),
    )


def _nodes(band: str, state: _State, tile: WholeTile, other: WholeTile, *, adjacency: bool) -> Nodes:
    """Return the coefficients of one band, under the aerosol model of the inversion and another one."""
    mesh, scene = state.mesh, tile.scene
    ours, others = (t.over(band, mesh.x, mesh.y, state.ranges) for t in (tile, other))
    noise = noise_variance(band, scene.bands[band], tile.angles.sun(*np.meshgrid(mesh.x, mesh.y))[0], scene.earth_sun)
    values_at = state.elevation_km, state.aot550, state.water_vapour
    correlation = WITH_AEROSOL.get(band, 0.0) if state.maps.aerosol_by_ground else 0.0
    inputs = replace(state.inputs, calibration=CALIBRATION[band], calibration_with_aerosol=correlation)
    if band == "B09" and state.maps.vapour_by_b09:
        inputs = replace(inputs, calibration=CALIBRATION_BY_CONTINUUM, water_vapour=VAPOUR_BY_CONTINUUM)
    terms = changes(ours.at, others.at, *values_at, with_dem=state.maps.with_dem, inputs=inputs)
    return Nodes(variance_nodes(*terms, noise, adjacency=adjacency, inputs=inputs), mesh.cell)


def _at_nodes(values: np.ndarray, nodata: float | None, mesh: Mesh) -> np.ndarray:
    """Return stored numbers of 20 m at the nodes, from the means of the mesh's cells."""
    count, _, _, mean, _ = cell_moments(values, round(mesh.cell * mesh.grid.resolution / 20), nodata)
    return interpolate(filled(mean, count > 0, 0), *(np.arange(n) - 0.5 for n in mesh.shape))


def _environment(stored, light, tile: WholeTile, band: str, radius_km, threads) -> Environment:
    """Return the surroundings of each pixel of 60 m."""
    ratio = stored.shape[0] // light.shape[0]
    stored, middle = block_mean(stored, ratio), tile.middle(band)
    counted = counted_in(light, middle) * (stored > 0)
    reflectance = stored * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET)
    share = partial(environment_share, atmosphere=middle)
    weights = environment_weights(share, ENVIRONMENT / 1000, radius_km)
    around = environment(reflectance, counted, weights, tile.far_away(band, middle), threads=threads)
    return Environment(around, ratio)


def _write_band(output, band, stored, around: Environment | None, nodes: Nodes, gain, pool) -> None:
    def block(rows: slice) -> tuple[slice, np.ndarray]:
        result = np.empty_like(stored[rows])
        standard_uncertainty(stored[rows], around, nodes, rows.start, result)
        if gain is not None:
            through_terrain(stored[rows], gain[rows], result)
        return rows, result

    for rows, result in pool.map(block, row_blocks(stored.shape[0], _ROWS)):
        output.write(band, result, rows.start)


if __name__ == "__main__":
    cli(run)
