"""The ESA CCI maps that the user gives, on the pixel grid of a scene."""

import logging
from pathlib import Path

import numpy as np

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.core.user_raster import opened

logger = logging.getLogger(__name__)

#: The numbers of each map: water bodies 150 m (1 land, 2 water, 0 ocean in some versions); land cover 300 m (LCCS);
#: snow condition 500 m (percent, 252-255 cloud, not known, sea, no data).
_LAND_COVER = (
    "0 10 11 12 20 30 40 50 60 61 62 70 71 72 80 81 82 90 100 110 120 121 122 130 140 150 151 152 153 160 170 180 190 "
    "200 201 202 210 220"
)
_NUMBERS = {
    "water_bodies": (0, 1, 2),
    "land_cover": tuple(map(int, _LAND_COVER.split(" "))),
    "snow_condition": (*range(101), 252, 253, 254, 255),
}
#: Stands for no map: of water bodies for the rules of the classification, of the others as their own no data.
_UNKNOWN = {"water_bodies": 255, "land_cover": 0, "snow_condition": 255}
#: Pixel size of the look at the numbers of a map that is interpolated, m.
_LOOK = 160


def read_layers(paths: dict[str, Path | None], grid: Grid) -> tuple[dict[str, np.ndarray | None], list[str]]:
    """Put maps, by their names, on a grid, and warn of what was assumed.

    Returns
    -------
    dict
        Name to what `read_layer` makes of it, shape of the grid; None where no path is given.
    list
        A sentence for each assumption.

    Raises
    ------
    StepError
        As `read_layer`.
    """
    read = {name: read_layer(path, name, grid) for name, path in paths.items()}
    defaults = [sentence for _, sentences in read.values() for sentence in sentences]
    for sentence in defaults:
        logger.warning("%s", sentence)
    return {name: layer for name, (layer, _) in read.items()}, defaults


def read_layer(path: Path | None, name: str, grid: Grid) -> tuple[np.ndarray | None, list[str]]:
    """Put a map on a grid: water bodies with cubic splines, as Sen2Cor does, the others by the nearest pixel.

    Parameters
    ----------
    path
        Of the map; None if there is none.
    name
        `water_bodies`, `land_cover` or `snow_condition`.
    grid
        The scene's.

    Returns
    -------
    map : uint8, shape of the grid, or None
        255 (water bodies, snow condition) or 0 (land cover) where the map tells nothing.
    defaults
        A sentence if it covers only a part of the scene.

    Raises
    ------
    StepError
        If it cannot be read, does not touch the scene, or holds other numbers than such a map.
    """
    if path is None:
        return None, []
    remedy = f"give another map as `classification.{name}`"
    unknown = _UNKNOWN[name]
    smooth = name == "water_bodies"
    with opened(path, remedy) as dataset:
        if dataset.count != 1 or dataset.dtypes[0].startswith("complex"):
            raise StepError(f"{path}: has {dataset.count} bands of {dataset.dtypes[0]}, a map has one; {remedy}")
        look = _look_grid(grid) if smooth else grid
        numbers = _warped(dataset, look, "nearest")
        known = np.isfinite(numbers)
        if not known.any():
            raise StepError(f"{path}: does not touch the scene; {remedy}")
        found = np.unique(numbers[known])
        wrong = found[~np.isin(found, _NUMBERS[name])]
        if wrong.size:
            raise StepError(f"{path}: holds {wrong[0]:g}, which is no number of such a map; {remedy}")
        if smooth:
            numbers = _warped(dataset, grid, "cubic_spline")
    share = 100 * float(np.isfinite(numbers).mean())
    defaults = [f"{path.name} tells nothing of {100 - share:.1f} % of the scene"] if share < 99.95 else []
    return np.rint(np.where(np.isnan(numbers), unknown, numbers)).astype(np.uint8), defaults


def _look_grid(grid: Grid) -> Grid:
    factor = max(1, round(_LOOK / grid.resolution))
    height, width = (-(-n // factor) for n in grid.shape)
    return Grid(grid.epsg, grid.left, grid.top, grid.resolution * factor, width, height)


def _warped(dataset, grid: Grid, method: str) -> np.ndarray:
    """Return the map as float32, NaN where it tells nothing."""
    import rasterio
    from rasterio.warp import Resampling, reproject

    result = np.full(grid.shape, np.nan, np.float32)
    reproject(
        rasterio.band(dataset, 1),
        result,
        dst_transform=grid.transform,
        dst_crs=f"EPSG:{grid.epsg}",
        dst_nodata=np.nan,
        resampling=Resampling[method],
    )
    return result
