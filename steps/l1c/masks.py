"""The product's quality masks, as flags on the 20 m grid.

Saturated are the pixels saturated in Level-1A or 1B. Defective are defective detector pixels, those whose source
packets were lost or degraded, and those without data in Level-1A or 1B that resampling has filled. The correction of
cross-talk and the state of ancillary packets leave a pixel's value sound and set no flag.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from lxml import etree

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.l1c.files import AGAIN
from steps.l1c.metadata import Mask
from steps.l1c.protocol import Product, Window
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.kinds import MASK_DEFECTIVE, MASK_SATURATED

#: Layers of MSK_QUALIT: ancillary packets lost, degraded, MSI packets lost, degraded, defective pixel, no data,
#: partially corrected cross-talk, saturated.
QUALITY_LAYERS = 8
#: Layers of the masks that are images.
MASK_LAYERS = {"MSK_DETFOO": 1, "MSK_QUALIT": QUALITY_LAYERS, "MSK_CLASSI": 3}
#: Flag of each of these layers that has one.
_FLAGS = {
    2: MASK_DEFECTIVE,
    3: MASK_DEFECTIVE,
    4: MASK_DEFECTIVE,
    5: MASK_DEFECTIVE,
    7: MASK_SATURATED,
}
#: Layer of a `maskType` of the older GML masks; a type not named here counts as what its file is for.
_LAYER_OF_TYPE = {
    "ANC_LOST": 0,
    "ANC_DEG": 1,
    "MSI_LOST": 2,
    "MSI_DEG": 3,
    "QT_DEFECTIVE_PIXELS": 4,
    "QT_NODATA_PIXELS": 5,
    "QT_PARTIALLY_CORRECTED_PIXELS": 6,
    "QT_SATURATED_PIXELS": 7,
    "QT_SATURATED_PIXELS_L1A": 7,
    "QT_SATURATED_PIXELS_L1B": 7,
}
#: Kinds of mask file in GML, and the layer that they stand for.
POLYGON_KINDS = {
    "MSK_DEFECT": 4,
    "MSK_NODATA": 5,
    "MSK_SATURA": 7,
    "MSK_TECQUA": 2,
}
#: Map coordinates (m) that no point of a tile reaches.
_FARTHEST = 1.1e7


def quality_flags(
    safe: Product, masks: Sequence[Mask], area: tuple[slice, slice], run_all: Callable
) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Read the flags of MSK_QUALIT files.

    Parameters as of `tiles_with_pixels`.

    Yields
    ------
    band, row, column, flags
        Of every tile with a flag: its place and uint8 flags in the band's own pixels.

    Raises
    ------
    StepError
        If a file cannot be decoded.
    """
    for mask, row, column, flags in tiles_with_pixels(safe, masks, area, run_all, _flags_of):
        assert mask.band is not None
        yield mask.band, row, column, flags


def _flags_of(layers: np.ndarray) -> np.ndarray:
    flags = np.zeros(layers.shape[1:], "u1")
    for layer, flag in _FLAGS.items():
        flags[layers[layer] != 0] |= flag
    return flags


def tiles_with_pixels(
    safe: Product,
    masks: Sequence[Mask],
    area: tuple[slice, slice],
    run_all: Callable,
    pixels_of: Callable = lambda layers: layers,
    empty: set[Hashable] | None = None,
) -> Iterator[tuple[Mask, int, int, np.ndarray]]:
    """Read the tiles of mask images that hold anything, decoding once those that are equal within and between files.

    Parameters
    ----------
    masks
        The files, each of one band, or of none at 60 m.
    area
        Rows and columns at 20 m; tiles outside are left out.
    run_all
        Runs a function for each of some items and gives the results in order (`steps.core.parallel.workers`).
    pixels_of
        Makes of a tile's layers (layers, rows, columns) what is wanted of them.
    empty
        Tiles that hold nothing of what is wanted, to be decoded once in several calls; those that are found are added.

    Yields
    ------
    mask, row, column, pixels
        Of every tile whose wanted pixels are not all 0: its file, its place in the band's own pixels, and these.

    Raises
    ------
    StepError
        If a file cannot be decoded.
    """
    places: dict[Hashable, list] = {}
    wanted = []
    empty = set() if empty is None else empty
    for mask in masks:
        size = PIXEL_SIZE[mask.band] if mask.band else 60
        for key, window in safe.tiles(mask.name):
            if key in empty or not _touches(window, size, area):
                continue
            if key not in places:
                wanted.append((mask.name, key, window))
            places.setdefault(key, []).append((mask, window[0].start, window[1].start))

    def decode(item: tuple) -> np.ndarray:
        name, _, window = item
        return pixels_of(safe.pixels(name, window))

    for (_, key, _), pixels in zip(wanted, run_all(decode, wanted), strict=True):
        if not pixels.any():
            empty.add(key)
            continue
        for place in places[key]:
            yield *place, pixels


def _touches(window: Window, size: int, area: Window) -> bool:
    return all(w.start * size < 20 * s.stop and w.stop * size > 20 * s.start for w, s in zip(window, area, strict=True))


def check_masks(safe: Product, masks: Sequence[Mask], grid: Grid, run_all: Callable) -> None:
    """Check the masks that are there: images are whole and of the tile's size, polygons are sound.

    Parameters
    ----------
    masks
        All of the product.
    grid
        The tile's at 10 m.
    run_all
        As of `tiles_with_pixels`.

    Raises
    ------
    StepError
        At the first one that is broken or does not fit its checksum.
    """

    def check(mask: Mask) -> None:
        if mask.name.endswith(".gml"):
            for _ in polygons_of(safe, mask):
                pass
        elif mask.kind in MASK_LAYERS:
            size = PIXEL_SIZE[mask.band] if mask.band else 60
            safe.check_image(mask.name, grid.at(size), MASK_LAYERS[mask.kind], "uint8")

    for _ in run_all(check, [mask for mask in masks if safe.exists(mask.name)]):
        pass


def add_flags(mask: np.ndarray, area: tuple[slice, slice], band: str, row: int, column: int, flags: np.ndarray) -> None:
    """Add flags of a band's own pixels, from (row, column) on, to the mask: any pixel flags what it touches.

    The mask is of the tile's rows and columns at 20 m in `area`; what lies outside is left out.
    """
    repeat, divide = (3, 1) if PIXEL_SIZE[band] == 60 else (1, 20 // PIXEL_SIZE[band])
    for flag in np.unique(flags[flags > 0]):
        rows, columns = np.nonzero(flags == flag)
        for i in range(repeat):
            for j in range(repeat):
                y = ((rows + row) * repeat + i) // divide - area[0].start
                x = ((columns + column) * repeat + j) // divide - area[1].start
                inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
                mask[y[inside], x[inside]] |= flag


def polygon_flags(safe: Product, masks: list[Mask], grid: Grid) -> np.ndarray | None:
    """Draw the polygons of the GML masks on the 20 m grid; every pixel that one touches is flagged.

    Parameters
    ----------
    masks
        Those of `POLYGON_KINDS`, of all bands.
    grid
        At 20 m.

    Returns
    -------
    numpy.ndarray or None
        uint8 flags, or None if there is no polygon.

    Raises
    ------
    StepError
        If a file is missing or broken.
    """
    polygons: dict[int, list[dict]] = {}
    for mask in masks:
        for layer, polygon in layer_polygons(safe, mask):
            if flag := _FLAGS.get(layer):
                polygons.setdefault(flag, []).append(polygon)
    if not polygons:
        return None
    from rasterio.features import rasterize

    flags = np.zeros(grid.shape, "u1")
    for flag, shapes in polygons.items():
        flags |= rasterize(shapes, grid.shape, transform=grid.transform, all_touched=True, dtype="u1") * np.uint8(flag)
    return flags


def layer_polygons(safe: Product, mask: Mask) -> Iterator[tuple[int, dict]]:
    """Yield the layer of MSK_QUALIT, and the polygon as GeoJSON, of each feature of a file of `POLYGON_KINDS`."""
    for feature, polygon in polygons_of(safe, mask):
        kind = (feature.findtext("{*}maskType") or "").strip()
        yield _LAYER_OF_TYPE.get(kind, POLYGON_KINDS[mask.kind]), polygon


def polygons_of(safe: Product, mask: Mask) -> Iterator[tuple[etree._Element, dict]]:
    """Yield the features of a GML mask, each with its polygons, one by one, as GeoJSON in map coordinates.

    Raises
    ------
    StepError
        If the file is missing or broken.
    """
    for feature in safe.xml(mask.name).iterfind(".//{*}MaskFeature"):
        for polygon in feature.iterfind(".//{*}Polygon"):
            if shape := _geometry(polygon, safe.label(mask.name)):
                yield feature, shape


def _geometry(polygon: etree._Element, label: str) -> dict | None:
    """Return a polygon as GeoJSON, None if its outline has no area."""
    rings = []
    for path in ("{*}exterior", "{*}interior"):
        for positions in polygon.iterfind(f"{path}/{{*}}LinearRing/{{*}}posList"):
            try:
                size = int(positions.get("srsDimension", 2))
                ring = np.array((positions.text or "").split(), dtype="f8").reshape(-1, size)[:, :2]
                if not (np.abs(ring) < _FARTHEST).all():
                    raise ValueError("it lies outside of any tile")
            except ValueError as error:
                raise StepError(f"{label}: a polygon is broken ({error}); {AGAIN}") from error
            rings.append(ring.tolist())
    if not rings or len(rings[0]) < 4:
        return None
    return {"type": "Polygon", "coordinates": rings}
