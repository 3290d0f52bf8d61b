"""What a product consists of: its assets, and the layers that it has on request, each against plain NumPy."""

import json
import math

import numpy as np
import pystac
import pytest
import rasterio
from small_scene import GRID, write_small_scene
from test_write_stac import QUALITY

from steps import publish_cog, write_cog
from steps.core.documents import write_document
from steps.core.rasters import Grid, read, write
from steps.l2a.assets import ASSETS, LAYERS, QA, Flag, chosen_assets
from steps.l2a.nbar import BRDF, c_factor, kernels
from steps.sentinel2.angles import AngleGrid, relative_azimuth
from steps.sentinel2.bands import BANDS
from steps.sentinel2.kinds import (
    AEROSOL_GROUND,
    ANGLES,
    BOA,
    CLASSIFICATION,
    MASK,
    TERRAIN,
    TERRAIN_SCALES,
    UNROUNDED_BOA,
)

# ------------------------------------------------------------------------------------------- the view from the zenith


def plain_kernels(sun, view, azimuth):
    """Li-Sparse-R and Ross-Thick as the MODIS BRDF product's algorithm document has them, with crowns of any shape."""
    high, round_ = 2.0, 1.0  # h/b and b/r
    s, v, a = math.radians(sun), math.radians(view), math.radians(azimuth)
    xi = math.acos(min(1.0, math.cos(s) * math.cos(v) + math.sin(s) * math.sin(v) * math.cos(a)))
    ross = ((math.pi / 2 - xi) * math.cos(xi) + math.sin(xi)) / (math.cos(s) + math.cos(v)) - math.pi / 4
    s, v = math.atan(round_ * math.tan(s)), math.atan(round_ * math.tan(v))
    xi = math.acos(min(1.0, math.cos(s) * math.cos(v) + math.sin(s) * math.sin(v) * math.cos(a)))
    sec = 1 / math.cos(s) + 1 / math.cos(v)
    d2 = math.tan(s) ** 2 + math.tan(v) ** 2 - 2 * math.tan(s) * math.tan(v) * math.cos(a)
    cos_t = high * math.sqrt(max(d2, 0) + (math.tan(s) * math.tan(v) * math.sin(a)) ** 2) / sec
    t = math.acos(max(-1.0, min(1.0, cos_t)))
    overlap = (t - math.sin(t) * math.cos(t)) * sec / math.pi
    return overlap - sec + 0.5 * (1 + math.cos(xi)) / (math.cos(s) * math.cos(v)), ross


@pytest.mark.parametrize(
    ("angles", "geometric", "volumetric"),
    [
        ((0, 0, 0), 0, 0),
        # the hot spot: full overlap, so that the shadows seen are those below the crowns
        ((45, 45, 0), 2 - math.sqrt(2), math.pi / 2 / math.sqrt(2) - math.pi / 4),
        ((30, 0, 0), -0.69822, -0.03144),
        # no overlap: D is 2 tan 60, and h/b D is more than the secants
        ((60, 60, 180), -4 + 0.5 * (1 - 0.5) * 4, (-math.pi / 6 * -0.5 + math.sqrt(3) / 2) / 1 - math.pi / 4),
    ],
)
def test_kernels_by_hand(angles, geometric, volumetric):
    found = kernels(*(np.array(float(angle)) for angle in angles))
    assert found[0] == pytest.approx(geometric, abs=2e-5)
    assert found[1] == pytest.approx(volumetric, abs=2e-5)


def test_kernels_against_plain_ones_and_reciprocity():
    random = np.random.default_rng(0)
    sun, view, azimuth = random.uniform(0, 80, 500), random.uniform(0, 30, 500), random.uniform(0, 180, 500)
    found = np.array(kernels(sun, view, azimuth))
    expected = np.array([plain_kernels(*angles) for angles in zip(sun, view, azimuth, strict=True)]).T
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(found, kernels(view, sun, azimuth), atol=1e-9)


def test_factor_is_one_from_the_zenith_and_darkens_the_bright_side():
    one, eight = np.array(0.0), np.array(8.0)
    for band in BRDF:
        assert c_factor(band, np.array(40.0), one, one) == 1
        # backscatter is brighter than the view from the zenith, forward scatter darker
        assert c_factor(band, np.array(40.0), eight, np.array(0.0)) < 1
        assert c_factor(band, np.array(40.0), eight, np.array(180.0)) > 1


# ------------------------------------------------------------------------------------------- which assets there are


def sizes(**choice):
    choice = {"products": ["reflectance", "atmosphere", "classification"]} | choice
    return {key: asset.resolution for key, asset in chosen_assets(**choice).items()}


def test_a_complete_product_has_each_band_at_its_own_size():
    assert chosen_assets(["reflectance", "atmosphere", "classification"]) == ASSETS


def test_bands_are_at_the_next_size_that_is_wanted():
    of_60 = sizes(products=["reflectance"], resolutions=[60])
    assert set(of_60.values()) == {60}
    assert set(of_60) == {key for key, asset in ASSETS.items() if asset.kind == BOA} - {"nir"} | {"visual"}
    of_20 = sizes(resolutions=[20])
    assert {of_20[key] for key in ("blue", "rededge1", "coastal", "visual", "scl", "aot")} == {20}
    assert not {"nir", "nir09"} & set(of_20)
    assert sizes(products=["reflectance"], resolutions=[10]) == dict.fromkeys(
        ("visual", "blue", "green", "red", "nir"), 10
    )


def test_products_and_layers_are_what_was_asked_for():
    assert set(sizes(products=["classification"])) == {"scl", "cloud", "snow"}
    assert set(sizes(products=["atmosphere"], layers=["elevation"])) == {"aot", "wvp", "elevation"}
    angles = {f"{of}_{angle}" for of in ("sun", "view") for angle in ("zenith", "azimuth")}
    assert set(sizes(products=["classification"], layers=["angles"])) - {"scl", "cloud", "snow"} == angles
    assert set(LAYERS["nbar"]) == {
        f"{key}_nbar" for key, asset in ASSETS.items() if asset.kind == BOA and asset.bands[0] in BRDF
    }
    uncertain = sizes(products=["reflectance"], resolutions=[20], uncertainty=True)
    assert "nir08_uncertainty" in uncertain
    assert "blue_uncertainty" not in uncertain


# ------------------------------------------------------------------------------------------- what is in them


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Arguments for `write_cog.run` with every layer."""
    folder, random = tmp_path_factory.mktemp("layers"), np.random.default_rng(3)
    arguments = write_small_scene(folder)(20)
    boa = [folder / f"boa_{size}.tif" for size in (10, 20, 60)]
    flat = [folder / f"flat_{size}.tif" for size in (10, 20, 60)]
    for path, unrounded in zip(boa, flat, strict=True):
        with rasterio.open(path) as file:
            bands = {name: file.read(n).astype("f4") for n, name in enumerate(file.descriptions, 1)}
            grid = GRID.at(round(file.res[0]))
        write(unrounded, UNROUNDED_BOA, grid, {name: np.where(b > 0, b + 3.25, 0) for name, b in bands.items()})
    grid = GRID.at(20)
    write(folder / "mask.tif", MASK, grid, {"mask": random.integers(0, 8, grid.shape, "u1")})
    terrain = {name: random.integers(0, 10000, grid.shape, "i2") for name in TERRAIN_SCALES}
    terrain["cast_shadow"] = random.integers(0, 2, grid.shape).astype("i2")
    write(folder / "terrain.tif", TERRAIN, grid, terrain)
    # of the whole tile, which the scene is a part of
    coarse = Grid(GRID.epsg, GRID.left - 800, GRID.top + 1600, 80, 240, 250)
    ground = random.integers(0, 4, coarse.shape, "u1")
    write(folder / "ground.tif", AEROSOL_GROUND, coarse, {AEROSOL_GROUND.name: ground})
    nodes = Grid(GRID.epsg, GRID.left - 2500, GRID.top + 2500, 5000, 5, 5)
    y, x = np.mgrid[:5, :5]
    angles = {"sun_zenith": 68 + y, "sun_azimuth": 160 + x}
    for number, band in enumerate(BANDS):
        angles |= {f"view_zenith_{band}": 3 + x + 0.1 * number, f"view_azimuth_{band}": (350 + 10 * y + number) % 360}
    write(folder / "angles.tif", ANGLES, nodes, {name: values.astype("f4") for name, values in angles.items()})
    inputs = {name: folder / f"{name}.tif" for name in ("mask", "terrain", "angles")}
    return arguments | inputs | {"boa": boa, "flat": flat, "aerosol_ground": folder / "ground.tif"}


@pytest.fixture(scope="module")
def cogs(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cogs") / "cog"
    write_cog.run(**scene, layers=list(LAYERS), min_cos_incidence=0.3, cogs=folder)
    return folder


def pixels(folder, key):
    with rasterio.open(folder / f"{key}.tif") as file:
        return file.read(1, masked=True)


@pytest.mark.slow
def test_quality_flags_against_a_loop(scene, cogs):
    found = pixels(cogs, "qa")
    scl, mask = read(scene["classification"], CLASSIFICATION, "SCL"), read(scene["mask"], MASK, "mask")
    cos, shadow = (read(scene["terrain"], TERRAIN, name) for name in ("cos_incidence", "cast_shadow"))
    ground, angles = read(scene["aerosol_ground"], AEROSOL_GROUND, AEROSOL_GROUND.name), AngleGrid(scene["angles"])
    of_class = {8: "CLOUD", 9: "CLOUD", 3: "CLOUD_SHADOW", 10: "CIRRUS", 11: "SNOW", 6: "WATER"}
    assert (found.mask == (scl == 0)).all()
    assert (found.data[scl == 0] == 2**15).all()
    random = np.random.default_rng(1)
    for row, column in random.integers(0, 900, (3000, 2)):
        if scl[row, column] == 0:
            continue
        x, y = GRID.left + 20 * (column + 0.5), GRID.top - 20 * (row + 0.5)
        zenith = float(angles.sun(np.array(x), np.array(y))[0])
        if abs(zenith - 70) < 0.01:  # it is interpolated between nodes of 240 m
            continue
        flags = ground[int((20 * row + 10 + 1600) // 80), int((20 * column + 10 + 800) // 80)]
        expected = {of_class.get(int(scl[row, column]), "")} - {""}
        expected |= {"SATURATED"} if mask[row, column] & 2 else set()
        expected |= {"DEFECTIVE"} if mask[row, column] & 4 else set()
        expected |= {"LOW_SUN"} if zenith > 70 else set()
        expected |= {"FAINT_SLOPE"} if cos[row, column] < 3000 or shadow[row, column] else set()
        expected |= {"AOT_FILLED"} if flags & 2 else set()
        assert {flag.name for flag in Flag if found[row, column] & flag} == expected


@pytest.mark.slow
def test_elevation_and_dark_vegetation(scene, cogs):
    np.testing.assert_array_equal(pixels(cogs, "elevation").data, read(scene["terrain"], TERRAIN, "elevation"))
    ground = read(scene["aerosol_ground"], AEROSOL_GROUND, AEROSOL_GROUND.name)
    fine = ground.repeat(4, 0).repeat(4, 1)[80:980, 40:940]
    dark = pixels(cogs, "dark_vegetation")
    scl = read(scene["classification"], CLASSIFICATION, "SCL")
    assert (dark.mask == (scl == 0)).all()
    np.testing.assert_array_equal(dark.compressed(), (fine & 1)[scl > 0])


@pytest.mark.slow
def test_reflectance_before_terrain_correction_is_rounded(scene, cogs):
    for key, size, band in (("red", 10, "B04"), ("nir08", 20, "B8A"), ("coastal", 60, "B01")):
        boa = read(scene["boa"][(10, 20, 60).index(size)], BOA, band)
        np.testing.assert_array_equal(pixels(cogs, f"{key}_flat").data, np.where(boa > 0, boa + 3, 0))


def pixel_centres(grid):
    columns, rows = (grid.resolution * (np.arange(n) + 0.5) for n in (grid.width, grid.height))
    return np.meshgrid(grid.left + columns, grid.top - rows)


def test_angles_are_those_of_the_nodes(scene, cogs):
    angles, at = AngleGrid(scene["angles"]), pixel_centres(GRID.at(60))
    for of, direction in (("sun", angles.sun(*at)), ("red_view", angles.view("B04", *at))):
        for angle, expected in zip(("zenith", "azimuth"), direction, strict=True):
            found = pixels(cogs, f"{of}_{angle}") * 0.01
            assert np.abs((found - expected + 180) % 360 - 180).max() < 0.00501
    # the mean direction, component by component
    directions = [angles.view(band, *at) for band in BANDS if band != "B10"]
    east, north = (
        np.mean([np.tan(np.radians(z)) * turn(np.radians(a)) for z, a in directions], axis=0)
        for turn in (np.sin, np.cos)
    )
    zenith = np.degrees(np.arctan(np.hypot(east, north)))
    assert np.abs(pixels(cogs, "view_zenith") * 0.01 - zenith).max() < 0.00501
    azimuth = pixels(cogs, "view_azimuth") * 0.01 - np.degrees(np.arctan2(east, north))
    assert np.abs((azimuth + 180) % 360 - 180).max() < 0.00501


@pytest.mark.parametrize(("key", "band", "size"), [("red", "B04", 10), ("swir16", "B11", 20)])
def test_nbar_against_each_pixel_by_itself(scene, cogs, key, band, size):
    boa = read(scene["boa"][(10, 20, 60).index(size)], BOA, band)[::37, ::31]
    angles, at = AngleGrid(scene["angles"]), [v[::37, ::31] for v in pixel_centres(GRID.at(size))]
    (sun, sun_azimuth), (view, view_azimuth) = angles.sun(*at), angles.view(band, *at)
    turn, weights = relative_azimuth(sun_azimuth, view_azimuth), BRDF[band]
    expected = np.zeros(boa.shape)
    for index in np.argwhere(boa):
        i, j = index
        seen, nadir = (plain_kernels(sun[i, j], v, turn[i, j]) for v in (view[i, j], 0.0))
        model = [
            weights[0] + weights[1] * geometric + weights[2] * volumetric for geometric, volumetric in (nadir, seen)
        ]
        expected[i, j] = (int(boa[i, j]) - 1000) * model[0] / model[1] + 1000
    found = pixels(cogs, f"{key}_nbar")[::37, ::31]
    assert (found.mask == (boa == 0)).all()
    assert np.abs(found - np.maximum(expected, 1)).max() < 1
    assert np.abs(found - boa.astype(float)).max() > 20


def test_stac_tells_of_every_layer(scene, cogs, tmp_path):
    write_document(tmp_path / "quality.json", QUALITY)
    arguments = {"metadata": scene["metadata"], "quality": tmp_path / "quality.json", "cogs": cogs}
    publish_cog.run(**arguments, folder=tmp_path / "cog", layers=list(LAYERS))
    item = pystac.Item.from_file(tmp_path / "cog/item.json")
    assert set(item.assets) == {path.stem for path in cogs.glob("*.tif")} | {"thumbnail"}
    fields = item.assets["qa"].extra_fields
    described = {f["name"]: 1 << f["offset"] for f in fields["classification:bitfields"]}
    assert described == {flag.name.lower(): int(flag) for flag in Flag}
    assert fields["raster:bands"][0]["nodata"] == QA.nodata
    assert item.assets["red_nbar"].extra_fields["eo:bands"][0]["name"] == "B04"


def test_a_part_of_a_product_has_its_own_item(scene, tmp_path):
    """Classes alone: no picture, no properties of what was not retrieved, and the footprint of the classes."""
    inputs = {"metadata": scene["metadata"], "classification": scene["classification"]}
    write_cog.run(**inputs, products=["classification"], cogs=tmp_path / "cogs")
    report = {"class_percentages": QUALITY.class_percentages, "nodata_percentage": 8.0, "defaults": []}
    (tmp_path / "quality.json").write_text(json.dumps(report))
    arguments = {"metadata": scene["metadata"], "quality": tmp_path / "quality.json", "cogs": tmp_path / "cogs"}
    publish_cog.run(**arguments, folder=tmp_path / "cog", products=["classification"])
    item = pystac.Item.from_file(tmp_path / "cog/item.json")
    assert set(item.assets) == {"scl", "cloud", "snow"}
    assert item.properties["s2:nodata_pixel_percentage"] == 8
    assert "sen2flow:mean_aot550" not in item.properties
