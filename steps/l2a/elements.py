"""What the metadata files of the L2A product share: names, and the making of an L2A document from an L1C one.

Sections of a document have a namespace, the elements in them have none.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lxml import etree

from steps.core.errors import StepError
from steps.l1c.documents import element, schema
from steps.l1c.files import AGAIN
from steps.sentinel2 import names
from steps.sentinel2.kinds import REFLECTANCE_ZERO

#: A part of a section: a new element, or the name of elements to copy from the L1C section.
Part: TypeAlias = str | etree._Element

#: Reflectance = (stored number + offset) / 10000.
_OFFSET = -REFLECTANCE_ZERO


@dataclass(frozen=True)
class Identity:
    """What the L2A product, its tile and its datastrip are called.

    Attributes
    ----------
    product
        Name without `.SAFE`.
    tile, datastrip
        Identifiers.
    granule
        Path of the granule's folder in the product.
    prefix
        What image files begin with.
    """

    product: str
    tile: str
    datastrip: str
    granule: str
    prefix: str

    @classmethod
    def of(cls, l1c_product: str, l1c_granule: str, l1c_tile_root: etree._Element) -> "Identity":
        """Derive the names from those of the L1C product, its granule's folder name and its tile metadata."""
        return cls(
            product=names.l2a_name(l1c_product),
            tile=names.l2a_identifier(text_of(l1c_tile_root, "TILE_ID")),
            datastrip=names.l2a_identifier(text_of(l1c_tile_root, "DATASTRIP_ID")),
            granule=f"GRANULE/{l1c_granule.replace('L1C_', 'L2A_', 1)}",
            prefix=names.image_prefix(l1c_product),
        )

    def image(self, layer: str, resolution: int) -> str:
        """Return the path of an image in the product."""
        return f"{self.granule}/IMG_DATA/R{resolution}m/{self.prefix}_{layer}_{resolution}m.jp2"

    @property
    def orbit(self) -> int:
        """Absolute orbit number."""
        return int(self.tile.rpartition("_A")[2][:6])

    @property
    def preview(self) -> str:
        """Path of the preview image in the product."""
        return f"{self.granule}/QI_DATA/{self.prefix}_PVI.jp2"


@dataclass(frozen=True)
class Auxiliary:
    """Names of what the processing used beside the product itself; "None" where it used nothing.

    Attributes
    ----------
    lut
        Look-up tables of the atmosphere.
    dem
        Elevation model.
    water_bodies, land_cover, snow_condition
        Maps of the scene classification.
    """

    lut: Sequence[str] = ("None",)
    dem: str = "None"
    water_bodies: str = "None"
    land_cover: str = "None"
    snow_condition: str = "None"


def serialise(root: etree._Element) -> bytes:
    """Return the bytes of a document, the same for the same tree."""
    etree.cleanup_namespaces(root)
    etree.indent(root, "  ")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def child(parent: etree._Element, name: str) -> etree._Element:
    """Return the first child called `name`, in whatever namespace; raise `StepError` if there is none."""
    found = parent.find(f"{{*}}{name}")
    if found is None:
        raise StepError(f"{_place(parent)} has no {name}; {AGAIN}")
    return found


def text_of(root: etree._Element, name: str) -> str:
    """Return the text of the first element called `name` at any depth; raise `StepError` if there is none."""
    text = root.findtext(f".//{name}")
    if text is None:
        raise StepError(f"{_place(root)} has no {name}; {AGAIN}")
    return text.strip()


def _place(element: etree._Element) -> str:
    """Return the file and the name of an element, for messages."""
    file = element.getroottree().docinfo.URL
    return f"{file}: {etree.QName(element).localname}" if file else etree.QName(element).localname


def specification(l1c_root: etree._Element) -> int:
    """Return the number of the product specification to write: 15 where the L1C product has it, else 14."""
    return 15 if schema(l1c_root)[0] >= 15 else 14


def l2a_root(l1c_root: etree._Element) -> etree._Element:
    """Return the empty root of the L2A document that corresponds to an L1C document."""
    document = schema(l1c_root)[1].replace("Level-1C", "Level-2A")
    namespace = f"https://psd-{specification(l1c_root)}.sentinel2.eo.esa.int/PSD/{document}"
    name = etree.QName(l1c_root).localname.replace("Level-1C", "Level-2A")
    # readers look for the prefix n1
    root = etree.Element(f"{{{namespace}}}{name}", nsmap={"n1": namespace})
    # messages name the file from which what is missing should have come
    root.getroottree().docinfo.URL = l1c_root.getroottree().docinfo.URL
    return root


def add_section(root: etree._Element, l1c_section: etree._Element, *parts: Part) -> None:
    """Add the section that corresponds to one of the L1C document to the root, filled with parts."""
    tag = f"{{{etree.QName(root).namespace}}}{etree.QName(l1c_section).localname}"
    fill(etree.SubElement(root, tag, dict(l1c_section.attrib)), l1c_section, *parts)


def fill(target: etree._Element, source: etree._Element, *parts: Part) -> etree._Element:
    """Add parts in their order: an element as it is, a name as copies of the source's children of that name."""
    for part in parts:
        target.extend(copy.deepcopy(source.findall(part)) if isinstance(part, str) else [part])
    return target


def datatake(source: etree._Element) -> etree._Element:
    """Return a copy of `Datatake` or `Datatake_Info` with our baseline in its identifier."""
    result = copy.deepcopy(source)
    result.set("datatakeIdentifier", source.get("datatakeIdentifier", "").rpartition("_N")[0] + f"_N{names.BASELINE}")
    return result


def quantification() -> list[etree._Element]:
    """Return the scale of reflectance, AOT and water vapour and the offset of reflectance, also of the lost B10."""
    values = (("BOA", "none", "10000"), ("AOT", "none", "1000.0"), ("WVP", "cm", "1000.0"))
    scales = [element(f"{name}_QUANTIFICATION_VALUE", value, unit=unit) for name, unit, value in values]
    offsets = [element("BOA_ADD_OFFSET", str(_OFFSET), band_id=str(i)) for i in range(13)]
    return [element("QUANTIFICATION_VALUES_LIST", scales), element("BOA_ADD_OFFSET_VALUES_LIST", offsets)]


def auxiliary_parts(auxiliary: Auxiliary) -> list[etree._Element]:
    """Return the files of our processing, as `Auxiliary_Data_Info` ends with them."""
    return [
        element("LUT_List", [element("LUT_FILENAME", name) for name in auxiliary.lut]),
        element("SNOW_CLIMATOLOGY_MAP", "None"),
        element("ESACCI_WaterBodies_Map", auxiliary.water_bodies),
        element("ESACCI_LandCover_Map", auxiliary.land_cover),
        element("ESACCI_SnowCondition_Map_Dir", auxiliary.snow_condition),
    ]


def reference_images(source: etree._Element) -> etree._Element:
    """Return `GRI_List` of `Auxiliary_Data_Info`; before 02.05 the file names stood there without a list."""
    return fill(element("GRI_List", []), source, "GRI_FILENAME", *source.findall("GRI_List/GRI_FILENAME"))
