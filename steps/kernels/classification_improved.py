"""What the improved scene classification does differently from the classic one, on whole scenes."""

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
    UNCLASSIFIED,
    WATER,
)

#: Clouds of fewer pixels (that touch, also at corners) are no clouds.
SMALLEST_CLOUD = 4
#: Two-way optical thickness in B10 of the water vapour above 6 km, and its scale height (km): fitted to the
#: transmittances of 0.29 above 6 km and 0.96 above 14 km in a mid-latitude summer.
B10_THICKNESS, B10_SCALE = 1.25, 2.05
#: Reflectance of bright ground in B10.
B10_GROUND = 0.3
#: Cloud and snow probability (percent) from and up to which a pixel has its class.
_MEDIUM, _HIGH, _SNOW = round(100 * float(CLOUD_MP)), round(100 * float(CLOUD_HP)), round(100 * float(SNOW_T1)) + 1


def b10_of_ground(elevation: np.ndarray) -> np.ndarray:
    """Return the reflectance in B10 at the top of the atmosphere of bright ground at an elevation (m), without cirrus.

    At sea level the water vapour hides the ground; above 3 km it begins to shine through.
    """
    thickness = B10_THICKNESS * np.exp((6 - elevation / 1000) / B10_SCALE)
    return (B10_GROUND * np.exp(-thickness)).astype(np.float32)


def drop_small_clouds(scl: np.ndarray) -> None:
    """Turn clouds of fewer than `SMALLEST_CLOUD` pixels into unclassified pixels, in place."""
    from scipy import ndimage

    labels, _ = ndimage.label((scl >= CLOUD_MEDIUM) & (scl <= CIRRUS), np.ones((3, 3)))
    small = np.bincount(labels.ravel()) < SMALLEST_CLOUD
    small[0] = False
    scl[small[labels]] = UNCLASSIFIED


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
