"""ESA CCI maps as users give them: each on the scene's grid with the right numbers, or refused in one line."""

import numpy as np
import pytest
from test_dem import GRID
from test_dem_kinds import SIZE, write_raster

from steps.classification.cci_layers import read_layer
from steps.core.errors import StepError

SCENE = GRID.at(60)
LAND_AND_WATER = np.ones((SIZE, SIZE)) + (np.arange(SIZE) >= 300)


def write_map(path, numbers=LAND_AND_WATER, dtype="uint8", **options):
    return write_raster(path, numbers, dtype=dtype, **options)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_water_bodies(tmp_path, dtype):
    found, told = read_layer(write_map(tmp_path / "x.tif", dtype=dtype), "water_bodies", SCENE)
    assert found.dtype == np.uint8
    assert (found[:, :99] == 1).all()
    assert (found[:, 101:] == 2).all()
    assert not told


@pytest.mark.parametrize(
    ("name", "number"), [("land_cover", 190), ("land_cover", 210), ("snow_condition", 37), ("snow_condition", 254)]
)
def test_numbers_stay(tmp_path, name, number):
    found, told = read_layer(write_map(tmp_path / "x.tif", LAND_AND_WATER * 0 + number), name, SCENE)
    assert (found == number).all()
    assert not told


@pytest.mark.parametrize(("name", "unknown"), [("water_bodies", 255), ("land_cover", 0), ("snow_condition", 255)])
@pytest.mark.parametrize("declared", [False, True])
def test_partial_map_is_told(tmp_path, name, unknown, declared):
    """The western half of the scene: by the edge of the file, or by a number for no data."""
    if declared:
        path = write_map(tmp_path / "x.tif", np.where(LAND_AND_WATER == 1, 0, 77), nodata=77)
    else:
        path = write_map(tmp_path / "x.tif", LAND_AND_WATER[:, :300] * 0)
    found, told = read_layer(path, name, SCENE)
    assert (found[:, :97] == 0).all()
    assert (found[:, 103:] == unknown).all()
    assert len(told) == 1
    assert float(told[0].split()[-5]) == pytest.approx(50, abs=0.5)


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        (np.full((SIZE, SIZE), 1500.0), {"dtype": "float32"}, "holds 1500"),
        (LAND_AND_WATER + 2, {}, "holds 3"),
        (LAND_AND_WATER * 0 - 1, {"dtype": "int16"}, "holds -1"),
        (LAND_AND_WATER / 2, {"dtype": "float32"}, "holds 0.5"),
        (LAND_AND_WATER * np.nan, {"dtype": "float32"}, "does not touch"),
        (LAND_AND_WATER, {"crs": None}, "no map projection"),
        (LAND_AND_WATER, {"crs": "EPSG:32733"}, "does not touch"),
        (np.stack([LAND_AND_WATER] * 3), {}, "3 bands"),
        (LAND_AND_WATER, {"dtype": "complex64"}, "complex64"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path, numbers, options, message):
    path = write_map(tmp_path / "x.tif", numbers, **options)
    with pytest.raises(StepError, match=rf"x\.tif: .*{message}.*") as error:
        read_layer(path, "water_bodies", SCENE)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    whole = write_map(tmp_path / "whole.tif")
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:100_000])
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "folder.tif").mkdir()
    for name in ("cut", "text", "folder", "absent"):
        with pytest.raises(StepError, match=rf"{name}\.tif: .*give another map as `classification.land_cover`"):
            read_layer(tmp_path / f"{name}.tif", "land_cover", SCENE)
