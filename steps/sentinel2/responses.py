"""Spectral responses of the bands for what does not bring its own: the shipped tables, every 2.5 nm."""

import functools
import json
from pathlib import Path

from steps.core.errors import StepError
from steps.sentinel2.scene import SpectralResponse

#: Made together with the tables beside it, by `python -m steps.atmosphere.extract`; the README.md there tells of what.
RESPONSES = Path(__file__).parents[1] / "atmosphere/data/responses.json"


@functools.cache
def _shipped() -> dict[str, dict[str, SpectralResponse]]:
    document = json.loads(RESPONSES.read_text(encoding="utf-8"))
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
