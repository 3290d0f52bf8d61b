"""What became of the products of a table, and how a table of many is planned."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from checkout import Checkout

from steps import demo
from steps.core.provenance import fingerprint
from steps.l2a.run_summary import Row, failures, printed, product_row, write_summary
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT
from steps.workflow import MOST_PLANNED, keep_products, kept_products, plans_products

DONE = "2026 steps.x INFO: done in {} s, {} CPU s\n"
QUALITY = {
    "class_percentages": {"MEDIUM_PROBA_CLOUDS": 1.5, "HIGH_PROBA_CLOUDS": 20, "THIN_CIRRUS": 0.25, "WATER": 78.25},
    "mean_aot550": 0.12345,
    "mean_water_vapour": 1.23456,
}


@pytest.fixture
def folder(tmp_path):
    """A product that is done, of two stages."""
    for name in ("logs", "benchmarks", "report", "cog"):
        (tmp_path / "P" / name).mkdir(parents=True)
    for stage, cost, memory in (("dem", (1.5, 2), "120.5"), ("aerosol", (0.25, 0.5), "80")):
        (tmp_path / f"P/logs/{stage}.log").write_text("2026 steps.x INFO: x\n" + DONE.format(*cost))
        (tmp_path / f"P/benchmarks/{stage}.tsv").write_text(f"s\tmax_rss\n1\t{memory}\n")
    (tmp_path / "P/report/quality.json").write_text(json.dumps(QUALITY))
    (tmp_path / "P/cog/item.json").touch()
    return tmp_path / "P"


def row(folder):
    item = str(folder / "cog/item.json")
    return product_row("P", "in.SAFE", folder, [item, str(folder / "report/quality.json")], {"cog": item})


def test_a_product_that_is_done(folder):
    assert row(folder) == Row(
        product="P",
        status="done",
        cloud_cover=21.75,
        aot550=0.1235,
        water_vapour=1.235,
        seconds=1.75,
        cpu_seconds=2.5,
        memory_mb=120.5,
        input="in.SAFE",
        quality=str(folder / "report/quality.json"),
        formats={"cog": str(folder / "cog/item.json")},
    )


def later(path, text):
    path.write_text(text)
    os.utime(path, (2e9, 2e9))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026 steps.dem INFO: x\n2026 steps.dem ERROR: d.tif: is no raster\n", "d.tif: is no raster"),
        ("2026 steps.dem INFO: x\n", "ended without a message, as when it is killed or there is too little memory"),
        ("", "ended without a message, as when it is killed or there is too little memory"),
    ],
)
def test_a_failed_stage_is_named_though_older_results_are_there(folder, text, reason):
    later(folder / "logs/dem.log", text)
    later(folder / "logs/product.log", "2026 steps.product ERROR: the same\n")
    found = row(folder)
    assert (found.status, found.stage, found.reason, found.cloud_cover) == ("failed", "dem", reason, None)
    assert failures([found]) == [f"P: dem: {reason}"]


def test_what_failed_before_everything_was_made_does_not_count(folder):
    (folder / "logs/write_safe.log").write_text("2026 steps.write_safe ERROR: disk full\n")
    os.utime(folder / "logs/write_safe.log", (1, 1))
    assert row(folder).status == "done"


def test_the_run_of_the_product_itself_may_fail(folder):
    (folder / "cog/item.json").unlink()
    assert row(folder).status == "unfinished"
    (folder / "logs/product.log").write_text("2026 steps.product ERROR: out: another run is at work\n")
    assert row(folder).stage == "product"


def test_table_for_programs_and_for_people(folder, tmp_path):
    rows = [row(folder), Row("bad.zip", "set aside", reason='bad.zip: is broken, "really"', input="bad.zip")]
    write_summary(tmp_path / "s.csv", rows, ["safe", "cog"])
    with (tmp_path / "s.csv").open(newline="") as stream:
        done, bad = csv.DictReader(stream)
    assert done["product"] == "P"
    assert float(done["water_vapour"]) == 1.235
    assert (done["safe"], done["cog"]) == ("", str(folder / "cog/item.json"))
    assert (bad["status"], bad["reason"], bad["seconds"]) == ("set aside", 'bad.zip: is broken, "really"', "")
    lines = printed(rows)
    assert lines[-1] == "1 of 2 products done, 1 set aside"
    assert re.search(r"^P +21\.8% +0\.12. +1\.2. +2 +120 ", lines[1])


def test_products_are_planned_where_stages_are_too_many():
    def settings(**given):
        return SimpleNamespace(
            **{"forcerun": (), "until": (), "omit_from": (), "forceall": False, "batch": None} | given
        )

    assert not plans_products("auto", MOST_PLANNED, settings())
    assert plans_products("auto", MOST_PLANNED + 1, settings())
    assert plans_products("auto", 4, settings(batch="products=1/2"))
    assert plans_products("products", 1, settings())
    assert not plans_products("stages", 10000, settings(batch="products=1/2"))
    for about_stages in ("forcerun", "until", "omit_from", "forceall"):
        assert not plans_products("auto", 10000, settings(**{about_stages: ("aerosol",)}))


def test_jobs_know_the_products_of_a_table_as_long_as_it_is_the_same(tmp_path):
    table, kept = tmp_path / "t.csv", tmp_path / "logs/t_products.json"
    table.write_text("input\na\n")
    assert kept_products(kept, str(table)) is None
    keep_products(kept, str(table), ({"A": "a"}, {"b": "is broken"}))
    assert kept_products(kept, str(table)) == ({"A": "a"}, {"b": "is broken"})
    before = kept.stat().st_mtime_ns
    keep_products(kept, str(table), ({"A": "a"}, {"b": "is broken"}))
    assert kept.stat().st_mtime_ns == before
    table.write_text("input\nb\n")
    fingerprint.cache_clear()  # another run begins
    assert kept_products(kept, str(table)) is None
    kept.write_text("{")
    assert kept_products(kept, str(table)) is None


def products(folder, count):
    """Write a table of products that are there by their metadata alone, which is what is looked at beforehand."""
    demo.run(folder / "a.SAFE", size=96)
    text = (folder / "a.SAFE/MTD_MSIL1C.xml").read_text().replace("a.SAFE", f"{DEMO_PRODUCT}.SAFE")
    names = [f"{DEMO_PRODUCT[:-6]}{number:06}" for number in range(count)]
    for name in names:
        (folder / f"{name}.SAFE").mkdir()
        (folder / f"{name}.SAFE/MTD_MSIL1C.xml").write_text(text.replace(DEMO_PRODUCT, name))
    (folder / "table.csv").write_text("\n".join(["input", *(f"{folder}/{name}.SAFE" for name in names), ""]))


@pytest.mark.slow
def test_ten_thousand_products_are_planned_in_a_minute(tmp_path):
    """And a gigabyte and a half; processor time, since other tests run beside this one."""
    products(tmp_path, 10_000)
    checkout = Checkout(tmp_path / "project")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "--config", f"input={tmp_path}/table.csv"]
    script = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); "
    script += "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(code, used.ru_utime, used.ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=checkout.folder,
        env=os.environ | {"PYTHONPATH": str(checkout.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, seconds, kilobytes = map(float, done.stdout.split())
    assert code == 0
    assert seconds < 60
    assert kilobytes < 1.5e6


@pytest.fixture(scope="module")
def planned_by_product(tmp_path_factory):
    """A run over the demo, a product without an image, and something that is none."""
    folder = tmp_path_factory.mktemp("table")
    checkout = Checkout(folder / "project")
    broken = folder / f"{DEMO_PRODUCT[:-6]}000001.SAFE"
    demo.run(broken)
    next(broken.rglob("*_B03.jp2")).unlink()
    (checkout.folder / "table.csv").write_text(f"input\ndemo\n{broken}\n{folder}/nothing.zip\n")
    yield checkout, checkout.bash(f"snakemake --cores 2 --config {TABLE}", check=False)
    shutil.rmtree(folder)


TABLE = "input=table.csv plan=products formats=cog"


@pytest.mark.slow
def test_one_bad_product_never_stops_the_others(planned_by_product):
    checkout, done = planned_by_product
    assert done.returncode == 1
    with (checkout.folder / "results/table_summary.csv").open(newline="") as stream:
        good, bad, nothing = csv.DictReader(stream)
    assert (good["product"], good["status"]) == (l2a_name(DEMO_PRODUCT), "done")
    assert (checkout.folder / good["cog"]).exists()
    assert 0 < float(good["aot550"]) < 1
    assert float(good["memory_mb"]) > 50
    assert (bad["status"], bad["stage"]) == ("failed", "import_l1c")
    assert bad["reason"].endswith("_B03.jp2: is missing; download the product again")
    assert (nothing["status"], nothing["product"][-11:]) == ("set aside", "nothing.zip")
    assert "does not exist" in nothing["reason"]
    assert "1 of 3 products done, 1 failed, 1 set aside" in done.stdout


@pytest.mark.slow
def test_planned_by_product_what_is_there_stays_and_what_is_gone_is_made_again(planned_by_product):
    checkout, _ = planned_by_product
    (checkout.folder / "table.csv").write_text("input\ndemo\n")

    def rules(arguments=""):
        return checkout.planned(arguments, TABLE)

    assert rules() == {"summary"}  # of another table
    assert rules("'aerosol={smoothing_km: 2}'") == {"product", "summary", "catalog"}
    assert rules("plan=stages") == {"summary"}
    (checkout.product / "quicklook/scl.png").unlink()
    assert rules() == {"product", "summary", "catalog"}
    checkout.bash(f"snakemake --cores 2 --config {TABLE}")
    assert rules() == set()
    assert (checkout.product / "quicklook/scl.png").exists()


@pytest.mark.slow
def test_a_batch_of_a_table_is_of_whole_products(planned_by_product):
    checkout, _ = planned_by_product
    paths = [checkout.folder.parent / f"{DEMO_PRODUCT[:-6]}000001.SAFE", "demo"]
    (checkout.folder / "table.csv").write_text("\n".join(["input", *map(str, paths), ""]))
    plan = checkout.dry_run("output=other --batch products=1/2", "input=table.csv").stdout
    assert re.findall(r"^rule product:$", plan, re.M) == ["rule product:"]
    assert set(re.findall(r"^    wildcards: product=(\w+)", plan, re.M)) == {l2a_name(DEMO_PRODUCT)}
