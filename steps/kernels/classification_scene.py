"""The rules of the scene classification that need the whole scene."""

import numpy as np

from steps.kernels.classification_rules import (
    CIRRUS,
    CIRRUS_MAX_ELEVATION,
    CLOUD_HIGH,
    CLOUD_MEDIUM,
    NO_DATA,
    OPEN,
    SHADOW,
    SOIL,
    UNCLASSIFIED,
    VEGETATION,
    WATER,
)

#: Standard deviation of the blur of the shadow, pixels. Published as 3; a little more is what fits the reference cases.
#: Likewise the pixels up and left by which the line is off.
BLUR, LINE_UP, LINE_LEFT = 3.25, 0.5, 1.25
#: Least share and area (km2) of vegetation and soil for rule 18.
LAND_SHARE, LAND_AREA = 0.05, 121
#: Class 9 in percent of the scene: above the first its own B10 sets the limit of rule 18, below the second none does.
CLOUDY, CLEAR = 20, 2
#: Least limits on B10 over cloud, land and water.
B10_CLOUD, B10_LAND, B10_WATER = 0.0015, 0.0030, 0.0020
#: ESA CCI land cover codes: water; urban areas, and bare areas (consolidated, unconsolidated).
LCCS_WATER, URBAN, BARE = 210, (190,), (200, 201, 202)
#: A blob of doubtful cloud over such ground is ground unless more than this share of its rim is cloud or shadow.
CLOUDY_RIM = 0.35


def _shadow_line(resolution: int, sun_zenith: float, sun_azimuth: float, reach: int) -> tuple[np.ndarray, int, int]:
    """Return weights of the pixels that the shadow of a cloud may fall on, and the cloud's row and column in them.

    The weight over height has a flat top between 0.6 and 4.2 km, from one sample every 30 m. It lies as a line one
    pixel wide away from the sun, whose angles are rounded to whole degrees; it ends at `reach` pixels at the latest.
    """
    low = 1 / (1 + (np.arange(50, -1, -1) / 30) ** 10)
    high = 1 / (1 + (np.arange(150) / 90) ** 10)
    weights = np.concatenate([low, high])
    elevation, azimuth = round(90 - sun_zenith), np.radians(round(sun_azimuth) + 180)
    pixels = 30 / resolution / np.tan(np.radians(max(elevation, 1)))
    reach = min(reach, weights.size * pixels)
    ends = [(0, int(np.round(reach * end))) for end in (-np.cos(azimuth), np.sin(azimuth))]
    down, right = (np.arange(min(end) - 2, max(end) + 3, dtype=np.float64) for end in ends)
    row, column = 2 - min(ends[0]), 2 - min(ends[1])
    down, right = down[:, None] + LINE_UP, right + LINE_LEFT
    along = right * np.sin(azimuth) - down * np.cos(azimuth)
    across = right * np.cos(azimuth) + down * np.sin(azimuth)
    weight = np.interp(along / pixels, np.arange(weights.size), weights, left=0, right=0)
    return (weight * np.clip(1 - np.abs(across), 0, 1)).astype(np.float32), row, column


def geometric_shadow(
    casts_shadow: np.ndarray, resolution: int, sun_zenith: float, sun_azimuth: float, threads: int
) -> np.ndarray:
    """Return how likely the shadow of a cloud falls on each pixel, from the sun's direction alone.

    Parameters
    ----------
    casts_shadow : uint8, shape (rows, columns)
        1 where there are clouds.
    resolution
        Pixel size, m.
    sun_zenith, sun_azimuth
        Scene means, degrees.
    threads
        For the Fourier transforms; the result does not depend on it.

    Returns
    -------
    float32, shape (rows, columns)
        0-1; 0 on the clouds themselves before the final blurring.
    """
    from scipy import fft, ndimage

    if not casts_shadow.any():
        return np.zeros(casts_shadow.shape, np.float32)
    line, row, column = _shadow_line(resolution, sun_zenith, sun_azimuth, sum(casts_shadow.shape))
    size = [fft.next_fast_len(n + k - 1, real=True) for n, k in zip(casts_shadow.shape, line.shape, strict=True)]
    spectrum = fft.rfft2(line, size, workers=threads)
    spectrum *= fft.rfft2(casts_shadow.astype(np.float32), size, workers=threads)
    cover = fft.irfft2(spectrum, size, workers=threads, overwrite_x=True)
    del spectrum
    cover = cover[row:, column:][: casts_shadow.shape[0], : casts_shadow.shape[1]]
    shadow = np.clip(cover, 0, 1)
    del cover
    shadow[casts_shadow != 0] = 0
    return ndimage.gaussian_filter(shadow, BLUR)


def bright_ground(
    scl: np.ndarray, b10: np.ndarray, b09_to_b8a: np.ndarray, land_cover: np.ndarray, resolution: int
) -> None:
    """Rule 18, in place: clouds that look in B10 and B09 like the scene's ground are bare ground.

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
    valid, pixels = np.count_nonzero(scl != NO_DATA), np.count_nonzero(land)
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
    """Rule 19, in place: vegetation, soil and water that are bright in B10 lie under cirrus.

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
    """Rule 20, in place: over urban and bare ground, open pixels and isolated doubtful clouds are soil.

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
        cloudy = np.bincount(rim[cloudy], minlength=count + 1)
        ground = cloudy <= CLOUDY_RIM * total
        ground[0] = False
        scl[ground[blobs]] = SOIL
