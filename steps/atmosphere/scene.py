"""The atmosphere over one scene, for the inversion kernel: coefficients at the nodes of a mesh.

A look-up table is asked only at some points (the nodes of the product's angles, a few elevations, aerosol thicknesses
and columns of water vapour that span the scene); what lies between follows by interpolation of smooth functions.
Aerosol and water vapour are taken to thin out with height as exp(-z / 2 km) between the nodes of the mesh, so that a
mountain inside a cell has the air that is above it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steps.atmosphere.band import BandAtmosphere, band_atmosphere
from steps.atmosphere.inversion import surface_reflectance, uniform_surface
from steps.atmosphere.inversion_kernel import DENSITY_HEIGHT, DENSITY_ONE, EXCESS_UNIT, POWERS, density_factor
from steps.atmosphere.lut import LookUpTable
from steps.core.mesh import cell_moments, interpolate
from steps.core.rasters import Grid
from steps.sentinel2.angles import AngleGrid, relative_azimuth
from steps.sentinel2.kinds import REFLECTANCE_OFFSET, REFLECTANCE_SCALE
from steps.sentinel2.reports import SceneMeans
from steps.sentinel2.scene import Scene

#: Scale height of aerosol and water vapour, km (6S, Vermote et al. 1997, has 2 km for aerosol; the column of water
#: vapour in the US 1962 and mid-latitude summer standard atmospheres falls to 0.65 and 0.61 within 1 km).
SCALE_HEIGHT = 2.0
#: Pixels between the nodes of a mesh at each resolution, 0.96 or 1.28 km. The nodes of a part of a tile are those of
#: the tile: `steps.l1c.roi.ALIGNMENT` is a multiple of all these distances.
CELL = {10: 128, 20: 64, 60: 16}
#: Least relief that the elevations of a node span, km.
_LEAST_RELIEF = 0.2
#: Columns of water vapour for which it is asked.
_ROOTS = 48
#: The change with the excess of water vapour is that over this share of the root of the column, to either side.
_EXCESS = 0.06
#: Elevations (km) and aerosol thicknesses for which it is asked: a range, and how many are enough up to it.
_ELEVATIONS = ((1e-6, 1), (0.4, 2), (0.8, 3), (1.4, 4), (1.8, 6), (9, 8))
_THICKNESSES = ((1e-6, 1), (0.02, 2), (0.1, 3), (0.3, 4), (0.7, 5), (9, 7))

#: Names of what the air depends on, in the order in which it is asked.
_MEANS = ("elevation_km", "aot550", "water_vapour")

#: Chebyshev points in -1 ... 1, one more than the largest polynomial has powers.
_CHEBYSHEV = -np.cos(np.pi * (np.arange(max(POWERS) + 1) + 0.5) / (max(POWERS) + 1))


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

    def elevation(self, elevation: np.ndarray, nodata: int = -32768) -> "Relief":
        """Return the relief (km) around each node of a raster of elevations (m, int16) of the mesh's grid."""
        size = self.cell // 2
        if flat_elevation(elevation) in (None, nodata):
            blocks = (elevation[i : i + 8 * size] for i in range(0, elevation.shape[0], 8 * size))
            thin = (np.where(block == nodata, 0, density_factor(block)).astype(np.uint16) for block in blocks)
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
        spare = np.maximum(_LEAST_RELIEF - (self.highest - self.lowest), 0) / 2
        thickest, thinnest = (np.exp(-z / DENSITY_HEIGHT) for z in (self.lowest - spare, self.highest + spare))
        middle, half = (thickest + thinnest) / 2, (thickest - thinnest) / 2
        return -DENSITY_HEIGHT * np.log(middle - half * _CHEBYSHEV[:, None, None])


def filled(values: np.ndarray, known: np.ndarray, default: float = 1) -> np.ndarray:
    """Return values with unknown ones replaced by the nearest known one, by `default` if there is none."""
    if known.all():
        return values
    if not known.any():
        return np.full(values.shape, float(default))
    from scipy.ndimage import distance_transform_edt

    return values[tuple(distance_transform_edt(~known, return_distances=False, return_indices=True))]


def _nodes_over(values: np.ndarray, numbers: tuple[tuple[float, int], ...]) -> np.ndarray:
    # Chebyshev-Lobatto points over the range of the values, as many as the first (range, number) that suffices.
    low, high = float(np.min(values)), float(np.max(values))
    count = next((n for span, n in numbers if high - low <= span), numbers[-1][1])
    if count == 1:
        return np.array([(low + high) / 2])
    return (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * np.arange(count) / (count - 1))


def lagrange(nodes: np.ndarray, values: np.ndarray | np.floating | float) -> np.ndarray:
    """Return the weights of nodes in the polynomial through all of them, shape `(nodes, *values.shape)`."""
    result = np.ones((nodes.size, *np.shape(values)))
    for i, node in enumerate(nodes):
        for other in np.delete(nodes, i):
            result[i] *= (values - other) / (node - other)
    return result


@dataclass(frozen=True)
class Coefficients:
    """Terms of the inversion (see `steps.atmosphere.inversion_kernel`), arrays of the nodes' shape.

    Attributes
    ----------
    path
        Path reflectance at the top of the atmosphere.
    gain
        1 / (gas * water * downward * direct upward transmittance).
    q
        Diffuse by direct upward transmittance.
    albedo
        Spherical albedo.
    """

    path: np.ndarray
    gain: np.ndarray
    q: np.ndarray
    albedo: np.ndarray

    def uniform(self, toa_reflectance: np.ndarray) -> np.ndarray:
        """Return the reflectance of a uniform surface, far too dark pixels limited as by `surface_reflectance`."""
        return uniform_surface(self.signal(toa_reflectance), 1 + self.q, self.albedo)

    def signal(self, toa_reflectance: np.ndarray) -> np.ndarray:
        """Return what the ground adds to the path, in units in which the direct transmittance is 1."""
        return (toa_reflectance - self.path) * self.gain


class SceneAtmosphere:
    """One band's atmosphere over one scene.

    Parameters
    ----------
    evaluate
        From `evaluator`: a function of sun_zenith, view_zenith, relative_azimuth, elevation_km, aot550 and
        water_vapour (arrays that broadcast, in this order) that returns a `BandAtmosphere`.
    angles, band
        Angles of the scene, name of the band.
    x, y
        Map coordinates (m) of the columns and rows of the points that coefficients are wanted at.
    elevation_km, aot550, water_vapour
        Arrays that span the values which `at` will be asked for.
    """

    def __init__(
        self,
        evaluate: Callable,
        angles: AngleGrid,
        band: str,
        x: np.ndarray,
        y: np.ndarray,
        *,
        elevation_km: np.ndarray,
        aot550: np.ndarray,
        water_vapour: np.ndarray,
    ):
        self._z = _nodes_over(elevation_km, _ELEVATIONS)
        self._aot = _nodes_over(aot550, _THICKNESSES)
        # The logarithm of the transmittance is nearly linear in the column's root. Half the column is asked for too,
        # and `inversion_nodes` looks to either side.
        low, high = np.sqrt(np.min(water_vapour) / 2), np.sqrt(np.max(water_vapour))
        self._root = np.linspace((1 - _EXCESS) * low, (1 + _EXCESS) * high, _ROOTS)
        self._scattering(evaluate, angles, band, x, y)
        self._gas(evaluate, angles, band, x, y)

    def _scattering(self, evaluate, angles, band, x, y):
        # At the nodes of the angles, where their course bends, and which are the same for every part of a tile.
        columns, rows = angles.nodes_along(x, y)
        sun, view, azimuth = geometry(angles, band, *np.meshgrid(columns, rows))
        z, aot = self._z[:, None, None, None], self._aot[:, None, None]
        mixture = evaluate(sun, view, azimuth, z, aot, 0.0)
        molecules = evaluate(sun, view, azimuth, z[:, 0], 0.0, 0.0)
        ratio = mixture.transmittance_up / mixture.direct_up - 1
        direct = np.log(mixture.transmittance_down * mixture.direct_up)
        fields = np.stack(np.broadcast_arrays(mixture.path_reflectance, direct, ratio, mixture.spherical_albedo))
        rows, columns = ((v - nodes[0]) / (nodes[1] - nodes[0]) for v, nodes in ((y, rows), (x, columns)))
        self._mixture = interpolate(fields, rows, columns)
        self._molecules = interpolate(molecules.path_reflectance, rows, columns)

    def _gas(self, evaluate, angles, band, x, y):
        def air_mass(x, y):
            sun, view, _ = geometry(angles, band, x, y)
            return 1 / np.cos(np.radians(sun)) + 1 / np.cos(np.radians(view))

        # The air masses are the same for every part of a tile.
        masses = _nodes_over(air_mass(*angles.nodes), ((1e-6, 1), (0.1, 2), (9, 3)))
        # Gases know the two paths only by the sum of their air masses: view from the zenith, sun as low as it takes.
        low_sun = np.degrees(np.arccos(1 / (masses - 1)))[:, None, None]
        z, column = self._z[:, None], self._root**2
        gas = evaluate(low_sun, 0.0, 0.0, z, self._aot[0], column)
        self._air_mass = lagrange(masses, air_mass(*np.meshgrid(x, y)))
        self._log_water = np.log(np.broadcast_to(gas.water_transmittance, (masses.size, self._z.size, column.size)))
        self._log_other = np.log(np.broadcast_to(gas.gas_transmittance, self._log_water.shape))[..., 0]

    def _water(self, z: np.ndarray, column: np.ndarray) -> np.ndarray:
        # Logarithm of the water vapour transmittance of a column, linear in its root between the nodes.
        position = np.clip((np.sqrt(column) - self._root[0]) / (self._root[1] - self._root[0]), 0, _ROOTS - 1)
        lower = np.minimum(position.astype(int), _ROOTS - 2)
        upper_weight = position - lower
        result = np.zeros(position.shape)
        for in_air_mass, tables in zip(self._air_mass, self._log_water, strict=True):
            for in_z, table in zip(z, tables, strict=True):
                result += in_air_mass * in_z * (table[lower] * (1 - upper_weight) + table[lower + 1] * upper_weight)
        return result

    def at(
        self, elevation_km: np.ndarray | float, aot550: np.ndarray | float, water_vapour: np.ndarray | float
    ) -> Coefficients:
        """Return the coefficients at the points for an elevation (km), aerosol and column (g/cm2) at each of them.

        There may be several columns, in axes before those of the points; `path` and `gain` have these axes too.
        """
        shape = self._mixture.shape[-2:]
        elevation_km, aot550 = (np.broadcast_to(np.asarray(v, "f8"), shape) for v in (elevation_km, aot550))
        water_vapour = np.broadcast_to(water_vapour, np.broadcast_shapes(np.shape(water_vapour), shape))
        z = lagrange(self._z, elevation_km)
        mixture, direct, ratio, albedo = np.einsum(
            "qza...,z...,a...->q...", self._mixture, z, lagrange(self._aot, aot550)
        )
        molecules = np.einsum("z...,z...->...", self._molecules, z)
        other = np.exp(np.einsum("mz,m...,z...->...", self._log_other, self._air_mass, z))
        path = other * (molecules + (mixture - molecules) * np.exp(self._water(z, water_vapour / 2)))
        return Coefficients(path, np.exp(-direct - self._water(z, water_vapour)) / other, ratio, albedo)


@dataclass(frozen=True)
class WholeTile:
    """The atmosphere of a whole tile: what that of a part takes from it, so that a part is what it is in the whole.

    Attributes
    ----------
    table, scene, angles
        What it is computed from.
    means
        Of the whole tile.
    """

    table: LookUpTable
    scene: Scene
    angles: AngleGrid
    means: SceneMeans

    @property
    def ranges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lowest and highest elevation (km), aerosol thickness and column (g/cm2), as far as relief nodes go."""
        ends = np.array([-1, 1]) * _LEAST_RELIEF / 2
        elevation, aot, column = (
            np.array([span.lowest, span.highest]) for span in (getattr(self.means, name) for name in _MEANS)
        )
        return elevation + ends, thinned(aot, -ends), thinned(column, -ends)

    def over(self, band: str, x: np.ndarray, y: np.ndarray, ranges: Sequence[np.ndarray]) -> SceneAtmosphere:
        """Return one band's atmosphere at the columns and rows of points of a part, for `ranges` of what it holds."""
        evaluate = evaluator(self.table, self.scene, band)
        return SceneAtmosphere(evaluate, self.angles, band, x, y, **dict(zip(_MEANS, ranges, strict=True)))

    def middle(self, band: str) -> BandAtmosphere:
        """Return one band's atmosphere under the means of the tile and of its angles."""
        tile, share = self.scene.whole, np.linspace(0, 1, 9)
        width, height = (n * tile.resolution for n in (tile.width, tile.height))
        points = np.meshgrid(tile.left + share * width, tile.top - share * height)
        angles = (float(v.mean()) for v in geometry(self.angles, band, *points))
        return evaluator(self.table, self.scene, band)(*angles, *(getattr(self.means, name).mean for name in _MEANS))

    def clear_ground(self, band: str, middle: BandAtmosphere) -> float:
        """Return the mean reflectance of the clear ground in a band, whose `middle` is given; there has to be some."""
        assert self.means.clear is not None
        toa = self.means.clear[band] * REFLECTANCE_SCALE + REFLECTANCE_OFFSET
        return float(surface_reflectance(toa, middle))


def geometry(angles: AngleGrid, band: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sun zenith, view zenith and relative azimuth (degrees) of a band at map coordinates (m)."""
    sun, sun_azimuth = angles.sun(x, y)
    view, view_azimuth = angles.view(band, x, y)
    return sun, view, relative_azimuth(sun_azimuth, view_azimuth)


def thinned(at_sea_level: np.ndarray, elevation_km: np.ndarray | float) -> np.ndarray:
    """Return the aerosol thickness or water vapour column above an elevation from that above sea level."""
    return at_sea_level * np.exp(-np.asarray(elevation_km) / SCALE_HEIGHT)


def flat_elevation(elevation: np.ndarray) -> int | None:
    """Return the elevation (m) of a raster that has only one, else None."""
    first = elevation.flat[0]
    return int(first) if (elevation == first).all() else None


def inversion_nodes(
    scene: SceneAtmosphere,
    elevation_nodes: np.ndarray,
    aot550: np.ndarray,
    water_vapour: np.ndarray,
    level: int | None = None,
) -> np.ndarray:
    """Return the numbers per node that `steps.atmosphere.inversion_kernel.invert` takes.

    Parameters
    ----------
    scene
        The atmosphere at the nodes.
    elevation_nodes
        Elevations from `Relief.elevation_nodes`, km, shape (6, node rows, node columns).
    aot550, water_vapour
        At these elevations (g/cm2), same shape.
    level
        Elevation (m) of level ground, for which the polynomials are constant; all nodes have the same then.

    Returns
    -------
    numpy.ndarray
        Shape (node rows, node columns, `steps.atmosphere.inversion_kernel.COEFFICIENTS`), float32.
    """
    if level is not None:
        weights = lagrange(elevation_nodes[:, 0, 0], level / 1000)
        aot550, water_vapour = (np.tensordot(weights, v, 1)[None] for v in (aot550, water_vapour))
        elevation_nodes = np.full_like(aot550, level / 1000)
    columns = water_vapour[:, None] * np.array([1, 1 - _EXCESS, 1 + _EXCESS])[:, None, None] ** 2
    terms = [scene.at(*v) for v in zip(elevation_nodes, aot550, columns, strict=True)]
    path, gain, q, albedo = (np.stack([getattr(c, name) for c in terms]) for name in ("path", "gain", "q", "albedo"))
    stored = (path - REFLECTANCE_OFFSET) / REFLECTANCE_SCALE
    (path, gain), less, more = zip(stored.swapaxes(0, 1), gain.swapaxes(0, 1), strict=True)
    # The changes of gain and of path times gain, in units of the gain: parabolas in the excess.
    excess, one = _EXCESS * np.sqrt(water_vapour) / EXCESS_UNIT, np.ones_like(gain)
    change, curve = _parabola(less[1] / gain - 1, more[1] / gain - 1, excess)
    path_change, path_curve = _parabola(less[0] * less[1] / gain - path, more[0] * more[1] / gain - path, excess)
    # Each with what its errors are multiplied with on the way to the surface.
    values = (
        (path, gain),
        ((1 + q) / gain, gain),
        (np.sqrt(gain), 1 / np.sqrt(gain)),
        (albedo * REFLECTANCE_SCALE, one),
        (change, one),
        (path_change, gain),
    )
    if level is None:
        air = DENSITY_ONE * np.exp(-elevation_nodes / DENSITY_HEIGHT)
        powers = [_powers(air, *v, count) for v, count in zip(values, POWERS, strict=True)]
    else:
        powers = [np.pad(v, [(0, n - 1), (0, 0), (0, 0)]) for (v, _), n in zip(values, POWERS, strict=True)]
    curves = [np.mean(v, axis=0, keepdims=True) for v in (curve, path_curve)]
    return np.ascontiguousarray(np.moveaxis(np.concatenate([*powers, *curves]), 0, -1), np.float32)


def _parabola(less: np.ndarray, more: np.ndarray, excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Slope and curve of the parabola through 0 in the middle and two values to either side of it.
    return (more - less) / (2 * excess), (more + less) / (2 * excess**2)


def _powers(x: np.ndarray, values: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    # Coefficients of the lowest `count` powers of x of the polynomial that fits values at Chebyshev points x best, each
    # error multiplied with its weight: what counts is the error of the surface, which has to be seen through the air.
    basis = np.vander(_CHEBYSHEV, count, increasing=True)
    weighted = basis.T * np.moveaxis(weights**2, 0, -1)[..., None, :]
    of_t = np.linalg.solve(weighted @ basis, weighted @ np.moveaxis(values, 0, -1)[..., None])[..., 0]
    # Those of t = (x - middle) / half become those of x by Horner's scheme.
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / (2 * _CHEBYSHEV[-1])
    result = np.zeros((count, *middle.shape))
    for coefficient in np.moveaxis(of_t, -1, 0)[::-1]:
        times_x = np.concatenate([np.zeros((1, *middle.shape)), result[:-1]])
        result = (times_x - middle * result) / half
        result[0] += coefficient
    return result


def evaluator(table: LookUpTable, scene: Scene, band: str) -> Callable:
    """Return `band_atmosphere` of one band of a scene, for `SceneAtmosphere`."""

    def evaluate(sun_zenith, view_zenith, relative_azimuth, elevation_km, aot550, water_vapour) -> BandAtmosphere:
        return band_atmosphere(
            table,
            scene.bands[band].response,
            sun_zenith=sun_zenith,
            view_zenith=view_zenith,
            relative_azimuth=relative_azimuth,
            elevation_km=elevation_km,
            aot550=aot550,
            water_vapour=water_vapour,
            ozone=scene.auxiliary.ozone,
        )

    return evaluate
