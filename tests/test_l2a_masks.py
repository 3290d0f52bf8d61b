"""Masks of the L2A product: copied, cut to a part of the tile, or rasterised from polygons."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from lxml import etree

from steps.core.rasters import Grid
from steps.l1c.documents import Xml
from steps.l1c.metadata import Mask, masks_of
from steps.l1c.safe import Safe
from steps.l2a.masks import write_masks
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.scene import Scene
from steps.simulation import l1c_tile_xml, l1c_xml
from steps.simulation.demo_scene import DEMO

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
N0510 = SHARED / "data/l1c_safe_31TCJ_n0510/S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125244.SAFE"
N0301 = SHARED / "data/l1c_safe_48LWP_n0301/S2A_MSIL1C_20210713T032051_N0301_R032_T48LWP_20210713T054224.SAFE"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")
ALL = [f"MSK_{kind}_{band}.jp2" for band in BANDS for kind in ("DETFOO", "QUALIT")] + ["MSK_CLASSI_B00.jp2"]
TILE = Grid(32631, 300000, 4900020, 10, 1200, 1200)


def scene(whole, roi=None):
    return Scene("", "S2A", "T31TCJ", "", "", 10000.0, 1.0, roi or whole, 60, 160, {}, roi=roi, tile_grid=roi and whole)


def masks_in(safe):
    return masks_of(Xml(etree.parse(next(safe.glob("GRANULE/*/MTD_TL.xml"))).getroot(), "MTD_TL.xml"))


def pixels(path):
    with rasterio.open(path) as image:
        return image.read(), image.transform, image.crs.to_epsg()


def rectangle(left, top, right, bottom):
    """Corners in 10 m pixels of `TILE`, as map coordinates."""
    x, y = TILE.left + 10 * np.array((left, right)), TILE.top - 10 * np.array((top, bottom))
    return [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])]


POLYGONS = {
    ("DETFOO", "B02"): [
        ("detector_footprint-B02-07-0", "DETECTOR_FOOTPRINT", rectangle(0, 0, 600, 1200)),
        ("detector_footprint-B02-08-1", "DETECTOR_FOOTPRINT", rectangle(600, 0, 1200, 1200)),
    ],
    ("DETFOO", "B05"): [("detector_footprint-B05-12-0", "DETECTOR_FOOTPRINT", rectangle(0, 0, 1200, 400))],
    ("TECQUA", "B02"): [
        ("a", "MSI_LOST", rectangle(100, 200, 160, 300)),
        ("b", "ANC_DEG", rectangle(0, 0, 1200, 60)),
    ],
    ("DEFECT", "B02"): [("c", "QT_DEFECTIVE_PIXELS", rectangle(130, 240, 190, 330))],
    ("NODATA", "B05"): [("d", "QT_PARTIALLY_CORRECTED_PIXELS", rectangle(20, 40, 60, 80))],
    ("SATURA", "B05"): [("e", "A_NEW_NAME", rectangle(500, 500, 620, 640))],
    ("CLOUDS", "B00"): [("f", "OPAQUE", rectangle(0, 0, 300, 300)), ("g", "CIRRUS", rectangle(240, 240, 600, 360))],
}


@pytest.fixture(scope="module")
def polygons(tmp_path_factory):
    """A product of masks with the polygons above."""
    folder = tmp_path_factory.mktemp("l1c")
    (folder / "MTD_MSIL1C.xml").touch()
    masks = []
    for band in (*BANDS, "B00"):
        for kind in ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA") if band != "B00" else ("CLOUDS",):
            document = l1c_tile_xml.mask(DEMO, kind, band, TILE.epsg, POLYGONS.get((kind, band), ()))
            (folder / f"{kind}_{band}.gml").write_bytes(l1c_xml.serialise(document))
            masks.append(Mask(f"MSK_{kind}", None if band == "B00" else band, f"{kind}_{band}.gml"))
    return Safe(folder), masks


def expected(kind, band, size, layers):
    """The polygons of one image in plain NumPy; every corner lies on the edge of a pixel."""
    image = np.zeros((layers, 12000 // size, 12000 // size), "u1")
    layer_of = {"a": 2, "b": 1, "c": 4, "d": 6, "e": 7, "f": 0, "g": 1}
    kinds = {"DETFOO": ("DETFOO",), "QUALIT": ("DEFECT", "NODATA", "SATURA", "TECQUA"), "CLASSI": ("CLOUDS",)}[kind]
    for (found, of), shapes in POLYGONS.items():
        for identifier, _, ring in shapes if found in kinds and of == band else ():
            (left, top), (right, bottom) = ring[0], ring[2]
            rows, columns = slice(TILE.top - top, TILE.top - bottom), slice(left - TILE.left, right - TILE.left)
            where = tuple(slice(int(s.start) // size, int(s.stop) // size) for s in (rows, columns))
            detector = re.search(r"-(\d\d)-", identifier)
            image[layer_of.get(identifier, 0), *where] = int(detector[1]) if detector else 1
    return image


@pytest.mark.slow
@pytest.mark.parametrize("roi", [None, Grid(32631, 300600, 4899000, 10, 540, 600)])
def test_polygons_become_the_images_of_today(polygons, tmp_path, roi):
    source, masks = polygons
    written = write_masks(source, masks, scene(TILE, roi), tmp_path, map)
    assert [name for name, _ in written] == ALL
    for name, attributes in written:
        kind, band = re.fullmatch(r"MSK_(\w+)_(B..)\.jp2", name).groups()
        size, layers = (60, 3) if kind == "CLASSI" else (PIXEL_SIZE[band], {"DETFOO": 1, "QUALIT": 8}[kind])
        assert attributes == {"type": f"MSK_{kind}"} | ({} if band == "B00" else {"bandId": str(BANDS.index(band))})
        found, transform, epsg = pixels(tmp_path / name)
        grid = (roi or TILE).at(size)
        assert (transform, epsg) == (grid.transform, 32631)
        part = grid.within(TILE.at(size))
        np.testing.assert_array_equal(found, expected(kind, band, size, layers)[:, *part], err_msg=name)


@pytest.mark.slow
@needs_shared
def test_masks_of_a_part_are_those_of_the_tile(tmp_path):
    whole, roi = Grid(32631, 300000, 4900020, 10, 10980, 10980), Grid(32631, 339600, 4850040, 10, 1020, 900)
    written = write_masks(Safe(N0510), masks_in(N0510), scene(whole, roi), tmp_path, map)
    assert [name for name, _ in written] == ALL
    seen = set()
    for name, _ in written:
        original = next(N0510.glob(f"GRANULE/*/QI_DATA/{name}"))
        found, transform, _ = pixels(tmp_path / name)
        with rasterio.open(original) as image:
            size = round(image.res[0])
            rows, columns = roi.at(size).within(whole.at(size))
            window = (rows.start, rows.stop), (columns.start, columns.stop)
            np.testing.assert_array_equal(found, image.read(window=window), err_msg=name)
        assert transform == roi.at(size).transform
        seen |= set(np.unique(found))
    assert len(seen) > 1


def test_flags_survive_the_cut(tmp_path):
    """Eight layers with flags across the edges of the part and of the file's own tiles."""
    rng, size = np.random.default_rng(4), 20
    grid = TILE.at(size)
    layers = (rng.random((8, *grid.shape)) < 0.02).astype("u1")
    name = "MSK_QUALIT_B05.jp2"
    options = {"QUALITY": 100, "REVERSIBLE": "YES", "YCC": "NO", "blockxsize": 128, "blockysize": 128}
    profile = dict(width=grid.width, height=grid.height, count=8, dtype="uint8", transform=grid.transform)
    with rasterio.open(tmp_path / name, "w", driver="JP2OpenJPEG", crs="EPSG:32631", **profile, **options) as image:
        image.write(layers)
    (tmp_path / "MTD_MSIL1C.xml").touch()
    roi, out = Grid(32631, 301200, 4899000, 10, 360, 420), tmp_path / "out"
    out.mkdir()
    written = write_masks(Safe(tmp_path), [Mask("MSK_QUALIT", "B05", name)], scene(TILE, roi), out, map)
    assert written == [(name, {"type": "MSK_QUALIT", "bandId": "4"})]
    found, _, _ = pixels(out / name)
    np.testing.assert_array_equal(found, layers[:, *roi.at(size).within(grid)])


@needs_shared
def test_real_detector_footprints(tmp_path):
    """Real polygons follow the pixels' edges, and leave no pixel of the swath without a detector."""
    grid = Grid(32748, 499980, 8900020, 10, 10980, 10980)
    roi = Grid(32748, 520020, 8850040, 10, 600, 600)
    write_masks(Safe(N0301), [m for m in masks_in(N0301) if m.band in ("B01", "B05")], scene(grid, roi), tmp_path, map)
    for band in ("B01", "B05"):
        found, _, _ = pixels(tmp_path / f"MSK_DETFOO_{band}.jp2")
        text = next(N0301.glob(f"GRANULE/*/QI_DATA/MSK_DETFOO_{band}.gml")).read_text()
        known = {int(n) for n in re.findall(rf"detector_footprint-{band}-(\d\d)-", text)}
        assert set(np.unique(found)) <= known
        assert found.all()


@pytest.mark.slow
def test_a_mask_that_is_missing_is_warned_of(polygons, tmp_path, caplog):
    source, masks = polygons
    written = write_masks(source, [*masks, Mask("MSK_CLASSI", None, "nowhere.jp2")], scene(TILE), tmp_path, map)
    assert "masks are missing: nowhere.jp2; the L2A product goes without" in caplog.text
    assert len(written) == 27
