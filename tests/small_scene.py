"""The rasters of a small scene as the stages leave them, for the tests of what is made from them."""

import numpy as np

from steps.core.rasters import Grid, write
from steps.sentinel2.bands import BANDS, OUTPUT_BANDS
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, WVP
from steps.sentinel2.scene import Band, Scene, SpectralResponse

GRID = Grid(32631, 300000, 4900020, 10, 1800, 1800)


def write_small_scene(folder):
    """Write metadata and rasters of 18 km with a corner of no data; return the arguments they are for write_cog."""
    random = np.random.default_rng(0)
    scene = Scene(
        product="S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125329",
        satellite="S2A",
        tile="T31TCJ",
        sensing_time="2024-01-20T10:54:33.024Z",
        baseline="05.10",
        quantification=10000,
        earth_sun=1.03,
        grid=GRID,
        sun_zenith=65.25,
        sun_azimuth=160,
        bands={band: Band(-1000, 1500, SpectralResponse(490, 1, (0, 0.4, 1, 1, 0.4, 0))) for band in BANDS},
    )
    scene.write(folder / "metadata.json")

    def numbers(resolution, dtype, high):
        grid = GRID.at(resolution)
        smooth = np.linspace(1, high, grid.width * grid.height).reshape(grid.shape)
        values = (smooth * random.uniform(0.5, 1, grid.shape)).astype(dtype)
        return np.where(no_data(grid), 0, values).astype(dtype)

    for resolution, bands in OUTPUT_BANDS.items():
        values = {band: numbers(resolution, "u2", 9000) for band in bands}
        write(folder / f"boa_{resolution}.tif", BOA, GRID.at(resolution), values)
    write(folder / "aot.tif", AOT, GRID.at(20), {"AOT": numbers(20, "u2", 500)})
    write(folder / "wvp.tif", WVP, GRID.at(20), {"WVP": numbers(20, "u2", 4000)})
    scl = np.where(no_data(GRID.at(20)), 0, random.integers(1, 12, GRID.at(20).shape)).astype("u1")
    classes = {"SCL": scl, "CLD": numbers(20, "u1", 100), "SNW": numbers(20, "u1", 30)}
    write(folder / "classification.tif", CLASSIFICATION, GRID.at(20), classes)
    return lambda resolution: {
        "boa": [folder / f"boa_{resolution}.tif"],
        **{name: folder / f"{name}.tif" for name in ("aot", "wvp", "classification")},
        "metadata": folder / "metadata.json",
    }


def no_data(grid):
    """Return where the small scene has no data: beyond a slanted edge of the swath, from (6 km, top) to (0, 9 km)."""
    rows, columns = (np.arange(n) + 0.5 for n in grid.shape)
    return columns[None] * grid.resolution / 6000 + rows[:, None] * grid.resolution / 9000 < 1
