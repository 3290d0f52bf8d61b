"""Which aerosol model is taken, by the forecast and by what the ground would look like under it."""

import json

import numpy as np
import pytest
from synthetic import OZONE, SyntheticScene, table_path
from test_plain_spectra import SURFACES

from steps import aerosol
from steps.atmosphere.inversion import toa_reflectance
from steps.atmosphere.lut import table_of
from steps.atmosphere.models import lut_path
from steps.core.documents import read_document, write_document
from steps.core.errors import StepError
from steps.core.rasters import write
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import TOA
from steps.sentinel2.reports import ChosenAerosol
from steps.sentinel2.scene import Auxiliary
from steps.sentinel2.scene_classes import CLOUD_HIGH

MODELS = ("continental", "maritime")
MEADOW = SURFACES["meadow"]
SEA_SALT = {f"{name}aod550": ((share,),) for name, share in (("ss", 0.2), ("su", 0.05), ("om", 0.05), ("bc", 0.002))}


def retrieve(tmp_path, truth, auxiliary=None, aot550=0.3, **options):
    """Simulate uniform ground under an aerosol of model `truth` and let the stage choose among two tables."""
    scene = SyntheticScene(tmp_path, 12, 10, sun_zenith=50.0, auxiliary=auxiliary, **options)
    grid, bands = scene.grid.at(20), {}
    for n, band in enumerate(b for b in STACK_BANDS if b != "B10"):
        reflectance = MEADOW[n]
        atmosphere = scene.atmosphere(band, 20, aot550, 1.5, aerosol=truth)
        bands[band] = np.rint(toa_reflectance(reflectance, atmosphere) * 1e4 + 1000).astype("u2")
    write(tmp_path / "stack.tif", TOA, grid, bands)
    aerosol.run(
        stack=tmp_path / "stack.tif",
        classification=tmp_path / "scl.tif",
        terrain=scene.terrain(20),
        metadata=scene.metadata,
        angles=scene.angles,
        lut=[table_path(model) for model in MODELS],
        aot=tmp_path / "aot.tif",
        aot_uncertainty=tmp_path / "aot_uncertainty.tif",
        aerosol_model=tmp_path / "model.json",
        report=tmp_path / "report.json",
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert table_of(tmp_path / "model.json").aerosol == report["model"]
    assert report["lut"] == lut_path(report["model"]).name
    probability = read_document(tmp_path / "model.json", ChosenAerosol).probability
    assert (probability is not None) == (report["model_source"] == "GROUND")
    assert probability is None or 0 < probability <= 1
    return report


def test_forecast_is_preferred_where_the_ground_tells_little(tmp_path):
    cams = SEA_SALT | {"aod550": ((0.02, 0.02), (0.02, 0.02))}
    latitude, longitude = ((45.0, 45.0), (43.0, 43.0)), ((0.0, 2.0), (0.0, 2.0))
    auxiliary = Auxiliary(ozone=OZONE, latitude=latitude, longitude=longitude, cams=cams)
    report = retrieve(tmp_path, "continental", auxiliary=auxiliary, aot550=0.02)
    assert (report["model"], report["model_source"]) == ("maritime", "GROUND")


@pytest.mark.parametrize(("cams", "expected"), [(SEA_SALT, ("maritime", "CAMS")), (None, ("continental", "DEFAULT"))])
def test_without_ground_it_is_that_of_the_forecast_or_the_first_and_told(tmp_path, cams, expected):
    latitude, longitude = ((45.0, 45.0), (43.0, 43.0)), ((0.0, 2.0), (0.0, 2.0))
    cams = cams and cams | {"aod550": ((0.3, 0.3), (0.3, 0.3))}
    auxiliary = Auxiliary(ozone=OZONE, latitude=latitude, longitude=longitude, cams=cams) if cams else None
    clouds = {"classes": lambda shape: np.full(shape, CLOUD_HIGH, "u1")}
    report = retrieve(tmp_path, "maritime", auxiliary=auxiliary, **clouds)
    assert (report["model"], report["model_source"]) == expected
    told = any("continental aerosol was assumed" in sentence for sentence in report["defaults"])
    assert told == (expected[1] == "DEFAULT")


def test_table_of_other_code_is_told(tmp_path):
    write_document(tmp_path / "model.json", ChosenAerosol("continental", "lut_continental_0123456789ab.npz"))
    with pytest.raises(
        StepError, match=r"model.json: names lut_continental_0123456789ab.npz, but .* run the stage aerosol"
    ):
        table_of(tmp_path / "model.json")
