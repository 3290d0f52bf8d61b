"""Maps of aerosol and water vapour at the resolutions of a product, of which stages make one at 20 m."""

from pathlib import Path

import numpy as np

from steps.core.rasters import Grid, Kind, bands_of, read
from steps.sentinel2.true_colour import block_mean


def from_20m(source: Path, kind: Kind, grid: Grid, rows: slice) -> np.ndarray:
    """Return rows of a map at another resolution.

    Parameters
    ----------
    source, kind
        Raster of one band at 20 m.
    grid
        At 10, 20 or 60 m: nearest pixel, the map itself, mean of 3 x 3.
    rows
        Of `grid`.

    Returns
    -------
    numpy.ndarray
        uint16 (rows, columns).

    Raises
    ------
    StepError
        If the raster cannot be read.
    """
    (band,) = bands_of(source, kind)
    first, last = (int(row * grid.resolution) // 20 for row in (rows.start, rows.stop))
    values = read(source, kind, band, slice(first, last))
    if grid.resolution == 10:
        return values.repeat(2, axis=0).repeat(2, axis=1)
    return values if grid.resolution == 20 else block_mean(values, 3)
