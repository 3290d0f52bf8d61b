"""What is high above the ground, from the parallax between bands that look in slightly different directions.

Frantz, Hass, Uhl, Stoffels and Hill (2018), Improvement of the Fmask algorithm for Sentinel-2 images: Separating
clouds from bright surfaces based on parallax effects, Remote Sensing of Environment 215, 471-481. B07, B08 and B8A see
ground nearly alike. B07 and B8A look in nearly the same direction, B08 in another: clouds are displaced in B08 / B8A,
whose local variance rises over that of B07 / B8A.
"""

import numpy as np

from steps.core.compiled import njit

kernel = njit(cache=True, nogil=True)

#: Pixels from the centre of the window of the variances to its edge, and pixels that the index looks at.
RADIUS = 3
REACH = RADIUS + 1
#: Below this index (-1 to 1) what is seen is displaced (Frantz et al. 2018, section 3.2).
DISPLACED = -0.5
#: Weight of each of a pixel's neighbours in row and column that makes the mean of four pixels of B08 as blurred as a
#: pixel of B8A (0.3 pixels more, measured on a cloud-free scene as what makes the ratio smoothest).
BLUR = 0.045
#: What stands for `displaced` where the bands are too coarse to tell.
UNSEEN = 2


@kernel
def _blurred(image):
    """Blur by `BLUR` along both axes; the outermost pixels stand in for their missing neighbours."""
    rows, columns = image.shape
    result = np.empty(image.shape, np.float32)
    for i in range(rows):
        up, down = max(i - 1, 0), min(i + 1, rows - 1)
        for j in range(columns):
            total = 0.0
            for x, weight in ((max(j - 1, 0), BLUR), (j, 1 - 2 * BLUR), (min(j + 1, columns - 1), BLUR)):
                total += weight * (BLUR * (image[up, x] + image[down, x]) + (1 - 2 * BLUR) * image[i, x])
            result[i, j] = total
    return result


@kernel
def displacement_index(b07, b08, b8a):
    """Return the cloud displacement index (Frantz et al. 2018, equation 7).

    Parameters
    ----------
    b07, b08, b8a : float32, shape (rows, columns)
        Reflectance at 20 m; B08 as the mean of its 2x2 pixels. Pixels without data are not above 0.

    Returns
    -------
    float32, shape (rows, columns)
        -1 (displaced, a cloud) to 1 (ground); 0 without data. Right from `REACH` pixels off the edge on, or at the
        edge of the scene.
    """
    rows, columns = b8a.shape
    b08 = _blurred(b08)
    result = np.zeros(b8a.shape, np.float32)
    sums = np.empty((5, columns))
    for i in range(rows):
        sums[:] = 0
        for y in range(max(i - RADIUS, 0), min(i + RADIUS + 1, rows)):
            for j in range(columns):
                if b8a[y, j] > 0 and b07[y, j] > 0 and b08[y, j] > 0:
                    p, q = b07[y, j] / b8a[y, j] - 1.0, b08[y, j] / b8a[y, j] - 1.0
                    sums[0, j] += 1
                    sums[1, j] += p
                    sums[2, j] += p * p
                    sums[3, j] += q
                    sums[4, j] += q * q
        for j in range(columns):
            n, p, pp, q, qq = 0.0, 0.0, 0.0, 0.0, 0.0
            for x in range(max(j - RADIUS, 0), min(j + RADIUS + 1, columns)):
                n += sums[0, x]
                p += sums[1, x]
                pp += sums[2, x]
                q += sums[3, x]
                qq += sums[4, x]
            if n > 1 and b8a[i, j] > 0:
                near, far = max(pp - p * p / n, 0.0), max(qq - q * q / n, 0.0)
                if near + far > 0:
                    result[i, j] = (near - far) / (near + far)
    return result
