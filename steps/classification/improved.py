"""What the improved scene classification does differently from the classic one, on whole scenes.

Each of `IMPROVEMENTS` is a refinement that can be left out.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from steps.classification.blocks import change_by_rows
from steps.classification.cloud_shadow import MATCHED, ShadowLimits, in_shadow, shadow_limits
from steps.classification.ground import ground_without_parallax
from steps.classification.images import share_around
from steps.classification.parts import connected, pixels_in, reclassify
from steps.classification.rules import CLOUD_HP, CLOUD_MP, OPEN, SNOW_T1
from steps.classification.shore import SHORE_REACH, shore_is_water
from steps.classification.signs import (
    HIGH_ICE,
    LIKE_GLINT,
    LIKE_LAND,
    LIKE_SNOW,
    LIKE_SURF,
    LIKE_VEIL,
)
from steps.core.compiled import njit
from steps.sentinel2.scene_classes import (
    CIRRUS,
    CLOUD_HIGH,
    CLOUD_MEDIUM,
    DARK,
    NO_DATA,
    SHADOW,
    SNOW,
    UNCLASSIFIED,
    VEGETATION,
    WATER,
)

#: shadow: cloud shadows by matching; terrain: dark features from the terrain's cast shadows instead of a hillshade;
#: cirrus: also above 1500 m; haze: reflectance as it would be under little aerosol and a higher sun;
#: thin_cloud: veils over land that the rules leave unclassified or call vegetation; snow: snow told from cloud and surf
#: by B10 and context; parallax: bright ground that looks like cloud; vapour: the same by B09 and B10 where B08 is not
#: given; glint: dark water in the glint of the sun; shore: pixels beside water that are water for the most part;
#: single_pixels: no clouds of one pixel.
Improvement = Literal[
    "shadow", "terrain", "cirrus", "haze", "thin_cloud", "snow", "parallax", "vapour", "glint", "shore", "single_pixels"
]
IMPROVEMENTS: tuple[str, ...] = get_args(Improvement)
#: Widths of the windows (pixels) of which half must look like thin cloud, and like water.
THIN_WINDOW = 9
GLINT_WINDOW = 9
#: Surf is narrower than twice the first of these, and within the second of it there is no broader snow, but water and
#: a shore: m; least shares of water and of land there.
SURF_REACH = 100
SURF_AROUND = 700
SURF_WATER = 0.25
SURF_LAND = 0.01
#: Cloud and snow probability (percent) from and up to which a pixel has its class.
_MEDIUM = round(100 * float(CLOUD_MP))
_HIGH = round(100 * float(CLOUD_HP))
_SNOW = round(100 * float(SNOW_T1)) + 1


@dataclass(frozen=True)
class Refinements:
    """Where the improved classification departs from the classic one.

    Attributes
    ----------
    improvements
        Which of `IMPROVEMENTS` to apply.
    shadows
        Where those of clouds fall; or to find that, the directions from a cloud's image to its shadow in m x n equal
        parts of the scene, float, shape (m, n, 2) (`cloud_shadow.displacement`).
    cast_shadow : uint8, shape (rows, columns)
        1 where terrain throws a shadow; None without a DEM.
    displaced : uint8, shape (rows, columns)
        1 where something is high above the ground by parallax, `parallax.UNSEEN` where the bands are too coarse to
        tell; None where B08 is not given.
    cloud_buffer
        Distance by which clouds grow, m.
    prediction : uint8, shape (rows, columns)
        What the s2cloudless model says of clouds (0 clear, 1 near a cloud, 2 cloud); None does without.
    """

    improvements: tuple[str, ...]
    shadows: ShadowLimits | np.ndarray
    cast_shadow: np.ndarray | None
    displaced: np.ndarray | None
    cloud_buffer: float
    prediction: np.ndarray | None = None

    @property
    def by_vapour(self) -> bool:
        """Whether water vapour has to tell bright ground from clouds."""
        return "vapour" in self.improvements and self.displaced is None


def refine(
    scl: np.ndarray,
    cloud: np.ndarray,
    snow: np.ndarray,
    b8a: np.ndarray,
    b11: np.ndarray,
    signs: np.ndarray,
    resolution: int,
    refinements: Refinements,
    threads: int,
) -> ShadowLimits | None:
    """Apply the refinements that look at neighbours, and make the probabilities agree with the classes.

    Returns where the shadows of clouds fall, if that is asked.

    Parameters
    ----------
    scl, cloud, snow : uint8, shape (rows, columns)
        Classes and probabilities (percent) of the rules; changed in place.
    b8a, b11 : float32, shape (rows, columns)
        Reflectance.
    signs : uint8, shape (rows, columns)
        From `classification_signs.signs`.
    resolution
        Pixel size, m.
    refinements
        What to do.
    threads
        Blocks of rows that are worked on side by side.
    """
    if "thin_cloud" in refinements.improvements:
        change_by_rows(thin_clouds, scl, signs, margin=THIN_WINDOW // 2, threads=threads)
    if refinements.prediction is not None:
        clouds_of_model(scl, refinements.prediction)
    if "snow" in refinements.improvements:
        surf_is_water(scl, signs, resolution)
        snow_by_context(scl, signs)
    if "parallax" in refinements.improvements and refinements.displaced is not None:
        ground_without_parallax(scl, refinements.displaced, signs, threads)
    for name, change, images, reach in (
        ("glint", glint_is_water, (signs,), GLINT_WINDOW // 2),
        ("shore", shore_is_water, (b8a, b11), SHORE_REACH),
        ("single_pixels", drop_single_pixels, (), 1),
    ):
        if name in refinements.improvements:
            change_by_rows(change, scl, *images, margin=reach, threads=threads)
    shadows = None
    if "shadow" in refinements.improvements:
        if isinstance(refinements.shadows, ShadowLimits):
            shadows = refinements.shadows
        else:
            shadows = shadow_limits(scl, b8a, b11, resolution, refinements.shadows, threads)
        # What glints is in the sun.
        glint = (scl == WATER) & (signs & LIKE_GLINT != 0)
        scl[in_shadow(scl, b8a, b11, shadows) & ~glint] = SHADOW
    if "terrain" in refinements.improvements and refinements.cast_shadow is not None:
        cast_shadow_is_dark(scl, refinements.cast_shadow)
    buffer_clouds(scl, refinements.cloud_buffer / resolution)
    scl[scl == OPEN] = UNCLASSIFIED
    agree(scl, cloud, snow)
    return shadows


def clouds_of_model(scl: np.ndarray, prediction: np.ndarray) -> None:
    """Let the s2cloudless model confirm the clouds of the rules, and add those that they missed, in place.

    Medium and high probability clouds that the model holds for clear are unclassified; what it holds for cloud and is
    no cloud yet is a medium probability cloud, but for snow, which it knows less well than the rules.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
    prediction : uint8, shape (rows, columns)
        0 clear, 1 near a cloud, 2 cloud.
    """
    cloud = (scl == CLOUD_MEDIUM) | (scl == CLOUD_HIGH)
    scl[cloud & (prediction == 0)] = UNCLASSIFIED
    scl[(prediction == 2) & ~cloud & (scl != NO_DATA) & (scl != SNOW) & (scl != CIRRUS)] = CLOUD_MEDIUM


def thin_clouds(scl: np.ndarray, signs: np.ndarray) -> None:
    """Turn vegetation and unclassified pixels that look like thin cloud, as most around do, into cloud, in place.

    Clouds around count as well, so that a veil joins the cloud that it belongs to.

    Parameters
    ----------
    scl, signs : uint8, shape (rows, columns)
    """
    found = (signs & LIKE_VEIL != 0) & ((scl == OPEN) | (scl == UNCLASSIFIED) | (scl == VEGETATION))
    if not found.any():
        return
    veiled = (found | (scl == CLOUD_MEDIUM) | (scl == CLOUD_HIGH)).view(np.uint8)
    mostly = share_around(veiled, THIN_WINDOW) > 100
    scl[found & mostly] = CLOUD_MEDIUM


def glint_is_water(scl: np.ndarray, signs: np.ndarray) -> None:
    """Turn dark pixels that look like water in the glint of the sun, amid such and other water, into water, in place.

    Parameters
    ----------
    scl, signs : uint8, shape (rows, columns)
    """
    found = (scl == DARK) & (signs & LIKE_GLINT != 0)
    if found.any():
        scl[found & (share_around((found | (scl == WATER)).view(np.uint8), GLINT_WINDOW) > 100)] = WATER


def surf_is_water(scl: np.ndarray, signs: np.ndarray, resolution: int) -> None:
    """Turn patches of snow most of which is surf into water, in place.

    Surf is narrow, dull, by water and by a shore, and far from broader snow; what is around is looked at in the coarse
    pixels of `cloud_shadow`.

    Parameters
    ----------
    scl, signs : uint8, shape (rows, columns)
    resolution
        Pixel size, m.
    """
    from scipy import ndimage

    snow = scl == SNOW
    surf = snow & (signs & LIKE_SURF != 0)
    if not surf.any():
        return
    size = max(1, min(MATCHED // resolution, *scl.shape))
    reach, around = (max(round(distance / (size * resolution)), 1) for distance in (SURF_REACH, SURF_AROUND))
    cover, water, land = _shares(scl, signs, size)
    broad = ndimage.minimum_filter((cover > 0.5).view(np.uint8), 2 * reach + 1)
    shore = ndimage.maximum_filter(broad, 2 * (reach + around) + 1) == 0
    for share, least in ((water, SURF_WATER), (land, SURF_LAND)):
        shore &= ndimage.uniform_filter(share, 2 * around + 1, mode="nearest") >= least
    _drop_elsewhere(surf, shore, size)
    if not surf.any():
        return
    labels, count = connected(snow)
    white, pixels = (pixels_in(labels, count, place) for place in (surf, snow))
    reclassify(scl, labels, 2 * white > pixels, WATER)


@njit(cache=True, nogil=True)
def _shares(scl, signs, size):
    """Return which shares of blocks of `size` x `size` pixels are snow, water, and look like land.

    `scl` and `signs` have one shape (rows, columns); rows and columns beyond the last whole block are left out. The
    result is float32, shape (3, rows, columns).
    """
    rows, columns = scl.shape[0] // size, scl.shape[1] // size
    found = np.zeros((3, rows, columns), np.float32)
    for i in range(rows * size):
        for j in range(columns * size):
            y, x = i // size, j // size
            found[0, y, x] += scl[i, j] == SNOW
            found[1, y, x] += scl[i, j] == WATER
            found[2, y, x] += signs[i, j] & LIKE_LAND != 0
    return found / np.float32(size**2)


@njit(cache=True, nogil=True)
def _drop_elsewhere(mask, place, size):
    """Take out of a mask (rows, columns) what lies in no block of `size` x `size` pixels that is in a place, in place.

    Rows and columns beyond the last whole block belong to that.
    """
    for i in range(mask.shape[0]):
        y = min(i // size, place.shape[0] - 1)
        for j in range(mask.shape[1]):
            if mask[i, j]:
                mask[i, j] = place[y, min(j // size, place.shape[1] - 1)]


def snow_by_context(scl: np.ndarray, signs: np.ndarray) -> None:
    """Tell snow from cloud by B10 and by what lies around, in place.

    Snow that B10 sees is ice cloud, or lies under it. Clouds and unclassified pixels that look like snow and hang
    together with snow are snow.

    Parameters
    ----------
    scl, signs : uint8, shape (rows, columns)
    """
    scl[(scl == SNOW) & (signs & HIGH_ICE != 0)] = CIRRUS
    snow = scl == SNOW
    if not snow.any():
        return
    doubtful = (scl == OPEN) | (scl == UNCLASSIFIED) | (scl == CLOUD_MEDIUM) | (scl == CLOUD_HIGH)
    labels, count = connected(snow | (doubtful & (signs & LIKE_SNOW != 0)))
    reclassify(scl, labels, pixels_in(labels, count, snow) > 0, SNOW)


@njit(cache=True, nogil=True)
def drop_single_pixels(scl):
    """Turn clouds of one pixel, that touch no other even at a corner, into unclassified pixels, in place (uint8)."""
    rows, columns = scl.shape
    for i in range(rows):
        for j in range(columns):
            if CLOUD_MEDIUM <= scl[i, j] <= CIRRUS:
                touching = 0
                for k in range(max(i - 1, 0), min(i + 2, rows)):
                    for m in range(max(j - 1, 0), min(j + 2, columns)):
                        touching += CLOUD_MEDIUM <= scl[k, m] <= CIRRUS
                if touching == 1:
                    scl[i, j] = UNCLASSIFIED


def buffer_clouds(scl: np.ndarray, pixels: float) -> None:
    """Let medium and high probability clouds grow by a distance, in pixels; what they cover becomes medium.

    `scl` (uint8 classes) is changed in place.
    """
    from scipy import ndimage

    cloud = (scl == CLOUD_MEDIUM) | (scl == CLOUD_HIGH)
    if pixels < 1 or not cloud.any():
        return
    reach = int(pixels)
    near = cloud
    for shift in range(-reach, reach + 1):
        half = int(np.sqrt(pixels**2 - shift**2))
        row = ndimage.maximum_filter1d(cloud, 2 * half + 1, axis=1)
        grown = np.zeros_like(cloud)
        grown[max(shift, 0) : cloud.shape[0] + min(shift, 0)] = row[max(-shift, 0) : cloud.shape[0] - max(shift, 0)]
        near = near | grown
    scl[near & ~cloud & (scl != NO_DATA)] = CLOUD_MEDIUM


def cast_shadow_is_dark(scl: np.ndarray, cast_shadow: np.ndarray) -> None:
    """Turn what terrain shades (`cast_shadow` 1) and looks like water, shadow or nothing into class 2, in place."""
    shaded = np.nonzero(cast_shadow == 1)
    classes = scl[shaded]
    scl[shaded] = np.where(np.isin(classes, (WATER, SHADOW, OPEN, UNCLASSIFIED)), DARK, classes)


def agree(scl: np.ndarray, cloud: np.ndarray, snow: np.ndarray) -> None:
    """Bring the probabilities (percent) in line with the final classes, in place.

    High probability clouds have 80 % or more, medium and cirrus 20-79 %, everything else less than 20 %; snow has
    more than 12 %, everything else not; no data has 0.
    """
    medium = (scl == CLOUD_MEDIUM) | (scl == CIRRUS)
    np.maximum(cloud, _HIGH, out=cloud, where=scl == CLOUD_HIGH)
    np.clip(cloud, _MEDIUM, _HIGH - 1, out=cloud, where=medium)
    np.minimum(cloud, _MEDIUM - 1, out=cloud, where=~medium & (scl != CLOUD_HIGH))
    np.maximum(snow, _SNOW, out=snow, where=scl == SNOW)
    np.minimum(snow, _SNOW - 1, out=snow, where=scl != SNOW)
    cloud[scl == NO_DATA] = snow[scl == NO_DATA] = 0
