"""The L2A product as an EOPF Zarr: its arrays, and what they tell of themselves.

Layout and names are those of EOPF's product model (EOPF-CPM 2.8), whose validator takes no array and no attribute that
the model does not know. What it wants of an array it reads in the attribute `_eopf_attrs` alone; beside it stands what
other readers want: CF conventions for scale, offset, no data and grid mapping (xarray, rioxarray), `_CRS` (GDAL) and
STAC's projection. Zarr format 2, since neither that validator nor GDAL before 3.11 reads format 3.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import zarr
from numcodecs import Blosc
from rasterio.crs import CRS

from steps.core.rasters import BLOCK, Grid, Kind
from steps.sentinel2.bands import BANDS, OUTPUT_BANDS, PIXEL_SIZE, RESOLUTIONS
from steps.sentinel2.kinds import AOT, BOA, WVP
from steps.sentinel2.meteorology import FIELDS, group_path
from steps.sentinel2.scene_classes import SCL_CLASSES

#: Rows and columns of a chunk: a megabyte, as many tiles of a viewer as a request is worth. A multiple of the blocks
#: that stages write.
CHUNK = 2 * BLOCK
#: As EOPF's samples have it, but for the level, 1 for 3: a quarter faster for 1 % more (bands of a real tile).
_COMPRESSOR = Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)
#: Name of the array that holds a group's reference system.
_GRID_MAPPING = "spatial_ref"
GEOMETRY = "conditions/geometry"
ANGLES = ("sun_angles", "mean_sun_angles", "viewing_incidence_angles", "mean_viewing_incidence_angles")
#: Keys of assets in the model that do not end like those of other bands of their resolution.
_ODD_KEYS = {"b02_r10m": "b02_10m"} | {f"{band}_60m": f"{band}_r60m" for band in ("b09", "b12", "b8a")}
_ENDINGS = {10: "r10m", 20: "r20m", 60: "60m"}
#: GeoZarr's convention of levels. Its coarser ones than 60 m would be arrays that EOPF's model does not know.
_MULTISCALES = {
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v0.1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v0.1/README.md",
    "description": "Multiscale layout of zarr datasets",
}
_QUALITY_FLAGS = (
    "anc_lost",
    "anc_deg",
    "msi_lost",
    "msi_deg",
    "defective_pixel",
    "no_data_pixel",
    "partially_corrected_pixel",
    "saturated_pixel",
)
_CLASS_FLAGS = ("opaque", "cirrus", "snow_ice")
_DETECTORS = ("no_detector", *(f"d{number:02}" for number in range(1, 13)))


def band_path(band: str, resolution: int) -> str:
    """Return the path of the array of a band's reflectance."""
    return f"measurements/reflectance/r{resolution}m/{band.lower()}"


def map_path(name: str, resolution: int) -> str:
    """Return the path of the array of the map `aot` or `wvp`."""
    return f"quality/atmosphere/r{resolution}m/{name}"


def class_path(name: str, resolution: int) -> str:
    """Return the path of the array of the classes (`SCL`) or of a probability (`CLD`, `SNW`)."""
    folder = "conditions/mask/l2a_classification" if name == "SCL" else "quality/probability"
    return f"{folder}/r{resolution}m/{name.lower()}"


def mask_path(kind: str, band: str) -> str:
    """Return the path of the array of a mask of the L1C product."""
    folder = {
        "MSK_DETFOO": "conditions/mask/detector_footprint",
        "MSK_QUALIT": "quality/mask",
        "MSK_CLASSI": "conditions/mask/l1c_classification",
    }[kind]
    return f"{folder}/r{PIXEL_SIZE.get(band, 60)}m/{band.lower()}"


def _assets() -> dict[str, str]:
    """Return the path of each array by its key in the STAC item, by which EOPF's model calls the array, too."""
    result = {}
    for resolution in RESOLUTIONS:
        for band in OUTPUT_BANDS[resolution]:
            key = f"{band.lower()}_{_ENDINGS[resolution]}"
            result[_ODD_KEYS.get(key, key)] = band_path(band, resolution)
        for name, whole in (("aot", "aot"), ("wvp", "wvc")):
            result[whole if resolution == 10 else f"{name}_r{resolution}m"] = map_path(name, resolution)
        if resolution > 10:
            result[f"scl_r{resolution}m"] = class_path("SCL", resolution)
    result |= {name.lower(): class_path(name, 20) for name in ("CLD", "SNW")}
    for band in BANDS:
        result[f"msk_detfoo_{band.lower()}"] = mask_path("MSK_DETFOO", band)
        result[f"msk_quality_{band.lower()}"] = mask_path("MSK_QUALIT", band)
    result["msk_cls_b00"] = mask_path("MSK_CLASSI", "B00")
    result |= {name: f"{GEOMETRY}/{name}" for name in ANGLES}
    return result | {f: f"{group_path(group)}/{f}" for group, fields in FIELDS.items() for f in fields}


ASSETS = _assets()
_SHORT_NAMES = {path: key for key, path in ASSETS.items()}


def of_band(band: str, resolution: int) -> dict:
    """Return what the array of a band tells of itself: parameters of `EopfWriter.image`."""
    return _numbers(f"surface reflectance, {band}, {resolution} m", BOA, "1")


def of_map(name: str, resolution: int) -> dict:
    """Return what the array of the map `aot` or `wvp` tells of itself."""
    kind, title, unit = {
        "aot": (AOT, "aerosol optical thickness at 550 nm", ""),
        "wvp": (WVP, "water vapour column", "g cm-2"),
    }[name]
    return _numbers(f"{title}, {resolution} m", kind, unit)


def of_classes(name: str, resolution: int) -> dict:
    """Return what the array of the classes or of a probability tells of itself; the model knows no flags of classes."""
    attributes: dict = {"long_name": "scene classification"}
    if name == "SCL":
        legend = ", ".join(f"{value} {title.lower()}" for value, title in SCL_CLASSES.items())
        # Class 0 is no data; who reads classes wants them whole, so that it is no fill value to any but EOPF.
        levels = {"fill_value": 0, "scale_factor": 1, "add_offset": 0, "valid_min": 1, "valid_max": 11}
        own = attributes | (levels if resolution == 20 else {})
        return {"dtype": "uint8", "own": own, "cf": {**attributes, "comment": legend}}
    title = f"{'cloud' if name == 'CLD' else 'snow'} probability"
    attributes = {"long_name": title, "units": "percent", "valid_min": 0, "valid_max": 100}
    return {"dtype": "float32", "own": attributes, "cf": attributes, "fill_value": float("nan")}


def of_mask(kind: str, band: str) -> dict:
    """Return what the array of a mask of the L1C product tells of itself."""
    title, flags = {
        "MSK_DETFOO": ("number of the detector", _DETECTORS),
        "MSK_QUALIT": ("quality of the L1C pixel", _QUALITY_FLAGS),
        "MSK_CLASSI": ("clouds and snow of the L1C product", _CLASS_FLAGS),
    }[kind]
    values = {"flag_values": list(range(len(flags)))} if kind == "MSK_DETFOO" else {}
    values = values or {"flag_masks": [1 << bit for bit in range(len(flags))]}
    attributes = {"long_name": title, **values}
    own, cf = ({**attributes, "flag_meanings": meanings} for meanings in (list(flags), " ".join(flags)))
    return {"dtype": "uint8", "own": own, "cf": cf}


def _numbers(title: str, kind: Kind, unit: str) -> dict:
    attributes: dict = {
        "long_name": title,
        "valid_min": 1,
        "valid_max": 65535,
        "scale_factor": kind.scale,
        "add_offset": kind.offset,
    }
    if unit:
        attributes["units"] = unit
    own = {**attributes, "fill_value": kind.nodata}
    return {"dtype": kind.dtype, "own": own, "cf": attributes, "fill_value": kind.nodata}


class EopfWriter:
    """Writer of a Zarr.

    Parameters
    ----------
    folder
        That is made.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._root = zarr.open_group(folder, mode="w", zarr_format=2)

    def image(self, path: str, grid: Grid, dtype: str, own: Mapping, cf: Mapping, fill_value=None) -> zarr.Array:
        """Make an array of an image, and coordinates and reference system of its group.

        Parameters
        ----------
        path
            Of the array.
        grid, dtype
            Of the image.
        own, cf, fill_value
            What it tells of itself in EOPF's terms and in others, and the number of no data.

        Returns
        -------
        zarr.Array
            To be written by `write_rows`, which can be done by several threads.
        """
        self._describe_group(path.rpartition("/")[0], grid)
        projection = {
            "proj:epsg": grid.epsg,
            "proj:transform": [*map(float, grid.transform)],
            "proj:bbox": bounds(grid),
            "proj:shape": list(grid.shape),
            "_CRS": {"url": f"http://www.opengis.net/def/crs/EPSG/0/{grid.epsg}"},
            "grid_mapping": _GRID_MAPPING,
            "coordinates": _GRID_MAPPING,
        }
        return self._create(path, grid.shape, (CHUNK, CHUNK), dtype, ("y", "x"), own, {**cf, **projection}, fill_value)

    def write_rows(self, array: zarr.Array, rows: slice, values: np.ndarray) -> None:
        """Write rows of an image, which begin and end as chunks do, a file for each chunk.

        Zarr makes a temporary file, a link and a task of its event loop of each, for which threads wait for each other:
        it takes an eighth longer.

        Parameters
        ----------
        array
            From `image`.
        rows
            Which.
        values : shape (rows, columns), or a single one for all pixels
        """
        folder, fill = self._folder / array.path, array.fill_value or 0
        values = np.broadcast_to(values.astype(array.dtype, copy=False), (rows.stop - rows.start, array.shape[1]))
        for down, right in np.ndindex(*(-(-n // CHUNK) for n in values.shape)):
            chunk = values[down * CHUNK :, right * CHUNK :][:CHUNK, :CHUNK]
            chunk = np.pad(chunk, [(0, CHUNK - n) for n in chunk.shape], constant_values=fill)
            (folder / f"{rows.start // CHUNK + down}.{right}").write_bytes(_COMPRESSOR.encode(chunk))

    def table(self, path: str, values: np.ndarray, dimensions: Sequence[str], own: Mapping) -> None:
        """Write a small array, of one axis for each dimension, NaN where it has no value."""
        fill = float("nan") if values.dtype.kind == "f" else None
        array = self._create(path, values.shape, values.shape, values.dtype, dimensions, own, own, fill)
        array[...] = values

    def coordinate(self, path: str, values: np.ndarray, **attributes) -> None:
        """Write the coordinates of a dimension (one axis), or of none (a number), called like the array."""
        name = path.rpartition("/")[2]
        dimensions = [name] if values.ndim else []
        array = self._root.create_array(
            path,
            shape=values.shape,
            dtype=values.dtype,
            chunks=values.shape,
            fill_value=None,
            attributes={"_ARRAY_DIMENSIONS": dimensions, **attributes},
        )
        array[...] = values

    def _describe_group(self, group: str, grid: Grid) -> None:
        if group in self._root:
            return
        down, right = np.arange(grid.height) + 0.5, np.arange(grid.width) + 0.5
        names = {"x": "easting", "y": "northing"}
        for axis, values in (("x", grid.left + grid.resolution * right), ("y", grid.top - grid.resolution * down)):
            attributes = {"standard_name": f"projection_{axis}_coordinate", "long_name": names[axis], "units": "m"}
            self.coordinate(f"{group}/{axis}", values, **attributes)
        transform = " ".join(str(float(v)) for v in grid.transform.to_gdal())
        attributes = {"crs_wkt": wkt(grid), "spatial_ref": wkt(grid), "GeoTransform": transform}
        self.coordinate(f"{group}/{_GRID_MAPPING}", np.array(0), **attributes)

    def _create(self, path, shape, chunks, dtype, dimensions, own, cf, fill_value) -> zarr.Array:
        own = {
            **own,
            "short_name": _SHORT_NAMES[path],
            "dtype": np.dtype(dtype).str.replace("|", "<"),
            "dimensions": list(dimensions),
        }
        own["coordinates"] = list(dimensions)
        return self._root.create_array(
            path,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            compressors=_COMPRESSOR,
            fill_value=fill_value,
            attributes={"_ARRAY_DIMENSIONS": list(dimensions), "_eopf_attrs": own, **cf},
            config={"write_empty_chunks": True},
        )

    def close(self, attributes: Mapping, grid: Grid) -> None:
        """Write the attributes of root and levels, and all attributes into one file, which readers look for first."""
        self._root["measurements/reflectance"].attrs.update(_levels(grid))
        self._root.attrs.update(attributes)
        zarr.consolidate_metadata(self._root.store)


def _levels(grid: Grid) -> dict:
    """Return GeoZarr's attributes of a group whose members are one image at several resolutions (`grid`: at 10 m)."""
    layout: list[dict] = []
    for resolution in RESOLUTIONS:
        factor, level = resolution / RESOLUTIONS[0], grid.at(resolution)
        step: dict = {"scale": [factor, factor], "translation": [(factor - 1) / 2] * 2}
        place = {"spatial:transform": list(level.transform)[:6], "spatial:shape": list(level.shape)}
        origin = {"derived_from": f"r{RESOLUTIONS[0]}m"} if factor > 1 else {}
        layout.append({"asset": f"r{resolution}m", **origin, "transform": step, **place})
    return {
        "zarr_conventions": [_MULTISCALES],
        "multiscales": {"layout": layout, "resampling_method": "average"},
        "proj:code": f"EPSG:{grid.epsg}",
    }


def bounds(grid: Grid) -> list[float]:
    """Return left, bottom, right and top of a grid, m."""
    right, bottom = grid.left + grid.width * grid.resolution, grid.top - grid.height * grid.resolution
    return [float(v) for v in (grid.left, bottom, right, grid.top)]


def wkt(grid: Grid) -> str:
    """Return the reference system of a grid as well-known text of version 2."""
    return CRS.from_epsg(grid.epsg).to_wkt(version="WKT2_2019")
