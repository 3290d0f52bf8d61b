"""What a scene tells of its aerosol: what is expected, samples of the ground, and how likely each thickness is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from steps.atmosphere.adjacency import counted_in, surroundings
from steps.atmosphere.aerosol_fit import log_likelihood, surface_of
from steps.atmosphere.band import BandAtmosphere
from steps.atmosphere.climatology import aerosol_climatology
from steps.atmosphere.dark_vegetation import SWIR_LIMITS, dark_vegetation
from steps.atmosphere.ground_samples import KINDS, drop_bright_water, kinds_of_ground, sample_means
from steps.atmosphere.inversion import surface_reflectance, toa_reflectance
from steps.atmosphere.inversion_kernel import Block, Nodes, density_factor, invert
from steps.atmosphere.inversion_nodes import inversion_nodes
from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.relief import SCALE_HEIGHT, Mesh, flat_elevation, thinned
from steps.atmosphere.scene import Coefficients, SceneAtmosphere, evaluator, geometry
from steps.atmosphere.surface_prior import BANDS
from steps.atmosphere.uncertainty import CALIBRATION
from steps.core.parallel import RunAll
from steps.core.rasters import Grid, grid_of, read
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import REFLECTANCE_OFFSET, REFLECTANCE_SCALE, TOA
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import NO_DATA, WATER

#: Limits of the aerosol thickness at 550 nm.
LOWEST = 0.01
HIGHEST = 3.0
#: Thicknesses above sea level whose likelihood is computed.
AOT_NODES = np.concatenate([np.arange(LOWEST, 0.3, 0.03), np.geomspace(0.3, HIGHEST, 24)])
#: Standard uncertainty of the calibration of `BANDS`.
_CALIBRATION = np.array([CALIBRATION[band] for band in BANDS])
#: Side of the cells in which ground is sampled, m.
CELL = 1280
#: Distance up to which surroundings count, km.
_SURROUNDINGS_KM = 6.0
#: Lowest reflectance of ground.
_LOWEST_REFLECTANCE = {"B02": 0.0, "B04": 0.0, "B8A": -0.005}
#: Neighbours of a cell that must have as low a limit of the thickness.
_CONFIRMED = 2
#: Smallest share of dark vegetation in the valid land of a scene; below, the next of `SWIR_LIMITS` is tried.
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class AerosolScene:
    """What the retrieval works with.

    Attributes
    ----------
    scene, table, angles
        The scene, a look-up table, the scene's angles.
    stack, grid
        Raster of reflectance at the top of the atmosphere, and its grid.
    classes, elevation, cos_incidence
        Scene classification and terrain of the same pixels, stored numbers.
    light
        From where pixels send up light, see `counted_in`; None where hardly any ground is seen.
    near_cloud, ratio
        Which pixels, `ratio` times larger, have clouds nearby.
    cell_elevation
        Mean elevation of the cells, km.
    water_vapour
        Column, g/cm2; the bands used here hardly depend on it.
    cell_step
        Cells from one that is looked at to the next.
    """

    scene: Scene
    table: LookUpTable
    angles: AngleGrid
    stack: Path
    grid: Grid
    classes: np.ndarray
    elevation: np.ndarray
    cos_incidence: np.ndarray
    light: np.ndarray | None
    near_cloud: np.ndarray
    ratio: int
    cell_elevation: np.ndarray
    water_vapour: float
    cell_step: int = 1

    def every(self, step: int) -> "AerosolScene":
        """Return the scene with one of `step` cells of each row and of each column."""
        return replace(self, cell_elevation=self.cell_elevation[::step, ::step], cell_step=self.cell_step * step)

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell."""
        return round(CELL / self.grid.resolution)

    @property
    def cells(self) -> Grid:
        """Grid whose pixels are the cells."""
        rows, columns = self.cell_elevation.shape
        return Grid(self.grid.epsg, self.grid.left, self.grid.top, self.cell * self.grid.resolution, columns, rows)

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of the columns and rows of cells, m."""
        cells = self.cells
        x, y = (cells.resolution * (self.cell_step * np.arange(n) + 0.5) for n in (cells.width, cells.height))
        return cells.left + x, cells.top - y

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Latitude and longitude of the cells, degrees."""
        from rasterio.warp import transform

        x, y = np.meshgrid(*self.centres)
        east, north = transform(f"EPSG:{self.grid.epsg}", "EPSG:4326", x.ravel(), y.ravel())
        return np.reshape(north, x.shape), np.reshape(east, x.shape)

    @property
    def mean_elevation(self) -> float:
        """Mean elevation of the cells, km."""
        return float(self.cell_elevation.mean())

    def middle(self, band: str, aot550: float) -> BandAtmosphere:
        """Return one band's atmosphere in the middle of the scene, under an aerosol thickness at 550 nm."""
        x, y = (np.array([v.mean()]) for v in self.centres)
        angles = (float(v[0]) for v in geometry(self.angles, band, x, y))
        return evaluator(self.table, self.scene, band)(*angles, self.mean_elevation, aot550, self.water_vapour)

    def atmospheres(self, band: str) -> Iterator[Coefficients]:
        """Yield one band's atmosphere over the cells for each of `AOT_NODES`."""
        aot = [thinned(node, self.cell_elevation) for node in AOT_NODES]
        atmosphere = SceneAtmosphere(
            evaluator(self.table, self.scene, band),
            self.angles,
            band,
            *self.centres,
            elevation_km=self.cell_elevation,
            aot550=np.stack(aot),
            water_vapour=np.array([self.water_vapour]),
        )
        return (atmosphere.at(self.cell_elevation, a, self.water_vapour) for a in aot)


class Samples(NamedTuple):
    """Ground seen in each cell.

    Attributes
    ----------
    toa, around
        Reflectance at the top of the atmosphere, and that around; shape (bands, kinds, rows, columns).
    pixels
        Of each sample, shape (kinds, rows, columns).
    dark
        Which of the stack's pixels are dark vegetation, not 0 where they are.
    dark_share, swir_limit
        Share of dark vegetation in the land, and which of `SWIR_LIMITS` it meets.
    """

    toa: np.ndarray
    around: np.ndarray
    pixels: np.ndarray
    dark: np.ndarray
    dark_share: float
    swir_limit: float

    def every(self, step: int) -> "Samples":
        """Return the samples in one of `step` cells of each row and of each column."""
        return self._replace(**{name: getattr(self, name)[..., ::step, ::step] for name in ("toa", "around", "pixels")})


def forecast(retrieval: AerosolScene) -> np.ndarray | None:
    """Return the CAMS forecast of aerosol thickness at 550 nm in each cell, `LOWEST` to `HIGHEST`.

    It is bilinear between the granule's points; None without a forecast.
    """
    auxiliary = retrieval.scene.auxiliary
    if not auxiliary.cams or "aod550" not in auxiliary.cams:
        return None
    from scipy.ndimage import map_coordinates

    north, east = retrieval.places
    latitude, longitude = np.array(auxiliary.latitude)[:, 0], np.array(auxiliary.longitude)[0]
    order = np.argsort(latitude)
    row = np.interp(north, latitude[order], order)
    # Longitudes relative to the first one: the scene may lie across the date line.
    column = np.interp(
        (east - longitude[0] + 180) % 360, (longitude - longitude[0] + 180) % 360, np.arange(longitude.size)
    )
    values = map_coordinates(np.array(auxiliary.cams["aod550"]), [row, column], order=1, mode="nearest")
    return np.clip(values, LOWEST, HIGHEST)


def climatology(retrieval: AerosolScene) -> np.ndarray:
    """Return the aerosol thickness at 550 nm that is usual in each cell at this time of the year.

    It is that above the scene's mean elevation, `LOWEST` to `HIGHEST`, from `aerosol_climatology`.
    """
    usual, elevation = aerosol_climatology(*retrieval.places, retrieval.scene.sensing_time)
    return np.clip(usual * np.exp((elevation - retrieval.mean_elevation) / SCALE_HEIGHT), LOWEST, HIGHEST)


def samples_of(retrieval: AerosolScene, aot550: float, run_all: RunAll) -> Samples:
    """Return samples of the ground.

    Parameters
    ----------
    retrieval
        The scene.
    aot550
        First guess of the aerosol thickness at 550 nm.
    run_all
        Workers, which take one band each.
    """
    red, nir, swir = (read(retrieval.stack, TOA, band) for band in ("B04", "B8A", "B12"))
    dark, share, limit = _dark_vegetation(retrieval, red, nir, swir, aot550)
    kinds = np.empty(red.shape, np.uint8)
    clouds = retrieval.near_cloud, retrieval.ratio
    sunlight = retrieval.cos_incidence, float(np.cos(np.radians(retrieval.scene.sun_zenith)))
    kinds_of_ground(red, nir, dark, retrieval.classes, *clouds, *sunlight, kinds)
    drop_bright_water(swir, kinds, retrieval.cell)
    bands = [(band, retrieval.middle(band, aot550)) for band in BANDS]
    results = run_all(_sample, bands, retrieval.stack, kinds, retrieval.light, retrieval.cell)
    toa, around, pixels = (np.stack(values) for values in zip(*results, strict=True))
    return Samples(toa, around, pixels.min(axis=0), dark, share, limit)


def _sample(item, stack: Path, kinds: np.ndarray, light: np.ndarray | None, cell: int):
    """Return one band's mean reflectance of samples and of their surroundings, and their pixels.

    The surroundings are those under the first guess of the aerosol: what ground as bright looks like through it.
    """
    band, atmosphere = item
    stored, pixel_km = read(stack, TOA, band), grid_of(stack, TOA).resolution / 1000
    toa = stored * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET)
    kinds = np.where(stored > 0, kinds, 0)
    sampled, count = sample_means(toa, kinds, len(KINDS), cell)
    if light is None:
        return sampled, sampled, count
    counted = counted_in(light, atmosphere) * (stored > 0)
    uniform = surface_reflectance(toa, atmosphere).astype(np.float32)
    around = surroundings(uniform, counted, atmosphere, pixel_km, _SURROUNDINGS_KM)
    around = toa_reflectance(around, atmosphere).astype(np.float32)
    return sampled, sample_means(around, kinds, len(KINDS), cell)[0], count


def likelihood_of(samples: Samples, atmospheres: Sequence[Sequence[Coefficients]], run_all: RunAll) -> np.ndarray:
    """Return the log-likelihood of each of `AOT_NODES` by each sample, NaN where there is none.

    `atmospheres` are those of `above_samples`. The shape is (nodes, kinds, rows, columns); see `log_likelihood`.
    """
    kinds, *_ = np.nonzero(samples.pixels > 0)
    return _at_nodes(_likelihood, np.nan, samples, atmospheres, run_all, kinds)


def limit_of(samples: Samples, atmospheres: Sequence[Sequence[Coefficients]], run_all: RunAll) -> np.ndarray:
    """Return the highest aerosol thickness at which no sample of a cell reflects less than nothing, shape of the cells.

    It is one of `AOT_NODES`, infinite where no node is too high. Where it is odd, as in a shadow that was not seen, it
    is what two neighbours have or are below. Arguments are as for `likelihood_of`.
    """
    from scipy.ndimage import rank_filter

    negative = _at_nodes(_is_negative, False, samples, atmospheres, run_all).any(axis=1)
    last = np.where(negative.any(axis=0), negative.argmax(axis=0) - 1, len(AOT_NODES))
    limit = np.append(AOT_NODES, np.inf)[np.maximum(last, 0)]
    return np.maximum(limit, rank_filter(limit, _CONFIRMED, 3, mode="mirror"))


def _at_nodes(function: Callable, missing, samples: Samples, atmospheres, run_all: RunAll, *shared) -> np.ndarray:
    """Return what a function makes of all samples under each of `AOT_NODES`, shape (nodes, kinds, rows, columns)."""
    there = samples.pixels > 0
    result = np.full((AOT_NODES.size, *there.shape), missing)
    seen = samples.toa[:, there], samples.around[:, there]
    for n, values in enumerate(run_all(function, atmospheres, *seen, *shared)):
        result[n, there] = values
    return result


def above_samples(retrieval: AerosolScene, samples: Samples, run_all: RunAll) -> list[Sequence[Coefficients]]:
    """Return for each of `AOT_NODES` each band's atmosphere above each sample."""
    return list(zip(*run_all(_above_samples, BANDS, retrieval, samples.pixels > 0), strict=True))


def _above_samples(band: str, retrieval: AerosolScene, there: np.ndarray) -> list[Coefficients]:
    """Return one band's atmosphere above each sample, for each of `AOT_NODES`."""
    _, *cells = np.nonzero(there)
    return [Coefficients(*(v[tuple(cells)] for v in vars(one).values())) for one in retrieval.atmospheres(band)]


def _likelihood(
    atmosphere: Sequence[Coefficients], toa: np.ndarray, around: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    return log_likelihood(toa, surface_of(toa, around, atmosphere), atmosphere, kinds, _CALIBRATION)


def _is_negative(atmosphere: Sequence[Coefficients], toa: np.ndarray, around: np.ndarray) -> np.ndarray:
    lowest = np.array([_LOWEST_REFLECTANCE.get(band, -np.inf) for band in BANDS])
    return np.any(surface_of(toa, around, atmosphere) < lowest[:, None], axis=0)


def _dark_vegetation(
    retrieval: AerosolScene, red: np.ndarray, nir: np.ndarray, swir: np.ndarray, aot550: float
) -> tuple[np.ndarray, float, float]:
    """Return which pixels are dark dense vegetation for a first guess of the thickness, their share and their limit."""
    mesh = Mesh(retrieval.grid, retrieval.cell)
    elevation_nodes = mesh.elevation(retrieval.elevation).elevation_nodes
    aot = thinned(aot550 * np.exp(retrieval.mean_elevation / SCALE_HEIGHT), elevation_nodes)
    column = np.full(elevation_nodes.shape, retrieval.water_vapour)
    atmosphere = SceneAtmosphere(
        evaluator(retrieval.table, retrieval.scene, "B12"),
        retrieval.angles,
        "B12",
        mesh.x,
        mesh.y,
        elevation_km=elevation_nodes,
        aot550=aot,
        water_vapour=column,
    )
    level = flat_elevation(retrieval.elevation)
    nodes = inversion_nodes(atmosphere, elevation_nodes, aot, column, level)
    thin = None if level is not None else density_factor(retrieval.elevation)
    surface, counts = np.empty_like(swir), np.empty((swir.shape[0], 3), np.int64)
    invert(Block(swir, thin), None, Nodes(nodes, retrieval.cell), 0, surface, counts)
    dark = np.empty(swir.shape, np.uint8)
    clouds = retrieval.near_cloud, retrieval.ratio
    dark_vegetation(red, nir, surface, retrieval.classes, *clouds, retrieval.cos_incidence, dark)
    land = int(np.count_nonzero((retrieval.classes != NO_DATA) & (retrieval.classes != WATER)))
    shares = np.cumsum(np.bincount(dark.ravel(), minlength=4)[1:]) / max(land, 1)
    chosen = next((i for i, share in enumerate(shares) if share >= _LEAST_SHARE), len(shares) - 1)
    return np.where(dark <= chosen + 1, dark, 0), float(shares[chosen]), SWIR_LIMITS[chosen]
