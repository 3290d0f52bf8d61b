"""The rules of the scene classification that need the whole scene."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from steps.classification.rules import CIRRUS_MAX_ELEVATION, OPEN
from steps.sentinel2.scene_classes import (
    CIRRUS,
    CLOUD_HIGH,
    CLOUD_MEDIUM,
    NO_DATA,
    SHADOW,
    SOIL,
    UNCLASSIFIED,
    VEGETATION,
    WATER,
)

#: Standard deviation of the blur of the shadow, and the pixels that it reaches.
BLUR = 3
BLUR_REACH = 12
#: Standard deviation of the profile across the line of a shadow, pixels; fitted to the reference cases.
LINE_WIDTH = 0.9
#: Rows and columns whose shadow is computed at a time; more where the line of a shadow is longer.
TILE = 1024
#: Least share and area (km2) of vegetation and soil for rule 18.
LAND_SHARE = 0.05
LAND_AREA = 121
#: Class 9 in percent of the scene: above the first its own B10 sets the limit of rule 18, below the second none does.
CLOUDY = 20
CLEAR = 2
#: Least limits on B10 over cloud, land and water.
B10_CLOUD = 0.0015
B10_LAND = 0.0030
B10_WATER = 0.0020
#: ESA CCI land cover codes: water; urban areas, and bare areas (consolidated, unconsolidated).
LCCS_WATER = 210
URBAN = (190,)
BARE = (200, 201, 202)
#: A blob of doubtful cloud over such ground is ground unless more than this share of its rim is cloud or shadow.
CLOUDY_RIM = 0.35


def _shadow_line(resolution: int, sun_zenith: float, sun_azimuth: float, reach: int) -> tuple[np.ndarray, int, int]:
    """Return weights of the pixels that the shadow of a cloud may fall on, and the cloud's row and column in them.

    The weight over height has a flat top between 0.6 and 4.2 km, from one sample every 30 m. It lies as a thin line
    away from the sun, whose angles are rounded to whole degrees; it ends at `reach` pixels at the latest. Sen2Cor
    turns the line in a square with an even number of pixels, about the corner in its middle, and the line begins half
    a pixel beside that corner: hence the halves.
    """
    low = 1 / (1 + (np.arange(50, -1, -1) / 30) ** 10)
    high = 1 / (1 + (np.arange(150) / 90) ** 10)
    weights = np.concatenate([low, high])
    elevation, azimuth = round(90 - sun_zenith), np.radians(round(sun_azimuth) + 180)
    pixels = 30 / resolution / np.tan(np.radians(max(elevation, 1)))
    length = min(reach, weights.size * pixels)
    ends = [(0, round(length * end)) for end in (-np.cos(azimuth), np.sin(azimuth))]
    margin = 4
    down, right = (
        np.arange(min(end) - margin, max(end) + margin + 1, dtype=np.float32) + np.float32(0.5) for end in ends
    )
    north, east = np.float32(np.cos(azimuth)), np.float32(np.sin(azimuth))
    along = right * east - down[:, None] * north - np.float32(0.5)
    across = right * north + down[:, None] * east + np.float32(0.5)
    weight = np.interp(along / pixels, np.arange(weights.size), weights, left=0, right=0).astype(np.float32)
    weight[along > reach] = 0
    weight *= np.exp(-0.5 * (across / LINE_WIDTH) ** 2) / (LINE_WIDTH * np.sqrt(2 * np.pi))
    return weight, margin - min(ends[0]), margin - min(ends[1])


def geometric_shadow(
    casts_shadow: np.ndarray, resolution: int, sun_zenith: float, sun_azimuth: float, threads: int
) -> np.ndarray:
    """Return how likely the shadow of a cloud falls on each pixel, from the sun's direction alone.

    As in Sen2Cor the scene lies in a square one and a half times its size that repeats itself: where the sun is so
    low that shadows are longer than half the scene, they come back on the other side.

    Parameters
    ----------
    casts_shadow : uint8, shape (rows, columns)
        1 where there are clouds.
    resolution
        Pixel size, m.
    sun_zenith, sun_azimuth
        Scene means, degrees.
    threads
        The result does not depend on it.

    Returns
    -------
    float32, shape (rows, columns)
        0-1; 0 on the clouds themselves before the final blurring.
    """
    from scipy import fft, ndimage

    result: np.ndarray = np.zeros(casts_shadow.shape, np.float32)
    if not casts_shadow.any():
        return result
    square = 2 * -(-3 * max(casts_shadow.shape) // 4)
    line, *cloud = _shadow_line(resolution, sun_zenith, sun_azimuth, square // 2)
    tile = [max(TILE, n) for n in line.shape]
    size = [fft.next_fast_len(t + 2 * BLUR_REACH + n - 1, real=True) for t, n in zip(tile, line.shape, strict=True)]
    spectrum = fft.rfft2(line, size)

    def compute(corner: tuple[int, int]) -> None:
        inside, wide, sources = [], [], []
        for start, length, n, k, at in zip(corner, tile, casts_shadow.shape, line.shape, cloud, strict=True):
            inside.append(slice(start, min(start + length, n)))
            wide.append(slice(max(start - BLUR_REACH, 0), min(start + length + BLUR_REACH, n)))
            sources.append(np.arange(wide[-1].start + at - k + 1, wide[-1].stop + at) % square)
        clouds = _pixels_at(casts_shadow, *sources)
        if not clouds.any():
            return
        cover = fft.irfft2(fft.rfft2(clouds, size) * spectrum, size, overwrite_x=True)
        cover = cover[line.shape[0] - 1 :, line.shape[1] - 1 :]
        cover = np.clip(cover[: wide[0].stop - wide[0].start, : wide[1].stop - wide[1].start], 0, 1)
        cover[casts_shadow[*wide] != 0] = 0
        blurred = ndimage.gaussian_filter(cover, BLUR, radius=BLUR_REACH)
        rows, columns = (slice(i.start - w.start, i.stop - w.start) for i, w in zip(inside, wide, strict=True))
        result[*inside] = blurred[rows, columns]

    corners = [(i, j) for i in range(0, result.shape[0], tile[0]) for j in range(0, result.shape[1], tile[1])]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(compute, corners))
    return result


def _pixels_at(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return a mask at these rows and columns as float32, 0 beyond its last ones."""
    result = np.zeros((rows.size, columns.size), np.float32)
    here = [indices < n for indices, n in zip((rows, columns), mask.shape, strict=True)]
    result[np.ix_(*here)] = mask[np.ix_(rows[here[0]], columns[here[1]])]
    return result


def bright_ground(
    scl: np.ndarray, b10: np.ndarray, b09_to_b8a: np.ndarray, land_cover: np.ndarray, resolution: int
) -> None:
    """Apply rule 18, in place: clouds that look in B10 and B09 like the scene's ground are bare ground.

    Clouds are bright in B10, and so is what lies above most of the water vapour in B09 / B8A.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
    b10, b09_to_b8a : float32, shape (rows, columns)
        Reflectance of B10; ratio of reflectances.
    land_cover : uint8, shape (rows, columns)
        ESA CCI land cover codes.
    resolution
        Pixel size, m.
    """
    land = (scl == VEGETATION) | (scl == SOIL)
    valid, pixels = int(np.count_nonzero(scl != NO_DATA)), int(np.count_nonzero(land))
    if pixels < LAND_SHARE * valid or pixels * (resolution / 1000) ** 2 < LAND_AREA:
        return
    b10_limit = _cloud_limit(b10, b10[land].mean(), scl == CLOUD_HIGH, valid)
    ratios = b09_to_b8a[land]
    cloud = (scl == CLOUD_MEDIUM) | (scl == CLOUD_HIGH)
    scl[cloud & (land_cover != LCCS_WATER) & (b10 < b10_limit) & (b09_to_b8a < ratios.mean() + ratios.std())] = SOIL


def _cloud_limit(b10: np.ndarray, ground: np.float32, cloud: np.ndarray, valid: int) -> np.float32:
    """Return the B10 below which a cloud may be ground, from the means over ground and over cloud."""
    percent = 100 * np.count_nonzero(cloud) / valid
    if percent < CLEAR:
        return ground
    least = np.float32(B10_CLOUD)
    if percent > CLOUDY:
        sample = b10[cloud]
        least = max(least, sample.mean() - 2 * sample.std())
    return min(ground, least)


def cirrus_over_ground(scl: np.ndarray, b10: np.ndarray, elevation: np.ndarray) -> None:
    """Apply rule 19, in place: vegetation, soil and water that are bright in B10 lie under cirrus.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
    b10 : float32, shape (rows, columns)
        Reflectance.
    elevation : shape (rows, columns)
        m; where it is high, B10 sees the ground and says nothing.
    """
    land, water, low = (scl == VEGETATION) | (scl == SOIL), scl == WATER, elevation < CIRRUS_MAX_ELEVATION
    for ground, sample, deviations, least in ((land, scl == SOIL, 3, B10_LAND), (water, water, 1, B10_WATER)):
        if sample.any():
            values = b10[sample]
            scl[ground & (b10 > max(values.mean() + deviations * values.std(), np.float32(least))) & low] = CIRRUS


def doubtful_over_bright_ground(scl: np.ndarray, land_cover: np.ndarray) -> None:
    """Apply rule 20, in place: over urban and bare ground, open pixels and isolated doubtful clouds are soil.

    Parameters
    ----------
    scl : uint8, shape (rows, columns)
    land_cover : uint8, shape (rows, columns)
        ESA CCI land cover codes.
    """
    from scipy import ndimage

    scl[np.isin(land_cover, URBAN + BARE) & (scl == OPEN)] = SOIL
    for codes in (URBAN, BARE):
        doubtful = np.isin(scl, (UNCLASSIFIED, CLOUD_MEDIUM)) & np.isin(land_cover, codes)
        blobs, count = ndimage.label(doubtful)
        # Between blobs that touch at a corner the difference names a third blob: so does Sen2Cor's.
        rim = ndimage.maximum_filter(blobs, 3) - blobs
        cloudy = np.isin(scl, (SHADOW, UNCLASSIFIED, CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS))
        total = np.bincount(rim.ravel(), minlength=count + 1)
        ground = np.bincount(rim[cloudy], minlength=count + 1) <= CLOUDY_RIM * total
        ground[0] = False
        scl[ground[blobs]] = SOIL
