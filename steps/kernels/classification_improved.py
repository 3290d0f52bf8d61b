"""What the improved scene classification does differently from the classic one, on whole scenes.

Each of `IMPROVEMENTS` is a mend that can be left out.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from steps.kernels.classification_rules import (
    CIRRUS,
    CLOUD_HIGH,
    CLOUD_HP,
    CLOUD_MEDIUM,
    CLOUD_MP,
    DARK,
    NO_DATA,
    OPEN,
    SHADOW,
    SNOW,
    SNOW_T1,
    SOIL,
    UNCLASSIFIED,
    WATER,
)
from steps.kernels.cloud_shadow import cloud_shadow

#: shadow: cloud shadows by matching; terrain: dark features from the terrain's cast shadows instead of a hillshade;
#: cirrus: B10 freed of what high and dry ground sends through, in place of the limit of 1500 m; parallax: bright
#: ground that looks like cloud; single_pixels: no clouds of one pixel.
Improvement = Literal["shadow", "terrain", "cirrus", "parallax", "single_pixels"]
IMPROVEMENTS: tuple[str, ...] = get_args(Improvement)
#: Two-way optical thickness in B10 of the water vapour above 6 km, and its scale height (km): fitted to the
#: transmittances of 0.29 above 6 km and 0.96 above 14 km in a mid-latitude summer.
B10_THICKNESS, B10_SCALE = 1.25, 2.05
#: Reflectance of bright ground in B10.
B10_GROUND = 0.3
#: Width in pixels of the rim of a cloud, and the share of it that must be displaced in B08.
RIM, DISPLACED_RIM = 2, 0.25
#: Cloud and snow probability (percent) from and up to which a pixel has its class.
_MEDIUM, _HIGH, _SNOW = round(100 * float(CLOUD_MP)), round(100 * float(CLOUD_HP)), round(100 * float(SNOW_T1)) + 1


@dataclass(frozen=True)
class Mends:
    """Where the improved classification departs from the classic one.

    Attributes
    ----------
    improvements
        Which of `IMPROVEMENTS` to apply.
    direction
        From a cloud's image to its shadow: rows and columns in m per m of height (`cloud_shadow.displacement`).
    cast_shadow : uint8, shape (rows, columns)
        1 where terrain throws a shadow; None without a DEM.
    displaced : bool, shape (rows, columns)
        What is high above the ground by parallax; None where B08 is not given.
    cloud_buffer
        Distance by which clouds grow, m.
    """

    improvements: tuple[str, ...]
    direction: tuple[float, float]
    cast_shadow: np.ndarray | None
    displaced: np.ndarray | None
    cloud_buffer: float


def mend(
    scl: np.ndarray,
    cloud: np.ndarray,
    snow: np.ndarray,
    b8a: np.ndarray,
    b11: np.ndarray,
    resolution: int,
    mends: Mends,
) -> None:
    """Apply the mends that look at neighbours, and make the probabilities agree with the classes.

    Parameters
    ----------
    scl, cloud, snow : uint8, shape (rows, columns)
        Classes and probabilities (percent) of the rules; changed in place.
    b8a, b11 : float32, shape (rows, columns)
        Reflectance.
    resolution
        Pixel size, m.
    mends
        What to do.
    """
    if "parallax" in mends.improvements and mends.displaced is not None:
        ground_without_parallax(scl, mends.displaced)
    if "single_pixels" in mends.improvements:
        drop_single_pixels(scl)
    if "shadow" in mends.improvements:
        clouds = (scl >= CLOUD_MEDIUM) & (scl <= CIRRUS)
        land = ~clouds & ~np.isin(scl, (NO_DATA, WATER, SNOW))
        scl[cloud_shadow(clouds, land, b8a, b11, resolution, mends.direction)] = SHADOW
    if "terrain" in mends.improvements and mends.cast_shadow is not None:
        cast_shadow_is_dark(scl, mends.cast_shadow)
    buffer_clouds(scl, mends.cloud_buffer / resolution)
    scl[scl == OPEN] = UNCLASSIFIED
    agree(scl, cloud, snow)


def b10_of_ground(elevation: np.ndarray) -> np.ndarray:
    """Return the reflectance in B10 at the top of the atmosphere of bright ground at an elevation (m), without cirrus.

    At sea level the water vapour hides the ground; above 3 km it begins to shine through.
    """
    thickness = B10_THICKNESS * np.exp((6 - elevation / 1000) / B10_SCALE)
    return (B10_GROUND * np.exp(-thickness)).astype(np.float32)


def drop_single_pixels(scl: np.ndarray) -> None:
    """Turn clouds of one pixel, that touch no other even at a corner, into unclassified pixels, in place."""
    from scipy import ndimage

    cloud = (scl >= CLOUD_MEDIUM) & (scl <= CIRRUS)
    alone = ndimage.correlate(cloud.view(np.uint8), np.ones((3, 3), np.uint8), mode="constant") == 1
    scl[cloud & alone] = UNCLASSIFIED


def ground_without_parallax(scl: np.ndarray, displaced: np.ndarray) -> None:
    """Turn clouds whose rims are not displaced between the bands into bare ground, in place.

    The rim of a cloud is what shows parallax; the inside of a large one may be too even for that. The edge of the
    scene is no rim.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
    displaced : bool, shape (rows, columns)
        What is high above the ground by parallax.
    """
    from scipy import ndimage

    around = np.ones((3, 3))
    cloud = (scl == CLOUD_MEDIUM) | (scl == CLOUD_HIGH)
    labels, count = ndimage.label(cloud, around)
    rim = cloud & ~ndimage.binary_erosion(cloud, around, RIM, border_value=1)
    total = np.bincount(labels[rim], minlength=count + 1)
    ground = np.bincount(labels[rim & displaced], minlength=count + 1) < DISPLACED_RIM * total
    ground[0] = False
    scl[ground[labels]] = SOIL


def buffer_clouds(scl: np.ndarray, pixels: float) -> None:
    """Let medium and high probability clouds grow by a distance, in place; what they cover becomes medium."""
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
    """Turn what terrain shades and looks like water, shadow or nothing into dark features, in place."""
    scl[(cast_shadow == 1) & np.isin(scl, (WATER, SHADOW, OPEN, UNCLASSIFIED))] = DARK


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
