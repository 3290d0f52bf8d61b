"""Reader of a tile's folder in the layout of the AWS bucket `sentinel-s2-l1c`: `tiles/31/T/CJ/2024/3/5/0`.

What a product tells as a whole lies elsewhere in the bucket: `products/2024/3/5/<name>/metadata.xml`. It is found there
in a copy of the bucket, or in the tile's folder as `product_metadata.xml`, or in the folder above. Where it is missing,
it is made of `productInfo.json` and of what all products of the satellite and baseline have in common.
"""

import datetime as dt
import re
from pathlib import Path

from lxml import etree

from steps.core.errors import StepError
from steps.l1c.compact import Compact, Names, Renamed, footprint, named
from steps.l1c.documents import Xml, element, read_json
from steps.l1c.files import AGAIN, Files, Folder
from steps.l1c.safe import PRODUCT_XML
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.baselines import FIRST_WITH_OFFSET, NEWEST_BASELINE
from steps.sentinel2.names import product_parts
from steps.sentinel2.satellites import platform

#: Solar irradiance of the bands as products of each satellite have it, W/m2/um, and gain, DN per W/m2/sr/um.
_IRRADIANCE = {
    "S2A": "1884.69 1959.66 1823.24 1512.06 1424.64 1287.61 1162.08 1041.63 955.32 812.92 367.15 245.59 85.25",
    "S2B": "1874.3 1959.75 1824.93 1512.79 1425.78 1291.13 1175.57 1041.28 953.93 817.58 365.41 247.08 87.75",
}
_GAIN = {
    "S2A": "4.105 3.749 4.174 4.505 5.185 4.849 4.51 6.128 5.109 8.484 54.791 35.111 106.22",
    "S2B": "3.954 3.811 4.225 4.761 5.169 5.078 4.755 6.809 5.748 9.352 56.511 37.207 108.567",
}
#: Reflectance = (digital number + offset) / quantification; without an offset before baseline 04.00.
_OFFSET = -1000
_QUANTIFICATION = 10000
_TILE = "tileInfo.json"
_PRODUCT = "productInfo.json"


class AwsTile(Compact):
    """The files of a tile's folder, and of the product's and the datastrip's folders where they are."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Tell whether a path is such a folder."""
        return all((path / name).is_file() for name in (_TILE, "metadata.xml"))

    def _opened(self) -> Files:
        files, product_info = Folder(self.path), self._product_info()
        places: dict[str, tuple[Files, str]] = {"MTD_TL.xml": (files, "metadata.xml")}
        if product := self._product(product_info):
            places[PRODUCT_XML] = (Folder(product.parent), product.name)
        tile = self._document(places, "MTD_TL.xml")
        if product:
            told = self._document(places, PRODUCT_XML)
            datatake = told.section(".//{*}Datatake").get("datatakeIdentifier", "")
            orbit, baseline = told.whole(".//{*}SENSING_ORBIT_NUMBER"), told.text(".//{*}PROCESSING_BASELINE")
        else:
            parts = self._parts(product_info)
            datatake = str(product_info.get("datatakeIdentifier", ""))
            orbit, baseline = int(parts["relative_orbit"]), parts["baseline"]
        names = Names(tile, datatake, orbit, baseline)
        if product_parts(name := str(product_info["name"])):
            names.product = name
        tile_xml = f"{names.granule}/MTD_TL.xml"
        places[tile_xml] = places.pop("MTD_TL.xml")
        strips = product_info.get("datastrips") or [{}]
        if strip := self._elsewhere(f"{strips[0].get('path')}/metadata.xml"):
            places[f"{names.datastrip}/MTD_DS.xml"] = (Folder(strip.parent), strip.name)
        self._documents = {
            PRODUCT_XML: lambda: (
                names.product_document(self._stored(PRODUCT_XML), tile) if product else _made(names, product_info, tile)
            ),
            tile_xml: lambda: names.tile_document(self._stored(tile_xml)),
        }
        return Renamed(places | named(names, files, files.names()))

    def unverified(self) -> tuple[str, ...]:
        """Return a sentence on checksums, which the bucket has none of, and one if the product's metadata are made."""
        assert isinstance(self._files, Renamed)
        found = super().unverified()
        if PRODUCT_XML in self._files.places:
            return found
        return (*found, "Product metadata: missing; made of productInfo.json, with its satellite's usual responses.")

    def _product_info(self) -> dict:
        """Return what `productInfo.json` tells, in the tile's folder or the product's."""
        about = read_json(self.path / _TILE)
        path = self._elsewhere(f"{about.get('productPath')}/{_PRODUCT}")
        found = next((p for p in (self.path / _PRODUCT, self.path.parent / _PRODUCT, path) if p and p.is_file()), None)
        product_info = read_json(found) if found else {}
        if not product_info.get("name") and not about.get("productName"):
            raise StepError(f"{self.path}: has neither {_PRODUCT} nor the product's name in {_TILE}; {AGAIN}")
        return {"name": about.get("productName"), "path": about.get("productPath")} | product_info

    def _product(self, product_info: dict) -> Path | None:
        """Return the metadata of the product, None if they are not there."""
        places = (
            self.path / "product_metadata.xml",
            self.path.parent / "metadata.xml",
            self._elsewhere(f"{product_info.get('path')}/metadata.xml"),
        )
        return next((place for place in places if place and place.is_file()), None)

    def _elsewhere(self, place: str) -> Path | None:
        """Return a file of the bucket that the tile's folder is a copy of a part of, None if it is not there."""
        folder = self.path.absolute()
        if (
            place.startswith("/")
            or ".." in place.split("/")
            or len(folder.parents) < 8
            or folder.parents[6].name != "tiles"
        ):
            return None
        path = folder.parents[7] / place
        return path if path.is_file() else None

    def _parts(self, product_info: dict) -> dict[str, str]:
        if not (parts := product_parts(str(product_info["name"]))):
            raise StepError(
                f"{self.path}: '{product_info['name']!s:.80}' is of the time before December 2016; put the product's "
                "metadata.xml (in `products/` of the bucket) beside its files as product_metadata.xml"
            )
        return parts


def _made(names: Names, product_info: dict, tile: Xml) -> etree._Element:
    """Return product metadata from what the name, `productInfo.json` and the satellite tell.

    Raises
    ------
    StepError
        If the satellite's responses are not known, or the baseline is newer than any known.
    """
    from steps.sentinel2.geometry import earth_sun_factor

    parts = product_parts(names.product) or {}
    baseline = f"{parts['baseline'][:2]}.{parts['baseline'][2:]}"
    if parts["satellite"] not in _IRRADIANCE or baseline > NEWEST_BASELINE:
        raise tile.wrong(
            f"spectral responses of {parts['satellite']} and offsets of baseline {baseline} are not known here; put "
            "the product's metadata.xml (in `products/` of the bucket) beside it as product_metadata.xml"
        )
    start = str(product_info.get("timestamp", ""))
    created = re.sub(r"(....)(..)(..T..)(..)(..)", r"\1-\2-\3:\4:\5.000Z", parts["discriminator"])
    space = "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd"
    root = etree.Element(f"{{{space}}}Level-1C_User_Product", nsmap={"n1": space})
    datatake = [
        element("SPACECRAFT_NAME", f"Sentinel-{platform(parts['satellite'])[-2:].upper()}"),
        element("DATATAKE_SENSING_START", start),
        element("SENSING_ORBIT_NUMBER", str(int(parts["relative_orbit"]))),
        element("SENSING_ORBIT_DIRECTION", "DESCENDING"),  # by night no Level-1C products are made
    ]
    info = [
        element("PRODUCT_START_TIME", start),
        element("PRODUCT_STOP_TIME", start),
        element("PRODUCT_URI", f"{names.product}.SAFE"),
        element("PROCESSING_LEVEL", "Level-1C"),
        element("PRODUCT_TYPE", "S2MSI1C"),
        element("PROCESSING_BASELINE", baseline),
        element("GENERATION_TIME", created),
        element("Datatake", datatake, datatakeIdentifier=str(product_info.get("datatakeIdentifier"))),
        element("Product_Organisation", [names.granules()]),
    ]
    factor = earth_sun_factor(_time(tile, start))
    general = [element("Product_Info", info), _characteristics(parts["satellite"], baseline, factor)]
    area = element("Product_Footprint", [element("Global_Footprint", [element("EXT_POS_LIST", footprint(tile))])])
    cloudy = tile.root.findtext(".//{*}CLOUDY_PIXEL_PERCENTAGE") or "0"
    checks = element("Quality_Control_Checks", [element("Quality_Inspections", [])])
    for name, children in (
        ("General_Info", general),
        ("Geometric_Info", [element("Product_Footprint", [area])]),
        ("Auxiliary_Data_Info", []),
        ("Quality_Indicators_Info", [element("Cloud_Coverage_Assessment", cloudy), checks]),
    ):
        etree.SubElement(root, f"{{{space}}}{name}").extend(children)
    return root


def _time(tile: Xml, text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise tile.wrong(f"the timestamp in {_PRODUCT} is '{text:.40}', which is no time") from error


def _characteristics(satellite: str, baseline: str, factor: float) -> etree._Element:
    from steps.sentinel2.responses import reference_response

    def each(name: str, values: list[str], key: str = "bandId", **attributes: str) -> list[etree._Element]:
        return [element(name, v, **{key: str(i)}, **attributes) for i, v in enumerate(values)]

    special = [
        element("Special_Values", [element("SPECIAL_VALUE_TEXT", text), element("SPECIAL_VALUE_INDEX", str(value))])
        for text, value in (("NODATA", 0), ("SATURATED", 65535))
    ]
    order = zip(("RED", "GREEN", "BLUE"), (3, 2, 1), strict=True)
    display = [element(f"{colour}_CHANNEL", str(band)) for colour, band in order]
    offsets = [element("Radiometric_Offset_List", each("RADIO_ADD_OFFSET", [str(_OFFSET)] * len(BANDS), "band_id"))]
    irradiances = each("SOLAR_IRRADIANCE", _IRRADIANCE[satellite].split(), unit="W/m²/µm")
    reflectance = [element("U", f"{factor:.8f}"), element("Solar_Irradiance_List", irradiances)]
    spectra = []
    for index, band in enumerate(BANDS):
        response = reference_response(satellite, band)
        centre = sum(w * v for w, v in zip(response.wavelength, response.values, strict=True)) / sum(response.values)
        limits = {"MIN": response.wavelength[0], "MAX": response.wavelength[-1], "CENTRAL": centre}
        values = " ".join(f"{value:g}" for value in response.values)
        curve = [element("STEP", f"{response.step:g}", unit="nm"), element("VALUES", values)]
        parts = [
            element("RESOLUTION", str(PIXEL_SIZE[band])),
            element("Wavelength", [element(name, f"{value:.1f}", unit="nm") for name, value in limits.items()]),
            element("Spectral_Response", curve),
        ]
        spectra.append(element("Spectral_Information", parts, bandId=str(index), physicalBand=band.replace("B0", "B")))
    return element(
        "Product_Image_Characteristics",
        [
            *special,
            element("Image_Display_Order", display),
            element("QUANTIFICATION_VALUE", str(_QUANTIFICATION), unit="none"),
            *(offsets if baseline >= FIRST_WITH_OFFSET else ()),
            element("Reflectance_Conversion", reflectance),
            element("Spectral_Information_List", spectra),
            *each("PHYSICAL_GAINS", _GAIN[satellite].split()),
        ],
    )
