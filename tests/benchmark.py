"""What the kernels cost: `python tests/benchmark.py`, on one thread, each figure beside a memory copy of the same run.

Not a test: timings are for people to read and compare as ratios.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from steps.atmosphere import band_atmosphere, build_table, load_table, reference_response, write_table
from steps.kernels.inversion import COEFFICIENTS, POWERS, invert
from steps.kernels.uncertainty import ENVIRONMENT_TERMS, SURFACE_TERMS, standard_uncertainty

SIDE, CELL = 10980, 128


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
    sys.stdout.write(f"{name:52} {wall:8.2f} ns wall {cpu:8.2f} ns CPU per {unit}\n")


def inversion():
    """Time the inversion of one 10 m band of a full tile, and its uncertainty."""
    random = np.random.default_rng(0)
    toa = random.integers(1100, 9000, (SIDE, SIDE), dtype=np.uint16)
    elevation = random.integers(0, 1500, (SIDE, SIDE), dtype=np.int16)
    column = random.integers(1000, 3000, (SIDE, SIDE), dtype=np.uint16)
    nodes = np.zeros((-(-SIDE // CELL) + 1, -(-SIDE // CELL) + 1, COEFFICIENTS), np.float32)
    for k, value in enumerate((1500.0, 8000.0, 0.2, 0.1, 2.0)):
        nodes[..., k * POWERS] = value
    environment = random.random((SIDE // 6, SIDE // 6), dtype=np.float32) * np.float32(0.3)
    boa, counts = np.empty_like(toa), np.empty((SIDE, 3), np.int64)
    pixels = toa.size
    report("memory copy of a band (uint16)", best(lambda: np.copyto(boa, toa)), "pixel", pixels)
    for name, vapour, around in (
        ("inversion", None, None),
        ("inversion with adjacency", None, environment),
        ("inversion with water vapour of each pixel", column, None),
        ("inversion with both", column, environment),
    ):
        seconds = best(lambda v=vapour, a=around: invert(toa, elevation, v, a, 6, nodes, CELL, 0, boa, counts))
        report(name, seconds, "pixel", pixels)
    terms = random.uniform(1e3, 1e6, (*nodes.shape[:2], SURFACE_TERMS * ENVIRONMENT_TERMS)).astype("f4")
    seconds = best(lambda: standard_uncertainty(toa, environment, 6, terms, CELL, 0, boa))
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


if __name__ == "__main__":
    inversion()
    atmosphere()
