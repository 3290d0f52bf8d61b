"""EOPF Zarrs made of small SAFE products, in the spellings of EOPF's sample service and of its library EOPF-CPM 2.8.

Written from the layout of real ones alone (`../shared/docs/eopf-zarr.md`), and not by anything of the project.
"""

from pathlib import Path

import numpy as np
import rasterio
import zarr
from l1c_products import PIXEL
from lxml import etree

#: Number (`bandId`) of each band.
NUMBER = {band: i for i, band in enumerate(PIXEL)}
_AEROSOL = {"aod469": 213, "aod550": 207, "duaod550": 209, "z": 129}
_WEATHER = {"tcwv": 137, "msl": 151, "tco3": 206, "u10": 165}
_FACTOR = "reflectance_correction_factor_from_the_Sun-Earth_distance_variation_computed_using_the_acquisition_date"
_FLAGS = 2 ** np.arange(8, dtype="u1")[:, None, None]


def _numbers(element, name):
    rows = element.iterfind(f"{name}/Values_List/VALUES")
    return np.array([row.text.split() for row in rows], "f8")


class _Writer:
    """Writer of one Zarr, whose arrays and attributes are as one version of EOPF's software has them."""

    def __init__(self, path, version, zarr_format):
        self.cpm, self.format = version == "cpm", zarr_format
        self.root = zarr.open_group(path, mode="w", zarr_format=zarr_format)

    def array(self, name, values, dimensions, chunk=None, fill_value=None, attributes=None):
        values = np.asarray(values)
        old, attributes = self.format == 2, attributes or {}
        named = {"attributes": {"_ARRAY_DIMENSIONS": dimensions, **attributes}} if old else {"attributes": attributes}
        self.root.create_array(
            name,
            data=values,
            chunks=chunk or tuple(max(n, 1) for n in values.shape),
            fill_value=fill_value if fill_value is not None or old else np.zeros((), values.dtype)[()],
            **named,
            **({} if old else {"dimension_names": dimensions}),
            config={"write_empty_chunks": True},
        )

    def image(self, folder, band, values, image, fill_value=None, attributes=None):
        size = PIXEL.get(band, 60)
        path = f"{folder}/r{size}m"
        t = image.transform
        attributes = dict(attributes or {})
        if not self.cpm:
            attributes |= {"proj:transform": [t.a, 0.0, t.c, 0.0, t.e, t.f, 0.0, 0.0, 1.0], "proj:epsg": 32631}
        chunk = tuple(-(-n // 3) for n in values.shape)
        self.array(f"{path}/{band.lower()}", values, ["y", "x"], chunk, fill_value, attributes)
        if "x" not in self.root[path]:
            kind = "f4" if self.cpm else "i8"
            self.array(f"{path}/x", (t.c + t.a * (np.arange(image.width) + 0.5)).astype(kind), ["x"])
            self.array(f"{path}/y", (t.f + t.e * (np.arange(image.height) + 0.5)).astype(kind), ["y"])


def write_zarr(safe: Path, path: Path, version="cpm", zarr_format=2, order=None) -> Path:
    """Write a SAFE of `l1c_products` as a Zarr; arrays of angles have their bands in an order if one is given."""
    writer = _Writer(path, version, zarr_format)
    product = etree.parse(safe / "MTD_MSIL1C.xml").getroot()
    granule = next((safe / "GRANULE").iterdir())
    tile = etree.parse(granule / "MTD_TL.xml").getroot()
    offset = float(product.findtext(".//RADIO_ADD_OFFSET") or 0) / 10000
    scale = {"add_offset": offset, "scale_factor": 1e-4, "units": "digital_counts"}
    for file in sorted(granule.glob("IMG_DATA/*_B*.jp2")):
        with rasterio.open(file) as image:
            level = {"fill_value": 0, "valid_min": 1, **scale}
            # some have them one level down, some in both places
            level = {"_eopf_attrs": level} if writer.cpm else {"_eopf_attrs": level, **level}
            writer.image("measurements/reflectance", file.stem[-3:], image.read(1), image, 0, level)
    for file in sorted(granule.glob("QI_DATA/MSK_*.jp2")):
        kind, band = file.stem[:10], file.stem[-3:]
        folder = {"MSK_QUALIT": "quality/mask", "MSK_DETFOO": "conditions/mask/detector_footprint"}.get(kind)
        with rasterio.open(file) as image:
            layers = image.read()
            values = layers[0] if kind == "MSK_DETFOO" else (layers * _FLAGS[: len(layers)]).sum(axis=0, dtype="u1")
            writer.image(folder or "conditions/mask/l1c_classification", band, values, image)
    _write_angles(writer, tile, order or list(PIXEL))
    if (granule / "AUX_DATA").exists():
        _write_meteorology(writer, granule / "AUX_DATA")
    writer.root.attrs.update(_attributes(product, tile, writer.cpm))
    if zarr_format == 2:
        zarr.consolidate_metadata(path)
    return path


def _write_angles(writer, tile, order):
    sun = tile.find(".//Sun_Angles_Grid")
    tables = np.array([_numbers(sun, name) for name in ("Zenith", "Azimuth")])
    folder, shape = "conditions/geometry", tables.shape[1:]
    writer.array(f"{folder}/sun_angles", tables, ["angle", "y", "x"], fill_value=np.nan)
    mean = tile.find(".//Mean_Sun_Angle")
    writer.array(
        f"{folder}/mean_sun_angles", [float(mean.findtext(f"{n}_ANGLE")) for n in ("ZENITH", "AZIMUTH")], ["angle"]
    )
    grids = tile.findall(".//Viewing_Incidence_Angles_Grids")
    detectors = sorted({int(grid.get("detectorId")) for grid in grids}) or [1]
    views = np.full((13, len(detectors), 2, *shape), np.nan)
    for grid in grids:
        place = order.index(list(PIXEL)[int(grid.get("bandId"))]), detectors.index(int(grid.get("detectorId")))
        views[place] = [_numbers(grid, name) for name in ("Zenith", "Azimuth")]
    writer.array(
        f"{folder}/viewing_incidence_angles", views, ["band", "detector", "angle", "y", "x"], fill_value=np.nan
    )
    means = np.zeros((13, 2))
    for mean in tile.iterfind(".//Mean_Viewing_Incidence_Angle"):
        pair = [float(mean.findtext(f"{name}_ANGLE")) for name in ("ZENITH", "AZIMUTH")]
        means[order.index(list(PIXEL)[int(mean.get("bandId"))])] = pair
    writer.array(f"{folder}/mean_viewing_incidence_angles", means, ["band", "angle"])
    left, top = (float(tile.findtext(f".//{name}")) for name in ("ULX", "ULY"))
    for axis, start, n in (("x", left, shape[1]), ("y", top, shape[0])):
        values = start + (5000.0 if axis == "x" else -5000.0) * np.arange(n)
        writer.array(f"{folder}/{axis}", values.astype("f4" if writer.cpm else "i8"), [axis])
    if writer.cpm:  # its labels are cut to a letter
        writer.array(f"{folder}/band", np.array(["b"] * 13, "<U1"), ["band"])
        writer.array(f"{folder}/detector", np.array(["d"] * len(detectors), "<U1"), ["detector"])
    else:
        writer.array(f"{folder}/band", np.array([band.lower() for band in order], "<U3"), ["band"])
        writer.array(f"{folder}/detector", np.array(detectors, "i8"), ["detector"])


def _write_meteorology(writer, folder):
    for file, name, fields in (("AUX_ECMWFT", "ecmwf", _WEATHER), ("AUX_CAMSFO", "cams", _AEROSOL)):
        values = _constant_fields(folder / file)
        for short, parameter in fields.items():
            writer.array(
                f"conditions/meteorology/{name}/{short}",
                np.full((9, 9), values[parameter], "f4"),
                ["latitude", "longitude"],
                fill_value=np.nan,
                attributes={"units": {"msl": "hPa"}.get(short, "1")},  # though it is Pa
            )
        for axis, first, last, step in (("latitude", 44.226, 43.259, -0.121), ("longitude", 0.496, 1.889, 0.174125)):
            points = np.append(first + step * np.arange(8), last).astype("f4")
            writer.array(f"conditions/meteorology/{name}/{axis}", points, [axis], fill_value=np.nan)


def _constant_fields(path):
    """Return the value of each parameter in a file of `l1c_products.grib1`."""
    content, values = path.read_bytes(), {}
    while content:
        length = int.from_bytes(content[4:7])
        exponent, mantissa = content[8 + 28 + 32 + 6], int.from_bytes(content[8 + 28 + 32 + 7 : 8 + 28 + 32 + 10])
        values[content[16]] = mantissa / 2**24 * 16.0 ** (exponent - 64)
        content = content[length:]
    return values


def _attributes(product, tile, cpm):
    text = product.findtext
    irradiances = {int(e.get("bandId")): float(e.text) for e in product.iterfind(".//SOLAR_IRRADIANCE")}
    prefix = "eo:" if cpm else ""
    bands = [{"name": b.lower(), f"{prefix}solar_illumination": irradiances[i]} for b, i in NUMBER.items()]
    described = {}
    for spectrum in product.iterfind(".//Spectral_Information"):
        band = list(PIXEL)[int(spectrum.get("bandId"))]
        response = {
            "spectral_response_step": float(spectrum.findtext(".//STEP")) if cpm else spectrum.findtext(".//STEP"),
            "spectral_response_values": spectrum.findtext(".//VALUES"),
            "wavelength_min": float(spectrum.findtext(".//MIN")),
        }
        if cpm:
            described[band[1:]] = response
        else:  # some of it by one name and some by the other
            described |= {band[1:]: {"bandwidth": "20.0"}, band.lower(): response}
    name, baseline = text(".//PRODUCT_URI"), text(".//PROCESSING_BASELINE")
    datatake = product.find(".//Datatake")
    zone = text(".//SPACECRAFT_NAME").lower()
    corners = np.array(text(".//EXT_POS_LIST").split(), "f8").reshape(-1, 2)[:, ::-1]
    properties = {
        "platform": zone,
        "bands": bands,
        "product:type": "S02MSIL1C",
        "sat:absolute_orbit": int(datatake.get("datatakeIdentifier").split("_")[2]),
        "sat:relative_orbit": int(text(".//SENSING_ORBIT_NUMBER")),
        "sat:orbit_state": text(".//SENSING_ORBIT_DIRECTION").lower(),
        "eo:cloud_cover": 0.0,
    }
    times = {
        "start_datetime": text(".//PRODUCT_START_TIME"),
        "end_datetime": text(".//PRODUCT_STOP_TIME"),
        "created": text(".//GENERATION_TIME"),
    }
    epsg = tile.findtext(".//HORIZONTAL_CS_CODE")
    other = {
        "mean_sensing_time": tile.findtext(".//SENSING_TIME"),
        "horizontal_CRS_code": epsg,
        _FACTOR: float(text(".//U")),
        "band_description": described,
    }
    if cpm:
        properties |= times | {
            "processing:version": baseline,
            "eopf:datatake_id": datatake.get("datatakeIdentifier"),
            "eopf:datastrip_id": tile.findtext(".//DATASTRIP_ID"),
            "proj:code": epsg,
        }
        other = {key.lower().replace("-", "_"): value for key, value in other.items()}
        other["utm_zone_identification"] = "UTM zone 31N"
        history = {"Level-1C Product": [{"outputs": [name]}]}
        identifier = "S02MSIL1C_20240120T105341_0000_A051_T35A"
        root = {"processing_history": history}
    else:
        properties |= {key: value.replace("Z", "+00:00") for key, value in times.items()}
        properties |= {
            "datetime": "null",
            "eopf:baseline": baseline,
            "eopf:data_take_id": datatake.get("datatakeIdentifier"),
            "proj:epsg": int(epsg.removeprefix("EPSG:")),
        }
        other["UTM_zone_identification"] = tile.findtext(".//TILE_ID")
        identifier, root = name, {}
    geometry = {"type": "Polygon", "coordinates": [corners.tolist()]}
    item = {"type": "Feature", "id": identifier, "geometry": geometry, "properties": properties}
    return {"stac_discovery": item, "other_metadata": other, **root}
