"""Column water vapour, from its absorption in B09."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from steps.atmosphere.inversion_kernel import Block, Nodes, density_factor, invert
from steps.atmosphere.inversion_nodes import inversion_nodes
from steps.atmosphere.lut import LookUpTable, table_of
from steps.atmosphere.maps import Pixels, write_map
from steps.atmosphere.relief import SCALE_HEIGHT, Mesh, flat_elevation, thinned
from steps.atmosphere.scene import SceneAtmosphere, evaluator, lagrange
from steps.classification.classes import is_one_of, light_around
from steps.core.cells import cell_moments
from steps.core.cli import cli
from steps.core.documents import write_document
from steps.core.mesh import interpolate
from steps.core.parallel import Backend, workers
from steps.core.rasters import bands_of, grid_of, read
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import AOT, CLASSIFICATION, REFLECTANCE_OFFSET, REFLECTANCE_SCALE, TERRAIN, TOA, WVP
from steps.sentinel2.reports import SceneMeans, SentUp, Span, WaterVapourMethod, WaterVapourReport
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import NO_DATA, SNOW, SOIL, VEGETATION

logger = logging.getLogger(__name__)

#: Columns (g/cm2) at which the ground is seen through B8A and B09: even steps of the root, which the logarithm of
#: the transmittance follows.
_COLUMNS = np.linspace(np.sqrt(0.02), np.sqrt(8.5), 25) ** 2
#: Limits of the result, g/cm2.
LOWEST = 0.02
HIGHEST = 8.0
#: Logarithm of the surface reflectance in B09 relative to that in B8A: a constant, and shares of those in B07 and B11.
#: The slope of the ground from B07 to B8A goes on, and B11 tells the liquid water of plants. A fit to 7100 spectra of
#: `earthlib` 1.1.0 (PyPI), which meets soils to .023, plants to .012, built-up ground to .029 and dry plants to .018
#: (by B11 alone .043, .011, .042 and .055); snow is .06 brighter in B09 than it says.
CONTINUUM_CONSTANT = 0.008
CONTINUUM = {"B07": -0.445, "B11": 0.059}
#: Classes whose column is believed, and those for want of these: snow is brighter in B09 than is expected.
_LAND = ((VEGETATION, SOIL), (VEGETATION, SOIL, SNOW))
#: Lowest reflectance in B8A for a column to be believed.
_DARKEST = 0.05
#: Window (pixels) that has to be all land for a column to be believed.
_WINDOW = 3
#: Smallest area (m2) and share of pixels with a result for the scene's own column to be used.
_LEAST_AREA = 360_000
_LEAST_SHARE = 0.005
#: Distance of the nodes of the coefficients (1.28 km changes the column by 0.002 g/cm2 at most), and side of the cells
#: for filling gaps, m.
_CELL = 2560
_FILL_CELL = 640
#: Standard deviations of Gaussians: for smoothing the map, and for filling gaps, m.
_SMOOTHING = 100.0
_FILLING = 1500.0


def run(
    stack: Path,
    classification: Path,
    terrain: Path,
    metadata: Path,
    angles: Path,
    aot: Path,
    aerosol_model: Path,
    wvp: Path,
    scene_means: Path,
    report: Path,
    mask_20m: Path | None = None,
    terrain_20m: Path | None = None,
    method: Literal["auto", "fixed"] = "auto",
    column: float = 2.0,
    threads: int = 1,
    backend: Backend = "threads",
    scheduler: str = "local",
) -> None:
    """Map the column of water vapour (g/cm2).

    The column is the one that makes the surface as bright in B09 as it should be by B07, B8A and B11, found over the
    land of the whole tile, whatever part of it is mapped. Dark ground, water, clouds, and snow if there is other land,
    take that of the land around.
    The map is smooth and thins out with height.

    Parameters
    ----------
    stack
        Top-of-atmosphere reflectance of the whole tile at 80 m, or at 20 m.
    classification, terrain
        Scene classification and terrain of the same pixels.
    metadata, angles, aerosol_model
        The scene, its angles, and its aerosol model.
    aot
        Aerosol optical thickness of the same pixels.
    wvp
        Output: the map.
    scene_means
        Output: `SceneMeans`, what parts of the tile take from the whole.
    report
        Output: `WaterVapourReport`.
    mask_20m, terrain_20m
        Quality flags and terrain of the pixels to map, if these are not those of the stack.
    method
        auto: from B09, or without enough land the forecast that comes with the product; fixed: `column`.
    column
        G/cm2 at the scene's mean elevation for `fixed` and for want of the others.
    threads, backend, scheduler
        Workers, see `steps.core.parallel.workers`.

    Raises
    ------
    StepError
        If an input cannot be read or an output cannot be written.
    """
    scene, grid = Scene.read(metadata), grid_of(stack, TOA)
    classes = read(classification, CLASSIFICATION, "SCL")
    elevation = read(terrain, TERRAIN, "elevation")
    heights, thickness = elevation * np.float32(1e-3), read(aot, AOT, AOT.name)
    source: WaterVapourMethod = "FIXED"
    defaults: tuple[str, ...] = ()
    field, percent = None, 0.0
    if method == "auto":
        mesh = Mesh(grid, round(_CELL / grid.resolution))
        retrieved = _retrieve(scene, AngleGrid(angles), table_of(aerosol_model), stack, mesh, elevation, thickness)
        retrieved *= np.exp(heights / SCALE_HEIGHT)
        valid = int(np.count_nonzero(classes))
        for land in _LAND:
            believed = np.where(inland(is_one_of(classes, land)), retrieved, np.float32(np.nan))
            percent = 100 * int(np.count_nonzero(np.isfinite(believed))) / max(valid, 1)
            field, source = _filled(believed, valid, grid.resolution), "B09"
            if field is not None:
                break
        else:
            column, source, defaults = _stand_in(scene, column)
    if field is None:
        field = np.full(heights.shape, column * np.exp(heights.mean() / SCALE_HEIGHT), np.float32)
    write_document(scene_means, _scene_means(stack, classes, heights, thickness, thinned(field, heights)))
    pixels = Pixels(grid, elevation, classes == NO_DATA)
    if mask_20m and terrain_20m:
        pixels = Pixels.of(mask_20m, terrain_20m)
    with workers(backend, threads, scheduler) as run_all:
        mean = write_map(wvp, WVP, field, grid, pixels, (LOWEST, HIGHEST), run_all, method=source)
    result = WaterVapourReport(source, float(column if mean is None else mean), percent, defaults)
    for sentence in result.defaults:
        logger.warning("%s", sentence)
    logger.info("mean water vapour %.2f g/cm2, method %s", result.mean_water_vapour, result.method)
    write_document(report, result)


def inland(land: np.ndarray) -> np.ndarray:
    """Return which pixels have nothing but land around: B09 blurs, and beside water or cloud it shows some of that."""
    from scipy.ndimage import minimum_filter

    return minimum_filter(land.view(np.uint8), _WINDOW, mode="nearest").astype(bool)


def _stand_in(scene: Scene, column: float) -> tuple[float, WaterVapourMethod, tuple[str, ...]]:
    """Return the column (g/cm2) for want of a retrieved one, where it is from, and a sentence that says so."""
    lack = "Too little bright land for water vapour from B09"
    if scene.auxiliary.water_vapour is None:
        return column, "FIXED", (f"{lack} and no ECMWF forecast: {column:g} g/cm2 was assumed.",)
    return scene.auxiliary.water_vapour, "ECMWF", (f"{lack}: the mean of the ECMWF forecast was taken.",)


def _scene_means(stack: Path, classes: np.ndarray, heights, thickness, column) -> SceneMeans:
    """Return what parts of the tile take from the whole."""
    valid = classes != NO_DATA
    around, light = light_around(classes), None
    if around is not None:
        light = {}
        for band in bands_of(stack, TOA):
            stored = read(stack, TOA, band)
            ground, everything = (
                float(stored.mean(where=part & (stored > 0), dtype="f8")) for part in (around > 0, around != 0)
            )
            light[band] = SentUp(ground, everything - ground)
    return SceneMeans(
        elevation_km=_span(heights),
        aot550=_span(thickness[valid] * AOT.scale if valid.any() else np.zeros(1)),
        water_vapour=_span(column),
        light=light,
    )


def _span(values: np.ndarray) -> Span:
    return Span(mean=float(values.mean(dtype="f8")), lowest=float(values.min()), highest=float(values.max()))


def _retrieve(
    scene: Scene, angles: AngleGrid, table: LookUpTable, stack: Path, mesh: Mesh, elevation, aot
) -> np.ndarray:
    """Return the column of each pixel, NaN where it cannot be told."""
    relief = mesh.elevation(elevation)
    elevation_nodes, level = relief.elevation_nodes, flat_elevation(elevation)
    thin = None if level is not None else density_factor(elevation)
    profile = thinned(mesh.at_sea_level(aot, mesh.grid.resolution, relief) * AOT.scale, elevation_nodes)
    stored = {band: read(stack, TOA, band) for band in ("B8A", "B09", *CONTINUUM)}
    atmospheres = {
        band: SceneAtmosphere(
            evaluator(table, scene, band),
            angles,
            band,
            mesh.x,
            mesh.y,
            elevation_km=elevation_nodes,
            aot550=profile,
            water_vapour=_COLUMNS,
        )
        for band in stored
    }
    surface, counts = np.empty_like(elevation, "u2"), np.empty((elevation.shape[0], 3), np.int64)

    def log_reflectance(band: str, column: float) -> np.ndarray:
        nodes = inversion_nodes(
            atmospheres[band], elevation_nodes, profile, np.full(elevation_nodes.shape, column), level
        )
        invert(Block(stored[band], thin), None, Nodes(nodes, mesh.cell), 0, surface, counts)
        return np.log(
            np.maximum(surface * np.float32(REFLECTANCE_SCALE) + np.float32(REFLECTANCE_OFFSET), np.float32(1e-4))
        )

    result, reference = _column(log_reflectance, elevation.shape)
    lacking = np.any([values == 0 for values in stored.values()], axis=0)
    result[(reference < np.log(_DARKEST)) | lacking] = np.nan
    return result


def _column(
    log_reflectance: Callable[[str, float], np.ndarray], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the column under which B09 is as bright as it should be, and how bright that is.

    Parameters
    ----------
    log_reflectance
        Logarithm of the surface reflectance of a band under a column, g/cm2.
    shape
        Rows and columns.

    Returns
    -------
    column
        G/cm2, NaN where none of `_COLUMNS` and those between them does.
    reference
        Logarithm of the reflectance that B09 should have, by B07, B8A and B11, under the last of `_COLUMNS`.
    """
    result = np.full(shape, np.nan, np.float32)
    # Water vapour hardly counts in B8A: a parabola in the column's root through three does.
    few = _COLUMNS[:: (_COLUMNS.size - 1) // 2]
    references = np.stack([log_reflectance("B8A", column) for column in few])
    rise = np.full_like(references, CONTINUUM_CONSTANT)
    for band, share in CONTINUUM.items():
        rise += np.float32(share) * (np.stack([log_reflectance(band, column) for column in few]) - references)
    references += rise
    previous, last = None, np.float32(0)
    for column in _COLUMNS:
        root = np.float32(np.sqrt(column))
        reference = np.tensordot(lagrange(np.sqrt(few), root).astype(np.float32), references, 1)
        excess = log_reflectance("B09", column) - reference
        if previous is not None:
            crossed = (previous < 0) & (excess >= 0)
            fraction = previous[crossed] / (previous - excess)[crossed]
            result[crossed] = (last + fraction * (root - last)) ** 2
        previous, last = excess, root
    return result, reference


def _filled(retrieved: np.ndarray, valid: int, pixel: float) -> np.ndarray | None:
    """Return a smooth map without gaps of columns above sea level; None if too few are known of `valid` pixels."""
    from scipy.ndimage import gaussian_filter

    known = np.isfinite(retrieved)
    if np.count_nonzero(known) < max(_LEAST_AREA / pixel**2, _LEAST_SHARE * valid):
        return None
    cell = round(_FILL_CELL / pixel)
    moments = cell_moments(np.where(known, np.rint(retrieved * 1000), 0).astype("u2"), cell, 0)
    number, total = moments[0], moments[0] * moments[3] / 1000
    weight, column = (gaussian_filter(v, _FILLING / pixel / cell, mode="constant") for v in (number, total))
    # One pixel's weight of the scene's mean, for what is far from all land.
    fill = (column + total.sum() / number.sum()) / (weight + 1)
    rows, columns = ((np.arange(n) + 0.5) / cell - 0.5 for n in known.shape)
    complete = np.where(known, retrieved, interpolate(fill.astype("f4"), rows, columns))
    return gaussian_filter(complete, _SMOOTHING / pixel, mode="nearest")


if __name__ == "__main__":
    cli(run)
