"""Random fields as nature's: fractal, smooth and periodic, so that a scene has no edge."""

import numpy as np


def fractal(shape: tuple[int, int], exponent: float, rng: np.random.Generator, shortest: float = 0) -> np.ndarray:
    """Return a periodic field of mean 0 and standard deviation 1 whose power falls with a power of the frequency.

    Parameters
    ----------
    shape
        Rows and columns.
    exponent
        Of the power spectrum: 2 is rough, 3 to 4 smooth.
    shortest
        Wavelength in pixels below which there is nothing.
    """
    from scipy import fft

    frequency = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    amplitude = frequency ** (-exponent / 2)
    if shortest:
        amplitude *= np.exp(-((frequency * shortest) ** 2))
    amplitude[~np.isfinite(amplitude)] = 0
    field = fft.irfft2(fft.rfft2(rng.standard_normal(shape)) * amplitude, s=shape)
    return (field - field.mean()) / field.std()


def smooth(shape: tuple[int, int], relative: float, rng: np.random.Generator, shortest: float) -> np.ndarray:
    """Return a field of mean 1 and standard deviation `relative`, within three of which it stays; see `fractal`."""
    return 1 + relative * np.clip(fractal(shape, 3.5, rng, shortest), -3, 3)


def parcels(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Return the number of the parcel that each pixel belongs to: cells around random points, periodic.

    Parameters
    ----------
    shape
        Rows and columns.
    size
        Side of a parcel in pixels, in the mean.
    """
    from scipy.spatial import cKDTree

    count = max(4, round(shape[0] * shape[1] / size**2))
    points = rng.uniform(0, 1, (count, 2)) * shape
    tree = cKDTree(points, boxsize=shape)
    # Ragged edges: where a pixel is looked for is moved a little.
    down, right = (0.15 * size * fractal(shape, 2.5, rng) for _ in range(2))
    result = np.empty(shape, "i4")
    for row in range(shape[0]):
        places = np.column_stack([row + 0.5 + down[row], np.arange(shape[1]) + 0.5 + right[row]]) % shape
        result[row] = tree.query(places)[1]
    return result


def quantiles(field: np.ndarray) -> np.ndarray:
    """Return the rank of each pixel of a field, 0 to 1, of its shape."""
    order = np.empty(field.size, "i8")
    order[field.ravel().argsort(kind="stable")] = np.arange(field.size)
    return ((order + 0.5) / field.size).reshape(field.shape)
