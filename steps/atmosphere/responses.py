"""Spectral responses of the bands: the shipped tables, and band averages on the 2.5 nm cells of the gas table."""

import functools
import json
from pathlib import Path

import numpy as np

from steps.core.errors import StepError
from steps.sentinel2.scene import SpectralResponse

#: Tables made by `python -m steps.atmosphere.extract`; their origin is told in the README.md beside them.
DATA = Path(__file__).parent / "data"


@functools.cache
def _shipped() -> dict[str, dict[str, SpectralResponse]]:
    document = json.loads((DATA / "responses.json").read_text(encoding="utf-8"))
    return {
        satellite: {band: SpectralResponse(r["start"], r["step"], tuple(r["values"])) for band, r in bands.items()}
        for satellite, bands in document.items()
    }


def reference_response(satellite: str, band: str) -> SpectralResponse:
    """Return the shipped response of a band, for products that do not carry their own.

    Parameters
    ----------
    satellite
        `S2A` or `S2B`.
    band
        `B01` ... `B12`, `B8A`.

    Raises
    ------
    StepError
        If there is no table for the satellite or the band.
    """
    try:
        return _shipped()[satellite][band]
    except KeyError as error:
        raise StepError(
            f"no spectral response of {satellite} {band} is shipped (only {' and '.join(_shipped())} are): "
            "use a product whose metadata carries its responses"
        ) from error


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
