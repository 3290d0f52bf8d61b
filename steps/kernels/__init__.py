"""Compiled kernels: pure functions on arrays, no files, no configuration.

Importing this package points Numba's cache (`steps.kernel_cache`) at a folder named for the sources of all compiled
code, because Numba does not notice an edit to a function or constant that another file's kernel was compiled with.
Compiled code lives here and in `steps/atmosphere`; both import this package before numba.

It also asks for vectors of 512 bits where the processor has them. By default LLVM takes half of that, which makes the
inversion a fifth to a quarter slower; an environment that sets NUMBA_CPU_FEATURES keeps its choice.
"""

import hashlib
import importlib
import os
import sys
from pathlib import Path

from llvmlite.binding import get_host_cpu_features

from steps.cache import cache_folder

_here = Path(__file__).parent
_sources = sorted(_here.glob("*.py")) + sorted((_here.parent / "atmosphere").glob("*.py"))
_digest = hashlib.sha256(b"".join(path.read_bytes() for path in _sources)).hexdigest()[:12]

_features = get_host_cpu_features()
if _features.get("avx512f"):
    os.environ.setdefault("NUMBA_CPU_FEATURES", f"{_features.flatten()},-prefer-256-bit")

if "scipy.linalg" not in sys.modules:
    # Numba would import it, .15 s, just to see whether there is a BLAS for kernels, of which none of ours asks for one.
    sys.modules["scipy.linalg"] = None
    importlib.import_module("numba.np.arraymath")
    del sys.modules["scipy.linalg"]

from steps import kernel_cache  # noqa: E402  (imports Numba, which reads the environment once)

kernel_cache.install(cache_folder() / "numba" / _digest)
