"""What users have in place of a clean elevation model: each is right, or refused in one line that names the file."""

import shutil

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_bounds
from test_dem import GRID, read_elevation, write_tile

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.terrain.elevation import elevation_model

SCENE = GRID.at(60)
#: A model of 30 m with its corner 3 km beside the scene's, in the scene's projection.
LEFT, TOP, SIZE, STEP = GRID.left - 3000, GRID.top + 3000, 600, 30
FLOAT_MAX = np.finfo("f4").max


def hills(x, y):
    """A mountain of 1350 to 1650 m, never steeper than 14 degrees."""
    return 1500 + 75 * np.sin(x / 900) + 75 * np.cos(y / 700)


def pixels(function=hills, size=SIZE, left=LEFT, top=TOP, step=STEP):
    return function(*np.meshgrid(left + (np.arange(size) + 0.5) * step, top - (np.arange(size) + 0.5) * step))


def write_raster(path, values, crs="EPSG:32633", transform=None, nodata=None, dtype="float32", **bands):
    """Write one band or several; `bands`: units, descriptions, scales, offsets of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)[None] if np.ndim(values) == 2 else np.asarray(values)
    count, height, width = values.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype, "crs": crs}
    transform = from_origin(LEFT, TOP, STEP, STEP) if transform is None else transform
    with rasterio.open(path, "w", **profile, transform=transform, nodata=nodata) as raster:
        raster.write((values if dtype.startswith(("float", "complex")) else np.rint(values)).astype(dtype))
        for name, value in bands.items():
            setattr(raster, name, value)
    return path


def truth(grid=SCENE, function=hills):
    return pixels(function, grid.width, grid.left, grid.top, grid.resolution)


def assert_right(dem, within=1.5, notes=""):
    got, names, told = read_elevation(dem, SCENE)
    np.testing.assert_allclose(got, truth(), atol=within)
    assert notes in "; ".join(told)
    assert bool(told) == bool(notes), told
    return names


def assert_refused(dem, match):
    with pytest.raises(StepError, match=match) as error:
        read_elevation(dem, SCENE)
    assert "\n" not in str(error.value)
    return str(error.value)


def holed(value, half=600):
    """Hills with a square hole in the middle of the scene."""

    def function(x, y):
        inside = (np.abs(x - GRID.left - 6000) < half) & (np.abs(y - GRID.top + 6000) < half)
        return np.where(inside, value, hills(x, y))

    return pixels(function)


# ------------------------------------------------------------------------------------- what is no elevation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("ALPSMLC30_N046E014_DSM", {"MSK": (0, "uint8"), "STK": (7, "uint16")}),
        ("ASTGTMV003_N46E014_dem", {"num": (12, "int16")}),
        ("10_10_10m_v4.1_dem", {"count": (9, "uint8"), "mad": (1, "float32"), "datamask": (1, "uint8")}),
        ("rema_10m_dem", {"matchtag": (1, "int16"), "mindate": (9000, "float32"), "dem_browse": (3, "int16")}),
        ("TDM1_DEM__30_N46E014_DEM", {"HEM": (2, "float32"), "AMP": (250, "uint16"), "WAM": (5, "uint16")}),
        ("Copernicus_DSM_COG_10_N46_00_E014_00_DEM", {"WBM": (1, "int16"), "HEM": (1, "float32")}),
        ("NASADEM_HGT_n46e014", {"num": (5, "int16"), "swb": (255, "int16")}),
        ("N46E014_FABDEM_V1-2", {"slope": (9, "float32")}),
        ("eu_dem_v11_E40N20", {"aspect": (100, "float32"), "hillshade": (180, "uint16")}),
        ("my area", {"slope_20m": (8, "float32"), "roughness": (3, "float32"), "TRI": (3, "float32")}),
    ],
)
def test_companions_are_not_elevation(tmp_path, name, others):
    write_raster(tmp_path / f"{name}.tif", pixels())
    for other, (value, dtype) in others.items():
        stem = name.rpartition("_")[0] if name.endswith(("DSM", "dem", "DEM")) else name
        write_raster(tmp_path / f"{stem}_{other}.tif", np.full((SIZE, SIZE), value), dtype=dtype)
    assert assert_right(tmp_path) == [f"{name}.tif"]


def test_names_in_which_other_words_come_first_are_elevation(tmp_path):
    for name in ("north_slope_dem", "water_filled_DTM_10m", "count_of_something_elevation"):
        assert assert_right(write_raster(tmp_path / f"{name}.tif", pixels())) == [f"{name}.tif"]


@pytest.mark.parametrize("name", ["hillshade.tif", "dem_slope.tif", "area_water_mask.tif"])
def test_model_that_is_another_thing_by_its_name_is_refused(tmp_path, name):
    assert_refused(write_raster(tmp_path / name, pixels()), name)
    assert_refused(tmp_path, name)


def test_raster_that_cannot_be_elevation_is_left_out_and_told(tmp_path):
    write_raster(tmp_path / "a.tif", pixels())
    write_raster(tmp_path / "b.tif", pixels() * 0 + 7, dtype="uint8")
    assert assert_right(tmp_path, notes="b.tif: uint8") == ["a.tif"]
    (tmp_path / "b.tif").unlink()
    write_raster(tmp_path / "c.tif", pixels() * 0 + 7, units=("degree",))
    assert assert_right(tmp_path, notes="c.tif: its unit is degree") == ["a.tif"]
    (tmp_path / "c.tif").unlink()
    write_raster(tmp_path / "d.tif", pixels() * 0 + 7, descriptions=("Slope",))
    assert assert_right(tmp_path, notes="d.tif: its band is described as Slope") == ["a.tif"]


@pytest.mark.parametrize("dtype", ["uint8", "complex64"])
def test_model_of_impossible_numbers_is_refused(tmp_path, dtype):
    assert_refused(write_raster(tmp_path / "alone.tif", pixels() / 10, dtype=dtype), f"alone.tif: {dtype}")


def test_raster_that_disagrees_is_refused(tmp_path):
    write_raster(tmp_path / "a.tif", pixels())
    write_raster(tmp_path / "x.tif", pixels() * 0 + 12, dtype="int16")
    assert "overlap" in assert_refused(tmp_path, r"x.tif: differs by 1\d\d\d m")
    write_raster(tmp_path / "x.tif", pixels() + 1000)
    assert_refused(tmp_path, r"x.tif: differs by 1000 m")
    write_raster(tmp_path / "x.tif", pixels() + 8, dtype="int16")  # canopy, datum
    assert read_elevation(tmp_path, SCENE)[1] == ["a.tif", "x.tif"]


def test_neighbours_that_disagree_are_refused(tmp_path):
    """One half in feet, beside one in metres."""
    write_raster(tmp_path / "a.tif", pixels()[:, :300])
    right = from_origin(LEFT + 9000, TOP, STEP, STEP)
    write_raster(tmp_path / "b.tif", pixels()[:, 300:] / 0.3048, transform=right)
    assert "meet" in assert_refused(tmp_path, r"b.tif: differs by 3\d\d\d m")
    write_raster(tmp_path / "b.tif", pixels()[:, 300:] / 0.3048, transform=right, units=("ft",))
    assert_right(tmp_path)


def test_mask_alone_is_told(tmp_path):
    _, _, told = read_elevation(write_raster(tmp_path / "x.tif", pixels() * 0 + 7, dtype="int16"), SCENE)
    assert told == ("x.tif has no other heights than 7 m around the scene",)


# ------------------------------------------------------------------------------------------ units and bands


@pytest.mark.parametrize(
    ("unit", "factor"), [("m", 1), ("metre", 1), ("ft", 0.3048), ("US survey foot", 1200 / 3937), ("cm", 0.01)]
)
def test_units_are_honoured(tmp_path, unit, factor):
    assert_right(write_raster(tmp_path / "x.tif", pixels() / factor, units=(unit,)))


def test_vertical_reference_in_feet_is_honoured(tmp_path):
    assert_right(write_raster(tmp_path / "x.tif", pixels() / (1200 / 3937), crs="EPSG:32633+6360"))


def test_scale_and_offset_are_honoured(tmp_path):
    stored = (pixels() - 1000) * 10
    assert_right(write_raster(tmp_path / "x.tif", stored, dtype="int16", scales=(0.1,), offsets=(1000.0,)))


def test_projection_in_feet_without_a_unit_is_told(tmp_path):
    west, south, east, north = transform_bounds("EPSG:32633", "EPSG:4326", LEFT, TOP - 18_000, LEFT + 18_000, TOP)
    crs = f"+proj=tmerc +lat_0={south} +lon_0={(west + east) / 2} +units=us-ft +datum=WGS84"
    transform = from_origin(-32_000, 62_000, 100, 100)
    dem = write_raster(tmp_path / "x.tif", np.full((640, 640), 1500.0), crs=crs, transform=transform)
    got, _, told = read_elevation(dem, SCENE)
    assert (got == 1500).all()
    assert "taken as in metres" in told[0]


@pytest.mark.parametrize("factor", [100, 1000])
def test_centimetres_by_their_range_are_refused(tmp_path, factor):
    assert_refused(
        write_raster(tmp_path / "x.tif", pixels() * factor), "x.tif: has heights from .* other units than metres"
    )


def test_what_is_too_steep_is_refused(tmp_path):
    """Decimetres of a steep landscape are below 9000, and noise is no landscape."""
    assert_refused(
        write_raster(tmp_path / "dm.tif", pixels(lambda x, y: 5000 + 2000 * np.sin(x / 300) * np.cos(y / 300))),
        "dm.tif: most of it is steeper than 45 degrees",
    )
    noise = np.random.default_rng(0).uniform(0, 9000, (SIZE, SIZE))
    assert_refused(write_raster(tmp_path / "noise.tif", noise), "noise.tif: most of it is steeper")


def test_bands(tmp_path):
    both = np.stack([pixels() * 0 + 3, pixels()])
    assert_right(write_raster(tmp_path / "named.tif", both, descriptions=("number of images", "elevation")))
    assert_right(write_raster(tmp_path / "count.tif".replace("count", "x"), both, descriptions=("count", None)))
    assert "2 bands" in assert_refused(write_raster(tmp_path / "two.tif", both), "two.tif")
    assert_refused(write_raster(tmp_path / "picture.tif", np.stack([pixels() / 10] * 3), dtype="uint8"), "picture.tif")


# ---------------------------------------------------------------------------------------------------- voids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "dtype", "declared"),
    [
        (np.nan, "float32", None),
        (np.nan, "float32", np.nan),
        (-9999, "float32", None),
        (-9999, "int16", None),
        (-9999, "float32", -9999),
        (-32767, "int16", None),
        (-32768, "int16", None),
        (-32767, "float32", None),
        (-999, "float32", None),
        (1e20, "float32", None),
        (-FLOAT_MAX, "float32", None),
        (-FLOAT_MAX, "float32", float(-FLOAT_MAX)),
        (FLOAT_MAX, "float32", None),
        (np.inf, "float32", None),
        (65535, "uint16", None),
        (9999, "int16", None),
        (0, "int16", None),
        (0, "int16", 0),
        (-2147483648, "int32", -2147483648),
    ],
)
def test_voids_are_filled_from_around(tmp_path, value, dtype, declared):
    """1.2 km without data, of 12 km: about 1 %; straight lines across the hole are off by as much as the hill bends."""
    with np.errstate(invalid="ignore"):
        dem = write_raster(tmp_path / "x.tif", holed(value), dtype=dtype, nodata=declared)
    got, _, told = read_elevation(dem, SCENE)
    np.testing.assert_allclose(got, truth(), atol=45)
    assert np.abs(got - truth()).mean() < 0.5
    assert "filled in from around" in told[-1]
    assert float(told[-1].split()[0]) == pytest.approx(1.0, abs=0.1)


def test_void_in_a_plane_is_the_plane(tmp_path):
    def plane(x, y):
        return 800 + 0.1 * (x - GRID.left) + 0.05 * (y - GRID.top)

    values = pixels(plane)
    values[280:320, 250:330] = np.nan
    values[200] = np.nan
    values[:, 150] = np.nan
    got, _, told = read_elevation(write_raster(tmp_path / "x.tif", values), SCENE)
    np.testing.assert_allclose(got, truth(function=plane), atol=0.3)
    assert len(told) == 1


def test_gap_between_tiles_is_closed(tmp_path):
    write_raster(tmp_path / "a.tif", pixels()[:, :299])
    write_raster(tmp_path / "b.tif", pixels()[:, 300:], transform=from_origin(LEFT + 9000, TOP, STEP, STEP))
    assert_right(tmp_path, notes="filled in from around")


def test_gap_is_closed_to_the_last_pixel_of_the_scene(tmp_path):
    """Its overview, of pixels of 80 m, ends 10 m before it."""
    values = pixels()
    values[:, 300] = np.nan
    overview = Grid(GRID.epsg, GRID.left - 10, GRID.top + 10, 80, GRID.width // 8, GRID.height // 8)
    with elevation_model(write_raster(tmp_path / "x.tif", values), overview, 0, GRID) as model:
        np.testing.assert_allclose(model.read(GRID), truth(GRID), atol=1.5)


@pytest.mark.slow
def test_many_small_voids(tmp_path):
    values = pixels()
    values[np.random.default_rng(1).random(values.shape) < 0.05] = -9999
    assert_right(write_raster(tmp_path / "x.tif", values), 3, notes="filled in")


def test_large_void_inland_is_refused(tmp_path):
    assert_refused(write_raster(tmp_path / "x.tif", holed(np.nan, 3500)), "x.tif: .* of the scene has no elevation")


@pytest.mark.parametrize("undeclared", [False, True])
def test_model_that_ends_inland_is_refused(tmp_path, undeclared):
    half = pixels()[:, :300]
    if undeclared:  # as a warp leaves it
        half = np.hstack([half, half * 0])
    message = assert_refused(write_raster(tmp_path / "x.tif", half), "x.tif: .* % of the scene has no elevation")
    assert float(message.split()[1]) == pytest.approx(50, abs=1)


def test_ocean_has_no_tiles(tmp_path):
    """A coast that comes down to 0 m: beyond the tile, which ends in the sea, there is none."""

    def coast(x, y):
        return np.maximum(0, GRID.left + 4000 - x) * 0.1

    write_raster(tmp_path / "x.tif", pixels(coast)[:, :300])
    got, _, told = read_elevation(tmp_path, SCENE)
    np.testing.assert_allclose(got, truth(function=coast), atol=1)
    assert told == ("50.000 % of the scene has no elevation in " + tmp_path.name + " and is taken as sea level",)


def test_sea_may_be_void(tmp_path):
    def masked(x, y):
        height = (GRID.left + 4000 - x) * 0.1
        return np.where(height > 0, height, -9999)

    got, _, told = read_elevation(write_raster(tmp_path / "x.tif", pixels(masked), nodata=-9999), SCENE)
    sea = np.arange(SCENE.width) * 60 > 4100
    assert (got[:, sea] == 0).all()
    assert "sea level" in told[0]


def test_depths_of_the_sea_are_sea_level(tmp_path):
    def bottom(x, y):
        height = GRID.left + 4000 - x
        return np.where(height > 0, 0.1, 0.5) * height

    got, _, told = read_elevation(write_raster(tmp_path / "x.tif", pixels(bottom)), SCENE)
    np.testing.assert_allclose(got, np.maximum(truth(function=bottom), 0), atol=1)
    assert "depths of the sea" in told[0]


def test_land_below_the_sea_stays(tmp_path):
    dead_sea = pixels() - 1840
    got, _, told = read_elevation(write_raster(tmp_path / "x.tif", dead_sea), SCENE)
    np.testing.assert_allclose(got, truth() - 1840, atol=1.5)
    assert not told


@pytest.mark.slow
def test_part_that_the_model_covers_needs_no_more(tmp_path):
    part = dataclass_part()
    dem = write_raster(
        tmp_path / "x.tif",
        pixels(size=60, left=part.left - 300, top=part.top + 300),
        transform=from_origin(part.left - 300, part.top + 300, STEP, STEP),
    )
    assert_refused(dem, "has no elevation")
    with elevation_model(dem, SCENE, 0, part) as model:
        np.testing.assert_allclose(model.read(part), truth(part), atol=1.5)
        assert not model.notes


def dataclass_part():
    return type(GRID)(GRID.epsg, GRID.left + 3000, GRID.top - 3000, 10, 120, 120)


# ------------------------------------------------------------------------------------- where the file lies


def test_rows_from_south_to_north(tmp_path):
    transform = Affine(STEP, 0, LEFT, 0, STEP, TOP - SIZE * STEP)
    assert_right(write_raster(tmp_path / "x.tif", pixels()[::-1], transform=transform))


def test_rotated_model(tmp_path):
    transform = Affine.translation(LEFT + 9000, TOP + 3000) @ Affine.rotation(-35) @ Affine.scale(STEP, -STEP)
    columns, rows = np.meshgrid(np.arange(900) + 0.5, np.arange(900) + 0.5)
    transform = transform @ Affine.translation(-300, 0)
    x, y = (
        transform.a * columns + transform.b * rows + transform.c,
        transform.d * columns + transform.e * rows + transform.f,
    )
    got, _, _ = read_elevation(write_raster(tmp_path / "x.tif", hills(x, y), transform=transform), SCENE)
    np.testing.assert_allclose(got, truth(), atol=3)


def test_other_projection_than_the_numbers_say(tmp_path):
    assert_refused(write_raster(tmp_path / "x.tif", pixels(), crs="EPSG:32733"), r"x.tif lies at .* in EPSG:32733")
    assert_refused(write_raster(tmp_path / "y.tif", pixels(), crs="EPSG:4326"), "does not touch")
    assert_refused(write_raster(tmp_path / "z.tif", pixels(), crs="EPSG:2263"), "does not touch")


@pytest.mark.slow
def test_tiles_of_different_projections(tmp_path):
    """The eastern half in another zone, at another resolution."""
    write_raster(tmp_path / "a.tif", pixels()[:, :300])
    west, south, east, north = transform_bounds(
        "EPSG:32633", "EPSG:32634", LEFT + 8500, TOP - 18_000, LEFT + 18_000, TOP
    )

    def there(x, y):
        from rasterio.warp import transform

        a, b = transform("EPSG:32634", "EPSG:32633", x.ravel(), y.ravel())
        return hills(np.reshape(a, x.shape), np.reshape(b, x.shape))

    write_tile(tmp_path / "b.tif", west, north, 800, 25, there, "EPSG:32634")
    names = assert_right(tmp_path)
    assert names == ["a.tif", "b.tif"]


def test_longitudes_from_0_to_360(tmp_path):
    def there(x, y):
        return 500 + 100 * np.sin(x * 300)

    write_tile(tmp_path / "x.tif", 374.7, 46.3, 900, 3 / 3600, there)
    got, _, _ = read_elevation(tmp_path / "x.tif", SCENE)
    assert np.isfinite(got).all()


# ------------------------------------------------------------------------------------------- files that lie


@pytest.mark.parametrize("content", ["hello", "", "<html></html>", "<GDAL_WMS></GDAL_WMS>", '{"type": "GDALG"}'])
def test_text_is_no_raster(tmp_path, content):
    write_raster(tmp_path / "a.tif", pixels())
    (tmp_path / "b.tif").write_text(content)
    assert_refused(tmp_path, "b.tif: ")
    (tmp_path / "b.tif").rename(tmp_path / "._b.tif")
    assert_right(tmp_path)


def test_truncated_tile(tmp_path):
    dem = write_raster(tmp_path / "x.tif", pixels())
    dem.write_bytes(dem.read_bytes()[:200_000])
    assert_refused(dem, "x.tif: cannot be read")


def virtual(source, more=""):
    return (
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><SRS>EPSG:32633</SRS><GeoTransform>{LEFT},{STEP},0,'
        f'{TOP},0,-{STEP}</GeoTransform><VRTRasterBand dataType="Float32" band="1"{more}><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )


def test_virtual_raster(tmp_path):
    write_raster(tmp_path / "a.tif", pixels())
    (tmp_path / "x.vrt").write_text(virtual("a.tif"))
    (tmp_path / "y.vrt").write_text(virtual("x.vrt"))
    assert_right(tmp_path / "y.vrt")


@pytest.mark.parametrize(
    "source", ["/vsicurl/http://127.0.0.1:9/x.tif", "/vsis3/bucket/x.tif", "http://127.0.0.1:9/x.tif", "missing.tif"]
)
def test_virtual_raster_never_goes_to_the_network(tmp_path, source):
    (tmp_path / "x.vrt").write_text(virtual(source))
    assert_refused(tmp_path / "x.vrt", "refers to .*nothing is downloaded")
    (tmp_path / "y.vrt").write_text(virtual("x.vrt"))
    assert_refused(tmp_path / "y.vrt", "x.vrt: refers to")


def test_virtual_raster_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    write_raster(tmp_path / "a.tif", pixels())
    code = (
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
        f"<PixelFunctionCode>open('{tmp_path}/evil', 'w')\ndef f(a, b, *c, **d): pass</PixelFunctionCode>"
    )
    text = virtual("a.tif", ' subClass="VRTDerivedRasterBand"').replace("<SimpleSource>", f"{code}<SimpleSource>")
    (tmp_path / "x.vrt").write_text(text)
    assert_refused(tmp_path / "x.vrt", "Python")
    assert not (tmp_path / "evil").exists()


def test_strange_names(tmp_path):
    folder = tmp_path / "a&b <c> 'd' {e}"
    assert_right(write_raster(folder / 'x&y<z>"q".tif', pixels()))


def test_overviews_beside_a_file_are_not_used(tmp_path):
    dem, other = (write_raster(tmp_path / name, pixels() + n) for name, n in (("x.tif", 0), ("y.tif", 900)))
    with rasterio.Env(TIFF_USE_OVR="YES"), rasterio.open(other, "r+") as raster:
        raster.build_overviews([2, 4, 8])
    shutil.copy(tmp_path / "y.tif.ovr", tmp_path / "x.tif.ovr")
    assert_right(dem)
