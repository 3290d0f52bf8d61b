"""Numba's decorators, for every module of compiled code: imported from here instead of from Numba.

Compiled code is kept in the cache folder (`steps.core.kernel_cache`). Vectors have 512 bits where the processor has
them: by default LLVM takes half of that, which makes the inversion a fifth to a quarter slower. An environment that
sets NUMBA_CPU_FEATURES keeps its choice.
"""

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

from numba import njit, prange, set_num_threads  # noqa: E402  (Numba reads the environment once)

from steps.core import kernel_cache  # noqa: E402

kernel_cache.install(cache_folder() / "numba")

__all__ = ["njit", "prange", "set_num_threads"]
