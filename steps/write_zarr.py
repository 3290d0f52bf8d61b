"""Stage: the L2A product as an EOPF Zarr."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from steps.core.cli import cli
from steps.core.documents import atomic, read_document
from steps.core.errors import StepError
from steps.core.parallel import workers
from steps.core.rasters import Grid, Kind, check_space, grid_of, read, row_blocks
from steps.l1c.documents import Xml
from steps.l1c.formats import open_product
from steps.l1c.grib import Message
from steps.l1c.masks import MASK_LAYERS
from steps.l1c.metadata import granule_of, masks_of
from steps.l1c.protocol import Product
from steps.l2a import eopf
from steps.l2a.documents import Sources, read_sources
from steps.l2a.eopf_angles import write_angles
from steps.l2a.eopf_attributes import attributes
from steps.l2a.maps import from_20m
from steps.l2a.masks import Layers, Masks, present_masks
from steps.sentinel2.bands import BANDS, OUTPUT_BANDS, PIXEL_SIZE
from steps.sentinel2.footprint import footprint
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, WVP
from steps.sentinel2.meteorology import FIELDS, GROUPS, group_path
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.scene import Scene

#: Reads rows of an image.
Reader = Callable[[slice], np.ndarray]


def run(
    l1c: Path,
    boa: list[Path],
    aot: Path,
    wvp: Path,
    classification: list[Path],
    metadata: Path,
    quality: Path,
    folder: Path,
    threads: int = 1,
) -> None:
    """Write the L2A product as an EOPF Zarr (format 2, layout and names of EOPF-CPM 2.8).

    It has what the SAFE has, but for true-colour images, reports on the quality of the L1C product and uncertainty, for
    which EOPF's model has no place. Each image is read once and written chunk by chunk.

    Parameters
    ----------
    l1c
        The L1C product, in any form that is read: its masks, angles and meteorology.
    boa
        Surface reflectance, a raster for each pixel size.
    aot, wvp
        Aerosol optical thickness and water vapour at 20 m (nearest pixel at 10 m, mean of 3 x 3 at 60 m).
    classification
        At 20 m and at 60 m.
    metadata
        The scene.
    quality
        The quality report, JSON: a `steps.sentinel2.reports.QualityReport`.
    folder
        Folder that is made.
    threads
        Pieces of images that are read and encoded side by side.

    Raises
    ------
    StepError
        If rasters do not fit, something of the L1C product cannot be read, or the disk is full.
    """
    scene, report, source = Scene.read(metadata), read_document(quality, QualityReport), open_product(l1c)
    sources = read_sources(source, str(granule_of(source)), scene)
    valid = read(classification[0], CLASSIFICATION, "SCL") != CLASSIFICATION.nodata
    if not valid.any():
        raise StepError(f"{scene.product}: no pixel of it has data; leave it out")
    check_space(folder, 20 * scene.part.width * scene.part.height)
    try:
        with atomic(folder) as part, workers("threads", threads) as run_all:
            writer = eopf.EopfWriter(part)
            images = _images(writer, scene, boa, aot, wvp, classification)
            for _ in run_all(partial(_copy, writer), [*_masks(writer, source, sources, scene), *images]):
                pass
            write_angles(writer, Xml(sources.tile, source.label("MTD_TL.xml")), scene)
            _write_meteorology(writer, source, sources, scene)
            outline = footprint(valid, scene.part.at(20))
            writer.close(attributes(sources.product, sources.identity, scene, report, *outline), scene.part)
    except OSError as error:
        check_space(folder, 20 * scene.part.width * scene.part.height)
        raise StepError(f"{folder}: cannot be written ({error}); check the output folder and its disk") from error


def _images(
    writer: eopf.EopfWriter, scene: Scene, boa: list[Path], aot: Path, wvp: Path, classification: list[Path]
) -> Iterator[tuple]:
    """Make the arrays of all images, and yield array, reader and rows of each row of chunks."""
    for path in boa:
        grid = _grid(path, BOA, scene)
        size = round(grid.resolution)
        for band in OUTPUT_BANDS[size]:
            array = writer.image(eopf.band_path(band, size), grid, **eopf.of_band(band, size))
            yield from _rows(array, partial(read, path, BOA, band), grid)
        for name, source, kind in (("aot", aot, AOT), ("wvp", wvp, WVP)):
            _grid(source, kind, scene)
            array = writer.image(eopf.map_path(name, size), grid, **eopf.of_map(name, size))
            yield from _rows(array, partial(from_20m, source, kind, grid), grid)
    for path in classification:
        grid = _grid(path, CLASSIFICATION, scene)
        size = round(grid.resolution)
        for name in ("SCL", "CLD", "SNW") if size == 20 else ("SCL",):
            array = writer.image(eopf.class_path(name, size), grid, **eopf.of_classes(name, size))
            yield from _rows(array, partial(_classes, path, name), grid)


def _grid(path: Path, kind: Kind, scene: Scene) -> Grid:
    grid = grid_of(path, kind)
    if grid != scene.part.at(round(grid.resolution)):
        raise StepError(f"{path}: its pixels are not those of the scene; run its stage again")
    return grid


def _rows(array, reader: Reader, grid: Grid) -> Iterator[tuple]:
    return ((array, reader, rows) for rows in row_blocks(grid.height, eopf.CHUNK))


def _copy(writer: eopf.EopfWriter, task: tuple) -> None:
    array, reader, rows = task
    writer.write_rows(array, rows, reader(rows))


def _classes(path: Path, name: str, rows: slice) -> np.ndarray:
    """Return rows of the classes, or of a probability as float32, NaN where there is no data."""
    values = read(path, CLASSIFICATION, name, rows)
    if name == "SCL":
        return values
    lacking = read(path, CLASSIFICATION, "SCL", rows) == CLASSIFICATION.nodata
    return np.where(lacking, np.float32(np.nan), values)


def _masks(writer: eopf.EopfWriter, source: Product, sources: Sources, scene: Scene) -> Iterator[tuple]:
    """Make the arrays of the L1C product's masks, and yield what `_images` does.

    A mask that the product lacks is warned of, and 0.
    """
    given = present_masks(source, masks_of(Xml(sources.tile, source.label("MTD_TL.xml"))))
    masks = Masks(source, given, scene, map)
    layers: list[tuple[str, str, Callable[[], Layers | None]]] = [("MSK_CLASSI", "B00", masks.classes)]
    for band in BANDS:
        layers.append(("MSK_DETFOO", band, partial(masks.detectors, band)))
        layers.append(("MSK_QUALIT", band, partial(masks.quality, band)))
    for kind, band, read_layers in layers:
        grid = scene.part.at(PIXEL_SIZE.get(band, 60))
        array = writer.image(eopf.mask_path(kind, band), grid, **eopf.of_mask(kind, band))
        yield array, partial(_packed, read_layers, MASK_LAYERS[kind]), slice(0, grid.height)


def _packed(read_layers: Callable[[], Layers | None], count: int, rows: slice) -> np.ndarray:
    """Return all `rows` of a mask: its layers as bits, or the only one as it is; a mere 0 for an empty one."""
    result = np.zeros((), "u1")
    for number, pixels in read_layers() or ():
        if count == 1:
            return pixels
        bits = (pixels != 0).view("u1")
        bits <<= number
        result = np.bitwise_or(result, bits, out=bits)
    return result


def _write_meteorology(writer: eopf.EopfWriter, source: Product, sources: Sources, scene: Scene) -> None:
    """Write meteorology and aerosol at their grid points; what the L1C product lacks is NaN."""
    granule = PurePosixPath("GRANULE", sources.granule)
    for group, fields in FIELDS.items():
        found = _fields(source, granule, group)
        first = next(iter(found.values()), None)
        points = (first.latitude, first.longitude) if first else _points(scene)
        folder = group_path(group)
        for axis, values, side in zip(("latitude", "longitude"), points, ("north", "east"), strict=True):
            writer.coordinate(f"{folder}/{axis}", values.astype("f8"), standard_name=axis, units=f"degrees_{side}")
        for short, field in fields.items():
            message = found.get(field[:2])
            shape = tuple(p.size for p in points)
            values = message.values if message and message.values.shape == shape else np.full(shape, np.nan)
            own = {"long_name": field.title} | ({"units": field.unit} if field.unit != "1" else {})
            writer.table(f"{folder}/{short}", values.astype("f4"), ("latitude", "longitude"), own)


def _fields(source: Product, granule: PurePosixPath, group: str) -> dict[tuple[int, int], Message]:
    """Return the fields of a group by table and parameter; of several files the first counts."""
    result: dict[tuple[int, int], Message] = {}
    for name in source.auxiliary_files(granule):
        if PurePosixPath(name).name.startswith(GROUPS[group]):
            try:
                messages = source.messages(name)
            except (StepError, ValueError):  # told when it was imported
                continue
            for message in messages:
                result.setdefault((message.table, message.parameter), message)
    return result


def _points(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return latitudes and longitudes of a grid of 9 x 9 points around the tile, as products have it."""
    whole = scene.whole.at(60)
    west, south, east, north = footprint(np.ones((2, 2), np.bool_), _halved(whole))[1]
    return np.linspace(north, south, 9), np.linspace(west, east, 9)


def _halved(grid: Grid) -> Grid:
    side = grid.resolution * grid.width / 2
    return Grid(grid.epsg, grid.left, grid.top, side, 2, 2)


if __name__ == "__main__":
    cli(run)
