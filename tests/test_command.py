"""The command `sen2flow`: in a checkout, and from a wheel in an environment that knows of no checkout."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkout import ROOT, region_of_interest

from steps import demo
from steps.command import __main__ as command
from steps.command import doctor, launch
from steps.core.errors import StepError
from steps.core.settings import absolute
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Return the command and the settings with which Snakemake would be started."""
    commands = []

    def become(program, words, environment):
        commands.append(words)
        sys.exit(3)

    def call(*arguments):
        monkeypatch.setattr(os, "execve", become)
        with pytest.raises(SystemExit) as ended:
            command.main([str(argument) for argument in arguments])
        if not commands:
            return ended.value.code, [], {}
        words = commands.pop()
        return ended.value.code, words, json.loads(Path(words[words.index("--configfile") + 1]).read_text())

    monkeypatch.chdir(tmp_path)
    return call


def test_settings_are_those_of_the_schema(started, tmp_path):
    (tmp_path / "mine.yaml").write_text("ozone: 300\naltitude: 5\naerosol: {aot550: 0.5}\n")
    roi = ["--roi", "-75.5", "37", "-75.25", "37.5"]
    options = ["--config", "mine.yaml", "--set", "aerosol.method=fixed", "--ozone", "310", "--no-keep-intermediates"]
    code, words, settings = started("run", *roi, "A.SAFE", "-o", "out put", *options, "--formats", "cog", "--cores", 3)
    assert code == 3
    assert settings["input"] == str(tmp_path / "A.SAFE")
    assert settings["roi"] == [-75.5, 37, -75.25, 37.5]
    assert (settings["ozone"], settings["altitude"]) == (310, 5)
    assert settings["aerosol"] == {"method": "fixed", "aot550": 0.5, "model": "auto", "smoothing_km": 0.5}
    assert (settings["keep_intermediates"], settings["formats"]) == (False, ["cog"])
    assert set(settings) == set(launch.SCHEMA["properties"])
    assert words[words.index("--directory") + 1] == settings["output"] == str(tmp_path / "out put")
    assert words[words.index("--cores") + 1] == "3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "out put"]


def test_several_products_and_tables_hold_from_any_folder(started, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/beside.zip").touch()
    (tmp_path / "lists/my.csv").write_text("input;note\nbeside.zip;x\ndemo;\n")
    expected = {
        ("a, b.SAFE", "demo", "s3://bucket/c.SAFE"): f'input\n"{tmp_path}/a, b.SAFE"\ndemo\ns3://bucket/c.SAFE\n',
        ("lists/my.csv",): f"input\n{tmp_path}/lists/beside.zip\ndemo\n",
    }
    for inputs, text in expected.items():
        _, _, settings = started("run", *inputs, "-o", "out")
        assert Path(settings["input"]).read_text() == text
    assert re.fullmatch(r"my_[0-9a-f]{8}\.csv", Path(settings["input"]).name)


def test_profiles_of_ours_are_found_by_name(started):
    _, words, _ = started("demo", "--profile", "slurm")
    assert words[words.index("--profile") + 1] == str(ROOT / "workflow/profiles/slurm")
    assert "--cores" not in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-o", "out"], "no product is given"),
        (["run", "-o", "out", "--roi", "area.geojson"], "no product is given"),
        (["run", "a", "b.csv", "-o", "out", "--ozone", "9"], "configuration at ozone: 9.0 is less than"),
        (["run", "b.csv", "a", "-o", "out"], "a table is given alone"),
        (["run", "a", "-o", "out", "--set", "aerosol.methd=ddv"], "did you mean aerosol.method"),
        (["run", "a", "-o", "out", "--set", "aerosol.method"], "has no value"),
        (["run", "a", "-o", "out", "--set", "cache.x=1"], "configuration at cache"),
        (["run", "a", "-o", "out", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["run", "a", "-o", "file/out"], "file/out is not a folder"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(started, tmp_path, capsys, arguments, message):
    (tmp_path / "file").touch()
    code, words, _ = started(*arguments)
    assert (code, words) == (2, [])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_words_and_addresses_are_no_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = {"input": "demo", "dem": "a.tif", "cache": None, "classification": {"land_cover": "b.tif", "mode": "c"}}
    expected = given | {"dem": f"{tmp_path}/a.tif"}
    assert absolute(given) == expected | {"classification": {"land_cover": f"{tmp_path}/b.tif", "mode": "c"}}
    assert absolute({"input": "https://host/a.zip"}) == {"input": "https://host/a.zip"}


# --- check and doctor ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_check_tells_good_from_bad(tmp_path, capsys):
    demo.run(tmp_path / f"{DEMO_PRODUCT}.SAFE", size=960)
    shutil.copytree(tmp_path / f"{DEMO_PRODUCT}.SAFE", tmp_path / "bad.SAFE")
    image = next((tmp_path / "bad.SAFE").rglob("*_B04.jp2"))
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        command.main(["check", *(str(path) for path in sorted(tmp_path.iterdir(), reverse=True)), str(tmp_path / "no")])
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["BAD ", "good", "    ", "BAD "]
    assert "B04.jp2: does not fit its checksum" in lines[0]
    assert lines[1].endswith(DEMO_PRODUCT)
    assert "ozone" in lines[2].lower()
    assert "does not exist" in lines[3]


def test_doctor_is_content(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_packages", lambda: "packages")  # they may be those of an older installation
    assert doctor.examine(tmp_path / "not/yet") == 0
    assert "FIX" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_where_a_point_is_follows_from_the_ellipsoid():
    """The meridian's arc from the equator, integrated numerically, by the scale of UTM."""
    axis, flattening = 6378137, 1 / 298.257223563
    squared = flattening * (2 - flattening)
    latitude = np.linspace(0, np.radians(doctor._POINT[1]), 100_001)
    arc = np.trapezoid(axis * (1 - squared) * (1 - squared * np.sin(latitude) ** 2) ** -1.5, latitude)
    assert abs(0.9996 * arc - doctor._NORTHING) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("_NORTHING", 0, "PROJ: takes 3 E, 45 N to 500000, 4982950; install rasterio again"),
        ("_DISK", 1e18, "GB are free and 1000000000.0 wanted; free some space"),
        ("_MEMORY", 1e18, "end other programs"),
        ("cache_folder", lambda: Path("/proc/none"), "cache /proc/none: cannot be written"),
        ("requires", lambda name: ["numpy<1", "no-such-package>=2"], "numpy<1 (2."),
    ],
)
def test_doctor_says_what_to_fix(tmp_path, capsys, monkeypatch, attribute, value, words):
    monkeypatch.setattr(doctor, attribute, value)
    assert doctor.examine(tmp_path) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FIX")]
    assert any(words in line for line in wrong)


# --- the wheel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--retries", "0", "-w", folder, ROOT]
    done = subprocess.run(words, capture_output=True, text=True)
    if re.search("NewConnectionError|NameResolutionError|ConnectTimeout|Max retries", done.stderr):
        pytest.skip("no package index can be reached, from which pip takes the build backend")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Return a call of a program in an environment with the wheel and the packages of this one, and its folder."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    words = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel]
    subprocess.run(words, check=True, capture_output=True)
    packages = next((folder / "venv/lib").glob("python3*/site-packages"))
    # So packages of this environment are found, but not what their own .pth files name, as this checkout.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = folder / "work"
    work.mkdir()

    def call(program, *arguments):
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        words = [str(word) for word in (folder / "venv/bin" / program, *arguments)]
        return subprocess.run(words, cwd=work, env=env, capture_output=True, text=True)

    return call, work


@pytest.mark.slow
def test_the_wheel_is_one_package_that_holds_the_project(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"sen2flow"}
    inside = {name.split("/")[1] for name in names if name.startswith("sen2flow/")}
    assert inside == {"__init__.py", "Snakefile", "workflow", "profiles", "config", "envs", "steps"}
    held = {name.removeprefix("sen2flow/") for name in names}
    listed = subprocess.run(["git", "ls-files", "steps", "workflow"], cwd=ROOT, capture_output=True, text=True)
    assert set(listed.stdout.split()) - held == {"steps/command/package.py"}  # which is sen2flow/__init__.py


@pytest.mark.slow
def test_the_wheel_processes_where_no_checkout_is(environment):
    call, work = environment
    assert call("python", "-c", "import steps").returncode == 1
    done = call("sen2flow", "doctor")
    assert done.returncode == 0, done.stdout
    done = call("sen2flow", "demo", "-o", "results", "--formats", "cog", "--cores", "2")
    assert done.returncode == 0, done.stderr
    product = work / "results" / l2a_name(DEMO_PRODUCT)
    assert (product / "cog/item.json").exists()
    assert [path.name for path in work.iterdir()] == ["results"]
    safe = work / f"results/demo/{DEMO_PRODUCT}.SAFE"
    roi = [str(degrees) for degrees in region_of_interest()]
    done = call("sen2flow", "run", safe, "-o", "part", "--roi", *roi, "--dry-run", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "rule crop:" in done.stdout
    done = call("sen2flow", "check", safe)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_rules_that_snakemake_fetches_find_the_stages_of_the_wheel(environment):
    """As those of a module that is named by its address, which have no folder."""
    call, _ = environment
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=ROOT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/workflow/Snakefile"
        done = call("python", "-m", "snakemake", "--snakefile", address, "--dry-run", "--cores", "1")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert "rule publish_cog:" in done.stdout


def test_constraints_in_the_help_are_the_schemas(capsys):
    with pytest.raises(SystemExit):
        command.main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert " ".join(schema["properties"]["ozone"]["description"].split()) in text


def test_errors_of_folders_are_told(monkeypatch, tmp_path):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", "out/logs")

    monkeypatch.setattr(launch, "_kept", refuse)
    with pytest.raises(StepError, match="out/logs: Permission denied; choose another"):
        launch.launch(["demo"], {"output": str(tmp_path)})
