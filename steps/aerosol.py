"""Aerosol: its optical thickness from dark vegetation, the granule's CAMS data or a climatology; its model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from steps.atmosphere.air_map import Pixels, write_air_map
from steps.atmosphere.choice import VEGETATION_MODELS, choose_aerosol_model, model_of_vegetation
from steps.atmosphere.climatology import aerosol_climatology
from steps.atmosphere.dark_vegetation import SWIR_LIMITS, dark_vegetation, fit_thickness, highest_thickness
from steps.atmosphere.inversion_kernel import density_factor, invert
from steps.atmosphere.lut import LookUpTable, load_table
from steps.atmosphere.scene import (
    SCALE_HEIGHT,
    Mesh,
    SceneAtmosphere,
    evaluator,
    flat_elevation,
    geometry,
    inversion_nodes,
    thinned,
)
from steps.classification.classes import any_of_nine, is_one_of
from steps.core.cli import cli
from steps.core.documents import write_document
from steps.core.mesh import cell_moments, cell_quantile
from steps.core.parallel import Backend, RunAll, workers
from steps.core.rasters import Grid, grid_of, read
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import AOT, CLASSIFICATION, REFLECTANCE_OFFSET, REFLECTANCE_SCALE, TERRAIN, TOA
from steps.sentinel2.reports import AerosolReport, ChosenAerosol, ModelSource
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUDS, NO_DATA, SOIL, VEGETATION, WATER

logger = logging.getLogger(__name__)

#: Limits of the thickness, and thicknesses between which surface reflectance is taken to be linear.
LOWEST = 0.01
HIGHEST = 3.0
_AOT_NODES = np.array([LOWEST, 0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.2, 1.6, 2.2, HIGHEST])
#: Side of the cells in which aerosol is retrieved, m.
_CELL = 1280
#: Least area of dark vegetation in a cell for a retrieval, and of dark ground for the test of negative reflectance, m2.
_LEAST_VEGETATION = 16_000
_LEAST_GROUND = 160_000
#: Side of the square around a pixel in which there must not be clouds, m.
_AROUND = 1020
#: Smallest share of dark vegetation in the valid land of a scene; below, the next of `SWIR_LIMITS` is tried.
_LEAST_SHARE = 0.02
#: Share of the darkest pixels of vegetation, soil and water that may be below a limit of reflectance.
_DARKEST = 0.01
_LOWEST_REFLECTANCE = {"B02": 0.0, "B04": 0.0, "B8A": -0.005}
#: Water vapour (g/cm2) for want of a forecast of it; the bands used here hardly depend on it.
_WATER_VAPOUR = 1.5
_GROUND = (VEGETATION, SOIL, WATER)


@dataclass(frozen=True)
class _Inputs:
    """What the retrieval works with: the scene, its rasters of the stack's pixels, and means of cells."""

    scene: Scene
    table: LookUpTable
    angles: AngleGrid
    stack: Path
    grid: Grid
    classes: np.ndarray
    elevation: np.ndarray
    cos_incidence: np.ndarray
    cell_elevation: np.ndarray
    water_vapour: float
    aot550: float
    run_all: RunAll

    @cached_property
    def vegetation(self) -> "_Vegetation | None":
        """Its dark dense vegetation, which hardly depends on the aerosol model."""
        return _dark_vegetation(self)

    def quantiles(self, bands: Sequence[str], chosen: np.ndarray, share: float, least: int) -> dict[str, np.ndarray]:
        """Return a quantile of the chosen pixels of each cell, stored TOA numbers, NaN where these are too few."""
        return dict(
            zip(bands, self.run_all(_quantile, bands, self.stack, chosen, self.cell, share, least), strict=True)
        )

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell."""
        return round(_CELL / self.grid.resolution)

    @property
    def cells(self) -> Grid:
        """Grid whose pixels are the cells."""
        rows, columns = self.cell_elevation.shape
        return Grid(self.grid.epsg, self.grid.left, self.grid.top, self.cell * self.grid.resolution, columns, rows)

    def least(self, area: float) -> int:
        """Return the pixels that make an area, m2."""
        return -round(-area // self.grid.resolution**2)

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of the columns and rows of cells, m."""
        cells = self.cells
        x, y = (cells.resolution * (np.arange(n) + 0.5) for n in (cells.width, cells.height))
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
        """Km."""
        return float(self.cell_elevation.mean())

    def reflectances(self, band: str, stored: np.ndarray) -> np.ndarray:
        """Return the surface reflectance of cells' stored TOA numbers for each of `_LEVELS`."""
        atmosphere = SceneAtmosphere(
            evaluator(self.table, self.scene, band),
            self.angles,
            band,
            *self.centres,
            elevation_km=self.cell_elevation,
            aot550=_AOT_NODES,
            water_vapour=np.array([self.water_vapour]),
        )
        toa = stored * REFLECTANCE_SCALE + REFLECTANCE_OFFSET
        return np.stack([atmosphere.at(self.cell_elevation, aot, self.water_vapour).uniform(toa) for aot in _AOT_NODES])


def run(
    stack: Path,
    classification: Path,
    terrain: Path,
    metadata: Path,
    angles: Path,
    lut: list[Path],
    aot: Path,
    aerosol_model: Path,
    report: Path,
    mask_20m: Path | None = None,
    terrain_20m: Path | None = None,
    aot_overview: Path | None = None,
    method: Literal["auto", "ddv", "cams", "climatology", "fixed"] = "auto",
    aot550: float = 0.2,
    smoothing_km: float = 1.0,
    threads: int = 1,
    backend: Backend = "threads",
    scheduler: str = "local",
) -> None:
    """Map the aerosol optical thickness at 550 nm.

    It is found from the whole tile, whatever part of it is mapped. The map is smooth and thins out with height. Unless
    it is `fixed`, it nowhere makes the darkest ground negative.

    Parameters
    ----------
    stack
        Top-of-atmosphere reflectance of the whole tile at 80 m, or at 20 m.
    classification, terrain
        Scene classification and terrain of the same pixels.
    metadata, angles
        The scene and its angles.
    lut
        Look-up tables of the atmosphere. Of several, the one whose aerosol model fits best is taken: by the species
        of the CAMS data, else by the colour of dark vegetation, else the first.
    aot
        Output: the map.
    aerosol_model
        Output: `ChosenAerosol`, by which the stages that follow find the look-up table.
    report
        Output: `AerosolReport`.
    mask_20m, terrain_20m
        Quality flags and terrain of the pixels to map, if these are not those of the stack.
    aot_overview
        Output: the map in the pixels of the stack.
    method
        ddv: what gives dark dense vegetation its colours; cams: the forecast or reanalysis that comes with the product;
        climatology: what is usual there in this month; auto: the first of these that there is, and what follows the
        chosen one for want of it; fixed: `aot550`.
    aot550
        Thickness at the scene's mean elevation for `fixed`; by which dark vegetation is looked for, too.
    smoothing_km
        Standard deviation of the Gaussian that smooths the map.
    threads, backend, scheduler
        Workers, see `steps.core.parallel.workers`.

    Raises
    ------
    StepError
        If an input cannot be read or an output cannot be written.
    """
    scene, grid = Scene.read(metadata), grid_of(stack, TOA)
    tables = {t.aerosol: t for t in map(load_table, lut)}
    elevation = read(terrain, TERRAIN, "elevation")
    moments = cell_moments(elevation, round(_CELL / grid.resolution), -32768)
    with workers(backend, threads, scheduler) as run_all:
        inputs = _Inputs(
            scene=scene,
            table=next(iter(tables.values())),
            angles=AngleGrid(angles),
            stack=stack,
            grid=grid,
            classes=read(classification, CLASSIFICATION, "SCL"),
            elevation=elevation,
            cos_incidence=read(terrain, TERRAIN, "cos_incidence"),
            cell_elevation=moments[3] * 1e-3,
            water_vapour=_WATER_VAPOUR if scene.auxiliary.water_vapour is None else scene.auxiliary.water_vapour,
            aot550=aot550,
            run_all=run_all,
        )
        model, source = _model(inputs, tables)
        inputs = replace(inputs, table=tables[model])
        cells, facts = _thickness(inputs, method, aot550, smoothing_km)
        field, pixels = (cells.astype("f4"), inputs.cells), Pixels(grid, elevation, inputs.classes == NO_DATA)
        if aot_overview:
            write_air_map(aot_overview, AOT, *field, pixels, (LOWEST, HIGHEST), run_all)
        if mask_20m and terrain_20m:
            pixels = Pixels.of(mask_20m, terrain_20m)
        mean = write_air_map(aot, AOT, *field, pixels, (LOWEST, HIGHEST), run_all, method=facts["method"])
    chosen = ChosenAerosol(model, lut[list(tables).index(model)].name)
    if source == "DEFAULT":
        facts["defaults"].append(f"No CAMS data and hardly any dark vegetation: {model} aerosol was assumed.")
    result = AerosolReport(
        **facts,
        source=scene.auxiliary.cams_file if facts["method"] == "CAMS" else None,
        mean_aot550=float(aot550 if mean is None else mean),
        model=model,
        model_source=source,
        lut=chosen.table,
        smoothing_km=smoothing_km,
    )
    for sentence in result.defaults:
        logger.warning("%s", sentence)
    logger.info("mean aerosol optical thickness %.3f, method %s", result.mean_aot550, result.method)
    write_document(aerosol_model, chosen)
    write_document(report, result)


def _model(inputs: _Inputs, tables: dict[str, LookUpTable]) -> tuple[str, ModelSource]:
    """Return the aerosol model to take of those there are tables of, and what it was chosen by."""
    if len(tables) == 1:
        return inputs.table.aerosol, "CONFIG"
    if inputs.scene.auxiliary.cams:
        return choose_aerosol_model(inputs.scene.auxiliary.cams), "CAMS"
    if inputs.vegetation is None:
        return inputs.table.aerosol, "DEFAULT"
    medians = {band: np.nanmedian(cells) for band, cells in inputs.vegetation.medians.items()}
    middle = [np.array([v.mean()]) for v in inputs.centres]
    views = {band: [float(v[0]) for v in geometry(inputs.angles, band, *middle)] for band in medians}
    toa = {band: stored * REFLECTANCE_SCALE + REFLECTANCE_OFFSET for band, stored in medians.items()}
    atmospheres = {
        name: {
            band: evaluator(table, inputs.scene, band)(
                *views[band], inputs.mean_elevation, _AOT_NODES, inputs.water_vapour
            )
            for band in medians
        }
        for name, table in tables.items()
        if name in VEGETATION_MODELS
    }
    return model_of_vegetation(_AOT_NODES, atmospheres, toa), "DDV"


def _thickness(inputs: _Inputs, method: str, aot550: float, smoothing_km: float) -> tuple[np.ndarray, dict]:
    """Return the thickness above sea level of each cell, and how it was found."""
    facts: dict[str, Any] = {"ddv_percentage": 0.0, "ddv_swir_limit": None, "ddv_cells": 0}
    facts |= {"spread_aot550": 0.0, "defaults": []}
    forecast = _forecast(inputs) if method in ("auto", "ddv", "cams") else None
    found = None
    if method in ("auto", "ddv"):
        found = _from_vegetation(inputs, forecast, facts)
        facts["method"] = "DDV"
    if found is None and forecast is not None:
        found = forecast
        facts["method"] = "CAMS"
    if found is None and method != "fixed":
        found = _climatology(inputs)
        facts["method"] = "CLIMATOLOGY"
    if found is None:
        found = np.full(inputs.cell_elevation.shape, aot550)
        facts["method"] = "FIXED"
    facts["defaults"] += _stand_in(method, facts["method"])
    known = np.isfinite(found)
    facts["spread_aot550"] = float(found[known].std())
    # Retrieved cells are known at their own elevation, all others at that of the whole scene.
    reference = inputs.cell_elevation if facts["method"] == "DDV" else inputs.mean_elevation
    found = found * np.exp(reference / SCALE_HEIGHT)
    found = np.where(known, found, found[known].mean())
    if facts["method"] != "FIXED":
        found = np.minimum(found, _limit(inputs) * np.exp(inputs.cell_elevation / SCALE_HEIGHT))
    return _smooth(found, smoothing_km * 1000 / inputs.cells.resolution), facts


def _stand_in(wanted: str, method: str) -> list[str]:
    """Return a sentence if another method than the one that was wanted had to be taken."""
    if method == "CLIMATOLOGY" and wanted != "climatology":
        lack = {"auto": "dark vegetation and CAMS data", "ddv": "dark vegetation and CAMS data", "cams": "CAMS data"}
        return [f"No {lack[wanted]}: the aerosol that is usual there in this month was taken from a climatology."]
    if method == "CAMS" and wanted == "ddv":
        return ["Hardly any dark vegetation: the aerosol of the product's CAMS data was taken."]
    return []


@dataclass(frozen=True)
class _Vegetation:
    """Dark dense vegetation of a scene: median stored numbers of the cells that have enough of it, NaN elsewhere."""

    medians: dict[str, np.ndarray]
    share: float
    swir_limit: float


def _dark_vegetation(inputs: _Inputs) -> _Vegetation | None:
    """Return the dark dense vegetation of a scene; None where there is too little."""
    dark = _dark_pixels(inputs, inputs.aot550)
    land = int(np.count_nonzero((inputs.classes != NO_DATA) & (inputs.classes != WATER)))
    shares = np.cumsum(np.bincount(dark.ravel(), minlength=4)[1:]) / max(land, 1)
    chosen = next((i for i, share in enumerate(shares) if share >= _LEAST_SHARE), None)
    if chosen is None:
        return None
    dark = (dark > 0) & (dark <= chosen + 1)
    medians = inputs.quantiles(("B02", "B04", "B12"), dark, 0.5, inputs.least(_LEAST_VEGETATION))
    if np.isnan(medians["B12"]).all():
        return None
    return _Vegetation(medians, float(shares[chosen]), SWIR_LIMITS[chosen])


def _from_vegetation(inputs: _Inputs, forecast: np.ndarray | None, facts: dict) -> np.ndarray | None:
    """Return the thickness of each cell that has enough dark vegetation, NaN elsewhere; None for want of it."""
    vegetation = inputs.vegetation
    if vegetation is None:
        return None
    blue, red, swir = (inputs.reflectances(band, median) for band, median in vegetation.medians.items())
    found = fit_thickness(_AOT_NODES, blue, red, swir, forecast)
    facts["ddv_percentage"], facts["ddv_swir_limit"] = 100 * vegetation.share, vegetation.swir_limit
    facts["ddv_cells"] = int(np.isfinite(found).sum())
    return found


def _dark_pixels(inputs: _Inputs, aot550: float) -> np.ndarray:
    """Return the codes of `dark_vegetation` for a first guess of the thickness."""
    mesh = Mesh(inputs.grid, inputs.cell)
    elevation_nodes = mesh.elevation(inputs.elevation).elevation_nodes
    aot = thinned(aot550 * np.exp(inputs.mean_elevation / SCALE_HEIGHT), elevation_nodes)
    column = np.full(elevation_nodes.shape, inputs.water_vapour)
    atmosphere = SceneAtmosphere(
        evaluator(inputs.table, inputs.scene, "B12"),
        inputs.angles,
        "B12",
        mesh.x,
        mesh.y,
        elevation_km=elevation_nodes,
        aot550=aot,
        water_vapour=column,
    )
    level = flat_elevation(inputs.elevation)
    nodes = inversion_nodes(atmosphere, elevation_nodes, aot, column, level)
    thin = None if level is not None else density_factor(inputs.elevation)
    red, nir, swir = (read(inputs.stack, TOA, band) for band in ("B04", "B8A", "B12"))
    surface, counts = np.empty_like(swir), np.empty((swir.shape[0], 3), np.int64)
    invert(swir, thin, None, None, 1, nodes, inputs.cell, 0, surface, counts)
    result = np.empty(swir.shape, np.uint8)
    ratio = 3 if inputs.grid.resolution < 60 else 1
    near_cloud = _near_cloud(inputs.classes, ratio, inputs.grid.resolution)
    dark_vegetation(red, nir, surface, inputs.classes, near_cloud, ratio, inputs.cos_incidence, result)
    return result


def _near_cloud(classes: np.ndarray, ratio: int, resolution: float) -> np.ndarray:
    """Return which blocks of `ratio` x `ratio` pixels have clouds on more than 2 % of the square kilometre around."""
    from scipy.ndimage import uniform_filter

    cloud = is_one_of(classes, CLOUDS)
    if ratio == 3:
        cloud = any_of_nine(cloud)
    return uniform_filter(cloud.astype("f4"), round(_AROUND / (ratio * resolution)), mode="nearest") > 0.02


def _forecast(inputs: _Inputs) -> np.ndarray | None:
    """Return the granule's CAMS aerosol at each cell, None where it has none."""
    auxiliary = inputs.scene.auxiliary
    if not auxiliary.cams or "aod550" not in auxiliary.cams:
        return None
    from scipy.ndimage import map_coordinates

    north, east = inputs.places
    latitude, longitude = np.array(auxiliary.latitude)[:, 0], np.array(auxiliary.longitude)[0]
    order = np.argsort(latitude)
    row = np.interp(north, latitude[order], order)
    # Longitudes relative to the first one: the scene may lie across the date line.
    column = np.interp(
        (east - longitude[0] + 180) % 360, (longitude - longitude[0] + 180) % 360, np.arange(longitude.size)
    )
    values = map_coordinates(np.array(auxiliary.cams["aod550"]), [row, column], order=1, mode="nearest")
    return np.clip(values, LOWEST, HIGHEST)


def _climatology(inputs: _Inputs) -> np.ndarray:
    """Return the thickness that is usual at each cell at this time of the year, above the scene's mean elevation."""
    usual, elevation = aerosol_climatology(*inputs.places, inputs.scene.sensing_time)
    return np.clip(usual * np.exp((elevation - inputs.mean_elevation) / SCALE_HEIGHT), LOWEST, HIGHEST)


def _limit(inputs: _Inputs) -> np.ndarray:
    """Return for each cell the thickness above which its darkest ground would reflect less than nothing."""
    ground = is_one_of(inputs.classes, _GROUND)
    darkest = inputs.quantiles(tuple(_LOWEST_REFLECTANCE), ground, _DARKEST, inputs.least(_LEAST_GROUND))
    limits = [
        highest_thickness(_AOT_NODES, inputs.reflectances(band, darkest[band]) - lowest)
        for band, lowest in _LOWEST_REFLECTANCE.items()
    ]
    return np.minimum.reduce(limits)


def _quantile(band: str, stack: Path, chosen: np.ndarray, cell: int, share: float, least: int) -> np.ndarray:
    return cell_quantile(read(stack, TOA, band), chosen, cell, share, least)[0]


def _smooth(cells: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(cells, sigma, mode="nearest") if sigma > 0 else cells


if __name__ == "__main__":
    cli(run)
