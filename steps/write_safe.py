"""Stage: the L2A product as a SAFE folder."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lxml import etree

from steps.artefacts import atomic, read_json
from steps.checksums import check_folder
from steps.cli import cli
from steps.errors import StepError
from steps.sentinel2 import names
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.l2a_elements import Auxiliary, Identity, parse, serialise, specification, text_of
from steps.sentinel2.l2a_part import cut_inspire, cut_product, cut_tile
from steps.sentinel2.l2a_quality import content_percentages, quality_file
from steps.sentinel2.l2a_xml import (
    datastrip_metadata,
    inspire_metadata,
    product_metadata,
    smallest_datastrip,
    tile_metadata,
)
from steps.sentinel2.manifest import manifest
from steps.sentinel2.safe import Safe
from steps.sentinel2.scene import Scene

logger = logging.getLogger(__name__)


def run(
    l1c: Path,
    images: Path,
    metadata: Path,
    quality: Path,
    safe: Path,
    water_bodies: Path | None = None,
    land_cover: Path | None = None,
    snow_condition: Path | None = None,
) -> None:
    """Assemble the L2A SAFE: images, masks and auxiliary data, metadata, quality reports, manifest.

    The product of a part of a tile has metadata of that part, without the L1C product's masks that are images.
    The product is of class USER and has our own baseline. All times of generation are that of the L1C product, so
    that equal inputs make equal files.

    Parameters
    ----------
    l1c
        The L1C product, a SAFE folder or a zip.
    images
        Folder with the images. They are linked, or copied where the file system cannot.
    metadata
        The scene.
    quality
        The quality report: a JSON document with the keys product, class_percentages {class: % of the valid pixels},
        nodata_percentage, cloudy_over_land_percentage, aot_method, mean_aot550, aerosol_model, mean_water_vapour
        (g/cm2), water_vapour_method, ozone_dobson, ozone_source (AUX_ECMWFT or CONFIG), negative_percentage {band: %},
        ddv_percentage, dem_source ("None" or a text), mean_elevation_km, mean_slope (degrees), terrain_corrected,
        lut (name of the look-up table), defaults [sentences], software.
    safe
        Folder that is made.
    water_bodies, land_cover, snow_condition
        Maps that the classification used. Only their names are written into the metadata.
    """
    scene, report, source = Scene.read(metadata), read_json(quality), Safe(l1c)
    check_folder(images)
    used = Auxiliary(
        dem=report["dem_source"],
        lut=report["lut"],
        **{
            key: path.name
            for key, path in (
                ("water_bodies", water_bodies),
                ("land_cover", land_cover),
                ("snow_condition", snow_condition),
            )
            if path
        },
    )
    product = _document(source, "MTD_MSIL1C.xml")
    granule = text_of(product, "IMAGE_FILE").split("/")[1]
    tile = _document(source, f"GRANULE/{granule}/MTD_TL.xml")
    if scene.roi:
        cut_product(product, scene.roi)
        cut_tile(tile, scene.roi, scene.tile_grid)
    identity = Identity.of(scene.product, granule, tile)
    with atomic(safe) as folder:
        _link_images(images, identity, folder)
        masks = _copy_masks(source, granule, tile, identity, folder, images=not scene.roi)
        _copy_companions(source, granule, identity, folder)
        _write(folder, f"{identity.granule}/MTD_TL.xml", tile_metadata(tile, identity, report, masks))
        _write(
            folder,
            f"{identity.granule}/QI_DATA/L2A_QUALITY.xml",
            _quality_file(product, tile, scene, report, identity, used),
        )
        _write_datastrip(source, product, identity, used, folder)
        if source.exists("INSPIRE.xml"):
            inspire = _document(source, "INSPIRE.xml")
            if scene.roi:
                cut_inspire(inspire, scene.roi)
            _write(folder, "INSPIRE.xml", inspire_metadata(inspire, scene.product, identity, report["software"]))
        l2a = product_metadata(product, identity, report, used)
        _write(folder, "MTD_MSIL2A.xml", l2a)
        orbit = int(identity.tile.rpartition("_A")[2][:6])
        _write(folder, "manifest.safe", manifest(folder, l2a, orbit))


def _document(source: Safe, name: str) -> etree._Element:
    return parse(source.read(name), source.label(name))


def _write(folder: Path, name: str, root: etree._Element) -> None:
    _write_bytes(folder, name, serialise(root))


def _write_bytes(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _link_images(images: Path, identity: Identity, folder: Path) -> None:
    places = {identity.preview}
    for resolution in RESOLUTIONS:
        places.update(identity.image(layer, resolution) for layer in names.layers(resolution))
        places.update(f"{identity.granule}/QI_DATA/{name}" for name in names.probability_masks(resolution))
    for place in sorted(places):
        name = PurePosixPath(place).name
        if not (images / name).is_file():
            raise StepError(f"{name}: is not in {images}; run write_images again")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(images / name, target)
        except OSError:
            shutil.copyfile(images / name, target)


def _copy_masks(
    source: Safe, granule: str, tile: etree._Element, identity: Identity, folder: Path, images: bool
) -> list[tuple[str, Mapping[str, str]]]:
    """Copy the masks that the L1C metadata name, and return the names and attributes of these and of our own.

    Those that are `images` have the pixels of the whole tile and are left out of a part.
    """
    masks = []
    for entry in tile.iter("MASK_FILENAME"):
        name = PurePosixPath(entry.text.strip()).name
        if name.endswith(".jp2") and not images:
            continue
        if source.exists(f"GRANULE/{granule}/QI_DATA/{name}"):
            content = source.read(f"GRANULE/{granule}/QI_DATA/{name}")
            _write_bytes(folder, f"{identity.granule}/QI_DATA/{name}", content)
            masks.append((name, dict(entry.attrib)))
        else:
            logger.warning("%s: the mask %s is missing; the L2A product goes without", source.path, name)
    own = (name for resolution in RESOLUTIONS for name in names.probability_masks(resolution))
    return masks + [(name, {"type": name[:10]}) for name in own]


def _copy_companions(source: Safe, granule: str, identity: Identity, folder: Path) -> None:
    """Copy the auxiliary data and the reports on the quality of the L1C product."""
    places = {
        f"GRANULE/{granule}/AUX_DATA/AUX_*": f"{identity.granule}/AUX_DATA",
        f"GRANULE/{granule}/QI_DATA/*.xml": f"{identity.granule}/QI_DATA",
        "DATASTRIP/*/QI_DATA/*.xml": f"DATASTRIP/{names.datastrip_folder(identity.datastrip)}/QI_DATA",
    }
    for name in source.names():
        path = PurePosixPath(name)
        for pattern, place in places.items():
            # decoders leave indexes and statistics beside the files
            if path.match(pattern) and not name.endswith((".idx", ".aux.xml")):
                _write_bytes(folder, f"{place}/{path.name}", source.read(name))


def _quality_file(
    product: etree._Element, tile: etree._Element, scene: Scene, report: Mapping, identity: Identity, used: Auxiliary
) -> etree._Element:
    degraded = text_of(tile, "DEGRADED_MSI_DATA_PERCENTAGE")
    percentages = content_percentages(report, specification(product), degraded)
    created = text_of(product, "GENERATION_TIME")
    return quality_file(report, percentages, scene.sun_zenith, created, identity, used.lut)


def _write_datastrip(source: Safe, product: etree._Element, identity: Identity, used: Auxiliary, folder: Path) -> None:
    found = [name for name in source.names() if PurePosixPath(name).match("DATASTRIP/*/MTD_DS.xml")]
    if found:
        root = datastrip_metadata(_document(source, found[0]), identity, used)
    else:
        logger.warning("%s: has no datastrip metadata; the L2A product gets the least", source.path)
        root = smallest_datastrip(product, identity)
    _write(folder, f"DATASTRIP/{names.datastrip_folder(identity.datastrip)}/MTD_DS.xml", root)


if __name__ == "__main__":
    cli(run)
