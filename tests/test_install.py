"""What has to be installed: one list of dependencies, from which any supported Python or conda makes an environment."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from checkout import Checkout
from packaging.requirements import Requirement
from packaging.version import Version

from steps.simulation.demo_scene import DEMO_PRODUCT

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "envs/sen2flow.yaml").read_text(encoding="utf-8"))
#: What conda calls the parts of these packages that are needed.
CONDA_NAMES = {"snakemake": "snakemake-minimal", "matplotlib": "matplotlib-base"}
VERSIONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]

#: A conda that makes an environment of the packages that are installed here, in the file's own words.
FAKE_CONDA = r"""#!{python}
import json, os, shutil, sys
from pathlib import Path
words = sys.argv[1:]
base = Path(__file__).resolve().parents[1]
if words[0] == "info":
    print(json.dumps({{"conda_prefix": str(base), "platform": "linux-64"}}))
elif words[0] == "--version":
    print("conda 26.1.0")
elif words[0] == "config":
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif words[:2] == ["env", "create"]:
    place = Path(words[words.index("--prefix") + 1])
    shutil.copy(words[words.index("--file") + 1], base / "environment.yaml")
    (place / "bin").mkdir(parents=True)
    python = place / "bin/python"
    python.write_text(f"#!/bin/sh\necho {{place}} >> {{base}}/used.txt\nexec {python} \"$@\"\n")
    python.chmod(0o755)
"""


def conda_words(requirement):
    """A requirement as conda writes it."""
    parsed = Requirement(requirement)
    return f"{CONDA_NAMES.get(parsed.name, parsed.name)} {parsed.specifier}".strip()


def test_extras_are_spelled_as_every_pip_knows_them():
    """The pip of Python 3.11 takes no other spelling than that of the metadata, and installs nothing without a word."""
    extras, named = PROJECT["optional-dependencies"], set()
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", extra) for extra in extras)
    for path in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split():
        if path.endswith((".md", ".py", ".yaml", ".toml")):
            text = (ROOT / path).read_text(encoding="utf-8")
            named |= {
                extra for found in re.findall(r"(?:'\.|sen2flow)\[([\w,-]+)\]", text) for extra in found.split(",")
            }
    assert {"high-throughput", "aws-batch", "test"} <= named <= set(extras)


def test_conda_environment_holds_the_dependencies():
    """And nothing that depends on where the file lies, for Snakemake copies it."""
    python, *packages = ENVIRONMENT["dependencies"]
    assert packages == [conda_words(requirement) for requirement in PROJECT["dependencies"]]
    assert re.fullmatch(r"python =(3\.\d+)", python)[1] in VERSIONS
    assert set(ENVIRONMENT) == {"channels", "dependencies"}


@pytest.mark.slow
def test_stages_run_in_the_conda_environment(tmp_path):
    """With a stand-in for conda, in another folder; Snakemake copies the file, and takes PYTHONPATH away."""
    base = tmp_path / "conda"
    (base / "bin").mkdir(parents=True)
    (base / "bin/conda").write_text(FAKE_CONDA.format(python=sys.executable))
    (base / "bin/conda").chmod(0o755)
    (base / "bin/activate").write_text('export PATH="$1/bin:$PATH"\n')
    checkout = Checkout(tmp_path / "checkout")
    demo = f"results/demo/{DEMO_PRODUCT}.SAFE"
    snakefile = f"--snakefile {checkout.folder}/Snakefile"
    checkout.bash(f"PATH={base}/bin:$PATH; cd {base}; snakemake {snakefile} {demo} --cores 2 --sdm conda")
    assert (base / demo / "manifest.safe").exists()
    assert yaml.safe_load((base / "environment.yaml").read_text()) == ENVIRONMENT
    assert ".snakemake/conda" in (base / "used.txt").read_text()


def test_constraints_serve_every_supported_python():
    """One version of each package for each Python, from the index alone."""
    lines = (ROOT / "envs/constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.partition("#")[0]) for line in lines]
    assert {len(pin.specifier) for pin in pins} == {1}
    for version in VERSIONS:
        here = {"python_version": version, "python_full_version": f"{version}.0"}
        names = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(here)]
        assert len(set(names)) == len(names)
        for requirement in map(Requirement, PROJECT["dependencies"]):
            pin = next(pin for pin in pins if pin.name.lower() == requirement.name.lower())
            assert Version(next(iter(pin.specifier)).version) in requirement.specifier


def interpreters():
    """The Pythons of the supported versions on this machine, by version."""
    found = {}
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        for candidate in filter(None, candidates):
            done = subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True)
            if done.returncode == 0:  # not those that cannot make an environment
                found[version] = candidate
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_installs_on(version, tmp_path):
    """The wheel, with the constraints; then it is content with the machine, and makes the demo's pixels."""
    if version not in interpreters():
        pytest.skip(f"no Python {version} that can make virtual environments is on this machine")
    if version == f"{sys.version_info.major}.{sys.version_info.minor}" and len(interpreters()) > 1:
        pytest.skip("the tests run on it; that no package is missing is seen on another one")
    python = tmp_path / "venv/bin/python"
    subprocess.run([interpreters()[version], "-m", "venv", tmp_path / "venv"], check=True)
    command = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--retries",
        "0",
        "--timeout",
        "60",
        "install",
        "-q",
        "--no-compile",
    ]
    done = subprocess.run([*command, "-c", ROOT / "envs/constraints.txt", ROOT], capture_output=True, text=True)
    if re.search("NewConnectionError|NameResolutionError|ConnectTimeout|Max retries", done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONWARNINGS": "error::SyntaxWarning"}
    package = next((tmp_path / "venv/lib").glob("python3*/site-packages/sen2flow"))
    planned = [python, "-m", "snakemake", "--dry-run", "--quiet", "-s", ROOT / "Snakefile"]
    made = [python, "-m", "steps.demo", "--safe", "a.SAFE"]
    for words in (planned, [tmp_path / "venv/bin/sen2flow", "doctor"], made):
        here = env | ({"PYTHONPATH": str(package)} if words == made else {})
        done = subprocess.run(words, cwd=tmp_path, env=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "a.SAFE/manifest.safe").exists()
