"""STAC 1.1: the item of a product, and the collection and catalog of a folder of products."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from steps import __version__
from steps.core.rasters import Grid
from steps.l2a.assets import (
    ASSETS,
    FLAT,
    NBAR,
    PROBABILITY,
    QA,
    TRUE_COLOUR,
    Asset,
    Flag,
)
from steps.sentinel2.kinds import BOA, CLASSIFICATION, UNCERTAINTY
from steps.sentinel2.names import BASELINE, l2a_name
from steps.sentinel2.satellites import platform, satellite
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUDS, SCL_CLASSES, SCL_COLOURS

# What is in `bands` is all that STAC 1.1 asks for. The same of versions 1.1 of eo and raster, `eo:bands` and
# `raster:bands`, is there as well, as in Earth Search's items: versions 2 forbid these fields, where odc-stac 0.5 looks
# for common names and stackstac 0.5 for scale and offset.
_EXTENSIONS = (
    "eo/v1.1.0",
    "raster/v1.1.0",
    "projection/v2.0.0",
    "file/v2.1.0",
    "classification/v2.0.0",
    "view/v1.0.0",
    "sat/v1.0.0",
    "grid/v1.1.0",
    "mgrs/v1.0.0",
    "sentinel-2/v1.0.0",
    "processing/v1.2.0",
)
_COLLECTION_EXTENSIONS = ("eo/v1.1.0", "raster/v1.1.0", "projection/v2.0.0", "classification/v2.0.0")
#: Identifier of the collection, and the files of collection and catalog in the folder of all products.
COLLECTION = "sentinel-2-l2a-sen2flow"
COLLECTION_FILE = "collection.json"
CATALOG_FILE = "catalog.json"
#: Where in that folder a product has its item.
ITEM_PATTERN = "*/cog/item.json"
_LICENCE = {
    "rel": "license",
    "href": "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
    "title": "Legal notice on the use of Copernicus Sentinel data",
}
_PROVIDERS = [
    {"name": "ESA", "roles": ["producer", "licensor"], "url": "https://sentinel.esa.int"},
    {"name": "Sen2Flow", "roles": ["processor"]},
]
#: Fields of an asset that belong to its product alone, not to the collection.
_OF_THE_PRODUCT = ("href", "proj:shape", "proj:transform", "file:checksum", "file:size")
#: Code of SHA-256 and its length in bytes, before the digest in a multihash.
_SHA256 = "1220"


def item(
    scene: Scene,
    report: Mapping[str, Any],
    assets: Mapping[str, Asset],
    files: Mapping[str, tuple[int, str]],
    extent: tuple[dict, list[float]],
    view: tuple[float, float] | None = None,
    url: str = "",
) -> dict:
    """Return the item of a product.

    Parameters
    ----------
    scene
        The scene.
    report
        The quality report: the fields of a `steps.sentinel2.reports.QualityReport`, or some of them.
    assets
        The COGs by key.
    files
        Size in bytes and SHA-256 (hexadecimal) of each file by its key: the assets, and the thumbnail if there is one.
    extent
        Footprint of the valid pixels and its bounding box, as of `steps.sentinel2.footprint.footprint`.
    view
        Mean zenith and azimuth of the view, degrees.
    url
        Of the folder of all products, for absolute links; "" for relative ones.
    """
    import pystac

    name = l2a_name(scene.product)
    top, here = (f"{url.rstrip('/')}", f"{url.rstrip('/')}/{name}/cog") if url else ("../..", ".")
    result = pystac.Item(
        id=name,
        geometry=extent[0],
        bbox=extent[1],
        datetime=datetime.fromisoformat(scene.sensing_time),
        properties=_properties(scene, report, view),
        stac_extensions=_urls(_EXTENSIONS),
        collection=COLLECTION,
    ).to_dict(include_self_link=False, transform_hrefs=False)
    # No link to the root: pystac would follow it where the product has been copied from its folder.
    result["links"] = [_link(rel, f"{top}/{COLLECTION_FILE}") for rel in ("parent", "collection")] + [_LICENCE]
    if url:
        result["links"].append(_link("self", f"{here}/item.json", "application/geo+json"))
    result["assets"] = {
        key: {
            "href": f"{here}/{key}.tif",
            "title": asset.title,
            "type": pystac.MediaType.COG.value,
            **_fields(asset, scene),
            **_file(*files[key]),
        }
        for key, asset in assets.items()
    }
    if "thumbnail" in files:
        result["assets"]["thumbnail"] = {
            "href": f"{here}/thumbnail.jpg",
            "title": "Thumbnail",
            "type": pystac.MediaType.JPEG.value,
            "roles": ["thumbnail"],
            **_file(*files["thumbnail"]),
        }
    return result


def _urls(extensions: Iterable[str]) -> list[str]:
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in extensions]


def _link(rel: str, href: str, media: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media}


def _file(size: int, digest: str) -> dict:
    return {"file:size": size, "file:checksum": f"{_SHA256}{digest}"}


def _properties(scene: Scene, report: Mapping[str, Any], view: tuple[float, float] | None) -> dict:
    name, grid = l2a_name(scene.product), scene.grid
    zone, band, square = scene.tile[1:3], scene.tile[3], scene.tile[4:]
    right, bottom = grid.left + grid.width * grid.resolution, grid.top - grid.height * grid.resolution
    designator = satellite(scene.satellite).designator
    own = (
        *("aot_method", "mean_aot550", "aerosol_model", "water_vapour_method", "mean_water_vapour"),
        *("ozone_source", "ozone_dobson", "dem_source", "terrain_corrected", "negative_percentage", "defaults"),
    )
    return {
        "platform": platform(scene.satellite),
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "license": "other",
        "providers": _PROVIDERS,
        "attribution": f"Contains modified Copernicus Sentinel data {scene.sensing_time[:4]}",
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:bbox": [grid.left, bottom, right, grid.top],
        "proj:centroid": _centroid(grid),
        "view:sun_azimuth": scene.sun_azimuth,
        "view:sun_elevation": round(90 - scene.sun_zenith, 6),
        **({"view:incidence_angle": round(view[0], 6), "view:azimuth": round(view[1], 6)} if view else {}),
        "sat:relative_orbit": int(name.split("_")[4][1:]),
        **({"sat:platform_international_designator": designator} if designator else {}),
        "grid:code": f"MGRS-{int(zone)}{band}{square}",
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "s2:product_uri": f"{name}.SAFE",
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": BASELINE,
        "s2:reflectance_conversion_factor": scene.earth_sun,
        **(_class_properties(report) if "class_percentages" in report else {}),
        "processing:level": "L2A",
        "processing:software": {"Sen2Flow": __version__},
        "processing:version": __version__,
        "processing:lineage": f"Surface reflectance from the Level-1C product {scene.product}",
        **{f"sen2flow:{key}": report[key] for key in own if key in report},
    }


def _centroid(grid: Grid) -> dict[str, float]:
    from rasterio.warp import transform

    half = grid.resolution / 2
    x, y = grid.left + grid.width * half, grid.top - grid.height * half
    (longitude,), (latitude,) = transform(f"EPSG:{grid.epsg}", "EPSG:4326", [x], [y])
    return {"lat": round(latitude, 6), "lon": round(longitude, 6)}


def _class_properties(report: Mapping[str, Any]) -> dict:
    share = {key: round(value, 6) for key, value in report["class_percentages"].items()}
    classes = {
        f"s2:{key.lower()}_percentage": share[key]
        for key in SCL_CLASSES.values()
        if key not in ("NODATA", "SATURATED_DEFECTIVE")
    }
    return {
        "eo:cloud_cover": min(100, round(sum(share[SCL_CLASSES[code]] for code in CLOUDS), 6)),
        "eo:snow_cover": share["SNOW_ICE"],
        "s2:nodata_pixel_percentage": round(report["nodata_percentage"], 6),
        "s2:saturated_defective_pixel_percentage": share["SATURATED_DEFECTIVE"],
        **classes,
    }


def _fields(asset: Asset, scene: Scene) -> dict:
    """Return roles and further fields of an asset."""
    grid: Grid = scene.grid.at(asset.resolution)
    stored = {"data_type": asset.kind.dtype, "nodata": asset.kind.nodata}
    if asset.unit:
        stored["unit"] = asset.unit
    number = {"scale": asset.kind.scale, "offset": asset.kind.offset, "spatial_resolution": asset.resolution}
    spectral = asset.kind in (BOA, UNCERTAINTY, NBAR, FLAT, TRUE_COLOUR)
    optics = [_optics(band, scene) if spectral else {} for band in asset.bands]
    fields: dict[str, Any] = {
        "roles": _roles(asset),
        "gsd": asset.resolution,
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform)[:6],
        "bands": [
            {"name": band, **stored}
            | {f"raster:{key}": value for key, value in number.items()}
            | {f"eo:{key}": value for key, value in spectral.items()}
            for band, spectral in zip(asset.bands, optics, strict=True)
        ],
        "raster:bands": [stored | number] * len(asset.bands),
    }
    if spectral:
        fields["eo:bands"] = [{"name": band, **spectral} for band, spectral in zip(asset.bands, optics, strict=True)]
    if asset.kind == CLASSIFICATION:
        fields["classification:classes"] = [
            {"value": value, "name": name.lower(), "color_hint": "{:02x}{:02x}{:02x}".format(*SCL_COLOURS[value])}
            for value, name in SCL_CLASSES.items()
        ]
    if asset.kind == QA:
        fields["classification:bitfields"] = [_bitfield(flag) for flag in Flag]
    return fields


def _roles(asset: Asset) -> list[str]:
    if asset.kind == PROBABILITY:
        return ["data", {"CLD": "cloud", "SNW": "snow-ice"}[asset.bands[0]]]
    reflectance = ["data", "reflectance"]
    roles = {
        BOA: reflectance,
        NBAR: reflectance,
        FLAT: reflectance,
        UNCERTAINTY: ["data", "uncertainty"],
        TRUE_COLOUR: ["visual"],
    }
    return roles.get(asset.kind, ["data"])


def _bitfield(flag: Flag) -> dict:
    name = str(flag.name).lower()
    classes = [{"value": value, "name": f"{prefix}{name}"} for value, prefix in ((0, "no_"), (1, ""))]
    return {"name": name, "offset": flag.bit_length() - 1, "length": 1, "classes": classes}


def _optics(band: str, scene: Scene) -> dict:
    common = next(asset.common_name for asset in ASSETS.values() if asset.kind == BOA and asset.bands == (band,))
    centre, width = scene.bands[band].response.centre_and_width
    return {"common_name": common, "center_wavelength": centre, "full_width_half_max": width}


def collection(items: Mapping[str, Mapping[str, Any]], url: str = "") -> dict:
    """Return the collection of some items.

    Parameters
    ----------
    items
        By the path from the folder of the collection; at least one.
    url
        Of that folder, for absolute links; "" for relative ones.
    """
    top = url.rstrip("/") if url else "."
    found = list(items.values())
    times = sorted(one["properties"]["datetime"] for one in found)
    boxes = [one["bbox"] for one in found]
    # A box across the meridian of 180 degrees has west > east; their union is all around.
    crosses = any(west > east for west, _, east, _ in boxes)
    west, east = (-180.0, 180.0) if crosses else (min(box[0] for box in boxes), max(box[2] for box in boxes))
    described: dict[str, dict] = {}
    for one in found:
        for key, asset in one["assets"].items():
            fields = {name: value for name, value in asset.items() if name not in _OF_THE_PRODUCT}
            described.setdefault(key, fields)
    links = [_link("root", f"{top}/{CATALOG_FILE}"), _link("parent", f"{top}/{CATALOG_FILE}"), _LICENCE]
    links += [_link("item", f"{top}/{path}", "application/geo+json") for path in items]
    if url:
        links.append(_link("self", f"{top}/{COLLECTION_FILE}"))
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": _urls(_COLLECTION_EXTENSIONS),
        "id": COLLECTION,
        "title": "Sentinel-2 Level-2A by Sen2Flow",
        "description": "Surface reflectance, scene classification, aerosol and water vapour from Sentinel-2 Level-1C.",
        "keywords": ["Sentinel-2", "Level-2A", "surface reflectance", "analysis ready"],
        "license": "other",
        "providers": _PROVIDERS,
        "extent": {
            "spatial": {"bbox": [[west, min(box[1] for box in boxes), east, max(box[3] for box in boxes)]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "summaries": _summaries([one["properties"] for one in found]),
        "item_assets": described,
        "links": links,
    }


def _summaries(properties: list[Mapping[str, Any]]) -> dict:
    def values(key: str) -> list:
        return sorted({one[key] for one in properties if key in one})

    covers = values("eo:cloud_cover")
    return {
        "platform": values("platform"),
        "constellation": values("constellation"),
        "instruments": ["msi"],
        "gsd": [10, 20, 60],
        "proj:code": values("proj:code"),
        "grid:code": values("grid:code"),
        **({"eo:cloud_cover": {"minimum": math.floor(covers[0]), "maximum": math.ceil(covers[-1])}} if covers else {}),
    }


def catalog(url: str = "") -> dict:
    """Return the catalog above the collection; `url` as there."""
    top = url.rstrip("/") if url else "."
    links = [_link("root", f"{top}/{CATALOG_FILE}"), _link("child", f"{top}/{COLLECTION_FILE}")]
    if url:
        links.append(_link("self", f"{top}/{CATALOG_FILE}"))
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "sen2flow",
        "title": "Products of Sen2Flow",
        "description": "Sentinel-2 products that Sen2Flow made.",
        "links": links,
    }


def items_in(folder: Path) -> dict[str, dict]:
    """Return the items of all products in a folder, by their path from there, in the order of their names."""
    found = {}
    for path in sorted(folder.glob(ITEM_PATTERN)):
        # Another run may just be replacing it, and will make the catalog again.
        try:
            found[path.relative_to(folder).as_posix()] = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
    return found
