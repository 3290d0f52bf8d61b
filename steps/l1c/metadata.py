"""What an L1C product says of itself: its XML files, read by element and id.

Nothing is derived from a file's name or a date, but the band of an `IMAGE_FILE`, which has no id.
"""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from steps.core.rasters import Grid
from steps.l1c.angles import read_angles
from steps.l1c.auxiliary import read_auxiliary
from steps.l1c.documents import Xml
from steps.l1c.protocol import Product
from steps.l1c.safe import PRODUCT_XML, name_in, product_metadata
from steps.l1c.validation import check_range, validate
from steps.sentinel2.bands import BANDS, RESOLUTIONS
from steps.sentinel2.baselines import NEWEST_BASELINE
from steps.sentinel2.satellites import code_of
from steps.sentinel2.scene import Band, Scene, SpectralResponse

logger = logging.getLogger(__name__)


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
    granule
        Path of its folder inside the product.
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

    safe: Product
    scene: Scene
    granule: str
    angles: dict[str, np.ndarray]
    nodes: Grid
    images: dict[str, str]
    masks: tuple[Mask, ...]
    nodata: int
    saturated: int


def read_l1c(safe: Product, ozone: float) -> L1C:
    """Read all that an L1C product says of itself, and check that it is plausible.

    Parameters
    ----------
    safe
        The product's files.
    ozone
        Column to take where the product has none, DU.

    Raises
    ------
    StepError
        If a file or an element is missing, broken or implausible, or two of them contradict each other.
    """
    product, images, granule, tile = _documents(safe)
    grid = read_grid(tile)
    angles, nodes, (sun_zenith, sun_azimuth), angle_defaults = read_angles(tile, grid)
    special = _special_values(product)
    nodata, saturated = special.get("NODATA", 0), special.get("SATURATED", 65535)
    scene = Scene(
        product=name_in(safe, product.root),
        satellite=_satellite(product),
        tile=_tile(tile),
        sensing_time=tile.text(".//{*}SENSING_TIME"),
        baseline=product.text(".//{*}PROCESSING_BASELINE"),
        quantification=product.number(".//{*}QUANTIFICATION_VALUE"),
        earth_sun=product.number(".//{*}Reflectance_Conversion/{*}U"),
        grid=grid,
        sun_zenith=sun_zenith,
        sun_azimuth=sun_azimuth,
        bands=_bands(product),
    )
    implausible = validate(product, tile, scene, images, nodata, saturated)
    for sentence in implausible:
        logger.warning("%s: %s", safe.path, sentence)
    if scene.baseline > NEWEST_BASELINE:
        words = f"baseline {scene.baseline} is newer than any known ({NEWEST_BASELINE})"
        logger.warning("%s: %s; it is processed by what its metadata say", product.label, words)
    auxiliary, defaults = read_auxiliary(safe, granule, ozone, grid)
    scene = replace(scene, auxiliary=auxiliary, defaults=(*implausible, *angle_defaults, *defaults))
    return L1C(safe, scene, str(granule), angles, nodes, images, masks_of(tile), nodata, saturated)


def internal_numbers(product: L1C, band: str, dn: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return digital numbers of a band in the internal scale, and their flags at 20 m (see `internal_scale`)."""
    from steps.sentinel2.digital_numbers import internal_scale

    return internal_scale(
        dn,
        nodata=product.nodata,
        saturated=product.saturated,
        offset=product.scene.bands[band].offset,
        quantification=product.scene.quantification,
        size=size,
    )


def tile_grid(safe: Product) -> Grid:
    """Return the grid at 10 m of a product; errors as of `read_l1c`."""
    return read_grid(_documents(safe)[-1])


def granule_of(safe: Product) -> PurePosixPath:
    """Return the path of the granule's folder inside a product; errors as of `read_l1c`."""
    return _documents(safe)[2]


def _documents(safe: Product) -> tuple[Xml, dict[str, str], PurePosixPath, Xml]:
    """Return the product's XML, the images it names, and the granule's path and XML."""
    product = Xml(product_metadata(safe), safe.label(PRODUCT_XML))
    images = _images(product)
    granule = PurePosixPath(next(iter(images.values()))).parent.parent
    name = str(granule / "MTD_TL.xml")
    return product, images, granule, Xml(safe.xml(name), safe.label(name))


def _images(product: Xml) -> dict[str, str]:
    """Return the path of each band's image; `IMAGE_FILE` has no extension."""
    images: dict[str, str] = {}
    for element in product.root.iterfind(".//{*}IMAGE_FILE"):
        if found := re.search(r"_(B\d\d|B8A)$", name := (element.text or "").strip(), re.ASCII):
            path = f"{name}.jp2"
            if not re.fullmatch(r"GRANULE/\w[\w.-]*/IMG_DATA/[\w.-]+", path, re.ASCII):
                raise product.wrong(f"IMAGE_FILE is '{name[:120]}', which is no path of an image in a granule")
            if images.setdefault(found[1], path) != path:
                raise product.wrong(f"names two images of {found[1]}")
    if missing := [band for band in BANDS if band not in images]:
        raise product.wrong(f"names no IMAGE_FILE of {', '.join(missing)}")
    return images


def masks_of(tile: Xml) -> tuple[Mask, ...]:
    """Return the masks that tile metadata name.

    Raises
    ------
    StepError
        If the name of one says another band.
    """
    masks = []
    for element in tile.root.iterfind(".//{*}MASK_FILENAME"):
        band = tile.band(element, "bandId") if "bandId" in element.attrib else None
        name = (element.text or "").strip()
        if band and (found := re.search(r"_(B\d\d|B8A)(_MSIL1C)?\.\w+$", name, re.ASCII)) and found[1] != band:
            raise tile.wrong(f"MASK_FILENAME of {band} is '{name[:120]}', which is of {found[1]}")
        masks.append(Mask(element.get("type", ""), band, name))
    return tuple(masks)


def _satellite(product: Xml) -> str:
    name = product.text(".//{*}SPACECRAFT_NAME")
    if not (code := code_of(name)):
        raise product.wrong(f"SPACECRAFT_NAME is '{name[:40]}', which is no Sentinel-2")
    return code


def _tile(tile: Xml) -> str:
    identifier = tile.text(".//{*}TILE_ID")
    if not (found := re.search(r"_(T\d\d[A-Z]{3})_", identifier, re.ASCII)):
        raise tile.wrong(f"TILE_ID '{identifier[:120]}' names no tile")
    return found[1]


def _special_values(product: Xml) -> dict[str, int]:
    return {
        product.text("{*}SPECIAL_VALUE_TEXT", element): product.whole("{*}SPECIAL_VALUE_INDEX", element)
        for element in product.root.iterfind(".//{*}Special_Values")
    }


def _bands(product: Xml) -> dict[str, Band]:
    """Return offset (0 where the product has none), irradiance and response of each band, by id."""
    offsets = product.by_band(".//{*}RADIO_ADD_OFFSET", "band_id")
    irradiances = product.by_band(".//{*}SOLAR_IRRADIANCE", "bandId")
    responses = product.by_band(".//{*}Spectral_Information", "bandId")
    if offsets and len(offsets) < len(BANDS):
        raise product.wrong(f"RADIO_ADD_OFFSET is given for {len(offsets)} bands only")
    bands = {}
    for band in BANDS:
        if band not in irradiances or band not in responses:
            raise product.wrong(f"has no SOLAR_IRRADIANCE or Spectral_Information of {band}")
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


def read_grid(tile: Xml) -> Grid:
    """Return the grid at 10 m that tile metadata tell of; those at 20 and 60 m must cover the same area.

    Raises
    ------
    StepError
        If they do not, or the metadata lack something.
    """
    code = tile.text(".//{*}HORIZONTAL_CS_CODE")
    epsg = tile.parse(int, code.upper().removeprefix("EPSG:"), "HORIZONTAL_CS_CODE")
    if not (32601 <= epsg <= 32660 or 32701 <= epsg <= 32760):
        raise tile.wrong(f"HORIZONTAL_CS_CODE is '{code[:40]}', which is no UTM zone on WGS 84")
    grids = {}
    for resolution in RESOLUTIONS:
        size, position = (f'.//{{*}}{name}[@resolution="{resolution}"]/{{*}}' for name in ("Size", "Geoposition"))
        left, top = (check_range(tile, name, tile.number(position + name)) for name in ("ULX", "ULY"))
        columns, rows = (check_range(tile, name, tile.whole(size + name)) for name in ("NCOLS", "NROWS"))
        grids[resolution] = Grid(epsg, left, top, resolution, columns, rows)
        steps = tile.number(position + "XDIM"), tile.number(position + "YDIM")
        if steps != (resolution, -resolution):
            raise tile.wrong(f"pixels at {resolution} m measure {steps}")
    if any(grids[10].at(r) != grids[r] or grids[r].at(10) != grids[10] for r in RESOLUTIONS):
        raise tile.wrong("the grids at 10, 20 and 60 m do not cover the same area")
    return grids[10]
