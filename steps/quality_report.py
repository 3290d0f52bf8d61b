"""Stage: the quality report of a product."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steps import __version__
from steps.core.artefacts import (
    CLASSIFICATION,
    TERRAIN,
    grid_of,
    read,
    read_json,
    row_blocks,
    tags_of,
    values,
    write_json,
)
from steps.core.cli import cli
from steps.core.errors import StepError
from steps.sentinel2.bands import SCL_CLASSES
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene import Scene

_CODES = {name: code for code, name in SCL_CLASSES.items()}
#: The classes that count as cloud.
CLOUDY = ("MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS")


def run(metadata: Path, classification: Path, terrain: Path, reports: list[Path], quality: Path) -> None:
    """Gather what is known of the quality of a product in one JSON document.

    Parameters
    ----------
    metadata
        The scene.
    classification, terrain
        At 20 m.
    reports
        JSON documents of the stages aerosol (method, model, model_source, lut, mean_aot550, ddv_percentage),
        water_vapour (method, mean_water_vapour), reflectance and terrain (`resolutions`, each with resolution, bands
        and outside_domain, or applied); each may have `defaults`, a list of sentences.
    quality
        Output. Percentages: `class_percentages` are of the valid pixels, `nodata_percentage` of all,
        `cloudy_over_land_percentage` of the valid pixels that are not water, `negative_percentage` of each band's
        valid pixels at its finest resolution, `outside_domain_percentage` of the scene where an input was outside the
        look-up table and its limit was taken. Further mean_reflectance, aot_method, aot_source (the file that CAMS is
        from), mean_aot550, aerosol_model, aerosol_model_source (CONFIG, CAMS, DDV or DEFAULT), lut (name of the look-up
        table), ddv_percentage, water_vapour_method, mean_water_vapour (g/cm2), ozone_dobson, ozone_source (AUX_ECMWFT
        or CONFIG), dem_source, mean_elevation_km, mean_slope (degrees), terrain_corrected, and `defaults`: a sentence
        for everything that was assumed because it was not given.

    Raises
    ------
    StepError
        If an input cannot be read or the report of a stage is missing.
    """
    scene = Scene.read(metadata)
    documents = [read_json(path) for path in reports]
    stages = [part for document in documents for part in (document, *document.get("resolutions", ()))]
    ground = _ground(terrain)
    aerosol, water_vapour = (_find(stages, key, reports) for key in ("mean_aot550", "mean_water_vapour"))
    sentences = [*scene.defaults, *ground.pop("defaults"), *_defaults(tags_of(classification, CLASSIFICATION))]
    sentences += [sentence for stage in stages for sentence in stage.get("defaults", ())]
    write_json(
        quality,
        {
            "product": l2a_name(scene.product),
            "software": f"Sen2Flow {__version__}",
            **class_shares(_class_counts(classification)),
            **ground,
            "aot_method": aerosol["method"],
            **({"aot_source": aerosol["source"]} if aerosol.get("source") else {}),
            "mean_aot550": aerosol["mean_aot550"],
            "aerosol_model": aerosol["model"],
            "aerosol_model_source": aerosol["model_source"],
            "lut": aerosol["lut"],
            "ddv_percentage": aerosol.get("ddv_percentage", 0.0),
            "water_vapour_method": water_vapour["method"],
            "mean_water_vapour": water_vapour["mean_water_vapour"],
            "ozone_dobson": round(scene.auxiliary.ozone * 1000, 3),
            "ozone_source": "CONFIG" if any("ozone" in s.lower() for s in scene.defaults) else "AUX_ECMWFT",
            "negative_percentage": {band: 100 * v for band, v in _finest(stages, "negative_share").items()},
            "mean_reflectance": _finest(stages, "mean_reflectance"),
            "outside_domain_percentage": _outside_domain(stages),
            "terrain_corrected": any(stage.get("applied", False) for stage in stages),
            "defaults": sentences,
        },
    )


def _class_counts(classification: Path) -> np.ndarray:
    counts = np.zeros(256, np.int64)
    for rows in row_blocks(grid_of(classification, CLASSIFICATION).height):
        counts += np.bincount(read(classification, CLASSIFICATION, "SCL", rows).ravel(), minlength=256)
    return counts


def class_shares(counts: np.ndarray) -> dict:
    """Return the shares of the classes, in percent, by the rules of ESA's Level-2A products.

    Parameters
    ----------
    counts
        Number of pixels of each class code.

    Returns
    -------
    dict
        class_percentages (of the valid pixels, so that they add up to 100), nodata_percentage (of all pixels) and
        cloudy_over_land_percentage. Clouds hide what is below them: land is all that is valid and not water.
    """
    nodata, water = (int(counts[_CODES[name]]) for name in ("NODATA", "WATER"))
    pixels = int(counts.sum())
    valid = pixels - nodata
    cloudy = sum(int(counts[_CODES[name]]) for name in CLOUDY)
    return {
        "class_percentages": {
            name: _percentage(counts[code], valid) for name, code in _CODES.items() if name != "NODATA"
        },
        "nodata_percentage": _percentage(nodata, pixels),
        "cloudy_over_land_percentage": _percentage(cloudy, valid - water),
    }


def _percentage(part: int, whole: int) -> float:
    return 100 * int(part) / whole if whole else 0.0


def _ground(terrain: Path) -> dict:
    tags = tags_of(terrain, TERRAIN)
    total = count = 0.0
    for rows in row_blocks(grid_of(terrain, TERRAIN).height):
        slope = values(terrain, TERRAIN, "slope", rows)
        total += float(np.nansum(slope, dtype="f8"))
        count += np.count_nonzero(~np.isnan(slope))
    return {
        "dem_source": tags.get("dem") or "None",
        "mean_elevation_km": float(tags["elevation_mean"]) / 1000,
        "mean_slope": round(total / max(count, 1), 4),
        "defaults": _defaults(tags),
    }


def _defaults(tags: dict[str, str]) -> list[str]:
    return [tags["default"]] if "default" in tags else []


def _find(stages: Sequence[dict], key: str, reports: Sequence[Path]) -> dict:
    for stage in stages:
        if key in stage:
            return stage
    raise StepError(f"{', '.join(map(str, reports))}: none of these reports tells {key}; give that stage's report too")


def _finest(stages: Sequence[dict], figure: str) -> dict[str, float]:
    """Return a figure of each band from the reflectance report of the finest resolution that has the band."""
    result: dict[str, float] = {}
    for stage in sorted((s for s in stages if "bands" in s), key=lambda s: s["resolution"]):
        for band, figures in stage["bands"].items():
            result.setdefault(band, figures[figure])
    return result


def _outside_domain(stages: Sequence[dict]) -> dict[str, float]:
    """Return the largest share (percent) of the scene at which an input was outside the look-up table."""
    result: dict[str, float] = {}
    for stage in stages:
        for name, share in stage.get("outside_domain", {}).items():
            result[name] = max(100 * share, result.get(name, 0))
    return result


if __name__ == "__main__":
    cli(run)
