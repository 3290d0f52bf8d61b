"""Import: an L1C product of any compact-format baseline becomes rasters in the internal scale and `metadata.json`."""

import contextlib
import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from steps.artefacts import ANGLES, BLOCK, MASK, TOA, check_space, create, write
from steps.cli import cli
from steps.kernels.levels import internal_scale
from steps.sentinel2 import jp2_reader
from steps.sentinel2.bands import BANDS, PIXEL_SIZE, RESOLUTIONS, native_bands
from steps.sentinel2.l1c import L1C, Mask, read_l1c
from steps.sentinel2.masks import POLYGON_KINDS, QUALITY_LAYERS, add_flags, polygon_flags, quality_flags
from steps.sentinel2.safe import Safe

logger = logging.getLogger(__name__)


def run(
    l1c: Path,
    metadata: Path,
    angles: Path,
    toa_10m: Path,
    toa_20m: Path,
    toa_60m: Path,
    mask: Path,
    ozone: float = 331.0,
    threads: int = 1,
) -> None:
    """Read a Sentinel-2 Level-1C product.

    Parameters
    ----------
    l1c
        SAFE folder, or a zip that holds it, of any baseline in the compact format.
    metadata
        Output: what later stages need to know of the product, JSON.
    angles
        Output: sun and view angles at the 5 km nodes, degrees.
    toa_10m, toa_20m, toa_60m
        Output: top-of-atmosphere reflectance of the bands of each resolution.
    mask
        Output: flags at 20 m of what any band lacks.
    ozone
        Ozone column where the product tells none, DU.
    threads
        Bands decoded side by side.

    Raises
    ------
    StepError
        If the product is broken or incomplete, or an output cannot be written.
    """
    product = read_l1c(Safe(l1c), ozone)
    grid = product.scene.grid
    outputs = {10: toa_10m, 20: toa_20m, 60: toa_60m}
    masks, defaults = _present_masks(product)
    check_space(toa_10m, sum(2 * grid.at(PIXEL_SIZE[band]).width * grid.at(PIXEL_SIZE[band]).height for band in BANDS))
    parallel = Parallel(n_jobs=threads, backend="threading", return_as="generator")
    blocks = _check_images(product, masks, parallel)
    tasks = [(band, rows) for band in BANDS for rows in _chunks(grid.at(PIXEL_SIZE[band]).height, blocks[band])]
    with contextlib.ExitStack() as stack:
        rasters = {
            r: stack.enter_context(create(outputs[r], TOA, grid.at(r), native_bands(r), product=product.scene.product))
            for r in RESOLUTIONS
        }
        flags = _mask_flags(product, masks, parallel)
        decoded = parallel(delayed(_decode)(product, band, rows) for band, rows in tasks)
        for (band, rows), (stored, found) in zip(tasks, decoded, strict=True):
            rasters[PIXEL_SIZE[band]].write(band, stored, rows.start)
            start = rows.start * PIXEL_SIZE[band] // 20
            flags[start : start + len(found)] |= found
    write(mask, MASK, grid.at(20), {"mask": flags}, compress=True)
    write(angles, ANGLES, product.nodes, product.angles, compress=True)
    dataclasses.replace(product.scene, defaults=product.scene.defaults + defaults).write(metadata)


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


def _check_images(product: L1C, masks: list[Mask], parallel: Parallel) -> dict[str, int]:
    """Check every image and mask before the long work, and return the rows of the blocks of each band's image."""
    files = [(name, band, 1) for band, name in product.images.items()]
    files += [(m.name, m.band, QUALITY_LAYERS) for m in masks if m.kind == "MSK_QUALIT"]
    grid = product.scene.grid
    rows = list(
        parallel(delayed(jp2_reader.check)(product.safe, name, grid.at(PIXEL_SIZE[b]), n) for name, b, n in files)
    )
    return dict(zip(product.images, rows[: len(product.images)], strict=True))


def _chunks(height: int, block: int) -> list[slice]:
    """Cut an image into slices of whole rows of both its own blocks and those of the raster written."""
    step = math.lcm(block, BLOCK)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def _mask_flags(product: L1C, masks: list[Mask], parallel: Parallel) -> np.ndarray:
    """Return the flags of all mask files at 20 m."""
    grid = product.scene.grid.at(20)
    polygons = [m for m in masks if m.kind in POLYGON_KINDS]
    flags = polygon_flags(product.safe, polygons, grid)
    if flags is None:
        flags = np.zeros(grid.shape, "u1")
    layers = [m for m in masks if m.kind == "MSK_QUALIT"]
    for band, row, column, found in quality_flags(product.safe, layers, parallel):
        add_flags(flags, band, row, column, found)
    return flags


def _decode(product: L1C, band: str, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return some rows of a band in the internal scale, and their flags at 20 m."""
    scene, dn = product.scene, _digital_numbers(product, band, rows)
    if band == "B10" and not scene.bands[band].offset:
        _tell_dark_from_missing(product, dn, rows)
    return internal_scale(
        dn,
        nodata=product.nodata,
        saturated=product.saturated,
        offset=scene.bands[band].offset,
        quantification=scene.quantification,
        size=PIXEL_SIZE[band],
    )


def _digital_numbers(product: L1C, band: str, rows: slice) -> np.ndarray:
    with jp2_reader.opened(product.safe, product.images[band]) as image:
        return image.read(1, window=((rows.start, rows.stop), (0, image.width)))


def _tell_dark_from_missing(product: L1C, dn: np.ndarray, rows: slice) -> None:
    """Give the smallest valid number to pixels of B10 without data where both other bands of its grid have data.

    Without an offset (before baseline 04.00) a reflectance of 0 is stored as 0, the number of no data too. In no band
    but the cirrus band B10, where the ground cannot be seen, is it common.
    """
    missing = dn == product.nodata
    for other in ("B01", "B09") if missing.any() else ():
        missing &= _digital_numbers(product, other, rows) != product.nodata
    dn[missing] = product.nodata + 1


if __name__ == "__main__":
    cli(run)
