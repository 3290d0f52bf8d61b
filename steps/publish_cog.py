"""Stage: the final folder of cloud-optimised GeoTIFFs, with its STAC item."""

import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from steps.core.checksums import check_folder
from steps.core.cli import cli
from steps.core.documents import atomic, link, read_json, write_json
from steps.core.errors import StepError
from steps.core.rasters import bands_of, values
from steps.l2a import stac
from steps.l2a.assets import UNCERTAINTIES, Layer, Product, chosen_assets
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.footprint import footprint
from steps.sentinel2.kinds import ANGLES
from steps.sentinel2.scene import Scene

#: Side of the thumbnail, pixels: a 32nd of that of a tile.
_THUMBNAIL_SIZE = 343


def run(
    metadata: Path,
    quality: Path,
    cogs: Path,
    folder: Path,
    angles: Path | None = None,
    products: list[Product] | None = None,
    resolutions: list[int] | None = None,
    layers: list[Layer] | None = None,
    url: str = "",
) -> None:
    """Put the COGs in their final folder, and add a thumbnail and a STAC item.

    The folder holds one `<asset key>.tif` for each asset (red.tif, scl.tif ...; keys of Earth Search's collection
    sentinel-2-c1-l2a), thumbnail.jpg and item.json, which refers to them by paths from there, or
    below `url`.

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
    angles
        Of sun and view, for the mean direction of the view in the item.
    products, resolutions, layers
        What the COGs are of, see `steps.l2a.assets.chosen_assets`; all products and pixel sizes unless given.
    url
        Where the folder of all products will be found, for absolute links; relative ones unless given.
    """
    scene, report = Scene.read(metadata), read_json(quality)
    check_folder(cogs)
    with atomic(folder) as part:
        part.mkdir()
        for file in sorted(cogs.glob("*.tif")):
            link(file, part / file.name)
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
        files = {path.stem: _size_and_digest(path) for path in (*part.glob("*.tif"), *part.glob("thumbnail.jpg"))}
        extent = footprint(valid, scene.grid.at(assets[key].resolution))
        view = _mean_view(angles) if angles else None
        write_json(part / "item.json", stac.item(scene, report, assets, files, extent, view, url), checksum=False)


def _size_and_digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as stream:
        return path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()


def _mean_view(angles: Path) -> tuple[float, float]:
    """Return the mean zenith and azimuth of the view over all bands of the tile, degrees."""
    bands = bands_of(angles, ANGLES)
    zenith, azimuth = (
        np.concatenate([values(angles, ANGLES, band).ravel() for band in bands if band.startswith(f"view_{angle}_")])
        for angle in ("zenith", "azimuth")
    )
    direction = np.radians(azimuth)
    mean = np.degrees(np.arctan2(np.nanmean(np.sin(direction)), np.nanmean(np.cos(direction)))) % 360
    return float(np.nanmean(zenith)), float(mean)


def _write_thumbnail(visual: Path, thumbnail: Path) -> None:
    with rasterio.open(visual) as file:
        rows, columns = (round(n * min(1, _THUMBNAIL_SIZE / max(file.shape))) for n in file.shape)
        pixels = file.read(out_shape=(3, rows, columns), resampling=Resampling.average)
        transform = file.transform @ file.transform.scale(file.width / columns, file.height / rows)
    profile = {"driver": "JPEG", "width": columns, "height": rows, "count": 3, "dtype": "uint8", "quality": 90}
    # A JPEG holds no georeference: it is given for the sake of rasterio and must not go to a file beside.
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(thumbnail, "w", transform=transform, **profile) as file:
        file.write(pixels)


if __name__ == "__main__":
    cli(run)
