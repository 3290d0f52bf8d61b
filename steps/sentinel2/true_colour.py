"""True-colour pictures: from stored reflectance to bytes, for the TCI and PVI, the quicklooks and the COGs."""

import functools

import numpy as np

from steps.sentinel2.kinds import REFLECTANCE_ZERO

#: Bands shown as red, green and blue.
RGB = ("B04", "B03", "B02")

# Sentinel-2's own scaling: reflectance 0 to 0.25 becomes 1 to 255, and 0 is no data.
_BYTES = (1 + np.clip(np.arange(65536) - REFLECTANCE_ZERO, 0, 2500) * 254 // 2500).astype("u1")
_BYTES[0] = 0


def true_colour(stored: np.ndarray) -> np.ndarray:
    """Return bytes for reflectance as the artefacts store it.

    Parameters
    ----------
    stored
        uint16, any shape: reflectance * 10000 + 1000, 0 = no data.

    Returns
    -------
    np.ndarray
        uint8: 1 + floor(254 * reflectance / 0.25) for reflectance clipped to 0-0.25; 0 = no data.
    """
    return _BYTES[stored]


def block_mean(stored: np.ndarray, size: int) -> np.ndarray:
    """Return the means of the valid pixels of blocks of `size` x `size`; what does not fill a block is left out.

    Parameters
    ----------
    stored
        uint16, shape (rows, columns), 0 = no data.
    size
        Pixels along a side of a block.

    Returns
    -------
    np.ndarray
        uint16, shape (rows // size, columns // size), rounded half up, 0 where a block has no valid pixel.
    """
    rows, columns = (n // size for n in stored.shape)
    whole = stored[: rows * size, : columns * size]

    def block_sum(pixels):
        # Whole rows, then every n-th column of their sum: ten times as fast as `sum` both ways at once.
        lines = pixels.reshape(rows, size, columns * size).sum(axis=1, dtype="u4")
        return functools.reduce(np.add, (lines[:, k::size] for k in range(size)))

    total, count = block_sum(whole), size**2 if whole.all() else block_sum(whole != 0)
    return ((2 * total + count) // np.maximum(2 * count, 1)).astype("u2")
