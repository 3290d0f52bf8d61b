"""Layers of a product that are made from the stages' rasters when they are written, rather than copied."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from steps.core.mesh import interpolate, nearest
from steps.core.rasters import Grid, Kind, grid_of, read, values
from steps.l2a.assets import (
    ANGLE,
    DARK_VEGETATION,
    ELEVATION,
    FLAT,
    NBAR,
    PROBABILITY,
    QA,
    TRUE_COLOUR,
    Flag,
)
from steps.l2a.nbar import c_factor
from steps.sentinel2.angles import AngleGrid, relative_azimuth
from steps.sentinel2.bands import BANDS
from steps.sentinel2.kinds import (
    AEROSOL_GROUND,
    ANGLES,
    BOA,
    CLASSIFICATION,
    GROUND_AOT_FILLED,
    GROUND_DARK_VEGETATION,
    MASK,
    MASK_DEFECTIVE,
    MASK_SATURATED,
    TERRAIN,
)
from steps.sentinel2.scene_classes import CIRRUS, CLOUD_HIGH, CLOUD_MEDIUM, NO_DATA, SHADOW, SNOW, WATER
from steps.sentinel2.true_colour import true_colour

#: Sun zenith above which the sun is low, degrees, as in ESA's quality reports.
LOW_SUN = 70
#: Distance of the nodes between which angles and factors are interpolated, m.
_STEP = 240
#: Classes that set a flag.
_FLAG_OF_CLASS = {
    CLOUD_MEDIUM: Flag.CLOUD,
    CLOUD_HIGH: Flag.CLOUD,
    SHADOW: Flag.CLOUD_SHADOW,
    CIRRUS: Flag.CIRRUS,
    SNOW: Flag.SNOW,
    WATER: Flag.WATER,
}


def is_made(kind: Kind) -> bool:
    """Tell whether a layer of this kind is made here."""
    return kind in _READERS


class Layers:
    """The layers of one pixel grid.

    Parameters
    ----------
    sources
        Path of a raster by the name of its kind; of reflectance before terrain correction by that of `FLAT`.
    grid
        Of the layers.
    min_cos_incidence
        Cosine of the sun's incidence below which a slope is faintly lit.
    """

    def __init__(self, sources: Mapping[str, Path], grid: Grid, min_cos_incidence: float):
        self._sources, self._grid, self._faint = sources, grid, min_cos_incidence
        self._factors: dict[str, np.ndarray] = {}

    def read(self, kind: Kind, band: str, rows: slice) -> np.ndarray:
        """Return rows of a band of a layer, stored numbers."""
        return _READERS[kind](self, band, rows)

    def source(self, kind: Kind) -> Path:
        """Return the raster of a kind."""
        return self._sources[kind.name]

    @cached_property
    def _angles(self) -> AngleGrid:
        return AngleGrid(self.source(ANGLES))

    @cached_property
    def _sun_zenith(self) -> np.ndarray:
        """Degrees, at the nodes."""
        return self._angles.sun(*self._nodes)[0]

    @cached_property
    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of nodes around the grid, m: multiples of their distance, so that a part has the tile's."""
        g = self._grid
        ends = (g.left, g.left + g.width * g.resolution), (g.top - g.height * g.resolution, g.top)
        x, y = (_STEP * np.arange(low // _STEP, -(-high // _STEP) + 1) for low, high in ends)
        return np.meshgrid(x, y[::-1])

    def _at_pixels(self, field: np.ndarray, rows: slice) -> np.ndarray:
        """Interpolate a field from the nodes."""
        g, (x, y) = self._grid, self._nodes
        row = (y[0, 0] - g.top + (np.arange(rows.start, rows.stop) + 0.5) * g.resolution) / _STEP
        column = (g.left - x[0, 0] + (np.arange(g.width) + 0.5) * g.resolution) / _STEP
        return interpolate(field.astype("f4"), row, column)

    def _true_colour(self, band: str, rows: slice) -> np.ndarray:
        return true_colour(read(self.source(BOA), BOA, band, rows))

    def _probability(self, band: str, rows: slice) -> np.ndarray:
        probability = read(self.source(CLASSIFICATION), CLASSIFICATION, band, rows)
        classes = read(self.source(CLASSIFICATION), CLASSIFICATION, "SCL", rows)
        probability[classes == NO_DATA] = PROBABILITY.nodata
        return probability

    def _flat(self, band: str, rows: slice) -> np.ndarray:
        return read(self.source(FLAT), BOA, band, rows)

    def _factor(self, band: str) -> np.ndarray:
        """Return the factor of NBAR at the nodes; 1 where there is no view."""
        if band in self._factors:
            return self._factors[band]
        (sun, sun_azimuth), (view, view_azimuth) = self._angles.sun(*self._nodes), self._angles.view(band, *self._nodes)
        factor = c_factor(band, sun, view, relative_azimuth(sun_azimuth, view_azimuth))
        self._factors[band] = np.where(np.isfinite(factor), factor, 1)
        return self._factors[band]

    def _nbar(self, band: str, rows: slice) -> np.ndarray:
        stored = read(self.source(BOA), BOA, band, rows)
        reflectance = stored * np.float32(BOA.scale) + np.float32(BOA.offset)
        adjusted = reflectance * self._at_pixels(self._factor(band), rows)
        result = np.clip(np.rint((adjusted - NBAR.offset) / NBAR.scale), 1, 65535).astype(NBAR.dtype)
        return np.where(stored == BOA.nodata, stored, result)

    def _angle(self, band: str, rows: slice) -> np.ndarray:
        """Return an angle by its name: `sun_zenith`, `view_azimuth`, `view_zenith_B02` ..."""
        g = self._grid
        centres = np.arange(g.width) + 0.5, np.arange(rows.start, rows.stop) + 0.5
        at = np.meshgrid(g.left + g.resolution * centres[0], g.top - g.resolution * centres[1])
        of, angle, *bands = band.split("_")
        if of == "sun":
            direction = self._angles.sun(*at)
        else:
            direction = self._angles.mean_view(bands or [b for b in BANDS if b != "B10"], *at)
        degrees = direction[0 if angle == "zenith" else 1]
        stored = np.rint(np.nan_to_num(degrees) / ANGLE.scale)
        stored[~np.isfinite(degrees)] = ANGLE.nodata
        return stored.astype(ANGLE.dtype)

    def _elevation(self, band: str, rows: slice) -> np.ndarray:
        return read(self.source(TERRAIN), TERRAIN, "elevation", rows)

    def _ground(self, rows: slice) -> np.ndarray:
        """Return the flags of the ground of the nearest pixels of 80 m."""
        path = self.source(AEROSOL_GROUND)
        row, column = grid_of(path, AEROSOL_GROUND).positions(self._grid)
        return nearest(read(path, AEROSOL_GROUND, AEROSOL_GROUND.name), row[rows], column)

    def _dark_vegetation(self, band: str, rows: slice) -> np.ndarray:
        classes = read(self.source(CLASSIFICATION), CLASSIFICATION, "SCL", rows) if self._has(CLASSIFICATION) else None
        dark = (self._ground(rows) & GROUND_DARK_VEGETATION != 0).astype(DARK_VEGETATION.dtype)
        if classes is not None:
            dark[classes == NO_DATA] = DARK_VEGETATION.nodata
        return dark

    def _has(self, kind: Kind) -> bool:
        return kind.name in self._sources

    def _qa(self, band: str, rows: slice) -> np.ndarray:
        classes = read(self.source(CLASSIFICATION), CLASSIFICATION, "SCL", rows)
        mask = read(self.source(MASK), MASK, "mask", rows)
        terrain = self.source(TERRAIN)
        faint = values(terrain, TERRAIN, "cos_incidence", rows) < self._faint
        flags = {
            Flag.SATURATED: mask & MASK_SATURATED != 0,
            Flag.DEFECTIVE: mask & MASK_DEFECTIVE != 0,
            Flag.LOW_SUN: self._at_pixels(self._sun_zenith, rows) > LOW_SUN,
            Flag.FAINT_SLOPE: faint | (read(terrain, TERRAIN, "cast_shadow", rows) == 1),
            Flag.AOT_FILLED: self._ground(rows) & GROUND_AOT_FILLED != 0,
        }
        codes = np.zeros(256, np.uint16)
        for code, flag in _FLAG_OF_CLASS.items():
            codes[code] = flag
        result = codes[classes]
        for flag, where in flags.items():
            result[where] |= np.uint16(flag)
        result[classes == NO_DATA] = QA.nodata
        return result


_READERS: dict[Kind, Callable[[Layers, str, slice], np.ndarray]] = {
    TRUE_COLOUR: Layers._true_colour,
    PROBABILITY: Layers._probability,
    FLAT: Layers._flat,
    NBAR: Layers._nbar,
    ANGLE: Layers._angle,
    ELEVATION: Layers._elevation,
    DARK_VEGETATION: Layers._dark_vegetation,
    QA: Layers._qa,
}
