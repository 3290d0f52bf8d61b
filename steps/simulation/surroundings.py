"""Light from around a pixel, by the environment functions of 6S, on a ground that goes on periodically."""

import numpy as np

#: Pixel size at which surroundings are summed, m.
CELL = 60.0


def within_molecules(km: np.ndarray) -> np.ndarray:
    """Return the share of light scattered by molecules that comes from within distances in km (6S, ENVIRO)."""
    return 1 - 0.930 * np.exp(-0.080 * km) - 0.070 * np.exp(-1.100 * km)


def within_aerosol(km: np.ndarray) -> np.ndarray:
    """Return the share of light scattered by aerosol that comes from within distances in km (6S, subroutine ENVIRO)."""
    return 1 - 0.448 * np.exp(-0.27 * km) - 0.552 * np.exp(-2.83 * km)


def kernel(molecules: float, shape: tuple[int, int], reach_km: float = 60.0) -> np.ndarray:
    """Return the weights of all cells of a periodic ground around the first one; their sum is 1.

    Parameters
    ----------
    molecules
        Share of the diffuse light that molecules have scattered.
    shape
        Rows and columns of the ground, cells of `CELL`.
    reach_km
        Farther away the ground counts as its mean.
    """
    size = CELL / 1000
    half = int(reach_km / size)
    offset = np.arange(-half, half + 1)
    r = np.hypot(offset[:, None], offset) * size
    inner = size / np.sqrt(np.pi)  # of a disc of a cell's area

    def share(km: np.ndarray) -> np.ndarray:
        return molecules * within_molecules(km) + (1 - molecules) * within_aerosol(km)

    # Ring by ring: the light of a ring of one cell's width is shared by the cells whose middles lie in it.
    ring = np.maximum(np.ceil((r - inner) / size - 1e-9).astype(int), 0)
    edges = inner + size * np.arange(-1, ring.max() + 1)
    light = np.diff(np.concatenate([[0.0], share(edges[1:])]))
    weights = (light / np.bincount(ring.ravel()))[ring]
    weights[r > reach_km] = 0
    folded = np.zeros(shape)
    rows, columns = (np.broadcast_to(o, r.shape) for o in (offset[:, None], offset))
    np.add.at(folded, (rows % shape[0], columns % shape[1]), weights)
    return folded + (1 - folded.sum()) / folded.size


def environment(reflectance: np.ndarray, molecules: float) -> np.ndarray:
    """Return the reflectance of the surroundings of each cell, same shape, of a periodic ground of cells of `CELL`."""
    from scipy import fft

    spectrum = fft.rfft2(kernel(molecules, reflectance.shape))
    return fft.irfft2(fft.rfft2(reflectance) * spectrum, s=reflectance.shape)
