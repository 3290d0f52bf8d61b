"""The XML documents of an L1C product that is made here.

They hold what a processor reads and what the schemas of the L2A product need.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lxml import etree
from lxml.builder import ElementMaker

from steps.core.rasters import Grid
from steps.sentinel2.bands import BANDS, PIXEL_SIZE, RESOLUTIONS
from steps.sentinel2.footprint import corners
from steps.sentinel2.geometry import Swath, earth_sun_factor, sun_position
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO
from steps.sentinel2.responses import reference_response
from steps.simulation.acquisition import Acquisition, compact, utc

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
#: Spacing of the angle grids, m.
_STEP = 5000

_E = ElementMaker()
_GML = "http://www.opengis.net/gml/3.2"
_EOP = "http://www.opengis.net/eop/2.0"


def serialise(element: etree._Element) -> bytes:
    """Return an XML document as bytes."""
    return etree.tostring(element, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _element(tag: str, value, **attributes) -> etree._Element:
    return _E(tag, str(value), attributes)


def _root(namespace: str, tag: str, *sections: etree._Element) -> etree._Element:
    """Make a root element; it and its sections are in the namespace, what they hold is not."""
    make = ElementMaker(namespace=namespace, nsmap={"n1": namespace})
    return make(tag, *(make(section.tag, *section, dict(section.attrib)) for section in sections))


def _geographic(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.warp import transform

    longitude, latitude = transform(f"EPSG:{grid.epsg}", "EPSG:4326", x.ravel(), y.ravel())
    return np.reshape(longitude, x.shape), np.reshape(latitude, x.shape)


def _position_text(grid: Grid) -> str:
    return " ".join(f"{latitude} {longitude}" for latitude, longitude in corners(grid))


def _spectral_information(scene: Acquisition, band: str) -> etree._Element:
    response = reference_response(scene.satellite, band)
    nanometres, values = response.wavelength, np.array(response.values)
    return _E.Spectral_Information(
        _element("RESOLUTION", PIXEL_SIZE[band]),
        _E.Wavelength(
            _element("MIN", f"{nanometres[0]:g}", unit="nm"),
            _element("MAX", f"{nanometres[-1]:g}", unit="nm"),
            _element("CENTRAL", f"{(nanometres * values).sum() / values.sum():.1f}", unit="nm"),
        ),
        _E.Spectral_Response(
            _element("STEP", f"{response.step:g}", unit="nm"), _E.VALUES(" ".join(f"{v:.9g}" for v in values))
        ),
        bandId=str(BANDS.index(band)),
        physicalBand=band.replace("B0", "B"),
    )


def _datatake(scene: Acquisition) -> list[etree._Element]:
    return [
        _E.SPACECRAFT_NAME(f"Sentinel-{scene.satellite[1:]}"),
        _E.DATATAKE_TYPE("INS-NOBS"),
        _E.DATATAKE_SENSING_START(utc(scene.datatake_start)),
        _element("SENSING_ORBIT_NUMBER", scene.relative_orbit),
        _E.SENSING_ORBIT_DIRECTION("DESCENDING"),
    ]


def _product_info(scene: Acquisition, uri: str) -> etree._Element:
    images = [_E.IMAGE_FILE(scene.image_path(layer)) for layer in (*BANDS, "TCI")]
    identity = {"datastripIdentifier": scene.datastrip_id, "granuleIdentifier": scene.tile_id}
    return _E.Product_Info(
        _E.PRODUCT_START_TIME(utc(scene.datatake_start)),
        _E.PRODUCT_STOP_TIME(utc(scene.datatake_start)),
        _E.PRODUCT_URI(uri),
        _E.PROCESSING_LEVEL("Level-1C"),
        _E.PRODUCT_TYPE("S2MSI1C"),
        _E.PROCESSING_BASELINE(scene.baseline),
        _E.GENERATION_TIME(utc(scene.creation_time)),
        _E.PREVIEW_IMAGE_URL("Not applicable"),
        _E.PREVIEW_GEO_INFO("Not applicable"),
        _E.Datatake(*_datatake(scene), datatakeIdentifier=scene.datatake_id),
        _E.Query_Options(_E.PRODUCT_FORMAT("SAFE_COMPACT"), completeSingleTile="true"),
        _E.Product_Organisation(_E.Granule_List(_E.Granule(*images, identity, imageFormat="JPEG2000"))),
    )


def _radiometry(scene: Acquisition) -> list[etree._Element]:
    """Make what the metadata of product and datastrip both have, in the order of the latter."""
    irradiance = [
        _element("SOLAR_IRRADIANCE", IRRADIANCE[band], bandId=str(i), unit="W/m²/µm") for i, band in enumerate(BANDS)
    ]
    return [
        _E.Spectral_Information_List(*(_spectral_information(scene, band) for band in BANDS)),
        _E.Image_Display_Order(_E.RED_CHANNEL("3"), _E.GREEN_CHANNEL("2"), _E.BLUE_CHANNEL("1")),
        _element("QUANTIFICATION_VALUE", REFLECTANCE_ONE, unit="none"),
        _E.Reflectance_Conversion(
            _element("U", f"{earth_sun_factor(scene.datatake_start):.6f}"), _E.Solar_Irradiance_List(*irradiance)
        ),
    ]


def _image_characteristics(scene: Acquisition) -> etree._Element:
    special = [
        _E.Special_Values(_E.SPECIAL_VALUE_TEXT(name), _element("SPECIAL_VALUE_INDEX", number))
        for name, number in (("NODATA", 0), ("SATURATED", 65535))
    ]
    spectral, *others = _radiometry(scene)
    gains = [_element("PHYSICAL_GAINS", _GAIN[band], bandId=str(i)) for i, band in enumerate(BANDS)]
    offsets = [_element("RADIO_ADD_OFFSET", -REFLECTANCE_ZERO, band_id=str(i)) for i in range(len(BANDS))]
    adding = [_E.Radiometric_Offset_List(*offsets)] if scene.has_offset else []
    return _E.Product_Image_Characteristics(*special, *others, *adding, spectral, *gains)


def _auxiliary() -> list[etree._Element]:
    return [
        _E.GIPP_List(_element("GIPP_FILENAME", "GIPP.tar", type="GIP_PROBAS", version="0204")),
        _E.PRODUCTION_DEM_TYPE("None"),
        _E.IERS_BULLETIN_FILENAME("None"),
        _E.GRI_List(),
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
    extent = _E.Product_Footprint(_E.Global_Footprint(_E.EXT_POS_LIST(_position_text(grid))))
    checks = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")
    return _root(
        "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd",
        "Level-1C_User_Product",
        _E.General_Info(_product_info(scene, uri), _image_characteristics(scene)),
        _E.Geometric_Info(
            _E.Product_Footprint(extent, _E.RASTER_CS_TYPE("POINT"), _E.PIXEL_ORIGIN("1")),
            _E.Coordinate_Reference_System(
                _element("GEO_TABLES", "EPSG", version="1"), _E.HORIZONTAL_CS_TYPE("GEOGRAPHIC")
            ),
        ),
        _E.Auxiliary_Data_Info(*_auxiliary()),
        _E.Quality_Indicators_Info(
            _E.Cloud_Coverage_Assessment("0.0"),
            _E.Technical_Quality_Assessment(_E.DEGRADED_ANC_DATA_PERCENTAGE("0"), _E.DEGRADED_MSI_DATA_PERCENTAGE("0")),
            _E.Quality_Control_Checks(
                _E.Quality_Inspections(*(_element("quality_check", "PASSED", checkType=check) for check in checks)),
                _E.Failed_Inspections(),
            ),
        ),
    )


def _angle_values(tag: str, values: np.ndarray) -> etree._Element:
    rows = [_E.VALUES(" ".join("NaN" if np.isnan(v) else f"{v:.6g}" for v in row)) for row in values]
    return _E(tag, _element("COL_STEP", _STEP, unit="m"), _element("ROW_STEP", _STEP, unit="m"), _E.Values_List(*rows))


def _mean_angle(tag: str, zenith: np.ndarray, azimuth: np.ndarray, **attributes) -> etree._Element:
    """Average directions as vectors; NaN counts nothing."""
    tangent, azimuth = np.tan(np.radians(zenith)), np.radians(azimuth)
    east, north = np.nanmean(tangent * np.sin(azimuth)), np.nanmean(tangent * np.cos(azimuth))
    zenith, azimuth = np.degrees(np.arctan(np.hypot(east, north))), np.degrees(np.arctan2(east, north)) % 360
    return _E(
        tag,
        _element("ZENITH_ANGLE", f"{zenith:.6f}", unit="deg"),
        _element("AZIMUTH_ANGLE", f"{azimuth:.6f}", unit="deg"),
        attributes,
    )


def _tile_angles(scene: Acquisition, grid: Grid, swath: Swath, sun: tuple[float, float] | None) -> etree._Element:
    columns, rows = (int(np.ceil(n * grid.resolution / _STEP)) + 1 for n in (grid.width, grid.height))
    x, y = np.meshgrid(grid.left + _STEP * np.arange(columns), grid.top - _STEP * np.arange(rows))
    if sun is None:
        suns = sun_position(scene.sensing_time, *_geographic(grid, x, y))
    else:
        suns = np.full(x.shape, sun[0]), np.full(x.shape, sun[1])
    grids, means = [], []
    for number, band in enumerate(BANDS):
        seen = {}
        for detector in swath.detectors(x, y):
            inside = swath.seen_by(detector, x, y)
            seen[detector] = [np.where(inside, angle, np.nan) for angle in swath.view(band, detector, x, y)]
        grids += [
            _E.Viewing_Incidence_Angles_Grids(
                _angle_values("Zenith", zenith),
                _angle_values("Azimuth", azimuth),
                bandId=str(number),
                detectorId=str(detector),
            )
            for detector, (zenith, azimuth) in seen.items()
        ]
        zenith, azimuth = (np.stack(angles) for angles in zip(*seen.values(), strict=True))
        means.append(_mean_angle("Mean_Viewing_Incidence_Angle", zenith, azimuth, bandId=str(number)))
    return _E.Tile_Angles(
        _E.Sun_Angles_Grid(_angle_values("Zenith", suns[0]), _angle_values("Azimuth", suns[1])),
        _mean_angle("Mean_Sun_Angle", *suns),
        *grids,
        _E.Mean_Viewing_Incidence_Angle_List(*means),
        metadataLevel="Standard",
    )


def _tile_geocoding(grid: Grid) -> etree._Element:
    grids = [grid.at(resolution) for resolution in RESOLUTIONS]
    sizes = [
        _E.Size(_element("NROWS", g.height), _element("NCOLS", g.width), resolution=str(g.resolution)) for g in grids
    ]
    return _E.Tile_Geocoding(
        _E.HORIZONTAL_CS_NAME(f"WGS84 / UTM zone {grid.epsg % 100}N"),
        _E.HORIZONTAL_CS_CODE(f"EPSG:{grid.epsg}"),
        *sizes,
        *(
            _E.Geoposition(
                _element("ULX", g.left),
                _element("ULY", g.top),
                _element("XDIM", g.resolution),
                _element("YDIM", -g.resolution),
                resolution=str(g.resolution),
            )
            for g in grids
        ),
        metadataLevel="Brief",
    )


def tile_metadata(
    scene: Acquisition, grid: Grid, swath: Swath, sun: tuple[float, float] | None = None
) -> etree._Element:
    """Build MTD_TL.xml of the tile on `grid` (10 m), seen in `swath`.

    Where `sun`, its zenith and azimuth in degrees, is given, it stands there and not where it stood at that time.
    """
    masks = [
        _element("MASK_FILENAME", path.format(band), bandId=str(number), type=f"MSK_{kind}")
        for number, band in enumerate(BANDS)
        for kind, path in scene.masks
    ]
    kind, path = scene.cloud_mask
    masks.append(_element("MASK_FILENAME", path, type=f"MSK_{kind}"))
    return _root(
        "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd",
        "Level-1C_Tile_ID",
        _E.General_Info(
            _element("TILE_ID", scene.tile_id, metadataLevel="Brief"),
            _element("DATASTRIP_ID", scene.datastrip_id, metadataLevel="Standard"),
            _element("DOWNLINK_PRIORITY", "NOMINAL", metadataLevel="Standard"),
            _element("SENSING_TIME", utc(scene.sensing_time), metadataLevel="Standard"),
            _E.Archiving_Info(
                _E.ARCHIVING_CENTRE("S2FL"),
                _E.ARCHIVING_TIME(utc(scene.creation_time)),
                metadataLevel="Expertise",
            ),
        ),
        _E.Geometric_Info(_tile_geocoding(grid), _tile_angles(scene, grid, swath, sun)),
        _E.Quality_Indicators_Info(
            _E.Image_Content_QI(_E.CLOUDY_PIXEL_PERCENTAGE("0"), _E.DEGRADED_MSI_DATA_PERCENTAGE("0")),
            _E.Pixel_Level_QI(*masks, geometry="FULL_RESOLUTION"),
            _E.PVI_FILENAME(f"{scene.preview_path}.jp2"),
            metadataLevel="Standard",
        ),
    )


def datastrip_metadata(scene: Acquisition) -> etree._Element:
    """Build MTD_DS.xml, only with what is known: the schema's telemetry of satellite and camera is not."""
    return _root(
        "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Datastrip_Metadata.xsd",
        "Level-1C_DataStrip_ID",
        _E.General_Info(
            _E.Datatake_Info(*_datatake(scene), datatakeIdentifier=scene.datatake_id, metadataLevel="Brief"),
            _E.Datastrip_Time_Info(
                _E.DATASTRIP_SENSING_START(utc(scene.sensing_time)),
                _E.DATASTRIP_SENSING_STOP(utc(scene.sensing_time)),
                metadataLevel="Brief",
            ),
            _E.Processing_Info(
                _E.PROCESSING_BASELINE(scene.baseline),
                _E.PROCESSING_CENTER("S2FL"),
                _E.UTC_DATE_TIME(f"{scene.creation_time:%Y-%m-%dT%H:%M:%SZ}"),
                metadataLevel="Expertise",
            ),
        ),
        _E.Image_Data_Info(
            _E.Tiles_Information(_E.Tile_List(_E.Tile(tileId=scene.tile_id)), metadataLevel="Standard"),
            _E.Radiometric_Info(*_radiometry(scene), metadataLevel="Standard"),
        ),
        _E.Auxiliary_Data_Info(*_auxiliary(), metadataLevel="Standard"),
    )


def mask(
    scene: Acquisition,
    kind: str,
    band: str,
    epsg: int,
    polygons: Iterable[tuple[str, str, list[tuple[float, float]]]] = (),
):
    """Build one GML mask.

    Parameters
    ----------
    scene
        Of the product.
    kind, band
        `DETFOO`, `B01` and so on.
    epsg
        Projection of the coordinates.
    polygons
        Identifier, mask type and corners (map coordinates, closed) of each polygon.
    """
    eop, gml = (ElementMaker(namespace=n, nsmap={"eop": _EOP, "gml": _GML}) for n in (_EOP, _GML))
    identifier = f"{{{_GML}}}id"
    name = f"{scene.satellite}_USER_MSK_{kind}_{compact(scene.creation_time)}_{scene.tile}_{band}_MSIL1C"
    members = eop.maskMembers()
    for polygon, kind_of, ring in polygons:
        position = gml.posList(" ".join(f"{x:.0f} {y:.0f} 0" for x, y in ring), srsDimension="3")
        shape = gml.Polygon(
            gml.exterior(gml.LinearRing(position)),
            {identifier: f"{polygon}_Polygon", "srsName": f"urn:ogc:def:crs:EPSG:8.7:{epsg}"},
        )
        kind_element = eop.maskType(kind_of, codeSpace="urn:gs2:S2PDGS:maskType")
        members.append(eop.MaskFeature(kind_element, eop.extentOf(shape), {identifier: polygon}))
    return eop.Mask(gml.name(f"MSK_{kind} of {scene.granule}"), members, {identifier: name})


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
        wrap = _E.metadataWrap(_E.xmlData(content), mimeType="text/xml", vocabularyName="Sentinel-SAFE")
        return _E.metadataObject(wrap, ID=identifier, category=category, classification=kind)

    units, objects = [], []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        identifier = re.sub(r"\W", "_", name)
        unit = xfdu.contentUnit(_E.dataObjectPointer(dataObjectID=identifier), ID=f"{identifier}_Unit")
        units.append(unit)
        content = path.read_bytes()
        stream = _E.byteStream(
            _E.fileLocation(href=f"./{name}", locatorType="URL"),
            _element("checksum", hashlib.sha3_256(content).hexdigest(), checksumName="SHA3-256"),
            mimeType="application/octet-stream" if path.suffix == ".jp2" else "text/xml",
            size=str(len(content)),
        )
        objects.append(_E.dataObject(stream, ID=identifier))
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
        _E.informationPackageMap(package),
        _E.metadataSection(
            wrapped("acquisitionPeriod", safe.acquisitionPeriod(safe.startTime(utc(scene.datatake_start)))),
            wrapped("measurementOrbitReference", orbit),
            wrapped("platform", platform),
            wrapped("processing", processing, "PDI", "PROVENANCE"),
            wrapped("measurementFrameSet", frame),
        ),
        _E.dataObjectSection(*objects),
        version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_l1c_user_product",
    )
