"""Maps of what the atmosphere holds: aerosol thickness or water vapour, which thin out with height."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steps.atmosphere.relief import thinned
from steps.core.mesh import interpolate
from steps.core.parallel import RunAll
from steps.core.rasters import Grid, Kind, create, grid_of, read, row_blocks
from steps.sentinel2.kinds import MASK, MASK_NODATA, TERRAIN


@dataclass(frozen=True)
class Pixels:
    """Pixels to map: their grid, elevation (m, int16), and which of them lack data (bool); shape of the grid."""

    grid: Grid
    elevation: np.ndarray
    lacking: np.ndarray

    @classmethod
    def of(cls, mask: Path, terrain: Path) -> "Pixels":
        """Return the pixels of the rasters of quality flags and of terrain; StepError: one of them cannot be read."""
        lacking = read(mask, MASK, "mask") & MASK_NODATA != 0
        return cls(grid_of(mask, MASK), read(terrain, TERRAIN, "elevation"), lacking)


def write_map(
    path: Path,
    kind: Kind,
    field: np.ndarray,
    field_grid: Grid,
    pixels: Pixels,
    limits: tuple[float, float],
    run_all: RunAll,
    **tags,
) -> float | None:
    """Write a map of what lies above each pixel.

    Parameters
    ----------
    path, kind
        The raster, and what it holds.
    field, field_grid
        What would lie above sea level (float32, aerosol thickness or g/cm2), and the grid whose pixels have these
        values in their middle.
    pixels
        To map.
    limits
        Lowest and highest value, in the unit of the field.
    run_all
        Workers.
    tags
        Kept in the file.

    Returns
    -------
    float or None
        Mean of the valid pixels, None if there are none.

    Raises
    ------
    StepError
        If the map cannot be written.
    """
    blocks, total = list(row_blocks(pixels.grid.height)), 0
    with create(path, kind, pixels.grid, [kind.name], **tags) as output:
        maps = run_all(_stored, blocks, kind.scale, field, field_grid.positions(pixels.grid), pixels, limits)
        for rows, stored in zip(blocks, maps, strict=True):
            output.write(kind.name, stored, rows.start)
            total += int(stored.sum(dtype="i8"))
    valid = int(pixels.lacking.size - np.count_nonzero(pixels.lacking))
    return total / valid * kind.scale if valid else None


def _stored(block: slice, scale: float, field: np.ndarray, at, pixels: Pixels, limits) -> np.ndarray:
    """Return the stored numbers of a block of rows; `at`: where rows and columns of pixels lie in the field."""
    at_sea_level = interpolate(field, at[0][block], at[1])
    values = np.clip(thinned(at_sea_level, pixels.elevation[block] * np.float32(1e-3)), *limits)
    return np.where(pixels.lacking[block], 0, np.rint(values / scale)).astype("u2")
