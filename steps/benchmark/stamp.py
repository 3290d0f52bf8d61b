"""How a table was measured: when, by which command, version and machine."""

import datetime as dt
import json
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from steps import __version__
from steps.core.code import ROOT


def write_stamp(path: Path, command: str) -> None:
    """Write, as a JSON document, the circumstances in which tables have just been measured.

    Parameters
    ----------
    path
        The file to write, beside the tables.
    command
        What makes them again.
    """
    stamp = {
        "command": command,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "version": __version__,
        "commit": _commit(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("numpy", "numba", "rasterio", "snakemake")},
    }
    path.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    """Return the commit of a clone, with a plus where files but those of the documentation differ; empty elsewhere."""
    git = ["git", "-C", str(ROOT)]
    changed = ["diff", "--name-only", "HEAD", "--", ".", ":!docs", ":!README.md"]
    try:
        found = [
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], changed)
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found[0] + "+" * bool(found[1])


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
