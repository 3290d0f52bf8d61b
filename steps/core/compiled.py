"""Numba's decorators, for every module of compiled code: imported from here instead of from Numba.

Compiled code is kept in the cache folder (`steps.core.kernel_cache`). Vectors have 512 bits where the processor has
them: by default LLVM takes half of that, which makes the inversion a fifth to a quarter slower. An environment that
sets NUMBA_CPU_FEATURES keeps its choice.
"""

import functools
import importlib
import os
import sys

from llvmlite.binding import get_host_cpu_features

from steps.core.cache import cache_folder

_features = get_host_cpu_features()
if _features.get("avx512f"):
    os.environ.setdefault("NUMBA_CPU_FEATURES", f"{_features.flatten()},-prefer-256-bit")

if "scipy.linalg" not in sys.modules:
    # Numba would import it, .15 s, just to see whether there is a BLAS for kernels, of which none of ours asks for one.
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # None stops an import: documented, not in the stubs.
    importlib.import_module("numba.np.arraymath")
    del sys.modules["scipy.linalg"]

import numba  # noqa: E402  (reads the environment once)
import numpy as np  # noqa: E402
from numba import prange, set_num_threads  # noqa: E402
from numba.extending import overload, register_jitable  # noqa: E402

from steps.core import kernel_cache  # noqa: E402

kernel_cache.install(cache_folder() / "numba")

__all__ = ["formula", "helper", "larger", "njit", "prange", "set_num_threads"]

#: Decorator of a kernel. Nobody calls it from C, so the entry for that, a tenth of the compilation, is left out.
njit = functools.partial(numba.njit, no_cfunc_wrapper=True)
#: Decorator of a function of arrays that kernels alone call, so that it needs no entry from Python either: as many
#: instructions again.
helper = functools.partial(njit, no_cpython_wrapper=True)

#: Decorator of a function of scalars or arrays that kernels may call. A product and a sum may become one instruction.
formula = register_jitable(fastmath={"contract"})


def larger(a, b):
    """Return the larger of two numbers, or of each pair in two arrays; in kernels of numbers only."""
    return np.maximum(a, b)


@overload(larger, jit_options={"fastmath": {"contract"}})
def _larger_number(a, b):
    return lambda a, b: max(a, b)
