"""Where the files of a run lie, and what a run is to make: the Python of the workflow's rules."""

from pathlib import Path

import pytest

from steps import workflow
from steps.core.errors import StepError
from steps.l2a.places import Places
from steps.l2a.results import Run
from steps.workflow import check_braces, chosen_products, has_braces, linked, look_up_tables, read_pods_once

PLACES = Places("out", "/scratch", "tables/mine.csv")


def test_files_of_a_product():
    assert PLACES.wanted("P", ["safe", "cog"], ["scl"]) == [
        "out/P/report/quality.json",
        "out/P/report/report.html",
        "out/P/quicklook/scl.png",
        "out/P.SAFE/manifest.safe",
        "out/P/cog/item.json",
    ]
    assert PLACES.last_files("P", ["zarr"]) == {"zarr": "out/P.zarr/.zmetadata"}
    assert PLACES.between("dem/terrain_20m.tif") == "/scratch/{product}/work/dem/terrain_20m.tif"


def test_files_of_a_run_are_named_for_its_table():
    assert (PLACES.summary, PLACES.index) == ("out/mine_summary.csv", "out/mine_index.html")


def test_a_run_tells_what_became_of_each_product(tmp_path):
    made = tmp_path / "A/cog/item.json"
    made.parent.mkdir(parents=True)
    made.touch()

    def files(name):
        path = f"{tmp_path}/{name}/cog/item.json"
        return [path], {"cog": path}

    run = Run(
        tmp_path, {"A": "a.SAFE", "B": "b.SAFE"}, {"C": "c.SAFE"}, {"d.SAFE": "d.SAFE: is no product"}, ["cog"], files
    )
    rows = run.rows()
    assert [(row.product, row.status) for row in rows] == [
        ("A", "done"),
        ("B", "unfinished"),
        ("C", "skipped"),
        ("d.SAFE", "set aside"),
    ]
    run.write(rows, tmp_path / "t.csv", tmp_path / "t.html", "mine")
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 5
    assert "mine" in (tmp_path / "t.html").read_text()


def test_a_region_chooses_products(monkeypatch):
    found = {"A": "a.SAFE", "B": "b.SAFE", "C": "c.SAFE"}, {"x": "x: is no product"}
    assert chosen_products("t.csv", found, None, "demo")[:2] == found
    parts = {"A": "grid", "B": None}, {"c.SAFE": "c.SAFE: has no grid"}
    monkeypatch.setattr(workflow, "parts_of", lambda *_: parts)
    chosen = chosen_products("t.csv", found, "roi", "demo")
    assert chosen.products == {"A": "a.SAFE"}
    assert chosen.untouched == {"B": "b.SAFE"}
    assert set(chosen.set_aside) == {"x", "c.SAFE"}
    assert found[1] == {"x": "x: is no product"}
    monkeypatch.setattr(workflow, "parts_of", lambda *_: ({}, dict.fromkeys(found[0].values(), "no grid")))
    with pytest.raises(StepError, match="x: is no product"):
        chosen_products("t.csv", found, "roi", "demo")


def test_tables_of_the_aerosol_models():
    tables = look_up_tables("auto")
    assert "continental" in tables[0]
    assert set(look_up_tables("urban")) < set(tables)
    with pytest.raises(StepError, match=r"aerosol.model: 'smoke' is unknown; choose one of auto, continental"):
        look_up_tables("smoke")


def test_a_table_that_has_to_be_made_needs_a_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(workflow, "lut_path", lambda model: tmp_path / model)
    monkeypatch.setattr(workflow, "cache_folder", lambda: Path("/proc/none"))
    with pytest.raises(StepError, match="/proc/none: cannot be written"):
        look_up_tables("urban")


def test_a_folder_with_braces_is_linked(tmp_path, monkeypatch):
    check_braces("scratch", tmp_path)
    folder = tmp_path / "a {b}"
    with pytest.raises(StepError, match="scratch: .*has braces"):
        check_braces("scratch", folder)
    link = linked(str(folder), tmp_path / "cache")
    assert not has_braces(link)
    (folder / "file").touch()
    assert linked(str(folder), tmp_path / "cache") == link
    assert Path(link, "file").exists()
    monkeypatch.chdir(folder)
    assert has_braces("results")


def test_logs_of_pods_are_of_their_only_start():
    class Pods:
        def read_namespaced_pod_log(self, name, previous=False):
            return name, previous

    read_pods_once(Pods)
    assert Pods().read_namespaced_pod_log("pod", previous=True) == ("pod", False)
