"""The choice of products, pixel sizes and layers: what is not wanted is not computed, and what is, is the same."""

import json
import re
import shlex

import numpy as np
import pytest
import rasterio
from checkout import Checkout, write_hills

from steps.command.launch import SCHEMA
from steps.core.choice import choice_of
from steps.core.errors import StepError
from steps.core.rasters import read
from steps.core.settings import checked
from steps.sentinel2.kinds import AEROSOL_GROUND, CLASSIFICATION

FIRST = {"demo", "import_l1c", "dem", "scene_classification_overview"}
LAST = {"quality_report", "quicklook", "write_cog", "publish_cog", "report", "catalog"}
AIR = {"aerosol", "water_vapour"}
SURFACE = AIR | {"resample", "reflectance"}


def chosen(**settings):
    """Return what these settings, and the defaults of others, want."""
    return choice_of(checked(settings, SCHEMA))


def test_what_the_defaults_want():
    choice = chosen()
    assert choice.sizes == (10, 20, 60)
    assert choice.quicklooks == ("tci_toa", "tci_boa", "scl", "aot", "wvp")
    assert (choice.boa, choice.overview, choice.shown) == ("reflectance/boa_{}m.tif", "import/toa_80m.tif", 20)
    assert (choice.top_of_atmosphere(10), choice.top_of_atmosphere(20)) == (
        "import/toa_10m.tif",
        "resample/toa_20m.tif",
    )
    assert choice.alone == {"aerosol"}
    wanted = choice.qa, choice.by_angles, choice.by_terrain, choice.uncertainty, choice.corrects_terrain
    assert not any(wanted)


def test_what_a_choice_wants():
    some = {"formats": ["cog"], "resolutions": [60, 10], "products": ["reflectance"], "dem": __file__}
    choice = chosen(**some, layers=["qa", "flat_reflectance"], cirrus_correction=True, roi=[1, 2, 3, 4])
    assert (choice.sizes, choice.shown, choice.quicklooks) == ((10, 60), 60, ("tci_toa", "tci_boa"))
    assert (choice.boa, choice.overview) == ("terrain/boa_{}m.tif", "cirrus/toa_80m.tif")
    assert choice.top_of_atmosphere(10) == "cirrus/toa_10m.tif"
    assert choice.classes
    assert choice.dark_vegetation
    assert choice.alone == {"aerosol", "reflectance", "scene_classification_overview"}
    classes = chosen(formats=["cog"], products=["classification"], classification={"mode": "classic"})
    assert (classes.sizes, classes.shown, classes.quicklooks) == ((), 20, ("scl",))
    assert classes.alone == {"scene_classification"}
    assert not any((classes.takes_out_haze, classes.matches_shadows, classes.corrects_terrain))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"terrain": {"correction": "always"}}, "terrain.correction: always needs an elevation model"),
        ({"formats": ["zarr"], "resolutions": [10]}, "formats: zarr holds all products at all pixel sizes"),
        ({"formats": ["safe", "cog"], "products": ["reflectance"]}, "formats: safe holds all products"),
        ({"resolutions": [20]}, "formats: safe holds all products"),
        ({"formats": ["safe"], "layers": ["qa"]}, "layers: are COGs; add `cog`"),
        ({"formats": ["cog"], "products": ["atmosphere"], "layers": ["nbar"]}, "layers: nbar needs `reflectance`"),
        (
            {"formats": ["cog"], "layers": ["flat_reflectance"]},
            "flat_reflectance needs `reflectance` that is corrected",
        ),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(StepError) as refused:
        chosen(**settings)
    assert message in refused.value.line


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A checkout in which nothing has been processed."""
    checkout = Checkout(tmp_path_factory.mktemp("plain") / "project")
    write_hills(checkout.folder / "hills.tif")
    return checkout


def stages(checkout, arguments):
    """Return what the command of each stage names, by its rule: the options, and all words."""
    plan = checkout.dry_run(f"{arguments} --printshellcmds").stdout
    found = [shlex.split(line) for line in re.findall(r"^Shell command: (python -m .*)$", plan, re.M)]
    by_stage = {}
    for words in found:
        overview = words[2] == "steps.scene_classification" and "--shadow-limits" in words
        by_stage[words[2].removeprefix("steps.") + "_overview" * overview] = words
    by_stage.pop("look_up_table", None)
    return by_stage


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "rules"),
    [
        ("products=classification", FIRST | LAST | {"resample", "aerosol", "scene_classification"}),
        ("products=atmosphere", FIRST | LAST | AIR),
        ("products=atmosphere,classification", FIRST | LAST | AIR | {"resample", "scene_classification"}),
        ("products=reflectance", FIRST | LAST | SURFACE),
        ("products=reflectance cirrus_correction=true", FIRST | LAST | SURFACE | {"cirrus_correction"}),
        (
            "products=reflectance resolutions=10 dem=hills.tif",
            FIRST | LAST | SURFACE | {"scene_classification", "terrain_correction"},
        ),
        ("resolutions=20 boa_uncertainty=true", FIRST | LAST | SURFACE | {"scene_classification", "uncertainty"}),
        (
            "products=classification layers=elevation,angles classification='{mode: classic}'",
            FIRST | LAST | {"resample", "scene_classification"},
        ),
        ("products=atmosphere layers=dark_vegetation", FIRST | LAST | AIR),
        ("products=atmosphere layers=qa", FIRST | LAST | AIR | {"resample", "scene_classification"}),
        ("products=reflectance roi='[-75.9, 36.9, -75.8, 37]'", FIRST | LAST | SURFACE | {"crop"}),
    ],
)
def test_jobs_follow_from_what_is_wanted(plain, choice, rules):
    found = stages(plain, f"formats=cog {choice}")
    assert set(found) == rules
    sizes = {"10", "20", "60"} if "resolutions" not in choice else {re.search(r"resolutions=(\d+)", choice)[1]}
    sizes = sizes if "reflectance" in found else set()
    for size in ("10", "60"):
        assert (f"--terrain-{size}m" in found["dem"]) == (size in sizes)
    if "resample" in found:
        assert ("--stack-60m" in found["resample"]) == ("60" in sizes)
    if "scene_classification" in found:
        assert "--classification-60m" not in found["scene_classification"]
    assert ("--aerosol-ground" in found.get("aerosol", ())) == ("qa" in choice or "dark_vegetation" in choice)
    if sizes:
        words = found["reflectance"]
        boa = words[words.index("--boa") + 1 : words.index("--report")]
        assert [re.search(r"boa_(\d+)m", path)[1] for path in boa] == sorted(sizes)


@pytest.mark.slow
def test_what_does_not_go_together_is_refused_in_one_line(plain):
    done = plain.dry_run("products=classification", check=False)
    assert done.returncode == 2
    words = "ERROR: formats: safe holds all products at all pixel sizes; take `formats=cog`"
    assert [line for line in done.stderr.splitlines() if line.startswith(words)]


def cog(checkout, key):
    with rasterio.open(checkout.product / f"cog/{key}.tif") as file:
        return file.res[0], file.read(1)


@pytest.mark.slow
def test_what_is_wanted_is_the_same(processed, plain):
    """Classes and maps to the bit; reflectance to a number, as its surroundings are then seen at 20 m."""
    plain.snakemake("formats=cog resolutions=20 layers=qa,nbar")
    files = {path.stem for path in (plain.product / "cog").glob("*.tif")}
    assert {"blue", "nir08", "blue_nbar", "qa", "scl", "aot"} <= files
    assert not {"nir", "nir09", "nir_nbar"} & files
    for key in ("scl", "cloud", "snow", "aot", "wvp"):
        np.testing.assert_array_equal(cog(plain, key)[1], cog(processed, key)[1])
    for key in ("nir08", "rededge1", "swir16", "swir22"):
        np.testing.assert_array_equal(cog(plain, key)[1], cog(processed, key)[1])
    resolution, blue = cog(plain, "blue")
    assert resolution == 20
    with rasterio.open(processed.product / "work/reflectance/boa_20m.tif") as file:
        expected = file.read(file.descriptions.index("B02") + 1)
    assert np.abs(blue.astype(int) - expected).max() <= 1
    scl, qa = cog(plain, "scl")[1], cog(plain, "qa")[1]
    np.testing.assert_array_equal(qa & 16 > 0, scl == 6)
    # what the retrieval of aerosol says of the ground agrees with its report
    work = plain.product / "work"
    report = json.loads((work / "aerosol/aerosol.json").read_text())
    ground = read(work / "aerosol/ground_80m.tif", AEROSOL_GROUND, AEROSOL_GROUND.name)
    classes = read(work / "classification/scl_80m.tif", CLASSIFICATION, "SCL")
    land = np.count_nonzero((classes != 0) & (classes != 6))
    assert np.count_nonzero(ground & 1) / land == pytest.approx(report["ddv_percentage"] / 100)
    assert report["method"] == "DDV"
    cells = [ground[i : i + 16, j : j + 16] & 2 for i, j in np.ndindex(ground.shape) if not (i % 16 or j % 16)]
    assert all(len(np.unique(cell)) == 1 for cell in cells)
    assert sum(not cell.any() for cell in cells) == report["ddv_cells"] > 0
