"""Fields of meteorology and aerosol that come with a product: in GRIB files of a SAFE, in arrays of an EOPF Zarr."""

from typing import NamedTuple


class Field(NamedTuple):
    """One field.

    Attributes
    ----------
    table, parameter
        What it is in the tables of ECMWF.
    title, unit
        For people; the unit as UDUNITS writes it.
    """

    table: int
    parameter: int
    title: str
    unit: str = "1"


#: Originating centre of the fields, ECMWF, whose local tables these are.
CENTRE = 98
#: Group of an EOPF Zarr that fields are in, and what the file of a SAFE begins with.
GROUPS = {"ecmwf": "AUX_ECMWFT", "cams": "AUX_CAMS"}
#: Name of each field in the groups.
FIELDS = {
    "ecmwf": {
        "tcwv": Field(128, 137, "total column water vapour", "kg m-2"),
        "msl": Field(128, 151, "mean sea level pressure", "Pa"),
        "tco3": Field(128, 206, "total column ozone", "kg m-2"),
        "u10": Field(128, 165, "eastward wind at 10 m", "m s-1"),
        "v10": Field(128, 166, "northward wind at 10 m", "m s-1"),
        "r": Field(128, 157, "relative humidity", "%"),
    },
    "cams": {
        "z": Field(128, 129, "geopotential at the surface", "m2 s-2"),
        "aod550": Field(210, 207, "total aerosol optical thickness at 550 nm"),
        "ssaod550": Field(210, 208, "sea salt aerosol optical thickness at 550 nm"),
        "duaod550": Field(210, 209, "dust aerosol optical thickness at 550 nm"),
        "omaod550": Field(210, 210, "organic matter aerosol optical thickness at 550 nm"),
        "bcaod550": Field(210, 211, "black carbon aerosol optical thickness at 550 nm"),
        "suaod550": Field(210, 212, "sulphate aerosol optical thickness at 550 nm"),
        "aod469": Field(210, 213, "total aerosol optical thickness at 469 nm"),
        "aod670": Field(210, 214, "total aerosol optical thickness at 670 nm"),
        "aod865": Field(210, 215, "total aerosol optical thickness at 865 nm"),
        "aod1240": Field(210, 216, "total aerosol optical thickness at 1240 nm"),
    },
}


def group_path(group: str) -> str:
    """Return the path of a group of fields in a Zarr."""
    return f"conditions/meteorology/{group}"
