"""Names of the aerosol models and of their look-up tables, apart from what computes them: Snakemake itself needs them.

Nothing here imports Numba, which would make each start of Snakemake a quarter of a second longer.
"""

from collections.abc import Mapping
from pathlib import Path

from steps.core.cache import cache_folder
from steps.core.code import code_digest
from steps.core.errors import StepError

_DATA = Path(__file__).parent / "data"
#: The model that stands for aerosol of which nothing is known.
USUAL = "continental"
#: Each is a file `data/aerosol_<model>.json`.
AEROSOL_MODELS = (USUAL, *sorted({path.stem.partition("_")[2] for path in _DATA.glob("aerosol_*.json")} - {USUAL}))


def check_model(aerosol: str) -> None:
    """Raise `StepError` unless `aerosol` names an aerosol model."""
    if aerosol not in AEROSOL_MODELS:
        raise StepError(f"aerosol model {aerosol!r} is unknown: choose one of {', '.join(AEROSOL_MODELS)}")


def mixture_name(shares: Mapping[str, float]) -> str:
    """Return the name of a mixture of aerosol models, given the share of each: `urban 70 %, continental 30 %`.

    That of a single model is its own.
    """
    if len(shares) == 1:
        return next(iter(shares))
    order = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{model} {share:.0%}".replace("%", " %") for model, share in order)


def main_model(shares: Mapping[str, float]) -> str:
    """Return the aerosol model that has the largest share of a mixture."""
    return max(shares, key=shares.__getitem__)


def usual_doubt(shares: Mapping[str, float]) -> dict[str, float]:
    """Return what a mixture of aerosol models may be instead where nothing tells: a mixture one standard deviation off.

    The truth may lie anywhere between it and another model, or as far on the other side: a rectangular distribution
    (JCGM 100:2008, 4.3.7). Continental and maritime aerosol, the pair of which one is right for most of the land,
    differ most in absorption; for the special models the question is whether the air is not just continental.
    """
    other = "maritime" if main_model(shares) == USUAL else USUAL
    rest = {model: share * (1 - 3**-0.5) for model, share in shares.items()}
    return rest | {other: rest.get(other, 0.0) + 3**-0.5}


def lut_path(aerosol: str) -> Path:
    """Return where the look-up table of an aerosol model is: shipped, or else in the cache folder once it is built.

    The name of a shipped one holds a digest of its content, that of another one of the code and facts it is made from.
    """
    check_model(aerosol)
    shipped = next(_DATA.glob(f"lut_{aerosol}_{'[0-9a-f]' * 12}.npz"), None)
    if shipped:
        return shipped
    digest = code_digest("steps.atmosphere.table", _DATA / "profile.json", _DATA / f"aerosol_{aerosol}.json")
    return cache_folder() / f"lut_{aerosol}_{digest}.npz"
