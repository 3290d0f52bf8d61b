"""Dark dense vegetation: which pixels it is. Its limits are those of Sen2Cor.

Over dark vegetation the reflectance at 2.2 um hardly depends on aerosol and tells that in the red and blue (Kaufman
et al. 1997, IEEE TGRS 35, 1286), so of all ground it tells most of the aerosol.
"""

from steps.atmosphere.ground_samples import COS_INCIDENCE
from steps.core.compiled import formula, njit
from steps.sentinel2.kinds import REFLECTANCE_SCALE, REFLECTANCE_ZERO
from steps.sentinel2.scene_classes import VEGETATION

#: Limits of the surface reflectance at 2.2 um, the strictest first; a looser one is used only for want of pixels.
SWIR_LIMITS = (0.05, 0.10, 0.12)
_SWIR_LOWEST = 0.01
_RED_HIGHEST = 0.10
_NIR_HIGHEST = 0.38
_NDVI_LOWEST = 0.10


@formula
def _reflectance(stored):
    return (stored - float(REFLECTANCE_ZERO)) * REFLECTANCE_SCALE


@njit(cache=True, nogil=True)
def dark_vegetation(red, nir, swir, classes, near_cloud, ratio, cos_incidence, result):
    """Find dark dense vegetation in a block of rows.

    Parameters
    ----------
    red, nir
        Stored reflectance at the top of the atmosphere (uint16), shape (rows, columns).
    swir
        Stored surface reflectance at 2.2 um (uint16), same shape.
    classes
        Scene classification, same shape.
    near_cloud
        Of pixels that are `ratio` times larger, bool; its first row is that of the block's.
    ratio
        See `near_cloud`.
    cos_incidence
        Stored cosine of the sun's incidence (1e-4).
    result
        Output, uint8: 0, or 1 + the number of the strictest of `SWIR_LIMITS` that the pixel meets.
    """
    for i in range(red.shape[0]):
        for j in range(red.shape[1]):
            r, n, s = _reflectance(red[i, j]), _reflectance(nir[i, j]), _reflectance(swir[i, j])
            result[i, j] = 0
            if (
                classes[i, j] == VEGETATION
                and swir[i, j] > 0
                and _SWIR_LOWEST < s < SWIR_LIMITS[2]
                and r <= _RED_HIGHEST
                and n < _NIR_HIGHEST
                and n - r > _NDVI_LOWEST * (n + r)
                and cos_incidence[i, j] * 1e-4 > COS_INCIDENCE
                and not near_cloud[i // ratio, j // ratio]
            ):
                result[i, j] = 1 if s < SWIR_LIMITS[0] else (2 if s < SWIR_LIMITS[1] else 3)
