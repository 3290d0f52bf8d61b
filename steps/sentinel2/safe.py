"""The files of an L1C product, in a SAFE folder or a zip, and which product it is.

Nothing heavy is imported here: a workflow asks for many products' names before its first job runs.
"""

import functools
import mmap
import re
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from lxml import etree

from steps.errors import StepError
from steps.sentinel2.documents import parse

PRODUCT_XML = "MTD_MSIL1C.xml"
_NAME = re.compile(r"S2[A-Z]_MSIL1C_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}", re.ASCII)
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_OLD_FORMAT = (
    "is in the old format with many granules (before December 2016), which is not supported; "
    "get the same acquisition in the compact format (reprocessed Collection-1, baseline 05.00)"
)
_AGAIN = "download the product again"


class Safe:
    """The files of one L1C product, by their path inside the SAFE folder.

    Parameters
    ----------
    path
        The SAFE folder, or a zip that holds it at any depth and under any name.

    Raises
    ------
    StepError
        If it is not an L1C product in the compact format.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not self.path.exists():
            raise StepError(f"{path}: does not exist; give the path of an L1C SAFE folder or zip")
        self._zipped = not self.path.is_dir()
        self._folder = PurePosixPath(".")
        self._lock = threading.Lock()
        names = self._zip_names() if self._zipped else [p.name for p in self.path.iterdir()]
        _check_format(self.path, names)
        if self._zipped:
            found = (PurePosixPath(n) for n in names if PurePosixPath(n).name == PRODUCT_XML)
            self._folder = min(found, key=lambda p: (len(p.parts), p)).parent

    def _zip_names(self) -> list[str]:
        if not (self.path.suffix.lower() == ".zip" or zipfile.is_zipfile(self.path)):
            raise StepError(f"{self.path}: is neither a SAFE folder nor a zip; give the path of an L1C product")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.namelist()
        except _BROKEN_ZIP as problem:
            raise StepError(f"{self.path}: the zip is broken ({problem}); {_AGAIN}") from problem

    def label(self, name: str) -> str:
        """Return how a file is called in messages."""
        return str(self.path / self._folder / name)

    def names(self) -> list[str]:
        """Return the paths of all files, sorted."""
        if not self._zipped:
            return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())
        inside = (PurePosixPath(n) for n in self._zip_names() if not n.endswith("/"))
        return sorted(str(p.relative_to(self._folder)) for p in inside if p.is_relative_to(self._folder))

    def exists(self, name: str) -> bool:
        """Tell whether the product has a file; one outside of its folder it has not."""
        if self._zipped:
            return name in self._members
        path = PurePosixPath(name)
        return not path.is_absolute() and ".." not in path.parts and (self.path / name).is_file()

    @functools.cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self.names())

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        StepError
            If the product has no such file, or it cannot be read (a zip's checksums are verified).
        """
        if not self.exists(name):
            raise StepError(f"{self.label(name)}: is missing; {_AGAIN}")
        try:
            if not self._zipped:
                return (self.path / name).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(str(self._folder / name))
        except (OSError, *_BROKEN_ZIP) as problem:
            raise StepError(f"{self.label(name)}: cannot be read ({problem}); {_AGAIN}") from problem

    def view(self, name: str) -> bytes | mmap.mmap:
        """Return the content of a file to look at here and there, without reading all of it where possible."""
        if self._zipped:
            return self.source(name)
        if not self.exists(name) or not (self.path / name).stat().st_size:
            return self.read(name)
        with (self.path / name).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def source(self, name: str) -> Path | bytes:
        """Return what a raster library opens: the file's path, or its content if it is in a zip.

        The contents of the few files asked for last are kept, because a band is read in many pieces.
        """
        if not self._zipped:
            return self.path / name
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
            If it is missing or broken.
        """
        return parse(self.read(name), self.label(name))


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
        raise StepError(
            f"{path}: is a tile in the AWS layout, without the product metadata ({PRODUCT_XML}: offsets, spectral "
            "responses, irradiance); rebuild the SAFE folder from it (eodag: build_safe) or get the SAFE"
        )
    raise StepError(f"{path}: is not a Sentinel-2 L1C product: it has no {PRODUCT_XML}; give its SAFE folder or zip")


def product_metadata(safe: Safe) -> etree._Element:
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


def name_in(safe: Safe, root: etree._Element) -> str:
    """Return the product's name, without `.SAFE`, from the root of its XML."""
    name = (root.findtext(".//{*}PRODUCT_URI") or "").strip().removesuffix(".SAFE")
    if not _NAME.fullmatch(name):
        raise StepError(
            f"{safe.label(PRODUCT_XML)}: PRODUCT_URI is '{name}', which is no name of an L1C product in the compact "
            f"format; {_AGAIN}"
        )
    return name


def product_name(path: Path) -> str:
    """Return the name of an L1C product, without `.SAFE`, as its metadata give it.

    Parameters
    ----------
    path
        SAFE folder or zip, under whatever name.

    Raises
    ------
    StepError
        If it is not an L1C product in the compact format, or is broken; one line that says which.
    """
    safe = Safe(path)
    return name_in(safe, product_metadata(safe))
