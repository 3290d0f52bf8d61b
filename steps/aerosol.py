"""Aerosol: its optical thickness from the scene's ground, the granule's CAMS data or a climatology; its model."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from steps.atmosphere.aerosol_fit import Thickness, fit_thickness, log_evidence
from steps.atmosphere.aerosol_scene import (
    AOT_NODES,
    CELL,
    HIGHEST,
    LOWEST,
    AerosolScene,
    Samples,
    above_samples,
    climatology,
    forecast,
    likelihood_of,
    limit_of,
    samples_of,
)
from steps.atmosphere.choice import mean_mixture, mixture_of_cams, other_mixture, usual_doubt
from steps.atmosphere.ground_samples import ERRORS, LOCAL_ERRORS, TELL_TYPE
from steps.atmosphere.lut import LookUpTable, load_mixture, load_table
from steps.atmosphere.maps import Pixels, write_map
from steps.atmosphere.models import USUAL, lut_path, mixture_name
from steps.atmosphere.relief import SCALE_HEIGHT, thinned
from steps.atmosphere.uncertainty import AOT550
from steps.classification.classes import any_of_nine, is_one_of, light_around
from steps.core.cells import cell_moments
from steps.core.cli import cli
from steps.core.documents import write_document
from steps.core.mesh import nearest
from steps.core.parallel import Backend, RunAll, workers
from steps.core.rasters import grid_of, read, write
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import (
    AEROSOL_GROUND,
    AOT,
    AOT_UNCERTAINTY,
    CLASSIFICATION,
    GROUND_AOT_FILLED,
    GROUND_DARK_VEGETATION,
    TERRAIN,
    TOA,
)
from steps.sentinel2.reports import AerosolReport, AotMethod, ChosenAerosol, ModelSource
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUDS, NO_DATA

logger = logging.getLogger(__name__)

#: Area with which a sample of ground counts by half, m2.
_HALF_SAMPLE = 50_000
#: Cells that are enough to choose an aerosol model by.
_CELLS_FOR_MODEL = 400
#: How much more likely (logarithm) than any one model is the mixture that CAMS tells.
_OF_CAMS = 3.0
#: The same of models by themselves: one is the usual one, and air that absorbs as much as that of the city in 6S, with
#: a single scattering albedo of 0.69, is hardly ever seen (0.84 to 0.98: Dubovik et al. 2002, Journal of the
#: Atmospheric Sciences 59, 590).
_OF_MODEL = {USUAL: 0.7, "urban": -2.0}
#: Side of the square around a pixel in which there must not be clouds, m.
_AROUND = 1020
#: Water vapour (g/cm2) for want of a forecast of it; the bands used here hardly depend on it.
_WATER_VAPOUR = 1.5


def run(
    stack: Path,
    classification: Path,
    terrain: Path,
    metadata: Path,
    angles: Path,
    lut: list[Path],
    aot: Path,
    aot_uncertainty: Path,
    aerosol_model: Path,
    report: Path,
    mask_20m: Path | None = None,
    terrain_20m: Path | None = None,
    aot_overview: Path | None = None,
    aerosol_ground: Path | None = None,
    method: Literal["auto", "ddv", "cams", "climatology", "fixed"] = "auto",
    aot550: float = 0.2,
    smoothing_km: float = 0.5,
    threads: int = 1,
    backend: Backend = "threads",
    scheduler: str = "local",
) -> None:
    """Map the aerosol optical thickness at 550 nm.

    It is found from the whole tile, whatever part of it is mapped. The map is smooth and thins out with height.

    Parameters
    ----------
    stack
        Top-of-atmosphere reflectance of the whole tile at 80 m, or at 20 m.
    classification, terrain
        Scene classification and terrain of the same pixels.
    metadata, angles
        The scene and its angles.
    lut
        Look-up tables of the atmosphere. Several are mixed by how much vegetation and water look like ground under each
        of the aerosol models, with a preference for the mixture that the CAMS data are; where none is seen, that, or
        the first.
    aot
        Output: the map.
    aot_uncertainty
        Output: its standard uncertainty (k = 1), in cells of the whole tile.
    aerosol_model
        Output: `ChosenAerosol`, by which the stages that follow find the look-up table.
    report
        Output: `AerosolReport`.
    mask_20m, terrain_20m
        Quality flags and terrain of the pixels to map, if these are not those of the stack.
    aot_overview
        Output: the map in the pixels of the stack.
    aerosol_ground
        Output: where the stack shows dark dense vegetation, and where the thickness is not of a cell's own ground
        (`steps.sentinel2.kinds.AEROSOL_GROUND`).
    method
        auto, ddv: what makes clear ground look like ground, given what is expected: by the forecast or reanalysis that
        comes with the product, or else what is usual there in this month. cams and climatology: what is expected by
        these alone, as far as it makes no ground negative; fixed: `aot550`.
    aot550
        Thickness at the scene's mean elevation for `fixed`.
    smoothing_km
        Standard deviation of the Gaussian that smooths the map.
    threads, backend, scheduler
        Workers, see `steps.core.parallel.workers`.

    Raises
    ------
    StepError
        If an input cannot be read or an output cannot be written.
    """
    tables = {t.aerosol: t for t in map(load_table, lut)}
    retrieval = _retrieval(stack, classification, terrain, Scene.read(metadata), angles, next(iter(tables.values())))
    expected, source = _expected(retrieval, method, aot550)
    with workers(backend, threads, scheduler) as run_all:
        samples = samples_of(retrieval, float(expected.aot550.mean()), run_all)
        shares, other, model_source = _mixture(retrieval, tables, lut, samples, expected, run_all)
        retrieval = replace(retrieval, table=_mixed(tables, lut, shares))
        found, source = _found(retrieval, samples, method, expected, source, run_all)
        if aerosol_ground:
            _write_ground(aerosol_ground, retrieval, samples, retrieved=source == "DDV")
        cells = _smooth(found.aot550, smoothing_km * 1000 / retrieval.cells.resolution)
        field = cells.astype("f4"), retrieval.cells
        pixels = Pixels(retrieval.grid, retrieval.elevation, retrieval.classes == NO_DATA)
        if aot_overview:
            write_map(aot_overview, AOT, *field, pixels, (LOWEST, HIGHEST), run_all)
        if mask_20m and terrain_20m:
            pixels = Pixels.of(mask_20m, terrain_20m)
        mean = write_map(aot, AOT, *field, pixels, (LOWEST, HIGHEST), run_all, method=source)
    _write_uncertainty(aot_uncertainty, retrieval, found)
    given = {one: path.name for one, path in zip(tables, lut, strict=True)}
    names = {one: given.get(one, lut_path(one).name) for one in shares | other}
    model = mixture_name(shares)
    result = AerosolReport(
        method=source,
        source=retrieval.scene.auxiliary.cams_file if source == "CAMS" else None,
        mean_aot550=float(aot550 if mean is None else mean),
        spread_aot550=float(found.aot550.std()),
        model=model,
        model_source=model_source,
        lut=tuple(names[one] for one in shares),
        ddv_percentage=100 * samples.dark_share,
        ddv_swir_limit=samples.swir_limit,
        ddv_cells=int(samples.pixels.any(axis=0).sum()),
        smoothing_km=smoothing_km,
        defaults=tuple(_stand_in(method, source, model if model_source == "DEFAULT" else None)),
    )
    for sentence in result.defaults:
        logger.warning("%s", sentence)
    logger.info("mean aerosol optical thickness %.3f, method %s", result.mean_aot550, result.method)
    write_document(aerosol_model, ChosenAerosol(shares, other, names))
    write_document(report, result)


def _retrieval(
    stack: Path, classification: Path, terrain: Path, scene: Scene, angles: Path, table: LookUpTable
) -> AerosolScene:
    """Read what the aerosol is retrieved from."""
    grid = grid_of(stack, TOA)
    classes, elevation = read(classification, CLASSIFICATION, "SCL"), read(terrain, TERRAIN, "elevation")
    near_cloud, ratio = _near_cloud(classes, grid.resolution)
    return AerosolScene(
        scene=scene,
        table=table,
        angles=AngleGrid(angles),
        stack=stack,
        grid=grid,
        classes=classes,
        elevation=elevation,
        cos_incidence=read(terrain, TERRAIN, "cos_incidence"),
        light=light_around(classes),
        near_cloud=near_cloud,
        ratio=ratio,
        cell_elevation=cell_moments(elevation, round(CELL / grid.resolution), -32768)[3] * 1e-3,
        water_vapour=_WATER_VAPOUR if scene.auxiliary.water_vapour is None else scene.auxiliary.water_vapour,
    )


def _found(
    retrieval: AerosolScene, samples: Samples, method: str, expected: Thickness, source: AotMethod, run_all: RunAll
) -> tuple[Thickness, AotMethod]:
    """Return the thickness above sea level by a method, and its source, given what is expected and from where."""
    if method == "fixed" or not samples.pixels.any():
        return expected, source
    atmospheres = above_samples(retrieval, samples, run_all)
    limit = limit_of(samples, atmospheres, run_all)
    expected = expected._replace(aot550=np.minimum(expected.aot550, limit))
    if method not in ("auto", "ddv"):
        return expected, source
    likelihood, weight = likelihood_of(samples, atmospheres, run_all), _weight(retrieval, samples)
    return fit_thickness(AOT_NODES, likelihood, weight, ERRORS, LOCAL_ERRORS, expected, CELL / 1000), "DDV"


def _write_uncertainty(path: Path, retrieval: AerosolScene, found: Thickness) -> None:
    """Write the standard uncertainty of the thickness above the ground of the cells."""
    uncertainty = thinned(found.uncertainty, retrieval.cell_elevation) / AOT_UNCERTAINTY.scale
    stored = np.clip(np.rint(uncertainty), 0, 65535).astype("u2")
    write(path, AOT_UNCERTAINTY, retrieval.cells, {AOT_UNCERTAINTY.name: stored})


def _expected(retrieval: AerosolScene, method: str, aot550: float) -> tuple[Thickness, AotMethod]:
    """Return what is expected of the thickness above sea level before the ground is looked at, and its source."""
    source: AotMethod = "FIXED"
    values = np.full(retrieval.cell_elevation.shape, aot550)
    if method != "fixed":
        of_cams = forecast(retrieval) if method != "climatology" else None
        source = "CLIMATOLOGY" if of_cams is None else "CAMS"
        values = climatology(retrieval) if of_cams is None else of_cams
    absolute, relative = AOT550[source]
    at_sea_level = np.exp(retrieval.mean_elevation / SCALE_HEIGHT)
    return Thickness(values * at_sea_level, (absolute + relative * values) * at_sea_level), source


def _mixture(
    retrieval: AerosolScene,
    tables: dict[str, LookUpTable],
    lut: list[Path],
    samples: Samples,
    expected: Thickness,
    run_all: RunAll,
) -> tuple[dict[str, float], dict[str, float], ModelSource]:
    """Return the shares of the aerosol models there are tables of, those that they may be instead, and what tells."""
    usual = {retrieval.table.aerosol: 1.0}
    if len(tables) == 1:
        return usual, usual_doubt(usual), "CONFIG"
    of_cams = mixture_of_cams(retrieval.scene.auxiliary.cams or {}, tables)
    step = max(1, int(np.sqrt(samples.pixels[0].size / _CELLS_FOR_MODEL)))
    few = retrieval.every(step)
    samples, expected = samples.every(step), Thickness(*(v[::step, ::step] for v in expected))
    samples = samples._replace(pixels=np.where(TELL_TYPE, samples.pixels, 0))
    if not samples.pixels.any():
        shares = of_cams or usual
        return shares, usual_doubt(shares), "CAMS" if of_cams else "DEFAULT"
    weight = _weight(retrieval, samples)
    candidates = [(_OF_MODEL.get(name, 0.0), {name: 1.0}) for name in tables]
    candidates += [(_OF_CAMS, of_cams)] if of_cams else []
    evidence = []
    for preference, shares in candidates:
        atmospheres = above_samples(replace(few, table=_mixed(tables, lut, shares)), samples, run_all)
        likelihood = likelihood_of(samples, atmospheres, run_all)
        evidence.append(preference + log_evidence(AOT_NODES, likelihood, weight, expected))
        logger.info("evidence of %s: %.1f", mixture_name(shares), evidence[-1])
    probability = np.exp(np.array(evidence) - max(evidence))
    probability /= probability.sum()
    mixtures = [shares for _, shares in candidates]
    return mean_mixture(probability, mixtures), other_mixture(probability, mixtures), "GROUND"


def _mixed(tables: dict[str, LookUpTable], lut: list[Path], shares: dict[str, float]) -> LookUpTable:
    """Return the look-up table of a mixture, given those of its parts and their files."""
    if len(shares) == 1:
        return tables[next(iter(shares))]
    return load_mixture({path: shares[model] for model, path in zip(tables, lut, strict=True) if model in shares})


def _write_ground(path: Path, retrieval: AerosolScene, samples: Samples, *, retrieved: bool) -> None:
    """Write what the retrieval says of each pixel, whose cell has a thickness of its own or has not."""
    flags = np.where(samples.dark, np.uint8(GROUND_DARK_VEGETATION), np.uint8(0))
    known = np.logical_and(samples.pixels.any(axis=0), retrieved)
    flags[~nearest(known, *retrieval.cells.positions(retrieval.grid))] |= GROUND_AOT_FILLED
    write(path, AEROSOL_GROUND, retrieval.grid, {AEROSOL_GROUND.name: flags}, compress=True)


def _weight(retrieval: AerosolScene, samples: Samples) -> np.ndarray:
    """Return how much each sample counts, 0 to 1."""
    return samples.pixels / (samples.pixels + _HALF_SAMPLE / retrieval.grid.resolution**2)


def _stand_in(wanted: str, source: str, default_model: str | None) -> Iterator[str]:
    """Yield a sentence for everything that stood in for something that was wanted."""
    if source == "CLIMATOLOGY" and wanted != "climatology":
        lack = "CAMS data" if wanted == "cams" else "clear ground and no CAMS data"
        yield f"No {lack}: the aerosol that is usual there in this month was taken from a climatology."
    if source == "CAMS" and wanted == "ddv":
        yield "Hardly any clear ground: the aerosol of the product's CAMS data was taken."
    if default_model:
        yield f"No CAMS data and hardly any clear vegetation or water: {default_model} aerosol was assumed."


def _near_cloud(classes: np.ndarray, resolution: float) -> tuple[np.ndarray, int]:
    """Return which blocks of pixels have clouds on over 2 % of the square kilometre around, and pixels along a side."""
    from scipy.ndimage import uniform_filter

    ratio = 3 if resolution < 60 else 1
    cloud = is_one_of(classes, CLOUDS)
    if ratio == 3:
        cloud = any_of_nine(cloud)
    return uniform_filter(cloud.astype("f4"), round(_AROUND / (ratio * resolution)), mode="nearest") > 0.02, ratio


def _smooth(cells: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(cells, sigma, mode="nearest") if sigma > 0 else cells


if __name__ == "__main__":
    cli(run)
