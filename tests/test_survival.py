"""What outlives a run: damaged files and caches are noticed, leftovers go, and runs keep out of each other's way."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from steps.atmosphere import lut, models
from steps.atmosphere.lut import load_table, write_table
from steps.atmosphere.models import lut_path
from steps.atmosphere.tables import DATA
from steps.core import checksums, documents, rasters
from steps.core.cache import cache_folder
from steps.core.errors import StepError
from steps.core.provenance import Provenance, fingerprint
from steps.core.rasters import Grid
from steps.sentinel2.kinds import TOA

ROOT = Path(__file__).resolve().parents[1]
GRID = Grid(32618, 435780, 4179420, 20, 700, 530)
LONG_AGO, NEVER = "1 0", f"1 {2**62}"


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "toa.tif"
    rasters.write(path, TOA, GRID, {"B02": np.arange(GRID.width * GRID.height, dtype="u2").reshape(GRID.shape)})
    return path


def flip(path, place, bit=0):
    """Turn a bit of a file, at a share of its length."""
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
    path.unlink()
    path.write_bytes(data)


def shorten(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.fixture
def forgetful(monkeypatch):
    """No memory of files that were checked before."""
    checksums._check_once.cache_clear()
    return monkeypatch


@pytest.mark.parametrize("place", [0, 0.3, 0.7, 1])
def test_one_bit_of_a_raster_is_noticed(raster, forgetful, place):
    flip(raster, place)
    with pytest.raises(StepError, match=r"toa\.tif.*delete it"):
        rasters.read(raster, TOA, "B02")
    assert raster.exists()  # outside of a run nothing of the user's is deleted


@pytest.mark.parametrize("damage", [lambda p: flip(p, 0.5), lambda p: shorten(p, 0.5), lambda p: shorten(p, 0)])
def test_within_a_run_what_is_damaged_goes_so_that_the_same_command_makes_it_again(raster, forgetful, damage):
    forgetful.setenv(checksums.RUN, NEVER)
    damage(raster)
    with pytest.raises(StepError, match="the same command again"):
        rasters.read(raster, TOA, "B02")
    assert not raster.exists()
    with pytest.raises(StepError, match="run the stage"):
        rasters.read(raster, TOA, "B02")


def test_what_the_run_itself_wrote_is_not_read_twice(raster, forgetful):
    forgetful.setenv(checksums.RUN, LONG_AGO)
    forgetful.setattr(checksums, "_check_once", lambda path: pytest.fail("read twice"))
    assert rasters.read(raster, TOA, "B02").any()


def test_documents_carry_their_checksum(tmp_path, forgetful):
    path, document = tmp_path / "facts.json", {"b": [1.5, float("inf")], "a": {"2": None, "10": "ü"}}
    documents.write_json(path, document)
    assert documents.read_json(path) == document
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(StepError, match="checksum"):
        documents.read_json(path)
    forgetful.setenv(checksums.RUN, NEVER)
    with pytest.raises(StepError, match="the same command again"):
        documents.read_json(path)
    assert not path.exists()


def test_a_folder_of_images_is_checked_as_a_whole(tmp_path, forgetful):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.jp2", "b.jp2"):
        (folder / name).write_bytes(name.encode() * 1000)
    checksums.seal_folder(folder, folder)
    (folder / ".snakemake_timestamp").touch()
    checksums.check_folder(folder)
    flip(folder / "b.jp2", 0.5)
    with pytest.raises(StepError, match=r"images.*checksum"):
        checksums.check_folder(folder)
    forgetful.setenv(checksums.RUN, NEVER)
    with pytest.raises(StepError, match="the same command again"):
        checksums.check_folder(folder)
    assert not folder.exists()


def test_leftovers_of_processes_that_are_gone_go(tmp_path):
    """Also of one whose number another has got, of one that nobody has waited for, and of another machine in time."""
    with subprocess.Popen(["sleep", "60"]) as writer:
        name = documents._process(writer.pid)
        number, start, machine = re.split("[-@]", name, maxsplit=2)
        left = [f"{number}-{int(start) - 1}@{machine}", f"{number}-{start}@old", f"{number}-{start}@of_today", name]
        parts = [tmp_path / f".facts [1].{process}.part.json" for process in left]
        for part in parts:
            part.mkdir()
            (part / "file").touch()
        os.utime(parts[1], (0, 0))
        others = tmp_path / f".facts [1].{left[0]}.part.txt"
        others.touch()
        target = tmp_path / "facts [1].json"
        documents.write_json(target, {})
        assert {p.name for p in tmp_path.iterdir()} == {target.name, others.name, parts[2].name, parts[3].name}
        writer.kill()
        assert ends(writer.pid)  # but is still there to be waited for
        documents.write_json(target, {})
        assert {p.name for p in tmp_path.iterdir()} == {target.name, others.name, parts[2].name}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder with a sound table, none of which is shipped, and what building another gives at once."""
    arrays = dict(np.load(lut_path("continental")))
    facts = tmp_path / "facts"
    facts.mkdir()
    for path in DATA.glob("*.json"):
        (facts / path.name).symlink_to(path)
    monkeypatch.setattr(models, "_DATA", facts)
    monkeypatch.setenv("SEN2FLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lut, "build_table", lambda aerosol, threads: arrays | {"aerosol": np.array(aerosol)})
    write_table(lut_path("continental"), arrays)
    return arrays


def other_content(path, arrays):
    np.savez_compressed(path, **arrays | {"multiple": arrays["multiple"] * 1.5})


def other_model(path, arrays):
    write_table(path, arrays | {"aerosol": np.array("maritime")})


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"SEN2FLOW_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"SEN2FLOW_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/sen2flow"),
        ({"SEN2FLOW_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/sen2flow"),
    ],
)
def test_an_empty_variable_is_no_cache_in_the_working_directory(monkeypatch, variables, folder):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda path, arrays: flip(path, 0.4),
        lambda path, arrays: shorten(path, 0.5),
        lambda path, arrays: shorten(path, 0),
        lambda path, arrays: path.unlink(),
        lambda path, arrays: path.write_bytes(pickle.dumps(arrays)),
        other_content,
        other_model,
    ],
)
def test_a_look_up_table_of_other_content_is_built_anew(cache, damage):
    path = lut_path("continental")
    sound, table = path.read_bytes(), load_table(path)
    damage(path, cache)
    again = load_table(path)
    assert again.aerosol == "continental"
    np.testing.assert_array_equal(again.multiple, table.multiple)
    assert path.read_bytes() == sound
    assert [p.name for p in path.parent.iterdir() if ".part" in p.name] == []


def test_a_damaged_table_that_is_shipped_is_told(tmp_path, monkeypatch):
    path = tmp_path / lut_path("continental").name
    path.write_bytes(lut_path("continental").read_bytes())
    flip(path, 0.4)
    damaged = path.read_bytes()
    monkeypatch.setattr(lut, "DATA", tmp_path)
    with pytest.raises(StepError, match=f"{path}: is damaged .* install Sen2Flow anew"):
        lut.make_table("continental", path)
    assert path.read_bytes() == damaged


# --- compiled kernels ------------------------------------------------------------------------------------------------

USE_KERNEL = """
import numpy as np
from steps.sentinel2.digital_numbers import internal_scale, _internal_scale
dn, special = np.full((2, 2), 2000, "u2"), {"nodata": 0, "saturated": 9}
print(internal_scale(dn, **special, offset=-1000.0, quantification=1e4, size=20)[0][0, 0])
print(sum(_internal_scale.stats.cache_hits.values()))
"""


def kernel(cache, *before, script=USE_KERNEL):
    """Return the value that a kernel gives (with DN 2000: reflectance 0.1), times it came from the cache, messages."""
    env = os.environ | {"SEN2FLOW_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    command = [*before, sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    value, hits = map(int, done.stdout.split())
    return value, hits, done.stderr


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels") / "cache"
    assert kernel(folder)[:2] == (2000, 0)
    assert kernel(folder)[:2] == (2000, 1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [("nbi", lambda p: flip(p, 0.6)), ("nbc", lambda p: flip(p, 0.6)), ("nbc", lambda p: shorten(p, 0))],
)
def test_a_damaged_kernel_is_compiled_again(compiled, tmp_path, suffix, damage):
    folder = shutil.copytree(compiled, tmp_path / "cache")
    for path in folder.rglob(f"*.{suffix}"):
        damage(path)
    assert kernel(folder)[:2] == (2000, 0)


class Evil:
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.slow
def test_pickles_that_others_can_write_are_not_looked_at(compiled, tmp_path):
    from steps.core.kernel_cache import _checksum

    folder, evil = shutil.copytree(compiled, tmp_path / "cache"), Evil()
    evil.path = tmp_path / "evil"
    content = pickle.dumps(evil)
    for path in folder.rglob("*.nb?"):
        path.write_bytes(content + _checksum(path.name, content))
        path.chmod(0o666)
    value, hits, messages = kernel(folder)
    assert (value, hits) == (2000, 0)
    assert messages.count("others than you can write") == 1
    assert not evil.path.exists()
    assert not any(path.stat().st_mode & 0o022 for path in folder.rglob("*.nb?"))  # ours are in their place


@pytest.mark.slow
@pytest.mark.skipif(not os.geteuid() and not shutil.which("setpriv"), reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_still_serves(compiled, tmp_path):
    folder = shutil.copytree(compiled, tmp_path / "cache")
    before = set(ROOT.rglob("*.nb?"))
    bound = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert kernel(folder, *bound) == (2000, 1, "")
    for path in folder.rglob("*.nb?"):
        path.parent.chmod(0o755)
        path.unlink()
        path.parent.chmod(0o555)
    value, hits, messages = kernel(folder, *bound)
    assert (value, hits) == (2000, 0)
    assert "cannot be written" in messages
    assert set(ROOT.rglob("*.nb?")) == before  # nothing is compiled into the checkout
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)


# --- what results were made from -------------------------------------------------------------------------------------


def record(output, mode="run", inputs=(), **parameters):
    return Path(Provenance(output).record("product", "dem", parameters, [str(path) for path in inputs], mode))


def test_what_a_result_was_made_from_is_written_when_it_changes(tmp_path):
    path = record(tmp_path, altitude="0")
    assert path == tmp_path / "product/logs/provenance/dem.json"
    first = path.read_bytes()
    assert record(tmp_path, altitude="0") == record(tmp_path, "look", altitude="0") == path
    assert path.read_bytes() == first
    other = record(tmp_path, "look", altitude="1")
    assert other != path
    assert other.stat().st_mtime_ns >= path.stat().st_mtime_ns
    assert path.read_bytes() == first
    record(tmp_path, altitude="1")
    second = path.read_bytes()
    assert json.loads(second)["parameters"] == {"altitude": "1"}
    # Back again: other bytes than the first time, for Snakemake compares small files by content.
    record(tmp_path, altitude="0")
    assert path.read_bytes() not in (first, second)
    for folder, content in (("a", "1"), ("b", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "map.tif").write_text(content)
    inputs = [tmp_path / "a/map.tif", tmp_path / "b/map.tif"]
    assert len(json.loads(record(tmp_path, inputs=inputs).read_text())["inputs"]) == 2
    path.write_text("{")
    assert record(tmp_path, altitude="0").read_text() != "{"


def changed(path):
    """Whether a fingerprint is another than before."""
    before = fingerprint(str(path))
    fingerprint.cache_clear()
    return fingerprint(str(path)) != before


def test_fingerprints_of_folders_and_files(tmp_path):
    safe = tmp_path / "a/S2.SAFE"
    (safe / "GRANULE/L1C").mkdir(parents=True)
    band, region = safe / "GRANULE/L1C/B02.jp2", tmp_path / "roi.geojson"
    band.write_bytes(b"x" * 100)
    region.write_text("one")
    (safe / "loop").symlink_to(safe)
    (safe / "gone").symlink_to(tmp_path / "nowhere")
    assert not changed(safe)
    before = fingerprint(str(safe))
    moved = shutil.move(safe, tmp_path / "S2.SAFE")
    (moved / "loop").unlink()
    (moved / "loop").symlink_to(moved)
    assert fingerprint(str(moved)) == before
    band = moved / "GRANULE/L1C/B02.jp2"
    time.sleep(0.01)
    band.write_bytes(b"y" * 100)  # downloaded again, as long as before
    assert changed(moved)
    assert not changed(region)
    region.touch()
    assert not changed(region)
    region.write_text("two")
    assert changed(region)


HOLD = """
import sys, time
from pathlib import Path
from steps.core.provenance import Provenance
mine = Provenance(Path(sys.argv[1]))
mine.record("product", "dem", {}, [], "run")
print("locked", flush=True)
time.sleep(100)
"""


def test_a_product_belongs_to_one_run_until_that_ends(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StepError, match="another run is at work on product"):
            record(tmp_path)
        record(tmp_path, "look")
        Provenance(tmp_path).record("another product", "dem", {}, [], "run")
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    record(tmp_path)


def ends(process, within=5):
    """Whether a process that need not be a child of this one ends in time."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


STEP = """
import time
from pathlib import Path
from steps.core import cli
def run(output: Path):
    print("started", flush=True)
    time.sleep(100)
cli.cli(run, ["--output", "nowhere"])
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux 5.3")
def test_a_step_ends_with_the_run_that_started_it():
    run = subprocess.Popen(["sleep", "100"])
    env = os.environ | {checksums.RUN: f"{run.pid} 0"}
    with subprocess.Popen([sys.executable, "-c", STEP], env=env, cwd=ROOT, stdout=subprocess.PIPE) as step:
        assert step.stdout.readline() == b"started\n"
        run.kill()
        run.wait()
        assert step.wait(5) == -signal.SIGKILL


POOL = """
pool = parallel.process_pool(2, {!r})
print(*{{pool.submit(os.getpid).result() for _ in range(20)}}, flush=True)
"""
JOBLIB = """
with parallel.workers("processes", 2) as run_all:
    print(*set(run_all(lambda _: os.getpid(), range(20))), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux")
@pytest.mark.parametrize("script", [POOL.format("fork"), POOL.format("spawn"), JOBLIB])
def test_workers_end_with_their_parent(script):
    script = f"import os, time\nfrom steps.core import parallel\n{script}\ntime.sleep(100)"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    parent.kill()
    parent.wait()
    assert all(ends(pid) for pid in workers)
