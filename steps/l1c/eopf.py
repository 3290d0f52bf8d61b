"""The documents and images of an L1C product in an EOPF Zarr, of Zarr format 2 or 3.

What the Zarr's attributes tell becomes the XML documents of a SAFE (`steps.l1c.eopf_documents`), whose paths stand for
its arrays, so that both forms are read and checked by the same code. The layout is that of the samples of EOPF and of
ESA's library, EOPF-CPM: arrays by topic, resolution and band.

Nothing heavy is imported here: a workflow asks for many products' names before its first job runs.
"""

import functools
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Hashable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lxml import etree

from steps.core.errors import StepError
from steps.l1c import eopf_documents
from steps.l1c.checksums import Setting
from steps.l1c.eopf_angles import GEOMETRY
from steps.l1c.eopf_metadata import Names, corner, image_path
from steps.l1c.eopf_store import Store
from steps.l1c.files import AGAIN
from steps.l1c.safe import PRODUCT_XML
from steps.sentinel2.bands import BANDS, PIXEL_SIZE, TILE_SIZE
from steps.sentinel2.meteorology import CENTRE, FIELDS, GROUPS, group_path

if TYPE_CHECKING:
    import numpy as np

    from steps.core.rasters import Grid
    from steps.l1c.grib import Message

#: Files with the attributes of the product's root.
_ROOTS = ("zarr.json", ".zattrs", ".zgroup", ".zmetadata")
#: Product types of EOPF by the level that they are of.
_TYPES = {"S02MSIL1C": "Level-1C", "S02MSIL2A": "Level-2A"}
#: Pixels of a chunk that no product reaches, and the rows that are read at a time, in chunks.
_LARGEST_CHUNK = 12000**2
_CHUNKS_AT_A_TIME = 2
#: Folder of the arrays that a kind of image of a SAFE is in, and its layers; those of a bit mask are one array.
_FOLDERS = {
    "IMG_DATA": ("measurements/reflectance", 1),
    "MSK_DETFOO": ("conditions/mask/detector_footprint", 1),
    "MSK_QUALIT": ("quality/mask", 8),
    "MSK_CLASSI": ("conditions/mask/l1c_classification", 3),
}
#: Pressure (Pa) that no place on Earth has: what is below it is in hPa.
_LOWEST_PRESSURE = 5000


class Eopf(Store):
    """The documents and images of one L1C product; methods that are not explained are those of `steps.l1c.safe.Safe`.

    Parameters
    ----------
    path
        The Zarr's folder.
    checksums
        Has no effect: this form has no checksums.

    Raises
    ------
    StepError
        If it is no L1C product, or lacks its metadata or a band.
    """

    def __init__(self, path: Path, checksums: Setting = "ignore"):
        super().__init__(path)
        self.checksums = checksums
        self._check_kind()
        for array in (*map(image_path, BANDS), f"{GEOMETRY}/sun_angles", f"{GEOMETRY}/viewing_incidence_angles"):
            if self.array(array) is None:
                raise StepError(f"{self.path / array}: is missing; {AGAIN}")

    @staticmethod
    def recognises(path: Path) -> bool:
        """Tell whether a path is a Zarr's folder, or at least called so."""
        return path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in _ROOTS)

    def _check_kind(self) -> None:
        discovery = self.attributes("").get("stac_discovery")
        if not isinstance(discovery, dict) or not isinstance(properties := discovery.get("properties"), dict):
            raise StepError(f"{self.origin}: has no stac_discovery, so it is no EOPF product; give an L1C product")
        kind = properties.get("product:type")
        if _TYPES.get(str(kind)) == "Level-2A":
            raise StepError(f"{self.path}: is a Level-2A product; give the Level-1C product it was made from")
        if str(kind) not in _TYPES and "_MSIL1C_" not in str(discovery.get("id")):
            raise StepError(f"{self.path}: is a product of type {kind!s:.40}; give a Level-1C product of Sentinel-2")

    def label(self, name: str) -> str:
        """Return what messages call a document or image: the file or array that it comes from."""
        return str(self.path / self._arrays[name][0] if name in self._arrays else self.origin)

    # Documents

    @functools.cached_property
    def _names(self) -> Names:
        with self.refusing(self.origin.name, "has metadata as no product has them"):
            return Names.of(self)

    def names(self) -> list[str]:
        """Return the paths that the documents and images would have in a SAFE."""
        return sorted([*self._documents, *filter(self.exists, self._arrays)])

    @functools.cached_property
    def _documents(self) -> dict[str, Callable[["Eopf", Names], etree._Element]]:
        return {PRODUCT_XML: eopf_documents.product, f"{self._names.granule}/MTD_TL.xml": eopf_documents.tile}

    @functools.cached_property
    def _arrays(self) -> dict[str, tuple[str, int]]:
        """Path of the array and number of layers of each image, by its path in a SAFE."""
        result = {}
        for kind, (folder, count) in _FOLDERS.items():
            for band in BANDS if kind != "MSK_CLASSI" else ("B00",):
                size = PIXEL_SIZE.get(band, 60)
                name = self._names.image(band) if kind == "IMG_DATA" else self._names.mask(kind, band)
                result[name] = f"{folder}/r{size}m/{band.lower()}", count
        return result

    def exists(self, name: str) -> bool:
        """Tell whether the product has a document or an image."""
        return name in self._documents or (name in self._arrays and self.array(self._arrays[name][0]) is not None)

    def size(self, name: str) -> int:
        """Return the size of a document in bytes."""
        return len(self.read(name))

    def read(self, name: str) -> bytes:
        """Return a document."""
        return etree.tostring(self.xml(name), xml_declaration=True, encoding="UTF-8")

    def verify(self, name: str) -> None:
        """Do nothing: there are no checksums."""

    def unverified(self) -> tuple[str, ...]:
        """Return a sentence if chunks of bands are missing, which a writer may leave out where there is no data.

        There are no checksums that could have been verified.
        """
        lacking = {band: count for band in BANDS if (count := self._missing(image_path(band)))}
        if not lacking:
            return ()
        words = ", ".join(f"{count} of {band}" for band, count in lacking.items())
        return (f"Chunks: the Zarr lacks {words}; their pixels count as without data.",)

    def xml(self, name: str) -> etree._Element:
        """Make a document from the attributes and arrays that it tells of.

        Raises
        ------
        StepError
            If one of them is missing or broken.
        """
        if name not in self._documents:
            raise StepError(f"{self.label(name)}: has no {name}; {AGAIN}")
        with self.refusing(self.origin.name, "has metadata as no product has them"):
            root = self._documents[name](self, self._names)
        root.getroottree().docinfo.URL = self.label(name)
        return root

    # Images

    def check_image(self, name: str, grid: "Grid", count: int = 1, dtype: str = "uint16") -> int:
        """Check size, type and place of an image, and return the rows that are well read at a time.

        Raises
        ------
        StepError
            If one of them is not as expected, or its chunks are larger than any product's.
        """
        import numpy as np

        from steps.core.rasters import BLOCK

        path, layers = self._arrays[name]
        array, label = self.opened(path), self.label(name)
        if array.shape != grid.shape or layers != count:
            found = " x ".join(map(str, array.shape[::-1]))
            raise StepError(f"{label}: has {found} pixels, and {grid.width} x {grid.height} are expected; {AGAIN}")
        if np.dtype(array.dtype).newbyteorder("=") != dtype:
            raise StepError(f"{label}: its pixels are {array.dtype}, not {dtype}; {AGAIN}")
        if math.prod(self.chunk(path)) > _LARGEST_CHUNK:
            raise StepError(f"{label}: its chunks are {self.chunk(path)}, larger than any product's; {AGAIN}")
        if (place := corner(self, path)) and place != (grid.left, grid.top, grid.resolution):
            raise StepError(
                f"{label}: its upper left corner is ({place[0]:g}, {place[1]:g}) and its pixel {place[2]:g} m, and "
                f"({grid.left:g}, {grid.top:g}) and {grid.resolution:g} m are expected; {AGAIN}"
            )
        rows = math.lcm(BLOCK, TILE_SIZE[int(grid.resolution)])
        return rows * max(1, _CHUNKS_AT_A_TIME * self.chunk(path)[0] // rows)

    def pixels(self, name: str, window: tuple[slice, slice] | None = None) -> "np.ndarray":
        """Return the pixels of an image (layers, rows, columns), or of a window of it; layers of bit masks are 0, 1."""
        import numpy as np

        path, layers = self._arrays[name]
        found = self.values(path, window or ...)
        if layers == 1:
            return found[None]
        return found >> np.arange(layers, dtype="u1")[:, None, None] & np.uint8(1)

    def reduced(self, name: str, factor: int) -> "np.ndarray":
        """Return a band at a coarser resolution: that of a SAFE's image, see `steps.l1c.wavelet`."""
        from steps.l1c import wavelet

        size = int(re.search(r"/r(\d+)m/", path := self._arrays[name][0])[1])  # type: ignore[index]
        return wavelet.reduced(self.values(path), size, factor)

    def tiles(self, name: str) -> "list[tuple[Hashable, tuple[slice, slice]]]":
        """Return key and window of each chunk of an image."""
        path, layers = self._arrays[name]
        (height, width), (rows, columns) = self.opened(path).shape, self.chunk(path)
        result: list[tuple[Hashable, tuple[slice, slice]]] = []
        for i, j in self._places(path):
            window = slice(i * rows, min((i + 1) * rows, height)), slice(j * columns, min((j + 1) * columns, width))
            content = self._stored(path, i, j)
            key = hashlib.blake2b(content).digest() if content else path
            result.append(((key, layers, rows, columns, *(s.stop - s.start for s in window)), window))
        return result

    def _stored(self, path: str, *place: int) -> bytes:
        """Return a chunk as it is stored; nothing if it is not, and has the fill value everywhere."""
        file = self.path / path / self.opened(path).metadata.encode_chunk_key(place)
        return file.read_bytes() if file.is_file() else b""

    def _places(self, path: str) -> list[tuple[int, ...]]:
        """Return the places of an array's chunks."""
        shape, chunk = self.opened(path).shape, self.chunk(path)
        return list(itertools.product(*(range(-(-n // m)) for n, m in zip(shape, chunk, strict=True))))

    def _missing(self, path: str) -> int:
        """Return how many of an array's chunks are not stored."""
        encode = self.opened(path).metadata.encode_chunk_key
        return sum(not (self.path / path / encode(place)).is_file() for place in self._places(path))

    def same_image(self, one: str, other: str) -> bool:
        """Tell whether two images are stored in the same bytes."""
        (a, _), (b, _) = self._arrays[one], self._arrays[other]
        if self.opened(a).shape != self.opened(b).shape or self.chunk(a) != self.chunk(b):
            return False
        return all(self._stored(a, *place) == self._stored(b, *place) for place in self._places(a))

    def jp2(self, name: str) -> bytes | None:
        """Return None: images are no JPEG 2000 files."""
        return None

    # Meteorology and aerosol

    def auxiliary_files(self, granule: PurePosixPath) -> list[str]:
        """Return the paths that files with the fields would have in a SAFE."""
        present = (
            group for group, fields in FIELDS.items() if any(self.array(f"{group_path(group)}/{f}") for f in fields)
        )
        files = {"ecmwf": GROUPS["ecmwf"], "cams": self._names.aerosol_file}
        return [f"{granule}/AUX_DATA/{files[group]}" for group in present]

    def messages(self, name: str) -> "list[Message]":
        """Return the fields of one of these as a file has them."""
        from steps.l1c.grib import Message

        group = next(group for group, file in GROUPS.items() if PurePosixPath(name).name.startswith(file))
        folder = group_path(group)
        latitude, longitude = (_regular(self.values(f"{folder}/{n}")) for n in ("latitude", "longitude"))
        result = []
        for short, field in FIELDS[group].items():
            if self.array(f"{folder}/{short}") is None:
                continue
            values = self.values(f"{folder}/{short}").astype("f8")
            if short == "msl" and (values < _LOWEST_PRESSURE).all():
                values = values * 100  # of Pa and hPa; the attribute names the wrong one in some products
            if values.shape != (latitude.size, longitude.size):
                raise ValueError(f"{short} has shape {values.shape}")
            result.append(Message(CENTRE, field.table, field.parameter, latitude, longitude, values))
        return result


def _regular(points: "np.ndarray") -> "np.ndarray":
    """Return the points of a regular axis (degrees) as a file has them, of which rounding is the last digit in f4."""
    import numpy as np

    points = points.astype("f8")
    exact = np.linspace(points[0].round(3), points[-1].round(3), points.size)
    return exact if np.abs(exact - points).max() < 2e-3 else points
