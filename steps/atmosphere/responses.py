"""Spectral responses of the bands: the shipped tables, and band averages on the 2.5 nm cells of the gas table."""

import functools
import json
from pathlib import Path

from steps.errors import StepError
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
    except KeyError as problem:
        raise StepError(
            f"no spectral response of {satellite} {band} is shipped (only S2A and S2B are): "
            "use a product whose metadata carries its responses"
        ) from problem
