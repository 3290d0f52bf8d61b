"""Scene classification: reference cases, every rule on its own, a NumPy twin of the whole, and the step."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import real_scenes
from scipy import ndimage

from steps.classification import blocks
from steps.classification import images as kernels
from steps.classification import rules as rules
from steps.classification import scene as scene_kernels
from steps.classification.cci_layers import read_layer
from steps.core.errors import StepError
from steps.core.rasters import Grid, read, write
from steps.scene_classification import classify_scene, run
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import CLASSIFICATION, MASK, MASK_DEFECTIVE, TERRAIN, TOA
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene import Band, Scene

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
CASES = sorted((SHARED / "data" / "scene_classification").glob("*.npz"))
AUXILIARY = {
    "dem": "dem",
    "slope": "slp",
    "hillshade": "sdw",
    "water_bodies": "wbi",
    "land_cover": "lcm",
    "snow_condition": "snc",
}
NO_CASE = pytest.param(Path("none"), marks=pytest.mark.skip(reason=f"no reference cases in {SHARED}"))
F = np.float32

#: Reflectance in STACK_BANDS order: B01 B02 B03 B04 B05 B06 B07 B8A B09 B10 B11 B12.
SPECTRA = {
    "vegetation": (0.12, 0.08, 0.07, 0.04, 0.09, 0.25, 0.30, 0.35, 0.10, 0.002, 0.18, 0.09),
    "soil": (0.13, 0.11, 0.13, 0.17, 0.19, 0.21, 0.23, 0.25, 0.10, 0.002, 0.33, 0.28),
    "water": (0.13, 0.10, 0.07, 0.04, 0.035, 0.03, 0.028, 0.025, 0.01, 0.001, 0.012, 0.008),
    "snow": (0.80, 0.80, 0.78, 0.75, 0.75, 0.74, 0.72, 0.70, 0.40, 0.003, 0.10, 0.08),
    "cloud": (0.55, 0.52, 0.50, 0.49, 0.50, 0.51, 0.52, 0.53, 0.30, 0.010, 0.45, 0.38),
    "haze": (0.25, 0.21, 0.19, 0.17, 0.19, 0.25, 0.28, 0.30, 0.12, 0.006, 0.21, 0.15),
    "cirrus": (0.16, 0.12, 0.11, 0.08, 0.13, 0.27, 0.32, 0.36, 0.15, 0.020, 0.20, 0.11),
    "dark": (0.12, 0.10, 0.07, 0.055, 0.06, 0.07, 0.08, 0.09, 0.03, 0.001, 0.06, 0.03),
    "town": (0.20, 0.19, 0.19, 0.20, 0.21, 0.23, 0.24, 0.25, 0.09, 0.002, 0.26, 0.22),
}


def make_scene(seed=0, shape=(140, 190)):
    """Patches of every spectrum with noise, a strip and some pixels without data, and all maps."""
    rng = np.random.default_rng(seed)
    pick = ndimage.gaussian_filter(rng.normal(size=(len(SPECTRA), *shape)), (0, 7, 7)).argmax(0)
    spectra = np.array(list(SPECTRA.values()))[pick]
    spectra = spectra * rng.lognormal(0, 0.12, (*shape, 1)) * rng.lognormal(0, 0.05, spectra.shape)
    dn = np.clip(np.round(spectra * 10000), 1, 20000)
    dn[:, :9] = 0
    dn[rng.random(shape) < 0.002, 3] = 0
    toa = {name: dn[..., i].astype("f4") / F(10000) for i, name in enumerate(STACK_BANDS)}
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 20)
    codes = np.array([10, 190, 200, 201, 210], "u1")
    maps = {
        "dem": np.interp(smooth, [smooth.min(), smooth.max()], [0, 2600]).astype("f4"),
        "slope": rng.uniform(0, 40, shape).astype("f4"),
        "hillshade": rng.integers(0, 256, shape).astype("u1"),
        "water_bodies": rng.choice(np.array([1, 2], "u1"), shape, p=[0.8, 0.2]),
        "land_cover": np.repeat(rng.choice(codes, (shape[0], 19)), 10, 1)[:, : shape[1]],
        "snow_condition": rng.choice(np.array([0, 12, 254], "u1"), shape),
    }
    return toa, maps


# The twin: the rules in plain NumPy and SciPy, one after the other over the whole scene.


def ramp(x, low, high):
    return (np.clip(x, F(low), F(high)) - F(low)) / (F(high) - F(low))


def ratio(a, b):
    return a / np.maximum(b, F(1e-6))


def ring(mask):
    return ndimage.binary_dilation(mask, iterations=3)


def twin_evidence(b, nodata, elevation, sea):
    """Rules 0-7: class, cloud and snow confidence."""
    ndsi, ndvi = ratio(b.b03 - b.b11, b.b03 + b.b11), ratio(b.b8a - b.b04, b.b8a + b.b04)
    scl = np.full(nodata.shape, 100)
    dark = (b.b04 < F(0.1)) & (F(0.04) < b.b8a) & (b.b8a < F(0.15))
    cloud = np.where(dark, F(0), ramp(b.b04, 0.06, 0.25) ** 2)
    scl[dark] = 2
    f = ramp(ndsi, -0.24, -0.16)
    cloud = cloud * f
    scl[f == 0] = 100
    scl[nodata] = 0
    snow = ramp(ndsi, 0.35, 0.5) * ramp(b.b8a, 0.15, 0.35)
    snow = snow * ramp(b.b02, 0.18, 0.22) * ramp(ratio(b.b02, b.b04), 0.85, 0.95)
    snow[(cloud == 0) | (ratio(b.b05, b.b8a) < F(0.85)) | (sea == 1)] = 0
    is_snow = (snow > F(0.12)) & ~nodata
    scl[is_snow] = 11
    cloud[is_snow | (ring(is_snow) & (b.b12 < F(0.25)))] = 0
    n = ramp(ndvi, 0.36, 0.42)
    scl[(n == 1) & (b.b02 < F(0.15)) & (scl == 100)] = 4
    cloud = np.where(n < 1, cloud * (1 - n), cloud)
    r = np.clip(ratio(b.b02, b.b11), 0, 100)
    limit = np.clip(F(-0.4) * r + F(0.46), F(0.15), F(0.32))
    here = (b.b02 < limit) & (scl == 100)
    scl[here & (r < F(0.7))], cloud[here & (r < F(0.7))] = 5, 0
    some = here & (r > F(0.7)) & (r < 1)
    cloud[some] *= ramp(r[some], 0.7, 1.0)
    limit = np.clip(F(0.1) * r + F(-0.09), F(0.07), F(0.21))
    blue = (b.b8a < b.b04) & (b.b02 < F(0.2))
    here = blue & (b.b12 < limit) & (r > 4) & (scl == 100)
    scl[here], cloud[here] = 6, 0
    some = blue & (b.b12 < limit) & (r >= 2) & (r < 4)
    cloud[some] *= 2 - r[some] / 2
    here = blue & (b.b02 - b.b04 > F(0.034)) & (scl == 100)
    scl[here], cloud[here] = 6, 0
    r = np.clip(ratio(b.b8a, b.b11), 0, 100)
    bright = b.b02 >= np.clip(F(-0.25) * r + F(0.475), F(0.16), F(0.35))
    here = ~bright & (r < F(0.9)) & (b.b02 < F(0.8) * b.b11) & (scl == 100)
    scl[here], cloud[here] = 5, 0
    some = ~bright & (r > F(0.9)) & (r < F(1.1))
    cloud[some] *= ramp(r[some], 0.9, 1.1)
    m = ramp(ratio(b.b04, b.b11), 3.0, 6.0)
    cloud = np.where(m < 1, cloud * (1 - m), np.where(scl == 100, 0, cloud))
    still = scl == 100
    scl[still & (cloud > 0)], scl[still & (cloud >= F(0.2))], scl[still & (cloud >= F(0.8))] = 7, 8, 9
    thin = (b.b10 > F(0.012)) & (b.b10 < F(0.035)) & (b.b02 < F(0.5)) & (cloud < F(0.2)) & (elevation < 1500)
    scl[thin] = 10
    scl[(b.b10 >= F(0.035)) & (cloud < F(0.8))] = 8
    scl[nodata] = 0
    return scl, cloud, snow


def twin_shadow(casts, resolution, sun_zenith, sun_azimuth):
    """Add the shadow line of every cloud pixel, one sample of the line after the other, in a square that repeats."""
    square = 2 * int(np.ceil(0.75 * max(casts.shape)))
    line, row, column = scene_kernels._shadow_line(resolution, sun_zenith, sun_azimuth, square // 2)
    rows, columns = casts.shape
    clouds, total = np.zeros((square, square), "f4"), np.zeros((square, square))
    clouds[:rows, :columns] = casts
    for i, j in np.argwhere(line > 1e-6):
        total += line[i, j] * np.roll(clouds, (i - row, j - column), (0, 1))
    shadow = np.clip(total[:rows, :columns], 0, 1)
    shadow[casts == 1] = 0
    return ndimage.gaussian_filter(shadow.astype("f4"), 3)


def twin_recover(b, scl, shadow, slope, hillshade, water):
    """Cloud shadow and rules 12-17."""
    reference = dict(b02=0.12, b03=0.08, b04=0.06, b8a=0.10, b11=0.0545, b12=0.0255)
    distance = sum(np.abs(getattr(b, k) - F(v)) for k, v in reference.items()) / F(6)
    share = sum((getattr(b, k) < F(v)).astype("f4") for k, v in reference.items()) / F(6)
    distance, share = ndimage.median_filter(distance, 3), ndimage.median_filter(share, 3)
    likely = np.where(distance > F(0.018), 0, 1 - distance)
    likely[share == 1] = 1
    r = ratio(b.b02, b.b11)
    likely[(r > 6) | (scl == 10)] = 0
    valid, scl = scl != 0, scl.copy()
    scl[(likely * shadow > F(0.05)) & valid] = 3
    dark = np.isin(scl, (2, 100))
    green = (ratio(b.b8a - b.b04, b.b8a + b.b04) > F(0.42)) | (ratio(b.b8a, b.b03) > F(2.5))
    scl[dark & green] = 4
    scl[(r > 4) & (b.b8a < b.b04) & ((scl == 2) | ((scl == 100) & (b.b8a < F(0.3))))] = 6
    if water is not None:
        scl[(water == 2) & np.isin(scl, (2, 3, 7, 100))] = 6
    scl[(scl == 6) & (hillshade < 128) & (slope > 15)] = 2
    scl[(scl == 3) & (hillshade > 0) & (hillshade < 32)] = 2
    if water is not None:
        blue = (b.b02 - b.b04 > F(0.034)) & (b.b8a < b.b04) & (b.b02 > F(0.2))
        scl[(hillshade < 128) & (water != 2) & blue & np.isin(scl, (7, 8, 100))] = 2
    scl[ring(scl == 11) & (b.b11 < b.b03) & (scl == 100)] = 11
    scl[(scl == 2) & (r < F(0.65))] = 5
    return scl


def twin(toa, resolution, sun_zenith, sun_azimuth, maps):
    """Rules 0-17 and 21."""
    b = type("Bands", (), {name.lower(): array for name, array in toa.items()})
    shape = b.b02.shape
    nodata = np.any([a == 0 for a in toa.values()], axis=0)
    condition = maps.get("snow_condition", np.zeros(shape))
    land = condition[condition != 254]
    sea = (condition == 254) & (land.sum() > 0) & (land.mean() < 10)
    elevation = maps.get("dem", np.zeros(shape))
    scl, cloud, snow = twin_evidence(b, nodata, elevation, sea)
    casts = ndimage.binary_dilation(ndimage.median_filter(cloud, 3) > F(0.33)).astype("u1")
    shadow = twin_shadow(casts, resolution, sun_zenith, sun_azimuth)
    flat = maps.get("slope", np.zeros(shape)), maps.get("hillshade", np.full(shape, 255))
    scl = twin_recover(b, scl, shadow, *flat, maps.get("water_bodies"))
    scl[scl == 100] = 7
    return scl, (100 * cloud + F(0.5)).astype("u1"), (100 * snow + F(0.5)).astype("u1")


@pytest.mark.parametrize("mode", ["classic", pytest.param("improved", marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", CASES or [NO_CASE], ids=lambda path: path.stem)
def test_reference_case(path, mode, record_property):
    """Improved mode without any of its improvements has the same classes, and probabilities of its own."""
    case = np.load(path)
    toa = {str(b): case["toa_dn"][i].astype("f4") / F(10000) for i, b in enumerate(case["bands"])}
    aux = {name: case[key] for name, key in AUXILIARY.items() if key in case.files}
    angles = float(case["sun_zenith"]), float(case["sun_azimuth"])
    options = {"snow_possible": bool(case["snow_possible"]), "threads": 2, "mode": mode, "improvements": ()}
    scl, cloud, snow = classify_scene(toa, int(case["resolution"]), *angles, **options, **aux)
    record_property("share of the pixels", float((scl == case["scl"]).mean()))
    assert (scl == case["scl"]).mean() >= 0.9995
    if mode == "classic":
        assert (np.abs(cloud.astype(int) - case["cld"]) <= 1).mean() >= 0.9995
        assert (np.abs(snow.astype(int) - case["snw"]) <= 1).mean() >= 0.9995


#: Least agreement with the operational classifications of ESA (of another version, with maps that are not at hand).
OPERATIONAL = {"scl_2016-12-12": 0.95, "scl_2017-01-01": 0.93, "scl_2017-01-11": 0.55}


@pytest.mark.parametrize("name", OPERATIONAL)
def test_operational_classes_of_slovenia(name, record_property):
    path = SHARED / "data/slovenia_patches" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    toa, sun, _, expected = real_scenes.patch(path)
    scl, *_ = classify_scene(toa, 20, *sun)
    valid = (scl != 0) & (expected != 0)
    record_property(f"share of the pixels, {name[4:]}", float((scl == expected)[valid].mean()))
    assert (scl == expected)[valid].mean() >= OPERATIONAL[name]


def test_operational_classes_of_the_alps(record_property):
    """Dense vegetation that is darker in blue than in B11, which rule 5.1 would have, is vegetation to ESA as well."""
    path = SHARED / "data/barbellino_20170703.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    data = np.load(path)
    toa = {str(b): real_scenes.averaged(image) for b, image in zip(data["toa_bands"], data["toa"], strict=True)}
    toa["B8A"] = toa["B08"]
    scl, *_ = classify_scene(toa, 20, float(data["sun_zenith"]), float(data["sun_azimuth"]))
    record_property("share of the pixels", float((scl == data["scl"]).mean()))
    assert (scl == data["scl"]).mean() >= 0.9
    ndvi = (toa["B8A"] - toa["B04"]) / (toa["B8A"] + toa["B04"])
    dense = (ndvi > 0.42) & (toa["B02"] < 0.15) & (toa["B02"] < 0.7 * toa["B11"])
    assert np.count_nonzero(dense) == 78
    assert (data["scl"][dense] == 4).all()
    assert (scl[dense] == 4).all()


@pytest.mark.slow
@pytest.mark.parametrize("with_maps", [False, True])
@pytest.mark.parametrize(("resolution", "sun_zenith", "sun_azimuth"), [(20, 52.4, 161.7), (60, 33, 30), (60, 71, 250)])
def test_twin(resolution, sun_zenith, sun_azimuth, with_maps):
    toa, maps = make_scene(resolution)
    maps.pop("land_cover")
    maps = maps if with_maps else {}
    got = classify_scene(toa, resolution, sun_zenith, sun_azimuth, **maps)
    expected = twin(toa, resolution, sun_zenith, sun_azimuth, maps)
    assert len(np.unique(got[0])) >= 9
    valid = got[0] != 0
    assert (got[0] != expected[0]).sum() <= 2
    for g, e in zip(got[1:], expected[1:], strict=True):
        assert np.abs(g[valid].astype(int) - e[valid]).max() <= 1


def test_no_snow_where_it_is_impossible():
    toa, _ = make_scene(1)
    scl, _, snow = classify_scene(toa, 60, 40, 150, snow_possible=False)
    assert not snow.any()
    assert not (scl == 11).any()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["classic", "improved"])
@pytest.mark.parametrize("resolution", [20, 60])
def test_result_does_not_depend_on_threads_and_blocks(monkeypatch, resolution, mode):
    toa, maps = make_scene(3)
    toa["B08"] = np.where(toa["B8A"] > 0, toa["B8A"] * F(1.02), F(0))
    options = {"mode": mode, "cloud_buffer": 2.5 * resolution, "cast_shadow": (maps["hillshade"] < 20).astype("u1")}
    monkeypatch.setattr(scene_kernels, "TILE", 64)
    expected = classify_scene(toa, resolution, 40, 150, **options, **maps)
    assert len(np.unique(expected[0])) >= 9
    for threads, rows in ((1, 16), (1, 37), (2, 64), (4, 37), (4, 139), (2, 1000)):
        monkeypatch.setattr(blocks, "ROWS", rows)
        got = classify_scene(toa, resolution, 40, 150, threads=threads, **options, **maps)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_scene_without_data():
    toa = {name: np.zeros((40, 50), "f4") for name in STACK_BANDS}
    for result in classify_scene(toa, 20, 40, 150):
        assert result.shape == (40, 50)
        assert not result.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (33, 64)])
@pytest.mark.parametrize(("spectrum", "expected"), [("cloud", 9), ("water", 6), ("soil", 5)])
def test_scene_of_one_kind(shape, spectrum, expected):
    toa = {name: np.full(shape, value, "f4") for name, value in zip(STACK_BANDS, SPECTRA[spectrum], strict=True)}
    scl, cloud, snow = classify_scene(toa, 20, 40, 150)
    assert (scl == expected).all()
    assert (cloud == (100 if expected == 9 else 0)).all()
    assert not snow.any()


@pytest.mark.slow
@pytest.mark.parametrize("sun_zenith", [0, 15.4, 50.5, 74, 84, 89.7])
def test_any_sun(sun_zenith):
    """Clouds over dark ground, on a grid of odd size: shadows, and no class that is not there."""
    shape = (87, 131)
    toa = {name: np.full(shape, value, "f4") for name, value in zip(STACK_BANDS, SPECTRA["dark"], strict=True)}
    for name, value in zip(STACK_BANDS, SPECTRA["cloud"], strict=True):
        toa[name][40:48, 60:75] = value
    for sun_azimuth in (0, 44.6, 90, 135, 180, 225.5, 270, 315, 359.9):
        for resolution in (20, 60):
            scl, _, _ = classify_scene(toa, resolution, sun_zenith, sun_azimuth)
            assert set(np.unique(scl)) <= {2, 3, 9}
            assert (scl[41:47, 61:74] == 9).all()
            if sun_zenith:
                assert (scl == 3).any()


def test_bad_arguments():
    toa, maps = make_scene()
    with pytest.raises(ValueError, match="mode"):
        classify_scene(toa, 20, 40, 150, mode="other")
    with pytest.raises(ValueError, match="together"):
        classify_scene(toa, 20, 40, 150, dem=maps["dem"])


# Each rule: (function, arguments that trigger it, result; arguments that do not, result).
OPEN, DARK, SHADOW, VEGETATION, SOIL, WATER, LOW, MEDIUM, HIGH, CIRRUS = 100, 2, 3, 4, 5, 6, 7, 8, 9, 10
RULES = [
    (rules.brightness, (0.05, 0.10), (DARK, 0), (0.25, 0.30), (OPEN, 1)),
    (rules.not_green_in_swir, (DARK, 0.5, -0.3), (OPEN, 0), (DARK, 0.5, 0.0), (DARK, 0.5)),
    (rules.snow_confidence, (1, 0.6, 0.5, 0.5, 0.5, 0.5), 1, (1, 0.3, 0.5, 0.5, 0.5, 0.5), 0),
    (rules.snow_confidence, (1, 0.6, 0.5, 0.5, 0.5, 0.5), 1, (0, 0.6, 0.5, 0.5, 0.5, 0.5), 0),
    (rules.vegetation, (OPEN, 0.5, 0.6, 0.1), (VEGETATION, 0.5), (OPEN, 0.5, 0.6, 0.2), (OPEN, 0.5)),
    (rules.vegetation, (OPEN, 0.5, 0.39, 0.1), (OPEN, 0.25), (OPEN, 0.5, 0.3, 0.1), (OPEN, 0.5)),
    (rules.soil, (OPEN, 0.5, 0.1, 0.2), (SOIL, 0), (OPEN, 0.5, 0.3, 0.2), (OPEN, 0.5)),
    (rules.soil, (OPEN, 0.5, 0.1275, 0.15), (OPEN, 0.25), (DARK, 0.5, 0.1275, 0.15), (DARK, 0.5)),
    (rules.water, (OPEN, 0.5, 0.1, 0.05, 0.02, 0.01, 0.005), (WATER, 0),
     (OPEN, 0.5, 0.1, 0.05, 0.3, 0.01, 0.005), (OPEN, 0.5)),
    (rules.water, (OPEN, 0.5, 0.1, 0.08, 0.02, 0.0333, 0.005), (OPEN, 0.25),
     (DARK, 0.5, 0.1, 0.05, 0.02, 0.09, 0.08), (DARK, 0.5)),
    (rules.rock_and_sand, (OPEN, 0.5, 0.12, 0.2, 0.3), (SOIL, 0), (OPEN, 0.5, 0.4, 0.2, 0.3), (OPEN, 0.5)),
    (rules.rock_and_sand, (OPEN, 0.5, 0.15, 0.2, 0.2), (OPEN, 0.25), (OPEN, 0.5, 0.15, 0.3, 0.2), (OPEN, 0.5)),
    (rules.too_red_for_cloud, (OPEN, 0.5, 0.7, 0.1), (OPEN, 0), (OPEN, 0.5, 0.2, 0.1), (OPEN, 0.5)),
    (rules.clouds, (OPEN, 0.9, 0.5, 0.002, 0), (HIGH, 0.9), (SOIL, 0.9, 0.5, 0.002, 0), (SOIL, 0.9)),
    (rules.clouds, (OPEN, 0.5, 0.5, 0.002, 0), (MEDIUM, 0.5), (OPEN, 0.1, 0.5, 0.002, 0), (LOW, 0.1)),
    (rules.clouds, (WATER, 0, 0.1, 0.02, 0), (CIRRUS, 0), (WATER, 0, 0.1, 0.02, 1600), (WATER, 0)),
    (rules.clouds, (WATER, 0, 0.1, 0.04, 1600), (MEDIUM, 0), (HIGH, 0.9, 0.1, 0.04, 0), (HIGH, 0.9)),
    (rules.shadow_distance, (0.1, 0.07, 0.05, 0.09, 0.05, 0.02), (0.0090, True),
     (0.2, 0.08, 0.06, 0.1, 0.0545, 0.0255), (0.0133, False)),
    (rules.shadow, (SOIL, 0.1, 0.05), SHADOW, (SOIL, 0.1, 0.01), SOIL),
    (rules.dark_vegetation, (DARK, 0.5, 0.1, 0.1), VEGETATION, (DARK, 0.3, 0.1, 0.2), DARK),
    (rules.dark_vegetation, (OPEN, 0.3, 0.1, 0.3), VEGETATION, (SOIL, 0.5, 0.1, 0.3), SOIL),
    (rules.dark_water, (DARK, 0.1, 0.05, 0.04, 0.02), WATER, (DARK, 0.1, 0.05, 0.04, 0.04), DARK),
    (rules.dark_water, (OPEN, 0.1, 0.05, 0.04, 0.02), WATER, (OPEN, 0.9, 0.5, 0.4, 0.02), OPEN),
    (rules.mapped_water, (SHADOW, 2), WATER, (SHADOW, 1), SHADOW),
    (rules.shaded_slope, (WATER, 0.1, 0.05, 0.02, 20, 100, 255), DARK, (WATER, 0.1, 0.05, 0.02, 10, 100, 255), WATER),
    (rules.shaded_slope, (SHADOW, 0.1, 0.05, 0.02, 20, 20, 255), DARK, (SHADOW, 0.1, 0.05, 0.02, 20, 0, 255), SHADOW),
    (rules.shaded_slope, (MEDIUM, 0.3, 0.2, 0.1, 0, 100, 1), DARK, (MEDIUM, 0.3, 0.2, 0.1, 0, 100, 255), MEDIUM),
    (rules.dark_soil, (DARK, 0.05, 0.1), SOIL, (DARK, 0.08, 0.1), DARK),
]  # fmt: skip


@pytest.mark.parametrize("case", RULES, ids=lambda case: case[0].__name__)
def test_rule(case):
    rule, triggers, expected, passes, unchanged = case
    for arguments, result in ((triggers, expected), (passes, unchanged)):
        arguments = [F(a) if isinstance(a, float) else a for a in arguments]
        np.testing.assert_allclose(np.array(rule.py_func(*arguments), "f8"), np.array(result, "f8"), atol=0.003)


def test_limits_of_the_ramps():
    assert rules.ramp(F(0.05), rules.B04) == 0
    assert rules.ramp(F(0.3), rules.B04) == 1
    assert rules.ramp(F(0.155), rules.B04) == pytest.approx(0.5)
    # Numerator and width are the same float32 difference.
    for name in ("B02", "B04", "B8A", "NDSI_CLD", "NDSI_SNW", "NDVI", "R_B02_B04", "R_B8A_B11", "R_B02_B11_SOIL"):
        thresholds = getattr(rules, name)
        assert rules.ramp(thresholds[1], thresholds) == rules.ramp(F(9), thresholds) == 1


def test_dilation_is_scipys():
    mask = np.random.default_rng(0).random((40, 60)) < 0.03
    for times in (1, 3):
        expected = ndimage.binary_dilation(mask, iterations=times)
        np.testing.assert_array_equal(kernels.dilate(mask.astype("u1"), times), expected)


@pytest.mark.slow
@pytest.mark.parametrize("zenith", [20, 40, 60])
@pytest.mark.parametrize("azimuth", [0, 45, 90, 160, 180, 200, 270, 315, 359.7])
def test_shadow_lies_away_from_the_sun(azimuth, zenith):
    casts = np.zeros((801, 601), "u1")
    casts[398:403, 298:303] = 1
    shadow = scene_kernels.geometric_shadow(casts, 60, zenith, azimuth, 1)
    y, x = ndimage.center_of_mass(shadow)
    bearing = np.degrees(np.arctan2(x - 300, 400 - y)) % 360
    distance = np.hypot(y - 400, x - 300)
    assert abs((bearing - azimuth) % 360 - 180) < np.degrees(1.5 / distance)
    # Clouds between 0.6 and 4.2 km: the shadow's middle is where one at 2.4 km throws it.
    assert distance == pytest.approx(2400 * np.tan(np.radians(zenith)) / 60, rel=0.15, abs=4)


@pytest.mark.parametrize(("sun_zenith", "sun_azimuth"), [(30, 160), (70, 290), (82, 45)])
def test_shadow_is_the_sum_of_lines(monkeypatch, sun_zenith, sun_azimuth):
    """With a low sun shadows leave the scene and come back on the other side, whatever the tiles."""
    casts = (ndimage.gaussian_filter(np.random.default_rng(0).random((90, 131)), 3) > 0.53).astype("u1")
    expected = twin_shadow(casts, 20, sun_zenith, sun_azimuth)
    for tile, threads in ((1024, 1), (48, 3)):
        monkeypatch.setattr(scene_kernels, "TILE", tile)
        got = scene_kernels.geometric_shadow(casts, 20, sun_zenith, sun_azimuth, threads)
        np.testing.assert_allclose(got, expected, atol=2e-4)


def test_towns_are_no_clouds_where_b10_and_b09_say_so():
    """Rule 18: a cloud as low in B10 and B09 as the ground is ground; one that is high in B10 is not."""
    scl = np.full((200, 200), 5, "u1")
    scl[50:60, 50:60], scl[80:90, 80:90] = 9, 9
    b10, ratios = np.full(scl.shape, 0.002, "f4"), np.full(scl.shape, 0.4, "f4")
    b10[::2] = 0.003
    b10[50:60, 50:60] = 0.001
    b10[80:90, 80:90] = 0.009
    ratios[0] = 0.5
    scene_kernels.bright_ground(scl, b10, ratios, np.full(scl.shape, 10, "u1"), 60)
    assert (scl[50:60, 50:60] == 5).all()
    assert (scl[80:90, 80:90] == 9).all()
    small = np.full((20, 20), 5, "u1")
    small[5:7, 5:7] = 9
    scene_kernels.bright_ground(small, b10[:20, :20] * 0, ratios[:20, :20], small, 60)
    assert (small[5:7, 5:7] == 9).all(), "too little land to learn from"


def test_cirrus_over_ground():
    """Rule 19: ground far brighter in B10 than the rest of its class is under cirrus, unless it is high."""
    scl = np.repeat(np.array([[5], [6]], "u1"), 200, 1)
    b10, elevation = np.full(scl.shape, 0.001, "f4"), np.zeros(scl.shape, "f4")
    b10[:, :2] = 0.01
    elevation[:, 1] = 2000
    scene_kernels.cirrus_over_ground(scl, b10, elevation)
    np.testing.assert_array_equal(scl[:, 0], [10, 10])
    np.testing.assert_array_equal(scl[:, 1:], np.repeat([[5], [6]], 199, 1))


def test_doubtful_clouds_over_towns():
    """Rule 20: isolated doubtful clouds in a town are ground, those beside a cloud are not."""
    scl = np.full((30, 30), 5, "u1")
    scl[5:8, 5:8] = 7
    scl[20:23, 20:23] = 8
    scl[18:20, 18:26] = 9
    scl[20:25, 18:20] = 9
    scl[0, 0] = 100
    cover = np.full(scl.shape, 190, "u1")
    scene_kernels.doubtful_over_bright_ground(scl, cover)
    assert (scl[5:8, 5:8] == 5).all()
    assert (scl[20:23, 20:23] == 8).all()
    assert scl[0, 0] == 5


def test_hillshade():
    slope, aspect = np.array([[0, 30, 30, 80, 10]], "f4"), np.array([[np.nan, 150, 330, 330, 60]], "f4")
    got = kernels.hillshade(slope, aspect, 40.0, 150.0)
    expected = [np.cos(np.radians(40)), np.cos(np.radians(10)), np.cos(np.radians(70)), 0]
    expected.append(np.cos(np.radians(40)) * np.cos(np.radians(10)))
    np.testing.assert_array_equal(got[0], np.round(1 + 254 * np.array(expected)))


# The step.


@pytest.fixture
def product(tmp_path):
    """The files that the step reads, 141x189 pixels, of a scene without a DEM."""
    toa, maps = make_scene(5, (141, 189))
    grid = Grid(32631, 300000, 4900020, 20, 189, 141)
    stored = {b: np.where(a == 0, 0, np.round(a * 10000) + 1000).astype("u2") for b, a in toa.items()}
    write(tmp_path / "stack.tif", TOA, grid, stored)
    flags = np.zeros(grid.shape, "u1")
    flags[3, 20:23], flags[4, 2] = (2, 4, 1), 2
    write(tmp_path / "mask.tif", MASK, grid, {"mask": flags})
    write(
        tmp_path / "terrain.tif",
        TERRAIN,
        grid,
        {b: np.zeros(grid.shape, "i2") for b in TERRAIN.scales},
        tile_elevation_mean="0",
    )
    bands = {name: Band(-1000, 1000, reference_response("S2A", name)) for name in STACK_BANDS}
    time = "2024-01-20T10:53:41Z"
    Scene("X", "S2A", "T31TCJ", time, "05.10", 1e4, 0.97, grid.at(10), 40, 150, bands).write(tmp_path / "metadata.json")
    return tmp_path, grid, toa, maps


def run_in(folder, **options):
    inputs = {name: folder / f"{name}.tif" for name in ("stack", "mask", "terrain")}
    inputs |= {"metadata": folder / "metadata.json", "classification": folder / "20.tif"}
    run(**inputs, classification_60m=folder / "60.tif", **({"mode": "classic"} | options))
    return ({b: read(folder / f"{r}.tif", CLASSIFICATION, b) for b in ("SCL", "CLD", "SNW")} for r in (20, 60))


def test_step_equals_function(product):
    folder, _, toa, _ = product
    fine, coarse = run_in(folder, threads=2)
    scl, cloud, snow = classify_scene(toa, 20, 40, 150)
    nodata = scl == 0
    cloud[nodata] = snow[nodata] = 0
    assert fine["SCL"][3, 20] == fine["SCL"][3, 21] == 1, "saturated, defective"
    assert fine["SCL"][4, 2] == 0, "saturated, but no data"
    fine["SCL"][3, 20:22] = scl[3, 20:22]
    for band, expected in zip(("SCL", "CLD", "SNW"), (scl, cloud, snow), strict=True):
        np.testing.assert_array_equal(fine[band], expected)
    median = ndimage.median_filter(scl, 3)[1::3, 1::3]
    assert (coarse["SCL"] == median).mean() > 0.999
    mean = ndimage.uniform_filter(cloud.astype("f8"), 3)[1::3, 1::3]
    np.testing.assert_array_equal(coarse["CLD"], np.floor(mean + 0.5 + 1e-9))


@pytest.mark.slow
def test_defective_pixels_have_no_say_in_others(product):
    """Whatever a lost block holds, as bright as cloud or as dark as shadow, classes elsewhere are the same."""
    folder, grid, _, _ = product
    lost = np.s_[60:90, 80:110]
    flags = read(folder / "mask.tif", MASK, "mask")
    flags[lost] = MASK_DEFECTIVE
    write(folder / "mask.tif", MASK, grid, {"mask": flags})
    stored, found = {b: read(folder / "stack.tif", TOA, b) for b in STACK_BANDS}, []
    for value in (1020, 9000):
        stored["B02"][lost] = stored["B04"][lost] = value
        write(folder / "stack.tif", TOA, grid, stored)
        fine, _ = run_in(folder)
        assert (fine["SCL"][lost] == 1).all()
        found.append(fine["SCL"])
    np.testing.assert_array_equal(*found)


def test_step_with_dem_and_maps(product):
    folder, grid, toa, maps = product
    slope, aspect = maps["slope"], (maps["hillshade"] * F(1.4))
    terrain = {b: np.zeros(grid.shape, "i2") for b in TERRAIN.scales}
    terrain["elevation"] = np.round(maps["dem"]).astype("i2")
    terrain["slope"], terrain["aspect"] = (np.round(slope / 0.01).astype("i2"), np.round(aspect / 0.02).astype("i2"))
    write(folder / "terrain.tif", TERRAIN, grid, terrain, dem="dem.tif", tile_elevation_mean="1300")
    profile = {"driver": "GTiff", "height": 141, "width": 189, "count": 1, "dtype": "uint8"}
    profile.update(crs="EPSG:32631", transform=grid.transform)
    names = ("water_bodies", "land_cover", "snow_condition")
    for name in names:
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as dataset:
            dataset.write(maps[name], 1)
    paths = {name: folder / f"{name}.tif" for name in names}
    fine, _ = run_in(folder, **paths)
    shade = kernels.hillshade(terrain["slope"] * F(0.01), terrain["aspect"] * F(0.02), 40.0, 150.0)
    given = {"dem": terrain["elevation"], "slope": terrain["slope"] * F(0.01), "hillshade": shade}
    water = read_layer(paths["water_bodies"], "water_bodies", grid)[0]
    others = {name: maps[name] for name in names[1:]}
    expected = classify_scene(toa, 20, 40, 150, water_bodies=water, **given, **others)
    fine["SCL"][3, 20:22] = expected[0][3, 20:22]
    np.testing.assert_array_equal(fine["SCL"], expected[0])


def test_step_options(product):
    folder, _, toa, _ = product
    fine, _ = run_in(folder, snow_possible=False, median_filter=3)
    scl, _, _ = classify_scene(toa, 20, 40, 150, snow_possible=False)
    expected = ndimage.median_filter(scl, 3)
    fine["SCL"][3, 20:22] = expected[3, 20:22]
    np.testing.assert_array_equal(fine["SCL"], expected)


def test_step_on_scene_without_data(product):
    folder, grid, _, _ = product
    write(folder / "stack.tif", TOA, grid, {b: np.zeros(grid.shape, "u2") for b in STACK_BANDS})
    for result in run_in(folder):
        assert not any(a.any() for a in result.values())


def test_step_refuses(product):
    folder, grid, _, _ = product
    with pytest.raises(StepError, match="nowhere"):
        run_in(folder, land_cover=folder / "nowhere.tif")
    write(folder / "mask.tif", MASK, grid.at(60), {"mask": np.zeros(grid.at(60).shape, "u1")})
    with pytest.raises(StepError, match=r"mask\.tif"):
        run_in(folder)
