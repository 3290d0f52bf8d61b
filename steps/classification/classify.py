"""Classify a scene that is read by rows: the core of the stage and of `classify_scene`."""

import logging
from collections.abc import Callable, Mapping, Set

import numpy as np

from steps.atmosphere.tables import water_vapour_transmittance
from steps.classification import images as kernels
from steps.classification.blocks import by_rows
from steps.classification.cloud_shadow import ShadowLimits
from steps.classification.ground import ground_by_vapour
from steps.classification.images import Bands, Image, Maps, Reader
from steps.classification.improved import Refinements, refine
from steps.classification.parallax import DISPLACED, REACH, displacement_index
from steps.classification.rules import OPEN
from steps.classification.scene import bright_ground, cirrus_over_ground, doubtful_over_bright_ground, geometric_shadow
from steps.classification.signs import signs
from steps.classification.vapour import Absorption, Vapour, without_ground
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.scene import SpectralResponse
from steps.sentinel2.scene_classes import UNCLASSIFIED

logger = logging.getLogger(__name__)

#: Code of the sea in the ESA CCI snow condition map, and the mean over land below which there is no snow at sea.
SEA = 254
LITTLE_SNOW = 10
#: The bands of the kernels' `Bands`, in its order.
BANDS = tuple(name.upper() for name in Bands._fields if name != "nodata")
#: Those that `signs` needs, in its order, and with them the recovery rules.
SIGN_BANDS = ("b02", "b03", "b04", "b8a", "b10", "b11", "b12")
RECOVERY_BANDS = frozenset(name.upper() for name in SIGN_BANDS)
#: Lowest and highest slant column of water vapour, g/cm2.
COLUMNS = (0.01, 60.0)


def absorption(responses: Mapping[str, SpectralResponse]) -> Absorption:
    """Return the transmittances of water vapour that `steps.classification.vapour` goes by, for a satellite."""
    log_column, elevation = np.linspace(np.log(COLUMNS[0]), np.log(COLUMNS[1]), 80), 1000.0 * np.arange(10)
    tables = (water_vapour_transmittance(responses[b], np.exp(log_column), elevation / 1000) for b in ("B09", "B10"))
    return Absorption(log_column, elevation, *tables)


def fill_maps(shape, elevation=None, slope=None, hillshade=None, water_bodies=None, sea=None) -> Maps:
    """Gather the maps of a block of shape (rows, columns), neutral values for what is not given."""
    given = ((elevation, 0, "f4"), (slope, 0, "f4"), (hillshade, 255, "f4"), (water_bodies, 255, "u1"), (sea, 0, "u1"))
    return Maps(*(
        np.full(shape, neutral, kind) if array is None else np.ascontiguousarray(array, kind)
        for array, neutral, kind in given
    ))  # fmt: skip


def sea_without_snow(snow_condition: np.ndarray | None) -> np.ndarray | None:
    """Return 1 (uint8) at sea, if the CCI snow condition map (percent, codes) knows a sea, but little snow on land.

    None of any other map.
    """
    if snow_condition is None:
        return None
    sea, land = snow_condition == SEA, snow_condition <= 100  # percent; others are codes of what is not known
    total, count = int(snow_condition.sum(where=land, dtype=np.int64)), int(land.sum())
    return sea.view(np.uint8) if 0 < total < LITTLE_SNOW * count else None


def classify(
    image: Image,
    sun: tuple[float, float],
    *,
    vapour: Vapour,
    table: Absorption,
    land_cover: np.ndarray | None,
    snow_possible: bool,
    refinements: Refinements | None,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ShadowLimits | None]:
    """Classify a scene that is read by rows.

    Parameters
    ----------
    image
        The scene.
    sun
        Zenith and azimuth, degrees.
    vapour, table
        Water vapour of the pixels, and what it lets through.
    land_cover
        CCI land cover, uint8 (rows, columns).
    snow_possible
        Whether rules may find snow.
    refinements
        None: the classification is that of Sen2Cor.
    threads
        Blocks of rows that are worked on side by side.

    Returns
    -------
    scl, cloud, snow
        Classes and probabilities (percent), uint8 (rows, columns).
    shadows
        Where the shadows of clouds can fall, if `refinements` look for these.
    """
    read_rows, shape, resolution = image
    read_free = without_ground(read_rows, vapour, table)
    if refinements:
        read_free = _refined(read_free, refinements)
        # The rules that look at the whole scene compare B10 with that of clear ground as it is.
        read_rows = read_free if "cirrus" in refinements.improvements else _refined(read_rows, refinements)
    first, cloud, snow, casts_shadow = _evidence(read_free, shape, snow_possible, threads)
    if not first.any():
        logger.warning("no pixel of %d m holds data", resolution)
        return first, first.copy(), first.copy(), None
    shadow = None
    if not refinements or "shadow" not in refinements.improvements:
        shadow = geometric_shadow(casts_shadow, resolution, *sun, threads)
    scl, kept, seen = _recovered(
        read_rows, first, shadow, _kept_names(refinements, land_cover), bool(refinements), threads
    )
    if refinements and refinements.by_vapour:
        ground_by_vapour(scl, seen, kept["b09"], kept["b8a"], kept["b10"], resolution)
    if land_cover is not None:
        _by_land_cover(scl, kept, land_cover, resolution)
    shadows = None
    if refinements:
        shadows = refine(scl, cloud, snow, kept["b8a"], kept["b11"], seen, resolution, refinements, threads)
    scl[scl == OPEN] = UNCLASSIFIED
    return scl, cloud, snow, shadows


def _evidence(read_rows: Reader, shape: tuple[int, int], snow_possible: bool, threads: int) -> tuple[np.ndarray, ...]:
    """Run the rules that look for clouds and snow; return classes, both probabilities, and what casts a shadow."""
    found = tuple(np.empty(shape, np.uint8) for _ in range(4))

    def of_rows(rows: slice, wide: slice, inner: slice) -> None:
        results = kernels.evidence(*read_rows(wide, frozenset(STACK_BANDS)), snow_possible)
        for whole, part in zip(found, results, strict=True):
            whole[rows] = part[inner]

    by_rows(of_rows, shape[0], kernels.EVIDENCE_REACH, threads)
    return found


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

    by_rows(recover, first.shape[0], kernels.RECOVER_REACH, threads)
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


def find_displaced(read_rows: Callable[[slice], list[np.ndarray]], shape: tuple[int, int], threads: int) -> np.ndarray:
    """Return 1 (uint8) where parallax displaces B08 against B07 and B8A.

    `read_rows` returns reflectance of B07, B08 and B8A in a slice of the rows of `shape`.
    """
    result = np.empty(shape, np.uint8)

    def one(rows: slice, wide: slice, inner: slice) -> None:
        b07, b08, b8a = read_rows(wide)
        result[rows] = displacement_index(b07, b08, b8a)[inner] < DISPLACED

    by_rows(one, shape[0], REACH, threads)
    return result
