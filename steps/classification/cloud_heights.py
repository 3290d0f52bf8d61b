"""Heights of clouds, by where on the ground their shadows match.

Each height of a cloud puts its shadow somewhere on the ground. What speaks for a height is how dark the ground there is
against the clear land around, and how much darker than just outside the shadow, so that a forest is not taken for the
shadow beside it. Clouds of one region are often of one height: what each of them says of it is summed, and decides for
those that say little. Where clouds are so dense that each has the shadows of others around its own, their pattern is
looked for on the ground.

Clouds of a region may lie in two layers: those that contradict the height of their region have a say of their own for
another.
"""

import numpy as np

from steps.core.compiled import helper, njit

kernel = njit(cache=True, nogil=True)

#: Area under a cloud and under its rim that must be seen, and the area that tells as much as one pixel, since
#: neighbours are alike, m2.
LEAST_SEEN = 120**2
CORRELATED_AREA = 180**2
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
#: By how much a cloud's evidence for another height must exceed that for the height of its region to contradict it,
#: and to join those that do, in standard deviations.
CONTRADICTED = 4.0
JOINED = 1.0
#: At most so many pixels of a cloud are projected for each height.
SAMPLE = 500


def surroundings(image: np.ndarray, radius: float) -> np.ndarray:
    """Return the mean of an image over the square of `radius` pixels around each pixel, NaN left out; of its shape."""
    from scipy import ndimage

    known = np.isfinite(image)
    size = 2 * int(round(radius)) + 1
    weight = ndimage.uniform_filter(known.astype(np.float32), size, mode="constant")
    total = ndimage.uniform_filter(np.where(known, image, 0).astype(np.float32), size, mode="constant")
    return total / np.maximum(weight, np.float32(0.5 / size**2)) + np.float32(1e-6)


@helper(cache=True, nogil=True)
def _mean_darkness(pixels, first, last, darkness, shift):
    """Return the mean darkness under `pixels[first:last]` moved by `shift` (flat indices), and how many have one."""
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
    """Return the flat indices of pixels in an image with so many pixels more on each side."""
    result = np.empty(order.size, np.int64)
    for k in range(order.size):
        result[k] = (order[k] // columns + frame) * (columns + 2 * frame) + order[k] % columns + frame
    return result


@kernel
def shadow_evidence(order, starts, rim, rim_starts, darkness, moves, heights, pixel):
    """Return the evidence for each height of each cloud: ground under its shadow that is darker than that around.

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
    least, correlated = LEAST_SEEN / pixel**2, CORRELATED_AREA / pixel**2
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
                result[c, k] = (inside - outside) / (SPREAD * np.sqrt(correlated * (1 / n + 1 / m)))
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
    least, correlated = LEAST_SEEN / pixel**2, CORRELATED_AREA / pixel**2
    chance = max(spread, 1e-6) * np.sqrt(correlated * np.maximum(power, 1))
    return np.where(power < least * correlated, 0, product / chance)


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


def _of_regions(
    evidence: np.ndarray, heights: np.ndarray, regions: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """Return for each region, and those around it, what its clouds say together, in units of its scatter.

    Parameters as of `cloud_heights`; the result has the given shape (m, n, heights).
    """
    pooled, clouds = np.zeros(shape, np.float32), np.zeros((*shape[:2], 1), np.float32)
    np.add.at(pooled, regions, np.clip(evidence, -MOST_EVIDENCE_OF_CLOUD, MOST_EVIDENCE_OF_CLOUD))
    np.add.at(clouds, regions, evidence.any(axis=1, keepdims=True))
    pooled, clouds = _sum_around(pooled), _sum_around(clouds)
    step, smooth = heights[1] - heights[0], np.empty_like(pooled)
    for k, height in enumerate(heights):
        reach = int(max(HEIGHT_SPREAD * height, LEAST_SPREAD) / step)
        smooth[..., k] = pooled[..., max(k - reach, 0) : k + reach + 1].mean(axis=-1)
    return _standing_out(smooth, np.clip(1.5 * np.sqrt(clouds), 1, FEW))


def _with_region(evidence: np.ndarray, region: np.ndarray, where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the index of the height that each cloud and its region say most for; -1 where they say too little."""
    most = np.maximum(region.max(axis=-1, keepdims=True), 1)
    both = evidence + (region * np.minimum(1, MOST_EVIDENCE_OF_REGION / most))[where]
    return np.where(both.max(axis=1) >= ACCEPTED, both.argmax(axis=1), -1)


def cloud_heights(evidence: np.ndarray, heights: np.ndarray, regions: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Return the heights of each cloud by its own evidence and that of its region, float32, shape (2, clouds), m.

    The first is 0 where they say too little. The region's pattern of clouds has its say only where nothing else is
    known. The second is that of the region's other layer, for clouds that say more for it, or 0: what hangs together
    in the image may be of both.

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
    where, each = (regions[:, 0], regions[:, 1]), np.arange(len(evidence))
    first = _with_region(evidence, _of_regions(evidence, heights, where, pattern.shape), where)
    first = np.where(first < 0, _with_region(evidence, _standing_out(pattern, 1), where), first)
    found = np.where(first < 0, 0, heights[first])
    there, most = evidence[each, first], evidence.max(axis=1)
    against = (first >= 0) & (most >= ACCEPTED) & (most - there >= CONTRADICTED)
    other = np.where(against[:, None], evidence, np.float32(0))
    layer = _of_regions(other, heights, where, pattern.shape)
    second = _with_region(evidence, layer, where)
    joins = (layer[where] != 0).any(axis=1) & (first >= 0) & (second >= 0) & (evidence[each, second] - there >= JOINED)
    return np.array((found, np.where(joins, heights[second], 0)), np.float32)
