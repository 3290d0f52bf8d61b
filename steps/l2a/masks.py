"""The masks of the L2A product that stem from the L1C product: detector footprints, quality, coarse classes.

Since baseline 04.00 the L1C product has them as images, which are copied, or cut to a part of a tile. Older products
have polygons (GML), which are rasterised into the same images: MSK_DETFOO (number of the detector, 0 for none),
MSK_QUALIT (eight layers, see `steps.l1c.masks`) and MSK_CLASSI (opaque cloud, cirrus, snow).
"""

import functools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from lxml import etree

from steps.core.documents import link
from steps.core.rasters import Grid
from steps.l1c.formats import Product
from steps.l1c.jp2 import opened
from steps.l1c.masks import (
    POLYGON_KINDS,
    QUALITY_LAYERS,
    layer_polygons,
    polygons_of,
    tiles_with_pixels,
)
from steps.l1c.metadata import Mask
from steps.l2a import jp2 as jp2_writer
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)

#: Pixel size (m) and layers of MSK_CLASSI, and the layer of each type of feature in MSK_CLOUDS.
_CLASSES_SIZE = 60
_CLASSES_LAYERS = 3
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
    given = {(mask.kind, mask.band): mask for mask in masks if source.exists(mask.name)}
    if missing := sorted(mask.name for mask in masks if mask not in given.values()):
        names = ", ".join(PurePosixPath(name).name for name in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        logger.warning("%s: masks are missing: %s%s; the L2A product goes without", source.path, names, more)
    images = _Images(source, given, scene, folder, run_all)
    result: list[tuple[str, Mapping[str, str]]] = []
    for index, band in enumerate(BANDS):
        for kind, write in (("MSK_DETFOO", images.detectors), ("MSK_QUALIT", images.quality)):
            if write(f"{kind}_{band}.jp2", band):
                result.append((f"{kind}_{band}.jp2", {"type": kind, "bandId": str(index)}))
    if images.classes("MSK_CLASSI_B00.jp2"):
        result.append(("MSK_CLASSI_B00.jp2", {"type": "MSK_CLASSI"}))
    return result


class _Images:
    """Writer of the mask images of one product; its methods tell whether the L1C product has what they need."""

    def __init__(
        self,
        source: Product,
        given: Mapping[tuple[str, str | None], Mask],
        scene: Scene,
        folder: Path,
        run_all: Callable,
    ):
        self._source, self._given, self._scene, self._folder, self._run_all = source, given, scene, folder, run_all
        self._empty: dict[tuple[Grid, int], Path] = {}

    def detectors(self, name: str, band: str) -> bool:
        """Write MSK_DETFOO of a band."""
        mask = self._given.get(("MSK_DETFOO", band))
        if mask is None:
            return False
        if _is_image(mask):
            self._copy_or_cut(name, mask, PIXEL_SIZE[band], 1)
        else:
            grid = self._grid(PIXEL_SIZE[band])
            shapes = [(polygon, _detector(feature)) for feature, polygon in polygons_of(self._source, mask)]
            self._write(name, grid, 1, [(0, _rasterised(shapes, grid))] if shapes else ())
        return True

    def quality(self, name: str, band: str) -> bool:
        """Write MSK_QUALIT of a band."""
        if mask := self._given.get(("MSK_QUALIT", band)):
            self._copy_or_cut(name, mask, PIXEL_SIZE[band], QUALITY_LAYERS)
            return True
        masks = [self._given[kind, band] for kind in POLYGON_KINDS if (kind, band) in self._given]
        features = (item for mask in masks for item in layer_polygons(self._source, mask))
        if masks:
            self._write_polygons(name, PIXEL_SIZE[band], QUALITY_LAYERS, features)
        return bool(masks)

    def classes(self, name: str) -> bool:
        """Write MSK_CLASSI."""
        mask = self._given.get(("MSK_CLASSI", None))
        clouds = self._given.get(("MSK_CLOUDS", None))
        if mask:
            self._copy_or_cut(name, mask, _CLASSES_SIZE, _CLASSES_LAYERS)
        elif clouds:
            features = (
                (_CLASSES_LAYER_OF_TYPE[kind], polygon)
                for feature, polygon in polygons_of(self._source, clouds)
                if (kind := (feature.findtext("{*}maskType") or "").strip()) in _CLASSES_LAYER_OF_TYPE
            )
            self._write_polygons(name, _CLASSES_SIZE, _CLASSES_LAYERS, features)
        return bool(mask or clouds)

    def _grid(self, size: int) -> Grid:
        return self._scene.part.at(size)

    def _copy_or_cut(self, name: str, mask: Mask, size: int, count: int) -> None:
        """Copy a mask image, or cut it to the part of the tile."""
        if not self._scene.roi:
            (self._folder / name).write_bytes(self._source.read(mask.name))
            return
        grid = self._grid(size)
        place = grid.within(self._scene.whole.at(size))
        cut = self._cut_quality(mask, grid) if mask.kind == "MSK_QUALIT" else self._cut(mask, place, count)
        self._write(name, grid, count, cut)

    def _cut(self, mask: Mask, place: tuple[slice, slice], count: int) -> Layers:
        with opened(self._source, mask.name) as image:
            for layer in range(count):
                yield layer, image.read(layer + 1, window=tuple((s.start, s.stop) for s in place))

    def _cut_quality(self, mask: Mask, grid: Grid) -> Layers:
        """Return the layers of MSK_QUALIT in a part; as a rule none of its tiles holds anything."""
        rows, columns = grid.within(self._scene.whole.at(round(grid.resolution)))
        pixels = np.zeros((QUALITY_LAYERS, *grid.shape), "u1")
        for row, column, tile in self._quality_tiles.get(mask.name, ()):
            target, seen = [], []
            for start, part, length in zip((row, column), (rows, columns), tile.shape[1:], strict=True):
                first, last = max(start, part.start), min(start + length, part.stop)
                target.append(slice(first - part.start, last - part.start))
                seen.append(slice(first - start, last - start))
            pixels[:, *target] = tile[:, *seen]
        return enumerate(pixels) if mask.name in self._quality_tiles else ()

    @functools.cached_property
    def _quality_tiles(self) -> dict[str, list[tuple[int, int, np.ndarray]]]:
        """Place and layers of the tiles of MSK_QUALIT that hold anything in the part, by file."""
        images = [m for m in self._given.values() if m.kind == "MSK_QUALIT"]
        area = self._grid(20).within(self._scene.whole.at(20))
        result: dict[str, list] = {}
        for mask, *tile in tiles_with_pixels(self._source, images, area, self._run_all):
            result.setdefault(mask.name, []).append(tile)
        return result

    def _write_polygons(self, name: str, size: int, count: int, features: Iterator[tuple[int, dict]]) -> None:
        """Write an image of `count` layers of 0 and 1 from pairs of a layer and a polygon in it."""
        polygons: dict[int, list[tuple[dict, int]]] = {}
        for layer, polygon in features:
            polygons.setdefault(layer, []).append((polygon, 1))
        grid = self._grid(size)
        self._write(name, grid, count, ((layer, _rasterised(polygons[layer], grid)) for layer in sorted(polygons)))

    def _write(self, name: str, grid: Grid, count: int, layers: Layers) -> None:
        """Encode an image; one that is all 0 only once for all of its size, since that takes seconds."""
        path, layers = self._folder / name, [(n, pixels) for n, pixels in layers if pixels.any()]
        if not layers and (known := self._empty.get((grid, count))):
            link(known, path)
            return
        jp2_writer.write_mask(path, grid, count, layers)
        if not layers:
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
