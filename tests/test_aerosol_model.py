"""Which aerosol model the scene tells, by its forecast or by the colour of its dark vegetation."""

import json

import numpy as np
import pytest
from synthetic import OZONE, SyntheticScene, table_path

from steps import aerosol
from steps.atmosphere.choice import VEGETATION_MODELS
from steps.atmosphere.inversion import toa_reflectance
from steps.atmosphere.lut import table_of
from steps.atmosphere.models import lut_path
from steps.core.documents import write_document
from steps.core.errors import StepError
from steps.core.rasters import write
from steps.sentinel2.kinds import TOA
from steps.sentinel2.reports import ChosenAerosol
from steps.sentinel2.scene import Auxiliary

DARK = {"B02": 0.0175, "B04": 0.025, "B8A": 0.25, "B12": 0.05}
SEA_SALT = {f"{name}aod550": ((share,),) for name, share in (("ss", 0.2), ("su", 0.05), ("om", 0.05), ("bc", 0.002))}


def retrieve(tmp_path, truth, surface=DARK, auxiliary=None):
    """Simulate uniform ground under an aerosol of model `truth` and let the stage choose among two tables."""
    scene = SyntheticScene(tmp_path, 12, 10, sun_zenith=50.0, auxiliary=auxiliary)
    grid, bands = scene.grid.at(20), {}
    for band, reflectance in surface.items():
        atmosphere = scene.atmosphere(band, 20, 0.3, 1.5, aerosol=truth)
        bands[band] = np.rint(toa_reflectance(reflectance, atmosphere) * 1e4 + 1000).astype("u2")
    write(tmp_path / "stack.tif", TOA, grid, bands)
    aerosol.run(
        stack=tmp_path / "stack.tif",
        classification=tmp_path / "scl.tif",
        terrain=scene.terrain(20),
        metadata=scene.metadata,
        angles=scene.angles,
        lut=[table_path(model) for model in VEGETATION_MODELS],
        aot=tmp_path / "aot.tif",
        aerosol_model=tmp_path / "model.json",
        report=tmp_path / "report.json",
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert table_of(tmp_path / "model.json").aerosol == report["model"]
    assert report["lut"] == lut_path(report["model"]).name
    return report


@pytest.mark.parametrize("truth", VEGETATION_MODELS)
def test_dark_vegetation_tells_the_model_it_was_seen_through(tmp_path, truth):
    report = retrieve(tmp_path, truth)
    assert (report["model"], report["model_source"]) == (truth, "DDV")
    assert report["mean_aot550"] == pytest.approx(0.3, abs=0.02)


def test_forecast_goes_first(tmp_path):
    cams = SEA_SALT | {"aod550": ((0.3, 0.3), (0.3, 0.3))}
    latitude, longitude = ((45.0, 45.0), (43.0, 43.0)), ((0.0, 2.0), (0.0, 2.0))
    auxiliary = Auxiliary(ozone=OZONE, latitude=latitude, longitude=longitude, cams=cams)
    report = retrieve(tmp_path, "continental", auxiliary=auxiliary)
    assert (report["model"], report["model_source"]) == ("maritime", "CAMS")


def test_without_either_it_is_the_first_and_told(tmp_path):
    report = retrieve(tmp_path, "maritime", surface=dict.fromkeys(DARK, 0.3))
    assert (report["model"], report["model_source"]) == ("continental", "DEFAULT")
    assert any("continental aerosol was assumed" in sentence for sentence in report["defaults"])


def test_table_of_other_code_is_told(tmp_path):
    write_document(tmp_path / "model.json", ChosenAerosol("continental", "lut_continental_0123456789ab.npz"))
    with pytest.raises(
        StepError, match=r"model.json: names lut_continental_0123456789ab.npz, but .* run the stage aerosol"
    ):
        table_of(tmp_path / "model.json")
