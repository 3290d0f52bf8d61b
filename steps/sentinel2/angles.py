"""Sun and view angles between the 5 km nodes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steps.core.rasters import bands_of, grid_of, values
from steps.sentinel2.kinds import ANGLES


class AngleGrid:
    """The angles of a scene at its 5 km nodes, interpolated bilinearly.

    Directions are interpolated as tan(zenith) times the unit vector of the azimuth, which has no jump at north and
    none at nadir.
    """

    def __init__(self, path: Path):
        self._grid = grid_of(path, ANGLES)
        self._nodes = {band: values(path, ANGLES, band).astype("f8") for band in bands_of(path, ANGLES)}

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of all nodes, m."""
        g = self._grid
        columns, rows = (g.resolution * (np.arange(n) + 0.5) for n in (g.width, g.height))
        x, y = np.meshgrid(g.left + columns, g.top - rows)
        return x, y

    def nodes_along(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates (m) of columns and rows of nodes, two at least each, that have `x` and `y` between them.

        Beyond the outermost nodes they go on at the same distance.
        """
        g = self._grid
        columns, rows = (
            first + step * np.arange(np.floor(low + 1e-9), max(np.ceil(high - 1e-9), np.floor(low + 1e-9) + 1) + 1)
            for first, step, ends in (
                (g.left + g.resolution / 2, g.resolution, (x[0], x[-1])),
                (g.top - g.resolution / 2, -g.resolution, (y[0], y[-1])),
            )
            for low, high in [[(end - first) / step for end in ends]]
        )
        return columns, rows

    def sun(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sun zenith and azimuth in degrees at map coordinates `x`, `y` (m; equal shapes)."""
        return self._direction([("sun_zenith", "sun_azimuth")], x, y)

    def view(self, band: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return view zenith and azimuth of a band in degrees at map coordinates `x`, `y` (m; equal shapes)."""
        return self._direction([(f"view_zenith_{band}", f"view_azimuth_{band}")], x, y)

    def mean_view(self, bands: Sequence[str], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return zenith and azimuth (degrees) of the mean direction to the sensor of some bands, as `view` of one."""
        return self._direction([(f"view_zenith_{band}", f"view_azimuth_{band}") for band in bands], x, y)

    def _direction(self, names: Sequence[tuple[str, str]], x, y):
        """Return zenith and azimuth of the mean of directions, given by the names of their nodes."""
        tangents = [np.tan(np.radians(self._nodes[zenith])) for zenith, _ in names]
        turns = [np.radians(self._nodes[azimuth]) for _, azimuth in names]
        east = self._bilinear(np.mean([t * np.sin(a) for t, a in zip(tangents, turns, strict=True)], axis=0), x, y)
        north = self._bilinear(np.mean([t * np.cos(a) for t, a in zip(tangents, turns, strict=True)], axis=0), x, y)
        return np.degrees(np.arctan(np.hypot(east, north))), np.degrees(np.arctan2(east, north)) % 360

    def _bilinear(self, nodes, x, y):
        g = self._grid
        column = np.clip((np.asarray(x) - g.left) / g.resolution - 0.5, 0, g.width - 1)
        row = np.clip((g.top - np.asarray(y)) / g.resolution - 0.5, 0, g.height - 1)
        j, i = (np.minimum(v.astype(int), n - 2) for v, n in ((column, g.width), (row, g.height)))
        u, v = column - j, row - i
        upper = nodes[i, j] * (1 - u) + nodes[i, j + 1] * u
        lower = nodes[i + 1, j] * (1 - u) + nodes[i + 1, j + 1] * u
        return upper * (1 - v) + lower * v


def relative_azimuth(sun_azimuth: np.ndarray, view_azimuth: np.ndarray) -> np.ndarray:
    """Return the difference of two azimuths folded to 0-180 degrees (0 = sun and sensor on the same side)."""
    return np.abs((np.asarray(sun_azimuth) - view_azimuth + 180) % 360 - 180)
