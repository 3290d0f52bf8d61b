"""Which mixture of aerosol models a scene has, by the species of the CAMS data and by probabilities."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from steps.atmosphere.lut import LookUpTable
from steps.atmosphere.models import USUAL, main_model

#: Wavelengths (nm) besides 550 at which CAMS tells the optical thickness.
_SPECTRAL = (469, 670, 865, 1240)
#: Single scattering albedo at 550 nm by species: of soot, water-soluble aerosol, sulphate and sea salt (Hess et al.
#: 1998, Bulletin of the American Meteorological Society 79, 831), and of desert dust as AERONET sees it (Dubovik et al.
#: 2002, Journal of the Atmospheric Sciences 59, 590).
_ALBEDO = {"bc": 0.21, "om": 0.96, "su": 1.0, "ss": 1.0, "du": 0.95}
#: The same of what is in the whole but in none of the species: nitrate and ammonium, since July 2019.
_ALBEDO_OF_THE_REST = 1.0
#: The models that stand for dust and sea salt.
_COARSE = {"du": "desert", "ss": "maritime"}
#: How exactly a mixture has to have what CAMS tells, as standard deviations: optical thickness relative to that at 550
#: nm, absorption, shares of dust and of sea salt. The first two are what differs between the models of 6S and real
#: aerosol of their kind; the third is wide, since what is not large in one model is in another. The sum has to be 1.
_SPECTRUM = 0.05
_ABSORPTION = 0.02
_SHARE = 0.1
_SUM = 1e-4
#: Smallest share of a model.
_LEAST = 0.02


def mixture_of_cams(
    cams: Mapping[str, np.ndarray | Sequence[Sequence[float]]], tables: Mapping[str, LookUpTable]
) -> dict[str, float]:
    """Return the shares of aerosol models that come nearest to a CAMS forecast or reanalysis.

    The mixture has, as nearly as its models allow, the spectrum of the optical thickness, the absorption and the shares
    of dust and sea salt that CAMS tells: least squares with shares that are not negative (Lawson and Hanson 1974,
    Solving least squares problems, ch. 23).

    Parameters
    ----------
    cams
        Mean optical thickness `aod550` and that at other wavelengths (`aod469` ...), and at 550 nm of `bcaod550` (black
        carbon), `duaod550` (dust), `omaod550` (organic matter), `ssaod550` (sea salt) and `suaod550` (sulphate), arrays
        of any one shape; any may be missing.
    tables
        Look-up tables by name of the model.

    Returns
    -------
    dict
        Model to its share of the optical thickness at 550 nm, at least 0.02; the sum is 1. Empty where CAMS tells
        neither spectrum nor species.
    """
    from scipy.optimize import nnls

    means = {name: float(np.nanmean(values)) for name, values in cams.items()}
    rows = list(_wanted(means, tables))
    if not rows:
        return {}
    rows.append((np.ones(len(tables)), 1.0, _SUM))
    models, wanted, sigma = (np.array(column) for column in zip(*rows, strict=True))
    shares, _ = nnls(models / sigma[:, None], wanted / sigma)
    return _rounded(dict(zip(tables, shares.tolist(), strict=True)))


def _wanted(means: Mapping[str, float], tables: Mapping[str, LookUpTable]) -> Iterator[tuple[np.ndarray, float, float]]:
    """Yield for all that CAMS tells: what each model has of it, what the mixture shall have, and how exactly."""
    species = {name: max(means[f"{name}aod550"], 0.0) for name in _ALBEDO if f"{name}aod550" in means}
    whole = max(means.get("aod550", 0.0), sum(species.values()))
    if not whole > 0:
        return
    for nm in _SPECTRAL:
        if "aod550" in means and f"aod{nm}" in means:
            ratio = means[f"aod{nm}"] / means["aod550"]
            yield np.array([_at(nm / 1000, t.wavelength, t.extinction) for t in tables.values()]), ratio, _SPECTRUM
    for name, model in _COARSE.items():
        if name in species and model in tables:
            yield np.array([float(other == model) for other in tables]), species[name] / whole, _SHARE
    if len(species) == len(_ALBEDO):
        scattering = sum(_ALBEDO[name] * value for name, value in species.items())
        scattering += _ALBEDO_OF_THE_REST * (whole - sum(species.values()))
        yield np.array([_at(0.55, t.wavelength, t.albedo) for t in tables.values()]), scattering / whole, _ABSORPTION


def _at(wavelength: float, nodes: np.ndarray, values: np.ndarray) -> float:
    """Return a property at a wavelength; its logarithm is linear in that of the wavelength."""
    return float(np.exp(np.interp(np.log(wavelength), np.log(nodes), np.log(values))))


def mean_mixture(probability: np.ndarray, mixtures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mixture that is expected, given several and the probability of each (their sum is 1)."""
    total: dict[str, float] = {}
    for p, shares in zip(probability, mixtures, strict=True):
        for model, share in shares.items():
            total[model] = total.get(model, 0.0) + float(p) * share
    return _rounded(total)


def other_mixture(probability: np.ndarray, mixtures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what a mixture may be instead of the mean of several: one standard deviation off, where they differ most.

    It lies on the first principal component of the mixtures as they are probable, on the side on which shares are not
    negative. Arguments are as of `mean_mixture`.
    """
    models = list(dict.fromkeys(model for shares in mixtures for model in shares))
    shares = np.array([[mixture.get(model, 0.0) for model in models] for mixture in mixtures])
    mean = probability @ shares
    variance, components = np.linalg.eigh((shares - mean).T * probability @ (shares - mean))
    step = np.sqrt(max(variance[-1], 0)) * components[:, -1]
    other = np.maximum(max((mean + step, mean - step), key=np.min), 0)
    return _rounded(dict(zip(models, (other / other.sum()).tolist(), strict=True)))


def usual_doubt(shares: Mapping[str, float]) -> dict[str, float]:
    """Return what a mixture of aerosol models may be instead where nothing tells: a mixture one standard deviation off.

    The truth may lie anywhere between it and another model, or as far on the other side: a rectangular distribution
    (JCGM 100:2008, 4.3.7). Continental and maritime aerosol, the pair of which one is right for most of the land,
    differ most in absorption; for the special models the question is whether the air is not just continental.
    """
    other = "maritime" if main_model(shares) == USUAL else USUAL
    rest = {model: share * (1 - 3**-0.5) for model, share in shares.items()}
    return rest | {other: rest.get(other, 0.0) + 3**-0.5}


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    """Return shares whose sum is 1, in whole percent, without those that hardly count; the largest takes the rest."""
    kept = {model: round(share, 2) for model, share in shares.items() if share >= _LEAST}
    main = max(kept, key=kept.__getitem__)
    return kept | {main: round(kept[main] + 1 - sum(kept.values()), 2)}
