"""The commands that measure: what they write is complete, and every variant of the kernels gives the same result."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic import SyntheticScene

from steps import __version__
from steps.atmosphere.dark_vegetation import dark_vegetation
from steps.atmosphere.ground_samples import sample_means
from steps.atmosphere.inversion_kernel import COEFFICIENTS, Block, Environment, Nodes, density_factor, invert
from steps.benchmark import ahead, cores, routes, stages, study, variants
from steps.benchmark.measure import Cost, measure
from steps.core.cells import cell_moments
from steps.core.code import ROOT
from steps.core.errors import StepError
from steps.core.rasters import write
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.kinds import TOA

SHAPE = (150, 131)

pytestmark = pytest.mark.slow


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("with_relief", [False, True])
@pytest.mark.parametrize("with_vapour", [False, True])
@pytest.mark.parametrize("with_environment", [False, True])
def test_inversions_agree(random, with_relief, with_vapour, with_environment):
    toa = random.integers(1200, 7000, SHAPE).astype("u2")
    toa[3:9, 30:60] = 0
    air = density_factor(random.integers(0, 2500, SHAPE).astype("i2")) if with_relief else None
    excess = random.integers(-9000, 9000, SHAPE).astype("i2") if with_vapour else None
    around = Environment(random.uniform(0.02, 0.4, (60, 44)).astype("f4"), 3) if with_environment else None
    typical = [1000, 0.01, 1e-7, 1e-12, 1e-17, 0.8, -1e-6, -1e-11, -1e-16, -1e-21]
    typical += [1.1, 1e-6, 2e-11, 1e-16, 1e-21, 1e-5, 1e-10, 1e-15]
    typical += [3e-5, 1e-10, 1e-15, -3e-3, -1e-7, -1e-12, 5e-10, 1e-7]
    nodes = (np.array(typical) * random.uniform(0.9, 1.1, (20, 20, COEFFICIENTS))).astype("f4")

    def inverted(kernel):
        boa, counts = np.empty_like(toa), np.empty((SHAPE[0], 3), "i8")
        kernel(Block(toa, air, excess), around, Nodes(nodes, 20), 30, boa, counts)
        return boa, counts

    (boa, counts), (of_numpy, counts_of_numpy) = inverted(invert), inverted(variants.numpy_invert)
    if with_relief == with_vapour == with_environment:  # the kernel in threads takes long to compile
        of_prange, counts_of_prange = inverted(variants.prange_invert)
        assert (boa == of_prange).all()
        assert (counts == counts_of_prange).all()
    assert np.abs(boa.astype(int) - of_numpy).max() <= 1
    assert (counts[:, 0] == counts_of_numpy[:, 0]).all()


def test_statistics_of_cells_agree(random):
    values = random.integers(1, 9000, SHAPE).astype("u2")
    kinds = random.integers(0, 3, SHAPE).astype("u1")
    expected = sample_means(values, kinds, 3, 16)
    for twin in (variants.numpy_sample_means, variants.prange_sample_means):
        for a, b in zip(twin(values, kinds, 3, 16), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    heights = random.integers(-50, 3000, SHAPE).astype("i2")
    heights[:40, :40] = -32768
    expected = cell_moments(heights, 16, -32768)
    np.testing.assert_array_equal(variants.prange_cell_moments(heights, 16, -32768), expected)
    np.testing.assert_allclose(variants.numpy_cell_moments(heights, 16, -32768), expected, rtol=1e-12)


def test_dark_vegetation_agrees(random):
    red, nir, swir = (random.integers(1000, high, SHAPE).astype("u2") for high in (2500, 5000, 2600))
    classes, near = random.integers(3, 6, SHAPE).astype("u1"), random.uniform(size=(50, 44)) < 0.2
    cosine = random.integers(1000, 9000, SHAPE).astype("i2")
    results = [np.empty(SHAPE, "u1") for _ in range(3)]
    for kernel, result in zip(
        (dark_vegetation, variants.numpy_dark_vegetation, variants.prange_dark_vegetation), results, strict=True
    ):
        kernel(red, nir, swir, classes, near, 3, cosine, result)
    assert len(np.unique(results[0])) == 4
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


@pytest.fixture
def in_this_process(monkeypatch):
    """Run what the study measures without new processes, which need a second each."""

    def measured(command):
        if command[1] == "-m":
            monkeypatch.setattr(sys, "argv", command[2:])
            variants.main()
        return Cost(1, 1, 100)

    monkeypatch.setenv("GDAL_NUM_THREADS", "1")
    monkeypatch.setattr(study, "measure", measured)


def test_study_of_a_small_image(tmp_path, monkeypatch, random, in_this_process):
    scene = SyntheticScene(tmp_path, 30, 30)
    for name, resolution, bands in (("toa_10m", 10, ("B02", "B03", "B04", "B08")), ("stack", 20, STACK_BANDS)):
        grid = scene.grid.at(resolution)
        write(tmp_path / f"{name}.tif", TOA, grid, {b: random.integers(1500, 4000, grid.shape, "u2") for b in bands})
    inputs = scene.inputs | scene.write_air(0.15, 1.8)
    inputs["scene_means"] = scene.write_means(tmp_path / "toa_10m.tif")
    inputs |= {f"terrain_{n}m": scene.terrain(n) for n in (10, 20)}
    inputs |= {name: tmp_path / f"{name}.tif" for name in ("toa_10m", "stack")}
    here = ("numba", "numpy", "prange", "joblib", "threads")
    monkeypatch.setattr(study, "VARIANTS", here)
    monkeypatch.setattr(ahead, "ahead_of_time", lambda: [ahead.Compiled("x86-64-v3", 1.99, 4.68, 11.0)])
    study.run(**inputs, folder=tmp_path / "study", sizes=[240, 120], workers=[2])
    table = pd.read_csv(tmp_path / "study/study.csv")
    assert len(table) == 2 * 2 * len(here)
    assert (table[table.variant != "numpy"].different_share == 0).all()
    assert table.largest_difference.max() <= 1
    for name in ("speedup.png", "cost.png", "memory.png"):
        assert (tmp_path / "study" / name).stat().st_size > 10000
    assert "writes the same bytes" in (tmp_path / "study/study.md").read_text()
    assert "| x86-64-v3 | 1.99 | 4.68 | 11.0 |" in (tmp_path / "study/study.md").read_text()
    assert not (tmp_path / "study/work").exists()


def test_cost_of_a_command_with_its_processes():
    child = "import numpy, time; a = numpy.ones(2 * 10**7); time.sleep(1.5)"
    cost = measure([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{child}'])"])
    assert cost.wall > 0.3
    assert cost.cpu > 0.05
    assert cost.peak > 160
    with pytest.raises(StepError, match="no such thing"):
        measure([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_costs_of_stages_by_release(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_decode", lambda l1c: 2.0)
    monkeypatch.setattr(stages, "_copy", lambda: 0.01)
    for version, seconds in (("1.0", 4.0), ("1.1", 8.0), ("1.1", 6.0)):
        for stage in ("import_l1c", "aerosol"):
            used = seconds if stage == "import_l1c" else 3.0
            (tmp_path / f"{stage}.log").write_text(f"INFO: warm\nINFO: done in 9.00 s, {used:.2f} CPU s\n")
        monkeypatch.setattr(stages, "__version__", version)
        stages.run(tmp_path, tmp_path / "l1c", tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| stage | 1.0 | 1.1 |" in lines
    assert "| import_l1c (decode) | 2.00 | **3.00** |" in lines
    assert "| aerosol (copy) | 300 | 300 |" in lines


def test_each_route_is_measured(tmp_path, monkeypatch):
    """Without and with an elevation model, with a cache of their own."""
    runs = []

    def measured(snakefile, l1c, work, settings, threads):
        assert f"cache={tmp_path / 'cache'}" in settings
        runs.append((l1c, settings[1:]))
        return Cost(1.0, 2.0, 3.0), 4.0

    monkeypatch.setattr(routes, "_measured", measured)
    monkeypatch.setattr(routes.compile_kernels, "run", lambda folder, threads: folder.mkdir())
    routes.run(tmp_path / "Snakefile", "product.SAFE", tmp_path, "dem.tif", 2)
    assert [l1c for l1c, _ in runs] == ["product.SAFE"] * (2 * len(routes.ROUTES) + 1)
    assert runs[0][1] == ("formats=cog",)
    assert runs[4][1] == runs[5][1] == ("formats=cog", "dem=dem.tif")
    assert not (tmp_path / "cache").exists()
    lines = (tmp_path / "routes.csv").read_text().splitlines()
    assert lines[:2] == ["route,elevation model,wall s,CPU s,peak MB,product MB", "COG,no,1,2,3,4"]
    assert lines[5:7] == ['COG,"yes, first product of the tile",1,2,3,4', "COG,yes,1,2,3,4"]
    stamp = json.loads((tmp_path / "stamp.json").read_text())
    assert stamp["command"] == "snakemake --cores 2 benchmark_routes --config input=product.SAFE dem=dem.tif"
    assert stamp["version"] == __version__
    assert stamp["date"].startswith("20")


def test_a_stage_scales_by_the_cpu_time_of_two_threads():
    """Of 6 s one thread works alone for 2; a piece that one has to do bounds it; who only waits shares nothing."""
    stage = cores.Scaling(one=10, two=6, cpu=10)
    assert [stage.seconds(n) for n in (1, 2, 4, 8)] == [10, 6, 4, 3]
    assert cores.Scaling(one=10, two=6, cpu=10, longest=2.5).seconds(8) == 4.5
    assert cores.Scaling(one=10, two=11, cpu=10).seconds(8) == 11
    assert cores.Scaling(one=10, two=5.5, cpu=11).seconds(11) == 1


def test_a_simulated_run_is_the_workflows(tmp_path):
    """Its stages follow each other as the rules say, with their threads and times, and end with the catalog."""
    scaling = cores.Scaling(one=0.3, two=0.2, cpu=0.3)
    names = ["demo", "import_l1c", "resample", "dem", "scene_classification_overview", "aerosol", "water_vapour"]
    names += ["scene_classification", "reflectance", "write_cog", "publish_cog", "quality_report", "quicklook"]
    of_stages = dict.fromkeys([*names, "report", "catalog"], scaling)
    wall, jobs = cores.simulate(ROOT / "Snakefile", "demo", tmp_path / "run", of_stages, 8)
    of = {job.stage: job for job in jobs}
    assert of.keys() == of_stages.keys()
    for before, after in (("import_l1c", "dem"), ("aerosol", "water_vapour"), ("scene_classification", "write_cog")):
        assert of[before].end <= of[after].begin
    assert of["import_l1c"].threads == 8
    assert of["reflectance"].threads == 4
    for job in jobs:
        assert scaling.seconds(job.threads) <= job.end - job.begin < wall
    chain = [job.stage for job in cores.waited_for(jobs)]
    assert chain[:2] == ["demo", "import_l1c"]
    assert chain[-3:] == ["publish_cog", "report", "catalog"]
    assert not list((tmp_path / "run/out").glob("*/cog/*.tif"))


def test_cores_are_measured_once_and_simulated(tmp_path, monkeypatch):
    """Two runs tell how stages scale; speed-up is against the first number of cores."""
    runs = []

    def real(snakefile, l1c, work, name, count, options=()):
        runs.append((name, l1c, count, list(options)))
        seconds = {"cores_1": 10.0, "alone_2": 6.0}.get(name, 7.0)
        cost = {"wall": seconds, "cpu": 10.0, "longest": 0.0, "memory": 100.0}
        return cores._Run(2 * seconds, {"dem": cost | {"end": 10.0}, "aerosol": cost | {"end": 20.0}})

    def simulated(snakefile, l1c, place, scaling, count):
        seconds = scaling["dem"].seconds(count)
        return 2 * seconds, [cores.Job("dem", 0, seconds, count), cores.Job("aerosol", seconds, 2 * seconds, count)]

    monkeypatch.setattr(cores, "_real", real)
    monkeypatch.setattr(cores, "simulate", simulated)
    cores.run(tmp_path / "Snakefile", "product.SAFE", tmp_path, [1, 2, 8], [1, 2, 4], 2)
    assert ("alone_2", "product.SAFE", 2, ["--set-threads", "dem=2", "aerosol=2"]) in runs
    table = pd.read_csv(tmp_path / "cores.csv")
    assert list(table["simulated s"]) == [20, 12, 6]
    np.testing.assert_allclose(table["speed-up"], [1, 1.67, 3.33])
    assert list(table["measured s"][:2]) == [20, 14]
    assert table["stages side by side MB"].tolist() == [100] * 3
    assert table["in the order of a real run"][:2].tolist() == [1, 1]
    assert pd.read_csv(tmp_path / "stages.csv")["waited for"].tolist() == ["yes", "yes"]
    assert "benchmark_cores --config input=product.SAFE" in (tmp_path / "stamp.json").read_text()
    with pytest.raises(StepError, match="needs two cores"):
        cores.run(tmp_path / "Snakefile", "product.SAFE", tmp_path, threads=1)
