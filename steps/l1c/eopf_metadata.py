"""What an EOPF Zarr of an L1C product says of itself, by whatever spelling, and the names that its SAFE has."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from steps.core.errors import StepError
from steps.l1c.eopf_store import Store
from steps.l1c.files import AGAIN
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.satellites import CODE

_NAME = re.compile(
    rf"({CODE})_MSIL1C_(\d{{8}}T\d{{6}})_N(\d\d)(\d\d)_R(\d{{3}})_(T\d\d[A-Z]{{3}})_(\d{{8}}T\d{{6}})(\.SAFE|\.zarr)?",
    re.ASCII,
)
_MADE = rf"{CODE}_[A-Z]{{4}}_MSI_L1C_(?:TL|DS)_(\w{{4}})_(\d{{8}}T\d{{6}})"
_TILE_ID = re.compile(rf"{_MADE}_A\d{{6}}_T\w{{5}}_N\d\d\.\d\d", re.ASCII)
_DATASTRIP_ID = re.compile(rf"{_MADE}_S(\d{{8}}T\d{{6}})_N\d\d\.\d\d", re.ASCII)
#: Four characters that stand for a processing centre that is not told.
_CENTRE = "XXXX"
#: One with the forecast of aerosol, unless the history names another one.
_AEROSOL_FILE = "AUX_CAMSFO"


def _key(text: str) -> str:
    return text.lower().replace("-", "_")


class Told:
    """What the attributes of a Zarr's root tell; a value that is missing where it is needed is an error.

    Names of attributes count in lower case, with hyphens as underscores.
    """

    def __init__(self, product: Store):
        attributes = product.attributes("")
        self._origin = product.origin
        self.discovery = attributes["stac_discovery"]
        self._properties = self.discovery["properties"]
        other = attributes.get("other_metadata")
        self._other = {_key(key): value for key, value in other.items()} if isinstance(other, dict) else {}
        self.history = [attributes.get("processing_history"), self._other.get("history")]

    def wrong(self, what: str) -> StepError:
        """Return the error that says what is wrong."""
        return StepError(f"{self._origin}: {what}; {AGAIN}")

    def value(self, *names: str, default=None):
        """Return the first of the attributes that is there, of the STAC item or of `other_metadata`.

        Raises
        ------
        StepError
            If none is there, and there is no default.
        """
        for name in names:
            for found in (self._properties.get(name), self._other.get(_key(name))):
                if found not in (None, "null", ""):
                    return found
        if default is None:
            raise self.wrong(f"has no {names[0]}")
        return default

    def text(self, *names: str, default: str | None = None) -> str:
        """Return the first of the attributes, as of `value`, as a text."""
        return str(self.value(*names, default=default))

    def number(self, *names: str, default: float | None = None) -> float:
        """Return the first of the attributes, as of `value`, as a number; StepError, too, if it is none."""
        return self.as_number(names[0], self.value(*names, default=default))

    def as_number(self, name: str, value) -> float:
        """Return the value of an attribute, whose name is given for messages, as a number.

        Raises
        ------
        StepError
            If it is none.
        """
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise self.wrong(f"{name} is '{str(value)[:40]}', which is no number") from error

    def time(self, name: str) -> str:
        """Return a time as documents have it, in UTC with a Z.

        Raises
        ------
        StepError
            If it is not there or no time.
        """
        text = self.text(name)
        if re.fullmatch(r"[\d-]{10}T[\d:]{8}(\.\d+)?Z", text, re.ASCII):
            return text
        try:
            time = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
        except ValueError as error:
            raise self.wrong(f"{name} is '{text[:40]}', which is no time") from error
        return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"

    def of_band(self, band: str) -> dict:
        """Return what is told of a band, by whatever name (`b01`, `01`) and in however many places."""
        number = band[1:].lower()
        described = self._other.get("band_description")
        assets = self.discovery.get("assets")
        analytic = assets.get("analytic", {}).get("eo:bands", []) if isinstance(assets, dict) else []
        items = [
            *((item.get("name", ""), item) for item in (*self.value("bands", default=[]), *analytic)),
            *(described.items() if isinstance(described, dict) else ()),
        ]
        result: dict = {}
        for name, item in items:
            if str(name).lower().removeprefix("b") == number and isinstance(item, dict):
                result |= {key.removeprefix("eo:"): value for key, value in item.items() if value not in (None, "null")}
        return result


def _texts(tree) -> Iterator[str]:
    """Yield all texts in a tree of attributes."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)


@dataclass(frozen=True)
class Names:
    """Names and identifiers of a product.

    Attributes
    ----------
    product
        Name of its SAFE, without `.SAFE`.
    tile, datastrip
        Identifiers.
    granule
        Path of the granule's folder in a SAFE.
    aerosol_file
        Name of the file in it that the aerosol is from.
    """

    product: str
    tile: str
    datastrip: str
    granule: str
    aerosol_file: str

    @classmethod
    def of(cls, product: Store) -> "Names":
        """Read or make the names of a product.

        Raises
        ------
        StepError
            If the Zarr does not tell which SAFE it is, or lacks its orbit.
        """
        told = Told(product)
        texts = [str(told.discovery.get("id")), product.path.name, *_texts(told.history)]
        found = next(filter(None, map(_NAME.fullmatch, texts)), None)
        if not found:
            raise told.wrong("names no product (S2A_MSIL1C_<date>_N<baseline>_R<orbit>_T<tile>_<date>)")
        satellite, datatake, major, minor, _, tile, discriminator, _ = found.groups()
        tile_id = _TILE_ID.fullmatch(told.text("UTM_zone_identification", default="-"))
        strip = _DATASTRIP_ID.fullmatch(told.text("eopf:datastrip_id", default="-"))
        # What the samples leave out follows from what they tell, but for the start of the datastrip.
        centre, created = known.group(1, 2) if (known := strip or tile_id) else (_CENTRE, discriminator)
        start = strip[3] if strip else datatake
        baseline = f"{major}.{minor}"
        orbit = f"A{round(told.number('sat:absolute_orbit')):06}"
        head = f"{satellite}_OPER_MSI_L1C"
        aerosol = next(filter(None, (re.search(r"AUX_CAMS[A-Z]{2}", text) for text in _texts(told.history))), None)
        return cls(
            product=found[0].partition(".")[0],
            tile=tile_id[0] if tile_id else f"{head}_TL_{centre}_{created}_{orbit}_{tile}_N{baseline}",
            datastrip=strip[0] if strip else f"{head}_DS_{centre}_{created}_S{start}_N{baseline}",
            granule=f"GRANULE/L1C_{tile}_{orbit}_{start}",
            aerosol_file=aerosol[0] if aerosol else _AEROSOL_FILE,
        )

    def image(self, band: str) -> str:
        """Return the path of a band's image in a SAFE."""
        _, _, datatake, _, _, tile, _ = self.product.split("_")
        return f"{self.granule}/IMG_DATA/{tile}_{datatake}_{band}.jp2"

    def mask(self, kind: str, band: str) -> str:
        """Return the path of a mask's image in a SAFE."""
        return f"{self.granule}/QI_DATA/{kind}_{band}.jp2"


def image_path(band: str) -> str:
    """Return the path of a band's array."""
    return f"measurements/reflectance/r{PIXEL_SIZE[band]}m/{band.lower()}"


def shortest(value: float) -> str:
    """Return a number as a text that has all of its digits, and no more than it needs."""
    return repr(int(value) if float(value).is_integer() else float(value))


def corner(source: Store, path: str) -> tuple[float, float, float] | None:
    """Return left and top edge (m) and pixel size (m) of an array, None where it does not tell.

    They are those of its transform, else follow from the pixel centres in `x` and `y`, else from its bounding box.

    Raises
    ------
    StepError
        If the pixels are not square with north up.
    """
    attributes, folder = source.attributes(path), path.rpartition("/")[0]
    if transform := attributes.get("proj:transform"):
        size, skew, left, other_skew, down, top = map(float, transform[:6])
        square = not skew and not other_skew and down == -size
    elif source.array(f"{folder}/x") and source.array(f"{folder}/y"):
        x, y = (source.values(f"{folder}/{axis}").astype("f8") for axis in "xy")
        size, down = float(x[1] - x[0]), float(y[1] - y[0])
        left, top, square = float(x[0] - size / 2), float(y[0] + size / 2), down == -size
    elif box := attributes.get("proj:bbox"):
        rows, columns = source.array(path)["shape"]  # type: ignore[index]
        left, size, top = float(box[0]), (box[2] - box[0]) / columns, float(box[3])
        square = (box[3] - box[1]) / rows == size
    else:
        return None
    if not square:
        raise StepError(f"{source.path / path}: its pixels are not square with north up; {AGAIN}")
    return left, top, size
