"""EOPF Zarrs as input: the same results as of the SAFE they were made of, and one line for each that is broken."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from eopf_products import write_zarr
from l1c_products import NAME, PIXEL, write_product
from lxml import etree

from steps.core.errors import StepError
from steps.import_l1c import run
from steps.l1c import wavelet
from steps.l1c.angles import _tables
from steps.l1c.documents import Xml
from steps.l1c.eopf_angles import order_of_bands
from steps.l1c.formats import open_product, product_name
from steps.l1c.metadata import read_l1c
from steps.sentinel2.bands import BANDS
from steps.sentinel2.geometry import Swath

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED}: not there")
SAMPLES = SHARED / "data/eopf_zarr"
#: The order in which many real products list their angles.
ORDER = ["B01", "B05", "B06", "B12", "B02", "B03", "B04", "B08", "B07", "B8A", "B09", "B10", "B11"]
OUTPUTS = ("metadata", "angles", "toa_10m", "toa_20m", "toa_60m", "mask", "overview")


def views():
    """Return the angles of two detectors at 3 x 3 nodes, by band."""
    x, y = np.meshgrid(300000 + 5000.0 * np.arange(3), 4900020 - 5000.0 * np.arange(3))
    swath = Swath(290000, 4900000, 195)
    return {i: [swath.view(band, detector, x, y) for detector in (7, 8)] for i, band in enumerate(PIXEL)}


@pytest.fixture(scope="session")
def safe(tmp_path_factory):
    """A product whose images have the tiles of real ones."""
    return write_product(tmp_path_factory.mktemp("safe"), views=views(), block=1024)


@pytest.fixture(scope="session")
def imported(safe, tmp_path_factory):
    return imported_from(safe, tmp_path_factory.mktemp("imported"))


def imported_from(product, folder):
    run(product, *(folder / name for name in OUTPUTS))
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="session")
def sound(safe, tmp_path_factory):
    """A Zarr that is complete and right."""
    return write_zarr(safe, tmp_path_factory.mktemp("zarr") / "l1c.zarr")


@pytest.fixture
def product(sound, tmp_path):
    """The same to spoil."""
    return shutil.copytree(sound, tmp_path / "l1c.zarr")


def refusal(path):
    with pytest.raises(StepError) as error:
        read_l1c(open_product(path), 331)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(product, name, change):
    """Change a document of a Zarr of format 2, and the consolidated one."""
    for path, key in ((product / name, None), (product / ".zmetadata", name)):
        document = json.loads(path.read_text())
        change(document["metadata"][key] if key else document)
        path.write_text(json.dumps(document))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["cpm", "samples"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_results_are_those_of_the_safe(safe, imported, tmp_path, version, zarr_format):
    path = write_zarr(safe, tmp_path / "a.zarr", version, zarr_format, ORDER)
    assert product_name(path) == NAME
    (tmp_path / "out").mkdir()
    found = imported_from(path, tmp_path / "out")
    assert [name for name in OUTPUTS if found[name] != imported[name]] == []


@pytest.mark.slow
def test_results_do_not_depend_on_the_tiles_of_images(safe, imported, tmp_path):
    """As those of a SAFE that is encoded otherwise."""
    other = write_product(tmp_path, views=views(), block=64)
    (tmp_path / "out").mkdir()
    found = imported_from(other, tmp_path / "out")
    assert [name for name in OUTPUTS if found[name] != imported[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("version", ["cpm", "samples"])
def test_identifiers_are_those_of_the_safe_as_far_as_they_are_told(safe, tmp_path, version):
    """Samples have no datastrip; what stands in for it keeps the granule's name."""
    source = open_product(write_zarr(safe, tmp_path / "a.zarr", version))
    tile = etree.fromstring(source.read(next(name for name in source.names() if name.endswith("MTD_TL.xml"))))
    original = etree.parse(next(safe.rglob("MTD_TL.xml")))
    assert tile.findtext(".//TILE_ID") == original.findtext(".//TILE_ID")
    told = tile.findtext(".//DATASTRIP_ID") == original.findtext(".//DATASTRIP_ID")
    assert told == (version == "cpm")


@pytest.mark.slow
def test_zarr_is_not_imported_for_a_name(sound):
    words = f"import sys; from steps.l1c.formats import product_name; print(product_name({str(sound)!r})); "
    words += "assert not {'zarr', 'rasterio', 'numba'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == NAME


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (129, 200), (1100, 1002), (1030, 2051)])
def test_coarser_images_are_those_of_a_decoder(tmp_path, height, width):
    """Against OpenJPEG, in tiles and at edges of odd size."""
    import rasterio

    values = np.random.default_rng(7).integers(0, 65535, (height, width)).astype("u2")
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "RESOLUTIONS": "5", "blockxsize": 1024, "blockysize": 1024}
    profile = {"driver": "JP2OpenJPEG", "count": 1, "dtype": "uint16", "height": height, "width": width}
    (tmp_path / "MTD_MSIL1C.xml").touch()
    with rasterio.open(tmp_path / "a.jp2", "w", **profile, **options) as image:
        image.write(values[None])
    for factor in (2, 4, 8):
        expected = open_product(tmp_path).reduced("a.jp2", factor)
        assert (wavelet.reduced(values, 10, factor) == expected).all()


# What a product may be like


@pytest.mark.slow
def test_offset_is_one_level_down_or_that_of_the_baseline(safe, product):
    expected = read_l1c(open_product(safe), 331).scene
    for band in ("r10m/b02", "r20m/b8a"):
        edit(product, f"measurements/reflectance/{band}/.zattrs", lambda a: a["_eopf_attrs"].pop("add_offset"))
    assert read_l1c(open_product(product), 331).scene == expected


@pytest.mark.slow
def test_older_products_have_no_offset(tmp_path):
    safe = write_product(tmp_path, offset=0)
    path = write_zarr(safe, tmp_path / "a.zarr")
    found, expected = (read_l1c(open_product(p), 331).scene for p in (path, safe))
    assert found == expected
    assert {band.offset for band in found.bands.values()} == {0}


@pytest.mark.slow
def test_pressure_in_hectopascal(product):
    expected = read_l1c(open_product(product), 331).scene.auxiliary.pressure
    assert expected == pytest.approx(1013.25, abs=0.01)
    group = zarr.open_group(product, zarr_format=2)["conditions/meteorology/ecmwf"]
    group["msl"][:] = group["msl"][:] / 100
    assert read_l1c(open_product(product), 331).scene.auxiliary.pressure == pytest.approx(expected, rel=1e-6)


def test_a_chunk_that_is_missing_is_told(product, tmp_path):
    (product / "measurements/reflectance/r10m/b03/1.1").unlink()
    (tmp_path / "out").mkdir()
    found = json.loads(imported_from(product, tmp_path / "out")["metadata"])
    assert "Chunks: the Zarr lacks 1 of B03; their pixels count as without data." in found["defaults"]


@pytest.mark.slow
def test_without_masks_and_meteorology(product, tmp_path):
    for folder in ("quality", "conditions/meteorology"):
        shutil.rmtree(product / folder)
    zarr.consolidate_metadata(product)
    (tmp_path / "out").mkdir()
    words = " ".join(json.loads(imported_from(product, tmp_path / "out")["metadata"])["defaults"])
    assert "13 of 13 mask files" in words
    assert "no AUX_ECMWFT" in words


@pytest.mark.parametrize("seed", range(3))
def test_bands_of_angles_are_known_by_where_they_look(seed):
    place = np.random.default_rng(seed).permutation(13)
    tables = np.array([views()[i] for i in place])
    assert [place[i] for i in order_of_bands(tables)] == list(range(13))
    assert order_of_bands(np.full_like(tables, 5)) is None
    assert order_of_bands(np.full_like(tables, np.nan)) is None


@pytest.mark.slow
@needs_shared
def test_bands_of_angles_are_known_in_real_products():
    """In those of Sentinel-2A and 2B from 2015 to 2024, whatever order they are in."""
    found = 0
    for path in sorted((SHARED / "data").rglob("MTD_TL.xml")):
        tile = Xml(etree.parse(path).getroot(), str(path))
        grids = {}
        for grid in tile.root.iterfind(".//{*}Viewing_Incidence_Angles_Grids"):
            if (table := _tables(tile, grid, "")[0]).shape == (2, 23, 23):
                grids[int(grid.get("bandId")), int(grid.get("detectorId"))] = table
        if len({band for band, _ in grids}) < 13:
            continue
        missing = np.full((2, 23, 23), np.nan)
        place = np.random.default_rng(found).permutation(13)
        tables = np.array([[grids.get((band, d), missing) for d in range(1, 13)] for band in place])
        assert [place[i] for i in order_of_bands(tables)] == list(range(13)), path
        found += 1
    assert found >= 15


@needs_shared
def test_metadata_of_a_real_sample(tmp_path):
    """Its attributes and shapes, with angles of our own, since its chunks are not there."""
    tree = json.loads((SAMPLES / "S2B_L1C_N0511_T32TLQ.zmetadata.json").read_text())
    metadata = {}

    def visit(node, path):
        prefix = f"{path}/" if path else ""
        if "members" in node:
            metadata[f"{prefix}.zgroup"] = {"zarr_format": 2}
            for name, member in node["members"].items():
                visit(member, f"{prefix}{name}")
        else:
            metadata[f"{prefix}.zarray"] = {k: v for k, v in node.items() if k != "attributes"}
        metadata[f"{prefix}.zattrs"] = node["attributes"]

    visit(tree, "")
    for name, document in metadata.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": metadata}))
    geometry = zarr.open_group(tmp_path, zarr_format=2)["conditions/geometry"]
    geometry["band"][:] = np.array([band.lower() for band in BANDS])
    geometry["detector"][:] = np.arange(1, 8)
    geometry["sun_angles"][:] = np.array([67.5, 164.5])[:, None, None]
    geometry["mean_sun_angles"][:] = [67.5187, 164.5012]
    geometry["viewing_incidence_angles"][:] = 5
    geometry["x"][:], geometry["y"][:] = 300000 + 5000 * np.arange(23), 5000040 - 5000 * np.arange(23)
    scene = read_l1c(open_product(tmp_path), 331).scene
    assert product_name(tmp_path) == scene.product == "S2B_MSIL1C_20250113T103309_N0511_R108_T32TLQ_20250113T122458"
    assert (scene.satellite, scene.tile, scene.baseline) == ("S2B", "T32TLQ", "05.11")
    assert scene.sensing_time == "2025-01-13T10:38:32.156995Z"
    assert (scene.grid.epsg, scene.grid.left, scene.grid.top, scene.grid.shape) == (32632, 3e5, 5000040, (10980, 10980))
    assert scene.earth_sun == pytest.approx(1.03411, abs=1e-5)
    assert scene.bands["B01"].solar_irradiance == 1874.3
    assert scene.bands["B8A"].response.wavelength[0] == 848
    assert {band.offset for band in scene.bands.values()} == {-1000}


@needs_shared
def test_the_other_real_sample_is_refused_by_its_level(tmp_path):
    tree = json.loads((SAMPLES / "S2A_L2A_N0511_T32TQM.zmetadata.json").read_text())
    metadata = {".zattrs": tree["attributes"], ".zgroup": {"zarr_format": 2}}
    for name, document in metadata.items():
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / ".zmetadata").write_text(json.dumps({"metadata": metadata}))
    assert "is a Level-2A product; give the Level-1C product" in refusal(tmp_path)


# What is wrong is told in one line


def without(name):
    def change(product):
        shutil.rmtree(product / name)
        zarr.consolidate_metadata(product)

    return change


def attribute(name, key, value):
    return lambda product: edit(product, f"{name}/.zattrs".lstrip("/"), lambda document: document.update({key: value}))


def replaced(name, values):
    def change(product):
        shutil.rmtree(product / name)
        zarr.open_group(product, zarr_format=2).create_array(name, data=values)
        zarr.consolidate_metadata(product)

    return change


def fill(name, value):
    def change(product):
        edit(product, f"{name}/.zarray", lambda document: document.update(fill_value=value))
        edit(product, f"{name}/.zattrs", lambda document: document["_eopf_attrs"].update(fill_value=value))

    return change


def fills(value):
    def change(product):
        for path in product.glob("measurements/reflectance/r*/b*"):
            fill(path.relative_to(product).as_posix(), value)(product)

    return change


def other(key):
    def change(product):
        edit(product, ".zattrs", lambda document: document["other_metadata"].pop(key))

    return change


def other_value(key, value):
    return lambda product: edit(product, ".zattrs", lambda document: document["other_metadata"].update({key: value}))


def stac(key, value):
    return lambda product: edit(product, ".zattrs", lambda document: document["stac_discovery"].update({key: value}))


def property_of(key, value):
    def change(product):
        edit(product, ".zattrs", lambda document: document["stac_discovery"]["properties"].update({key: value}))

    return change


def replaced_by_group(name):
    def change(product):
        shutil.rmtree(product / name)
        zarr.open_group(product, zarr_format=2).create_group(name)
        zarr.consolidate_metadata(product)

    return change


FACTOR = "reflectance_correction_factor_from_the_sun_earth_distance_variation_computed_using_the_acquisition_date"
B02 = "measurements/reflectance/r10m/b02"
SPOILED = {
    "no consolidated metadata": (lambda p: (p / ".zmetadata").unlink(), r"no consolidated metadata \(\.zmetadata\)"),
    "broken metadata": (lambda p: (p / ".zmetadata").write_text("{"), r"\.zmetadata: cannot be read"),
    "no band": (without(B02), rf"{B02}: is missing"),
    "no group": (without("measurements"), r"measurements/reflectance/r60m/b01: is missing"),
    "no angles": (without("conditions/geometry/sun_angles"), "geometry/sun_angles: is missing"),
    "no item": (lambda p: edit(p, ".zattrs", lambda a: a.pop("stac_discovery")), "no stac_discovery"),
    "no name": (lambda p: edit(p, ".zattrs", lambda a: a.pop("processing_history")), "names no product"),
    "no factor": (other(FACTOR), f"has no {FACTOR}"),
    "no responses": (other("band_description"), "has no Spectral_Response/VALUES"),
    "other fill": (fill(B02, 7), "bands differ in their fill value"),
    "wrong fill": (fills(65534), "NODATA.* is 65534, not 0"),
    "no fill": (fill(B02, None), "its fill value is not told"),
    "two fills": (
        lambda p: edit(p, f"{B02}/.zarray", lambda document: document.update(fill_value=65535)),
        "its fill value is (0 and 65535|65535 and 0)",
    ),
    "words for numbers": (other_value(FACTOR, "far"), f"{FACTOR} is 'far', which is no number"),
    "no time": (other_value("mean_sensing_time", "noon"), "mean_sensing_time is 'noon', which is no time"),
    "a list for a table": (other_value("band_description", [1]), "Spectral_Response"),
    "a text for a list": (stac("geometry", "here"), r"has metadata as no product has them"),
    "a number for bands": (property_of("bands", 7), r"has metadata as no product has them"),
    "no array": (replaced_by_group("conditions/geometry/sun_angles"), "sun_angles: (is missing|cannot be opened)"),
    "offset": (attribute(B02, "add_offset", -0.2), "RADIO_ADD_OFFSET of B02 in .* is -2000, not -1000"),
    "offset no number": (attribute(B02, "add_offset", "x"), "add_offset is 'x', which is no number"),
    "scale": (attribute(B02, "scale_factor", 1.0), "scale factors"),
    "angles of bands": (replaced("conditions/geometry/viewing_incidence_angles", np.zeros((12, 2, 2, 3, 3))), "fit"),
    "angles of a shape": (replaced("conditions/geometry/sun_angles", np.zeros((3, 3))), "has shape"),
    "nodes elsewhere": (replaced("conditions/geometry/x", np.arange(3) * 5000.0), "nodes begin at"),
    "level 2": (
        lambda p: edit(p, ".zattrs", lambda a: a["stac_discovery"]["properties"].update({"product:type": "S02MSIL2A"})),
        "is a Level-2A product",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "words"), SPOILED.values(), ids=SPOILED)
def test_a_broken_product_is_refused(product, spoil, words):
    spoil(product)
    assert re.search(words, refusal(product))


IMAGES = {
    "shape": (replaced("measurements/reflectance/r10m/b03", np.zeros((150, 149), "u2")), "149 x 150 pixels, and 150 x"),
    "type": (replaced("measurements/reflectance/r10m/b03", np.zeros((150, 150), "f4")), "float32, not uint16"),
    "chunk": (
        lambda p: (p / "measurements/reflectance/r10m/b03/0.0").write_bytes(b"\2\1\x33\2" + bytes(20)),
        "b03: cannot be decoded",
    ),
    "place": (
        attribute("measurements/reflectance/r10m/b03", "proj:transform", [10.0, 0, 300010.0, 0, -10.0, 4900020.0]),
        "upper left corner",
    ),
    "north": (
        attribute("measurements/reflectance/r10m/b03", "proj:transform", [10.0, 0, 300000.0, 0, 10.0, 4900020.0]),
        "not square with north up",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "words"), IMAGES.values(), ids=IMAGES)
def test_a_broken_image_is_refused_and_nothing_is_left(product, tmp_path, spoil, words):
    spoil(product)
    (tmp_path / "out").mkdir()
    with pytest.raises(StepError, match=words) as error:
        imported_from(product, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_path_that_is_not_there():
    with pytest.raises(StepError, match="does not exist; give the path of an L1C Zarr"):
        open_product(Path("/nowhere/a.zarr"))
