"""Numba's decorators, for every module of compiled code: imported from here instead of from Numba.

Compiled code is kept in the cache folder (`steps.core.kernel_cache`), for the processor that `steps.core.processor`
says.
"""

import functools
import importlib
import sys

from steps.core.cache import cache_folder
from steps.core.processor import set_processor

set_processor(cache_folder() / "numba")

if "scipy.linalg" not in sys.modules:
    # Numba would import it, .15 s, just to see whether there is a BLAS for kernels, of which none of ours asks for one.
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # None stops an import: documented, not in the stubs.
    importlib.import_module("numba.np.arraymath")
    del sys.modules["scipy.linalg"]

import numba  # noqa: E402  (reads the environment once)
import numpy as np  # noqa: E402
from numba import prange, set_num_threads, types  # noqa: E402
from numba.core.dispatcher import Dispatcher  # noqa: E402
from numba.extending import overload, register_jitable  # noqa: E402

from steps.core import kernel_cache  # noqa: E402

kernel_cache.install(cache_folder() / "numba")

__all__ = ["Dispatcher", "formula", "helper", "larger", "njit", "prange", "set_num_threads", "types"]

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
