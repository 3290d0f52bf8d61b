"""Reader of the format with many granules in a product, until 6 December 2016: a granule is a product."""

import re
from pathlib import Path

from steps.core.errors import StepError
from steps.l1c.compact import Compact, Names, Renamed, named
from steps.l1c.files import AGAIN, Files, Folder
from steps.l1c.safe import MANIFEST, PRODUCT_XML
from steps.sentinel2.satellites import CODE

_PRODUCT = re.compile(rf"{CODE}_OPER_MTD_SAFL1C_.*\.xml", re.ASCII)
_TILE = re.compile(rf"{CODE}_OPER_MTD_L1C_TL_.*\.xml", re.ASCII)
_DATASTRIP = re.compile(rf"{CODE}_OPER_MTD_L1C_DS_.*\.xml", re.ASCII)
_FOLDERS = ("IMG_DATA", "QI_DATA", "AUX_DATA")


class ManyGranules(Compact):
    """The files of one granule, which is given as its folder in the product's folder `GRANULE`."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Tell whether a path is the folder of a granule in such a product."""
        place = path.absolute()
        return place.parent.name == "GRANULE" and place.is_dir() and bool(_document(place.parents[1], _PRODUCT))

    def _opened(self) -> Files:
        folder, root = self.path.absolute(), self.path.absolute().parents[1]
        files, granule = Folder(root), f"GRANULE/{folder.name}"
        if not (document := _document(folder, _TILE)):
            raise StepError(f"{self.path}: holds no metadata of a granule; {AGAIN}")
        places: dict[str, tuple[Files, str]] = {
            PRODUCT_XML: (files, _document(root, _PRODUCT)),
            "MTD_TL.xml": (files, f"{granule}/{document}"),
            **{name: (files, name) for name in (MANIFEST, "INSPIRE.xml")},
        }
        tile, product = (self._document(places, name) for name in ("MTD_TL.xml", PRODUCT_XML))
        datatake = product.section(".//{*}Datatake").get("datatakeIdentifier", "")
        orbit, baseline = product.whole(".//{*}SENSING_ORBIT_NUMBER"), product.text(".//{*}PROCESSING_BASELINE")
        names = Names(tile, datatake, orbit, baseline)
        tile_xml, strip = f"{names.granule}/MTD_TL.xml", f"DATASTRIP/{names.datastrip_id}"
        places[tile_xml] = places.pop("MTD_TL.xml")
        places[f"{names.datastrip}/MTD_DS.xml"] = (files, f"{strip}/{_document(root / strip, _DATASTRIP)}")
        paths = (f"{granule}/{kind}/{file.name}" for kind in _FOLDERS for file in sorted((folder / kind).glob("*")))
        self._documents = {
            PRODUCT_XML: lambda: names.product_document(self._stored(PRODUCT_XML), tile),
            tile_xml: lambda: names.tile_document(self._stored(tile_xml)),
        }
        return Renamed(places | named(names, files, paths))


def granules(path: Path) -> list[Path]:
    """Return the folders of the granules of a product in this format; none of any other path."""
    if not (path / "GRANULE").is_dir() or (path / PRODUCT_XML).exists() or not _document(path, _PRODUCT):
        return []
    return sorted(folder for folder in (path / "GRANULE").iterdir() if folder.is_dir())


def _document(folder: Path, pattern: re.Pattern) -> str:
    """Return the name of the first file in a folder that a pattern fits, or nothing."""
    if not folder.is_dir():
        return ""
    return next((file.name for file in sorted(folder.iterdir()) if pattern.fullmatch(file.name)), "")
