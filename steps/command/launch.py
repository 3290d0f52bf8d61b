"""Start Snakemake on the workflow of this checkout or package, from any folder."""

import csv
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Never

import yaml

from steps.core.cache import cache_folder
from steps.core.code import ROOT
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.product_list import is_list, read_list
from steps.core.settings import absolute, checked

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))


def launch(
    inputs: list[str],
    given: dict,
    cores: str | None = None,
    profile: str | None = None,
    dry_run: bool = False,
    verbose: bool = False,
) -> Never:
    """Turn this process into Snakemake that runs the workflow: what ends the one ends the other.

    Snakemake works in the output folder, and so leaves nothing in the working directory. Settings and the table of
    several products are kept in the folder `logs` there, under names that tell their content.

    Parameters
    ----------
    inputs
        Level-1C products, or one table of them.
    given
        Settings other than `input`.
    cores
        Processors, by default all, or what the profile says.
    profile
        Name of a profile in `workflow/profiles`, path of another, or one of the user's.
    dry_run
        Only show what would be done.
    verbose
        Show what Snakemake says, with the command of each stage.

    Raises
    ------
    StepError
        If a setting or an input is wrong, or the output folder cannot be written.
    """
    settings = absolute(checked({**given, "input": inputs[0]}, SCHEMA))
    output = Path(settings["output"])
    try:
        settings["input"] = _input(inputs, settings["input"], output / "logs")
        configuration = _kept(output / "logs", "settings", ".json", json.dumps(settings, indent=1, sort_keys=True))
    except OSError as error:
        raise StepError(f"{error.filename or output}: {error.strerror}; choose another output folder") from error
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(output)]
    command += ["--workflow-profile", str(ROOT / "profiles/default"), "--configfile", str(configuration)]
    command += ["--profile", _profile(profile)] if profile else []
    command += ["--cores", cores or "all"] if cores or not profile else []
    command += ["--dry-run"] if dry_run else []
    command += ["--printshellcmds"] if verbose else []
    # A folder that does not depend on the working directory.
    cache = {"SEN2FLOW_CACHE": str(cache_folder().absolute())}
    try:
        os.execve(sys.executable, command, os.environ | cache)
    except OSError as error:
        raise StepError(f"{sys.executable}: cannot be started ({error.strerror}); install Sen2Flow again") from error


def _input(inputs: list[str], first: str, logs: Path) -> str:
    """Return the setting `input`: the product, or a table whose paths hold from any folder."""
    table = is_list(inputs[0])
    if len(inputs) == 1 and not table:
        return first
    if table and len(inputs) > 1:
        raise StepError(f"{inputs[0]}: a table is given alone; add {inputs[1]} to it")
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["input"])
    for name in read_list(inputs[0]) if table else inputs:
        writer.writerow([absolute({"input": name})["input"]])
    stem = Path(first).stem if table else "products"
    return str(_kept(logs, stem, ".csv", rows.getvalue()))


def _kept(folder: Path, stem: str, suffix: str, text: str) -> Path:
    """Return a file with this content, whose name tells it, so that runs beside this one have their own."""
    path = folder / f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:8]}{suffix}"
    if not path.exists():
        with atomic(path) as part:
            part.write_text(text, encoding="utf-8")
    return path


def _profile(name: str) -> str:
    ours = ROOT / "workflow/profiles" / name
    return str(ours if ours.is_dir() else Path(name).absolute() if Path(name).exists() else name)
