"""JPEG 2000 images of the L2A product: lossless, in the tile and precinct layout of Sentinel-2."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile
from rasterio.windows import Window

from steps.core.errors import StepError
from steps.core.rasters import RASTER_ERRORS, Grid, check_space

#: Pixel size to (tile, precinct) sizes in pixels. Code blocks stay at 64: the 8 and 4 of ESA's 20 m and 60 m images
#: make files 11 to 28 percent larger and slower to write and to read.
_LAYOUT = {10: (1024, 256), 20: (640, 128), 60: (192, 64)}
#: Largest number of a band of 15 bits.
LARGEST = 32767
#: What a profile says of the image itself, beside how it is encoded.
_SHAPE = {"driver", "width", "height", "count", "dtype", "crs", "transform"}
#: Bytes that GDAL may keep of a mask while it is encoded.
_CACHE = 64 * 2**20


def _profile(grid: Grid, count: int, dtype: str) -> dict:
    tile, precinct = _LAYOUT.get(int(grid.resolution), (1024, 256))
    resolutions = min(5, max(1, min(grid.shape).bit_length() - 1))
    return {
        "driver": "JP2OpenJPEG",
        "width": grid.width,
        "height": grid.height,
        "count": count,
        "dtype": dtype,
        "crs": f"EPSG:{grid.epsg}",
        "transform": grid.transform,
        # rasterio passes these two on only in lower case
        "blockxsize": tile,
        "blockysize": tile,
        "NBITS": 15 if dtype == "uint16" else 8,
        "QUALITY": 100,
        "REVERSIBLE": "YES",
        "RESOLUTIONS": resolutions,
        "PRECINCTS": ",".join([f"{{{precinct},{precinct}}}"] * resolutions),
        "PLT": "YES",
        "TLM": "YES",
    }


class JP2Writer:
    """An open image to write rows to; made by `create`."""

    def __init__(self, dataset):
        self._dataset = dataset

    def write(self, pixels: np.ndarray, row: int, band: int = 1) -> None:
        """Write an array of shape (rows, width) from row `row` on."""
        self._dataset.write(pixels, band, window=Window(0, row, self._dataset.width, pixels.shape[0]))


@contextlib.contextmanager
def create(path: Path, grid: Grid, count: int = 1, dtype: str = "uint16"):
    """Open a JP2 for writing; it is encoded when the block ends, by as many threads as `GDAL_NUM_THREADS` says.

    The whole image is held in memory until then. Files side by side would gain nothing: while one is encoded, the
    interpreter's lock is held. The file does not depend on the threads.

    Parameters
    ----------
    path, grid
        The file and its pixel grid.
    count
        Number of bands.
    dtype
        `uint16` (numbers up to `LARGEST`) or `uint8`.

    Yields
    ------
    JP2Writer

    Raises
    ------
    StepError
        If the file cannot be written or is incomplete, as on a full disk.
    """
    with (
        _checked(path, grid),
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(path, "w", **_profile(grid, count, dtype)) as dataset,
    ):
        yield JP2Writer(dataset)


def write_mask(path: Path, grid: Grid, count: int, layers: Sequence[tuple[int, np.ndarray]]) -> None:
    """Write a mask, an image of `count` uint8 layers that are 0 but for some.

    It is encoded tile by tile from a sparse raster, so that an empty one takes no memory.

    Parameters
    ----------
    path, grid
        The file and its pixel grid.
    count
        Number of layers.
    layers
        Index from 0 and pixels, uint8 (rows, columns), of those that hold anything.

    Raises
    ------
    StepError
        As for `create`.
    """
    profile = _profile(grid, count, "uint8")
    options = {key.upper(): profile.pop(key) for key in set(profile) - _SHAPE}
    profile |= {"driver": "GTiff", "tiled": True, "compress": "zstd", "zstd_level": 1, "sparse_ok": True}
    # The colours of an image of three layers would else be transformed as red, green and blue.
    options |= {"YCC": "NO"}
    with (
        _checked(path, grid),
        rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_CACHEMAX=_CACHE),
        MemoryFile() as memory,
    ):
        with memory.open(**profile, blockxsize=512, blockysize=512, interleave="band") as raster:
            for index, pixels in layers:
                raster.write(pixels, index + 1)
        with memory.open() as raster:
            rasterio.shutil.copy(raster, path, driver="JP2OpenJPEG", **options)


@contextlib.contextmanager
def _checked(path: Path, grid: Grid) -> Iterator[None]:
    """Raise `StepError` if what the block writes cannot be written or is incomplete."""
    try:
        yield
    except RASTER_ERRORS as error:
        check_space(path, grid.width * grid.height)
        raise StepError(f"{path}: cannot be written ({error}); check the output folder and its disk") from error
    if not _complete(path):
        check_space(path, grid.width * grid.height)
        raise StepError(f"{path}: only part of it could be written; free some disk space")


def _complete(path: Path) -> bool:
    """Tell whether the file ends with JPEG 2000's end-of-codestream marker: the encoder hides failed writes."""
    with path.open("rb") as file:
        file.seek(-2, 2)
        return file.read() == b"\xff\xd9"
