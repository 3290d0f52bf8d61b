"""The files of an elevation model: which ones hold elevation, where they lie, and their heights in metres."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine
from rasterio.windows import Window

from steps.core.errors import StepError
from steps.core.user_raster import opened

_EXTENSIONS = {".tif", ".tiff", ".dt0", ".dt1", ".dt2", ".hgt"}
#: The last of these words in a file's name tells what it holds. Elevation in the names of Copernicus, SRTM, NASADEM,
#: ALOS, ASTER, ArcticDEM, REMA, TanDEM-X, FABDEM, EU-DEM and national models:
_ELEVATION = re.compile(
    "dems?|dsm|dtm|dgm|dom|dhm|mnt|mne|mns|mde|mdt|hgt|elevations?|elev?|heights?|altitude|alti?|z|srtm|fabdem|edem"
)
#: and what lies beside it, or is made of it.
_OTHER = re.compile(
    "acm|edm|flm|hem|wbm|src|ql|msk|stk|lst|num|att|swb|count|mad|(data|bit|water)?masks?|matchtag|(min|max)?date|browse|"
    "ortho|amp?|inc|cov|com|lsm|wam|lcm|err(ors?)?|uncertainty|std(dev)?|sigma|quality|hillshad(es?|ing)|hlsd|shaded?|"
    "shadow|slopes?|slp|slop|aspects?|aspc?|roughness|ruggedness|tri|tpi|curv(ature)?|water(bodies)?|landcover|lulc|"
    "geoid|undulation|chm|ndsm|ndhm|canopy|flow(dir|acc)|accumulation|direction|watershed|basins?|distance|svf|skyview|"
    "viewshed|contours?|preview|quicklook|thumbnail"
)
#: The south-west corner that most tiles carry in their names (`N42_00_E010`, `N42E010`, `e010_n42`).
_LATITUDE = re.compile(r"(?<![a-z])([ns])(\d\d)(?!\d)", re.IGNORECASE)
_LONGITUDE = re.compile(r"(?<![a-z])([ew])(\d\d\d)(?!\d)", re.IGNORECASE)
#: Tiles are at most this large, degrees: one whose name says that it is farther away is not opened.
_LARGEST_TILE = 6
_FOOT = 0.3048
_SURVEY_FOOT = 1200 / 3937
#: Metres of a unit, by the ways to write it.
_UNITS = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), _FOOT),
    **dict.fromkeys(("us survey foot", "us_survey_foot", "us-ft", "ftus", "foot_us", "sft"), _SURVEY_FOOT),
    **dict.fromkeys(("dm", "decimetre", "decimetres", "decimeter", "decimeters"), 0.1),
    **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), 0.01),
    **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), 0.001),
    **dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), 1000.0),
}
#: Stands for no data in many models, declared or not; no depth of the sea.
_MARKER = -9999
_REMEDY = "take it away or give another elevation model"


class NotElevation(StepError):
    """A raster that cannot be elevation: left out of a folder, refused alone."""


@dataclass(frozen=True)
class Tile:
    """A raster of elevation; `transform` and rows are those of its pixels in the order north to south."""

    path: Path
    crs: CRS
    transform: Affine
    width: int
    height: int
    band: int
    nodata: float | None
    scale: float
    offset: float
    flipped: bool = False
    masked: bool = False
    notes: tuple[str, ...] = ()

    @property
    def regular(self) -> bool:
        """Whether rows run from west to east, and columns to the south."""
        t = self.transform
        return not (t.b or t.d) and t.a > 0 > t.e

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north in its own projection, in that one's units."""
        corners = [self.transform @ (x, y) for x in (0, self.width) for y in (0, self.height)]
        x, y = zip(*corners, strict=True)
        return min(x), min(y), max(x), max(y)

    @property
    def step(self) -> float:
        """Pixel size along a column, m."""
        size = float(np.hypot(self.transform.b, self.transform.e))
        return size * (111_000 if self.crs.is_geographic else self.crs.linear_units_factor[1])

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return heights (m, float32), NaN where there are none; those that no place on Earth has are left."""
        if self.flipped:
            rows = slice(self.height - rows.stop, self.height - rows.start)
        window = Window.from_slices(rows, columns)
        with opened(self.path, _REMEDY) as dataset:
            stored = dataset.read(self.band, window=window)
            void = stored == _MARKER
            if self.nodata is not None:
                void |= stored == np.array(self.nodata).astype(stored.dtype)
            if self.masked:
                void |= dataset.read_masks(self.band, window=window) == 0
        with np.errstate(over="ignore", invalid="ignore"):
            heights = stored.astype("f4", copy=False)
            if (self.scale, self.offset) != (1, 0):
                heights = (stored * self.scale + self.offset).astype("f4")
        heights[void | ~np.isfinite(heights)] = np.nan
        return heights[::-1] if self.flipped else heights


def candidates(dem: Path) -> tuple[list[Path], list[Path]]:
    """Return the rasters of a model that may hold elevation, and those that by their names hold something else.

    Raises
    ------
    StepError
        If there is no such file or folder, or none of its rasters can hold elevation.
    """
    if dem.is_file():
        found = [dem]
    elif dem.is_dir():
        found = sorted(
            path
            for path in dem.rglob("*")
            if path.suffix.lower() in _EXTENSIONS and not path.name.startswith(".") and path.is_file()
        )
    else:
        raise StepError(f"{dem}: there is no such elevation model; correct `dem` or leave it out")
    others = [path for path in found if _tells(path.stem) is _OTHER]
    if others == found:
        what = f"{found[0].name} is by its name no elevation" if found else "holds no elevation tiles"
        raise StepError(f"{dem}: {what} ({' '.join(sorted(_EXTENSIONS))}); correct `dem`, or rename the file if it is")
    return [path for path in found if path not in set(others)], others


def _tells(name: str | None) -> re.Pattern | None:
    """Return whether the last word of a name that tells anything is one of `_ELEVATION` or of `_OTHER`."""
    words = reversed(re.findall("[a-z]+", (name or "").lower()))
    return next((kind for word in words for kind in (_ELEVATION, _OTHER) if kind.fullmatch(word)), None)


def may_touch(path: Path, box: tuple[float, float, float, float]) -> bool:
    """Tell whether a tile can reach the box (west, south, east, north, degrees), as far as its name tells."""
    latitude, longitude = _LATITUDE.search(path.stem), _LONGITUDE.search(path.stem)
    if not (latitude and longitude):
        return True
    south = int(latitude[2]) * (-1 if latitude[1] in "sS" else 1)
    west = int(longitude[2]) * (-1 if longitude[1] in "wW" else 1)
    west += 360 * (west + _LARGEST_TILE < box[0])
    return box[1] - _LARGEST_TILE <= south <= box[3] and box[0] - _LARGEST_TILE <= west <= box[2]


def open_tile(path: Path) -> Tile:
    """Describe a file; raise `NotElevation` if it cannot be elevation, `StepError` if it cannot be used."""
    with opened(path, _REMEDY) as dataset:
        band = _band(path, dataset)
        kind = dataset.dtypes[band - 1]
        if (
            kind in ("uint8", "int8")
            or kind.startswith("complex")
            or dataset.colorinterp[band - 1] == ColorInterp.palette
        ):
            raise NotElevation(f"{path}: {kind} numbers are no elevation in metres; {_REMEDY}")
        unit, notes = _unit(path, dataset, band)
        scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
        if not (np.isfinite((scale, offset)).all() and scale):
            raise StepError(f"{path}: its scale {scale} and offset {offset} are no numbers to use; {_REMEDY}")
        t, flipped = dataset.transform, False
        if not (t.b or t.d) and t.e > 0:  # the first row is the southernmost
            t, flipped = Affine(t.a, 0, t.c, 0, -t.e, t.f + dataset.height * t.e), True
        flags = dataset.mask_flag_enums[band - 1]
        masked = MaskFlags.per_dataset in flags or MaskFlags.alpha in flags
        return Tile(
            path, dataset.crs, t, dataset.width, dataset.height, band, dataset.nodatavals[band - 1],
            scale * unit, offset * unit, flipped, masked, notes,
        )  # fmt: skip


def _band(path: Path, dataset: rasterio.DatasetReader) -> int:
    described = [_tells(text) for text in dataset.descriptions]
    bands = [n for n, kind in zip(dataset.indexes, described, strict=True) if kind is _ELEVATION]
    if len(bands) != 1:
        bands = [
            n
            for n, kind, colour in zip(dataset.indexes, described, dataset.colorinterp, strict=True)
            if kind is not _OTHER and colour != ColorInterp.alpha
        ]
    if not bands:
        raise NotElevation(f"{path}: its band is described as {dataset.descriptions[0]}; {_REMEDY}")
    if len(bands) > 1:
        raise NotElevation(
            f"{path}: has {dataset.count} bands, and none or several are described as elevation; write that of "
            "elevation alone with gdal_translate -b"
        )
    return bands[0]


def _unit(path: Path, dataset: rasterio.DatasetReader, band: int) -> tuple[float, tuple[str, ...]]:
    """Return the metres of a band's unit, and what is assumed about it."""
    name = (dataset.units[band - 1] or _vertical_unit(dataset.crs)).strip()
    if name:
        try:
            return _UNITS[name.lower()], ()
        except KeyError:
            raise NotElevation(f"{path}: its unit is {name}, and not of length; {_REMEDY}") from None
    if dataset.crs.is_projected and dataset.crs.linear_units_factor[1] < 0.5:
        return 1.0, (f"{path.name} is taken as in metres: it tells no unit, and its map projection is in feet",)
    return 1.0, ()


def _vertical_unit(crs: CRS) -> str:
    """Return the unit of the vertical part of a compound reference system, or nothing."""
    if "VERT" not in crs.to_wkt():
        return ""
    parts = crs.to_dict(projjson=True).get("components", ())
    unit = next((p["coordinate_system"]["axis"][0].get("unit", "") for p in parts if p["type"] == "VerticalCRS"), "")
    return unit if isinstance(unit, str) else unit["name"]
