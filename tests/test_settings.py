"""Settings and tables of products as people write them."""

import subprocess
import sys

import pytest

from steps.core.environment import leave_foreign_variables
from steps.core.errors import StepError
from steps.core.product_list import distinct, failures, read_list
from steps.core.settings import check_finite, completed
from steps.workflow import literal, options

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


def test_what_failed_is_read_from_the_logs(tmp_path):
    (tmp_path / "P/logs").mkdir(parents=True)
    (tmp_path / "P/logs/dem.log").write_text("2026 steps.dem INFO: x\n2026 steps.dem ERROR: d.tif: is no raster\n")
    (tmp_path / "P/logs/import.log").write_text("2026 steps.import INFO: done\n")
    assert failures(tmp_path, ["P", "Q"]) == ["P: dem: d.tif: is no raster"]


def test_words_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {
        "input": "~/a.SAFE", "output": "-o", "dem": "null", "cache": "", "roi": ["1", "2", "3", "4.5"],
        "keep_intermediates": "true", "formats": "cog", "classification": {"water_bodies": "None", "median_filter": 3},
    }  # fmt: skip
    assert completed(given) == {
        "input": str(tmp_path / "a.SAFE"), "output": "./-o", "dem": None, "cache": None, "roi": [1.0, 2.0, 3.0, 4.5],
        "keep_intermediates": True, "formats": ["cog"], "classification": {"water_bodies": None, "median_filter": 3},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"dem": "/nowhere"}, "dem: /nowhere does not exist"),
        ({"classification": {"land_cover": "/nowhere"}}, "classification.land_cover: /nowhere does not exist"),
        ({"output": "a{b}"}, "braces"),
        ({"output": "/dev/null/x"}, "not a folder"),
        ({"input": "a\nb"}, "control character"),
    ],
)
def test_what_cannot_be_used_is_told(setting, words):
    with pytest.raises(StepError, match=words):
        completed(setting)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value):
    check_finite({"a": 1.0, "b": {"c": [2.0]}})
    with pytest.raises(StepError, match=r"b\.c\.1"):
        check_finite({"a": 1.0, "b": {"c": [2.0, value]}})


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
