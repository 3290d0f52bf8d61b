"""Metadata of the L2A product: product, tile and datastrip XML, made from those of the L1C product.

What the two levels have in common is copied element by element; the order is that of ESA's product specification 14.8
(psd-14) and its successor (psd-15).
"""

import copy
from collections.abc import Mapping, Sequence

from lxml import etree

from steps.l2a.elements import (
    Auxiliary,
    Identity,
    add_section,
    auxiliary_parts,
    child,
    datatake,
    element,
    fill,
    l2a_root,
    quantification,
    reference_images,
    specification,
    text_of,
)
from steps.l2a.quality import content_percentages, retrieval_values
from steps.sentinel2 import names
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.scene_classes import CLOUD_HIGH, CLOUD_MEDIUM, SCL_CLASSES

#: Classes that the product metadata call otherwise than `SC_` and their name.
_CLASS_TEXT = {CLOUD_MEDIUM: "SC_CLOUD_MEDIUM_PROBA", CLOUD_HIGH: "SC_CLOUD_HIGH_PROBA"}


def product_metadata(
    l1c: etree._Element, identity: Identity, quality: QualityReport, auxiliary: Auxiliary
) -> etree._Element:
    """Return `MTD_MSIL2A.xml`.

    Parameters
    ----------
    l1c
        Root of `MTD_MSIL1C.xml`.
    identity
        Names of the L2A product.
    quality
        The quality report.
    auxiliary
        What the processing used.

    Raises
    ------
    StepError
        If the L1C metadata lack something.
    """
    root = l2a_root(l1c)
    general = child(l1c, "General_Info")
    characteristics = _characteristics(child(general, "Product_Image_Characteristics"), specification(l1c))
    add_section(root, general, _product_info(child(general, "Product_Info"), identity), characteristics)
    add_section(root, child(l1c, "Geometric_Info"), "Product_Footprint", "Coordinate_Reference_System")
    used = child(l1c, "Auxiliary_Data_Info")
    add_section(
        root,
        used,
        "GIPP_List",
        element("PRODUCTION_DEM_TYPE", auxiliary.dem),
        "IERS_BULLETIN_FILENAME",
        reference_images(used),
        "ECMWF_DATA_REF",
        "CAMS_DATA_REF",
        *auxiliary_parts(auxiliary),
    )
    indicators = child(l1c, "Quality_Indicators_Info")
    percentages = content_percentages(quality, specification(l1c))
    cloudy = percentages.pop("CLOUDY_PIXEL_PERCENTAGE")
    add_section(
        root,
        indicators,
        element("Cloud_Coverage_Assessment", cloudy),
        "Technical_Quality_Assessment",
        _quality_checks(child(indicators, "Quality_Control_Checks")),
        _content(percentages, quality),
    )
    return root


def _product_info(source: etree._Element, identity: Identity) -> etree._Element:
    images = [
        element("IMAGE_FILE", identity.image(layer, resolution).removesuffix(".jp2"))
        for resolution in RESOLUTIONS
        for layer in names.layers(resolution)
    ]
    granule = {"datastripIdentifier": identity.datastrip, "granuleIdentifier": identity.tile, "imageFormat": "JPEG2000"}
    return fill(
        element("Product_Info", []),
        source,
        "PRODUCT_START_TIME",
        "PRODUCT_STOP_TIME",
        element("PRODUCT_URI", identity.product + ".SAFE"),
        element("PROCESSING_LEVEL", "Level-2A"),
        element("PRODUCT_TYPE", "S2MSI2A"),
        element("PROCESSING_BASELINE", names.BASELINE),
        # ESA's DOI stands for ESA's products
        element("PRODUCT_DOI"),
        # of the L1C product: equal inputs make equal files
        "GENERATION_TIME",
        element("PREVIEW_IMAGE_URL", "Not applicable"),
        element("PREVIEW_GEO_INFO", "Not applicable"),
        datatake(child(source, "Datatake")),
        element("Query_Options", [element("PRODUCT_FORMAT", "SAFE_COMPACT")], completeSingleTile="true"),
        element("Product_Organisation", [element("Granule_List", [element("Granule", images, **granule)])]),
    )


def _characteristics(source: etree._Element, psd: int) -> etree._Element:
    dark = "SC_CAST_SHADOW" if psd == 15 else "SC_DARK_FEATURE_SHADOW"
    texts = {index: f"SC_{name}" for index, name in SCL_CLASSES.items()} | _CLASS_TEXT | {2: dark}
    classes = [
        element(
            "Scene_Classification_ID",
            [element("SCENE_CLASSIFICATION_TEXT", text), element("SCENE_CLASSIFICATION_INDEX", str(index))],
        )
        for index, text in texts.items()
    ]
    return fill(
        element("Product_Image_Characteristics", []),
        source,
        "Special_Values",
        "Image_Display_Order",
        *quantification(),
        "Reflectance_Conversion",
        "Spectral_Information_List",
        "PHYSICAL_GAINS",
        "REFERENCE_BAND",
        element("Scene_Classification_List", classes),
    )


def _quality_checks(source: etree._Element) -> etree._Element:
    """Return the L1C product's checks and our own; before 02.05 a check was an element `<NAME>_FLAG`."""
    checks = [
        element("quality_check", check.text, checkType=check.get("checkType", check.tag.removesuffix("_FLAG")))
        for check in child(source, "Quality_Inspections")
    ]
    checks.append(element("quality_check", "PASSED", checkType="L2A_QUALITY"))
    return fill(
        element("Quality_Control_Checks", [element("Quality_Inspections", checks)]), source, "Failed_Inspections"
    )


def _content(percentages: Mapping[str, str], quality: QualityReport) -> etree._Element:
    values = {**percentages, **retrieval_values(quality)}
    return element("Image_Content_QI", [element(name, value) for name, value in values.items()])


def tile_metadata(
    l1c: etree._Element, identity: Identity, quality: QualityReport, masks: Sequence[tuple[str, Mapping[str, str]]]
) -> etree._Element:
    """Return `MTD_TL.xml`; its geometry is that of the L1C tile.

    Parameters
    ----------
    l1c
        Root of the L1C tile metadata.
    identity, quality
        As for `product_metadata`.
    masks
        File name and attributes (`type`, `bandId`) of each mask in the product.

    Raises
    ------
    StepError
        If the L1C metadata lack something.
    """
    root = l2a_root(l1c)
    general = child(l1c, "General_Info")
    add_section(
        root,
        general,
        element("L1C_TILE_ID", text_of(general, "TILE_ID"), metadataLevel="Brief"),
        element("TILE_ID", identity.tile, metadataLevel="Brief"),
        element("DATASTRIP_ID", identity.datastrip, metadataLevel="Standard"),
        "DOWNLINK_PRIORITY",
        "SENSING_TIME",
        "Archiving_Info",
    )
    add_section(root, child(l1c, "Geometric_Info"), "Tile_Geocoding", "Tile_Angles")
    indicators = child(l1c, "Quality_Indicators_Info")
    degraded = text_of(indicators, "DEGRADED_MSI_DATA_PERCENTAGE")
    files = [element("MASK_FILENAME", f"{identity.granule}/QI_DATA/{name}", **kind) for name, kind in masks]
    add_section(
        root,
        indicators,
        _content(content_percentages(quality, specification(l1c), degraded), quality),
        element("Pixel_Level_QI", files, geometry="FULL_RESOLUTION"),
        element("PVI_FILENAME", identity.preview),
    )
    return root


def datastrip_metadata(l1c: etree._Element, identity: Identity, auxiliary: Auxiliary) -> etree._Element:
    """Return `MTD_DS.xml`, made from that of the L1C product; our tile is the only one it lists."""
    root = l2a_root(l1c)
    for source in l1c:
        if not source.tag.endswith("}Auxiliary_Data_Info"):
            add_section(root, source, *source)
    general, image = child(root, "General_Info"), child(root, "Image_Data_Info")
    _put(general, datatake(child(general, "Datatake_Info")))
    _put(general, _processing(child(general, "Processing_Info")))
    _put(image, _tiles(identity))
    radiometry = _optional(image, "Radiometric_Info")
    new = fill(
        element("Radiometric_Info", [], **radiometry.attrib),
        radiometry,
        "SWIR_REARRANGEMENT_PROC",
        "SATURATED_PIXELS_PROC",
        "Spectral_Information_List",
        "Image_Display_Order",
        *quantification(),
        "Reflectance_Conversion",
    )
    _put(image, new)
    used = _optional(l1c, "Auxiliary_Data_Info")
    add_section(
        root,
        used,
        "IERS_Bulletin",
        "GIPP_List",
        "ECMWF_DATA_REF",
        "CAMS_DATA_REF",
        element("PRODUCTION_DEM_TYPE", auxiliary.dem),
        "IERS_BULLETIN_FILENAME",
        reference_images(used),
        *auxiliary_parts(auxiliary),
    )
    return root


def smallest_datastrip(product: etree._Element, identity: Identity) -> etree._Element:
    """Return an `MTD_DS.xml` for a product that came without: what its own metadata (L1C) tell."""
    space = etree.QName(product).namespace.replace("User_Product_Level-1C", "S2_PDI_Level-1C_Datastrip_Metadata")
    root = l2a_root(etree.Element(f"{{{space}}}Level-1C_DataStrip_ID"))
    source = datatake(child(child(child(product, "General_Info"), "Product_Info"), "Datatake"))
    source.tag = "Datatake_Info"
    processing = element("Processing_Info", [element("UTC_DATE_TIME", text_of(product, "GENERATION_TIME"))])
    add_section(root, element("General_Info"), source, _processing(processing))
    add_section(root, element("Image_Data_Info"), _tiles(identity))
    return root


def _optional(parent: etree._Element, name: str) -> etree._Element:
    found = parent.find(f"{{*}}{name}")
    return element(name) if found is None else found


def _put(parent: etree._Element, new: etree._Element) -> None:
    old = parent.find(new.tag)
    if old is None:
        parent.append(new)
    else:
        parent.replace(old, new)


def _processing(source: etree._Element) -> etree._Element:
    return fill(
        element("Processing_Info", [], **source.attrib),
        source,
        element("PROCESSING_BASELINE", names.BASELINE),
        element("PRODUCT_DOI"),
        element("PROCESSING_CENTER", names.CENTRE),
        "UTC_DATE_TIME",
    )


def _tiles(identity: Identity) -> etree._Element:
    tiles = element("Tile_List", [element("Tile", tileId=identity.tile)])
    return element("Tiles_Information", [tiles], metadataLevel="Standard")


def inspire_metadata(l1c: etree._Element, l1c_product: str, identity: Identity, software: str) -> etree._Element:
    """Return `INSPIRE.xml`: that of the L1C product with the title and the lineage of ours."""
    root = copy.deepcopy(l1c)
    for text in root.iterfind(".//{*}title/{*}CharacterString"):
        if text.text and l1c_product in text.text:
            text.text = identity.product + ".SAFE"
    for text in root.iterfind(".//{*}lineage//{*}statement/{*}CharacterString"):
        text.text = f"Level-2A by {software} from {l1c_product}"
    return root
