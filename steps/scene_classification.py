"""Scene classification: clouds, shadows, snow, water and the rest, after the rules of Sen2Cor 2.8."""

import logging
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from steps.atmosphere.responses import reference_response
from steps.atmosphere.tables import water_vapour_transmittance
from steps.classification import images as kernels
from steps.classification.cci_layers import read_layers
from steps.classification.cloud_model import MODEL_BANDS, cloud_prediction
from steps.classification.cloud_shadow import ShadowLimits, displacement
from steps.classification.images import Bands, Maps, Reader
from steps.classification.improved import (
    IMPROVEMENTS,
    UNSEEN,
    Improvement,
    Refinements,
    agree,
    ground_by_vapour,
    refine,
)
from steps.classification.parallax import DISPLACED, REACH, displacement_index
from steps.classification.rules import OPEN
from steps.classification.scene import (
    bright_ground,
    cirrus_over_ground,
    doubtful_over_bright_ground,
    geometric_shadow,
)
from steps.classification.signs import signs
from steps.classification.vapour import (
    Absorption,
    Vapour,
    absorption,
    air_mass,
    find_vapour,
    limits,
    read_vapour,
    without_ground,
)
from steps.core.cli import cli
from steps.core.errors import StepError
from steps.core.mesh import nearest_indices
from steps.core.rasters import BLOCK, Grid, grid_of, read, row_blocks, tags_of, values, write
from steps.l1c.roi import DETAIL, grown
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import CLASSIFICATION, MASK, MASK_DEFECTIVE, MASK_SATURATED, TERRAIN, TOA, WVP
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import NO_DATA, SATURATED_DEFECTIVE, UNCLASSIFIED

logger = logging.getLogger(__name__)

#: Code of the sea in the ESA CCI snow condition map, and the mean over land below which there is no snow at sea.
SEA = 254
LITTLE_SNOW = 10
#: Parts of the scene along each side with a direction from clouds to shadows of their own.
DIRECTIONS = 24
#: Rows computed at a time; few, so that little is read twice for the margins.
ROWS = BLOCK
#: The bands of the kernels' `Bands`, in its order.
BANDS = tuple(name.upper() for name in Bands._fields if name != "nodata")
#: Those that `signs` needs, in its order, and with them the recovery rules.
SIGN_BANDS = ("b02", "b03", "b04", "b8a", "b10", "b11", "b12")
RECOVERY_BANDS = frozenset(name.upper() for name in SIGN_BANDS)
#: Bands of the file of `ShadowLimits`.
LIMIT_BANDS = ("B8A", "B11", "snow", "water")


def classify_scene(
    toa: dict[str, np.ndarray],
    resolution: int,
    sun_zenith: float,
    sun_azimuth: float,
    *,
    dem: np.ndarray | None = None,
    slope: np.ndarray | None = None,
    hillshade: np.ndarray | None = None,
    water_bodies: np.ndarray | None = None,
    land_cover: np.ndarray | None = None,
    snow_condition: np.ndarray | None = None,
    snow_possible: bool = True,
    water_vapour: float | None = None,
    mode: str = "classic",
    improvements: Sequence[str] = IMPROVEMENTS,
    view_zenith: float = 0,
    view_azimuth: float = 0,
    cast_shadow: np.ndarray | None = None,
    cloud_buffer: float = 0,
    cloud_model: str = "rules",
    shadows: ShadowLimits | None = None,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classify a scene held in arrays, all of one shape (rows, columns).

    Parameters
    ----------
    toa
        Band name to float32 reflectance at the top of the atmosphere, 0 where there is no data; the twelve
        `STACK_BANDS`, and for the parallax at 20 m `B08`, as the mean of 2x2 pixels.
    resolution
        Pixel size, m: 20 or 60.
    sun_zenith, sun_azimuth
        Scene means, degrees.
    dem, slope, hillshade
        Elevation (m), slope (degrees) and hillshade (0-255 as `gdaldem hillshade`); all or none.
    water_bodies, land_cover, snow_condition
        ESA CCI maps on the scene's grid.
    snow_possible
        False skips the snow rules.
    water_vapour
        Mean column by auxiliary data, g/cm2; what the image tells of it goes before.
    mode
        `classic`: the rules of Sen2Cor 2.8. `improved`: refined, with probabilities that agree with the classes.
    improvements
        Which of `IMPROVEMENTS` improved mode makes; in that mode only, as are:
    view_zenith, view_azimuth
        Scene means, degrees.
    cast_shadow
        1 where terrain throws a shadow.
    cloud_buffer
        Distance by which clouds grow, m.
    cloud_model
        `rules`, or `s2cloudless`: that model has its say too, and needs `B08`.
    shadows
        Where the shadows of clouds fall, else they are looked for.
    threads
        The result does not depend on it.

    Returns
    -------
    scl, cloud_probability, snow_probability : uint8
        Classes 0-11; percent.

    Raises
    ------
    ValueError
        For another mode, or if only part of `dem`, `slope`, `hillshade` is given.
    """
    if mode not in ("classic", "improved"):
        raise ValueError(f"mode {mode!r}: 'classic' and 'improved' are known")
    if len({array is None for array in (dem, slope, hillshade)}) > 1:
        raise ValueError("give dem, slope and hillshade together")
    given = (dem, slope, hillshade, water_bodies, _sea_without_snow(snow_condition))

    def read_rows(rows: slice, _: Set[str]) -> tuple[Bands, Maps]:
        nodata = np.any([toa[name][rows] == 0 for name in STACK_BANDS], axis=0)
        bands = Bands._make([*(toa[name][rows] for name in BANDS), nodata])
        return bands, fill_maps(nodata.shape, *(array if array is None else array[rows] for array in given))

    refinements = None
    if mode == "improved":
        directions = np.array([[displacement(sun_zenith, sun_azimuth, view_zenith, view_azimuth)]])
        where = directions if shadows is None else shadows
        displaced = None
        if "B08" in toa and resolution == 20:
            displaced = _displaced(
                lambda rows: [toa[b][rows] for b in ("B07", "B08", "B8A")], toa["B08"].shape, threads
            )
        prediction = None
        if cloud_model == "s2cloudless":
            prediction = cloud_prediction(
                lambda rows: {name: toa[name][rows] for name in MODEL_BANDS}, toa["B08"].shape, resolution, threads
            )
        refinements = Refinements(tuple(improvements), where, cast_shadow, displaced, cloud_buffer, prediction)
    shape, table = (
        toa["B02"].shape,
        absorption(water_vapour_transmittance, {band: reference_response("S2A", band) for band in ("B09", "B10")}),
    )
    believed = limits(water_vapour, 0 if dem is None else float(dem.mean()), sun_zenith)
    vapour = find_vapour(read_rows, shape, resolution, table, believed, threads)
    return classify(
        read_rows, shape, resolution, sun_zenith, sun_azimuth,
        vapour=vapour, table=table,
        land_cover=land_cover, snow_possible=snow_possible, refinements=refinements, threads=threads,
    )[:3]  # fmt: skip


def fill_maps(shape, elevation=None, slope=None, hillshade=None, water_bodies=None, sea=None) -> Maps:
    """Gather the maps of a block of shape (rows, columns), neutral values for what is not given."""
    given = ((elevation, 0, "f4"), (slope, 0, "f4"), (hillshade, 255, "f4"), (water_bodies, 255, "u1"), (sea, 0, "u1"))
    return Maps(*(
        np.full(shape, neutral, kind) if array is None else np.ascontiguousarray(array, kind)
        for array, neutral, kind in given
    ))  # fmt: skip


def _sea_without_snow(snow_condition: np.ndarray | None) -> np.ndarray | None:
    """Return 1 at sea, if the map says that there is some, but little snow on land; else None."""
    if snow_condition is None:
        return None
    sea, land = snow_condition == SEA, snow_condition <= 100  # percent; others are codes of what is not known
    total, count = int(snow_condition.sum(where=land, dtype=np.int64)), int(land.sum())
    return sea.view(np.uint8) if 0 < total < LITTLE_SNOW * count else None


def classify(
    read_rows: Reader,
    shape: tuple[int, int],
    resolution: int,
    sun_zenith: float,
    sun_azimuth: float,
    *,
    vapour: Vapour,
    table: Absorption,
    land_cover: np.ndarray | None,
    snow_possible: bool,
    refinements: Refinements | None,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ShadowLimits | None]:
    """Classify a scene that is read by rows; arguments and results as of `classify_scene`.

    Without `refinements` it is the classic one. The last result tells where the shadows of clouds fall, if
    `refinements` look for these.
    """
    read_free = without_ground(read_rows, vapour, table)
    if refinements:
        read_free = _refined(read_free, refinements)
        # The rules that look at the whole scene compare B10 with that of clear ground as it is.
        read_rows = read_free if "cirrus" in refinements.improvements else _refined(read_rows, refinements)
    first, cloud, snow, casts_shadow = (np.empty(shape, np.uint8) for _ in range(4))

    def evidence(rows: slice, wide: slice, inner: slice) -> None:
        results = kernels.evidence(*read_free(wide, frozenset(STACK_BANDS)), snow_possible)
        for whole, part in zip((first, cloud, snow, casts_shadow), results, strict=True):
            whole[rows] = part[inner]

    _by_rows(evidence, shape[0], kernels.EVIDENCE_REACH, threads)
    if not first.any():
        logger.warning("the scene holds no data")
        return first, first.copy(), first.copy(), None
    shadow = None
    if not refinements or "shadow" not in refinements.improvements:
        shadow = geometric_shadow(casts_shadow, resolution, sun_zenith, sun_azimuth, threads)
    scl, kept, seen = _recovered(
        read_rows, first, shadow, _kept_names(refinements, land_cover), bool(refinements), threads
    )
    if refinements and refinements.by_vapour:
        ground_by_vapour(scl, seen, kept["b09"], kept["b8a"], kept["b10"], resolution)
    if land_cover is not None:
        _by_land_cover(scl, kept, land_cover, resolution)
    shadows = None
    if refinements:
        shadows = refine(scl, cloud, snow, kept["b8a"], kept["b11"], seen, resolution, refinements)
    scl[scl == OPEN] = UNCLASSIFIED
    return scl, cloud, snow, shadows


def _kept_names(refinements: Refinements | None, land_cover: np.ndarray | None) -> set[str]:
    """Name the bands and maps that the rules need that look at the whole scene."""
    names = {"b8a", "b11"} if refinements else set()
    if refinements and refinements.by_vapour:
        names |= {"b09", "b10"}
    if land_cover is not None:
        names |= {"b8a", "b09", "b10", "elevation"}
    return names


def _by_land_cover(scl: np.ndarray, kept: dict[str, np.ndarray], land_cover: np.ndarray, resolution: int) -> None:
    """Run the rules that need land cover, in place; what they alone need is dropped from `kept`."""
    b10 = kept.pop("b10")
    bright_ground(scl, b10, kernels.image_ratio(kept.pop("b09"), kept["b8a"]), land_cover, resolution)
    cirrus_over_ground(scl, b10, kept.pop("elevation"))
    doubtful_over_bright_ground(scl, land_cover)


def _recovered(
    read_rows: Reader, first: np.ndarray, shadow: np.ndarray | None, names: set[str], with_signs: bool, threads: int
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Run the recovery rules by rows; return classes, the named bands and maps, and what pixels look like (`signs`).

    The last is found only if it is wanted, and empty of meaning otherwise.
    """
    scl, seen = np.empty_like(first), np.empty_like(first)
    kept = {name: np.empty(first.shape, np.float32) for name in names}
    needed = RECOVERY_BANDS | {name.upper() for name in names} & set(BANDS)

    def recover(rows: slice, wide: slice, inner: slice) -> None:
        bands, maps = read_rows(wide, needed)
        shaded = np.zeros(bands.b02.shape, np.float32) if shadow is None else shadow[wide]
        scl[rows] = kernels.recover(bands, maps, first[wide], shaded)[inner]
        if with_signs:
            seen[rows] = signs(*(getattr(bands, name) for name in SIGN_BANDS))[inner]
        for name, whole in kept.items():
            whole[rows] = getattr(maps if name in Maps._fields else bands, name)[inner]

    _by_rows(recover, first.shape[0], kernels.RECOVER_REACH, threads)
    return scl, kept, seen


def _refined(read_rows: Reader, refinements: Refinements) -> Reader:
    """Hide the elevation, by which the rules limit cirrus, and the hillshade."""

    def read(rows: slice, names: Set[str]) -> tuple[Bands, Maps]:
        bands, maps = read_rows(rows, names)
        if "cirrus" in refinements.improvements:
            maps = maps._replace(elevation=np.zeros_like(maps.elevation))
        if "terrain" in refinements.improvements:
            maps = maps._replace(slope=np.zeros_like(maps.slope), hillshade=np.full_like(maps.hillshade, 255))
        return bands, maps

    return read


def _displaced(read_rows: Callable[[slice], list[np.ndarray]], shape: tuple[int, int], threads: int) -> np.ndarray:
    """Return 1 where parallax displaces B08 against B07 and B8A, which are read by rows in this order."""
    result = np.empty(shape, np.uint8)

    def one(rows: slice, wide: slice, inner: slice) -> None:
        b07, b08, b8a = read_rows(wide)
        result[rows] = displacement_index(b07, b08, b8a)[inner] < DISPLACED

    _by_rows(one, shape[0], REACH, threads)
    return result


def _by_rows(function: Callable[[slice, slice, slice], None], height: int, margin: int, threads: int) -> None:
    """Call `function` for each block: its rows, these with a margin, and the rows within the wider block."""

    def one(rows: slice) -> None:
        wide = slice(max(rows.start - margin, 0), min(rows.stop + margin, height))
        function(rows, wide, slice(rows.start - wide.start, rows.stop - wide.start))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, row_blocks(height, ROWS)))


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

    stack: the twelve bands; terrain: of their pixels, flat without a DEM. mask, classification_60m: the product's
    quality flags at 20 m, and the derived classification; not for an overview.
    shadow_limits: output of an overview: how dark land has to be, where the shadows of clouds fall, to be in them.
    tile_shadow_limits: that of the whole tile's overview, for improved mode: so that a part of a tile has the shadows
    that it has in the whole one. Without it they are looked for in the scene.
    vapour, tile_vapour: likewise the column of water vapour, as above sea level, that tells what of the ground is seen
    in B10.
    water_bodies, land_cover, snow_condition: ESA CCI maps in any projection that cover the scene; the rules that
    need a map that is not given are skipped. snow_possible: whether snow can occur at all. median_filter: size in
    pixels of a median filter over the classes, 0 for none. Saturated and defective pixels become class 1.
    mode: classic (the rules of Sen2Cor 2.8) or improved. Improved mode makes the improvements that are named (all
    unless given), looks for shadows by angles (sun and view angles at the 5 km nodes), for parallax in B08 of toa_10m
    where that is given, and grows clouds by cloud_buffer (m). cloud_model s2cloudless: that model, if it is installed,
    confirms and adds clouds in improved mode; it needs toa_10m.
    """
    if mode == "classic" and cloud_model != "rules":
        raise StepError(f"classification.cloud_model: {cloud_model} needs `classification.mode: improved`")
    grid, scene = grid_of(stack, TOA), Scene.read(metadata)
    for path, kind in ((mask, MASK), (terrain, TERRAIN)):
        if path and grid_of(path, kind) != grid:
            raise StepError(f"{path}: its grid is not that of {stack}; delete both and run the stages that make them")
    flags = read(mask, MASK, "mask") if mask else np.zeros(grid.shape, np.uint8)
    missing = np.zeros(grid.shape, np.bool_)
    given = {"water_bodies": water_bodies, "land_cover": land_cover, "snow_condition": snow_condition}
    layers, defaults = read_layers(given, grid)
    water, sea = layers["water_bodies"], _sea_without_snow(layers["snow_condition"])
    ground = tags_of(terrain, TERRAIN)

    def read_rows(rows: slice, names: Set[str]) -> tuple[Bands, Maps]:
        bands = _read_bands(stack, rows, grid.width, names)
        missing[rows] |= bands.nodata
        # No rule shall draw conclusions from what is defective, for its neighbours.
        bands.nodata[flags[rows] & MASK_DEFECTIVE != 0] = True
        heights = _read_terrain(terrain, rows, scene) if "dem" in ground else (None, None, None)
        return bands, fill_maps(bands.nodata.shape, *heights, *(a if a is None else a[rows] for a in (water, sea)))

    refinements = None
    if mode == "improved":
        made = IMPROVEMENTS if improvements is None else tuple(improvements)
        displaced = _displaced_in(stack, toa_10m, grid, scene, threads) if "parallax" in made and toa_10m else None
        prediction = _prediction(stack, toa_10m, grid, threads) if cloud_model == "s2cloudless" else None
        cast_shadow = read(terrain, TERRAIN, "cast_shadow").astype(np.uint8)
        shadows = _limits(tile_shadow_limits, grid) if tile_shadow_limits else _directions(angles, grid)
        refinements = Refinements(made, shadows, cast_shadow, displaced, cloud_buffer, prediction)
    table = absorption(water_vapour_transmittance, {band: scene.bands[band].response for band in ("B09", "B10")})
    if tile_vapour:
        found = read_vapour(tile_vapour, grid, scene)
    else:
        believed = limits(scene.auxiliary.water_vapour, float(ground["tile_elevation_mean"]), scene.sun_zenith)
        found = find_vapour(read_rows, grid.shape, round(grid.resolution), table, believed, threads)
    scl, cloud, snow, shadow_found = classify(
        read_rows, grid.shape, round(grid.resolution), scene.sun_zenith, scene.sun_azimuth,
        vapour=found, table=table,
        land_cover=layers["land_cover"], snow_possible=snow_possible, refinements=refinements, threads=threads,
    )  # fmt: skip
    if median_filter > 1:
        from scipy import ndimage

        scl = ndimage.median_filter(scl, median_filter)
    scl[(flags & (MASK_SATURATED | MASK_DEFECTIVE) != 0) & ~missing] = SATURATED_DEFECTIVE
    cloud[scl == NO_DATA] = snow[scl == NO_DATA] = 0
    if classification_60m:
        coarse = {"SCL": kernels.median_3x3(scl), "CLD": kernels.mean_3x3(cloud), "SNW": kernels.mean_3x3(snow)}
        _write(classification_60m, grid.at(60), coarse, mode, defaults)
    _write_overview(shadow_limits, vapour, grid, scene, shadow_found, found)
    _write(classification, grid, {"SCL": scl, "CLD": cloud, "SNW": snow}, mode, defaults)


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


def _limits(path: Path, grid: Grid) -> ShadowLimits:
    """Read the limits of the whole tile's overview for the pixels of a grid."""
    b8a, b11, snow = (values(path, TOA, band) for band in LIMIT_BANDS[:3])
    water = read(path, TOA, LIMIT_BANDS[3]).astype(np.uint8)
    return ShadowLimits(b8a, b11, snow, water, *nearest_indices(water.shape, *grid_of(path, TOA).positions(grid)))


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
        b08 = values(toa_10m, TOA, "B08", slice(2 * rows.start, 2 * rows.stop))
        b07, b8a = (values(stack, TOA, band, rows) for band in ("B07", "B8A"))
        return [b07, b08.reshape(b8a.shape[0], 2, b8a.shape[1], 2).mean(axis=(1, 3)), b8a]

    displaced = _displaced(read_rows, grid.shape, threads)
    if not scene.roi:
        return displaced
    result = np.full(grid.shape, UNSEEN, np.uint8)
    sharp = grown(scene.part, scene.whole, DETAIL - 60 * REACH).at(20).within(grid)
    result[sharp] = displaced[sharp]
    return result


def _prediction(stack: Path, toa_10m: Path | None, grid: Grid, threads: int) -> np.ndarray:
    if toa_10m is None:
        raise StepError("--toa-10m: s2cloudless needs B08; give it or choose --cloud-model rules")

    def read_rows(rows: slice) -> dict[str, np.ndarray]:
        bands = {name: values(stack, TOA, name, rows) for name in MODEL_BANDS if name != "B08"}
        b08 = values(toa_10m, TOA, "B08", slice(2 * rows.start, 2 * rows.stop))
        bands["B08"] = b08.reshape(b08.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
        return {name: np.nan_to_num(band, nan=0) for name, band in bands.items()}

    return cloud_prediction(read_rows, grid.shape, round(grid.resolution), threads)


def _read_bands(stack: Path, rows: slice, width: int, names: Set[str]) -> Bands:
    """Read these bands; the no-data mask is of these only, and the others are empty."""
    nodata = np.zeros((rows.stop - rows.start, width), np.bool_)
    bands = dict.fromkeys(BANDS, np.empty((0, 0), np.float32))
    for name in names:
        reflectance = kernels.reflectance(read(stack, TOA, name, rows), nodata)
        if name in BANDS:
            bands[name] = reflectance
    return Bands._make([*(bands[name] for name in BANDS), nodata])


def _read_terrain(terrain: Path, rows: slice, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return elevation, slope and hillshade."""
    elevation, slope, aspect = (values(terrain, TERRAIN, band, rows) for band in ("elevation", "slope", "aspect"))
    return elevation, slope, kernels.hillshade(slope, aspect, scene.sun_zenith, scene.sun_azimuth)


if __name__ == "__main__":
    cli(run)
