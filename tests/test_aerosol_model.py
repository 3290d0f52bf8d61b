"""Which mixture of aerosol models is taken, by the forecast and by the ground; mixed tables against the solver."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic import OZONE, SyntheticScene, table_path
from test_plain_spectra import SURFACES

from steps import aerosol
from steps.atmosphere.choice import mean_mixture, mixture_of_cams, other_mixture, usual_doubt
from steps.atmosphere.inversion import toa_reflectance
from steps.atmosphere.lut import load_mixture, mixed, table_of
from steps.atmosphere.models import AEROSOL_MODELS, lut_path, mixture_name
from steps.atmosphere.scattering import delta_m, legendre_moments
from steps.atmosphere.solver import solve
from steps.atmosphere.table import AOT, ELEVATION, GAUSS, MODES, SUN_ZENITH, VIEW_ZENITH
from steps.atmosphere.tables import STANDARD_PRESSURE, aerosol_model, pressure, rayleigh_thickness
from steps.core.documents import read_document, write_document
from steps.core.errors import StepError
from steps.core.rasters import write
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import TOA
from steps.sentinel2.reports import ChosenAerosol
from steps.sentinel2.scene import Auxiliary
from steps.sentinel2.scene_classes import CLOUD_HIGH, WATER

MODELS = ("continental", "maritime")
MEADOW = SURFACES["meadow"]
SEA_SALT = {f"{name}aod550": ((share,),) for name, share in (("ss", 0.2), ("su", 0.05), ("om", 0.05), ("bc", 0.002))}


def retrieve(tmp_path, truth, auxiliary=None, aot550=0.3, lut=None, ground=MEADOW, **options):
    """Simulate uniform ground under an aerosol of model `truth` and let the stage choose among two tables."""
    scene = SyntheticScene(tmp_path, 12, 10, sun_zenith=50.0, auxiliary=auxiliary, **options)
    grid, bands = scene.grid.at(20), {}
    for n, band in enumerate(b for b in STACK_BANDS if b != "B10"):
        reflectance = ground[n]
        atmosphere = scene.atmosphere(band, 20, aot550, 1.5, aerosol=truth)
        bands[band] = np.rint(toa_reflectance(reflectance, atmosphere) * 1e4 + 1000).astype("u2")
    write(tmp_path / "stack.tif", TOA, grid, bands)
    aerosol.run(
        stack=tmp_path / "stack.tif",
        classification=tmp_path / "scl.tif",
        terrain=scene.terrain(20),
        metadata=scene.metadata,
        angles=scene.angles,
        lut=lut or [table_path(model) for model in MODELS],
        aot=tmp_path / "aot.tif",
        aot_uncertainty=tmp_path / "aot_uncertainty.tif",
        aerosol_model=tmp_path / "model.json",
        report=tmp_path / "report.json",
    )
    report = json.loads((tmp_path / "report.json").read_text())
    chosen = read_document(tmp_path / "model.json", ChosenAerosol)
    assert sum(chosen.shares.values()) == pytest.approx(1)
    assert table_of(tmp_path / "model.json").aerosol == report["model"] == mixture_name(chosen.shares)
    assert report["lut"] == [lut_path(model).name for model in chosen.shares]
    assert sum(chosen.other.values()) == pytest.approx(1)
    assert (chosen.other == usual_doubt(chosen.shares)) == (report["model_source"] != "GROUND")
    assert table_of(tmp_path / "model.json", other=True).aerosol == mixture_name(chosen.other)
    return chosen.shares, report


@pytest.mark.slow
def test_forecast_is_preferred_where_the_ground_tells_little(tmp_path):
    cams = SEA_SALT | {"aod550": ((0.02, 0.02), (0.02, 0.02))}
    latitude, longitude = ((45.0, 45.0), (43.0, 43.0)), ((0.0, 2.0), (0.0, 2.0))
    auxiliary = Auxiliary(ozone=OZONE, latitude=latitude, longitude=longitude, cams=cams)
    shares, report = retrieve(tmp_path, "continental", auxiliary=auxiliary, aot550=0.02)
    assert shares["maritime"] > 0.6
    assert report["model_source"] == "GROUND"


@pytest.mark.slow
def test_water_tells_the_kind_of_aerosol(tmp_path):
    """A lake of a quarter of a kilometre, which counts little, beside what is expected without it."""
    lake = {"ground": SURFACES["clear water"], "classes": lambda shape: np.full(shape, WATER, "u1")}
    found = [retrieve(tmp_path, truth, **lake) for truth in MODELS]
    (land, _), (sea, _) = found
    assert land["continental"] > 0.67 > sea["continental"]  # exp(0.7) to 1 is what is expected
    assert land["continental"] > sea["continental"] + 0.1
    assert [report["mean_aot550"] for _, report in found] == pytest.approx([0.3, 0.3], abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cams", "expected"), [(SEA_SALT, ({"maritime", "continental"}, "CAMS")), (None, ({"continental"}, "DEFAULT"))]
)
def test_without_ground_it_is_that_of_the_forecast_or_the_first_and_told(tmp_path, cams, expected):
    latitude, longitude = ((45.0, 45.0), (43.0, 43.0)), ((0.0, 2.0), (0.0, 2.0))
    cams = cams and cams | {"aod550": ((0.3, 0.3), (0.3, 0.3))}
    auxiliary = Auxiliary(ozone=OZONE, latitude=latitude, longitude=longitude, cams=cams) if cams else None
    clouds = {"classes": lambda shape: np.full(shape, CLOUD_HIGH, "u1")}
    shares, report = retrieve(tmp_path, "maritime", auxiliary=auxiliary, **clouds)
    assert (set(shares), report["model_source"]) == expected
    told = any("continental aerosol was assumed" in sentence for sentence in report["defaults"])
    assert told == (expected[1] == "DEFAULT")


@pytest.mark.slow
def test_table_that_only_the_aerosol_was_given_is_told(tmp_path):
    """What it was found by is not what the stages that follow would take."""
    own = Path(shutil.copy(table_path("continental"), tmp_path / "lut_continental_0123456789ab.npz"))
    with pytest.raises(StepError, match=r"model.json: names lut_continental_0123456789ab.npz, but"):
        retrieve(tmp_path, "continental", lut=[own])


def test_table_of_other_code_is_told(tmp_path):
    write_document(
        tmp_path / "model.json",
        ChosenAerosol({"continental": 1.0}, {"urban": 1.0}, {"continental": "lut_continental_0123456789ab.npz"}),
    )
    with pytest.raises(
        StepError, match=r"model.json: names lut_continental_0123456789ab.npz, but .* run the stage aerosol"
    ):
        table_of(tmp_path / "model.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "reflectance", "transmittance"),
    [
        ({"urban": 0.5, "continental": 0.5}, (7e-4, 4e-3), (1e-3, 2.5e-3)),
        ({"desert": 0.5, "continental": 0.5}, (3e-4, 1.2e-3), (4e-4, 1.5e-3)),
        ({"maritime": 0.5, "biomass": 0.5}, (5e-4, 2.5e-3), (1e-3, 4e-3)),
        ({"urban": 0.3, "maritime": 0.4, "desert": 0.3}, (8e-4, 5e-3), (1.5e-3, 6e-3)),
    ],
)
def test_mixed_tables_are_nearly_what_the_solver_gives_for_the_mixture(shares, reflectance, transmittance):
    """At optical thicknesses of 0.2 and 0.8, at nodes of the table in the visible and near infrared."""
    with np.load(lut_path("continental")) as file:
        wavelength = file["wavelength"]
    arrays = mixed([dict(np.load(lut_path(model))) for model in shares], np.array(list(shares.values())))
    models, suns = {model: aerosol_model(model) for model in shares}, np.cos(np.radians(SUN_ZENITH))
    for i in (int(np.abs(wavelength - um).argmin()) for um in (0.49, 0.67, 0.86)):
        extinction = sum(share * models[m].extinction[i] for m, share in shares.items())
        scattering = {m: share * models[m].extinction[i] * models[m].albedo[i] for m, share in shares.items()}
        whole = sum(scattering.values())
        phase = sum(value * models[m].phase[i] for m, value in scattering.items()) / whole
        assert arrays["extinction"][i] == pytest.approx(extinction)
        assert arrays["albedo"][i] == pytest.approx(whole / extinction)
        np.testing.assert_allclose(np.exp(arrays["log_phase"][i]), phase)
        moments = legendre_moments(arrays["angle"], phase, 2 * GAUSS)
        # Between the angles of the table the logarithm of a phase function is linear, that of a mixture not quite.
        assert arrays["peak"][i] == pytest.approx(delta_m(moments)[1], rel=0.02)
        views = np.cos(np.radians(VIEW_ZENITH))
        for thickness, *limits in zip((0.2, 0.8), reflectance, transmittance, strict=True):
            k, j = AOT.tolist().index(thickness), ELEVATION.tolist().index(-0.5)
            molecules = rayleigh_thickness()[i] * pressure(ELEVATION[j]) / STANDARD_PRESSURE
            s = solve(molecules, thickness * extinction, whole / extinction, moments, suns, views, modes=MODES)
            low = suns > np.cos(np.radians(71))
            assert np.abs(arrays["multiple"][i, j, k] - s.multiple.T)[low].max() < limits[0]
            assert np.abs(arrays["transmittance_down"][i, j, k] - s.transmittance_down)[low].max() < limits[1]
            assert np.abs(arrays["transmittance_up"][i, j, k] - s.transmittance_up).max() < limits[1]
            assert abs(arrays["spherical_albedo"][i, j, k] - s.spherical_albedo) < limits[1]


def of_models(shares):
    """Return CAMS data of an optical thickness of 0.3 that have the spectrum and albedo of a mixture of the models."""
    table = load_mixture({lut_path(model): share for model, share in shares.items()})
    spectrum = np.exp(np.interp(np.log([0.469, 0.67, 0.865, 1.24]), np.log(table.wavelength), np.log(table.extinction)))
    albedo = np.interp(0.55, table.wavelength, table.albedo)
    cams = {"aod550": 0.3} | {f"aod{nm}": 0.3 * v for nm, v in zip((469, 670, 865, 1240), spectrum, strict=True)}
    dust, salt = (0.3 * shares.get(model, 0.0) for model in ("desert", "maritime"))
    soot = (0.3 * (1 - albedo) - 0.05 * dust) / (1 - 0.21)
    species = {"du": dust, "ss": salt, "bc": soot, "om": 0.0, "su": 0.3 - dust - salt - soot}
    return {name: [[value]] for name, value in (cams | {f"{k}aod550": v for k, v in species.items()}).items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares",
    [
        {"continental": 1.0},
        {"biomass": 1.0},
        {"urban": 0.7, "continental": 0.3},
        {"maritime": 0.8, "continental": 0.2},
        {"biomass": 0.5, "continental": 0.5},
        {"desert": 0.6, "urban": 0.2, "maritime": 0.2},
    ],
)
def test_mixture_has_the_spectrum_and_the_absorption_of_the_forecast(shares):
    tables = {model: load_mixture({lut_path(model): 1.0}) for model in AEROSOL_MODELS}
    found = mixture_of_cams(of_models(shares), tables)
    assert sum(found.values()) == pytest.approx(1)
    assert sum(min(share, found.get(model, 0.0)) for model, share in shares.items()) > 0.85


def test_what_is_none_of_the_species_absorbs_nothing():
    """The winter of northern Italy: half of the aerosol is nitrate, which CAMS has in the whole alone."""
    tables = {model: load_mixture({lut_path(model): 1.0}) for model in AEROSOL_MODELS}
    parts = {"ssaod550": 0.02, "duaod550": 0.02, "omaod550": 0.06, "bcaod550": 0.02, "suaod550": 0.03}
    cams = {name: [[value]] for name, value in parts.items()}
    alone = mixture_of_cams(cams, tables)
    with_nitrate = mixture_of_cams(cams | {"aod550": [[0.3]]}, tables)
    assert alone["urban"] > 0.2
    assert with_nitrate.get("urban", 0) < 0.05


def test_mixture_of_no_species_and_of_unknown_ones_is_none():
    tables = {model: load_mixture({lut_path(model): 1.0}) for model in MODELS}
    assert mixture_of_cams({}, tables) == {}
    assert mixture_of_cams({"aod550": [[0.1]]}, tables) == {}
    assert mixture_of_cams({"aod550": [[0.0]], "duaod550": [[0.0]]}, tables) == {}


def test_mean_of_mixtures():
    mean = mean_mixture(
        np.array([0.5, 0.49, 0.01]), [{"urban": 0.5, "continental": 0.5}, {"urban": 1.0}, {"desert": 1.0}]
    )
    assert mean == {"urban": 0.75, "continental": 0.25}
    assert mixture_name(mean) == "urban 75 %, continental 25 %"


def test_other_mixture_is_a_standard_deviation_off():
    """Of two models by chance it is what draws of them scatter by, of one alone nothing."""
    draws = np.random.default_rng(1).random(100_000) < 0.1
    other = other_mixture(np.array([0.9, 0.1]), [{"continental": 1.0}, {"urban": 1.0}])
    assert other["urban"] == pytest.approx(0.1 + draws.std(), abs=0.01)
    assert sum(other.values()) == pytest.approx(1)
    assert other_mixture(np.array([1.0]), [{"urban": 0.7, "desert": 0.3}]) == {"urban": 0.7, "desert": 0.3}
    # Nearly equal mixtures leave little doubt, however even the choice between them.
    near = other_mixture(np.array([0.5, 0.5]), [{"continental": 0.9, "urban": 0.1}, {"continental": 0.8, "urban": 0.2}])
    assert near["urban"] in (0.1, 0.2)


@pytest.mark.parametrize("model", AEROSOL_MODELS)
def test_usual_doubt_is_a_rectangular_distribution_between_two_models(model):
    doubt = usual_doubt({model: 1.0})
    assert doubt[model] == pytest.approx(1 - np.random.default_rng(2).uniform(-1, 1, 100_000).std(), abs=0.01)
    assert sum(doubt.values()) == pytest.approx(1)
    assert len(doubt) == 2
