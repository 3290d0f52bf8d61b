"""The parallelisation study: reflectance and aerosol with other kernels and workers, over workers and image sizes."""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steps.atmosphere.models import lut_path, main_model
from steps.benchmark.measure import measure
from steps.benchmark.stamp import write_stamp
from steps.benchmark.variants import SINGLE, VARIANTS
from steps.core.cli import cli
from steps.core.documents import read_document
from steps.core.rasters import bands_of, create, grid_of, read, read_bands, tags_of
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, TERRAIN, TOA, WVP
from steps.sentinel2.reports import ChosenAerosol
from steps.sentinel2.scene import Scene
from steps.simulation.demo_pixels import mirrored

logger = logging.getLogger(__name__)

#: Pixels of 10 m along a side of a part of a tile, of a quarter and of the whole.
SIZES = (1830, 5490, 10980)
#: Kind and pixel size of the rasters that the study works on.
_RASTERS = {
    "toa_10m": (TOA, 10),
    "stack": (TOA, 20),
    "terrain_10m": (TERRAIN, 10),
    "terrain_20m": (TERRAIN, 20),
    "classification": (CLASSIFICATION, 20),
    "aot": (AOT, 20),
    "wvp": (WVP, 20),
}
SECTIONS = ("reflectance", "aerosol")
#: What a process of a stage starts with, and in addition for compiled kernels.
_START = "import numpy, rasterio, joblib"
_KERNELS = """
import numpy as np
from steps.atmosphere.inversion_kernel import COEFFICIENTS, Block, Nodes, invert
z = np.zeros((1, 64), 'u2')
invert(Block(z), None, Nodes(np.ones((2, 2, COEFFICIENTS), 'f4'), 64), 0, z.copy(), np.zeros((1, 3), 'i8'))
"""


def run(
    toa_10m: Path,
    stack: Path,
    terrain_10m: Path,
    terrain_20m: Path,
    classification: Path,
    aot: Path,
    wvp: Path,
    scene_means: Path,
    metadata: Path,
    angles: Path,
    aerosol_model: Path,
    folder: Path,
    sizes: list[int] | None = None,
    workers: list[int] | None = None,
    threads: int = 1,
) -> None:
    """Measure the reflectance at 10 m and the whole retrieval of aerosol with each variant, one after the other.

    Parameters
    ----------
    toa_10m, stack, terrain_10m, terrain_20m, classification, aot, wvp, metadata, angles
        A product's files between the stages; mirrored at their edges, or cut, to the sizes wanted.
    scene_means, aerosol_model
        Means of its whole tile, and its aerosol model.
    folder
        Output: the table `study.csv`, its account `study.md`, the figures, and their stamp.
    sizes
        Pixels of 10 m along a side of the images, multiples of 6; by default `SIZES`.
    workers
        Numbers of workers; without any, 1 to `threads`.
    threads
        See `workers`.

    Raises
    ------
    StepError
        If a variant fails, or what it needs is not installed.
    """
    from steps.benchmark.account import write_account
    from steps.benchmark.ahead import ahead_of_time

    counts = workers or list(range(1, threads + 1))
    sources = {
        "toa_10m": toa_10m,
        "stack": stack,
        "terrain_10m": terrain_10m,
        "terrain_20m": terrain_20m,
        "classification": classification,
        "aot": aot,
        "wvp": wvp,
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    sizes = sizes or list(SIZES)
    for number, size in enumerate([min(sizes), *sizes]):
        with _enlarged(folder / "work", sources, metadata, size) as scene:
            scene |= {"angles": angles, "aerosol_model": aerosol_model, "scene_means": scene_means}
            runs = list(_runs(counts))
            _row(*runs[0], size, scene)  # The first at a size pays for memory that the system has yet to find.
            found = [_row(*run, size, scene) for run in runs]
            rows += found if number else []  # the first time compiles
    table = pd.DataFrame(rows)
    table.to_csv(folder / "study.csv", index=False, float_format="%.4g")
    write_account(table, _start_up(), ahead_of_time(), folder)
    write_stamp(folder / "stamp.json", f"snakemake --cores {threads} benchmark_study")


def _runs(counts: list[int]) -> Iterator[tuple[str, str, int]]:
    """Yield section, variant and workers of each run."""
    for section in SECTIONS:
        for variant in VARIANTS:
            for count in [1] if variant in SINGLE else counts:
                if count > 1 or variant in (*SINGLE, "prange", "dask", "dask-adaptive"):
                    yield section, variant, count


@contextlib.contextmanager
def _enlarged(folder: Path, sources: dict[str, Path], metadata: Path, size: int) -> Iterator[dict[str, Path]]:
    """Give a scene of `size` pixels of 10 m along a side as files in a folder, which are removed afterwards."""
    folder.mkdir(exist_ok=True)
    try:
        for name, path in sources.items():
            kind, resolution = _RASTERS[name]
            small = grid_of(path, kind)
            grid = replace(small, width=size * 10 // resolution, height=size * 10 // resolution)
            tags: dict[str, Any] = {k: v for k, v in tags_of(path, kind).items() if k in ("dem", "relief")}
            with create(folder / f"{name}.tif", kind, grid, bands_of(path, kind), **tags) as raster:
                for band in bands_of(path, kind):
                    raster.write(band, mirrored(read(path, kind, band), grid.height))
        scene = Scene.read(metadata)
        replace(scene, grid=grid_of(folder / "toa_10m.tif", TOA)).write(folder / "metadata.json")
        os.sync()  # Or else the system writes these files at the cost of the first run that is measured.
        yield {name: folder / f"{name}.tif" for name in sources} | {"metadata": folder / "metadata.json"}
    finally:
        shutil.rmtree(folder)


def _row(section: str, variant: str, count: int, size: int, scene: dict[str, Path]) -> dict:
    """Run a section in a variant; return what it cost and the digest of what it wrote."""
    work = scene["toa_10m"].parent
    output = work / f"{section}.tif"
    options: dict[str, object] = {key: scene[key] for key in ("classification", "metadata", "angles")}
    options |= {"report": work / "report.json"}
    if section == "reflectance":
        options |= {"toa": scene["toa_10m"], "terrain": scene["terrain_10m"], "boa": output}
        options |= {"aot": scene["aot"], "wvp": scene["wvp"], "scene-means": scene["scene_means"]}
        options |= {"aerosol-model": scene["aerosol_model"]}
    else:
        options |= {
            "stack": scene["stack"],
            "terrain": scene["terrain_20m"],
            "aot": output,
            "aot-uncertainty": work / "aot_uncertainty.tif",
        }
        model = main_model(read_document(scene["aerosol_model"], ChosenAerosol).shares)
        options |= {"aerosol-model": work / "model.json", "lut": lut_path(model), "method": "ddv"}
    command = [sys.executable, "-m", "steps.benchmark.variants", variant, str(count), section]
    command += [str(v) for key, value in options.items() for v in (f"--{key}", value)]
    cost = measure(command)
    logger.info("%s %s, %d workers, %d pixels: %.2f s, %.2f CPU s", section, variant, count, size, cost.wall, cost.cpu)
    reference = output.with_suffix(".numba.tif")
    if variant == "numba":
        output.replace(reference)
    share, most = (0.0, 0) if variant == "numba" else _difference(output, reference)
    return {
        "section": section,
        "variant": variant,
        "size": size,
        "workers": count,
        "wall_s": cost.wall,
        "cpu_s": cost.cpu,
        "peak_mb": cost.peak,
        "different_share": share,
        "largest_difference": most,
    }


def _difference(path: Path, reference: Path) -> tuple[float, int]:
    """Return the share of stored numbers that differ from those of another raster, and the largest difference."""
    if path.read_bytes() == reference.read_bytes():
        return 0.0, 0
    kind = BOA if path.stem == SECTIONS[0] else AOT
    ours, theirs = (read_bands(p, kind, bands_of(p, kind)).astype("i4") for p in (path, reference))
    difference = np.abs(ours - theirs)
    return float((difference > 0).mean()), int(difference.max())


def _start_up() -> dict[str, float]:
    """Return the CPU seconds of a process that only starts, without and with compiled kernels, the best of five."""
    result = {}
    for name, code in (("without", _START), ("with", _START + _KERNELS)):
        times = []
        for _ in range(5):
            times.append(measure([sys.executable, "-c", code]).cpu)
        result[name] = min(times)
    return result


if __name__ == "__main__":
    cli(run)
