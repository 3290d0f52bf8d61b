"""Stage: reflectance at the top of the atmosphere without the light of thin cirrus."""

import logging
from pathlib import Path

import numpy as np

from steps.atmosphere.cirrus import HEIGHT, Ratios, Term, cirrus_in_b10, displaced, ratios, remove, term
from steps.classification.classes import is_one_of
from steps.classification.classify import absorption
from steps.classification.vapour import b10_excess, read_vapour
from steps.core.cli import cli
from steps.core.documents import write_document
from steps.core.mesh import interpolate
from steps.core.parallel import workers
from steps.core.rasters import Grid, bands_of, create, grid_of, read, row_blocks, values
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import CLASSIFICATION, TERRAIN, TOA
from steps.sentinel2.reports import CirrusReport
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CIRRUS, SOIL, UNCLASSIFIED, VEGETATION, WATER

logger = logging.getLogger(__name__)

#: Classes of which the ground is seen, through cirrus or not.
_GROUND = (VEGETATION, SOIL, WATER, UNCLASSIFIED, CIRRUS)
#: Pixels of the overview between the nodes of the parallax.
_NODES = 16
#: How much brighter than expected what B10 sees of the ground may be, so that ground is not taken for cirrus.
_MARGIN = 1.3


def run(
    stack: Path,
    classification: Path,
    terrain: Path,
    vapour: Path,
    metadata: Path,
    angles: Path,
    corrected_stack: Path,
    report: Path,
    toa: list[Path] | None = None,
    corrected: list[Path] | None = None,
    threads: int = 1,
) -> None:
    """Take the light of thin cirrus out of all bands but B10, by which it is found.

    Parameters
    ----------
    stack
        Top-of-atmosphere reflectance of the whole tile at 80 m, of which the cirrus is found.
    classification, terrain, vapour
        Scene classification, terrain and column of water vapour of the pixels of `stack`.
    metadata, angles
        The scene and its angles.
    corrected_stack
        Output: `stack` without cirrus.
    report
        Output: `CirrusReport`.
    toa, corrected
        Reflectance of other pixels to correct, a raster for each size, and the outputs, in the same order.
    threads
        Threads to use.

    Raises
    ------
    StepError
        If an input cannot be read or an output cannot be written.
    """
    scene, angle_grid, grid = Scene.read(metadata), AngleGrid(angles), grid_of(stack, TOA)
    bands = [band for band in bands_of(stack, TOA) if band != "B10"]
    seen = {band: values(stack, TOA, band) for band in (*bands, "B10")}
    valid = np.all([np.isfinite(v) for v in seen.values()], axis=0)
    elevation = values(terrain, TERRAIN, "elevation")
    table = absorption({band: scene.bands[band].response for band in ("B09", "B10")})
    column = read_vapour(vapour, grid, scene)
    below = b10_excess(seen["B8A"], seen["B11"], elevation, column, 0, table, _MARGIN, 0.0)
    in_b10 = cirrus_in_b10(seen["B10"], below, valid, grid.resolution)
    cirrus = {band: displaced(in_b10, *_parallax(angle_grid, band, grid)) for band in bands}
    ground = valid & is_one_of(read(classification, CLASSIFICATION, "SCL"), _GROUND)
    found = ratios(seen, cirrus, ground)
    terms = {band: term(cirrus[band], found.of_band[band], found.of_band["B02"]) for band in bands}
    with workers("threads", threads) as run_all:
        for source, target in zip((stack, *(toa or ())), (corrected_stack, *(corrected or ())), strict=True):
            own = grid_of(source, TOA)
            rows, columns = grid.positions(own)
            blocks = list(row_blocks(own.height))
            with create(target, TOA, own, bands_of(source, TOA)) as output:
                for band in bands_of(source, TOA):
                    results = run_all(_without, blocks, source, band, terms.get(band), rows, columns)
                    for block, result in zip(blocks, results, strict=True):
                        output.write(band, result, block.start)
    _report(report, found, in_b10[valid])


def _parallax(angles: AngleGrid, band: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return how many rows down and columns right of its place in a band the cirrus is seen in B10."""
    nodes = np.arange(-(-grid.height // _NODES) + 1), np.arange(-(-grid.width // _NODES) + 1)
    x, y = np.meshgrid(grid.left + nodes[1] * _NODES * grid.resolution, grid.top - nodes[0] * _NODES * grid.resolution)
    east, north = (a - b for a, b in zip(_slopes(angles, band, x, y), _slopes(angles, "B10", x, y), strict=True))
    at = ((np.arange(n) + 0.5) / _NODES for n in grid.shape)
    shift = interpolate(np.nan_to_num(np.stack([-north, east])), *at) * (HEIGHT / grid.resolution)
    return shift[0], shift[1]


def _slopes(angles: AngleGrid, band: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far east and north the line of sight of a band goes for one metre up."""
    zenith, azimuth = (np.radians(v) for v in angles.view(band, x, y))
    return np.tan(zenith) * np.sin(azimuth), np.tan(zenith) * np.cos(azimuth)


def _without(
    rows: slice, source: Path, band: str, equation: Term | None, at_rows: np.ndarray, at_columns: np.ndarray
) -> np.ndarray:
    """Return the stored numbers of rows of a band without cirrus."""
    stored = read(source, TOA, band, rows)
    if equation is None:
        return stored
    result = np.empty_like(stored)
    remove(stored, *equation, at_rows[rows], at_columns, result)
    return result


def _report(path: Path, found: Ratios, cirrus: np.ndarray) -> None:
    covered = cirrus > 0
    share = 100 * float(np.count_nonzero(covered)) / max(cirrus.size, 1)
    mean = float(cirrus[covered].mean()) * found.of_band["B02"] if covered.any() else 0.0
    logger.info(
        "cirrus over %.1f %% of the tile, mean reflectance %.4f, relative to B10 %s", share, mean, found.of_band
    )
    write_document(path, CirrusReport(share, mean, found.of_band, found.uncertainty))


if __name__ == "__main__":
    cli(run)
