"""The atmosphere over one scene, of each band: the terms of the inversion at any points.

A look-up table is asked only at some points (the nodes of the product's angles, a few elevations, aerosol thicknesses
and columns of water vapour that span the scene); what lies between follows by interpolation of smooth functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steps.atmosphere.adjacency import cloud_light
from steps.atmosphere.band import BandAtmosphere, band_atmosphere
from steps.atmosphere.inversion import surface_reflectance, uniform_surface
from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.relief import LEAST_RELIEF, thinned
from steps.core.mesh import interpolate
from steps.sentinel2.angles import AngleGrid, relative_azimuth
from steps.sentinel2.kinds import REFLECTANCE_OFFSET, REFLECTANCE_SCALE
from steps.sentinel2.reports import SceneMeans
from steps.sentinel2.scene import Scene

#: Columns of water vapour for which it is asked.
_ROOTS = 48
#: The change with the excess of water vapour is that over this share of the root of the column, to either side.
EXCESS = 0.06
#: Elevations (km) and aerosol thicknesses for which it is asked: a range, and how many are enough up to it.
_ELEVATIONS = ((1e-6, 1), (0.4, 2), (0.8, 3), (1.4, 4), (1.8, 6), (9, 8))
_THICKNESSES = ((1e-6, 1), (0.02, 2), (0.1, 3), (0.3, 4), (0.7, 5), (9, 7))

#: Names of what the atmosphere depends on, in the order in which it is asked.
_MEANS = ("elevation_km", "aot550", "water_vapour")


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
        for j, other in enumerate(nodes):
            if j != i:
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
        """Return the reflectance of a uniform surface (same shape), by `uniform_surface`."""
        return uniform_surface(self.signal(toa_reflectance), 1 + self.q, self.albedo)

    def signal(self, toa_reflectance: np.ndarray) -> np.ndarray:
        """Return what the ground adds to the path, in reflectance if the direct transmittance were 1 (same shape)."""
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
        self._root = np.linspace((1 - EXCESS) * low, (1 + EXCESS) * high, _ROOTS)
        self._scattering(evaluate, angles, band, x, y)
        self._gas(evaluate, angles, band, x, y)

    def _scattering(self, evaluate, angles, band, x, y):
        # At the nodes of the angles, where their course bends, and which are the same for every part of a tile.
        columns, rows = angles.nodes_along(x, y)
        sun, view, azimuth = geometry(angles, band, *np.meshgrid(columns, rows))
        z, aot = self._z[:, None, None, None], self._aot[:, None, None]
        mixture = evaluate(sun, view, azimuth, z, aot, None)
        molecules = evaluate(sun, view, azimuth, z[:, 0], 0.0, None)
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
        ends = np.array([-1, 1]) * LEAST_RELIEF / 2
        elevation, aot, column = (
            np.array([span.lowest, span.highest]) for span in (getattr(self.means, name) for name in _MEANS)
        )
        return elevation + ends, thinned(aot, -ends), thinned(column, -ends)

    def over(self, band: str, x: np.ndarray, y: np.ndarray, ranges: Sequence[np.ndarray]) -> SceneAtmosphere:
        """Return one band's atmosphere over a part of the tile.

        Parameters
        ----------
        band
            `B01` ... `B12`.
        x, y
            Map coordinates of its columns and rows of points, m.
        ranges
            Lowest and highest elevation (km), aerosol thickness and column (g/cm2), as `ranges`.
        """
        evaluate = evaluator(self.table, self.scene, band)
        return SceneAtmosphere(evaluate, self.angles, band, x, y, **dict(zip(_MEANS, ranges, strict=True)))

    def middle(self, band: str) -> BandAtmosphere:
        """Return one band's atmosphere under the means of the tile and of its angles."""
        tile, share = self.scene.whole, np.linspace(0, 1, 9)
        width, height = (n * tile.resolution for n in (tile.width, tile.height))
        points = np.meshgrid(tile.left + share * width, tile.top - share * height)
        angles = (float(v.mean()) for v in geometry(self.angles, band, *points))
        return evaluator(self.table, self.scene, band)(*angles, *(getattr(self.means, name).mean for name in _MEANS))

    def far_away(self, band: str, middle: BandAtmosphere) -> float:
        """Return the mean reflectance of what sends up light in a band, whose `middle` is given: ground and clouds.

        There has to be some clear ground.
        """
        assert self.means.light is not None
        light = self.means.light[band]
        stored = light.ground + float(cloud_light(middle)) * light.clouds
        return float(surface_reflectance(stored * REFLECTANCE_SCALE + REFLECTANCE_OFFSET, middle))


def geometry(angles: AngleGrid, band: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sun zenith, view zenith and relative azimuth (degrees) of a band at map coordinates (m, of one shape)."""
    sun, sun_azimuth = angles.sun(x, y)
    view, view_azimuth = angles.view(band, x, y)
    return sun, view, relative_azimuth(sun_azimuth, view_azimuth)


def evaluator(table: LookUpTable, scene: Scene, band: str) -> Callable:
    """Return `band_atmosphere` as a function of the arguments that vary over a scene, for `SceneAtmosphere`."""

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
