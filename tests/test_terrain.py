"""Terrain correction against the equations of the atmosphere package and synthetic slopes."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from equations import UNIFORM_SKY, adjacent_reflectance, illumination, terrain_toa_reflectance

import steps.terrain_correction
from steps.atmosphere.inversion import surface_reflectance
from steps.core.documents import read_json, write_document
from steps.core.errors import StepError
from steps.core.rasters import Grid, grid_of, read, values, write
from steps.dem import run as describe
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, GAIN, TERRAIN, UNROUNDED_BOA
from steps.sentinel2.reports import SceneMeans, Span
from steps.sentinel2.scene_classes import CLOUD_HIGH, VEGETATION
from steps.terrain.correction import Downward, Lie, Light, SkyTerms, correct_terrain, relative_irradiance
from tests.test_dem import GRID, write_scene, write_tile

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def air(sun_zenith=50.0, view_zenith=5.0, relative_azimuth=100.0, elevation_km=0.0, aot550=0.2, *_):
    """Give a plausible blue band in closed form: exponential layers, half of what is scattered goes down."""
    molecules, aerosol = 0.18 * np.exp(-np.asarray(elevation_km) / 8), 1.1 * np.asarray(aot550)
    tau, mu = molecules + aerosol, np.cos(np.radians(sun_zenith))
    direct, up = np.exp(-tau / mu), np.exp(-tau / np.cos(np.radians(view_zenith)))
    lost = molecules / 2 + aerosol / 8
    total, total_up = np.exp(-lost / mu), np.exp(-lost)
    path = 0.4 * lost * np.ones_like(direct)
    return SimpleNamespace(
        path_reflectance=path,
        gas_transmittance=0.98,
        water_transmittance=0.99,
        transmittance_down=total,
        transmittance_up=total_up,
        direct_down=direct,
        direct_up=up,
        spherical_albedo=0.9 * lost * np.ones_like(direct),
    )


#: Terms of a sky that is brighter towards the sun.
SKY = (0.2, 0.6, -0.2, 0.2, -0.3, -0.1)


@pytest.fixture
def atmosphere(monkeypatch):
    monkeypatch.setattr(steps.terrain_correction, "table_of", lambda path: None)
    monkeypatch.setattr(steps.terrain_correction, "evaluator", lambda table, scene, band: air)
    monkeypatch.setattr(steps.terrain_correction, "sky_terms", lambda *_: np.array([SKY, SKY]))


def ground_raster(path, grid, relief="yes", **bands):
    level = {"elevation": 500, "slope": 0, "aspect": 0, "cos_incidence": 6428, "sky_view": 10000, "cast_shadow": 0}
    arrays = {k: np.broadcast_to(np.int16(v), grid.shape).copy() for k, v in (level | bands).items()}
    write(path, TERRAIN, grid, arrays, dem="dem.tif", relief=relief, elevation_min="0", elevation_max="900")
    return path


def correct(folder, boa, classes=VEGETATION, **options):
    metadata, angles = folder / "metadata.json", folder / "angles.tif"
    if not metadata.exists():
        write_scene(folder)
    grid = grid_of(boa, BOA).at(20)
    write(folder / "aot.tif", AOT, grid, {"aot550": np.full(grid.shape, 200, np.uint16)})
    scl = {"SCL": np.broadcast_to(np.uint8(classes), grid.shape).copy()}
    write(folder / "scl.tif", CLASSIFICATION, grid, scl | {name: np.zeros(grid.shape, "u1") for name in ("CLD", "SNW")})
    write_document(folder / "means.json", SceneMeans(Span(0.5, 0.0, 1.0), Span(0.2, 0.2, 0.2), Span(1, 1, 1), None))
    names = {"boa": [boa], "terrain": [folder / "terrain.tif"], "metadata": metadata, "angles": angles}
    names |= {
        "classification": folder / "scl.tif",
        "aot": folder / "aot.tif",
        "aerosol_model": folder / "model.json",
        "scene_means": folder / "means.json",
        "corrected": [folder / "corrected.tif"],
    }
    steps.terrain_correction.run(**names, report=folder / "report.json", **options)
    return folder / "corrected.tif", read_json(folder / "report.json")["resolutions"][0]


def terrains(folder, at):
    """Where the stage puts its rasters, that of one pixel size where `correct` looks for it."""
    return [folder / ("terrain.tif" if size == at else f"terrain_{size}.tif") for size in (10, 20, 60, 80)]


def random_boa(folder, grid, bands=("B02", "B08")):
    random = np.random.default_rng(0)
    arrays = {band: random.uniform(1, 12000, grid.shape).astype("f4") for band in bands}
    for array in arrays.values():
        array[:40] = 0
        array[50, :50] = 65535
    write(folder / "boa.tif", UNROUNDED_BOA, grid, arrays)
    return folder / "boa.tif"


def relative(cos_incidence, cos_slope, lit, sky_view, transmittance, direct, albedo, around, sky, sun_cosine=0.6):
    """Irradiance relative to level ground, by the formula of the kernel."""
    sun = (max(cos_incidence, 0.0) / sun_cosine if lit else 0.0) - 1
    u, v = cos_incidence - cos_slope * sun_cosine, 1 - cos_slope
    opening = sky_view / (1 - v / 2) - 1
    lie = Lie(*(np.float64(number) for number in (sun, opening, 1 - sky_view, u, v)))
    return relative_irradiance(lie, Downward(transmittance, direct, albedo), SkyTerms(*sky), around)


def test_irradiance_is_the_equation_of_the_paper():
    random = np.random.default_rng(1)
    for _ in range(200):
        direct, albedo, around, sky_view = random.uniform(0, [0.9, 0.3, 1, 1])
        a = SimpleNamespace(direct_down=direct, transmittance_down=random.uniform(direct, 1), spherical_albedo=albedo)
        sky = random.uniform(-0.3, 0.3, 6)
        sky[0] = random.uniform(0, 0.5)
        tilted = {"cos_incidence": random.uniform(0.01, 1), "cos_slope": random.uniform(0.5, 1)}
        tilted |= {"lit": random.integers(2), "sky_view": sky_view}
        level = {"cos_incidence": 0.6, "cos_slope": 1.0, "lit": 1, "sky_view": 1.0}
        there, here = (illumination(a, around, sun_cosine=0.6, terrain=around, sky=sky, **g) for g in (tilted, level))
        got = relative(*tilted.values(), a.transmittance_down, direct, albedo, around, sky)
        assert got == pytest.approx(there / here, rel=1e-12)


def test_energy_is_kept():
    """Without air only the sun counts; under a white sky in white ground every slope gets as much as level ground."""
    assert relative(0.42, 0.9, 1, 0.95, 1.0, 1.0, 0.0, 0.0, UNIFORM_SKY) == pytest.approx(0.7)
    assert relative(0.42, 0.9, 1, 0.6, 0.8, 0.0, 0.1, 1.0, UNIFORM_SKY) == pytest.approx(1.0)
    assert relative(0.0, 0.9, 0, 0.6, 0.8, 0.5, 0.0, 0.0, UNIFORM_SKY) == pytest.approx(0.6 * 0.3 / 0.8)
    # the mean over all aspects of a shallow slope is that of level ground, but for the sky and ground it sees less of
    azimuth, slope, zenith = np.radians(np.arange(0, 360, 5)), np.radians(10), np.radians(50)
    cosine = np.cos(zenith) * (np.cos(slope) + np.tan(zenith) * np.sin(slope) * np.cos(azimuth))
    air = np.cos(slope), 1, (1 + np.cos(slope)) / 2, 0.9, 0.7, 0.1, 0.2, UNIFORM_SKY, np.cos(zenith)
    assert np.mean([relative(c, *air) for c in cosine]) / np.cos(slope) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_level_ground_is_left_as_it_is(tmp_path, atmosphere, resolution):
    grid = GRID.at(resolution)
    boa = random_boa(tmp_path, grid)
    ground_raster(tmp_path / "terrain.tif", grid)
    corrected, report = correct(tmp_path, boa)
    for band in ("B02", "B08"):
        np.testing.assert_array_equal(read(corrected, BOA, band), read(boa, BOA, band))
    assert report["applied"]
    assert report["shadow_percent"] == 0
    assert report["limited_percent"] == {"B02": 0, "B08": 0}


@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_clouds_are_left_as_they_are(tmp_path, atmosphere, resolution):
    grid = GRID.at(resolution)
    boa = random_boa(tmp_path, grid, ["B02"])
    ground_raster(tmp_path / "terrain.tif", grid, slope=3000, cos_incidence=9000)
    clouds = np.where(np.indices(GRID.at(20).shape)[1] < GRID.at(20).width // 3 * 3 // 2, CLOUD_HIGH, VEGETATION)
    corrected, _ = correct(tmp_path, boa, classes=clouds.astype("u1"))
    before, after = read(boa, BOA, "B02"), read(corrected, BOA, "B02")
    at = grid.width // 2 - 3
    np.testing.assert_array_equal(after[:, :at], before[:, :at])
    assert (after != before)[60:, at + 6 :].mean() > 0.9


def test_without_relief_reflectance_is_only_rounded(tmp_path):
    boa = random_boa(tmp_path, GRID.at(20))
    ground_raster(tmp_path / "terrain.tif", GRID.at(20), relief="no")
    corrected, report = correct(tmp_path, boa)
    for band in ("B02", "B08"):
        expected = np.floor(read(boa, UNROUNDED_BOA, band).astype("f8") + 0.5)
        np.testing.assert_array_equal(read(corrected, BOA, band), expected)
    assert report["applied"] is False


def test_rounded_once_after_the_division(tmp_path, atmosphere):
    """Where little light falls, numbers that differ by a fraction before differ by more than one after."""
    grid = GRID.at(20)
    stored = np.zeros(grid.shape, "f4") + 1400
    stored[::2] += 0.4
    ground_raster(tmp_path / "terrain.tif", grid, sky_view=4000, cast_shadow=1)
    write(tmp_path / "boa.tif", UNROUNDED_BOA, grid, {"B02": stored})
    corrected, _ = correct(tmp_path, tmp_path / "boa.tif", min_cos_incidence=0.01)
    got = read(corrected, BOA, "B02")[200:400, 200:400] - 1000.0
    assert got[0, 0] / 400 > 4
    np.testing.assert_allclose(got[::2] - got[1::2], 0.4 * got[0, 0] / 400, atol=1)
    assert (got[::2] > got[1::2]).all()


def test_on_without_a_model_is_refused(tmp_path):
    metadata, angles = write_scene(tmp_path)
    describe(metadata, angles, *terrains(tmp_path, at=20))
    with pytest.raises(StepError, match="without an elevation model"):
        correct(tmp_path, random_boa(tmp_path, GRID.at(20)), correction="always")


def test_other_grid_is_refused(tmp_path, atmosphere):
    ground_raster(tmp_path / "terrain.tif", GRID.at(60))
    with pytest.raises(StepError, match="grid"):
        correct(tmp_path, random_boa(tmp_path, GRID.at(20)))


@pytest.mark.slow
def test_lit_slope_gives_back_the_reflectance_it_was_made_from(tmp_path, atmosphere):
    """Forward model of a tilted plane, flat inversion, correction: the plane's own reflectance."""
    slope, truth = 15.0, 0.3
    metadata, angles = write_scene(tmp_path, zenith=50.0, azimuth=160.0)
    rise = np.tan(np.radians(slope))
    dem = write_tile(
        tmp_path / "dem.tif", GRID.left - 12000, GRID.top + 12000, 1500, 25,
        lambda x, y: 4000 + rise * (y - 5_094_000), "EPSG:32633",
    )  # fmt: skip
    ground = tmp_path / "terrain.tif"
    describe(metadata, angles, *terrains(tmp_path, at=20), dem)
    elevation = values(ground, TERRAIN, "elevation") / 1000
    a = air(elevation_km=elevation)
    tilt = {k: values(ground, TERRAIN, k) for k in ("cos_incidence", "sky_view")}
    tilt["cos_slope"] = np.cos(np.radians(values(ground, TERRAIN, "slope")))
    light = illumination(a, truth, sun_cosine=np.cos(np.radians(50)), lit=1, terrain=truth, sky=SKY, **tilt)
    flat = adjacent_reflectance(terrain_toa_reflectance(truth, a, truth, light), a, truth)
    assert flat.mean() > truth * 1.2
    write(tmp_path / "boa.tif", UNROUNDED_BOA, GRID.at(20), {"B02": (flat * 1e4 + 1000).astype("f4")})
    corrected, _ = correct(tmp_path, tmp_path / "boa.tif")
    error = values(corrected, BOA, "B02") - truth
    assert abs(error.mean()) < 1e-3
    assert np.abs(error[64:-64, 64:-64]).max() < 1e-3
    assert np.abs(error).max() < 5e-3  # beside the border the mean aerosol is that of one side


def test_shadow_is_lifted_within_the_limits(tmp_path, atmosphere):
    grid = GRID.at(20)
    boa = random_boa(tmp_path, grid)
    random = np.random.default_rng(3)
    ground = {
        "slope": random.integers(0, 8000, grid.shape),
        "cos_incidence": random.integers(-10000, 10001, grid.shape),
        "sky_view": random.integers(0, 10001, grid.shape),
        "cast_shadow": random.integers(0, 2, grid.shape),
    }
    ground = {k: v.astype("i2") for k, v in ground.items()}
    ground_raster(tmp_path / "terrain.tif", grid, **ground)
    corrected, report = correct(tmp_path, boa, min_cos_incidence=0.2, threads=2)
    flat, got = (read(path, BOA, "B02").astype("i8") for path in (boa, corrected))
    shadow = ((ground["cast_shadow"] == 1) | (ground["cos_incidence"] <= 0)) & (flat > 0)
    assert report["shadow_percent"] == pytest.approx(100 * shadow.sum() / (flat > 0).sum(), abs=1e-3)
    assert report["limited_percent"]["B02"] > 10
    assert (got[flat == 0] == 0).all()
    assert (got[flat > 0] >= 1).all()
    assert got.max() <= max(16000, flat.max())
    exact = read(boa, UNROUNDED_BOA, "B02").astype("f8")
    assert (np.abs(got - 1000) <= 5 * np.abs(exact - 1000) + 0.51)[flat > 0].all()
    brighter = shadow & (flat > 1100) & (flat < 16000)
    assert (got[brighter] >= flat[brighter]).mean() > 0.9


def test_any_blocks_of_rows_give_the_same():
    random = np.random.default_rng(4)
    shape = (300, 70)
    boa = random.uniform(1, 9000, (2, *shape)).astype("f4")
    ground = np.stack([*random.integers(0, 5000, (4, *shape)), np.zeros(shape)]).astype("i2")
    nodes = np.empty((2, 3, 2, 10), "f4")
    nodes[:] = (0.6, 0.9, 1e-5, 0, 0.7, 1e-5, 0, 0.1, 0, 0)
    nodes[..., 1] += random.uniform(0, 0.05, (2, 3, 2))
    sky = np.array([[SKY, np.zeros(6)]] * 2, "f4")
    around = random.uniform(0, 1, (2, 100, 24)).astype("f4")
    whole, pieces = np.empty((2, *shape), "u2"), np.empty((2, *shape), "u2")
    counts, cloud = np.empty((2, 300, 3), np.int64), random.uniform(size=shape) < 0.3
    light = Light(nodes, 150, sky, around, 3)
    correct_terrain(boa, ground, cloud, 0, light, 0.2, whole, None, counts)
    for rows in (slice(0, 64), slice(64, 256), slice(256, 300)):
        block, part, out = (np.ascontiguousarray(a[:, rows]) for a in (boa, ground, pieces))
        correct_terrain(block, part, cloud[rows], rows.start, light, 0.2, out, None, counts[:, rows].copy())
        pieces[:, rows] = out
    np.testing.assert_array_equal(whole, pieces)


def test_gain_is_what_reflectance_was_multiplied_with(tmp_path, atmosphere):
    grid = GRID.at(20)
    write(tmp_path / "boa.tif", UNROUNDED_BOA, grid, {"B8A": np.full(grid.shape, 5000, "f4")})
    sky_view = np.linspace(3000, 10000, grid.height).astype("i2")[:, None]
    ground_raster(tmp_path / "terrain.tif", grid, slope=2000, cos_incidence=3000, sky_view=sky_view)
    corrected, _ = correct(tmp_path, tmp_path / "boa.tif", gain=[tmp_path / "gain.tif"])
    gain, after = values(tmp_path / "gain.tif", GAIN, "B8A"), values(corrected, BOA, "B8A")
    assert gain.min() > 1.3
    np.testing.assert_allclose(0.4 * gain, after, atol=3e-4)


def near_infrared(sun_zenith=50.0, view_zenith=5.0, relative_azimuth=100.0, elevation_km=0.0, aot550=0.2, *_):
    """Give the closed form of `air` for a band at 865 nm."""
    return air(sun_zenith, view_zenith, relative_azimuth, 20 + np.asarray(elevation_km), 0.6 * np.asarray(aot550))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the data of ../shared are not here")
@pytest.mark.parametrize("date", ["full_2015-09-09", "scl_2016-12-12", "scl_2017-01-01"])
def test_forest_on_hills_no_longer_follows_the_sun(tmp_path, monkeypatch, date):
    """Real L1C and DEM, Slovenia: after the correction NIR and incidence angle over forest are uncorrelated."""
    monkeypatch.setattr(steps.terrain_correction, "table_of", lambda path: None)
    monkeypatch.setattr(steps.terrain_correction, "evaluator", lambda table, scene, band: near_infrared)
    monkeypatch.setattr(steps.terrain_correction, "sky_terms", lambda *_: np.array([SKY, SKY]))
    data = np.load(SHARED / f"data/slovenia_patches/{date}.npz")
    toa, zenith = dict(zip(data["bands"], data["toa"][:, :96, :96], strict=True)), float(data["sun_zenith"])
    grid = Grid(32633, 500_000, 5_100_000, 10, 96, 96)
    metadata, angles = write_scene(tmp_path, grid, zenith, float(data["sun_azimuth"]))
    dem = write_tile(tmp_path / "dem.tif", grid.left, grid.top, 100, 10, lambda x, y: data["dem"][:100], "EPSG:32633")
    describe(metadata, angles, *terrains(tmp_path, at=10), dem)
    a = near_infrared(zenith)
    flat = surface_reflectance(toa["B8A"].astype("f8"), a)
    stored = np.where(np.isfinite(flat), np.clip(flat * 1e4 + 1000, 1, 65535), 0).astype("f4")
    write(tmp_path / "boa.tif", UNROUNDED_BOA, grid, {"B8A": stored})
    corrected, _ = correct(tmp_path, tmp_path / "boa.tif")
    # The mask is that of one high-sun date: an index of the date itself picks pixels by their illumination.
    summer = np.load(SHARED / "data/slovenia_patches/full_2015-09-09.npz")
    summer = dict(zip(summer["bands"], summer["toa"][:, :96, :96], strict=True))
    forest = summer["B8A"] - summer["B04"] > 0.7 * (summer["B8A"] + summer["B04"])
    cosine = values(tmp_path / "terrain.tif", TERRAIN, "cos_incidence")
    forest &= (cosine > 0.2) & (stored > 0)
    assert forest.sum() > 2000
    was, now = (
        np.corrcoef(cosine[forest], values(path, BOA, "B8A")[forest])[0, 1]
        for path in (tmp_path / "boa.tif", corrected)
    )
    assert was > 0.3
    assert abs(now) < 0.12
