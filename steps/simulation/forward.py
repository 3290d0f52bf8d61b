"""The atmosphere over a scene as maps, and the light at the satellite, pixel by pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from steps.core.rasters import Grid
from steps.sentinel2.geometry import Swath
from steps.simulation.banding import SimulatedAtmosphere

#: Spacing of the directions of view, m, and of the maps of the atmosphere, m.
_VIEWS = 2500.0
MAP = 60
PARTS = ("path", "sun", "sky", "around", "albedo")


@dataclass(frozen=True)
class Nodes:
    """Where the light is computed.

    Attributes
    ----------
    aot550
        Optical thicknesses beside 0.
    elevation
        km.
    water_vapour
        g/cm2.
    """

    aot550: np.ndarray
    elevation: np.ndarray
    water_vapour: np.ndarray

    @property
    def middle_aot550(self) -> float:
        """The middle one of the optical thicknesses."""
        return float(self.aot550[self.aot550.size // 2])


def nodes_of(aot550: np.ndarray, water_vapour: np.ndarray, elevation: np.ndarray) -> Nodes:
    """Return nodes that span all values of maps of aerosol thickness at 550 nm, water vapour (g/cm2) and elevation."""
    flat = np.ptp(elevation) < 1e-6
    return Nodes(
        _spread(aot550, 3, 0.02),
        np.array([float(elevation.mean())]) if flat else _spread(elevation, 3, 0, 1e-3),
        _spread(water_vapour, 4, 0.02),
    )


def _spread(values: np.ndarray, count: int, relative: float, absolute: float = 0.0) -> np.ndarray:
    low, high = values.min() * (1 - relative) - absolute, values.max() * (1 + relative) + absolute
    # Between Chebyshev's nodes a polynomial errs least.
    place = -np.cos(np.pi * (np.arange(count) + 0.5) / count) / np.cos(np.pi / 2 / count)
    return (low + high) / 2 + (high - low) / 2 * place


def lagrange(nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weights of nodes in the polynomial through them at some values, shape `(nodes, *values.shape)`."""
    weights = []
    for i, node in enumerate(nodes):
        others = np.delete(nodes, i)
        weights.append(np.prod([(values - o) / (node - o) for o in others], axis=0) * np.ones_like(values, "f8"))
    return np.array(weights)


class AtmosphereMaps:
    """The atmosphere in one band as one detector sees it.

    Parameters
    ----------
    atmosphere
        Of the band.
    nodes
        Whose `aot550` are those of `atmosphere` but for 0.
    swath, sun_azimuth
        Where the satellite and the sun stand; degrees.
    grid
        Of the scene, at 10 m.
    aot550, water_vapour
        Fields on the cells of `MAP`.
    """

    def __init__(
        self,
        atmosphere: SimulatedAtmosphere,
        nodes: Nodes,
        swath: Swath,
        sun_azimuth: float,
        grid: Grid,
        aot550: np.ndarray,
        water_vapour: np.ndarray,
    ):
        self._atmosphere, self._nodes, self._swath, self._sun_azimuth = atmosphere, nodes, swath, sun_azimuth
        self._grid = grid
        self._optical = lagrange(nodes.aot550, aot550)
        self._vapour = lagrange(nodes.water_vapour, water_vapour)

    def parts(self, band: str, detector: int) -> dict[str, np.ndarray]:
        """Return each of `PARTS` at the elevation nodes, shape (elevations, rows, columns) of cells of `MAP`."""
        grid, step = self._grid, _VIEWS
        count = [int(np.ceil(n * grid.resolution / step)) + 1 for n in grid.shape]
        x, y = np.meshgrid(grid.left + step * np.arange(count[1]), grid.top - step * np.arange(count[0]))
        zenith, azimuth = self._swath.view(band, detector, x, y)
        relative = np.abs((azimuth - self._sun_azimuth + 180) % 360 - 180)
        at = [
            self._atmosphere.coefficients(z, a, self._nodes.water_vapour)
            for z, a in zip(zenith.ravel(), relative.ravel(), strict=True)
        ]
        rows, columns = ((np.arange(n) + 0.5) * MAP / step for n in self._optical.shape[1:])
        place = np.meshgrid(rows, columns, indexing="ij")
        result = {}
        for part in PARTS:
            # (rows, columns, optical thicknesses, elevations, columns of vapour); the first is that of 0
            table = np.array([one[part][1:] for one in at]).reshape(*count, *at[0][part][1:].shape)
            maps = np.zeros((len(self._nodes.elevation), *self._optical.shape[1:]))
            for a, e, u in np.ndindex(table.shape[2:]):
                seen = ndimage.map_coordinates(table[:, :, a, e, u], place, order=1, mode="nearest")
                maps[e] += seen * self._optical[a] * self._vapour[u]
            result[part] = maps
        return result


def enlarge(maps: np.ndarray, factor: int) -> np.ndarray:
    """Return maps (rows, columns) with pixels `factor` times as small, linear between middles of cells, as float32."""
    if factor == 1:
        return maps.astype("f4")
    return ndimage.zoom(maps, factor, order=1, grid_mode=True, mode="nearest", output="f4")


def at_elevation(parts: dict[str, np.ndarray], factor: int, weights: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parts, coarser maps, at the pixels of a band, whose elevations have given weights of the nodes."""
    return {
        name: np.sum([enlarge(one, factor) * w for one, w in zip(maps, weights, strict=True)], axis=0)
        for name, maps in parts.items()
    }


@dataclass(frozen=True)
class Lit:
    """What the ground sends up, over what ground of reflectance 1 would send up that is level and has nothing around.

    Attributes
    ----------
    sun, sky
        Of the sun's direct and diffuse light.
    slopes
        Of the light that comes from slopes around, over that of all light of the sun.
    """

    sun: np.ndarray
    sky: np.ndarray
    slopes: np.ndarray | float = 0.0


def at_satellite(parts: dict[str, np.ndarray], ground: Lit, around: np.ndarray) -> np.ndarray:
    """Return reflectance at the top of the atmosphere.

    Parameters
    ----------
    parts
        Each of `PARTS`.
    ground
        Of the pixel.
    around
        Reflectance of the surroundings.
    """
    light = 1 / (1 - parts["albedo"] * around)
    total = parts["sun"] + parts["sky"]
    # What the ground throws back to the sky comes down again as diffuse light.
    sky = parts["sky"] + total * (light - 1)
    up = ground.sun * parts["sun"] + ground.sky * sky + ground.slopes * (parts["sun"] + sky)
    return parts["path"] + up + around * parts["around"] * light
