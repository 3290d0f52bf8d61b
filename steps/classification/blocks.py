"""Scenes by blocks of rows, several of which are worked on side by side."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from steps.core.rasters import BLOCK, row_blocks

#: Rows computed at a time; few, so that little is read twice for the margins.
ROWS = BLOCK


def by_rows(function: Callable[[slice, slice, slice], None], height: int, margin: int, threads: int) -> None:
    """Call `function` for each block: its rows, these with a margin, and the rows within the wider block."""

    def one(rows: slice) -> None:
        wide = slice(max(rows.start - margin, 0), min(rows.stop + margin, height))
        function(rows, wide, slice(rows.start - wide.start, rows.stop - wide.start))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, row_blocks(height, ROWS)))


def change_by_rows(
    change: Callable[..., None], scl: np.ndarray, *images: np.ndarray, margin: int, threads: int
) -> None:
    """Change the classes of a scene in place by a function that changes those of a block in place.

    Parameters
    ----------
    change
        Takes classes and images, none of which it changes but the former.
    scl, images
        Of one shape (rows, columns).
    margin
        How far from a pixel lies what its new class depends on, pixels.
    threads
        Blocks that are worked on side by side.
    """
    before = scl.copy()

    def one(rows: slice, wide: slice, inner: slice) -> None:
        block = before[wide].copy()
        change(block, *(image[wide] for image in images))
        scl[rows] = block[inner]

    by_rows(one, scl.shape[0], margin, threads)
