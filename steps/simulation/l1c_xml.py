"""The XML documents of an L1C product that is made here, but for those of its tile (`steps.simulation.l1c_tile_xml`).

They hold what a processor reads and what the schemas of the L2A product need.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
from lxml import etree
from lxml.builder import ElementMaker

from steps.core.rasters import Grid
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.footprint import corners
from steps.sentinel2.geometry import earth_sun_factor
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO
from steps.sentinel2.responses import reference_response
from steps.simulation.acquisition import Acquisition, utc

#: Solar irradiance of Sentinel-2A's bands, W/m2/um, from its products.
IRRADIANCE = {
    "B01": 1884.69,
    "B02": 1959.66,
    "B03": 1823.24,
    "B04": 1512.06,
    "B05": 1424.64,
    "B06": 1287.61,
    "B07": 1162.08,
    "B08": 1041.63,
    "B8A": 955.32,
    "B09": 812.92,
    "B10": 367.15,
    "B11": 245.59,
    "B12": 85.25,
}
#: Gain of the same, digital numbers per W/m2/sr/um.
_GAIN = {
    "B01": 4.105,
    "B02": 3.749,
    "B03": 4.174,
    "B04": 4.505,
    "B05": 5.185,
    "B06": 4.849,
    "B07": 4.51,
    "B08": 6.128,
    "B8A": 5.109,
    "B09": 8.484,
    "B10": 54.791,
    "B11": 35.111,
    "B12": 106.22,
}

E = ElementMaker()


def serialise(element: etree._Element) -> bytes:
    """Return an XML document as bytes."""
    return etree.tostring(element, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def element(tag: str, value, **attributes) -> etree._Element:
    """Return an element that holds a value as text."""
    return E(tag, str(value), attributes)


def root(namespace: str, tag: str, *sections: etree._Element) -> etree._Element:
    """Make a root element; it and its sections are in the namespace, what they hold is not."""
    make = ElementMaker(namespace=namespace, nsmap={"n1": namespace})
    return make(tag, *(make(section.tag, *section, dict(section.attrib)) for section in sections))


def _position_text(grid: Grid) -> str:
    return " ".join(f"{latitude} {longitude}" for latitude, longitude in corners(grid))


def _spectral_information(scene: Acquisition, band: str) -> etree._Element:
    response = reference_response(scene.satellite, band)
    nanometres, values = response.wavelength, np.array(response.values)
    return E.Spectral_Information(
        element("RESOLUTION", PIXEL_SIZE[band]),
        E.Wavelength(
            element("MIN", f"{nanometres[0]:g}", unit="nm"),
            element("MAX", f"{nanometres[-1]:g}", unit="nm"),
            element("CENTRAL", f"{(nanometres * values).sum() / values.sum():.1f}", unit="nm"),
        ),
        E.Spectral_Response(
            element("STEP", f"{response.step:g}", unit="nm"), E.VALUES(" ".join(f"{v:.9g}" for v in values))
        ),
        bandId=str(BANDS.index(band)),
        physicalBand=band.replace("B0", "B"),
    )


def _datatake(scene: Acquisition) -> list[etree._Element]:
    return [
        E.SPACECRAFT_NAME(f"Sentinel-{scene.satellite[1:]}"),
        E.DATATAKE_TYPE("INS-NOBS"),
        E.DATATAKE_SENSING_START(utc(scene.datatake_start)),
        element("SENSING_ORBIT_NUMBER", scene.relative_orbit),
        E.SENSING_ORBIT_DIRECTION("DESCENDING"),
    ]


def _product_info(scene: Acquisition, uri: str) -> etree._Element:
    images = [E.IMAGE_FILE(scene.image_path(layer)) for layer in (*BANDS, "TCI")]
    identity = {"datastripIdentifier": scene.datastrip_id, "granuleIdentifier": scene.tile_id}
    return E.Product_Info(
        E.PRODUCT_START_TIME(utc(scene.datatake_start)),
        E.PRODUCT_STOP_TIME(utc(scene.datatake_start)),
        E.PRODUCT_URI(uri),
        E.PROCESSING_LEVEL("Level-1C"),
        E.PRODUCT_TYPE("S2MSI1C"),
        E.PROCESSING_BASELINE(scene.baseline),
        E.GENERATION_TIME(utc(scene.creation_time)),
        E.PREVIEW_IMAGE_URL("Not applicable"),
        E.PREVIEW_GEO_INFO("Not applicable"),
        E.Datatake(*_datatake(scene), datatakeIdentifier=scene.datatake_id),
        E.Query_Options(E.PRODUCT_FORMAT("SAFE_COMPACT"), completeSingleTile="true"),
        E.Product_Organisation(E.Granule_List(E.Granule(*images, identity, imageFormat="JPEG2000"))),
    )


def _radiometry(scene: Acquisition) -> list[etree._Element]:
    """Make what the metadata of product and datastrip both have, in the order of the latter."""
    irradiance = [
        element("SOLAR_IRRADIANCE", IRRADIANCE[band], bandId=str(i), unit="W/m²/µm") for i, band in enumerate(BANDS)
    ]
    return [
        E.Spectral_Information_List(*(_spectral_information(scene, band) for band in BANDS)),
        E.Image_Display_Order(E.RED_CHANNEL("3"), E.GREEN_CHANNEL("2"), E.BLUE_CHANNEL("1")),
        element("QUANTIFICATION_VALUE", REFLECTANCE_ONE, unit="none"),
        E.Reflectance_Conversion(
            element("U", f"{earth_sun_factor(scene.datatake_start):.6f}"), E.Solar_Irradiance_List(*irradiance)
        ),
    ]


def _image_characteristics(scene: Acquisition) -> etree._Element:
    special = [
        E.Special_Values(E.SPECIAL_VALUE_TEXT(name), element("SPECIAL_VALUE_INDEX", number))
        for name, number in (("NODATA", 0), ("SATURATED", 65535))
    ]
    spectral, *others = _radiometry(scene)
    gains = [element("PHYSICAL_GAINS", _GAIN[band], bandId=str(i)) for i, band in enumerate(BANDS)]
    offsets = [element("RADIO_ADD_OFFSET", -REFLECTANCE_ZERO, band_id=str(i)) for i in range(len(BANDS))]
    adding = [E.Radiometric_Offset_List(*offsets)] if scene.has_offset else []
    return E.Product_Image_Characteristics(*special, *others, *adding, spectral, *gains)


def _auxiliary() -> list[etree._Element]:
    return [
        E.GIPP_List(element("GIPP_FILENAME", "GIPP.tar", type="GIP_PROBAS", version="0204")),
        E.PRODUCTION_DEM_TYPE("None"),
        E.IERS_BULLETIN_FILENAME("None"),
        E.GRI_List(),
    ]


def product_metadata(scene: Acquisition, grid: Grid, uri: str) -> etree._Element:
    """Build MTD_MSIL1C.xml.

    Parameters
    ----------
    scene
        Of the product.
    grid
        Of the tile, at 10 m.
    uri
        Name of the product's folder.
    """
    # The two footprint elements of the same name, one in the other, are the format's.
    extent = E.Product_Footprint(E.Global_Footprint(E.EXT_POS_LIST(_position_text(grid))))
    checks = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")
    return root(
        "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd",
        "Level-1C_User_Product",
        E.General_Info(_product_info(scene, uri), _image_characteristics(scene)),
        E.Geometric_Info(
            E.Product_Footprint(extent, E.RASTER_CS_TYPE("POINT"), E.PIXEL_ORIGIN("1")),
            E.Coordinate_Reference_System(
                element("GEO_TABLES", "EPSG", version="1"), E.HORIZONTAL_CS_TYPE("GEOGRAPHIC")
            ),
        ),
        E.Auxiliary_Data_Info(*_auxiliary()),
        E.Quality_Indicators_Info(
            E.Cloud_Coverage_Assessment("0.0"),
            E.Technical_Quality_Assessment(E.DEGRADED_ANC_DATA_PERCENTAGE("0"), E.DEGRADED_MSI_DATA_PERCENTAGE("0")),
            E.Quality_Control_Checks(
                E.Quality_Inspections(*(element("quality_check", "PASSED", checkType=check) for check in checks)),
                E.Failed_Inspections(),
            ),
        ),
    )


def datastrip_metadata(scene: Acquisition) -> etree._Element:
    """Build MTD_DS.xml, only with what is known: the schema's telemetry of satellite and camera is not."""
    return root(
        "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Datastrip_Metadata.xsd",
        "Level-1C_DataStrip_ID",
        E.General_Info(
            E.Datatake_Info(*_datatake(scene), datatakeIdentifier=scene.datatake_id, metadataLevel="Brief"),
            E.Datastrip_Time_Info(
                E.DATASTRIP_SENSING_START(utc(scene.sensing_time)),
                E.DATASTRIP_SENSING_STOP(utc(scene.sensing_time)),
                metadataLevel="Brief",
            ),
            E.Processing_Info(
                E.PROCESSING_BASELINE(scene.baseline),
                E.PROCESSING_CENTER("S2FL"),
                E.UTC_DATE_TIME(f"{scene.creation_time:%Y-%m-%dT%H:%M:%SZ}"),
                metadataLevel="Expertise",
            ),
        ),
        E.Image_Data_Info(
            E.Tiles_Information(E.Tile_List(E.Tile(tileId=scene.tile_id)), metadataLevel="Standard"),
            E.Radiometric_Info(*_radiometry(scene), metadataLevel="Standard"),
        ),
        E.Auxiliary_Data_Info(*_auxiliary(), metadataLevel="Standard"),
    )


def inspire(scene: Acquisition, grid: Grid, uri: str) -> etree._Element:
    """Build INSPIRE.xml: a short ISO 19139 record of title, extent and time."""
    gmd_ns, gco_ns = "http://www.isotc211.org/2005/gmd", "http://www.isotc211.org/2005/gco"
    gmd = ElementMaker(namespace=gmd_ns, nsmap={"gmd": gmd_ns, "gco": gco_ns})
    gco = ElementMaker(namespace=gco_ns)

    def text(tag: str, value: str):
        return gmd(tag, gco.CharacterString(value))

    def contact(tag: str):
        role = gmd.CI_RoleCode("pointOfContact", codeList="#CI_RoleCode", codeListValue="pointOfContact")
        return gmd(tag, gmd.CI_ResponsibleParty(text("organisationName", "Sen2Flow"), gmd.role(role)))

    latitude, longitude = zip(*corners(grid), strict=True)
    bounds = {"west": min(longitude), "east": max(longitude), "south": min(latitude), "north": max(latitude)}
    box = [
        gmd(f"{side}Bound{'Longitude' if side in ('west', 'east') else 'Latitude'}", gco.Decimal(str(value)))
        for side, value in bounds.items()
    ]
    date = gmd.CI_Date(
        gmd.date(gco.Date(f"{scene.creation_time:%Y-%m-%d}")),
        gmd.dateType(gmd.CI_DateTypeCode("creation", codeList="#CI_DateTypeCode", codeListValue="creation")),
    )
    return gmd.MD_Metadata(
        text("fileIdentifier", uri),
        contact("contact"),
        gmd.dateStamp(gco.Date(f"{scene.creation_time:%Y-%m-%d}")),
        gmd.identificationInfo(
            gmd.MD_DataIdentification(
                gmd.citation(gmd.CI_Citation(text("title", uri), gmd.date(date))),
                text("abstract", scene.abstract),
                contact("pointOfContact"),
                text("language", "eng"),
                gmd.extent(gmd.EX_Extent(gmd.geographicElement(gmd.EX_GeographicBoundingBox(*box)))),
            )
        ),
    )


def manifest(scene: Acquisition, folder: Path, grid: Grid) -> etree._Element:
    """Build manifest.safe, with size and SHA3-256 checksum of every file in the folder, in the order of their paths."""
    xfdu_ns, safe_ns = "urn:ccsds:schema:xfdu:1", "http://www.esa.int/safe/sentinel/1.1"
    gml_ns = "http://www.opengis.net/gml"
    xfdu = ElementMaker(namespace=xfdu_ns, nsmap={"gml": gml_ns, "safe": safe_ns, "xfdu": xfdu_ns})
    safe, gml = (ElementMaker(namespace=n) for n in (safe_ns, gml_ns))

    def wrapped(identifier: str, content: etree._Element, category: str = "DMD", kind: str = "DESCRIPTION"):
        wrap = E.metadataWrap(E.xmlData(content), mimeType="text/xml", vocabularyName="Sentinel-SAFE")
        return E.metadataObject(wrap, ID=identifier, category=category, classification=kind)

    units, objects = [], []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        identifier = re.sub(r"\W", "_", name)
        unit = xfdu.contentUnit(E.dataObjectPointer(dataObjectID=identifier), ID=f"{identifier}_Unit")
        units.append(unit)
        content = path.read_bytes()
        stream = E.byteStream(
            E.fileLocation(href=f"./{name}", locatorType="URL"),
            element("checksum", hashlib.sha3_256(content).hexdigest(), checksumName="SHA3-256"),
            mimeType="application/octet-stream" if path.suffix == ".jp2" else "text/xml",
            size=str(len(content)),
        )
        objects.append(E.dataObject(stream, ID=identifier))
    orbit = safe.orbitReference(
        safe.orbitNumber(f"{scene.absolute_orbit:06}", groundTrackDirection="descending", type="start"),
        safe.relativeOrbitNumber(f"{scene.relative_orbit:03}", type="start"),
    )
    platform = safe.platform(
        safe.nssdcIdentifier("2015-000A"),
        safe.familyName("SENTINEL"),
        safe.number(scene.satellite[1:]),
        safe.instrument(safe.familyName("Multi-Spectral Instrument", abbreviation="MSI")),
    )
    processing = safe.processing(name="Generation of Level-1C User Product", start=utc(scene.creation_time))
    frame = safe.frameSet(
        safe.footPrint(gml.coordinates(_position_text(grid)), srsName="http://www.opengis.net/gml/srs/epsg.xml#4326")
    )
    package = xfdu.contentUnit(
        *units,
        unitType="Product_Level-1C",
        textInfo="SENTINEL-2 MSI Level-1C User Product",
        dmdID="acquisitionPeriod platform",
        pdiID="processing",
    )
    return xfdu.XFDU(
        E.informationPackageMap(package),
        E.metadataSection(
            wrapped("acquisitionPeriod", safe.acquisitionPeriod(safe.startTime(utc(scene.datatake_start)))),
            wrapped("measurementOrbitReference", orbit),
            wrapped("platform", platform),
            wrapped("processing", processing, "PDI", "PROVENANCE"),
            wrapped("measurementFrameSet", frame),
        ),
        E.dataObjectSection(*objects),
        version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_l1c_user_product",
    )
