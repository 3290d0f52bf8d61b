"""What others cite and what they install is one version under one licence."""

import tomllib
from pathlib import Path

import yaml

from steps import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_citation_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert citation["title"].lower() == project["name"]
    assert {"cff-version", "message", "authors"} <= set(citation)
