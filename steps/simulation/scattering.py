"""Light in a plane-parallel atmosphere by the vector discrete ordinates of sasktran2.

It shares nothing with our own solver and its tables.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steps.core.cache import cache_folder
from steps.core.code import code_digest
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.simulation.particles import (
    AEROSOL_HEIGHT,
    DEPOLARISATION,
    MOLECULES_HEIGHT,
    Aerosol,
    mixture,
    path_of,
    rayleigh_thickness,
    table,
)

#: Where scattering is computed, um; it is smooth in between. Dust and soot are not so around 2 um.
WAVELENGTHS = np.array(
    [
        *(0.40, 0.425, 0.45, 0.49, 0.53, 0.58, 0.64, 0.71, 0.80, 0.90, 1.05),
        *(1.38, 1.53, 1.61, 1.70, 1.95, 2.08, 2.17, 2.25, 2.35, 2.50),
    ]
)
#: From here on, um, molecules scatter too little for polarisation to count.
_SCALAR = 1.2
#: Directions of view, degrees.
VIEW_ZENITHS = (3.0, 6.0, 9.0, 12.0)
RELATIVE_AZIMUTHS = (0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0)
#: Discrete ordinates in a hemisphere and its opposite together, levels, and moments of the phase function: 24, 51 and
#: 128 change reflectance by 3e-5.
_STREAMS = 12
_LEVELS = 26
_MOMENTS = 128
#: Reflectances of the ground from which transmittance and spherical albedo follow.
_GROUNDS = np.array([0.0, 0.3, 0.6])
_TOP = 100e3


@dataclass(frozen=True)
class Scattering:
    """What scattering does, without absorption by gas; leading axes are (optical thickness, elevation, wavelength).

    Attributes
    ----------
    aot550, elevation
        Nodes; the first optical thickness is 0. Elevation in km.
    path
        Coefficients of the path reflectance as a polynomial of the view direction, see `directions`; (..., terms).
    down
        Transmittance of the sun's light, direct and diffuse, to a black ground.
    up
        The same from the ground to a satellite at the view zenith angles 0 and `VIEW_ZENITHS`; (..., zeniths).
    spherical_albedo
        Of the atmosphere, from below.
    depth
        Optical thickness.
    molecules
        Share of the diffuse light from the ground that molecules would scatter, each kind being alone; (wavelengths,).
    """

    aot550: np.ndarray
    elevation: np.ndarray
    path: np.ndarray
    down: np.ndarray
    up: np.ndarray
    spherical_albedo: np.ndarray
    depth: np.ndarray
    molecules: np.ndarray


def directions(zenith: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Return the terms of the polynomial in the view direction: powers of its parts along and across the sun's plane.

    Parameters
    ----------
    zenith, azimuth
        Of the view, degrees; azimuth relative to the sun's, 0 where the satellite is on the sun's side.
    """
    along = np.sin(np.radians(zenith)) * np.cos(np.radians(azimuth))
    across = (np.sin(np.radians(zenith)) * np.sin(np.radians(azimuth))) ** 2
    return np.stack([along**i * across**j for j in range(3) for i in range(5 - 2 * j)], axis=-1)


def scattering(
    sun_zenith: float,
    shares: Mapping[str, float],
    aot550: Sequence[float],
    elevation: Sequence[float],
    pressure: float = 1013.25,
) -> Scattering:
    """Compute what scattering does at nodes of aerosol optical thickness and elevation, or find it in the cache.

    Parameters
    ----------
    sun_zenith
        Degrees, less than 85.
    shares
        Of aerosol models, see `particles.mixture`.
    aot550
        Nodes beside 0, above the ground.
    elevation
        Nodes, km.
    pressure
        At sea level, hPa.
    """
    key = (sun_zenith, sorted(shares.items()), *map(list, (aot550, elevation)), pressure)
    return Scattering(**kept(key, shares, lambda: vars(_scattering(sun_zenith, shares, aot550, elevation, pressure))))


def kept(
    key: tuple, shares: Mapping[str, float], compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return arrays from the cache, or compute and keep them there.

    Parameters
    ----------
    key
        All that they are computed from, but for the code and tables.
    shares
        Of aerosol models, whose tables are looked at.
    compute
        A function that returns the arrays by name, as `kept` does.
    """
    tables = [path_of(name) for name in ("profile", *(f"aerosol_{model}" for model in sorted(shares)))]
    digest = hashlib.sha256(repr((key, code_digest(compute.__module__, *tables))).encode()).hexdigest()[:16]
    path = cache_folder() / "simulation" / f"{digest}.npz"
    if not path.exists():
        with atomic(path) as part:
            np.savez(part, allow_pickle=False, **compute())
    with np.load(path) as arrays:
        return dict(arrays)


def _scattering(
    sun_zenith: float,
    shares: Mapping[str, float],
    aot550: Sequence[float],
    elevation: Sequence[float],
    pressure: float,
) -> Scattering:
    depths = np.array([0.0, *aot550])
    aerosol = mixture(shares, WAVELENGTHS, _MOMENTS)
    profile = table("profile")
    level = np.log(profile["pressure_hpa"])
    share = pressure / 1013.25 * np.exp(np.interp(elevation, profile["altitude_km"], level) - level[0])
    molecules = rayleigh_thickness(WAVELENGTHS)
    rows = [[_solve(sun_zenith, molecules * part, aot, aerosol) for part in share] for aot in depths]
    path, down, up, spherical = (np.array([[one[i] for one in row] for row in rows]) for i in range(4))
    depth = share[:, None] * molecules + depths[:, None, None] * aerosol.extinction
    middle = depths[len(depths) // 2]
    alone = _solve(sun_zenith, 1e-6 * molecules, middle, aerosol)[2][:, 0] - np.exp(-middle * aerosol.extinction)
    clear = up[0, 0, :, 0] - np.exp(-depth[0, 0])
    return Scattering(
        depths, np.asarray(elevation, "f8"), path, down, up, spherical, depth, clear / (clear + np.maximum(alone, 0))
    )


def _solve(
    sun_zenith: float, rayleigh: np.ndarray, aot550: float, aerosol: Aerosol
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return path polynomial (wavelengths, terms), T down, T up (wavelengths, zeniths) and spherical albedo."""
    rays = [(0.0, 0.0), *((z, a) for z in VIEW_ZENITHS for a in RELATIVE_AZIMUTHS), (sun_zenith, 90.0)]
    zenith, azimuth = np.array(rays).T
    black, grey, bright = _reflectance(sun_zenith, zenith, azimuth, rayleigh, aot550, aerosol)
    a, b = (grey - black) / _GROUNDS[1], (bright - black) / _GROUNDS[2]  # = T / (1 - S r)
    spherical = ((b - a) / (_GROUNDS[2] * b - _GROUNDS[1] * a)).mean(axis=0)
    both = (a * (1 - _GROUNDS[1] * spherical)).T  # down times up
    terms = directions(zenith[:-1], azimuth[:-1])
    path = np.linalg.lstsq(terms, black[:-1], rcond=None)[0].T
    # By reciprocity light goes up to where the sun stands as it comes down from there.
    down = np.sqrt(both[:, -1])
    per_zenith = [
        both[:, zenith[:-1].searchsorted(z) : zenith[:-1].searchsorted(z, "right")] for z in (0, *VIEW_ZENITHS)
    ]
    up = np.stack([one.mean(axis=1) for one in per_zenith], axis=1) / down[:, None]
    return path, down, up, spherical


def _reflectance(
    sun_zenith: float,
    zenith: np.ndarray,
    azimuth: np.ndarray,
    rayleigh: np.ndarray,
    aot550: float,
    aerosol: Aerosol,
) -> np.ndarray:
    """Return the reflectance at the top of the atmosphere, shape (grounds, rays, wavelengths)."""
    rays = [(float(np.cos(np.radians(z))), float(a)) for z, a in zip(zenith, azimuth, strict=True)]
    radiance = radiances(sun_zenith, rays, rayleigh, aot550, aerosol, _GROUNDS, upwards=False)
    return np.moveaxis(radiance, 0, 2) * np.pi / np.cos(np.radians(sun_zenith))


def radiances(
    sun_zenith: float,
    rays: Sequence[tuple[float, float]],
    rayleigh: np.ndarray,
    aot550: float,
    aerosol: Aerosol,
    grounds: np.ndarray,
    *,
    upwards: bool,
) -> np.ndarray:
    """Return radiance for a sun of irradiance 1, shape (wavelengths, grounds, rays).

    Parameters
    ----------
    sun_zenith
        Degrees.
    rays
        Cosine of the zenith angle and azimuth relative to the sun's, degrees, of each direction that is looked at, or
        looked from, from the ground.
    rayleigh, aot550, aerosol
        Optical thickness of the molecules, and the aerosol, at `WAVELENGTHS`.
    grounds
        Reflectances of the ground.
    upwards
        Whether the sky is looked at from the ground, or the ground from space.
    """
    levels = _levels(float(rayleigh[2]), aot550)
    parts = [
        _radiances(sun_zenith, rays, rayleigh[these], aot550, aerosol.at(these), grounds, levels, stokes, upwards)
        for these, stokes in ((WAVELENGTHS < _SCALAR, 3), (WAVELENGTHS >= _SCALAR, 1))
    ]
    return np.concatenate(parts)


def _radiances(
    sun_zenith: float,
    rays: Sequence[tuple[float, float]],
    rayleigh: np.ndarray,
    aot550: float,
    aerosol: Aerosol,
    grounds: np.ndarray,
    levels: np.ndarray,
    stokes: int,
    upwards: bool,
) -> np.ndarray:
    """Return what `radiances` does, with one or three components of Stokes' vector."""
    try:
        import sasktran2 as sk
    except ImportError as error:
        raise StepError("the simulator needs the package sasktran2: pip install -e '.[simulate]'") from error
    config = sk.Config()
    config.num_stokes, config.num_streams, config.num_threads = stokes, _STREAMS, 1
    config.multiple_scatter_source = sk.MultipleScatterSource.DiscreteOrdinates
    config.num_singlescatter_moments = _MOMENTS
    config.delta_m_scaling = True
    cosine = float(np.cos(np.radians(sun_zenith)))
    # On a plane it looks down only; so to look up the Earth is made a thousand times as large.
    kind = sk.GeometryType.Spherical if upwards else sk.GeometryType.PlaneParallel
    radius = 6371e6 if upwards else 6371e3
    geometry = sk.Geometry1D(cosine, 0.0, radius, levels, sk.InterpolationMethod.LowerInterpolation, kind)
    view = sk.ViewingGeometry()
    for z, a in rays:
        # sasktran2 counts azimuth from where the light goes if it looks down, and from the sun if it looks up.
        if upwards:
            view.add_ray(sk.SolarAnglesObserverLocation(cosine, np.radians(a), z, 0.0))
        else:
            view.add_ray(sk.GroundViewingSolar(cosine, np.radians(a) + np.pi, z, 2 * _TOP))
    label = 400.0 + np.arange(rayleigh.size * len(grounds))
    atmosphere = sk.Atmosphere(geometry, config, wavelengths_nm=label, calculate_derivatives=False)
    atmosphere["air"] = sk.constituent.Manual(*_optics(levels, rayleigh, aot550, aerosol, len(grounds), stokes))
    atmosphere["ground"] = sk.constituent.LambertianSurface(np.tile(grounds, rayleigh.size), label)
    result = np.asarray(sk.Engine(config, geometry, view).calculate_radiance(atmosphere)["radiance"])[..., 0]
    if not np.isfinite(result).all():
        raise StepError(f"sasktran2 found no solution at a sun zenith of {sun_zenith:g} degrees and AOT {aot550:g}")
    return result.reshape(rayleigh.size, len(grounds), len(rays))


def _optics(
    levels: np.ndarray, rayleigh: np.ndarray, aot550: float, aerosol: Aerosol, repeated: int, stokes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return extinction, albedo and Greek coefficients at the levels, each wavelength repeated."""
    extinction, albedo = aerosol.without_peak()
    air, dust = (
        np.outer(_density(levels, height), np.repeat(thickness, repeated))
        for thickness, height in ((rayleigh, MOLECULES_HEIGHT), (aot550 * extinction, AEROSOL_HEIGHT))
    )
    scattered = air + dust * np.repeat(albedo, repeated)
    share, dipole = air / scattered, (1 - DEPOLARISATION) / (1 + DEPOLARISATION / 2)
    # Of each moment there are four numbers (a1, a2, a3, b1) if light is polarised, and one if not.
    numbers = 4 if stokes == 3 else 1
    greek = np.zeros((numbers * _MOMENTS, *air.shape))
    greek[0], greek[2 * numbers] = share, dipole / 2 * share
    if stokes == 3:
        greek[9], greek[11] = 3 * dipole * share, np.sqrt(1.5) * dipole * share
    greek[::numbers] += np.repeat(aerosol.moments, repeated, axis=0).T[:, None] * (1 - share)
    return air + dust, scattered / (air + dust), greek


def _levels(rayleigh: float, aot550: float) -> np.ndarray:
    """Return altitudes between which there is the same optical thickness in the blue."""
    height = np.linspace(0, _TOP, 4001)
    depth = rayleigh * np.exp(-height / MOLECULES_HEIGHT) + aot550 * np.exp(-height / AEROSOL_HEIGHT)
    levels = np.interp(-np.linspace(depth[0], depth[-1], _LEVELS), -depth, height)
    levels[0] = 0
    return levels


def _density(levels: np.ndarray, height: float) -> np.ndarray:
    """Return extinction per metre between the levels for an optical thickness of 1 with a scale height."""
    amount = -np.diff(np.exp(-levels / height)) / (1 - np.exp(-levels[-1] / height))
    return np.append(amount / np.diff(levels), 1e-30)
