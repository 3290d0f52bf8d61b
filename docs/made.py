"""Pages and tables that are made from code, settings and measurements whenever the documentation is built."""

import ast
import contextlib
import csv
import dataclasses
import importlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import figures
import yaml

from steps.benchmark import plan as plan_of_tiles
from steps.benchmark.accuracy import markdown
from steps.core.rasters import Kind
from steps.l2a.assets import ASSETS, LAYERS, UNCERTAINTIES, Asset, Flag
from steps.l2a.run_summary import Row
from steps.sentinel2 import kinds as kinds_of_rasters
from steps.sentinel2.scene_classes import SCL_CLASSES, SCL_COLOURS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
#: From the top down, as imports go.
ROOMS = {
    "stages": "Stages",
    "command": "The command sen2flow",
    "benchmark": "Benchmarks",
    "simulation": "Simulation",
    "l2a": "Writers of products",
    "l1c": "Readers of products",
    "atmosphere": "Atmosphere",
    "classification": "Classification",
    "terrain": "Terrain",
    "sentinel2": "Facts of the mission",
    "core": "Core",
}
#: Where files outside of `docs/` are shown in it.
_PAGES = {
    "config/README.md": "reference/settings.md",
    "config/SEN2COR.md": "guides/sen2cor_settings.md",
    "CHANGELOG.md": "reference/changelog.md",
    "CONTRIBUTING.md": "reference/contributing.md",
}


def write(folder: Path) -> None:
    """Write everything into a folder; what has not changed stays as it is, so that Sphinx does not read it again."""
    pages = {
        "settings.md": _text("config/README.md"),
        "sen2cor_settings.md": _text("config/SEN2COR.md"),
        "changelog.md": _text("CHANGELOG.md"),
        "contributing.md": _text("CONTRIBUTING.md"),
        "assets.md": assets(),
        "classes.md": classes(),
        "kinds.md": kinds(),
        "flags.md": flags(),
        "summary.md": summary_columns(),
        "stages.md": stages(),
        "gallery.md": gallery(),
        "messages.md": messages(),
        "plan.md": plan(),
        "accuracy.md": accuracy(),
        "figures.md": figures_of_tests(),
        "routes.md": routes(),
        "cores.md": cores(),
        "study.md": study(),
        "faults.md": faults(),
        "shadows.md": shadows(),
        "operational.md": figures_of_tests("operational"),
        "performance.md": (ROOT / "workflow/report/performance.md").read_text(encoding="utf-8").partition("\n\n")[2],
        **{f"python/{room}.md": python(room, title) for room, title in ROOMS.items()},
    }
    for name, text in pages.items():
        _write(folder / name, text)
    figures.architecture(folder / "architecture.svg")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def table(head: Iterable[str], rows: Iterable[Iterable]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _text(name: str) -> str:
    """Return a file of the project as it is included into a page: without its title, links within the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\A# .+\n", "", text)

    def link(match: re.Match) -> str:
        target = Path(name).parent / match[2]
        if match[2].startswith(("http", "#")):
            return match[0]
        page = _PAGES.get(target.as_posix())
        return f"[{match[1]}](/{page})" if page else f"`{target}`"

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, text)


def modules(room: str) -> list[str]:
    """Return the names of a room's modules."""
    folder = ROOT / "steps" / ("" if room == "stages" else room)
    prefix = "steps" if room == "stages" else f"steps.{room}"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "__main__", "package"))
    return [f"{prefix}.{name}" for name in names]


def python(room: str, title: str) -> str:
    """Return the page of a room's Python."""
    about = importlib.import_module("steps" if room == "stages" else f"steps.{room}").__doc__
    lines = [f"# {title}", "", about or ""]
    for module in modules(room):
        lines += ["", f"## `{module}`", "", "```{eval-rst}", f".. automodule:: {module}", "```"]
    return "\n".join(lines) + "\n"


def _number(kind: Kind) -> tuple[str, str, str]:
    """Return type, what a stored number means, and what says that there is none."""
    scale = "" if kind.scale == 1 else f" × {kind.scale:g}"
    offset = f" {'+' if kind.offset > 0 else '-'} {abs(kind.offset):g}" if kind.offset else ""
    return kind.dtype, f"stored{scale}{offset}", "" if kind.nodata is None else f"{kind.nodata:g}"


def _rows(found: dict[str, Asset]) -> Iterator[tuple]:
    for key, asset in found.items():
        yield f"`{key}`", asset.title, asset.resolution, *_number(asset.kind), asset.unit or "-"


def assets() -> str:
    """Return the tables of all COGs."""
    head = ("key", "what it is", "pixel, m", "type", "value", "no data", "unit")
    text = table(head, _rows(ASSETS))
    text += "\nWith `boa_uncertainty: true`:\n\n" + table(head, _rows(UNCERTAINTIES))
    for name, found in LAYERS.items():
        text += f"\nWith `{name}` among the `layers`:\n\n" + table(head, _rows(found))
    return text


def kinds() -> str:
    """Return the table of what the numbers of all rasters mean."""
    found = [kind for kind in vars(kinds_of_rasters).values() if isinstance(kind, Kind) and not kind.scales]
    return table(
        ("raster", "type", "value", "no data"), ((kind.name.replace("_", " "), *_number(kind)) for kind in found)
    )


def classes() -> str:
    """Return the table of the scene classes."""
    rows = ((code, f"`{name}`", "#{:02x}{:02x}{:02x}".format(*SCL_COLOURS[code])) for code, name in SCL_CLASSES.items())
    return table(("code", "class", "colour"), rows)


def flags() -> str:
    """Return the table of the quality mask's bits."""
    return table(
        ("bit", "value", "flag"), ((flag.value.bit_length() - 1, flag.value, f"`{flag.name}`") for flag in Flag)
    )


def summary_columns() -> str:
    """Return the columns of a table's summary."""
    return ", ".join(f"`{field.name}`" for field in dataclasses.fields(Row)) + "\n"


def _rules() -> Iterator[tuple[str, str, list[str]]]:
    """Yield each rule that makes something of a product, its module below `steps`, and the files that it writes."""
    for file in ("input", "atmosphere", "surface", "product"):
        text = (ROOT / f"workflow/rules/{file}.smk").read_text(encoding="utf-8")
        for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.M):
            found = re.search(r"^    output:\n((?:        .*\n|\n)+)", body, re.M)
            program = re.search(r'command\("\w+"(?:, "([\w.]+)")?\)', body)
            if program and found:
                files = re.findall(r'"([^"]+\.\w+|images|cog)"', found[1])
                yield name, program[1] or name, [file for file in files if not file.startswith("..")]


def stages() -> str:
    """Return the table of rules, the module behind each, and what it writes."""
    rows = []
    for rule, program, files in _rules():
        module = f"steps.{program}"
        about = (importlib.import_module(module).__doc__ or "").splitlines()[0]
        about = re.sub(r"^(Stage|\w+): (?=\w)", "", about)
        about = about[0].upper() + about[1:]
        written = ", ".join(f"`{file}`" for file in files) or "the product"
        rows.append((f"{{py:mod}}`{rule} <{module}>`", about, written))
    return table(("rule", "what it does", "files, in `<product>/work/` unless told otherwise"), rows)


def plan() -> str:
    """Return what it takes to process 10,000 tiles a day."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        plan_of_tiles.main(["--tiles", "10000"])
    return f"```text\n{text.getvalue().rstrip()}\n```\n"


def _message(node: ast.expr, names: dict) -> str:
    """Return an error's text as it is in the code: constants filled in, `…` for what differs."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_message(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _message(node.value, names)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return _message(node.left, names) + _message(node.right, names)
    constant = names.get(node.id) if isinstance(node, ast.Name) else None
    return str(constant) if isinstance(constant, str | int) else "…"


def _escaped(text: str) -> str:
    """Return plain text as Markdown, in which what is between backticks stays as it is."""
    parts = text.split("`")
    return "`".join(part if i % 2 else re.sub(r"([|<>*$\[\]])", r"\\\1", part) for i, part in enumerate(parts))


#: `StepError` and what is one.
_ERRORS = ("StepError", "Missing")


def errors() -> dict[str, list[str]]:
    """Return, by the name of the module, the texts of all errors that a user may see."""
    found = {}
    for room in ROOMS:
        for name in modules(room):
            path = ROOT / (name.replace(".", "/") + ".py")
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in _ERRORS]
            if calls:
                names = vars(importlib.import_module(name))
                texts = {re.sub("…+", "…", _message(call.args[0], names)) for call in calls if call.args}
                found[name] = sorted(text for text in texts if len(text) > len("…: …; …"))
    return found


def messages() -> str:
    """Return the tables of all errors, room by room: what is wrong, and what to do."""
    text = ""
    rooms: dict[str, list[tuple]] = {}
    for module, texts in errors().items():
        room = module.split(".")[1] if module.count(".") > 1 else "stages"
        for one in texts:
            cause, _, remedy = one.partition("; ")
            rooms.setdefault(room, []).append((_escaped(cause), _escaped(remedy or "-"), f"{{py:mod}}`{module}`"))
    for room, rows in rooms.items():
        text += f"## {ROOMS[room]}\n\n" + table(("message", "what to do", "from"), rows) + "\n"
    return text


def stamp(folder: Path) -> str:
    """Return the line below a measured table: command, date, version, machine."""
    made = json.loads((folder / "stamp.json").read_text(encoding="utf-8"))
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    return (
        f"*Made by `{made['command']}` on {made['date']} with Sen2Flow {made['version']} ({made['commit']}), "
        f"Python {made['python']}, {packages}; {made['machine']}.*\n"
    )


def _measured(name: str) -> list[dict[str, str]]:
    """Return the rows of a table of `docs/measured`."""
    with (DOCS / "measured" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def accuracy() -> str:
    """Return the tables of the accuracy bench."""
    if not (DOCS / "measured/accuracy").exists():
        return "*Not measured with this version: `snakemake --cores 2 benchmark_accuracy`.*\n"
    text = markdown(_measured("accuracy/accuracy.csv"))
    return re.sub(r"^(?=[A-Z].*$)", "### ", text, flags=re.M) + stamp(DOCS / "measured/accuracy")


def routes() -> str:
    """Return the table of what each form of product costs."""
    if not (DOCS / "measured/routes").exists():
        return "*Not measured with this version: `snakemake --cores 2 benchmark_routes --config input=... dem=...`.*\n"
    rows = _measured("routes/routes.csv")
    return table(rows[0], (row.values() for row in rows)) + "\n" + stamp(DOCS / "measured/routes")


def cores() -> str:
    """Return the tables of what one product would take on more cores."""
    if not (DOCS / "measured/cores").exists():
        return "*Not measured with this version: `snakemake --cores 2 benchmark_cores --config input=...`.*\n"
    tables = [_measured(f"cores/{name}.csv") for name in ("cores", "stages")]
    texts = [table(rows[0], (row.values() for row in rows)) for rows in tables]
    return "\n".join([*texts, stamp(DOCS / "measured/cores")])


def study() -> str:
    """Return what the parallelisation study says: its words and tables."""
    if not (DOCS / "measured/study").exists():
        return "*Not measured with this version: `snakemake --cores 2 benchmark_study`.*\n"
    text = (DOCS / "measured/study/study.md").read_text(encoding="utf-8").partition("\n\n")[2]
    return f"{text}\n{stamp(DOCS / 'measured/study')}"


def figures_of_tests(only: str = "") -> str:
    """Return the table of the figures that tests measure, or of those of some tests."""
    if not (DOCS / "measured/tests").exists():
        return "*Not measured with this version: `python docs/measure.py`.*\n"
    rows, last = [], ""
    for row in _measured("tests/figures.csv"):
        if only in row["test"]:
            file, _, test = row["test"].partition("::")
            what, command = ("", "") if row["what"] == last else (row["what"], f"`pytest tests/{file} -k {test}`")
            rows.append((what, row["quantity"], row["lowest"], row["highest"], row["cases"], command))
            last = row["what"]
    head = ("what", "quantity", "lowest", "highest", "cases", "test")
    return table(head, rows) + "\n" + stamp(DOCS / "measured/tests")


def faults() -> str:
    """Return the table of faults that tests try."""
    if not (DOCS / "measured/tests/faults.csv").exists():
        return "*Not measured with this version: `python docs/measure.py`.*\n"
    rows = (
        (row["what"], f"`pytest {row['tests']}`", row["cases"], row["passed"]) for row in _measured("tests/faults.csv")
    )
    return table(("what", "test", "cases", "passed"), rows) + "\n" + stamp(DOCS / "measured/tests")


def shadows() -> str:
    """Return the table of cloud shadows that are found, and the means of its two modes."""
    if not (DOCS / "measured/shadows").exists():
        return "*Not measured with this version: `python tests/compare_classification.py FOLDER`.*\n"
    rows = _measured("shadows/shadows.csv")
    quantities = list(rows[0])[2:]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        of_mode = [row for row in rows if row["mode"] == mode]
        means = {key: f"{sum(float(row[key]) for row in of_mode) / len(of_mode):.1f}" for key in quantities}
        rows.append({"scene": f"mean of {len(of_mode)}", "mode": mode} | means)
    return table(rows[0], (row.values() for row in rows)) + "\n" + stamp(DOCS / "measured/shadows")


_TITLES = {
    "demo": (
        "Demo: coast of Virginia, winter",
        "The real scene of 10 km that comes with Sen2Flow, T18SVG of 12 January 2016.",
    ),
    "alpine": ("Mountains", "A simulated scene with 1500 m of relief, snow and an elevation model."),
    "haze": ("Haze", "A simulated landscape of fields and woods under an optical thickness of 0.6."),
    "snow": ("Snow", "Simulated snow, forest and bare ground under a low sun and dry air, with clouds."),
    "cloudy_coast": ("Cloudy coast", "Simulated water with glint and land under fair-weather clouds and cirrus."),
}


def gallery() -> str:
    """Return the body of the gallery."""
    folder = DOCS / "gallery"
    if not (folder / "scenes.json").exists():
        return "*Not made with this version: `snakemake --cores 2 gallery`.*\n"
    scenes = json.loads((folder / "scenes.json").read_text(encoding="utf-8"))
    with (folder / "gallery.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = ""
    for name, scene in scenes.items():
        title, about = _TITLES[name]
        text += f"## {title}\n\n{about}\n\n![{title}](/gallery/{name}.jpg)\n\n"
        of_scene = [row for row in rows if row["scene"] == name]
        if of_scene:
            settings = yaml.safe_dump(scene["settings"], default_flow_style=True, width=1000, sort_keys=False).strip()
            text += f"Settings of the simulator: `{settings}`\n\n"
            cells = (
                (r["quantity"], *(f"{float(r[k]):.4f}" for k in ("truth", "A", "U")), f"{100 * float(r['inside']):.0f}")
                for r in of_scene
            )
            text += table(("quantity", "true mean", "mean error", "rms error", "inside the limit, %"), cells) + "\n"
    return text + stamp(folder)


def readme() -> str:
    """Return README.md with its figures from the measured tables."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pattern = r"(<!-- measured: [^\n]* -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda match: match[1] + figures_of_readme() + match[2], text, flags=re.S)


def figures_of_readme() -> str:
    """Return the few measured figures that the README shows."""
    if not (DOCS / "gallery/gallery.csv").exists():
        return "*Not measured with this version: `snakemake --cores 2 gallery`.*\n"
    with (DOCS / "gallery/gallery.csv").open(encoding="utf-8") as file:
        rows = {(row["scene"], row["quantity"]): row for row in csv.DictReader(file)}
    lines = []
    for scene in dict.fromkeys(scene for scene, _ in rows):
        cells = [f"{float(rows[scene, band]['U']):.4f}" for band in ("B02", "B04", "B8A")]
        air = [f"{float(rows[scene, key]['truth']):.2f}, {float(rows[scene, key]['A']):+.3f}" for key in ("AOT", "WV")]
        lines.append((_TITLES[scene][0], *cells, *air))
    head = ("simulated scene", "B02", "B04", "B8A", "AOT: true, mean error", "WV: true, mean error")
    title = "Root mean square error of surface reflectance over clear ground:\n\n"
    return title + table(head, lines) + "\n" + stamp(DOCS / "gallery")


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
