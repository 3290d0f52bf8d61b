"""The region of interest: which part of a tile the user wants, and how much around it has to be looked at."""

import json
import math
from pathlib import Path

import numpy as np

from steps.artefacts import Grid
from steps.errors import StepError
from steps.sentinel2.footprint import west_of

#: The part is snapped outward to whole pixels of 60 m, m; it measures at least so many of them each way.
_PIXEL, _LEAST = 60, 16
#: What is processed begins at a multiple of this from the tile's corner, m, so that the nodes of every mesh at every
#: resolution (0.96, 1.28 and 1.92 km apart) are those of the whole tile.
ALIGNMENT = 3840
#: Around the part the images are decoded in full so far, m: the reach of filters at 20 and 60 m.
DETAIL = 1200
#: Clouds up to this height throw shadows that count, and the farthest these are looked for, m.
_CLOUD_TOP, _FARTHEST = 6000, 30_000
_HELP = "give [west, south, east, north] in degrees or a GeoJSON file with a Polygon"


def part_of(roi: str, tile: Grid) -> Grid | None:
    """Return the bounding box of a region in a tile's grid.

    Parameters
    ----------
    roi
        `[west, south, east, north]` in degrees (WGS 84; west > east crosses the date line), or the path of a GeoJSON
        file: Polygon, MultiPolygon, Feature or FeatureCollection.
    tile
        Grid at 10 m.

    Returns
    -------
    Grid or None
        At 10 m, snapped outward to 60 m and clipped to the tile, 960 m or more each way; None if the region does not
        touch the tile.

    Raises
    ------
    StepError
        If it is neither.
    """
    corners = [ring for outline in _outlines(roi) if len(ring := _in_tile(outline, tile))]
    if not corners:
        return None
    low, high = (f([f(ring, axis=0) for ring in corners], axis=0) for f in (np.min, np.max))
    size = np.array([tile.width, tile.height]) * tile.resolution
    first = np.floor(low / _PIXEL + 1e-6).astype(int)
    last = np.maximum(np.ceil(high / _PIXEL - 1e-6).astype(int), first + _LEAST)
    last = np.minimum(last, size.astype(int) // _PIXEL)
    first = np.maximum(np.minimum(first, last - _LEAST), 0)
    return _sub_grid(tile, *(first * _PIXEL), *(last * _PIXEL))


def surroundings(part: Grid, tile: Grid, radius: float, sun: tuple[float, float] | None = None) -> Grid:
    """Return what has to be processed for a part: so far around it (m), and with clouds that may shade it.

    Clouds only if zenith and azimuth of the sun (degrees) are given.
    """
    zenith, azimuth = np.radians(sun or (0, 0))
    way = min(_CLOUD_TOP * math.tan(min(zenith, math.radians(80))), _FARTHEST)
    right, down = way * math.sin(azimuth), -way * math.cos(azimuth)
    left, top = part.left - tile.left, tile.top - part.top
    margins = [max(radius, DETAIL, v) for v in (-right, -down, right, down)]
    first = [max(v - m, 0) // ALIGNMENT * ALIGNMENT for v, m in zip((left, top), margins[:2], strict=True)]
    ends = left + part.width * part.resolution, top + part.height * part.resolution
    limits = tile.width * tile.resolution, tile.height * tile.resolution
    last = [
        min(math.ceil((v + m) / ALIGNMENT) * ALIGNMENT, n) for v, m, n in zip(ends, margins[2:], limits, strict=True)
    ]
    return _sub_grid(tile, *first, *last)


def grown(part: Grid, tile: Grid, distance: int) -> Grid:
    """Return a part with so many metres more around it (a multiple of 60), as far as the tile goes."""
    left, top = part.left - tile.left, tile.top - part.top
    right, bottom = left + part.width * part.resolution, top + part.height * part.resolution
    limits = tile.width * tile.resolution, tile.height * tile.resolution
    return _sub_grid(
        tile,
        max(left - distance, 0),
        max(top - distance, 0),
        min(right + distance, limits[0]),
        min(bottom + distance, limits[1]),
    )


def _sub_grid(tile: Grid, left: float, top: float, right: float, bottom: float) -> Grid:
    # Edges in m from the tile's upper left corner, to the right and down.
    width, height = (round((b - a) / tile.resolution) for a, b in ((left, right), (top, bottom)))
    return Grid(tile.epsg, tile.left + float(left), tile.top - float(top), tile.resolution, width, height)


def _outlines(roi: str) -> list[np.ndarray]:
    """Return the outlines of a region, longitude and latitude, shape (corners, 2)."""
    try:
        if roi.lstrip().startswith("["):
            west, south, east, north = (float(v) for v in json.loads(roi))
            east += 360 * (east < west)
            outlines = [np.array([(west, south), (east, south), (east, north), (west, north)])]
        else:
            document = json.loads(Path(roi).read_text(encoding="utf-8"))
            outlines = [np.array(ring, "f8")[:, :2] for ring in _rings(document)]
        if not outlines or any(not np.isfinite(o).all() or np.abs(o[:, 1]).max() > 90 for o in outlines):
            raise ValueError("no outline in degrees of longitude and latitude")
    except (OSError, ValueError, TypeError, KeyError, IndexError) as problem:
        raise StepError(f"roi {roi}: cannot be used ({problem}); {_HELP}") from problem
    return outlines


def _rings(document: dict) -> list:
    kind = document["type"]
    if kind == "FeatureCollection":
        return [ring for feature in document["features"] for ring in _rings(feature)]
    if kind == "Feature":
        return _rings(document["geometry"])
    if kind == "Polygon":
        return document["coordinates"][:1]
    if kind == "MultiPolygon":
        return [polygon[0] for polygon in document["coordinates"]]
    raise ValueError(f"{kind} is no area")


def _in_tile(outline: np.ndarray, tile: Grid) -> np.ndarray:
    """Return the corners of the outline's part in the tile, in m to the right of and below its upper left corner."""
    from rasterio.warp import transform, transform_bounds

    size = tile.width * tile.resolution, tile.height * tile.resolution
    edges = tile.left, tile.top - size[1], tile.left + size[0], tile.top
    west, south, east, north = transform_bounds(f"EPSG:{tile.epsg}", "EPSG:4326", *edges)
    east += 360 * (east < west)
    found = [np.empty((0, 2))]
    for turn in (-360, 0, 360):
        # Far from the tile its projection means nothing.
        near = _cut(outline + (turn, 0), (west - 1, max(south - 1, -90)), (east + 1, min(north + 1, 90)))
        if len(near):
            x, y = transform("EPSG:4326", f"EPSG:{tile.epsg}", *_dense(near).T)
            found.append(_cut(np.column_stack([np.array(x) - tile.left, tile.top - np.array(y)]), (0, 0), size))
    return np.vstack(found)


def _cut(ring: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Return the part of a ring in a rectangle (x, y)."""
    for smallest, largest in zip(low, high, strict=True):
        ring = west_of(ring, largest)
        ring = west_of(ring * (-1, 1), -smallest) * (-1, 1)
        ring = ring[:, ::-1]  # x and y change places, and back
    return ring


def _dense(ring: np.ndarray, pieces: int = 20) -> np.ndarray:
    """Return a ring with more corners: straight edges are bent in another projection."""
    share = np.arange(pieces)[:, None] / pieces
    return (ring[:, None] * (1 - share) + np.roll(ring, -1, axis=0)[:, None] * share).reshape(-1, 2)
