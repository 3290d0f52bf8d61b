"""Clouds of known height drawn over a real scene, with the parallax between the bands and with their shadows."""

import os
from pathlib import Path

import numpy as np
from scipy import ndimage

from steps.classification.cloud_shadow import displacement

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
#: When each band sees the same ground, s after B02 (Sentinel-2 user handbook), and what that is in m per m of height.
SEEN = {"B02": 0, "B08": 0.264, "B03": 0.527, "B10": 0.851, "B04": 1.005, "B05": 1.269, "B11": 1.468, "B06": 1.525}
SEEN |= {"B07": 1.79, "B8A": 2.055, "B12": 2.085, "B01": 2.314, "B09": 2.586}
PARALLAX = 6700 / 786000
#: Reflectance of an opaque cloud where no gas absorbs, and what is left of the ground's in its shadow.
CLOUD = {"B11": 0.45, "B12": 0.38}
LEFT = {"B01": 0.95, "B02": 0.85, "B03": 0.75, "B04": 0.6, "B09": 0.45, "B10": 1.0, "B11": 0.35, "B12": 0.33}
#: Column of water vapour of the scene that the clouds are drawn over, g/cm2.
VAPOUR = 0.5
#: Scale height of water vapour, km, and the optical thickness in B10 of 1 g/cm2, down and up at the zenith: fitted
#: to transmittances of 0.29 above 6 km and 0.96 above 14 km in a mid-latitude summer.
VAPOUR_SCALE = 2.05
B10_THICKNESS = 8.0


def random_clouds(shape, cover, size, seed):
    """Return the opacity (0-1) of clouds that cover a share of the scene, of about `size` pixels."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) / (1 + (frequency * size) ** 2)).real
    noise /= noise.std()
    limit = np.quantile(noise, 1 - cover)
    return np.clip((noise - limit) / 0.35, 0, 1).astype("f4")


def real_clouds(shape, product, row, column):
    """Return the opacity of the opaque clouds that a product outlines, from a pixel of 60 m on."""
    rows, columns = shape[0] // 3, shape[1] // 3
    opaque = OUTLINES[product]()[row : row + rows, column : column + columns].astype("f4")
    fine = ndimage.zoom(ndimage.gaussian_filter(opaque, 0.7), 3, order=1, grid_mode=True, mode="nearest")
    return np.clip(fine * 1.1, 0, 1).astype("f4")


def _image_of_clouds():
    import rasterio

    with rasterio.open(
        next((SHARED / "data").glob("l1c_safe_31TCJ_n0510/S2B_*/GRANULE/*/QI_DATA/MSK_CLASSI*"))
    ) as mask:
        return mask.read(1) > 0


def _polygons_of_clouds():
    from lxml import etree
    from rasterio.features import rasterize
    from rasterio.transform import from_origin

    mask = etree.parse(next((SHARED / "data").glob("l1c_safe_48LWP_n0301/*/GRANULE/*/QI_DATA/MSK_CLOUDS*")))
    opaque = [m for m in mask.iterfind(".//{*}MaskFeature") if m.findtext("{*}maskType") == "OPAQUE"]
    rings = [
        [np.reshape(ring.text.split(), (-1, 2)).astype(float).tolist() for ring in polygon.iterfind(".//{*}posList")]
        for feature in opaque
        for polygon in feature.iterfind(".//{*}Polygon")
    ]
    shapes = [{"type": "Polygon", "coordinates": r} for r in rings]
    return rasterize(shapes, (1830, 1830), transform=from_origin(499980, 8900020, 60, 60)) > 0


#: Reads the outlines of a product's clouds, 60 m.
OUTLINES = {"T31TCJ 2024-03-05": _image_of_clouds, "T48LWP 2021-07-13": _polygons_of_clouds}


def b10_thickness(water_vapour, sun_zenith):
    """Return the optical thickness in B10 of the way down to sea level and up."""
    return B10_THICKNESS * water_vapour * (1 / np.cos(np.radians(sun_zenith)) + 1) / 2


def b10_of_ground(height, reflectance, thickness):
    """Return what is seen in B10 of something at a height, m."""
    return reflectance * np.exp(-thickness * np.exp(-height / (1000 * VAPOUR_SCALE)))


def with_clouds(toa, opacity, height, sun, view, depth=1.0, spread=0.1, seed=0):
    """Draw clouds and their shadows over a scene of 20 m.

    Parameters
    ----------
    toa
        Reflectance of each band.
    opacity
        0-1; where the clouds are in B8A.
    height
        Of the clouds above the ground, m; that of single clouds varies by the share `spread`.
    sun, view
        Zenith and azimuth, degrees.
    depth
        Opacity of the thickest part.

    Returns
    -------
    toa, cloud, shadow, clear
        The scene, where clouds are opaque, where ground lies in their shadow, and where there is nothing of both.
    """
    rng = np.random.default_rng(seed)
    labels, count = ndimage.label(opacity > 0)
    heights = height * (1 + spread * rng.uniform(-1, 1, count + 1))
    heights = np.rint(heights / (height * 0.02)) * height * 0.02  # few different ones, to be fast
    texture = 1 + 0.08 * ndimage.gaussian_filter(rng.normal(size=opacity.shape), 2) * 7
    down, right = displacement(*sun, *view)
    shade = np.zeros_like(opacity)
    covered = {band: np.zeros_like(opacity) for band in toa}
    vapour = {band: np.zeros_like(opacity) for band in ("B09", "B10")}
    thickness = b10_thickness(VAPOUR, sun[0])
    for one in np.unique(heights[1:]):
        part = np.where((heights == one)[labels] & (labels > 0), opacity, 0) * np.float32(depth)
        moved = ndimage.shift(part, (one / 20 * down, one / 20 * right), order=1)
        np.maximum(shade, ndimage.gaussian_filter(moved, one / 20 / 108), out=shade)
        for band in toa:
            here = ndimage.shift(part, ((SEEN[band] - SEEN["B8A"]) * PARALLAX * one / 20, 0), order=1)
            np.maximum(covered[band], here, out=covered[band])
            if band in vapour:
                vapour[band] = np.where(here > 0, _reflectance_above(band, one, thickness), vapour[band])
    result = {}
    for band, image in toa.items():
        bright = vapour[band] if band in vapour else CLOUD.get(band, 0.52)
        ground = image * (1 - shade * (1 - LEFT.get(band, 0.5)))
        here = covered[band]
        result[band] = np.maximum(ground * (1 - here) + bright * texture * here, 0.0005).astype("f4")
    seen = np.maximum.reduce(list(covered.values()))
    return result, covered["B8A"] > 0.5, (shade > 0.5) & (seen < 0.05), (shade < 0.05) & (seen < 0.05)


def _reflectance_above(band, height, thickness):
    """Return the reflectance of a cloud in a band of water vapour, by what lies above the cloud."""
    if band == "B10":
        return float(b10_of_ground(height, 0.5, thickness)) + 0.001
    # The demo's ground has 0.45 of B8A in B09; absorption in a band goes with the root of the column.
    return 0.52 * 0.45 ** np.exp(-height / 2000 / VAPOUR_SCALE)
