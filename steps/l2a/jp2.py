"""JPEG 2000 images of the L2A product: lossless, in the tile and precinct layout of Sentinel-2.

Their code-blocks are those of JPEG 2000 itself (ISO/IEC 15444-1), or of its high-throughput variant (HTJ2K, ISO/IEC
15444-15), which is encoded in a fraction of the time. The wavelets are the same, and so are all overviews.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile
from rasterio.windows import Window

from steps.core.errors import StepError
from steps.core.rasters import Grid, check_space, writing
from steps.sentinel2.bands import TILE_SIZE

#: How code-blocks are encoded.
Part = Literal["part1", "high_throughput"]
#: Pixel size to the size of precincts, pixels. Code blocks stay at 64: the 8 and 4 of ESA's 20 m and 60 m images
#: make files 11 to 28 percent larger and slower to write and to read.
_PRECINCTS = {10: 256, 20: 128, 60: 64}
#: Largest number of a band of 15 bits.
LARGEST = 32767
#: What a profile says of the image itself, beside how it is encoded.
_SHAPE = {"driver", "width", "height", "count", "dtype", "crs", "transform"}
#: Bytes that GDAL may keep of a mask while it is encoded.
_CACHE = 64 * 2**20


def _resolutions(grid: Grid) -> int:
    return min(5, max(1, min(grid.shape).bit_length() - 1))


def _profile(grid: Grid, count: int, dtype: str) -> dict:
    size = int(grid.resolution)
    tile, precinct = TILE_SIZE.get(size, TILE_SIZE[10]), _PRECINCTS.get(size, _PRECINCTS[10])
    resolutions = _resolutions(grid)
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


class _ArrayWriter:
    """The same for an encoder that takes whole images, which wants the colours of a pixel side by side."""

    def __init__(self, grid: Grid, count: int, dtype: str):
        colour = count == 3
        self._pixels: np.ndarray | None = np.zeros((*grid.shape, count) if colour else (count, *grid.shape), dtype)
        self._layers: np.ndarray = np.moveaxis(self._pixels, -1, 0) if colour else self._pixels

    def write(self, pixels: np.ndarray, row: int, band: int = 1) -> None:
        """Write an array of shape (rows, width) from row `row` on."""
        self._layers[band - 1, row : row + pixels.shape[0]] = pixels

    def take(self) -> np.ndarray:
        """Return the image, (rows, columns, 3) or (layers, rows, columns), and forget it."""
        pixels, self._pixels, self._layers = self._pixels, None, np.empty(0)
        assert pixels is not None  # it is taken once
        return pixels


def ht_encoder() -> Callable[..., bytes | bytearray | memoryview]:
    """Return the encoder of high-throughput code streams, `htj2k_encode` of imagecodecs.

    Raises
    ------
    StepError
        If it is not installed.
    """
    try:
        from imagecodecs import HTJ2K, htj2k_encode
    except ImportError:
        installed = False
    else:
        installed = HTJ2K.available
    if not installed:
        raise StepError(
            "safe.jpeg2000: high_throughput needs imagecodecs, which is not installed (or without OpenJPH); "
            "run `pip install -c envs/constraints.txt -e '.[high-throughput]'` or choose `part1`"
        )
    return htj2k_encode


@contextlib.contextmanager
def create(path: Path, grid: Grid, count: int = 1, dtype: str = "uint16", part: Part = "part1"):
    """Open a JP2 for writing; it is encoded when the block ends, in part 1 by `GDAL_NUM_THREADS` threads.

    The whole image is held in memory until then. While a file is encoded, the interpreter's lock is held. The file
    does not depend on the threads.

    Parameters
    ----------
    path, grid
        The file and its pixel grid.
    count
        Number of bands.
    dtype
        `uint16` (numbers up to `LARGEST`) or `uint8`.
    part
        How code-blocks are encoded. High throughput declares 16 bits where part 1 does 15, which its encoder lacks.

    Yields
    ------
    JP2Writer

    Raises
    ------
    StepError
        If the file cannot be written or is incomplete, as on a full disk, or if the encoder is not installed.
    """
    if part == "high_throughput":
        writer = _ArrayWriter(grid, count, dtype)
        yield writer
        stream = _ht_stream(grid, writer.take(), colour=count == 3)
        with _checked(path, grid):
            _wrap(path, grid, stream, colour=count == 3)
        return
    with (
        _checked(path, grid),
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(path, "w", **_profile(grid, count, dtype)) as dataset,
    ):
        yield JP2Writer(dataset)


def _ht_stream(grid: Grid, pixels: np.ndarray, colour: bool) -> bytes | bytearray | memoryview:
    tile = TILE_SIZE.get(int(grid.resolution), TILE_SIZE[10])
    planar = not colour and len(pixels) > 1
    return ht_encoder()(
        pixels if colour or planar else pixels[0],
        rgb=colour,
        planar=planar,
        reversible=True,
        tile=(tile, tile),
        resolutions=_resolutions(grid) - 1,  # halvings
        tlm=True,
    )


def _wrap(path: Path, grid: Grid, stream: bytes | bytearray | memoryview, colour: bool) -> None:
    """Have GDAL put a code stream as it is into a JP2 file with its georeference."""
    place = ", ".join(repr(float(v)) for v in grid.transform.to_gdal())
    colours = enumerate(("Red", "Green", "Blue") if colour else (), 1)
    bands = "".join(
        f'<PAMRasterBand band="{n}"><ColorInterp>{name}</ColorInterp></PAMRasterBand>' for n, name in colours
    )
    about = f"<PAMDataset><SRS>EPSG:{grid.epsg}</SRS><GeoTransform>{place}</GeoTransform>{bands}</PAMDataset>"
    # In memory, where GDAL looks for what a code stream lacks in a file beside it.
    with MemoryFile(stream, filename="image.j2k") as memory:
        folder = Path(memory.name).parent.name
        with (
            MemoryFile(about.encode(), dirname=folder, filename="image.j2k.aux.xml"),
            rasterio.Env(GDAL_PAM_ENABLED="YES"),
            memory.open(driver="JP2OpenJPEG") as source,
        ):
            rasterio.shutil.copy(source, path, driver="JP2OpenJPEG", USE_SRC_CODESTREAM="YES", GMLJP2="YES")


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
    with writing(path, grid.width * grid.height):
        yield
    if not _complete(path):
        check_space(path, grid.width * grid.height)
        raise StepError(f"{path}: only part of it could be written; free some disk space")


def _complete(path: Path) -> bool:
    """Tell whether the file ends with JPEG 2000's end-of-codestream marker: the encoder hides failed writes."""
    with path.open("rb") as file:
        file.seek(-2, 2)
        return file.read() == b"\xff\xd9"
