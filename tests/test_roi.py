"""Region of interest: which part of a tile it is, what is decoded for it, and that its pixels are those of the tile."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import l1c_products
import numpy as np
import pytest
import rasterio
from lxml import etree
from rasterio.transform import Affine
from rasterio.warp import transform

from steps import crop, import_l1c
from steps.core.errors import StepError
from steps.core.rasters import Grid, bands_of, grid_of, read, write
from steps.l1c.roi import ALIGNMENT, DETAIL, grown, part_of, surroundings
from steps.l2a.part import cut_tile
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.kinds import ANGLES, TOA
from steps.sentinel2.scene import Scene

ROOT = Path(__file__).resolve().parents[1]
TILE = Grid(32631, 300000, 4900020, 10, 10980, 10980)


def degrees(tile, columns, rows):
    """Longitude and latitude of points given in pixels of 10 m."""
    return transform(
        f"EPSG:{tile.epsg}",
        "EPSG:4326",
        [tile.left + 10 * column for column in columns],
        [tile.top - 10 * row for row in rows],
    )


def pixels(part, tile=TILE):
    """First column and row, last ones + 1."""
    column, row = round((part.left - tile.left) / 10), round((tile.top - part.top) / 10)
    return column, row, column + part.width, row + part.height


def test_polygon_becomes_its_bounding_box_snapped_outward(tmp_path):
    longitude, latitude = degrees(TILE, [1003, 3001, 2000, 1003], [2002, 2500, 4999, 2002])
    ring = list(zip(longitude, latitude, strict=True))
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": polygon}
    parts = []
    for document in (polygon, feature, {"type": "FeatureCollection", "features": [feature]},
                     {"type": "MultiPolygon", "coordinates": [[ring]]}):  # fmt: skip
        path = tmp_path / "region.geojson"
        path.write_text(json.dumps(document))
        parts.append(part_of(str(path), TILE))
    assert [pixels(part) for part in parts] == [(1002, 1998, 3006, 5004)] * 4


def test_box_covers_its_corners_and_edges():
    west, south, east, north = 1.0, 43.5, 1.1, 43.6
    first_column, first_row, last_column, last_row = pixels(part_of(f"[{west}, {south}, {east}, {north}]", TILE))
    share = np.linspace(0, 1, 50)
    longitude = np.concatenate([west + (east - west) * share, np.full(50, west), np.full(50, east)])
    latitude = np.concatenate([np.full(50, north), *[south + (north - south) * share] * 2])
    x, y = (np.array(v) for v in transform("EPSG:4326", "EPSG:32631", longitude, latitude))
    column, row = (x - TILE.left) / 10, (TILE.top - y) / 10
    assert 0 <= column.min() - first_column < 6
    assert 0 <= row.min() - first_row < 6
    assert 0 <= last_column - column.max() < 6
    assert last_row >= row.max()


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ("[-180, -90, 180, 90]", (0, 0, 10980, 10980)),
        ("[0, 44.2, 0.55, 50]", (0, 0)),
        ("[1.2, 43.7, 1.2, 43.7]", None),
    ],
)
def test_region_is_clipped_and_not_too_small(roi, expected):
    part = part_of(roi, TILE)
    assert pixels(part)[: len(expected or ())] == (expected or ())
    assert part.width >= 96
    assert part.height >= 96
    assert pixels(part)[2] <= 10980
    assert pixels(part)[3] <= 10980


def test_region_beside_the_tile():
    assert part_of("[5, 43.5, 5.1, 43.6]", TILE) is None
    assert part_of("[1, -43.6, 1.1, -43.5]", TILE) is None
    assert part_of("[179, 43.5, -179, 43.6]", TILE) is None


def test_region_across_the_date_line():
    tile = Grid(32601, 300000, 7200000, 10, 10980, 10980)  # 178.9 W to 178.9 E of it
    longitude, _ = degrees(tile, [0, 10980], [5000, 5000])
    assert longitude[0] > longitude[1] or longitude[0] < -170
    part = part_of("[179.5, 64.3, -178.5, 64.5]", tile)
    assert part is not None
    assert part.width < tile.width


@pytest.mark.parametrize(
    "roi", ["[1, 2, 3]", "[1, 43, 2, 95]", "no such file", "[a]", '{"type": "Point"}', "point.json"]
)
def test_what_is_no_region_is_refused_in_one_line(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "point.json").write_text('{"type": "Point", "coordinates": [1, 43]}')
    with pytest.raises(StepError, match=r"^roi .*give \[west"):
        part_of(roi, TILE)


RING = [[0.55, 44.15], [0.65, 44.15], [0.65, 44.2], [0.55, 44.2], [0.55, 44.15]]


def geojson(path, ring=RING, encoding="utf-8", wrap=lambda polygon: polygon, **members):
    document = wrap({"type": "Polygon", "coordinates": [ring]}) | members
    path.write_text(json.dumps(document), encoding=encoding)
    return str(path)


def collection(*geometries):
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    return {"type": "FeatureCollection", "features": features}


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "utf-8-sig"},
        {"ring": [[*corner, 120.5] for corner in RING]},
        {"ring": RING[:-1]},
        {"wrap": lambda polygon: collection(polygon, None)},
        {"wrap": lambda polygon: {"type": "GeometryCollection", "geometries": [polygon]}},
        {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}},
        {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}},
        {"crs": None},
    ],
)
def test_geojson_as_programs_write_it(tmp_path, options):
    expected = part_of(geojson(tmp_path / "plain.geojson"), TILE)
    assert part_of(geojson(tmp_path / "my area's {1}.geojson", **options), TILE) == expected


@pytest.mark.parametrize("code", [32631, 3857, 32630])
def test_geojson_in_another_reference_system(tmp_path, code):
    x, y = transform("EPSG:32631", f"EPSG:{code}", [303000, 309000, 309000, 303000], [4890000] * 2 + [4896000] * 2)
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}}
    part = part_of(geojson(tmp_path / "x.geojson", list(zip(x, y, strict=True)), wrap=collection, crs=crs), TILE)
    found = np.array(pixels(part)) * 10
    corner = np.array([TILE.left, TILE.top, TILE.left, TILE.top])
    expected = (np.array([303000, 4896000, 309000, 4890000]) - corner) * (1, -1, 1, -1)
    # In another projection the corners are joined by other lines.
    assert np.abs(found - expected).max() <= (60 if code == 32631 else 240)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"type":"Feature","geometry":' * 5000 + "null" + "}" * 5000,
        '{"type": "Polygon", "coordinates": [[[NaN, 1], [2, 3], [4, 5]]]}',
        '{"type": "Polygon", "coordinates": [[[1e999, 1], [2, 3], [4, 5]]]}',
        '{"type": "Polygon", "coordinates": [[[%s, 1], [2, 3], [4, 5]]]}' % ("9" * 400),
        '{"type": "Polygon", "coordinates": [[[%s, 1], [2, 3], [4, 5]]]}' % ("9" * 5000),
        '{"type": "Polygon", "coordinates": [[["0.5", "44"], ["0.6", "44"], ["0.6", "44.1"]]]}',
        '{"type": "Polygon", "coordinates": [[["a", "b"]]]}',
        '{"type": "Polygon", "coordinates": [[[0.5, 44], [1]]]}',
        '{"type": "Polygon", "coordinates": [[[0.5, 44], [0.6, 44.1]]]}',
        '{"type": "Polygon", "coordinates": [[]]}',
        '{"type": "Polygon", "coordinates": []}',
        '{"type": "Polygon", "coordinates": 5}',
        '{"type": "Polygon", "coordinates": [[[436000, 4179000], [437000, 4179000], [437000, 4178000]]]}',
        '{"type": "Polygon", "coordinates": [[[0, 80], [120, 80], [-120, 80], [0, 80]]]}',
        '{"type": "Polygon", "coordinates": [[[0, 1], [2, 3], [4, 5]]], "crs": {"properties": {"name": "EPSG:99"}}}',
        '{"type": "Polygon", "coordinates": [[[0, 1], [2, 3], [4, 5]]], "crs": {"type": "link", "properties": {}}}',
        '{"type": "FeatureCollection", "features": []}',
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": null}]}',
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": {"type": "Point"}}]}',
        '{"type": "FeatureCollection", "features": 5}',
        '[{"type": "Polygon"}]',
        '"text"',
        "",
    ],
)
def test_geojson_without_an_area_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "x.geojson").write_text(text)
    with pytest.raises(StepError, match=r"^roi .*x.geojson: .*give \[west") as error:
        part_of(str(tmp_path / "x.geojson"), TILE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "roi", ["[0.5, 44.2, 0.6, 44.1]", "[NaN, 44, 1, 45]", "[0.6, 44, 0.5, 45]", f"[{'9' * 400}, 0, 1, 1]", "[" * 99999]
)
def test_box_that_is_none_is_refused_in_one_line(roi):
    with pytest.raises(StepError, match=r"^roi .*give \[west"):
        part_of(roi, TILE)


def test_edges_take_the_shorter_way_over_the_date_line(tmp_path):
    ring = [[179.5, 44.0], [-179, 44.0], [-179, 44.3], [179.5, 44.3], [179.5, 44.0]]
    region = geojson(tmp_path / "x.geojson", ring)
    assert part_of(region, TILE) is None
    for tile in (Grid(32601, 300000, 4900020, 10, 10980, 10980), Grid(32660, 660000, 4900020, 10, 10980, 10980)):
        box = part_of("[179.5, 44.0, -179, 44.3]", tile)
        assert part_of(region, tile) == box
        split = [[[a, 44.0], [b, 44.0], [b, 44.3], [a, 44.3]] for a, b in ((179.5, 180), (-180, -179))]
        path = tmp_path / "split.geojson"
        path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": [[part] for part in split]}))
        assert part_of(str(path), tile) == box
    world = [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]
    assert part_of(geojson(tmp_path / "world.geojson", world), TILE) == TILE


@pytest.mark.slow
def test_region_of_many_corners_takes_no_time(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 200_000)
    ring = np.column_stack([0.7 + 0.05 * np.cos(angle), 44.0 + 0.05 * np.sin(angle)])
    start = time.process_time()
    part = part_of(geojson(tmp_path / "x.geojson", ring.tolist()), TILE)
    assert time.process_time() - start < 5
    coarse = part_of(geojson(tmp_path / "y.geojson", ring[::100].tolist()), TILE)
    assert np.abs(np.subtract(pixels(part), pixels(coarse))).max() <= 6


def test_surroundings_reach_towards_the_sun_and_fit_all_meshes():
    part = part_of("[1.0, 43.6, 1.1, 43.7]", TILE)
    inner, outer, alike = (
        np.reshape(pixels(grid), (2, 2))
        for grid in (part, surroundings(part, TILE, 6000, (60, 135)), surroundings(part, TILE, 6000))
    )
    assert (outer[0] * 10 % ALIGNMENT == 0).all()
    assert (outer[1] * 10 % ALIGNMENT == 0).all()
    margins = 10 * np.array([*(inner[0] - outer[0]), *(outer[1] - inner[1])])
    way = 6000 * np.tan(np.radians(60)) * np.sqrt(0.5)  # a sun in the south-east: to the right and down
    assert (margins[:2] >= 6000).all()
    assert (margins[:2] < 6000 + ALIGNMENT).all()
    assert (margins[2:] >= way).all()
    assert (margins[2:] < way + ALIGNMENT).all()
    margins = 10 * np.array([*(inner[0] - alike[0]), *(alike[1] - inner[1])])
    assert (margins >= 6000).all()
    assert (margins < 6000 + ALIGNMENT).all()


# ------------------------------------------------------------------------------------------------- import


def run_import(safe, folder, **options):
    outputs = {name: folder / f"{name}.tif" for name in ("toa_10m", "toa_20m", "toa_60m", "mask", "overview", "angles")}
    import_l1c.run(safe, metadata=folder / "metadata.json", **outputs, threads=2, **options)
    return outputs, Scene.read(folder / "metadata.json")


@pytest.mark.slow
def test_part_is_decoded_in_full_only_near_the_region(tmp_path, monkeypatch):
    monkeypatch.setattr(l1c_products, "CELLS", 128)  # 7.68 km
    safe = l1c_products.write_product(tmp_path, masks="gml")
    whole, scene = run_import(safe, tmp_path / "whole")
    west, north = (v[0] for v in degrees(scene.grid, [680], [680]))
    region = {"roi": f"[{west}, {north - 0.02}, {west + 0.02}, {north}]", "roi_margin_km": 1.0}
    seen = []
    digital_numbers = import_l1c._digital_numbers
    monkeypatch.setattr(import_l1c, "_digital_numbers", lambda *a: seen.append(a[1:]) or digital_numbers(*a))
    part, cut = run_import(safe, tmp_path / "part", **region)
    assert (cut.roi.width, cut.roi.height, cut.tile_grid) == (96, 96, scene.grid)
    assert (cut.grid.width, cut.grid.height) == (384, 384)
    near = grown(cut.roi, scene.grid, DETAIL)
    assert (near.width, near.height) == (216, 216)
    assert len(seen) == 13
    for band, window in seen:  # those of 60 m are decoded whole, for the overview
        size = l1c_products.PIXEL[band]
        assert window == (near if size < 60 else scene.grid).at(size).within(scene.grid), band
    for name in ("toa_10m", "toa_20m", "toa_60m"):
        grid, all_of_it = grid_of(part[name], TOA), grid_of(whole[name], TOA)
        size = round(grid.resolution)
        assert grid == cut.grid.at(size)
        inner = near.at(size).within(all_of_it), near.at(size).within(grid)
        outer = grid.within(all_of_it)
        for band in bands_of(whole[name], TOA):
            expected, found = read(whole[name], TOA, band), read(part[name], TOA, band)
            assert (found[inner[1]] == expected[inner[0]]).all(), band
            # It is noise, so that only the mean of what is far can be compared.
            assert abs(found.mean(dtype="f8") / expected[outer].mean(dtype="f8") - 1) < 0.05, band
    archive = shutil.make_archive(tmp_path / "product", "zip", tmp_path, safe.name)
    for name, path in run_import(archive, tmp_path / "zipped", **region)[0].items():
        assert path.read_bytes() == part[name].read_bytes(), name


def test_region_that_does_not_touch_the_product(tmp_path):
    safe = l1c_products.write_product(tmp_path, masks="gml")
    with pytest.raises(StepError, match="does not touch"):
        run_import(safe, tmp_path / "out", roi="[10, 50, 11, 51]")
    assert not list(tmp_path.glob("out/*"))


# ------------------------------------------------------------------------------------------------ product


@pytest.mark.slow
def test_crop_cuts_every_resolution(tmp_path):
    grid = Grid(32631, 303840, 4892340, 10, 768, 768)
    part = Grid(32631, 305040, 4891140, 10, 120, 180)
    base = l1c_products.write_product(tmp_path, masks="gml")
    scene = run_import(base, tmp_path / "import")[1]
    scene = dataclasses.replace(scene, grid=grid, roi=part, tile_grid=TILE)
    scene.write(tmp_path / "import/metadata.json")
    rasters, values = [], {}
    for size in (10, 20, 60):
        values[size] = np.random.default_rng(size).integers(1, 9000, grid.at(size).shape).astype("u2")
        rasters.append(tmp_path / f"stage/toa_{size}.tif")
        write(rasters[-1], TOA, grid.at(size), {"B02": values[size], "B03": values[size] + np.uint16(1)}, fact="kept")
    crop.run(tmp_path / "import/metadata.json", rasters, tmp_path / "roi")
    assert Scene.read(tmp_path / "roi/import/metadata.json").grid == part
    for size in (10, 20, 60):
        path = tmp_path / f"roi/stage/toa_{size}.tif"
        assert grid_of(path, TOA) == part.at(size)
        row, column = 1200 // size, 1200 // size
        expected = values[size][row : row + 1800 // size, column : column + 1200 // size]
        assert (read(path, TOA, "B03") == expected + 1).all()
        with rasterio.open(path) as file:
            assert file.tags()["fact"] == "kept"
            assert file.transform == Affine(size, 0, part.left, 0, -size, part.top)


def test_angles_of_the_part_are_those_of_the_tile(tmp_path):
    rows, columns = np.indices((3, 3))
    tables = 5 + 0.5 * rows + 0.1 * columns, (355 + 4.0 * columns) % 360  # across north
    tile = etree.fromstring(l1c_products.tile_xml(masks="gml", views={3: [tables]}).encode())
    whole = Grid(32631, 300000, 4900020, 10, 960, 960)
    part = Grid(32631, 303000, 4897020, 10, 300, 240)
    names = {f"view_{name}_B04": table.astype("f4") for name, table in zip(("zenith", "azimuth"), tables, strict=True)}
    nodes = Grid(32631, 297500, 4902520, 5000, 3, 3)
    write(tmp_path / "angles.tif", ANGLES, nodes, names)
    cut_tile(tile, part, whole)
    view = tile.find(".//Viewing_Incidence_Angles_Grids[@bandId='3']")
    found = [
        np.array([row.text.split() for row in view.iterfind(f"{name}/Values_List/VALUES")], "f8")
        for name in ("Zenith", "Azimuth")
    ]
    assert found[0].shape == (2, 2)
    x, y = np.meshgrid(part.left + 5000 * np.arange(2), part.top - 5000 * np.arange(2))
    expected = AngleGrid(tmp_path / "angles.tif").view("B04", x, y)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_allclose((found[1] - expected[1] + 180) % 360, 180, atol=1e-2)
    size = {name: tile.findtext(f'.//Size[@resolution="20"]/{name}') for name in ("NROWS", "NCOLS")}
    assert size == {"NROWS": "120", "NCOLS": "150"}
    assert tile.findtext('.//Geoposition[@resolution="60"]/ULX') == "303000"
    assert tile.findtext('.//Geoposition[@resolution="60"]/ULY') == "4897020"


@pytest.mark.slow
def test_workflow_skips_products_beside_the_region(tmp_path):
    """A table goes on with those that it touches; a single product, or a table without any, is refused in one line."""
    here = l1c_products.write_product(tmp_path, masks="gml")
    other = l1c_products.NAME.replace("R051", "R052")
    there = l1c_products.write_product(tmp_path / "there", masks="gml", name=other)
    tile = there / l1c_products.GRANULE / "MTD_TL.xml"
    tile.write_text(tile.read_text().replace("<ULX>300000", "<ULX>600000"))
    (tmp_path / "two.csv").write_text(f"input\n{here}\n{there}\n")

    def plan(source, region):
        command = ["snakemake", "--dry-run", "--quiet", "--cores", "1", "--config", f"output={tmp_path}/out"]
        command = [sys.executable, "-m", *command, f"input={source}", f"roi={region}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    region = "[0.5, 44.2, 0.51, 44.24]"
    done = plan(tmp_path / "two.csv", region)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "skipped" in line] == [
        f"{there}: skipped, the region of interest does not touch it"
    ]
    refused = plan(there, region)
    assert refused.returncode == 2
    assert sum("ERROR" in line for line in refused.stderr.splitlines()) == 1
    assert "does not touch" in refused.stderr


@pytest.mark.parametrize(("size", "factor"), [(10, 8), (20, 4)])
def test_ground_beside_snow_is_not_missing(size, factor):
    """The finest wavelets that are left out undershoot at a bright edge, by more than the offset of digital numbers."""
    from steps.l1c import wavelet

    dn = np.full((1024, 1024), 1700, np.uint16)
    patches = np.random.default_rng(1).random((32, 32)) < 0.1
    dn[np.kron(patches, np.ones((32, 32), bool))] = 12500
    low = np.empty((512, 512), np.uint16)
    wavelet._low_pass(dn, 1024, low)
    assert (low == 0).any()
    stored = wavelet.reduced(dn, size, factor)
    assert stored.all()
    blocks = dn.reshape(1024 // factor, factor, 1024 // factor, factor).mean(axis=(1, 3))
    assert np.abs(stored - blocks)[blocks == 1700].mean() < 60
