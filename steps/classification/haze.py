"""What the rules would see if there were less aerosol: reflectance at the top of the atmosphere without the haze.

The thresholds of the rules are for air that is fairly clear, and a sun that is fairly high. Under thick aerosol leaves
lose the contrast between red and infrared by which they are known, so that a meadow becomes bare ground, and water is
as bright as dark land; air that the sun shines through at a slant does the same, and bright soil becomes cloud. So the
reflectance is taken that the same ground in the same surroundings would have under thinner aerosol and a higher sun.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from steps.atmosphere.adjacency import cloud_light, surroundings
from steps.atmosphere.band import BandAtmosphere
from steps.atmosphere.inversion import ground_signal
from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.relief import filled
from steps.atmosphere.scene import Coefficients, SceneAtmosphere, evaluator, geometry
from steps.classification.classes import light_around
from steps.core.cells import cell_moments
from steps.core.compiled import njit
from steps.core.mesh import interpolate
from steps.core.rasters import Grid, grid_of, read
from steps.core.resampling import block_mean
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import AOT, CLASSIFICATION, REFLECTANCE_OFFSET, REFLECTANCE_SCALE, TOA
from steps.sentinel2.scene import Scene

#: Optical thickness at 550 nm that is left: rather more than over most of the land on most days.
LEFT = 0.15
#: Zenith angle that the sun is put to where it is lower, degrees.
SUN = 45.0
#: The bands that are changed; what the ground adds to B10 is found by `steps.classification.vapour` from these.
BANDS = ("B02", "B03", "B04", "B05", "B8A", "B09", "B11", "B12")
#: Pixels of the overview along a side of what the haze is found in.
_PIXELS = 2
#: Side of the cells in which the thickness is averaged, in such squares.
_CELL = 8
#: Distance up to which surroundings count, km.
_REACH = 6.0
#: Water vapour (g/cm2) for want of a forecast; both atmospheres have the same.
_WATER_VAPOUR = 1.5


@dataclass(frozen=True)
class Haze:
    """How reflectance changes when the haze is taken out.

    Attributes
    ----------
    grid
        Of the whole tile, coarse.
    factor, offset
        By band, float32 of the grid's shape: reflectance becomes `factor * reflectance + offset`.
    """

    grid: Grid
    factor: Mapping[str, np.ndarray]
    offset: Mapping[str, np.ndarray]

    def without(self, band: str, reflectance: np.ndarray, grid: Grid, rows: slice = slice(None)) -> np.ndarray:
        """Return the reflectance of a band in some rows of a grid (float32) as it would be without the haze."""
        if band not in self.factor:
            return reflectance
        down, right = self.grid.positions(grid)
        result = np.empty(reflectance.shape, np.float32)
        _linear(reflectance, self.factor[band], self.offset[band], down[rows], right, result)
        return result


@dataclass(frozen=True)
class Overview:
    """What is known of a whole tile.

    Attributes
    ----------
    stack, classification, aot
        Rasters of one grid: reflectance at the top of the atmosphere, scene classification, and the aerosol's optical
        thickness above the ground.
    scene, angles, table
        The scene, its angles, and the look-up table of its aerosol.
    elevation_km
        Mean elevation.
    """

    stack: Path
    classification: Path
    aot: Path
    scene: Scene
    angles: AngleGrid
    table: LookUpTable
    elevation_km: float


class _Squares(NamedTuple):
    """What is known in squares of some pixels of an overview.

    Attributes
    ----------
    grid
        Of the squares.
    ground, clouds
        Shares of it that are ground and clouds, which send up light (`light_around`).
    thickness
        Optical thickness of the aerosol, in cells of `_CELL` squares a side.
    """

    grid: Grid
    ground: np.ndarray
    clouds: np.ndarray
    thickness: np.ndarray


def find_haze(tile: Overview, threads: int = 1) -> Haze | None:
    """Return the haze of a tile; None where neither the aerosol is so thick nor the sun so low, or no ground is seen.

    Raises
    ------
    StepError
        If a raster cannot be read.
    """
    light = light_around(read(tile.classification, CLASSIFICATION, "SCL"))
    fine = grid_of(tile.stack, TOA)
    size = min(_PIXELS, *fine.shape)
    count, _, _, mean, _ = cell_moments(read(tile.aot, AOT, AOT.name), size * _CELL, AOT.nodata)
    thickness = filled(mean * AOT.scale, count > 0, 0.0)
    if light is None or (thickness.max() <= LEFT and tile.scene.sun_zenith <= SUN):
        return None
    width, height = fine.width // size, fine.height // size
    grid = replace(fine, resolution=size * fine.resolution, width=width, height=height)
    whole = np.s_[: size * height, : size * width]

    def averaged(pixels: np.ndarray) -> np.ndarray:
        return pixels[whole].reshape(height, size, width, size).mean(axis=(1, 3))

    squares = _Squares(grid, averaged(light > 0), averaged(light < 0), thickness)

    def change(band: str) -> tuple[np.ndarray, np.ndarray]:
        return _change(band, tile, block_mean(np.ascontiguousarray(read(tile.stack, TOA, band)[whole]), size), squares)

    with ThreadPoolExecutor(threads) as pool:
        changes = list(pool.map(change, BANDS))
    factor, offset = (dict(zip(BANDS, values, strict=True)) for values in zip(*changes, strict=True))
    return Haze(grid, factor, offset)


def _change(band: str, tile: Overview, stored: np.ndarray, squares: _Squares) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and offset of a band in squares, given its stored reflectance there.

    With the terms of `steps.atmosphere.inversion` and surroundings of reflectance e, a pixel stands out from these by
    direct (rho - e) / (1 - albedo e): by a factor less where there is more aerosol.
    """
    toa = stored * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET)
    thick, thin, middle = _atmospheres(band, tile, squares.thickness, squares.grid)
    uniform, known = thick.uniform(toa).astype("f4"), stored > 0
    ground = squares.ground * known
    mean = float((uniform * ground).sum() / max(ground.sum(), 1e-6))
    counted = (squares.ground + cloud_light(middle) * squares.clouds) * known
    around = surroundings(uniform, counted, middle, squares.grid.resolution / 1000, _REACH, mean)
    factor = thick.gain / thin.gain * (1 - thick.albedo * around) / (1 - thin.albedo * around)
    return factor.astype("f4"), (_at_top(around, thin) - factor * _at_top(around, thick)).astype("f4")


def _at_top(surface: np.ndarray, atmosphere: Coefficients) -> np.ndarray:
    """Return the reflectance of uniform ground at the top of the atmosphere."""
    return atmosphere.path + ground_signal(surface, surface, 1.0, atmosphere.q, atmosphere.albedo) / atmosphere.gain


def _atmospheres(
    band: str, tile: Overview, thickness: np.ndarray, grid: Grid
) -> tuple[Coefficients, Coefficients, BandAtmosphere]:
    """Return a band's atmosphere over each pixel as it is and without the haze, and that of the tile's middle."""
    known = tile.scene.auxiliary.water_vapour
    column = _WATER_VAPOUR if known is None else known
    spacing = _CELL * grid.resolution
    x, y = (spacing * (np.arange(n) + 0.5) for n in thickness.shape[::-1])
    x, y = grid.left + x, grid.top - y
    evaluate = evaluator(tile.table, tile.scene, band)
    rows, columns = ((np.arange(n) + 0.5) / _CELL - 0.5 for n in grid.shape)

    def over_pixels(evaluate: Callable, aot550: np.ndarray) -> Coefficients:
        spans = {"elevation_km": np.array([tile.elevation_km]), "aot550": aot550, "water_vapour": np.array([column])}
        atmosphere = SceneAtmosphere(evaluate, tile.angles, band, x, y, **spans)
        fields = vars(atmosphere.at(tile.elevation_km, aot550, column)).values()
        return Coefficients(*(interpolate(field.astype("f4"), rows, columns) for field in fields))

    thick = over_pixels(evaluate, thickness)
    thin = over_pixels(_under_a_higher_sun(evaluate), np.minimum(thickness, LEFT))
    angles = (float(v.mean()) for v in geometry(tile.angles, band, *np.meshgrid(x, y)))
    return thick, thin, evaluate(*angles, tile.elevation_km, float(thickness.mean()), column)


def _under_a_higher_sun(evaluate: Callable) -> Callable:
    """Return `evaluate` with the sun at `SUN` or higher for what is scattered, which it is asked for without a column.

    Gases absorb on the way that the light takes: the rules on water vapour and cirrus reckon with that.
    """

    def higher(sun_zenith, *others):
        return evaluate(sun_zenith if others[-1] is not None else np.minimum(sun_zenith, SUN), *others)

    return higher


@njit(cache=True, nogil=True)
def _linear(values, factor, offset, rows, columns, result):
    """Multiply values and add to them what is bilinear between the cells; rows and columns are positions in these."""
    last_row, last_column = factor.shape[0] - 1, factor.shape[1] - 1
    of_row = np.empty((2, factor.shape[1]), np.float32)
    left, weight = np.empty(columns.size, np.int32), np.empty(columns.size, np.float32)
    for j in range(columns.size):
        x = min(max(columns[j], 0.0), last_column)
        left[j] = min(int(x), max(last_column - 1, 0))
        weight[j] = x - left[j]
    step = min(1, last_column)
    for i in range(values.shape[0]):
        y = min(max(rows[i], 0.0), last_row)
        top = min(int(y), max(last_row - 1, 0))
        bottom, v = min(top + 1, last_row), np.float32(y - top)
        for j in range(factor.shape[1]):
            of_row[0, j] = factor[top, j] + (factor[bottom, j] - factor[top, j]) * v
            of_row[1, j] = offset[top, j] + (offset[bottom, j] - offset[top, j]) * v
        for j in range(values.shape[1]):
            k, u = left[j], weight[j]
            f = of_row[0, k] + (of_row[0, k + step] - of_row[0, k]) * u
            o = of_row[1, k] + (of_row[1, k + step] - of_row[1, k]) * u
            result[i, j] = f * values[i, j] + o
