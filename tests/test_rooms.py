"""Where things live: which module may import which, and which results a change of code reaches."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steps.core import code
from steps.sentinel2.kinds import MASK_SATURATED

ROOT = Path(__file__).resolve().parents[1]
#: From the ground up. A module imports from its own room and from rooms of lower levels.
LEVELS = (
    {"core"},
    {"sentinel2"},
    {"l1c", "atmosphere", "terrain"},
    {"classification", "l2a"},  # by what water vapour lets through; documents made of those of the L1C product
    {"simulation"},
    {"stages"},
    {"benchmark", "command"},
)
#: At the top, but of no rule.
WORKFLOW = "steps.workflow"


def modules():
    paths = {path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "steps").rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


MODULES = modules()


def imported(path):
    """Return the modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("steps"):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("steps"))


def room(module):
    parts = module.split(".")
    return parts[1] if any(parts[1] in rooms for rooms in LEVELS) else "stages"


def level(module):
    return next(i for i, rooms in enumerate(LEVELS) if room(module) in rooms)


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(set(MODULES) - {"steps"}))
def test_arrows_go_down(module):
    for other in set(imported(MODULES[module])) - {"steps"}:
        assert level(other) < level(module) or room(other) == room(module), f"{module} imports {other}"
        assert room(module) != "stages" or room(other) != "stages", f"the stage {module} imports the stage {other}"


def test_every_stage_is_a_rule_of_the_same_name():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    stages = {module for module in set(MODULES) - {"steps"} if room(module) == "stages"} - {WORKFLOW}
    assert {module.partition(".")[2] for module in stages} <= set(re.findall(r"^rule (\w+):", rules, re.M))


def test_the_rules_need_what_snakemake_needs():
    """To parse the workflow neither NumPy nor GDAL is imported; nor does importing a room do anything."""
    program = "import sys, steps.workflow, steps.core.settings, steps.atmosphere.models, steps.core.provenance\n"
    program += "print({'numpy', 'numba', 'rasterio', 'scipy', 'pandas', 'lxml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Three modules: a kernel, that imports a module with a constant, that imports one with another."""
    (tmp_path / "steps/core").mkdir(parents=True)
    files = {
        "steps/__init__.py": "",
        "steps/kernel.py": "from steps.core.flags import (\n    SATURATED,\n)\nKERNEL = SATURATED\n",
        "steps/core/flags.py": "import steps.core.numbers\nSATURATED = 2 * steps.core.numbers.ONE\n",
        "steps/core/numbers.py": "ONE = 1\n",
        "steps/core/other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def forget():
        for function in (code.sources, code._file, code._imported, code._digest_of):
            function.cache_clear()

    def digest():
        forget()
        return code.code_digest("steps.kernel", tmp_path / "data.json")

    (tmp_path / "data.json").write_text("{}")
    yield tmp_path, digest
    forget()


@pytest.mark.parametrize("name", ["steps/kernel.py", "steps/core/flags.py", "steps/core/numbers.py", "data.json"])
def test_digest_changes_with_all_that_a_result_depends_on(copy, name):
    folder, digest = copy
    before = digest()
    assert re.fullmatch("[0-9a-f]{12}", before)
    (folder / name).write_text((folder / name).read_text() + "\n")
    assert digest() != before


def test_digest_does_not_change_with_anything_else(copy):
    folder, digest = copy
    before = digest()
    (folder / "steps/core/other.py").write_text("A = 1\n")
    assert digest() == before


@pytest.mark.slow
def test_changed_constant_reaches_a_compiled_kernel_that_imports_it(tmp_path):
    shutil.copytree(ROOT / "steps", tmp_path / "steps", ignore=shutil.ignore_patterns("__pycache__", "data"))
    program = (
        "import numpy as np\n"
        "from steps.sentinel2.digital_numbers import internal_scale\n"
        "numbers = np.full((2, 2), 65535, 'u2')\n"
        "_, flags = internal_scale(numbers, nodata=0, saturated=65535, offset=0, quantification=10000, size=10)\n"
        "print(flags.item())\n"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path), "SEN2FLOW_CACHE": str(tmp_path / "cache")}

    def flag():
        command = [sys.executable, "-c", program]
        return int(subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout)

    assert flag() == flag() == MASK_SATURATED
    path = tmp_path / "steps/sentinel2/kinds.py"
    text = path.read_text()
    path.write_text(text + "\nMASK_SATURATED = 64\n")
    assert flag() == 64
    path.write_text(text)
    assert flag() == MASK_SATURATED
