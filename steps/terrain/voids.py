"""Kernels for the gaps of an elevation model: depths of the sea, zeros that stand for nothing, and voids."""

import numpy as np
from scipy import ndimage
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError, cKDTree

#: Land is not lower than this, m; a model with so many different heights below it has the depths of the sea.
LOWEST = -500
_DEPTHS = 100
#: The sea begins where half of a void's rim is within the first of 0 m, and nine tenths are within the second.
_SHORE = {50: 10, 90: 30}
#: More pixels than this around voids are thinned out by means of neighbours first: triangulation takes too long.
_MOST_SOURCES = 300_000
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def level_sea(heights: np.ndarray) -> bool:
    """Put depths of the sea at 0 m, or make lone impossible depths NaN, both in place.

    Parameters
    ----------
    heights : float32, shape (rows, columns)
        m, NaN where not known.

    Returns
    -------
    bool
        Whether there are depths of the sea: then all that is below 0 m and connected with them is sea.
    """
    deep = heights < LOWEST
    if not deep.any():
        return False
    if np.unique(heights[deep]).size < _DEPTHS:
        heights[deep] = np.nan
        return False
    labels, _ = ndimage.label(heights < 0)
    heights[np.isin(labels, np.unique(labels[deep]))] = 0
    return True


def false_zeros(heights: np.ndarray, cliff: float) -> bool:
    """Make areas of exactly 0 m NaN, in place, whose rim is higher than `cliff` (m) nearly everywhere: no sea is so."""
    zero = heights == 0
    if not zero.any():
        return False
    beside = np.concatenate([heights[_shifted(zero, step)] for step in _NEIGHBOURS])
    if not (np.abs(beside) > cliff).any():
        return False
    labels, count = ndimage.label(zero)
    rim = _rim(labels, heights, ~zero & ~np.isnan(heights))
    least = _percentiles(rim, count, 20)
    false = (least > cliff) & np.isfinite(least)
    false[0] = False
    heights[false[labels]] = np.nan
    return bool(false.any())


def _shifted(mask: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Return the mask moved by a pixel; nothing enters at the edge."""
    result = np.zeros_like(mask)
    down, right = step
    rows, columns = mask.shape
    result[max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = mask[
        max(-down, 0) : rows + min(-down, 0), max(-right, 0) : columns + min(-right, 0)
    ]
    return result


def _rim(labels: np.ndarray, heights: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of areas, and magnitudes of the heights of the known pixels beside them."""
    areas, magnitudes = [], []
    for step in _NEIGHBOURS:
        moved = _shifted(labels, step)
        beside = (moved > 0) & known
        areas.append(moved[beside])
        magnitudes.append(np.abs(heights[beside]))
    return np.concatenate(areas), np.concatenate(magnitudes)


def _percentiles(rim: tuple[np.ndarray, np.ndarray], count: int, percent: float) -> np.ndarray:
    """Return a percentile of the rim of each of `count` areas, by label; infinite where there is no rim."""
    order = np.lexsort(rim[::-1])
    labels, heights = rim[0][order], rim[1][order]
    first = np.searchsorted(labels, np.arange(count + 2))
    size = np.diff(first)
    result = np.full(count + 1, np.inf)
    has = size > 0
    result[has] = heights[first[:-1][has] + ((size[has] - 1) * percent / 100).astype(int)]
    return result


def sea(void: np.ndarray, heights: np.ndarray, known: np.ndarray, wide: tuple[float, float]) -> np.ndarray:
    """Return which void pixels are sea: wide areas at whose rim the model has come down to 0 m.

    Parameters
    ----------
    void, known : bool, shape (rows, columns)
        Pixels without a height, and those whose heights may be looked at.
    heights : float32
        m.
    wide
        Rows and columns from which on an area is not just bridged.
    """
    labels, count = ndimage.label(void)
    rim = _rim(labels, heights, known)
    is_sea = np.all([_percentiles(rim, count, percent) <= limit for percent, limit in _SHORE.items()], axis=0)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        is_sea[number] &= all(part.stop - part.start > n for part, n in zip(box, wide, strict=True))
    is_sea[0] = False
    return is_sea[labels]


def bridge(heights: np.ndarray, void: np.ndarray, pixel: tuple[float, float], reach: float, threads: int) -> None:
    """Fill voids from the pixels around them, in place: by triangles between these, and level beyond them.

    Parameters
    ----------
    heights : float32, shape (rows, columns)
        m, NaN where not known.
    void : bool
        What to fill.
    pixel
        Height and width of a pixel, m.
    reach
        Void pixels farther than this from any other stay as they are, m.
    threads
        To use.
    """
    sources = _around(heights, void)
    if len(sources) > _MOST_SOURCES:
        for _ in range(2):
            _close(heights, np.argwhere(void & np.isnan(heights)))
        void = void & np.isnan(heights)
        sources = _around(heights, void)
    targets = np.argwhere(void)
    if not (len(sources) and len(targets)):
        return
    known, size = heights[tuple(sources.T)], np.array(pixel)
    distance, nearest = cKDTree(sources * size).query(targets * size, distance_upper_bound=reach, workers=threads)
    near = np.isfinite(distance)
    targets, values = targets[near], known[nearest[near]]
    try:
        between = LinearNDInterpolator(sources * size, known)(targets * size)
        values = np.where(np.isnan(between), values, between)
    except QhullError:  # all in one line
        pass
    heights[tuple(targets.T)] = values


def _around(heights: np.ndarray, void: np.ndarray) -> np.ndarray:
    """Return rows and columns of the known pixels beside voids."""
    beside = np.zeros_like(void)
    for step in _NEIGHBOURS:
        beside |= _shifted(void, step)
    return np.argwhere(beside & ~void & ~np.isnan(heights))


def _close(heights: np.ndarray, targets: np.ndarray) -> None:
    """Give pixels of which three neighbours or more are known the mean of these, in place."""
    near = []
    for step in _NEIGHBOURS:
        rows, columns = (np.clip(targets[:, axis] + step[axis], 0, heights.shape[axis] - 1) for axis in (0, 1))
        near.append(heights[rows, columns])
    enough = np.isfinite(near).sum(axis=0) >= 3
    heights[tuple(targets[enough].T)] = np.nanmean(np.array(near)[:, enough], axis=0)


def steepness(heights: np.ndarray, pixel: tuple[float, float], base: float) -> float:
    """Return the median tangent of the slope of heights over about `base` (m) or a pixel (height, width, m)."""
    n = max(1, round(base / max(pixel)))
    rows, columns = (size // n for size in heights.shape)
    if n > 1:
        heights = heights[: rows * n, : columns * n].reshape(rows, n, columns, n).mean(axis=(1, 3))
    right = np.diff(heights[::4], axis=1) / (n * pixel[1])
    down = np.diff(heights[:, ::4], axis=0) / (n * pixel[0])
    values = np.abs(np.concatenate([right.ravel(), down.ravel()]))
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else 0.0


def few(heights: np.ndarray, most: int) -> np.ndarray | None:
    """Return the different heights (m, ascending) if there are `most` of them or fewer, else None."""
    seen = heights[np.isfinite(heights)]
    for step in (max(1, seen.size // 1000), 1):
        different = np.unique(seen[::step])
        if different.size > most:
            return None
    return different
