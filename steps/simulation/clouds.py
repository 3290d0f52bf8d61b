"""Clouds over a scene: where each band sees them, where their shadows fall, and what light they send up."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from steps.simulation import fields

#: Share of forward scattering in the phase function of droplets and crystals (their asymmetry is 0.85).
_ASYMMETRY = 0.85
#: Reflectance of a cloud in a band over that in the visible: droplets and ice absorb in the SWIR.
_DROPLETS = {"B11": 0.82, "B12": 0.62}
_CRYSTALS = {"B11": 0.55, "B12": 0.42}
#: Share of the light diffusely transmitted by a cloud that lights the ground in its shadow.
_DIFFUSE = 0.3
#: The sun's diameter as an angle: height over width of the half-shadow.
_PENUMBRA = 108.0
#: Scale height of water vapour, m.
_VAPOUR_HEIGHT = 2000.0


@dataclass(frozen=True)
class Layer:
    """A layer of clouds of one height.

    Attributes
    ----------
    depth
        Optical thickness at 20 m, vertical, float32 (rows, columns).
    height
        Above the ground, m.
    ice
        Whether it is of crystals: cirrus.
    """

    depth: np.ndarray
    height: float
    ice: bool

    @property
    def reflectance(self) -> np.ndarray:
        """Reflectance in the visible of a layer that does not absorb (two-stream), shape of `depth`."""
        scaled = (1 - _ASYMMETRY) * self.depth
        return scaled / (2 + scaled)

    def seen(self, zenith: float, azimuth: float) -> np.ndarray:
        """Return the reflectance as it lies over the ground for a direction of view (degrees), periodic."""
        return self._moved(self.reflectance, zenith, azimuth)

    def sunlight(self, zenith: float, azimuth: float) -> np.ndarray:
        """Return the share of the sun's light that reaches the ground, for its direction (degrees), periodic."""
        slant = self.depth / np.float32(np.cos(np.radians(zenith)))
        # Light that is scattered by less than the peak's width goes on with the direct one (delta-Eddington).
        straight = np.exp(-(1 - _ASYMMETRY**2) * slant)
        scaled = (1 - _ASYMMETRY) * slant
        diffuse = np.maximum(2 / (2 + scaled) - straight, 0) * np.float32(_DIFFUSE)
        moved = self._moved(straight + diffuse, zenith, azimuth)
        return ndimage.gaussian_filter(moved, self.height / _PENUMBRA / 20 / 2, mode="wrap")

    def _moved(self, values: np.ndarray, zenith: float, azimuth: float) -> np.ndarray:
        # What lies in a direction from a point of the ground is at the ground plus height times tangent; y goes down.
        length = self.height * np.tan(np.radians(zenith)) / 20
        down, right = -length * np.cos(np.radians(azimuth)), length * np.sin(np.radians(azimuth))
        return ndimage.shift(values, (-down, -right), order=1, mode="grid-wrap")


def layers(shape: tuple[int, int], settings: list[Mapping], rng: np.random.Generator) -> list[Layer]:
    """Make the layers of a scene.

    Parameters
    ----------
    shape
        Rows and columns of 20 m.
    settings
        Of each layer: `cover` (0-1), `height` (m), `depth` (optical thickness of the thickest part), `size` (m) and
        `ice`; what is not given is that of fair-weather clouds.
    """
    made = []
    for one in settings:
        given = {"cover": 0.15, "height": 1500.0, "depth": 30.0, "size": 1200.0, "ice": False} | dict(one)
        noise = fields.fractal(shape, 3.4 if given["ice"] else 2.8, rng, 2)
        frequency_limited = noise - ndimage.gaussian_filter(noise, given["size"] / 20, mode="wrap")
        rank = fields.quantiles(frequency_limited)
        inside = np.clip((rank - 1 + given["cover"]) / given["cover"], 0, 1)
        made.append(Layer((given["depth"] * inside**1.5).astype("f4"), float(given["height"]), bool(given["ice"])))
    return made


def band_factor(band: str, layer: Layer) -> float:
    """Return the reflectance of a layer's substance in a band over that in the visible."""
    return (_CRYSTALS if layer.ice else _DROPLETS).get(band, 1.0)


def vapour_above(layer: Layer, water_vapour: float) -> float:
    """Return the column of water vapour above a layer, g/cm2."""
    return max(water_vapour * float(np.exp(-layer.height / _VAPOUR_HEIGHT)), 1e-3)
