"""Where things that are costly to make and the same for every product are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for look-up tables and compiled kernels (`SEN2FLOW_CACHE`, else the user's cache folder)."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "sen2flow"
    return Path(os.environ.get("SEN2FLOW_CACHE", default)).expanduser()
