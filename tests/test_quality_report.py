import itertools

import numpy as np
import pytest

from steps import quality_report
from steps.core.documents import read_document, read_json, write_document
from steps.core.errors import StepError
from steps.core.rasters import Grid, write
from steps.sentinel2.kinds import CLASSIFICATION, TERRAIN
from steps.sentinel2.reports import (
    AerosolReport,
    BandFigures,
    CirrusReport,
    CorrectedRaster,
    InvertedRaster,
    QualityReport,
    ReflectanceReport,
    TerrainReport,
    WaterVapourReport,
)
from steps.sentinel2.scene import Auxiliary, Scene
from steps.sentinel2.scene_classes import SCL_CLASSES

GRID = Grid(32618, 435780, 4179420, 20, 40, 1100)  # more than two blocks of rows
PRODUCT = "S2A_MSIL1C_20160112T155500_N0204_R054_T18SVG_20161206T000000"
REPORTS = {
    "aerosol": AerosolReport(
        method="DDV",
        source=None,
        mean_aot550=0.09,
        spread_aot550=0.01,
        model="continental",
        model_source="CAMS",
        lut=("l.npz",),
        ddv_percentage=7.5,
        ddv_swir_limit=0.1,
        ddv_cells=12,
        smoothing_km=1.0,
    ),
    "water_vapour": WaterVapourReport("B09", 0.8, 50.0, ("Water vapour: a default.",)),
    "cirrus": CirrusReport(12.5, 0.02, {"B02": 1.5, "B11": 0.8}, 0.1),
    "reflectance": ReflectanceReport(
        adjacency=True,
        adjacency_km=6.0,
        resolutions=(
            InvertedRaster(
                20, {"B02": BandFigures(25, 0.02, 0.05), "B05": BandFigures(25, 0.005, 0.1)}, {"sun_zenith": 0.5}
            ),
            InvertedRaster(10, {"B02": BandFigures(100, 0.01, 0.06)}, {"sun_zenith": 0.4}),
        ),
        defaults=("Reflectance: another.",),
    ),
}


@pytest.fixture
def inputs(tmp_path):
    def make(classes, reports=REPORTS, ozone_source="CONFIG", defaults=("A default.",), **tags):
        ozone = Auxiliary(ozone=0.331, ozone_source=ozone_source)
        grid = GRID.at(10)
        scene = Scene(PRODUCT, "S2A", "T18SVG", "", "02.04", 1e4, 1.03, grid, 61.7, 160.8, {}, ozone, defaults)
        scene.write(tmp_path / "metadata.json")
        write(tmp_path / "scl.tif", CLASSIFICATION, GRID, {"SCL": classes})
        slope = np.zeros(GRID.shape, "i2")
        slope[:550] = 1000
        bands = {band: np.zeros(GRID.shape, "i2") for band in TERRAIN.scales} | {"slope": slope}
        write(tmp_path / "terrain.tif", TERRAIN, GRID, bands, **({"elevation_mean": "12.5"} | tags))
        paths = {name: tmp_path / f"{name}.json" for name in reports}
        for name, report in reports.items():
            write_document(paths[name], report)
        return {
            "metadata": tmp_path / "metadata.json",
            "classification": tmp_path / "scl.tif",
            "terrain": tmp_path / "terrain.tif",
            **paths,
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
        "lut": ["l.npz"],
        "ddv_percentage": 7.5,
        "water_vapour_method": "B09",
        "mean_water_vapour": 0.8,
        "ozone_dobson": 331.0,
        "ozone_source": "CONFIG",
        "dem_source": "None",
        "mean_elevation_km": 0.0125,
        "mean_slope": 5.0,
        "terrain_corrected": False,
        "cirrus_correction": {
            "percentage": 12.5,
            "mean_reflectance": 0.02,
            "ratios": {"B02": 1.5, "B11": 0.8},
            "ratio_uncertainty": 0.1,
        },
        "negative_percentage": {"B02": 1.0, "B05": 0.5},
        "mean_reflectance": {"B02": 0.06, "B05": 0.1},
        "outside_domain_percentage": {"sun_zenith": 50.0},
        "defaults": [
            "A default.",
            "no elevation model: flat terrain at 12 m",
            "Water vapour: a default.",
            "Reflectance: another.",
        ],
    }
    assert {key: quality[key] for key in expected} == expected


def test_sources_given_with_the_product(inputs):
    rasters = CorrectedRaster(10, applied=False), CorrectedRaster(20, applied=True)
    reports = REPORTS | {"terrain_correction": TerrainReport(0.2, rasters)}
    paths = inputs(_classes(), reports, "AUX_ECMWFT", (), dem="n37_w076.tif")
    quality_report.run(**paths)
    quality = read_json(paths["quality"])
    assert quality["ozone_source"] == "AUX_ECMWFT"
    assert quality["dem_source"] == "n37_w076.tif"
    assert quality["terrain_corrected"] is True


def test_what_was_not_made_is_left_out(inputs):
    """The complete report is one that the SAFE's metadata are made from; that of classes alone has no other results."""
    paths = inputs(_classes())
    quality_report.run(**paths)
    whole = read_document(paths["quality"], QualityReport)
    wanted = ("metadata", "classification", "terrain", "quality")
    quality_report.run(**{name: paths[name] for name in wanted})
    part = read_json(paths["quality"])
    assert part["class_percentages"] == whole.class_percentages
    assert part["defaults"] == ["A default."]
    assert not {"mean_aot550", "water_vapour_method", "mean_reflectance", "terrain_corrected"} & set(part)


def test_report_of_another_kind_is_told(inputs):
    paths = inputs(_classes(), REPORTS | {"water_vapour": REPORTS["aerosol"]})
    with pytest.raises(StepError, match=r"water_vapour.json: .* no WaterVapourReport"):
        quality_report.run(**paths)
    assert not paths["quality"].exists()
