"""The satellites of the mission. A new one needs a line here; its spectral responses come with its products."""

import re
from dataclasses import dataclass

#: A satellite in the names of products and in identifiers, as a regular expression.
CODE = "S2[A-Z]"


@dataclass(frozen=True)
class Satellite:
    """What product formats tell of a satellite.

    Attributes
    ----------
    designator
        International designator (COSPAR), as in `manifest.safe`; "" where none is known.
    mission
        Its name in `L2A_QUALITY.xml`, whose schema knows the first two alone.
    """

    designator: str = ""
    mission: str = "S2_"


SATELLITES = {
    "S2A": Satellite("2015-028A", "S2A"),
    "S2B": Satellite("2017-013A", "S2B"),
    "S2C": Satellite("2024-157A"),
    "S2D": Satellite(),
}


def satellite(code: str) -> Satellite:
    """Return the satellite by its code, such as `S2A`; one that is not in the list is known by its name alone."""
    return SATELLITES.get(code, Satellite())


def code_of(spacecraft: str) -> str | None:
    """Return the code of a satellite by its name in metadata, `Sentinel-2A`; None if it is none of Sentinel-2."""
    found = re.fullmatch(r"Sentinel-2([A-Z])", spacecraft)
    return f"S2{found[1]}" if found else None


def platform(code: str) -> str:
    """Return the name of a satellite in a STAC item, such as `sentinel-2a`."""
    return f"sentinel-{code[1:].lower()}"
