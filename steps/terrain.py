"""Correct surface reflectance for the light that slopes really get."""

import logging
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from steps.artefacts import (
    AOT,
    BLOCK,
    BOA,
    TERRAIN,
    WVP,
    Grid,
    atomic,
    bands_of,
    create,
    grid_of,
    read,
    row_blocks,
    tags_of,
    values,
    write_json,
)
from steps.atmosphere import band_atmosphere, load_table
from steps.cli import cli
from steps.errors import StepError
from steps.kernels.terrain import correct_terrain
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)

#: Distance of the nodes at which the atmosphere is computed, m.
_NODES = 2400
#: Slopes in view lie in a square of this side, m, made of cells of 60 m.
_AROUND, _CELL = 1020, 60
_GROUND = ("elevation", "slope", "cos_incidence", "sky_view", "cast_shadow")


def run(
    boa: Path,
    resolution: int,
    terrain: Path,
    metadata: Path,
    angles: Path,
    aot: Path,
    wvp: Path,
    lut: Path,
    corrected: Path,
    report: Path,
    correction: Literal["auto", "on"] = "auto",
    min_cos_incidence: float = 0.2,
    threads: int = 1,
) -> None:
    """Correct surface reflectance for slope, shadow, visible sky and the light of the slopes around.

    Flat-terrain reflectance is divided by the irradiance of the ground as it lies relative to level open ground.

    Parameters
    ----------
    boa, resolution
        Surface reflectance over flat terrain, and its pixel size, m.
    terrain
        Terrain raster of the same grid.
    metadata, angles, aot, wvp, lut
        The scene, its sun angles, aerosol and water vapour at 20 m, and the atmosphere's look-up table.
    corrected
        The reflectance raster to write.
    report
        JSON: whether it was `applied`, percent of the pixels in shadow and, by band, at a limit.
    correction
        auto: only if the terrain raster says that there is relief; otherwise `boa` is passed on unchanged.
    min_cos_incidence
        Lower limit of the cosine of the incidence angle in sunlight, and of the irradiance relative to level ground
        in shadow: reflectance grows at most by its reciprocal.
    threads
        Threads to use.

    Raises
    ------
    StepError
        If the correction is demanded and there is no elevation model.
    """
    tags = tags_of(terrain, TERRAIN)
    if correction == "on" and "dem" not in tags:
        raise StepError(f"{terrain}: terrain correction is `on` without an elevation model; give `dem` or set it `auto`")
    if correction == "auto" and tags["relief"] == "no":
        logger.info("no relief: reflectance is passed on unchanged")
        _pass_on(boa, corrected)
        write_json(report, {"applied": False, "resolution": resolution, "defaults": []})
        return
    grid, bands = grid_of(boa, BOA), bands_of(boa, BOA)
    if grid_of(terrain, TERRAIN) != grid:
        raise StepError(f"{terrain}: its pixel grid is not that of {boa}; run the stage that makes it again")
    scene, mesh = Scene.read(metadata), _Mesh(grid, angles, aot, wvp, tags)
    table, ratio = load_table(lut), max(1, round(_CELL / grid.resolution))
    nodes = {b: mesh.nodes(table, scene.bands[b].response, scene.auxiliary.ozone) for b in bands}
    around = {b: _surroundings(boa, b, grid, ratio) for b in bands}
    counts = {b: np.zeros((grid.height, 2), np.int64) for b in bands}
    valid = 0
    with create(corrected, BOA, grid, bands, terrain_correction="yes") as raster, ThreadPoolExecutor(threads) as pool:
        for rows in row_blocks(grid.height):
            ground = tuple(read(terrain, TERRAIN, name, rows) for name in _GROUND)

            def correct(band: str, rows=rows, ground=ground) -> np.ndarray:
                level = read(boa, BOA, band, rows)
                result = np.empty_like(level)
                place = (rows.start, nodes[band], mesh.spacing, mesh.lowest, mesh.height, around[band], ratio)
                correct_terrain(level, ground, *place, min_cos_incidence, result, counts[band][rows])
                return result

            for band, result in zip(bands, pool.map(correct, bands), strict=True):
                raster.write(band, result, rows.start)
                valid += np.count_nonzero(result) if band == bands[0] else 0
    percent = {b: 100 * counts[b].sum(axis=0) / max(valid, 1) for b in bands}
    document = {
        "applied": True,
        "resolution": resolution,
        "min_cos_incidence": min_cos_incidence,
        "shadow_percent": round(float(percent[bands[0]][0]), 4),
        "limited_percent": {b: round(float(percent[b][1]), 4) for b in bands},
        "defaults": [],
    }
    write_json(report, document)


def _pass_on(boa: Path, corrected: Path) -> None:
    with atomic(corrected) as part:
        try:
            os.link(boa, part)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(boa, part)


class _Mesh:
    """Nodes over the scene with sun, aerosol and water vapour, and the range of elevations."""

    def __init__(self, grid: Grid, angles: Path, aot: Path, wvp: Path, tags: dict[str, str]):
        self.spacing = round(_NODES / grid.resolution)
        self.lowest = float(tags["elevation_min"])
        self.height = max(float(tags["elevation_max"]) - self.lowest, 100.0)
        rows, columns = (np.arange(math.ceil((n - 1) / self.spacing) + 1) for n in grid.shape)
        rows, columns = (np.arange(max(n.size, 2)) * self.spacing for n in (rows, columns))
        x, y = np.meshgrid(
            grid.left + (columns + 0.5) * grid.resolution, grid.top - (rows + 0.5) * grid.resolution
        )
        self._sun_zenith, _ = AngleGrid(angles).sun(x, y)
        self._aot, self._water_vapour = _near(aot, AOT, x, y), _near(wvp, WVP, x, y)

    def nodes(self, table, response, ozone: float) -> np.ndarray:
        """Return the numbers that `correct_terrain` wants at the nodes, for one band."""
        level_km = (self.lowest + self.height * np.array([0, 0.5, 1])) / 1000
        atmosphere = band_atmosphere(
            table,
            response,
            sun_zenith=self._sun_zenith,
            view_zenith=0.0,
            relative_azimuth=0.0,
            elevation_km=level_km[:, None, None],
            aot550=self._aot,
            water_vapour=self._water_vapour,
            ozone=ozone,
        )
        terms = [np.cos(np.radians(self._sun_zenith))]
        for low, middle, high in (atmosphere.transmittance_down, atmosphere.direct_down, atmosphere.spherical_albedo):
            terms += [low, 4 * middle - 3 * low - high, 2 * (low + high) - 4 * middle]
        return np.stack(terms).astype("f4")


def _near(path: Path, kind, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean of a raster around each node; where it has no values, the mean of all."""
    grid = grid_of(path, kind)
    n = round(_NODES / grid.resolution)
    rows, columns = math.ceil(grid.height / n), math.ceil(grid.width / n)
    cells = np.full((rows, columns), np.nan)
    for i in range(rows):
        part = values(path, kind, kind.name, slice(i * n, min((i + 1) * n, grid.height)))
        for j in range(columns):
            cell = part[:, j * n : (j + 1) * n]
            if not np.isnan(cell).all():
                cells[i, j] = np.nanmean(cell, dtype="f8")
    cells[np.isnan(cells)] = np.nanmean(cells)
    row = np.clip((grid.top - y) / grid.resolution // n, 0, rows - 1).astype(int)
    column = np.clip((x - grid.left) / grid.resolution // n, 0, columns - 1).astype(int)
    return cells[row, column]


def _surroundings(boa: Path, band: str, grid: Grid, ratio: int) -> np.ndarray:
    """Return the mean reflectance in the square around each cell of `ratio` x `ratio` pixels, float32."""
    from scipy.ndimage import uniform_filter

    shape = (grid.height // ratio, grid.width // ratio)
    total, count = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for rows in row_blocks(grid.height, 3 * BLOCK):  # a multiple of 6 and 3 pixels
        stored = read(boa, BOA, band, rows)
        cells = slice(rows.start // ratio, rows.stop // ratio)
        total[cells], count[cells] = _cell_sums(stored, ratio), _cell_sums(stored > 0, ratio)
    reflectance = total * np.float32(BOA.scale) + count * np.float32(BOA.offset)
    size = round(_AROUND / (ratio * grid.resolution))
    total, count = (uniform_filter(a, size, mode="constant") for a in (reflectance, count))
    return np.divide(total, count, out=np.zeros_like(total), where=count > 1e-6).clip(0, 1)


def _cell_sums(values: np.ndarray, n: int) -> np.ndarray:
    rows = values.reshape(-1, n, values.shape[1]).sum(axis=1, dtype="u4")
    return rows.reshape(rows.shape[0], -1, n).sum(axis=2)


if __name__ == "__main__":
    cli(run)
