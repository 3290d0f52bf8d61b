"""What an L1C product says of itself is checked before anything is computed; what the writer needs, too."""

import json
import re
import shutil

import l1c_products
import numpy as np
import pytest
from l1c_products import (
    DATASTRIP_ID,
    EPSG,
    GRANULE,
    LEFT,
    NAME,
    PIXEL,
    TOP,
    image_name,
    renew_manifest,
    tile_xml,
    write_jp2,
    write_product,
)
from lxml import etree
from rasterio.warp import transform_bounds
from test_import import imported, refused

from steps.core.errors import StepError
from steps.l1c.documents import Xml, parse, schema
from steps.l1c.metadata import read_l1c
from steps.l1c.safe import Safe
from steps.l1c.validation import SUN, VIEW, fault_of_angles, square
from steps.l2a.documents import check_documents, read_sources

PRODUCT, TILE = "MTD_MSIL1C.xml", f"{GRANULE}/MTD_TL.xml"
CONSTANT = [(np.full((3, 3), 5), np.full((3, 3), 100))]


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return write_product(tmp_path_factory.mktemp("l1c"), views=dict.fromkeys(range(13), CONSTANT * 2))


def edited(product, folder, name, *changes):
    """A copy of the product's XML files with some things changed everywhere."""
    safe = shutil.copytree(product, folder / product.name, ignore=shutil.ignore_patterns("*.jp2"))
    text = (safe / name).read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    (safe / name).write_text(text)
    return Safe(safe)


def read(safe):
    l1c = read_l1c(safe, 300)
    check_documents(safe, l1c.granule, l1c.scene)
    return l1c


# ------------------------------------------------------------------------------------------- numbers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "element", "values", "words"),
    [
        (PRODUCT, "QUANTIFICATION_VALUE", "NaN inf 0 -10000 1e308 11000 1,5 1_0000", "QUANTIFICATION_VALUE"),
        (PRODUCT, "RADIO_ADD_OFFSET", "NaN inf 0 1000 -1001 1e308", "RADIO_ADD_OFFSET"),
        (PRODUCT, "SPECIAL_VALUE_INDEX", "NaN inf -1 0 1e308 0.5", "SPECIAL_VALUE_INDEX"),
        (PRODUCT, "SOLAR_IRRADIANCE", "NaN inf 0 -1884.69 1e308", "SOLAR_IRRADIANCE"),
        (PRODUCT, "U", "NaN inf 0 -1.0335 1.0134 0.97", "U"),
        (PRODUCT, "MIN", "NaN inf 0 -442 1e308", "MIN|mean wavelength"),
        (PRODUCT, "STEP", "NaN inf 0 -1 1e308", "STEP"),
        (PRODUCT, "PROCESSING_BASELINE", "NaN 5.10 -05.10 05.11 newest", "baseline"),
        (PRODUCT, "SENSING_ORBIT_NUMBER", "NaN 52 -51 1e308", "SENSING_ORBIT_NUMBER"),
        (PRODUCT, "PRODUCT_START_TIME", "yesterday 2014-01-20T10:53:41Z 2024-01-20T15:53:41Z", "PRODUCT_START_TIME"),
        (PRODUCT, "GENERATION_TIME", "2024-13-20T10:53:41Z 2023-01-20T10:53:41Z", "GENERATION_TIME"),
        (TILE, "SENSING_TIME", "yesterday 2024-01-21T10:58:50Z 1999-01-20T10:58:50Z", "SENSING_TIME"),
        (TILE, "NROWS", "NaN inf 0 -150 1e308 150.5 109800", "NROWS"),
        (TILE, "ULX", "NaN inf -300000 1e308", "ULX"),
        (TILE, "COL_STEP", "NaN inf 0 -5000 1e308", "COL_STEP|differ in size or step"),
        (TILE, "HORIZONTAL_CS_CODE", "EPSG:4326 EPSG:3857 EPSG:32661 EPSG:-1 EPSG:", "HORIZONTAL_CS_CODE"),
    ],
)
def test_an_implausible_number_is_named_with_its_file(product, tmp_path, name, element, values, words):
    for value in values.split():
        safe = edited(product, tmp_path / value, name, (rf"(<{element}\b[^>]*>)[^<]*", rf"\g<1>{value}"))
        with pytest.raises(StepError, match=words) as caught:
            read(safe)
        assert f"{name}: " in str(caught.value)
        assert len(str(caught.value)) < 500


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", ["0 0 0", "-0.25 -1 0", "NaN 1 1", "0.5 8.96 1", "1e300 1e300 1e300", "1", "0.5 " * 200000]
)
def test_an_implausible_spectral_response(product, tmp_path, values):
    safe = edited(product, tmp_path, PRODUCT, (r"<VALUES>[^<]*", f"<VALUES>{values}"))
    with pytest.raises(StepError, match="Spectral_Response of B01 is no table"):
        read(safe)


def test_bands_that_have_changed_places(product, tmp_path):
    safe = edited(product, tmp_path, PRODUCT, ('Spectral_Information bandId="3"', 'Spectral_Information bandId="2"'))
    with pytest.raises(StepError, match="Spectral_Information of B03 is given twice"):
        read(safe)


def test_offsets_are_required_from_0400_on(product, tmp_path):
    safe = edited(product, tmp_path, PRODUCT, ("<RADIO_ADD_OFFSET.*</RADIO_ADD_OFFSET>", ""))
    with pytest.raises(StepError, match=r"MTD_MSIL1C.xml: has no RADIO_ADD_OFFSET, and products of baseline 05.10"):
        read(safe)


@pytest.mark.parametrize("value", ["NaN", "-1", "1e308", ""])
def test_an_implausible_number_that_is_merely_copied_is_told(product, tmp_path, value, caplog):
    element = "DEGRADED_MSI_DATA_PERCENTAGE"
    scene = read(edited(product, tmp_path, TILE, (f"<{element}>0", f"<{element}>{value}"))).scene
    assert scene.defaults == (f"{element}: '{value}' is implausible; it is copied as it is.",)
    assert scene.defaults[0] in caplog.text


@pytest.mark.parametrize(("name", "element"), [(TILE, "Tile_Geocoding"), (PRODUCT, "Reflectance_Conversion")])
def test_a_section_that_is_there_twice(product, tmp_path, name, element):
    """Copies agree; contradictions have no right one."""
    text = (product / name).read_text()
    section = re.search(f"<{element}>.*</{element}>", text, re.DOTALL)[0]
    safe = shutil.copytree(product, tmp_path / NAME, ignore=shutil.ignore_patterns("*.jp2"))
    other = re.sub(r"(<(ULX|U)>)[^<]*", r"\g<1>1.0335", section)
    (safe / name).write_text(text.replace(section, section + other))
    with pytest.raises(StepError, match="has several different|is given twice"):
        read(Safe(safe))


# ------------------------------------------------------------------------------------------- one product


@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "words"),
    [
        (PRODUCT, "_T31TCJ_20240120T125244.SAFE", "_T31UFU_20240120T125244.SAFE", "the tile is T31UFU by PRODUCT_URI"),
        (PRODUCT, "URI>S2A", "URI>S2B", "the satellite is S2B by PRODUCT_URI and S2A by SPACECRAFT_NAME"),
        (PRODUCT, "Sentinel-2A", "Sentinel-2B", "the satellite is S2A by PRODUCT_URI and S2B by SPACECRAFT_NAME"),
        (PRODUCT, "_R051_", "_R052_", "the relative orbit is 052 by PRODUCT_URI and 051 by SENSING_ORBIT_NUMBER"),
        (PRODUCT, "GS2A_20240120T105341_044807", "GS2A_20240120T105341_044808", "the orbit is 044807 by TILE_ID"),
        (PRODUCT, "GS2A_20240120T105341", "GS2A_20240121T105341", "the datatake is 20240120T105341 by PRODUCT_URI"),
        (PRODUCT, "T31TCJ_20240120T105341_B05", "T31TCJ_20240121T105341_B05", "20240121T105341 by IMAGE_FILE"),
        (
            PRODUCT,
            "105433/IMG_DATA/([^/]*_B05<)",
            r"105434/IMG_DATA/\1",
            "the granule is L1C_T31TCJ_A044807_20",
        ),
        (PRODUCT, "N0510_R051", "N0500_R051", "the baseline is 0500 by PRODUCT_URI and 0510 by PROCESSING_BASELINE"),
        (TILE, "_T31TCJ_N05.10</TILE_ID", "_T18SVG_N05.10</TILE_ID", "T31TCJ by PRODUCT_URI and T18SVG by TILE_ID"),
        (TILE, "_S20240120T105433", "_S20240121T105433", "the DATASTRIP ID is"),
        (TILE, "</TILE_ID>", "/../../evil</TILE_ID>", "TILE_ID is '.*evil', which is none"),
        (TILE, f'bandId="3" type="MSK_QUALIT">{GRANULE}/QI_DATA/MSK_QUALIT_B04', "", "MASK_FILENAME of B05"),
    ],
)
def test_parts_of_different_products(product, tmp_path, name, pattern, replacement, words):
    if not replacement:
        replacement = pattern.replace('"3"', '"4"')
    with pytest.raises(StepError, match=words):
        read(edited(product, tmp_path, name, (pattern, replacement)))


@pytest.mark.parametrize("text", ["x_B02", "/tmp/x_B02", "GRANULE/../IMG_DATA/x_B02", "GRANULE/./x/IMG_DATA/x_B02"])
def test_an_image_outside_of_the_granule(product, tmp_path, text):
    safe = edited(product, tmp_path, PRODUCT, (r"<IMAGE_FILE>[^<]*_B02<", f"<IMAGE_FILE>{text}<"))
    with pytest.raises(StepError, match="no path of an image in a granule"):
        read(safe)


@pytest.mark.parametrize("text", ["", "x_XXX", "../../x"])
def test_a_name_of_no_band_does_not_matter(product, tmp_path, text):
    safe = edited(product, tmp_path, PRODUCT, ("<Granule ([^>]*)>", rf"<Granule \1><IMAGE_FILE>{text}</IMAGE_FILE>"))
    assert read(safe).granule == GRANULE


@pytest.mark.parametrize(
    ("tile", "epsg", "left", "top"),
    [
        # upper left corners of real tiles, which lie within 40 m of the square's
        ("T31TCJ", 32631, 300000, 4900020),
        ("T18SVG", 32618, 399960, 4200000),
        ("T48LWP", 32748, 499980, 8900020),
        ("T01LAC", 32701, 99960, 8300020),
        ("T01KAB", 32701, 99960, 8200000),
        ("T46RER", 32646, 499980, 3100020),
        ("T32TNM", 32632, 499980, 4700040),
        ("T34VEL", 32634, 499980, 6600000),
        ("T33XWJ", 32633, 499980, 8900040),
        ("T01CCV", 32701, 300000, 2000020),
        ("T01CDL", 32701, 399960, 1100020),
        ("T53HLA", 32753, 300000, 6100000),
        ("T22HBD", 32722, 199980, 5900020),
        ("T01VCG", 32601, 300000, 6700020),
    ],
)
def test_the_square_of_a_tile(tile, epsg, left, top):
    found, x, y = square(tile)
    assert found == epsg
    assert (x - left, y + 1e5 - top) == pytest.approx((0, 0), abs=60)


def test_a_grid_beside_its_tile_is_told(product, tmp_path, caplog):
    """The images decide where it is; the name stays."""
    scene = read(edited(product, tmp_path, TILE, ("<ULX>300000", "<ULX>600000"))).scene
    sentence, *_ = scene.defaults
    assert sentence.startswith("Grid: it does not lie in tile T31TCJ (EPSG:32631, upper left corner 600000, 4900020)")
    assert sentence in caplog.text


# ------------------------------------------------------------------------------------------- angles


@pytest.mark.parametrize("zenith", ["-30", "95", "120", "1e308", "inf"])
def test_an_implausible_mean_of_the_sun_is_set_aside(product, tmp_path, zenith):
    scene = read(edited(product, tmp_path, TILE, (">65.75<", f">{zenith}<"))).scene
    assert (scene.sun_zenith, scene.sun_azimuth) == pytest.approx((65.5, 162.5))
    assert "are implausible; the mean of Sun_Angles_Grid." in scene.defaults[0]


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r"\b65.5\b", "-30", "zenith -30 degrees, and 0 to 89.99 is plausible"),
        (r"\b65.5\b", "120", "zenith 120 degrees"),
        (r"\b65.5\b", "89.98", "Mean_Sun_Angle is 65.8 and 162.6 degrees, and Sun_Angles_Grid has 90.0 and 162.5"),
        (r"\b162.5\b", "400", "azimuth 400 degrees"),
        ("<VALUES>65.5 65.5 65.5</VALUES></Values_List>", "<VALUES>65.5 65.5 65.4</VALUES></Values_List>", "a jump"),
        (">162.6<", ">12.6<", "Mean_Sun_Angle is 65.8 and 12.6"),
        (r"\b65.5\b", "x", "has something that is no number"),
    ],
)
def test_implausible_angles_of_the_sun_are_refused(product, tmp_path, pattern, replacement, words):
    with pytest.raises(StepError, match=f"MTD_TL.xml: .*{words}"):
        read(edited(product, tmp_path, TILE, (pattern, replacement)))


@pytest.mark.parametrize("zenith", [-30, 25, 120])
def test_implausible_view_angles_are_set_aside(product, tmp_path, zenith):
    views = {0: [(np.full((3, 3), zenith), np.full((3, 3), 100)), *CONSTANT], 1: CONSTANT * 2}
    safe = shutil.copytree(product, tmp_path / NAME)
    (safe / TILE).write_text(tile_xml(views=views))
    l1c = read(Safe(safe))
    assert l1c.angles["view_zenith_B01"] == pytest.approx(np.full((3, 3), 5))
    implausible, unseen, lacking = l1c.scene.defaults
    assert implausible.startswith("View angles: 1 of 4 grids are implausible and set aside (B01 detector 0: zenith")
    assert "no grid of B03, B04" in unseen
    assert lacking == "View angles: grids of detectors that other bands have are missing in B01; the nearest nodes."


def test_a_jump_between_nodes():
    """A plane field of directions has none; one digit that is wrong is one."""
    x, y = np.meshgrid(np.arange(23) * 0.36 - 4, np.arange(23) * 0.03)
    zenith, azimuth = np.hypot(x, y), np.degrees(np.arctan2(x, y)) % 360
    assert not fault_of_angles(zenith, azimuth, VIEW)
    zenith[:, :9] = np.nan
    assert not fault_of_angles(zenith, azimuth, VIEW)
    zenith[11, 15] += 0.2
    assert fault_of_angles(zenith, azimuth, VIEW) == "a jump between neighbouring nodes"
    sun = 60 + 0.045 * np.arange(23)[:, None] + np.zeros((23, 23))
    assert not fault_of_angles(sun, np.full_like(sun, 160), SUN)
    sun[0, 5] += 0.03
    assert fault_of_angles(sun, np.full_like(sun, 160), SUN) == "a jump between neighbouring nodes"


# ------------------------------------------------------------------------------------------- documents


def test_comments_and_instructions_do_not_cut_a_text():
    xml = Xml(parse(b"<a><b>1<!-- x -->0<?p i?>00</b><c><![CDATA[5]]></c></a>", "a.xml"), "a.xml")
    assert (xml.number("b"), xml.number("c")) == (1000, 5)


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1", "UTF-8"])
def test_any_encoding_that_is_declared(encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?><a>é</a>'
    assert parse(text.encode(encoding), "a.xml").text == "é"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not valid XML"),
        (bytes(2000), "is not valid XML"),
        (b"<a>\x01</a>", "is not valid XML"),
        (b"<a>\xff</a>", "is not valid XML"),
        (b"<a>" * 100000 + b"</a>" * 100000, "is not valid XML"),
        (b"<a>" + b"x" * 11_000_000 + b"</a>", "is not valid XML"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>', "document type declaration"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', "document type declaration"),
        (b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/p.dtd"> %p;]><a/>', "document type declaration"),
        (b'<!DOCTYPE a [<!ENTITY x "10000">]><a>&x;</a>', "document type declaration"),
    ],
)
def test_a_document_that_is_refused(content, words):
    with pytest.raises(StepError, match=f"a.xml: .*{words}"):
        parse(content, "a.xml")


def test_a_document_at_an_odd_place():
    for label in ("/tmp/\udcff/a.xml", "/tmp/a\nb%s{x}#/ä.xml", "d" * 3000):
        assert parse(b"<a>1</a>", label).text == "1"


@pytest.mark.parametrize(("number", "expected"), [("12", 12), ("14", 14), ("15", 15), ("15.1", 15), ("16", 16)])
def test_the_specification_is_the_namespaces(number, expected):
    root = etree.Element(f"{{https://psd-{number}.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd}}a")
    assert schema(root) == (expected, "User_Product_Level-1C.xsd")


def test_documents_without_their_namespace(product, tmp_path):
    for name in (PRODUCT, TILE):
        safe = edited(product, tmp_path / name[:7], name, (r' xmlns:n1="[^"]*"', ""), ("n1:", ""))
        with pytest.raises(StepError, match=f"{name}: its namespace is ''"):
            read(safe)


# ------------------------------------------------------------------------------------------- before the work


@pytest.mark.parametrize(
    ("name", "element"),
    [
        (PRODUCT, "GENERATION_TIME"),
        (PRODUCT, "SENSING_ORBIT_DIRECTION"),
        (PRODUCT, "EXT_POS_LIST"),
        (PRODUCT, "Quality_Inspections"),
        (PRODUCT, "Auxiliary_Data_Info"),
        (TILE, "DATASTRIP_ID"),
        (TILE, "DEGRADED_MSI_DATA_PERCENTAGE"),
    ],
)
def test_what_the_writer_needs_is_missed_at_import(product, tmp_path, name, element):
    tag = rf"<(n1:)?{element}\b"
    changes = [(rf"{tag}[^>]*/>|{tag}.*?</(n1:)?{element}>", "")]
    with pytest.raises(StepError, match=f"{name}: .*has no {element}"):
        read(edited(product, tmp_path, name, *changes))


def test_broken_documents_that_only_the_writer_reads(product, tmp_path):
    safe = shutil.copytree(product, tmp_path / NAME)
    (safe / "INSPIRE.xml").write_text("<a>")
    assert "INSPIRE.xml: is not valid XML" in refused(safe, tmp_path / "out")


def test_the_datastrip_is_the_tiles(product, tmp_path):
    safe = shutil.copytree(product, tmp_path / NAME)
    granule = read(Safe(safe)).granule
    scene = read(Safe(safe)).scene
    for folder in ("DS_2APS_20240120T100000_S20240120T100000", "DS_2APS_20240120T125244_S20240120T105433"):
        (safe / "DATASTRIP" / folder).mkdir(parents=True)
        (safe / "DATASTRIP" / folder / "MTD_DS.xml").write_text(f"<{folder}/>")
    sources = read_sources(Safe(safe), granule, scene)
    assert sources.datastrip.tag == "DS_2APS_20240120T125244_S20240120T105433"
    (safe / "DATASTRIP" / sources.datastrip.tag).rename(safe / "DATASTRIP/DS_other")
    with pytest.raises(StepError, match=f"DATASTRIP: has 2 datastrips, and none is {DATASTRIP_ID}"):
        read_sources(Safe(safe), granule, scene)


@pytest.mark.slow
def test_a_scene_without_data_ends_at_import(tmp_path):
    safe = write_product(tmp_path)
    for band, size in PIXEL.items():
        write_jp2(safe / image_name(band), np.zeros_like(l1c_products.pixels(band)), size)
    message = "no pixel of it has data in all bands; leave it out"
    assert message in refused(safe, tmp_path / "out")
    write_jp2(safe / image_name("B02"), l1c_products.pixels("B02"), 10)
    assert message in refused(safe, tmp_path / "out")


@pytest.mark.slow
def test_a_region_without_data_ends_at_import(tmp_path):
    safe = write_product(tmp_path)
    dn = l1c_products.pixels("B02")
    dn[:145] = 0
    write_jp2(safe / image_name("B02"), dn, 10)
    renew_manifest(safe)
    box = LEFT + 200, TOP - 500, LEFT + 500, TOP - 200
    region = json.dumps(transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", *box))
    with pytest.raises(StepError, match="no pixel of the region of interest .* has data in all bands; correct `roi`"):
        imported(safe, tmp_path / "out", roi=region)
    assert not any((tmp_path / "out").glob("*"))
    imported(safe, tmp_path / "out")


@pytest.mark.slow
def test_a_mask_without_a_name_is_told(tmp_path, caplog):
    safe = write_product(tmp_path)
    text = (safe / TILE).read_text()
    (safe / TILE).write_text(re.sub(r'(MSK_QUALIT">)[^<]*', r"\1", text, count=1))
    imported(renew_manifest(safe), tmp_path / "out")
    assert "1 of 13 mask files are missing" in caplog.text
