"""The parameters of Sen2Cor's settings, `L2A_GIPP.xml`: what each is here, or why there is no equal.

`PARAMETERS` is the one table of them. The command `steps.core.translate_gipp` follows from it, and so does
config/SEN2COR.md (`tests/test_gipp.py`). Names, defaults and ranges are those of Sen2Cor 2.8 to 2.12.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: AOT at 550 nm of a visibility (km) at an elevation (km): its logarithm is a + b ln(visibility), a and b parabolas in
#: the elevation. Relation of R. Richter, by which Sen2Cor turns visibilities into thicknesses.
_OFFSET = (1.54641, -0.182321, -0.026235)
_SLOPE = (-0.854022, 0.011604, 0.003096)
#: Column (g/cm2) that Sen2Cor assumes without a retrieval, by `Mid_Latitude`; that of AUTO depends on the scene.
_COLUMN = {"SUMMER": 1.0, "WINTER": 0.4, "AUTO": 1.0}
_AEROSOL_MODEL = {"RURAL": "continental", "MARITIME": "maritime", "AUTO": "auto"}


@dataclass(frozen=True)
class Gipp:
    """A file of settings: its path, and the text of each parameter, defaults of Sen2Cor included."""

    path: Path
    values: Mapping[str, str]

    def number(self, name: str, factor: float = 1) -> float:
        """Return the number that a parameter is set to, times a factor; whole ones as integers."""
        value = round(factor * float(self.values[name]), 6)
        return int(value) if value.is_integer() else value


@dataclass(frozen=True)
class Parameter:
    """A parameter of `L2A_GIPP.xml`.

    Attributes
    ----------
    name
        Its element.
    defaults
        Values that Sen2Cor comes with, that of the newest version first; empty if any value is one of Sen2Cor's own.
    allowed
        The words, or the least and greatest number; None for a text, which is not looked at.
    text
        How it is converted, and why some or all values have no equal.
    settings
        Our settings, `section.name`, that are its equal.
    convert
        Returns our settings for the value of the file: none if the pipeline does so anyway, None without an equal.
    note
        How the first of `settings` differs from the parameter, told with each translation.
    """

    name: str
    defaults: tuple[str, ...]
    allowed: tuple[str, ...] | tuple[float, float] | None
    text: str
    settings: tuple[str, ...] = ()
    convert: Callable[[Gipp], dict[str, Any] | None] | None = None
    note: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are allowed, none if numbers or texts are."""
        return tuple(str(a) for a in self.allowed or () if isinstance(a, str))

    def error(self, value: str) -> str:
        """Return what is wrong with a value, nothing if it is allowed."""
        if not value:
            return "is empty"
        if self.allowed is None or value in self.words:
            return ""
        if self.words:
            return f"{value!r} is none of {', '.join(self.words)}"
        low, high = (float(a) for a in self.allowed)
        try:
            inside = low <= float(value) <= high
        except ValueError:
            inside = False
        return "" if inside else f"{value!r} is no number from {low:g} to {high:g}"

    def is_default(self, value: str) -> bool:
        """Return whether Sen2Cor comes with a value."""
        return not self.defaults or any(_same(value, default) for default in self.defaults)


def _same(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return a.upper() == b.upper()


def aot550_of_visibility(visibility: float, elevation: float) -> float:
    """Return the aerosol optical thickness at 550 nm by Sen2Cor's relation of it to visibility.

    Parameters
    ----------
    visibility
        Horizontal visibility at sea level, 5 to 120 km.
    elevation
        Elevation of the ground, 0 to 2.5 km.
    """
    a, b = (p[0] + p[1] * elevation + p[2] * elevation**2 for p in (_OFFSET, _SLOPE))
    return math.exp(a + b * math.log(visibility))


def _dem(gipp: Gipp) -> dict[str, Any] | None:
    folder = Path(gipp.values["DEM_Directory"])
    home = gipp.path.absolute().parent.parent
    if not folder.is_absolute():
        folder = home / folder
        if not folder.is_dir():
            return None
    return {"dem": str(folder)}


def _aerosol(gipp: Gipp) -> dict[str, Any] | None:
    if gipp.values["VIS_Update_Mode"] != "0":
        return None
    thickness = aot550_of_visibility(gipp.number("Visibility"), gipp.number("Altitude"))
    return {"aerosol.method": "fixed", "aerosol.aot550": round(thickness, 4)}


def _water_vapour(gipp: Gipp) -> dict[str, Any] | None:
    if gipp.values["WV_Correction"] != "0":
        return None
    return {"water_vapour.method": "fixed", "water_vapour.column": _COLUMN[gipp.values["Mid_Latitude"]]}


def _season(gipp: Gipp) -> dict[str, Any] | None:
    return _water_vapour(gipp) if gipp.values["Mid_Latitude"] != "AUTO" else None


def _ozone(gipp: Gipp) -> dict[str, Any]:
    return {"ozone": gipp.number("Ozone_Content")} if gipp.number("Ozone_Content") > 0 else {}


def _adjacency(gipp: Gipp) -> dict[str, Any]:
    radius = gipp.number("Adj_Km")
    return {"reflectance.adjacency_km": radius} if radius > 0 else {"reflectance.adjacency": False}


def _kept(name: str, value: str) -> Callable[[Gipp], dict[str, Any] | None]:
    """Return the conversion of a parameter of which the pipeline always does what one value says."""
    return lambda gipp: {} if gipp.values[name] == value else None


def _layer(name: str) -> Callable[[Gipp], dict[str, Any]]:
    """Return the conversion of a parameter that is set if a layer is wanted."""
    return lambda gipp: {"layers": [name]}


_BOOLEAN = ("FALSE", "TRUE")
_OZONE = ("0", "250", "290", "330", "331", "370", "377", "410", "420", "450", "460")
_REGION = "Counted in pixels of 10 m of a tile; give the area in degrees, or as a GeoJSON file, as `roi`."
_SCHEMES = "The names of schemas; the product's XML follows the specification of its L1C product."

#: Every parameter, in the order of the file.
PARAMETERS = (
    Parameter(
        "Log_Level",
        ("INFO",),
        ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "Messages of each stage are in `<product>/logs/`, warnings on the terminal, too.",
    ),
    Parameter("row0", ("OFF",), None, _REGION),
    Parameter("col0", ("OFF",), None, _REGION),
    Parameter("nrow_win", ("1200",), None, _REGION),
    Parameter("ncol_win", ("1200",), None, _REGION),
    Parameter(
        "Product_DOI",
        ("https://doi.org/10.5270/S2_-znk9xsj",),
        None,
        "ESA's DOI stands for ESA's products; those of Sen2Flow name none.",
    ),
    Parameter(
        "Nr_Threads",
        ("AUTO",),
        None,
        "The command line tells how many cores a run has: `snakemake --cores 4`.",
    ),
    Parameter("Product_Generator", ("NONE",), None, "The product is written by Sen2Flow itself."),
    Parameter(
        "DEM_Directory",
        ("NONE",),
        None,
        "A folder in Sen2Cor's own is looked for beside the folder of `L2A_GIPP.xml`, and left out if it is not there: "
        "then give its full path as `dem`.",
        ("dem",),
        _dem,
        "it has to hold the elevation model, since none is downloaded",
    ),
    Parameter(
        "DEM_Reference",
        ("NONE",),
        None,
        "Nothing is downloaded while Sen2Flow runs: give an elevation model that you have as `dem`.",
    ),
    Parameter(
        "Generate_DEM_Output",
        ("FALSE",),
        _BOOLEAN,
        "TRUE is the layer `elevation`, a COG.",
        ("layers",),
        _layer("elevation"),
    ),
    Parameter(
        "Force_Exit_On_DEM_Error",
        ("TRUE",),
        _BOOLEAN,
        "Always TRUE: an elevation model that cannot be read or does not touch the scene ends the run in one line.",
        (),
        _kept("Force_Exit_On_DEM_Error", "TRUE"),
    ),
    Parameter(
        "Generate_TCI_Output",
        ("TRUE",),
        _BOOLEAN,
        "Always TRUE: true colour is part of the product.",
        (),
        _kept("Generate_TCI_Output", "TRUE"),
    ),
    Parameter(
        "Generate_DDV_Output",
        ("FALSE",),
        _BOOLEAN,
        "TRUE is the layer `dark_vegetation`, a COG.",
        ("layers",),
        _layer("dark_vegetation"),
        "aerosol comes from other ground, too",
    ),
    Parameter(
        "Handle_L1C_QLT_Mask",
        ("FALSE",),
        _BOOLEAN,
        "Always TRUE: what the masks of the L1C product call lost, defective or saturated is taken as such.",
        (),
        _kept("Handle_L1C_QLT_Mask", "TRUE"),
    ),
    Parameter(
        "Downsample_20_to_60",
        ("TRUE",),
        _BOOLEAN,
        "Always TRUE: a SAFE has the images of 60 m. Where COGs alone are made, `resolutions` can leave them out.",
        (),
        _kept("Downsample_20_to_60", "TRUE"),
    ),
    Parameter(
        "PSD_Version",
        ("DEFAULT",),
        None,
        "The product's XML follows the specification of its L1C product.",
    ),
    Parameter("PSD_Scheme", (), None, _SCHEMES),
    *(Parameter(f"{kind}_Scheme", (), None, _SCHEMES) for kind in ("GIPP", "SC", "AC", "PB", "QI")),
    Parameter(
        "Median_Filter",
        ("0",),
        tuple(map(str, range(11))),
        "The same.",
        ("classification.median_filter",),
        lambda gipp: {"classification.median_filter": gipp.number("Median_Filter")},
    ),
    Parameter(
        "Aerosol_Type",
        ("RURAL",),
        tuple(_AEROSOL_MODEL),
        "RURAL is nearest to `continental`; MARITIME is `maritime`, AUTO `auto`.",
        ("aerosol.model",),
        lambda gipp: {"aerosol.model": _AEROSOL_MODEL[gipp.values["Aerosol_Type"]]},
    ),
    Parameter(
        "Mid_Latitude",
        ("SUMMER",),
        tuple(_COLUMN),
        "One standard atmosphere (US 1962), with the scene's own water vapour and ozone, serves all seasons; this only "
        "tells the column where `WV_Correction` is 0.",
        ("water_vapour.column",),
        _season,
    ),
    Parameter(
        "Ozone_Content",
        ("0", "331"),
        _OZONE,
        "0, the product's own ozone, is what is taken anyway where the product has it.",
        ("ozone",),
        _ozone,
        "it counts only where the product carries no ozone of its own",
    ),
    Parameter(
        "WV_Correction",
        ("1",),
        ("0", "1", "2", "3", "4"),
        "0 is `fixed` with the column that Sen2Cor assumes then, 1.0 g/cm2, or 0.4 where `Mid_Latitude` is WINTER; 1 "
        "is `auto`, and so are 2 to 4, which are for bands that Sentinel-2 lacks.",
        ("water_vapour.method", "water_vapour.column"),
        _water_vapour,
        "the column is Sen2Cor's at sea level, here taken at the scene's mean elevation",
    ),
    Parameter(
        "VIS_Update_Mode",
        ("1",),
        ("0", "1"),
        "0 is `fixed` with the AOT that Sen2Cor makes of `Visibility` at `Altitude`; 1 is `auto`.",
        ("aerosol.method", "aerosol.aot550"),
        _aerosol,
        "the AOT is for a ground at `Altitude`; give another `aerosol.aot550` if a DEM tells another mean elevation",
    ),
    Parameter(
        "WV_Watermask",
        ("1",),
        ("0", "1", "2"),
        "Always 1: water takes the water vapour of the land around.",
        (),
        _kept("WV_Watermask", "1"),
    ),
    Parameter(
        "Cirrus_Correction",
        ("FALSE",),
        _BOOLEAN,
        "The same; how bright cirrus is relative to B10 follows from all ground of the scene.",
        ("cirrus_correction",),
        lambda gipp: {"cirrus_correction": gipp.values["Cirrus_Correction"] == "TRUE"},
    ),
    Parameter(
        "DEM_Terrain_Correction",
        ("TRUE",),
        _BOOLEAN,
        "FALSE is `never`, TRUE `auto`, which like Sen2Cor leaves flat ground as it is.",
        ("terrain.correction",),
        lambda gipp: {"terrain.correction": "auto" if gipp.values["DEM_Terrain_Correction"] == "TRUE" else "never"},
    ),
    Parameter(
        "BRDF_Correction",
        ("0",),
        ("0", "1", "2", "11", "12", "21", "22"),
        "No empirical correction by the angle of incidence is made; `terrain.min_cos_incidence` limits over-correction "
        "of faintly lit slopes.",
    ),
    Parameter(
        "BRDF_Lower_Bound",
        ("0.22",),
        (0.1, 0.25),
        "Belongs to `BRDF_Correction`, which there is not.",
    ),
    Parameter(
        "Adj_Km",
        ("1.0",),
        (0, 10),
        "km, as here; 0 is `reflectance.adjacency: false`.",
        ("reflectance.adjacency_km", "reflectance.adjacency"),
        _adjacency,
        "Sen2Cor takes a plain mean of a square, Sen2Flow weighs surroundings by how much light they scatter, which "
        "reaches farther",
    ),
    Parameter(
        "Visibility",
        ("40",),
        (5, 120),
        "The AOT where `VIS_Update_Mode` is 0. Else Sen2Cor starts from it, where Sen2Flow starts from CAMS data or a "
        "climatology.",
        ("aerosol.aot550",),
        _aerosol,
    ),
    Parameter(
        "Altitude",
        ("0.1",),
        (0, 2.5),
        "km there, m here; in both the elevation of the ground without a DEM.",
        ("altitude",),
        lambda gipp: {"altitude": gipp.number("Altitude", 1000)},
    ),
    Parameter(
        "Smooth_WV_Map",
        ("100",),
        (0, 300),
        "The map is always smoothed, by a Gaussian of 100 m.",
    ),
    Parameter(
        "WV_Threshold_Cirrus",
        ("0.25",),
        (0.1, 1.0),
        "What dry air lets through to B10 is computed and taken away, in place of a limit (`cirrus` of "
        "`classification.improvements`).",
    ),
    Parameter(
        "Database_Compression_Level",
        ("0",),
        (0, 9),
        "Files between the stages are all compressed in the same way, and removed unless `keep_intermediates` is true.",
    ),
)
