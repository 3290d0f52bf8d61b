"""Figures of the report of a product: pictures, maps with histograms, and spectra of classes."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from steps.core.rasters import Kind, bands_of, grid_of, read
from steps.sentinel2.scene import Band
from steps.sentinel2.scene_classes import SCL_CLASSES, SCL_COLOURS
from steps.sentinel2.true_colour import RGB, block_mean, true_colour

#: Largest side of a picture and of a map, pixels.
_PICTURE = 800
_MAP = 400
#: Least side of a raster whose pixels are shown, if there is a finer one.
_LEAST_SIDE = 500
#: Pixel size of the class map, m.
_CLASS_SIZE = 20
#: Side of the sample that class means are taken of, pixels.
_SAMPLE = 900
#: Classes whose spectra are drawn: the largest, with at least so many percent.
_CLASSES = 5
_LEAST_SHARE = 0.5
_BINS = 40
#: Colours of a map from its lowest to its highest value, dark to light in even steps of lightness.
_RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])
NO_DATA_COLOUR = (211, 211, 211)
#: Size of the drawing area of the spectra, in units of the SVG, and its range of wavelengths, nm.
_DRAWING = (640, 260)
_WAVELENGTHS = (400, 2300)


def coarsest(paths: Sequence[Path] | None, kind: Kind) -> Path | None:
    """Return the raster with the fewest pixels that has enough for a picture, else the one with the most."""
    sides = {path: max(grid_of(path, kind).shape) for path in paths or ()}
    ascending = sorted(sides, key=sides.__getitem__)
    return next((path for path in ascending if sides[path] >= _LEAST_SIDE), ascending[-1] if ascending else None)


def true_colour_picture(path: Path, kind: Kind) -> Image.Image:
    """Return reflectance as a picture, stretched as the product's true colour."""
    size = -(-max(grid_of(path, kind).shape) // _PICTURE)
    return Image.fromarray(np.dstack([true_colour(block_mean(read(path, kind, band), size)) for band in RGB]))


def class_picture(classes: np.ndarray) -> Image.Image:
    """Return the class map, shape (rows, columns), as a picture with the usual colours."""
    picture = Image.fromarray(np.ascontiguousarray(_every(classes, -(-max(classes.shape) // _PICTURE))))
    picture.putpalette([value for colour in SCL_COLOURS for value in colour])
    return picture


def embedded(picture: Image.Image) -> str:
    """Return a picture as an address that holds it: PNG of a few colours, JPEG of many."""
    buffer, form = io.BytesIO(), "PNG" if picture.mode == "P" else "JPEG"
    picture.save(buffer, form, **({"optimize": True} if form == "PNG" else {"quality": 80}))
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def colour_of(code: int) -> str:
    """Return the colour of a class, `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*SCL_COLOURS[code])


def label_of(code: int) -> str:
    """Return the name of a class in words."""
    return SCL_CLASSES[code].replace("_", " ").replace("PROBA", "PROBABILITY").lower()


def map_figure(path: Path, kind: Kind, title: str, unit: str) -> dict[str, Any]:
    """Return a map with its range and histogram for the template.

    Parameters
    ----------
    path, kind
        A raster of one band, 0 = no data.
    title, unit
        Of its values.
    """
    stored = read(path, kind, bands_of(path, kind)[0])
    stored = _every(stored, -(-max(stored.shape) // _MAP))
    valid = stored[stored != 0] * kind.scale
    low, high = np.percentile(valid, [1, 99]) if valid.size else (0.0, 0.0)
    high = max(high, low + 1e-3)
    place = np.clip((stored * kind.scale - low) / (high - low), 0, 1) * (len(_RAMP) - 1)
    colours = np.dstack([np.interp(place, np.arange(len(_RAMP)), shade) for shade in _RAMP.T]).astype("u1")
    colours[stored == 0] = NO_DATA_COLOUR
    # No bin is narrower than the steps of the stored numbers.
    bins = int(np.clip((high - low) / kind.scale, 1, _BINS))
    counts, _ = np.histogram(valid, bins, (low, high))
    return {
        "title": title,
        "unit": unit,
        "picture": embedded(Image.fromarray(colours)),
        "low": float(low),
        "high": float(high),
        "mean": float(valid.mean()) if valid.size else 0.0,
        "bars": [round(float(count), 3) for count in counts / max(counts.max(), 1)],
        "ramp": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in _RAMP],
    }


def class_means(path: Path, kind: Kind, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean of each class, shape (12,), by band; NaN where a class has no pixel in the sample.

    Parameters
    ----------
    path, kind
        Raster of reflectance or its uncertainty, of any pixel size.
    classes
        Class map at 20 m of the same extent.
    """
    size = round(grid_of(path, kind).resolution)
    step = max(size, _CLASS_SIZE)
    step *= -(-max(classes.shape) * _CLASS_SIZE // (step * _SAMPLE))
    codes = _every(classes, step // _CLASS_SIZE)
    result = {}
    for band in bands_of(path, kind):
        stored = _every(read(path, kind, band), step // size)
        rows, columns = (min(pair) for pair in zip(stored.shape, codes.shape, strict=True))
        numbers, of_pixel = stored[:rows, :columns].ravel(), codes[:rows, :columns].ravel()
        of_pixel = np.where(numbers == 0, 0, of_pixel)  # class 0 is no data
        total = np.bincount(of_pixel, numbers, len(SCL_CLASSES))
        count = np.bincount(of_pixel, minlength=len(SCL_CLASSES)).astype("f8")
        count[0] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            result[band] = np.where(count > 0, total / count * kind.scale + kind.offset, np.nan)
    return result


def _every(pixels: np.ndarray, step: int) -> np.ndarray:
    return pixels[step // 2 :: step, step // 2 :: step]


def spectra_figure(
    means: Mapping[str, Mapping[str, np.ndarray]], bands: Mapping[str, Band], shares: Mapping[str, float]
) -> dict[str, Any]:
    """Return the spectra of the largest classes before and after the correction for the template.

    Parameters
    ----------
    means
        `class_means` of reflectance at the top of the atmosphere (`toa`) and at the surface (`boa`), and of the
        uncertainty of the latter (`uncertainty`) if there is one.
    bands
        Of the scene, for their wavelengths.
    shares
        Of the classes by name, percent.
    """
    largest = sorted(
        (code for code, name in SCL_CLASSES.items() if shares.get(name, 0) >= _LEAST_SHARE),
        key=lambda code: -shares[SCL_CLASSES[code]],
    )[:_CLASSES]
    nanometres = {band: 1000 * bands[band].response.centre_and_width[0] for band in means["boa"]}
    ordered = sorted(nanometres, key=nanometres.__getitem__)
    values = [
        means[name][band][code]
        for name in ("toa", "boa")
        for band in ordered
        if band in means[name]
        for code in largest
    ]
    highest = max([0.05, *filter(np.isfinite, values)])
    spacing = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if highest <= 6 * step or step == 1.0)
    top = spacing * np.ceil(highest / spacing)

    def points(name: str, code: int) -> list[tuple[float, float]]:
        found = [(nanometres[band], means[name][band][code]) for band in ordered if band in means[name]]
        return [(_across(length), _down(value, top)) for length, value in found if np.isfinite(value)]

    drawn = [
        {
            "label": label_of(code),
            "colour": colour_of(code),
            "toa": points("toa", code),
            "boa": points("boa", code),
            "bars": _bars(means, nanometres, code, top),
        }
        for code in largest
    ]
    return {
        "classes": drawn,
        "width": _DRAWING[0],
        "height": _DRAWING[1],
        "levels": [(_down(level, top), float(level)) for level in np.arange(0, top + spacing / 2, spacing)],
        "wavelengths": [(_across(length), length) for length in (500, 1000, 1500, 2000)],
        "bands": [(_across(nanometres[band]), band) for band in ordered],
    }


def _across(nanometres: float) -> float:
    first, last = _WAVELENGTHS
    return round((nanometres - first) / (last - first) * _DRAWING[0], 1)


def _down(reflectance: float, top: float) -> float:
    return round((1 - max(reflectance, 0) / top) * _DRAWING[1], 1)


def _bars(
    means: Mapping[str, Mapping[str, np.ndarray]], nanometres: Mapping[str, float], code: int, top: float
) -> list[tuple[float, float, float]]:
    """Return place, upper and lower end of the bars of standard uncertainty."""
    sigma = {band: of_class[code] for band, of_class in means.get("uncertainty", {}).items()}
    found = [(band, means["boa"][band][code], sigma[band]) for band in nanometres if band in sigma]
    return [
        (_across(nanometres[band]), _down(value + spread, top), _down(value - spread, top))
        for band, value, spread in found
        if np.isfinite(value + spread)
    ]
