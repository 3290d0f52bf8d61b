"""What an L1C product says of itself: its XML files, read by element and id.

Nothing is derived from a file's name or a date, but the band of an `IMAGE_FILE`, which has no id.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from lxml import etree

from steps.artefacts import Grid
from steps.errors import StepError
from steps.sentinel2.auxiliary import read_auxiliary
from steps.sentinel2.bands import BANDS, RESOLUTIONS
from steps.sentinel2.safe import PRODUCT_XML, Safe, name_in, product_metadata
from steps.sentinel2.scene import Band, Scene, SpectralResponse

logger = logging.getLogger(__name__)

#: The newest processing baseline whose format is known.
NEWEST_BASELINE = "05.11"
_AGAIN = "download the product again"


@dataclass(frozen=True)
class Mask:
    """One mask file of the product.

    Attributes
    ----------
    kind
        `MSK_QUALIT`, `MSK_DEFECT`, ...
    band
        Name of its band, or None if it is for all.
    name
        Path inside the product.
    """

    kind: str
    band: str | None
    name: str


@dataclass(frozen=True)
class L1C:
    """An L1C product: what its XML files say.

    Attributes
    ----------
    safe
        Its files.
    scene
        All that later stages need to know.
    angles
        Name (`sun_zenith`, `view_azimuth_B01`, ...) to degrees at the nodes, float32 (rows, columns).
    nodes
        The grid whose pixel centres are the nodes.
    images
        Band to path inside the product.
    masks
        All mask files.
    nodata, saturated
        Special values of the DN.
    """

    safe: Safe
    scene: Scene
    angles: dict[str, np.ndarray]
    nodes: Grid
    images: dict[str, str]
    masks: tuple[Mask, ...]
    nodata: int
    saturated: int


class _Xml:
    """An XML file of the product, which says which file and element is meant when one is missing."""

    def __init__(self, root: etree._Element, label: str):
        self.root, self.label = root, label

    def text(self, path: str, element: etree._Element | None = None) -> str:
        """Return the text of the first element at a path."""
        found = (self.root if element is None else element).findtext(path)
        if not found or not found.strip():
            raise StepError(f"{self.label}: has no {path.replace('.//', '').replace('{*}', '')}; {_AGAIN}")
        return found.strip()

    def number(self, path: str, element: etree._Element | None = None) -> float:
        """Return the number in the first element at a path."""
        return self.parse(float, self.text(path, element), path)

    def parse(self, kind, text: str, what: str):
        """Return `kind(text)`."""
        try:
            return kind(text)
        except ValueError as problem:
            what = what.replace(".//", "").replace("{*}", "")
            raise StepError(f"{self.label}: {what} is '{text[:40]}', which is no number; {_AGAIN}") from problem

    def by_band(self, path: str, key: str) -> dict[str, etree._Element]:
        """Return the elements at a path by the band that their attribute `key` tells."""
        return {self.band(element, key): element for element in self.root.iterfind(path)}

    def band(self, element: etree._Element, key: str) -> str:
        """Return the band that an element's attribute `key` tells."""
        index = self.parse(int, element.get(key, ""), key)
        if not 0 <= index < len(BANDS):
            raise StepError(f"{self.label}: {key} {index} is no band of Sentinel-2; {_AGAIN}")
        return BANDS[index]


def read_l1c(safe: Safe, ozone: float) -> L1C:
    """Read all that an L1C product says of itself.

    Parameters
    ----------
    safe
        The product's files.
    ozone
        Column to take where the product has none, DU.

    Raises
    ------
    StepError
        If a file or an element is missing or broken.
    """
    product, images, granule, tile = _documents(safe)
    grid = _grid(tile)
    angles, nodes, angle_defaults = _angles(tile, grid)
    auxiliary, defaults = read_auxiliary(safe, granule, ozone, grid)
    sun_zenith, sun_azimuth = _mean_sun(tile, angles)
    special = _special_values(product)
    scene = Scene(
        product=name_in(safe, product.root),
        satellite=_satellite(product),
        tile=_tile(tile),
        sensing_time=tile.text(".//{*}SENSING_TIME"),
        baseline=_baseline(product),
        quantification=product.number(".//{*}QUANTIFICATION_VALUE"),
        earth_sun=product.number(".//{*}Reflectance_Conversion/{*}U"),
        grid=grid,
        sun_zenith=sun_zenith,
        sun_azimuth=sun_azimuth,
        bands=_bands(product),
        auxiliary=auxiliary,
        defaults=(*angle_defaults, *defaults),
    )
    nodata, saturated = special.get("NODATA", 0), special.get("SATURATED", 65535)
    return L1C(safe, scene, angles, nodes, images, _masks(tile), nodata, saturated)


def internal_numbers(product: L1C, band: str, dn: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return digital numbers of a band in the internal scale, and their flags at 20 m (see `internal_scale`)."""
    from steps.kernels.levels import internal_scale

    return internal_scale(
        dn,
        nodata=product.nodata,
        saturated=product.saturated,
        offset=product.scene.bands[band].offset,
        quantification=product.scene.quantification,
        size=size,
    )


def tile_grid(safe: Safe) -> Grid:
    """Return the grid at 10 m of a product; errors as of `read_l1c`."""
    return _grid(_documents(safe)[-1])


def _documents(safe: Safe) -> tuple[_Xml, dict[str, str], PurePosixPath, _Xml]:
    """Return the product's XML, the images it names, and the granule's path and XML."""
    product = _Xml(product_metadata(safe), safe.label(PRODUCT_XML))
    images = _images(product)
    granule = PurePosixPath(next(iter(images.values()))).parent.parent
    name = str(granule / "MTD_TL.xml")
    return product, images, granule, _Xml(safe.xml(name), safe.label(name))


def _images(product: _Xml) -> dict[str, str]:
    """Return the path of each band's image; `IMAGE_FILE` has no extension."""
    images = {}
    for element in product.root.iterfind(".//{*}IMAGE_FILE"):
        if found := re.search(r"_(B\d\d|B8A)$", name := (element.text or "").strip()):
            images[found[1]] = name + ".jp2"
    if missing := [band for band in BANDS if band not in images]:
        raise StepError(f"{product.label}: names no IMAGE_FILE of {', '.join(missing)}; {_AGAIN}")
    return images


def _masks(tile: _Xml) -> tuple[Mask, ...]:
    masks = []
    for element in tile.root.iterfind(".//{*}MASK_FILENAME"):
        band = tile.band(element, "bandId") if "bandId" in element.attrib else None
        masks.append(Mask(element.get("type", ""), band, (element.text or "").strip()))
    return tuple(masks)


def _satellite(product: _Xml) -> str:
    name = product.text(".//{*}SPACECRAFT_NAME")
    if not (found := re.fullmatch(r"Sentinel-2([A-Z])", name)):
        raise StepError(f"{product.label}: SPACECRAFT_NAME is '{name}', which is no Sentinel-2; {_AGAIN}")
    return "S2" + found[1]


def _tile(tile: _Xml) -> str:
    identifier = tile.text(".//{*}TILE_ID")
    if not (found := re.search(r"_(T\d\d[A-Z]{3})_", identifier)):
        raise StepError(f"{tile.label}: TILE_ID '{identifier}' names no tile; {_AGAIN}")
    return found[1]


def _baseline(product: _Xml) -> str:
    baseline = product.text(".//{*}PROCESSING_BASELINE")
    if baseline > NEWEST_BASELINE:
        logger.warning(
            "%s: baseline %s is newer than any known (%s); it is processed by what its metadata say",
            product.label,
            baseline,
            NEWEST_BASELINE,
        )
    return baseline


def _special_values(product: _Xml) -> dict[str, int]:
    return {
        product.text("{*}SPECIAL_VALUE_TEXT", element): int(product.number("{*}SPECIAL_VALUE_INDEX", element))
        for element in product.root.iterfind(".//{*}Special_Values")
    }


def _bands(product: _Xml) -> dict[str, Band]:
    """Return offset (0 where the product has none), irradiance and response of each band, by id."""
    offsets = product.by_band(".//{*}RADIO_ADD_OFFSET", "band_id")
    irradiances = product.by_band(".//{*}SOLAR_IRRADIANCE", "bandId")
    responses = product.by_band(".//{*}Spectral_Information", "bandId")
    if offsets and len(offsets) < len(BANDS):
        raise StepError(f"{product.label}: RADIO_ADD_OFFSET is given for {len(offsets)} bands only; {_AGAIN}")
    bands = {}
    for band in BANDS:
        if band not in irradiances or band not in responses:
            raise StepError(f"{product.label}: has no SOLAR_IRRADIANCE or Spectral_Information of {band}; {_AGAIN}")
        spectrum = responses[band]
        values = product.text("{*}Spectral_Response/{*}VALUES", spectrum)
        response = SpectralResponse(
            start=product.number("{*}Wavelength/{*}MIN", spectrum),
            step=product.number("{*}Spectral_Response/{*}STEP", spectrum),
            values=tuple(product.parse(float, v, "Spectral_Response") for v in values.split()),
        )
        offset = product.number(".", offsets[band]) if offsets else 0.0
        bands[band] = Band(offset, product.number(".", irradiances[band]), response)
    return bands


def _grid(tile: _Xml) -> Grid:
    """Return the grid at 10 m; those at 20 and 60 m must cover the same area."""
    code = tile.text(".//{*}HORIZONTAL_CS_CODE")
    epsg = tile.parse(int, code.upper().removeprefix("EPSG:"), "HORIZONTAL_CS_CODE")
    grids = {}
    for resolution in RESOLUTIONS:
        size, position = (f'.//{{*}}{name}[@resolution="{resolution}"]/' for name in ("Size", "Geoposition"))
        grids[resolution] = Grid(
            epsg,
            tile.number(position + "{*}ULX"),
            tile.number(position + "{*}ULY"),
            resolution,
            int(tile.number(size + "{*}NCOLS")),
            int(tile.number(size + "{*}NROWS")),
        )
        steps = tile.number(position + "{*}XDIM"), tile.number(position + "{*}YDIM")
        if steps != (resolution, -resolution):
            raise StepError(f"{tile.label}: pixels at {resolution} m measure {steps}; {_AGAIN}")
    if any(grids[10].at(r) != grids[r] or grids[r].at(10) != grids[10] for r in RESOLUTIONS):
        raise StepError(f"{tile.label}: the grids at 10, 20 and 60 m do not cover the same area; {_AGAIN}")
    return grids[10]


def _mean_sun(tile: _Xml, angles: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return mean zenith and azimuth of the sun; some real products have NaN there, then those of the nodes."""
    means = [tile.number(f".//{{*}}Mean_Sun_Angle/{{*}}{name}_ANGLE") for name in ("ZENITH", "AZIMUTH")]
    if np.isfinite(means).all():
        return means[0], means[1]
    vectors = _vectors(angles["sun_zenith"].astype("f8"), angles["sun_azimuth"].astype("f8"))
    zenith, azimuth = _angles_of(vectors.mean(axis=(1, 2)))
    return float(zenith), float(azimuth)


def _angles(tile: _Xml, grid: Grid) -> tuple[dict[str, np.ndarray], Grid, tuple[str, ...]]:
    """Return sun and view angles at the nodes, without gaps, the grid of the nodes, and a sentence for defaults.

    The nodes begin at the tile's upper left corner. A node seen by several detectors gets the mean of their
    directions (of tan(zenith) times the unit vector of the azimuth), one seen by none the direction at the nearest
    node that is seen, and a band without any usable grid its mean direction (else nadir).
    """
    sun, step = _directions(tile, tile.root.find(".//{*}Sun_Angles_Grid"), "Sun_Angles_Grid")
    rows, columns = shape = sun.shape[1:]
    if min(shape) < 2 or step <= 0 or not np.isfinite(sun).any():
        raise StepError(f"{tile.label}: Sun_Angles_Grid is empty; {_AGAIN}")
    detectors: dict[str, list] = {band: [] for band in BANDS}
    for element in tile.root.iterfind(".//{*}Viewing_Incidence_Angles_Grids"):
        directions, view_step = _directions(tile, element, "Viewing_Incidence_Angles_Grids")
        band = tile.band(element, "bandId")
        if directions.shape == sun.shape and view_step == step and np.isfinite(directions).any():
            detectors[band].append(directions)
    angles = dict(zip(("sun_zenith", "sun_azimuth"), _angles_of(_filled(sun[None])), strict=True))
    means = tile.by_band(".//{*}Mean_Viewing_Incidence_Angle", "bandId")
    for band, seen in detectors.items():
        direction = _filled(np.array(seen)) if seen else _mean_view(tile, means, band, shape)
        angles[f"view_zenith_{band}"], angles[f"view_azimuth_{band}"] = _angles_of(direction)
    defaults = ()
    if unseen := [band for band, seen in detectors.items() if not seen]:
        defaults = (f"View angles: the product has no grid of {', '.join(unseen)}; its mean angles, else nadir.",)
        logger.warning("%s: %s", tile.label, defaults[0])
    return angles, Grid(grid.epsg, grid.left - step / 2, grid.top + step / 2, step, columns, rows), defaults


def _mean_view(tile: _Xml, means: dict[str, etree._Element], band: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the mean view direction of a band at every node; nadir where there is none either."""
    angles = [0.0, 0.0]
    if band in means:
        angles = [tile.number("{*}" + name, means[band]) for name in ("ZENITH_ANGLE", "AZIMUTH_ANGLE")]
    zenith, azimuth = angles if np.isfinite(angles).all() else (0.0, 0.0)
    return _vectors(np.full(shape, zenith), np.full(shape, azimuth))


def _directions(tile: _Xml, element: etree._Element | None, what: str) -> tuple[np.ndarray, float]:
    """Return the direction vectors (east, north; rows; columns) of one angle grid, and the nodes' distance in m."""
    if element is None:
        raise StepError(f"{tile.label}: has no {what}; {_AGAIN}")
    tables = []
    for name in ("Zenith", "Azimuth"):
        rows = [row.text.split() for row in element.iterfind(f"{{*}}{name}/{{*}}Values_List/{{*}}VALUES") if row.text]
        if len({len(row) for row in rows}) != 1:
            raise StepError(f"{tile.label}: a table of {what} is incomplete; {_AGAIN}")
        tables.append(tile.parse(lambda r: np.array(r, dtype="f8"), rows, what))
    steps = {tile.number(f"{{*}}Zenith/{{*}}{name}_STEP", element) for name in ("COL", "ROW")}
    if tables[0].shape != tables[1].shape or len(steps) > 1:
        raise StepError(f"{tile.label}: the tables of {what} differ in size or step; {_AGAIN}")
    return _vectors(*tables), steps.pop()


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
