"""The cloud-optimised GeoTIFFs of one product: which there are, and what their numbers mean.

Keys are those of Element84's Earth Search collection `sentinel-2-c1-l2a`, so that code written for it works on our
products; a band is there once, at its best resolution.
"""

from dataclasses import dataclass, replace

from steps.core.rasters import Kind
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, UNCERTAINTY, WVP
from steps.sentinel2.true_colour import RGB

TRUE_COLOUR = Kind("true_colour", "uint8", 0)
#: Percent. Zero is a valid probability, so no data needs a number of its own.
PROBABILITY = Kind("probability", "uint8", 255)


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes
    ----------
    title
        For people.
    resolution
        Pixel size, m.
    kind
        What its numbers mean.
    bands
        Names of its bands.
    common_name
        STAC's name of the part of the spectrum, for reflectance.
    unit
        Of the physical value, if it has one.
    """

    title: str
    resolution: int
    kind: Kind
    bands: tuple[str, ...]
    common_name: str = ""
    unit: str = ""


#: Asset key to asset, of every product.
ASSETS = {
    "visual": Asset("True colour", 10, TRUE_COLOUR, RGB),
    "blue": Asset("Blue", 10, BOA, ("B02",), "blue"),
    "green": Asset("Green", 10, BOA, ("B03",), "green"),
    "red": Asset("Red", 10, BOA, ("B04",), "red"),
    "nir": Asset("Near infrared", 10, BOA, ("B08",), "nir"),
    "rededge1": Asset("Red edge 1", 20, BOA, ("B05",), "rededge"),
    "rededge2": Asset("Red edge 2", 20, BOA, ("B06",), "rededge"),
    "rededge3": Asset("Red edge 3", 20, BOA, ("B07",), "rededge"),
    "nir08": Asset("Near infrared, narrow", 20, BOA, ("B8A",), "nir08"),
    "swir16": Asset("Short-wave infrared 1.6 um", 20, BOA, ("B11",), "swir16"),
    "swir22": Asset("Short-wave infrared 2.2 um", 20, BOA, ("B12",), "swir22"),
    "aot": Asset("Aerosol optical thickness at 550 nm", 20, AOT, ("AOT",)),
    "wvp": Asset("Water vapour column", 20, WVP, ("WVP",), unit="g/cm2"),
    "scl": Asset("Scene classification", 20, CLASSIFICATION, ("SCL",)),
    "cloud": Asset("Cloud probability", 20, PROBABILITY, ("CLD",), unit="%"),
    "snow": Asset("Snow probability", 20, PROBABILITY, ("SNW",), unit="%"),
    "coastal": Asset("Coastal aerosol", 60, BOA, ("B01",), "coastal"),
    "nir09": Asset("Water vapour band", 60, BOA, ("B09",), "nir09"),
}

#: The same of the layers that a product has on request: one for each of reflectance.
UNCERTAINTIES = {
    f"{key}_uncertainty": replace(asset, title=f"{asset.title}, standard uncertainty", kind=UNCERTAINTY)
    for key, asset in ASSETS.items()
    if asset.kind == BOA
}
