"""The elevation model on the scene's grid, from whatever files, and the terrain raster."""

import dataclasses
import math

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

from steps.core.errors import StepError
from steps.core.rasters import Grid, create, grid_of, read, tags_of, values
from steps.dem import run
from steps.sentinel2.kinds import ANGLES, TERRAIN
from steps.sentinel2.scene import Band, Scene, SpectralResponse
from steps.terrain.elevation import elevation_model

#: 12 km at 46 N 15 E (the central meridian of the zone, where grid north is true north).
GRID = Grid(32633, 494_000, 5_100_000, 10, 1200, 1200)


def read_elevation(dem, grid, margin=0):
    """Heights on the grid, the files they come from, and what was assumed."""
    with elevation_model(dem, grid, margin * grid.resolution) as model:
        return model.read(grid, margin), list(model.names), model.notes


def surface(longitude, latitude):
    """Smooth hills, m."""
    return 800 + 300 * np.sin(longitude * 150) * np.cos(latitude * 180)


def write_tile(path, west, north, size, step, function=surface, crs="EPSG:4326", nodata=None, dtype="float32"):
    """Write a raster whose pixel centres carry `function` of their coordinates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = west + (np.arange(size) + 0.5) * step, north - (np.arange(size) + 0.5) * step
    data = function(*np.meshgrid(x, y)).astype(dtype)
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": dtype, "crs": crs}
    with rasterio.open(path, "w", **profile, transform=from_origin(west, north, step, step), nodata=nodata) as raster:
        raster.write(data, 1)
    return path


def coordinates(grid, crs="EPSG:4326"):
    x = grid.left + (np.arange(grid.width) + 0.5) * grid.resolution
    y = grid.top - (np.arange(grid.height) + 0.5) * grid.resolution
    x, y = np.meshgrid(x, y)
    a, b = transform(f"EPSG:{grid.epsg}", crs, x.ravel(), y.ravel())
    return np.reshape(a, x.shape), np.reshape(b, x.shape)


def write_scene(folder, grid=GRID, zenith=50.0, azimuth=160.0):
    """Write the metadata and the sun angles of a scene; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata, angles = folder / "metadata.json", folder / "angles.tif"
    bands = {name: Band(0.0, 1000.0, SpectralResponse(800.0, 1.0, (1.0,))) for name in ("B02", "B08", "B8A")}
    time = "2020-01-01T10:00:00Z"
    Scene("S2A_MSIL1C_X", "S2A", "T33TVM", time, "05.00", 1e4, 1.0, grid, zenith, azimuth, bands).write(metadata)
    nodes = Grid(grid.epsg, grid.left - 2500, grid.top + 2500, 5000, *[n // 500 + 2 for n in (grid.width, grid.height)])
    with create(angles, ANGLES, nodes, ["sun_zenith", "sun_azimuth"]) as raster:
        for band, value in (("sun_zenith", zenith), ("sun_azimuth", azimuth)):
            raster.write(band, np.full(nodes.shape, value, np.float32))
    return metadata, angles


def coast(longitude, latitude):
    """Land that comes down to a sea in the south-east, m."""
    return 20_000 * np.maximum(0, np.maximum(14.99 - longitude, latitude - 46.01))


def tiles(folder, skip=(), function=surface):
    """Four tiles of a quarter of a degree around the scene, at one second, named as Copernicus names its tiles."""
    for name, west, north in (("a", 14.75, 46.25), ("b", 15.0, 46.25), ("c", 14.75, 46.0), ("d", 15.0, 46.0)):
        if name not in skip:
            write_tile(folder / f"deep/{name}/tile_{name}_DEM.TIF", west, north, 900, 1 / 3600, function)
    return folder


@pytest.mark.slow
def test_tiles_of_a_folder_make_one_seamless_surface(tmp_path):
    got, names, _ = read_elevation(tiles(tmp_path), GRID.at(20), 5)
    expected = surface(*coordinates(GRID.at(20)))
    assert len(names) == 4
    assert not np.isnan(got).any()
    # the B-spline smooths curvature away: 1/6 of the second difference of the samples
    assert np.abs(got[5:-5, 5:-5] - expected).max() < 0.4
    assert np.abs(np.diff(got, 2, axis=1)).max() < 1.3 * np.abs(np.diff(expected, 2, axis=1)).max()


def outputs(folder):
    return [folder / f"terrain_{resolution}.tif" for resolution in (10, 20, 60, 80)]


@pytest.mark.slow
def test_missing_tile_is_sea_level_and_told(tmp_path):
    metadata, angles = write_scene(tmp_path)
    run(metadata, angles, *outputs(tmp_path), tiles(tmp_path / "dem", "d", coast))
    elevation = read(tmp_path / "terrain_20.tif", TERRAIN, "elevation")
    longitude, latitude = coordinates(GRID.at(20))
    sea = (longitude > 15.001) & (latitude < 45.999)
    assert (elevation[sea] == 0).all()
    np.testing.assert_allclose(elevation, coast(longitude, latitude), atol=6)
    tags = tags_of(tmp_path / "terrain_20.tif", TERRAIN)
    assert float(tags["missing_percent"]) == pytest.approx(100 * sea.mean(), abs=1)
    assert "sea level" in tags["default"]
    assert tags["relief"] == "yes"
    assert tags["dem"].count("_DEM.TIF") == 3


def test_missing_tile_inland_is_refused(tmp_path):
    metadata, angles = write_scene(tmp_path)
    with pytest.raises(StepError, match=r"dem: 2\d.\d+ % of the scene has no elevation"):
        run(metadata, angles, *outputs(tmp_path), tiles(tmp_path / "dem", skip="d"))
    assert not (tmp_path / "terrain_20.tif").exists()


@pytest.mark.slow
def test_void_of_integer_tiles_is_filled_from_around(tmp_path):
    def holed(longitude, latitude):
        return np.where((longitude > 15.0) & (longitude < 15.01), -32768, surface(longitude, latitude))

    dem = write_tile(tmp_path / "srtm.tif", 14.75, 46.25, 600, 3 / 3600, holed, dtype="int16")
    got, _, told = read_elevation(dem, GRID.at(20), 0)
    assert np.abs(got - surface(*coordinates(GRID.at(20)))).max() < 100  # the hills have a period of 0.04 degrees
    assert "filled in from around" in told[0]


def test_companions_and_distant_tiles_are_not_used(tmp_path):
    tiles(tmp_path)
    write_tile(tmp_path / "AUXFILES/tile_a_HEM.tif", 14.75, 46.25, 900, 1 / 3600, lambda x, y: x * 0 + 9000)
    (tmp_path / "Copernicus_DSM_COG_10_S42_00_W070_00_DEM.tif").write_text("far away: not even opened")
    got, names, _ = read_elevation(tmp_path, GRID.at(60))
    assert len(names) == 4
    assert got.max() < 1200


def test_projected_model_of_another_zone(tmp_path):
    grid = GRID.at(20)
    x, y = coordinates(grid, "EPSG:32632")

    def hills(x, y):
        return 500 + 0.01 * (x - 9.5e5) + 50 * np.sin(y / 900)

    dem = write_tile(tmp_path / "utm32.tif", x.min() - 2000, y.max() + 2000, 800, 25, hills, "EPSG:32632")
    got, _, _ = read_elevation(dem, grid)
    np.testing.assert_allclose(got, hills(x, y), atol=0.2)


def test_fine_model_is_averaged_to_the_pixels(tmp_path):
    grid = Grid(32633, 494_000, 5_100_000, 60, 40, 40)
    noise = np.random.default_rng(0).normal(0, 100, (600, 600))
    dem = write_tile(tmp_path / "fine.tif", 493_800, 5_100_200, 600, 5, lambda x, y: 300 + noise, "EPSG:32633")
    got, _, _ = read_elevation(dem, grid)
    assert got.std() < 20
    assert got.mean() == pytest.approx(300, abs=3)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_date_line(tmp_path, whole):
    """Zone 1 begins at 180 degrees: a scene over it needs the tiles of both sides."""
    (x,), (y,) = transform("EPSG:4326", "EPSG:32601", [180.0], [10.0])
    grid = Grid(32601, round(x) - 3000, round(y) + 3000, 20, 300, 300)

    def hills(longitude, latitude):
        return 300 + 200 * np.sin(longitude % 360 * 70) + 100 * np.cos(latitude * 70)

    if whole:
        dem = tmp_path / "world.tif"
        step, size = 1 / 240, 360 * 240
        profile = {"driver": "GTiff", "width": size, "height": 48, "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
        longitude, latitude = -180 + (np.arange(size) + 0.5) * step, 10.1 - (np.arange(48) + 0.5) * step
        with rasterio.open(dem, "w", **profile, transform=from_origin(-180, 10.1, step, step)) as raster:
            raster.write(hills(*np.meshgrid(longitude, latitude)).astype("f4"), 1)
    else:
        dem = tmp_path
        write_tile(tmp_path / "N10E179.tif", 179.9, 10.1, 240, 3 / 3600, hills)
        write_tile(tmp_path / "N10W180.tif", -180, 10.1, 240, 3 / 3600, hills)
    got, names, _ = read_elevation(dem, grid)
    assert len(names) == 1 if whole else 2
    np.testing.assert_allclose(got, hills(*coordinates(grid)), atol=8 if whole else 3)


def test_dem_elsewhere_is_refused(tmp_path):
    metadata, angles = write_scene(tmp_path)
    dem = write_tile(tmp_path / "elsewhere.tif", 30, 10, 50, 0.01)
    with pytest.raises(StepError, match=r"elsewhere.tif: .*does not touch the scene"):
        run(metadata, angles, *outputs(tmp_path), dem)
    assert not (tmp_path / "terrain_20.tif").exists()


@pytest.mark.parametrize("name", ["absent", "empty", "broken.tif", "bare.tif"])
def test_unusable_dem_is_one_line_that_names_it(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.tif").write_text("not a raster")
    write_tile(tmp_path / "bare.tif", 14, 47, 30, 0.1, crs=None)
    with pytest.raises(StepError, match=name):
        read_elevation(tmp_path / name, GRID.at(60))


def test_flat_terrain_without_a_dem(tmp_path):
    metadata, angles = write_scene(tmp_path, zenith=60.0)
    run(metadata, angles, *outputs(tmp_path), altitude=432)
    grids = [*map(GRID.at, (10, 20, 60)), Scene.read(metadata).overview]
    for grid, path in zip(grids, outputs(tmp_path), strict=True):
        assert grid_of(path, TERRAIN) == grid
        expected = {"elevation": 432, "slope": 0, "aspect": 0, "cos_incidence": 0.5, "sky_view": 1, "cast_shadow": 0}
        for band, value in expected.items():
            np.testing.assert_allclose(values(path, TERRAIN, band), value, atol=1e-4)
        tags = tags_of(path, TERRAIN)
        assert tags["relief"] == "no"
        assert "432 m" in tags["default"]


@pytest.mark.slow
def test_tilted_plane_through_the_whole_stage(tmp_path):
    """Slope, incidence and sky view of a plane, at every resolution, also beside the border of the model."""
    metadata, angles = write_scene(tmp_path, zenith=50.0, azimuth=160.0)
    slope, aspect = 12.0, 250.0
    down = math.tan(math.radians(slope))

    def plane(x, y):
        a = math.radians(aspect)
        return 2000 - down * ((x - 500_000) * math.sin(a) + (y - 5_094_000) * math.cos(a))

    dem = write_tile(tmp_path / "plane.tif", 492_000, 5_102_000, 640, 25, plane, "EPSG:32633")
    zenith, b, a = math.radians(50), math.radians(slope), math.radians(160 - aspect)
    incidence = math.cos(zenith) * math.cos(b) + math.sin(zenith) * math.sin(b) * math.cos(a)
    run(metadata, angles, *outputs(tmp_path), dem, threads=2)
    for path in outputs(tmp_path)[:3]:  # 80 m, beside a model of 25 m, is not smooth
        inner = np.s_[5:-5, 5:-5]
        assert values(path, TERRAIN, "slope")[inner] == pytest.approx(slope, abs=0.02)
        assert values(path, TERRAIN, "aspect")[inner] == pytest.approx(aspect, abs=0.1)
        assert values(path, TERRAIN, "cos_incidence")[inner] == pytest.approx(incidence, abs=3e-4)
        assert values(path, TERRAIN, "sky_view")[inner] == pytest.approx((1 + math.cos(b)) / 2, abs=1e-3)
        assert not read(path, TERRAIN, "cast_shadow").any()


def test_pixels_of_60_m_get_the_light_of_their_parts(tmp_path):
    """By Lambert's law, from the raster of 20 m, in ground that is rough within 60 m and partly in shadow."""
    metadata, angles = write_scene(tmp_path, zenith=70.0, azimuth=140.0)
    rough = np.random.default_rng(3).normal(0, 12, (700, 700))
    rough[300:] += 400  # a cliff, whose shadow ends within pixels
    dem = write_tile(tmp_path / "dem.tif", GRID.left - 1000, GRID.top + 1000, 700, 20, lambda x, y: rough, "EPSG:32633")
    run(metadata, angles, *outputs(tmp_path), dem)
    fine, coarse = ({b: values(path, TERRAIN, b) for b in TERRAIN.scales} for path in outputs(tmp_path)[1:3])
    light = np.where(fine["cast_shadow"] > 0, 0, np.maximum(fine["cos_incidence"], 0))
    upright = np.cos(np.radians(fine["slope"]))
    light, upright, sky = (v.reshape(200, 3, 200, 3).mean((1, 3)) for v in (light, upright, fine["sky_view"]))
    np.testing.assert_allclose(coarse["cos_incidence"], light, atol=1e-4)
    np.testing.assert_allclose(np.cos(np.radians(coarse["slope"])), upright, atol=1e-4)
    np.testing.assert_allclose(coarse["sky_view"], sky, atol=1e-4)
    np.testing.assert_array_equal(coarse["cast_shadow"], light < 5e-5)
    assert 0.01 < coarse["cast_shadow"].mean() < 0.5


@pytest.mark.slow
def test_part_has_the_ground_of_the_whole(tmp_path):
    metadata, angles = write_scene(tmp_path / "whole")
    (tmp_path / "part").mkdir()
    part = Grid(GRID.epsg, GRID.left + 3840, GRID.top - 3840, 10, 402, 384)
    of_part = tmp_path / "part/metadata.json"
    dataclasses.replace(Scene.read(metadata), grid=part, roi=part, tile_grid=GRID).write(of_part)
    dem = tiles(tmp_path / "dem")
    for name, source in (("whole", metadata), ("part", of_part)):
        run(source, angles, *outputs(tmp_path / name), dem)
    for whole, cut in zip(*(outputs(tmp_path / name)[:3] for name in ("whole", "part")), strict=True):
        told = [tags_of(path, TERRAIN) for path in (whole, cut)]
        assert told[0]["tile_elevation_mean"] == told[1]["tile_elevation_mean"]
        assert float(told[0]["tile_elevation_mean"]) == pytest.approx(float(told[0]["elevation_mean"]), abs=5)
        area = part.at(round(grid_of(cut, TERRAIN).resolution)).within(grid_of(whole, TERRAIN))
        for band in TERRAIN.scales:
            np.testing.assert_array_equal(read(cut, TERRAIN, band), read(whole, TERRAIN, band)[area], band)


def test_slope_and_hillshade_agree_with_another_formula(tmp_path):
    """Slope from the two tangents, hillshade from Lambert's law with the normal as a cross product of vectors."""
    metadata, angles = write_scene(tmp_path, zenith=55.0, azimuth=140.0)
    random = np.random.default_rng(2).normal(0, 3, (700, 700)).cumsum(0).cumsum(1) / 30
    dem = write_tile(
        tmp_path / "dem.tif", GRID.left - 1000, GRID.top + 1000, 700, 20, lambda x, y: random, "EPSG:32633"
    )
    run(metadata, angles, *outputs(tmp_path), dem)
    z = random[49:651, 49:651].astype("f4").astype("f8")
    smooth = np.array([1, 2, 1]) / 4
    across = np.apply_along_axis(np.convolve, 0, z, smooth, "valid")
    along = np.apply_along_axis(np.convolve, 1, z, smooth, "valid")
    east, north = (across[:, 2:] - across[:, :-2]) / 40, (along[:-2] - along[2:]) / 40
    ones = np.ones_like(east)
    normal = np.cross(np.stack([ones, 0 * east, east], -1), np.stack([0 * east, ones, north], -1))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    zenith, azimuth = np.radians((55.0, 140.0))
    sun = [np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth), np.cos(zenith)]
    path = tmp_path / "terrain_20.tif"
    np.testing.assert_allclose(values(path, TERRAIN, "cos_incidence"), normal @ sun, atol=2e-4)
    np.testing.assert_allclose(values(path, TERRAIN, "slope"), np.degrees(np.arccos(normal[..., 2])), atol=0.02)


@pytest.mark.slow
def test_model_cut_to_the_scene_makes_no_walls(tmp_path):
    metadata, angles = write_scene(tmp_path)
    dem = write_tile(tmp_path / "cut.tif", GRID.left, GRID.top, 600, 20, lambda x, y: 0 * x - 420, "EPSG:32633")
    run(metadata, angles, *outputs(tmp_path), dem)
    path = tmp_path / "terrain_20.tif"
    assert (read(path, TERRAIN, "elevation") == -420).all()
    assert (read(path, TERRAIN, "sky_view") == 10000).all()
    assert not read(path, TERRAIN, "slope").any()
    assert tags_of(path, TERRAIN)["relief"] == "no"
