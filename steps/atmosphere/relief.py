"""The ground under the atmosphere: a mesh of nodes over the scene, and the elevations around each of them.

Aerosol and water vapour are taken to decrease with elevation z as exp(-z / 2 km) between the nodes.
"""

from dataclasses import dataclass

import numpy as np

from steps.atmosphere.inversion_kernel import DENSITY_HEIGHT, DENSITY_ONE, POWERS, density_factor
from steps.core.cells import cell_moments
from steps.core.rasters import Grid
from steps.sentinel2.kinds import TERRAIN

#: Scale height of aerosol and water vapour, km (6S, Vermote et al. 1997, has 2 km for aerosol; the column of water
#: vapour in the US 1962 and mid-latitude summer standard atmospheres falls to 0.65 and 0.61 within 1 km).
SCALE_HEIGHT = 2.0
#: Pixels between the nodes of a mesh at each resolution, 0.96 or 1.28 km. The nodes of a part of a tile are those of
#: the tile: `steps.l1c.roi.ALIGNMENT` is a multiple of all these distances.
CELL = {10: 128, 20: 64, 60: 16}
#: Least relief that the elevations of a node span, km.
LEAST_RELIEF = 0.2
#: Chebyshev points in -1 ... 1, one more than the largest polynomial has powers.
CHEBYSHEV = -np.cos(np.pi * (np.arange(max(POWERS) + 1) + 0.5) / (max(POWERS) + 1))


@dataclass(frozen=True)
class Mesh:
    """Nodes every `cell` pixels, the first one at the upper left corner, the last one at or beyond the edges."""

    grid: Grid
    cell: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of nodes."""
        rows, columns = (-(-n // self.cell) + 1 for n in self.grid.shape)
        return rows, columns

    @property
    def spacing(self) -> float:
        """Distance of the nodes, m."""
        return self.cell * self.grid.resolution

    @property
    def x(self) -> np.ndarray:
        """Map coordinates of the columns of nodes, m."""
        return self.grid.left + self.spacing * np.arange(self.shape[1])

    @property
    def y(self) -> np.ndarray:
        """Map coordinates of the rows of nodes, m."""
        return self.grid.top - self.spacing * np.arange(self.shape[0])

    def _around(self, moments: np.ndarray, reach: int) -> np.ndarray:
        # Half cells within `reach` half cells of each node: shape (5, node rows, node columns, 2 reach, 2 reach).
        ny, nx = self.shape
        padded = np.zeros((5, 2 * (ny - 1) + 2 * reach, 2 * (nx - 1) + 2 * reach))
        padded[:, reach : reach + moments.shape[1], reach : reach + moments.shape[2]] = moments
        return np.lib.stride_tricks.sliding_window_view(padded, (2 * reach, 2 * reach), axis=(1, 2))[:, ::2, ::2]

    def at_sea_level(self, values: np.ndarray, resolution: float, relief: "Relief") -> np.ndarray:
        """Return what aerosol thickness or water vapour would be above sea level, from a raster of it (see `thinned`).

        Parameters
        ----------
        values
            Stored numbers (0 = no data) of the thickness or column above each pixel's ground.
        resolution
            Pixel size of `values`, m.
        relief
            Of the mesh.

        Returns
        -------
        numpy.ndarray
            Stored numbers at the nodes. One with no valid pixel around it takes after the nearest one that has; 1
            everywhere if there is none.
        """
        half = round(self.cell * self.grid.resolution / resolution / 2)
        counts, means = self._around(cell_moments(values, half, 0), 1)[[0, 3]]
        number = counts.sum(axis=(-2, -1))
        mean = (counts * means).sum(axis=(-2, -1)) / np.maximum(number, 1)
        known = (number > 0) & (relief.mean_column_scaling > 0)
        return filled(mean / np.where(known, relief.mean_column_scaling, 1), known)

    def elevation(self, elevation: np.ndarray) -> "Relief":
        """Return the relief (km) around each node of a raster of elevations (m, int16) of the mesh's grid."""
        size = self.cell // 2
        if flat_elevation(elevation) in (None, TERRAIN.nodata):
            blocks = (elevation[i : i + 8 * size] for i in range(0, elevation.shape[0], 8 * size))
            thin = (np.where(block == TERRAIN.nodata, 0, density_factor(block)).astype(np.uint16) for block in blocks)
            moments = np.concatenate([cell_moments(block, size, 0) for block in thin], axis=1)
        else:
            here = float(density_factor(elevation[:1, :1])[0, 0])
            moments = np.empty((5, *(-(-n // size) for n in elevation.shape)))
            moments[:] = np.array([1, here, here, here, 0])[:, None, None]
        near, far = self._around(moments, 1), self._around(moments, 2)
        # The mean of exp(-z / H), which is the square of the density factor.
        counts = near[0].sum(axis=(-2, -1))
        mean_column_scaling = (
            (near[0] * (near[3] ** 2 + near[4])).sum(axis=(-2, -1)) / np.maximum(counts, 1) / DENSITY_ONE**2
        )
        thickest = np.where(far[0] > 0, far[2], -np.inf).max(axis=(-2, -1))
        thinnest = np.where(far[0] > 0, far[1], np.inf).min(axis=(-2, -1))
        known = np.isfinite(thinnest)
        lowest, highest = (
            filled(-DENSITY_HEIGHT * np.log(np.where(known, v, 1) / DENSITY_ONE), known, 0)
            for v in (thickest, thinnest)
        )
        return Relief(lowest, highest, mean_column_scaling)


@dataclass(frozen=True)
class Relief:
    """Elevation around each node.

    Attributes
    ----------
    lowest, highest
        Km, over the cells that the node belongs to.
    mean_column_scaling
        Mean of exp(-z / `SCALE_HEIGHT`) over the nearer half of these cells, 0 where that lies outside the scene.
    """

    lowest: np.ndarray
    highest: np.ndarray
    mean_column_scaling: np.ndarray

    @property
    def elevation_nodes(self) -> np.ndarray:
        """Elevations that span the relief (Chebyshev points of the density factor), km, ascending, first axis."""
        spare = np.maximum(LEAST_RELIEF - (self.highest - self.lowest), 0) / 2
        thickest, thinnest = (np.exp(-z / DENSITY_HEIGHT) for z in (self.lowest - spare, self.highest + spare))
        middle, half = (thickest + thinnest) / 2, (thickest - thinnest) / 2
        return -DENSITY_HEIGHT * np.log(middle - half * CHEBYSHEV[:, None, None])


def filled(values: np.ndarray, known: np.ndarray, default: float = 1) -> np.ndarray:
    """Return values with those not `known` (bool, same shape) replaced by the nearest known one, else by `default`."""
    if known.all():
        return values
    if not known.any():
        return np.full(values.shape, float(default))
    from scipy.ndimage import distance_transform_edt

    return values[tuple(distance_transform_edt(~known, return_distances=False, return_indices=True))]


def thinned(at_sea_level: np.ndarray, elevation_km: np.ndarray | float) -> np.ndarray:
    """Return aerosol thickness or water vapour above elevations (km) from that above sea level (same shape)."""
    return at_sea_level * np.exp(-np.asarray(elevation_km) / SCALE_HEIGHT)


def flat_elevation(elevation: np.ndarray) -> int | None:
    """Return the elevation (m) of a raster (int16) that has only one, else None."""
    first = elevation.flat[0]
    return int(first) if (elevation == first).all() else None
