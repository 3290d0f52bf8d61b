"""JPEG 2000 files: opening them, and their structure as far as it tells a truncated file from a whole one.

OpenJPEG fills what it cannot decode with zeros, and GDAL passes that on as success when it decodes in threads of its
own. So files are decoded in one thread each, and are checked before.
"""

import contextlib
import hashlib
import mmap
import struct
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l1c.files import AGAIN

#: Markers of a code stream (ISO/IEC 15444-1, table A.2).
_SOC = 0xFF4F
_SIZ = 0xFF51
_COD = 0xFF52
_SOT = 0xFF90
_EOC = 0xFFD9
_PPM = 0xFF60
#: Tiles, parts of tiles, and boxes or markers before them, of which no product has as many: 121 tiles are usual. Each
#: tile is sought from the beginning, so that the time grows with the square of their number.
_TILES = 4096
_PARTS = 2**16
_PIECES = 1000
#: Bytes of a file that are not pixels, at the most.
_OVERHEAD = 2**20
#: Nothing beside the image is looked at: neither overviews, masks, world files nor what GDAL has written there before.
_ALONE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_PAM_ENABLED": False,
    "GDAL_NUM_THREADS": 1,
}


class Images(Protocol):
    """Where images lie, by name; `steps.l1c.safe.Safe` says what each method returns and raises."""

    def label(self, name: str) -> str: ...  # noqa: D102

    def size(self, name: str) -> int: ...  # noqa: D102

    def verify(self, name: str) -> None: ...  # noqa: D102

    def view(self, name: str) -> bytes | mmap.mmap: ...  # noqa: D102

    def source(self, name: str) -> Path | bytes: ...  # noqa: D102


@dataclass(frozen=True)
class Codestream:
    """The tiles of a JPEG 2000 codestream.

    Attributes
    ----------
    header
        Where in the file the main header is (start, end).
    width, height
        Of the image, pixels.
    tile_width, tile_height
        Of a tile, pixels.
    tiles
        For each tile, row by row: where in the file its parts are (start, end), without their SOT headers.
    movable
        Whether the pixels of a tile depend on its size and its parts alone, and not on its place: nothing is packed
        into the main header, and the nested grids of wavelets, precincts and code-blocks, all anchored at the image's
        corner, cut every tile alike, which they do if tiles are a power of two wide and high.
    """

    header: tuple[int, int]
    width: int
    height: int
    tile_width: int
    tile_height: int
    tiles: tuple[tuple[tuple[int, int], ...], ...]
    movable: bool

    def windows(self) -> list[tuple[slice, slice]]:
        """Return rows and columns of each tile."""
        rows, columns = (
            [slice(start, min(start + step, size)) for start in range(0, size, step)]
            for size, step in ((self.height, self.tile_height), (self.width, self.tile_width))
        )
        return [(row, column) for row in rows for column in columns]


def codestream(data: bytes | mmap.mmap) -> Codestream:
    """Read the structure of a JP2 file (ISO/IEC 15444-1, annexes A and I).

    Raises
    ------
    ValueError
        If it is not a JP2 file, or not all of it is there.
    """
    try:
        return _codestream(data)
    except struct.error as error:
        raise ValueError("the file ends too early") from error


def _codestream(data) -> Codestream:
    position, end = _contiguous_box(data)
    if _unpack(">H", data, position) != (_SOC,):
        raise ValueError("no JPEG 2000 codestream")
    start, position, siz, levels, packed = position, position + 2, None, 0, False
    for _ in range(_PIECES):
        if (marker := _unpack(">H", data, position)[0]) == _SOT:
            break
        (length,) = _unpack(">H", data, position + 2)
        if marker == _SIZ:
            siz = _unpack(">8I", data, position + 6)
        elif marker == _COD:
            (levels,) = _unpack(">B", data, position + 9)
        packed = packed or marker == _PPM
        position += 2 + length
    else:
        raise ValueError("no tiles in the codestream")
    if siz is None or not siz[4] or not siz[5]:
        raise ValueError("no image size in the codestream")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = siz
    if not (tile_left <= left < right and tile_top <= top < bottom):
        raise ValueError("the image has no pixels")
    count = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if count > _TILES:
        raise ValueError(f"it declares {count} tiles")
    nested = all(n & (n - 1) == 0 and n >> levels for n in (tile_width, tile_height))
    movable = nested and not packed and not any((left, top, tile_left, tile_top))
    tiles = _tile_parts(data, position, end, count)
    return Codestream((start, position), right - left, bottom - top, tile_width, tile_height, tiles, movable)


def _unpack(layout: str, data, position: int) -> tuple:
    return struct.unpack(layout, data[position : position + struct.calcsize(layout)])


def _contiguous_box(data) -> tuple[int, int]:
    """Return where the box with the codestream begins and ends."""
    position = 0
    for _ in range(_PIECES):
        if position >= len(data):
            break
        length, kind = _unpack(">I4s", data, position)
        header = 8
        if length == 1:
            (length,), header = _unpack(">Q", data, position + 8), 16
        end = position + length if length else len(data)
        if end <= position or end > len(data):
            raise ValueError("the file ends too early")
        if kind == b"jp2c":
            return position + header, end
        position = end
    raise ValueError("no JPEG 2000 codestream")


def _tile_parts(data, position: int, end: int, count: int) -> tuple:
    parts: list[list] = [[] for _ in range(count)]
    found = 0
    while (marker := _unpack(">H", data, position)[0]) == _SOT:
        if (found := found + 1) > _PARTS:
            raise ValueError("its tiles are in too many parts")
        tile, length = _unpack(">HI", data, position + 4)
        stop = position + length if length else end - 2
        if tile >= count or stop <= position or stop > end - 2:
            raise ValueError("the file ends too early")
        parts[tile].append((position + 12, stop))
        position = stop
    if marker != _EOC or not all(parts):
        raise ValueError("tiles are missing")
    return tuple(tuple(p) for p in parts)


def tile_keys(data: bytes | mmap.mmap, stream: Codestream) -> list[Hashable]:
    """Return a key for each tile: tiles of equal keys, in this file or another, decode to the same pixels.

    They do if the main headers, the tiles' sizes and their bytes are equal. Masks are mostly equal tiles without a
    flag, so that few of them need be decoded.
    """
    header = hashlib.blake2b(data[slice(*stream.header)]).digest()
    keys: list[Hashable] = []
    for (rows, columns), parts in zip(stream.windows(), stream.tiles, strict=True):
        digests = tuple(hashlib.blake2b(data[start:stop]).digest() for start, stop in parts)
        size = rows.stop - rows.start, columns.stop - columns.start
        place = size if stream.movable else (rows.start, columns.start, *size)
        keys.append((header, place, digests))
    return keys


def tiles(data: bytes | mmap.mmap) -> list[tuple[Hashable, tuple[slice, slice]]]:
    """Return key and window of each tile of a file, see `tile_keys`."""
    stream = codestream(data)
    return list(zip(tile_keys(data, stream), stream.windows(), strict=True))


@contextlib.contextmanager
def opened(safe: Images, name: str, **options) -> Iterator[rasterio.DatasetReader]:
    """Open a raster of the product in the calling thread, with GDAL's open options; nothing is written beside it.

    Raises
    ------
    StepError
        If it cannot be opened, or (inside the block) decoded.
    """
    with rasterio.Env(**_ALONE), contextlib.ExitStack() as stack:
        try:
            source = safe.source(name)
            if isinstance(source, bytes):
                source = stack.enter_context(MemoryFile(source))
                yield stack.enter_context(source.open(driver="JP2OpenJPEG", **options))
            else:
                yield stack.enter_context(rasterio.open(source, driver="JP2OpenJPEG", **options))
        except RasterioError as error:
            raise StepError(f"{safe.label(name)}: cannot be decoded ({error.__cause__ or error}); {AGAIN}") from error


def reduced(safe: Images, name: str, factor: int) -> np.ndarray:
    """Decode an image of one layer at a coarser resolution: means of what it is without the finest wavelets.

    Parameters
    ----------
    factor
        An even number. Of an image without a coarser level the means are those of its pixels; see `averaged`.

    Returns
    -------
    numpy.ndarray
        uint16, (ceil(rows / factor), ceil(columns / factor)).

    Raises
    ------
    StepError
        If it cannot be decoded.
    """
    from steps.l1c.wavelet import averaged

    with opened(safe, name) as image:
        halved = bool(image.overviews(1))
    with opened(safe, name, **({"OVERVIEW_LEVEL": 0} if halved else {})) as image:
        pixels = image.read(1)
    return averaged(pixels, factor // 2 if halved else factor)


def check(safe: Images, name: str, grid: Grid, count: int = 1, dtype: str = "uint16") -> int:
    """Check that a JP2 file is whole, fits its checksum and has the size, type and place expected, without decoding it.

    Parameters
    ----------
    safe, name
        The product and the file.
    grid
        Size, position and projection.
    count, dtype
        Number of its layers and NumPy's type of its pixels.

    Returns
    -------
    int
        Rows of its blocks: reading whole blocks decodes each but once.

    Raises
    ------
    StepError
        If it is not so.
    """
    label = safe.label(name)
    most = 2 * count * np.dtype(dtype).itemsize * grid.width * grid.height + _OVERHEAD
    if (size := safe.size(name)) > most:
        raise StepError(f"{label}: has {size} bytes, more than its pixels can take; {AGAIN}")
    safe.verify(name)
    try:
        codestream(safe.view(name))
    except ValueError as error:
        raise StepError(f"{label}: is truncated or broken ({error}); {AGAIN}") from error
    with opened(safe, name) as image:
        if image.shape != grid.shape or image.count != count:
            found = f"{image.width} x {image.height} pixels in {image.count} layers"
            raise StepError(
                f"{label}: has {found}, and the metadata say {grid.width} x {grid.height} in {count}; "
                "the files are not of one product: download it again"
            )
        if set(image.dtypes) != {dtype}:
            raise StepError(f"{label}: its pixels are {image.dtypes[0]}, not {dtype}; {AGAIN}")
        if image.transform.is_identity:
            return image.block_shapes[0][0]
        if not image.transform.almost_equals(grid.transform, precision=1e-3):
            raise StepError(
                f"{label}: its upper left corner is ({image.transform.c:.0f}, {image.transform.f:.0f}) and its pixel "
                f"{image.transform.a:g} m, and the metadata say ({grid.left:.0f}, {grid.top:.0f}) and "
                f"{grid.resolution:g} m; the files are not of one product: download it again"
            )
        if image.crs and image.crs.to_epsg() != grid.epsg:
            raise StepError(
                f"{label}: is in EPSG:{image.crs.to_epsg()} and the metadata say EPSG:{grid.epsg}; "
                "the files are not of one product: download it again"
            )
        return image.block_shapes[0][0]
