"""Products and elevation tiles at addresses, by an object store and a web server on this machine that also fail."""

import gzip
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from checkout import ROOT
from l1c_products import CONSTANT_VIEWS, NAME, write_product
from test_layouts import as_aws

from steps import elevation_tiles, fetch, upload
from steps.core import transfer
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.core.transfer import Missing, Store
from steps.l1c.addresses import is_elsewhere, place_of, product_at
from steps.l1c.formats import product_name
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene import Scene
from steps.simulation.demo_scene import DEMO_PRODUCT
from steps.terrain import copernicus

SAFE = f"s3://eodata/Sentinel-2/MSI/L1C/2024/01/20/{NAME}.SAFE"


@pytest.fixture(scope="module")
def s3():
    """Endpoint of an object store with the buckets `eodata` and `results`."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        for bucket in ("eodata", "results"):
            client.create_bucket(Bucket=bucket)
        yield client, endpoint
    server.stop()


def put(client, folder, prefix):
    for path in filter(Path.is_file, folder.rglob("*")):
        client.upload_file(str(path), "eodata", f"{prefix}/{path.relative_to(folder).as_posix()}")


@pytest.fixture(scope="module")
def stored(s3, tmp_path_factory):
    """A product in the layout of the archive `eodata`, with a picture that no stage reads; its folder here."""
    safe = write_product(tmp_path_factory.mktemp("l1c"), views=CONSTANT_VIEWS)
    (safe / "HTML").mkdir()
    (safe / "HTML/star_bg.jpg").touch()
    put(s3[0], safe, SAFE.removeprefix("s3://eodata/"))
    return safe


class Server:
    """A web server that breaks connections and sends damaged bytes as it is told."""

    def __init__(self):
        self.files, self.requests, self.cut, self.status, self.ranges = {}, [], [], [], True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        self.requests.append((request.path, request.headers.get("Range"), request.headers.get("Authorization")))
        content = self.files.get(request.path)
        status = self.status.pop(0) if self.status else 200 if content is not None else 404
        if status != 200:
            request.send_error(status)
            return
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        start = int(found[1]) if found and self.ranges else 0
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        request.send_header("x-amz-request-id", "1")
        request.end_headers()
        sent = content[start:]
        request.wfile.write(sent[: self.cut.pop(0)] if self.cut else sent)


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(transfer, "WAIT", 0.01)
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


# --- Transfers --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_goes_on_where_it_stopped(web, tmp_path, ranges):
    content = np.random.default_rng(0).bytes(3_000_000)
    web.files["/a.zip"], web.cut, web.ranges = content, [1_000_000, 0, 2_000], ranges
    Store().fetch(f"{web.address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    asked = [int(text[6:-1]) for _, text, _ in web.requests if text]
    assert asked
    assert max(asked) >= 1_000_000 - 2**16 or not ranges


@pytest.mark.slow
def test_another_process_goes_on_unless_the_file_has_changed(web, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    content = np.random.default_rng(0).bytes(3_000_000)
    for changed in (False, True):
        web.files["/a.zip"], web.cut = content, [2_500_000]
        with pytest.raises(StepError, match=r"a\.zip: .*tried 1 times.*same command again"):
            Store().fetch(f"{web.address}/a.zip", tmp_path / "a.zip")
        if changed:
            web.files["/a.zip"] = content = content[::-1]
        web.requests.clear()
        Store().fetch(f"{web.address}/a.zip", tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_bytes() == content
        assert bool([text for _, text, _ in web.requests if text]) != changed
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
        (tmp_path / "a.zip").unlink()


@pytest.mark.slow
def test_damage_on_the_way_is_found_and_fetched_anew(web, tmp_path):
    web.files["/a"], seen = b"right", []

    def check(path):
        seen.append(path.read_bytes())
        if len(seen) == 1:
            raise StepError("it is damaged")

    Store().fetch(f"{web.address}/a", tmp_path / "a", check)
    assert seen == [b"right", b"right"]
    assert (tmp_path / "a").read_bytes() == b"right"


@pytest.mark.slow
def test_servers_that_are_busy_are_asked_again_and_those_that_refuse_are_not(web, tmp_path, monkeypatch):
    web.files["/a"], web.status = b"x", [503, 429]
    monkeypatch.setenv(transfer.TOKEN, "secret")
    Store().fetch(f"{web.address}/a#name", tmp_path / "a")
    assert [token for _, _, token in web.requests] == ["Bearer secret"] * 3
    for status, words, kind in ((404, "no such file", Missing), (403, "refuses access .403.", StepError)):
        web.requests.clear()
        web.status = [status]
        with pytest.raises(kind, match=words):
            Store().fetch(f"{web.address}/b", tmp_path / "b")
        assert len(web.requests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_object_store_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("boto3")
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    with pytest.raises(StepError, match=r"s3://b/k: .*127\.0\.0\.1:9"):
        Store("http://127.0.0.1:9").fetch("s3://b/k", tmp_path / "k")
    with pytest.raises(StepError, match="profile"):
        Store(profile="nobody").fetch("s3://b/k", tmp_path / "k")


# --- Which product an address is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (SAFE + "/", f"{NAME}.SAFE"),
        (f"s3://b/{NAME}.zarr", f"{NAME}.zarr"),
        (f"s3://b/{NAME}.SAFE.zip", f"{NAME}.zip"),
        (f"https://host/{NAME}.zip", f"{NAME}.zip"),
        (f"https://host/odata/v1/Products(1-2)/$value#{NAME}", f"{NAME}.zip"),
        (f"/data/{NAME}.tar.gz", f"{NAME}.tar"),
        (f"{NAME}.tgz", f"{NAME}.tar"),
    ],
)
def test_names_and_places_of_addresses(given, place):
    assert is_elsewhere(given)
    assert product_at(given, Store()) == NAME
    assert str(place_of(given)) == place


@pytest.mark.slow
def test_what_tells_no_name(s3):
    assert not is_elsewhere(f"/data/{NAME}.zip")
    with pytest.raises(StepError, match="add `#` and the name"):
        product_at("https://host/a.zip", Store())
    with pytest.raises(StepError, match="tileInfo.json: there is no such file"):
        product_at("s3://eodata/tiles/31/T/CJ/2024/1/20/9", Store(s3[1]))


# --- Fetching and uploading -------------------------------------------------------------------------------------------


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_prefix_is_fetched_but_for_what_nobody_reads(s3, stored, tmp_path):
    """Nor what would lie outside of its folder."""
    s3[0].put_object(Bucket="eodata", Key=f"{SAFE.removeprefix('s3://eodata/')}/../../outside", Body=b"x")
    fetch.run(SAFE, l2a_name(NAME), tmp_path / "l1c", s3[1], threads=4)
    found = contents(tmp_path / "l1c" / f"{NAME}.SAFE")
    assert found == {name: content for name, content in contents(stored).items() if not name.startswith("HTML")}
    assert [path.name for path in tmp_path.iterdir()] == ["l1c"]


@pytest.mark.slow
def test_an_object_that_was_damaged_in_the_store(s3, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "WAIT", 0)
    client, endpoint = s3
    prefix = "damaged/" + NAME + ".SAFE"
    put(client, stored, prefix)
    image = next(name for name in contents(stored) if name.endswith("_B04.jp2"))
    client.put_object(Bucket="eodata", Key=f"{prefix}/{image}", Body=b"other")
    with pytest.raises(StepError, match=r"B04\.jp2: .*does not fit its checksum in manifest\.safe"):
        fetch.run(f"s3://eodata/{prefix}", l2a_name(NAME), tmp_path / "l1c", endpoint)
    assert not (tmp_path / "l1c").exists()
    client.upload_file(str(stored / image), "eodata", f"{prefix}/{image}")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.jp2")}
    fetch.run(f"s3://eodata/{prefix}", l2a_name(NAME), tmp_path / "l1c", endpoint)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "l1c").rglob("*.jp2")}
    assert before
    assert all(kept[path.name] == time for path, time in before.items())  # not fetched twice


@pytest.mark.slow
def test_a_tile_folder_with_its_product(s3, stored, tmp_path, monkeypatch):
    client, endpoint = s3
    monkeypatch.setattr("test_layouts.NAME", NAME)
    as_aws(stored, tmp_path / "bucket")
    put(client, tmp_path / "bucket", "l1c")
    address = "s3://eodata/l1c/tiles/31/T/CJ/2024/1/20/0"
    assert product_at(address, Store(endpoint)) == NAME
    fetch.run(address, l2a_name(NAME), tmp_path / "l1c", endpoint)
    assert product_name(tmp_path / "l1c" / place_of(address)) == NAME
    assert (tmp_path / f"l1c/products/2024/1/20/{NAME}/metadata.xml").exists()


@pytest.mark.slow
def test_packages(s3, stored, web, tmp_path):
    zipped = Path(shutil.make_archive(str(tmp_path / NAME), "zip", stored.parent, stored.name))
    web.files[f"/{NAME}.zip"], web.cut = zipped.read_bytes(), [5000]
    s3[0].upload_file(str(zipped), "eodata", f"{NAME}.zip")
    tar = shutil.make_archive(str(tmp_path / NAME), "gztar", stored.parent, stored.name)
    for number, given in enumerate((f"{web.address}/{NAME}.zip", f"s3://eodata/{NAME}.zip", tar)):
        fetch.run(given, l2a_name(NAME), tmp_path / f"l1c{number}", s3[1])
        assert product_name(tmp_path / f"l1c{number}" / place_of(given)) == NAME
    Path(tar).write_bytes(Path(tar).read_bytes()[:-5000])
    with pytest.raises(StepError, match="cannot be unpacked"):
        fetch.run(tar, l2a_name(NAME), tmp_path / "cut")
    other = NAME.replace("T31TCJ", "T31TCK")
    Path(tmp_path / f"{other}.tar.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(StepError, match="is no tar"):
        fetch.run(str(tmp_path / f"{other}.tar.gz"), l2a_name(other), tmp_path / "none")
    web.files[f"/{other}.zip"] = zipped.read_bytes()
    with pytest.raises(StepError, match=f"holds the product of {l2a_name(NAME)}"):
        fetch.run(f"{web.address}/{other}.zip", l2a_name(other), tmp_path / "none")


@pytest.mark.slow
def test_what_says_that_a_format_is_complete_is_put_last(s3, tmp_path):
    client, endpoint = s3
    for name in ("P.SAFE/manifest.safe", "P.SAFE/z/image.jp2", "P/cog/item.json", "P/cog/red.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    finished = [tmp_path / "P.SAFE/manifest.safe", tmp_path / "P/cog/item.json"]
    upload.run(finished, tmp_path, "s3://results/l2a/", tmp_path / "upload.json", endpoint)
    sizes = json.loads((tmp_path / "upload.json").read_text())["files"]
    assert sizes == {
        n: len(n) for n in ("P.SAFE/z/image.jp2", "P/cog/red.tif", "P.SAFE/manifest.safe", "P/cog/item.json")
    }
    for name in sizes:
        assert client.get_object(Bucket="results", Key=f"l2a/{name}")["Body"].read().decode() == name
    with pytest.raises(StepError, match="no such file or bucket"):
        upload.run(finished, tmp_path, "s3://nowhere", tmp_path / "b.json", endpoint)
    assert not (tmp_path / "b.json").exists()


# --- Elevation --------------------------------------------------------------------------------------------------------


def test_names_of_elevation_tiles():
    assert copernicus.tile_name(30, 42, 10) == "Copernicus_DSM_COG_10_N42_00_E010_00_DEM"
    assert copernicus.tile_name(90, -3, -71) == "Copernicus_DSM_COG_30_S03_00_W071_00_DEM"
    for grid in (Grid(32631, 300000, 4900020, 10, 10980, 10980), Grid(32660, 699960, 1900020, 10, 10980, 10980)):
        across, down = np.meshgrid(range(-10_000, 120_000, 500), range(-10_000, 120_000, 500))
        x, y = (grid.left + across).ravel(), (grid.top - down).ravel()
        longitude, latitude = np.array(rasterio.warp.transform(f"EPSG:{grid.epsg}", "EPSG:4326", x, y))
        needed = set(zip(np.floor(latitude), np.floor((longitude + 180) % 360 - 180), strict=True))
        assert needed <= set(copernicus.corners(grid))
        assert len(copernicus.corners(grid)) <= len(needed) + 2
    assert (16, -180) in copernicus.corners(grid)


def elevation_tile(folder, latitude, longitude, size=30, height=500.0):
    name = copernicus.tile_name(size, latitude, longitude)
    path = folder / f"{name}.tif"
    place = rasterio.transform.from_origin(longitude, latitude + 1, 0.01, 0.01)
    options = {"driver": "GTiff", "crs": "EPSG:4326", "transform": place, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", width=100, height=100, **options) as raster:
        raster.write(np.full((100, 100), height, "f4"), 1)
    return f"/{name}/{name}.tif", path.read_bytes()


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setenv("SEN2FLOW_CACHE", str(tmp_path / "cache"))
    grid = Grid(32631, 300000, 4900020, 10, 1200, 1200)  # 44.1 to 44.2 N, 0.5 to 0.6 E, with what is around it
    monkeypatch.setattr(Scene, "read", lambda path: type("S", (), {"whole": grid}))
    return tmp_path


def put_tiles(web, tiles):
    """Serve tiles, contents by address, with the list that the public buckets have, and Windows' ends of line."""
    web.files |= tiles
    web.files["/tileList.txt"] = "".join(f"{Path(address).stem}\r\n" for address in tiles).encode()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_elevation_tiles_are_fetched_once_and_those_that_are_not_public_at_90_m(web, scene):
    needed = copernicus.corners(Scene.read("").whole)
    assert needed == [(44, 0)]
    put_tiles(web, dict([elevation_tile(scene, 44, 0, 90)]))
    web.cut = [1000]
    for number in range(2):
        elevation_tiles.run("", scene / f"tiles{number}", 30, web.address + "/")
    assert names(scene / "tiles1") == ["Copernicus_DSM_COG_30_N44_00_E000_00_DEM.tif"]
    assert len({path for path, _, _ in web.requests}) == 2
    asked = len(web.requests)
    cached = next((scene / "cache/copernicus_dem").glob("*.tif"))
    damaged = bytearray(cached.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    cached.write_bytes(damaged)
    transfer.os.environ.pop("SEN2FLOW_RUN", None)
    from steps.core import checksums

    checksums._check_once.cache_clear()
    elevation_tiles.run("", scene / "tiles2", 30, web.address)
    assert len(web.requests) > asked
    with rasterio.open(scene / "tiles2" / names(scene / "tiles2")[0]) as tile:
        assert (tile.read(1) == 500).all()


@pytest.mark.slow
def test_a_scene_at_sea_and_a_tile_of_another_place(web, scene):
    with pytest.raises(StepError, match="tileList.txt: there is no such file"):
        elevation_tiles.run("", scene / "nowhere", 30, web.address)
    put_tiles(web, {})
    elevation_tiles.run("", scene / "sea", 30, web.address)
    with rasterio.open(scene / "sea/sea_dem.tif") as sea:
        assert (sea.read(1) == 0).all()
        assert sea.bounds.left < 290000
        assert sea.bounds.top > 4910000
    shutil.rmtree(scene / "cache")
    address, _ = elevation_tile(scene, 44, 0)
    put_tiles(web, {address: elevation_tile(scene, 45, 3)[1]})
    with pytest.raises(StepError, match="a tile around 45.5 N, 3.5 E"):
        elevation_tiles.run("", scene / "wrong", 30, web.address)
    assert not (scene / "wrong").exists()


# --- The pipeline -----------------------------------------------------------------------------------------------------


def snakemake(folder, *settings, check=True):
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--cores", "2", "--config", *settings]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_nothing_is_downloaded_unless_the_settings_say_so(tmp_path):
    done = snakemake(tmp_path, "dem=copernicus_30", check=False)
    assert done.returncode == 2
    assert re.search(r"^ERROR: dem: copernicus_30 is downloaded .* `downloads: true`", done.stderr, re.M)


@pytest.mark.slow
def test_from_a_store_to_a_store_by_scratch(s3, processed, tmp_path):
    """The demo's classification: the same images as from a folder, and nothing left on the way."""
    client, endpoint = s3
    name, product = f"{DEMO_PRODUCT}.SAFE", l2a_name(DEMO_PRODUCT)
    put(client, processed.folder / "results/demo" / name, f"L1C/{name}")
    remote = f"remote={{endpoint: '{endpoint}'}}"
    to = f"upload={{to: 's3://results/l2a', endpoint: '{endpoint}'}}"
    wanted = ("formats=cog", "products=classification")
    snakemake(tmp_path, f"input=s3://eodata/L1C/{name}", "output=far", "scratch=fast", remote, to, *wanted)
    assert not [path for path in (tmp_path / "fast").rglob("*") if path.is_file()]
    assert not (tmp_path / "far" / product / "work").exists()
    found = {
        one["Key"].removeprefix("l2a/"): client.get_object(Bucket="results", Key=one["Key"])["Body"].read()
        for one in client.list_objects_v2(Bucket="results", Prefix=f"l2a/{product}")["Contents"]
    }
    made = contents(processed.folder / "results")
    images = [name for name in found if name.endswith((".tif", ".png"))]
    assert {f"{product}/cog/{key}.tif" for key in ("scl", "cloud", "snow")} < set(images)
    assert [name for name in images if found[name] != made[name]] == []
    assert {f"{product}/cog/item.json", f"{product}/report/quality.json"} <= set(found)


@pytest.mark.slow
def test_elevation_tiles_are_planned(tmp_path):
    """And what lies between the stages is on the scratch disk."""
    settings = ["dem=copernicus_90", "downloads=true", f"scratch={tmp_path}/fast"]
    done = snakemake(tmp_path, *settings, "--dry-run", "--printshellcmds")
    assert "--pixel-size 90" in done.stdout
    assert re.search(
        rf"steps\.dem .*--dem {tmp_path}/fast/sen2flow_[0-9a-f]{{8}}/\S*/work/elevation_tiles ", done.stdout
    )
