"""All documents of the L2A product that are made from those of the L1C product, and a check that they can be made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lxml import etree

from steps.l1c.documents import Xml
from steps.l1c.protocol import Product
from steps.l1c.safe import PRODUCT_XML
from steps.l2a.elements import Auxiliary, Identity, specification, text_of
from steps.l2a.manifest import description
from steps.l2a.metadata import (
    datastrip_metadata,
    inspire_metadata,
    product_metadata,
    smallest_datastrip,
    tile_metadata,
)
from steps.l2a.part import cut_inspire, cut_product, cut_tile
from steps.l2a.quality import content_percentages, quality_file
from steps.sentinel2 import names
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_CLASSES

#: A quality report of nothing, to see whether the documents can be made.
_NO_REPORT = QualityReport(
    product="",
    software="",
    class_percentages=dict.fromkeys(SCL_CLASSES.values(), 0.0),
    nodata_percentage=0.0,
    cloudy_over_land_percentage=0.0,
    dem_source="None",
    mean_elevation_km=0.0,
    mean_slope=0.0,
    aot_method="FIXED",
    mean_aot550=0.0,
    ddv_percentage=0.0,
    aerosol_model="",
    aerosol_model_source="CONFIG",
    lut=(),
    water_vapour_method="FIXED",
    mean_water_vapour=0.0,
    ozone_dobson=0.0,
    ozone_source="CONFIG",
    negative_percentage={},
    mean_reflectance={},
    outside_domain_percentage={},
    terrain_corrected=False,
    defaults=(),
)


@dataclass(frozen=True)
class Sources:
    """The documents of an L1C product, cut to the part that is processed.

    Attributes
    ----------
    product, tile
        Roots of `MTD_MSIL1C.xml` and `MTD_TL.xml`.
    datastrip, inspire
        Roots of `MTD_DS.xml` and `INSPIRE.xml`, or None where the product has none.
    granule
        Name of the granule's folder.
    datastrip_folder
        Path of the folder of the tile's datastrip, or None.
    identity
        Names of the L2A product.
    """

    product: etree._Element
    tile: etree._Element
    datastrip: etree._Element | None
    inspire: etree._Element | None
    granule: str
    datastrip_folder: str | None
    identity: Identity


def read_sources(safe: Product, granule: str, scene: Scene) -> Sources:
    """Read the documents of an L1C product.

    Parameters
    ----------
    safe
        The product's files.
    granule
        Path of the granule's folder in it.
    scene
        What is processed.

    Raises
    ------
    StepError
        If one is missing, broken, or has no name to derive ours from.
    """
    product, tile = safe.xml(PRODUCT_XML), safe.xml(f"{granule}/MTD_TL.xml")
    datastrip = _datastrip_folder(safe, tile)
    acquisition, inspire = (
        safe.xml(name) if name and safe.exists(name) else None
        for name in (datastrip and f"{datastrip}/MTD_DS.xml", "INSPIRE.xml")
    )
    if scene.roi:
        cut_product(product, scene.roi)
        cut_tile(tile, scene.roi, scene.whole)
        if inspire is not None:
            cut_inspire(inspire, scene.roi)
    name = PurePosixPath(granule).name
    return Sources(product, tile, acquisition, inspire, name, datastrip, Identity.of(scene.product, name, tile))


def _datastrip_folder(safe: Product, tile: etree._Element) -> str | None:
    """Return the folder of the tile's datastrip: that of its name, or the only one, or None."""
    identifier = text_of(tile, "DATASTRIP_ID")
    paths = [PurePosixPath(name) for name in safe.names()]
    folders = {"/".join(path.parts[:2]) for path in paths if path.parts[0] == "DATASTRIP" and len(path.parts) > 2}
    own = f"DATASTRIP/{names.datastrip_folder(identifier)}"
    if own in folders or not folders:
        return own if folders else None
    if len(folders) > 1:
        raise Xml(tile, safe.label("DATASTRIP")).wrong(f"has {len(folders)} datastrips, and none is {identifier}")
    return folders.pop()


def l2a_documents(
    sources: Sources,
    scene: Scene,
    report: QualityReport,
    used: Auxiliary,
    masks: Sequence[tuple[str, Mapping[str, str]]],
) -> dict[str, etree._Element]:
    """Make the documents of the L2A product, all but the manifest.

    Parameters
    ----------
    sources
        The documents of the L1C product. They are used up.
    scene
        What is processed.
    report
        The quality report.
    used
        What the processing used.
    masks
        File name and attributes of each mask in the product.

    Returns
    -------
    dict of str to lxml.etree._Element
        Root of each document by its path in the product.

    Raises
    ------
    StepError
        If the L1C documents lack something.
    """
    product, tile, identity = sources.product, sources.tile, sources.identity
    percentages = content_percentages(report, specification(product), text_of(tile, "DEGRADED_MSI_DATA_PERCENTAGE"))
    created = text_of(product, "GENERATION_TIME")
    if sources.datastrip is None:
        datastrip = smallest_datastrip(product, identity)
    else:
        datastrip = datastrip_metadata(sources.datastrip, identity, used)
    result = {
        f"{identity.granule}/MTD_TL.xml": tile_metadata(tile, identity, report, masks),
        f"{identity.granule}/QI_DATA/L2A_QUALITY.xml": quality_file(
            report, percentages, scene.sun_zenith, created, identity, used.lut
        ),
        f"DATASTRIP/{names.datastrip_folder(identity.datastrip)}/MTD_DS.xml": datastrip,
        "MTD_MSIL2A.xml": product_metadata(product, identity, report, used),
    }
    if sources.inspire is not None:
        result["INSPIRE.xml"] = inspire_metadata(sources.inspire, scene.product, identity, report.software)
    return result


def check_documents(safe: Product, granule: str, scene: Scene) -> None:
    """Raise `StepError` if the documents of the L2A product could not be made, before the long work."""
    sources = read_sources(safe, granule, scene)
    made = l2a_documents(sources, scene, _NO_REPORT, Auxiliary(), ())
    description(made["MTD_MSIL2A.xml"], sources.identity.orbit)
