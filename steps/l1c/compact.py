"""Products in other layouts than the compact one, under the names that their files have in a compact SAFE.

Until 6 December 2016 a product had many granules with long names, and its document named images without their paths.
The bucket of AWS keeps each granule in a folder of its own, with short names. Here every granule is a product.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from lxml import etree

from steps.l1c.checksums import Setting
from steps.l1c.documents import Xml, element
from steps.l1c.files import Files
from steps.l1c.safe import Safe
from steps.sentinel2.bands import BANDS
from steps.sentinel2.names import datastrip_folder
from steps.sentinel2.satellites import CODE

_TILE_ID = re.compile(
    rf"({CODE})_[A-Z]{{4}}_MSI_L1C_TL_\w{{4}}_\d{{8}}T\d{{6}}_(A\d{{6}})_(T\d\d[A-Z]{{3}})_N\d\d\.\d\d", re.ASCII
)
_DATASTRIP_ID = re.compile(rf"{CODE}_[A-Z]{{4}}_MSI_L1C_DS_\w{{4}}_\d{{8}}T\d{{6}}_S(\d{{8}}T\d{{6}})_N.*", re.ASCII)
_DATATAKE = re.compile(rf"G{CODE}_(\d{{8}}T\d{{6}})_\d{{6}}_N\d\d\.\d\d", re.ASCII)
#: What a file is, at the end of its name.
_IMAGE = re.compile(r"(?:.*_)?(B\d\d|B8A)\.jp2", re.ASCII)
_MASK = re.compile(r"(?:.*_)?(MSK_[A-Z]+)_(?:.*_)?(B\d\d|B8A)(?:_MSIL1C)?(\.\w+)", re.ASCII)
_WEATHER = re.compile(r"(?:.*AUX_)?ECMWFT?(?:_.*)?", re.ASCII)
_AEROSOL = re.compile(r"(?:.*AUX_)?(CAMS[A-Z]{2})(?:_.*)?", re.ASCII)


class Names:
    """Names in the compact format, made from the identifiers in a granule's metadata.

    Parameters
    ----------
    tile
        `MTD_TL.xml`.
    datatake
        Identifier of the datatake, `GS2A_20160905T010422_006291_N02.04`.
    relative_orbit
        Number of the orbit.
    baseline
        Processing baseline, `02.04`.

    Raises
    ------
    StepError
        If an identifier is none.
    """

    def __init__(self, tile: Xml, datatake: str, relative_orbit: int, baseline: str):
        self.tile_id, self.datastrip_id = tile.text(".//{*}TILE_ID"), tile.text(".//{*}DATASTRIP_ID")

        def parts(pattern: re.Pattern, text: str) -> tuple[str, ...]:
            if not (found := pattern.fullmatch(text)):
                raise tile.wrong(f"'{text[:120]}' is no identifier of a Level-1C product")
            return found.groups()

        satellite, orbit, tile_name = parts(_TILE_ID, self.tile_id)
        (strip_start,), (start,) = parts(_DATASTRIP_ID, self.datastrip_id), parts(_DATATAKE, datatake)
        number = baseline.replace(".", "")
        self.product = f"{satellite}_MSIL1C_{start}_N{number}_R{relative_orbit:03}_{tile_name}_{strip_start}"
        self.granule = f"GRANULE/L1C_{tile_name}_{orbit}_{strip_start}"
        self.datastrip = f"DATASTRIP/{datastrip_folder(self.datastrip_id)}"
        self._image = f"{self.granule}/IMG_DATA/{tile_name}_{start}_"

    def image(self, band: str) -> str:
        """Return the path of a band's image, without extension."""
        return self._image + band

    def of(self, path: PurePosixPath) -> str | None:
        """Return the path in a SAFE of a granule's file in another layout; None of one that is not used."""
        kind = path.parent.name
        if kind in ("qi", "QI_DATA"):
            name = mask_name(path.name) or (path.name if path.suffix == ".xml" else None)
            return name and f"{self.granule}/QI_DATA/{name}"
        if kind in ("auxiliary", "AUX_DATA"):
            aerosol = _AEROSOL.fullmatch(path.name)
            name = f"AUX_{aerosol[1]}" if aerosol else "AUX_ECMWFT" if _WEATHER.fullmatch(path.name) else None
            return name and f"{self.granule}/AUX_DATA/{name}"
        found = _IMAGE.fullmatch(path.name)
        return found and f"{self.image(found[1])}.jp2"

    def tile_document(self, root: etree._Element) -> etree._Element:
        """Return tile metadata that name masks by their paths in a SAFE."""
        for mask in root.iterfind(".//{*}MASK_FILENAME"):
            name = PurePosixPath((mask.text or "").strip()).name
            mask.text = f"{self.granule}/QI_DATA/{mask_name(name) or name}"
        return root

    def product_document(self, root: etree._Element, tile: Xml) -> etree._Element:
        """Return product metadata that name this granule alone, and its area."""
        for uri in root.iterfind(".//{*}PRODUCT_URI"):
            uri.text = f"{self.product}.SAFE"
        for organisation in root.iterfind(".//{*}Product_Organisation"):
            organisation[:] = [self.granules()]
        for area in root.iterfind(".//{*}EXT_POS_LIST"):
            area.text = footprint(tile)
        return root

    def granules(self) -> etree._Element:
        """Return the element of product metadata that names the granule and its images."""
        images = [element("IMAGE_FILE", self.image(band)) for band in BANDS]
        identifiers = {"datastripIdentifier": self.datastrip_id, "granuleIdentifier": self.tile_id}
        return element("Granule_List", [element("Granule", images, **identifiers, imageFormat="JPEG2000")])


def mask_name(name: str) -> str | None:
    """Return the name of a mask's file in the compact format, `MSK_CLOUDS_B00.gml`; None of another file."""
    found = _MASK.fullmatch(name)
    return "{}_{}{}".format(*found.groups()) if found else None


def footprint(tile: Xml) -> str:
    """Return the corners of a tile as product metadata list them: latitude and longitude in degrees."""
    from steps.l1c.metadata import read_grid
    from steps.sentinel2.footprint import corners

    return " ".join(f"{latitude} {longitude}" for latitude, longitude in corners(read_grid(tile)))


class Renamed:
    """Files under other names.

    Parameters
    ----------
    places
        Name to where the file is: in which files, under which name.
    """

    def __init__(self, places: dict[str, tuple[Files, str]]):
        self.places = {name: (files, place) for name, (files, place) in places.items() if files.exists(place)}
        self.listing = list(self.places)

    def enter(self, folder: PurePosixPath) -> None:
        """Refuse: there is nothing but the product."""
        raise NotImplementedError

    def label(self, name: str) -> str:  # noqa: D102
        files, place = self.places.get(name) or next(iter(self.places.values()))
        return files.label(place if name in self.places else name)

    def names(self) -> Iterator[str]:  # noqa: D102
        return iter(self.places)

    def exists(self, name: str) -> bool:  # noqa: D102
        return name in self.places

    def size(self, name: str) -> int:  # noqa: D102
        files, place = self.places[name]
        return files.size(place)

    def read(self, name: str) -> bytes:  # noqa: D102
        files, place = self.places[name]
        return files.read(place)

    def place(self, name: str) -> Path | None:  # noqa: D102
        files, place = self.places[name]
        return files.place(place)


class Compact(Safe):
    """What readers of other layouts have in common.

    A reader's `_opened` tells which documents are rewritten, or made where there is no file.
    """

    def __init__(self, path: Path, checksums: Setting = "ignore"):
        self._documents: dict[str, Callable[[], etree._Element]] = {}
        super().__init__(path)
        self.checksums = checksums  # not before: the manifest can be read when all names are known

    def _document(self, places: dict[str, tuple[Files, str]], name: str) -> Xml:
        """Return a document that is needed to know the names of all files."""
        self._files = Renamed(places)
        return Xml(super().xml(name), self.label(name))

    def names(self) -> list[str]:  # noqa: D102
        return sorted({*super().names(), *self._documents})

    def exists(self, name: str) -> bool:  # noqa: D102
        return name in self._documents or super().exists(name)

    def xml(self, name: str) -> etree._Element:
        """Return the root of a document as a compact SAFE has it; errors as of `Safe.xml`."""
        if name not in self._documents:
            return super().xml(name)
        root = self._documents[name]()
        root.getroottree().docinfo.URL = self.label(name)
        return root

    def _stored(self, name: str) -> etree._Element:
        """Return the root of a document as it is stored."""
        return super().xml(name)

    def _listed(self) -> dict[str, tuple[str, str]] | None:
        """Return the checksums that a manifest lists, by the names in a compact SAFE."""
        listed = super()._listed()
        assert isinstance(self._files, Renamed)
        places = {name: place for name, (_, place) in self._files.places.items()}
        return listed and {name: listed[place] for name, place in places.items() if place in listed}


def named(names: Names, files: Files, paths: Iterable[str]) -> dict[str, tuple[Files, str]]:
    """Return where those of some files are that a granule has, by their paths in a SAFE."""
    return {name: (files, path) for path in paths if (name := names.of(PurePosixPath(path)))}
