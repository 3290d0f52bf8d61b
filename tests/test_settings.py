"""Settings and tables of products as people write them."""

import importlib
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import yaml

from steps.core.environment import leave_foreign_variables
from steps.core.errors import StepError
from steps.core.product_list import distinct, read_list
from steps.core.settings import checked
from steps.workflow import literal, options, recorded_parameters

ROOT = Path(__file__).resolve().parents[1]
TABLES = {
    "plain": b"input\nA.SAFE\nB.SAFE\n",
    "byte order mark, Windows ends": b"\xef\xbb\xbfinput\r\nA.SAFE\r\nB.SAFE\r\n",
    "UTF-16": "input\nA.SAFE\nB.SAFE\n".encode("utf-16"),
    "semicolons": b"note;Input\nfirst;A.SAFE\n;B.SAFE\n",
    "tabs": b"input\tnote\nA.SAFE\tx\nB.SAFE\t\n",
    "quoted": b'name,"input"\n"a, b","A.SAFE"\nc,B.SAFE\n',
    "blank lines and comments": b"# mine\n\n input , note\n\n A.SAFE , x\n# and\n,,\nB.SAFE\n",
    "Latin-1": "input,note\nA.SAFE,Größe\nB.SAFE,\n".encode("latin-1"),
    "ragged": b"input\nA.SAFE,1,2\nB.SAFE\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_as_spreadsheets_write_them(tmp_path, name):
    (tmp_path / "t.csv").write_bytes(TABLES[name])
    assert read_list(str(tmp_path / "t.csv")) == ["A.SAFE", "B.SAFE"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"input\n", "names no product"),
        (b"path\nA\n", "first line is 'path'"),
        (b"input,input\nA,B\n", "has 2 of them"),
        (bytes(range(256)), "it is no text"),
        (b'input\n"A\n', "unexpected end"),
    ],
)
def test_no_table_is_told_in_one_line(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(StepError, match=words) as refused:
        read_list(str(tmp_path / "t.csv"))
    assert "\n" not in str(refused.value)


def test_relative_paths_are_looked_for_beside_the_table(tmp_path):
    (tmp_path / "in.SAFE").mkdir()
    (tmp_path / "t.csv").write_text("input\nin.SAFE\nnowhere.SAFE\n")
    assert read_list(str(tmp_path / "t.csv")) == [str(tmp_path / "in.SAFE"), "nowhere.SAFE"]


def test_bad_products_are_set_aside():
    def name_of(path):
        if path == "bad":
            raise StepError("bad: is\nbroken")
        return path[0]

    products, set_aside = distinct(["a1", "bad", "b1", "a2"], name_of)
    assert products == {"a": "a1", "b": "b1"}
    assert set_aside == {"bad": "bad: is broken", "a2": "a2: the same product as a1; remove one of them"}


SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


def test_defaults_are_those_of_the_schema():
    settings = checked({}, SCHEMA)
    assert settings["formats"] == ["safe", "cog"]
    assert settings["aerosol"] == {"method": "auto", "aot550": 0.2, "model": "auto", "smoothing_km": 0.5}


def test_words_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {
        "input": "~/a.SAFE",
        "output": "-o",
        "dem": "null",
        "cache": "",
        "roi": ["1", "2", "3", "4.5"],
        "keep_intermediates": "true",
        "formats": "cog",
        "classification": {"water_bodies": "None", "median_filter": "3", "improvements": "snow, shadow"},
        "aerosol": {"aot550": "0.1", "method": "fixed"},
        "reflectance": None,
    }
    settings = checked(given, SCHEMA)
    assert {name: settings[name] for name in ("input", "output", "dem", "cache", "keep_intermediates", "formats")} == {
        "input": str(tmp_path / "a.SAFE"),
        "output": "./-o",
        "dem": None,
        "cache": None,
        "keep_intermediates": True,
        "formats": ["cog"],
    }
    assert settings["roi"] == [1.0, 2.0, 3.0, 4.5]
    assert settings["classification"]["water_bodies"] is None
    assert settings["classification"]["median_filter"] == 3
    assert settings["classification"]["improvements"] == ["snow", "shadow"]
    assert (settings["aerosol"]["aot550"], settings["aerosol"]["method"]) == (0.1, "fixed")
    assert settings["reflectance"] == {"adjacency": True, "adjacency_km": 6}


def test_one_item_is_a_list():
    settings = checked({"resolutions": 20, "layers": "qa", "products": "classification"}, SCHEMA)
    assert (settings["resolutions"], settings["layers"], settings["products"]) == ([20], ["qa"], ["classification"])
    assert checked({"resolutions": "10, 60"}, SCHEMA)["resolutions"] == [10, 60]


def test_folder_may_be_called_by_a_number():
    assert checked({"output": 2024}, SCHEMA)["output"] == "2024"


def test_region_is_numbers_or_a_file():
    assert checked({"roi": "1,2, 3,4.5"}, SCHEMA)["roi"] == [1, 2, 3, 4.5]
    assert checked({"roi": "a,b.geojson"}, SCHEMA)["roi"] == "a,b.geojson"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"dem": "/nowhere"}, "dem: /nowhere does not exist"),
        ({"classification": {"land_cover": "/nowhere"}}, "classification.land_cover: /nowhere does not exist"),
        ({"output": "/dev/null/x"}, "not a folder"),
        ({"input": "a\nb"}, "control character"),
        ({"ouput": "x"}, "ouput is no setting; did you mean output"),
        (
            {"aerosol": {"methd": "x"}},
            r"aerosol.methd is no setting; did you mean aerosol.method .*aerosol='{method: ...}'",
        ),
        ({"aerosol_method": "x"}, "did you mean aerosol.method"),
        ({"smoothing_km": 1}, "did you mean aerosol.smoothing_km"),
        ({"colour": 1}, "colour is no setting; see"),
        ({"aerosol": "fixed"}, "aerosol: 'fixed' is no section"),
        ({"aerosol": {"aot550": 9}}, "aerosol.aot550: 9 is greater than the maximum of 3"),
        ({"aerosol": {"aot550": "thick"}}, "aerosol.aot550: 'thick' is not of type 'number'"),
        ({"formats": "cog,jpeg"}, r"formats.1: 'jpeg' is not one of"),
        ({"resolutions": 30}, "resolutions.0: 30 is not one of"),
        ({"products": []}, "products: .* (too short|non-empty)"),
        ({"altitude": float("nan")}, "altitude: nan is no number"),
        ({"roi": [1.0, 2.0, 3.0, float("inf")]}, "roi.3: inf is no number"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(setting, words):
    with pytest.raises(StepError, match=words) as refused:
        checked(setting, SCHEMA)
    assert "\n" not in str(refused.value)


#: Settings by the stage and parameter that they become; those left out are used by the rules alone.
PASSED_ON = {
    "import_l1c": {"ozone": "ozone", "checksums": "checksums", "roi_margin_km": "reflectance.adjacency_km"},
    "dem": {"altitude": "altitude"},
    "scene_classification": {
        name: f"classification.{name}"
        for name in ("snow_possible", "median_filter", "mode", "improvements", "cloud_buffer", "cloud_model")
    },
    "aerosol": {name: f"aerosol.{name}" for name in ("method", "aot550", "smoothing_km")},
    "water_vapour": {name: f"water_vapour.{name}" for name in ("method", "column")},
    "reflectance": {name: f"reflectance.{name}" for name in ("adjacency", "adjacency_km")},
    "uncertainty": {name: f"reflectance.{name}" for name in ("adjacency", "adjacency_km")},
    "terrain_correction": {name: f"terrain.{name}" for name in ("correction", "min_cos_incidence")},
    "write_cog": {
        "compression": "cog.compression",
        "products": "products",
        "layers": "layers",
        "min_cos_incidence": "terrain.min_cos_incidence",
    },
    "publish_cog": {"products": "products", "layers": "layers", "url": "cog.url"},
    "catalog": {"url": "cog.url"},
    "write_jp2": {"jpeg2000": "safe.jpeg2000"},
}


#: Words that the rules understand, so that no stage gets them.
FOR_THE_RULES = {"terrain.correction": {"never"}}


def words_of(kind):
    """Yield the words in a type such as `list[Literal["a", "b"]] | None`."""
    for part in typing.get_args(kind):
        yield from [part] if isinstance(part, str) else words_of(part)


@pytest.mark.parametrize("stage", PASSED_ON)
def test_stages_have_the_choices_and_defaults_of_the_settings(stage):
    parameters = inspect.signature(importlib.import_module(f"steps.{stage}").run, eval_str=True).parameters
    for name, setting in PASSED_ON[stage].items():
        entry = SCHEMA
        for key in setting.split("."):
            entry = entry["properties"][key]
        default, kind = parameters[name].default, parameters[name].annotation
        choices = entry.get("enum") or entry.get("items", {}).get("enum")
        if default not in (inspect.Parameter.empty, None):  # None stands for all of a list
            assert (list(default) if isinstance(default, tuple) else default) == entry["default"], setting
        if choices:
            assert set(words_of(kind)) == set(choices) - FOR_THE_RULES.get(setting, set()), setting


NASTY = [
    "a' & touch evil & 'b",
    "a$(touch evil)",
    "a`touch evil`",
    'a"b',
    "a;touch evil",
    "a*b",
    "a{b}c",
    "-a",
    "#a",
    "a\\b",
]


RULE = """
command{i} = 'python -c "import sys; print(sys.argv[1:-4])" '
rule x{i}:
    output: 'out{i}'
    params: dem=literal({path!r}), roi=literal(None)
    log: 'log{i}'
    shell: command{i}
this = workflow.get_rule('x{i}')
command{i} += options(*(dict(n.items()) for n in (this.input, this.output, this.params))) + ' > {{output:q}}'
"""


@pytest.fixture(scope="module")
def folder_of_rules(tmp_path_factory):
    """The folder of a workflow that has run a rule for each path, which is among its parameters."""
    folder, count = tmp_path_factory.mktemp("rules"), len(NASTY)
    head = f"from steps.workflow import literal, options\nrule all:\n    input: {[f'out{i}' for i in range(count)]}\n"
    (folder / "Snakefile").write_text(head + "".join(RULE.format(i=i, path=path) for i, path in enumerate(NASTY)))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-q", "all", "--directory", folder]
    subprocess.run([*command, "--snakefile", folder / "Snakefile"], check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", NASTY)
def test_no_shell_reads_a_path(folder_of_rules, path):
    """A rule of Snakemake with such a path among its parameters runs just its own command."""
    assert (folder_of_rules / f"out{NASTY.index(path)}").read_text() == f"{['--dem', path]}\n"
    made = {f"{kind}{i}" for kind in ("log", "out") for i in range(len(NASTY))}
    assert {p.name for p in folder_of_rules.iterdir()} == {"Snakefile", ".snakemake"} | made


def test_options_follow_from_names():
    inputs = {"boa": ["a", "b"], "layers": "x", "dem": "looked at by Snakemake", "uncertainty": []}
    params = {
        "dem": literal("{}"),
        "code": "1f",
        "limit_km": 0.0,
        "roi": None,
        "adjacency": True,
        "unrounded": False,
        "kinds": [],
    }
    assert options(inputs, {"report": "r", "checksums": "c"}, params) == (
        "--boa {input.boa:q} --report {output.report:q} --dem {params.dem:q} --limit-km {params.limit_km:q}"
        " --adjacency --no-unrounded --kinds {params.kinds:q} --threads {threads} --log {log:q}"
    )


def test_variables_of_another_installation_are_left_aside(monkeypatch):
    monkeypatch.setenv("PROJ_DATA", "/opt/other/proj")
    monkeypatch.setenv("GDAL_SKIP", "JP2OpenJPEG")
    sentences = leave_foreign_variables()
    assert [s.partition(" is left aside")[0] for s in sentences] == [
        "PROJ_DATA=/opt/other/proj",
        "GDAL_SKIP=JP2OpenJPEG",
    ]
    assert leave_foreign_variables() == []


def test_what_is_recorded_of_parameters_may_be_moved():
    params = {"dem": literal("/data/dem.tif"), "l1c": lambda wildcards: "x", "places": ["results/a"], "limit": 0.5}
    recorded = {"dem": "dem.tif", "places": "['a']", "limit": "0.5"}
    assert recorded_parameters(params, {"results/": "", "/data/dem.tif": "dem.tif"}) == recorded
