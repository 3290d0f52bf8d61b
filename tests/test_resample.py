"""Resampling against SciPy and plain NumPy."""

import numpy as np
import pytest
from scipy import ndimage

from steps import resample
from steps.core import rasters as raster_files
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.core.resampling import block_mean, coefficients, triple
from steps.sentinel2.bands import BANDS, PIXEL_SIZE, STACK_BANDS, native_bands
from steps.sentinel2.kinds import TOA


def slow_block_mean(values, factor):
    blocks = values.reshape(values.shape[0] // factor, factor, -1, factor).astype(int)
    return np.where((blocks > 0).all(axis=(1, 3)), np.floor(blocks.mean(axis=(1, 3)) + 0.5), 0)


def slow_triple(values, order):
    zoomed = ndimage.zoom(values.astype(float), 3, order=order, mode="nearest", grid_mode=True)
    return np.clip(np.floor(zoomed + 0.5), 1, 65535)


@pytest.fixture
def numbers():
    return np.random.default_rng(5).integers(1, 12000, (60, 42)).astype("u2")


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_block_mean_rounds_half_up_and_keeps_gaps_whole(numbers, factor):
    numbers[7, 8] = numbers[20:30, 3:9] = 0
    numbers[30:36, 12:18] = 65535
    assert (block_mean(numbers, factor) == slow_block_mean(numbers, factor)).all()
    assert block_mean(np.array([[1, 2], [2, 1]], "u2"), 2) == 2
    assert block_mean(np.array([[1, 2], [1, 1]], "u2"), 2) == 1


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("shape", [(60, 42), (2, 2), (5, 90)])
def test_upwards_as_scipy_does(order, shape):
    values = np.random.default_rng(6).integers(1, 12000, shape).astype("u2")
    rows = slice(0, 3 * shape[0])
    assert (triple(coefficients(values, order), values, order, rows) == slow_triple(values, order)).all()


@pytest.mark.parametrize("order", [1, 3])
def test_rows_do_not_depend_on_the_block(numbers, order):
    spline = coefficients(numbers, order)
    whole = triple(spline, numbers, order, slice(0, 180))
    assert (np.vstack([triple(spline, numbers, order, slice(r, r + 20)) for r in range(0, 180, 20)]) == whole).all()


@pytest.mark.parametrize("order", [1, 3])
def test_upwards_keeps_gaps_and_is_not_drawn_down_by_them(order):
    """A level field with a slanting edge of the swath stays level up to the edge."""
    values = np.full((40, 40), 5000, "u2")
    row, column = np.indices(values.shape)
    values[column < row // 3] = values[:3] = values[20, 20] = 0
    fine = triple(coefficients(values, order), values, order, slice(0, 120))
    assert (fine == values.repeat(3, 0).repeat(3, 1)).all()
    assert not triple(coefficients(values * 0, order), values * 0, order, slice(0, 120)).any()


def test_gaps_take_the_nearest_value_of_their_row(numbers):
    """What fills a gap before interpolation: seen beyond the edge that a linear interpolation reaches."""
    values = np.array([[100, 0, 0, 0, 400]] * 2, "u2")
    fine = triple(coefficients(values, 1), values, 1, slice(0, 6))
    assert fine[0].tolist() == [100] * 3 + [0] * 9 + [400] * 3


@pytest.fixture
def rasters(tmp_path):
    """A scene of 31 x 35 pixels of 60 m, each band with its own numbers."""
    grid, paths = Grid(32618, 435780, 4179420, 60, 31, 35), {}
    for size in (10, 20, 60):
        bands = {}
        for band in native_bands(size):
            rng = np.random.default_rng(BANDS.index(band))
            bands[band] = rng.integers(1, 9000, grid.at(size).shape).astype("u2")
            bands[band][:7, :9] = 0
        paths[size] = tmp_path / f"toa_{size}m.tif"
        raster_files.write(paths[size], TOA, grid.at(size), bands)
    return paths


@pytest.mark.parametrize("resolution", [20, 60])
def test_stack(rasters, tmp_path, resolution):
    stacks = []
    for threads in (1, 3):
        outputs = {size: tmp_path / f"stack_{size}_{threads}.tif" for size in (20, 60)}
        resample.run(*rasters.values(), *outputs.values(), threads=threads)
        stacks.append(outputs[resolution])
    assert stacks[0].read_bytes() == stacks[1].read_bytes()
    assert raster_files.bands_of(stacks[0], TOA) == STACK_BANDS
    assert raster_files.grid_of(stacks[0], TOA) == raster_files.grid_of(rasters[resolution], TOA)
    for band in STACK_BANDS:
        size = PIXEL_SIZE[band]
        native, found = raster_files.read(rasters[size], TOA, band), raster_files.read(stacks[0], TOA, band)
        if size < resolution:
            assert (found == slow_block_mean(native, resolution // size)).all()
        elif size == resolution:
            assert (found == native).all()
        else:
            inside = slice(7 * 3 + 45, None)
            order = 1 if band in ("B09", "B10") else 3
            assert (found[inside] == slow_triple(native, order)[inside]).all()
            assert not found[:21, :27].any()
            assert found[21:, 27:].all()


def test_an_input_that_is_missing(rasters, tmp_path):
    rasters[10].unlink()
    with pytest.raises(StepError, match=r"toa_10m\.tif: cannot be read"):
        resample.run(*rasters.values(), tmp_path / "stack_20.tif", tmp_path / "stack_60.tif")
    assert not list(tmp_path.glob("*stack*"))
