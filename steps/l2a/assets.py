"""The cloud-optimised GeoTIFFs of one product: which there are, and what their numbers mean.

Keys are those of Element84's Earth Search collection `sentinel-2-c1-l2a`, so that code written for it works on our
products; a band is there once, at its best resolution.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from steps.core.rasters import Kind
from steps.l2a.nbar import BRDF
from steps.sentinel2.bands import OUTPUT_BANDS, PIXEL_SIZE, RESOLUTIONS
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, UNCERTAINTY, WVP
from steps.sentinel2.true_colour import RGB

#: Red, green and blue, 1 to 255.
TRUE_COLOUR = Kind("true_colour", "uint8", 0)
#: Percent. Zero is a valid probability, so no data needs a number of its own.
PROBABILITY = Kind("probability", "uint8", 255)
#: Reflectance as seen from the zenith, and over flat terrain.
NBAR = replace(BOA, name="nbar_reflectance")
FLAT = replace(BOA, name="flat_reflectance")
#: Degrees.
ANGLE = Kind("angle", "uint16", 65535, 0.01)
#: Metres.
ELEVATION = Kind("elevation", "int16", -32768)
#: 1 = dark dense vegetation.
DARK_VEGETATION = Kind("dark_vegetation", "uint8", 255)
#: Sum of `Flag`.
QA = Kind("qa", "uint16", 2**15)


class Flag(enum.IntFlag):
    """Bits of the quality mask; a pixel without data has just the highest bit, `QA.nodata`."""

    CLOUD = 2**0
    CLOUD_SHADOW = 2**1
    CIRRUS = 2**2
    SNOW = 2**3
    WATER = 2**4
    SATURATED = 2**5
    DEFECTIVE = 2**6
    LOW_SUN = 2**7
    FAINT_SLOPE = 2**8
    AOT_FILLED = 2**9


#: What a product may consist of.
Product = Literal["reflectance", "atmosphere", "classification"]
#: What may be added to it.
Layer = Literal["qa", "angles", "band_angles", "nbar", "flat_reflectance", "elevation", "dark_vegetation"]


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


#: Asset key to asset, of every product that is complete.
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

_REFLECTANCE = {key: asset for key, asset in ASSETS.items() if asset.kind == BOA}
#: What each part of a product consists of.
_KINDS: dict[Product, tuple[Kind, ...]] = {
    "reflectance": (BOA, TRUE_COLOUR),
    "atmosphere": (AOT, WVP),
    "classification": (CLASSIFICATION, PROBABILITY),
}


def _of_bands(suffix: str, title: str, kind: Kind) -> dict[str, Asset]:
    """Return a further asset of each of reflectance."""
    return {
        f"{key}_{suffix}": replace(asset, title=f"{asset.title}, {title}", kind=kind)
        for key, asset in _REFLECTANCE.items()
    }


def _angles(of: str, title: str, band: str = "") -> dict[str, Asset]:
    return {
        f"{of}_{angle}": Asset(
            f"{title} {angle}", 60, ANGLE, (f"{of.rpartition('_')[2]}_{angle}{band}",), unit="degree"
        )
        for angle in ("zenith", "azimuth")
    }


#: The same of the layers that a product has on request.
UNCERTAINTIES = _of_bands("uncertainty", "standard uncertainty", UNCERTAINTY)
LAYERS: dict[Layer, dict[str, Asset]] = {
    "qa": {"qa": Asset("Quality flags", 20, QA, ("QA",))},
    "angles": _angles("sun", "Sun") | _angles("view", "Mean view"),
    "band_angles": {
        key: found
        for band_key, asset in _REFLECTANCE.items()
        for key, found in _angles(f"{band_key}_view", f"{asset.title}, view", f"_{asset.bands[0]}").items()
    },
    "nbar": {
        key: asset for key, asset in _of_bands("nbar", "seen from the zenith", NBAR).items() if asset.bands[0] in BRDF
    },
    "flat_reflectance": _of_bands("flat", "before terrain correction", FLAT),
    "elevation": {"elevation": Asset("Elevation", 20, ELEVATION, ("ELEVATION",), unit="metre")},
    "dark_vegetation": {"dark_vegetation": Asset("Dark dense vegetation", 20, DARK_VEGETATION, ("DARK_VEGETATION",))},
}


def chosen_assets(
    products: Sequence[Product],
    resolutions: Sequence[int] = RESOLUTIONS,
    layers: Sequence[Layer] = (),
    uncertainty: bool = False,
) -> dict[str, Asset]:
    """Return the assets of a product by key, with the pixel sizes that they have in it.

    Parameters
    ----------
    products, layers
        What it consists of.
    resolutions
        Pixel sizes of reflectance, m. Each band is there at its own; failing that at the next coarser one, or else
        at the coarsest that is finer.
    uncertainty
        Whether there is uncertainty of reflectance, which only bands at their own pixel size have.
    """
    wanted = {key: asset for key, asset in ASSETS.items() if asset.kind in {k for p in products for k in _KINDS[p]}}
    for layer in layers:
        wanted |= LAYERS[layer]
    wanted |= UNCERTAINTIES if uncertainty else {}
    result = {}
    for key, asset in wanted.items():
        if asset.kind not in (BOA, TRUE_COLOUR, NBAR, FLAT, UNCERTAINTY):
            result[key] = asset
            continue
        own = PIXEL_SIZE[asset.bands[0]]
        sizes = [size for size in resolutions if asset.bands[0] in OUTPUT_BANDS[size]]
        if sizes and (asset.kind != UNCERTAINTY or own in sizes):
            size = min((s for s in sizes if s >= own), default=max(sizes))
            result[key] = replace(asset, resolution=size)
    return result
