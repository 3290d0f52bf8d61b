"""Stage: the L2A product as a SAFE folder."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lxml import etree

from steps.core.checksums import check_folder
from steps.core.cli import cli
from steps.core.documents import atomic, link, read_document
from steps.core.errors import StepError
from steps.core.parallel import workers
from steps.l1c.documents import Xml
from steps.l1c.formats import open_product
from steps.l1c.metadata import granule_of, masks_of
from steps.l1c.protocol import Product
from steps.l2a.documents import Sources, l2a_documents, read_sources
from steps.l2a.elements import Auxiliary, Identity, serialise
from steps.l2a.manifest import manifest
from steps.l2a.masks import write_masks
from steps.sentinel2 import names
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.reports import QualityReport
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
    threads: int = 1,
) -> None:
    """Assemble the L2A SAFE: images, masks and auxiliary data, metadata, quality reports, manifest.

    The product of a part of a tile has metadata and masks of that part. Masks that are polygons become images.
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
        The quality report, JSON: a `steps.sentinel2.reports.QualityReport`.
    safe
        Folder that is made.
    water_bodies, land_cover, snow_condition
        Maps that the classification used. Only their names are written into the metadata.
    threads
        Tiles of masks decoded side by side.
    """
    scene, report, source = Scene.read(metadata), read_document(quality, QualityReport), open_product(l1c)
    check_folder(images)
    used = Auxiliary(
        dem=report.dem_source,
        lut=report.lut,
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
    sources = read_sources(source, str(granule_of(source)), scene)
    identity = sources.identity
    if sources.datastrip is None:
        logger.warning("%s: has no datastrip metadata; the L2A product gets the least", source.path)
    with atomic(safe) as folder:
        _link_images(images, identity, folder)
        masks = _write_masks(source, sources.tile, identity, scene, folder, threads)
        _copy_companions(source, sources, folder)
        documents = l2a_documents(sources, scene, report, used, masks)
        for name, root in documents.items():
            _write(folder, name, root)
        _write(folder, "manifest.safe", manifest(folder, documents["MTD_MSIL2A.xml"], identity.orbit))


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
            raise StepError(f"{name}: is not in {images}; run write_jp2 again")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        link(images / name, target)


def _write_masks(
    source: Product, tile: etree._Element, identity: Identity, scene: Scene, folder: Path, threads: int
) -> list[tuple[str, Mapping[str, str]]]:
    """Write the masks that stem from the L1C product, and return names and attributes of these and of our own."""
    place = folder / identity.granule / "QI_DATA"
    place.mkdir(parents=True, exist_ok=True)
    with workers("threads", threads) as run_all:
        masks = write_masks(source, masks_of(Xml(tile, source.label("MTD_TL.xml"))), scene, place, run_all)
    own = (name for resolution in RESOLUTIONS for name in names.probability_masks(resolution))
    return masks + [(name, {"type": name[:10]}) for name in own]


def _copy_companions(source: Product, sources: Sources, folder: Path) -> None:
    """Copy the auxiliary data and the reports on the quality of the L1C product."""
    identity = sources.identity
    places = {
        f"GRANULE/{sources.granule}/AUX_DATA/AUX_*": f"{identity.granule}/AUX_DATA",
        f"GRANULE/{sources.granule}/QI_DATA/*.xml": f"{identity.granule}/QI_DATA",
        f"{sources.datastrip_folder}/QI_DATA/*.xml": f"DATASTRIP/{names.datastrip_folder(identity.datastrip)}/QI_DATA",
    }
    for name in source.names():
        path = PurePosixPath(name)
        for pattern, place in places.items():
            # decoders leave indexes and statistics beside the files
            if not path.match(pattern) or name.endswith((".idx", ".aux.xml")):
                continue
            if re.fullmatch(r"[\w.-]+", path.name, re.ASCII):
                _write_bytes(folder, f"{place}/{path.name}", source.read(name))
            else:
                logger.warning("%s: %a is no name of a product's file; the L2A product goes without", source.path, name)


if __name__ == "__main__":
    cli(run)
