"""From digital numbers to the one internal reflectance scale."""

import numpy as np

from steps.core.compiled import njit
from steps.sentinel2.kinds import MASK_NODATA, MASK_SATURATED, REFLECTANCE_ONE, REFLECTANCE_ZERO

_NODATA = np.uint8(MASK_NODATA)
_SATURATED = np.uint8(MASK_SATURATED)


@njit(cache=True, nogil=True)
def _internal_scale(dn, nodata, saturated, offset, gain, size, stored, flags):
    for i in range(dn.shape[0]):
        for j in range(dn.shape[1]):
            value = dn[i, j]
            flag = _NODATA if value == nodata else _SATURATED if value == saturated else np.uint8(0)
            if flag:
                stored[i, j] = 0 if flag == _NODATA else 65535
                for k in range(i * size // 20, ((i + 1) * size + 19) // 20):
                    for m in range(j * size // 20, ((j + 1) * size + 19) // 20):
                        flags[k, m] |= flag
            else:
                level = np.floor((value + offset) * gain + (REFLECTANCE_ZERO + 0.5))
                stored[i, j] = min(max(level, 1.0), 65534.0)


def internal_scale(
    dn: np.ndarray, *, nodata: int, saturated: int, offset: float, quantification: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Convert digital numbers of an L1C band to the internal scale, and flag the special values at 20 m.

    Reflectance is (DN + offset) / quantification (Sentinel-2 Products Specification Document, RADIO_ADD_OFFSET);
    stored is reflectance * 10000 + 1000, rounded half up, within 1 to 65534; 0 is no data, 65535 saturated.

    Parameters
    ----------
    dn
        uint16 (rows, columns), beginning at a multiple of 20 m.
    nodata, saturated
        Special values of `dn`.
    offset, quantification
        Of the band and the product.
    size
        Pixel size, m.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        Stored numbers, uint16, and uint8 flags (`MASK_NODATA`, `MASK_SATURATED`) of every 20 m pixel they touch.
    """
    stored = np.empty_like(dn)
    rows, columns = (-(-n * size // 20) for n in dn.shape)
    flags = np.zeros((rows, columns), "u1")
    _internal_scale(dn, nodata, saturated, float(offset), REFLECTANCE_ONE / quantification, size, stored, flags)
    return stored, flags
