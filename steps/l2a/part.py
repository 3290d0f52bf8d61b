"""Metadata of a part of a tile: extent, grids and angles of the L1C metadata cut to it."""

import numpy as np
from lxml import etree

from steps.core.rasters import Grid
from steps.l2a.elements import child
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.footprint import corners


def cut_tile(tile: etree._Element, part: Grid, whole: Grid) -> None:
    """Cut tile metadata, in place: pixel grids, and angle grids, whose first node is the upper left corner.

    Parameters
    ----------
    tile
        Root of the L1C tile metadata.
    part, whole
        Grids of the part and of the tile, at 10 m.
    """
    geocoding = child(child(tile, "Geometric_Info"), "Tile_Geocoding")
    for resolution in RESOLUTIONS:
        grid = part.at(resolution)
        place = {"NROWS": grid.height, "NCOLS": grid.width, "ULX": round(grid.left), "ULY": round(grid.top)}
        for name, value in place.items():
            for element in geocoding.iterfind(f'*[@resolution="{resolution}"]/{name}'):
                element.text = str(value)
    offset = whole.top - part.top, part.left - whole.left
    size = part.height * part.resolution, part.width * part.resolution
    for zenith in tile.iterfind(".//Zenith"):
        azimuth = zenith.getnext()
        steps = [float(zenith.findtext(name) or 0) for name in ("ROW_STEP", "COL_STEP")]
        tables = [_table(element) for element in (zenith, azimuth)] if azimuth is not None and all(steps) else []
        if len(tables) == 2 and tables[0].shape == tables[1].shape and min(tables[0].shape) > 1:
            positions = [
                o / step + np.arange(-(-n // step) + 1) for o, n, step in zip(offset, size, steps, strict=True)
            ]
            for element, table in zip((zenith, azimuth), _directions_at(*tables, *positions), strict=True):
                _fill(element, table)


def _table(angles: etree._Element) -> np.ndarray:
    return np.array([(row.text or "").split() for row in angles.iterfind("Values_List/VALUES")], "f8")


def _fill(angles: etree._Element, table: np.ndarray) -> None:
    values = child(angles, "Values_List")
    for row in list(values)[len(table) :]:
        values.remove(row)
    while len(values) < len(table):
        values.append(etree.Element("VALUES"))
    for row, numbers in zip(values, table, strict=True):
        row.text = " ".join("NaN" if np.isnan(v) else f"{v:.6g}" for v in numbers)


def _directions_at(zenith, azimuth, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return angles (degrees) interpolated bilinearly as vectors; NaN where a node around has none."""
    from scipy.ndimage import map_coordinates

    tangent = np.tan(np.radians(zenith))
    at = np.meshgrid(*(np.clip(v, 0, n - 1) for v, n in zip((rows, columns), zenith.shape, strict=True)), indexing="ij")
    east, north = (
        map_coordinates(tangent * f(np.radians(azimuth)), at, order=1, mode="nearest") for f in (np.sin, np.cos)
    )
    return np.degrees(np.arctan(np.hypot(east, north))), np.degrees(np.arctan2(east, north)) % 360


def cut_product(product: etree._Element, part: Grid) -> None:
    """Set the footprint of product metadata, in place, to the corners of a part."""
    text = " ".join(f"{latitude} {longitude}" for latitude, longitude in corners(part))
    for element in product.iterfind(".//EXT_POS_LIST"):
        element.text = text


def cut_inspire(inspire: etree._Element, part: Grid) -> None:
    """Set the bounding box of INSPIRE metadata, in place, to that of a part."""
    latitude, longitude = zip(*corners(part), strict=True)
    bounds = {
        "westBoundLongitude": min(longitude),
        "eastBoundLongitude": max(longitude),
        "southBoundLatitude": min(latitude),
        "northBoundLatitude": max(latitude),
    }
    for name, value in bounds.items():
        for element in inspire.iterfind(f".//{{*}}{name}/{{*}}Decimal"):
            element.text = str(value)
