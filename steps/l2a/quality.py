"""What the L2A product says of its quality: percentages, retrievals, and the file `L2A_QUALITY.xml`."""

import math
from collections.abc import Mapping, Sequence

from lxml import etree

from steps import __version__
from steps.l2a.elements import Identity, element
from steps.sentinel2.reports import QualityReport
from steps.sentinel2.satellites import satellite
from steps.sentinel2.scene_classes import CLOUDS, SCL_CLASSES

_NAMESPACE = "http://gs2.esa.int/DATA_STRUCTURE/l2aqiReport"
#: Our aerosol methods in the terms of the product specification; any other is DEFAULT.
_AOT_METHODS = {"DDV": "SEN2COR_DDV", "CAMS": "CAMS"}


def _number(value: float) -> str:
    # a mean of no pixel at all is 0, as in ESA's products
    return f"{value if math.isfinite(value) else 0:.6f}"


def content_percentages(quality: QualityReport, psd: int, degraded: str | None = None) -> dict[str, str]:
    """Return the percentages of `Image_Content_QI` in their order.

    Classes are in percent of the valid pixels, no data of all; cloudy are the medium and high cloud probabilities and
    thin cirrus, as in ESA's products.

    Parameters
    ----------
    quality
        The quality report.
    psd
        14 or 15: what the specification calls class 2.
    degraded
        DEGRADED_MSI_DATA_PERCENTAGE, for the metadata that have it.
    """
    classes = quality.class_percentages
    cloudy = sum(classes[SCL_CLASSES[code]] for code in CLOUDS)
    result = {
        "CLOUDY_PIXEL_PERCENTAGE": _number(cloudy),
        "CLOUDY_PIXEL_OVER_LAND_PERCENTAGE": _number(quality.cloudy_over_land_percentage),
    }
    if degraded is not None:
        result["DEGRADED_MSI_DATA_PERCENTAGE"] = degraded
    result["NODATA_PIXEL_PERCENTAGE"] = _number(quality.nodata_percentage)
    others = {1: "SATURATED_DEFECTIVE_PIXEL", 2: "CAST_SHADOW" if psd == 15 else "DARK_FEATURES"}
    for index in range(1, 12):
        name = SCL_CLASSES[index]
        result[f"{others.get(index, name)}_PERCENTAGE"] = _number(classes[name])
    return result


def retrieval_values(quality: QualityReport) -> dict[str, str]:
    """Return what follows the percentages in `Image_Content_QI`, in its order."""
    return {
        "RADIATIVE_TRANSFER_ACCURACY": "0.0",
        "WATER_VAPOUR_RETRIEVAL_ACCURACY": "0.0",
        "AOT_RETRIEVAL_ACCURACY": "0.0",
        "AOT_RETRIEVAL_METHOD": _AOT_METHODS.get(quality.aot_method, "DEFAULT"),
        "GRANULE_MEAN_AOT": _number(quality.mean_aot550),
        "GRANULE_MEAN_WV": _number(quality.mean_water_vapour),
        "OZONE_SOURCE": quality.ozone_source,
        "OZONE_VALUE": _number(quality.ozone_dobson),
    }


def quality_file(
    quality: QualityReport,
    percentages: Mapping[str, str],
    sun_zenith: float,
    created: str,
    identity: Identity,
    lut: Sequence[str],
) -> etree._Element:
    """Return `L2A_QUALITY.xml`.

    Parameters
    ----------
    quality
        The quality report.
    percentages
        Of `content_percentages`.
    sun_zenith
        Mean of the tile, degrees.
    created
        Time of creation, ISO 8601.
    identity
        Names of the L2A product.
    lut
        Name of the look-up table.
    """
    seconds = created[:19]
    report = [
        _check_list("L2A_SC", "SCENE_CLASS_QUALITY", identity, {"Percentage of classified pixels": percentages}),
        _check_list("L2A_AC", "ATMOSPHERIC_CORRECTION_QUALITY", identity, _correction(quality, sun_zenith, lut)),
        _check_list("L2A_AUX", "AUX_DATA_QUALITY", identity, _inputs(quality, sun_zenith)),
    ]
    attributes = {"gippVersion": __version__, "globalStatus": "PASSED", "date": seconds + "Z"}
    data = [element("report", report, **attributes)]
    root = element("L2A_Quality_File", [_header(identity, seconds), element("Data_Block", data, type="xml")])
    for item in root.iter():
        item.tag = f"{{{_NAMESPACE}}}{item.tag}"
    result = etree.Element(root.tag, nsmap={None: _NAMESPACE})
    result.extend(root)
    return result


def _header(identity: Identity, seconds: str) -> etree._Element:
    code = identity.product[:3]
    period = [element("Validity_Start", f"UTC={seconds}"), element("Validity_Stop", "UTC=2100-01-01T00:00:00")]
    source = [
        element("System", "Sen2Flow"),
        element("Creator", "Sen2Flow"),
        element("Creator_Version", __version__),
        element("Creation_Date", f"UTC={seconds}"),
    ]
    header = [
        element("File_Name", "L2A_QUALITY"),
        element("File_Description", "Quality information obtained from Sen2Flow"),
        element("Notes"),
        element("Mission", satellite(code).mission),
        element("File_Class", "USER"),
        element("File_Type", "L2A_QLINFO"),
        element("Validity_Period", period),
        element("File_Version", "1"),
        element("Source", source),
    ]
    return element("L2A_Quality_Header", [element("Fixed_Header", header)])


def _check_list(parent: str, name: str, identity: Identity, checks: Mapping[str, Mapping[str, str]]) -> etree._Element:
    item = {
        "class": "http://www.esa.int/s2#pdi_level_2a_tile_container",
        "className": "PDI Level 2A Tile Folder",
        "name": identity.tile,
        "url": identity.granule,
    }
    result = [
        element("parentID", parent),
        element("name", name),
        element("version", __version__),
        element("item", **item),
    ]
    for message, values in checks.items():
        extra = [element("value", text, name=key) for key, text in values.items()]
        parts = [element("message", message, contentType="text/plain")]
        result.append(element("check", parts + ([element("extraValues", extra)] if extra else [])))
    return element("checkList", result)


def _correction(quality: QualityReport, sun_zenith: float, lut: Sequence[str]) -> dict[str, dict[str, str]]:
    retrieval = retrieval_values(quality)
    return {
        "Atmospheric correction quality values": {
            "AOT_RETRIEVAL_ACCURACY": "0.0",
            "GRANULE_MEAN_AOT": retrieval["GRANULE_MEAN_AOT"],
            "WV_RETRIEVAL_ACCURACY": "0.0",
            "GRANULE_MEAN_WV": retrieval["GRANULE_MEAN_WV"],
            "OZONE_VALUE": retrieval["OZONE_VALUE"],
            "AVERAGE_SOLAR_ZENITH_ANGLE": _number(sun_zenith),
            "DDV_PIXEL_PERCENTAGE": _number(quality.ddv_percentage),
        },
        "Atmospheric correction quality control": {
            "AC_ENABLED": "True",
            "WV_RETRIEVAL_METHOD": quality.water_vapour_method,
            "AOT_RETRIEVAL_METHOD": retrieval["AOT_RETRIEVAL_METHOD"],
            "SEN2FLOW_AOT_METHOD": quality.aot_method,
            "SEN2FLOW_AEROSOL_MODEL": quality.aerosol_model,
            "SEN2FLOW_TERRAIN_CORRECTED": str(quality.terrain_corrected),
            "AOT_ABOVE_1": str(quality.mean_aot550 > 1),
            "GRANULE_WV_ABOVE_5_CM": str(quality.mean_water_vapour > 5),
        },
        "Percentage of negative BOA pixels": {
            band: _number(share) for band, share in quality.negative_percentage.items()
        },
        "Look up table file list": {"LUT_DATA_FILES": " ".join(lut)},
        "Defaults that stood in for something missing": {
            f"DEFAULT_{number}": sentence for number, sentence in enumerate(quality.defaults, 1)
        },
    }


def _inputs(quality: QualityReport, sun_zenith: float) -> dict[str, dict[str, str]]:
    return {
        "AUX related parameters": {
            "DEM_TYPE": quality.dem_source,
            "DEM_MEAN_ALTITUDE_KM": _number(quality.mean_elevation_km),
            "DEM_MEAN_SLOPE": _number(quality.mean_slope),
            "GROUND_ELEVATION_ABOVE_3_KM": str(quality.mean_elevation_km > 3),
            "SOLAR_ZENITH_ANGLE_ABOVE_70_DEG": str(sun_zenith > 70),
            "OZONE_SOURCE": quality.ozone_source,
        },
    }
