"""Make the climatology of aerosol again.

`python -m steps.atmosphere.extract_climatology --folder steps/atmosphere/data`

For developers only; no run of the pipeline needs this. It takes the monthly Linke turbidity and the elevation that
`pvlib` (BSD-3-Clause) carries, and needs `pip install pvlib h5py`.
"""

import importlib.util
from pathlib import Path

import numpy as np

from steps.atmosphere.climatology import FILE, THICKNESS_UNIT
from steps.atmosphere.extract import write_checksums
from steps.atmosphere.relief import SCALE_HEIGHT
from steps.core.cli import cli
from steps.core.errors import StepError

#: Size of the cells, degrees.
CELL = 2
#: Scale height of pressure, km.
AIR_HEIGHT = 8.4
#: Lowest aerosol thickness at 550 nm, that of the cleanest atmosphere.
LOWEST = 0.01
#: Highest, to which the stored numbers reach.
HIGHEST = 1.2


def zonal_water_vapour(latitude: np.ndarray, month: int, elevation_km: np.ndarray) -> np.ndarray:
    """Return a typical column of water vapour, g/cm2: a bell around a thermal equator that follows the sun.

    A choice of ours: 4.6 at its top, 1.4 to 2.5 at 40 degrees in summer, 0.2 at the poles. Twice or half as much
    changes the aerosol by 0.03.

    Parameters
    ----------
    latitude, elevation_km
        Degrees; km.
    month
        0 to 11.
    """
    equator = 12 * np.sin(2 * np.pi * (month - 4) / 12)
    column = np.maximum(4.6 * np.exp(-(((latitude - equator) / 32) ** 2)), 0.2)
    return np.maximum(column * np.exp(-elevation_km / SCALE_HEIGHT), 0.05)


def aerosol_thickness(linke: np.ndarray, water_vapour: np.ndarray, elevation_km: np.ndarray) -> np.ndarray:
    """Return the aerosol thickness at 550 nm from the Linke turbidity at air mass 2; arrays of one shape.

    Ineichen 2008 (Solar Energy 82, 1095): with the pressure ratio p0 / p and the column w (g/cm2) it is
    3.91 exp(0.689 p0/p) aot550 + 0.376 ln w + 2 + 0.54 p0/p - 0.5 (p0/p)^2 + 0.16 (p0/p)^3.
    """
    ratio = np.exp(elevation_km / AIR_HEIGHT)
    clean = 0.376 * np.log(water_vapour) + 2 + 0.54 * ratio - 0.5 * ratio**2 + 0.16 * ratio**3
    return (linke - clean) / (3.91 * np.exp(0.689 * ratio))


def _cells(values: np.ndarray, size: int) -> np.ndarray:
    """Return the means of cells of `size` pixels a side."""
    rows, columns = (n // size for n in values.shape)
    return values.reshape(rows, size, columns, size).mean(axis=(1, 3))


def run(folder: Path) -> None:
    """Write the climatology into FOLDER, and the checksums of what is there."""
    import h5py

    package = importlib.util.find_spec("pvlib")
    if package is None or package.origin is None:
        raise StepError("the package pvlib is needed: pip install pvlib h5py")
    data = Path(package.origin).parent / "data"
    with h5py.File(data / "Altitude.h5") as file:
        stored = file["Altitude"][:]
    # 28 m steps from -450 m on; 255 is no data, which is the sea.
    height = np.where(stored == 255, 0, np.maximum(stored * 28.0 - 450, 0)) / 1000
    size = CELL * height.shape[0] // 180
    latitude = 90 - (np.arange(height.shape[0]) + 0.5)[:, None] * 180 / height.shape[0]
    thinning = _cells(np.exp(-height / SCALE_HEIGHT), size)
    months = []
    with h5py.File(data / "LinkeTurbidities.h5") as file:
        for month in range(12):
            linke = file["LinkeTurbidity"][:, :, month] / 20
            found = aerosol_thickness(linke, zonal_water_vapour(latitude, month, height), height)
            months.append(_cells(np.clip(found, LOWEST, HIGHEST), size))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / FILE,
        aot550=np.rint(np.array(months) * THICKNESS_UNIT).astype("u1"),
        elevation=np.rint(-1000 * SCALE_HEIGHT * np.log(thinning)).astype("i2"),
    )
    write_checksums(folder)


if __name__ == "__main__":
    cli(run)
