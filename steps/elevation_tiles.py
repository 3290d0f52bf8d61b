"""Stage: the tiles of the Copernicus elevation model around a scene, from the cache or fetched into it."""

import logging
from pathlib import Path

from steps.core.cache import cache_folder
from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.parallel import workers
from steps.core.transfer import Store
from steps.sentinel2.scene import Scene
from steps.terrain.copernicus import addresses, cached, corners, write_sea

logger = logging.getLogger(__name__)


def run(
    metadata: Path,
    tiles: Path,
    pixel_size: int,
    base: str | None = None,
    endpoint: str | None = None,
    profile: str | None = None,
    threads: int = 1,
) -> None:
    """Make a folder with the tiles that a scene needs; where there are none at all, with one of the sea.

    Parameters
    ----------
    metadata
        The scene.
    tiles
        Folder that is made, of links into the cache.
    pixel_size
        Of the model, 30 or 90 m.
    base
        Address with `tileList.txt` and the tiles' folders; None: the public buckets.
    endpoint, profile
        How an object store is reached, see `steps.core.transfer.Store`.
    threads
        Tiles fetched side by side.

    Raises
    ------
    StepError
        If a tile cannot be had.
    """
    grid, cache = Scene.read(metadata).whole, cache_folder() / "copernicus_dem"
    store = Store(endpoint, profile)
    found = addresses(store, base and base.rstrip("/"), pixel_size, corners(grid), cache)

    def fetch(corner: tuple[int, int]) -> Path:
        return cached(store, found[corner], *corner, cache)

    with atomic(tiles) as folder, workers("threads", threads) as run_all:
        folder.mkdir()
        for path in run_all(fetch, found):
            (folder / path.name).symlink_to(path.absolute())
        if not found:
            logger.warning("no tile of the elevation model: all of it is sea")
            write_sea(folder / "sea_dem.tif", grid)


if __name__ == "__main__":
    cli(run)
