"""The shape of a tile's ground, kept in the cache folder for its next product: what does not depend on the date."""

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from steps.core.cache import cache_folder
from steps.core.checksums import check, seal
from steps.core.documents import atomic
from steps.core.errors import StepError

logger = logging.getLogger(__name__)

#: What the shapes of all tiles may take on the disk, bytes: ten tiles of 110 km.
LIMIT = 8 * 10**9
#: What cannot be read is made anew.
_DAMAGE = (StepError, OSError, ValueError, EOFError)


class KeptShape:
    """Arrays that describe the ground of one tile, each in a file with a checksum.

    Parameters
    ----------
    inputs
        All that they are computed from, the code included.
    """

    def __init__(self, *inputs: object):
        digest = hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]
        self._folder = cache_folder() / "terrain" / digest

    def array(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array from the cache, or compute it and keep it there if the cache can be written.

        Two runs at once compute both, and either file is whole. What has not been used for longest goes where all
        tiles would take more than `LIMIT`.
        """
        path = self._folder / f"{name}.npy"
        if path.exists():
            try:
                check(path)
                return np.load(path, allow_pickle=False)
            except _DAMAGE as error:
                logger.warning("%s: is damaged (%s) and is made anew", path, error)
        array = compute()
        try:
            with atomic(path) as part:
                with part.open("wb") as stream:
                    np.save(stream, array, allow_pickle=False)
                seal(part)
        except OSError as error:
            logger.info("%s: cannot be kept for the tile's next product (%s)", path, error.strerror)
        return array

    def used(self) -> None:
        """Note that the tile was used, and make room: whole tiles go, the one used longest ago first."""
        try:
            (self._folder / "used").write_text(f"{time.time():.0f}\n", encoding="utf-8")
            self._make_room()
        except OSError as error:
            logger.info("%s: is read-only (%s)", self._folder, error.strerror)

    def _make_room(self) -> None:
        sizes = {folder: _size(folder) for folder in self._folder.parent.iterdir() if folder.is_dir()}
        total, kept = sum(sizes.values()), sizes[self._folder]
        for folder in sorted(sizes, key=_last_use):
            if total > LIMIT and folder != self._folder:
                total -= sizes[folder]
                for path in sorted(folder.iterdir()):
                    path.unlink(missing_ok=True)
                folder.rmdir()
        logger.info(
            "the tile's ground is kept in %s: %.2f GB, all tiles %.2f of at most %.0f GB",
            *(self._folder, kept / 1e9, total / 1e9, LIMIT / 1e9),
        )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _last_use(folder: Path) -> float:
    """Return the time of the last use, s; that of the folder's last change where no run has ended that made it."""
    try:
        return float((folder / "used").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return folder.stat().st_mtime
