"""The region of interest: which part of a tile the user wants, and how much around it has to be looked at."""

import json
import math
import re
from pathlib import Path

import numpy as np

from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.sentinel2.footprint import west_of

#: The part is snapped outward to whole pixels of 60 m, m; it measures at least so many of them each way.
_PIXEL = 60
_LEAST = 16
#: What is processed begins at a multiple of this from the tile's corner, m, so that the nodes of every mesh at every
#: resolution (0.96, 1.28 and 1.92 km apart) are those of the whole tile.
ALIGNMENT = 3840
#: Around the part the images are decoded in full so far, m: the reach of filters at 20 and 60 m.
DETAIL = 1200
#: Clouds up to this height throw shadows that count, and the farthest these are looked for, m.
_CLOUD_TOP = 6000
_FARTHEST = 30_000
#: Edges longer than this are divided into up to 20, degrees.
_EDGE = 0.01
#: A file is at most this large, bytes: outlines of a few hundred thousand corners.
_LARGEST_FILE = 50 * 2**20
_HELP = "give [west, south, east, north] in degrees or a GeoJSON file with a Polygon"


def part_of(roi: str, tile: Grid) -> Grid | None:
    """Return the bounding box of a region in a tile's grid.

    Parameters
    ----------
    roi
        `[west, south, east, north]` in degrees (WGS 84; west > east crosses the date line), or the path of a GeoJSON
        file: Polygon, MultiPolygon, Feature or collections of these, in degrees or in the system of a member `crs`.
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
    """Return what has to be processed for a part: all within a radius (m), and the clouds that may shade it.

    Clouds count only if zenith and azimuth of the sun (degrees) are given.
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
            outlines = [_box(*(float(v) for v in json.loads(roi)))]
        else:
            document = _document(Path(roi))
            outlines = [_outline(ring, crs) for ring, crs in _rings(document)]
        if not outlines:
            raise ValueError("no area in it")
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise StepError(f"roi {roi:.300}: cannot be used ({error!s:.300}); {_HELP}") from error
    except RecursionError as error:
        raise StepError(f"roi {roi:.300}: cannot be used (nested too deep); {_HELP}") from error
    return outlines


def _box(west: float, south: float, east: float, north: float) -> np.ndarray:
    if south > north:
        raise ValueError("its south is north of its north")
    east += 360 * (east < west)
    if east - west > 180 and east > 180:
        raise ValueError("its west is east of its east")
    return _checked(np.array([(west, south), (east, south), (east, north), (west, north)]))


def _document(path: Path) -> dict:
    if not path.is_file():
        raise ValueError("there is no such file")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"larger than {_LARGEST_FILE // 2**20} MB; simplify its outlines")
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _rings(document: dict, crs: str | None = None) -> list[tuple[list, str | None]]:
    """Return the outer rings of all areas in a document, and the name of each one's reference system, if it has one."""
    if document is None:  # a feature without a place
        return []
    kind, crs = document["type"], _named_crs(document) or crs
    parts = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
    if kind in parts:
        return [ring for part in document[parts[kind]] for ring in _rings(part, crs)]
    if kind == "Feature":
        return _rings(document["geometry"], crs)
    if kind == "Polygon":
        return [(ring, crs) for ring in document["coordinates"][:1]]
    if kind == "MultiPolygon":
        return [(polygon[0], crs) for polygon in document["coordinates"] if polygon]
    raise ValueError(f"{kind} is no area")


def _named_crs(document: dict) -> str | None:
    """Return the name in a member `crs` (GeoJSON of 2008, as GIS programs still write it)."""
    if document.get("crs") is None:
        return None
    name = document["crs"]["properties"]["name"]
    return None if re.search(r"\bCRS:?84$", name) or re.search(r"\bEPSG:+4326$", name) else name


def _outline(ring: list, crs: str | None) -> np.ndarray:
    corners = np.array([corner[:2] for corner in ring])
    if corners.dtype.kind not in "iuf" or corners.ndim != 2 or len(corners) < 3:
        raise ValueError("an outline has three or more corners, of two numbers each")
    corners = corners.astype("f8")
    if crs:
        corners = _in_degrees(corners, crs)
    return _checked(_unwrapped(_checked(corners)))


def _in_degrees(corners: np.ndarray, crs: str) -> np.ndarray:
    """Transform an outline from another reference system, with corners enough that its edges stay where they are."""
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        if not np.isfinite(corners).all():
            raise ValueError("corners that are no finite numbers")
        length = np.abs(np.roll(corners, -1, axis=0) - corners).max(axis=1)
        corners = _dense(corners, length.max() / 20)
        return np.column_stack(transform(CRS.from_user_input(crs), "EPSG:4326", *corners.T))
    except RasterioError as error:
        raise ValueError(f"its crs {crs} cannot be used: {error}") from error


def _checked(outline: np.ndarray) -> np.ndarray:
    if not np.isfinite(outline).all() or np.abs(outline[:, 1]).max() > 90 or np.abs(outline[:, 0]).max() > 540:
        raise ValueError(
            "its coordinates are no degrees of longitude and latitude, in this order; other coordinates need a `crs`"
        )
    return outline


def _unwrapped(outline: np.ndarray) -> np.ndarray:
    """Let longitudes go on beyond 180 degrees where edges cross the date line: they take the shorter way around.

    An edge of 360 degrees is the border of a map of the world.
    """
    way = np.diff(outline[:, 0], append=outline[:1, 0])
    jumps = np.where(np.abs(way) < 360, -360 * np.rint(way / 360), 0)
    if jumps.sum():
        raise ValueError("it goes around a pole")
    return outline + np.column_stack([np.concatenate([[0], np.cumsum(jumps)[:-1]]), np.zeros(len(outline))])


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
            x, y = transform("EPSG:4326", f"EPSG:{tile.epsg}", *_dense(near, _EDGE).T)
            found.append(_cut(np.column_stack([np.array(x) - tile.left, tile.top - np.array(y)]), (0, 0), size))
    return np.vstack(found)


def _cut(ring: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Return the part of a ring in a rectangle (x, y)."""
    for smallest, largest in zip(low, high, strict=True):
        ring = west_of(ring, largest)
        ring = west_of(ring * (-1, 1), -smallest) * (-1, 1)
        ring = ring[:, ::-1]  # x and y change places, and back
    return ring


def _dense(ring: np.ndarray, longest: float) -> np.ndarray:
    """Return a ring with more corners, none farther from the next than `longest`: straight edges bend in projection."""
    end = np.roll(ring, -1, axis=0)
    length = np.abs(end - ring).max(axis=1)
    pieces = np.clip(np.ceil(length / longest if longest else length), 1, 20).astype(int)
    which = np.repeat(np.arange(len(ring)), pieces)
    first = np.cumsum(pieces) - pieces
    share = ((np.arange(len(which)) - first[which]) / pieces[which])[:, None]
    return ring[which] * (1 - share) + end[which] * share
