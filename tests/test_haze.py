"""Reflectance without the haze against the forward model, and the classes of plain ground under thick aerosol."""

import numpy as np
import pytest
from synthetic import SyntheticScene, table, write_model
from test_plain_spectra import SURFACES

from steps import scene_classification
from steps.atmosphere.inversion import toa_reflectance
from steps.classification.haze import BANDS, LEFT, SUN, Overview, find_haze
from steps.core.rasters import read, write
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import (
    AOT,
    CLASSIFICATION,
    MASK,
    REFLECTANCE_OFFSET,
    REFLECTANCE_SCALE,
    TERRAIN,
    TOA,
)
from steps.sentinel2.scene_classes import CLOUD_HIGH, SOIL, VEGETATION, WATER

pytestmark = pytest.mark.slow

VAPOUR = 1.5
#: Plots of 3 x 3 pixels in a forest, in a scene of 240 x 240 pixels of 20 m: of each surface as many.
FOREST = "conifer forest"
PLOTS = ("meadow", "crop", "dry grass", "dark soil", "soil", "clear water", "turbid water", "asphalt")
#: Ground of which more and more is green.
GREEN = np.linspace(0.1, 1, 8)[:, None]
GREENING = (1 - GREEN) * SURFACES["soil"] + GREEN * SURFACES["meadow"]
PLOT = np.full((240, 240), -1)
for n, (row, column) in enumerate(np.ndindex(12, 12)):
    PLOT[20 * row + 8 : 20 * row + 11, 20 * column + 8 : 20 * column + 11] = n % len(PLOTS)


def stored(toa):
    return np.rint((toa - REFLECTANCE_OFFSET) / REFLECTANCE_SCALE).astype("u2")


def simulated(scene, aot550, plots=None):
    """Return the bands of plots in a forest, whose light is scattered over them."""
    plots = [SURFACES[name] for name in PLOTS] if plots is None else plots
    result = {"B10": np.full(PLOT.shape, 1010, "u2")}
    for n, band in enumerate(b for b in STACK_BANDS if b != "B10"):
        forest = np.float64(SURFACES[FOREST][n])
        surface = np.append([spectrum[n] for spectrum in plots], forest)[PLOT]
        result[band] = stored(toa_reflectance(surface, scene.atmosphere(band, 20, aot550, VAPOUR), forest))
    return result


@pytest.fixture(scope="module")
def hazy(tmp_path_factory):
    """A scene under an aerosol from 0.5 in the west to 0.7 in the east, and its files."""
    return written(tmp_path_factory.mktemp("hazy"), 40.0, (0.5, 0.7))


@pytest.fixture(scope="module")
def wintry(tmp_path_factory):
    """A scene in clear air under a low sun, and its files."""
    return written(tmp_path_factory.mktemp("wintry"), 70.0, (0.1, 0.1))


def written(folder, sun_zenith, aerosol, plots=None):
    scene = SyntheticScene(folder, 80, 80, sun_zenith=sun_zenith)
    grid = scene.grid.at(20)
    aot550 = np.broadcast_to(np.linspace(*aerosol, grid.width), grid.shape)
    bands = simulated(scene, aot550, plots)
    write(folder / "stack.tif", TOA, grid, bands)
    write(folder / "aot.tif", AOT, grid, {AOT.name: np.rint(aot550 / AOT.scale).astype("u2")})
    write(folder / "mask.tif", MASK, grid, {"mask": np.zeros(grid.shape, "u1")})
    ground = {band: np.zeros(grid.shape, "i2") for band in TERRAIN.scales}
    write(folder / "terrain.tif", TERRAIN, grid, ground, tile_elevation_mean="0")
    return scene, bands


def freeing(scene):
    """Return the options by which haze is taken out."""
    files = {"tile_stack": "stack", "tile_classification": "scl", "tile_aot": "aot"}
    given = {key: scene.folder / f"{name}.tif" for key, name in files.items()}
    return given | {"aerosol_model": write_model(scene.folder / "model.json")}


def classified(scene, stack, **options):
    """Return the classes of a stack."""
    folder = scene.folder
    scene_classification.run(
        stack=folder / f"{stack}.tif",
        **{key: folder / f"{key}.tif" for key in ("mask", "terrain", "angles")},
        metadata=scene.metadata,
        classification=folder / "classes.tif",
        **options,
    )
    return read(folder / "classes.tif", CLASSIFICATION, "SCL")


def overview(scene, aot="aot.tif"):
    folder = scene.folder
    files = folder / "stack.tif", folder / "scl.tif", folder / aot
    return Overview(*files, scene.scene, AngleGrid(scene.angles), table(), 0.0)


def test_haze_is_taken_out_of_ground_and_of_what_surrounds_it(hazy):
    """What stands in the forest, and what the forest adds to it, is as under thinner aerosol."""
    scene, bands = hazy
    haze = find_haze(overview(scene))
    thin, grid = simulated(scene, LEFT), scene.grid.at(20)
    for band in BANDS:
        without, seen = (v * REFLECTANCE_SCALE + REFLECTANCE_OFFSET for v in (thin[band], bands[band]))
        found = haze.without(band, seen.astype("f4"), grid)
        assert np.abs(found - without).max() < 0.005, band
        assert np.abs(found - without).mean() < 0.001, band
        part = slice(100, 130)
        np.testing.assert_array_equal(haze.without(band, seen[part].astype("f4"), grid, part), found[part])
    assert haze.without("B10", seen, grid) is seen


def test_ground_under_a_low_sun_is_seen_as_under_a_higher_one(wintry, tmp_path):
    """But for gases, which the light passes on its way: of what infrared light there is they take some percent more."""
    scene, bands = wintry
    haze = find_haze(overview(scene))
    higher, grid = simulated(SyntheticScene(tmp_path, 80, 80, sun_zenith=SUN), 0.1), scene.grid.at(20)
    for band in ("B02", "B03", "B04", "B05", "B8A", "B11", "B12"):
        expected, seen = (v * REFLECTANCE_SCALE + REFLECTANCE_OFFSET for v in (higher[band], bands[band]))
        found = haze.without(band, seen.astype("f4"), grid)
        assert np.abs(found - expected).max() < 0.005 + 0.03 * expected.max(), band
        if band in ("B02", "B03", "B04"):
            assert np.abs(seen - expected).mean() > 5 * np.abs(found - expected).mean(), band


def test_sparse_meadows_are_vegetation_under_a_low_sun_too(tmp_path):
    """As they are under a higher one: of eight from bare to green one more than without."""
    seen, freed, higher = [], [], []
    for sun_zenith, free, classes in ((70.0, False, seen), (70.0, True, freed), (SUN, False, higher)):
        (folder := tmp_path / f"{sun_zenith}{free}").mkdir()
        scene, _ = written(folder, sun_zenith, (0.1, 0.1), GREENING)
        found = classified(scene, "stack", **(freeing(scene) if free else {}))
        classes += [(found[n == PLOT] == VEGETATION).mean() for n in range(len(GREENING))]
    assert freed == higher
    assert sum(seen) < sum(higher)


def test_clear_air_and_a_clouded_tile_have_no_haze(hazy):
    scene, _ = hazy
    grid = scene.grid.at(20)
    write(scene.folder / "thin.tif", AOT, grid, {AOT.name: np.full(grid.shape, round(LEFT / AOT.scale), "u2")})
    assert find_haze(overview(scene, "thin.tif")) is None
    cloud, nothing = np.full(grid.shape, CLOUD_HIGH, "u1"), np.zeros(grid.shape, "u1")
    write(scene.folder / "clouded.tif", CLASSIFICATION, grid, {"SCL": cloud, "CLD": nothing, "SNW": nothing})
    clouded = Overview(**(vars(overview(scene)) | {"classification": scene.folder / "clouded.tif"}))
    assert find_haze(clouded) is None


def test_haze_is_found_between_clouds_that_lie_everywhere(hazy):
    """Of each square of two by two pixels one is cloud."""
    scene, _ = hazy
    grid = scene.grid.at(20)
    classes, nothing = np.full(grid.shape, VEGETATION, "u1"), np.zeros(grid.shape, "u1")
    classes[::2, ::2] = CLOUD_HIGH
    write(scene.folder / "dotted.tif", CLASSIFICATION, grid, {"SCL": classes, "CLD": nothing, "SNW": nothing})
    dotted = Overview(**(vars(overview(scene)) | {"classification": scene.folder / "dotted.tif"}))
    clear = find_haze(overview(scene))
    for band, factor in find_haze(dotted).factor.items():
        np.testing.assert_allclose(factor, clear.factor[band], rtol=0.02)


def test_classes_are_those_under_thinner_aerosol(hazy):
    scene, _ = hazy
    write(scene.folder / "clear.tif", TOA, scene.grid.at(20), simulated(scene, LEFT))
    classes = {
        "hazy": classified(scene, "stack"),
        "freed": classified(scene, "stack", **freeing(scene)),
        "clear": classified(scene, "clear"),
    }
    plots = PLOT >= 0
    assert (classes["hazy"] == classes["clear"])[plots].mean() < 0.9
    assert (classes["freed"] == classes["clear"])[plots].mean() > 0.98
    for name, expected in (("meadow", VEGETATION), ("clear water", WATER), ("dark soil", SOIL)):
        assert (classes["freed"][PLOTS.index(name) == PLOT] == expected).mean() > 0.95, name
