"""The source is formatted, spelt and typed as the checkers want it, which pre-commit runs too."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "snakefmt": ["snakefmt", "--check", "Snakefile", "workflow"],
    "codespell": ["codespell_lib"],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_checkers_find_nothing(check):
    done = subprocess.run([sys.executable, "-m", *CHECKS[check]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def named():
    """Yield the names of modules of ours, and of what is in them, that prose and docstrings refer to, with the file."""
    for pattern in ("*.md", "config/*.md", "docs/**/*.md", "steps/**/*.py", "tests/*.py"):
        for path in ROOT.glob(pattern):
            for name in re.findall(r"`~?(steps(?:\.\w+)+)`", path.read_text(encoding="utf-8")):
                yield name, path.relative_to(ROOT)


def test_what_prose_refers_to_is_there():
    missing = []
    for name, path in set(named()):
        parts = name.split(".")
        while not (file := ROOT.joinpath(*parts).with_suffix(".py")).exists() and not ROOT.joinpath(*parts).is_dir():
            parts.pop()
        source = file if file.exists() else ROOT.joinpath(*parts, "__init__.py")
        rest = name.split(".")[len(parts) :]
        if rest and not re.search(rf"\b{rest[-1]}\b", source.read_text(encoding="utf-8")):
            missing.append(f"{path}: {name}")
    assert not missing


def test_hooks_download_nothing():
    """They are the checks above, by tools of the extra `test`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert [repository["repo"] for repository in repositories] == ["local"]
    assert {hook["name"] for hook in hooks} == set(CHECKS)
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"].split()[0] in project["optional-dependencies"]["test"]
