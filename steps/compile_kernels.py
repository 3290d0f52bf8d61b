"""Stage: every kernel compiled ahead of time, for this processor or for all of a level."""

import logging
import os
from pathlib import Path

from steps.core.cli import cli
from steps.core.parallel import process_pool
from steps.core.processor import Level, choose_level

logger = logging.getLogger(__name__)


def run(folder: Path, processor: Level = "this", threads: int = 1) -> None:
    """Compile every kernel of the workflow for what it is called with (`steps.core.signatures`) into a cache folder.

    Processes that find the folder as their cache, which may then be read-only, compile nothing, on any machine of the
    same architecture with the same versions of Python, Numba and this code. On a processor below the level they compile
    for themselves, and say so.

    Parameters
    ----------
    folder
        A cache folder; `SEN2FLOW_CACHE` or the setting `cache` names it later.
    processor
        `this`, or the least processor that shall run the code. Levels of another architecture have to be compiled on a
        machine of that.
    threads
        Processes.

    Raises
    ------
    StepError
        If this machine cannot compile for the level.
    """
    folder = folder.absolute()
    choose_level(folder / "numba", processor)
    os.environ["SEN2FLOW_CACHE"] = str(folder)
    from steps.core.signatures import recorded

    # The largest modules first. New processes, since Numba reads once which processor it compiles for.
    modules = sorted(recorded().items(), key=lambda item: -len(str(item[1])))
    with process_pool(threads, "spawn") as pool:
        counts = list(pool.map(compile_module, [name for name, _ in modules]))
    logger.info("%s: %d kernels for %s", folder, sum(counts), processor)


def compile_module(module: str) -> int:
    """Compile the kernels of a module for every recorded signature; return how many there are."""
    from steps.core.signatures import decoded, kernels_of, recorded

    kernels, count = kernels_of(module), 0
    for name, signatures in recorded()[module].items():
        for signature in signatures:
            kernels[name].compile(tuple(map(decoded, signature)))
            count += 1
    return count


if __name__ == "__main__":
    cli(run)
