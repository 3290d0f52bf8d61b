"""A tile at a glance: its images at 80 m, which are quick to decode.

JPEG 2000 holds an image as an ever finer sequence of wavelets; those that are finer than wanted are not decoded.
"""

import numpy as np

from steps.artefacts import Grid
from steps.sentinel2 import jp2_reader
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.l1c import L1C, internal_numbers

#: Pixel size, m.
SIZE = 80


def overview_grid(tile: Grid) -> Grid:
    """Return the grid of the overview of a tile.

    The pixels of a coarser level of the wavelets lie around the first of the pixels they stand for, not in their
    middle.
    """
    width, height = (-(-round(n * tile.resolution) // SIZE) for n in (tile.width, tile.height))
    return Grid(tile.epsg, tile.left - 30, tile.top + 30, SIZE, width, height)


def overview(product: L1C, band: str) -> np.ndarray:
    """Return a band of 10 or 20 m on the overview's grid, in the internal scale.

    Raises
    ------
    StepError
        If it cannot be decoded.
    """
    dn = jp2_reader.reduced(product.safe, product.images[band], SIZE // PIXEL_SIZE[band])
    return internal_numbers(product, band, dn, 20)[0]


def enlarged(overview: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    """Return the nearest pixels of an overview, whose grid is given, for the pixels of another grid."""
    rows, columns = (
        np.clip(((offset + (np.arange(n) + 0.5) * target.resolution) // grid.resolution).astype(int), 0, last - 1)
        for offset, n, last in (
            (grid.top - target.top, target.height, overview.shape[0]),
            (target.left - grid.left, target.width, overview.shape[1]),
        )
    )
    return overview[rows[:, None], columns]
