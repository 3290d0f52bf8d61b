"""Cloud shadows by matching: each cloud's shadow is looked for along the directions of sun and view.

After Zhu and Woodcock (2012), Object-based cloud and cloud shadow detection in Landsat imagery, Remote Sensing of
Environment 118, 83-94, section 3.2: for every cloud the height is searched at which its shadow falls on ground that
is darker than its surroundings. Here it is how dark that counts, in B8A and B11 against the clear land around, and
how much darker than just outside the shadow, so that a forest is not taken for the shadow beside it. Clouds of one
region are often of one height: what each of them says of it is summed, and decides for those that say little. Where
clouds are so dense that each has the shadows of others around its own, their pattern is looked for on the ground.

A shadow may lie far from its cloud. So where shadows fall is found in coarse pixels, which can be had of a whole tile
whatever part of it is processed; what is dark there is told pixel by pixel.
"""

from typing import NamedTuple

import numpy as np

from steps.core.compiled import helper, njit
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
#: Area under a cloud and under its rim that must be seen, and the area that tells as much as one pixel, since
#: neighbours are alike, m2.
LEAST_SEEN = 120**2
ALIKE_AREA = 180**2
#: Standard deviation of the darkness of clear ground.
SPREAD = 0.3
#: What one cloud may say at most for a height in its region, and a region for a height of one cloud, in standard
#: deviations: so that a few clouds do not decide for their region, nor a region against what is seen of a cloud.
MOST_EVIDENCE_OF_CLOUD = 4.0
MOST_EVIDENCE_OF_REGION = 7.0
#: Standard deviation of the sum over the clouds of a region, at least: 1.5 times the root of their number, or this.
FEW = 3.0
#: Width of the window (m) that the patterns of clouds and ground stand out from, and how far they may, in standard
#: deviations of that of the ground.
PATTERN = 1500
STANDS_OUT = 2.0
#: Regions whose clouds are summed, m, and the uncertainty of a height among them, as a share and at least in m.
REGION = 8000
HEIGHT_SPREAD = 0.08
LEAST_SPREAD = 60.0
#: The least sum of what a cloud and its region say at which a height is taken, in standard deviations.
ACCEPTED = 4.5
#: Pixels of the matching between a cloud and its rim, and the width of the rim.
GAP = 2
RIM = 2
#: Clouds longer than twice this are matched in parts of that size, m.
PART = 2400
#: Share of its surroundings' reflectance, in both bands, below which a pixel in a projected shadow is shadow.
DARK_PIXEL = 0.85
#: The same in a projected shadow of which at least `LEAST_DARK_SHARE` is that dark.
FILLED = 1.2
#: The same beside a projected shadow.
BESIDE = 0.7
LEAST_DARK_SHARE = 0.4
#: The same on snow, in B8A alone.
DARK_SNOW = 0.8
#: What looks like water but is brighter in B8A and darker in B11 / B8A may be snow in a shadow.
SHADED_SNOW_B8A = 0.08
SHADED_SNOW_B11 = 0.25
#: Ground that only the sky lights may look like water. Share of a pixel of the matching that is water, at least, for it
#: to belong to a body of water, and of a body that lies in projected shadows, at least, for it to be but shadow.
WATER_SHARE = 0.25
SHADED_SHARE = 0.8
#: Radius of the surroundings, m.
SURROUNDINGS = 3000
#: At most so many pixels of a cloud are projected for each height.
SAMPLE = 500


@kernel
def block_mean(image, valid, size):
    """Mean of the valid pixels in blocks of `size` x `size`; NaN where there is none."""
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


def surroundings(image: np.ndarray, radius: float) -> np.ndarray:
    """Return the mean of an image over the square of `radius` pixels around each pixel, NaN left out."""
    from scipy import ndimage

    known = np.isfinite(image)
    size = 2 * int(round(radius)) + 1
    weight = ndimage.uniform_filter(known.astype(np.float32), size, mode="constant")
    total = ndimage.uniform_filter(np.where(known, image, 0).astype(np.float32), size, mode="constant")
    return total / np.maximum(weight, np.float32(0.5 / size**2)) + np.float32(1e-6)


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


@helper(cache=True, nogil=True)
def _mean_darkness(pixels, first, last, darkness, shift):
    """Mean darkness under `pixels[first:last]` moved by `shift`, all flat indices, and how many pixels have one."""
    step = max(1, (last - first) // SAMPLE)
    judged, dark = 0, 0.0
    for k in range(first, last, step):
        value = darkness[pixels[k] + shift]
        known = value == value
        judged += known
        dark += value if known else np.float32(0)
    return dark / max(judged, 1), judged * step


@helper(cache=True, nogil=True)
def _inside_frame(order, columns, frame):
    """Flat indices of pixels in an image with so many pixels more on each side."""
    result = np.empty(order.size, np.int64)
    for k in range(order.size):
        result[k] = (order[k] // columns + frame) * (columns + 2 * frame) + order[k] % columns + frame
    return result


@kernel
def shadow_evidence(order, starts, rim, rim_starts, darkness, moves, heights, pixel):
    """Evidence for each height of each cloud: ground under its shadow that is darker than the ground around that.

    Parameters
    ----------
    order, starts : int
        Flat indices of the pixels of all clouds, cloud by cloud, and where each begins (and the last ends).
    rim, rim_starts : int
        Likewise of the pixels around each cloud.
    darkness : float32
        0-1, NaN where it cannot be judged (water, cloud, no data).
    moves : float, shape (clouds, 2)
        Rows and columns from each cloud to its shadow for 1 m of height.
    heights
        m.
    pixel
        Its size, m.

    Returns
    -------
    float32, shape (clouds, heights)
        Difference of the mean darkness in standard deviations of what it is over clear ground; 0 where too little is
        seen.
    """
    result = np.zeros((starts.size - 1, heights.size), np.float32)
    least, alike = LEAST_SEEN / pixel**2, ALIKE_AREA / pixel**2
    # A frame without a value, as wide as the farthest move, spares to ask of each pixel whether it is in the scene.
    rows, columns = darkness.shape
    frame = int(np.abs(moves).max() * heights.max()) + 1
    framed = np.full((rows + 2 * frame, columns + 2 * frame), np.nan, np.float32)
    for i in range(rows):
        for j in range(columns):
            framed[frame + i, frame + j] = darkness[i, j]
    order, rim, flat = _inside_frame(order, columns, frame), _inside_frame(rim, columns, frame), framed.ravel()
    for c in range(starts.size - 1):
        for k in range(heights.size):
            down, right = int(np.rint(heights[k] * moves[c, 0])), int(np.rint(heights[k] * moves[c, 1]))
            shift = down * framed.shape[1] + right
            inside, n = _mean_darkness(order, starts[c], starts[c + 1], flat, shift)
            if n < least:
                continue
            outside, m = _mean_darkness(rim, rim_starts[c], rim_starts[c + 1], flat, shift)
            if m >= least:
                result[c, k] = (inside - outside) / (SPREAD * np.sqrt(alike * (1 / n + 1 / m)))
    return result


# Sums of a row may be taken in any order, so that they are vectors.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def correlation(cloud, ground, known, edges, moves, heights):
    """Correlate the pattern of the clouds of each region with that of the ground where their shadows would fall.

    Parameters
    ----------
    cloud, ground, known : float32, shape (rows, columns)
        What stands out of its surroundings, `ground` 0 where nothing is `known` of it, which is 1 elsewhere.
    edges : int, shapes (m + 1) and (n + 1)
        First row and column of each region, and what follows the last.
    moves : float, shape (m, n, 2)
        Rows and columns from clouds to shadows for 1 m of height.
    heights
        m.

    Returns
    -------
    product, power : float32, shape (m, n, heights)
        Sums of clouds times ground, and of clouds squared.
    """
    rows, columns = cloud.shape
    shape = edges[0].size - 1, edges[1].size - 1, heights.size
    product, power = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for a, b, k in np.ndindex(shape):
        down, right = int(np.rint(heights[k] * moves[a, b, 0])), int(np.rint(heights[k] * moves[a, b, 1]))
        first, last = max(edges[1][b], -right), min(edges[1][b + 1], columns - right)
        if first >= last:
            continue
        for i in range(max(edges[0][a], -down), min(edges[0][a + 1], rows - down)):
            above, below = cloud[i, first:last], slice(first + right, last + right)
            dark, seen = ground[i + down, below], known[i + down, below]
            of_row, power_of_row = np.float32(0), np.float32(0)
            for j in range(above.size):
                of_row += above[j] * dark[j]
                power_of_row += above[j] * above[j] * seen[j]
            product[a, b, k] += of_row
            power[a, b, k] += power_of_row
    return product, power


def pattern_evidence(
    cloud: np.ndarray, share: np.ndarray, pixel: float, directions: np.ndarray, heights: np.ndarray
) -> np.ndarray:
    """Return the evidence of the clouds' pattern for each height, in standard deviations.

    Parameters
    ----------
    cloud : bool, shape (rows, columns)
    share : float32, shape (rows, columns)
        Reflectance next to that of the surroundings, NaN where the ground is not seen.
    pixel
        Its size, m.
    directions
        As of `cloud_shadow`.
    heights
        m, evenly spaced.

    Returns
    -------
    float32, shape (m, n, heights)
        For each region and those around it; 0 where too little is seen.
    """
    cloud, dark = cloud.astype(np.float32), -np.log(np.clip(share, 0.1, 3))
    cloud, dark = (image - surroundings(image, PATTERN / 2 / pixel) for image in (cloud, dark))
    known = np.isfinite(dark)
    dark = np.where(known, dark, 0)
    spread = dark.std(where=known) if known.any() else 0
    ground = np.clip(dark, -STANDS_OUT * spread, STANDS_OUT * spread)
    edges = tuple(np.append(np.arange(0, n, REGION / pixel), n).astype(int) for n in cloud.shape)
    centres = ((edge[:-1] + edge[1:]) / 2 / edge[-1] for edge in edges)
    part = np.ix_(*((c * n).astype(int) for c, n in zip(centres, directions.shape[:2], strict=True)))
    sums = correlation(cloud, ground, known.astype(np.float32), edges, directions[part] / pixel, heights)
    product, power = (_sum_around(a) for a in sums)
    least, alike = LEAST_SEEN / pixel**2, ALIKE_AREA / pixel**2
    chance = max(spread, 1e-6) * np.sqrt(alike * np.maximum(power, 1))
    return np.where(power < least * alike, 0, product / chance)


def _sum_around(regions: np.ndarray) -> np.ndarray:
    """Sum each region, along the first two axes, with its neighbours."""
    from scipy import ndimage

    for axis in (0, 1):
        regions = ndimage.convolve1d(regions, np.ones(3, np.float32), axis, mode="constant")
    return regions


def _standing_out(evidence: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """Return evidence for heights (last axis) in units of how it scatters among them, or of the least such scatter.

    Where shadows are seen nowhere, all heights are alike.
    """
    evidence = evidence - np.median(evidence, axis=-1, keepdims=True)
    scatter = 1.48 * np.median(np.abs(evidence), axis=-1, keepdims=True)
    return evidence / np.maximum(scatter, least)


def cloud_heights(evidence: np.ndarray, heights: np.ndarray, regions: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Return the height of each cloud by its own evidence and that of its region; 0 where they say too little.

    The region's pattern of clouds has its say only where nothing else is known.

    Parameters
    ----------
    evidence : float32, shape (clouds, heights)
        From `shadow_evidence`.
    heights
        m, evenly spaced.
    regions : int, shape (clouds, 2)
        Row and column of each cloud's region.
    pattern : float32, shape (m, n, heights)
        From `pattern_evidence`, for m x n regions.
    """
    step = heights[1] - heights[0]
    pooled, clouds = np.zeros_like(pattern), np.zeros((*pattern.shape[:2], 1), np.float32)
    where = regions[:, 0], regions[:, 1]
    np.add.at(pooled, where, np.clip(evidence, -MOST_EVIDENCE_OF_CLOUD, MOST_EVIDENCE_OF_CLOUD))
    np.add.at(clouds, where, evidence.any(axis=1, keepdims=True))
    pooled, clouds = _sum_around(pooled), _sum_around(clouds)
    smooth = np.empty_like(pooled)
    for k, height in enumerate(heights):
        reach = int(max(HEIGHT_SPREAD * height, LEAST_SPREAD) / step)
        smooth[..., k] = pooled[..., max(k - reach, 0) : k + reach + 1].mean(axis=-1)
    result = np.zeros(len(evidence), np.float32)
    for region in (_standing_out(smooth, np.clip(1.5 * np.sqrt(clouds), 1, FEW)), _standing_out(pattern, 1)):
        region *= np.minimum(1, MOST_EVIDENCE_OF_REGION / np.maximum(region.max(axis=-1, keepdims=True), 1))
        both = evidence + region[where]
        accepted = np.where(both.max(axis=1) >= ACCEPTED, heights[both.argmax(axis=1)], 0)
        result = np.where(result == 0, accepted, result).astype(np.float32)
    return result


@kernel
def project(order, starts, heights, darkness, moves):
    """Return 1 where the shadows of the clouds with known heights fall, 2 where most of such a shadow is dark."""
    rows, columns = darkness.shape
    result = np.zeros(darkness.shape, np.uint8)
    for c in range(heights.size):
        if heights[c] == 0:
            continue
        dy, dx = int(np.rint(heights[c] * moves[c, 0])), int(np.rint(heights[c] * moves[c, 1]))
        seen, dark = 0, 0
        for write in (False, True):
            value = 2 if seen > 0 and dark >= LEAST_DARK_SHARE * seen else 1
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
    """Label clouds from 1 on, large ones in parts of `size` pixels; return the labels and their number."""
    from scipy import ndimage

    labels, count = ndimage.label(cloud, np.ones((3, 3)))
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
        1 where what looks like water is land or snow in the shadow if it is as dark as either.
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
    scl: np.ndarray, b8a: np.ndarray, b11: np.ndarray, resolution: int, directions: np.ndarray
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
    """
    from scipy import ndimage

    size = max(1, min(MATCHED // resolution, *scl.shape))
    pixel = resolution * size
    # What is left at the end belongs to the last coarse pixel.
    at_pixels = [np.minimum(np.arange(n) // size, n // size - 1) for n in scl.shape]
    rows, columns = (n // size * size for n in scl.shape)
    scl, b8a, b11 = (image[:rows, :columns] for image in (scl, b8a, b11))
    everywhere, cloud = np.ones(scl.shape, np.bool_), (scl >= CLOUD_MEDIUM) & (scl <= CIRRUS)
    water, snow = scl == WATER, scl == SNOW
    land = ~(cloud | water | snow | (scl == NO_DATA))
    coarse_cloud = block_mean(cloud.astype(np.float32), everywhere, size) > 0.5
    labels, count = label_parts(coarse_cloud, round(PART / pixel))
    if not count:
        nowhere = np.full(coarse_cloud.shape, np.nan, np.float32)
        return ShadowLimits(nowhere, nowhere, nowhere, np.zeros(nowhere.shape, np.uint8), *at_pixels)
    bands = [block_mean(band, land, size) for band in (b8a, b11)]
    around = [surroundings(band, SURROUNDINGS / pixel) for band in bands]
    share = np.maximum(bands[0] / around[0], bands[1] / around[1])
    white = block_mean(b8a, snow | (water & (b8a > SHADED_SNOW_B8A) & (b11 < SHADED_SNOW_B11 * b8a)), size)
    around_snow = surroundings(block_mean(b8a, snow, size), SURROUNDINGS / pixel)
    share = np.where(np.isnan(share) & (around_snow > SHADED_SNOW_B8A), white / around_snow, share).astype(np.float32)
    darkness = np.clip((BRIGHT - share) / (BRIGHT - DARK), 0, 1).astype(np.float32)
    clouds = _by_label(labels, count)
    rim = ndimage.maximum_filter(labels, 2 * (GAP + RIM) + 1)
    rim[ndimage.maximum_filter(coarse_cloud, 2 * GAP + 1)] = 0
    centres = np.array(ndimage.center_of_mass(coarse_cloud, labels, np.arange(1, count + 1)))
    part = (centres / labels.shape * directions.shape[:2]).astype(int)
    moves = directions[part[:, 0], part[:, 1]] / pixel
    heights = np.arange(LOWEST, HIGHEST, pixel / max(np.hypot(*directions.mean((0, 1))), 0.05))
    evidence = shadow_evidence(*clouds, *_by_label(rim, count), darkness, moves, heights, pixel)
    pattern = pattern_evidence(coarse_cloud, share, pixel, directions, heights)
    matched = cloud_heights(evidence, heights, (centres * pixel / REGION).astype(int), pattern)
    shadow = project(*clouds, matched, darkness, moves)
    shadow[(shadow == 0) & ndimage.binary_dilation(shadow, np.ones((3, 3)))] = 3
    bodies = block_mean(water.astype(np.float32), everywhere, size) > WATER_SHARE
    share = np.array((np.nan, DARK_PIXEL, FILLED, BESIDE), np.float32)[shadow]
    on_snow = block_mean(b8a, snow, size)
    on_snow[shadow > 0] = np.nan
    on_snow = np.where(shadow > 0, DARK_SNOW * surroundings(on_snow, SURROUNDINGS / pixel), np.float32(np.nan))
    return ShadowLimits(share * around[0], share * around[1], on_snow, _no_water(bodies, shadow > 0), *at_pixels)


def _no_water(bodies: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """Return 1 where what looks like water is shadow: its body does not reach beyond."""
    from scipy import ndimage

    labels, count = ndimage.label(bodies, np.ones((3, 3)))
    pixels, shaded = (np.bincount(labels[mask], minlength=count + 1) for mask in (bodies, bodies & shadow))
    nothing_else = shaded >= SHADED_SHARE * pixels
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
            blue = c == WATER and limits.water[y, x]
            if c == SNOW or blue:
                result[i, j] = b8a[i, j] < limits.snow[y, x]
            if blue or (c != NO_DATA and c != WATER and c != SNOW and not CLOUD_MEDIUM <= c <= CIRRUS):
                result[i, j] |= b8a[i, j] < limits.b8a[y, x] and b11[i, j] < limits.b11[y, x]
    return result
