"""Light scattered into the line of sight by the surroundings: the reflectance of a pixel's environment.

The surroundings count as 6S has it (Vermote et al. 1997, IEEE TGRS 35, 675): by the share of the diffusely
transmitted light that comes from within a distance.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from steps.atmosphere.band import BandAtmosphere
from steps.atmosphere.ground_samples import sample_means
from steps.atmosphere.inversion import environment_share
from steps.atmosphere.relief import filled
from steps.core.mesh import interpolate

#: Pixel size at which surroundings are looked at, m.
ENVIRONMENT = 60
#: Shares of the molecules and of the aerosol above 2.5 km, between the heights of fair-weather and of middle clouds.
_MOLECULES_ABOVE_CLOUDS, _AEROSOL_ABOVE_CLOUDS = 0.73, 0.29
#: Size of the cells that ground which is not seen is taken from, over the reach of the surroundings.
_CELL = 0.1


def environment_weights(share: Callable, pixel_km: float, radius_km: float) -> np.ndarray:
    """Return the weights of the pixels around a pixel.

    Parameters
    ----------
    share
        Function of a distance (km, any shape): the share of light that comes from within it.
    pixel_km
        Pixel size, km.
    radius_km
        Pixels farther away have no weight.

    Returns
    -------
    numpy.ndarray
        Square of odd size, float64; its sum is the share of light from within `radius_km`.
    """
    half = max(1, int(np.ceil(radius_km / pixel_km)))
    # The density falls steeply: 5 x 5 points in a pixel, and for the innermost pixel the share of a disc of its area.
    number = np.arange((2 * half + 1) * 5) - 5 * half - 2
    points = np.arange(number[-1] + 1) / 5 * pixel_km
    r = np.hypot(points[:, None], points)
    d = pixel_km * 1e-3
    density = (share(r + d) - share(r)) / np.maximum(r, d)
    density[r > radius_km] = 0
    # One quarter is computed, and mirrored.
    density = density[np.abs(number)[:, None], np.abs(number)]
    weights = density.reshape(2 * half + 1, 5, 2 * half + 1, 5).sum(axis=(1, 3))
    inner = share(pixel_km / np.sqrt(np.pi))
    weights[half, half] = 0
    weights *= (share(radius_km) - inner) / weights.sum()
    weights[half, half] = inner
    return weights


def cloud_light(atmosphere: BandAtmosphere) -> np.float32:
    """Return how much the light of a cloud counts in a band, 0 to 1.

    It is scattered by the air above the cloud alone; below it the air scatters the light of the ground. The uniform
    reflectance is that of a cloud on the ground: it lacks the path reflectance of the air below the cloud and has the
    transmittance on the way up through it in excess, which are about as much.
    """
    molecules, aerosol = float(atmosphere.rayleigh_diffuse_up), float(atmosphere.aerosol_diffuse_up)
    above = _MOLECULES_ABOVE_CLOUDS * molecules + _AEROSOL_ABOVE_CLOUDS * aerosol
    return np.float32(above / (molecules + aerosol))


def counted_in(light: np.ndarray, atmosphere: BandAtmosphere) -> np.ndarray:
    """Return how much the light that each pixel sends up counts in a band, 0 to 1, float32.

    Parameters
    ----------
    light
        1 for ground, -1 for clouds, 0 for what is not known, float32 (`light_around`).
    atmosphere
        In the middle of the scene.
    """
    return np.where(light < 0, cloud_light(atmosphere), light)


def surroundings(
    uniform: np.ndarray,
    counted: np.ndarray,
    atmosphere: BandAtmosphere,
    pixel_km: float,
    radius_km: float,
    mean: float | None = None,
) -> np.ndarray:
    """Return the reflectance of each pixel's surroundings, given its own as if all ground were uniform.

    What adds up over the surroundings is not the uniform reflectance rho but what is seen of it, rho / (1 - S rho) with
    the spherical albedo S: the uniform reflectance of snow amid forests lies on a curve. That has lost contrast, since
    it was seen through the surroundings itself. With the weights' spectrum K and small deviations from the mean, the
    surroundings are K (1 + Q) / (1 + Q K) of it, where Q = (q + S rho) / (1 - S rho) at the mean and q is the ratio of
    diffuse to direct upward transmittance.

    Parameters
    ----------
    uniform
        Surface reflectance as inverted for a uniform surface, shape (rows, columns), float32.
    counted
        See `environment`.
    atmosphere
        In the middle of the scene.
    pixel_km, radius_km
        See `environment_weights`.
    mean
        What is farther away counts as; None: the mean of these pixels, of which some have to count fully.

    Returns
    -------
    numpy.ndarray
        Same shape, float32.
    """
    albedo = np.float32(atmosphere.spherical_albedo)
    seen = uniform / (1 - albedo * uniform)
    if mean is None:
        ground = float(seen[counted == 1].mean())
        middle = ground + float(((seen - np.float32(ground)) * counted).mean(where=counted > 0))
    else:
        middle = mean / (1 - float(albedo) * mean)
    weights = environment_weights(partial(environment_share, atmosphere=atmosphere), pixel_km, radius_km)
    q = float(atmosphere.transmittance_up / atmosphere.direct_up) - 1
    around = environment(seen, counted, weights, middle, q + (1 + q) * float(albedo) * middle)
    return around / (1 + albedo * around)


def environment(
    reflectance: np.ndarray,
    counted: np.ndarray,
    weights: np.ndarray,
    mean: float,
    coupling: float = 0.0,
    threads: int = 1,
) -> np.ndarray:
    """Return the weighted mean of each pixel's surroundings, or K (1 + Q) / (1 + Q K) with the weights' spectrum K.

    Parameters
    ----------
    reflectance
        Shape (rows, columns), float32.
    counted
        How much each pixel counts, 0 to 1, same shape. What is left of it, and all beyond the edges, counts as the
        nearest ground that counts fully, or as `mean` where there is none.
    weights
        From `environment_weights`.
    mean
        What is beyond the reach of the weights counts as.
    coupling
        Q, see `surroundings`; 0 if `reflectance` is the true one.
    threads
        Threads of the Fourier transform; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        Same shape, float32.
    """
    from scipy import fft

    half = weights.shape[0] // 2
    shape = [fft.next_fast_len(n + 2 * half, real=True) for n in reflectance.shape]
    kernel = np.zeros(shape, np.float32)
    kernel[: weights.shape[0], : weights.shape[1]] = weights
    kernel = np.roll(kernel, (-half, -half), (0, 1))
    k = fft.rfft2(kernel, workers=threads)
    k = k * np.float32(1 + coupling) / (1 + np.float32(coupling) * k)
    anomaly = _everywhere(reflectance, counted, mean, half, shape) - np.float32(mean)
    result = fft.irfft2(fft.rfft2(anomaly, workers=threads) * k, shape, workers=threads)
    return result[tuple(slice(half, half + n) for n in reflectance.shape)] + np.float32(mean)


def _everywhere(reflectance: np.ndarray, counted: np.ndarray, mean: float, half: int, shape: list[int]) -> np.ndarray:
    """Return an image of a `shape` with the scene `half` pixels from its edges, and ground from near by where none is.

    What lies beyond an edge is more like the ground at the edge than like the scene's mean. Means of cells stand for
    the ground near by, so that no streak goes out from a single pixel.
    """
    size = max(1, round(_CELL * half))
    (ground,), (pixels,) = sample_means(reflectance, (counted == 1).view(np.uint8), 1, size)
    cells = filled(ground, pixels > 0, mean)
    rows, columns = ((np.arange(n) - half + 0.5) / size - 0.5 for n in shape)
    result = interpolate(cells.astype(np.float32), rows, columns)
    scene = result[half : half + reflectance.shape[0], half : half + reflectance.shape[1]]
    scene += np.where(counted > 0, (reflectance - scene) * counted, np.float32(0))
    return result
