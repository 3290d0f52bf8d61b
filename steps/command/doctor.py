"""What Sen2Flow needs of a machine: each examination is a line, with what to do where something is wrong."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from steps.core.cache import cache_folder, check_writable
from steps.core.environment import leave_foreign_variables
from steps.core.errors import StepError

#: Of a full tile: free disk for its products and what lies between the stages, free disk for tables and kernels, and
#: memory of what runs side by side, in bytes.
_DISK = 8e9
_CACHE = 0.2e9
_MEMORY = 2.5e9
#: Northing and easting of a point in UTM zone 31, by the formulas of the transverse Mercator projection to 1 m:
#: on the central meridian, at 45 degrees north, the easting is 500 km and the northing .9996 times the meridian's arc.
_POINT = (3.0, 45.0)
_NORTHING = 4982950.4


def examine(output: Path) -> int:
    """Print a line on each thing that is needed, and return 0, or 1 if something has to be done.

    Parameters
    ----------
    output
        Folder that products are to be written to.
    """
    failed = 0
    for sentence in leave_foreign_variables():
        print(f"note  {sentence}")  # noqa: T201
    for examination in (_python, _packages, _gdal, _proj, _jpeg2000, _kernels, _cache, lambda: _disk(output), _memory):
        try:
            print(f"good  {examination()}")  # noqa: T201
        except StepError as error:
            failed = 1
            print(f"FIX   {error.line}")  # noqa: T201
    return failed


def _python() -> str:
    return f"Python {sys.version.split()[0]} in {sys.prefix}"


def _packages() -> str:
    """Look for what Sen2Flow's own metadata, where it is installed, say that it requires."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires("sen2flow") or ()]
    except PackageNotFoundError:
        raise StepError("sen2flow: is not installed here; pip install -c envs/constraints.txt -e .") from None
    wrong = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = ""
        if not found or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement} ({found or 'missing'})")
    if wrong:
        raise StepError(f"packages: {', '.join(wrong)}; pip install -U {' '.join(w.split()[0] for w in wrong)!r}")
    return f"packages: Snakemake {version('snakemake')}, NumPy {version('numpy')}, Numba {version('numba')}"


def _imported(name: str, call: Callable[[], str]) -> str:
    try:
        return call()
    except Exception as error:  # whatever a broken installation raises
        raise StepError(f"{name}: {error}; install rasterio again (pip install --force-reinstall rasterio)") from error


def _gdal() -> str:
    def call() -> str:
        import rasterio
        from rasterio.drivers import raster_driver_extensions

        if "tif" not in raster_driver_extensions():
            raise ValueError("has no driver for GeoTIFF")
        return f"GDAL {rasterio.__gdal_version__} of rasterio {rasterio.__version__}"

    return _imported("GDAL", call)


def _proj() -> str:
    def call() -> str:
        from rasterio.warp import transform

        (east,), (north,) = transform("EPSG:4326", "EPSG:32631", [_POINT[0]], [_POINT[1]])
        if abs(east - 5e5) > 1 or abs(north - _NORTHING) > 1:
            raise ValueError(f"takes 3 E, 45 N to {east:.0f}, {north:.0f}")
        return "PROJ finds its database and is right in UTM"

    return _imported("PROJ", call)


def _jpeg2000() -> str:
    def call() -> str:
        import numpy as np
        from rasterio.io import MemoryFile
        from rasterio.transform import Affine

        pixels = np.arange(64 * 64, dtype="u2").reshape(64, 64)
        options = {"driver": "JP2OpenJPEG", "quality": 100, "reversible": True}
        options |= {"crs": "EPSG:32631", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
        with MemoryFile(ext=".jp2") as file:
            with file.open(width=64, height=64, count=1, dtype="uint16", **options) as image:
                image.write(pixels, 1)
            with file.open() as image:
                if not np.array_equal(image.read(1), pixels):
                    raise ValueError("what is written is read otherwise")
        return "JPEG 2000 is written and read without loss"

    return _imported("JPEG 2000 (driver JP2OpenJPEG)", call)


def _kernels() -> str:
    try:
        from numba import njit

        if njit(lambda x: x + 1)(1) != 2:
            raise ValueError("computes wrongly")
    except Exception as error:
        raise StepError(f"Numba: {error}; install it again (pip install --force-reinstall numba)") from error
    return "Numba compiles"


def _writable(folder: Path, needed: float, what: str, remedy: str) -> str:
    place = check_writable(folder, what, remedy)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StepError(f"{what} {folder}: {free / 1e9:.1f} GB are free and {needed / 1e9:.1f} wanted; {remedy}")
    return f"{what} {folder}: can be written, {free / 1e9:.0f} GB free"


def _cache() -> str:
    return _writable(cache_folder(), _CACHE, "cache", "set SEN2FLOW_CACHE to a folder of yours with room")


def _disk(output: Path) -> str:
    return _writable(output, _DISK, "output", "free some space or choose another folder")


def _memory() -> str:
    import psutil

    free, cores = psutil.virtual_memory().available, len(os.sched_getaffinity(0))
    if free < _MEMORY:
        raise StepError(f"memory: {free / 1e9:.1f} GB are free and a full tile takes 2; end other programs")
    return f"memory: {free / 1e9:.1f} GB free; {cores} processors"
