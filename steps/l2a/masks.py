"""The masks of the L2A product that stem from the L1C product: detector footprints, quality, coarse classes.

Since baseline 04.00 the L1C product has them as images, which are copied, or cut to a part of a tile. Older products
have polygons (GML), which are rasterised into the same images: MSK_DETFOO (number of the detector, 0 for none),
MSK_QUALIT (eight layers, see `steps.l1c.masks`) and MSK_CLASSI (opaque cloud, cirrus, snow).
"""

import logging
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from lxml import etree

from steps.core.documents import link
from steps.core.rasters import Grid
from steps.l1c.masks import (
    MASK_LAYERS,
    POLYGON_KINDS,
    layer_polygons,
    polygons_of,
    tiles_with_pixels,
)
from steps.l1c.metadata import Mask
from steps.l1c.protocol import Product
from steps.l2a import jp2 as jp2_writer
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)

#: Pixel size of MSK_CLASSI, m, and the layer of each type of feature in MSK_CLOUDS.
CLASSES_SIZE = 60
_CLASSES_LAYER_OF_TYPE = {"OPAQUE": 0, "CIRRUS": 1}
#: A layer's number and its pixels, in ascending order; layers that are not named are 0.
Layers = Iterable[tuple[int, np.ndarray]]


def write_masks(
    source: Product, masks: Sequence[Mask], scene: Scene, folder: Path, run_all: Callable
) -> list[tuple[str, Mapping[str, str]]]:
    """Write the masks of an L2A product that stem from its L1C product.

    Parameters
    ----------
    source, masks
        The L1C product and its masks.
    scene
        What is processed of it.
    folder
        Where to write them.
    run_all
        Runs a function for each of some items and gives the results in order (`steps.core.parallel.workers`).

    Returns
    -------
    list
        File name and attributes (`type`, `bandId`) of each mask, in the order of the tile metadata. One that the L1C
        product lacks is warned of and left out.

    Raises
    ------
    StepError
        If a mask is broken or cannot be written.
    """
    given = present_masks(source, masks)
    images, writer = Masks(source, given, scene, run_all), _Writer(source, scene, folder)
    result: list[tuple[str, Mapping[str, str]]] = []
    for index, band in enumerate(BANDS):
        for kind, layers in (("MSK_DETFOO", images.detectors(band)), ("MSK_QUALIT", images.quality(band))):
            if layers is not None:
                writer.write(f"{kind}_{band}.jp2", PIXEL_SIZE[band], given.get((kind, band)), MASK_LAYERS[kind], layers)
                result.append((f"{kind}_{band}.jp2", {"type": kind, "bandId": str(index)}))
    if (classes := images.classes()) is not None:
        mask = given.get(("MSK_CLASSI", None))
        writer.write("MSK_CLASSI_B00.jp2", CLASSES_SIZE, mask, MASK_LAYERS["MSK_CLASSI"], classes)
        result.append(("MSK_CLASSI_B00.jp2", {"type": "MSK_CLASSI"}))
    return result


def present_masks(source: Product, masks: Sequence[Mask]) -> dict[tuple[str, str | None], Mask]:
    """Return the masks that are there by kind and band; others are warned of."""
    given = {(mask.kind, mask.band): mask for mask in masks if source.exists(mask.name)}
    if missing := sorted(mask.name for mask in masks if mask not in given.values()):
        names = ", ".join(PurePosixPath(name).name for name in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        logger.warning("%s: masks are missing: %s%s; the L2A product goes without", source.path, names, more)
    return given


class Masks:
    """The masks of a product as images of the part that is processed, whatever they are stored as.

    Methods return the layers of an image, made when they are asked for, or None if the product lacks what they need;
    parameters as for `write_masks`.
    """

    def __init__(self, source: Product, given: Mapping[tuple[str, str | None], Mask], scene: Scene, run_all: Callable):
        self._source, self._given, self._scene, self._run_all = source, given, scene, run_all
        self._empty: set[Hashable] = set()

    def detectors(self, band: str) -> Layers | None:
        """Return MSK_DETFOO of a band: numbers of detectors."""
        mask = self._given.get(("MSK_DETFOO", band))
        if mask is None:
            return None
        if _is_image(mask):
            return self._stored(mask, PIXEL_SIZE[band])
        shapes = [(polygon, _detector(feature)) for feature, polygon in polygons_of(self._source, mask)]
        return [(0, _rasterised(shapes, self._scene.part.at(PIXEL_SIZE[band])))] if shapes else []

    def quality(self, band: str) -> Layers | None:
        """Return MSK_QUALIT of a band."""
        if mask := self._given.get(("MSK_QUALIT", band)):
            return self._stored(mask, PIXEL_SIZE[band])
        masks = [self._given[kind, band] for kind in POLYGON_KINDS if (kind, band) in self._given]
        features = (item for mask in masks for item in layer_polygons(self._source, mask))
        return self._drawn(features, PIXEL_SIZE[band]) if masks else None

    def classes(self) -> Layers | None:
        """Return MSK_CLASSI."""
        if mask := self._given.get(("MSK_CLASSI", None)):
            return self._stored(mask, CLASSES_SIZE)
        if not (clouds := self._given.get(("MSK_CLOUDS", None))):
            return None
        features = (
            (_CLASSES_LAYER_OF_TYPE[kind], polygon)
            for feature, polygon in polygons_of(self._source, clouds)
            if (kind := (feature.findtext("{*}maskType") or "").strip()) in _CLASSES_LAYER_OF_TYPE
        )
        return self._drawn(features, CLASSES_SIZE)

    def _stored(self, mask: Mask, size: int) -> Layers:
        """Yield the layers of a mask image that hold anything; as a rule few of its tiles do."""
        part, whole = self._scene.part, self._scene.whole
        area = part.at(20).within(whole.at(20))
        tiles = list(tiles_with_pixels(self._source, [mask], area, self._run_all, empty=self._empty))
        grid = part.at(size)
        rows, columns = grid.within(whole.at(size))
        for layer in range(MASK_LAYERS[mask.kind]):
            if not any(tile[layer].any() for *_, tile in tiles):
                continue
            pixels = np.zeros(grid.shape, "u1")
            for _, row, column, tile in tiles:
                target, seen = [], []
                for start, kept, length in zip((row, column), (rows, columns), tile.shape[1:], strict=True):
                    first, last = max(start, kept.start), min(start + length, kept.stop)
                    target.append(slice(first - kept.start, last - kept.start))
                    seen.append(slice(first - start, last - start))
                pixels[tuple(target)] = tile[layer][tuple(seen)]
            if pixels.any():
                yield layer, pixels

    def _drawn(self, features: Iterator[tuple[int, dict]], size: int) -> Layers:
        """Yield layers of 0 and 1 from pairs of a layer and a polygon in it."""
        polygons: dict[int, list[tuple[dict, int]]] = {}
        for layer, polygon in features:
            polygons.setdefault(layer, []).append((polygon, 1))
        for layer in sorted(polygons):
            yield layer, _rasterised(polygons[layer], self._scene.part.at(size))


class _Writer:
    """Writer of mask images as JPEG 2000 files."""

    def __init__(self, source: Product, scene: Scene, folder: Path):
        self._source, self._scene, self._folder = source, scene, folder
        self._empty: dict[tuple[Grid, int], Path] = {}

    def write(self, name: str, size: int, mask: Mask | None, count: int, layers: Layers) -> None:
        """Copy a mask that is such a file and needs no cutting, else encode its layers.

        One that is all 0 is encoded only once for all of its size, since that takes seconds.
        """
        path, grid = self._folder / name, self._scene.part.at(size)
        copied = mask if mask and _is_image(mask) and not self._scene.roi else None
        if copied and (content := self._source.jp2(copied.name)) is not None:
            path.write_bytes(content)
            return
        found = [(n, pixels) for n, pixels in layers if pixels.any()]
        if not found and (known := self._empty.get((grid, count))):
            link(known, path)
            return
        jp2_writer.write_mask(path, grid, count, found)
        if not found:
            self._empty[grid, count] = path


def _is_image(mask: Mask) -> bool:
    return not mask.name.endswith(".gml")


def _detector(feature: etree._Element) -> int:
    """Return the number of the detector that `detector_footprint-B02-03-0` names; 0 where it names none."""
    identifier = next((value for key, value in feature.attrib.items() if key.endswith("}id")), "")
    found = re.search(r"-(\d\d)-\d+$", identifier)
    return int(found[1]) if found else 0


def _rasterised(shapes: Sequence[tuple[dict, int]], grid: Grid) -> np.ndarray:
    """Return the values of polygons in the pixels whose centre they hold, 0 elsewhere; later ones count."""
    from rasterio.features import rasterize

    return rasterize(shapes, grid.shape, transform=grid.transform, dtype="u1")
