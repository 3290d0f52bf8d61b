"""A small synthetic L1C product in the compact format, for tests of what reads it."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

PIXEL = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20}
PIXEL |= {"B08": 10, "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20}
NAME = "S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125244"
GRANULE = "GRANULE/L1C_T31TCJ_A044807_20240120T105433"
TILE_ID = "S2A_OPER_MSI_L1C_TL_2APS_20240120T125244_A044807_T31TCJ_N05.10"
DATASTRIP_ID = "S2A_OPER_MSI_L1C_DS_2APS_20240120T125244_S20240120T105433_N05.10"
LEFT, TOP, EPSG, CELLS = 300000, 4900020, 32631, 25
#: Central wavelength (nm) and solar irradiance (W/m2/um) of each band.
CENTRE = dict(zip(PIXEL, (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1374, 1614, 2202), strict=True))
_IRRADIANCES = (1884.69, 1959.66, 1823.24, 1512.06, 1424.64, 1287.61, 1162.08, 1041.63, 955.32, 812.92, 367.15, 245.59)
IRRADIANCE = dict(zip(PIXEL, (*_IRRADIANCES, 85.25), strict=True))

#: View angles of one detector for all bands, the same everywhere.
CONSTANT_VIEWS = dict.fromkeys(range(13), [(np.full((3, 3), 5), np.full((3, 3), 100))])


def mask_name(kind, band, extension):
    return f"{GRANULE}/QI_DATA/MSK_{kind}_{band}.{extension}"


def image_name(band):
    return f"{GRANULE}/IMG_DATA/T31TCJ_20240120T105341_{band}.jp2"


def pixels(band):
    """DN of a band: distinct values, some without data at the upper left, one saturated."""
    n = CELLS * 60 // PIXEL[band]
    dn = np.random.default_rng(int.from_bytes(band.encode())).integers(1, 15000, (n, n)).astype("u2")
    if band == "B03":
        dn[:3, :5] = 0
    if band == "B09":
        dn[10, 20] = 65535
    return dn


def write_jp2(path, values, size, *, left=LEFT, top=TOP, epsg=EPSG, block=64):
    values = np.atleast_3d(values.T).T
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "QUALITY": "100",
        "REVERSIBLE": "YES",
        "YCC": "NO",
        "blockxsize": block,
        "blockysize": block,
        "RESOLUTIONS": "5",
    }
    profile = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        crs=f"EPSG:{epsg}",
        transform=Affine(size, 0, left, 0, -size, top),
        **profile,
        **options,
    ) as image:
        image.write(values)


def quality(band):
    """Layers of MSK_QUALIT: in B02 a saturated pixel, in B11 a defective one, in B12 one with mere cross-talk."""
    n = CELLS * 60 // PIXEL[band]
    layers = np.zeros((8, n, n), "u1")
    if band == "B02":
        layers[7, 100, 101] = 1
    if band == "B11":
        layers[4, 70, 3] = 1
    if band == "B12":
        layers[6, 5, 6] = 1
    return layers


def gml(kind="", ring=()):
    """A GML mask with one polygon, or none; 3-D positions as in real files."""
    positions = " ".join(f"{x} {y} 7.5" for x, y in ring)
    members = f"""<eop:maskMembers><eop:MaskFeature gml:id="m">
  <eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{kind}</eop:maskType>
  <eop:extentOf><gml:Polygon gml:id="p"><gml:exterior><gml:LinearRing>
    <gml:posList srsDimension="3">{positions}</gml:posList>
  </gml:LinearRing></gml:exterior></gml:Polygon></eop:extentOf>
</eop:MaskFeature></eop:maskMembers>"""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="x">
{members if kind else "<eop:maskMembers/>"}</eop:Mask>"""


def _each(template, items):
    return "".join(template(item) for item in items)


def product_xml(*, baseline=None, offset=-1000, satellite="S2A", name=None):
    """MTD_MSIL1C.xml, by default of a baseline that has the offset.

    Lists are in falling order of the id, so that only who reads the id gets them right.
    """
    baseline = baseline or {0: "02.04", -1000: "05.10"}.get(offset, "06.00")
    name = name or NAME.replace("N0510", f"N{baseline.replace('.', '')}").replace("S2A", satellite)
    satellite, _, datatake, _, orbit = name.split("_")[:5]
    order = list(enumerate(PIXEL))[::-1]
    offsets = _each(lambda item: f'<RADIO_ADD_OFFSET band_id="{item[0]}">{offset}</RADIO_ADD_OFFSET>', order)
    irradiances = _each(
        lambda item: f'<SOLAR_IRRADIANCE bandId="{item[0]}">{IRRADIANCE[item[1]]}</SOLAR_IRRADIANCE>', order
    )
    spectra = _each(
        lambda item: (
            f"""<Spectral_Information bandId="{item[0]}" physicalBand="B"><Wavelength><MIN>{CENTRE[item[1]] - 1}</MIN>
        </Wavelength><Spectral_Response><STEP>1</STEP><VALUES>0.25 1 0.{item[0]:02}</VALUES></Spectral_Response>
        </Spectral_Information>"""
        ),
        order,
    )
    bands = (*sorted(PIXEL), "TCI")
    images = _each(lambda b: f"<IMAGE_FILE>{image_name(b).removesuffix('.jp2')}</IMAGE_FILE>", bands)
    special = _each(
        lambda item: (
            f"""<Special_Values><SPECIAL_VALUE_TEXT>{item[0]}</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>{item[1]}</SPECIAL_VALUE_INDEX></Special_Values>"""
        ),
        (("NODATA", 0), ("SATURATED", 65535)),
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-1C_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd">
<n1:General_Info><Product_Info>
  <PRODUCT_START_TIME>2024-01-20T10:53:41.024Z</PRODUCT_START_TIME>
  <PRODUCT_STOP_TIME>2024-01-20T10:53:41.024Z</PRODUCT_STOP_TIME>
  <PRODUCT_URI>{name}.SAFE</PRODUCT_URI><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
  <GENERATION_TIME>2024-01-20T12:52:44.000000Z</GENERATION_TIME>
  <Datatake datatakeIdentifier="G{satellite}_{datatake}_044807_N{baseline}">
    <SPACECRAFT_NAME>Sentinel-{satellite[1:]}</SPACECRAFT_NAME>
    <DATATAKE_SENSING_START>2024-01-20T10:53:41.024Z</DATATAKE_SENSING_START>
    <SENSING_ORBIT_NUMBER>{int(orbit[1:])}</SENSING_ORBIT_NUMBER>
    <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake>
  <Product_Organisation><Granule_List>
    <Granule datastripIdentifier="{DATASTRIP_ID}" granuleIdentifier="{TILE_ID}">{images}</Granule>
  </Granule_List></Product_Organisation>
</Product_Info><Product_Image_Characteristics>
  {special}<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>
  {f"<Radiometric_Offset_List>{offsets}</Radiometric_Offset_List>" if offset else ""}
  <Reflectance_Conversion><U>1.0334</U><Solar_Irradiance_List>{irradiances}</Solar_Irradiance_List>
  </Reflectance_Conversion><Spectral_Information_List>{spectra}</Spectral_Information_List>
</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
  <EXT_POS_LIST>44.2 0.5 44.2 0.52 44.22 0.52 44.22 0.5 44.2 0.5</EXT_POS_LIST>
</Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Auxiliary_Data_Info/>
<n1:Quality_Indicators_Info><Quality_Control_Checks><Quality_Inspections/></Quality_Control_Checks>
</n1:Quality_Indicators_Info></n1:Level-1C_User_Product>""".replace("S2A_OPER", f"{satellite}_OPER")


def angle_grid(zenith, azimuth):
    """Both tables of a grid of angles."""
    tables = ""
    for name, table in (("Zenith", zenith), ("Azimuth", azimuth)):
        rows = _each(lambda row: f"<VALUES>{' '.join(f'{v:g}'.replace('nan', 'NaN') for v in row)}</VALUES>", table)
        steps = "<COL_STEP>5000</COL_STEP><ROW_STEP>5000</ROW_STEP>"
        tables += f"<{name}>{steps}<Values_List>{rows}</Values_List></{name}>"
    return tables


def tile_xml(*, masks="jp2", views=None, satellite="S2A"):
    """MTD_TL.xml; `views`: band id to the (zenith, azimuth) tables of 3 x 3 nodes of each of its detectors."""
    geocoding = ""
    for r in (10, 20, 60):
        n = CELLS * 60 // r
        geocoding += f'<Size resolution="{r}"><NROWS>{n}</NROWS><NCOLS>{n}</NCOLS></Size>'
        geocoding += f'<Geoposition resolution="{r}"><ULX>{LEFT}</ULX><ULY>{TOP}</ULY><XDIM>{r}</XDIM>'
        geocoding += f"<YDIM>-{r}</YDIM></Geoposition>"
    grids = ""
    for i, detectors in (views or {}).items():
        for detector, tables in enumerate(detectors):
            grids += f'<Viewing_Incidence_Angles_Grids bandId="{i}" detectorId="{detector}">'
            grids += f"{angle_grid(*tables)}</Viewing_Incidence_Angles_Grids>"
    means = _each(
        lambda i: (
            f"""<Mean_Viewing_Incidence_Angle bandId="{i}"><ZENITH_ANGLE>{2 + i / 10}</ZENITH_ANGLE>
        <AZIMUTH_ANGLE>{100 + i}</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>"""
        ),
        (0, 4, 5, 11, 1, 2, 3, 7, 6, 8, 9, 10, 12),
    )
    kinds = {"jp2": ("DETFOO", "QUALIT"), "gml": ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA")}.get(masks, ())
    files = ""
    for i, band in enumerate(PIXEL):
        for kind in kinds:
            files += f'<MASK_FILENAME bandId="{i}" type="MSK_{kind}">{mask_name(kind, band, masks)}</MASK_FILENAME>'
    sun = angle_grid(np.full((3, 3), 65.5), np.full((3, 3), 162.5))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-1C_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd">
<n1:General_Info><TILE_ID>{TILE_ID}</TILE_ID><DATASTRIP_ID>{DATASTRIP_ID}</DATASTRIP_ID>
  <SENSING_TIME>2024-01-20T10:58:50.500329Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info>
  <Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:{EPSG}</HORIZONTAL_CS_CODE>{geocoding}</Tile_Geocoding>
  <Tile_Angles><Sun_Angles_Grid>{sun}</Sun_Angles_Grid>
    <Mean_Sun_Angle><ZENITH_ANGLE>65.75</ZENITH_ANGLE><AZIMUTH_ANGLE>162.6</AZIMUTH_ANGLE></Mean_Sun_Angle>{grids}
    <Mean_Viewing_Incidence_Angle_List>{means}</Mean_Viewing_Incidence_Angle_List></Tile_Angles>
</n1:Geometric_Info>
<n1:Quality_Indicators_Info><Image_Content_QI><DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
  </Image_Content_QI><Pixel_Level_QI>{files}</Pixel_Level_QI></n1:Quality_Indicators_Info>
</n1:Level-1C_Tile_ID>""".replace("S2A_OPER", f"{satellite}_OPER")


def grib1(fields):
    """GRIB edition 1: {(table, parameter): value} to constant fields on 9 x 9 points, 8 bits a point (WMO FM 92)."""
    content = b""
    for (table, parameter), value in fields.items():
        date = (24, 1, 20, 0, 0)
        forecast = (0, 2, 142, 10, 0, 0, 0)
        pds = bytes((0, 0, 28, table, 98, 1, 255, 128, parameter, 1, 0, 0, *date, *forecast, 21, 0, 0, 0))
        corners = (44226).to_bytes(3) + (496).to_bytes(3) + b"\x80" + (43259).to_bytes(3) + (1889).to_bytes(3)
        gds = bytes((0, 0, 32, 0, 255, 0)) + struct.pack(">HH", 9, 9) + corners
        gds += struct.pack(">HHB", 174, 121, 0) + bytes(4)
        exponent = 64
        while value >= 16.0 ** (exponent - 64):
            exponent += 1
        mantissa = round(value / 16.0 ** (exponent - 64) * 2**24)
        bds = bytes((0, 0, 92, 0, 0, 0, exponent)) + mantissa.to_bytes(3) + bytes((8,)) + bytes(81)
        body = pds + gds + bds + b"7777"
        content += b"GRIB" + (8 + len(body)).to_bytes(3) + b"\x01" + body
    return content


WEATHER = {(128, 137): 21.0, (128, 151): 101325.0, (128, 206): 0.0064245, (128, 165): 3.0}
AEROSOL = {(128, 129): 100.0, (210, 213): 0.3, (210, 207): 0.25, (210, 209): 0.0625}


def renew_manifest(safe, algorithm="SHA3-256"):
    """Write the manifest that fits the files of a product as they are; return the product."""
    entries = ""
    for path in sorted(p for p in safe.rglob("*") if p.is_file() and p.name != "manifest.safe"):
        content = path.read_bytes()
        digest = hashlib.new({"MD5": "md5", "SHA3-256": "sha3_256"}[algorithm], content).hexdigest().upper()
        entries += f"""<dataObject><byteStream mimeType="application/octet-stream" size="{len(content)}">
          <fileLocation href="./{path.relative_to(safe).as_posix()}" locatorType="URL"/>
          <checksum checksumName="{algorithm}">{digest}</checksum></byteStream></dataObject>\n"""
    (safe / "manifest.safe").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">'
        f"<dataObjectSection>{entries}</dataObjectSection></xfdu:XFDU>"
    )
    return safe


def write_product(folder: Path, *, masks="jp2", auxiliary=True, views=None, block=64, **metadata) -> Path:
    """Write a product of 1.5 km a side and return its SAFE folder."""
    safe = folder / f"{NAME}.SAFE"
    for band, size in PIXEL.items():
        write_jp2(safe / image_name(band), pixels(band), size, block=block)
        if masks == "jp2":
            write_jp2(safe / mask_name("QUALIT", band, "jp2"), quality(band), size)
        for kind in ("DEFECT", "NODATA", "SATURA", "TECQUA") if masks == "gml" else ():
            path = safe / mask_name(kind, band, "gml")
            path.parent.mkdir(exist_ok=True)
            path.write_text(gml())
    (safe / "MTD_MSIL1C.xml").write_text(product_xml(**metadata))
    (safe / GRANULE / "MTD_TL.xml").write_text(tile_xml(masks=masks, views=views))
    if auxiliary:
        (safe / GRANULE / "AUX_DATA").mkdir()
        (safe / GRANULE / "AUX_DATA/AUX_ECMWFT").write_bytes(grib1(WEATHER))
        (safe / GRANULE / "AUX_DATA/AUX_CAMSFO").write_bytes(grib1(AEROSOL))
    return renew_manifest(safe)
