"""Cirrus correction, on scenes that are written out in closed form: ground, cirrus, and where each band sees it."""

import numpy as np
import pytest
from synthetic import SyntheticScene

from steps import cirrus_correction
from steps.atmosphere import cirrus
from steps.atmosphere.cirrus import HEIGHT, ICE, RATIO, cirrus_in_b10, displaced, ratios, remove, term, without
from steps.core.documents import read_document
from steps.core.mesh import interpolate
from steps.core.rasters import read, values, write
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import BANDS, OUTPUT_BANDS
from steps.sentinel2.kinds import CLASSIFICATION, TOA, WVP
from steps.sentinel2.reports import CirrusReport

#: Of the cirrus, relative to B10; crystals are larger than usual, and there is more vapour above them.
RATIO_HERE = 1.6
ICE_HERE = {"B11": 0.5, "B12": 0.36}
OF_BAND = dict.fromkeys(BANDS, RATIO_HERE) | {band: RATIO_HERE * share for band, share in ICE_HERE.items()}
#: Reflectance at the top of the atmosphere, without cirrus, of vegetation, soil and water.
GROUND = {
    "B01": (0.110, 0.140, 0.115), "B02": (0.080, 0.125, 0.090), "B03": (0.075, 0.140, 0.070),
    "B04": (0.045, 0.170, 0.045), "B05": (0.090, 0.200, 0.040), "B06": (0.240, 0.220, 0.030),
    "B07": (0.300, 0.240, 0.025), "B08": (0.320, 0.260, 0.020), "B8A": (0.340, 0.270, 0.018),
    "B09": (0.100, 0.080, 0.008), "B10": (0.0003, 0.0003, 0.0003), "B11": (0.170, 0.330, 0.008),
    "B12": (0.080, 0.260, 0.005),
}  # fmt: skip


def ground(shape, seed=0):
    """Return a patchwork of the three kinds, mixed, and each with a brightness of its own."""
    random = np.random.default_rng(seed)
    patches = tuple(-(-n // 6) for n in shape)
    shares = np.kron(random.dirichlet((0.4, 0.3, 0.2), patches), np.ones((6, 6, 1)))[: shape[0], : shape[1]]
    brightness = np.kron(random.normal(1, 0.07, patches), np.ones((6, 6)))[: shape[0], : shape[1]]
    return {band: shares @ np.array(of_kinds) * brightness for band, of_kinds in GROUND.items()}


def under(clear, in_b10, band):
    """Return what a band sees with a cirrus: what it adds, and what it lets through."""
    return OF_BAND[band] * in_b10 + (1 - RATIO_HERE * in_b10) * clear


def veil(x, y):
    """Return the cirrus in B10 as a function of map coordinates (m): up to 0.03, and none in places."""
    return np.maximum(0.03 * np.sin(x / 500) * np.cos(y / 700), 0)


@pytest.fixture
def scene():
    rows, columns = np.indices((240, 240)) * 80.0
    in_b10 = veil(columns, rows)
    clear = ground(in_b10.shape)
    noise = np.random.default_rng(1).standard_normal((len(BANDS), *in_b10.shape)) * 0.0003
    seen = {band: under(clear[band], in_b10, band) + noise[i] for i, band in enumerate(BANDS) if band != "B10"}
    return clear, in_b10, seen


def test_ratios_are_those_of_the_cirrus(scene):
    _, in_b10, seen = scene
    found = ratios(seen, dict.fromkeys(seen, in_b10), np.ones(in_b10.shape, bool))
    # Of the infrared ones the scene tells little: they stay near what is usual.
    for band in ("B02", "B8A", "B11", "B12"):
        assert found.of_band[band] == pytest.approx(OF_BAND[band], abs=0.15)
    assert 0 < found.uncertainty < 0.1


def test_without_cirrus_the_usual_ratios_stay(scene):
    clear, in_b10, _ = scene
    none = np.zeros_like(in_b10)
    found = ratios(clear, dict.fromkeys(clear, none), np.ones(none.shape, bool))
    assert found.of_band["B02"] == pytest.approx(RATIO[0])
    assert found.uncertainty == RATIO[1]
    assert found.of_band["B11"] == pytest.approx(ICE["B11"][0] * RATIO[0])


def test_what_is_left_is_the_ground(scene):
    """Exactly, for the true cirrus: opacities from .01 to .05."""
    clear, _, _ = scene
    for in_b10 in (0.00625, 0.03125):
        for band in ("B02", "B8A", "B12"):
            seen = under(clear[band], in_b10, band)
            np.testing.assert_allclose(
                without(seen, OF_BAND[band] * in_b10, RATIO_HERE * in_b10), clear[band], atol=1e-12
            )


def test_clear_b10_is_no_cirrus():
    """Neither its noise, that of the mission's requirements, nor what molecules and the ground are in it."""
    random = np.random.default_rng(2)
    ground_seen = random.uniform(0, 0.02, (200, 200)).astype("f4")
    b10 = ground_seen + np.float32(0.0005) + random.normal(0, 0.0015, ground_seen.shape).astype("f4")
    valid = np.ones(b10.shape, bool)
    valid[:20] = False
    found = cirrus_in_b10(b10, ground_seen, valid, 80)
    assert found[:20].max() == 0
    assert np.percentile(found, 99) < 0.0003
    assert found.mean() < 0.0001
    with_cirrus = cirrus_in_b10(b10 + np.where(np.arange(200) < 100, np.float32(0.02), 0), ground_seen, valid, 80)
    np.testing.assert_allclose(with_cirrus[20:, :90].mean(), 0.02, atol=5e-4)
    assert with_cirrus[20:, 110:].mean() < 0.0001


def test_nothing_valid_is_no_cirrus():
    nothing = np.full((5, 5), np.nan, np.float32)
    assert not cirrus_in_b10(nothing, nothing, np.zeros((5, 5), bool), 80).any()


def test_displaced_by_whole_pixels():
    field = np.random.default_rng(3).random((30, 40)).astype("f4")
    moved = displaced(field, np.full(field.shape, 2.0), np.full(field.shape, -3.0))
    np.testing.assert_allclose(moved[:-2, 3:], field[2:, :-3], atol=1e-6)


def test_kernel_against_numpy():
    random = np.random.default_rng(4)
    coarse = random.uniform(0, 0.05, (6, 7)).astype("f4")
    equation = term(coarse, 1.2, 1.5)
    rows, columns = np.linspace(-0.6, 5.6, 50), np.linspace(-0.6, 6.6, 60)
    stored = random.integers(1, 9000, (50, 60)).astype("u2")
    stored[:3, :4] = 0
    result = np.empty_like(stored)
    remove(stored, *equation, rows, columns, result)
    added, gain = (interpolate(field.astype("f8"), rows, columns) for field in equation)
    expected = np.where(stored == 0, 0, np.clip(np.floor(added + gain * stored + 0.5), 1, 65535))
    assert np.abs(result - expected).max() <= 1
    assert (result != expected).mean() < 0.01
    # At the coarse pixels' middles the equation is that of reflectance.
    at = np.empty((6, 7), "u2")
    remove(np.full((6, 7), 3000, "u2"), *equation, np.arange(6.0), np.arange(7.0), at)
    np.testing.assert_allclose((at - 1000) / 1e4, (0.2 - 1.2 * coarse) / (1 - 1.5 * coarse), atol=6e-5)


@pytest.mark.slow
def test_stage_removes_cirrus_where_each_band_sees_it(tmp_path):
    """Of what a cirrus at 10 km adds nine tenths go in the mean, in the SWIR most; a clear scene stays within .001."""
    scene = SyntheticScene(tmp_path, 96, 96)
    whole, fine = scene.grid.at(20), scene.grid.at(10)
    write(tmp_path / "vapour.tif", WVP, whole, {"water_vapour": np.full(whole.shape, 3000, "u2")})
    write(tmp_path / "classes.tif", CLASSIFICATION, whole, {"SCL": np.full(whole.shape, 4, "u1")})
    clear_20m, left = ground(whole.shape), {}
    of_grid = {
        whole: {band: clear_20m[band] for band in BANDS},
        fine: {band: np.kron(clear_20m[band], np.ones((2, 2))) for band in OUTPUT_BANDS[10]},
    }
    for name, strength in (("cirrus", 1), ("clear", 0)):
        folder, paths = tmp_path / name, {}
        folder.mkdir()
        for grid, clear in of_grid.items():
            size = round(grid.resolution)
            seen = {b: under(v, strength * _seen_by(scene, b, size), b) for b, v in clear.items()}
            seen |= {b: strength * _seen_by(scene, b, size) + 0.0003 for b in seen if b == "B10"}
            paths[size] = folder / f"toa_{size}m.tif"
            write(paths[size], TOA, grid, {b: np.rint(v * 1e4 + 1000).astype("u2") for b, v in seen.items()})
        cirrus_correction.run(
            stack=paths[20],
            toa=[paths[10]],
            classification=tmp_path / "classes.tif",
            terrain=scene.terrain(20),
            vapour=tmp_path / "vapour.tif",
            metadata=scene.metadata,
            angles=scene.angles,
            corrected_stack=folder / "corrected_20m.tif",
            corrected=[folder / "corrected_10m.tif"],
            report=folder / "report.json",
            threads=2,
        )
        np.testing.assert_array_equal(*(read(folder / f, TOA, "B10") for f in ("toa_20m.tif", "corrected_20m.tif")))
        for band, grid in (("B02", fine), ("B08", fine), ("B8A", whole), ("B12", whole)):
            size = round(grid.resolution)
            with_it, without_it = (values(folder / f"{f}_{size}m.tif", TOA, band) for f in ("toa", "corrected"))
            left[name, band] = without_it - of_grid[grid][band]
            if name == "clear":
                assert np.abs(left[name, band]).max() < 1e-3
            else:
                added = with_it - of_grid[grid][band]
                most = 0.25 if band == "B12" else 0.1
                assert abs(left[name, band].mean()) < most * added.mean()
                assert left[name, band].std() < 2 * most * np.sqrt((added**2).mean())
    report = read_document(tmp_path / "cirrus/report.json", CirrusReport)
    assert report.ratios["B02"] == pytest.approx(RATIO_HERE, rel=0.1)
    assert 30 < report.percentage < 70
    assert read_document(tmp_path / "clear/report.json", CirrusReport).percentage == 0


def _seen_by(scene, band, size):
    """Return the cirrus in B10 at 10 km, at the pixels of a band: away from the sensor, along its line of sight."""
    x, y = scene.coordinates(size)
    zenith, azimuth = (np.radians(v) for v in AngleGrid(scene.angles).view(band, x, y))
    reach = HEIGHT * np.tan(zenith)
    return veil(x + reach * np.sin(azimuth), y + reach * np.cos(azimuth))


def test_thick_cloud_keeps_its_correction():
    """Above the limit the correction stays, so that no reflectance turns negative under an anvil."""
    b10 = np.zeros((60, 60), np.float32)
    b10[:, 30:] = 0.4
    found = cirrus_in_b10(b10, np.zeros_like(b10), np.ones(b10.shape, bool), 80)
    assert found.max() == np.float32(cirrus._THICK)
