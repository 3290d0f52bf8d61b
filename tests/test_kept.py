"""What is kept of a tile's ground for its next product."""

import numpy as np
import pytest

from steps.dem import run
from steps.terrain import kept
from steps.terrain.kept import KeptShape
from tests.test_dem import surface, write_scene, write_tile


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEN2FLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/terrain"


def described(folder, dem, zenith=50.0):
    """The bytes of all rasters of a scene."""
    metadata, angles = write_scene(folder, zenith=zenith)
    paths = [folder / f"terrain_{size}.tif" for size in (10, 20, 60, 80)]
    run(metadata, angles, *paths, dem)
    return [path.read_bytes() for path in paths]


@pytest.mark.slow
def test_next_product_is_what_it_would_be_without(tmp_path, cache, monkeypatch):
    dem = write_tile(tmp_path / "dem.tif", 14.7, 46.3, 1300, 1 / 2000, surface)
    described(tmp_path / "first", dem)
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    assert {path.name for path in made} == {
        *(f"elevation_{size}m.npy" for size in (10, 20, 60, 80)),
        *(f"sky_view_{size}m.npy" for size in (20, 80)),
    }
    with_it = described(tmp_path / "second", dem, zenith=72.0)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")} == made
    monkeypatch.setenv("SEN2FLOW_CACHE", str(tmp_path / "other"))
    assert described(tmp_path / "second", dem, zenith=72.0) == with_it


@pytest.mark.slow
def test_other_heights_are_kept_apart(tmp_path, cache):
    for number in (1, 2):
        dem = write_tile(tmp_path / "dem.tif", 14.7, 46.3, 650, 1 / 1000, lambda x, y, n=number: n * surface(x, y))
        described(tmp_path / "scene", dem)
        assert len(list(cache.iterdir())) == number


def test_damaged_file_is_made_anew(cache, caplog):
    expected = np.arange(12.0)
    for change in (b"", b"x", None):
        shape = KeptShape("a")
        np.testing.assert_array_equal(shape.array("elevation", lambda: expected), expected)
        path = next(cache.rglob("*.npy"))
        content = bytearray(path.read_bytes())
        if change is not None:
            content[130:131] = change
            path.write_bytes(content)
    assert caplog.text.count("made anew") == 2
    assert KeptShape("a").array("elevation", lambda: 1 / 0).tolist() == expected.tolist()


def test_cache_that_cannot_be_written_is_no_error(cache, monkeypatch):
    cache.parent.mkdir()
    cache.write_text("a file where the folder would be")
    shape = KeptShape("a")
    assert shape.array("elevation", lambda: np.ones(3)).tolist() == [1, 1, 1]
    shape.used()


def test_tile_that_was_used_longest_ago_makes_room(cache, monkeypatch):
    shapes = [KeptShape(name) for name in "abc"]
    for age, shape in enumerate(shapes):
        shape.array("elevation", lambda: np.zeros(1000))
        monkeypatch.setattr(kept.time, "time", lambda age=age: 1e9 + age)
        shape.used()
    assert len(list(cache.iterdir())) == 3
    monkeypatch.setattr(kept, "LIMIT", 20_000)
    monkeypatch.setattr(kept.time, "time", lambda: 2e9)
    shapes[0].used()
    left = {path.name for path in cache.iterdir()}
    assert left == {shapes[0]._folder.name, shapes[2]._folder.name}
