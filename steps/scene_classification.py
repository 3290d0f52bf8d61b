"""Scene classification: clouds, shadows, snow, water and the rest, after the rules of Sen2Cor 2.8."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Literal

import numpy as np

from steps.atmosphere.lut import LookUpTable, table_of
from steps.classification import images as kernels
from steps.classification.cci_layers import read_layers
from steps.classification.classify import BANDS, absorption, classify, fill_maps, find_displaced, sea_without_snow
from steps.classification.cloud_model import MODEL_BANDS, cloud_prediction
from steps.classification.cloud_shadow import ShadowLimits, displacement
from steps.classification.haze import Haze, Overview, find_haze
from steps.classification.images import Bands, Image, Maps, Reader
from steps.classification.improved import IMPROVEMENTS, Improvement, Refinements, agree
from steps.classification.interface import classify_scene
from steps.classification.parallax import REACH, UNSEEN
from steps.classification.vapour import Vapour, air_mass, find_vapour, limits, read_vapour
from steps.core.cli import cli
from steps.core.errors import StepError
from steps.core.mesh import nearest_indices
from steps.core.rasters import Grid, grid_of, read, tags_of, values, write
from steps.l1c.roi import DETAIL, grown
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import CLASSIFICATION, MASK, MASK_DEFECTIVE, MASK_SATURATED, TERRAIN, TOA, WVP
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import NO_DATA, SATURATED_DEFECTIVE

__all__ = ["classify_scene", "run"]

#: Parts of the scene along each side with a direction from clouds to shadows of their own.
DIRECTIONS = 24
#: Bands of the file of `ShadowLimits`.
LIMIT_BANDS = ("B8A", "B11", "snow", "water")


def run(
    stack: Path,
    metadata: Path,
    terrain: Path,
    classification: Path,
    mask: Path | None = None,
    classification_60m: Path | None = None,
    shadow_limits: Path | None = None,
    tile_shadow_limits: Path | None = None,
    vapour: Path | None = None,
    tile_vapour: Path | None = None,
    tile_stack: Path | None = None,
    tile_classification: Path | None = None,
    tile_aot: Path | None = None,
    aerosol_model: Path | None = None,
    water_bodies: Path | None = None,
    land_cover: Path | None = None,
    snow_condition: Path | None = None,
    snow_possible: bool = True,
    median_filter: int = 0,
    mode: Literal["classic", "improved"] = "improved",
    improvements: list[Improvement] | None = None,
    angles: Path | None = None,
    toa_10m: Path | None = None,
    cloud_buffer: float = 0,
    cloud_model: Literal["rules", "s2cloudless"] = "rules",
    threads: int = 1,
) -> None:
    """Classify a scene at 20 m and derive its classification at 60 m, or classify the overview of a whole tile at 80 m.

    Parameters
    ----------
    stack
        Top-of-atmosphere reflectance of the twelve bands.
    metadata
        The scene.
    terrain
        Terrain of the pixels of `stack`, flat without a DEM.
    classification
        Output: classes and probabilities. Saturated and defective pixels become class 1.
    mask, classification_60m
        The product's quality flags at 20 m, and the output at 60 m; not for an overview.
    shadow_limits
        Output of an overview: how dark land has to be, where the shadows of clouds fall, to be in them.
    tile_shadow_limits
        That of the whole tile's overview, for improved mode: so that a part of a tile has the shadows that it has in
        the whole one. Without it they are looked for in the scene.
    vapour, tile_vapour
        Likewise the column of water vapour, as above sea level, that tells what of the ground is seen in B10.
    tile_stack, tile_classification, tile_aot, aerosol_model
        The whole tile's stack and classes at 80 m, its aerosol thickness there, and the aerosol's model: improved mode
        takes the haze out, where they are given.
    water_bodies, land_cover, snow_condition
        ESA CCI maps in any projection that cover the scene; the rules that need a map that is not given are skipped.
    snow_possible
        Whether snow can occur at all.
    median_filter
        Size in pixels of a median filter over the classes, 0 for none.
    mode
        classic (the rules of Sen2Cor 2.8) or improved.
    improvements
        Which of them improved mode makes; all unless given.
    angles
        Sun and view angles at the 5 km nodes, by which improved mode looks for shadows and takes the haze out.
    toa_10m
        B08 at 10 m, in which improved mode looks for parallax where it is given.
    cloud_buffer
        By how much clouds grow in improved mode, m.
    cloud_model
        s2cloudless: that model, if it is installed, confirms and adds clouds in improved mode; it needs `toa_10m`.
    threads
        The result does not depend on it.

    Raises
    ------
    StepError
        If grids differ, an option lacks another one that it needs, or a file cannot be read or written.
    """
    if mode == "classic" and cloud_model != "rules":
        raise StepError(f"classification.cloud_model: {cloud_model} needs `classification.mode: improved`")
    grid, scene = grid_of(stack, TOA), Scene.read(metadata)
    _check_grids(stack, grid, mask, terrain)
    flags = read(mask, MASK, "mask") if mask else np.zeros(grid.shape, np.uint8)
    missing = np.zeros(grid.shape, np.bool_)
    given = {"water_bodies": water_bodies, "land_cover": land_cover, "snow_condition": snow_condition}
    layers, defaults = read_layers(given, grid)
    elevation = float(tags_of(terrain, TERRAIN)["tile_elevation_mean"])
    made = IMPROVEMENTS if improvements is None else tuple(improvements)
    haze = None
    if mode == "improved" and "haze" in made and aerosol_model:
        tile = tile_stack, tile_classification, tile_aot, angles
        haze = _haze(tile, scene, table_of(aerosol_model), elevation * 1e-3, threads)
    read_rows = _reader(stack, terrain, scene, haze, layers, flags, missing)
    image = Image(read_rows, grid.shape, round(grid.resolution))
    refinements = None
    if mode == "improved":
        displaced = _displaced_in(stack, toa_10m, grid, scene, threads) if "parallax" in made and toa_10m else None
        prediction = _prediction(stack, toa_10m, grid, threads) if cloud_model == "s2cloudless" else None
        cast_shadow = read(terrain, TERRAIN, "cast_shadow").astype(np.uint8)
        shadows = _limits(tile_shadow_limits, grid, haze) if tile_shadow_limits else _directions(angles, grid)
        refinements = Refinements(made, shadows, cast_shadow, displaced, cloud_buffer, prediction)
    table = absorption({band: scene.bands[band].response for band in ("B09", "B10")})
    if tile_vapour:
        found = read_vapour(tile_vapour, grid, scene)
    else:
        believed = limits(scene.auxiliary.water_vapour, elevation, scene.sun_zenith)
        found = find_vapour(image, table, believed, threads)
    scl, cloud, snow, shadow_found = classify(
        image, (scene.sun_zenith, scene.sun_azimuth), vapour=found, table=table,
        land_cover=layers["land_cover"], snow_possible=snow_possible, refinements=refinements, threads=threads,
    )  # fmt: skip
    scl = _finished(scl, flags, missing, median_filter)
    cloud[scl == NO_DATA] = snow[scl == NO_DATA] = 0
    if classification_60m:
        coarse = {"SCL": kernels.median_3x3(scl), "CLD": kernels.mean_3x3(cloud), "SNW": kernels.mean_3x3(snow)}
        _write(classification_60m, grid.at(60), coarse, mode, defaults)
    _write_overview(shadow_limits, vapour, grid, scene, shadow_found, found)
    _write(classification, grid, {"SCL": scl, "CLD": cloud, "SNW": snow}, mode, defaults)


def _haze(
    tile: tuple[Path | None, ...], scene: Scene, table: LookUpTable, elevation_km: float, threads: int
) -> Haze | None:
    """Return the haze of the tile, given its stack, classes, aerosol thickness and angles.

    Raises
    ------
    StepError
        If one of these is not given.
    """
    stack, classification, aot, angles = tile
    if not (stack and classification and aot and angles):
        raise StepError("--aerosol-model: --tile-stack, --tile-classification, --tile-aot and --angles go with it")
    return find_haze(Overview(stack, classification, aot, scene, AngleGrid(angles), table, elevation_km), threads)


def _check_grids(stack: Path, grid: Grid, mask: Path | None, terrain: Path) -> None:
    """Raise `StepError` unless the quality flags and the terrain are on the grid of the stack."""
    for path, kind in ((mask, MASK), (terrain, TERRAIN)):
        if path and grid_of(path, kind) != grid:
            raise StepError(f"{path}: its grid is not that of {stack}; delete both and run the stages that make them")


def _reader(
    stack: Path,
    terrain: Path,
    scene: Scene,
    haze: Haze | None,
    layers: Mapping[str, np.ndarray | None],
    flags: np.ndarray,
    missing: np.ndarray,
) -> Reader:
    """Return a reader of bands and maps, which marks in `missing` where there are no data."""
    water, sea = layers["water_bodies"], sea_without_snow(layers["snow_condition"])
    with_dem, grid = "dem" in tags_of(terrain, TERRAIN), grid_of(stack, TOA)

    def read_rows(rows: slice, names: Set[str]) -> tuple[Bands, Maps]:
        bands = _read_bands(stack, rows, grid, names, haze)
        missing[rows] |= bands.nodata
        # No rule shall draw conclusions from what is defective, for its neighbours.
        bands.nodata[flags[rows] & MASK_DEFECTIVE != 0] = True
        heights = _read_terrain(terrain, rows, scene) if with_dem else (None, None, None)
        return bands, fill_maps(bands.nodata.shape, *heights, *(a if a is None else a[rows] for a in (water, sea)))

    return read_rows


def _finished(scl: np.ndarray, flags: np.ndarray, missing: np.ndarray, median_filter: int) -> np.ndarray:
    """Return classes under a median filter (pixels), with class 1 for what the quality flags say, unless missing."""
    if median_filter > 1:
        from scipy import ndimage

        scl = ndimage.median_filter(scl, median_filter)
    scl[(flags & (MASK_SATURATED | MASK_DEFECTIVE) != 0) & ~missing] = SATURATED_DEFECTIVE
    return scl


def _write(path: Path, grid: Grid, bands: dict[str, np.ndarray], mode: str, defaults: list[str]) -> None:
    """Write classes and probabilities, which agree in improved mode."""
    if mode == "improved":
        agree(*bands.values())
    tags = {"default": "; ".join(defaults)} if defaults else {}
    write(path, CLASSIFICATION, grid, bands, compress=True, **tags)


def _write_overview(
    shadow_limits: Path | None,
    vapour: Path | None,
    grid: Grid,
    scene: Scene,
    shadows: ShadowLimits | None,
    found: Vapour,
) -> None:
    """Write what an overview finds for the whole tile: the limits of shadows, 0 (as no data) where none falls.

    And the column of water vapour, as if all ground were at sea level.
    """
    if shadow_limits:
        stored = dict(zip(LIMIT_BANDS, np.zeros((4, *grid.shape), np.uint16), strict=True))
        for band, limit in zip(LIMIT_BANDS[:3], shadows[:3] if shadows else (), strict=False):
            stored[band] = np.rint((np.nan_to_num(limit, nan=TOA.offset) - TOA.offset) / TOA.scale).astype(np.uint16)
        if shadows:
            stored["water"] = shadows.water.astype(np.uint16)
        write(shadow_limits, TOA, grid, stored, compress=True)
    if vapour:
        column = np.rint(np.exp(found.log_column) / air_mass(scene.sun_zenith) / WVP.scale)
        write(vapour, WVP, grid, {"water_vapour": np.clip(column, 1, 65535).astype(np.uint16)}, compress=True)


def _limits(path: Path, grid: Grid, haze: Haze | None) -> ShadowLimits:
    """Read the limits of the whole tile's overview for the pixels of a grid, as they are without the haze."""
    coarse = grid_of(path, TOA)
    b8a, b11, snow = (values(path, TOA, band) for band in LIMIT_BANDS[:3])
    if haze:
        b8a, b11, snow = (haze.without(band, v, coarse) for band, v in (("B8A", b8a), ("B11", b11), ("B8A", snow)))
    water = read(path, TOA, LIMIT_BANDS[3]).astype(np.uint8)
    return ShadowLimits(b8a, b11, snow, water, *nearest_indices(water.shape, *coarse.positions(grid)))


def _directions(angles: Path | None, grid: Grid) -> np.ndarray:
    """Return the directions from clouds to their shadows in equal parts of the scene."""
    if angles is None:
        raise StepError("--angles: cloud shadows are looked for by the angles; give them or choose --mode classic")
    nodes, known = (np.arange(DIRECTIONS) + 0.5) / DIRECTIONS, AngleGrid(angles)
    x, y = np.meshgrid(
        grid.left + nodes * grid.width * grid.resolution, grid.top - nodes * grid.height * grid.resolution
    )
    directions = np.stack(displacement(*known.sun(x, y), *known.view("B8A", x, y)), axis=-1)
    # Where the swath ends there is no view.
    return np.where(np.isfinite(directions), directions, np.nanmean(directions, axis=(0, 1)))


def _displaced_in(stack: Path, toa_10m: Path, grid: Grid, scene: Scene, threads: int) -> np.ndarray:
    if grid_of(toa_10m, TOA).at(20) != grid:
        raise StepError(f"{toa_10m}: its grid is not that of {stack}; delete both and run the stages that make them")

    def read_rows(rows: slice) -> list[np.ndarray]:
        b07, b8a = (values(stack, TOA, band, rows) for band in ("B07", "B8A"))
        return [b07, _b08(toa_10m, rows), b8a]

    displaced = find_displaced(read_rows, grid.shape, threads)
    if not scene.roi:
        return displaced
    result = np.full(grid.shape, UNSEEN, np.uint8)
    sharp = grown(scene.part, scene.whole, DETAIL - 60 * REACH).at(20).within(grid)
    result[sharp] = displaced[sharp]
    return result


def _b08(toa_10m: Path, rows: slice) -> np.ndarray:
    """Return rows of B08 at 20 m: means of its pixels."""
    fine = values(toa_10m, TOA, "B08", slice(2 * rows.start, 2 * rows.stop))
    pairs = fine[::2] + fine[1::2]  # a ninth of the time of `mean` over two axes
    return (pairs[:, ::2] + pairs[:, 1::2]) / 4


def _prediction(stack: Path, toa_10m: Path | None, grid: Grid, threads: int) -> np.ndarray:
    if toa_10m is None:
        raise StepError("--toa-10m: s2cloudless needs B08; give it or choose --cloud-model rules")

    def read_rows(rows: slice) -> dict[str, np.ndarray]:
        bands = {name: values(stack, TOA, name, rows) for name in MODEL_BANDS if name != "B08"}
        bands["B08"] = _b08(toa_10m, rows)
        return {name: np.nan_to_num(band, nan=0) for name, band in bands.items()}

    return cloud_prediction(read_rows, grid.shape, round(grid.resolution), threads)


def _read_bands(stack: Path, rows: slice, grid: Grid, names: Set[str], haze: Haze | None) -> Bands:
    """Read these bands, without the haze; the no-data mask is of these only, and the others are empty."""
    nodata = np.zeros((rows.stop - rows.start, grid.width), np.bool_)
    bands = dict.fromkeys(BANDS, np.empty((0, 0), np.float32))
    for name in names:
        reflectance = kernels.reflectance(read(stack, TOA, name, rows), nodata)
        if name in BANDS:
            bands[name] = haze.without(name, reflectance, grid, rows) if haze else reflectance
    return Bands._make([*(bands[name] for name in BANDS), nodata])


def _read_terrain(terrain: Path, rows: slice, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return elevation, slope and hillshade."""
    elevation, slope, aspect = (values(terrain, TERRAIN, band, rows) for band in ("elevation", "slope", "aspect"))
    return elevation, slope, kernels.hillshade(slope, aspect, scene.sun_zenith, scene.sun_azimuth)


if __name__ == "__main__":
    cli(run)
