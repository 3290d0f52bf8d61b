"""Where things that are costly to make and the same for every product are kept."""

import os
import tempfile
from pathlib import Path

from steps.core.errors import StepError


def cache_folder() -> Path:
    """Return the folder for look-up tables and compiled kernels (`SEN2FLOW_CACHE`, else the user's cache folder).

    A variable that is empty counts as not set.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sen2flow"
    return Path(os.environ.get("SEN2FLOW_CACHE") or default).expanduser()


def check_writable(folder: Path, what: str, remedy: str) -> Path:
    """Return the folder that holds `folder` or would, after having made and dropped a file there.

    Raises
    ------
    StepError
        If it cannot be written; the message begins with `what`, which is in the folder, and ends with `remedy`.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise StepError(f"{what} {folder}: cannot be written ({error.strerror}); {remedy}") from error
    return place
