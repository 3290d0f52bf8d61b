"""From spectra to the bands of the camera: what a product's spectral responses make of light, gas and ground."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from steps.sentinel2.scene import SpectralResponse
from steps.simulation.gases import Gases
from steps.simulation.particles import MOLECULES_HEIGHT
from steps.simulation.scattering import VIEW_ZENITHS, WAVELENGTHS, Scattering, directions

#: Spacing of the wavelengths at which responses are taken, nm.
STEP = 1.0


@dataclass(frozen=True)
class Sampled:
    """A band's spectral weights: response times the sun's irradiance, of sum 1.

    Attributes
    ----------
    wavelength
        nm.
    weight
        Same shape.
    """

    wavelength: np.ndarray
    weight: np.ndarray

    def mean(self, wavelength: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the band's mean of spectra, whose last axis is the wavelength (nm), between which they are linear."""
        place = np.clip(wavelength.searchsorted(self.wavelength) - 1, 0, wavelength.size - 2)
        part = (self.wavelength - wavelength[place]) / (wavelength[place + 1] - wavelength[place])
        return (values[..., place] * (1 - part) + values[..., place + 1] * part) @ self.weight


def sample(response: SpectralResponse, wavelength: np.ndarray, irradiance: np.ndarray) -> Sampled:
    """Weight the wavelengths (um) of a band by its response, linear between samples, and by the sun's irradiance."""
    start = max(response.wavelength[0] - response.step, wavelength[0])
    end = min(response.wavelength[-1] + response.step, wavelength[-1])
    fine = np.arange(start, end + STEP / 2, STEP)
    weight = np.interp(fine, response.wavelength, response.values, left=0, right=0)
    weight = weight * np.interp(fine, wavelength, irradiance)
    lit = weight > 0
    return Sampled(fine[lit], weight[lit] / weight.sum())


@dataclass(frozen=True)
class Spectra:
    """What the atmosphere does at the wavelengths of one band; leading axes are (optical thickness, elevation)."""

    path: np.ndarray
    rayleigh_path: np.ndarray
    down: np.ndarray
    direct_down: np.ndarray
    up: np.ndarray
    spherical_albedo: np.ndarray
    depth: np.ndarray
    other: np.ndarray


class Above(NamedTuple):
    """The air above a height in a band.

    Attributes
    ----------
    path
        Reflectance of the molecules.
    down, through
        Transmittance of the molecules on the way down, and of molecules and gas down and up.
    albedo
        Spherical albedo of the molecules.
    """

    path: float
    down: float
    through: float
    albedo: float

    def lit(self, reflectance: np.ndarray) -> np.ndarray:
        """Return what something of a reflectance there sends up, over the light that comes down without the air."""
        return reflectance / (1 - np.float32(self.albedo) * reflectance)


class SimulatedAtmosphere:
    """The atmosphere in one band, at nodes of aerosol optical thickness, elevation and water vapour.

    Parameters
    ----------
    response
        Of the band.
    scattered, gas
        What scatters and what absorbs, on the same elevations.
    sun_zenith
        Degrees.

    Attributes
    ----------
    sampled
        The band's spectral weights.
    molecules
        Share of the diffuse light from the ground that molecules scatter.
    """

    def __init__(self, response: SpectralResponse, scattered: Scattering, gas: Gases, sun_zenith: float):
        self.sampled = sample(response, gas.wavelength, gas.irradiance)
        self.molecules = float(self.sampled.mean(1000 * WAVELENGTHS, scattered.molecules))
        self._gas, self._sun = gas, float(np.cos(np.radians(sun_zenith)))
        place = np.log(self.sampled.wavelength / 1000)

        def at(values: np.ndarray, axis: int = 2) -> np.ndarray:
            spline = CubicSpline(np.log(WAVELENGTHS), values, axis=axis)(place)
            return np.moveaxis(spline, axis, -1)

        depth = np.exp(at(np.log(scattered.depth)))
        self._spectra = Spectra(
            path=at(scattered.path),  # (aot, elevation, terms, wavelengths)
            rayleigh_path=at(scattered.path[:1])[0],
            down=at(scattered.down),
            direct_down=np.exp(-depth / self._sun),
            up=at(scattered.up),
            spherical_albedo=at(scattered.spherical_albedo),
            depth=depth,
            other=np.array([np.interp(self.sampled.wavelength, gas.wavelength, row) for row in gas.other]),
        )

    def coefficients(self, zenith: float, azimuth: float, water_vapour: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the pixel formula wants, shape (optical thicknesses, elevations, columns).

        Parameters
        ----------
        zenith, azimuth
            Of the view, degrees, azimuth relative to the sun's.
        water_vapour
            Vertical columns, g/cm2.

        Returns
        -------
        dict
            `path`: reflectance of the atmosphere. `sun`, `sky`: transmittance, down and directly up, of the sun's
            direct and diffuse light over a black ground. `around`: transmittance down and diffusely up. `albedo`: of
            the atmosphere from below. Their products with the gases' are integrated over the band.
        """
        s, view = self._spectra, float(np.cos(np.radians(zenith)))
        weight = self.sampled.weight
        terms = directions(np.array(zenith), np.array(azimuth))
        path, rayleigh = (np.einsum("...tw,t->...w", p, terms) for p in (s.path, s.rayleigh_path))
        up = _between(s.up, (0.0, *VIEW_ZENITHS), zenith)
        direct = np.exp(-s.depth / view)
        once, twice = self._vapour(view, water_vapour)
        gas = s.other[:, None] * twice  # (elevation, column, wavelength)

        def mean(values: np.ndarray, through: np.ndarray) -> np.ndarray:
            return np.einsum("aew,euw,w->aeu", values, through, weight)

        dry = np.broadcast_to(s.other[:, None], twice.shape)
        rayleigh_part = mean(np.broadcast_to(rayleigh, path.shape), dry)
        passed = mean(s.down * up, gas)
        return {
            "path": rayleigh_part + mean(path - rayleigh, s.other[:, None] * once),
            "sun": mean(s.direct_down * direct, gas),
            "sky": mean((s.down - s.direct_down) * direct, gas),
            "around": mean(s.down * (up - direct), gas),
            "albedo": mean(s.spherical_albedo * s.down * up, gas) / passed,
        }

    def seen_weights(self, zenith: float, water_vapour: float) -> Sampled:
        """Return the band's weights for light from the ground, which gas and haze have changed on its way.

        Parameters
        ----------
        zenith
            Of the view, degrees.
        water_vapour
            Vertical column, g/cm2.
        """
        s, view = self._spectra, float(np.cos(np.radians(zenith)))
        middle, bottom = s.down.shape[0] // 2, 0
        _, twice = self._vapour(view, np.array([water_vapour]))
        through = s.other[bottom] * twice[bottom, 0] * s.down[middle, bottom] * np.exp(-s.depth[middle, bottom] / view)
        weight = self.sampled.weight * through
        return Sampled(self.sampled.wavelength, weight / weight.sum())

    def light(self) -> tuple[float, float]:
        """Return the transmittances of the direct and the diffuse light of the sun at the lowest, middling nodes."""
        s, middle = self._spectra, self._spectra.down.shape[0] // 2
        direct, all_light = s.direct_down[middle, 0] @ self.sampled.weight, s.down[middle, 0] @ self.sampled.weight
        return float(direct), float(all_light - direct)

    def node_weights(self, nodes: np.ndarray) -> np.ndarray:
        """Return the weights, shape (nodes,), of wavelengths (um) in the band's mean of what is linear between them."""
        place = np.clip(np.searchsorted(nodes, self.sampled.wavelength / 1000) - 1, 0, nodes.size - 2)
        part = (self.sampled.wavelength / 1000 - nodes[place]) / (nodes[place + 1] - nodes[place])
        weights = np.zeros(nodes.size)
        np.add.at(weights, place, self.sampled.weight * (1 - part))
        np.add.at(weights, place + 1, self.sampled.weight * part)
        return weights

    def above(self, zenith: float, height: float, water_vapour: float) -> Above:
        """Return the air above a height: its molecules, as many as are there, and gas.

        The other gases count as a whole: most ozone is above all clouds.

        Parameters
        ----------
        zenith
            Of the view, degrees.
        height
            Above the ground, m.
        water_vapour
            Vertical column above it, g/cm2.
        """
        s, weight = self._spectra, self.sampled.weight
        _, twice = self._vapour(float(np.cos(np.radians(zenith))), np.array([water_vapour]))
        share = np.exp(-height / MOLECULES_HEIGHT)
        down, up = s.down[0, 0] ** share, _between(s.up, (0.0, *VIEW_ZENITHS), zenith)[0, 0] ** share
        path = share * directions(np.array(0.0), np.array(0.0)) @ s.rayleigh_path[0]
        return Above(
            path=float(path * s.other[0] @ weight),
            down=float(down @ weight),
            through=float(down * up * s.other[0] * twice[0, 0] @ weight),
            albedo=float(share * s.spherical_albedo[0, 0] @ weight),
        )

    def _vapour(self, view: float, water_vapour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return transmittances of water vapour for half the way and all of it, (elevation, column, wavelength)."""
        slant = np.asarray(water_vapour) * (1 / self._sun + 1 / view)
        fine = self.sampled.wavelength

        def at(column: np.ndarray) -> np.ndarray:
            spectra = [self._gas.vapour(e, column) for e in range(len(self._gas.other))]
            return np.array([[np.interp(fine, self._gas.wavelength, row) for row in rows] for rows in spectra])

        return at(slant / 2), at(slant)


def _between(values: np.ndarray, zeniths: tuple[float, ...], zenith: float) -> np.ndarray:
    """Return values, whose third axis is the view zenith, at one; transmittance goes with the square of the angle."""
    nodes = np.square(zeniths)
    place = int(np.clip(nodes.searchsorted(zenith**2) - 1, 0, len(zeniths) - 2))
    part = (zenith**2 - nodes[place]) / (nodes[place + 1] - nodes[place])
    return values[:, :, place] * (1 - part) + values[:, :, place + 1] * part


def atmospheres(
    responses: Mapping[str, SpectralResponse], scattered: Scattering, gas: Gases, sun_zenith: float
) -> dict[str, SimulatedAtmosphere]:
    """Return the atmosphere in each band; parameters as of `SimulatedAtmosphere`."""
    return {band: SimulatedAtmosphere(response, scattered, gas, sun_zenith) for band, response in responses.items()}
