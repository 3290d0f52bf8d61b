"""How much diffuse light of the sky falls on tilted ground, from the radiance of the sky itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from steps.simulation.particles import mixture, rayleigh_thickness
from steps.simulation.scattering import WAVELENGTHS, kept, radiances

#: Slopes, and angles between the azimuth that the ground faces and the sun's, degrees.
SLOPES = np.arange(0.0, 71.0, 10.0)
TURNS = np.arange(0.0, 181.0, 22.5)
#: What is nearer to the sun goes where the sun goes, degrees.
_NEAR = 20.0
#: Directions in which the sky is looked at: zeniths, and azimuths of one side.
_ZENITHS = 24
_AZIMUTHS = 37


@dataclass(frozen=True)
class Sky:
    """Diffuse light on tilted ground over that on level ground, shape (wavelengths, slopes, turns).

    Attributes
    ----------
    near, far
        Of the sky around the sun, and of all other sky that the ground itself does not hide.
    """

    near: np.ndarray
    far: np.ndarray

    def at(self, weights: np.ndarray, slope: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both for slopes and turns in degrees, with weights of the wavelengths, float32."""
        places = np.stack([np.clip(slope, 0, SLOPES[-1]), turn], axis=-1)
        near, far = (
            RegularGridInterpolator((SLOPES, TURNS), np.tensordot(weights, table, 1))(places).astype("f4")
            for table in (self.near, self.far)
        )
        return near, far


def sky(sun_zenith: float, shares: Mapping[str, float], aot550: float) -> Sky:
    """Compute the light of the sky over a black ground at sea level.

    Parameters
    ----------
    sun_zenith
        Degrees.
    shares
        Aerosol model to its share of the optical thickness.
    aot550
        Aerosol optical thickness at 550 nm.
    """
    key = ("sky", sun_zenith, sorted(shares.items()), aot550)
    return Sky(**kept(key, shares, lambda: _sky(sun_zenith, shares, aot550)))


def _sky(sun_zenith: float, shares: Mapping[str, float], aot550: float) -> dict[str, np.ndarray]:
    cosine, weight, azimuth = _directions()
    rays = [(float(z), float(a)) for z, a in zip(cosine, azimuth, strict=True)]
    aerosol = mixture(shares, WAVELENGTHS, 128)
    light = radiances(sun_zenith, rays, rayleigh_thickness(WAVELENGTHS), aot550, aerosol, np.zeros(1), upwards=True)[
        :, 0
    ]
    sine, z, a = np.sqrt(1 - cosine**2), np.radians(sun_zenith), np.radians(azimuth)
    near = cosine * np.cos(z) + sine * np.sin(z) * np.cos(a) > np.cos(np.radians(_NEAR))
    level = (light * cosine * weight).sum(axis=1)
    tables: dict[str, list] = {"near": [], "far": []}
    for slope in np.radians(SLOPES):
        for name, part in (("near", near), ("far", ~near)):
            rows = []
            for turn in np.radians(TURNS):
                # The other side of the sun's plane has the same sky and another angle to the ground.
                both = sum(
                    np.maximum(cosine * np.cos(slope) + sine * np.sin(slope) * np.cos(side * a - turn), 0)
                    for side in (1, -1)
                )
                rows.append((light * (both / 2) * weight)[:, part].sum(axis=1) / level)
            tables[name].append(rows)
    return {name: np.moveaxis(np.array(rows), 2, 0) for name, rows in tables.items()}


def _directions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cosine of the zenith angle, solid angle and azimuth (degrees, 0 to 180) of directions of half the sky."""
    x, weight = np.polynomial.legendre.leggauss(_ZENITHS)
    azimuth = np.linspace(0, 180, _AZIMUTHS)
    width = np.full(_AZIMUTHS, 2 * np.pi / (_AZIMUTHS - 1))
    width[[0, -1]] /= 2
    cosine, azimuths = np.meshgrid((x + 1) / 2, azimuth, indexing="ij")
    return cosine.ravel(), np.outer(weight / 2, width).ravel(), azimuths.ravel()
