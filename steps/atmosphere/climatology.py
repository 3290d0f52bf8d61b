"""Monthly climatology of aerosol, for scenes that tell nothing of theirs. See `data/README.md`."""

from datetime import datetime
from functools import cache

import numpy as np

from steps.atmosphere.tables import DATA

FILE = "aerosol_climatology.npz"
#: Stored numbers of aerosol thickness per unit.
THICKNESS_UNIT = 200


@cache
def _maps() -> tuple[np.ndarray, np.ndarray]:
    """Return thickness (months, rows, columns) and elevation (km; rows, columns) of the cells from 90 N, 180 W on."""
    with np.load(DATA / FILE) as arrays:
        return arrays["aot550"] / THICKNESS_UNIT, arrays["elevation"] / 1000


def aerosol_climatology(latitude: np.ndarray, longitude: np.ndarray, time: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean aerosol thickness at 550 nm of a time of the year, and the elevation that it is of (km).

    Linear between the middles of cells and of months.

    Parameters
    ----------
    latitude, longitude
        Degrees, arrays of one shape.
    time
        ISO 8601.
    """
    from scipy.ndimage import map_coordinates

    thickness, elevation = _maps()
    rows, columns = elevation.shape
    row = np.clip((90 - np.asarray(latitude)) * rows / 180 - 0.5, 0, rows - 1)
    column = (np.asarray(longitude) + 180) % 360 * columns / 360 - 0.5

    def at(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((0, 0), (1, 1)), mode="wrap")
        return map_coordinates(padded, [row.ravel(), column.ravel() + 1], order=1).reshape(row.shape)

    day = datetime.fromisoformat(time).timetuple().tm_yday
    month = (day - 0.5) / 365.25 * 12 - 0.5
    share = month % 1
    before, after = (thickness[int(np.floor(month + i)) % 12] for i in (0, 1))
    return at((1 - share) * before + share * after), at(elevation)
