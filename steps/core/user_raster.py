"""Rasters that the user gives: opened so that nothing is downloaded or run, and bad ones are told in one line."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning

from steps.core.errors import StepError
from steps.core.rasters import raster_errors_as

#: Elements of a virtual raster that name a file.
_FILE_ELEMENTS = ("SourceFilename", "SourceDataset", "CutlineDS")
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # it is told in a line of ours
_PYTHON = "runs Python code, which Sen2Flow does not; convert it to a GeoTIFF with gdal_translate"


@contextlib.contextmanager
def opened(path: Path, remedy: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster of the user for the block, in which errors of reading become a `StepError`, too.

    Parameters
    ----------
    path
        The file.
    remedy
        What the user can do if the file cannot be used.

    Raises
    ------
    StepError
        If it is no local raster, is broken, has no map projection, or refers to other than local rasters.
    """
    if not path.is_file():
        raise StepError(f"{path}: {'is a folder' if path.is_dir() else 'there is no such file'}; {remedy}")
    _check_all_references(path, remedy)
    with (
        raster_errors_as(lambda error: StepError(f"{path}: cannot be read ({error}); {remedy}")),
        rasterio.Env(GDAL_VRT_ENABLE_PYTHON="NO", CPL_VSIL_CURL_ALLOWED_EXTENSIONS=".none"),
        rasterio.open(path) as dataset,
    ):
        if dataset.crs is None or dataset.transform.is_identity or dataset.transform.is_degenerate:
            raise StepError(f"{path}: has no map projection or position; assign them with gdal_translate")
        yield dataset


@functools.cache
def _check_all_references(path: Path, remedy: str) -> None:
    _check_references(path, remedy, set())


def _check_references(path: Path, remedy: str, seen: set[Path]) -> None:
    """Refuse a virtual raster, or one in it, that refers to other than local files, and other XML and JSON."""
    seen.add(path)
    with path.open("rb") as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] not in (b"<", b"{") and b"<VRTDataset" not in start:
        return
    for source in _sources(path, remedy):
        if source not in seen:
            _check_references(source, remedy, seen)


def _sources(path: Path, remedy: str) -> list[Path]:
    from lxml import etree

    try:
        root = etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True)).getroot()
    except etree.XMLSyntaxError as error:
        raise StepError(f"{path}: cannot be read ({error}); {remedy}") from error
    if root.tag != "VRTDataset":
        raise StepError(f"{path}: is no raster file; {remedy}")
    if any((element.text or "").strip().lower() == "python" for element in root.iter("PixelFunctionLanguage")):
        raise StepError(f"{path}: {_PYTHON}")
    found = []
    for element in root.iter(*_FILE_ELEMENTS):
        name = (element.text or "").strip()
        relative = element.get("relativeToVRT", element.get("relativetoVRT")) == "1"
        source = path.parent / name if relative else Path(name)
        if name.startswith("/vsi") or "://" in name or not source.is_file():
            raise StepError(
                f"{path}: refers to {name:.200}, which is no file here, and nothing is downloaded; download it and "
                "refer to the copy"
            )
        found.append(source)
    return found
