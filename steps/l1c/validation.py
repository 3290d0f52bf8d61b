"""Whether what an L1C product says of itself is plausible and agrees, before anything is computed from it.

What the processing can do without is set aside with a sentence, anything else is refused. The limits contain all real
products with some room; of known baselines the constants are known.
"""

import datetime as dt
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np

from steps.l1c.documents import Xml
from steps.sentinel2.baselines import FIRST_WITH_OFFSET, NEWEST_BASELINE
from steps.sentinel2.geometry import earth_sun_factor
from steps.sentinel2.satellites import CODE
from steps.sentinel2.scene import Band, Scene

_Number = TypeVar("_Number", bound=float)

#: Element to its least and greatest plausible value.
_RANGES = {
    "NROWS": (1, 10980),
    "NCOLS": (1, 10980),
    "ULX": (0, 1e6),
    "ULY": (0, 1e7),
    "COL_STEP": (1000, 20000),
}
#: The same of what is merely copied to the L2A product.
_COPIED = {
    **dict.fromkeys(("RED_CHANNEL", "GREEN_CHANNEL", "BLUE_CHANNEL"), (0, 12)),
    "RESOLUTION": (10, 60),
    **dict.fromkeys(("MAX", "CENTRAL"), (400, 2400)),
    "PHYSICAL_GAINS": (0.1, 1000),
    **dict.fromkeys(("DEGRADED_ANC_DATA_PERCENTAGE", "DEGRADED_MSI_DATA_PERCENTAGE"), (0, 100)),
    **dict.fromkeys(("Cloud_Coverage_Assessment", "Snow_Coverage_Assessment"), (0, 100)),
    **dict.fromkeys(("CLOUDY_PIXEL_PERCENTAGE", "SNOW_PIXEL_PERCENTAGE"), (0, 100)),
}
#: Central wavelength (nm) and solar irradiance (W/m2/um) of each band; the satellites differ by 17 nm and 3 %.
_BANDS = {
    "B01": (443, 1885),
    "B02": (492, 1960),
    "B03": (560, 1823),
    "B04": (665, 1512),
    "B05": (704, 1425),
    "B06": (740, 1288),
    "B07": (781, 1163),
    "B08": (833, 1041),
    "B8A": (865, 955),
    "B09": (945, 813),
    "B10": (1375, 367),
    "B11": (1612, 246),
    "B12": (2194, 86),
}
#: Greatest zenith angle of the sun, which has to be above the horizon, and of the view; greatest first and second
#: difference of the direction along a grid (in real products .27 and .002 for the sun, .40 and .034 for the view), deg.
SUN = (89.99, 0.6, 0.01)
VIEW = (20, 0.6, 0.1)
#: Greatest distance between the mean direction of the sun and that of its grid, degrees.
_MEAN_SUN = 2

#: Identifiers, by what they tell. The dates of creation in them differ.
_IDENTIFIERS = {
    "PRODUCT_URI": rf"(?P<satellite>{CODE})_MSIL1C_(?P<datatake>\d{{8}}T\d{{6}})_N(?P<baseline>\d{{4}})"
    r"_R(?P<relative_orbit>\d{3})_(?P<tile>T\d\d[A-Z]{3})_\d{8}T\d{6}",
    "TILE_ID": rf"(?P<satellite>{CODE})_[A-Z]{{4}}_MSI_L1C_TL_\w{{4}}_\d{{8}}T\d{{6}}_A(?P<orbit>\d{{6}})"
    r"_(?P<tile>T\d\d[A-Z]{3})_N\d\d\.\d\d",
    "DATASTRIP_ID": rf"(?P<satellite>{CODE})_[A-Z]{{4}}_MSI_L1C_DS_\w{{4}}_\d{{8}}T\d{{6}}"
    r"_S\d{8}T\d{6}_N\d\d\.\d\d",
    "datatakeIdentifier": rf"G(?P<satellite>{CODE})_(?P<datatake>\d{{8}}T\d{{6}})_(?P<orbit>\d{{6}})_N\d\d\.\d\d",
    "IMAGE_FILE": r"GRANULE/(?P<granule>[\w.-]+)/IMG_DATA/(?P<tile>T\d\d[A-Z]{3})_(?P<datatake>\d{8}T\d{6})_B\w\w\.jp2",
}
#: Letters of 100 km columns in zones 1, 2, 3, 4, ..., of rows, and of bands of latitude from 80 degrees south on.
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_LATITUDES = "CDEFGHJKLMNPQRSTUVWX"
#: Launch of the first satellite, and more than the longest datatake.
_LAUNCH = dt.datetime(2015, 6, 23, tzinfo=dt.UTC)
_DATATAKE = dt.timedelta(hours=2)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)


def validate(
    product: Xml, tile: Xml, scene: Scene, images: Mapping[str, str], nodata: int, saturated: int
) -> tuple[str, ...]:
    """Check what a product says of itself: numbers, identifiers, times, place; its angles are checked when read.

    Parameters
    ----------
    product, tile
        Its documents.
    scene
        What was read from them.
    images
        Band to path inside the product.
    nodata, saturated
        Special values of the DN.

    Returns
    -------
    tuple of str
        A sentence for everything implausible that nothing depends on.

    Raises
    ------
    StepError
        If a number is implausible, or two parts of the product contradict each other.
    """
    _check_levels(product, scene, nodata, saturated)
    for name, band in scene.bands.items():
        _check_spectrum(product, name, band)
    _check_identity(product, tile, scene, images)
    _check_times(product, tile, scene)
    return tuple(itertools.chain(_place(scene), _copied(product), _copied(tile)))


def check_range(
    xml: Xml, name: str, value: _Number, limits: tuple[float, float] | None = None, of: str = ""
) -> _Number:
    """Return a value if it is plausible for an element.

    Parameters
    ----------
    xml
        Document, which the message names.
    name, of
        Element, and what follows it in the message.
    value
        In the unit of the element.
    limits
        Lowest and highest plausible value, by the name of the element unless given.

    Raises
    ------
    StepError
        If it is not plausible.
    """
    low, high = limits or _RANGES[name]
    if not low <= value <= high:
        expected = f"not {low:g}" if low == high else f"and {low:g} to {high:g} is plausible"
        raise xml.wrong(f"{name}{of} is {value:g}, {expected}")
    return value


def fault_of_angles(zenith: np.ndarray, azimuth: np.ndarray, limits: tuple[float, float, float]) -> str:
    """Return in words what is implausible in a grid of angles (degrees; rows, columns; may have NaN), or nothing.

    Parameters
    ----------
    zenith, azimuth
        The tables.
    limits
        `SUN` or `VIEW`.
    """
    for name, table, high in (("zenith", zenith, limits[0]), ("azimuth", azimuth, 360)):
        outside = table[(table < 0) | (table > high)]
        if outside.size:
            return f"{name} {outside[0]:g} degrees, and 0 to {high:g} is plausible"
    z, a = np.radians(zenith), np.radians(azimuth)
    directions = np.array([np.sin(z) * np.sin(a), np.sin(z) * np.cos(a), np.cos(z)])
    for order, axis in itertools.product((1, 2), (1, 2)):
        steps = np.degrees(np.sqrt((np.diff(directions, order, axis) ** 2).sum(axis=0)))
        if (steps > limits[order]).any():
            return "a jump between neighbouring nodes"
    return ""


def mean_sun(xml: Xml, mean: tuple[float, float], nodes: tuple[float, float]) -> tuple[tuple[float, float], str]:
    """Return mean zenith and azimuth of the sun, and a sentence if those of the nodes stand in.

    Parameters
    ----------
    xml
        The tile's document.
    mean
        What it gives as means, degrees.
    nodes
        Zenith and azimuth of the mean direction at the nodes.

    Raises
    ------
    StepError
        If both are plausible and contradict each other.
    """
    if not (0 <= mean[0] <= SUN[0] and 0 <= mean[1] <= 360):
        words = "{:g} and {:g} degrees".format(*mean)
        return nodes, f"Mean_Sun_Angle: {words} are implausible; the mean of Sun_Angles_Grid."
    (z, a), (zenith, azimuth) = np.radians(mean), np.radians(nodes)
    cosine = np.cos(z) * np.cos(zenith) + np.sin(z) * np.sin(zenith) * np.cos(a - azimuth)
    if np.degrees(np.arccos(min(cosine, 1))) > _MEAN_SUN:
        words = "Mean_Sun_Angle is {:.1f} and {:.1f} degrees, and Sun_Angles_Grid has {:.1f} and {:.1f}"
        raise xml.wrong(words.format(*mean, *nodes))
    return mean, ""


def _check_levels(product: Xml, scene: Scene, nodata: int, saturated: int) -> None:
    """Check what turns digital numbers into reflectance."""
    baseline = scene.baseline
    if not re.fullmatch(r"\d\d\.\d\d", baseline, re.ASCII):
        raise product.wrong(f"PROCESSING_BASELINE is '{baseline[:40]}', which is no baseline")
    if baseline >= FIRST_WITH_OFFSET and product.root.find(".//{*}RADIO_ADD_OFFSET") is None:
        raise product.wrong(f"has no RADIO_ADD_OFFSET, and products of baseline {baseline} have one")
    offset = -1000 if baseline >= FIRST_WITH_OFFSET else 0
    levels = [
        ("QUANTIFICATION_VALUE", scene.quantification, 10000, (1000, 65535)),
        ("SPECIAL_VALUE_INDEX of NODATA", nodata, 0, (0, 65535)),
        ("SPECIAL_VALUE_INDEX of SATURATED", saturated, 65535, (0, 65535)),
        *((f"RADIO_ADD_OFFSET of {name}", band.offset, offset, (-10000, 0)) for name, band in scene.bands.items()),
    ]
    for name, value, constant, limits in levels:
        known = (constant, constant) if baseline <= NEWEST_BASELINE else limits
        check_range(product, name, value, known, f" in a product of baseline {baseline}")
    if nodata == saturated:
        raise product.wrong(f"NODATA and SATURATED are both {nodata}")


def _check_spectrum(product: Xml, name: str, band: Band) -> None:
    centre, irradiance = _BANDS[name]
    check_range(product, "SOLAR_IRRADIANCE", band.solar_irradiance, (0.9 * irradiance, 1.1 * irradiance), f" of {name}")
    check_range(product, "STEP", band.response.step, (0.1, 10), f" of Spectral_Response of {name}")
    values = np.array(band.response.values)
    if not (1 < len(values) < 2000 and (values >= 0).all() and 0 < values.max() <= 1.001):
        raise product.wrong(f"Spectral_Response of {name} is no table of numbers from 0 to 1")
    mean = (band.response.wavelength * values).sum() / values.sum()
    check_range(product, "mean wavelength", mean, (0.97 * centre, 1.03 * centre), f" of Spectral_Response of {name}")


def _check_identity(product: Xml, tile: Xml, scene: Scene, images: Mapping[str, str]) -> None:
    """Check that all names and identifiers in the product are those of one product."""
    said: dict[str, tuple[str, str]] = {}
    for source, claims in _claims(product, tile, scene, images):
        for what, value in claims.items():
            first, other = said.setdefault(what, (source, value))
            if value != other:
                what = what.replace("_", " ")
                raise product.wrong(f"the {what} is {other[:80]} by {first} and {value[:80]} by {source}")


def _claims(product: Xml, tile: Xml, scene: Scene, images: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each source of the product's identity, and what it tells."""

    def identifier(xml: Xml, name: str, text: str) -> tuple[str, dict[str, str]]:
        if not (found := re.fullmatch(_IDENTIFIERS[name], text, re.ASCII)):
            raise xml.wrong(f"{name} is '{text[:120]}', which is none of a product in the compact format")
        return name, found.groupdict()

    yield identifier(product, "PRODUCT_URI", scene.product)
    yield "SPACECRAFT_NAME", {"satellite": scene.satellite}
    yield "PROCESSING_BASELINE", {"baseline": scene.baseline.replace(".", "")}
    yield "SENSING_ORBIT_NUMBER", {"relative_orbit": f"{product.whole('.//{*}SENSING_ORBIT_NUMBER'):03}"}
    for name in ("TILE_ID", "DATASTRIP_ID"):
        yield identifier(tile, name, tile.text(f".//{{*}}{name}"))
    for datatake in product.root.iterfind(".//{*}Datatake"):
        yield identifier(product, "datatakeIdentifier", datatake.get("datatakeIdentifier", ""))
    for path in images.values():
        yield identifier(product, "IMAGE_FILE", path)
    for granule in product.root.iterfind(".//{*}Granule"):
        for key, name in (("granuleIdentifier", "TILE_ID"), ("datastripIdentifier", "DATASTRIP_ID")):
            yield key, {name: granule.get(key, "")}
            yield name, {name: tile.text(f".//{{*}}{name}")}


def _check_times(product: Xml, tile: Xml, scene: Scene) -> None:
    """Check that times are times, in the time of the mission, and those of the acquisition within one datatake."""
    datatake = scene.product.split("_")[2]
    if (start := _time(re.sub(r"(....)(..)(..T..)(..)(..)", r"\1-\2-\3:\4:\5Z", datatake))) is None:
        raise product.wrong(f"PRODUCT_URI tells of the datatake {datatake}, which is no time")
    names = ("PRODUCT_START_TIME", "PRODUCT_STOP_TIME", "DATATAKE_SENSING_START")
    for xml, name in ((tile, "SENSING_TIME"), *((product, name) for name in (*names, "GENERATION_TIME"))):
        text = xml.text(".//{*}" + name)
        time = _time(text)
        if time is None or time < _LAUNCH:
            raise xml.wrong(f"{name} is '{text[:40]}', which is no time of the mission")
        if time < start - _DATATAKE or (time > start + _DATATAKE and name != "GENERATION_TIME"):
            raise xml.wrong(f"{name} is {text}, and the datatake began at {start:%Y-%m-%dT%H:%M:%SZ}")
    expected = earth_sun_factor(start)
    check_range(product, "U", scene.earth_sun, (expected - 0.003, expected + 0.003), " at the time of the datatake")


def _time(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def _copied(xml: Xml) -> Iterator[str]:
    """Yield a sentence for each element with an implausible value that is merely copied to the L2A product."""
    for name, (low, high) in _COPIED.items():
        for element in xml.root.iterfind(".//{*}" + name):
            text = (element.text or "").strip()
            try:
                plausible = low <= float(text) <= high
            except ValueError:
                plausible = False
            if not plausible:
                yield f"{name}: '{text[:40]}' is implausible; it is copied as it is."
                break


def _place(scene: Scene) -> Iterator[str]:
    """Yield a sentence if the grid does not lie in the tile's area, which reaches 10 km beyond its 100 km square."""
    grid, (epsg, left, bottom) = scene.grid, square(scene.tile)
    west, north = grid.left - left, grid.top - bottom - 1e5
    east, south = west + grid.width * grid.resolution, north - grid.height * grid.resolution
    if grid.epsg == epsg and west >= -100 and east <= 110000 and north <= 100 and south >= -110000:
        return
    corner = f"EPSG:{grid.epsg}, upper left corner {grid.left:.0f}, {grid.top:.0f}"
    yield f"Grid: it does not lie in tile {scene.tile} ({corner}); the images agree with the grid, which counts."


def square(tile: str) -> tuple[int, float, float]:
    """Return EPSG code and lower left corner (m) of the 100 km square of an MGRS tile (`T31TCJ`).

    Columns are lettered anew every three zones, rows every 2000 km, from F in even zones (NGA.STND.0037, appendix B).
    """
    zone, latitude, column, row = int(tile[1:3]), *tile[3:]
    south = latitude < "N"
    left = 1e5 * (_COLUMNS[(zone - 1) % 3].find(column) + 1)
    bottom = 1e5 * ((_ROWS.find(row) - (5 if zone % 2 == 0 else 0)) % 20)
    # The middle of the band of latitude is less than 1000 km from any square in it.
    middle = 110900 * (8 * _LATITUDES.find(latitude) - 76) + (1e7 if south else 0)
    return 32700 + zone if south else 32600 + zone, left, bottom + 2e6 * round((middle - 5e4 - bottom) / 2e6)
