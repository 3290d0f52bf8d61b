"""Cloud shadows by matching: each cloud's shadow is looked for along the directions of sun and view.

After Zhu and Woodcock (2012), Object-based cloud and cloud shadow detection in Landsat imagery, Remote Sensing of
Environment 118, 83-94, section 3.2: for every cloud the height is searched at which its shadow falls on ground that
is darker than its surroundings. Here it is how dark that counts, in B8A and B11 against the clear land around, so that
a forest is not taken for the shadow beside it, and a cloud may stay without a shadow.
"""

import numba
import numpy as np

kernel = numba.njit(cache=True, nogil=True)

#: Heights of clouds that are tried, m.
LOWEST, HIGHEST = 200.0, 12000.0
#: Ground that has the first share of its surroundings' reflectance is not dark (0), the second one fully dark (1).
BRIGHT, DARK = 0.85, 0.35
#: Mean darkness of the ground under a projected shadow, at least, and how much more that is than just outside it.
SIMILARITY, CONTRAST = 0.3, 0.2
#: Clouds of fewer pixels (of the matching) are not matched: somewhere the ground looks like the shadow of any of them.
SMALLEST = 5
#: Pixels of the matching between a cloud and its rim, and the width of the rim.
GAP, RIM = 2, 2
#: Share of a projected cloud that must fall on ground that can be judged: clear land within the scene.
VISIBLE = 0.4
#: A pixel in a projected shadow that is darker than this share of its surroundings, in both bands, is shadow.
DARK_PIXEL = 0.8
#: Radius of the surroundings, m.
SURROUNDINGS = 3000
#: At most so many pixels of a cloud are projected for each height.
SAMPLE = 3000


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


def displacement(sun_zenith: float, sun_azimuth: float, view_zenith: float, view_azimuth: float) -> tuple[float, float]:
    """Return rows and columns (m down, m right) from a cloud's image to its shadow for 1 m of height.

    A cloud is seen displaced away from the sensor, and its shadow lies away from the sun. Angles in degrees.
    """
    sun, view = np.tan(np.radians([sun_zenith, view_zenith]))
    sun_azimuth, view_azimuth = np.radians([sun_azimuth, view_azimuth])
    down = sun * np.cos(sun_azimuth) - view * np.cos(view_azimuth)
    right = -sun * np.sin(sun_azimuth) + view * np.sin(view_azimuth)
    return float(down), float(right)


@kernel
def _mean_darkness(order, first, last, darkness, down, right):
    """Mean darkness under the pixels `order[first:last]` moved by `down` and `right`, and the share that has one."""
    rows, columns = darkness.shape
    count, judged, dark = 0, 0, 0.0
    for k in range(first, last, max(1, (last - first) // SAMPLE)):
        y, x = order[k] // columns + down, order[k] % columns + right
        count += 1
        if 0 <= y < rows and 0 <= x < columns and not np.isnan(darkness[y, x]):
            judged += 1
            dark += darkness[y, x]
    return dark / max(judged, 1), judged / max(count, 1)


@kernel
def match(order, starts, rim, rim_starts, darkness, down, right, resolution):
    """Find the height of each cloud from where its shadow would fall: dark ground, and brighter around it.

    Parameters
    ----------
    order, starts : int
        Flat indices of the pixels of all clouds, cloud by cloud, and where each begins (and the last ends).
    rim, rim_starts : int
        Likewise of the pixels around each cloud.
    darkness : float32
        0-1, NaN where it cannot be judged (water, cloud, no data).
    down, right
        From `displacement`.
    resolution
        m.

    Returns
    -------
    float32
        Height of each cloud, m; 0 where no shadow is found.
    """
    heights = np.zeros(starts.size - 1, np.float32)
    step = resolution / max(np.hypot(down, right), 0.05)
    for c in range(heights.size):
        if starts[c + 1] - starts[c] < SMALLEST:
            continue
        best, height = CONTRAST, LOWEST
        while height <= HIGHEST:
            dy, dx = int(np.rint(height * down / resolution)), int(np.rint(height * right / resolution))
            inside, seen = _mean_darkness(order, starts[c], starts[c + 1], darkness, dy, dx)
            if seen >= VISIBLE and inside > SIMILARITY:
                outside, seen = _mean_darkness(rim, rim_starts[c], rim_starts[c + 1], darkness, dy, dx)
                if seen >= VISIBLE and inside - outside > best:
                    best, heights[c] = inside - outside, height
            height += step
    return heights


@kernel
def project(order, starts, heights, shape, down, right, resolution):
    """Return 1 where the shadows of the clouds with known heights fall."""
    rows, columns = shape
    result = np.zeros(shape, np.uint8)
    for c in range(heights.size):
        if heights[c] > 0:
            dy = int(np.rint(heights[c] * down / resolution))
            dx = int(np.rint(heights[c] * right / resolution))
            for k in range(starts[c], starts[c + 1]):
                y, x = order[k] // columns + dy, order[k] % columns + dx
                if 0 <= y < rows and 0 <= x < columns:
                    result[y, x] = 1
    return result


def _by_label(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of all labelled pixels, label by label, and where in them each label begins."""
    order = np.argsort(labels, axis=None, kind="stable")
    return order, np.searchsorted(labels.ravel()[order], np.arange(1, count + 2))


def cloud_shadow(
    cloud: np.ndarray, land: np.ndarray, b8a: np.ndarray, b11: np.ndarray, resolution: int, direction: tuple
) -> np.ndarray:
    """Find the shadows of clouds on land.

    Parameters
    ----------
    cloud, land : bool, shape (rows, columns)
        Pixels of cloud; pixels of clear land, which can show a shadow.
    b8a, b11 : float32, shape (rows, columns)
        Reflectance.
    resolution
        Pixel size, m; at 20 m the clouds are matched at 60 m.
    direction
        From `displacement`.

    Returns
    -------
    bool, shape (rows, columns)
    """
    from scipy import ndimage

    size = max(1, 60 // resolution)
    pixel = resolution * size
    rows, columns = (n // size * size for n in cloud.shape)
    coarse_cloud = block_mean(cloud[:rows, :columns].astype(np.float32), np.ones((rows, columns), np.bool_), size) > 0.5
    bands = [block_mean(band[:rows, :columns], land[:rows, :columns], size) for band in (b8a, b11)]
    around = tuple(surroundings(band, SURROUNDINGS / pixel) for band in bands)
    share = np.maximum(bands[0] / around[0], bands[1] / around[1])
    darkness = np.clip((BRIGHT - share) / (BRIGHT - DARK), 0, 1).astype(np.float32)
    labels, count = ndimage.label(coarse_cloud, np.ones((3, 3)))
    if not count:
        return np.zeros(cloud.shape, np.bool_)
    way = (*direction, float(pixel))
    clouds = _by_label(labels, count)
    rim = ndimage.maximum_filter(labels, 2 * (GAP + RIM) + 1)
    rim[ndimage.maximum_filter(coarse_cloud, 2 * GAP + 1)] = 0
    heights = match(*clouds, *_by_label(rim, count), darkness, *way)
    shadow = project(*clouds, heights, labels.shape, *way)
    shadow = ndimage.binary_dilation(shadow, np.ones((3, 3)))
    return _at_pixels(shadow, around, land, b8a, b11, size)


@kernel
def _at_pixels(shadow, around, land, b8a, b11, size):
    """Return the pixels of the coarse shadow that are land and dark themselves."""
    result = np.zeros(land.shape, np.bool_)
    for i in range(land.shape[0]):
        y = min(i // size, shadow.shape[0] - 1)
        for j in range(land.shape[1]):
            x = min(j // size, shadow.shape[1] - 1)
            if shadow[y, x] and land[i, j]:
                result[i, j] = b8a[i, j] < DARK_PIXEL * around[0][y, x] and b11[i, j] < DARK_PIXEL * around[1][y, x]
    return result
