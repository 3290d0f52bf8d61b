"""Stage: a finished product, put into an object store."""

import logging
from pathlib import Path

from steps.core.cli import cli
from steps.core.documents import write_json
from steps.core.parallel import workers
from steps.core.transfer import Store

logger = logging.getLogger(__name__)


def run(
    finished: list[Path],
    folder: Path,
    to: str,
    uploaded: Path,
    endpoint: str | None = None,
    profile: str | None = None,
    threads: int = 1,
) -> None:
    """Put the files of a product into an object store, those last that tell readers that it is complete.

    Parameters
    ----------
    finished
        What is written last of each part of the product (a format, quicklooks, reports); the folder that it is in is
        put there.
    folder
        Of all products; paths from there are those in the store.
    to
        Address, `s3://bucket/prefix`.
    uploaded
        Output: size in bytes of each file that was put, by its path, JSON.
    endpoint, profile
        How the store is reached, see `steps.core.transfer.Store`.
    threads
        Files put side by side.

    Raises
    ------
    StepError
        If the store refuses or cannot be reached.
    """
    store = Store(endpoint, profile)
    last = {path.absolute() for path in finished}
    folder = folder.absolute()
    files = {file for parent in {path.parent for path in last} for file in parent.rglob("*") if file.is_file()}
    files = {file for file in files if not any(part.startswith(".snakemake") for part in file.parts[-2:])}

    def put(file: Path) -> tuple[str, int]:
        name = file.relative_to(folder).as_posix()
        store.put(file, f"{to.rstrip('/')}/{name}")
        return name, file.stat().st_size

    with workers("threads", threads) as run_all:
        sizes = dict(run_all(put, sorted(files - last)))
        sizes |= dict(run_all(put, sorted(last)))
    logger.info("%s: %d files, %.1f MB", to, len(sizes), sum(sizes.values()) / 1e6)
    write_json(uploaded, {"to": to, "files": sizes})


if __name__ == "__main__":
    cli(run)
