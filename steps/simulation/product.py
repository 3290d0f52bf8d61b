"""The folders of a simulated scene: the L1C product, and the truth beside it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio

from steps.core.rasters import Grid
from steps.l1c.masks import QUALITY_LAYERS
from steps.l2a import jp2
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.geometry import Swath
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO
from steps.sentinel2.true_colour import RGB, block_mean, true_colour
from steps.simulation import l1c_tile_xml
from steps.simulation import l1c_xml as xml
from steps.simulation.acquisition import Acquisition

#: Pixels of 10 m along a side of a pixel of the preview image.
_PREVIEW = 30
#: Layer of MSK_QUALIT: source packets lost.
_LOST = 2
#: The greatest number of an image of 15 bits.
_LARGEST = 32767


def digital_numbers(reflectance: np.ndarray) -> np.ndarray:
    """Return the numbers (uint16) of reflectances in a product of baseline 04.00 or later."""
    numbers = np.rint(reflectance * REFLECTANCE_ONE) + REFLECTANCE_ZERO
    return np.clip(numbers, 1, _LARGEST).astype("u2")


def write_safe(
    folder: Path,
    scene: Acquisition,
    grid: Grid,
    numbers: Mapping[str, np.ndarray],
    detectors: Mapping[str, np.ndarray],
    lost: Mapping[str, np.ndarray],
    auxiliary: Mapping[str, bytes],
    swath: Swath,
    sun: tuple[float, float],
) -> None:
    """Write the L1C product.

    Parameters
    ----------
    folder
        Where to; it becomes the SAFE folder.
    scene, grid
        What it is of; pixels of 10 m.
    numbers, detectors
        Band to its digital numbers, and to the number of the detector of each pixel.
    lost
        Band to 1 where its pixels are lost, of the bands that have such.
    auxiliary
        Name of a file of auxiliary data to its content.
    swath, sun
        Where satellite and sun stand, zenith and azimuth in degrees.
    """
    granule = folder / "GRANULE" / scene.granule
    for name in ("IMG_DATA", "QI_DATA", "AUX_DATA"):
        (granule / name).mkdir(parents=True)
    for band, values in numbers.items():
        _write_image(folder / f"{scene.image_path(band)}.jp2", grid.at(PIXEL_SIZE[band]), [values])
    colours = [true_colour(numbers[band]) for band in RGB]
    _write_image(folder / f"{scene.image_path('TCI')}.jp2", grid, colours)
    small = [true_colour(block_mean(numbers[band], _PREVIEW)) for band in RGB]
    side = grid.resolution * _PREVIEW
    preview = Grid(grid.epsg, grid.left, grid.top, side, small[0].shape[1], small[0].shape[0])
    _write_image(folder / f"{scene.preview_path}.jp2", preview, small)
    for band in BANDS:
        own = grid.at(PIXEL_SIZE[band])
        bad = [(_LOST, lost[band])] if band in lost else []
        layers = {"DETFOO": (1, [(0, detectors[band])]), "QUALIT": (QUALITY_LAYERS, bad)}
        for kind, path in scene.masks:
            jp2.write_mask(folder / path.format(band), own, *layers[kind])
    jp2.write_mask(folder / scene.cloud_mask[1], grid.at(60), 3, [])
    for name, content in auxiliary.items():
        (granule / "AUX_DATA" / name).write_bytes(content)
    uri = f"{scene.product}.SAFE"
    documents = {
        "MTD_MSIL1C.xml": xml.product_metadata(scene, grid, uri),
        f"GRANULE/{scene.granule}/MTD_TL.xml": l1c_tile_xml.tile_metadata(scene, grid, swath, sun),
        f"DATASTRIP/{scene.datastrip}/MTD_DS.xml": xml.datastrip_metadata(scene),
        "INSPIRE.xml": xml.inspire(scene, grid, uri),
    }
    for name, document in documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(xml.serialise(document))
    (folder / "manifest.safe").write_bytes(xml.serialise(xml.manifest(scene, folder, grid)))


def _write_image(path: Path, grid: Grid, layers: list[np.ndarray]) -> None:
    with jp2.create(path, grid, len(layers), str(layers[0].dtype)) as image:
        for number, values in enumerate(layers, start=1):
            image.write(values, 0, number)


def write_truth(path: Path, grid: Grid, values: np.ndarray, description: str) -> None:
    """Write one layer of the truth, of the shape of its grid and in the unit of its description, as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "dtype": values.dtype}
    profile |= {"crs": f"EPSG:{grid.epsg}", "transform": grid.transform, "compress": "zstd", "tiled": True}
    if values.dtype.kind == "f":
        profile["predictor"] = 3
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(values, 1)
        raster.set_band_description(1, description)


def read_truth(path: Path) -> np.ndarray:
    """Read one layer of the truth, shape (rows, columns), in the unit of its description."""
    with rasterio.open(path) as raster:
        return raster.read(1)
