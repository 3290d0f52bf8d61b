"""The report of a product, the index of a run, and the provenance of a product."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from small_scene import GRID, no_data, write_small_scene
from test_write_stac import QUALITY

from steps import quality_report, report
from steps.core.documents import write_document
from steps.core.rasters import Grid, read, write
from steps.l2a import figures
from steps.l2a.pages import REPORT, THUMBNAIL, index_page
from steps.l2a.run_summary import Row, stage_costs, warnings_in
from steps.sentinel2.kinds import BOA, CLASSIFICATION, TOA, UNCERTAINTY
from steps.sentinel2.scene_classes import SCL_CLASSES

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome to look at pages with")
SETTINGS = {"aerosol": {"method": "auto"}, "dem": None, "formats": ["cog"], "output": "/data/l2a"}


def browse(page, *options, width=1200, height=3000):
    """Open a page in a browser; return what it prints."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},{height}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def looked_at(page, picture, **size):
    browse(page, f"--screenshot={picture}", **size)
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    given = write_small_scene(folder)(20)
    for resolution in (20, 60):
        boa = folder / f"boa_{resolution}.tif"
        grid = GRID.at(resolution)
        bands = [band for band in ("B02", "B03", "B04", "B8A", "B11")]
        # Hazy: brighter by 0.05 in every band.
        hazy = {band: np.where(read(boa, BOA, band) == 0, 0, read(boa, BOA, band) + 500) for band in bands}
        write(folder / f"toa_{resolution}.tif", TOA, grid, {band: values.astype("u2") for band, values in hazy.items()})
        spread = {band: np.where(no_data(grid), 0, 700).astype("u2") for band in bands}
        write(folder / f"uncertainty_{resolution}.tif", UNCERTAINTY, grid, spread)
    write_document(folder / "quality.json", QUALITY)
    return {
        "metadata": folder / "metadata.json",
        "quality": folder / "quality.json",
        **{name: [folder / f"{name}_{size}.tif" for size in (20, 60)] for name in ("toa", "boa", "uncertainty")},
        **{name: given[name] for name in ("aot", "wvp", "classification")},
    }


@pytest.fixture(scope="module")
def folder(inputs, product, tmp_path_factory):
    """A product with its report."""
    folder = tmp_path_factory.mktemp("products") / QUALITY.product
    (folder / "logs").mkdir(parents=True)
    (folder / "logs/dem.log").write_text(
        "steps.dem WARNING: a hill <is> missing\nsteps.dem INFO: done in 1.5 s, 2.5 CPU s\n"
    )
    outputs = {"page": folder / REPORT, "thumbnail": folder / THUMBNAIL, "crate": folder / "ro-crate-metadata.json"}
    report.run(**inputs, **outputs, l1c=product, settings=json.dumps(SETTINGS))
    return folder


class Addresses(HTMLParser):
    """What a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]


@pytest.mark.slow
def test_the_page_needs_no_other_file(folder):
    text = (folder / REPORT).read_text()
    addresses = Addresses(text).found
    assert [address for address in addresses if not address.startswith("data:")] == ["../ro-crate-metadata.json"]
    assert "url(" not in text
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert len(text) < 1e6


def test_the_page_tells_what_there_is_to_tell(folder):
    text = (folder / REPORT).read_text()
    for words in (
        "The ozone column is the configured one.",
        "a hill &lt;is&gt; missing",
        "S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125329",
        "DDV",
        "high probability clouds",
        "Aerosol optical thickness at 550 nm",
        "aerosol.method",
        "lut_continental.npz",
    ):
        assert words in text
    assert "0.0070" in text  # the uncertainty that all pixels have
    assert len(Addresses(text).found) == 1 + 2 + 1 + 2  # crate, before and after, classes, two maps


def test_pictures_show_the_same_stretch(folder):
    """Haze of 0.05 is 254 * 0.05 / 0.25 = 51 in a picture."""
    found = [address for address in Addresses((folder / REPORT).read_text()).found if address.startswith("data:")]
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))).astype(int)
        for address in found[:2]
    )
    usable = (after > 20) & (before < 230) & (before > 20)
    assert np.median((before - after)[usable]) == pytest.approx(51, abs=2)


def test_class_means_are_those_of_all_pixels(inputs):
    classes = read(inputs["classification"], CLASSIFICATION, "SCL")
    means = figures.class_means(inputs["boa"][0], BOA, classes)
    stored = read(inputs["boa"][0], BOA, "B04")
    for code in range(1, 12):
        wanted = (classes == code) & (stored != 0)
        assert means["B04"][code] == pytest.approx(stored[wanted].mean() * 1e-4 - 0.1, abs=1e-9)
    assert np.isnan(means["B04"][0])
    # Of pixels of another size every third class counts.
    coarse = figures.class_means(inputs["boa"][1], BOA, classes)["B04"]
    stored, classes = read(inputs["boa"][1], BOA, "B04"), classes[1::3, 1::3]
    assert coarse[4] == pytest.approx(stored[(classes == 4) & (stored != 0)].mean() * 1e-4 - 0.1, abs=1e-9)


def test_a_product_of_classes_alone_has_a_report(inputs, product, tmp_path):
    write_document(tmp_path / "quality.json", QUALITY)
    few = {name: inputs[name] for name in ("metadata", "quality", "classification")}
    outputs = {
        "page": tmp_path / "P" / REPORT,
        "thumbnail": tmp_path / "P" / THUMBNAIL,
        "crate": tmp_path / "P/ro-crate-metadata.json",
    }
    report.run(**few, **outputs, l1c=product, settings="{}")
    assert "Before and after" not in outputs["page"].read_text()
    assert max(Image.open(outputs["thumbnail"]).size) == 96


def test_provenance_names_inputs_versions_and_settings(folder, product):
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    entities = {one["@id"]: one for one in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    manifest = hashlib.sha256((product / "manifest.safe").read_bytes()).hexdigest()
    assert entities["#input-0"]["sha256"] == manifest
    assert (entities["#input-1"]["name"],) == QUALITY.lut
    assert entities["#setting-aerosol.method"]["value"] == '"auto"'
    versions = {
        one["name"]: one["softwareVersion"] for one in entities.values() if one["@type"] == "SoftwareApplication"
    }
    assert versions["numpy"] == np.__version__
    assert {"Sen2Flow", "Python", "GDAL", "numba", "rasterio", "snakemake"} <= set(versions)
    action = entities["#processing"]
    assert {one["@id"] for one in entities["./"]["hasPart"]} == {REPORT, THUMBNAIL}
    for key in ("object", "result"):
        assert all(one["@id"] in entities for one in action[key])
    for one in entities["./"]["hasPart"]:
        assert int(entities[one["@id"]]["contentSize"]) == (folder / one["@id"]).stat().st_size


def test_costs_and_warnings_of_the_logs(folder):
    assert stage_costs(folder / "logs")["dem"] == (1.5, 2.5)
    assert warnings_in(folder / "logs") == ["a hill <is> missing"]


def rows(folder, number):
    """Rows of a table, most of them of the same product."""
    for index in range(number):
        cover = (index * 37) % 101
        done = {"cloud_cover": cover, "aot550": 0.1, "water_vapour": 2.0, "seconds": 90.0, "quality": ""}
        yield Row(folder.name if index == 0 else f"P{index:04}", "done", **done)
    yield Row("bad", "failed", stage="aerosol", reason="it <b>broke</b>")


@pytest.fixture(scope="module")
def index(folder):
    quality = folder / "report/quality.json"
    quality.write_text(json.dumps({"bbox": [-1.2, 43.3, 0.1, 44.3]}))
    first, *others = rows(folder, 1000)
    first = Row(**{**first.__dict__, "quality": str(quality)})
    page = folder.parent / "index.html"
    page.write_text(index_page([first, *others], folder.parent, "table"))
    return page


def test_the_index_of_a_thousand_products_is_small(index, folder):
    text = index.read_text()
    assert len(text) < 1e6
    assert text.count("<tr>") == 1002
    assert "it &lt;b&gt;broke&lt;/b&gt;" in text
    assert set(Addresses(text).found) == {f"{folder.name}/{REPORT}", f"{folder.name}/{THUMBNAIL}"}
    assert "<rect" in text


def test_a_map_across_the_date_line_is_small(folder, tmp_path):
    quality = tmp_path / "quality.json"
    quality.write_text(json.dumps({"bbox": [179.5, -17, -179.4, -16]}))
    text = index_page([Row("P", "done", quality=str(quality))], tmp_path, "table")
    assert "180°" in text
    assert "179°W" not in text or "179.5°W" in text


def test_bounding_box_of_a_report():
    west, south, east, north = quality_report._bounding_box(Grid(32660, 823979, 10000, 1000, 20, 10))
    assert west > 179
    assert east < -179
    assert (south, north) == pytest.approx((0, 0.0904), abs=1e-3)


@pytest.mark.slow
@needs_browser
def test_the_slider_shows_both_pictures(folder, tmp_path):
    page = tmp_path / "report.html"
    text = (folder / REPORT).read_text()
    views = {}
    for cut in (0, 100):
        page.write_text(
            text.replace(
                "</body>",
                f"<script>const r=document.querySelector('.slider input');r.value={cut};r.oninput()</script></body>",
            )
        )
        views[cut] = looked_at(page, tmp_path / f"{cut}.png")
    changed = np.abs(views[0] - views[100]).max(axis=2) > 8
    assert changed.mean() > 0.05
    # At 0 all is the surface, which is darker than the top of the atmosphere.
    assert views[0][changed].mean() < views[100][changed].mean() - 20


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1200, 500])
def test_pages_fit_their_window(folder, index, tmp_path, width):
    script = "<script>document.title=document.documentElement.scrollWidth-innerWidth</script></body>"
    for name, page in (("report", folder / REPORT), ("index", index)):
        copy = tmp_path / f"{name}.html"
        copy.write_text(page.read_text().replace("</body>", script))
        title = re.search("<title>(.*)</title>", browse(copy, "--dump-dom", width=width))[1]
        assert int(title) <= 0, name


@pytest.mark.slow
@needs_browser
def test_the_index_sorts_and_searches(index, tmp_path):
    page = tmp_path / "index.html"
    script = """<script>
    const button = [...document.querySelectorAll("th button")].find(b => b.textContent.startsWith("clouds"));
    const column = () => [...body.rows].map(r => r.cells[3].textContent).join(",");
    button.click(); const up = column(); button.click(); const down = column();
    search("P0007");
    const left = [...body.rows].filter(r => !r.hidden).map(r => r.cells[1].textContent.trim());
    document.title = JSON.stringify([up, down, left.join(",")]);
    </script></body>"""
    page.write_text(index.read_text().replace("</body>", script))
    up, down, left = json.loads(re.search("<title>(.*)</title>", browse(page, "--dump-dom"))[1])
    covers = sorted((index * 37) % 101 for index in range(1000))
    assert [float(value) for value in up.split(",")[:-1]] == covers
    assert up.endswith(",")  # the one that failed has none
    assert [float(value) for value in down.split(",")[:-1]] == covers[::-1]
    assert left == "P0007"


def test_every_class_has_a_label():
    assert len({figures.label_of(code) for code in SCL_CLASSES}) == len(SCL_CLASSES)
