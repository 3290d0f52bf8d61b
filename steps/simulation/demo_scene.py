"""Facts of the demo product: a real scene that comes without metadata. Plain Python, so the workflow can import it.

The pixels are Sentinel-2A's of 2016-01-12, 15:58 UTC, in tile 18SVG (coast of Virginia). The orbit follows from the
repeat cycle, the sun from astronomy, and the place in the swath from the orbit (`steps.sentinel2.geometry`). What
cannot be known is nominal: the start of the datatake and the date of creation.
"""

import datetime as dt

DATATAKE_START = dt.datetime(2016, 1, 12, 15, 55, tzinfo=dt.UTC)
SENSING_TIME = dt.datetime(2016, 1, 12, 15, 58, tzinfo=dt.UTC)
#: The first day of the compact format.
CREATION_TIME = dt.datetime(2016, 12, 6, tzinfo=dt.UTC)
BASELINE = "02.04"
TILE = "T18SVG"
ABSOLUTE_ORBIT = 2911
RELATIVE_ORBIT = 54


def compact(time: dt.datetime) -> str:
    """Return a time as in names: `20160112T155500`."""
    return f"{time:%Y%m%dT%H%M%S}"


def utc(time: dt.datetime) -> str:
    """Return a time as in metadata: `2016-01-12T15:55:00.000Z`."""
    return f"{time:%Y-%m-%dT%H:%M:%S.000Z}"


#: Name of the product, without `.SAFE`.
DEMO_PRODUCT = (
    f"S2A_MSIL1C_{compact(DATATAKE_START)}_N{BASELINE.replace('.', '')}_R{RELATIVE_ORBIT:03}_{TILE}"
    f"_{compact(CREATION_TIME)}"
)
GRANULE = f"L1C_{TILE}_A{ABSOLUTE_ORBIT:06}_{compact(SENSING_TIME)}"
DATASTRIP = f"DS_S2FL_{compact(CREATION_TIME)}_S{compact(SENSING_TIME)}"
TILE_ID = f"S2A_USER_MSI_L1C_TL_S2FL_{compact(CREATION_TIME)}_A{ABSOLUTE_ORBIT:06}_{TILE}_N{BASELINE}"
DATASTRIP_ID = f"S2A_USER_MSI_L1C_DS_S2FL_{compact(CREATION_TIME)}_S{compact(SENSING_TIME)}_N{BASELINE}"
DATATAKE_ID = f"GS2A_{compact(DATATAKE_START)}_{ABSOLUTE_ORBIT:06}_N{BASELINE}"


def image_path(layer: str) -> str:
    """Return the path of an image (`B01` ... `TCI`) in the product, without extension."""
    return f"GRANULE/{GRANULE}/IMG_DATA/{TILE}_{compact(DATATAKE_START)}_{layer}"


def mask_path(kind: str, band: str) -> str:
    """Return the path of a mask (`DETFOO`, `B01`) in the product."""
    return f"GRANULE/{GRANULE}/QI_DATA/MSK_{kind}_{band}.gml"


def preview_path() -> str:
    """Return the path of the preview image in the product, without extension."""
    return f"GRANULE/{GRANULE}/QI_DATA/{TILE}_{compact(DATATAKE_START)}_PVI"


#: Masks that each band has; the product also has one of clouds.
BAND_MASKS = ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA")
