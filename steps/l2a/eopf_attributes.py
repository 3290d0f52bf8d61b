"""Attributes of an L2A product in EOPF's Zarr as a whole: a STAC item, its bands, and how it was made.

The validator of EOPF-CPM wants each attribute of its model and takes no other; what we do not know is "null", as there.
All that is told follows from what every form of L1C product tells, so that equal products make equal files.
"""

from collections.abc import Mapping

from lxml import etree

from steps import __version__
from steps.l2a.elements import Identity, text_of
from steps.l2a.eopf import ASSETS, bounds, wkt
from steps.l2a.quality import retrieval_values
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.names import BASELINE
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.satellites import platform, satellite
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import CLOUDS, SCL_CLASSES

UNKNOWN = "null"
_EXTENSIONS = (
    "eopf/v1.2.0",
    "eo/v2.0.0",
    "raster/v2.0.0",
    "projection/v2.0.0",
    "sat/v1.1.0",
    "product/v0.1.0",
    "processing/v1.2.0",
    "scientific/v1.0.0",
)
_FACTOR = "reflectance_correction_factor_from_the_sun_earth_distance_variation_computed_using_the_acquisition_date"
_ALL = "in_deg_for_all_bands_all_detectors"
_DISPLACEMENTS = "residual_displacements_at_all_tie_points_after_refinement_m"


def attributes(
    product: etree._Element,
    identity: Identity,
    scene: Scene,
    report: QualityReport,
    geometry: Mapping,
    bbox: list[float],
) -> dict:
    """Return the attributes of the root.

    Parameters
    ----------
    product
        Root of the L1C product's `MTD_MSIL1C.xml`.
    identity
        Names of the L2A product.
    scene, report
        What was processed, and how.
    geometry, bbox
        Of the valid pixels, see `steps.sentinel2.footprint.footprint`.

    Raises
    ------
    StepError
        If the document lacks something.
    """
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        "id": identity.product,
        "geometry": dict(geometry),
        "bbox": bbox,
        "properties": _properties(product, identity, scene, report),
        "links": [{"href": "./.zattrs", "rel": "self", "type": "application/json"}],
        "assets": {key: {"href": f"/{path}", "title": key} for key, path in sorted(ASSETS.items())},
    }
    made = {
        "facility": "Sen2Flow",
        "processor": "Sen2Flow",
        "version": __version__,
        "inputs": [scene.product],
        "outputs": [identity.product],
        # of the L1C product: equal inputs make equal files
        "time": text_of(product, "GENERATION_TIME"),
    }
    return {
        "stac_discovery": item,
        "other_metadata": _other(product, scene, report),
        "processing_history": {"Level-2A Product": [made]},
    }


def _properties(product: etree._Element, identity: Identity, scene: Scene, report: QualityReport) -> dict:
    share = report.class_percentages
    datatake = product.find(".//Datatake")
    described = "" if datatake is None else datatake.get("datatakeIdentifier", "").rpartition("_N")[0]
    grid = scene.part
    return {
        "datetime": scene.sensing_time,
        "start_datetime": text_of(product, "PRODUCT_START_TIME"),
        "end_datetime": text_of(product, "PRODUCT_STOP_TIME"),
        "created": text_of(product, "GENERATION_TIME"),
        "platform": platform(scene.satellite),
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "providers": [{"name": "Sen2Flow", "roles": ["processor"]}, {"name": "ESA", "roles": ["producer"]}],
        "bands": [_band(band, scene) for band in BANDS],
        "eo:cloud_cover": min(100.0, round(sum(share[SCL_CLASSES[code]] for code in CLOUDS), 6)),
        "eo:snow_cover": round(share["SNOW_ICE"], 6),
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:bbox": bounds(grid),
        "proj:transform": [*map(float, grid.transform)],
        "proj:wkt2": wkt(grid),
        "sat:absolute_orbit": identity.orbit,
        "sat:relative_orbit": int(text_of(product, "SENSING_ORBIT_NUMBER")),
        "sat:orbit_state": text_of(product, "SENSING_ORBIT_DIRECTION").lower(),
        "sat:platform_international_designator": satellite(scene.satellite).designator or UNKNOWN,
        "eopf:datatake_id": f"{described}_N{BASELINE}",
        "eopf:datastrip_id": identity.datastrip,
        "eopf:instrument_mode": _told(product, "DATATAKE_TYPE"),
        "product:type": "S02MSIL2A",
        "product:timeliness": UNKNOWN,
        "product:timeliness_category": UNKNOWN,
        "processing:level": "L2A",
        "processing:facility": "Sen2Flow",
        "processing:lineage": f"Surface reflectance from the Level-1C product {scene.product}",
        "processing:software": {"Sen2Flow": __version__},
        "processing:version": BASELINE,
        # ESA's DOI stands for ESA's products
        "sci:doi": UNKNOWN,
    }


def _told(root: etree._Element, name: str) -> str:
    return (root.findtext(f".//{name}") or UNKNOWN).strip()


def _band(band: str, scene: Scene) -> dict:
    centre, width = scene.bands[band].response.centre_and_width
    return {
        "name": band.lower(),
        "eo:center_wavelength": centre,
        "eo:full_width_half_max": width,
        "eo:solar_illumination": scene.bands[band].solar_irradiance,
        "raster:spatial_resolution": str(PIXEL_SIZE[band]),
    }


def _other(product: etree._Element, scene: Scene, report: QualityReport) -> dict:
    zone, south = scene.grid.epsg % 100, scene.grid.epsg > 32700
    utm = f"UTM zone {zone}{'S' if south else 'N'}"
    rotation = {"coefficients": UNKNOWN, "degree": UNKNOWN}
    retrieval = retrieval_values(report)
    return {
        "eopf_category": "eoproduct",
        "utm_zone_identification": utm,
        "horizontal_crs_name": f"WGS84 / {utm}",
        "horizontal_crs_code": f"EPSG:{scene.grid.epsg}",
        "mean_sensing_time": scene.sensing_time,
        f"mean_sun_zenith_angle_{_ALL}": scene.sun_zenith,
        f"mean_sun_azimuth_angle_{_ALL}": scene.sun_azimuth,
        _FACTOR: scene.earth_sun,
        "band_description": {band[1:]: _description(product, band, scene) for band in BANDS},
        "aot_retrieval_model": retrieval["AOT_RETRIEVAL_METHOD"],
        "mean_value_of_aerosol_optical_thickness": float(retrieval["GRANULE_MEAN_AOT"]),
        "mean_value_of_total_water_vapour_content": float(retrieval["GRANULE_MEAN_WV"]),
        "ozone_source": retrieval["OZONE_SOURCE"],
        "ozone_value": float(retrieval["OZONE_VALUE"]),
        "product_quality_status": "PASSED",
        "geometric_refinement": {
            "spacecraft_rotation": {axis: dict(rotation) for axis in "XYZ"},
            f"mean_value_of_{_DISPLACEMENTS}": {"x_mean": UNKNOWN, "y_mean": UNKNOWN},
            f"standard_deviation_of_{_DISPLACEMENTS}": {"x_stdv": UNKNOWN, "y_stdv": UNKNOWN},
        },
        **dict.fromkeys(
            (
                "declared_accuracy_of_radiative_transfer_model",
                "declared_accuracy_of_water_vapour_model",
                "declared_accuracy_of_aot_model",
                "onboard_equalization_flag",
                "onboard_compression_flag",
                "swir_rearrangement_flag",
                "optical_crosstalk_correction_flag",
                "electronic_crosstalk_correction_flag",
                "nuc_table_id",
            ),
            UNKNOWN,
        ),
    }


def _description(product: etree._Element, band: str, scene: Scene) -> dict:
    response = scene.bands[band].response
    centre, width = response.centre_and_width
    gain = product.findtext(f".//PHYSICAL_GAINS[@bandId='{BANDS.index(band)}']")
    return {
        "units": "nm",
        "bandwidth": round(1000 * width, 1),
        "central_wavelength": round(1000 * centre, 1),
        "wavelength_min": float(response.start),
        "wavelength_max": float(response.wavelength[-1]),
        "spectral_response_step": response.step,
        "spectral_response_values": " ".join(map(repr, response.values)),
        "physical_gain": float(gain) if gain else UNKNOWN,
        "onboard_compression_rate": UNKNOWN,
        "onboard_integration_time": UNKNOWN,
    }
