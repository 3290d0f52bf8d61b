"""The documentation: built without a warning, with links that lead somewhere and blocks that run.

A block of Bash or Python is run as it stands, in a checkout where the demo has been processed, and one of YAML is taken
for settings, unless the line before it is `<!-- not run: why -->`. `text` is what a command says.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from steps.benchmark.gallery import SCENES
from steps.core.settings import checked
from steps.simulation.recipe import read_recipes

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import figures  # noqa: E402
import made  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config/SEN2COR.md"]
PAGES += sorted(path for path in DOCS.rglob("*.md") if "made" not in path.parts and "_build" not in path.parts)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
#: What `sen2flow` and `snakemake` take in examples for a product or a folder that a reader has.
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))


class Block(NamedTuple):
    """A block of code: its language, its text, its line, and whether it is marked as not run."""

    language: str
    text: str
    line: int
    marked: bool


def blocks(path):
    """Return the blocks of code of a page; directives of MyST are none."""
    found, opened, before = [], None, ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*(`{3,})(.*)$", line)
        if opened is None and fence:
            opened = (fence[1], fence[2].strip(), number, bool(NOT_RUN.fullmatch(before.strip())), [])
        elif opened and line.strip() == opened[0]:
            if not opened[1].startswith("{"):
                found.append(Block(opened[1], "\n".join(opened[4]) + "\n", opened[2], opened[3]))
            opened = None
        elif opened:
            opened[4].append(line)
        if line.strip():
            before = line
    assert opened is None, f"{path}: the block of line {opened[2]} has no end"
    return found


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def runs(block):
    return block.language in ("bash", "python") and not block.marked


def courses():
    """Return, by name, the pages whose blocks run in one checkout: all tutorials in their order, others alone."""
    order = re.findall(r"^\w+$", (DOCS / "tutorials/index.md").read_text(encoding="utf-8"), re.M)
    found = {"tutorials": [DOCS / f"tutorials/{name}.md" for name in order]}
    others = [path for path in PAGES if path.parent.name != "tutorials" and any(map(runs, blocks(path)))]
    return found | {name_of(path): [path] for path in others}


COURSES = courses()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(path):
    for block in blocks(path):
        assert block.marked or block.language in ("bash", "python", "yaml", "text"), f"{path}:{block.line}"
        if block.language == "yaml" and not block.marked:
            checked(yaml.safe_load(block.text), SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("course", COURSES)
def test_blocks_run(course, checkout):
    for path in COURSES[course]:
        for block in filter(runs, blocks(path)):
            file = checkout.folder / f"block_{block.line}"
            file.write_text(block.text)
            done = checkout.bash(f"{'bash -e' if block.language == 'bash' else 'python'} {file.name}", check=False)
            assert done.returncode == 0, f"{path}:{block.line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
def test_builds_without_a_warning(tmp_path):
    """Links between pages, to headings, equations and functions are checked; others are not asked for."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", str(DOCS), str(tmp_path / "html")]
    done = subprocess.run([*command, "-d", str(tmp_path / "trees")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html/index.html").exists()
    pages = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "html").glob("**/*.html"))
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', pages)  # nothing from elsewhere


@pytest.mark.parametrize("path", PAGES[:3], ids=name_of)
def test_links_of_pages_outside_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            page = path.parent / file if file else path
            assert page.exists(), target
            if anchor:
                heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
                assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_figures_of_the_readme_are_those_of_the_benches():
    assert made.readme() == (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_troubleshooting_quotes_messages_that_there_are():
    texts = " ".join(" ".join(found) for found in made.errors().values())
    page = (DOCS / "guides/troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)`", page, re.M)
    assert len(quoted) > 20
    assert [quote for quote in quoted if quote not in texts] == []


def test_gallery_shows_every_scene():
    wanted = {"demo", *read_recipes(SCENES)}
    assert set(made._TITLES) == wanted
    if not (DOCS / "gallery/scenes.json").exists():
        pytest.skip("`snakemake gallery` has not been run with this version")
    assert set(json.loads((DOCS / "gallery/scenes.json").read_text(encoding="utf-8"))) == wanted
    assert {name for name in wanted if not (DOCS / f"gallery/{name}.jpg").exists()} == set()


@pytest.mark.slow
def test_drawing_has_every_stage():
    drawn = {name for edge in figures.rule_graph(known_only=False) for name in edge}
    assert drawn - {"all", "products", "demo", "catalog", "summary"} == set(figures.PLACES)
