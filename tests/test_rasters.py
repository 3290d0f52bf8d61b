"""Rasters and documents between the stages."""

import resource
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from steps.core import documents, rasters
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.sentinel2.kinds import AOT, TERRAIN, TOA

GRID = Grid(32618, 435780, 4179420, 20, 700, 530)


@pytest.fixture
def numbers():
    return np.arange(GRID.width * GRID.height, dtype="u2").reshape(GRID.shape)


def test_roundtrip_with_georeference_scale_and_tags(tmp_path, numbers):
    path = tmp_path / "sub folder/toa.tif"
    rasters.write(path, TOA, GRID, {"B02": numbers, "B03": numbers[::-1]}, sensor="S2A")
    assert (rasters.read(path, TOA, "B03") == numbers[::-1]).all()
    assert (rasters.read(path, TOA, "B02", slice(500, 530)) == numbers[500:]).all()
    assert rasters.grid_of(path, TOA) == GRID
    assert rasters.bands_of(path, TOA) == ("B02", "B03")
    assert rasters.tags_of(path, TOA)["sensor"] == "S2A"
    with rasterio.open(path) as dataset:
        assert (dataset.scales[0], dataset.offsets[0], dataset.nodata) == (1e-4, -0.1, 0)
        assert dataset.crs.to_epsg() == 32618


def test_values_are_physical_with_nan_for_no_data(tmp_path):
    path = tmp_path / "toa.tif"
    stored = np.full(GRID.shape, 3000, "u2")
    stored[0, 0] = 0
    stored[0, 1] = 1
    rasters.write(path, TOA, GRID, {"B02": stored})
    reflectance = rasters.values(path, TOA, "B02")
    assert np.isnan(reflectance[0, 0])
    assert reflectance[0, 1] == pytest.approx(-0.0999, abs=1e-6)
    assert reflectance[1, 1] == pytest.approx(0.2, abs=1e-6)


def test_block_by_block_equals_at_once(tmp_path, numbers):
    with rasters.create(tmp_path / "blocks.tif", TOA, GRID, ["B02"]) as raster:
        for rows in rasters.row_blocks(GRID.height):
            raster.write("B02", numbers[rows], rows.start)
    rasters.write(tmp_path / "once.tif", TOA, GRID, {"B02": numbers})
    assert (tmp_path / "blocks.tif").read_bytes() == (tmp_path / "once.tif").read_bytes()


def test_bands_with_scales_of_their_own(tmp_path):
    path = tmp_path / "terrain.tif"
    bands = {name: np.full(GRID.shape, 100, "i2") for name in TERRAIN.scales}
    rasters.write(path, TERRAIN, GRID, bands, compress=True)
    assert rasters.values(path, TERRAIN, "slope")[0, 0] == pytest.approx(1.0)
    assert rasters.values(path, TERRAIN, "elevation")[0, 0] == 100


def test_wrong_kind_missing_band_and_missing_file_are_named(tmp_path, numbers):
    path = tmp_path / "toa.tif"
    rasters.write(path, TOA, GRID, {"B02": numbers})
    with pytest.raises(StepError, match=r"toa.tif.*aot550 is expected"):
        rasters.read(path, AOT, "aot550")
    with pytest.raises(StepError, match="no band B05"):
        rasters.read(path, TOA, "B05")
    with pytest.raises(StepError, match=r"gone.tif.*cannot be read"):
        rasters.read(tmp_path / "gone.tif", TOA, "B02")


def test_failure_leaves_nothing_and_keeps_the_old_file(tmp_path, numbers):
    path = tmp_path / "toa.tif"
    rasters.write(path, TOA, GRID, {"B02": numbers})
    old = path.read_bytes()
    with pytest.raises(TypeError, match="uint16 expected"):
        rasters.write(path, TOA, GRID, {"B02": numbers, "B03": numbers.astype("f4")})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_said_before_writing(tmp_path):
    huge = Grid(32618, 0, 0, 10, 10_000_000, 10_000_000)
    with pytest.raises(StepError, match="disk is full"), rasters.create(tmp_path / "x.tif", TOA, huge, ["B02"]):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.02, 0.094, 0.8, 0.98])
def test_a_disk_that_fills_while_a_file_is_copied_is_an_error_of_that_file(tmp_path, numbers, share):
    """GDAL tells of it by errors of its own, by one without a message (at 9 %), and at the very end by none."""
    source, path = tmp_path / "toa.tif", tmp_path / "cog.tif"
    rasters.write(source, TOA, GRID, {"B02": numbers})

    @rasters.writing(path, 1)
    def copied():
        copy(source, path, driver="COG")
        with rasterio.open(path) as file:
            file.read()

    copied()
    limit, before = int(share * path.stat().st_size), resource.getrlimit(resource.RLIMIT_FSIZE)
    path.unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StepError, match=r"cog.tif: cannot be written"):
            copied()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_other_errors_are_passed_on():
    with pytest.raises(ZeroDivisionError), rasters.raster_errors_as(lambda _: StepError("not this")):
        _ = 1 / 0


@dataclass(frozen=True)
class Part:
    share: float
    name: str | None = None


@dataclass(frozen=True)
class Whole:
    method: Literal["A", "B"]
    count: int
    done: bool
    parts: dict[str, Part]
    spans: tuple[tuple[float, ...], ...]
    kind: Literal["C"] | None = None
    sentences: tuple[str, ...] = ()


WHOLE = {"method": "A", "count": 2, "done": True, "parts": {"x": {"share": 1}}, "spans": [[0.5, 1], []]}


def test_a_document_survives_its_file(tmp_path):
    whole = Whole("B", 1, False, {"x": Part(0.5, "n"), "y": Part(1)}, ((1.5, 2), ()), sentences=("One.",))
    documents.write_document(tmp_path / "whole.json", whole)
    assert documents.read_document(tmp_path / "whole.json", Whole) == whole
    documents.write_json(tmp_path / "least.json", WHOLE)
    least = documents.read_document(tmp_path / "least.json", Whole)
    assert least == Whole("A", 2, True, {"x": Part(1)}, ((0.5, 1), ()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"more": 1}, "more is unknown"),
        ({"count": 1.5}, "count is '1.5'"),
        ({"count": True}, "count is 'True'"),
        ({"done": 1}, "done is '1'"),
        ({"method": "C"}, "method is 'C'"),
        ({"kind": "A"}, "kind is 'A'"),
        ({"method": None}, "method is 'None'"),
        ({"parts": []}, "parts is"),
        ({"parts": {"x": 1}}, "parts.x is '1'"),
        ({"parts": {"x": {}}}, "parts.x.share is missing"),
        ({"parts": {"x": {"share": "1"}}}, "parts.x.share is '1'"),
        ({"spans": [["a"]]}, "spans is 'a'"),
        ({"sentences": "One."}, "sentences is 'One.'"),
    ],
)
def test_a_wrong_document_is_told(tmp_path, change, told):
    documents.write_json(tmp_path / "whole.json", WHOLE | change)
    with pytest.raises(StepError, match=rf"whole.json: .*Whole: {told}[^\n]*; delete it"):
        documents.read_document(tmp_path / "whole.json", Whole)
