"""Surface reflectance over flat terrain, with the light from each pixel's surroundings taken out."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from steps.artefacts import (
    AOT,
    BOA,
    CLASSIFICATION,
    REFLECTANCE_OFFSET,
    REFLECTANCE_SCALE,
    TERRAIN,
    TOA,
    WVP,
    create,
    grid_of,
    read,
    row_blocks,
    write_json,
)
from steps.atmosphere import environment_share, load_table, outside_domain
from steps.atmosphere.scene import CELL, Mesh, SceneAtmosphere, evaluator, geometry, inversion_nodes, thinned
from steps.cli import cli
from steps.errors import StepError
from steps.kernels.adjacency import ENVIRONMENT, clear_ground, environment, environment_weights
from steps.kernels.inversion import invert
from steps.kernels.resampling import block_mean
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)

#: Rows at a time: a multiple of the tile height of a raster, and of the 6 and 3 pixels in one of the environment.
_ROWS = 1536


@dataclass(frozen=True)
class _Pixels:
    """What the inversion needs at one resolution apart from the bands themselves.

    Attributes
    ----------
    mesh
        Nodes of the coefficients.
    elevation
        Metres, int16.
    water_vapour
        Stored numbers, or None to take the nodes' column.
    nodes
        Elevations (km), aerosol thickness and column (g/cm2) that `inversion_nodes` takes.
    """

    mesh: Mesh
    elevation: np.ndarray
    water_vapour: np.ndarray | None
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray]


def run(
    toa: Path,
    resolution: int,
    classification: Path,
    terrain: Path,
    metadata: Path,
    angles: Path,
    aot: Path,
    wvp: Path,
    lut: Path,
    boa: Path,
    report: Path,
    adjacency: bool = True,
    adjacency_km: float = 6.0,
    threads: int = 1,
) -> None:
    """Compute surface reflectance over flat terrain at 10, 20 or 60 m.

    Parameters
    ----------
    toa, resolution
        Top-of-atmosphere reflectance, and its pixel size, m.
    classification
        Scene classification at 20 m; clouds do not count as surroundings.
    terrain
        Terrain raster of the grid of `toa`.
    metadata, angles, lut
        The scene, its angles, and the atmosphere's look-up table.
    aot, wvp
        Aerosol optical thickness and water vapour at 20 m.
    boa
        Output: surface reflectance.
    report
        Output, JSON: by band the valid pixels, the share of negative ones and the mean; inputs outside the table.
    adjacency
        Whether to take out the light that the surroundings scatter into the line of sight.
    adjacency_km
        Radius of these surroundings; what is farther counts as the scene's mean.
    threads
        Threads to use.

    Raises
    ------
    StepError
        If the grids differ, an input cannot be read or the output cannot be written.
    """
    scene, grid = Scene.read(metadata), grid_of(toa, TOA)
    if grid_of(terrain, TERRAIN) != grid:
        raise StepError(f"{terrain}: its grid is not that of {toa}; delete both and run their stages again")
    air = read(aot, AOT, AOT.name), read(wvp, WVP, WVP.name)
    elevation = read(terrain, TERRAIN, "elevation")
    fine = _pixels(Mesh(grid, CELL[resolution]), elevation, *air)
    ratio = ENVIRONMENT // resolution
    coarse = clear = None
    if adjacency:
        clear = clear_ground(read(classification, CLASSIFICATION, "SCL"))
        if clear is None:
            logger.warning("hardly any clear pixel: the surroundings' light is not taken out")
        centres = elevation[ratio // 2 :: ratio, ratio // 2 :: ratio]
        coarse = fine if ratio == 1 else _pixels(Mesh(grid.at(ENVIRONMENT), CELL[60]), centres.copy(), *air)
    table, angle_grid = load_table(lut), AngleGrid(angles)
    bands, outside = {}, {}
    with create(boa, BOA, grid, OUTPUT_BANDS[resolution]) as output, ThreadPoolExecutor(threads) as pool:
        for band in OUTPUT_BANDS[resolution]:
            stored = read(toa, TOA, band)
            evaluate = evaluator(table, scene, band)
            around = None
            if coarse:
                around = _environment(evaluate, angle_grid, band, coarse, stored, ratio, clear, adjacency_km, threads)
            nodes = _nodes(evaluate, angle_grid, band, fine)[0]
            bands[band] = _write_band(output, band, stored, fine, around, ratio, nodes, pool)
            outside |= _outside(angle_grid, band, fine, scene)
    for name, share in outside.items():
        logger.warning("%.1f %% of the scene: %s outside the look-up table, its limit is taken", 100 * share, name)
    write_json(
        report,
        {
            "resolution": resolution,
            "adjacency": adjacency,
            "adjacency_km": adjacency_km,
            "bands": bands,
            "outside_domain": outside,
            "defaults": [],
        },
    )


def _pixels(mesh: Mesh, elevation: np.ndarray, aot: np.ndarray, wvp: np.ndarray) -> _Pixels:
    relief = mesh.elevation(elevation)
    profiles = [thinned(mesh.at_sea_level(v, 20, relief) * AOT.scale, relief.levels) for v in (aot, wvp)]
    # A column per pixel matters where bands absorb and pixels are smaller than the column's own detail: not at 10 m.
    resolution = round(mesh.grid.resolution)
    column = {10: None, 20: wvp, 60: block_mean(wvp, 3)}[resolution]
    return _Pixels(mesh, elevation, column, (relief.levels, *profiles))


def _nodes(evaluate, angles: AngleGrid, band: str, pixels: _Pixels) -> tuple[np.ndarray, SceneAtmosphere]:
    elevation, aot, column = pixels.nodes
    atmosphere = SceneAtmosphere(
        evaluate,
        angles,
        band,
        pixels.mesh.x,
        pixels.mesh.y,
        elevation_km=elevation,
        aot550=aot,
        water_vapour=column,
    )
    return inversion_nodes(atmosphere, *pixels.nodes), atmosphere


def _environment(evaluate, angles, band, pixels, stored, ratio, clear, radius_km, threads) -> np.ndarray | None:
    """Return the reflectance of the surroundings of each pixel of 60 m, None where it is not known."""
    if clear is None:
        return None
    stored = block_mean(stored, ratio)
    clear = clear & (stored > 0)
    if not clear.any():
        return None
    nodes, atmosphere = _nodes(evaluate, angles, band, pixels)
    boa, counts = np.empty_like(stored), np.empty((stored.shape[0], 3), np.int64)
    invert(stored, pixels.elevation, pixels.water_vapour, None, 1, nodes, pixels.mesh.cell, 0, boa, counts)
    reflectance = boa * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET)
    middle = atmosphere.middle
    weights = environment_weights(partial(environment_share, atmosphere=middle), ENVIRONMENT / 1000, radius_km)
    q = float(middle.transmittance_up / middle.direct_up) - 1
    reflected = float(middle.spherical_albedo) * float(reflectance[clear].mean(dtype="f8"))
    return environment(reflectance, clear, weights, (q + reflected) / (1 - reflected), threads)


def _write_band(output, band, stored, pixels: _Pixels, around, ratio, nodes, pool) -> dict[str, float]:
    """Invert and write one band; return its figures for the report."""
    counts = np.empty((stored.shape[0], 3), np.int64)

    def block(rows: slice) -> tuple[slice, np.ndarray]:
        boa = np.empty_like(stored[rows])
        column = None if pixels.water_vapour is None else pixels.water_vapour[rows]
        cell = pixels.mesh.cell
        invert(stored[rows], pixels.elevation[rows], column, around, ratio, nodes, cell, rows.start, boa, counts[rows])
        return rows, boa

    for rows, boa in pool.map(block, row_blocks(stored.shape[0], _ROWS)):
        output.write(band, boa, rows.start)
    valid, negative, total = (int(n) for n in counts.sum(axis=0))
    return {
        "valid_pixels": valid,
        "negative_share": negative / max(valid, 1),
        "mean_reflectance": (total / max(valid, 1)) * REFLECTANCE_SCALE + REFLECTANCE_OFFSET if valid else None,
    }


def _outside(angles: AngleGrid, band: str, pixels: _Pixels, scene: Scene) -> dict[str, float]:
    """Return the share of the nodes at which an input is outside the look-up table, for each such input."""
    sun, view, _ = geometry(angles, band, *np.meshgrid(pixels.mesh.x, pixels.mesh.y))
    elevation, aot, column = (v[1] for v in pixels.nodes)
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
