"""Sun and view angles of an L1C tile, from the tables of its metadata."""

import logging

import numpy as np
from lxml import etree

from steps.core.rasters import Grid
from steps.l1c.documents import Xml
from steps.l1c.validation import SUN, VIEW, check_range, fault_of_angles, mean_sun
from steps.sentinel2.bands import BANDS

logger = logging.getLogger(__name__)


def read_angles(tile: Xml, grid: Grid) -> tuple[dict[str, np.ndarray], Grid, tuple[float, float], tuple[str, ...]]:
    """Read sun and view angles at the nodes, and fill their gaps.

    The nodes begin at the tile's upper left corner. A node seen by several detectors gets the mean of their
    directions (of tan(zenith) times the unit vector of the azimuth), one seen by none the direction at the nearest
    node that is seen, and a band without any usable grid its mean direction (else nadir).

    Parameters
    ----------
    tile
        The tile's document.
    grid
        The tile's.

    Returns
    -------
    dict of str to numpy.ndarray
        `sun_zenith`, `view_azimuth_B01`, ...: degrees, float32 (rows, columns).
    Grid
        Whose pixel centres are the nodes.
    tuple of float
        Mean zenith and azimuth of the sun, degrees.
    tuple of str
        A sentence for everything that stood in.

    Raises
    ------
    StepError
        If the tables of the sun are missing, incomplete or implausible, or the sun is below the horizon.
    """
    sun, step = _tables(tile, tile.section(".//{*}Sun_Angles_Grid"), "Sun_Angles_Grid")
    shape = sun[0].shape
    if min(shape) < 2 or not np.isfinite(sun).all(axis=0).any():
        raise tile.wrong("Sun_Angles_Grid is empty")
    check_range(tile, "COL_STEP", step, of=" of Sun_Angles_Grid")
    if fault := fault_of_angles(sun[0], sun[1], SUN):
        raise tile.wrong(f"Sun_Angles_Grid has {fault}")
    vectors = _filled(_vectors(*sun)[None])
    angles = dict(zip(("sun_zenith", "sun_azimuth"), _angles_of(vectors), strict=True))
    zenith, azimuth = (
        tile.number(f".//{{*}}Mean_Sun_Angle/{{*}}{name}_ANGLE", finite=False) for name in ("ZENITH", "AZIMUTH")
    )
    at_nodes = _angles_of(vectors.mean(axis=(1, 2)))
    sun_angles, sentence = mean_sun(tile, (zenith, azimuth), (float(at_nodes[0]), float(at_nodes[1])))
    views, sentences = _views(tile, shape, step)
    nodes = Grid(grid.epsg, grid.left - step / 2, grid.top + step / 2, step, shape[1], shape[0])
    defaults = tuple(filter(None, (sentence, *sentences)))
    for default in defaults:
        logger.warning("%s: %s", tile.label, default)
    return angles | views, nodes, sun_angles, defaults


def _views(tile: Xml, shape: tuple[int, int], step: float) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return view angles of all bands at the nodes, and sentences on what stood in."""
    detectors: dict[str, dict[str, np.ndarray]] = {band: {} for band in BANDS}
    faults, total = {}, 0
    for element in tile.root.iterfind(".//{*}Viewing_Incidence_Angles_Grids"):
        tables, view_step = _tables(tile, element, "Viewing_Incidence_Angles_Grids")
        band, detector = tile.band(element, "bandId"), element.get("detectorId", "")
        total += 1
        if tables.shape[1:] != shape or view_step != step:
            continue  # some real products have a single zero
        if fault := fault_of_angles(tables[0], tables[1], VIEW):
            faults[f"{band} detector {detector}"] = fault
        elif detector in detectors[band]:
            raise tile.wrong(f"Viewing_Incidence_Angles_Grids of {band}, detector {detector}, is given twice")
        elif np.isfinite(tables).any():
            detectors[band][detector] = _vectors(*tables)
    means = tile.by_band(".//{*}Mean_Viewing_Incidence_Angle", "bandId")
    angles = {}
    for band, seen in detectors.items():
        direction = _filled(np.array(list(seen.values()))) if seen else _mean_view(tile, means, band, shape)
        angles[f"view_zenith_{band}"], angles[f"view_azimuth_{band}"] = _angles_of(direction)
    return angles, _sentences(detectors, faults, total)


def _sentences(detectors: dict[str, dict[str, np.ndarray]], faults: dict[str, str], total: int) -> list[str]:
    sentences = []
    if faults:
        which, fault = next(iter(faults.items()))
        sentences.append(
            f"View angles: {len(faults)} of {total} grids are implausible and set aside ({which}: {fault})."
        )
    if unseen := [band for band, seen in detectors.items() if not seen]:
        sentences.append(f"View angles: the product has no grid of {', '.join(unseen)}; its mean angles, else nadir.")
    every = set().union(*detectors.values())
    if lacking := [band for band, seen in detectors.items() if seen and set(seen) < every]:
        # in real products all bands have the same detectors
        words = f"grids of detectors that other bands have are missing in {', '.join(lacking)}; the nearest nodes"
        sentences.append(f"View angles: {words}.")
    return sentences


def _mean_view(tile: Xml, means: dict[str, etree._Element], band: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the mean view direction of a band at every node; nadir where there is none either."""
    zenith = azimuth = 0.0
    if band in means:
        angles = [tile.number("{*}" + name, means[band], finite=False) for name in ("ZENITH_ANGLE", "AZIMUTH_ANGLE")]
        if 0 <= angles[0] <= VIEW[0] and 0 <= angles[1] <= 360:
            zenith, azimuth = angles
    return _vectors(np.full(shape, zenith), np.full(shape, azimuth))


def _tables(tile: Xml, element: etree._Element, what: str) -> tuple[np.ndarray, float]:
    """Return zenith and azimuth of one angle grid (degrees; 2, rows, columns), and the nodes' distance in m."""
    tables = []
    for name in ("Zenith", "Azimuth"):
        rows = [row.text.split() for row in element.iterfind(f"{{*}}{name}/{{*}}Values_List/{{*}}VALUES") if row.text]
        if len({len(row) for row in rows}) != 1:
            raise tile.wrong(f"a table of {what} is incomplete")
        try:
            tables.append(np.array(rows, dtype="f8"))
        except ValueError as error:
            raise tile.wrong(f"a table of {what} has something that is no number") from error
    places = [f"{{*}}{name}/{{*}}{key}_STEP" for name in ("Zenith", "Azimuth") for key in ("COL", "ROW")]
    steps = {tile.number(place, element) for place in places}
    if tables[0].shape != tables[1].shape or len(steps) > 1:
        raise tile.wrong(f"the tables of {what} differ in size or step")
    return np.array(tables), steps.pop()


def _vectors(zenith: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    tangent = np.tan(np.radians(zenith))
    return np.array([tangent * np.sin(np.radians(azimuth)), tangent * np.cos(np.radians(azimuth))])


def _angles_of(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    east, north = vectors
    zenith = np.degrees(np.arctan(np.hypot(east, north)))
    return zenith.astype("f4"), (np.degrees(np.arctan2(east, north)) % 360).astype("f4")


def _filled(detectors: np.ndarray) -> np.ndarray:
    """Return the mean over detectors (detector, 2, rows, columns), gaps filled from the nearest node.

    Of two nodes at the same distance the one in the upper row, then in the left column, counts.
    """
    finite = np.isfinite(detectors)
    count = finite.all(axis=1).sum(axis=0)
    mean = np.where(finite, detectors, 0).sum(axis=0) / np.maximum(count, 1)
    known = np.argwhere(count > 0)
    for row, column in np.argwhere(count == 0):
        nearest = known[((known - (row, column)) ** 2).sum(axis=1).argmin()]
        mean[:, row, column] = mean[:, nearest[0], nearest[1]]
    return mean
