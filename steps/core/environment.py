"""Variables of the user's environment that belong to another installation of GDAL or PROJ."""

import importlib.util
import os
from pathlib import Path

#: Where a wheel of rasterio has its own data, these would lead it to another version's.
_OF_DATA = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
#: These take drivers away that the stages need.
_OF_DRIVERS = ("GDAL_SKIP", "OGR_SKIP")


def leave_foreign_variables() -> list[str]:
    """Remove the variables of other installations from the environment, and return a sentence for each.

    A wheel of rasterio carries its own data. Where it does not, as in conda environments, the variables that tell where
    they are stay.
    """
    package = importlib.util.find_spec("rasterio")
    wheel = package is not None and package.origin and (Path(package.origin).parent / "proj_data").is_dir()
    names = (*(_OF_DATA if wheel else ()), *_OF_DRIVERS)
    return [
        f"{name}={os.environ.pop(name)} is left aside: it is for another installation of GDAL or PROJ"
        for name in names
        if os.environ.get(name)
    ]
