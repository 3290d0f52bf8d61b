"""When, where and by which satellite a product was taken, and the names that follow.

Plain Python, so the workflow can import it.
"""

import datetime as dt
from dataclasses import dataclass


def compact(time: dt.datetime) -> str:
    """Return a time as in names: `20160112T155500`."""
    return f"{time:%Y%m%dT%H%M%S}"


def utc(time: dt.datetime) -> str:
    """Return a time as in metadata: `2016-01-12T15:55:00.000Z`."""
    return f"{time:%Y-%m-%dT%H:%M:%S.000Z}"


#: Masks that each band has: polygons in old products, images since baseline 04.00. A product also has one of clouds.
POLYGON_MASKS = ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA")
IMAGE_MASKS = ("DETFOO", "QUALIT")


@dataclass(frozen=True)
class Acquisition:
    """One pass over one tile, and its product.

    Attributes
    ----------
    satellite
        `S2A` ...
    baseline
        Processing baseline, `02.04`.
    tile
        `T18SVG`.
    datatake_start, sensing_time, creation_time
        UTC.
    absolute_orbit, relative_orbit
        Numbers of the orbit.
    abstract
        What the product is, for its catalogue record.
    """

    satellite: str
    baseline: str
    tile: str
    datatake_start: dt.datetime
    sensing_time: dt.datetime
    creation_time: dt.datetime
    absolute_orbit: int
    relative_orbit: int
    abstract: str

    @property
    def product(self) -> str:
        """Name of the product, without `.SAFE`."""
        return (
            f"{self.satellite}_MSIL1C_{compact(self.datatake_start)}_N{self.baseline.replace('.', '')}"
            f"_R{self.relative_orbit:03}_{self.tile}_{compact(self.creation_time)}"
        )

    @property
    def granule(self) -> str:
        """Name of the granule's folder."""
        return f"L1C_{self.tile}_A{self.absolute_orbit:06}_{compact(self.sensing_time)}"

    @property
    def datastrip(self) -> str:
        """Name of the datastrip's folder."""
        return f"DS_S2FL_{compact(self.creation_time)}_S{compact(self.sensing_time)}"

    @property
    def tile_id(self) -> str:
        """Identifier of the granule."""
        return (
            f"{self.satellite}_USER_MSI_L1C_TL_S2FL_{compact(self.creation_time)}_A{self.absolute_orbit:06}"
            f"_{self.tile}_N{self.baseline}"
        )

    @property
    def datastrip_id(self) -> str:
        """Identifier of the datastrip."""
        return (
            f"{self.satellite}_USER_MSI_L1C_DS_S2FL_{compact(self.creation_time)}_S{compact(self.sensing_time)}"
            f"_N{self.baseline}"
        )

    @property
    def datatake_id(self) -> str:
        """Identifier of the datatake."""
        return f"G{self.satellite}_{compact(self.datatake_start)}_{self.absolute_orbit:06}_N{self.baseline}"

    @property
    def has_offset(self) -> bool:
        """Whether the numbers have an offset and the masks are images."""
        return self.baseline >= "04.00"

    def image_path(self, layer: str) -> str:
        """Return the path of an image (`B01` ... `TCI`) in the product, without extension."""
        return f"GRANULE/{self.granule}/IMG_DATA/{self.tile}_{compact(self.datatake_start)}_{layer}"

    @property
    def masks(self) -> tuple[tuple[str, str], ...]:
        """Kind (`DETFOO`) and path of each mask of a band, with `{}` for the band's name, and of that of clouds."""
        kinds, end = (IMAGE_MASKS, "jp2") if self.has_offset else (POLYGON_MASKS, "gml")
        return tuple((kind, f"GRANULE/{self.granule}/QI_DATA/MSK_{kind}_{{}}.{end}") for kind in kinds)

    @property
    def cloud_mask(self) -> tuple[str, str]:
        """Kind and path of the mask of clouds."""
        kind, end = ("CLASSI", "jp2") if self.has_offset else ("CLOUDS", "gml")
        return kind, f"GRANULE/{self.granule}/QI_DATA/MSK_{kind}_B00.{end}"

    @property
    def preview_path(self) -> str:
        """Path of the preview image in the product, without extension."""
        return f"GRANULE/{self.granule}/QI_DATA/{self.tile}_{compact(self.datatake_start)}_PVI"
