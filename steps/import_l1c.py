"""Import: an L1C product of any compact-format baseline becomes rasters in the internal scale and `metadata.json`."""

import contextlib
import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from steps.core.cli import cli
from steps.core.errors import StepError
from steps.core.mesh import nearest
from steps.core.parallel import RunAll, workers
from steps.core.rasters import BLOCK, Grid, RasterWriter, check_space, create, write
from steps.l1c.checksums import Setting
from steps.l1c.formats import open_product
from steps.l1c.masks import POLYGON_KINDS, add_flags, check_masks, polygon_flags, quality_flags
from steps.l1c.metadata import L1C, Mask, internal_numbers, read_l1c
from steps.l1c.overview import any_within, area_means, clear_unreliable, reduced, reduced_rows
from steps.l1c.protocol import Window
from steps.l1c.roi import DETAIL, grown, part_of, surroundings
from steps.l2a.documents import check_documents
from steps.sentinel2.bands import BANDS, PIXEL_SIZE, RESOLUTIONS, TILE_SIZE, native_bands
from steps.sentinel2.kinds import ANGLES, MASK, MASK_DEFECTIVE, MASK_NODATA, TOA
from steps.sentinel2.scene import OVERVIEW, Scene

logger = logging.getLogger(__name__)

#: Column where neither the product nor the user tells one, DU.
OZONE = 331.0
#: Bands of 10 and then of 20 m, the long work first; those of 60 m are small files.
_FINE = [*native_bands(10), *native_bands(20)]
_COARSE = native_bands(60)
#: What else the L2A product takes from the product, and what decoders leave beside it.
_COPIED = (
    "INSPIRE.xml",
    "DATASTRIP/*/MTD_DS.xml",
    "DATASTRIP/*/QI_DATA/*.xml",
    "GRANULE/*/AUX_DATA/AUX_*",
    "GRANULE/*/QI_DATA/*.xml",
)
_LEFT = (".idx", ".aux.xml")


def run(
    l1c: Path,
    metadata: Path,
    angles: Path,
    toa_10m: Path,
    toa_20m: Path,
    toa_60m: Path,
    mask: Path,
    overview: Path,
    ozone: float = OZONE,
    roi: str | None = None,
    roi_margin_km: float = 6.0,
    roi_clouds: bool = False,
    checksums: Setting = "refuse",
    threads: int = 1,
) -> None:
    """Read a Sentinel-2 Level-1C product, or the part of it that a region of interest needs.

    That part is the region with what is around it, pixels that shine into it. Only near the region are they decoded
    in full, farther away at 80 m.

    Parameters
    ----------
    l1c
        SAFE folder, or a zip that holds it, of any baseline in the compact format, or an EOPF Zarr.
    metadata
        Output: what later stages need to know of the product, JSON.
    angles
        Output: sun and view angles at the 5 km nodes, degrees.
    toa_10m, toa_20m, toa_60m
        Output: top-of-atmosphere reflectance of the bands of each resolution.
    mask
        Output: flags at 20 m of what any band lacks.
    overview
        Output: top-of-atmosphere reflectance of all bands of the whole tile at 80 m.
    ozone
        Ozone column where the product tells none, DU.
    roi
        `[west, south, east, north]` in degrees, or a GeoJSON file; its bounding box in the tile's grid counts.
    roi_margin_km
        How far around the region surroundings are looked at.
    roi_clouds
        Whether clouds towards the sun belong to them too: classic rules find shadows by them, not from the overview.
    checksums
        What to do with a file of the product that does not fit its checksum in `manifest.safe`.
    threads
        Bands decoded side by side.

    Raises
    ------
    StepError
        If the product is broken or incomplete, the region does not touch it, or an output cannot be written.
    """
    product = read_l1c(open_product(l1c, checksums), ozone)
    scene = _part(product, roi, roi_margin_km, roi_clouds) if roi else product.scene
    grid, tile = scene.grid, product.scene.grid
    outputs = {10: toa_10m, 20: toa_20m, 60: toa_60m}
    check_documents(product.safe, product.granule, scene)
    masks, defaults = _present_masks(product)
    check_space(toa_10m, sum(2 * grid.at(PIXEL_SIZE[band]).width * grid.at(PIXEL_SIZE[band]).height for band in BANDS))
    with contextlib.ExitStack() as stack:
        run_all = stack.enter_context(workers("threads", threads))
        blocks = _check_files(product, run_all)
        defaults += _equal_images(product) + product.safe.unverified()
        rasters = {
            r: stack.enter_context(create(outputs[r], TOA, grid.at(r), native_bands(r), product=scene.product))
            for r in RESOLUTIONS
        }
        flags, wanted = np.zeros(grid.at(20).shape, "u1"), (scene.roi or grid).at(20)
        of_tile = _mask_flags(product, masks, tile.at(20), run_all)
        flags[wanted.within(grid.at(20))] = of_tile[wanted.within(tile.at(20))]
        distant = _write_bands(product, scene, blocks, rasters, flags, run_all)
        _check_data(product, flags[wanted.within(grid.at(20))], roi)
        defaults += _even_images(product, distant)
    _write_overview(overview, scene, distant, of_tile)
    write(mask, MASK, grid.at(20), {"mask": flags}, compress=True)
    write(angles, ANGLES, product.nodes, product.angles, compress=True)
    dataclasses.replace(scene, defaults=scene.defaults + defaults).write(metadata)


def _write_bands(
    product: L1C,
    scene: Scene,
    blocks: dict[str, int],
    rasters: dict[int, RasterWriter],
    flags: np.ndarray,
    run_all: RunAll,
) -> dict[str, np.ndarray]:
    """Decode all bands into the raster of their pixel size, and add what they lack to `flags`; return the overview."""
    distant = {band: np.empty(scene.overview.shape, "u2") for band in BANDS}
    if scene.roi:
        bands = _decode_part(product, scene, distant, run_all)
    else:
        bands = _decode_all(product, blocks, distant, run_all)
    for band, row, stored, found in bands:
        rasters[PIXEL_SIZE[band]].write(band, stored, row)
        start = row * PIXEL_SIZE[band] // 20
        flags[start : start + len(found)] |= found
    return distant


def check(l1c: Path, checksums: Setting = "refuse", threads: int = 1) -> tuple[str, tuple[str, ...]]:
    """Check all files of a product that `run` does, without decoding images.

    Returns
    -------
    str
        The product's name.
    tuple
        A sentence for everything that is missing or doubtful, and can be done without.

    Raises
    ------
    StepError
        If the product is broken or incomplete.
    """
    product = read_l1c(open_product(l1c, checksums), OZONE)
    check_documents(product.safe, product.granule, product.scene)
    _, defaults = _present_masks(product)
    with workers("threads", threads) as run_all:
        _check_files(product, run_all)
    defaults += _equal_images(product) + product.safe.unverified()
    return product.scene.product, product.scene.defaults + defaults


def _part(product: L1C, roi: str, margin_km: float, clouds: bool) -> Scene:
    """Return the scene of the part of a tile that a region of interest needs."""
    scene, tile = product.scene, product.scene.grid
    part = part_of(roi, tile)
    if part is None:
        raise StepError(f"{product.safe.path}: the region of interest {roi} does not touch it; correct `roi`")
    around = surroundings(part, tile, 1000 * margin_km, (scene.sun_zenith, scene.sun_azimuth) if clouds else None)
    return dataclasses.replace(scene, grid=around, roi=part, tile_grid=tile)


def _present_masks(product: L1C) -> tuple[list[Mask], tuple[str, ...]]:
    """Return the masks to read, and a sentence if some that should be there are missing."""
    wanted = [m for m in product.masks if m.kind in POLYGON_KINDS or (m.kind == "MSK_QUALIT" and m.band)]
    present = [m for m in wanted if product.safe.exists(m.name)]
    if wanted and len(present) == len(wanted):
        return present, ()
    missing = len(wanted) - len(present)
    sentence = f"Masks: {missing} of {len(wanted)} mask files are missing; the pixels they tell of count as sound."
    logger.warning("%s: %s", product.safe.path, sentence)
    return present, (sentence,)


def _check_files(product: L1C, run_all: RunAll) -> dict[str, int]:
    """Check all files to be read or copied before the long work; return the rows of the blocks of each band's image."""
    safe, grid = product.safe, product.scene.grid
    bands = list(product.images)
    rows = run_all(lambda b: safe.check_image(product.images[b], grid.at(PIXEL_SIZE[b])), bands)
    blocks = dict(zip(bands, rows, strict=True))
    check_masks(safe, product.masks, grid, run_all)
    for name in safe.names():
        if any(PurePosixPath(name).match(pattern) for pattern in _COPIED) and not name.endswith(_LEFT):
            safe.verify(name)
    for sentence in safe.unverified() if safe.checksums != "ignore" else ():
        logger.warning("%s: %s", safe.path, sentence)
    return blocks


def _equal_images(product: L1C) -> tuple[str, ...]:
    """Return a sentence if images of several bands are one and the same file: one lies under another's name."""
    safe = product.safe
    equal = [
        f"{one} and {other}"
        for one, other in itertools.combinations(product.images, 2)
        if safe.same_image(product.images[one], product.images[other])
    ]
    if not equal:
        return ()
    sentence = f"Images: those of {', '.join(equal)} are equal; one of each pair may be another band's."
    logger.warning("%s: %s", safe.path, sentence)
    return (sentence,)


def _even_images(product: L1C, overview: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Return a sentence if a band has the same number everywhere, as one that is saturated throughout.

    B10, which sees no ground, may well have its lowest number everywhere.
    """
    valid = {band: stored[stored > 0] for band, stored in overview.items() if band != "B10"}
    even = [band for band, numbers in valid.items() if numbers.size and numbers.min() == numbers.max()]
    if not even:
        return ()
    sentence = f"Images: {', '.join(even)} has the same number in all pixels, which no scene has."
    logger.warning("%s: %s", product.safe.path, sentence)
    return (sentence,)


def _check_data(product: L1C, flags: np.ndarray, roi: str | None) -> None:
    """Raise `StepError` unless some pixel has data in all bands."""
    if (flags & MASK_NODATA).all():
        what, remedy = (f"the region of interest {roi}", "correct `roi`") if roi else ("it", "leave it out")
        raise StepError(f"{product.safe.path}: no pixel of {what} has data in all bands; {remedy}")


def _chunks(height: int, block: int, size: int) -> list[slice]:
    """Cut an image into slices of whole rows of its own blocks, those of the raster written and the overview's tiles.

    `size` is that of its pixels, m.
    """
    step = math.lcm(block, BLOCK, TILE_SIZE[size])
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def _mask_flags(product: L1C, masks: list[Mask], grid: Grid, run_all: RunAll) -> np.ndarray:
    """Return the flags of all mask files on a grid of 20 m."""
    polygons = [m for m in masks if m.kind in POLYGON_KINDS]
    flags = polygon_flags(product.safe, polygons, grid)
    if flags is None:
        flags = np.zeros(grid.shape, "u1")
    layers = [m for m in masks if m.kind == "MSK_QUALIT"]
    area = grid.within(product.scene.grid)
    for band, row, column, found in quality_flags(product.safe, layers, area, run_all):
        add_flags(flags, area, band, row, column, found)
    return flags


def _write_overview(path: Path, scene: Scene, distant: dict[str, np.ndarray], flags: np.ndarray) -> None:
    """Write the overview; `flags` of the masks, at 20 m, tell which pixels of it no stage may believe."""
    clear_unreliable(distant, any_within(flags & MASK_DEFECTIVE, scene.whole.at(20), scene.overview))
    write(path, TOA, scene.overview, distant)


def _decode_all(
    product: L1C, blocks: dict[str, int], distant: dict[str, np.ndarray], run_all: RunAll
) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Yield bands in pieces: name, first row, pixels in the internal scale, flags at 20 m.

    Meanwhile they are put into `distant` on the overview's grid.
    """
    grids = {band: product.scene.grid.at(PIXEL_SIZE[band]) for band in BANDS}
    tasks: list[tuple[str, slice]] = [(band, slice(0, grids[band].height)) for band in _COARSE]
    for band in _FINE:
        tasks += ((band, rows) for rows in _chunks(grids[band].height, blocks[band], PIXEL_SIZE[band]))

    def decode(task: tuple[str, slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        band, rows = task
        if band in _COARSE:
            return _decode_coarse(product, band)
        dn = _digital_numbers(product, band, (rows, slice(0, grids[band].width)))
        return *internal_numbers(product, band, dn, PIXEL_SIZE[band]), reduced_rows(product, band, dn)

    for (band, rows), (stored, flags, low) in zip(tasks, run_all(decode, tasks), strict=True):
        distant[band][rows.start * PIXEL_SIZE[band] // OVERVIEW :][: len(low)] = low
        yield band, rows.start, stored, flags


def _decode_part(
    product: L1C, scene: Scene, distant: dict[str, np.ndarray], run_all: RunAll
) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Yield bands as `_decode_all` does, on the scene's grid: all of it near the region, else from the overview."""
    part, part_20m = (scene.grid.at(size).within(scene.whole) for size in (60, 20))
    for band, low in zip(_FINE, run_all(lambda band: reduced(product, band), _FINE), strict=True):
        distant[band] = low
    for band, pixels in zip(_COARSE, run_all(lambda band: _decode_coarse(product, band), _COARSE), strict=True):
        stored, found, distant[band] = pixels
        yield band, 0, stored[part], found[part_20m]
    near = grown(scene.part, scene.whole, DETAIL)
    decoded = run_all(lambda band: _decode_near(product, scene, near, band, distant[band]), _FINE)
    for band, pixels in zip(_FINE, decoded, strict=True):
        yield band, 0, *pixels


def _decode_coarse(product: L1C, band: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a band of 60 m in the internal scale, its flags at 20 m, and its means on the overview's grid."""
    grid = product.scene.grid.at(60)
    stored, flags = _decode(product, band, grid.within(grid))
    return stored, flags, area_means(stored, grid, product.scene.overview)


def _decode_near(
    product: L1C, scene: Scene, near: Grid, band: str, distant: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    tile, size = scene.whole, PIXEL_SIZE[band]
    target = scene.grid.at(size)
    result = nearest(distant, *scene.overview.positions(target))
    flags = np.zeros(scene.grid.at(20).shape, "u1")
    stored, found = _decode(product, band, near.at(size).within(tile))
    result[near.at(size).within(target)] = stored
    flags[near.at(20).within(scene.grid)] = found
    return result, flags


def _decode(product: L1C, band: str, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of a band in the internal scale, and its flags at 20 m."""
    dn = _digital_numbers(product, band, window)
    if band == "B10" and not product.scene.bands[band].offset:
        _tell_dark_from_missing(product, dn, window)
    return internal_numbers(product, band, dn, PIXEL_SIZE[band])


def _digital_numbers(product: L1C, band: str, window: Window) -> np.ndarray:
    return product.safe.pixels(product.images[band], window)[0]


def _tell_dark_from_missing(product: L1C, dn: np.ndarray, window: Window) -> None:
    """Give the smallest valid number to pixels of B10 without data where both other bands of its grid have data.

    Without an offset (before baseline 04.00) a reflectance of 0 is stored as 0, the number of no data too. In no band
    but the cirrus band B10, where the ground cannot be seen, is it common.
    """
    missing = dn == product.nodata
    for other in ("B01", "B09") if missing.any() else ():
        missing &= _digital_numbers(product, other, window) != product.nodata
    dn[missing] = product.nodata + 1


if __name__ == "__main__":
    cli(run)
