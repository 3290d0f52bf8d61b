import itertools

import numpy as np
import pytest

from steps import quality_report
from steps.core.artefacts import CLASSIFICATION, TERRAIN, Grid, read_json, write, write_json
from steps.core.errors import StepError
from steps.sentinel2.bands import SCL_CLASSES
from steps.sentinel2.scene import Auxiliary, Scene

GRID = Grid(32618, 435780, 4179420, 20, 40, 1100)  # more than two blocks of rows
PRODUCT = "S2A_MSIL1C_20160112T155500_N0204_R054_T18SVG_20161206T000000"
REPORTS = {
    "aerosol": {
        "method": "DDV",
        "model": "continental",
        "model_source": "CAMS",
        "lut": "l.npz",
        "mean_aot550": 0.09,
        "ddv_percentage": 7.5,
        "defaults": [],
    },
    "water_vapour": {"method": "APDA", "mean_water_vapour": 0.8, "defaults": ["Water vapour: a default."]},
    "reflectance": {
        "resolutions": [
            {
                "resolution": 20,
                "bands": {
                    "B02": {"negative_share": 0.02, "mean_reflectance": 0.05},
                    "B05": {"negative_share": 0.005, "mean_reflectance": 0.1},
                },
                "outside_domain": {"sun_zenith": 0.5},
            },
            {
                "resolution": 10,
                "bands": {"B02": {"negative_share": 0.01, "mean_reflectance": 0.06}},
                "outside_domain": {"sun_zenith": 0.4},
            },
        ],
        "defaults": ["Reflectance: another."],
    },
}


@pytest.fixture
def inputs(tmp_path):
    def make(classes, reports=REPORTS, defaults=("Ozone: 331 DU from the configuration.",), **tags):
        ozone = Auxiliary(ozone=0.331)
        grid = GRID.at(10)
        scene = Scene(PRODUCT, "S2A", "T18SVG", "", "02.04", 1e4, 1.03, grid, 61.7, 160.8, {}, ozone, defaults)
        scene.write(tmp_path / "metadata.json")
        write(tmp_path / "scl.tif", CLASSIFICATION, GRID, {"SCL": classes})
        slope = np.zeros(GRID.shape, "i2")
        slope[:550] = 1000
        bands = {band: np.zeros(GRID.shape, "i2") for band in TERRAIN.scales} | {"slope": slope}
        write(tmp_path / "terrain.tif", TERRAIN, GRID, bands, **({"elevation_mean": "12.5"} | tags))
        paths = [tmp_path / f"{name}.json" for name in reports]
        for path, report in zip(paths, reports.values(), strict=True):
            write_json(path, report)
        return {
            "metadata": tmp_path / "metadata.json",
            "classification": tmp_path / "scl.tif",
            "terrain": tmp_path / "terrain.tif",
            "reports": paths,
            "quality": tmp_path / "quality.json",
        }

    return make


def _classes(seed=0):
    return np.random.default_rng(seed).integers(0, 12, GRID.shape).astype("u1")


def test_class_percentages_follow_the_rules_of_the_product(inputs):
    classes = _classes()
    paths = inputs(classes)
    quality_report.run(**paths)
    quality = read_json(paths["quality"])
    valid = classes[classes > 0]
    for code, name in itertools.islice(SCL_CLASSES.items(), 1, None):
        assert quality["class_percentages"][name] == pytest.approx(100 * np.mean(valid == code))
    assert sum(quality["class_percentages"].values()) == pytest.approx(100)
    assert "NODATA" not in quality["class_percentages"]
    assert quality["nodata_percentage"] == pytest.approx(100 * np.mean(classes == 0))
    land = valid[valid != 6]
    assert quality["cloudy_over_land_percentage"] == pytest.approx(100 * np.isin(land, (8, 9, 10)).mean())


@pytest.mark.parametrize(("code", "nodata", "cloudy"), [(0, 100, 0), (6, 0, 0), (9, 0, 100)])
def test_scenes_of_one_class(inputs, code, nodata, cloudy):
    paths = inputs(np.full(GRID.shape, code, "u1"))
    quality_report.run(**paths)
    quality = read_json(paths["quality"])
    assert (quality["nodata_percentage"], quality["cloudy_over_land_percentage"]) == (nodata, cloudy)


def test_facts_of_the_stages(inputs):
    paths = inputs(_classes(), default="no elevation model: flat terrain at 12 m")
    quality_report.run(**paths)
    quality = read_json(paths["quality"])
    expected = {
        "product": PRODUCT.replace("MSIL1C", "MSIL2A").replace("N0204", "N9901"),
        "aot_method": "DDV",
        "mean_aot550": 0.09,
        "aerosol_model": "continental",
        "aerosol_model_source": "CAMS",
        "lut": "l.npz",
        "ddv_percentage": 7.5,
        "water_vapour_method": "APDA",
        "mean_water_vapour": 0.8,
        "ozone_dobson": 331.0,
        "ozone_source": "CONFIG",
        "dem_source": "None",
        "mean_elevation_km": 0.0125,
        "mean_slope": 5.0,
        "terrain_corrected": False,
        "negative_percentage": {"B02": 1.0, "B05": 0.5},
        "mean_reflectance": {"B02": 0.06, "B05": 0.1},
        "outside_domain_percentage": {"sun_zenith": 50.0},
        "defaults": [
            "Ozone: 331 DU from the configuration.",
            "no elevation model: flat terrain at 12 m",
            "Water vapour: a default.",
            "Reflectance: another.",
        ],
    }
    assert {key: quality[key] for key in expected} == expected


def test_sources_given_with_the_product(inputs):
    reports = REPORTS | {"terrain": {"resolutions": [{"applied": False}, {"applied": True}], "defaults": []}}
    paths = inputs(_classes(), reports, (), dem="n37_w076.tif")
    quality_report.run(**paths)
    quality = read_json(paths["quality"])
    assert quality["ozone_source"] == "AUX_ECMWFT"
    assert quality["dem_source"] == "n37_w076.tif"
    assert quality["terrain_corrected"] is True


def test_missing_report_is_told(inputs):
    paths = inputs(_classes(), {name: REPORTS[name] for name in ("aerosol", "reflectance")})
    with pytest.raises(StepError, match="mean_water_vapour"):
        quality_report.run(**paths)
    assert not paths["quality"].exists()
