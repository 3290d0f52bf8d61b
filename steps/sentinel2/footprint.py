"""The area of a product that has data, as GeoJSON in longitude and latitude."""

import numpy as np

from steps.core.rasters import Grid


def footprint(valid: np.ndarray, grid: Grid) -> tuple[dict, list[float]]:
    """Return the convex hull of the valid pixels; a tile, whole or cut by the edge of the swath, is convex.

    Parameters
    ----------
    valid
        bool, shape (rows, columns) of `grid`, at least one of them true.
    grid
        Where the pixels lie.

    Returns
    -------
    geometry
        GeoJSON Polygon in degrees; for a tile that crosses the meridian of 180 degrees a MultiPolygon that is cut
        there (RFC 7946, section 3.1.9).
    bbox
        West, south, east, north in degrees; west > east where it crosses (RFC 7946, section 5.2).
    """
    from rasterio.warp import transform

    hull = _hull(valid) * (grid.resolution, -grid.resolution) + (grid.left, grid.top)
    # Upside down, the order of the corners is clockwise; GeoJSON wants the other one.
    longitude, latitude = np.array(transform(f"EPSG:{grid.epsg}", "EPSG:4326", *hull[::-1].T))
    crosses = np.ptp(longitude) > 180
    if crosses:
        longitude = longitude % 360
    ring = np.column_stack([longitude, latitude])
    parts = [west_of(ring, 180.0), west_of(ring * (-1, 1), -180.0) * (-1, 1) - (360, 0)] if crosses else [ring]
    parts = [np.round(part, 6) for part in parts]
    polygons = [[np.vstack([part, part[:1]]).tolist()] for part in parts]
    geometry = (
        {"type": "MultiPolygon", "coordinates": polygons}
        if crosses
        else {"type": "Polygon", "coordinates": polygons[0]}
    )
    south, north = (float(f([f(part[:, 1]) for part in parts])) for f in (np.min, np.max))
    return geometry, [float(parts[0][:, 0].min()), south, float(parts[-1][:, 0].max()), north]


def _hull(valid: np.ndarray) -> np.ndarray:
    """Return the corners (column, row) of the hull, clockwise as an image shows them."""
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(valid.any(axis=1))
    ends = valid[rows].argmax(axis=1), valid.shape[1] - valid[rows, ::-1].argmax(axis=1)
    corners = np.vstack([np.column_stack([column, row]) for column in ends for row in (rows, rows + 1)])
    return corners[ConvexHull(corners).vertices]


def west_of(ring: np.ndarray, meridian: float) -> np.ndarray:
    """Return the part of a ring, shape (corners, 2), degrees, where x <= `meridian` (Sutherland and Hodgman 1974)."""
    end = np.roll(ring, -1, axis=0)
    inside = ring[:, 0] <= meridian
    crosses = inside != np.roll(inside, -1)
    rise = np.where(crosses, end[:, 0] - ring[:, 0], 1)[:, None]
    crossings = ring + (end - ring) * (meridian - ring[:, :1]) / rise
    # Each corner is followed by the crossing of the edge that begins there.
    corners, kept = np.stack([ring, crossings], axis=1), np.stack([inside, crosses], axis=1)
    return corners[kept]


def corners(grid: Grid) -> list[tuple[float, float]]:
    """Return the corners as (latitude, longitude) in degrees, closed, clockwise from the upper left."""
    from rasterio.warp import transform

    right, bottom = grid.left + grid.width * grid.resolution, grid.top - grid.height * grid.resolution
    x = [grid.left, right, right, grid.left, grid.left]
    y = [grid.top, grid.top, bottom, bottom, grid.top]
    longitude, latitude = transform(f"EPSG:{grid.epsg}", "EPSG:4326", x, y)
    return [(round(b, 9), round(a, 9)) for a, b in zip(longitude, latitude, strict=True)]
