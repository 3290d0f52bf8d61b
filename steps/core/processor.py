"""Which processor kernels are compiled for: the one of this machine, or the least one of a level.

A folder of compiled kernels that holds a file `level` is for all processors of that level (x86-64 psABI, section
3.1.1).
"""

import logging
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path
from typing import Literal, get_args

from llvmlite.binding import get_host_cpu_features

from steps.core.documents import atomic
from steps.core.errors import StepError

logger = logging.getLogger(__name__)

Level = Literal["this", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"]
#: What each level has more than the one before, by LLVM's names.
_V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = ("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_FEATURES = {"x86-64-v2": _V2, "x86-64-v3": _V2 + _V3, "x86-64-v4": _V2 + _V3 + _V4, "aarch64": ("neon",)}
_ARCHITECTURE = {"aarch64": ("aarch64", "arm64")}
_FILE = "level"


def choose_level(folder: Path, level: str) -> None:
    """Say that a folder of compiled kernels is for a level, or for each machine that uses it (`this`).

    Raises
    ------
    StepError
        If code for the level cannot be compiled on this machine, or the folder cannot be written.
    """
    if level != "this" and platform.machine() not in _ARCHITECTURE.get(level, ("x86_64",)):
        raise StepError(
            f"processor {level}: cannot be compiled for on {platform.machine()}, since Numba compiles for the "
            "architecture that it runs on; run this on such a machine or in its emulator"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if level == "this":
            (folder / _FILE).unlink(missing_ok=True)
        else:
            with atomic(folder / _FILE) as part:
                part.write_text(level + "\n", encoding="ascii")
    except OSError as error:
        raise StepError(f"{folder}: cannot be written ({error.strerror}); choose another `cache`") from error


def set_processor(folder: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Tell Numba, before it is imported, which processor the kernels in a folder are for.

    An environment that says so itself keeps its choice. A processor below the folder's level compiles for itself.

    For this machine vectors have 512 bits where the processor has them: by default LLVM takes half of that, which makes
    the inversion a fifth to a quarter slower.
    """
    if {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"} & set(environment):
        return
    host = get_host_cpu_features()
    try:
        level = (folder / _FILE).read_text(encoding="ascii").strip()
    except OSError:
        level = "this"
    if level in _FEATURES and all(host.get(feature) for feature in _FEATURES[level]):
        features = [f"+{feature}" for feature in _FEATURES[level]]
        environment["NUMBA_CPU_NAME"] = "generic" if level == "aarch64" else level
        environment["NUMBA_CPU_FEATURES"] = ",".join(features + ["-prefer-256-bit"] * (level == "x86-64-v4"))
        return
    if level != "this":
        known = level in get_args(Level)
        why = "this processor is below that" if known else "which is none"
        logger.warning("%s: kernels there are for %s, and %s: they are compiled anew", folder, level, why)
    if host.get("avx512f"):
        environment["NUMBA_CPU_FEATURES"] = f"{host.flatten()},-prefer-256-bit"
