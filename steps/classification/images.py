"""Kernels of the scene classification: the rules of `classification_rules` over images, and what looks at neighbours.

All take C-contiguous arrays of one shape (rows, columns), a block of a scene with a margin of rows: the results within
the margin that is documented as `*_REACH` are right only where the block ends with the scene, and the caller cuts
them off. At the scene's own edges the outermost pixels stand in for their missing neighbours.
"""

from collections.abc import Callable, Set
from typing import NamedTuple

import numpy as np

from steps.classification import rules as rules
from steps.classification.rules import OPEN, SHADOW_T, SNOW_T1, T_B02_B12, F, rule
from steps.core.compiled import helper
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO
from steps.sentinel2.scene_classes import CIRRUS, NO_DATA, SNOW

#: Pixels around a pixel that `evidence` and `recover` look at.
EVIDENCE_REACH = 5
RECOVER_REACH = 4
_RING = 3


class Bands(NamedTuple):
    """Reflectance at the top of the atmosphere, float32, and the no-data mask (bool) of a block."""

    b02: np.ndarray
    b03: np.ndarray
    b04: np.ndarray
    b05: np.ndarray
    b8a: np.ndarray
    b09: np.ndarray
    b10: np.ndarray
    b11: np.ndarray
    b12: np.ndarray
    nodata: np.ndarray


class Maps(NamedTuple):
    """What is known of a block beside the image; neutral where it is not known.

    `elevation` in m (0), `slope` in degrees (0) and `hillshade` 0-255 (255), float32; `water_bodies` (255: no
    map) and `sea`, 1 where there cannot be snow (0), uint8.
    """

    elevation: np.ndarray
    slope: np.ndarray
    hillshade: np.ndarray
    water_bodies: np.ndarray
    sea: np.ndarray


#: Reads rows of these bands; the others may be empty.
Reader = Callable[[slice, Set[str]], tuple[Bands, Maps]]


class Image(NamedTuple):
    """A scene that is read by rows: its reader, rows and columns, and pixel size (m)."""

    read_rows: Reader
    shape: tuple[int, int]
    resolution: int


@rule
def dilate(mask, times):
    """Grow a mask (uint8: 0, 1) by a cross, `times` times: pixels up to that city-block distance join it."""
    rows, columns = mask.shape
    for _ in range(times):
        grown = mask.copy()
        for i in range(rows):
            for j in range(columns):
                if mask[i, j] == 0:
                    grown[i, j] = (
                        (i > 0 and mask[i - 1, j])
                        or (i + 1 < rows and mask[i + 1, j])
                        or (j > 0 and mask[i, j - 1])
                        or (j + 1 < columns and mask[i, j + 1])
                    )
        mask = grown
    return mask


@helper(cache=True, nogil=True)
def _first_rules(bands, maps, snow_possible):
    """Apply rules 0-2 and those of snow; return class, cloud and snow confidence."""
    shape = bands.b02.shape
    scl, cloud, snow = np.empty(shape, np.uint8), np.empty(shape, np.float32), np.zeros(shape, np.float32)
    for i in range(shape[0]):
        for j in range(shape[1]):
            b04, b8a = bands.b04[i, j], bands.b8a[i, j]
            ndsi = rules.normalised_difference(bands.b03[i, j], bands.b11[i, j])
            c, p = rules.brightness(b04, b8a)
            c, p = rules.not_green_in_swir(c, p, ndsi)
            if bands.nodata[i, j]:
                c = NO_DATA
            if snow_possible and maps.sea[i, j] == 0:
                snow[i, j] = rules.snow_confidence(p, ndsi, bands.b02[i, j], b04, bands.b05[i, j], b8a)
                if snow[i, j] > SNOW_T1 and c != NO_DATA:
                    c = SNOW
            scl[i, j], cloud[i, j] = c, p
    return scl, cloud, snow


@helper(cache=True, nogil=True)
def _no_cloud_at_snow(scl, cloud, b12):
    """Apply rule S5, in place: no cloud on snow, nor in a ring around it that is dark in B12."""
    snow = (scl == SNOW).astype(np.uint8)
    if not snow.any():
        return
    near = dilate(snow, _RING)
    for i in range(scl.shape[0]):
        for j in range(scl.shape[1]):
            if near[i, j] and (snow[i, j] or b12[i, j] < F(0.25)):
                cloud[i, j] = 0


@helper(cache=True, nogil=True)
def _cloud_rules(bands, maps, scl, cloud):
    """Apply rules 3-7, in place."""
    for i in range(scl.shape[0]):
        for j in range(scl.shape[1]):
            b02, b04, b8a = bands.b02[i, j], bands.b04[i, j], bands.b8a[i, j]
            b11, b12 = bands.b11[i, j], bands.b12[i, j]
            c, p = rules.vegetation(scl[i, j], cloud[i, j], rules.normalised_difference(b8a, b04), b02)
            c, p = rules.soil(c, p, b02, b11)
            c, p = rules.water(c, p, b02, b04, b8a, b11, b12)
            c, p = rules.rock_and_sand(c, p, b02, b8a, b11)
            c, p = rules.too_red_for_cloud(c, p, b04, b11)
            c, p = rules.clouds(c, p, b02, bands.b10[i, j], maps.elevation[i, j])
            scl[i, j], cloud[i, j] = NO_DATA if bands.nodata[i, j] else c, p


@helper(cache=True, nogil=True)
def _casts_shadow(cloud):
    """Return where clouds cast a shadow: the 3x3 median of their confidence is above 0.33, grown by one pixel."""
    rows, columns = cloud.shape
    bright = np.empty(cloud.shape, np.uint8)
    for i in range(rows):
        up, down = max(i - 1, 0), min(i + 1, rows - 1)
        for j in range(columns):
            left, right = max(j - 1, 0), min(j + 1, columns - 1)
            count = 0
            for y in (up, i, down):
                for x in (left, j, right):
                    count += cloud[y, x] > F(0.33)
            bright[i, j] = count >= 5
    return dilate(bright, 1)


@rule
def evidence(bands, maps, snow_possible):
    """Run rules 0-7 over a block.

    Parameters
    ----------
    bands, maps
        Reflectances and maps of one shape (rows, columns).
    snow_possible
        Whether rules may find snow.

    Returns
    -------
    scl : uint8
        Classes, `rules.OPEN` where no rule has spoken yet.
    cloud, snow : uint8
        Confidence in percent.
    casts_shadow : uint8
        1 where clouds cast a shadow.
    """
    scl, cloud, snow = _first_rules(bands, maps, snow_possible)
    _no_cloud_at_snow(scl, cloud, bands.b12)
    _cloud_rules(bands, maps, scl, cloud)
    return scl, _percent(cloud), _percent(snow), _casts_shadow(cloud)


@helper(cache=True, nogil=True)
def _percent(confidence):
    result = np.empty(confidence.shape, np.uint8)
    for i in range(confidence.shape[0]):
        for j in range(confidence.shape[1]):
            result[i, j] = np.uint8(F(100) * confidence[i, j] + F(0.5))
    return result


@helper(cache=True, nogil=True)
def _shadow_distances(bands):
    """Return the distance of every pixel from the spectrum of a shadow, and whether it is darker in all bands."""
    distance, below = np.empty(bands.b02.shape, np.float32), np.empty(bands.b02.shape, np.uint8)
    for i in range(distance.shape[0]):
        for j in range(distance.shape[1]):
            distance[i, j], below[i, j] = rules.shadow_distance(
                bands.b02[i, j], bands.b03[i, j], bands.b04[i, j], bands.b8a[i, j], bands.b11[i, j], bands.b12[i, j]
            )
    return distance, below


@helper(cache=True, nogil=True)
def _radiometric_shadow(distance, below, i, j, near):
    """Return how much the 3x3 pixels around one look like a shadow, 0-1; `near` is room for nine numbers."""
    rows, columns = distance.shape
    close, dark = 0, 0
    for y in (max(i - 1, 0), i, min(i + 1, rows - 1)):
        for x in (max(j - 1, 0), j, min(j + 1, columns - 1)):
            dark += below[y, x]
            d = distance[y, x]
            if d <= T_B02_B12:
                k = close
                while k > 0 and near[k - 1] > d:
                    near[k] = near[k - 1]
                    k -= 1
                near[k] = d
                close += 1
    if dark >= 5:
        return F(1)
    return F(1) - near[4] if close >= 5 else F(0)


@helper(cache=True, nogil=True)
def _recovery_rules(bands, maps, scl, shadow):
    """Apply the rules of cloud shadow and rules 12-15 and 17; return the new classes."""
    result, near = scl.copy(), np.empty(9, np.float32)
    distance, below = _shadow_distances(bands)
    for i in range(scl.shape[0]):
        for j in range(scl.shape[1]):
            c = scl[i, j]
            if c == NO_DATA:
                continue
            # The radiometric part is at most 1, and costly.
            likely = shadow[i, j] if shadow[i, j] > SHADOW_T and c != CIRRUS else F(0)
            if likely > 0 and likely * _radiometric_shadow(distance, below, i, j, near) > SHADOW_T:
                c = rules.shadow(c, bands.b02[i, j], bands.b11[i, j])
            b02, b03, b04 = bands.b02[i, j], bands.b03[i, j], bands.b04[i, j]
            b8a, b11, water_body = bands.b8a[i, j], bands.b11[i, j], maps.water_bodies[i, j]
            c = rules.dark_vegetation(c, rules.normalised_difference(b8a, b04), b03, b8a)
            c = rules.dark_water(c, b02, b04, b8a, b11)
            c = rules.mapped_water(c, water_body)
            c = rules.shaded_slope(c, b02, b04, b8a, maps.slope[i, j], maps.hillshade[i, j], water_body)
            result[i, j] = rules.dark_soil(c, b02, b11)
    return result


@rule
def recover(bands, maps, scl, shadow):
    """Run the shadow rule and rules 12-17 (16: open pixels near snow, darker in B11 than in B03, are snow).

    Parameters
    ----------
    bands, maps
        Of the block.
    scl : uint8
        From `evidence`.
    shadow : float32
        Geometric shadow confidence, 0-1.

    Returns
    -------
    uint8
        Classes, `rules.OPEN` where no rule has spoken yet.
    """
    result = _recovery_rules(bands, maps, scl, shadow)
    snow = (result == SNOW).astype(np.uint8)
    if snow.any():
        near = dilate(snow, _RING)
        for i in range(scl.shape[0]):
            for j in range(scl.shape[1]):
                if near[i, j] and result[i, j] == OPEN and bands.b11[i, j] < bands.b03[i, j]:
                    result[i, j] = SNOW
    return result


@rule
def image_ratio(a, b):
    """Return a / b of two images of reflectance, float32, of one shape."""
    result = np.empty(a.shape, np.float32)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            result[i, j] = rules.ratio(a[i, j], b[i, j])
    return result


@rule
def reflectance(stored, nodata):
    """Convert stored numbers (reflectance * 10000 + 1000) to float32; mark in `nodata` where they are 0."""
    result = np.empty(stored.shape, np.float32)
    for i in range(stored.shape[0]):
        for j in range(stored.shape[1]):
            nodata[i, j] |= stored[i, j] == 0
            result[i, j] = (F(stored[i, j]) - F(REFLECTANCE_ZERO)) / F(REFLECTANCE_ONE)
    return result


@rule
def hillshade(slope, aspect, sun_zenith, sun_azimuth):
    """Return the hillshade of `gdaldem hillshade`: 1 + 254 times the cosine of the incidence angle, rounded.

    Slope and aspect have one shape, which is that of the result (float32, 0-255); the sun's angles are numbers. All
    are in degrees; where there is no aspect (NaN) the ground is flat.
    """
    result = np.empty(slope.shape, np.float32)
    down, level = np.cos(np.radians(sun_zenith)), np.sin(np.radians(sun_zenith))
    for i in range(slope.shape[0]):
        for j in range(slope.shape[1]):
            tilt = np.radians(slope[i, j])
            cosine = down
            if not np.isnan(aspect[i, j]):
                cosine = down * np.cos(tilt) + level * np.sin(tilt) * np.cos(np.radians(sun_azimuth - aspect[i, j]))
            result[i, j] = np.floor(1.5 + 254 * max(cosine, 0.0))
    return result


@rule
def median_3x3(classes):
    """Return the median of each block of 3x3 pixels of classes (uint8): a 3x3 median filter, then the nearest pixel."""
    result = np.empty((classes.shape[0] // 3, classes.shape[1] // 3), np.uint8)
    counts = np.zeros(SNOW + 1, np.uint8)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            block = classes[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
            counts[:] = 0
            for c in block.flat:
                counts[c] += 1
            below, median = counts[0], 0
            while below < 5:
                median += 1
                below += counts[median]
            result[i, j] = median
    return result


@rule
def mean_3x3(percent):
    """Return the mean of each block of 3x3 pixels of percentages (uint8), rounded half up."""
    result = np.empty((percent.shape[0] // 3, percent.shape[1] // 3), np.uint8)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            total = 0
            for y in range(3 * i, 3 * i + 3):
                for x in range(3 * j, 3 * j + 3):
                    total += percent[y, x]
            result[i, j] = (2 * total + 9) // 18
    return result


@rule
def share_around(marked, size):
    """Return which share of the pixels around is marked, as a number up to 200.

    Parameters
    ----------
    marked
        1 where a pixel is marked, else 0, uint8.
    size
        Odd width of the window, pixels.

    Returns
    -------
    ndarray
        uint8, rounded down in either direction: columns first, then rows.
    """
    rows, columns = marked.shape
    half = size // 2
    # Quotients that are looked up: to divide would take most of the time.
    of_count, of_total = 200 * np.arange(size + 1) // size, (np.arange(200 * size + 1) // size).astype(np.uint8)
    result = np.empty(marked.shape, np.uint8)
    count = np.zeros(columns, np.int32)  # of marked pixels in the window of a column
    share = np.empty(columns + 2 * half + 1, np.int32)  # of a row, with its ends repeated
    for k in range(-half, half + 1):
        for j in range(columns):
            count[j] += marked[min(max(k, 0), rows - 1), j]
    for i in range(rows):
        for j in range(share.size):
            share[j] = of_count[count[min(max(j - half, 0), columns - 1)]]
        total = share[: 2 * half + 1].sum()
        for j in range(columns):
            result[i, j] = of_total[total]
            total += share[j + 2 * half + 1] - share[j]
        last, first = min(i + half + 1, rows - 1), max(i - half, 0)
        for j in range(columns):
            count[j] += np.int32(marked[last, j]) - np.int32(marked[first, j])
    return result
