"""Stage: the report of a product for people, and its provenance for machines."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from steps.atmosphere.models import AEROSOL_MODELS, lut_path
from steps.core.cli import cli
from steps.core.documents import atomic, read_json, write_json
from steps.core.errors import StepError
from steps.core.rasters import read
from steps.l1c.formats import open_product
from steps.l2a import crate as provenance
from steps.l2a import figures
from steps.l2a.crate import Source
from steps.l2a.pages import render
from steps.l2a.run_summary import stage_costs, warnings_in
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, TOA, UNCERTAINTY, WVP
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_CLASSES

#: Largest side of the thumbnail, pixels.
_THUMBNAIL = 96
#: Documents that name all files of a product with their checksums, or at least bind its metadata; the first there is.
_LISTS = ("manifest.safe", ".zmetadata", "zarr.json", "MTD_MSIL1C.xml")


def run(
    metadata: Path,
    quality: Path,
    l1c: Path,
    settings: str,
    page: Path,
    thumbnail: Path,
    crate: Path,
    toa: list[Path] | None = None,
    boa: list[Path] | None = None,
    uncertainty: list[Path] | None = None,
    classification: Path | None = None,
    aot: Path | None = None,
    wvp: Path | None = None,
) -> None:
    """Write a page about the product, a small picture of it, and its provenance as an RO-Crate.

    Parameters
    ----------
    metadata
        The scene.
    quality
        The quality report, JSON: a `steps.sentinel2.reports.QualityReport`, or some of its fields.
    l1c
        The Level-1C product.
    settings
        The configuration, a JSON object.
    page, thumbnail, crate
        Files to write: HTML that needs no other file, in a folder of the product's; JPEG; `ro-crate-metadata.json` in
        the product's folder.
    toa, boa, uncertainty
        Reflectance at the top of the atmosphere, at the surface, and its uncertainty; of several pixel sizes the
        coarsest is taken that shows enough.
    classification, aot, wvp
        At 20 m.
    """
    scene, report = Scene.read(metadata), read_json(quality)
    before, after = figures.coarsest(toa, TOA), figures.coarsest(boa, BOA)
    classes = read(classification, CLASSIFICATION, "SCL") if classification else None
    pictures = _pictures(before, after, classes)
    maps = ((aot, AOT, "Aerosol optical thickness at 550 nm", ""), (wvp, WVP, "Water vapour", "g/cm²"))
    software, configuration = provenance.versions(), json.loads(settings)
    sources = [_product(l1c), *_tables(report)]
    logs = page.parents[1] / "logs"
    costs = stage_costs(logs)
    shares = report.get("class_percentages", {})
    means = _class_means(before, after, uncertainty or [], classes) if classes is not None and before and after else {}
    with atomic(page) as part:
        text = render(
            "report.html",
            scene=scene,
            report=report,
            pictures={name: figures.embedded(picture) for name, picture in pictures.items()},
            classes=_shares(report),
            maps=[figures.map_figure(path, kind, title, unit) for path, kind, title, unit in maps if path],
            spectra=figures.spectra_figure(means, scene.bands, shares) if "boa" in means else None,
            uncertainty=_mean_uncertainty(means, shares),
            methods=_methods(report),
            warnings=_further(warnings_in(logs), report["defaults"]),
            costs=costs,
            longest=max((wall for wall, _ in costs.values()), default=1),
            software=software,
            sources=sources,
            settings=list(provenance.settings_of(configuration)),
        )
        part.write_text(text, encoding="utf-8")
    _write_thumbnail(thumbnail, pictures)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = provenance.crate(crate.parent, report["product"], now, sources, software, configuration)
    write_json(crate, found, checksum=False)


def _pictures(toa: Path | None, boa: Path | None, classes: np.ndarray | None) -> dict[str, Image.Image]:
    """Return the pictures of what there is: `toa` and `boa` in true colour, and `classes`."""
    given = (("toa", toa, TOA), ("boa", boa, BOA))
    pictures = {name: figures.true_colour_picture(path, kind) for name, path, kind in given if path}
    if classes is not None:
        pictures["classes"] = figures.class_picture(classes)
    return pictures


def _write_thumbnail(path: Path, pictures: Mapping[str, Image.Image]) -> None:
    """Write the surface, else the classes, as a small JPEG; an empty one where there are neither."""
    empty = Image.new("RGB", (_THUMBNAIL, _THUMBNAIL), figures.NO_DATA_COLOUR)
    small = next((pictures[name] for name in ("boa", "classes") if name in pictures), empty).convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    with atomic(path) as part:
        small.save(part, "JPEG", quality=75)


def _product(path: Path) -> Source:
    """Return the name of a Level-1C product and the digest of the document that binds its files."""
    try:
        product = open_product(path)
        name = next(name for name in _LISTS if product.exists(name))
        return Source(path.name, hashlib.sha256(product.read(name)).hexdigest(), f"SHA-256 of its {name}")
    except (StopIteration, StepError):
        return Source(path.name, "")


def _tables(report: dict) -> list[Source]:
    """Return the look-up tables that the product was made with."""
    paths = {path.name: path for path in map(lut_path, AEROSOL_MODELS)}
    return [Source(name, provenance.digest(paths[name]) if name in paths else "") for name in report.get("lut", ())]


def _methods(report: dict) -> list[tuple[str, str]]:
    """Return what was done how, as label and value."""
    labels = {
        "aot_method": "aerosol thickness",
        "aot_source": "its file",
        "aerosol_model": "aerosol model",
        "aerosol_model_source": "chosen by",
        "lut": "look-up table",
        "ddv_percentage": "dark vegetation, % of the land",
        "water_vapour_method": "water vapour",
        "ozone_source": "ozone",
        "dem_source": "elevation model",
        "mean_elevation_km": "mean elevation, km",
        "mean_slope": "mean slope, degrees",
        "terrain_corrected": "corrected for terrain",
    }
    found = [(label, report[key]) for key, label in labels.items() if report.get(key) is not None]
    found += [
        (f"{name} outside of the table, %", share)
        for name, share in report.get("outside_domain_percentage", {}).items()
    ]
    words = {True: "yes", False: "no"}
    return [
        (label, words[value] if isinstance(value, bool) else f"{value:.3g}" if isinstance(value, float) else str(value))
        for label, value in found
    ]


def _further(warnings: list[str], defaults: list[str]) -> list[str]:
    """Return the warnings that are not about a default."""
    return [sentence for sentence in warnings if not any(default in sentence for default in defaults)]


def _shares(report: dict) -> list[dict]:
    """Return the classes of the product with label, colour and share (percent), the largest first."""
    shares = report.get("class_percentages", {})
    found = [
        {"label": figures.label_of(code), "colour": figures.colour_of(code), "share": shares[name]}
        for code, name in SCL_CLASSES.items()
        if shares.get(name)
    ]
    return sorted(found, key=lambda one: -one["share"])


def _class_means(
    before: Path, after: Path, uncertainty: list[Path], classes: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Return the mean of each class by band: at the top of the atmosphere, at the surface, of the uncertainty there."""
    spread: dict[str, np.ndarray] = {}
    for path in uncertainty:
        spread |= figures.class_means(path, UNCERTAINTY, classes)
    means = {
        name: figures.class_means(path, kind, classes)
        for name, path, kind in (("toa", before, TOA), ("boa", after, BOA))
    }
    return means | ({"uncertainty": spread} if spread else {})


def _mean_uncertainty(means: dict, shares: dict[str, float]) -> dict[str, float]:
    """Return the mean standard uncertainty of each band, from those of the classes."""
    result = {}
    for band, of_class in means.get("uncertainty", {}).items():
        weights = {code: shares.get(name, 0.0) for code, name in SCL_CLASSES.items() if np.isfinite(of_class[code])}
        if total := sum(weights.values()):
            result[band] = float(sum(of_class[code] * weight for code, weight in weights.items()) / total)
    return result


if __name__ == "__main__":
    cli(run)
