"""Predicted uncertainty of surface reflectance against Monte Carlo, and the layer that users get."""

import dataclasses
from dataclasses import astuple

import numpy as np
import pystac
import pytest
import rasterio
from equations import adjacent_reflectance
from small_scene import write_small_scene
from synthetic import SyntheticScene, table
from test_write_stac import KEYS, QUALITY

from steps import publish_cog as publish_cog
from steps import uncertainty, write_cog
from steps.atmosphere.band import BandAtmosphere, band_atmosphere
from steps.atmosphere.inversion import surface_reflectance, toa_reflectance
from steps.atmosphere.inversion_kernel import Environment, Nodes
from steps.atmosphere.scene import Coefficients, geometry
from steps.atmosphere.uncertainty import (
    CALIBRATION,
    INPUTS,
    NOISE,
    Change,
    InputUncertainties,
    changes,
    noise_variance,
    surface_variance,
    variance_nodes,
)
from steps.atmosphere.uncertainty_kernel import (
    HIGHEST_ENVIRONMENT,
    IRRADIANCE_ERROR,
    UNIT,
    standard_uncertainty,
    through_terrain,
)
from steps.core.documents import write_document
from steps.core.errors import StepError
from steps.core.rasters import Grid, bands_of, grid_of, read, tags_of, values, write
from steps.l2a.assets import UNCERTAINTIES
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.kinds import AOT, AOT_UNCERTAINTY, BOA, TERRAIN, TOA, UNCERTAINTY, WVP
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene import Band

# W/m2/um, S2A.
IRRADIANCE = {"B01": 1885, "B02": 1960, "B03": 1823, "B04": 1512, "B05": 1425, "B06": 1288, "B07": 1162}
IRRADIANCE |= {"B08": 1042, "B8A": 955, "B09": 813, "B10": 367, "B11": 246, "B12": 85}
MODELS = ("continental", "maritime")
# The first four in the order of `changes`.
SOURCES = ("aot550", "water_vapour", "elevation", "model", "calibration", "noise")


class Pixels:
    """Random pixels: surface, surroundings, geometry and air of each."""

    def __init__(self, band, count, seed=0):
        random = np.random.default_rng(seed)
        self.band, self.random, self.response = band, random, reference_response("S2A", band)
        self.geometry = {
            "sun_zenith": random.uniform(15, 70, count),
            "view_zenith": random.uniform(0, 11, count),
            "relative_azimuth": random.uniform(0, 180, count),
            "ozone": random.uniform(0.25, 0.4, count),
        }
        self.state = random.uniform(0, 2, count), random.uniform(0.05, 0.6, count), random.uniform(0.5, 5, count)
        self.surface, self.around = random.uniform(0.01, 0.6, count), random.uniform(0.02, 0.5, count)
        radiometry = Band(0, IRRADIANCE[band], self.response)
        self.noise = noise_variance(band, radiometry, self.geometry["sun_zenith"], 1.0)

    def air(self, aerosol, elevation_km, aot550, water_vapour):
        return band_atmosphere(
            table(aerosol),
            self.response,
            elevation_km=elevation_km,
            aot550=aot550,
            water_vapour=water_vapour,
            **self.geometry,
        )

    def mixture(self, share, *state):
        """Air with a share of the second model, below 0 or above 1, too, or one for each pixel."""
        fields = (astuple(self.air(model, *state)) for model in MODELS)
        return BandAtmosphere(*(a + share * (b - a) for a, b in zip(*fields, strict=True)))

    def terms(self, correlation=0.0):
        """What `surface_variance` takes, for a correlation of calibration with aerosol thickness."""

        def at(share):
            return lambda *state: coefficients(self.mixture(share, *state))

        inputs = InputUncertainties(calibration_with_aerosol=correlation)
        return *changes(at(0), at(3**-0.5), *self.state, with_dem=True, inputs=inputs), self.noise

    def predicted(self, adjacency, sources, correlation=0.0):
        nominal, changed, noise = self.terms(correlation)
        changed = [c for c, source in zip(changed, SOURCES, strict=False) if source in sources]
        inputs = InputUncertainties(calibration=0.03 if "calibration" in sources else 0)
        noise = [v if "noise" in sources else 0 * v for v in noise]
        around = self.around if adjacency else None
        return np.sqrt(surface_variance(self.surface, around, nominal, changed, noise, inputs))

    def perturbed(self, adjacency, sources, correlation=0.0):
        """Invert what a sensor of limited accuracy sees, in air that is known to a limited accuracy."""

        def normal(source):
            return self.random.standard_normal(self.surface.size) * (source in sources)

        elevation, aot, column = self.state
        truth = self.air(MODELS[0], *self.state)
        of_calibration = normal("calibration")
        calibration = 1 + 0.03 * of_calibration
        toa = toa_reflectance(self.surface, truth, self.around if adjacency else None)
        seen = calibration * toa + np.sqrt(self.noise[0] + self.noise[1] * toa) * normal("noise")
        around = calibration * toa_reflectance(self.around, truth)
        elevation = elevation + 0.01 * normal("elevation")
        of_aot = correlation * of_calibration + np.sqrt(1 - correlation**2) * normal("aot550")
        aot = aot + (0.03 + 0.1 * aot) * of_aot
        absolute, relative = INPUTS.water_vapour
        column = column + (absolute + relative * column) * normal("water_vapour")
        # The aerosol is anything from the other model to its opposite.
        share = self.random.uniform(-1, 1, self.surface.size) * ("model" in sources)
        air = self.mixture(share, elevation, aot, column)
        if adjacency:
            return adjacent_reflectance(seen, air, surface_reflectance(around, air))
        return surface_reflectance(seen, air)


def coefficients(air):
    gain = 1 / (air.gas_transmittance * air.water_transmittance * air.transmittance_down * air.direct_up)
    ratio = air.transmittance_up / air.direct_up - 1
    return Coefficients(air.gas_transmittance * air.path_reflectance, gain, ratio, air.spherical_albedo)


def deviations(band, adjacency, sources=SOURCES, correlation=0.0):
    """Return actual deviations of 1000 pixels, each drawn ten times, and the predicted uncertainty of each pixel."""
    pixels = Pixels(band, 1000)
    actual = np.stack([pixels.perturbed(adjacency, sources, correlation) - pixels.surface for _ in range(10)])
    return actual, pixels.predicted(adjacency, sources, correlation)


def rms(values):
    return np.sqrt(np.mean(values**2))


@pytest.mark.slow
@pytest.mark.parametrize("adjacency", [True, False])
@pytest.mark.parametrize("band", CALIBRATION)
def test_predicted_spread_is_that_of_1000_simulated_pixels(band, adjacency, record_property):
    actual, predicted = deviations(band, adjacency)
    ratio, pooled = rms(actual / predicted), rms(actual) / rms(predicted)
    record_property("actual by predicted", float(ratio))
    record_property("actual by predicted, pooled", float(pooled))
    assert ratio == pytest.approx(1, abs=0.2)
    assert pooled == pytest.approx(1, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("adjacency", [True, False])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("band", ["B04", "B09", "B12"])
def test_predicted_spread_of_each_source_alone(band, source, adjacency):
    """Pooled, because at some reflectance a source has no effect at all."""
    actual, predicted = deviations(band, adjacency, (source,))
    assert rms(actual) / rms(predicted) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("adjacency", [True, False])
@pytest.mark.parametrize("band", ["B01", "B02", "B8A"])
def test_what_calibration_and_aerosol_have_in_common_counts(band, adjacency):
    """Aerosol that is too thick since the band sees too much takes a part of that out again over dark ground."""
    pixels, sources = Pixels(band, 1000), ("calibration", "aot550")
    actual, predicted = deviations(band, adjacency, sources, 0.8)
    assert rms(actual) / rms(predicted) == pytest.approx(1, abs=0.1)
    dark, independent = pixels.surface < 0.1, pixels.predicted(adjacency, sources)
    assert rms(actual[:, dark]) / rms(predicted[dark]) == pytest.approx(1, abs=0.1)
    assert rms(predicted[dark]) < (0.8 if band != "B8A" else 1) * rms(independent[dark])


def test_noise_at_the_reference_radiance():
    """There the signal is as many times the noise as it was measured to be."""
    for band, (radiance, ratio, _) in NOISE.items():
        reflectance = np.pi * radiance / (1.02 * IRRADIANCE[band] * np.cos(np.radians(40)))
        constant, slope = noise_variance(band, Band(0, IRRADIANCE[band], None), 40, 1.02)
        assert reflectance / np.sqrt(constant + slope * reflectance) == pytest.approx(ratio)


def test_calibration_alone_in_closed_form():
    """Over a black ground all of the signal is the path's, and its error is that of the ground."""
    pixels = Pixels("B02", 10)
    nominal, _, noise = pixels.terms()
    got = np.sqrt(surface_variance(0.0, 0.0, nominal, [], (0 * noise[0], 0 * noise[1])))
    # d boa = gain d toa - environment's share, in which the same error of the path is brighter ground.
    share = nominal.q / (1 + nominal.q)
    np.testing.assert_allclose(got, INPUTS.calibration * nominal.path * nominal.gain * (1 - share), rtol=2e-3)


def slow_uncertainty(boa, around, nodes, cell):
    """The kernel's NumPy twin: polynomials bilinearly interpolated at each pixel, in double precision."""
    rows, columns = (np.arange(n) + 0.5 for n in boa.shape)
    i, j = (rows // cell).astype(int), (columns // cell).astype(int)
    v, u = (rows / cell - i)[:, None, None], (columns / cell - j)[:, None]
    nodes = nodes.astype("f8")
    upper, lower = (nodes[k][:, j] * (1 - u) + nodes[k][:, j + 1] * u for k in (i, i + 1))
    terms = (upper * (1 - v) + lower * v).reshape(*boa.shape, 3, 4)
    r = boa * 1e-4 - 0.1
    e = np.clip(r if around is None else around, 0, HIGHEST_ENVIRONMENT)
    variance = np.einsum("yxij,yxi,yxj->yx", terms, r[..., None] ** np.arange(3), e[..., None] ** np.arange(4))
    return np.where(boa == 0, 0, np.clip(np.sqrt(np.maximum(variance, 0)), 1, 65535))


@pytest.mark.parametrize(("cell", "ratio", "shape"), [(128, 6, (150, 300)), (64, 3, (90, 150)), (20, 1, (41, 59))])
@pytest.mark.parametrize("adjacency", [True, False])
def test_kernel_against_numpy(cell, ratio, shape, adjacency):
    random = np.random.default_rng(0)
    boa = random.integers(1, 14000, shape).astype("u2")
    boa[:5, :7] = 0
    around = random.uniform(-0.1, 1.4, tuple(n // ratio for n in shape)).astype("f4") if adjacency else None
    nodes = random.uniform(0, 1e7, (*(-(-n // cell) + 1 for n in shape), 12)).astype("f4")
    fine = None if around is None else np.kron(around, np.ones((ratio, ratio)))
    expected = slow_uncertainty(boa, fine, nodes, cell)
    got = np.empty_like(boa)
    inputs = None if around is None else Environment(around, ratio), Nodes(nodes, cell)
    standard_uncertainty(boa, *inputs, 0, got)
    np.testing.assert_array_equal(got == 0, boa == 0)
    np.testing.assert_allclose(got.astype("f8"), expected, atol=0.51, rtol=1e-5)
    parts = np.empty_like(boa)
    for rows in (slice(0, 17), slice(17, shape[0])):
        standard_uncertainty(boa[rows], *inputs, rows.start, parts[rows])
    np.testing.assert_array_equal(parts, got)


def column(terms):
    """Coefficients of pixels as a mesh of one column of nodes."""
    return Coefficients(*(v[:, None] for v in astuple(terms)))


@pytest.mark.parametrize("adjacency", [True, False])
@pytest.mark.parametrize("band", ["B01", "B04", "B09", "B12"])
def test_polynomials_reproduce_the_variance(band, adjacency):
    pixels = Pixels(band, 400)
    nominal, changed, noise = pixels.terms()
    columns = [Change(column(c.more), column(c.less), np.reshape(c.share, (-1, 1))) for c in changed]
    inputs = dataclasses.replace(INPUTS, calibration=CALIBRATION[band])
    nodes = variance_nodes(column(nominal), columns, [v[:, None] for v in noise], adjacency=adjacency, inputs=inputs)
    terms = nodes.reshape(-1, 3, 4) * UNIT**2
    around = pixels.around if adjacency else pixels.surface
    got = np.einsum("pij,pi,pj->p", terms, pixels.surface[:, None] ** np.arange(3), around[:, None] ** np.arange(4))
    expected = surface_variance(pixels.surface, pixels.around if adjacency else None, nominal, changed, noise, inputs)
    np.testing.assert_allclose(np.sqrt(got), np.sqrt(expected), rtol=0.03)


class Layer:
    """A synthetic scene with random reflectance and its layers of uncertainty."""

    def __init__(self, folder, **options):
        self.scene = SyntheticScene(folder, 40, 30, **options)
        self.scene.write_air(0.2, 1.5)
        self.write_aerosol_uncertainty(0.05, 0.05)
        random = np.random.default_rng(1)
        self.boa = {
            band: random.integers(1050, 5000, self.scene.grid.at(60).shape).astype("u2") for band in OUTPUT_BANDS[60]
        }

    def write_aerosol_uncertainty(self, west, east):
        """Write a field that changes linearly from the west to the east of the scene, and as far again beyond."""
        grid = dataclasses.replace(
            self.scene.grid, left=self.scene.grid.left - 2400, resolution=4800, width=2, height=2
        )
        stored = np.rint(np.array([[west, 2 * east - west]] * 2) / AOT_UNCERTAINTY.scale).astype("u2")
        write(self.scene.folder / "aot_uncertainty.tif", AOT_UNCERTAINTY, grid, {AOT_UNCERTAINTY.name: stored})

    def run(self, resolution, name="uncertainty.tif", **options):
        grid, folder = self.scene.grid.at(resolution), self.scene.folder
        boa, ratio = folder / f"boa_{resolution}.tif", 60 // resolution
        fine = {band: np.kron(stored, np.ones((ratio, ratio), "u2")) for band, stored in self.boa.items()}
        fine["B08"] = fine["B8A"]
        for stored in fine.values():
            stored[:7, :9] = 0
        bands = {band: fine[band] for band in OUTPUT_BANDS[resolution]}
        write(boa, BOA, grid, bands)
        write(folder / "toa.tif", TOA, grid, bands)
        uncertainty.run(
            boa=[boa],
            terrain=self.scene.terrain(20),
            aot=folder / "aot.tif",
            aot_uncertainty=folder / "aot_uncertainty.tif",
            wvp=folder / "wvp.tif",
            scene_means=self.scene.write_means(folder / "toa.tif"),
            uncertainty=[folder / name],
            **self.scene.inputs,
            **options,
        )
        return fine, folder / name

    def expected(self, band, surface, around, inputs=INPUTS, **of_band):
        """Standard uncertainty of every pixel of 60 m, from the atmosphere there."""
        sun, view, azimuth = geometry(AngleGrid(self.scene.angles), band, *self.scene.coordinates(60))

        def at(aerosol):
            return lambda *state: coefficients(
                band_atmosphere(
                    table(aerosol),
                    self.scene.scene.bands[band].response,
                    sun_zenith=sun,
                    view_zenith=view,
                    relative_azimuth=azimuth,
                    elevation_km=state[0],
                    aot550=state[1],
                    water_vapour=state[2],
                    ozone=self.scene.scene.auxiliary.ozone,
                )
            )

        state = (np.full(sun.shape, v) for v in (0.0, 0.2, 1.5))
        inputs = dataclasses.replace(inputs, **{"calibration": CALIBRATION[band]} | of_band)
        terms = changes(*map(at, MODELS), *state, with_dem=False, inputs=inputs)
        noise = noise_variance(band, self.scene.scene.bands[band], sun, self.scene.scene.earth_sun)
        return np.sqrt(surface_variance(surface, around, *terms, noise, inputs=inputs))


@pytest.mark.slow
def test_layer_without_adjacency_is_the_propagated_uncertainty(tmp_path):
    layer = Layer(tmp_path)
    fine, path = layer.run(60, adjacency=False)
    for band in ("B01", "B09"):
        surface = np.where(fine[band] == 0, np.nan, fine[band] * 1e-4 - 0.1)
        got = values(path, UNCERTAINTY, band)
        np.testing.assert_array_equal(np.isnan(got), fine[band] == 0)
        np.testing.assert_allclose(got, layer.expected(band, surface, None), rtol=0.01, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method", "of_bands"),
    [
        (WVP, "B09", {"B01": {}, "B09": {"calibration": 0.03, "water_vapour": (0.001, 0.0)}}),
        (AOT, "DDV", {"B01": {"calibration_with_aerosol": 0.3}, "B09": {"calibration_with_aerosol": 0.0}}),
    ],
    ids=["vapour", "aerosol"],
)
def test_what_a_band_tells_of_the_air_depends_on_its_calibration(tmp_path, kind, method, of_bands):
    """Vapour that B09 tells is no error of its reflectance; B01 tells aerosol that takes a part of its error out."""
    layer = Layer(tmp_path)
    path = tmp_path / {WVP: "wvp.tif", AOT: "aot.tif"}[kind]
    write(path, kind, grid_of(path, kind), {kind.name: read(path, kind, kind.name)}, method=method)
    fine, found = layer.run(60, adjacency=False)
    for band, of_band in of_bands.items():
        surface = np.where(fine[band] == 0, np.nan, fine[band] * 1e-4 - 0.1)
        expected = layer.expected(band, surface, None, **of_band)
        np.testing.assert_allclose(values(found, UNCERTAINTY, band), expected, rtol=0.01, atol=1e-5)


@pytest.mark.slow
def test_layer_knows_how_well_the_aerosol_is_known(tmp_path):
    layer = Layer(tmp_path)
    layer.write_aerosol_uncertainty(0.05, 0.08)
    fine, path = layer.run(60, adjacency=False)
    surface = np.where(fine["B01"] == 0, np.nan, fine["B01"] * 1e-4 - 0.1)
    x = layer.scene.coordinates(60)[0]
    west_to_east = 0.05 + 0.03 * (x - layer.scene.grid.left) / 2400
    expected = layer.expected("B01", surface, None, dataclasses.replace(INPUTS, aot550=(west_to_east, 0.0)))
    np.testing.assert_allclose(values(path, UNCERTAINTY, "B01"), expected, rtol=0.02, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_layer_is_written_for_native_bands_with_no_data_kept(tmp_path, resolution):
    layer = Layer(tmp_path)
    fine, path = layer.run(resolution)
    with rasterio.open(path) as file:
        bands = file.descriptions
        assert set(bands) == {a.bands[0] for a in UNCERTAINTIES.values() if a.resolution == resolution}
        assert file.nodata == 0
    assert tags_of(path, UNCERTAINTY)["other_aerosol"] == "maritime"
    for band in bands:
        got = read(path, UNCERTAINTY, band)
        np.testing.assert_array_equal(got == 0, fine[band] == 0)
        assert 0.002 < np.median(got[got > 0]) * UNCERTAINTY.scale < 0.1
    again = layer.run(resolution, "again.tif", threads=2)[1]
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_bright_surroundings_make_dark_pixels_less_certain(tmp_path):
    """What is known of a lake in a bright forest is less than of one in a dark forest."""
    medians = []
    for bright in (1500, 5000):
        layer = Layer(tmp_path)
        stored = np.full_like(layer.boa["B01"], bright)
        stored[12:16, 15:19] = 1200
        layer.boa["B01"] = stored
        path = layer.run(60)[1]
        medians.append(np.median(read(path, UNCERTAINTY, "B01")[12:16, 15:19]))
    assert medians[1] > 1.2 * medians[0]


@pytest.mark.slow
def test_part_is_as_certain_as_in_the_whole(tmp_path):
    """Of a scene that is darker, higher and in thicker haze in its south than around the part."""
    whole = SyntheticScene(tmp_path, 160, 192, elevation=lambda x, y: (4900020 - y) / 20 + 0 * x)
    share = np.linspace(0, 1, whole.grid.at(20).height)[:, None]
    whole.write_air(0.1 + 0.4 * share, 1 + 2 * share)
    random, grid = np.random.default_rng(0), whole.grid.at(60)
    surface = random.integers(1500, 5000, grid.shape) - 400 * np.linspace(0, 1, grid.height)[:, None]
    boa = dict.fromkeys(OUTPUT_BANDS[60], surface.astype("u2"))
    for name, kind in (("boa.tif", BOA), ("toa.tif", TOA)):
        write(tmp_path / name, kind, grid, boa)
    means = whole.write_means(tmp_path / "toa.tif")
    cells = dataclasses.replace(
        whole.grid, resolution=1280, width=-(-whole.grid.width // 128), height=-(-whole.grid.height // 128)
    )
    known = np.random.default_rng(3).integers(100, 2000, cells.shape).astype("u2")
    write(tmp_path / "aot_uncertainty.tif", AOT_UNCERTAINTY, cells, {AOT_UNCERTAINTY.name: known})
    part = Grid(32631, whole.grid.left + 3840, whole.grid.top - 3840, 10, 384, 384)
    folder = tmp_path / "part"
    folder.mkdir()
    scene = dataclasses.replace(whole.scene, grid=part, roi=part, tile_grid=whole.grid)
    scene.write(folder / "metadata.json")
    sources = {"boa.tif": BOA, "aot.tif": AOT, "wvp.tif": WVP, "terrain_20.tif": TERRAIN}
    for name, kind in sources.items():
        found, bands = grid_of(tmp_path / name, kind), bands_of(tmp_path / name, kind)
        cut = part.at(round(found.resolution))
        pixels = {band: read(tmp_path / name, kind, band)[cut.within(found)] for band in bands}
        write(folder / name, kind, cut, pixels)
    for at, metadata in ((tmp_path, whole.metadata), (folder, folder / "metadata.json")):
        uncertainty.run(
            boa=[at / "boa.tif"],
            terrain=at / "terrain_20.tif",
            aot=at / "aot.tif",
            aot_uncertainty=tmp_path / "aot_uncertainty.tif",
            wvp=at / "wvp.tif",
            scene_means=means,
            uncertainty=[at / "uncertainty.tif"],
            adjacency_km=0.5,
            **whole.inputs | {"metadata": metadata},
        )
    inner = np.s_[20:44, 20:44]  # 1.2 km inside the part
    for band in ("B01", "B09"):
        expected = read(tmp_path / "uncertainty.tif", UNCERTAINTY, band)[part.at(60).within(grid)].astype(int)
        assert np.abs(read(folder / "uncertainty.tif", UNCERTAINTY, band) - expected)[inner].max() <= 1


@pytest.mark.slow
def test_a_dem_makes_it_more_certain(tmp_path):
    layer = Layer(tmp_path)
    without = read(layer.run(60)[1], UNCERTAINTY, "B01")
    terrain = layer.scene.terrain(20)
    bands = {band: read(terrain, TERRAIN, band) for band in ("elevation", "cos_incidence")}
    write(terrain, TERRAIN, layer.scene.grid.at(20), bands, dem="dem.tif")
    assert (read(layer.run(60)[1], UNCERTAINTY, "B01") <= without).all()


@pytest.mark.slow
def test_cloudy_scene_is_taken_for_uniform(tmp_path):
    layer = Layer(tmp_path, classes=lambda shape: np.full(shape, 9, "u1"))
    clouded = read(layer.run(60)[1], UNCERTAINTY, "B01")
    np.testing.assert_array_equal(clouded, read(layer.run(60, adjacency=False)[1], UNCERTAINTY, "B01"))


def test_rasters_of_another_scene_are_refused(tmp_path):
    layer = Layer(tmp_path)
    write(layer.scene.terrain(20), TERRAIN, layer.scene.grid.at(60), {"elevation": np.zeros((30, 40), "i2")})
    with pytest.raises(StepError, match=r"terrain_20.tif: its pixels are not those of"):
        layer.run(60)
    assert not (tmp_path / "uncertainty.tif").exists()


@pytest.mark.slow
def test_cogs_and_item_have_the_layers(tmp_path):
    inputs = write_small_scene(tmp_path)
    boa, uncertainties, cogs = [], [], tmp_path / "cogs"
    for resolution in (10, 20, 60):
        boa += inputs(resolution)["boa"]
        grid = grid_of(boa[-1], BOA)
        bands = [a.bands[0] for a in UNCERTAINTIES.values() if a.resolution == resolution]
        stored = {band: np.full(grid.shape, 100 + i, "u2") for i, band in enumerate(bands)}
        uncertainties.append(tmp_path / f"uncertainty_{resolution}.tif")
        write(uncertainties[-1], UNCERTAINTY, grid, stored)
    write_cog.run(**inputs(20) | {"boa": boa}, cogs=cogs, uncertainty=uncertainties)
    write_document(tmp_path / "quality.json", QUALITY)
    publish_cog.run(tmp_path / "metadata.json", tmp_path / "quality.json", cogs, tmp_path / "cog")
    item = pystac.Item.from_file(tmp_path / "cog/item.json")
    assert set(item.assets) == KEYS | set(UNCERTAINTIES) | {"thumbnail"}
    for key, asset in UNCERTAINTIES.items():
        with rasterio.open(tmp_path / f"cog/{key}.tif") as file:
            (band,) = item.assets[key].extra_fields["raster:bands"]
            assert (band["scale"], band["nodata"], band["data_type"]) == (1e-5, 0, "uint16")
            assert (file.scales[0], file.nodata, file.dtypes[0]) == (1e-5, 0, "uint16")
            assert file.descriptions == asset.bands
            assert 1e-3 <= file.read(1).mean() * file.scales[0] < 2e-3
        assert item.assets[key].roles == ["data", "uncertainty"]


def test_terrain_multiplies_the_uncertainty_and_adds_its_own():
    """By the law of propagation for the product of reflectance and gain, in plain NumPy."""
    random = np.random.default_rng(8)
    boa, gain = random.integers(1, 9000, (2, 40, 50)).astype("u2")
    gain = np.clip(gain, 400, 5000)
    flat = random.integers(50, 4000, boa.shape).astype("u2")
    flat[0, 0] = 0
    got = flat.copy()
    through_terrain(boa, gain, got)
    factor, surface = gain / 1000, boa / 1e4 - 0.1
    expected = np.hypot(flat * factor, surface * (factor - 1) * IRRADIANCE_ERROR / UNIT)
    np.testing.assert_allclose(got[flat > 0], expected[flat > 0].clip(1, 65535), atol=0.6)
    assert got[0, 0] == 0
    level = flat.copy()
    through_terrain(boa, np.full_like(gain, 1000), level)
    np.testing.assert_array_equal(level, flat)
