"""Stage: the JPEG 2000 images."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from steps.core.checksums import seal_folder
from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.parallel import write_files
from steps.core.rasters import Grid, Kind, grid_of, read, row_blocks
from steps.l2a import jp2 as jp2_writer
from steps.l2a.maps import from_20m
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, WVP
from steps.sentinel2.names import image_prefix, probability_masks
from steps.sentinel2.scene import Scene
from steps.sentinel2.true_colour import RGB, block_mean, true_colour

#: Pixels of 10 m along a side of a pixel of the preview image (320 m).
_PREVIEW = 32


def run(
    boa: list[Path],
    aot: Path,
    wvp: Path,
    classification: list[Path],
    metadata: Path,
    images: Path,
    jpeg2000: jp2_writer.Part = "part1",
    threads: int = 1,
) -> None:
    """Write the JPEG 2000 images: bands, TCI, AOT, WVP, SCL, probabilities and the preview.

    Parameters
    ----------
    boa
        Surface reflectance, a raster for each pixel size.
    aot, wvp
        Aerosol optical thickness and water vapour at 20 m (nearest pixel at 10 m, mean of 3 x 3 at 60 m).
    classification
        At 20 m and at 60 m.
    metadata
        The scene.
    images
        Folder that is made, with files of their final names: T31TCJ_20240120T105341_B02_10m.jp2 ...
    jpeg2000
        How the images are encoded, see `steps.l2a.jp2`.
    threads
        High-throughput images that are written side by side, by processes; part 1 has threads within an image.

    Raises
    ------
    StepError
        If rasters do not fit, an image cannot be written, or the encoder is not installed.
    """
    if jpeg2000 == "high_throughput":
        jp2_writer.ht_encoder()
    prefix = image_prefix(Scene.read(metadata).product)
    classes = dict(zip((20, 60), classification, strict=True))
    with atomic(images) as folder:
        folder.mkdir()
        tasks = [task for path in boa for task in _images(folder, prefix, path, aot, wvp, classes)]
        side_by_side = threads if jpeg2000 == "high_throughput" else 1
        write_files(images, partial(_write, jpeg2000), tasks, side_by_side)
        seal_folder(folder, images)


def _write(part: jp2_writer.Part, write: Callable, *arguments) -> None:
    write(partial(jp2_writer.create, part=part), *arguments)


def _images(folder: Path, prefix: str, boa: Path, aot: Path, wvp: Path, classes: dict[int, Path]) -> Iterator[tuple]:
    """Yield function and arguments that write each image of one pixel size."""
    grid = grid_of(boa, BOA)
    resolution = round(grid.resolution)

    def file(layer: str) -> Path:
        return folder / f"{prefix}_{layer}_{resolution}m.jp2"

    _check_grids(grid, boa, {aot: (AOT, 20), wvp: (WVP, 20)})
    yield _write_colour, file("TCI"), grid, boa, folder / f"{prefix}_PVI.jp2" if resolution == 10 else None
    for band in OUTPUT_BANDS[resolution]:
        yield _write_band, file(band), grid, boa, band
    yield _write_map, file("AOT"), grid, aot, AOT
    yield _write_map, file("WVP"), grid, wvp, WVP
    if resolution in classes:
        classification = classes[resolution]
        _check_grids(grid, boa, {classification: (CLASSIFICATION, resolution)})
        files = [file("SCL"), *(folder / name for name in probability_masks(resolution))]
        for path, band in zip(files, ("SCL", "CLD", "SNW"), strict=True):
            yield _write_class, path, grid, classification, band


def _check_grids(grid: Grid, boa: Path, others: dict[Path, tuple[Kind, int]]) -> None:
    for path, (kind, size) in others.items():
        if grid_of(path, kind) != grid.at(size):
            raise StepError(f"{path}: its pixels do not fit those of {boa}; run their stages again")


def _write_band(create: Callable, path: Path, grid: Grid, boa: Path, band: str) -> None:
    with create(path, grid) as image:
        for rows in row_blocks(grid.height):
            image.write(np.minimum(read(boa, BOA, band, rows), jp2_writer.LARGEST), rows.start)


def _write_class(create: Callable, path: Path, grid: Grid, classification: Path, band: str) -> None:
    with create(path, grid, dtype="uint8") as image:
        for rows in row_blocks(grid.height):
            image.write(read(classification, CLASSIFICATION, band, rows), rows.start)


def _write_map(create: Callable, path: Path, grid: Grid, source: Path, kind: Kind) -> None:
    """Write AOT or WVP, of which there is a raster of 20 m, at the resolution of `grid`."""
    with create(path, grid) as image:
        for rows in row_blocks(grid.height):
            image.write(np.minimum(from_20m(source, kind, grid, rows), jp2_writer.LARGEST), rows.start)


def _write_colour(create: Callable, path: Path, grid: Grid, boa: Path, preview: Path | None) -> None:
    """Write the true-colour image and, at 10 m, the preview image."""
    small = np.empty((3, grid.height // _PREVIEW, grid.width // _PREVIEW), "u2")
    with create(path, grid, count=3, dtype="uint8") as image:
        for band, rows, stored in _colour_rows(grid, boa):
            image.write(true_colour(stored), rows.start, band + 1)
            if preview:
                means = block_mean(stored, _PREVIEW)
                small[band, rows.start // _PREVIEW :][: len(means)] = means
    if preview:
        coarse = Grid(grid.epsg, grid.left, grid.top, grid.resolution * _PREVIEW, small.shape[2], small.shape[1])
        with create(preview, coarse, count=3, dtype="uint8") as image:
            for band, pixels in enumerate(true_colour(small)):
                image.write(pixels, 0, band + 1)


def _colour_rows(grid: Grid, boa: Path) -> Iterator[tuple[int, slice, np.ndarray]]:
    for rows in row_blocks(grid.height):
        for index, band in enumerate(RGB):
            yield index, rows, read(boa, BOA, band, rows)


if __name__ == "__main__":
    cli(run)
