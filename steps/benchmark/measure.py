"""Wall time, CPU time and memory of a command with all processes that it starts."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from steps.core.errors import StepError

#: Seconds between two looks at the processes, and how many times longer than counting their memory nothing is counted.
_INTERVAL = 0.05
_REST = 30


@dataclass(frozen=True)
class Cost:
    """Wall and CPU time (user and system) (s), and the highest memory of all processes together (MB)."""

    wall: float
    cpu: float
    peak: float


def workflow_command(snakefile: Path, folder: Path, cores: int, settings: Iterable[str]) -> list[str]:
    """Return the command that runs a workflow in a folder, with settings as `formats=cog`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile.absolute()), "--directory", str(folder)]
    return [*command, "--cores", str(cores), "--quiet", "all", "--config", *settings]


def measure(command: Sequence[str]) -> Cost:
    """Run a command and return what it cost; raise `StepError` with its last message if it fails."""
    seconds, peak, before, start = {}, 0, _of_children(), time.perf_counter()
    next_count = start
    with tempfile.TemporaryFile("w+") as messages, subprocess.Popen(command, stdout=messages, stderr=messages) as child:
        root = psutil.Process(child.pid)
        while child.poll() is None:
            total, now = 0, time.perf_counter()
            count = now >= next_count
            for process in _tree(root):
                try:
                    times = process.cpu_times()
                    seconds[process.pid] = times.user + times.system
                    total += process.memory_full_info().pss if count else 0
                except psutil.Error:
                    continue  # it has just ended
            if count:
                peak, counted = max(peak, total), time.perf_counter()
                next_count = counted + _REST * (counted - now)
            time.sleep(_INTERVAL)
        wall = time.perf_counter() - start
        messages.seek(0)
        if child.returncode:
            last = (messages.read().strip().splitlines() or ["no message"])[-1]
            raise StepError(f"{' '.join(command[:6])} ...: {last}; run it by hand to see more")
    # What was seen lacks the last moments; the system's account lacks workers that nobody waited for.
    return Cost(wall, max(sum(seconds.values()), _of_children() - before), peak / 1e6)


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
