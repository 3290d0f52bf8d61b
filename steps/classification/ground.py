"""Ground that the rules take for cloud: told by what parallax and water vapour say, and by its colour."""

import numpy as np

from steps.classification.blocks import by_rows
from steps.classification.classes import is_one_of
from steps.classification.images import share_around
from steps.classification.parallax import UNSEEN
from steps.classification.parts import connected, pixels_in
from steps.classification.rules import OPEN
from steps.classification.signs import LIKE_EARTH, LIKE_WATER
from steps.core.compiled import njit
from steps.sentinel2.scene_classes import CLOUD_HIGH, CLOUD_MEDIUM, SOIL, UNCLASSIFIED, VEGETATION, WATER

#: Pixels of the window of which most must look like earth, and of the one of which at most this share may be displaced
#: in B08; where that is not known, how far B09 / B8A may be above its median over ground, in standard deviations of
#: that, which are at least the last of these.
EARTH_WINDOW = 5
STILL_WINDOW = 15
STILL_DISPLACED = 0.1
EARTH_B09 = 2
LEAST_SPREAD = 0.005
#: What has as much water vapour above it as clear land, in B09 and B10, is no cloud: limits in standard deviations
#: above the mean of land. Fog may lie as low: clouds beyond this size, m2, are left.
VAPOUR_B09 = 1
VAPOUR_B10 = 2
VAPOUR_AREA = 2e6
#: Width in pixels of the rim of a cloud, and the share of it that must be displaced in B08.
RIM = 2
DISPLACED_RIM = 0.25


def ground_without_parallax(scl: np.ndarray, displaced: np.ndarray, signs: np.ndarray, threads: int) -> None:
    """Turn clouds that are not displaced between the bands into bare ground or, by their colour, water, in place.

    The rim of a cloud is what shows parallax; the inside of a large one may be too even for that. The edge of the
    scene is no rim. Of what is displaced hardly anywhere, also that is ground which looks like earth.

    Parameters
    ----------
    scl, signs, displaced : uint8, shape (rows, columns)
        The latter as in `Refinements`.
    threads
        Blocks of rows that are worked on side by side.
    """
    rim, earth = np.empty(scl.shape, np.bool_), np.empty(scl.shape, np.bool_)

    def one(rows: slice, wide: slice, inner: slice) -> None:
        rim[rows] = _rim(scl[wide], displaced[wide])[inner]
        earth[rows] = _still_earth(scl[wide], displaced[wide], signs[wide])[inner]

    by_rows(one, scl.shape[0], STILL_WINDOW // 2, threads)
    labels, count = connected(is_one_of(scl, (CLOUD_MEDIUM, CLOUD_HIGH)))
    moved = pixels_in(labels, count, rim & (displaced == 1))
    ground = moved < DISPLACED_RIM * pixels_in(labels, count, rim)
    _turn_into_ground(scl, labels, ground, earth, signs)


def _rim(scl: np.ndarray, displaced: np.ndarray) -> np.ndarray:
    """Return the rims of clouds, where parallax can tell something."""
    cloud = is_one_of(scl, (CLOUD_MEDIUM, CLOUD_HIGH))
    return cloud & (share_around(cloud.view(np.uint8), 2 * RIM + 1) < 200) & (displaced != UNSEEN)


def _still_earth(scl: np.ndarray, displaced: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return what is `earthy` and displaced hardly anywhere."""
    earth = earthy(scl, signs)
    if earth.any():
        earth &= share_around((displaced == 1).view(np.uint8), STILL_WINDOW) <= 200 * STILL_DISPLACED
    return earth


@njit(cache=True, nogil=True)
def _turn_into_ground(scl, labels, ground, earth, signs):
    """Turn the parts that are `ground` by their label, and what is `earth`, into bare ground or water, in place."""
    for i in range(scl.shape[0]):
        for j in range(scl.shape[1]):
            if ground[labels[i, j]] or earth[i, j]:
                scl[i, j] = WATER if signs[i, j] & LIKE_WATER else SOIL


def earthy(scl: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the clouds and unclassified pixels around which most pixels look like earth.

    Parameters
    ----------
    scl, signs : uint8, shape (rows, columns)
    """
    doubtful = (scl == OPEN) | ((scl >= UNCLASSIFIED) & (scl <= CLOUD_HIGH))
    earth = (signs & LIKE_EARTH != 0).view(np.uint8)
    if not (doubtful.any() and earth.any()):
        return np.zeros_like(doubtful)
    return doubtful & (share_around(earth, EARTH_WINDOW) > 100)


def ground_by_vapour(
    scl: np.ndarray, signs: np.ndarray, b09: np.ndarray, b8a: np.ndarray, b10: np.ndarray, resolution: int
) -> None:
    """Turn clouds that have as much water vapour above them as the clear land into bare ground, in place.

    Fog may lie as low as that, so that of large clouds only what looks like earth is ground.

    Parameters
    ----------
    scl, signs : uint8, shape (rows, columns)
    b09, b8a, b10 : float32, shape (rows, columns)
        Reflectance.
    resolution
        Pixel size, m.
    """
    from scipy import ndimage

    land, earth = (scl == VEGETATION) | (scl == SOIL), earthy(scl, signs)
    ground = land | earth
    if not ground.any():
        return
    ratio = b09 / np.maximum(b8a, np.float32(1e-6))
    if land.any():
        labels, count = connected(is_one_of(scl, (CLOUD_MEDIUM, CLOUD_HIGH)))
        labelled = np.nonzero(labels)
        of_clouds = labels[labelled]
        size = np.bincount(of_clouds, minlength=count + 1)
        low = size * resolution**2 <= VAPOUR_AREA
        for image, deviations in ((ratio, VAPOUR_B09), (b10, VAPOUR_B10)):
            of_land = image[land].astype(np.float64)
            total = np.bincount(of_clouds, image[labelled], minlength=count + 1)
            low &= total < size * (of_land.mean() + deviations * of_land.std())
        scl[labelled] = np.where(low[of_clouds], SOIL, scl[labelled])
    if earth.any():
        of_ground = ratio[ground]
        middle = np.median(of_ground)
        highest = middle + EARTH_B09 * max(1.48 * np.median(np.abs(of_ground - middle)), LEAST_SPREAD)
        scl[earth & (ndimage.uniform_filter(ratio, EARTH_WINDOW, mode="nearest") < highest)] = SOIL
