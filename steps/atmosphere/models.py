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
