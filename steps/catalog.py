"""Stage: the STAC catalog of a folder of products."""

import fcntl
from contextlib import suppress
from pathlib import Path

from steps.core.cli import cli
from steps.core.documents import write_json
from steps.core.errors import StepError
from steps.l2a import stac


def run(catalog: Path, collection: Path, url: str = "") -> None:
    """Write the catalog and the collection of all products with COGs in a folder, whichever run made them.

    What lies in the folder is what they list: a product that is added later comes to the former ones, and one that was
    deleted goes. Runs that end at the same time wait for each other, so the last one sees the items of all.

    Parameters
    ----------
    catalog, collection
        Files to write, both in the folder of all products.
    url
        Of that folder, for absolute links; relative ones unless given.

    Raises
    ------
    StepError
        If no product in the folder has COGs.
    """
    with (catalog.parent / ".catalog.lock").open("a") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.lockf(lock, fcntl.LOCK_EX)
        items = stac.items_in(catalog.parent)
        if not items:
            raise StepError(f"{catalog.parent}: no product with COGs to list; process one with `formats: [cog]`")
        write_json(collection, stac.collection(items, url), checksum=False)
        write_json(catalog, stac.catalog(url), checksum=False)


if __name__ == "__main__":
    cli(run)
