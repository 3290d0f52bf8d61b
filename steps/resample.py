"""Resampling: the bands of three pixel sizes become one stack of the 12 bands that later stages look at together."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from steps.core.cli import cli
from steps.core.parallel import workers
from steps.core.rasters import create, grid_of, read, row_blocks
from steps.core.resampling import block_mean, coefficients, triple
from steps.sentinel2.bands import PIXEL_SIZE, STACK_BANDS
from steps.sentinel2.kinds import TOA

#: Bands interpolated linearly where a finer grid is wanted; all others by cubic splines.
LINEAR_BANDS = ("B09", "B10")


def run(
    toa_10m: Path, toa_20m: Path, toa_60m: Path, stack_20m: Path | None, stack_60m: Path | None, threads: int = 1
) -> None:
    """Bring the 12 bands to pixels of 20 m and of 60 m.

    Finer bands are averaged over blocks of pixels, coarser ones interpolated (B09, B10 linearly, B01 by cubic splines).

    Parameters
    ----------
    toa_10m, toa_20m, toa_60m
        Top-of-atmosphere reflectance of the bands of each resolution.
    stack_20m, stack_60m
        Outputs, those that are wanted: top-of-atmosphere reflectance of the 12 bands.
    threads
        Threads to use.

    Raises
    ------
    StepError
        If an input cannot be read or the output cannot be written.
    """
    sources = {10: toa_10m, 20: toa_20m, 60: toa_60m}
    with workers("threads", threads) as run_all:
        for resolution, stack in ((20, stack_20m), (60, stack_60m)):
            if stack is None:
                continue
            grid = grid_of(sources[resolution], TOA)
            blocks = list(row_blocks(grid.height))
            with create(stack, TOA, grid, STACK_BANDS) as raster:
                for band in STACK_BANDS:
                    resampled = _resampler(sources[PIXEL_SIZE[band]], band, resolution)
                    for rows, values in zip(blocks, run_all(resampled, blocks), strict=True):
                        raster.write(band, values, rows.start)


def _resampler(source: Path, band: str, resolution: int) -> Callable[[slice], np.ndarray]:
    """Return the function that gives any rows of a band at another resolution."""
    if PIXEL_SIZE[band] <= resolution:
        factor = resolution // PIXEL_SIZE[band]

        def averaged(rows: slice) -> np.ndarray:
            values = read(source, TOA, band, slice(rows.start * factor, rows.stop * factor))
            return block_mean(values, factor) if factor > 1 else values

        return averaged
    order = 1 if band in LINEAR_BANDS else 3
    values = read(source, TOA, band)
    spline = coefficients(values, order)
    return lambda rows: triple(spline, values, order, rows)


if __name__ == "__main__":
    cli(run)
