"""Which aerosol model fits a scene."""

from collections.abc import Mapping, Sequence

import numpy as np

from steps.atmosphere.band import BandAtmosphere
from steps.atmosphere.inversion import surface_reflectance, toa_reflectance
from steps.atmosphere.models import USUAL

#: Models between which dark vegetation decides.
VEGETATION_MODELS = (USUAL, "maritime")


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


def model_of_vegetation(
    aot_nodes: np.ndarray, atmospheres: Mapping[str, Mapping[str, BandAtmosphere]], toa: Mapping[str, float]
) -> str:
    """Choose the aerosol model by the colour of the path radiance over dark dense vegetation.

    The thickness is what makes the red half of the 2.2 um reflectance. With it, what is left of the blue after the
    light of vegetation, whose blue is 0.5 * red + 0.005, is taken out is the observed path reflectance. The model
    whose own blue path reflectance comes nearest to it, in ratio, is taken: the double ratio of ATCOR (Richter and
    Schlaepfer, ATCOR user guide, aerosol type estimation), since in the red observed and modelled path are equal.

    Parameters
    ----------
    aot_nodes
        Aerosol optical thickness at 550 nm, ascending, shape (n,).
    atmospheres
        Model to band (B02, B04, B12) to the atmosphere for each of these.
    toa
        Median reflectance of the vegetation at the top of the atmosphere in these bands.

    Returns
    -------
    str
        One of the models.
    """

    def distance(bands: Mapping[str, BandAtmosphere]) -> float:
        red, swir = (surface_reflectance(toa[band], bands[band]) for band in ("B04", "B12"))
        excess = red - 0.5 * swir  # falls with the thickness
        thickness = np.interp(0, -excess, aot_nodes)
        blue = bands["B02"]
        path = blue.gas_transmittance * blue.path_reflectance
        ground = toa_reflectance(0.5 * red + 0.005, blue) - path
        ratio = np.interp(thickness, aot_nodes, (toa["B02"] - ground) / path)
        return abs(float(np.log(max(ratio, 1e-3))))

    return min(atmospheres, key=lambda model: distance(atmospheres[model]))
