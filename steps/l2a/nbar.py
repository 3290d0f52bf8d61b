"""Reflectance as it would be seen from the zenith: nadir BRDF-adjusted reflectance (NBAR) by the c-factor.

Roy et al. 2016 (Remote Sensing of Environment 176, 255) take one BRDF for all land, the mean of MODIS's: its ratio
between the view from the zenith and the real one is the factor. The sun stays where it is.
"""

from typing import NamedTuple

import numpy as np


class Brdf(NamedTuple):
    """Weights of the isotropic, geometric and volumetric kernels of a band."""

    isotropic: float
    geometric: float
    volumetric: float


#: Of B08 and B8A.
_NIR = Brdf(0.3093, 0.0330, 0.1535)
#: Roy et al. 2016, and for the red edge Roy et al. 2017 (RSE 199, 25). B01 and B09, for which others take those of the
#: blue or their own, are left out.
BRDF = {
    "B02": Brdf(0.0774, 0.0079, 0.0372),
    "B03": Brdf(0.1306, 0.0178, 0.0580),
    "B04": Brdf(0.1690, 0.0227, 0.0574),
    "B05": Brdf(0.2085, 0.0256, 0.0845),
    "B06": Brdf(0.2316, 0.0273, 0.1003),
    "B07": Brdf(0.2599, 0.0294, 0.1197),
    "B08": _NIR,
    "B8A": _NIR,
    "B11": Brdf(0.3430, 0.0453, 0.1154),
    "B12": Brdf(0.2658, 0.0387, 0.0639),
}
#: Height of the crowns' centres by their radius, of the MODIS BRDF product; crowns are spheres.
_HEIGHT = 2.0


def kernels(sun_zenith: np.ndarray, view_zenith: np.ndarray, azimuth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the geometric (Li-Sparse reciprocal) and volumetric (Ross-Thick) kernels.

    Lucht, Schaaf and Strahler 2000 (IEEE TGRS 38, 977).

    Parameters
    ----------
    sun_zenith, view_zenith
        Degrees, below 90.
    azimuth
        Between sun and view, degrees: 0 where both are on the same side.
    """
    sun, view, turn = (np.radians(angle) for angle in (sun_zenith, view_zenith, azimuth))
    cos_phase = np.cos(sun) * np.cos(view) + np.sin(sun) * np.sin(view) * np.cos(turn)
    phase = np.arccos(np.clip(cos_phase, -1, 1))
    volumetric = ((np.pi / 2 - phase) * cos_phase + np.sin(phase)) / (np.cos(sun) + np.cos(view)) - np.pi / 4
    tan_sun, tan_view, secants = np.tan(sun), np.tan(view), 1 / np.cos(sun) + 1 / np.cos(view)
    distance_2 = tan_sun**2 + tan_view**2 - 2 * tan_sun * tan_view * np.cos(turn)
    across = tan_sun * tan_view * np.sin(turn)
    cos_t = np.clip(_HEIGHT * np.sqrt(np.maximum(distance_2, 0) + across**2) / secants, -1, 1)
    t = np.arccos(cos_t)
    overlap = (t - np.sin(t) * cos_t) * secants / np.pi
    geometric = overlap - secants + (1 + cos_phase) / (2 * np.cos(sun) * np.cos(view))
    return geometric, volumetric


def c_factor(band: str, sun_zenith: np.ndarray, view_zenith: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Return by what reflectance is multiplied to be that seen from the zenith, of the shape of the angles (`kernels`).

    Parameters
    ----------
    band
        One of `BRDF`.
    """
    weights = BRDF[band]

    def reflectance(view):
        geometric, volumetric = kernels(sun_zenith, view, azimuth)
        return weights.isotropic + weights.geometric * geometric + weights.volumetric * volumetric

    return reflectance(np.zeros_like(view_zenith)) / reflectance(view_zenith)
