"""Auxiliary data that products carry under other names, of other places, or damaged."""

import struct
from pathlib import PurePosixPath

import numpy as np
import pytest
import rasterio
from l1c_products import AEROSOL, WEATHER, grib1
from rasterio.io import MemoryFile

from steps.core.rasters import Grid
from steps.l1c.auxiliary import read_auxiliary
from steps.l1c.grib import messages
from steps.l1c.safe import Safe

#: A tile of the place that the files of `l1c_products` are of, and one on the other side of the Earth.
TILE = Grid(32631, 300000, 4900020, 10, 10980, 10980)
ELSEWHERE = Grid(32731, 300000, 5100000, 10, 10980, 10980)


def auxiliary_of(folder, files, tile=TILE):
    (folder / "G/AUX_DATA").mkdir(parents=True)
    (folder / "MTD_MSIL1C.xml").touch()
    for name, content in files.items():
        (folder / "G/AUX_DATA" / name).write_bytes(content)
    return read_auxiliary(Safe(folder), PurePosixPath("G"), 300, tile)


@pytest.mark.parametrize("name", ["AUX_CAMSRE", "AUX_CAMSAN", "AUX_SOMETHING", "AUX_ECMWFT"])
def test_aerosol_is_known_by_its_content(tmp_path, name):
    auxiliary, defaults = auxiliary_of(tmp_path, {name: grib1(WEATHER | AEROSOL)})
    assert np.array(auxiliary.cams["aod550"]) == pytest.approx(np.full((9, 9), 0.25))
    assert (auxiliary.cams_file, auxiliary.water_vapour, defaults) == (name, pytest.approx(2.1), ())


@pytest.mark.parametrize("damage", [False, True])
def test_reanalysis_goes_before_forecast(tmp_path, damage):
    """As long as it is sound."""
    analysis = grib1(AEROSOL | {(210, 207): 0.5})
    files = {"AUX_CAMSFO": grib1(AEROSOL), "AUX_CAMSRE": analysis[: -1 if damage else None], "AUX_X": grib1(WEATHER)}
    auxiliary, defaults = auxiliary_of(tmp_path, files)
    assert np.mean(auxiliary.cams["aod550"]) == pytest.approx(0.25 if damage else 0.5)
    assert auxiliary.cams_file == ("AUX_CAMSFO" if damage else "AUX_CAMSRE")
    assert len(defaults) == damage


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ((128, 206), 0),
        ((128, 206), 9999),
        ((128, 206), 0.03),  # 1400 DU
        ((128, 137), 0),
        ((128, 137), 9999),
        ((128, 151), 1013),  # hPa
        ((210, 207), 0),
        ((210, 207), 30),
        ((210, 209), 9999),
    ],
)
def test_field_that_cannot_be_is_set_aside(tmp_path, caplog, key, value):
    auxiliary, defaults = auxiliary_of(
        tmp_path, {"AUX_ECMWFT": grib1({**WEATHER, **({key: value} if key in WEATHER else {})}),
                   "AUX_CAMSFO": grib1({**AEROSOL, **({key: value} if key in AEROSOL else {})})}
    )  # fmt: skip
    kept = {
        (128, 206): auxiliary.ozone == pytest.approx(0.3, rel=1e-5) and len(defaults) == 2,
        (128, 137): auxiliary.water_vapour is None,
        (128, 151): auxiliary.pressure is None,
        (210, 207): auxiliary.cams is None,
        (210, 209): "duaod550" not in (auxiliary.cams or {}),
    }
    assert kept[key]
    assert "is not used" in defaults[0]
    assert all(sentence in caplog.text for sentence in defaults)


def test_file_of_another_place_is_set_aside(tmp_path):
    auxiliary, defaults = auxiliary_of(tmp_path, {"AUX_CAMSFO": grib1(AEROSOL)}, ELSEWHERE)
    assert auxiliary.cams is None
    assert "43.74 N, 1.19 E are not the tile's" in defaults[0]


def test_values_are_those_of_gdal():
    rng = np.random.default_rng(1)
    content = bytearray(grib1({(210, 207): 0.25}))
    start = len(content) - 4 - 81
    content[start:-4] = rng.bytes(81)
    content[start - 7 : start - 5] = struct.pack(">H", 0x8000 | 11)
    with rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile(bytes(content)) as memory, memory.open(driver="GRIB") as grib:
        expected = grib.read(1)
    (message,) = messages(bytes(content))
    assert message.values.std() > 0.01
    assert np.array_equal(message.values, expected)


@pytest.mark.slow
@pytest.mark.parametrize("files", [{"AUX_CAMSFO": AEROSOL}, {"AUX_ECMWFT": WEATHER}])
def test_flipped_bit_gives_no_value_that_cannot_be(tmp_path, files, caplog):
    """Whatever bit of the first two messages: each value is within its range, and nothing is raised."""
    ((name, fields),) = files.items()
    content = grib1(fields)
    length = len(grib1(dict([next(iter(fields.items()))])))
    auxiliary_of(tmp_path, {name: content})
    rng = np.random.default_rng(3)
    for bit in rng.integers(0, 16 * length, 120):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "G/AUX_DATA" / name).write_bytes(damaged)
        auxiliary, _ = read_auxiliary(Safe(tmp_path), PurePosixPath("G"), 300, TILE)
        assert 0.05 <= auxiliary.ozone <= 0.7
        assert auxiliary.water_vapour is None or 0.002 <= auxiliary.water_vapour <= 10
        assert auxiliary.pressure is None or 850 <= auxiliary.pressure <= 1100
        for values in (auxiliary.cams or {}).values():
            assert ((np.array(values) >= -0.01) & (np.array(values) <= 10)).all()


@pytest.mark.parametrize("content", [b"", b"GRIB", b"II*\0" + bytes(3000), b"GRIB" + bytes(range(256)) * 12])
def test_file_of_another_format_is_told(tmp_path, content):
    auxiliary, defaults = auxiliary_of(tmp_path, {"AUX_CAMSFO": content, "AUX_CAMSFO.5b7b6.idx": b"an index"})
    assert auxiliary.cams is None
    assert defaults[0].startswith("Auxiliary data: AUX_CAMSFO is not used: it is")
    assert len(defaults) == 2  # and ozone
