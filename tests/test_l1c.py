"""What an L1C product says of itself, on a synthetic product and on every real one at hand."""

import os
import re
import shutil
import tracemalloc
import zipfile
from datetime import datetime
from pathlib import Path, PurePosixPath

import l1c_products
import numpy as np
import pytest
from l1c_products import GRANULE, NAME, PIXEL, image_name, product_xml, tile_xml

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l1c.auxiliary import read_auxiliary
from steps.l1c.formats import product_name
from steps.l1c.metadata import read_l1c
from steps.l1c.safe import Safe
from steps.sentinel2.geometry import earth_sun_factor
from steps.sentinel2.scene import Scene

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
DATA = SHARED / "data"
needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"real products are read from {DATA}, which is absent")
#: Read by eye from the files: folder, name, tile, baseline, offset, EPSG code, corner, sun zenith and azimuth, U.
REAL = [
    (
        "l1c_safe_31TCJ_n0510/S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125244.SAFE",
        ("S2A", "T31TCJ", "05.10", -1000, 32631, (300000, 4900020), (65.7554, 162.6892), 1.03349009800943),
    ),
    (
        "l1c_safe_31TCJ_n0510/S2B_MSIL1C_20240305T104819_N0510_R051_T31TCJ_20240305T125347.SAFE",
        ("S2B", "T31TCJ", "05.10", -1000, 32631, (300000, 4900020), (51.8169, 158.3973), 1.01857391425764),
    ),
    (
        "l1c_safe_48LWP_n0301/S2A_MSIL1C_20210713T032051_N0301_R032_T48LWP_20210713T054224.SAFE",
        ("S2A", "T48LWP", "03.01", 0, 32748, (499980, 8900020), (40.9277, 37.8903), 0.967460252711035),
    ),
    (
        "product_metadata/S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE",
        ("S2A", "T01LAC", "02.09", 0, 32701, (99960, 8300020), (45.1831, 36.1960), 0.967801407960869),
    ),
    (
        "product_metadata/S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE",
        ("S2A", "T46RER", "03.01", 0, 32646, (499980, 3100020), (26.4932, 142.9876), 0.983841990384341),
    ),
]
IRRADIANCE = {
    "S2A": (
        1884.69,
        1959.66,
        1823.24,
        1512.06,
        1424.64,
        1287.61,
        1162.08,
        1041.63,
        955.32,
        812.92,
        367.15,
        245.59,
        85.25,
    ),
    "S2B": (
        1874.3,
        1959.75,
        1824.93,
        1512.79,
        1425.78,
        1291.13,
        1175.57,
        1041.28,
        953.93,
        817.58,
        365.41,
        247.08,
        87.75,
    ),
}


def zipped(safe, path, folder=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(safe.rglob("*")):
            archive.write(file, f"{folder}{file.relative_to(safe)}")
    return path


def edited(product, folder, name, pattern, replacement):
    """A copy of the product's XML files with one thing changed."""
    safe = shutil.copytree(product, folder / product.name, ignore=shutil.ignore_patterns("*.jp2"))
    text = (safe / name).read_text()
    assert re.search(pattern, text)
    (safe / name).write_text(re.sub(pattern, replacement, text, count=1))
    return Safe(safe)


# ------------------------------------------------------------------------------------------- which product it is


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["", "any name/", "a/b.SAFE/"])
def test_a_zip_holds_the_product_at_any_depth_under_any_name(product, tmp_path, folder):
    path = zipped(product, tmp_path / "download.zip", folder)
    assert product_name(path) == product_name(product) == NAME
    assert Safe(path).names() == Safe(product).names()
    assert Safe(path).read(f"{GRANULE}/MTD_TL.xml") == (product / GRANULE / "MTD_TL.xml").read_bytes()


def test_no_file_outside_of_the_product_is_read(product, tmp_path):
    (tmp_path / "secret").touch()
    safe = Safe(shutil.copytree(product, tmp_path / "safe"))
    for name in ("../secret", str(tmp_path / "secret")):
        assert not safe.exists(name)
        with pytest.raises(StepError, match="is missing"):
            safe.read(name)


def test_links(product, tmp_path):
    """A link inside the product is followed, one that leads out of it or to a folder is refused."""
    (tmp_path / "secret").write_text("secret")
    folder = shutil.copytree(product, tmp_path / "safe")
    name, other = f"{GRANULE}/AUX_DATA/AUX_ECMWFT", f"{GRANULE}/AUX_DATA/AUX_CAMSFO"
    (folder / name).unlink()
    (folder / name).symlink_to("AUX_CAMSFO")
    (tmp_path / "link").symlink_to(folder)
    safe = Safe(tmp_path / "link")
    assert safe.read(name) == safe.read(other)
    assert name in safe.names()
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "secret")
    for read in (safe.read, safe.source, safe.view, safe.verify, lambda _: Safe(folder).names()):
        with pytest.raises(StepError, match=r"AUX_ECMWFT: is a link that leads out of the product"):
            read(name)
    (folder / name).unlink()
    (folder / "GRANULE/loop").symlink_to(folder)
    with pytest.raises(StepError, match="loop: is a link to a folder"):
        Safe(folder).names()


def test_what_is_no_file_is_missing(product, tmp_path):
    """A folder, a pipe, a device, a link to nothing, a name that no file can have."""
    folder = shutil.copytree(product, tmp_path / "safe")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "device").symlink_to("/dev/zero")
    (folder / "nothing").symlink_to("nothing")
    (folder / "control\x01").touch()
    (folder / os.fsdecode(b"\xff")).touch()
    safe = Safe(folder)
    assert all(name.isprintable() for name in safe.names())
    for name in ("folder", "pipe", "device", "nothing", "n" * 300, "a\0b"):
        with pytest.raises(StepError, match="is missing"):
            safe.read(name)
        assert name not in safe.names()


def test_a_zip_that_is_not_plain(product, tmp_path):
    """Links are no files, names that lead out are none of the product's, and nothing is there twice."""
    path = zipped(product, tmp_path / "a.zip", "x.SAFE/")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("x.SAFE/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("x.SAFE/../evil", "/x.SAFE/evil", "../evil", "other/evil"):
            archive.writestr(name, "")
    assert Safe(path).names() == Safe(product).names()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"x.SAFE/./{image_name('B02')}", "other")
    with pytest.raises(StepError, match=r"_B02\.jp2: is twice in the zip"):
        Safe(path).names()
    path = zipped(product, tmp_path / "b.zip", "x.SAFE/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y.SAFE/MTD_MSIL1C.xml", "")
    with pytest.raises(StepError, match="holds 2 products"):
        Safe(path)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for number in range(100):
            archive.writestr(f"x.SAFE/{number:050000}", "")
    with pytest.raises(StepError, match="holds far more files"):
        Safe(tmp_path / "c.zip")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", image_name("B01"), "MSK_QUALIT_B01.jp2", "AUX_DATA/AUX_CAMSFO"])
def test_files_larger_than_any_are_not_read(product, tmp_path, name):
    """A sparse file, and a member of a zip that says what it will become: neither is read."""
    folder = shutil.copytree(product, tmp_path / "safe")
    (folder / name).parent.mkdir(exist_ok=True)
    with (folder / name).open("r+b" if (folder / name).exists() else "wb") as file:
        file.truncate(2**31)
    with pytest.raises(StepError, match="has 2147 MB, more than any such file"):
        Safe(folder, "refuse").verify(name)
    (folder / name).unlink()
    path = zipped(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open(name, "w") as file:
        for _ in range(601):
            file.write(bytes(10**6))
    with pytest.raises(StepError, match="has 601 MB, more than any such file"):
        Safe(path).read(name)


@pytest.mark.slow
def test_a_member_that_becomes_longer_than_it_says(product, tmp_path):
    """A compressed member is taken piece by piece up to the length that the directory tells."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(product / "MTD_MSIL1C.xml", "MTD_MSIL1C.xml")
        archive.writestr("AUX", bytes(200 * 10**6))
    content = bytearray(path.read_bytes())
    length = content.rindex(b"AUX") - 46 + 24
    content[length : length + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    safe = Safe(path)
    tracemalloc.start()
    with pytest.raises(StepError, match="CRC"):
        safe.read("AUX")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_xml_of_countless_elements(tmp_path):
    (tmp_path / "MTD_MSIL1C.xml").write_text("<a>" + "<b/>" * 5_000_000 + "</a>")
    with pytest.raises(StepError, match="has more elements than any"):
        product_name(tmp_path)


def test_the_name_is_the_metadatas_not_the_folders(product, tmp_path):
    safe = shutil.copytree(product, tmp_path / "renamed by hand")
    assert product_name(safe) == NAME


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["MTD_MSIL2A.xml", "manifest.safe"], "Level-2A product; give the Level-1C"),
        (["metadata.xml", "tileInfo.json", "B01.jp2"], "tileInfo.json: cannot be read|AWS layout, packed; unpack it"),
        (["S2A_OPER_MTD_SAFL1C_PDMC_20160905T073438_R002.xml"], "old format"),
        (["readme.txt"], "not a Sentinel-2 L1C product"),
        ([], "not a Sentinel-2 L1C product"),
    ],
)
@pytest.mark.parametrize("as_zip", [False, True])
def test_other_things_are_named_for_what_they_are(tmp_path, files, words, as_zip):
    folder = tmp_path / "given"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    path = zipped(folder, tmp_path / "given.zip", "x/") if as_zip else folder
    with pytest.raises(StepError, match=words) as caught:
        product_name(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_path_other_file_and_broken_zip(product, tmp_path):
    with pytest.raises(StepError, match="does not exist"):
        product_name(tmp_path / "no.SAFE")
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(StepError, match="neither a SAFE folder nor a zip"):
        product_name(tmp_path / "pipe.zip")
    (tmp_path / "a.tif").write_bytes(b"II*")
    with pytest.raises(StepError, match="neither a SAFE folder nor a zip"):
        product_name(tmp_path / "a.tif")
    whole = zipped(product, tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StepError, match=r"cut\.zip: the zip is broken"):
        product_name(tmp_path / "cut.zip")
    damaged = bytearray(whole)
    place = whole.index(b"<PRODUCT_URI>")
    damaged[place : place + 5] = b"00000"
    (tmp_path / "damaged.zip").write_bytes(damaged)
    with pytest.raises(StepError, match=r"MTD_MSIL1C\.xml: cannot be read .*CRC"):
        product_name(tmp_path / "damaged.zip")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (product_xml()[:900], "not valid XML"),
        ("", "not valid XML"),
        (product_xml().replace("Level-1C_User_Product", "Level-2A_User_Product"), "not the metadata of a Level-1C"),
        (product_xml().replace("IMAGE_FILE", "IMAGE_ID"), "old format"),
        (product_xml().replace(f"{NAME}.SAFE", "../../elsewhere.SAFE"), "PRODUCT_URI is '../../elsewhere'"),
    ],
)
def test_broken_product_metadata(tmp_path, text, words):
    (tmp_path / "MTD_MSIL1C.xml").write_text(text)
    with pytest.raises(StepError, match=words) as caught:
        product_name(tmp_path)
    assert "MTD_MSIL1C.xml" in str(caught.value)
    assert "\n" not in " ".join(str(caught.value).split())


def test_an_entity_in_the_metadata_reads_no_file(tmp_path):
    (tmp_path / "secret").write_text(f"{NAME}.SAFE")
    text = product_xml().replace(
        "<n1:Level-1C", f'<!DOCTYPE d [<!ENTITY e SYSTEM "{tmp_path}/secret">]><n1:Level-1C', 1
    )
    (tmp_path / "MTD_MSIL1C.xml").write_text(text.replace(f"{NAME}.SAFE", "&e;"))
    with pytest.raises(StepError, match="has a document type declaration"):
        product_name(tmp_path)


# ------------------------------------------------------------------------------------------- what its XML says


def test_everything_is_read_by_id(product):
    l1c = read_l1c(Safe(product), 300)
    scene = l1c.scene
    assert (scene.product, scene.satellite, scene.tile, scene.baseline) == (NAME, "S2A", "T31TCJ", "05.10")
    assert (scene.quantification, scene.earth_sun, scene.sun_zenith, scene.sun_azimuth) == (10000, 1.0334, 65.75, 162.6)
    assert (scene.grid.shape, scene.grid.left, scene.grid.top, scene.grid.epsg) == ((150, 150), 300000, 4900020, 32631)
    assert list(scene.bands) == list(PIXEL)
    assert l1c.images == {band: l1c_products.image_name(band) for band in PIXEL}
    for i, (name, band) in enumerate(scene.bands.items()):
        assert (band.offset, band.solar_irradiance) == (-1000, l1c_products.IRRADIANCE[name])
        assert band.response.wavelength.tolist() == [l1c_products.CENTRE[name] + step for step in (-1, 0, 1)]
        assert band.response.values == (0.25, 1, float(f"0.{i:02}"))
    assert (l1c.nodata, l1c.saturated) == (0, 65535)
    assert not scene.defaults


def test_scene_survives_its_file(product, tmp_path):
    scene = read_l1c(Safe(product), 300).scene
    scene.write(tmp_path / "metadata.json")
    again = Scene.read(tmp_path / "metadata.json")
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "metadata.json").read_bytes()
    assert (again.product, again.grid) == (scene.product, scene.grid)


@pytest.mark.parametrize("satellite", ["S2B", "S2C", "S2D"])
def test_no_offset_list_means_no_offset_and_other_satellites_are_some(product, tmp_path, satellite):
    shutil.copytree(product / GRANULE, tmp_path / GRANULE)
    (tmp_path / "MTD_MSIL1C.xml").write_text(product_xml(offset=0, baseline="02.04", satellite=satellite))
    (tmp_path / GRANULE / "MTD_TL.xml").write_text(tile_xml(satellite=satellite))
    scene = read_l1c(Safe(tmp_path), 300).scene
    assert scene.satellite == satellite
    assert {band.offset for band in scene.bands.values()} == {0}


def test_the_ground_segments_baseline_is_known(product, tmp_path, caplog):
    shutil.copytree(product / GRANULE, tmp_path / GRANULE)
    (tmp_path / "MTD_MSIL1C.xml").write_text(product_xml(baseline="05.12").replace("psd-14", "psd-15"))
    assert read_l1c(Safe(tmp_path), 300).scene.baseline == "05.12"
    assert "baseline" not in caplog.text


def test_a_newer_baseline_is_read_with_a_warning(product, tmp_path, caplog):
    shutil.copytree(product / GRANULE, tmp_path / GRANULE)
    (tmp_path / "MTD_MSIL1C.xml").write_text(product_xml(baseline="06.00", offset=-2000))
    assert read_l1c(Safe(tmp_path), 300).scene.bands["B05"].offset == -2000
    assert "baseline 06.00 is newer than any known" in caplog.text


@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "words"),
    [
        ("MTD_MSIL1C.xml", "QUANTIFICATION_VALUE", "OTHER", "Opening and ending tag mismatch"),
        ("MTD_MSIL1C.xml", "<U>.*?</U>", "", r"has no Reflectance_Conversion/U"),
        ("MTD_MSIL1C.xml", "<U>.*?</U>", "<U>one</U>", "U is 'one', which is no number"),
        ("MTD_MSIL1C.xml", r"_B8A<", "_B99<", "names no IMAGE_FILE of B8A"),
        ("MTD_MSIL1C.xml", '<RADIO_ADD_OFFSET band_id="4">-1000</RADIO_ADD_OFFSET>', "", "for 12 bands only"),
        ("MTD_MSIL1C.xml", 'SOLAR_IRRADIANCE bandId="4"', 'SOLAR_IRRADIANCE bandId="13"', "13 is no band"),
        ("MTD_MSIL1C.xml", "Sentinel-2A", "Landsat-9", "no Sentinel-2"),
        (f"{GRANULE}/MTD_TL.xml", "<NROWS>150<", "<NROWS>160<", "do not cover the same area"),
        (f"{GRANULE}/MTD_TL.xml", "<VALUES>65.5 ", "<VALUES>", "a table of Sun_Angles_Grid is incomplete"),
        (f"{GRANULE}/MTD_TL.xml", 'Grids bandId="12"', 'Grids bandId="13"', "bandId 13 is no band"),
        (f"{GRANULE}/MTD_TL.xml", 'NAME bandId="7"', 'NAME bandId="VII"', "bandId is 'VII', which is no number"),
        (f"{GRANULE}/MTD_TL.xml", "EPSG:32631", "UTM31", "no number"),
        (f"{GRANULE}/MTD_TL.xml", "<TILE_ID>", "<TILE_ID>broken", "broken"),
    ],
)
def test_a_broken_element_is_named_with_its_file(product, tmp_path, name, pattern, replacement, words):
    if words == "broken":
        pattern, replacement, words = "_T31TCJ_", "_", "names no tile"
    with pytest.raises(StepError, match=words) as caught:
        read_l1c(edited(product, tmp_path, name, pattern, replacement), 300)
    assert name in str(caught.value)


# ------------------------------------------------------------------------------------------- angles


def test_detectors_are_merged_as_directions_and_gaps_filled_from_the_nearest_node(product, tmp_path):
    nan = np.nan
    # Azimuths 350 and 10 average to 0, not to 180; the right column is seen by no detector.
    first = ([[4, 4, nan]] * 3, [[350, 350, nan]] * 3)
    second = ([[nan, 4, nan], [nan, 4, nan], [nan, nan, nan]], [[nan, 10, nan], [nan, 10, nan], [nan, nan, nan]])
    shutil.copytree(product, tmp_path, dirs_exist_ok=True)
    (tmp_path / GRANULE / "MTD_TL.xml").write_text(tile_xml(views={0: [first, second]}))
    l1c = read_l1c(Safe(tmp_path), 300)
    zenith, azimuth = l1c.angles["view_zenith_B01"], l1c.angles["view_azimuth_B01"]
    merged = np.degrees(np.arctan(np.tan(np.radians(4)) * np.cos(np.radians(10))))
    assert zenith[:, 0] == pytest.approx(4)
    assert azimuth[:, 0] == pytest.approx(350)
    assert zenith[0, 1:] == pytest.approx([merged, merged])
    assert np.cos(np.radians(azimuth[:2, 1:])) == pytest.approx(np.ones((2, 2)), abs=1e-9)
    assert azimuth[2, 1:] == pytest.approx([350, 350])
    assert l1c.scene.defaults[0].startswith("View angles: the product has no grid of B02, B03,")
    assert l1c.angles["view_zenith_B08"] == pytest.approx(np.full((3, 3), 2.7))
    assert l1c.angles["view_azimuth_B08"] == pytest.approx(np.full((3, 3), 107))
    assert l1c.angles["sun_azimuth"] == pytest.approx(np.full((3, 3), 162.5))
    # The first node is the corner of the tile.
    assert (l1c.nodes.left + 2500, l1c.nodes.top - 2500, l1c.nodes.resolution) == (300000, 4900020, 5000)


def test_means_that_are_nan_are_replaced(product, tmp_path):
    """As in real products: a NaN mean of the sun (T01WCP), view grids of one zero and NaN means (T34VEL)."""
    shutil.copytree(product, tmp_path, dirs_exist_ok=True)
    text = tile_xml(views={0: [([[0]], [[0]])]}).replace(">65.75<", ">NaN<").replace(">2.0<", ">NaN<")
    (tmp_path / GRANULE / "MTD_TL.xml").write_text(text)
    l1c = read_l1c(Safe(tmp_path), 300)
    assert (l1c.scene.sun_zenith, l1c.scene.sun_azimuth) == pytest.approx((65.5, 162.5))
    assert not l1c.angles["view_zenith_B01"].any()
    sun, view = l1c.scene.defaults
    assert sun == "Mean_Sun_Angle: nan and 162.6 degrees are implausible; the mean of Sun_Angles_Grid."
    assert "no grid of B01, B02" in view


# ------------------------------------------------------------------------------------------- auxiliary data


def test_auxiliary_data_in_the_units_of_the_pipeline(product):
    auxiliary = read_l1c(Safe(product), 300).scene.auxiliary
    assert auxiliary.ozone == pytest.approx(0.3, rel=1e-5)
    assert auxiliary.water_vapour == pytest.approx(2.1, rel=1e-6)
    assert auxiliary.pressure == pytest.approx(1013.25, rel=1e-6)
    assert set(auxiliary.cams) == {"aod469", "aod550", "duaod550"}
    assert np.array(auxiliary.cams["aod550"]) == pytest.approx(np.full((9, 9), 0.25))
    assert np.array(auxiliary.latitude)[:, 3] == pytest.approx(np.linspace(44.226, 43.259, 9), abs=6e-4)
    assert np.array(auxiliary.longitude)[3] == pytest.approx(np.linspace(0.496, 1.889, 9), abs=6e-4)


@pytest.mark.parametrize("content", [None, b"", b"GRIB", l1c_products.grib1(l1c_products.WEATHER)[:250]])
def test_ozone_is_the_configured_one_where_the_product_has_none(product, tmp_path, caplog, content):
    shutil.copytree(product, tmp_path, dirs_exist_ok=True)
    path = tmp_path / GRANULE / "AUX_DATA/AUX_ECMWFT"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    scene = read_l1c(Safe(tmp_path), 312).scene
    assert (scene.auxiliary.ozone, scene.auxiliary.water_vapour) == (0.312, None)
    *damage, sentence = scene.defaults
    assert sentence == "Ozone: the product has no AUX_ECMWFT with ozone; 312 DU from the configuration."
    assert [s.partition(":")[0] for s in damage] == ([] if content is None else ["Auxiliary data"])
    assert all(s in caplog.text for s in scene.defaults)


# ------------------------------------------------------------------------------------------- real products


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(("path", "facts"), REAL)
def test_real_product(path, facts, caplog):
    path = DATA / path
    before = sorted(path.rglob("*"))
    l1c = read_l1c(Safe(path), 300)
    scene = l1c.scene
    satellite, tile, baseline, offset, epsg, corner, sun, earth_sun = facts
    assert (scene.satellite, scene.tile, scene.baseline) == (satellite, tile, baseline)
    assert product_name(path) == scene.product
    assert re.sub(r"_N\d{4}", "", scene.product) == re.sub(r"_N\d{4}", "", path.stem)
    assert {b.offset for b in scene.bands.values()} == {offset}
    assert (scene.grid.epsg, scene.grid.left, scene.grid.top, scene.grid.shape) == (epsg, *corner, (10980, 10980))
    assert (scene.sun_zenith, scene.sun_azimuth) == pytest.approx(sun, abs=6e-5)
    assert scene.earth_sun == earth_sun
    assert tuple(b.solar_irradiance for b in scene.bands.values()) == IRRADIANCE[satellite]
    assert l1c.nodes.shape == (23, 23)
    check_angles(l1c)
    assert len(l1c.masks) == (27 if baseline > "04" else 66)
    assert "newer" not in caplog.text
    assert sorted(path.rglob("*")) == before


def check_angles(l1c):
    """Angles are complete, plausible, and close to the tile's means."""
    for name, table in l1c.angles.items():
        assert np.isfinite(table).all()
        if name.startswith("view_zenith"):
            assert table.max() < 13
    assert l1c.angles["sun_zenith"].mean() == pytest.approx(l1c.scene.sun_zenith, abs=0.1)
    assert l1c.angles["sun_azimuth"].mean() == pytest.approx(l1c.scene.sun_azimuth, abs=0.2)


def tile_files():
    names = ("MTD_TL*.xml", "metadata.xml")
    found = [p for n in names for p in DATA.glob(f"product_metadata/**/{n}")] + list(
        DATA.glob("l1c_aws*/*/metadata.xml")
    )
    return sorted(p for p in found if "Tile_ID" in p.read_text()[:400])


def write_around(text, folder):
    """Write a tile's metadata, and a product's to which they belong, whose datatake began as the tile was sensed."""
    text = text.replace("MSI_L2A", "MSI_L1C")
    names = ("TILE_ID", "DATASTRIP_ID", "SENSING_TIME")
    tile_id, datastrip, start = (re.search(rf"<{name}[^>]*>([^<]*)", text)[1] for name in names)
    time = datetime.fromisoformat(start).replace(microsecond=0)
    product = product_xml(satellite=tile_id[:3])
    changes = {
        l1c_products.TILE_ID.replace("S2A", tile_id[:3]): tile_id,
        l1c_products.DATASTRIP_ID.replace("S2A", tile_id[:3]): datastrip,
        "T31TCJ": re.search(r"_(T\d\d[A-Z]{3})_", tile_id)[1],
        "20240120T105341": f"{time:%Y%m%dT%H%M%S}",
        "2024-01-20T10:53:41.024Z": start,
        "2024-01-20T12:52:44.000000Z": start,
        "044807": re.search(r"_A(\d{6})_", tile_id)[1],
        ">1.0334<": f">{earth_sun_factor(time)}<",
    }
    for old, new in changes.items():
        product = product.replace(old, new)
    (folder / "MTD_MSIL1C.xml").write_text(product)
    granule = re.search("<IMAGE_FILE>(.*?)/IMG_DATA", product)[1]
    (folder / granule).mkdir(parents=True)
    (folder / granule / "MTD_TL.xml").write_text(text)


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("path", tile_files(), ids=lambda p: str(p.relative_to(DATA))[:80])
def test_angles_of_every_real_tile(path, tmp_path):
    """Tile metadata that come alone, or of the L2A product of the same format, given a product around them."""
    write_around(path.read_text(), tmp_path)
    l1c = read_l1c(Safe(tmp_path), 300)
    check_angles(l1c)
    # ESA's mean zenith is the mean over all nodes of all detectors. (Its mean azimuth is the mean of the numbers, which
    # is no direction where azimuths lie on both sides of north, so it is not compared.)
    text = path.read_text()
    for band, index in (("B02", 1), ("B12", 12)):
        mean = re.search(rf'<Mean_Viewing_Incidence_Angle bandId="{index}">\s*<ZENITH_ANGLE[^>]*>([\d.]+)<', text)
        tables = re.findall(rf'<Viewing_Incidence_Angles_Grids bandId="{index}".*?</Zenith>', text, re.DOTALL)
        rows = [re.findall("<VALUES>(.*?)</VALUES>", table) for table in tables]
        seen = np.zeros((23, 23), bool)
        for table in rows:
            seen |= np.isfinite(np.array([row.split() for row in table], dtype=float))
        if mean and seen.all():
            assert l1c.angles[f"view_zenith_{band}"].mean() == pytest.approx(float(mean[1]), abs=0.06)


@needs_shared
@pytest.mark.parametrize(
    ("folder", "epsg", "corner", "ozone", "water_vapour", "aod"),
    [
        # OZONE_VALUE of the L2A product of the same granule, DU; the rest from eccodes.
        ("safe_tree_l2a_n0509/*/GRANULE/*/AUX_DATA", 32634, (300000, 6100020), 277.37, 2.2776, 0.170),
        ("format_examples/l2a_n0511", 32632, (699960, 4700040), 296.66, 1.1028, 0.0549),
        ("l1c_safe_31TCJ_n0510/S2A*/GRANULE/*/AUX_DATA", 32631, (300000, 4900020), 308.4, 0.2913, 0.0188),
    ],
)
def test_real_auxiliary_data(tmp_path, folder, epsg, corner, ozone, water_vapour, aod):
    (tmp_path / "MTD_MSIL1C.xml").touch()
    (tmp_path / "G/AUX_DATA").mkdir(parents=True)
    for name in ("AUX_ECMWFT", "AUX_CAMSFO"):
        shutil.copy(next(DATA.glob(f"{folder}/{name}")), tmp_path / "G/AUX_DATA")
    auxiliary, defaults = read_auxiliary(Safe(tmp_path), PurePosixPath("G"), 0, Grid(epsg, *corner, 10, 10980, 10980))
    assert not defaults
    assert auxiliary.ozone * 1000 == pytest.approx(ozone, abs=0.3)
    assert auxiliary.water_vapour == pytest.approx(water_vapour, abs=1e-3)
    assert np.mean(auxiliary.cams["aod550"]) == pytest.approx(aod, abs=5e-4)
    parts = sum(np.array(auxiliary.cams[f"{n}aod550"]) for n in ("bc", "du", "om", "ss", "su"))
    assert (parts < np.array(auxiliary.cams["aod550"]) * 1.01).all()
    assert len(list((tmp_path / "G/AUX_DATA").iterdir())) == 2


@needs_shared
def test_real_products_in_other_formats_are_refused_by_name():
    for pattern, words in (
        ("safe_tree_l2a_n0509/*.SAFE", "Level-2A product"),
        ("product_metadata/*MSIL2A*.SAFE", "Level-2A product"),
    ):
        paths = list(DATA.glob(pattern))
        assert paths
        for path in paths:
            with pytest.raises(StepError, match=words):
                product_name(path)
