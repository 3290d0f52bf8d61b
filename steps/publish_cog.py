"""Stage: the final folder of cloud-optimised GeoTIFFs, with its STAC item."""

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from steps import __version__
from steps.core.checksums import check_folder
from steps.core.cli import cli
from steps.core.documents import atomic, read_json, write_json
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l2a.assets import (
    ASSETS,
    FLAT,
    NBAR,
    QA,
    TRUE_COLOUR,
    UNCERTAINTIES,
    Asset,
    Flag,
    Layer,
    Product,
    chosen_assets,
)
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.footprint import footprint
from steps.sentinel2.kinds import BOA, CLASSIFICATION, UNCERTAINTY
from steps.sentinel2.names import BASELINE, l2a_name
from steps.sentinel2.satellites import platform
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUDS, SCL_CLASSES, SCL_COLOURS

# Versions that today's readers (pystac, odc-stac, stackstac) know: they look for scale and offset in `raster:bands`.
_EXTENSIONS = (
    "eo/v1.1.0",
    "raster/v1.1.0",
    "projection/v2.0.0",
    "classification/v2.0.0",
    "view/v1.0.0",
    "sat/v1.0.0",
    "grid/v1.1.0",
    "mgrs/v1.0.0",
    "sentinel-2/v1.0.0",
    "processing/v1.2.0",
)
_LICENCE = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
_THUMBNAIL_SIZE = 343


def run(
    metadata: Path,
    quality: Path,
    cogs: Path,
    folder: Path,
    products: list[Product] | None = None,
    resolutions: list[int] | None = None,
    layers: list[Layer] | None = None,
) -> None:
    """Put the COGs in their final folder, and add a thumbnail and a STAC item.

    The folder holds one `<asset key>.tif` for each asset (red.tif, scl.tif ...; keys of Earth Search's collection
    sentinel-2-c1-l2a), thumbnail.jpg and item.json, which refers to them by relative paths.

    Parameters
    ----------
    metadata
        The scene.
    quality
        The quality report, JSON: a `steps.sentinel2.reports.QualityReport`, or some of its fields.
    cogs
        Folder of COGs, which are hard-linked where the file system can.
    folder
        Folder that is made.
    products, resolutions, layers
        What the COGs are of, see `steps.l2a.assets.chosen_assets`; all products and pixel sizes unless given.
    """
    scene, report = Scene.read(metadata), read_json(quality)
    check_folder(cogs)
    with atomic(folder) as part:
        part.mkdir()
        for file in sorted(cogs.glob("*.tif")):
            _link(file, part / file.name)
        # Layers of uncertainty are there for all of the bands or for none.
        uncertainty = any((part / f"{key}.tif").exists() for key in UNCERTAINTIES)
        assets = chosen_assets(products or get_args(Product), resolutions or RESOLUTIONS, layers or (), uncertainty)
        for key in assets:
            if not (part / f"{key}.tif").exists():
                raise StepError(f"{key}.tif: is not in {cogs}; run write_cog again")
        try:
            if "visual" in assets:
                _write_thumbnail(part / "visual.tif", part / "thumbnail.jpg")
            # Classes say best where there are data, and any other layer nearly so.
            key = next(key for key in ("scl", "aot", *assets) if key in assets)
            with rasterio.open(part / f"{key}.tif") as file:
                valid = file.read(1) != file.nodata
        except RasterioError as error:
            raise StepError(f"{folder}: a COG cannot be read ({error}); run write_cog again") from error
        if not valid.any():
            raise StepError(f"{scene.product}: no pixel of it has data; leave it out")
        write_json(
            part / "item.json",
            _item(scene, report, assets, *footprint(valid, scene.grid.at(assets[key].resolution))),
            checksum=False,
        )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _write_thumbnail(visual: Path, thumbnail: Path) -> None:
    with rasterio.open(visual) as file:
        rows, columns = (round(n * min(1, _THUMBNAIL_SIZE / max(file.shape))) for n in file.shape)
        pixels = file.read(out_shape=(3, rows, columns), resampling=Resampling.average)
        transform = file.transform @ file.transform.scale(file.width / columns, file.height / rows)
    profile = {"driver": "JPEG", "width": columns, "height": rows, "count": 3, "dtype": "uint8", "quality": 90}
    # A JPEG holds no georeference: it is given for the sake of rasterio and must not go to a file beside.
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(thumbnail, "w", transform=transform, **profile) as file:
        file.write(pixels)


def _item(scene: Scene, report: Mapping[str, Any], assets: dict[str, Asset], geometry: dict, bbox: list[float]) -> dict:
    import pystac

    item = pystac.Item(
        id=l2a_name(scene.product),
        geometry=geometry,
        bbox=bbox,
        datetime=datetime.fromisoformat(scene.sensing_time),
        properties=_properties(scene, report),
        stac_extensions=[f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
    )
    item.add_link(pystac.Link("license", _LICENCE, title="Legal notice on the use of Copernicus Sentinel data"))
    for key, asset in assets.items():
        media, fields = pystac.MediaType.COG, _fields(asset, scene)
        item.add_asset(key, pystac.Asset(f"./{key}.tif", asset.title, media_type=media, **fields))
    if "visual" in assets:
        thumbnail = pystac.Asset("./thumbnail.jpg", "Thumbnail", media_type=pystac.MediaType.JPEG, roles=["thumbnail"])
        item.add_asset("thumbnail", thumbnail)
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _properties(scene: Scene, report: Mapping[str, Any]) -> dict:
    name = l2a_name(scene.product)
    zone, band, square = scene.tile[1:3], scene.tile[3], scene.tile[4:]
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
        "attribution": f"Contains modified Copernicus Sentinel data {scene.sensing_time[:4]}",
        "proj:code": f"EPSG:{scene.grid.epsg}",
        "view:sun_azimuth": scene.sun_azimuth,
        "view:sun_elevation": round(90 - scene.sun_zenith, 6),
        "sat:relative_orbit": int(name.split("_")[4][1:]),
        "grid:code": f"MGRS-{int(zone)}{band}{square}",
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "s2:product_uri": f"{name}.SAFE",
        "s2:processing_baseline": BASELINE,
        "s2:reflectance_conversion_factor": scene.earth_sun,
        **(_class_properties(report) if "class_percentages" in report else {}),
        "processing:level": "L2A",
        "processing:software": {"Sen2Flow": __version__},
        "processing:lineage": f"Surface reflectance from the Level-1C product {scene.product}",
        **{f"sen2flow:{key}": report[key] for key in own if key in report},
    }


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
    number = {
        "data_type": asset.kind.dtype,
        "nodata": asset.kind.nodata,
        "scale": asset.kind.scale,
        "offset": asset.kind.offset,
        "spatial_resolution": asset.resolution,
    }
    if asset.unit:
        number["unit"] = asset.unit
    extra = {
        "gsd": asset.resolution,
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform)[:6],
        "raster:bands": [number] * len(asset.bands),
    }
    if asset.kind in (BOA, UNCERTAINTY, NBAR, FLAT, TRUE_COLOUR):
        extra["eo:bands"] = [_band(band, scene) for band in asset.bands]
    if asset.kind == CLASSIFICATION:
        extra["classification:classes"] = [
            {"value": value, "name": name.lower(), "color_hint": "{:02x}{:02x}{:02x}".format(*SCL_COLOURS[value])}
            for value, name in SCL_CLASSES.items()
        ]
    if asset.kind == QA:
        extra["classification:bitfields"] = [_bitfield(flag) for flag in Flag]
    reflectance = ["data", "reflectance"]
    roles = {
        BOA: reflectance,
        NBAR: reflectance,
        FLAT: reflectance,
        UNCERTAINTY: ["data", "uncertainty"],
        TRUE_COLOUR: ["visual"],
    }
    return {"roles": roles.get(asset.kind, ["data"]), "extra_fields": extra}


def _bitfield(flag: Flag) -> dict:
    name = str(flag.name).lower()
    classes = [{"value": value, "name": f"{prefix}{name}"} for value, prefix in ((0, "no_"), (1, ""))]
    return {"name": name, "offset": flag.bit_length() - 1, "length": 1, "classes": classes}


def _band(band: str, scene: Scene) -> dict:
    common = next(asset.common_name for asset in ASSETS.values() if asset.kind == BOA and asset.bands == (band,))
    centre, width = scene.bands[band].response.centre_and_width
    return {"name": band, "common_name": common, "center_wavelength": centre, "full_width_half_max": width}


if __name__ == "__main__":
    cli(run)
