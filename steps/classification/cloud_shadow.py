"""Cloud shadows by matching: each cloud's shadow is looked for along the directions of sun and view.

After Zhu and Woodcock (2012), Object-based cloud and cloud shadow detection in Landsat imagery, Remote Sensing of
Environment 118, 83-94, section 3.2: for every cloud the height is searched at which its shadow falls on ground that
is darker than its surroundings (`steps.classification.cloud_heights`), in B8A and B11.

A shadow may lie far from its cloud. So where shadows fall is found in coarse pixels, which can be had of a whole tile
whatever part of it is processed; what is dark there is told pixel by pixel.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from steps.classification.cloud_heights import REGION, cloud_heights, pattern_evidence, shadow_evidence, surroundings
from steps.classification.parts import connected, pixels_in
from steps.core.compiled import njit
from steps.sentinel2.scene_classes import CIRRUS, CLOUD_MEDIUM, NO_DATA, SNOW, WATER

kernel = njit(cache=True, nogil=True)

#: Heights of clouds that are tried, m.
LOWEST = 200.0
HIGHEST = 12000.0
#: Ground that has the first share of its surroundings' reflectance is not dark (0), the second one fully dark (1).
BRIGHT = 0.85
DARK = 0.35
#: Pixels of the matching, m, unless those of the scene are larger.
MATCHED = 80
#: Pixels of the matching between a cloud and its rim, and the width of the rim.
GAP = 2
RIM = 2
#: Clouds longer than twice this are matched in parts of that size, m.
PART = 2400
#: Share of its surroundings' reflectance, in both bands, below which a pixel in a projected shadow is shadow.
DARK_PIXEL = 0.85
#: The same inside a projected shadow of which at least `LEAST_DARK_SHARE` is dark, in B8A and in B11, of which the sky
#: gives less.
FILLED = 1.2, 1.0
LEAST_DARK_SHARE = 0.4
#: The same beside a projected shadow.
BESIDE = 0.655
#: The same on snow, in B8A alone.
DARK_SNOW = 0.5
#: The least shares of a projected shadow that must be seen on land, and be dark there, for water in it to be in shadow.
SURE_SEEN, SURE_DARK = 0.3, 0.75
#: What looks like water but is brighter in B8A and darker in B11 / B8A may be snow in a shadow.
SHADED_SNOW_B8A = 0.08
SHADED_SNOW_B11 = 0.25
#: Ground that only the sky lights may look like water. Share of a pixel of the matching that is water, at least, for it
#: to belong to a body of water, and of a body that lies in projected shadows, at least, for it to be but shadow.
WATER_SHARE = 0.25
SHADED_SHARE = 0.8
#: B8A below which what looks like water is no land in a shadow. Muddy water may be brighter, but takes nearly all light
#: of B11: least B11 / B8A of land that only the sky lights.
OPEN_WATER = 0.045
MUDDY_WATER_B11 = 0.2
#: Radius of the surroundings, m.
SURROUNDINGS = 3000
#: Reflectance below which ground may be lit by the sky alone, whose light has little of B11, and the share of the
#: surroundings' reflectance.
UNLIT_B8A, UNLIT_B11 = 0.20, 0.10
UNLIT_SHARE_B8A, UNLIT_SHARE_B11 = 0.65, 0.45
#: Least area of such ground for it to be the shadow of a cloud that is not seen, m2, and how high such clouds are, m.
LEAST_UNLIT = 100**2
UNSEEN_CLOUD = 4000.0
#: A pixel and those around it.
_AROUND = np.ones((3, 3), np.bool_)


@kernel
def block_mean(image, valid, size):
    """Return the mean of the valid pixels in blocks of `size` x `size`, float32; NaN where there is none.

    `image` and `valid` have one shape (rows, columns); rows and columns beyond the last whole block are left out.
    """
    rows, columns = image.shape[0] // size, image.shape[1] // size
    result = np.empty((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            total, count = 0.0, 0
            for y in range(i * size, i * size + size):
                for x in range(j * size, j * size + size):
                    if valid[y, x]:
                        total += image[y, x]
                        count += 1
            result[i, j] = total / count if count else np.nan
    return result


def _share(mask: np.ndarray, size: int) -> np.ndarray:
    """Return the share of a mask in blocks of `size` x `size`."""
    return block_mean(mask.astype(np.float32), np.ones(mask.shape, np.bool_), size)


def displacement(sun_zenith, sun_azimuth, view_zenith, view_azimuth):
    """Return rows and columns (m down, m right) from a cloud's image to its shadow for 1 m of height.

    A cloud is seen displaced away from the sensor, and its shadow lies away from the sun. Angles in degrees, numbers
    or arrays.
    """
    sun, view = np.tan(np.radians(sun_zenith)), np.tan(np.radians(view_zenith))
    sun_azimuth, view_azimuth = np.radians(sun_azimuth), np.radians(view_azimuth)
    down = sun * np.cos(sun_azimuth) - view * np.cos(view_azimuth)
    right = -sun * np.sin(sun_azimuth) + view * np.sin(view_azimuth)
    return down, right


@kernel
def project(order, starts, heights, darkness, moves):
    """Return where the shadows of clouds fall.

    Parameters
    ----------
    order, starts : int
        Flat indices of the pixels of all clouds, cloud by cloud, and where each begins (and the last ends).
    heights : float32, shape (clouds,)
        m, 0 where it is not known.
    darkness : float32, shape (rows, columns)
        0-1, NaN where it cannot be judged.
    moves : float, shape (clouds, 2)
        Rows and columns from each cloud to its shadow for 1 m of height.

    Returns
    -------
    uint8, shape of `darkness`
        1 where the shadow of a cloud with a known height falls, 2 where most of such a shadow is dark, 3 where so much
        is that water in it is in shadow, too.
    """
    rows, columns = darkness.shape
    result = np.zeros(darkness.shape, np.uint8)
    for c in range(heights.size):
        if heights[c] == 0:
            continue
        dy, dx = int(np.rint(heights[c] * moves[c, 0])), int(np.rint(heights[c] * moves[c, 1]))
        seen, dark = 0, 0
        for write in (False, True):
            value = 2 if seen > 0 and dark >= LEAST_DARK_SHARE * seen else 1
            if value == 2 and seen >= SURE_SEEN * (starts[c + 1] - starts[c]) and dark >= SURE_DARK * seen:
                value = 3
            for k in range(starts[c], starts[c + 1]):
                y, x = order[k] // columns + dy, order[k] % columns + dx
                if 0 <= y < rows and 0 <= x < columns:
                    if write:
                        result[y, x] = max(result[y, x], value)
                    elif not np.isnan(darkness[y, x]):
                        seen += 1
                        dark += darkness[y, x] > 0
    return result


def _by_label(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of all labelled pixels, label by label, and where in them each label begins."""
    labelled = np.flatnonzero(labels)
    order = labelled[np.argsort(labels.ravel()[labelled], kind="stable")]
    return order, np.searchsorted(labels.ravel()[order], np.arange(1, count + 2))


def label_parts(cloud: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Label clouds of a mask from 1 on, large ones in parts of `size` pixels; return labels (int) and their number."""
    from scipy import ndimage

    labels, count = connected(cloud)
    large = np.zeros(count + 1, np.int64)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        large[label] = any(side.stop - side.start > 2 * size for side in box)
    if not large.any():
        return labels, count
    rows, columns = (np.arange(n) // size for n in cloud.shape)
    block = rows[:, None] * (columns[-1] + 1) + columns + 1
    labelled = labels > 0
    keys = labels * (block.max() + 1) + block * large[labels]
    values, labels[labelled] = np.unique(keys[labelled], return_inverse=True)
    labels[labelled] += 1
    return labels, len(values)


class ShadowLimits(NamedTuple):
    """Which land is in the shadow of a cloud: what is darker than these limits in both bands.

    Attributes
    ----------
    b8a, b11 : float32, shape (m, n)
        Reflectance, in coarse pixels; NaN where no shadow falls.
    snow : float32, shape (m, n)
        The same of snow in B8A.
    water : uint8, shape (m, n)
        1 where what looks like water is land or snow in the shadow if it is as dark as either and brighter than water,
        2 where it is in shadow however dark.
    rows, columns : int, shapes (rows,) and (columns,)
        The coarse row and column that each row and column of the scene lies in.
    """

    b8a: np.ndarray
    b11: np.ndarray
    snow: np.ndarray
    water: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def shadow_limits(
    scl: np.ndarray, b8a: np.ndarray, b11: np.ndarray, resolution: int, directions: np.ndarray, threads: int = 1
) -> ShadowLimits:
    """Find where the shadows of clouds fall, and how dark ground has to be there.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
        Classes; what is land, and has none yet, may have any other number.
    b8a, b11 : float32, shape (rows, columns)
        Reflectance.
    resolution
        Pixel size, m.
    directions : float, shape (m, n, 2)
        From `displacement`, for each of m x n equal parts of the scene.
    threads
        Heights that are tried side by side.
    """
    from scipy import ndimage

    size = max(1, min(MATCHED // resolution, *scl.shape))
    pixel = resolution * size
    # What is left at the end belongs to the last coarse pixel.
    at_pixels = [np.minimum(np.arange(n) // size, n // size - 1) for n in scl.shape]
    rows, columns = (n // size * size for n in scl.shape)
    scl, b8a, b11 = (image[:rows, :columns] for image in (scl, b8a, b11))
    cloud, water, snow, missing = (scl >= CLOUD_MEDIUM) & (scl <= CIRRUS), scl == WATER, scl == SNOW, scl == NO_DATA
    coarse_cloud = _share(cloud, size) > 0.5
    labels, count = label_parts(coarse_cloud, round(PART / pixel))
    if not count:
        nowhere = np.full(coarse_cloud.shape, np.nan, np.float32)
        return ShadowLimits(nowhere, nowhere, nowhere, np.zeros(nowhere.shape, np.uint8), *at_pixels)
    ground = ~(cloud | missing)
    bands = [block_mean(band, ground & ~(water | snow), size) for band in (b8a, b11)]
    around = [surroundings(band, SURROUNDINGS / pixel) for band in bands]
    share = np.maximum(bands[0] / around[0], bands[1] / around[1])
    white = block_mean(b8a, snow | (water & (b8a > SHADED_SNOW_B8A) & (b11 < SHADED_SNOW_B11 * b8a)), size)
    on_snow = block_mean(b8a, snow, size)
    around_snow = surroundings(on_snow, SURROUNDINGS / pixel)
    snowy = around_snow > SHADED_SNOW_B8A
    share = np.where(np.isnan(share) & snowy, white / around_snow, share).astype(np.float32)
    shadow, any_height = _projected(coarse_cloud, labels, count, share, directions, pixel, threads)
    bodies = _share(water, size) > WATER_SHARE
    if any_height:
        seen = [block_mean(band, ground, size) for band in (b8a, b11)]
        beyond = _within(_share(missing, size) > 0.5, UNSEEN_CLOUD * directions.mean((0, 1)) / pixel)
        unlit = _mostly_in(beyond, _unlit(seen, around, bodies, snowy), LEAST_UNLIT / pixel**2)
        shadow[(shadow == 0) & unlit] = 1
    inside = ndimage.binary_erosion(shadow >= 2, _AROUND, border_value=1)
    how_dark = np.where(inside, 2, np.minimum(shadow, 1))
    how_dark[(shadow == 0) & ndimage.binary_dilation(shadow, _AROUND)] = 3
    of_b8a, of_b11 = (
        np.array((np.nan, DARK_PIXEL, filled, BESIDE), np.float32)[how_dark] * of_band
        for filled, of_band in zip(FILLED, around, strict=True)
    )
    on_snow[how_dark > 0] = np.nan
    on_snow = np.where(how_dark > 0, DARK_SNOW * surroundings(on_snow, SURROUNDINGS / pixel), np.float32(np.nan))
    in_water = np.where(shadow == 3, np.uint8(2), _no_water(bodies, how_dark > 0))
    return ShadowLimits(of_b8a, of_b11, on_snow, in_water, *at_pixels)


def _projected(
    coarse_cloud: np.ndarray,
    labels: np.ndarray,
    count: int,
    share: np.ndarray,
    directions: np.ndarray,
    pixel: float,
    threads: int,
) -> tuple[np.ndarray, bool]:
    """Return where the shadows of clouds fall, as `project` does, and whether the height of any cloud is known.

    Parameters
    ----------
    coarse_cloud : bool, shape (rows, columns)
        In pixels of the matching.
    labels, count
        From `label_parts`.
    share : float32, same shape
        Reflectance next to that of the surroundings, NaN where the ground is not seen.
    directions, threads
        As of `shadow_limits`.
    pixel
        Size of the pixels, m.
    """
    from scipy import ndimage

    darkness = np.clip((BRIGHT - share) / (BRIGHT - DARK), 0, 1).astype(np.float32)
    clouds = _by_label(labels, count)
    rim = ndimage.maximum_filter(labels, 2 * (GAP + RIM) + 1)
    rim[ndimage.maximum_filter(coarse_cloud, 2 * GAP + 1)] = 0
    centres = np.array(ndimage.center_of_mass(coarse_cloud, labels, np.arange(1, count + 1)))
    part = (centres / labels.shape * directions.shape[:2]).astype(int)
    moves = directions[part[:, 0], part[:, 1]] / pixel
    heights = np.arange(LOWEST, HIGHEST, pixel / max(np.hypot(*directions.mean((0, 1))), 0.05))
    rims, some = _by_label(rim, count), np.array_split(heights, min(threads, heights.size))
    with ThreadPoolExecutor(threads) as pool:
        pattern = pool.submit(pattern_evidence, coarse_cloud, share, pixel, directions, heights)
        found = pool.map(lambda few: shadow_evidence(*clouds, *rims, darkness, moves, few, pixel), some)
        evidence = np.hstack(list(found))
    matched = cloud_heights(evidence, heights, (centres * pixel / REGION).astype(int), pattern.result())
    return np.maximum(*(project(*clouds, layer, darkness, moves) for layer in matched)), bool(matched.any())


def _unlit(bands: list[np.ndarray], around: list[np.ndarray], bodies: np.ndarray, snowy: np.ndarray) -> np.ndarray:
    """Return which ground only the sky seems to light.

    Most of it looks like water, which is told from it by `OPEN_WATER` and, unless snow is near, by `MUDDY_WATER_B11`.
    Pixels beside water are mixtures that would be taken for such ground.

    Parameters
    ----------
    bands, around
        B8A and B11 of the ground, and of the land around.
    bodies, snowy : bool
        What looks like water, and where snow is near.
    """
    from scipy import ndimage

    (b8a, b11), (b8a_around, b11_around) = bands, around
    dark = b8a < np.minimum(UNLIT_B8A, UNLIT_SHARE_B8A * b8a_around)
    dark &= b11 < np.minimum(UNLIT_B11, UNLIT_SHARE_B11 * b11_around)
    water = bodies & ((b8a < OPEN_WATER) | ((b11 < MUDDY_WATER_B11 * b8a) & ~snowy))
    return dark & ~ndimage.binary_dilation(water, _AROUND)


def _within(missing: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Return what lies within so many rows and columns of the edge of the scene, or of where data are missing."""
    clouds = [np.arange(n) - round(m) for n, m in zip(missing.shape, move, strict=True)]
    inside = [np.clip(at, 0, n - 1) for at, n in zip(clouds, missing.shape, strict=True)]
    outside = np.logical_or.outer(*(at != within for at, within in zip(clouds, inside, strict=True)))
    return outside | missing[np.ix_(*inside)]


def _mostly_in(place: np.ndarray, mask: np.ndarray, least: float) -> np.ndarray:
    """Return the connected parts of a mask of which half, and at least so many pixels, are in a place."""
    labels, count = connected(mask)
    inside = pixels_in(labels, count, place)
    return mask & ((inside >= least) & (2 * inside >= pixels_in(labels, count, mask)))[labels]


def _no_water(bodies: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """Return 1 where what looks like water is shadow: its body does not reach beyond."""
    labels, count = connected(bodies)
    nothing_else = pixels_in(labels, count, shadow) >= SHADED_SHARE * pixels_in(labels, count, bodies)
    nothing_else[0] = True  # a few pixels by themselves
    return (shadow & nothing_else[labels]).view(np.uint8)


@kernel
def in_shadow(scl, b8a, b11, limits):
    """Return the pixels of ground that are darker than the limits.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
        Classes, as of `shadow_limits`.
    b8a, b11 : float32, shape (rows, columns)
        Reflectance.
    limits
        `ShadowLimits` of the scene.

    Returns
    -------
    bool, shape (rows, columns)
    """
    result = np.zeros(scl.shape, np.bool_)
    for i in range(scl.shape[0]):
        y = limits.rows[i]
        for j in range(scl.shape[1]):
            x, c = limits.columns[j], scl[i, j]
            blue = limits.water[y, x] if c == WATER else 0
            if blue == 1 and b8a[i, j] < OPEN_WATER:
                continue
            result[i, j] = blue == 2
            if c == SNOW or blue:
                result[i, j] |= b8a[i, j] < limits.snow[y, x]
            if blue or (c != NO_DATA and c != WATER and c != SNOW and not CLOUD_MEDIUM <= c <= CIRRUS):
                result[i, j] |= b8a[i, j] < limits.b8a[y, x] and b11[i, j] < limits.b11[y, x]
    return result
