"""The L2A product as an EOPF Zarr: as readers of others see it, and against what it was made from."""

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from eopf_products import write_zarr
from l1c_products import DATASTRIP_ID, LEFT, NAME, TOP, mask_name, quality, write_product

from steps.core.documents import write_document
from steps.core.errors import StepError
from steps.core.rasters import Grid, write
from steps.l1c.formats import open_product
from steps.l1c.metadata import read_l1c
from steps.l2a import eopf
from steps.l2a.documents import _NO_REPORT
from steps.sentinel2.bands import BANDS, OUTPUT_BANDS
from steps.sentinel2.geometry import Swath
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, WVP
from steps.sentinel2.names import l2a_name
from steps.sentinel2.true_colour import block_mean
from steps.write_zarr import run

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED}: not there")
#: Environments of readers that want other versions of libraries than ours.
EOPF = Path(os.environ.get("EOPF_ENV", Path.home() / ".cache/eopf-2.8.1"))
XARRAY_EOPF = Path(os.environ.get("XARRAY_EOPF_ENV", Path.home() / ".cache/xarray-eopf-0.3.1"))
GRID = Grid(32631, LEFT, TOP, 10, 150, 150)
B02 = "measurements/reflectance/r10m/b02"


def views():
    x, y = np.meshgrid(LEFT + 5000.0 * np.arange(3), TOP - 5000.0 * np.arange(3))
    swath = Swath(290000, 4900000, 195)
    return {i: [swath.view(band, detector, x, y) for detector in (7, 8)] for i, band in enumerate(BANDS)}


@pytest.fixture(scope="session")
def l1c(tmp_path_factory):
    return write_product(tmp_path_factory.mktemp("l1c"), views=views(), block=1024)


def write_rasters(folder, l1c, part=None):
    """Write what the stages leave of a scene, or of a part of it; return the arguments it is for `run`."""
    scene = read_l1c(open_product(l1c), 331).scene
    if part:
        scene = dataclasses.replace(scene, grid=part, roi=part, tile_grid=scene.grid)
    scene.write(folder / "metadata.json")
    write_document(folder / "quality.json", _NO_REPORT)
    random = np.random.default_rng(3)
    for size, bands in OUTPUT_BANDS.items():
        grid = scene.grid.at(size)
        values = {
            band: random.integers(0, 65536, grid.shape, "u2") // random.integers(1, 9, dtype="u2") for band in bands
        }
        write(folder / f"boa_{size}.tif", BOA, grid, values)
        classes = {"SCL": random.integers(0, 12, grid.shape, "u1")}
        classes |= {name: random.integers(0, 101, grid.shape, "u1") for name in ("CLD", "SNW")}
        write(folder / f"scl_{size}.tif", CLASSIFICATION, grid, classes)
    coarse = scene.grid.at(20)
    write(folder / "aot.tif", AOT, coarse, {"AOT": random.integers(0, 2000, coarse.shape, "u2")})
    write(folder / "wvp.tif", WVP, coarse, {"WVP": random.integers(0, 5000, coarse.shape, "u2")})
    return {
        "l1c": l1c,
        "boa": [folder / f"boa_{size}.tif" for size in (10, 20, 60)],
        "aot": folder / "aot.tif",
        "wvp": folder / "wvp.tif",
        "classification": [folder / f"scl_{size}.tif" for size in (20, 60)],
        "metadata": folder / "metadata.json",
        "quality": folder / "quality.json",
    }


@pytest.fixture(scope="session")
def inputs(l1c, tmp_path_factory):
    return write_rasters(tmp_path_factory.mktemp("inputs"), l1c)


@pytest.fixture(scope="session")
def made(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / f"{l2a_name(NAME)}.zarr"
    run(**inputs, folder=folder)
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def raster(path, band=1):
    with rasterio.open(path) as file:
        return file.read(band)


@pytest.mark.slow
def test_numbers_are_those_of_the_stages(made, inputs):
    root = zarr.open_group(made, mode="r")
    for path, (size, bands) in zip(inputs["boa"], OUTPUT_BANDS.items(), strict=True):
        for number, band in enumerate(bands, 1):
            assert (root[f"measurements/reflectance/r{size}m/{band.lower()}"][:] == raster(path, number)).all()
    for name in ("aot", "wvp"):
        expected = raster(inputs[name])
        assert (root[f"quality/atmosphere/r10m/{name}"][:] == np.kron(expected, np.ones((2, 2), "u2"))).all()
        assert (root[f"quality/atmosphere/r20m/{name}"][:] == expected).all()
        assert (root[f"quality/atmosphere/r60m/{name}"][:] == block_mean(expected, 3)).all()
    for path, size in zip(inputs["classification"], (20, 60), strict=True):
        assert (root[f"conditions/mask/l2a_classification/r{size}m/scl"][:] == raster(path)).all()
    scl, cloud = (raster(inputs["classification"][0], n) for n in (1, 2))
    expected = np.where(scl == 0, np.nan, cloud)
    assert np.array_equal(root["quality/probability/r20m/cld"][:], expected, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("band", ["B02", "B11", "B12", "B01"])
def test_masks_are_those_of_the_l1c_product(made, band):
    root, size = zarr.open_group(made, mode="r"), {"B02": 10, "B01": 60}.get(band, 20)
    expected = (quality(band) << np.arange(8, dtype="u1")[:, None, None]).sum(axis=0)
    assert (root[f"quality/mask/r{size}m/{band.lower()}"][:] == expected).all()
    assert not root[f"conditions/mask/detector_footprint/r{size}m/{band.lower()}"][:].any()


@pytest.mark.slow
def test_angles_and_weather_are_those_of_the_l1c_product(made):
    root = zarr.open_group(made, mode="r")
    geometry = root["conditions/geometry"]
    assert (geometry["sun_angles"][:] == np.array([65.5, 162.5])[:, None, None]).all()
    assert list(geometry["mean_sun_angles"][:]) == [65.75, 162.6]
    found = geometry["viewing_incidence_angles"][:]
    assert found.shape == (13, 2, 2, 3, 3)
    expected = np.array([[tables for tables in views()[i]] for i in range(13)])
    assert np.allclose(found, expected, rtol=1e-5)  # as many digits as the metadata have
    assert list(geometry["band"][:]) == [band.lower() for band in BANDS]
    assert (geometry["x"][0], geometry["y"][0]) == (LEFT, TOP)
    weather = root["conditions/meteorology"]
    assert weather["ecmwf/msl"][4, 4] == 101325
    assert weather["cams/aod550"][0, 8] == 0.25
    assert np.isnan(weather["cams/aod865"][:]).all()
    assert weather["cams/latitude"][0] == 44.226


@pytest.mark.slow
def test_xarray_decodes_by_the_conventions(made, inputs):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    tree = xarray.open_datatree(made, engine="zarr")
    dataset = tree["measurements/reflectance/r10m"].to_dataset()
    stored = raster(inputs["boa"][0])
    expected = np.where(stored == 0, np.nan, stored / 10000 - 0.1)
    assert np.allclose(dataset.b02, expected, rtol=1e-6, atol=1e-7, equal_nan=True)
    assert dataset.rio.crs.to_epsg() == dataset.b02.rio.crs.to_epsg() == 32631
    assert dataset.b02.rio.transform() == GRID.transform
    assert tree["quality/atmosphere/r20m/aot"].max() == pytest.approx(raster(inputs["aot"]).max() / 1000)
    for path in ("conditions/mask/l2a_classification/r20m/scl", "quality/mask/r10m/b02"):
        assert tree[path].dtype == "uint8"  # classes and flags are no measurements
    meanings = tree["quality/mask/r10m/b02"].attrs["flag_meanings"].split()
    assert meanings[7] == "saturated_pixel"


def test_gdal_reads_it(made, inputs):
    with rasterio.Env() as env:
        if "Zarr" not in env.drivers():
            pytest.skip("this GDAL has no Zarr driver")
    with rasterio.open(f'ZARR:"{made}":/{B02}') as file:
        assert file.crs.to_epsg() == 32631
        assert (file.transform, file.nodata, file.scales, file.offsets) == (GRID.transform, 0, (1e-4,), (-0.1,))
        assert (file.read(1) == raster(inputs["boa"][0])).all()


def test_levels_are_told_as_geozarr_does(made):
    attributes = zarr.open_group(made, mode="r")["measurements/reflectance"].attrs
    levels = {level["asset"]: level for level in attributes["multiscales"]["layout"]}
    assert list(levels) == ["r10m", "r20m", "r60m"]
    assert levels["r60m"]["transform"] == {"scale": [6, 6], "translation": [2.5, 2.5]}
    assert levels["r60m"]["derived_from"] == "r10m"
    assert levels["r20m"]["spatial:transform"] == [20, 0, LEFT, 0, -20, TOP]


def test_all_is_in_consolidated_metadata(made):
    found = zarr.open_consolidated(made, mode="r")
    assert found.attrs["stac_discovery"]["id"] == l2a_name(NAME)
    for path in eopf.ASSETS.values():
        assert path in found


@needs_shared
def test_arrays_are_those_of_the_model():
    text = (SHARED / "data/eopf_zarr/cpm3_models.txt").read_text()
    text = text[text.index("##### L2A") :]
    assert set(re.findall(r"stac_discovery/assets/(\w+)/href", text)) == set(eopf.ASSETS)
    assert set(re.findall(r"^/(\S+) ", text, re.M)) == set(eopf.ASSETS.values())


@pytest.mark.slow
@needs_shared
@pytest.mark.skipif(not (EOPF / "bin/eopf").exists(), reason=f"EOPF-CPM is not in {EOPF}, see ../shared/tools/eopf")
def test_it_is_valid(made):
    done = subprocess.run(["bash", SHARED / "tools/eopf/validate.sh", made], capture_output=True, text=True)
    assert f"Product {made.name} is valid" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not XARRAY_EOPF.exists(), reason=f"xarray-eopf (it wants Zarr 2) is not in {XARRAY_EOPF}")
def test_xarray_eopf_reads_it(made):
    program = f"""
import xarray
tree = xarray.open_datatree({str(made)!r}, engine="eopf-zarr", op_mode="native")
assert tree["measurements/reflectance/r10m/b02"].shape == (150, 150)
data = xarray.open_dataset({str(made)!r}, engine="eopf-zarr", op_mode="analysis", resolution=20)
assert data.b02.shape == data.b05.shape == data.scl.shape == (75, 75)
assert "32631" in data.spatial_ref.attrs["crs_wkt"]
assert data.scl.dtype == "uint8"
"""
    subprocess.run([XARRAY_EOPF / "bin/python", "-c", program], check=True)


@pytest.mark.slow
def test_files_depend_on_neither_threads_nor_the_form_of_the_input(made, inputs, l1c, tmp_path):
    run(**inputs, folder=tmp_path / "three.zarr", threads=3)
    assert files(tmp_path / "three.zarr") == files(made)
    run(**inputs | {"l1c": write_zarr(l1c, tmp_path / "l1c.zarr")}, folder=tmp_path / "zarr.zarr")
    found, expected = files(tmp_path / "zarr.zarr"), files(made)
    assert set(found) == set(expected)
    # EOPF-CPM loses the numbers of the detectors
    assert {name for name in found if found[name] != expected[name]} == {"conditions/geometry/detector/0"}


@pytest.mark.slow
def test_images_are_cut_into_chunks(made, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(eopf, "CHUNK", 64)
    run(**inputs, folder=tmp_path / "small.zarr")
    small, whole = (zarr.open_group(path, mode="r") for path in (tmp_path / "small.zarr", made))
    assert len(list((tmp_path / "small.zarr" / B02).glob("[0-9]*"))) == 9
    for path in eopf.ASSETS.values():
        assert np.array_equal(small[path][:], whole[path][:], equal_nan=True)


@pytest.mark.slow
def test_a_part_of_a_tile(l1c, made, tmp_path):
    part = Grid(32631, LEFT + 480, TOP - 240, 10, 96, 96)
    run(**write_rasters(tmp_path, l1c, part), folder=tmp_path / "part.zarr")
    root, whole = zarr.open_group(tmp_path / "part.zarr", mode="r"), zarr.open_group(made, mode="r")
    assert root[B02].shape == (96, 96)
    assert list(root[B02].attrs["proj:bbox"]) == [LEFT + 480, TOP - 1200, LEFT + 1440, TOP - 240]
    assert (root["quality/mask/r10m/b02"][:] == whole["quality/mask/r10m/b02"][24:120, 48:144]).all()
    assert root["quality/mask/r10m/b02"][:].any()
    assert root["conditions/geometry/x"][0] == LEFT + 480


@pytest.mark.slow
def test_polygons_become_masks(tmp_path):
    l1c = write_product(tmp_path, masks="gml", views=views())
    square = [(LEFT, TOP), (LEFT + 600, TOP), (LEFT + 600, TOP - 300), (LEFT, TOP - 300), (LEFT, TOP)]
    from l1c_products import gml, renew_manifest

    (l1c / mask_name("SATURA", "B02", "gml")).write_text(gml("QT_SATURATED_PIXELS", square))
    renew_manifest(l1c)
    run(**write_rasters(tmp_path, l1c), folder=tmp_path / "a.zarr")
    expected = np.zeros((150, 150), "u1")
    expected[:30, :60] = 128
    assert (zarr.open_group(tmp_path / "a.zarr", mode="r")["quality/mask/r10m/b02"][:] == expected).all()


@pytest.mark.slow
def test_what_the_l1c_product_lacks_is_zero_or_unknown(tmp_path):
    l1c = write_product(tmp_path, masks="", auxiliary=False)
    run(**write_rasters(tmp_path, l1c), folder=tmp_path / "a.zarr")
    root = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert not root["quality/mask/r10m/b02"][:].any()
    assert np.isnan(root["conditions/meteorology/ecmwf/tco3"][:]).all()
    assert root["conditions/meteorology/ecmwf/latitude"][0] == pytest.approx(44.226, abs=0.01)
    assert set(root.attrs["stac_discovery"]["assets"]) == set(eopf.ASSETS)


def test_identifiers_are_our_own(made):
    properties = zarr.open_group(made, mode="r").attrs["stac_discovery"]["properties"]
    assert properties["eopf:datatake_id"] == "GS2A_20240120T105341_044807_N99.01"
    assert properties["eopf:datastrip_id"] == DATASTRIP_ID.replace("OPER", "USER").replace("L1C", "L2A").replace(
        "2APS", "S2FL"
    ).replace("N05.10", "N99.01")
    assert properties["processing:lineage"].endswith(NAME)


def test_nothing_is_left_of_what_fails(inputs, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/wvp.tif", WVP, Grid(32631, LEFT, TOP, 20, 60, 60), {"WVP": np.ones((60, 60), "u2")})
    (tmp_path / "out").mkdir()
    with pytest.raises(StepError, match="its pixels are not those of the scene; run its stage again"):
        run(**inputs | {"wvp": tmp_path / "in/wvp.tif"}, folder=tmp_path / "out/a.zarr")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_told(inputs, tmp_path, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_array", no_space)
    with pytest.raises(StepError, match="cannot be written .*No space left"):
        run(**inputs, folder=tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_from_a_zarr_gives_the_same_images(checkout, tmp_path):
    """The demo as a Zarr, by the whole pipeline."""
    demo = next((checkout.folder / "results/demo").glob("*.SAFE"))
    write_zarr(demo, tmp_path / "demo.zarr")
    output = checkout.folder / "from_zarr"
    checkout.snakemake(f"input={tmp_path}/demo.zarr output=from_zarr formats='[cog,zarr]' keep_intermediates=false")
    product = checkout.product.name
    for path in (checkout.product / "cog").glob("*.tif"):
        assert path.read_bytes() == (output / product / "cog" / path.name).read_bytes()
    array = zarr.open_group(output / f"{product}.zarr", mode="r")[B02][:]
    assert (array == raster(checkout.product / "cog/blue.tif")).all()
