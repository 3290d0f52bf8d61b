"""Kernels that are compiled ahead of time for a level of processors, beside those that are cached for this one."""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from steps.benchmark.measure import measure
from steps.core.processor import choose_level

#: What is compiled, and what a process starts with that uses it.
_MODULE = "steps.atmosphere.inversion_kernel"
_COMPILE = f"from steps.compile_kernels import compile_module; compile_module({_MODULE!r})"
_USE = f"""
import time
import numpy as np
from {_MODULE} import COEFFICIENTS, Block, Nodes, invert
def call(rows, columns):
    toa, nodes = np.full((rows, columns), 2000, 'u2'), np.ones((rows // 64 + 2, columns // 64 + 2, COEFFICIENTS), 'f4')
    start = time.perf_counter()
    invert(Block(toa), None, Nodes(nodes, 64), 0, np.empty_like(toa), np.zeros((rows, 3), 'i8'))
    return (time.perf_counter() - start) / toa.size
call(1, 64)
"""
_SPEED = _USE + "print(min(call(1024, 4096) for _ in range(5)))"
#: Starts of which the cheapest counts.
_REPEATS = 5


class Compiled(NamedTuple):
    """What kernels for a processor cost: CPU seconds to start with them, ns a pixel of the inversion, MB of files."""

    processor: str
    start: float
    pixel: float
    size: float


def ahead_of_time() -> list[Compiled]:
    """Measure the inversion's kernels for this processor, and for the levels that can be compiled for here."""
    levels = ["this"] + (["x86-64-v2", "x86-64-v3"] if platform.machine() == "x86_64" else [])
    return [_of_level(level) for level in levels]


def _of_level(level: str) -> Compiled:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "numba"
        choose_level(folder, level)
        variables = [f"SEN2FLOW_CACHE={name}"]
        env = ["env", "-u", "NUMBA_CPU_NAME", "-u", "NUMBA_CPU_FEATURES", *variables, sys.executable, "-c"]
        measure([*env, _COMPILE])
        start = min(measure([*env, _USE]).cpu for _ in range(_REPEATS))
        speed = subprocess.run([*env, _SPEED], env=os.environ, capture_output=True, text=True, check=True)
        return Compiled(level, start, 1e9 * float(speed.stdout), sum(p.stat().st_size for p in folder.iterdir()) / 1e6)
