"""Light scattered into the line of sight by the surroundings: the reflectance of a pixel's environment.

The surroundings count as 6S has it (Vermote et al. 1997, IEEE TGRS 35, 675): by the share of the diffusely
transmitted light that comes from within a distance.
"""

from collections.abc import Callable

import numpy as np

#: Pixel size at which surroundings are looked at, m.
ENVIRONMENT = 60


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


def environment(
    reflectance: np.ndarray,
    clear: np.ndarray,
    weights: np.ndarray,
    mean: float,
    coupling: float = 0.0,
    threads: int = 1,
) -> np.ndarray:
    """Return the mean reflectance of each pixel's surroundings.

    What is known of the surroundings is their reflectance as inverted for a uniform surface, which has lost contrast
    itself. With the weights' spectrum K, and all deviations from the scene's mean small, the true reflectance rho and
    the uniform one rho_u are related by rho (1 + Q K) = rho_u (1 + Q). So the surroundings are
    K (1 + Q) / (1 + Q K) rho_u.

    Parameters
    ----------
    reflectance
        Surface reflectance as inverted for a uniform surface, shape (rows, columns), float32.
    clear
        Which pixels to take, same shape. The others, and all beyond the edges and beyond the reach of the weights,
        count as `mean`.
    weights
        From `environment_weights`.
    mean
        Reflectance of the scene's clear ground.
    coupling
        Q = (q + S rho) / (1 - S rho), where q is the ratio of diffuse to direct upward transmittance, S the spherical
        albedo and rho the scene's mean reflectance; 0 if `reflectance` is the true one.
    threads
        Threads of the Fourier transform; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        Same shape, float32.
    """
    from scipy import fft

    anomaly = np.where(clear, reflectance - np.float32(mean), np.float32(0))
    half = weights.shape[0] // 2
    shape = [fft.next_fast_len(n + half, real=True) for n in reflectance.shape]
    shape = [max(n, fft.next_fast_len(weights.shape[0], real=True)) for n in shape]
    kernel = np.zeros(shape, np.float32)
    kernel[: weights.shape[0], : weights.shape[1]] = weights
    kernel = np.roll(kernel, (-half, -half), (0, 1))
    k = fft.rfft2(kernel, workers=threads)
    k = k * np.float32(1 + coupling) / (1 + np.float32(coupling) * k)
    result = fft.irfft2(fft.rfft2(anomaly, shape, workers=threads) * k, shape, workers=threads)
    return result[: reflectance.shape[0], : reflectance.shape[1]] + np.float32(mean)
