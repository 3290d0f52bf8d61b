"""Workers: with every backend, the same bytes."""

import subprocess
import sys

import numpy as np
import pytest
from synthetic import SyntheticScene, table_path

from steps import aerosol, reflectance, water_vapour
from steps import terrain_correction as terrain
from steps.core.errors import StepError
from steps.core.parallel import workers
from steps.core.rasters import write
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import TERRAIN, TOA

BACKENDS = ["threads", "processes", "dask", "dask-adaptive"]


def scaled(item, values, factor):
    return item, values[item] * factor


@pytest.mark.parametrize("backend", ["threads", *(pytest.param(b, marks=pytest.mark.slow) for b in BACKENDS[1:])])
def test_results_come_in_order_and_a_failure_is_raised(backend):
    pytest.importorskip("distributed")
    values = np.random.default_rng(0).uniform(size=(40, 200, 200))
    with workers(backend, 2) as run_all:
        results = list(run_all(scaled, range(40), values, 2.0))
        assert [item for item, _ in results] == list(range(40))
        assert all((result == 2 * values[item]).all() for item, result in results)
        with pytest.raises(IndexError):
            list(run_all(scaled, [0, 50], np.ones(40), 1.0))


def test_threads_run_few_items_ahead():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    with workers("threads", 2) as run_all:
        next(run_all(scaled, items(), np.ones(100), 1.0))
    assert len(taken) < 10


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Hills, high enough for more than one block of rows at 20 m, under any reflectance."""
    hills = {"elevation": lambda x, y: 400 * (1 + np.sin(x / 1500) * np.cos(y / 1700))}
    scene = SyntheticScene(tmp_path_factory.mktemp("scene"), 60, 360, **hills)
    random, grid = np.random.default_rng(0), scene.grid.at(20)
    bands = {band: random.integers(1500, 4000, grid.shape, dtype="u2") for band in STACK_BANDS}
    write(scene.folder / "toa.tif", TOA, grid, bands)
    ground = {name: random.integers(1, 9000, grid.shape, dtype="i2") for name in ("slope", "cos_incidence", "sky_view")}
    ground["elevation"] = np.rint(scene.elevation(*scene.coordinates(20))).astype("i2")
    ground["cast_shadow"] = random.integers(0, 2, grid.shape, dtype="i2")
    write(scene.folder / "relief.tif", TERRAIN, grid, ground, relief="yes")
    return scene


def outputs(scene, folder, threads, backend):
    """Run the steps that take workers; return the bytes they write."""
    folder.mkdir()
    options = {"threads": threads, "backend": backend}
    inputs = scene.inputs | {"terrain": scene.terrain(20)}
    toa, aot, wvp = scene.folder / "toa.tif", folder / "aot.tif", folder / "wvp.tif"
    aerosol.run(
        stack=toa,
        aot=aot,
        aot_uncertainty=folder / "aot_uncertainty.tif",
        report=folder / "aot.json",
        **inputs | {"lut": [table_path()], "aerosol_model": folder / "model.json"},
        **options,
    )
    boa, means = folder / "boa.tif", {"scene_means": folder / "means.json"}
    water_vapour.run(stack=toa, aot=aot, wvp=wvp, report=folder / "wvp.json", **means, **inputs, **options)
    inputs |= means
    reports = {"report": folder / "boa.json"}
    reflectance.run(
        toa=[toa], aot=aot, wvp=wvp, boa=[boa], **reports, **inputs | {"terrain": [inputs["terrain"]]}, **options
    )
    terrain.run(
        boa=[boa],
        terrain=[scene.folder / "relief.tif"],
        aot=aot,
        corrected=[folder / "corrected.tif"],
        report=folder / "terrain.json",
        **{key: inputs[key] for key in ("classification", "metadata", "angles", "aerosol_model", "scene_means")},
        **options,
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def alone(scene):
    return outputs(scene, scene.folder / "alone", 1, "threads")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_write_the_same_bytes(scene, alone, backend):
    pytest.importorskip("distributed")
    assert len(alone) == 11
    assert outputs(scene, scene.folder / backend, 2, backend) == alone


@pytest.mark.slow
def test_processes_of_a_step_run_from_its_command_line(scene, alone):
    folder = scene.folder / "alone"
    files = scene.inputs | {"toa": scene.folder / "toa.tif", "terrain": scene.terrain(20)}
    files |= {"aot": folder / "aot.tif", "wvp": folder / "wvp.tif", "scene-means": folder / "means.json"}
    files |= {"boa": scene.folder / "by_hand.tif", "report": scene.folder / "by_hand.json"}
    command = [sys.executable, "-m", "steps.reflectance", "--threads", "2"]
    options = (str(v) for key, path in files.items() for v in (f"--{key.replace('_', '-')}", path))
    command += ["--backend", "processes", *options]
    subprocess.run(command, check=True)
    assert (scene.folder / "by_hand.tif").read_bytes() == alone["boa.tif"]


def test_dask_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(StepError, match=r"sen2flow\[dask\]"), workers("dask", 2):
        pass


@pytest.mark.slow
def test_scheduler_that_cannot_be_reached_is_one_line():
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with soon, pytest.raises(StepError, match="tcp://127.0.0.1:9"), workers("dask", 2, "tcp://127.0.0.1:9"):
        pass
