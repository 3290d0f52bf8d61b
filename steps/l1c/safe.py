"""The files of an L1C product, in a SAFE folder, a zip or a tar, and which product it is.

Nothing heavy is imported here: a workflow asks for many products' names before its first job runs.
"""

import functools
import mmap
import re
import threading
from collections.abc import Hashable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lxml import etree

from steps.core.errors import StepError
from steps.l1c import files
from steps.l1c.checksums import MANIFEST, Checksums, Setting, digest_file, digest_of, listed
from steps.l1c.documents import parse
from steps.l1c.files import AGAIN
from steps.sentinel2.names import product_parts

if TYPE_CHECKING:
    import numpy as np

    from steps.core.rasters import Grid
    from steps.l1c.grib import Message

PRODUCT_XML = "MTD_MSIL1C.xml"
#: Bytes that no file reaches, by its name: several times those of the largest known ones. Images are measured by their
#: grid, too (`jp2.check`).
_SIZE_LIMITS = (
    (re.compile(r"MTD_DS\.xml"), 100e6),
    (re.compile(r"(?!MSK_).*\.jp2"), 500e6),
    (re.compile(r".*", re.DOTALL), 50e6),
)
#: Elements and attributes of an XML file that no product reaches; each takes a hundred bytes of memory.
_XML_LIMIT = 4_000_000
_OLD_FORMAT = "is in the old format with many granules (before December 2016); give its folder, unpacked"


class Safe:
    """The files of one L1C product, by their path inside the SAFE folder.

    Parameters
    ----------
    path
        The SAFE folder, or a zip or tar that holds it at any depth and under any name.
    checksums
        What to do with a file that does not fit its checksum in `manifest.safe` when it is read.

    Raises
    ------
    StepError
        If it is not an L1C product in the compact format.
    """

    def __init__(self, path: Path, checksums: Setting = "ignore"):
        self.path = Path(path)
        self.checksums = checksums
        self._lock, self._lock_of_manifest = threading.Lock(), threading.Lock()
        self._files = self._opened()

    def _opened(self) -> files.Files:
        found = files.opened(self.path)
        _check_format(self.path, found.listing)
        if not self.path.is_dir():
            folders = {PurePosixPath(n).parent for n in found.listing if PurePosixPath(n).name == PRODUCT_XML}
            if len(folders) > 1:
                raise StepError(
                    f"{self.path}: holds {len(folders)} products; unpack it and give their folders, one by one"
                )
            found.enter(folders.pop())
        return found

    @staticmethod
    def recognises(path: Path) -> bool:
        """Tell whether a path is a folder, a zip or a tar."""
        return path.is_dir() or path.suffix.lower() in (".zip", ".tar")

    def label(self, name: str) -> str:
        """Return what messages call a file."""
        return self._files.label(name)

    def names(self) -> list[str]:
        """Return the paths of all files, sorted; those with unprintable characters are no product's and left out.

        Raises
        ------
        StepError
            If a link in the folder leads out of it or to another folder.
        """
        return list(self._names)

    @functools.cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(filter(str.isprintable, self._files.names())))

    def exists(self, name: str) -> bool:
        """Tell whether the product has a file; what lies outside of its folder does not count."""
        return self._files.exists(name)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Raises
        ------
        StepError
            If the product has no such file, or it is larger than such files can be.
        """
        if not self.exists(name):
            raise StepError(f"{self.label(name)}: is missing; {AGAIN}")
        size = self._files.size(name)
        limit = next(limit for pattern, limit in _SIZE_LIMITS if pattern.fullmatch(PurePosixPath(name).name))
        if size > limit:
            raise StepError(f"{self.label(name)}: has {size / 1e6:.0f} MB, more than any such file; {AGAIN}")
        return size

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        StepError
            If the product has no such file, it cannot be read, or it does not fit a checksum (those of a zip are
            always verified).
        """
        self.size(name)
        try:
            content = self._files.read(name)
        except (OSError, *files.BROKEN) as error:
            raise StepError(f"{self.label(name)}: cannot be read ({error}); {AGAIN}") from error
        if self.checksums != "ignore" and name != MANIFEST:
            self._checks.check(name, self.label(name), digest_of(content))
        return content

    def verify(self, name: str) -> None:
        """Check that a file is there and, once, that it fits its checksum; errors as of `read`."""
        self.size(name)
        if self.checksums == "ignore":
            return
        if (path := self._files.place(name)) is None:
            self.source(name)
            return
        try:
            self._checks.check(name, self.label(name), digest_file(path))
        except OSError as error:
            raise StepError(f"{self.label(name)}: cannot be read ({error}); {AGAIN}") from error

    @property
    def _checks(self) -> Checksums:
        with self._lock_of_manifest:
            return self._manifest

    @functools.cached_property
    def _manifest(self) -> Checksums:
        return Checksums(self._listed(), self.checksums)

    def _listed(self) -> dict[str, tuple[str, str]] | None:
        return listed(self.xml(MANIFEST)) if self.exists(MANIFEST) else None

    def unverified(self) -> tuple[str, ...]:
        """Return a sentence for each kind of file that has been read without its checksum being verified."""
        if self.checksums == "ignore":
            return ("Checksums: not verified (`checksums: ignore`).",)
        return self._checks.sentences(self._names)

    def view(self, name: str) -> bytes | mmap.mmap:
        """Return the content of a file to look at here and there, without reading all of it where possible."""
        size = self.size(name)
        if (path := self._files.place(name)) is None:
            return self._unpacked(name)
        if not size:
            return b""
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def source(self, name: str) -> Path | bytes:
        """Return what a raster library opens: the file's path, or its content if it is in a package."""
        return self._files.place(name) or self._unpacked(name)

    def _unpacked(self, name: str) -> bytes:
        """Return the content of a file; those of the few asked for last are kept, as a band is read in many pieces."""
        with self._lock:
            return self._recent(name)

    @functools.cached_property
    def _recent(self):
        return functools.lru_cache(maxsize=3)(self.read)

    def xml(self, name: str) -> etree._Element:
        """Return the root element of an XML file, see `documents.parse`.

        Raises
        ------
        StepError
            If it is missing, broken or larger than such files can be.
        """
        content = self.read(name)
        if content.count(b"<") + content.count(b"=") > _XML_LIMIT:
            raise StepError(f"{self.label(name)}: has more elements than any product's; {AGAIN}")
        return parse(content, self.label(name))

    # Images: what needs rasterio is imported when it is needed, since a workflow that asks for names needs none of it.

    def check_image(self, name: str, grid: "Grid", count: int = 1, dtype: str = "uint16") -> int:
        """Check an image without decoding it, and return the rows of its blocks: see `jp2.check`."""
        from steps.l1c import jp2

        return jp2.check(self, name, grid, count, dtype)

    def pixels(self, name: str, window: tuple[slice, slice] | None = None) -> "np.ndarray":
        """Return the pixels of an image (layers, rows, columns), or of a window of it.

        Raises
        ------
        StepError
            If it cannot be decoded.
        """
        from steps.l1c import jp2

        with jp2.opened(self, name) as image:
            return image.read(window=window and tuple((s.start, s.stop) for s in window))

    def reduced(self, name: str, factor: int) -> "np.ndarray":
        """Return an image of one layer at a coarser resolution: see `jp2.reduced`."""
        from steps.l1c import jp2

        return jp2.reduced(self, name, factor)

    def tiles(self, name: str) -> "list[tuple[Hashable, tuple[slice, slice]]]":
        """Return key and window of each piece that an image is stored in; pieces of equal keys have equal pixels."""
        from steps.l1c import jp2

        return jp2.tiles(self.view(name))

    def same_image(self, one: str, other: str) -> bool:
        """Tell whether two images are the same file under two names."""
        return self.size(one) == self.size(other) and self.view(one)[:] == self.view(other)[:]

    def jp2(self, name: str) -> bytes | None:
        """Return the JPEG 2000 file that an image is stored in; None in a form of product that has none."""
        return self.read(name)

    def auxiliary_files(self, granule: PurePosixPath) -> list[str]:
        """Return the files that may have meteorology or aerosol, sorted."""
        return [name for name in self.names() if PurePosixPath(name).parent == granule / "AUX_DATA"]

    def messages(self, name: str) -> "list[Message]":
        """Return the fields in an auxiliary file; none in one that a library left beside it, as its index.

        Raises
        ------
        StepError, ValueError
            If it cannot be read, or is damaged.
        """
        from steps.l1c import grib

        content = self.read(name)
        return [] if PurePosixPath(name).suffix and content[:4] != b"GRIB" else grib.messages(content)


def _check_format(path: Path, names: list[str]) -> None:
    """Raise `StepError` unless a compact L1C product is among the files, and say what was found instead."""
    files = {PurePosixPath(name).name for name in names}
    if PRODUCT_XML in files:
        return
    if any(re.fullmatch(r"MTD_MSIL2A\.xml|S2._(OPER|USER)_MTD_SAFL2A.*\.xml", f, re.IGNORECASE) for f in files):
        raise StepError(f"{path}: is a Level-2A product; give the Level-1C product it was made from")
    if any(re.fullmatch(r"S2._OPER_(PRD_MSIL1C|MTD_SAFL1C).*", f) for f in files):
        raise StepError(f"{path}: {_OLD_FORMAT}")
    if {"metadata.xml", "tileInfo.json"} <= files:
        raise StepError(f"{path}: is a tile in the AWS layout, packed; unpack it and give its folder")
    raise StepError(f"{path}: is not a Sentinel-2 L1C product: it has no {PRODUCT_XML}; give its SAFE folder or zip")


def product_metadata(safe) -> etree._Element:
    """Return the root of the product's XML.

    Raises
    ------
    StepError
        If it is broken, or not that of an L1C product with one granule.
    """
    root = safe.xml(PRODUCT_XML)
    label = safe.label(PRODUCT_XML)
    if etree.QName(root).localname != "Level-1C_User_Product":
        raise StepError(f"{label}: is not the metadata of a Level-1C product; give a Level-1C product")
    granules = root.findall(".//{*}Granule_List/{*}Granule")
    if len(granules) != 1 or root.find(".//{*}IMAGE_FILE") is None:
        raise StepError(f"{label}: {_OLD_FORMAT}")
    return root


def name_in(safe, root: etree._Element) -> str:
    """Return the product's name, without `.SAFE`, from the root of its XML.

    Raises
    ------
    StepError
        If there is none that a product has.
    """
    name = (root.findtext(".//{*}PRODUCT_URI") or "").strip().removesuffix(".SAFE")
    if not product_parts(name):
        raise StepError(
            f"{safe.label(PRODUCT_XML)}: PRODUCT_URI is '{name}', which is no name of an L1C product in the compact "
            f"format; {AGAIN}"
        )
    return name
