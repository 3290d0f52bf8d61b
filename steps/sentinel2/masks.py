"""The product's quality masks, as flags on the 20 m grid.

Saturated are the pixels saturated in Level-1A or 1B. Defective are defective detector pixels, those whose source
packets were lost or degraded, and those without data in Level-1A or 1B that resampling has filled. The correction of
cross-talk and the state of ancillary packets leave a pixel's value sound and set no flag.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from lxml import etree

from steps.artefacts import MASK_DEFECTIVE, MASK_SATURATED, Grid
from steps.errors import StepError
from steps.sentinel2.bands import PIXEL_SIZE
from steps.sentinel2.jp2_reader import codestream, opened, tile_keys
from steps.sentinel2.l1c import Mask
from steps.sentinel2.safe import Safe

#: Layers of MSK_QUALIT: ancillary packets lost, degraded, MSI packets lost, degraded, defective pixel, no data,
#: partially corrected cross-talk, saturated.
QUALITY_LAYERS = 8
_QUALITY = ((MASK_DEFECTIVE, (2, 3, 4, 5)), (MASK_SATURATED, (7,)))
#: `maskType` of the older GML masks; a type not named here counts as what its file is for.
_TYPES = {
    "ANC_LOST": 0,
    "ANC_DEG": 0,
    "MSI_LOST": MASK_DEFECTIVE,
    "MSI_DEG": MASK_DEFECTIVE,
    "QT_NODATA_PIXELS": MASK_DEFECTIVE,
    "QT_DEFECTIVE_PIXELS": MASK_DEFECTIVE,
    "QT_PARTIALLY_CORRECTED_PIXELS": 0,
    "QT_SATURATED_PIXELS": MASK_SATURATED,
    "QT_SATURATED_PIXELS_L1A": MASK_SATURATED,
    "QT_SATURATED_PIXELS_L1B": MASK_SATURATED,
}
#: Kinds of mask file in GML, and their flag.
POLYGON_KINDS = {
    "MSK_DEFECT": MASK_DEFECTIVE,
    "MSK_NODATA": MASK_DEFECTIVE,
    "MSK_SATURA": MASK_SATURATED,
    "MSK_TECQUA": MASK_DEFECTIVE,
}


def quality_flags(
    safe: Safe, masks: Sequence[Mask], area: tuple[slice, slice], run_all: Callable
) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Read the flags of MSK_QUALIT files, decoding once the tiles that are equal within and between files.

    Parameters
    ----------
    masks
        The files.
    area
        Rows and columns at 20 m; tiles outside are left out.
    run_all
        Runs a function for each of some items and gives the results in order (`steps.parallel.workers`).

    Yields
    ------
    band, row, column, flags
        Of every tile with a flag: its place and uint8 flags in the band's own pixels.

    Raises
    ------
    StepError
        If a file cannot be decoded.
    """
    places: dict[Hashable, list] = {}
    wanted = []
    for mask in masks:
        data = safe.view(mask.name)
        stream = codestream(data)
        for key, window in zip(tile_keys(data, stream), stream.windows(), strict=True):
            if not _touches(window, PIXEL_SIZE[mask.band], area):
                continue
            if key not in places:
                wanted.append((mask.name, key, window))
            places.setdefault(key, []).append((mask.band, window[0][0], window[1][0]))
    decoded = run_all(lambda item: _tile_flags(safe, item[0], item[2]), wanted)
    for (_, key, _), flags in zip(wanted, decoded, strict=True):
        for place in places[key] if flags.any() else ():
            yield *place, flags


def _touches(window: tuple[tuple[int, int], tuple[int, int]], size: int, area: tuple[slice, slice]) -> bool:
    return all(a * size < 20 * s.stop and b * size > 20 * s.start for (a, b), s in zip(window, area, strict=True))


def _tile_flags(safe: Safe, name: str, window: tuple) -> np.ndarray:
    with opened(safe, name) as image:
        layers = image.read(window=window)
    flags = np.zeros(layers.shape[1:], "u1")
    for flag, indices in _QUALITY:
        flags[layers[list(indices)].any(axis=0)] |= flag
    return flags


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


def polygon_flags(safe: Safe, masks: list[Mask], grid: Grid) -> np.ndarray | None:
    """Burn the polygons of the GML masks into the 20 m grid; every pixel that one touches is flagged.

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
        root = safe.xml(mask.name)
        for feature in root.iterfind(".//{*}MaskFeature"):
            kind = (feature.findtext("{*}maskType") or "").strip()
            flag = _TYPES.get(kind, POLYGON_KINDS[mask.kind])
            for polygon in feature.iterfind(".//{*}Polygon") if flag else ():
                polygons.setdefault(flag, []).append(_geometry(polygon, safe.label(mask.name)))
    if not polygons:
        return None
    from rasterio.features import rasterize

    flags = np.zeros(grid.shape, "u1")
    for flag, shapes in polygons.items():
        flags |= rasterize(shapes, grid.shape, transform=grid.transform, all_touched=True, dtype="u1") * np.uint8(flag)
    return flags


def _geometry(polygon: etree._Element, label: str) -> dict:
    rings = []
    for path in ("{*}exterior", "{*}interior"):
        for positions in polygon.iterfind(f"{path}/{{*}}LinearRing/{{*}}posList"):
            try:
                size = int(positions.get("srsDimension", 2))
                ring = np.array((positions.text or "").split(), dtype="f8").reshape(-1, size)[:, :2]
            except ValueError as problem:
                raise StepError(f"{label}: a polygon is broken ({problem}); download the product again") from problem
            rings.append(ring.tolist())
    return {"type": "Polygon", "coordinates": rings}
