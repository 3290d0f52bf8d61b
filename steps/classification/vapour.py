"""How much of the ground B10 sees: little where the air is humid, a tenth and more where it is dry or the ground high.

What water vapour leaves of the ground's light in B10 goes with what it leaves in B09, whatever the angles: so B09 / B8A
of clear ground tells it, place by place, but for a factor of the whole scene, by which the column that B10 itself tells
may be greater: 6S, of which the table is, lets two to four times as much through in B10 as line-by-line models and real
scenes do. Never is it less, since cirrus only brightens B10.
"""

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from steps.classification.cloud_shadow import MATCHED, block_mean
from steps.classification.images import Bands, Image, Maps, Reader
from steps.core.compiled import njit
from steps.core.mesh import interpolate, nearest_indices
from steps.core.rasters import BLOCK, Grid, grid_of, row_blocks, values
from steps.sentinel2.kinds import WVP
from steps.sentinel2.scene import Scene

#: The bands that `clear_columns` needs.
BANDS = frozenset(("B02", "B03", "B04", "B8A", "B09", "B10", "B11"))
#: Scale height of water vapour, m.
SCALE_HEIGHT = 2050.0
#: Column that is assumed where neither land nor auxiliary data tell it: a mid-latitude summer, g/cm2.
SUMMER_VAPOUR = 2.92
#: Driest air, g/cm2, as in winter on the ice of Antarctica: what has less above it is no ground.
LEAST_VAPOUR = 0.03
#: Least share of the column of auxiliary data.
LEAST_SHARE = 0.4
#: Clear land: B8A at least; NDVI and B02 of vegetation; B02 / B11 of soil.
LAND_B8A = 0.12
LAND_NDVI = 0.4
LAND_B02 = 0.15
LAND_B02_B11 = 0.7
#: Snow: NDSI and B8A, at least. Its reflectance in B09 is that in B8A to the power of 1.5, since the logarithm goes
#: with the root of what ice absorbs (Wiscombe and Warren 1980, J. Atmos. Sci. 37, 2712).
SNOW_NDSI = 0.4
SNOW_B8A = 0.3
SNOW_POWER = 0.5
#: B11 / B8A, and reflectance in B10 over B8A there, of coarse to fine snow, canopies, and what is as bright in both,
#: with lines between; and the slope beyond, of soils. Canopies (PROSAIL), soils and roofs are met to a tenth, snow to a
#: fifth.
GROUND_RATIO = (0.0, 0.15, 0.2, 0.28, 1.0)
GROUND_B10 = (0.32, 0.66, 0.66, 0.35, 1.0)
GROUND_SLOPE = 0.8
#: Side of the cells whose medians are taken, m; and the pixels and the share of a cell that are enough.
CELL = 1000
ENOUGH = 30
ENOUGH_SHARE = 0.02
#: Transmittance in B10 that the thresholds of the rules leave room for, and how far it may be above the expected one.
ROOM = 0.025
MARGIN = 1.3


class Absorption(NamedTuple):
    """Transmittance of water vapour in B09 and B10.

    Attributes
    ----------
    log_column : shape (n,)
        Natural logarithm of the slant column above the ground, g/cm2, ascending and even.
    elevation : shape (k,)
        Of the ground, m, ascending and even from 0 on.
    b09, b10 : shape (k, n)
        Transmittance.
    """

    log_column: np.ndarray
    elevation: np.ndarray
    b09: np.ndarray
    b10: np.ndarray


class Vapour(NamedTuple):
    """Water vapour of a scene.

    Attributes
    ----------
    log_column : float32, shape (m, n)
        Natural logarithm of the slant column, g/cm2, as if the ground were at sea level; in coarse pixels.
    rows, columns : int, shapes (rows,) and (columns,)
        The coarse row and column that each row and column of the scene lies in.
    """

    log_column: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def read_vapour(path: Path, grid: Grid, scene: Scene) -> Vapour:
    """Read the whole tile's water vapour for the pixels of a grid; StepError: the raster cannot be read."""
    column = values(path, WVP, "water_vapour")
    at = nearest_indices(column.shape, *grid_of(path, WVP).positions(grid))
    return Vapour(np.log(column * np.float32(air_mass(scene.sun_zenith))), *at)


def air_mass(sun_zenith: float) -> float:
    """Return the air mass of the way down and up to nadir, for the sun's zenith angle in degrees (80 at most)."""
    return float(1 / np.cos(np.radians(min(sun_zenith, 80))) + 1)


def limits(water_vapour: float | None, elevation: float, sun_zenith: float) -> tuple[float, float]:
    """Return the least logarithm of the slant column at sea level that is believed, and the likely one.

    Parameters
    ----------
    water_vapour
        Mean column of the scene by auxiliary data, g/cm2; None where there are none.
    elevation
        Mean of the scene, m.
    sun_zenith
        Degrees.
    """
    least, likely = LEAST_VAPOUR, SUMMER_VAPOUR
    if water_vapour is not None:
        likely = max(water_vapour * float(np.exp(elevation / SCALE_HEIGHT)), least)
        least = max(least, LEAST_SHARE * likely)
    return float(np.log(least * air_mass(sun_zenith))), float(np.log(likely * air_mass(sun_zenith)))


@njit(cache=True, nogil=True)
def _place(x, first, step, size):
    """Return the node before a point of an even axis, and how far the point is from there to the next."""
    at = min(max((x - first) / step, 0.0), size - 1.001)
    return int(at), at - int(at)


@njit(cache=True, nogil=True)
def _transmittance(table, absorption, log_column, elevation):
    """Return one of the tables at a logarithm of the column above the ground and an elevation."""
    x, z = absorption.log_column, absorption.elevation
    j, f = _place(log_column, x[0], x[1] - x[0], x.size)
    i, g = _place(elevation, z[0], z[1] - z[0], z.size)
    low = table[i, j] * (1 - f) + table[i, j + 1] * f
    return low * (1 - g) + (table[i + 1, j] * (1 - f) + table[i + 1, j + 1] * f) * g


@njit(cache=True, nogil=True)
def _log_column(table, absorption, transmittance, elevation):
    """Return the logarithm of the column at which one of the tables has a transmittance."""
    x, z = absorption.log_column, absorption.elevation
    i, g = _place(elevation, z[0], z[1] - z[0], z.size)
    low, high = 0, x.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if table[i, middle] * (1 - g) + table[i + 1, middle] * g > transmittance:
            low = middle
        else:
            high = middle
    before = table[i, low] * (1 - g) + table[i + 1, low] * g
    after = table[i, high] * (1 - g) + table[i + 1, high] * g
    part = min(max((before - transmittance) / (before - after), 0.0), 1.0)
    return x[low] + part * (x[high] - x[low])


@njit(cache=True, nogil=True)
def _ground(b8a, b11):
    """Return the reflectance in B10 of clear ground, if there were no air."""
    ratio = max(b11, 0.0) / max(b8a, 1e-3)
    if ratio > 1:
        return b8a * (1 + GROUND_SLOPE * (ratio - 1))
    k = 0
    while ratio > GROUND_RATIO[k + 1]:
        k += 1
    part = (ratio - GROUND_RATIO[k]) / (GROUND_RATIO[k + 1] - GROUND_RATIO[k])
    return b8a * (GROUND_B10[k] + part * (GROUND_B10[k + 1] - GROUND_B10[k]))


@njit(cache=True, nogil=True)
def clear_columns(bands, elevation, absorption, least):
    """Return the columns that B09 and B10 tell of clear land, and where the land is snow.

    Parameters
    ----------
    bands
        `images.Bands` of a block.
    elevation : float32, shape (rows, columns)
        m.
    absorption
        `Absorption`.
    least
        Least logarithm of the slant column at sea level.

    Returns
    -------
    b09, b10 : float32, shape (rows, columns)
        Natural logarithm of the slant column as if at sea level, g/cm2; NaN where there is no clear land.
    snow : bool, shape (rows, columns)
    """
    shape = elevation.shape
    from_b09, from_b10 = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    snow = np.zeros(shape, np.bool_)
    for i in range(shape[0]):
        for j in range(shape[1]):
            b02, b03, b04 = bands.b02[i, j], bands.b03[i, j], bands.b04[i, j]
            b8a, b11 = bands.b8a[i, j], bands.b11[i, j]
            if bands.nodata[i, j] or b8a < LAND_B8A:
                continue
            ratio = bands.b09[i, j] / b8a
            if b8a - b04 > LAND_NDVI * (b8a + b04):
                if b02 > LAND_B02:
                    continue
            elif b03 - b11 > SNOW_NDSI * (b03 + b11):
                if b8a < SNOW_B8A:
                    continue
                snow[i, j] = True
                ratio /= min(b8a, 1.0) ** SNOW_POWER
            elif b02 > LAND_B02_B11 * b11:
                continue
            height = elevation[i, j]
            thinner = max(height, 0.0) / SCALE_HEIGHT
            column = _log_column(absorption.b09, absorption, ratio, height) + thinner
            if column >= least:
                from_b09[i, j] = column
                seen = bands.b10[i, j] / _ground(b8a, b11)
                from_b10[i, j] = _log_column(absorption.b10, absorption, seen, height) + thinner
    return from_b09, from_b10, snow


def vapour_map(b09: np.ndarray, b10: np.ndarray, snow: np.ndarray, pixel: float, otherwise: float) -> np.ndarray:
    """Return the logarithm of the slant column at sea level everywhere, smooth.

    Parameters
    ----------
    b09, b10, snow : shape (rows, columns)
        From `clear_columns`.
    pixel
        Its size, m.
    otherwise
        The logarithm where nothing is known.
    """
    land = np.isfinite(b09)
    bare = land & ~snow
    # Snow resembles clouds of ice: it counts where there is little else.
    if np.count_nonzero(bare) > max(ENOUGH, ENOUGH_SHARE * np.count_nonzero(land)):
        land = bare
    size = max(1, min(round(CELL / pixel), *b09.shape))
    cells = _medians(np.where(land, b09, np.nan), size)
    if not np.isfinite(cells).any():
        return np.full(b09.shape, otherwise, np.float32)
    # Cirrus makes B10 say less, but over half of the land it is taken for ground at most.
    more = max(float(np.median((b10 - b09)[land])), 0.0)
    return _spread(cells, b09.shape, size) + np.float32(more)


def _medians(values: np.ndarray, size: int) -> np.ndarray:
    """Return the medians of blocks, which at the end of the image are smaller; NaN where too little is known."""
    rows, columns = (-(-n // size) for n in values.shape)
    result = np.full((rows, columns), np.nan, np.float32)
    for i, j in np.ndindex(rows, columns):
        block = values[i * size : (i + 1) * size, j * size : (j + 1) * size]
        block = block[np.isfinite(block)]
        if block.size > min(ENOUGH, ENOUGH_SHARE * size**2):
            result[i, j] = np.median(block)
    return result


def _spread(cells: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Fill cells by the nearest known, smooth over their neighbours, and interpolate between their middles."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(np.isnan(cells), return_distances=False, return_indices=True)
    smooth = ndimage.uniform_filter(cells[tuple(nearest)], 3, mode="nearest")
    places = [(np.arange(n) + 0.5) / size - 0.5 for n in shape]
    return interpolate(smooth, *places)


@njit(cache=True, nogil=True)
def b10_excess(b8a, b11, elevation, vapour, first_row, absorption, margin=MARGIN, room=ROOM):
    """Return by how much clear ground may be brighter in B10 than the rules leave room for.

    Parameters
    ----------
    b8a, b11, elevation : float32, shape (rows, columns)
        Reflectance of a block; m.
    vapour
        `Vapour` of the scene.
    first_row
        Of the block in the scene.
    absorption
        `Absorption`.
    margin, room
        See `MARGIN` and `ROOM`; with 1 and 0 it is how bright the ground is likely to be.
    """
    result = np.zeros(b8a.shape, np.float32)
    for i in range(b8a.shape[0]):
        y, x, height, excess = vapour.rows[first_row + i], -1, np.float32(0), 0.0
        for j in range(b8a.shape[1]):
            if vapour.columns[j] != x or elevation[i, j] != height:
                x, height = vapour.columns[j], elevation[i, j]
                column = vapour.log_column[y, x] - max(height, 0.0) / SCALE_HEIGHT
                excess = margin * _transmittance(absorption.b10, absorption, column, height) - room
            if excess > 0:
                result[i, j] = _ground(b8a[i, j], b11[i, j]) * excess
    return result


def find_vapour(image: Image, table: Absorption, believed: tuple[float, float], threads: int) -> Vapour:
    """Find the water vapour of a scene.

    Parameters
    ----------
    image
        The scene.
    table
        Of the satellite.
    believed
        From `limits`.
    threads
        The result does not depend on it.
    """
    read_rows, shape, resolution = image
    size = max(1, min(MATCHED // resolution, *shape))
    coarse = shape[0] // size, shape[1] // size
    found = np.empty(coarse, np.float32), np.empty(coarse, np.float32), np.empty(coarse, np.bool_)

    def one(rows: slice) -> None:
        bands, maps = read_rows(slice(rows.start * size, rows.stop * size), BANDS)
        seen = ~bands.nodata
        means = {name.lower(): block_mean(getattr(bands, name.lower()), seen, size) for name in BANDS}
        elevation = block_mean(maps.elevation, np.ones_like(seen), size)
        means["nodata"] = np.isnan(means["b8a"])
        results = clear_columns(bands._replace(**means), elevation, table, believed[0])
        for whole, part in zip(found, results, strict=True):
            whole[rows] = part

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, row_blocks(coarse[0], BLOCK // size)))
    log_column = vapour_map(*found, resolution * size, believed[1])
    return Vapour(log_column, *(np.minimum(np.arange(n) // size, n // size - 1) for n in shape))


def without_ground(read_rows: Reader, vapour: Vapour, table: Absorption) -> Reader:
    """Return a reader of B10 without what it sees of the ground, beyond what the rules leave room for."""

    def read(rows: slice, names: Set[str]) -> tuple[Bands, Maps]:
        bands, maps = read_rows(rows, names)
        excess = b10_excess(bands.b8a, bands.b11, maps.elevation, vapour, rows.start, table)
        return bands._replace(b10=bands.b10 - excess), maps

    return read
