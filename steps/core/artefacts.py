"""The files between the stages: georeferenced rasters of a known kind, and small JSON documents.

Every raster is a tiled GeoTIFF that QGIS opens. Its kind fixes data type, scale, offset and no-data value, and is
stamped into the file, so that a stage that is handed a wrong or an old file says so instead of computing nonsense.
Writing is atomic: a file appears under its name only when it is complete. Each carries a checksum
(`steps.core.checksums`).
"""

import contextlib
import glob
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from steps import __version__
from steps.core import checksums
from steps.core.errors import StepError

#: What rasterio raises; closing and copying a dataset raise GDAL's own errors, which have no public name.
RASTER_ERRORS = (RasterioError, CPLE_BaseError)
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
        """Return its rows and columns in a grid that it is a part of, in pixels of its own size."""
        row, column = (round(d / self.resolution) for d in (whole.top - self.top, self.left - whole.left))
        return slice(row, row + self.height), slice(column, column + self.width)

    def positions(self, other: "Grid") -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns, 0 in the middle of the first, at which another grid's pixel centres lie."""
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


#: Reflectance, at the top of the atmosphere or at the surface: the one internal scale. Stored = reflectance * 10000
#: + 1000, so it is the number of an L1C or L2A product of baseline 04.00 and later; 1 is the lowest valid number
#: (reflectance -0.0999), 0 is no data, rounding is at most 5e-5.
REFLECTANCE_SCALE, REFLECTANCE_OFFSET = 1e-4, -0.1
TOA = Kind("toa_reflectance", "uint16", 0, REFLECTANCE_SCALE, REFLECTANCE_OFFSET)
BOA = Kind("boa_reflectance", "uint16", 0, REFLECTANCE_SCALE, REFLECTANCE_OFFSET)
#: Before the correction of terrain the numbers keep their fractions: it divides them, and their rounding with them.
UNROUNDED_BOA = replace(BOA, dtype="float32")
#: Standard uncertainty (k = 1) of surface reflectance.
UNCERTAINTY = Kind("reflectance_uncertainty", "uint16", 0, 1e-5)
#: Bit flags of a pixel, see `MASK_NODATA` and following.
MASK = Kind("mask", "uint8")
MASK_NODATA, MASK_SATURATED, MASK_DEFECTIVE = 1, 2, 4
#: Sun and view angles in degrees at the 5 km nodes; the bands are `sun_zenith`, `sun_azimuth`, `view_zenith_B01` ...
ANGLES = Kind("angles", "float32", float("nan"))
#: Scale of each band of the terrain.
TERRAIN_SCALES = {
    "elevation": 1.0,
    "slope": 0.01,
    "aspect": 0.02,
    "cos_incidence": 1e-4,
    "sky_view": 1e-4,
    "cast_shadow": 1.0,
}
#: Terrain: elevation (m), slope and aspect (degrees), cosine of the local solar incidence, sky-view factor (0-1),
#: cast shadow (1 = in shadow).
TERRAIN = Kind("terrain", "int16", -32768, scales=TERRAIN_SCALES)
#: Bands `SCL` (classes 0-11), `CLD` and `SNW` (cloud and snow probability, percent).
CLASSIFICATION = Kind("classification", "uint8", 0)
#: Aerosol optical thickness at 550 nm.
AOT = Kind("aot550", "uint16", 0, 1e-3)
#: Column water vapour, g/cm2.
WVP = Kind("water_vapour", "uint16", 0, 1e-3)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and rename it to `path` when the block ends without an exception.

    Works for files and folders. On an exception what was written is removed, and before the block what a process that
    was killed has left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()  # made beforehand by Snakemake; it is not to outlive a failure
    part = path.with_name(f".{path.stem}.{_process(os.getpid())}.part{path.suffix}")
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        if _is_left(left, left.name.removesuffix(path.suffix).split(".")[-2]):
            with contextlib.suppress(OSError):  # another user's
                _remove(left)
    try:
        yield part
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        _remove(part)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _process(number: int) -> str:
    """Return a name of a process that no other has had: its number, when it started, and its machine."""
    return f"{number}-{_started(number)}@{platform.node().replace('.', '_')}"


def _started(number: int) -> str:
    """Return when a process started, in the kernel's ticks; "" if it has ended, 0 on a system that does not tell."""
    try:
        # The name, in brackets, may contain anything. Of what follows the 1st field is the state, the 20th the start.
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else "0"
    return "" if fields[0] in "ZX" else fields[19]


def _is_left(part: Path, process: str) -> bool:
    """Tell whether the process that wrote to `part` is gone; one of another machine is, when a day has passed."""
    number, _, machine = process.partition("-")
    if machine.partition("@")[2] != platform.node().replace(".", "_"):
        return time.time() - part.stat().st_mtime > 86400
    return process != _process(int(number))


def write_json(path: Path, document: Mapping, *, checksum: bool = True) -> None:
    """Write a JSON document atomically, with sorted keys so that equal documents are equal files.

    Between the stages it gets a key `checksum`; `read_json` looks at it and leaves it out.
    """
    if checksum:
        document = {**document, "checksum": checksums.of_document(document)}
    with atomic(path) as part:
        part.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON document; raise `StepError` if it is missing, broken or not what its checksum says."""
    try:
        document = dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise checksums.damaged(path, problem) from problem
    expected = document.pop("checksum", None)
    if expected and expected != checksums.of_document(document):
        raise checksums.damaged(path, "its checksum is another")
    return document


def check_space(path: Path, size: float) -> None:
    """Raise `StepError` unless `size` more bytes fit on the disk that holds `path`."""
    folder = next(p for p in Path(path).absolute().parents if p.exists())
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StepError(
            f"{path}: the disk is full: {size / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; "
            "free some space or choose another output folder"
        )


class RasterWriter:
    """An open raster to write rows or whole bands to; made by `create`."""

    def __init__(self, dataset, bands: Sequence[str], dtype: str):
        self._dataset, self._bands, self._dtype = dataset, list(bands), dtype

    def write(self, band: str, values: np.ndarray, row: int = 0) -> None:
        """Write stored numbers of shape (rows, width) of one band, from row `row` on."""
        if values.dtype != self._dtype:
            raise TypeError(f"{band}: {self._dtype} expected, {values.dtype} given")
        window = Window(0, row, self._dataset.width, values.shape[0])
        self._dataset.write(values, self._bands.index(band) + 1, window=window)


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
        Facts of the stage to keep in the file.

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
        try:
            with rasterio.open(part, "w", **profile) as dataset:
                dataset.descriptions = tuple(bands)
                dataset.scales = tuple(_scale(kind, band) for band in bands)
                dataset.offsets = (kind.offset,) * len(bands)
                dataset.update_tags(ARTEFACT=kind.name, SOFTWARE=f"Sen2Flow {__version__}", **tags)
                yield RasterWriter(dataset, bands, kind.dtype)
        except RASTER_ERRORS as problem:
            check_space(path, size)
            raise StepError(f"{path}: cannot be written ({problem}); check the output folder and its disk") from problem
        if not _complete(part):
            raise StepError(f"{path}: only part of it could be written; free some disk space")
        checksums.seal(part)


def _complete(path: Path) -> bool:
    # GDAL may close a file on a full disk without a word; the last tile is written last.
    try:
        with rasterio.open(path) as dataset:
            dataset.read(dataset.count, window=Window(dataset.width - 1, dataset.height - 1, 1, 1))
    except RASTER_ERRORS:
        return False
    return True


def write(path: Path, kind: Kind, grid: Grid, bands: Mapping[str, np.ndarray], **options) -> None:
    """Write whole bands of stored numbers; `options` as for `create`."""
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
    try:
        with rasterio.open(path) as dataset:
            _check_kind(path, kind, dataset.tags().get("ARTEFACT"))
            checksums.check(path)
            yield dataset
    except RASTER_ERRORS as problem:
        raise checksums.damaged(path, problem) from problem


def read(path: Path, kind: Kind, band: str, rows: slice | None = None) -> np.ndarray:
    """Read the stored numbers of one band, or of a slice of its rows; fractions are rounded if the kind has none.

    Raises
    ------
    StepError
        If the file cannot be read, is of another kind, or has no such band.
    """
    return read_bands(path, kind, [band], rows)[0]


def read_bands(path: Path, kind: Kind, bands: Sequence[str], rows: slice | None = None) -> np.ndarray:
    """Read several bands as `read` does: shape (bands, rows, width)."""
    with _opened(path, kind) as dataset:
        lacking = set(bands) - set(dataset.descriptions)
        if lacking:
            raise StepError(f"{path}: has no band {min(lacking)}; run the stage that makes it again")
        window = rows and Window.from_slices(rows, slice(0, dataset.width), height=dataset.height)
        numbers = [dataset.descriptions.index(band) + 1 for band in bands]
        return dataset.read(numbers, window=window, out_dtype=kind.dtype)


def values(path: Path, kind: Kind, band: str, rows: slice | None = None) -> np.ndarray:
    """Read one band as float32 physical values, NaN where there is no data."""
    stored = read(path, kind, band, rows)
    result = stored * np.float32(_scale(kind, band)) + np.float32(kind.offset)
    if kind.nodata is not None:
        result[stored == kind.nodata] = np.nan
    return result


def bands_of(path: Path, kind: Kind) -> tuple[str, ...]:
    """Return the names of a raster's bands."""
    with _opened(path, kind) as dataset:
        return dataset.descriptions


def tags_of(path: Path, kind: Kind) -> dict[str, str]:
    """Return the facts that the stage kept in the file."""
    with _opened(path, kind) as dataset:
        return dataset.tags()


def grid_of(path: Path, kind: Kind) -> Grid:
    """Return the pixel grid of a raster."""
    with _opened(path, kind) as dataset:
        t = dataset.transform
        return Grid(dataset.crs.to_epsg(), t.c, t.f, t.a, dataset.width, dataset.height)


def row_blocks(height: int, rows: int = BLOCK) -> Iterator[slice]:
    """Cut `height` rows into slices of `rows` rows, a multiple of `BLOCK`."""
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
