"""The XML documents of the tile of an L1C product that is made here: its metadata with angles, and its masks."""

from collections.abc import Iterable

import numpy as np
from lxml import etree
from lxml.builder import ElementMaker

from steps.core.rasters import Grid
from steps.sentinel2.bands import BANDS, RESOLUTIONS
from steps.sentinel2.geometry import Swath, sun_position
from steps.simulation.acquisition import Acquisition, compact, utc
from steps.simulation.l1c_xml import E, element, root

#: Spacing of the angle grids, m.
_STEP = 5000
_GML = "http://www.opengis.net/gml/3.2"
_EOP = "http://www.opengis.net/eop/2.0"


def _geographic(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.warp import transform

    longitude, latitude = transform(f"EPSG:{grid.epsg}", "EPSG:4326", x.ravel(), y.ravel())
    return np.reshape(longitude, x.shape), np.reshape(latitude, x.shape)


def _angle_values(tag: str, values: np.ndarray) -> etree._Element:
    rows = [E.VALUES(" ".join("NaN" if np.isnan(v) else f"{v:.6g}" for v in row)) for row in values]
    return E(tag, element("COL_STEP", _STEP, unit="m"), element("ROW_STEP", _STEP, unit="m"), E.Values_List(*rows))


def _mean_angle(tag: str, zenith: np.ndarray, azimuth: np.ndarray, **attributes) -> etree._Element:
    """Average directions as vectors; NaN counts nothing."""
    tangent, azimuth = np.tan(np.radians(zenith)), np.radians(azimuth)
    east, north = np.nanmean(tangent * np.sin(azimuth)), np.nanmean(tangent * np.cos(azimuth))
    zenith, azimuth = np.degrees(np.arctan(np.hypot(east, north))), np.degrees(np.arctan2(east, north)) % 360
    return E(
        tag,
        element("ZENITH_ANGLE", f"{zenith:.6f}", unit="deg"),
        element("AZIMUTH_ANGLE", f"{azimuth:.6f}", unit="deg"),
        attributes,
    )


def _tile_angles(scene: Acquisition, grid: Grid, swath: Swath, sun: tuple[float, float] | None) -> etree._Element:
    columns, rows = (int(np.ceil(n * grid.resolution / _STEP)) + 1 for n in (grid.width, grid.height))
    x, y = np.meshgrid(grid.left + _STEP * np.arange(columns), grid.top - _STEP * np.arange(rows))
    if sun is None:
        suns = sun_position(scene.sensing_time, *_geographic(grid, x, y))
    else:
        suns = np.full(x.shape, sun[0]), np.full(x.shape, sun[1])
    grids, means = [], []
    for number, band in enumerate(BANDS):
        seen = {}
        for detector in swath.detectors(x, y):
            inside = swath.seen_by(detector, x, y)
            seen[detector] = [np.where(inside, angle, np.nan) for angle in swath.view(band, detector, x, y)]
        grids += [
            E.Viewing_Incidence_Angles_Grids(
                _angle_values("Zenith", zenith),
                _angle_values("Azimuth", azimuth),
                bandId=str(number),
                detectorId=str(detector),
            )
            for detector, (zenith, azimuth) in seen.items()
        ]
        zenith, azimuth = (np.stack(angles) for angles in zip(*seen.values(), strict=True))
        means.append(_mean_angle("Mean_Viewing_Incidence_Angle", zenith, azimuth, bandId=str(number)))
    return E.Tile_Angles(
        E.Sun_Angles_Grid(_angle_values("Zenith", suns[0]), _angle_values("Azimuth", suns[1])),
        _mean_angle("Mean_Sun_Angle", *suns),
        *grids,
        E.Mean_Viewing_Incidence_Angle_List(*means),
        metadataLevel="Standard",
    )


def _tile_geocoding(grid: Grid) -> etree._Element:
    grids = [grid.at(resolution) for resolution in RESOLUTIONS]
    sizes = [E.Size(element("NROWS", g.height), element("NCOLS", g.width), resolution=str(g.resolution)) for g in grids]
    return E.Tile_Geocoding(
        E.HORIZONTAL_CS_NAME(f"WGS84 / UTM zone {grid.epsg % 100}N"),
        E.HORIZONTAL_CS_CODE(f"EPSG:{grid.epsg}"),
        *sizes,
        *(
            E.Geoposition(
                element("ULX", g.left),
                element("ULY", g.top),
                element("XDIM", g.resolution),
                element("YDIM", -g.resolution),
                resolution=str(g.resolution),
            )
            for g in grids
        ),
        metadataLevel="Brief",
    )


def tile_metadata(
    scene: Acquisition, grid: Grid, swath: Swath, sun: tuple[float, float] | None = None
) -> etree._Element:
    """Build MTD_TL.xml of the tile on `grid` (10 m), seen in `swath`.

    Where `sun`, its zenith and azimuth in degrees, is given, it stands there and not where it stood at that time.
    """
    masks = [
        element("MASK_FILENAME", path.format(band), bandId=str(number), type=f"MSK_{kind}")
        for number, band in enumerate(BANDS)
        for kind, path in scene.masks
    ]
    kind, path = scene.cloud_mask
    masks.append(element("MASK_FILENAME", path, type=f"MSK_{kind}"))
    return root(
        "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd",
        "Level-1C_Tile_ID",
        E.General_Info(
            element("TILE_ID", scene.tile_id, metadataLevel="Brief"),
            element("DATASTRIP_ID", scene.datastrip_id, metadataLevel="Standard"),
            element("DOWNLINK_PRIORITY", "NOMINAL", metadataLevel="Standard"),
            element("SENSING_TIME", utc(scene.sensing_time), metadataLevel="Standard"),
            E.Archiving_Info(
                E.ARCHIVING_CENTRE("S2FL"),
                E.ARCHIVING_TIME(utc(scene.creation_time)),
                metadataLevel="Expertise",
            ),
        ),
        E.Geometric_Info(_tile_geocoding(grid), _tile_angles(scene, grid, swath, sun)),
        E.Quality_Indicators_Info(
            E.Image_Content_QI(E.CLOUDY_PIXEL_PERCENTAGE("0"), E.DEGRADED_MSI_DATA_PERCENTAGE("0")),
            E.Pixel_Level_QI(*masks, geometry="FULL_RESOLUTION"),
            E.PVI_FILENAME(f"{scene.preview_path}.jp2"),
            metadataLevel="Standard",
        ),
    )


def mask(
    scene: Acquisition,
    kind: str,
    band: str,
    epsg: int,
    polygons: Iterable[tuple[str, str, list[tuple[float, float]]]] = (),
):
    """Build one _GML mask.

    Parameters
    ----------
    scene
        Of the product.
    kind, band
        `DETFOO`, `B01` and so on.
    epsg
        Projection of the coordinates.
    polygons
        Identifier, mask type and corners (map coordinates, closed) of each polygon.
    """
    eop, gml = (ElementMaker(namespace=n, nsmap={"eop": _EOP, "gml": _GML}) for n in (_EOP, _GML))
    identifier = f"{{{_GML}}}id"
    name = f"{scene.satellite}_USER_MSK_{kind}_{compact(scene.creation_time)}_{scene.tile}_{band}_MSIL1C"
    members = eop.maskMembers()
    for polygon, kind_of, ring in polygons:
        position = gml.posList(" ".join(f"{x:.0f} {y:.0f} 0" for x, y in ring), srsDimension="3")
        shape = gml.Polygon(
            gml.exterior(gml.LinearRing(position)),
            {identifier: f"{polygon}_Polygon", "srsName": f"urn:ogc:def:crs:EPSG:8.7:{epsg}"},
        )
        kind_element = eop.maskType(kind_of, codeSpace="urn:gs2:S2PDGS:maskType")
        members.append(eop.MaskFeature(kind_element, eop.extentOf(shape), {identifier: polygon}))
    return eop.Mask(gml.name(f"MSK_{kind} of {scene.granule}"), members, {identifier: name})
