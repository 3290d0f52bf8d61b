"""The STAC item: valid, complete, relative, and true to the files it refers to."""

import hashlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pystac.validation import RegisteredValidator
from small_scene import GRID, no_data, write_small_scene

from steps import catalog, publish_cog, write_cog
from steps.core.documents import write_document
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l2a import stac
from steps.sentinel2.footprint import footprint
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.scene_classes import SCL_CLASSES

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
NAME = "S2A_MSIL2A_20240120T105341_N9901_R051_T31TCJ_20240120T125329"
KEYS = {
    *("red", "green", "blue", "nir", "visual"),
    *("rededge1", "rededge2", "rededge3", "nir08", "swir16", "swir22", "aot", "wvp", "scl", "cloud", "snow"),
    *("coastal", "nir09"),
}
QUALITY = QualityReport(
    product=NAME,
    class_percentages=dict.fromkeys(SCL_CLASSES.values(), 100 / 11) | {"NODATA": 0},
    nodata_percentage=8.25,
    cloudy_over_land_percentage=27.0,
    aot_method="DDV",
    mean_aot550=0.12,
    aerosol_model="continental",
    mean_water_vapour=1.1,
    water_vapour_method="B09",
    ozone_dobson=331.0,
    ozone_source="CONFIG",
    negative_percentage={"B02": 0.1},
    ddv_percentage=5.0,
    dem_source="None",
    mean_elevation_km=0.0,
    mean_slope=0.0,
    terrain_corrected=False,
    defaults=("The ozone column is the configured one.",),
    software="Sen2Flow 0.1.0",
    aerosol_model_source="CONFIG",
    lut=("lut_continental.npz",),
    mean_reflectance={"B02": 0.05},
    outside_domain_percentage={},
)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    inputs = write_small_scene(folder)
    cogs = folder / "cog"
    boa = [path for resolution in (10, 20, 60) for path in inputs(resolution)["boa"]]
    write_cog.run(**inputs(20) | {"boa": boa}, cogs=cogs, compression="zstd")
    write_document(folder / "quality.json", QUALITY)
    return {"metadata": folder / "metadata.json", "quality": folder / "quality.json", "cogs": cogs}


@pytest.fixture(scope="module")
def product(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("products") / NAME / "cog"
    publish_cog.run(**arguments, folder=folder)
    catalog.run(folder.parents[1] / "catalog.json", folder.parents[1] / "collection.json")
    return folder


@pytest.fixture
def item(product):
    return pystac.Item.from_file(product / "item.json")


def is_valid(thing):
    """Validate by the core schemas and those of extensions that are at hand; raise at the first that is not met."""
    validator = RegisteredValidator.get_validator()
    folders = (SHARED / "data/format_examples/stac-schemas", Path(os.environ.get("STAC_SCHEMAS", "nowhere")))
    for path in (path for folder in folders for path in folder.glob("*.json")):
        schema = json.loads(path.read_text())
        validator.schema_cache[schema["$id"].rstrip("#")] = schema
    # The schemas of the other extensions are on the web only.
    thing.stac_extensions = [url for url in thing.stac_extensions if url in validator.schema_cache]
    return len(thing.validate()) == 1 + len(thing.stac_extensions)


@pytest.mark.slow
def test_the_item_is_valid(item):
    assert is_valid(item)


@pytest.mark.slow
def test_collection_and_catalog_are_valid(product):
    folder = product.parents[1]
    root = pystac.Catalog.from_file(folder / "catalog.json")
    assert is_valid(root)
    (collection,) = root.get_children()
    assert is_valid(collection)
    assert [found.id for found in root.get_items(recursive=True)] == [NAME]
    assert collection.extent.spatial.bboxes == [next(collection.get_items()).bbox]
    assert set(collection.item_assets) == KEYS | {"thumbnail"}


@pytest.mark.slow
def test_the_folder_can_be_moved(product, tmp_path):
    moved = shutil.copytree(product.parents[1], tmp_path / "moved")
    (item,) = pystac.Catalog.from_file(moved / "catalog.json").get_items(recursive=True)
    assert item.get_collection().id == stac.COLLECTION
    assert Path(item.assets["red"].get_absolute_href()).samefile(moved / NAME / "cog/red.tif")


def test_an_item_is_read_without_its_catalog(product, tmp_path):
    alone = shutil.copytree(product, tmp_path / "cog")
    item = pystac.Item.from_file(alone / "item.json")
    assert item.to_dict()["assets"]["red"]["href"]
    assert Path(item.assets["red"].get_absolute_href()).samefile(alone / "red.tif")


def finish(item, folder, name):
    made = json.loads(item.read_text()) | {"id": name}
    (folder / name / "cog").mkdir(parents=True)
    (folder / name / "cog/item.json").write_text(json.dumps(made))
    catalog.run(folder / "catalog.json", folder / "collection.json")


def test_products_that_end_at_once_are_all_listed(product, tmp_path):
    names = [f"{NAME[:-1]}{number}" for number in range(8)]
    runs = [multiprocessing.Process(target=finish, args=(product / "item.json", tmp_path, name)) for name in names]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0] * 8
    root = pystac.Catalog.from_file(tmp_path / "catalog.json")
    assert sorted(item.id for item in root.get_items(recursive=True)) == names


def test_an_empty_folder_has_no_catalog(tmp_path):
    with pytest.raises(StepError, match="no product with COGs"):
        catalog.run(tmp_path / "catalog.json", tmp_path / "collection.json")


def test_links_are_absolute_on_request(arguments, tmp_path):
    url = "https://example.org/l2a"
    publish_cog.run(**arguments, folder=tmp_path / NAME / "cog", url=f"{url}/")
    catalog.run(tmp_path / "catalog.json", tmp_path / "collection.json", url)
    for path in (tmp_path / NAME / "cog/item.json", tmp_path / "catalog.json", tmp_path / "collection.json"):
        document = json.loads(path.read_text())
        links = {link["rel"]: link["href"] for link in document["links"]}
        assert links["self"] == f"{url}/{path.relative_to(tmp_path)}"
        assert all(href.startswith("https://") for href in links.values())
        for key, asset in document.get("assets", {}).items():
            assert asset["href"].startswith(f"{url}/{NAME}/cog/{key}.")


def test_files_have_size_and_checksum(item, product):
    for asset in item.assets.values():
        content = (product / asset.href).read_bytes()
        assert asset.extra_fields["file:size"] == len(content)
        # A multihash: code of SHA-256, 32 bytes, the digest.
        assert bytes.fromhex(asset.extra_fields["file:checksum"]) == b"\x12\x20" + hashlib.sha256(content).digest()


def test_every_asset_is_there_under_its_key(item, product):
    assert set(item.assets) == KEYS | {"thumbnail"}
    assert {path.name for path in product.iterdir()} == {"item.json", "thumbnail.jpg", *(f"{key}.tif" for key in KEYS)}
    for key, asset in item.assets.items():
        assert asset.href.startswith("./"), key
        assert (product / asset.href).exists()
    assert not [
        link for link in item.links if link.rel == "self" and str(product) in (product / "item.json").read_text()
    ]


def test_the_item_says_what_the_files_say(item, product):
    for key in KEYS:
        fields = item.assets[key].extra_fields
        with rasterio.open(product / f"{key}.tif") as file:
            assert len(fields["raster:bands"]) == file.count
            for index, band in enumerate(fields["raster:bands"]):
                assert band["scale"] == file.scales[index]
                assert band["offset"] == file.offsets[index]
                assert band["nodata"] == file.nodatavals[index]
                assert band["data_type"] == file.dtypes[index]
                assert band["spatial_resolution"] == file.res[0] == fields["gsd"]
            assert tuple(fields["proj:shape"]) == file.shape
            assert fields["proj:transform"] == list(file.transform)[:6]
            assert [band["name"] for band in fields.get("eo:bands", [])] in ([], list(file.descriptions))
            assert [band["name"] for band in fields["bands"]] == list(file.descriptions)
            # STAC 1.1 says the same in `bands`.
            for old, new in zip(fields["raster:bands"], fields["bands"], strict=True):
                common = {key: old[key] for key in ("data_type", "nodata", "unit") if key in old}
                others = {f"raster:{key}": value for key, value in old.items() if key not in common}
                assert common | others == {k: v for k, v in new.items() if k != "name" and not k.startswith("eo:")}


def test_the_files_are_links_not_copies(arguments, product):
    for path in arguments["cogs"].glob("*.tif"):
        assert path.samefile(product / path.name)


def test_properties(item):
    assert item.id == NAME
    assert item.datetime.isoformat() == "2024-01-20T10:54:33.024000+00:00"
    expected = {
        "platform": "sentinel-2a",
        "proj:code": "EPSG:32631",
        "grid:code": "MGRS-31TCJ",
        "eo:snow_cover": pytest.approx(100 / 11),
        "eo:cloud_cover": pytest.approx(300 / 11),
        "view:sun_elevation": 24.75,
        "sat:relative_orbit": 51,
        "s2:processing_baseline": "99.01",
        "s2:nodata_pixel_percentage": 8.25,
        "s2:high_proba_clouds_percentage": pytest.approx(100 / 11),
        "s2:saturated_defective_pixel_percentage": pytest.approx(100 / 11),
        "sen2flow:aot_method": "DDV",
        "sen2flow:defaults": ["The ozone column is the configured one."],
        "attribution": "Contains modified Copernicus Sentinel data 2024",
    }
    assert {key: item.properties[key] for key in expected} == expected


def test_bands_and_classes(item):
    (red,) = item.assets["red"].extra_fields["eo:bands"]
    assert red == {"name": "B04", "common_name": "red", "center_wavelength": 0.4925, "full_width_half_max": 0.002}
    (band,) = item.assets["red"].extra_fields["bands"]
    assert {key: band[f"eo:{key}"] for key in red if key != "name"} == {k: v for k, v in red.items() if k != "name"}
    classes = item.assets["scl"].extra_fields["classification:classes"]
    assert [entry["value"] for entry in classes] == list(range(12))
    assert classes[3] == {"value": 3, "name": "cloud_shadow", "color_hint": "643200"}


def test_the_thumbnail_shows_the_scene(product):
    with rasterio.open(product / "thumbnail.jpg") as file, rasterio.open(product / "visual.tif") as visual:
        assert file.shape == (343, 343)
        small = visual.read(out_shape=(3, 343, 343)).astype(int)
        inside = np.abs(file.read().astype(int) - small)[:, 200:, 50:]
        assert inside.mean() < 15


def test_the_bytes_are_the_same_again(arguments, product, tmp_path):
    publish_cog.run(**arguments, folder=tmp_path / "again")
    for path in product.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_missing_cog_is_named_and_nothing_is_left(arguments, tmp_path):
    some = tmp_path / "some"
    shutil.copytree(arguments["cogs"], some, ignore=shutil.ignore_patterns("coastal.tif"))
    with pytest.raises(StepError, match=r"coastal.tif: is not in"):
        publish_cog.run(**arguments | {"cogs": some}, folder=tmp_path / "cog")
    assert list(tmp_path.iterdir()) == [some]


def test_the_footprint_follows_the_edge_of_the_swath(item):
    """The corners, projected back, are those of the slanted edge and of the tile."""
    from rasterio.warp import transform

    ring = np.array(item.geometry["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    area = np.sum(ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1])
    assert area > 0  # counter-clockwise
    x, y = np.array(transform("EPSG:4326", "EPSG:32631", *ring.T))
    x, y = x - GRID.left, GRID.top - y
    for corner in ((6000, 0), (18000, 0), (18000, 18000), (0, 18000), (0, 9000)):
        assert np.hypot(x - corner[0], y - corner[1]).min() < 30
    assert len(ring) < 12
    assert item.bbox == pytest.approx([*ring.min(axis=0), *ring.max(axis=0)])


def test_footprint_of_one_pixel():
    valid = np.zeros((4, 4), bool)
    valid[1, 2] = True
    geometry, bbox = footprint(valid, Grid(32631, 500000, 0, 1000, 4, 4))
    assert len(geometry["coordinates"][0]) == 5
    assert bbox == pytest.approx([3 + 2000 / 111320, -2000 / 110574, 3 + 3000 / 111320, -1000 / 110574], abs=1e-4)


def test_footprint_across_the_antimeridian():
    """Zone 60 ends at 180 degrees, which at the equator is 833979 m east of the zone's origin."""
    geometry, bbox = footprint(np.ones((10, 20), bool), Grid(32660, 823979, 10000, 1000, 20, 10))
    assert geometry["type"] == "MultiPolygon"
    west, east = (np.array(polygon[0]) for polygon in geometry["coordinates"])
    assert west[:, 0].max() == 180
    assert east[:, 0].min() == -180
    assert np.ptp(west[:, 0]) == pytest.approx(np.ptp(east[:, 0]), rel=1e-2)
    assert bbox[0] > 179.9
    assert bbox[2] < -179.9


def test_a_product_without_data_is_refused(arguments, tmp_path):
    empty = shutil.copytree(arguments["cogs"], tmp_path / "empty")
    with rasterio.open(empty / "scl.tif") as file:
        profile = file.profile
    with rasterio.open(empty / "scl.tif", "w", **profile) as file:
        file.write(np.zeros((1, *file.shape), "u1"))
    with pytest.raises(StepError, match="no pixel of it has data"):
        publish_cog.run(**arguments | {"cogs": empty}, folder=tmp_path / "cog")
    assert no_data(GRID).any()


def test_pystac_client_lists_the_products(product):
    client = pytest.importorskip("pystac_client").Client.open(str(product.parents[1] / "catalog.json"))
    assert [found.id for found in client.get_items(recursive=True)] == [NAME]
    assert [found.id for found in client.get_collections()] == [stac.COLLECTION]


@pytest.mark.slow
def test_odc_stac_loads_bands_by_key_and_common_name(item, product):
    load = pytest.importorskip("odc.stac").load
    loaded = load([item], bands=["red", "nir", "scl"], chunks={})
    assert loaded.odc.crs == item.properties["proj:code"]
    assert loaded.red.nodata == 0
    with rasterio.open(product / "red.tif") as file:
        np.testing.assert_array_equal(loaded.red[0], file.read(1))
    assert "rededge1" in load([item], bands=["rededge1"], chunks={})


def test_rio_tiler_reads_scaled_numbers(product):
    reader = pytest.importorskip("rio_tiler.io").STACReader
    with reader(str(product / "item.json")) as found, rasterio.open(product / "red.tif") as file:
        image = found.preview(assets=["red"], max_size=100)
        small = file.read(1, out_shape=image.array.shape[1:])
    np.testing.assert_array_equal(image.array[0].filled(0), small)


def test_stackstac_scales_where_it_is_told_the_grid(item, product):
    """Version 0.5 looks for `proj:epsg`, which version 2 of the extension forbids and pystac takes out.

    Without it takes bounds and resolution from the footprint, and so all three are given.
    """
    stack = pytest.importorskip("stackstac").stack
    item.make_asset_hrefs_absolute()
    with pytest.raises(ValueError, match="Cannot pick a common CRS"):
        stack([item], assets=["red"])
    grid = {"epsg": int(item.properties["proj:code"].removeprefix("EPSG:")), "bounds": item.properties["proj:bbox"]}
    stacked = stack([item], assets=["red"], **grid, resolution=10)
    with rasterio.open(product / "red.tif") as file:
        numbers = file.read(1).astype("f8")
    expected = np.where(numbers == 0, np.nan, numbers * 1e-4 - 0.1)
    np.testing.assert_allclose(stacked[0, 0].values, expected, atol=1e-12)
