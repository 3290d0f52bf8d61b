"""Which aerosol model fits a scene."""

from collections.abc import Mapping, Sequence

import numpy as np

from steps.atmosphere.models import USUAL


def choose_aerosol_model(cams: Mapping[str, np.ndarray | Sequence[Sequence[float]]]) -> str:
    """Choose the aerosol model by the species that make up the optical thickness of a CAMS forecast.

    Desert where dust gives more than half of the optical thickness, maritime where sea salt does. Otherwise by the
    carbon among the small particles: black carbon absorbs, so more than 12 % of it is urban air; organic matter of more
    than 60 % is smoke; anything else is continental. The two shares are ours, set from the composition of the models
    in 6S and of typical forecasts; they are not from a paper.

    Parameters
    ----------
    cams
        Optical thickness at 550 nm of `bcaod550` (black carbon), `duaod550` (dust), `omaod550` (organic matter),
        `ssaod550` (sea salt) and `suaod550` (sulphate), arrays of any one shape; others are ignored.

    Returns
    -------
    str
        One of `AEROSOL_MODELS`; `USUAL` if no species is given or all are 0.
    """
    species = {name: float(np.nanmean(cams[f"{name}aod550"])) if f"{name}aod550" in cams else 0.0 for name in _SPECIES}
    total = sum(species.values())
    if not total > 0:
        return USUAL
    if species["du"] > 0.5 * total:
        return "desert"
    if species["ss"] > 0.5 * total:
        return "maritime"
    fine = total - species["du"] - species["ss"]
    if species["bc"] > 0.12 * fine:
        return "urban"
    return "biomass" if species["om"] > 0.6 * fine else USUAL


_SPECIES = ("bc", "du", "om", "ss", "su")
