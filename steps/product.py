"""Stage: all of a product, where Snakemake plans products rather than stages."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from steps.core.cli import cli
from steps.core.errors import StepError


def run(l1c: str, settings: str, snakefile: Path, threads: int = 1) -> None:
    """Run the workflow for one product, in a Snakemake of its own.

    That decides as always what has to be made, so what is there and still right stays. Its stages end when this process
    or the run that has started it does.

    Parameters
    ----------
    l1c
        The Level-1C product.
    settings
        All others, a JSON object.
    snakefile
        The workflow.
    threads
        Cores of the run.

    Raises
    ------
    StepError
        If a stage fails, or the run is refused, with the last line about that.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(json.loads(settings) | {"input": l1c, "plan": "stages"}, file)
        file.flush()
        command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--configfile", file.name]
        # What failed is told by the run that this one is a part of.
        command += [
            "--cores",
            threads,
            "--nolock",
            "--rerun-incomplete",
            "--keep-going",
            "--no-hooks",
            "--quiet",
            "all",
            "--",
            "files",
        ]
        last = _messages([str(word) for word in command])
    if last is not None:
        raise StepError(last or f"{l1c}: a stage failed; see the logs beside this one")


def _messages(command: list[str]) -> str | None:
    """Run a command, pass its messages on, and return its last error, None if it succeeds."""
    last = ""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True, errors="replace") as process:
        for line in process.stderr or ():
            sys.stderr.write(line)
            _, found, error = line.partition("ERROR: ")
            last = error.strip() if found else last
    return last if process.returncode else None


if __name__ == "__main__":
    cli(run)
