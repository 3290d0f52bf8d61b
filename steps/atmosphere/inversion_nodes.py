"""Coefficients of the inversion at the nodes of a mesh, for `steps.atmosphere.inversion_kernel`.

They are polynomials of the density factor, so that a mountain between the nodes has the atmosphere above it, and of the
excess of water vapour.
"""

import numpy as np

from steps.atmosphere.inversion_kernel import DENSITY_HEIGHT, DENSITY_ONE, EXCESS_UNIT, POWERS
from steps.atmosphere.relief import CHEBYSHEV
from steps.atmosphere.scene import EXCESS, SceneAtmosphere, lagrange
from steps.sentinel2.kinds import REFLECTANCE_OFFSET, REFLECTANCE_SCALE


def inversion_nodes(
    scene: SceneAtmosphere,
    elevation_nodes: np.ndarray,
    aot550: np.ndarray,
    water_vapour: np.ndarray,
    level: int | None = None,
) -> np.ndarray:
    """Return the numbers per node that `steps.atmosphere.inversion_kernel.invert` takes.

    Parameters
    ----------
    scene
        The atmosphere at the nodes.
    elevation_nodes
        Elevations from `Relief.elevation_nodes`, km, shape (6, node rows, node columns).
    aot550, water_vapour
        At these elevations (g/cm2), same shape.
    level
        Elevation (m) of level ground, for which the polynomials are constant; all nodes have the same then.

    Returns
    -------
    numpy.ndarray
        Shape (node rows, node columns, `steps.atmosphere.inversion_kernel.COEFFICIENTS`), float32.
    """
    if level is not None:
        weights = lagrange(elevation_nodes[:, 0, 0], level / 1000)
        aot550, water_vapour = (np.tensordot(weights, v, 1)[None] for v in (aot550, water_vapour))
        elevation_nodes = np.full_like(aot550, level / 1000)
    columns = water_vapour[:, None] * np.array([1, 1 - EXCESS, 1 + EXCESS])[:, None, None] ** 2
    terms = [scene.at(*v) for v in zip(elevation_nodes, aot550, columns, strict=True)]
    path, gain, q, albedo = (np.stack([getattr(c, name) for c in terms]) for name in ("path", "gain", "q", "albedo"))
    stored = (path - REFLECTANCE_OFFSET) / REFLECTANCE_SCALE
    (path, gain), less, more = zip(stored.swapaxes(0, 1), gain.swapaxes(0, 1), strict=True)
    # The changes of gain and of path times gain, in units of the gain: parabolas in the excess.
    excess, one = EXCESS * np.sqrt(water_vapour) / EXCESS_UNIT, np.ones_like(gain)
    change, curve = _parabola(less[1] / gain - 1, more[1] / gain - 1, excess)
    path_change, path_curve = _parabola(less[0] * less[1] / gain - path, more[0] * more[1] / gain - path, excess)
    # Each with what its errors are multiplied with on the way to the surface.
    values = (
        (path, gain),
        ((1 + q) / gain, gain),
        (np.sqrt(gain), 1 / np.sqrt(gain)),
        (albedo * REFLECTANCE_SCALE, one),
        (change, one),
        (path_change, gain),
    )
    if level is None:
        factors = DENSITY_ONE * np.exp(-elevation_nodes / DENSITY_HEIGHT)
        powers = [_powers(factors, *v, count) for v, count in zip(values, POWERS, strict=True)]
    else:
        powers = [np.pad(v, [(0, n - 1), (0, 0), (0, 0)]) for (v, _), n in zip(values, POWERS, strict=True)]
    curves = [np.mean(v, axis=0, keepdims=True) for v in (curve, path_curve)]
    return np.ascontiguousarray(np.moveaxis(np.concatenate([*powers, *curves]), 0, -1), np.float32)


def _parabola(less: np.ndarray, more: np.ndarray, excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Slope and curve of the parabola through 0 in the middle and two values to either side of it.
    return (more - less) / (2 * excess), (more + less) / (2 * excess**2)


def _powers(x: np.ndarray, values: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    # Coefficients of the lowest `count` powers of x of the polynomial that fits values at Chebyshev points x best, each
    # error multiplied with its weight: what counts is the error of the surface, which is seen through the atmosphere.
    basis = np.vander(CHEBYSHEV, count, increasing=True)
    weighted = basis.T * np.moveaxis(weights**2, 0, -1)[..., None, :]
    of_t = np.linalg.solve(weighted @ basis, weighted @ np.moveaxis(values, 0, -1)[..., None])[..., 0]
    # Those of t = (x - middle) / half become those of x by Horner's scheme.
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / (2 * CHEBYSHEV[-1])
    result = np.zeros((count, *middle.shape))
    for coefficient in np.moveaxis(of_t, -1, 0)[::-1]:
        times_x = np.concatenate([np.zeros((1, *middle.shape)), result[:-1]])
        result = (times_x - middle * result) / half
        result[0] += coefficient
    return result
