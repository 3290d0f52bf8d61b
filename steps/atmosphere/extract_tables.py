"""The shipped look-up tables of the aerosol models, so that a first run need not build them.

`python -m steps.atmosphere.extract_tables --folder steps/atmosphere/data` builds them all from the facts beside them,
80 CPU seconds.
"""

from pathlib import Path

from steps.atmosphere.extract import write_checksums
from steps.atmosphere.lut import table_checksum, write_table
from steps.atmosphere.models import AEROSOL_MODELS
from steps.atmosphere.table import build_table
from steps.core.cli import cli


def run(folder: Path, models: list[str] | None = None, threads: int = 1) -> None:
    """Write the look-up tables of aerosol models into FOLDER, and the checksums of what is there.

    A table is named by its content. Those of a model that were there go.

    Parameters
    ----------
    folder
        Of the tables.
    models
        All, if none is given.
    threads
        Number of threads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for aerosol in models or AEROSOL_MODELS:
        table = build_table(aerosol, threads)
        path = folder / f"lut_{aerosol}_{table_checksum(table)[:12]}.npz"
        for other in folder.glob(f"lut_{aerosol}_{'[0-9a-f]' * 12}.npz"):
            other.unlink()
        write_table(path, table)
    write_checksums(folder)


if __name__ == "__main__":
    cli(run)
