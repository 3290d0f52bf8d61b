import numpy as np
import pytest
import rasterio

from steps import quicklook
from steps.core.errors import StepError
from steps.core.rasters import Grid, write
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, TOA, WVP
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_COLOURS
from steps.sentinel2.true_colour import RGB, true_colour

GRID = Grid(32618, 435780, 4179420, 10, 1200, 1200)
PRODUCT = "S2A_MSIL1C_20160112T155500_N0204_R054_T18SVG_20161206T000000"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("product")

    def flat(grid, value, dtype="u2"):
        return np.full(grid.shape, value, dtype)

    scene = Scene(PRODUCT, "S2A", "T18SVG", "2016-01-12T15:58:00Z", "02.04", 1e4, 1.03, GRID, 61.7, 160.8, {})
    scene.write(tmp_path / "metadata.json")
    grid20 = GRID.at(20)
    # distinct colours before and after the correction
    for name, kind, numbers in (("toa", TOA, (2000, 2500, 3000)), ("boa", BOA, (1500, 2000, 1200))):
        bands = {band: flat(grid20, number) for band, number in zip(RGB, numbers, strict=True)}
        write(tmp_path / f"{name}.tif", kind, grid20, bands)
    classes = flat(grid20, 4, "u1")
    classes[:300] = 6
    write(tmp_path / "scl.tif", CLASSIFICATION, grid20, {"SCL": classes})
    write(tmp_path / "aot.tif", AOT, grid20, {"aot550": flat(grid20, 120)})
    write(tmp_path / "wvp.tif", WVP, grid20, {"water_vapour": flat(grid20, 0)})
    names = {"toa": "toa", "boa": "boa", "classification": "scl", "aot": "aot", "wvp": "wvp"}
    paths = {parameter: tmp_path / f"{name}.tif" for parameter, name in names.items()}
    return paths | {"metadata": tmp_path / "metadata.json"}


@pytest.fixture(scope="module")
def folder(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("result") / "quicklook"
    quicklook.run(**inputs, folder=folder)
    return folder


def _pixels(path):
    with rasterio.open(path) as picture:
        return picture.read()[:3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pictures_show_the_product(folder):
    assert sorted(p.stem for p in folder.iterdir()) == ["aot", "scl", "tci_boa", "tci_toa", "wvp"]
    for path in folder.iterdir():
        assert all(1000 <= n <= 1400 for n in _pixels(path).shape[1:])
    # a point of the map in the middle of the picture
    for name, numbers in (("tci_toa", (2000, 2500, 3000)), ("tci_boa", (1500, 2000, 1200))):
        middle = _pixels(folder / f"{name}.png")[:, 560, 625]
        np.testing.assert_array_equal(middle, true_colour(np.array(numbers)))
    classes = _pixels(folder / "scl.png")
    assert tuple(classes[:, 300, 625]) == SCL_COLOURS[6]
    assert tuple(classes[:, 750, 625]) == SCL_COLOURS[4]


@pytest.mark.slow
def test_pictures_are_of_what_was_made(inputs, folder, tmp_path):
    quicklook.run(inputs["metadata"], tmp_path / "maps", aot=inputs["aot"], wvp=inputs["wvp"])
    assert sorted(p.stem for p in (tmp_path / "maps").iterdir()) == ["aot", "wvp"]
    assert (tmp_path / "maps/aot.png").read_bytes() == (folder / "aot.png").read_bytes()


@pytest.mark.slow
def test_equal_products_give_equal_pictures(inputs, folder, tmp_path):
    quicklook.run(**inputs, folder=tmp_path / "again")
    first, again = ({p.name: p.read_bytes() for p in f.iterdir()} for f in (folder, tmp_path / "again"))
    assert first == again


@pytest.mark.parametrize("side", [900, 2300, 5000])
def test_overview_is_the_mean_of_the_pixels(tmp_path, side):
    grid = Grid(32631, 300000, 4900020, 10, 40, side)
    stored = np.random.default_rng(1).integers(0, 3, grid.shape).astype("u2") * 1500
    write(tmp_path / "toa.tif", TOA, grid, {"B02": stored})
    step = -(-side // 1100)
    rows, columns = side // step, 40 // step
    blocks = stored[: rows * step, : columns * step].reshape(rows, step, columns, step).astype(float)
    with np.errstate(invalid="ignore"):
        mean = blocks.sum(axis=(1, 3)) / (blocks > 0).sum(axis=(1, 3))
    expected = np.floor(np.nan_to_num(mean) + 0.5)
    np.testing.assert_array_equal(quicklook._overview(tmp_path / "toa.tif", TOA, "B02"), expected)


@pytest.mark.slow
def test_wrong_file_is_told(inputs, tmp_path):
    with pytest.raises(StepError, match="boa_reflectance"):
        quicklook.run(**inputs | {"boa": inputs["toa"]}, folder=tmp_path / "quicklook")
    assert not any(tmp_path.iterdir())
