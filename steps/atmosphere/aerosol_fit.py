"""How thick the aerosol is, from what the ground would look like under it.

For each sample of ground and each thickness there is one surface reflectance that gives what was measured, and the
prior of surface reflectance says how likely that is. By Bayes' theorem (Rodgers 2000, Inverse methods for atmospheric
sounding, ch. 2) this is the likelihood of the thickness. Samples in a neighbourhood see much the same aerosol; a
neighbourhood begins as the whole tile and gets smaller in steps, each of which takes the result of the one before for
what is expected. So a cell that has no sample takes after its neighbours, and the tile after what was expected of it.

What a kind of ground is wrong by is much the same in a whole region. How thick the aerosol is in the mean of a region
is therefore known less well than how it differs from cell to cell, and the two are found apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from steps.atmosphere.inversion import contrast
from steps.atmosphere.scene import Coefficients
from steps.atmosphere.surface_prior import log_density, surface_prior

#: Neighbourhoods: standard deviation of their weights (km; None: all cells alike), and how much the aerosol in one
#: differs from that of the one before: a part of its own and a share of the thickness. Aerosol differs by about a
#: tenth over 30 km and a fifth over 100 km (Anderson et al. 2003, Journal of the Atmospheric Sciences 60, 119).
NEIGHBOURHOODS = ((None, (0.0, 0.0)), (15.0, (0.01, 0.12)), (4.0, (0.005, 0.1)), (0.7, (0.005, 0.1)))
#: Samples of one kind count as so many independent ones at most: what is odd about the ground of one cell is odd about
#: that of the next.
INDEPENDENT = 0.8
#: The same where samples tell how cells differ.
INDEPENDENT_LOCALLY = 2.0
#: Standard deviation of the weights of a region, whose mean these differences do not change, km.
REGION = 4.0
#: Samples of a kind with which it counts by half where the aerosol's type is chosen.
HALF_A_KIND = 5.0
#: How often a sample is nothing that the prior knows, such as a cloud that was not seen.
ODD = 0.01
#: Between two nodes there are so many steps of the finer ones; logarithms of the likelihood below this do not count.
FINER = 3
LOWEST = -50.0


class Thickness(NamedTuple):
    """Aerosol thickness of cells at 550 nm, shape (rows, columns).

    Attributes
    ----------
    aot550
        Expected value.
    uncertainty
        Standard deviation.
    """

    aot550: np.ndarray
    uncertainty: np.ndarray


def surface_of(toa: np.ndarray, around: np.ndarray, atmosphere: Sequence[Coefficients]) -> np.ndarray:
    """Return the surface reflectance of samples under one thickness of the aerosol, shape (bands, samples).

    Parameters
    ----------
    toa
        Reflectance of samples at the top of the atmosphere, shape (bands, samples).
    around
        The same of their surroundings, as the diffuse light sees them.
    atmosphere
        Above each sample, for each band: arrays of shape (samples,).
    """
    result = np.empty_like(toa)
    for b, a in enumerate(atmosphere):
        surroundings = a.uniform(around[b])
        result[b] = surroundings + contrast(a.signal(toa[b]), surroundings, 1 + a.q, a.albedo)
    return result


def log_likelihood(
    toa: np.ndarray,
    surface: np.ndarray,
    atmosphere: Sequence[Coefficients],
    kinds: np.ndarray,
    calibration: np.ndarray,
) -> np.ndarray:
    """Return the log-likelihood of one aerosol thickness by each sample, but for a constant of each, shape (samples,).

    What calibration makes of the surface grows with the path reflectance: of dark leaves in thick air it is as much as
    they differ in blue, and would be taken for another type of aerosol. It is that of the median sample of a kind.

    Parameters
    ----------
    toa, surface, atmosphere
        As of `surface_of`, and what that returns.
    kinds
        Kind of ground of each sample, shape (samples,).
    calibration
        Standard uncertainty of reflectance at the top of the atmosphere, relative, shape (bands,).
    """
    gain = np.stack([a.gain for a in atmosphere])
    result, error = np.empty(surface.shape[1]), calibration[:, None] * toa * gain
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        prior = surface_prior(np.median(error[:, of_kind], axis=1))
        density = np.empty(np.count_nonzero(of_kind))
        log_density(np.ascontiguousarray(surface[:, of_kind].T), prior, density)
        result[of_kind] = density
    # The density of what was measured: surface reflectance changes with it by the gain.
    return result + np.log(gain).sum(axis=0)


def fit_thickness(
    nodes: np.ndarray,
    likelihood: np.ndarray,
    weight: np.ndarray,
    errors: Sequence[tuple[float, float]],
    local_errors: Sequence[tuple[float, float]],
    expected: Thickness,
    cell_km: float,
) -> Thickness:
    """Return the aerosol thickness of each cell at 550 nm.

    First the neighbourhoods tell the mean of each region, and then samples of some kinds how the cells in it differ.

    Parameters
    ----------
    nodes
        Thicknesses, ascending, shape (n,).
    likelihood
        From `log_likelihood` for each of them, shape (n, kinds, rows, columns); anything where there is no sample.
    weight
        0 to 1: how much a sample counts, shape (kinds, rows, columns).
    errors
        Absolute and relative part of what the likelihood of each kind does not know, as standard deviations.
    local_errors
        The same of differences between the cells of a region, of the first kinds, which alone tell these.
    expected
        Before the scene was seen, shape (rows, columns): mean and standard deviation of a lognormal distribution.
    cell_km
        Side of a cell, km.
    """
    blurred = _blurred(nodes, likelihood, weight > 0, errors)
    regional = _narrowed(*blurred, weight, NEIGHBOURHOODS, INDEPENDENT, expected, cell_km)
    weight = weight[: len(local_errors)]
    blurred = _blurred(nodes, likelihood, weight > 0, local_errors)
    local = _narrowed(*blurred, weight, NEIGHBOURHOODS[-1:], INDEPENDENT_LOCALLY, regional, cell_km)
    mean, of_local = (_sum_around(found.aot550, REGION, cell_km) for found in (regional, local))
    return Thickness(local.aot550 * (mean / of_local), np.maximum(regional.uncertainty, local.uncertainty))


def _narrowed(
    likelihood: np.ndarray,
    fine: np.ndarray,
    weight: np.ndarray,
    neighbourhoods: Sequence[tuple[float | None, tuple[float, float]]],
    independent: float,
    expected: Thickness,
    cell_km: float,
) -> Thickness:
    """Return the aerosol thickness of each cell by ever smaller neighbourhoods, from blurred likelihoods."""
    at, width = fine[:, None, None], np.gradient(fine)[:, None, None]
    found = expected
    for sigma, (own, share) in neighbourhoods:
        samples = _sum_around(weight, sigma, cell_km)
        counted = np.minimum(samples, independent) / np.maximum(samples, 1e-9)
        log_posterior = (counted * _sum_around(weight * likelihood, sigma, cell_km)).sum(axis=1)
        spread = np.hypot(found.uncertainty, own + share * found.aot550)
        log_posterior += _log_prior(at, found.aot550, spread)
        posterior = np.exp(log_posterior - log_posterior.max(axis=0)) * width
        posterior /= posterior.sum(axis=0)
        mean = (posterior * at).sum(axis=0)
        variance = (posterior * (at - mean) ** 2).sum(axis=0)
        found = Thickness(mean, np.sqrt(variance))
    return found


def log_evidence(nodes: np.ndarray, likelihood: np.ndarray, weight: np.ndarray, expected: Thickness) -> float:
    """Return the logarithm of how well a model of the aerosol explains a scene's samples, whatever its thickness.

    Each kind of ground counts as one sample, the mean of all, and as less if there are few. Arguments are as for
    `fit_thickness`.
    """
    known = np.where(weight > 0, np.maximum(likelihood, LOWEST), 0)
    number = weight.sum(axis=(1, 2))
    per_kind = (weight * known).sum(axis=(2, 3)) / np.maximum(number, 1e-9)
    total = per_kind @ (number / (number + HALF_A_KIND))
    total += _log_prior(nodes, expected.aot550.mean(), expected.uncertainty.mean())
    return float(total.max() + np.log((np.exp(total - total.max()) * np.gradient(nodes)).sum()))


def _log_prior(aot550, mean, uncertainty):
    """Return the logarithm of the lognormal density of a mean and a standard deviation, but for a constant.

    Aerosol thickness is distributed so (O'Neill et al. 2000, Journal of Geophysical Research 105, 9791): most days are
    clearer than the mean.
    """
    variance = np.log1p((uncertainty / mean) ** 2)
    return -np.log(aot550) - 0.5 * (np.log(aot550 / mean) + variance / 2) ** 2 / variance


def _blurred(nodes, likelihood, there, errors) -> tuple[np.ndarray, np.ndarray]:
    """Return the likelihood with the errors of each kind, relative to the best thickness, and its finer nodes."""
    from scipy.interpolate import CubicSpline

    fine = np.interp(np.linspace(0, nodes.size - 1, FINER * (nodes.size - 1) + 1), np.arange(nodes.size), nodes)
    result = np.zeros((fine.size, *there.shape), np.float32)
    for kind, (absolute, relative) in enumerate(errors):
        ours = likelihood[:, kind, there[kind]]
        ours = np.maximum(ours - ours.max(axis=0), LOWEST)
        ours = np.exp(np.minimum(CubicSpline(nodes, ours)(fine), 1))
        blur = np.exp(-0.5 * ((fine[:, None] - fine) / (absolute + relative * fine[:, None])) ** 2) * np.gradient(fine)
        ours = blur / blur.sum(axis=1, keepdims=True) @ ours
        result[:, kind, there[kind]] = np.log(ours + ODD * ours.max(axis=0))
    return result, fine


def _sum_around(values: np.ndarray, sigma_km: float | None, cell_km: float) -> np.ndarray:
    """Return the weighted sum over the cells around each cell, the nearest of which count fully."""
    from scipy.ndimage import gaussian_filter

    if sigma_km is None:
        return np.broadcast_to(values.sum(axis=(-2, -1), keepdims=True), values.shape)
    sigma = sigma_km / cell_km
    along = (0,) * (values.ndim - 2)
    return 2 * np.pi * sigma**2 * gaussian_filter(values, (*along, sigma, sigma), mode="constant")
