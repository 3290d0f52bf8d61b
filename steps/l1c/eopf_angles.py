"""Sun and view angles of an EOPF Zarr, as the tile metadata of a SAFE have them."""

import logging
import re
from typing import TYPE_CHECKING

from lxml import etree

from steps.core.errors import StepError
from steps.l1c.documents import element
from steps.l1c.eopf_metadata import Told, corner, image_path, shortest
from steps.l1c.eopf_store import Store
from steps.l1c.files import AGAIN
from steps.sentinel2.bands import BANDS
from steps.sentinel2.geometry import HALF_PARALLAX

if TYPE_CHECKING:
    import numpy as np


logger = logging.getLogger(__name__)

GEOMETRY = "conditions/geometry"
#: By how much directions may differ from those of the bands, milliradians.
_TOLERANCE = 0.6


def angles(source: Store, told: Told) -> etree._Element:
    """Return `Tile_Angles`; raise `StepError` if arrays are missing or do not fit."""
    sun = _angle_array(source, "sun_angles", 3)
    views = _angle_array(source, "viewing_incidence_angles", 5)
    if sun.shape[1:] != views.shape[3:] or views.shape[0] != len(BANDS):
        raise StepError(
            f"{source.path / GEOMETRY}: sun_angles has shape {sun.shape} and viewing_incidence_angles {views.shape}, "
            f"which do not fit; {AGAIN}"
        )
    step = _step(source)
    identifiers, order = _detectors(source, views.shape[1]), _bands(source, views)
    grids = [
        element(
            "Viewing_Incidence_Angles_Grids",
            _tables(views[order[index], detector], step),
            bandId=str(index),
            detectorId=str(identifiers[detector]),
        )
        for index in range(len(BANDS))
        for detector in range(views.shape[1])
    ]
    keys = [f"mean_sun_{name}_angle_in_deg_for_all_bands_all_detectors" for name in ("zenith", "azimuth")]
    if source.array(f"{GEOMETRY}/mean_sun_angles"):
        zenith, azimuth = source.values(f"{GEOMETRY}/mean_sun_angles")
    else:
        zenith, azimuth = map(told.number, keys)
    means = []
    if source.array(f"{GEOMETRY}/mean_viewing_incidence_angles"):
        pairs = source.values(f"{GEOMETRY}/mean_viewing_incidence_angles")
        for index, place in enumerate(order):
            means.append(element("Mean_Viewing_Incidence_Angle", _pair(*pairs[place]), bandId=str(index)))
    return element(
        "Tile_Angles",
        [
            element("Sun_Angles_Grid", _tables(sun, step)),
            element("Mean_Sun_Angle", _pair(zenith, azimuth)),
            *grids,
            element("Mean_Viewing_Incidence_Angle_List", means),
        ],
        metadataLevel="Standard",
    )


def _angle_array(source: Store, name: str, axes: int):
    """Return angles of shape (..., zenith and azimuth, rows, columns)."""
    values = source.values(f"{GEOMETRY}/{name}")
    if values.ndim != axes or values.shape[-3] != 2:
        raise StepError(f"{source.path / GEOMETRY / name}: has shape {values.shape}, which angles do not have; {AGAIN}")
    return values


def _step(source: Store) -> float:
    """Return the distance of the nodes (m), whose coordinates begin at the upper left corner of the tile."""
    x, y = (source.values(f"{GEOMETRY}/{axis}").astype("f8") for axis in "xy")
    left, top, _ = corner(source, image_path("B02")) or (x[0], y[0], 0)
    step = float(x[1] - x[0])
    if (x[0], y[0]) != (left, top) or y[0] - y[1] != step:
        raise StepError(
            f"{source.path / GEOMETRY}: its nodes begin at ({x[0]:g}, {y[0]:g}), not at the tile's upper left corner "
            f"({left:g}, {top:g}), or differ in distance; {AGAIN}"
        )
    return step


def _bands(source: Store, views: "np.ndarray") -> list[int]:
    """Return the places of the bands in arrays of angles.

    EOPF-CPM 2.8 labels all bands with the same letter, and leaves them in the order of the XML file that it read, which
    differs between products. There each band is known by where it looks.
    """
    labels = [str(label).upper() for label in _labels(source, "band")]
    if sorted(labels) == sorted(BANDS):
        return [labels.index(band) for band in BANDS]
    order = order_of_bands(views)
    if order is None:
        words = "the bands of the angles have no names and look nowhere known; taken in their usual order"
        logger.warning("%s: %s", source.path / GEOMETRY, words)
    return order or list(range(len(BANDS)))


def order_of_bands(views: "np.ndarray") -> list[int] | None:
    """Return the places of the bands in an array of view angles, by the direction each looks relative to the others.

    In the focal plane bands lie one behind the other, so that in the same place each looks a bit farther ahead than
    the next one (`steps.sentinel2.geometry.HALF_PARALLAX`); with tangents of zenith angles for lengths, on a line.

    Parameters
    ----------
    views
        Degrees (bands, detectors, zenith and azimuth, rows, columns), NaN where a detector does not look.

    Returns
    -------
    list of int or None
        None if the directions are not those of the bands.
    """
    import numpy as np

    zenith, azimuth = np.radians(np.moveaxis(views, 2, 0))
    vectors = np.tan(zenith) * np.array([np.sin(azimuth), np.cos(azimuth)])
    seen = np.isfinite(vectors).all(axis=(0, 1)).sum(axis=(1, 2))
    if not seen.any():
        return None
    best = vectors[:, :, seen.argmax()]
    directions = best[:, :, np.isfinite(best).all(axis=(0, 1))].mean(axis=2).T
    directions = 1e3 * (directions - directions.mean(axis=0))
    along = directions @ np.linalg.svd(directions)[2][0]
    parallax = 1e3 * np.tan(np.radians([HALF_PARALLAX[band] for band in BANDS]))
    parallax -= parallax.mean()
    for ahead in (along, -along):  # detectors of odd numbers look ahead, those of even ones back
        if np.abs(np.sort(ahead) - np.sort(parallax)).max() < _TOLERANCE:
            return np.argsort(ahead)[np.argsort(np.argsort(parallax))].tolist()
    return None


def _labels(source: Store, axis: str) -> list:
    return source.values(f"{GEOMETRY}/{axis}").tolist() if source.array(f"{GEOMETRY}/{axis}") else []


def _detectors(source: Store, count: int) -> list[int]:
    """Return the numbers of the detectors, which some versions label with the same letter each.

    They are then those that are seen in a footprint, in their order.
    """
    import numpy as np

    numbers = [re.search(r"\d+$", str(label)) for label in _labels(source, "detector")]
    if len(numbers) == count and all(numbers):
        found = [int(number[0]) for number in numbers]  # type: ignore[index]
        if len(set(found)) == count:
            return found
    path = "conditions/mask/detector_footprint/r60m/b01"
    seen = np.unique(source.values(path)).tolist() if source.array(path) else []
    seen = [number for number in seen if number]
    return seen if len(seen) == count else list(range(1, count + 1))


def _tables(angles, step: float) -> list[etree._Element]:
    return [
        element(
            name,
            [
                element("COL_STEP", shortest(step), unit="m"),
                element("ROW_STEP", shortest(step), unit="m"),
                element("Values_List", [element("VALUES", " ".join(_angle(v) for v in row)) for row in table.tolist()]),
            ],
        )
        for name, table in zip(("Zenith", "Azimuth"), angles, strict=True)
    ]


def _angle(value: float) -> str:
    return "NaN" if value != value else repr(value)


def _pair(zenith: float, azimuth: float) -> list[etree._Element]:
    values = (("ZENITH_ANGLE", zenith), ("AZIMUTH_ANGLE", azimuth))
    return [element(name, repr(float(value)), unit="deg") for name, value in values]
