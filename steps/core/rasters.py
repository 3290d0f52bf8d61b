"""The rasters between the stages: tiled GeoTIFFs that QGIS opens.

A raster's kind fixes data type, scale, offset and no-data value, and is stamped into the file, so that a stage that is
handed a wrong or an old file says so instead of computing nonsense. Each file carries a checksum
(`steps.core.checksums`).
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from steps import __version__
from steps.core import checksums
from steps.core.documents import atomic
from steps.core.errors import StepError

#: Rows that a stage reads, computes and writes at a time are a multiple of this (the height of a file's tiles).
BLOCK = 512


@dataclass(frozen=True)
class Grid:
    """A north-up pixel grid.

    Attributes
    ----------
    epsg
        EPSG code of the projection.
    left, top
        Map coordinates of the upper left corner of the upper left pixel, m.
    resolution
        Pixel size, m.
    width, height
        Number of columns and rows.
    """

    epsg: int
    left: float
    top: float
    resolution: float
    width: int
    height: int

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) to map coordinates."""
        return Affine(self.resolution, 0, self.left, 0, -self.resolution, self.top)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    def at(self, resolution: int) -> "Grid":
        """Return the grid of the same area with another pixel size (m) that divides it."""
        rows, columns = (round(n * self.resolution / resolution) for n in self.shape)
        return Grid(self.epsg, self.left, self.top, resolution, columns, rows)

    def within(self, whole: "Grid") -> tuple[slice, slice]:
        """Return the rows and columns that this grid has in a larger one of the same pixel size."""
        row, column = (round(d / self.resolution) for d in (whole.top - self.top, self.left - whole.left))
        return slice(row, row + self.height), slice(column, column + self.width)

    def positions(self, other: "Grid") -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns (pixels, 0 in the middle of the first) at which another grid's pixel centres lie.

        Shapes are (rows of the other,) and (columns of the other,).
        """
        down, right = self.top - other.top, other.left - self.left
        rows, columns = (
            (offset + (np.arange(n) + 0.5) * other.resolution) / self.resolution - 0.5
            for offset, n in ((down, other.height), (right, other.width))
        )
        return rows, columns


@dataclass(frozen=True)
class Kind:
    """What the numbers in a raster mean: physical value = stored number * scale + offset.

    Attributes
    ----------
    name
        Stamped into the file as the tag ARTEFACT.
    dtype
        NumPy data type of the stored numbers.
    nodata
        Stored number of pixels without a value, or None.
    scale, offset
        Conversion to the physical value. For a kind whose bands differ, `scales` gives them by band name.
    """

    name: str
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    scales: Mapping[str, float] | None = None


def check_space(path: Path, size: float) -> None:
    """Raise `StepError` unless `size` bytes more fit on the disk that holds `path`."""
    folder = next(p for p in Path(path).absolute().parents if p.exists())
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StepError(
            f"{path}: the disk is full: {size / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; "
            "free some space or choose another output folder"
        )


@contextlib.contextmanager
def raster_errors_as(explain: Callable[[Exception], StepError]) -> Iterator[None]:
    """Raise what `explain` makes of an error that rasterio raises in the block.

    Closing, copying and warping raise GDAL's own errors, which in rasterio 1.4 have neither a public name nor a public
    base class, so an error is told by the package that defines it. A copy that GDAL gives up without a message, as a
    fifth of COGs on a disk that fills, is a `SystemError`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, SystemError) or type(error).__module__.partition(".")[0] == "rasterio":
            raise explain(error) from error
        raise


@contextlib.contextmanager
def writing(path: Path, size: float) -> Iterator[None]:
    """Raise `StepError` where rasterio cannot write `path` in the block, for which `size` bytes are enough."""

    def explain(error: Exception) -> StepError:
        check_space(path, size)
        return StepError(f"{path}: cannot be written ({error}); check the output folder and its disk")

    with raster_errors_as(explain):
        yield


class RasterWriter:
    """An open raster to write rows or whole bands to; made by `create`."""

    def __init__(self, dataset, bands: Sequence[str], dtype: str):
        self._dataset, self._bands, self._dtype = dataset, list(bands), dtype

    def write(self, band: str, values: np.ndarray, row: int = 0) -> None:
        """Write stored numbers of shape (rows, width) of one band, from row `row` on; TypeError: another data type."""
        if values.dtype != self._dtype:
            raise TypeError(f"{band}: {self._dtype} expected, {values.dtype} given")
        window = Window(0, row, self._dataset.width, values.shape[0])
        # As one band of several, or rasterio would copy it.
        self._dataset.write(values[None], [self._bands.index(band) + 1], window=window)


@contextlib.contextmanager
def create(path: Path, kind: Kind, grid: Grid, bands: Sequence[str], *, compress: bool = False, **tags):
    """Open a raster for writing, block by block if wanted; it appears at `path` when the block ends.

    Parameters
    ----------
    path, kind, grid, bands
        The file, what its numbers mean, its pixel grid, and the names of its bands.
    compress
        Zstandard, for rasters that are mostly constant; others are stored raw, which is the fastest.
    tags
        Of the stage, to keep in the file.

    Yields
    ------
    RasterWriter

    Raises
    ------
    StepError
        If the disk is full or the file cannot be written.
    """
    size = grid.width * grid.height * len(bands) * np.dtype(kind.dtype).itemsize
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": len(bands),
        "dtype": kind.dtype,
        "crs": f"EPSG:{grid.epsg}",
        "transform": grid.transform,
        "nodata": kind.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    if compress:
        profile.update(compress="zstd", zstd_level=1)
    else:
        check_space(path, size)
    with atomic(path) as part:
        with writing(path, size), rasterio.open(part, "w", **profile) as dataset:
            dataset.descriptions = tuple(bands)
            dataset.scales = tuple(_scale(kind, band) for band in bands)
            dataset.offsets = (kind.offset,) * len(bands)
            dataset.update_tags(ARTEFACT=kind.name, SOFTWARE=f"Sen2Flow {__version__}", **tags)
            yield RasterWriter(dataset, bands, kind.dtype)
        _check_complete(path, part)
        checksums.seal(part)


def _check_complete(path: Path, part: Path) -> None:
    """Raise `StepError` if GDAL closed the file on a full disk without a word; the last tile is written last."""
    incomplete = StepError(f"{path}: only part of it could be written; free some disk space")
    with raster_errors_as(lambda _: incomplete), rasterio.open(part) as dataset:
        dataset.read(dataset.count, window=Window(dataset.width - 1, dataset.height - 1, 1, 1))


def write(path: Path, kind: Kind, grid: Grid, bands: Mapping[str, np.ndarray], **options) -> None:
    """Write whole bands of stored numbers, shape of the grid; options and errors as of `create`."""
    with create(path, kind, grid, list(bands), **options) as raster:
        for band, values in bands.items():
            raster.write(band, values)


def _scale(kind: Kind, band: str) -> float:
    return kind.scales[band] if kind.scales else kind.scale


def _check_kind(path: Path, kind: Kind, found: str | None) -> None:
    if found != kind.name:
        raise checksums.damaged(path, f"a raster of kind {kind.name} is expected and this is {found or 'none of ours'}")


@contextlib.contextmanager
def _opened(path: Path, kind: Kind):
    with raster_errors_as(lambda error: checksums.damaged(path, error)), rasterio.open(path) as dataset:
        _check_kind(path, kind, dataset.tags().get("ARTEFACT"))
        checksums.check(path)
        yield dataset


def read(path: Path, kind: Kind, band: str, rows: slice | None = None) -> np.ndarray:
    """Read the stored numbers of one band, or of a slice of its rows; fractions are rounded if the kind has none.

    Raises
    ------
    StepError
        If the file cannot be read, is of another kind, or has no such band.
    """
    return read_bands(path, kind, [band], rows)[0]


def read_bands(path: Path, kind: Kind, bands: Sequence[str], rows: slice | None = None) -> np.ndarray:
    """Read the stored numbers of several bands, shape (bands, rows, width); errors as of `read`."""
    with _opened(path, kind) as dataset:
        lacking = set(bands) - set(dataset.descriptions)
        if lacking:
            raise StepError(f"{path}: has no band {min(lacking)}; run the stage that makes it again")
        window = rows and Window.from_slices(rows, slice(0, dataset.width), height=dataset.height)
        numbers = [dataset.descriptions.index(band) + 1 for band in bands]
        return dataset.read(numbers, window=window, out_dtype=kind.dtype)


def values(path: Path, kind: Kind, band: str, rows: slice | None = None) -> np.ndarray:
    """Read one band as physical values (float32, unit of the kind), NaN where there is no data; errors as of `read`."""
    stored = read(path, kind, band, rows)
    result = stored * np.float32(_scale(kind, band)) + np.float32(kind.offset)
    if kind.nodata is not None:
        result[stored == kind.nodata] = np.nan
    return result


def bands_of(path: Path, kind: Kind) -> tuple[str, ...]:
    """Return the names of a raster's bands; errors as of `read`."""
    with _opened(path, kind) as dataset:
        return dataset.descriptions


def tags_of(path: Path, kind: Kind) -> dict[str, str]:
    """Return the tags that the stage wrote into the file; errors as of `read`."""
    with _opened(path, kind) as dataset:
        return dataset.tags()


def grid_of(path: Path, kind: Kind) -> Grid:
    """Return the pixel grid of a raster; errors as of `read`."""
    with _opened(path, kind) as dataset:
        t = dataset.transform
        return Grid(dataset.crs.to_epsg(), t.c, t.f, t.a, dataset.width, dataset.height)


def row_blocks(height: int, rows: int = BLOCK) -> Iterator[slice]:
    """Cut `height` rows into slices of `rows` rows, a multiple of `BLOCK`."""
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
