"""Aerosol, water vapour and reflectance over scenes whose truth is known, computed forward with the atmosphere."""

import json
from functools import partial

import numpy as np
import pytest
from rasterio.warp import transform
from synthetic import OZONE, SyntheticScene, table, table_path

from steps import aerosol, reflectance, water_vapour
from steps.atmosphere.adjacency import environment, environment_weights
from steps.atmosphere.band import BandAtmosphere
from steps.atmosphere.climatology import aerosol_climatology
from steps.atmosphere.inversion import environment_share, toa_reflectance
from steps.atmosphere.inversion_kernel import EXCESS_UNIT, POWERS, density_factor
from steps.atmosphere.inversion_nodes import inversion_nodes
from steps.atmosphere.relief import SCALE_HEIGHT, Mesh, thinned
from steps.atmosphere.scene import SceneAtmosphere, evaluator
from steps.core.errors import StepError
from steps.core.mesh import interpolate
from steps.core.rasters import values, write
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import BANDS, OUTPUT_BANDS
from steps.sentinel2.kinds import AOT, BOA, TOA, WVP
from steps.sentinel2.scene import Auxiliary
from steps.sentinel2.scene_classes import CLOUD_HIGH, SNOW, SOIL

pytestmark = pytest.mark.slow

#: PROSAIL: chlorophyll 50 ug/cm2, water 0.02 cm, leaf area 4, in half shadow.
FOREST = {"B01": 0.0095, "B02": 0.011, "B03": 0.025, "B04": 0.0125, "B05": 0.047}
FOREST |= {"B8A": 0.25, "B09": 0.25, "B11": 0.105, "B12": 0.040}


def hills(x, y):
    """Elevation in m between 0 and 1600 m, with slopes of up to 30 degrees."""
    return 800 * (1 + np.sin(x / 1500) * np.cos(y / 1700))


def thinning(scene, resolution, at_sea_level):
    return at_sea_level * np.exp(-np.rint(scene.elevation(*scene.coordinates(resolution))) / 1000 / SCALE_HEIGHT)


def run_reflectance(scene, toa, resolution, adjacency=False, threads=1, name="boa"):
    boa, report = scene.folder / f"{name}.tif", scene.folder / f"{name}.json"
    reflectance.run(
        toa=[toa],
        terrain=[scene.terrain(resolution)],
        aot=scene.folder / "aot.tif",
        wvp=scene.folder / "wvp.tif",
        scene_means=scene.write_means(toa),
        boa=[boa],
        report=report,
        adjacency=adjacency,
        threads=threads,
        **scene.inputs,
    )
    return boa, json.loads(report.read_text())["resolutions"][0]


def run_aerosol(scene, stack, **options):
    report = scene.folder / "aot.json"
    inputs = scene.inputs | {"lut": [table_path()]} | options
    aerosol.run(
        stack=stack,
        terrain=scene.terrain(20),
        aot=scene.folder / "aot.tif",
        aot_uncertainty=scene.folder / "aot_uncertainty.tif",
        report=report,
        **inputs,
    )
    return values(scene.folder / "aot.tif", AOT, AOT.name), json.loads(report.read_text())


def run_water_vapour(scene, stack, **options):
    report = scene.folder / "wvp.json"
    water_vapour.run(
        stack=stack,
        terrain=scene.terrain(20),
        aot=scene.folder / "aot.tif",
        wvp=scene.folder / "wvp.tif",
        scene_means=scene.folder / "scene_means.json",
        report=report,
        **scene.inputs,
        **options,
    )
    return values(scene.folder / "wvp.tif", WVP, WVP.name), json.loads(report.read_text())


@pytest.mark.parametrize("aot550", [0.05, 0.2, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("sun_zenith", [35, 65])
def test_coefficients_in_steep_relief(tmp_path, sun_zenith, aot550, record_property):
    """Relief of 2 km inside a cell: interpolated coefficients against the atmosphere of each pixel, every band.

    The water vapour of the pixels departs by up to a tenth from that of the nodes' profile.
    """
    scene = SyntheticScene(
        tmp_path,
        44,
        44,
        sun_zenith=sun_zenith,
        elevation=lambda x, y: 1000 * (1 + np.sin(x / 250) * np.cos(y / 250)),
    )
    elevation = np.rint(scene.elevation(*scene.coordinates(60)))
    assert np.ptp(elevation[20:40, 20:40]) > 1900
    mesh = Mesh(scene.grid.at(60), 20)
    relief = mesh.elevation(elevation.astype("i2"))
    aot, column = (thinning(scene, 60, v) for v in (aot550, 2.0))
    at_sea_level = [mesh.at_sea_level(np.rint(v * 1000).astype("u2"), 60, relief) / 1000 for v in (aot, column)]
    profiles = [thinned(v, relief.elevation_nodes) for v in at_sea_level]
    rows, columns = ((np.arange(n) + 0.5) / 20 for n in elevation.shape)
    # As at 20 and 60 m, where each pixel has a column.
    column *= np.random.default_rng(0).uniform(0.9, 1.1, column.shape)
    known = interpolate(np.sqrt(at_sea_level[1]), rows, columns) * np.exp(-elevation / 4000)
    excess = (np.sqrt(column) - known) / EXCESS_UNIT
    air, ends = density_factor(elevation.astype("i2")).astype("f8"), np.cumsum((0, *POWERS))
    surfaces = (0.0, 0.1, 0.25, 0.5, *([1.0] if aot550 <= 1 else []))  # beyond, under a low sun, 1.0 has 2.4e-4
    largest = {}
    for band in (b for b in BANDS if b != "B10"):
        atmosphere = SceneAtmosphere(
            evaluator(table(), scene.scene, band),
            AngleGrid(scene.angles),
            band,
            mesh.x,
            mesh.y,
            elevation_km=relief.elevation_nodes,
            aot550=profiles[0],
            water_vapour=profiles[1],
        )
        nodes = np.moveaxis(inversion_nodes(atmosphere, relief.elevation_nodes, *profiles), -1, 0).astype("f8")
        field = interpolate(nodes, rows, columns)
        # What changes with the water vapour is that in the middle of a cell.
        field[ends[4] :] = interpolate(nodes[ends[4] :], rows, np.floor(columns) + 0.5)
        path, total, root, albedo, change, path_change = (
            sum(c * air**n for n, c in enumerate(field[a:b])) for a, b in zip(ends[:-1], ends[1:], strict=True)
        )
        more = 1 + excess * (change + excess * field[-2])
        path = path + excess * (path_change + excess * field[-1])
        truth = scene.atmosphere(band, 60, aot, column)
        errors = []
        for surface in surfaces:
            signal = (toa_reflectance(surface, truth) * 1e4 + 1000) * more - path
            errors.append(signal / (total + albedo * signal) * 1e-4 - surface)
            for around in (0.05, 0.1, 0.2):
                signal = (toa_reflectance(surface, truth, around) * 1e4 + 1000) * more - path
                number = (signal - 1e4 * around * (total + albedo * signal)) * root**2
                errors.append(number * 1e-4 + around - surface)
        largest[band] = np.abs(errors).max()
    record_property("surface reflectance", float(max(largest.values())))
    assert max(largest.values()) < 2e-4, largest


@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_reflectance_closed_loop(tmp_path, resolution):
    scene = SyntheticScene(tmp_path, 40, 30, elevation=hills)
    random = np.random.default_rng(0)
    shape = scene.grid.at(resolution).shape
    truth = {band: random.uniform(0.0, 0.5, shape) for band in OUTPUT_BANDS[resolution]}
    nodata = np.zeros(shape, bool)
    nodata[:7, :9] = True
    air = [(thinning(scene, resolution, v), thinning(scene, 20, v)) for v in (0.15, 1.8)]
    toa = scene.write_toa(tmp_path / "toa.tif", resolution, truth, *(fine for fine, _ in air), nodata=nodata)
    scene.write_air(*(of_20m for _, of_20m in air))
    boa, report = run_reflectance(scene, toa, resolution)
    for band in OUTPUT_BANDS[resolution]:
        retrieved = values(boa, BOA, band)
        assert (np.isnan(retrieved) == nodata).all()
        # Rounding of the input is 5e-5 over the transmittance, which is small in B09; rounding of the columns counts.
        limit = 2e-3 if band == "B09" else 5e-4
        assert np.nanmax(np.abs(retrieved - truth[band])) < limit, band
        figures = report["bands"][band]
        assert figures["valid_pixels"] == nodata.size - nodata.sum()
        assert figures["mean_reflectance"] == pytest.approx(np.nanmean(retrieved, dtype="f8"), abs=1e-6)
    assert report["outside_domain"] == {}


def test_reflectance_does_not_depend_on_threads(tmp_path):
    scene = SyntheticScene(tmp_path, 8, 300)
    random = np.random.default_rng(0)
    truth = {band: random.uniform(0.0, 0.5, scene.grid.at(10).shape) for band in OUTPUT_BANDS[10]}
    toa = scene.write_toa(tmp_path / "toa.tif", 10, truth, 0.1, 1.0)
    scene.write_air(0.1, 1.0)
    results = [run_reflectance(scene, toa, 10, True, n, f"boa{n}")[0].read_bytes() for n in (1, 2)]
    assert results[0] == results[1]


def test_adjacency_closed_loop(tmp_path):
    """A lake of 2 km in a bright plain: dark again when the light of the plain is taken out."""
    scene = SyntheticScene(tmp_path, 150, 150, sun_zenith=45)
    x, y = scene.coordinates(60)
    distance = np.hypot(x - x.mean(), y - y.mean()) / 1000
    truth = np.where(distance < 1, 0.02, 0.4).astype("f4")
    scene.write_air(0.2, 1.5)
    atmosphere = scene.atmosphere("B02", 60, 0.2, 1.5)
    middle = BandAtmosphere(**{k: v[75, 75] for k, v in vars(atmosphere).items()})
    weights = environment_weights(partial(environment_share, atmosphere=middle), 0.06, 6.0)
    around = environment(truth, truth > 0, weights, truth.mean())
    toa = toa_reflectance(truth, atmosphere, around)
    path, bands = tmp_path / "toa.tif", dict.fromkeys(OUTPUT_BANDS[60], np.rint(toa * 1e4 + 1000).astype("u2"))
    write(path, TOA, scene.grid.at(60), bands)
    uniform = values(run_reflectance(scene, path, 60)[0], BOA, "B02")
    assert uniform[distance < 0.2].mean() > 0.06
    corrected = values(run_reflectance(scene, path, 60, True)[0], BOA, "B02")
    assert np.abs(corrected - truth)[distance < 0.2].max() < 2e-3
    assert np.abs(corrected - truth)[25:-25, 25:-25].max() < 4e-3


@pytest.mark.parametrize(
    ("sun_zenith", "aot550"),
    [(35, 0.3), (35, 0.05), (65, 0.1), (65, 0.6)],
)
def test_aerosol_from_dark_vegetation(tmp_path, sun_zenith, aot550):
    scene = SyntheticScene(tmp_path, 50, 40, sun_zenith=sun_zenith, elevation=hills)
    truth = thinning(scene, 20, aot550)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, FOREST, truth, 1.5)
    retrieved, report = run_aerosol(scene, stack)
    assert report["method"] == "DDV"
    assert report["ddv_percentage"] > 95
    assert np.abs(retrieved - truth).max() < 0.03 + 0.1 * aot550
    assert report["mean_aot550"] == pytest.approx(truth.mean(), abs=0.02 + 0.05 * aot550)


@pytest.mark.parametrize("method", ["auto", "cams"])
def test_aerosol_does_not_make_dark_ground_negative(tmp_path, method):
    scene = SyntheticScene(tmp_path, 50, 40)
    dark = {band: 0.002 for band in FOREST}
    stack = scene.write_toa(tmp_path / "stack.tif", 20, dark, 0.05, 1.5)
    cams = grid_of_forecast(0.3)
    scene.scene = SyntheticScene(tmp_path, 50, 40, auxiliary=cams).scene
    retrieved, report = run_aerosol(scene, stack, method=method)
    assert report["method"] == {"auto": "DDV", "cams": "CAMS"}[method]
    assert 0.03 < retrieved.max() < 0.1


def grid_of_forecast(*corner_values):
    """CAMS forecast of 9 x 9 points around the synthetic scene, a constant or (west, east)."""
    latitude, longitude = np.meshgrid(np.linspace(44.8, 43.7, 9), np.linspace(0.2, 1.3, 9), indexing="ij")
    aod = np.broadcast_to(np.linspace(corner_values[0], corner_values[-1], 9), (9, 9))
    return Auxiliary(
        ozone=OZONE,
        latitude=tuple(map(tuple, latitude.tolist())),
        longitude=tuple(map(tuple, longitude.tolist())),
        cams={"aod550": tuple(map(tuple, aod.tolist()))},
    )


def test_aerosol_from_forecast(tmp_path):
    scene = SyntheticScene(tmp_path, 60, 50, auxiliary=grid_of_forecast(0.1, 0.4))
    bright = dict.fromkeys(FOREST, 0.3)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, bright, 0.2, 1.5)
    retrieved, report = run_aerosol(scene, stack, method="cams", smoothing_km=0.0)
    assert report["method"] == "CAMS"
    assert report["defaults"] == []
    x, y = (v.ravel() for v in scene.coordinates(20))
    longitude = np.array(transform("EPSG:32631", "EPSG:4326", x, y)[0]).reshape(retrieved.shape)
    expected = 0.1 + 0.3 * (longitude - 0.2) / 1.1
    # Within half a cell of the edges the map is flat.
    np.testing.assert_allclose(retrieved[:, 32:-32], expected[:, 32:-32], atol=2e-3)


@pytest.mark.parametrize("method", ["auto", "ddv", "cams", "climatology", "fixed"])
def test_aerosol_for_want_of_anything(tmp_path, method, caplog):
    clouds = {"classes": lambda shape: np.full(shape, CLOUD_HIGH, "u1")}
    scene = SyntheticScene(tmp_path, 7, 5, **clouds)  # smaller than a cell
    stack = scene.write_toa(tmp_path / "stack.tif", 20, dict.fromkeys(FOREST, 0.3), 0.2, 1.5)
    retrieved, report = run_aerosol(scene, stack, method=method, aot550=0.123)
    if method == "fixed":
        expected = 0.123
    else:
        x, y = (v.mean() for v in scene.coordinates(20))
        (longitude,), (latitude,) = transform("EPSG:32631", "EPSG:4326", [x], [y])
        usual, elevation = aerosol_climatology(np.array(latitude), np.array(longitude), scene.scene.sensing_time)
        expected = usual * np.exp(elevation / 2)  # the scene lies at sea level
    assert retrieved == pytest.approx(np.full(retrieved.shape, expected), abs=6e-4)
    assert report["method"] == ("FIXED" if method == "fixed" else "CLIMATOLOGY")
    assert len(report["defaults"]) == (method not in ("fixed", "climatology"))
    assert ("from a climatology" in caplog.text) == (method not in ("fixed", "climatology"))


def test_climatology_thins_out_with_height_and_makes_no_dark_ground_negative(tmp_path):
    scene = SyntheticScene(tmp_path, 50, 40, elevation=hills)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, dict.fromkeys(FOREST, 0.3), 0.1, 1.5)
    retrieved, _ = run_aerosol(scene, stack, method="climatology")
    at_sea_level = retrieved / thinning(scene, 20, 1.0)
    assert np.ptp(at_sea_level) < 0.05 * at_sea_level.mean()
    dark = scene.write_toa(tmp_path / "dark.tif", 20, dict.fromkeys(FOREST, 0.002), 0.03, 1.5)
    assert run_aerosol(scene, dark, method="climatology")[0].max() < 0.07 < retrieved.min()


def flat_infrared(surface):
    """Ground as bright in B07 and B11 as in B8A, and 0.8 % brighter in B09, as such ground is on the average."""
    return {"B07": surface, "B8A": surface, "B11": surface, "B09": np.exp(0.008) * surface}


@pytest.mark.parametrize("column", [0.4, 1.5, 4.0])
def test_water_vapour_closed_loop(tmp_path, column):
    scene = SyntheticScene(tmp_path, 50, 40, elevation=hills)
    truth = thinning(scene, 20, column)
    aot = thinning(scene, 20, 0.2)
    scene.write_air(aot, truth)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, flat_infrared(0.3), aot, truth)
    retrieved, report = run_water_vapour(scene, stack)
    assert report["method"] == "B09"
    assert np.abs(retrieved / truth - 1).max() < 0.02
    assert np.abs(retrieved / truth - 1).mean() < 0.005


def test_water_vapour_over_a_lake_is_that_of_the_shore(tmp_path):
    def lake(shape):
        classes = np.full(shape, 5, "u1")
        classes[30:90, 40:100] = 6
        classes[100:110, 10:20] = 9
        classes[:10] = 0
        return classes

    scene = SyntheticScene(tmp_path, 50, 40, classes=lake)
    surface = np.where(scene.classes == 5, 0.25, 0.01)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, flat_infrared(surface), 0.1, 1.5)
    scene.write_air(0.1, 1.5)
    retrieved, report = run_water_vapour(scene, stack)
    assert (np.isnan(retrieved) == (scene.classes == 0)).all()
    assert np.nanmax(np.abs(retrieved - 1.5)) < 0.03
    assert report["valid_percentage"] < 90


def test_snow_tells_the_water_vapour_only_where_there_is_no_other_land(tmp_path):
    """It is brighter in B09 than ground is."""

    def half(shape):
        return np.where(np.arange(shape[1]) < shape[1] // 2, SNOW, SOIL).astype("u1") * np.ones(shape, "u1")

    for number, classes in enumerate((half, lambda shape: np.full(shape, SNOW, "u1"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        scene = SyntheticScene(folder, 30, 20, classes=classes)
        surface = np.where(scene.classes == SNOW, 0.8, 0.25)
        ground = flat_infrared(surface)
        ground["B09"] = ground["B09"] * np.where(scene.classes == SNOW, np.exp(0.06), 1)
        stack = scene.write_toa(folder / "stack.tif", 20, ground, 0.1, 1.5)
        scene.write_air(0.1, 1.5)
        retrieved, report = run_water_vapour(scene, stack)
        assert report["method"] == "B09"
        if number == 0:
            np.testing.assert_allclose(retrieved, 1.5, atol=0.03)
        else:
            assert 1.2 < retrieved.mean() < 1.4


@pytest.mark.parametrize(("forecast", "method"), [(2.5, "ECMWF"), (None, "FIXED")])
def test_water_vapour_for_want_of_land(tmp_path, forecast, method, caplog):
    auxiliary = Auxiliary(ozone=OZONE, water_vapour=forecast)
    scene = SyntheticScene(tmp_path, 9, 11, classes=lambda shape: np.full(shape, 9, "u1"), auxiliary=auxiliary)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, flat_infrared(0.7), 0.1, 1.5)
    scene.write_air(0.1, 1.5)
    retrieved, report = run_water_vapour(scene, stack, column=1.1)
    assert (report["method"], len(report["defaults"])) == (method, 1)
    assert (retrieved == np.float32(forecast or 1.1)).all()
    assert "Too little bright land" in caplog.text
    retrieved, report = run_water_vapour(scene, stack, column=1.1, method="fixed")
    assert (report["method"], report["defaults"]) == ("FIXED", [])


@pytest.mark.parametrize("code", [0, 9])
@pytest.mark.parametrize("size", [(7, 5), (45, 50)])
def test_scenes_without_ground(tmp_path, code, size):
    """All clouds, or no data at all: every stage ends well."""
    scene = SyntheticScene(tmp_path, *size, classes=lambda shape: np.full(shape, code, "u1"))
    nodata = np.full(scene.grid.at(20).shape, code == 0)
    surfaces = dict.fromkeys((*OUTPUT_BANDS[20], "B09"), 0.7)
    stack = scene.write_toa(tmp_path / "stack.tif", 20, surfaces, 0.2, 2.0, nodata)
    _, report = run_aerosol(scene, stack)
    assert report["method"] == "CLIMATOLOGY"
    aot, report = run_aerosol(scene, stack, method="fixed")
    assert report["method"] == "FIXED"
    column, report = run_water_vapour(scene, stack)
    assert report["method"] == "FIXED"
    boa, report = run_reflectance(scene, stack, 20, adjacency=True)
    retrieved = values(boa, BOA, "B04")
    if code == 0:
        assert np.isnan(aot).all()
        assert np.isnan(column).all()
        assert np.isnan(retrieved).all()
        assert report["bands"]["B04"]["mean_reflectance"] is None
    else:
        np.testing.assert_allclose(retrieved, 0.7, atol=2e-3)


def test_terrain_of_another_grid_is_refused(tmp_path):
    scene = SyntheticScene(tmp_path, 7, 5)
    toa = scene.write_toa(tmp_path / "toa.tif", 60, dict.fromkeys(OUTPUT_BANDS[60], 0.3), 0.1, 1.0)
    scene.write_air(0.1, 1.0)
    scene.terrain(20).replace(scene.terrain(60))
    with pytest.raises(StepError, match="terrain_60.tif: its grid"):
        run_reflectance(scene, toa, 60)
