"""Band averages of spectra on the 2.5 nm cells of the gas table."""

import numpy as np

from steps.core.errors import StepError
from steps.sentinel2.scene import SpectralResponse


def cell_weights(response: SpectralResponse, wavelength: np.ndarray, step: float) -> np.ndarray:
    """Average a response into the cells of a regular wavelength grid.

    The response is linear between its samples and each grid point has a triangular cell that reaches to its
    neighbours, so that sum(weights * x) is the integral of response times x for an x that is linear between the grid
    points. Taking samples at the grid points instead would cost up to 2.6e-3 in transmittance (Sentinel-2C B09).

    Parameters
    ----------
    response
        Any scale.
    wavelength, step
        Grid points and their spacing, nm.

    Returns
    -------
    numpy.ndarray
        Shape of `wavelength`, in units of the response times nm.

    Raises
    ------
    StepError
        If the response has no positive value in the range of the grid.
    """
    fine = np.arange(wavelength[0] - step, wavelength[-1] + step, 0.1)
    values = np.interp(fine, response.wavelength, response.values, left=0, right=0)
    lit = np.flatnonzero(values > 0)
    fine, values = fine[lit], values[lit]
    left = np.floor((fine - wavelength[0]) / step).astype(int)
    share = (fine - wavelength[0]) / step - left
    weights = np.zeros(wavelength.size + 2)
    np.add.at(weights, np.clip(left + 1, 0, wavelength.size + 1), values * (1 - share) * 0.1)
    np.add.at(weights, np.clip(left + 2, 0, wavelength.size + 1), values * share * 0.1)
    weights = weights[1:-1]
    if not weights.sum() > 0:
        raise StepError(
            f"a spectral response from {response.start:g} nm has no positive value between {wavelength[0]:g} and "
            f"{wavelength[-1]:g} nm: check the product's metadata"
        )
    return weights
