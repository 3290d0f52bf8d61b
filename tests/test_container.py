"""The container recipe: what it names is there, and its steps give an image's folder that makes a product."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from checkout import ROOT

from steps import demo
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions():
    """Return (word, arguments) of each line of the recipe."""
    text = (ROOT / "envs/Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.M).replace("\\\n", " ").splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]


RECIPE = instructions()


def of(word):
    return [arguments for name, arguments in RECIPE if name == word]


def environment():
    """Return the variables that the image sets."""
    last = max(i for i, (name, _) in enumerate(RECIPE) if name == "FROM")
    words = [word for name, arguments in RECIPE[last:] if name == "ENV" for word in shlex.split(arguments)]
    return dict(word.split("=", 1) for word in words)


def test_what_the_recipe_names_is_there():
    assert {name for name, _ in RECIPE} <= {"ARG", "FROM", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}
    install = next(shlex.split(line) for line in of("RUN") if "pip install" in line)
    assert (ROOT / install[install.index("-c") + 1]).exists()
    assert set(re.findall(r"\[(.*)\]", install[-1])[0].split(",")) <= set(PROJECT["optional-dependencies"])
    assert json.loads(of("ENTRYPOINT")[0]) == ["sen2flow"]
    assert "sen2flow" in PROJECT["scripts"]
    built = next(arguments for arguments in of("ENV") if arguments.startswith("SEN2FLOW_CACHE="))
    assert built == f"SEN2FLOW_CACHE={environment()['SEN2FLOW_CACHE']}"
    version = re.search(r"BASE=python:(3\.\d+)-", of("ARG")[0])[1]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


@pytest.mark.slow
def test_steps_give_what_makes_a_product(tmp_path):
    """In folders here instead of an image's, without what the system's packages need."""
    places = {"/opt/sen2flow": f"{tmp_path}/opt", "/src": f"{tmp_path}/src", "/tmp/": f"{tmp_path}/tmp/"}
    (tmp_path / "tmp").mkdir()
    kept = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_"))}
    variables = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path / "tmp"), **kept}

    def here(text):
        return re.sub("|".join(places), lambda found: places[found[0]], text)

    for name, arguments in RECIPE[: [name for name, _ in RECIPE].index("FROM", 2)]:
        if name == "COPY":
            unwanted = shutil.ignore_patterns(".*", "results", "__pycache__")
            shutil.copytree(ROOT, tmp_path / "src", ignore=unwanted)
        elif name == "ENV":
            variables |= dict(word.split("=", 1) for word in shlex.split(here(arguments)))
        elif name == "RUN" and "apt-get" not in arguments:
            subprocess.run(["sh", "-ec", here(arguments)], env=variables, cwd=tmp_path, check=True)
    shutil.rmtree(tmp_path / "src")
    safe = tmp_path / f"{DEMO_PRODUCT}.SAFE"
    demo.run(safe)
    image = {name: here(value) for name, value in environment().items()} | {"HOME": variables["HOME"]}
    image["PATH"] = image["PATH"].replace("$PATH", "/usr/bin:/bin")
    entry = [f"{tmp_path}/opt/bin/{json.loads(of('ENTRYPOINT')[0])[0]}"]
    words = ["run", safe, "-o", tmp_path / "out", "--formats", "cog", "--cores", "2"]
    subprocess.run([*entry, *words], env=image, cwd=tmp_path / "tmp", check=True)
    assert (tmp_path / "out" / l2a_name(DEMO_PRODUCT) / "cog/item.json").exists()
