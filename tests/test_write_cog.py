"""The COGs hold the stages' numbers unchanged, with all that a reader needs to understand them."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate
from small_scene import GRID, write_small_scene

from steps.core.errors import StepError
from steps.core.rasters import write
from steps.l2a.assets import ASSETS
from steps.sentinel2.kinds import AOT, BOA
from steps.sentinel2.scene_classes import SCL_COLOURS
from steps.write_cog import run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_small_scene(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def cogs(inputs, tmp_path_factory):
    """Resolution to folder of the COGs of a complete product that have it."""
    whole = tmp_path_factory.mktemp("cogs") / "cog"
    run(**inputs(20) | {"boa": [inputs(size)["boa"][0] for size in (10, 20, 60)]}, cogs=whole)
    folders = {}
    for path in sorted(whole.iterdir()):
        with rasterio.open(path) as file:
            folder = folders.setdefault(round(file.res[0]), whole.with_name(f"R{file.res[0]:.0f}m"))
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    return folders


@pytest.fixture(params=[10, 20, 60])
def product(request, inputs, cogs):
    """Resolution, arguments and folder of the COGs."""
    return request.param, inputs(request.param), cogs[request.param]


@pytest.mark.slow
def test_every_asset_is_a_valid_cog(product):
    resolution, _, folder = product
    expected = {f"{key}.tif" for key, asset in ASSETS.items() if asset.resolution == resolution}
    assert {path.name for path in folder.iterdir()} == expected
    for path in folder.iterdir():
        assert cog_validate(path, strict=True) == (True, [], [])


@pytest.mark.slow
def test_files_say_what_their_numbers_mean(product):
    _, _, folder = product
    for path in folder.iterdir():
        asset = ASSETS[path.stem]
        with rasterio.open(path) as file:
            assert set(file.nodatavals) == {asset.kind.nodata}
            assert set(file.dtypes) == {asset.kind.dtype}
            assert set(file.scales) == {asset.kind.scale}
            assert set(file.offsets) == {asset.kind.offset}
            assert file.descriptions == asset.bands
            assert file.crs.to_epsg() == 32631
            assert file.transform == GRID.at(asset.resolution).transform
            assert file.shape == GRID.at(asset.resolution).shape
            assert set(file.block_shapes) == {(512, 512)} or max(file.shape) < 512
            assert file.tags()["TIFFTAG_COPYRIGHT"] == "Contains modified Copernicus Sentinel data 2024"
            assert file.tags()["TIFFTAG_DATETIME"] == "2024:01:20 10:54:33"
            assert "S2A_MSIL2A_20240120T105341_N9901" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
            assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
            assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"


@pytest.mark.slow
def test_reflectance_is_unchanged_and_read_in_physical_units(product):
    resolution, arguments, folder = product
    with rasterio.open(*arguments["boa"]) as boa:
        for key, asset in ASSETS.items():
            if asset.resolution == resolution and asset.kind == BOA:
                stored = boa.read(boa.descriptions.index(asset.bands[0]) + 1)
                with rasterio.open(folder / f"{key}.tif") as file:
                    np.testing.assert_array_equal(file.read(1), stored)
                    physical = file.read(1, masked=True) * file.scales[0] + file.offsets[0]
                    assert (physical.mask == (stored == 0)).all()
                    np.testing.assert_allclose(physical.compressed(), (stored[stored > 0] - 1000.0) / 10000)


def test_maps_are_unchanged(inputs, cogs):
    for key, source, band in (("aot", "aot", 1), ("wvp", "wvp", 1), ("scl", "classification", 1)):
        with rasterio.open(inputs(20)[source]) as expected, rasterio.open(cogs[20] / f"{key}.tif") as file:
            np.testing.assert_array_equal(file.read(1), expected.read(band))


def test_classes_have_colours_and_overviews_of_classes(cogs):
    with rasterio.open(cogs[20] / "scl.tif") as file:
        colours = file.colormap(1)
        assert [colours[code][:3] for code in range(12)] == list(SCL_COLOURS)
        full, half = file.read(1), file.read(1, out_shape=(450, 450))
    blocks = full.reshape(450, 2, 450, 2).swapaxes(1, 2).reshape(450, 450, 4)
    counts = np.stack([(blocks == code).sum(-1) for code in range(12)])
    counts[0] = 0  # no data has no vote
    chosen = np.take_along_axis(counts, half[None].astype(int), 0)[0]
    assert (chosen == counts.max(0))[half > 0].all()
    assert ((half == 0) == (blocks == 0).all(-1)).all()


def test_overviews_of_reflectance_are_averages_of_what_is_known(cogs):
    with rasterio.open(cogs[20] / "nir08.tif") as file:
        stored, half = file.read(1, masked=True), file.read(1, out_shape=(450, 450), masked=True)
    mean = stored.reshape(450, 2, 450, 2).mean((1, 3))
    assert (half.mask == mean.mask).all()
    assert abs(half - mean).max() <= 0.5


def test_probability_of_zero_is_valid(inputs, cogs):
    with rasterio.open(inputs(20)["classification"]) as file:
        scl, cloud, snow = file.read()
    for key, expected in (("cloud", cloud), ("snow", snow)):
        with rasterio.open(cogs[20] / f"{key}.tif") as file:
            values = file.read(1, masked=True)
        assert (values.mask == (scl == 0)).all()
        assert (values.compressed() == expected[scl > 0]).all()
        assert values.min() == 0


def test_true_colour(inputs, cogs):
    with rasterio.open(*inputs(10)["boa"]) as boa:
        stored = boa.read([boa.descriptions.index(band) + 1 for band in ("B04", "B03", "B02")]).astype(int)
    expected = np.where(stored == 0, 0, np.clip(stored - 1000, 0, 2500) * 254 // 2500 + 1)
    with rasterio.open(cogs[10] / "visual.tif") as file:
        np.testing.assert_array_equal(file.read(), expected)
        assert [colour.name for colour in file.colorinterp] == ["red", "green", "blue"]


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_bytes_do_not_depend_on_run_or_threads(inputs, tmp_path, compression):
    digests = []
    for threads in (1, 3, 32):  # the last writes each file by two threads of GDAL
        folder = tmp_path / str(threads)
        run(**inputs(20), cogs=folder, compression=compression, threads=threads)
        digests.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()})
    assert digests[0] == digests[1] == digests[2]
    with rasterio.open(tmp_path / "1/nir08.tif") as file:
        assert file.compression.name == compression


def test_a_raster_of_another_grid_is_refused(inputs, tmp_path):
    other = tmp_path / "aot.tif"
    write(other, AOT, GRID.at(60), {"AOT": np.zeros(GRID.at(60).shape, "u2")})
    with pytest.raises(StepError, match=r"aot.tif: its pixels are not those of the scene at 20 m"):
        run(**inputs(20) | {"aot": other}, cogs=tmp_path / "cogs" / "cog")
    assert not (tmp_path / "cogs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.5, 0.98])
def test_a_disk_that_is_full_is_named_and_nothing_is_left(inputs, cogs, tmp_path, share):
    """Files may grow to a share of what is needed only: fails in the overviews, in the middle, at the very end."""
    limit = int(share * max((cogs[20] / f"{key}.tif").stat().st_size for key in ("aot", "wvp")))
    program = f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); limit = {limit};"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit));"
    program += "import sys; from steps import write_cog; write_cog.cli(write_cog.run, sys.argv[1:])"
    given = {name: inputs(20)[name] for name in ("metadata", "aot", "wvp")} | {"cogs": tmp_path / "cog"}
    options = [f"--{name}={value}" for name, value in (given | {"products": "atmosphere"}).items()]
    done = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert re.search(r"(aot|wvp)\.tif: cannot be written", last)
    assert "check the output folder and its disk" in last
    assert not list(tmp_path.iterdir())
