"""Mountains of a scene, on periodic ground: elevation, slopes, cast shadows, and the sky that is seen."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from steps.simulation import fields

#: Pixel size of the elevation model that the product's user has, m.
DEM_PIXEL = 30
#: Pixels (30 m) that the elevation model reaches beyond the scene, and azimuths in which horizons are looked for.
MARGIN = 240
_AZIMUTHS = 16
#: Wavelength below which mountains are smooth, pixels of 10 m.
_SMOOTHEST = 25.0
#: Farthest mountain that shades, m.
_REACH = 8000.0


@dataclass(frozen=True)
class Relief:
    """The lie of the land at pixels of one size.

    Attributes
    ----------
    elevation
        m.
    cos_incidence
        Cosine of the sun's angle to the ground's normal, at least 0.
    lit
        1 where the sun is above the horizon of mountains, 0 in their shadow.
    sky_view
        Share of the sky that is seen, weighted by the cosine to the ground's normal.
    slope, aspect
        Degrees; aspect is the azimuth that the ground faces.
    """

    elevation: np.ndarray
    cos_incidence: np.ndarray
    lit: np.ndarray
    sky_view: np.ndarray
    slope: np.ndarray
    aspect: np.ndarray


def mountains(shape: tuple[int, int], height: float, base: float, rng: np.random.Generator) -> np.ndarray:
    """Return a fractal elevation of shape (rows, columns) at 10 m, from `base` to `base + height`; all in m."""
    field = fields.fractal(shape, 3.6, rng, _SMOOTHEST)
    field -= field.min()
    return (base + height * field / field.max()).astype("f4")


def slopes(elevation: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rise per metre towards east and north of a periodic elevation (m, same shape) with pixels of `size` m."""
    east = (np.roll(elevation, -1, 1) - np.roll(elevation, 1, 1)) / (2 * size)
    north = (np.roll(elevation, 1, 0) - np.roll(elevation, -1, 0)) / (2 * size)
    return east, north


def horizon(elevation: np.ndarray, size: float, azimuth: float) -> np.ndarray:
    """Return the tangent of the horizon's angle in one azimuth (degrees), at least 0, of a periodic elevation (m).

    `size` is that of its pixels, m.
    """
    east, north = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
    result = np.zeros_like(elevation)
    relief = float(np.ptp(elevation))
    distance = size
    while distance < _REACH and relief / distance > 1e-3:
        shifted = ndimage.shift(
            elevation, (north * distance / size, -east * distance / size), order=1, mode="grid-wrap", prefilter=False
        )
        np.maximum(result, (shifted - elevation) / np.float32(distance), out=result)
        distance += size * max(1.0, distance / size / 25)
    return result


def relief(elevation: np.ndarray, sun_zenith: float, sun_azimuth: float) -> Relief:
    """Return the lie of the land for an elevation (m) at 10 m and the sun's direction in degrees."""
    east, north = slopes(elevation, 10)
    normal = np.sqrt(1 + east**2 + north**2)
    z, a = np.radians(sun_zenith), np.radians(sun_azimuth)
    cosine = (np.cos(z) - np.sin(z) * (np.sin(a) * east + np.cos(a) * north)) / normal
    coarse = ndimage.zoom(elevation, 0.5, order=1, grid_mode=True, mode="grid-wrap")
    limit = horizon(elevation, 10, sun_azimuth)
    # The sun is half a degree wide.
    above = (np.pi / 2 - z - np.arctan(limit)) / np.radians(0.53) + 0.5
    lit = np.clip(above, 0, 1).astype("f4")
    view = ndimage.zoom(_sky_view(coarse, 20), 2, order=1, grid_mode=True, mode="grid-wrap")
    slope = np.degrees(np.arccos(1 / normal))
    aspect = np.degrees(np.arctan2(-east, -north)) % 360
    return Relief(elevation, np.maximum(cosine, 0), lit, view, slope, aspect)


def _sky_view(elevation: np.ndarray, size: float) -> np.ndarray:
    """Return the sky-view factor of tilted ground (Dozier and Frew 1990, IEEE TGRS 28, 963, equation 7b)."""
    east, north = slopes(elevation, size)
    steep = np.arctan(np.hypot(east, north))
    facing = np.arctan2(-east, -north)
    total = np.zeros_like(elevation)
    for azimuth in 360 / _AZIMUTHS * np.arange(_AZIMUTHS):
        # The ground itself hides the sky below its own plane.
        h = np.pi / 2 - np.arctan(horizon(elevation, size, azimuth))
        own = np.pi / 2 - np.arctan(np.maximum(-np.cos(np.radians(azimuth) - facing) * np.tan(steep), 0))
        h = np.minimum(h, own)
        sine, turn = np.sin(h), np.cos(np.radians(azimuth) - facing)
        total += np.cos(steep) * sine**2 + np.sin(steep) * turn * (h - sine * np.cos(h))
    return np.clip(total / _AZIMUTHS, 0, 1).astype("f4")


def dem(elevation: np.ndarray) -> np.ndarray:
    """Return the elevation (m) that a user's model has: means of `DEM_PIXEL`, with the margin around the scene."""
    factor = DEM_PIXEL // 10
    rows, columns = (n // factor for n in elevation.shape)
    coarse = elevation[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return np.pad(coarse, MARGIN, mode="wrap").astype("f4")
