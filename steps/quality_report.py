"""Stage: the quality report of a product."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from steps import __version__
from steps.core.cli import cli
from steps.core.documents import read_document, write_json
from steps.core.rasters import Grid, grid_of, read, row_blocks, tags_of, values
from steps.sentinel2.footprint import corners
from steps.sentinel2.kinds import CLASSIFICATION, TERRAIN
from steps.sentinel2.names import l2a_name
from steps.sentinel2.reports import (
    AerosolReport,
    BandFigures,
    CirrusReport,
    ReflectanceReport,
    TerrainReport,
    WaterVapourReport,
)
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUDS, NO_DATA, SCL_CLASSES, WATER


def run(
    metadata: Path,
    terrain: Path,
    quality: Path,
    classification: Path | None = None,
    aerosol: Path | None = None,
    water_vapour: Path | None = None,
    cirrus: Path | None = None,
    reflectance: Path | None = None,
    terrain_correction: Path | None = None,
) -> None:
    """Gather what is known of the quality of a product in one JSON document.

    Parameters
    ----------
    metadata
        The scene.
    terrain
        At 20 m.
    quality
        Output: a `steps.sentinel2.reports.QualityReport`, without what there is nothing to tell of.
    classification
        At 20 m.
    aerosol, water_vapour, cirrus, reflectance, terrain_correction
        Reports of these stages (`steps.sentinel2.reports`).

    Raises
    ------
    StepError
        If an input cannot be read.
    """
    scene, ground = Scene.read(metadata), _ground(terrain)
    sentences = [*scene.defaults, *ground.pop("defaults")]
    report: dict[str, Any] = {}
    if classification:
        report |= class_shares(_class_counts(classification))
        sentences += _defaults(tags_of(classification, CLASSIFICATION))
    if aerosol:
        retrieved = read_document(aerosol, AerosolReport)
        same = ("mean_aot550", "ddv_percentage", "lut")
        report |= {name: getattr(retrieved, name) for name in same} | {"aot_method": retrieved.method}
        report |= {"aerosol_model": retrieved.model, "aerosol_model_source": retrieved.model_source}
        report |= {"aot_source": retrieved.source} if retrieved.source else {}
        sentences += retrieved.defaults
    if water_vapour:
        vapour = read_document(water_vapour, WaterVapourReport)
        report |= {"water_vapour_method": vapour.method, "mean_water_vapour": vapour.mean_water_vapour}
        sentences += vapour.defaults
    if cirrus:
        report |= {"cirrus_correction": asdict(read_document(cirrus, CirrusReport))}
    if reflectance:
        inverted = read_document(reflectance, ReflectanceReport)
        corrected = read_document(terrain_correction, TerrainReport).resolutions if terrain_correction else ()
        figures = _finest(inverted)
        report |= {
            "negative_percentage": {band: 100 * of_band.negative_share for band, of_band in figures.items()},
            "mean_reflectance": {band: of_band.mean_reflectance for band, of_band in figures.items()},
            "outside_domain_percentage": _outside_domain(inverted),
            "terrain_corrected": any(raster.applied for raster in corrected),
        }
        sentences += inverted.defaults
    report |= {"product": l2a_name(scene.product), "software": f"Sen2Flow {__version__}", **ground}
    report |= {"ozone_dobson": round(scene.auxiliary.ozone * 1000, 3), "ozone_source": scene.auxiliary.ozone_source}
    report |= {"bbox": _bounding_box(scene.grid), "defaults": sentences}
    write_json(quality, report)


def _bounding_box(grid: Grid) -> list[float]:
    """Return west, south, east and north of a grid in degrees; west > east across the meridian of 180 degrees."""
    latitude, longitude = zip(*corners(grid), strict=True)
    if max(longitude) - min(longitude) > 180:
        longitude = tuple(value % 360 for value in longitude)
    west, east = ((value + 180) % 360 - 180 for value in (min(longitude), max(longitude)))
    return [round(value, 6) for value in (west, min(latitude), east, max(latitude))]


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
    nodata, water = int(counts[NO_DATA]), int(counts[WATER])
    pixels = int(counts.sum())
    valid = pixels - nodata
    cloudy = sum(int(counts[code]) for code in CLOUDS)
    return {
        "class_percentages": {
            name: _percentage(counts[code], valid) for code, name in SCL_CLASSES.items() if code != NO_DATA
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


def _finest(report: ReflectanceReport) -> dict[str, BandFigures]:
    """Return the figures of each band from the finest resolution that has the band."""
    result: dict[str, BandFigures] = {}
    for raster in sorted(report.resolutions, key=lambda raster: raster.resolution):
        result = raster.bands | result
    return result


def _outside_domain(report: ReflectanceReport) -> dict[str, float]:
    """Return the largest share (percent) of the scene at which an input was outside the look-up table."""
    result: dict[str, float] = {}
    for raster in report.resolutions:
        for name, share in raster.outside_domain.items():
            result[name] = max(result.get(name, 0.0), 100 * share)
    return result


if __name__ == "__main__":
    cli(run)
