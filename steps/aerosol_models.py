"""Names of the aerosol models and of their look-up tables, apart from what computes them: Snakemake itself needs them.

Nothing here imports Numba, which would make each start of Snakemake a quarter of a second longer.
"""

import hashlib
from pathlib import Path

from steps.cache import cache_folder
from steps.errors import StepError

AEROSOL_MODELS = ("continental", "maritime", "urban", "desert", "biomass")
_ATMOSPHERE = Path(__file__).parent / "atmosphere"


def check_model(aerosol: str) -> None:
    """Raise `StepError` unless there is an aerosol model of that name."""
    if aerosol not in AEROSOL_MODELS:
        raise StepError(f"aerosol model {aerosol!r} is unknown: choose one of {', '.join(AEROSOL_MODELS)}")


def other_aerosol_model(aerosol: str) -> str:
    """Return the model that tells how much the choice of an aerosol model matters.

    Continental and maritime aerosol, the pair of which one is right for most of the land, differ most in absorption;
    for the special models the question is whether the air is not just continental.
    """
    return "maritime" if aerosol == "continental" else "continental"


def lut_path(aerosol: str) -> Path:
    """Return where the look-up table of an aerosol model belongs in the cache folder.

    The name holds a digest of the code and the facts that it is made from.
    """
    check_model(aerosol)
    sources = [f"{name}.py" for name in ("scattering", "solver", "tables", "lut")]
    sources += ["data/profile.json", f"data/{aerosol}.json"]
    digest = hashlib.sha256(b"".join((_ATMOSPHERE / name).read_bytes() for name in sources)).hexdigest()[:12]
    return cache_folder() / f"lut_{aerosol}_{digest}.npz"
