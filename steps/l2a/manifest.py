"""`manifest.safe`: the list of a product's files with their sizes and checksums."""

import hashlib
from pathlib import Path

from lxml import etree

from steps.l2a.elements import child, element, text_of
from steps.sentinel2.satellites import code_of, satellite

_XFDU = "urn:ccsds:schema:xfdu:1"
_SAFE = "http://www.esa.int/safe/sentinel/1.1"
_GML = "http://www.opengis.net/gml"
#: International designators of the satellites.
#: Identifiers by which readers find the metadata files.
_KNOWN = {
    "MTD_MSIL2A.xml": "S2_Level-2A_Product_Metadata",
    "INSPIRE.xml": "INSPIRE_Metadata",
    "MTD_DS.xml": "S2_Level-2A_Datastrip1_Metadata",
    "MTD_TL.xml": "S2_Level-2A_Tile1_Metadata",
}


def manifest(safe: Path, product: etree._Element, orbit: int) -> etree._Element:
    """Return the manifest of a product folder.

    Parameters
    ----------
    safe
        The folder, complete but for the manifest.
    product
        Root of its `MTD_MSIL2A.xml`.
    orbit
        Absolute orbit number.
    """
    files = sorted((path for path in safe.rglob("*") if path.is_file()), key=lambda path: path.relative_to(safe).parts)
    objects = {path.relative_to(safe).as_posix(): _data_object(path, safe) for path in files}
    root = etree.Element(f"{{{_XFDU}}}XFDU", nsmap={"gml": _GML, "safe": _SAFE, "xfdu": _XFDU})
    root.set("version", "esa/safe/sentinel/1.1/sentinel-2/msi/archive_l2a_user_product")
    metadata = [_wrapped(*part) for part in description(product, orbit)]
    for name, identifier in _KNOWN.items():
        if any(path.endswith(name) for path in objects):
            pointer = element("dataObjectPointer", dataObjectID=identifier)
            metadata.append(_metadata_object(f"{identifier}_Information", "DMD", "DESCRIPTION", pointer))
    root.append(element("informationPackageMap", [_content(objects)]))
    root.append(element("metadataSection", metadata))
    root.append(element("dataObjectSection", objects.values()))
    return root


def _identifier(path: Path) -> str:
    if path.name in _KNOWN:
        return _KNOWN[path.name]
    part = "Datastrip1" if "DATASTRIP" in path.parts else "Tile1"
    return f"{path.stem}_{part}_Data"


def _data_object(path: Path, safe: Path) -> etree._Element:
    name = path.relative_to(safe)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha3_256").hexdigest().upper()
    mime = "application/octet-stream" if path.suffix != ".xml" else "application/xml"
    if len(name.parts) == 1:
        mime = "text/xml"
    location = element("fileLocation", href=f"./{name.as_posix()}", locatorType="URL")
    parts = [location, element("checksum", checksum, checksumName="SHA3-256")]
    stream = element("byteStream", parts, mimeType=mime, size=str(path.stat().st_size))
    return element("dataObject", [stream], ID=_identifier(name))


def _unit(identifier: str, /, *parts: etree._Element, **attributes: str) -> etree._Element:
    return element(f"{{{_XFDU}}}contentUnit", parts, ID=identifier, **attributes)


def _content(objects: dict[str, etree._Element]) -> etree._Element:
    """Return the tree of content units: the product's files, those of the datastrip, those of the tile."""
    groups: dict[str, list[etree._Element]] = {"": [], "DATASTRIP": [], "GRANULE": []}
    for path, entry in objects.items():
        kind = "Metadata Unit" if path.endswith(tuple(_KNOWN)) else "Measurement Data Unit"
        pointer = element("dataObjectPointer", dataObjectID=entry.get("ID"))
        folder = path.partition("/")[0] if "/" in path else ""
        groups[folder].append(_unit(f"{entry.get('ID')}_Unit", pointer, unitType=kind))
    datastrip = _unit("Datastrip1", *groups["DATASTRIP"], textInfo="Datastrip Container")
    tile = _unit("Tile1", *groups["GRANULE"], textInfo="Tile Container")
    return _unit(
        "Product",
        *groups[""],
        _unit("Datastrips", datastrip, textInfo="Datastrips Container"),
        _unit("Tiles", tile, textInfo="Tiles Container"),
        dmdID="acquisitionPeriod platform",
        pdiID="processing",
        textInfo="SENTINEL-2 MSI Level-2A User Product",
        unitType="Product_Level-2A",
    )


def _metadata_object(identifier: str, category: str, kind: str, content: etree._Element) -> etree._Element:
    return element("metadataObject", [content], ID=identifier, category=category, classification=kind)


def _wrapped(identifier: str, text: str, content: etree._Element) -> etree._Element:
    attributes = {"mimeType": "text/xml", "textInfo": text, "vocabularyName": "Sentinel-SAFE"}
    wrap = element("metadataWrap", [element("xmlData", [content])], **attributes)
    kind = ("PDI", "PROVENANCE") if identifier == "processing" else ("DMD", "DESCRIPTION")
    return _metadata_object(identifier, *kind, wrap)


def _safe(name: str, content="", /, **attributes: str) -> etree._Element:
    return element(f"{{{_SAFE}}}{name}", content, **attributes)


def description(product: etree._Element, orbit: int) -> list[tuple[str, str, etree._Element]]:
    """Return identifier, title and element of each part of the manifest that describes the product as a whole.

    Parameters
    ----------
    product, orbit
        As for `manifest`.

    Raises
    ------
    StepError
        If the product's metadata lack something.
    """
    info = child(child(product, "General_Info"), "Product_Info")
    spacecraft = text_of(info, "SPACECRAFT_NAME")
    designator = satellite(code_of(spacecraft) or "").designator
    direction = {"groundTrackDirection": text_of(info, "SENSING_ORBIT_DIRECTION").lower(), "type": "start"}
    platform = [
        _safe("familyName", "SENTINEL"),
        _safe("number", spacecraft.removeprefix("Sentinel-")),
        _safe("instrument", [_safe("familyName", "Multi-Spectral Instrument", abbreviation="MSI")]),
    ]
    if designator:
        platform.insert(0, _safe("nssdcIdentifier", designator))
    orbits = [
        _safe("orbitNumber", f"{orbit:06}", **direction),
        _safe("relativeOrbitNumber", text_of(info, "SENSING_ORBIT_NUMBER"), type="start"),
    ]
    corners = element(f"{{{_GML}}}coordinates", text_of(product, "EXT_POS_LIST"))
    footprint = _safe("footPrint", [corners], srsName="http://www.opengis.net/gml/srs/epsg.xml#4326")
    start = _safe("startTime", text_of(info, "PRODUCT_START_TIME"))
    processing = {"name": "Generation of Level-2A User Product", "start": text_of(info, "GENERATION_TIME")}
    return [
        ("acquisitionPeriod", "Acquisition Period", _safe("acquisitionPeriod", [start])),
        ("measurementOrbitReference", "Orbit Reference", _safe("orbitReference", orbits)),
        ("platform", "Platform Description", _safe("platform", platform)),
        ("processing", "Processing", _safe("processing", **processing)),
        ("measurementFrameSet", "Frame Set", _safe("frameSet", [footprint])),
    ]
