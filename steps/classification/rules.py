"""The rules of the scene classification that look at one pixel: what Sen2Cor calls its scene classification, 2.8.

One function per rule, in the order in which they run. Each takes reflectances at the top of the atmosphere (`b02` ...),
normalised differences of B03 with B11 (`ndsi`) and of B8A with B04 (`ndvi`), and the state of the pixel, its class
(`scl`) and its cloud confidence (0-1), and returns the new state. The thresholds are the constants below, by their
names in `L2A_CAL_SC_GIPP.xml`; the rules are described in the Sen2Cor user manual and the Level-2A algorithm
theoretical basis document (S2-PDGS-MPC-ATBD-L2A, section 2.1). `steps.classification.images` runs them over images.

All arithmetic is in float32, differences of thresholds included: `ramp` is exactly 1 from its upper threshold on, which
rule 3 asks for. Keep constants in float32 (`F`): a plain Python number would silently turn an expression into float64
and move pixels over the thresholds.
"""

import numpy as np

from steps.core.compiled import njit
from steps.sentinel2.scene_classes import (
    CIRRUS,
    CLOUD_HIGH,
    CLOUD_MEDIUM,
    DARK,
    SHADOW,
    SOIL,
    UNCLASSIFIED,
    VEGETATION,
    WATER,
)

F = np.float32
rule = njit(cache=True, nogil=True)

#: No rule has spoken yet; becomes `UNCLASSIFIED` at the end.
OPEN = 100


def _ramp(low: float, high: float) -> tuple[np.float32, np.float32, np.float32]:
    return F(low), F(high), F(high) - F(low)


# Ramps: below the first number nothing, above the second all.
B02 = _ramp(0.18, 0.22)
B04 = _ramp(0.06, 0.25)
B8A = _ramp(0.15, 0.35)
NDSI_CLD = _ramp(-0.24, -0.16)
NDSI_SNW = _ramp(0.35, 0.50)
NDVI = _ramp(0.36, 0.42)
R_B02_B04 = _ramp(0.85, 0.95)
R_B8A_B11 = _ramp(0.90, 1.10)
R_B02_B11_SOIL = _ramp(0.70, 1.0)
R_B04_B11 = _ramp(3.0, 6.0)

B10_T1 = F(0.012)
B10_T2 = F(0.035)
CLOUD_MP = F(0.20)
CLOUD_HP = F(0.80)
SNOW_T1 = F(0.12)
R_B05_B8A_SNOW = F(0.85)
R_B02_B11_WATER = F(2.0), F(4.0)
R_B8A_B03_VEGETATION = F(2.5)
R_B02_B11_DARK_SOIL = F(0.65)
B02_MINUS_B04_WATER = F(0.034)
CIRRUS_MAX_ELEVATION = F(1500)
# Upper limit of B02 as a line in a band ratio: slope, offset, least and greatest limit.
LIMIT_SOIL = F(-0.40), F(0.46), F(0.15), F(0.32)
LIMIT_WATER = F(0.1), F(-0.09), F(0.07), F(0.21)
LIMIT_ROCK = F(-0.25), F(0.475), F(0.16), F(0.35)

# Radiometric shadow: the spectrum of a shadow in B02, B03, B04, B8A, B11, B12.
SHADOW_SPECTRUM = F(0.12), F(0.08), F(0.06), F(0.10), F(0.0545), F(0.0255)
T_B02_B12 = F(0.018)
R_B02_B11_NO_SHADOW = F(6)
SHADOW_T = F(0.05)

_ZERO = F(0)
_ONE = F(1)
_TWO = F(2)
_TINY = F(1e-6)


@rule
def clip(x, low, high):
    """Limit a number `x` to `low` ... `high`."""
    return low if x < low else high if x > high else x


@rule
def ramp(x, thresholds):
    """Return 0 for a number below the first threshold, 1 above the second, linear between."""
    low, high, width = thresholds
    return (clip(x, low, high) - low) / width


@rule
def ratio(a, b):
    """Return a / b of two reflectances, with a guard against division by zero."""
    return a / max(b, _TINY)


@rule
def normalised_difference(a, b):
    """Return (a - b) / (a + b) of two reflectances."""
    return (a - b) / max(a + b, _TINY)


@rule
def line(x, limit):
    """Return the limit on B02 that moves with a band ratio `x`."""
    slope, offset, low, high = limit
    return clip(slope * x + offset, low, high)


@rule
def brightness(b04, b8a):
    """Apply rule 1a: red tells clouds; what is dark in red and near infrared is a dark feature."""
    if b04 < F(0.1) and F(0.04) < b8a < F(0.15):
        return DARK, _ZERO
    confidence = ramp(b04, B04)
    return OPEN, confidence * confidence


@rule
def not_green_in_swir(scl, cloud, ndsi):
    """Apply rule 1b: clouds reflect as much in green (B03) as in the short-wave infrared (B11)."""
    f = ramp(ndsi, NDSI_CLD)
    return OPEN if f == 0 else scl, cloud * f


@rule
def snow_confidence(cloud, ndsi, b02, b04, b05, b8a):
    """Apply rules S1-S4: snow is bright in blue and near infrared, dark in the short-wave, white in the visible."""
    if cloud == 0 or ratio(b05, b8a) < R_B05_B8A_SNOW:
        return _ZERO
    return ramp(ndsi, NDSI_SNW) * ramp(b8a, B8A) * ramp(b02, B02) * ramp(ratio(b02, b04), R_B02_B04)


@rule
def vegetation(scl, cloud, ndvi, b02):
    """Apply rule 3: dense vegetation is no cloud."""
    n = ramp(ndvi, NDVI)
    if n == 1:
        return VEGETATION if scl == OPEN and b02 < F(0.15) else scl, cloud
    return scl, cloud * (_ONE - n)


@rule
def soil(scl, cloud, b02, b11):
    """Apply rule 5.1: bare soil is darker in blue than in the short-wave infrared."""
    r = clip(ratio(b02, b11), F(0), F(100))
    if scl != OPEN or b02 >= line(r, LIMIT_SOIL):
        return scl, cloud
    if r < R_B02_B11_SOIL[0]:
        return SOIL, _ZERO
    if r > R_B02_B11_SOIL[0]:
        cloud *= ramp(r, R_B02_B11_SOIL)
    return scl, cloud


@rule
def water(scl, cloud, b02, b04, b8a, b11, b12):
    """Apply rule 5.2: water is dark in the infrared, blue in the visible."""
    if not (b8a < b04 and b02 < F(0.2)):
        return scl, cloud
    r = clip(ratio(b02, b11), F(0), F(100))
    if b12 < line(r, LIMIT_WATER):
        if r > R_B02_B11_WATER[1] and scl == OPEN:
            return WATER, _ZERO
        if R_B02_B11_WATER[0] <= r < R_B02_B11_WATER[1]:
            cloud *= _TWO - r / _TWO
    if scl == OPEN and b02 - b04 > B02_MINUS_B04_WATER:
        return WATER, _ZERO
    return scl, cloud


@rule
def rock_and_sand(scl, cloud, b02, b8a, b11):
    """Apply rule 6: rock and sand are brighter in the short-wave than in the near infrared."""
    r = clip(ratio(b8a, b11), F(0), F(100))
    if b02 >= line(r, LIMIT_ROCK):
        return scl, cloud
    if scl == OPEN and r < R_B8A_B11[0] and b02 < F(0.8) * b11:
        return SOIL, _ZERO
    if R_B8A_B11[0] < r < R_B8A_B11[1]:
        return scl, cloud * ramp(r, R_B8A_B11)
    return scl, cloud


@rule
def too_red_for_cloud(scl, cloud, b04, b11):
    """Apply rule 6bis: no cloud is three to six times brighter in red than in the short-wave infrared."""
    m = ramp(ratio(b04, b11), R_B04_B11)
    if m < 1:
        return scl, cloud * (_ONE - m)
    return scl, _ZERO if scl == OPEN else cloud


@rule
def clouds(scl, cloud, b02, b10, elevation):
    """Apply rule 7: what is open with cloud confidence is cloud; B10 shows cirrus over any class. Elevation in m."""
    if scl == OPEN and cloud > 0:
        scl = UNCLASSIFIED if cloud < CLOUD_MP else CLOUD_MEDIUM if cloud < CLOUD_HP else CLOUD_HIGH
    if b10 >= B10_T2:
        return CLOUD_MEDIUM if cloud < CLOUD_HP else scl, cloud
    if b10 > B10_T1 and b02 < F(0.5) and cloud < CLOUD_MP and elevation < CIRRUS_MAX_ELEVATION:
        return CIRRUS, cloud
    return scl, cloud


@rule
def shadow_distance(b02, b03, b04, b8a, b11, b12):
    """Return the mean distance from the spectrum of a shadow, and whether all six bands are below it."""
    s = SHADOW_SPECTRUM
    visible = abs(b02 - s[0]) + abs(b03 - s[1]) + abs(b04 - s[2])
    distance = (visible + abs(b8a - s[3]) + abs(b11 - s[4]) + abs(b12 - s[5])) / F(6)
    below = b02 < s[0] and b03 < s[1] and b04 < s[2] and b8a < s[3] and b11 < s[4] and b12 < s[5]
    return distance, below


@rule
def shadow(scl, b02, b11):
    """Call a shadow what looks like one where one can fall, unless it is far too blue."""
    return scl if ratio(b02, b11) > R_B02_B11_NO_SHADOW else SHADOW


@rule
def dark_vegetation(scl, ndvi, b03, b8a):
    """Apply recovery 12: dark or open pixels that are green are vegetation."""
    if scl in (DARK, OPEN) and (ndvi > NDVI[1] or ratio(b8a, b03) > R_B8A_B03_VEGETATION):
        return VEGETATION
    return scl


@rule
def dark_water(scl, b02, b04, b8a, b11):
    """Apply recovery 13: dark or open pixels that are blue are water."""
    if ratio(b02, b11) > R_B02_B11_WATER[1] and b8a < b04 and (scl == DARK or (scl == OPEN and b8a < F(0.3))):
        return WATER
    return scl


@rule
def mapped_water(scl, water_body):
    """Apply recovery 14: a map of water bodies (2 = water) settles dark, shadowed, open and low-confidence pixels."""
    return WATER if water_body == 2 and scl in (DARK, SHADOW, OPEN, UNCLASSIFIED) else scl


@rule
def shaded_slope(scl, b02, b04, b8a, slope, hillshade, water_body):
    """Apply rule 15: on slopes turned from the sun, water and cloud shadow are topographic shadow.

    Slope in degrees, hillshade 0-255. With a map of water bodies (`water_body` 255 = there is none) also blue-white
    pixels: snow in the shade.
    """
    if scl == WATER and hillshade < 128 and slope > 15:
        return DARK
    if scl == SHADOW and 0 < hillshade < 32:
        return DARK
    blue = b02 - b04 > B02_MINUS_B04_WATER and b8a < b04 and b02 > F(0.2)
    if hillshade < 128 and water_body not in (2, 255) and blue and scl in (OPEN, UNCLASSIFIED, CLOUD_MEDIUM):
        return DARK
    return scl


@rule
def dark_soil(scl, b02, b11):
    """Apply recovery 17: dark pixels with little blue are soil."""
    return SOIL if scl == DARK and ratio(b02, b11) < R_B02_B11_DARK_SOIL else scl
