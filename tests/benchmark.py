"""What the kernels cost: `python tests/benchmark.py`, on one thread, each figure beside a memory copy of the same run.

The scene classification runs on two threads, as a process of its own on the files of a full tile.

Not a test: timings are for people to read and compare as ratios.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from test_scene_classification import make_scene

from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.inversion_kernel import (
    COEFFICIENTS,
    POWERS,
    Block,
    Environment,
    Nodes,
    column_excess,
    density_factor,
    invert,
)
from steps.atmosphere.lut import load_table, write_table
from steps.atmosphere.table import build_table
from steps.atmosphere.uncertainty_kernel import ENVIRONMENT_TERMS, SURFACE_TERMS, standard_uncertainty
from steps.classification.classify import BANDS, absorption, classify, fill_maps, find_displaced
from steps.classification.images import Bands, Image, reflectance
from steps.classification.improved import IMPROVEMENTS, Refinements
from steps.classification.vapour import find_vapour, limits
from steps.core.rasters import Grid, write
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import ANGLES, MASK, TERRAIN, TOA
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene import Band, Scene, SpectralResponse

SIDE, CELL, CLASSIFIED = 10980, 128, 5490
#: Runs the step and notes its peak of memory (kB); what the kernel reports to the parent includes the parent's own.
STEP = """
import atexit, re, runpy
from pathlib import Path
peak = lambda: re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
atexit.register(lambda: Path("memory").write_text(peak()))
runpy.run_module("steps.scene_classification", run_name="__main__")
"""


def best(function, repeats=5):
    """Return the least wall and CPU time of a call, s."""
    function()
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return tuple(min(t) for t in zip(*times, strict=True))


def report(name, seconds, unit, count):
    wall, cpu = (1e9 * s / count for s in seconds)
    sys.stdout.write(f"{name:56} {wall:8.2f} ns wall {cpu:8.2f} ns CPU per {unit}\n")


def inversion():
    """Time the inversion of one 10 m band of a full tile, and its uncertainty."""
    random = np.random.default_rng(0)
    toa = random.integers(1100, 9000, (SIDE, SIDE), dtype=np.uint16)
    air = density_factor(random.integers(0, 1500, (SIDE, SIDE), dtype=np.int16))
    column = random.integers(1000, 3000, (SIDE, SIDE), dtype=np.uint16)
    nodes = np.zeros((-(-SIDE // CELL) + 1, -(-SIDE // CELL) + 1, COEFFICIENTS), np.float32)
    for k, value in zip(np.cumsum((0, *POWERS)), (1500.0, 0.9, 1.1, 1e-5), strict=False):
        nodes[..., k] = value
    environment = random.random((SIDE // 6, SIDE // 6), dtype=np.float32) * np.float32(0.3)
    boa, counts, excess = np.empty_like(toa), np.empty((SIDE, 3), np.int64), np.empty((SIDE, SIDE), np.int16)
    pixels, at_nodes = toa.size, np.full((*nodes.shape[:2], 1), 2, np.float32)
    report("memory copy of a band (uint16)", best(lambda: np.copyto(boa, toa)), "pixel", pixels)
    seconds = best(lambda: column_excess(column, air, at_nodes, CELL, 0, excess))
    report("excess of water vapour, once for all bands", seconds, "pixel", pixels)
    for ground, thin in (("", air), (", level ground", None)):
        for name, vapour, around in (
            ("inversion", None, None),
            ("inversion with adjacency", None, environment),
            ("inversion with water vapour of each pixel", excess, None),
            ("inversion with both", excess, environment),
        ):
            block, at = Block(toa, thin, vapour), Nodes(nodes, CELL)
            surroundings = None if around is None else Environment(around, 6)
            seconds = best(lambda b=block, e=surroundings, n=at: invert(b, e, n, 0, boa, counts))
            report(name + ground, seconds, "pixel", pixels)
    terms = random.uniform(1e3, 1e6, (*nodes.shape[:2], SURFACE_TERMS * ENVIRONMENT_TERMS)).astype("f4")
    seconds = best(lambda: standard_uncertainty(toa, Environment(environment, 6), Nodes(terms, CELL), 0, boa))
    report("uncertainty", seconds, "pixel", pixels)


def atmosphere():
    """Time the build of a look-up table and its evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "lut.npz", time.process_time()
        write_table(path, build_table("continental"))
        seconds, size = time.process_time() - start, path.stat().st_size
        sys.stdout.write(f"look-up table of one aerosol model: {seconds:.1f} CPU s, {size / 1e6:.2f} MB\n")
        table = load_table(path)
    random, n = np.random.default_rng(0), 20000
    response = reference_response("S2A", "B12")
    points = {
        "sun_zenith": random.uniform(0, 80, n),
        "view_zenith": random.uniform(0, 12, n),
        "relative_azimuth": random.uniform(0, 180, n),
        "elevation_km": random.uniform(0, 3, n),
        "aot550": random.uniform(0, 1, n),
        "water_vapour": random.uniform(0.2, 5, n),
        "ozone": np.full(n, 0.33),
    }
    report("atmosphere of one band", best(lambda: band_atmosphere(table, response, **points), 3), "point", n)


def classification():
    """Measure the step over a synthetic tile at 20 m, as it runs in the workflow, and its computation without files."""
    tile, copies = make_scene(shape=(CLASSIFIED // 6,) * 2)[0], (6, 6)
    stored = {b: np.tile(np.where(a == 0, 0, np.round(a * 10000) + 1000).astype("u2"), copies) for b, a in tile.items()}
    grid = Grid(32631, 300000, 4900020, 20, CLASSIFIED, CLASSIFIED)
    bands = {name: Band(-1000, 1000, SpectralResponse(400, 1, (1.0,))) for name in STACK_BANDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "stack.tif", TOA, grid, stored)
        write(folder / "toa_10m.tif", TOA, grid.at(10), {"B08": np.kron(stored["B8A"], np.ones((2, 2), "u2"))})
        write(folder / "mask.tif", MASK, grid, {"mask": np.zeros(grid.shape, "u1")})
        level = {b: np.zeros(grid.shape, "i2") for b in TERRAIN.scales}
        write(folder / "terrain.tif", TERRAIN, grid, level, tile_elevation_mean="0")
        angles = {"view_zenith_B8A": np.full((24, 24), 5, "f4"), "view_azimuth_B8A": np.full((24, 24), 100, "f4")}
        sun = {"sun_zenith": angles["view_zenith_B8A"] + 50, "sun_azimuth": angles["view_azimuth_B8A"] + 60}
        write(folder / "angles.tif", ANGLES, Grid(32631, 297500, 4902520, 5000, 24, 24), angles | sun)
        scene = ("X", "S2A", "T31TCJ", "2024-01-20T10:53:41Z", "05.10", 1e4, 0.97, grid.at(10), 55, 160, bands)
        Scene(*scene).write(folder / "metadata.json")
        for mode in ("classic", "improved"):
            options = {"stack": "stack.tif", "toa_10m": "toa_10m.tif", "mask": "mask.tif", "terrain": "terrain.tif"}
            options |= {"angles": "angles.tif", "metadata": "metadata.json", "classification": "20.tif"}
            options |= {"classification_60m": "60.tif", "mode": mode, "cloud_buffer": 60, "threads": 2}
            words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
            process = subprocess.Popen([sys.executable, "-c", STEP, *words], cwd=folder)
            usage = os.wait4(process.pid, 0)[2]
            memory = int((folder / "memory").read_text()) / 1024
            seconds = usage.ru_utime + usage.ru_stime
            sys.stdout.write(f"classification step, {mode}: {seconds:.1f} CPU s, {memory:.0f} MB at most\n")
    for mode, seconds in (("classic", _classify(stored, None)), ("improved", _classify(stored, IMPROVEMENTS))):
        sys.stdout.write(f"classification without files, {mode}: {seconds:.1f} CPU s\n")
    report("memory copy of the twelve bands", best(lambda: [a.copy() for a in stored.values()]), "pixel", grid.width**2)


def _classify(stored, improvements):
    """Return the CPU time of the classification of stored numbers, s."""

    def read_rows(rows, _):
        nodata = np.zeros((rows.stop - rows.start, CLASSIFIED), np.bool_)
        toa = {name: reflectance(stored[name][rows], nodata) for name in STACK_BANDS}
        return Bands(*(toa[name] for name in BANDS), nodata), fill_maps(nodata.shape)

    def compute():
        refinements = None
        if improvements:
            nodata = np.zeros((CLASSIFIED, CLASSIFIED), np.bool_)
            read = lambda rows: [reflectance(stored[b][rows], nodata[rows]) for b in ("B07", "B8A", "B8A")]  # noqa: E731
            displaced = find_displaced(read, nodata.shape, 2)
            refinements = Refinements(improvements, np.array([[(1.4, -0.5)]]), nodata.view(np.uint8), displaced, 30.0)
        image = Image(read_rows, (CLASSIFIED, CLASSIFIED), 20)
        table = absorption({band: reference_response("S2A", band) for band in ("B09", "B10")})
        options = {"land_cover": None, "snow_possible": True, "refinements": refinements, "threads": 2}
        classify(
            image, (55.0, 160.0), vapour=find_vapour(image, table, limits(None, 0, 55.0), 2), table=table, **options
        )

    return best(compute, 2)[1]


if __name__ == "__main__":
    inversion()
    classification()
    atmosphere()
