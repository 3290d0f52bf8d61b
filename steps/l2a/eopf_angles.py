"""Sun and view angles of a product in an EOPF Zarr."""

import numpy as np
from lxml import etree

from steps.l1c.documents import Xml
from steps.l2a.eopf import GEOMETRY, EopfWriter
from steps.sentinel2.bands import BANDS
from steps.sentinel2.scene import Scene

_NAMES = ("Zenith", "Azimuth")


def write_angles(writer: EopfWriter, tile: Xml, scene: Scene) -> None:
    """Write the angles of tile metadata, of the nodes of the part that is processed and on the whole.

    Parameters
    ----------
    writer
        Of the Zarr.
    tile
        Tile metadata of the L1C product, cut to that part.
    scene
        What is processed.

    Raises
    ------
    StepError
        If a table is missing or broken.
    """
    sun = tile.section(".//{*}Sun_Angles_Grid")
    tables = _tables(tile, sun)
    grids: dict[tuple[int, int], np.ndarray] = {}
    for element in tile.root.iterfind(".//{*}Viewing_Incidence_Angles_Grids"):
        found = _tables(tile, element)
        if found.shape == tables.shape:  # some real products have a single zero
            detector = tile.parse(int, element.get("detectorId", ""), "detectorId")
            grids[BANDS.index(tile.band(element, "bandId")), detector] = found
    detectors = sorted({detector for _, detector in grids}) or [0]
    views = np.full((len(BANDS), len(detectors), *tables.shape), np.nan)
    for (band, detector), found in grids.items():
        views[band, detectors.index(detector)] = found
    means = np.full((len(BANDS), 2), np.nan)
    for name, element in tile.by_band(".//{*}Mean_Viewing_Incidence_Angle", "bandId").items():
        means[BANDS.index(name)] = _pair(tile, element)
    step = tile.number("{*}Zenith/{*}COL_STEP", sun)
    grid = scene.part
    coordinates = {
        "angle": np.array(["zenith", "azimuth"]),
        "band": np.array([band.lower() for band in BANDS]),
        "detector": np.array(detectors, "i8"),
        "x": grid.left + step * np.arange(tables.shape[2]),
        "y": grid.top - step * np.arange(tables.shape[1]),
    }
    for axis, values in coordinates.items():
        writer.coordinate(f"{GEOMETRY}/{axis}", values, **({"units": "m"} if axis in "xy" else {}))
    arrays = {
        "sun_angles": (tables, ("angle", "y", "x"), "direction of the sun"),
        "mean_sun_angles": (np.array([scene.sun_zenith, scene.sun_azimuth]), ("angle",), "mean direction of the sun"),
        "viewing_incidence_angles": (views, ("band", "detector", "angle", "y", "x"), "direction of the view"),
        "mean_viewing_incidence_angles": (means, ("band", "angle"), "mean direction of the view"),
    }
    for array, (values, dimensions, title) in arrays.items():
        own = {"long_name": title, "units": "degrees"}
        writer.table(f"{GEOMETRY}/{array}", values.astype("f8"), dimensions, own)


def _tables(tile: Xml, element: etree._Element) -> np.ndarray:
    """Return zenith and azimuth of a grid (2, rows, columns), degrees."""
    rows = [
        [(row.text or "").split() for row in element.iterfind(f"{{*}}{name}/{{*}}Values_List/{{*}}VALUES")]
        for name in _NAMES
    ]
    try:
        return np.array(rows, "f8")
    except ValueError as error:
        raise tile.wrong(f"a table of {etree.QName(element).localname} is incomplete") from error


def _pair(tile: Xml, element: etree._Element) -> list[float]:
    return [tile.number(f"{{*}}{name.upper()}_ANGLE", element, finite=False) for name in _NAMES]
