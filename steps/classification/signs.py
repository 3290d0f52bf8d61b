"""What pixels look like by themselves: the spectral signs that the improved scene classification goes by."""

import numpy as np

from steps.classification.rules import B02_MINUS_B04_WATER, B10_T1
from steps.core.compiled import helper, njit

#: What `signs` says of a pixel, as flags: snow; ice so high that B10 sees it; white water; dry land, brighter in B11
#: than in B03; land behind a thin cloud; ground that no opaque cloud is as red as; water by its colour, in the glint of
#: the sun as well; dark water in it.
LIKE_SNOW, HIGH_ICE, LIKE_SURF, LIKE_LAND, LIKE_VEIL, LIKE_EARTH, LIKE_WATER, LIKE_GLINT = (
    np.uint8(1 << n) for n in range(8)
)
#: Least NDSI, and reflectance in B03 and B8A, of snow (Hall et al. 1995, Remote Sensing of Environment 54, 127-140).
NDSI = 0.4
SNOW_B03 = 0.10
SNOW_B8A = 0.11
#: White water is dull, and less dark in B11 than snow and ice, foam against ice (Koepke 1984, Applied Optics 23, 1816;
#: Frouin et al. 1996, J. Geophys. Res. 101, 14361): B8A at most, and B11 / B03 at least.
SURF_B8A = 0.35
SURF_B11_B03 = 0.15
#: Thin cloud: B02 less half of B04, at least (Zhu and Woodcock 2012, equation 3; haze raises blue more than red);
#: B12, at least, and B12 / B04, that cloud raises and haze and shadow do not; limits of B02 / B11, which is low on soil
#: and high on snow and water; B8A / B11, which is low on soil and roofs.
HAZE = 0.08
THIN_B12 = 0.08
THIN_B12_B04 = 0.8
THIN_B02_B11 = (0.70, 1.15)
THIN_B8A_B11 = 1.2
#: Bright ground: B04, at least, and B02 / B04, at most. An opaque cloud at any height under any sun has 1.01 and more,
#: since molecules above it scatter blue and ozone absorbs red.
EARTH_B04 = 0.25
EARTH_B02_B04 = 0.97
#: Glint is white but for the air's blue, of which the same air takes some (as a share of B8A), and falls little towards
#: B12, where soils, wet ones too, and shadows are darker and what burned is brighter: B8A at most, and B11 / B8A and
#: B12 / B11, at least. Of 4248 soils, 104 dry plants and 21 burned ones of the package `earthlib` none is so, under AOT
#: 0.05 to 0.6; of built-up ground dark roofs are.
GLINT_LESS_BLUE = 0.12
GLINT_B8A = 0.15
GLINT_B11_B8A = 0.55
GLINT_B12_B11 = 0.75


@helper(cache=True, nogil=True)
def _water(bluer, nir, swir, b12):
    """Return `LIKE_WATER`, `LIKE_GLINT`, both or 0 by how much brighter B02 is than B04, and by B8A, B11 and B12."""
    found = LIKE_WATER if bluer > B02_MINUS_B04_WATER else np.uint8(0)
    white = GLINT_B11_B8A * nir < swir < nir < GLINT_B8A and GLINT_B12_B11 * swir < b12 < swir
    return found | LIKE_GLINT if white and bluer > B02_MINUS_B04_WATER - GLINT_LESS_BLUE * nir else found


@njit(cache=True, nogil=True)
def signs(b02, b03, b04, b8a, b10, b11, b12):
    """Tell what pixels look like by themselves.

    Parameters
    ----------
    b02, b03, b04, b8a, b10, b11, b12 : float32, shape (rows, columns)
        Reflectance; B10 free of what ground sends through.

    Returns
    -------
    uint8, shape (rows, columns)
        `HIGH_ICE`, or what is seen where there is none: `LIKE_SNOW`, or `LIKE_EARTH`; and any of `LIKE_WATER`,
        `LIKE_GLINT`, `LIKE_LAND`, `LIKE_SURF` and `LIKE_VEIL`.
    """
    result = np.zeros(b02.shape, np.uint8)
    low, high = THIN_B02_B11
    for i in range(b02.shape[0]):
        for j in range(b02.shape[1]):
            blue, green, red, nir, swir = b02[i, j], b03[i, j], b04[i, j], b8a[i, j], b11[i, j]
            found = np.uint8(0)
            if b10[i, j] > B10_T1:
                found |= HIGH_ICE
            else:
                if green - swir >= NDSI * (green + swir) and green > SNOW_B03 and nir > SNOW_B8A:
                    found |= LIKE_SNOW
                elif red > EARTH_B04 and blue < EARTH_B02_B04 * red:
                    found |= LIKE_EARTH
            if nir < red:
                found |= _water(blue - red, nir, swir, b12[i, j])
            if swir > green:
                found |= LIKE_LAND
            if nir < SURF_B8A and swir > SURF_B11_B03 * green:
                found |= LIKE_SURF
            haze = blue - red / 2 > HAZE and low * swir < blue < high * swir
            if haze and b12[i, j] > THIN_B12 and b12[i, j] > THIN_B12_B04 * red and nir > THIN_B8A_B11 * swir:
                found |= LIKE_VEIL
            result[i, j] = found
    return result
