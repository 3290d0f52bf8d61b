"""Make the shipped spectra again: `python -m steps.simulation.extract_canopies --folder steps/simulation/data`.

For developers only; it needs the packages `prosail` (PROSPECT-D, 4SAIL) and `earthlib` (measured spectra of soils).
"""

from pathlib import Path

import numpy as np

from steps.atmosphere.extract_surface_prior import WAVELENGTH, measured
from steps.core.cli import cli

#: Wavelengths of the tables, nm.
START = 400
END = 2500
STEP = 5
#: Number of canopies, and of the ways in which soils differ.
CANOPIES = 64
WAYS = 6
#: Least and greatest values: structure of the leaf, chlorophyll, carotenoids (ug/cm2), brown pigment, water and dry
#: matter (g/cm2), leaf area index, mean leaf angle (degrees), hot spot, brightness of the soil relative to a measured
#: one, and which of these it is, by rank.
RANGES = {
    "n": (1.2, 2.2),
    "cab": (15, 70),
    "car": (4, 15),
    "cbrown": (0, 0.4),
    "cw": (0.006, 0.03),
    "cm": (0.003, 0.012),
    "lai": (0.3, 6.5),
    "lidfa": (30, 70),
    "hspot": (0.01, 0.3),
    "bright": (0.35, 0.9),
    "rank": (0, 1),
}


def run(folder: Path) -> None:
    """Write `canopies.npz`: reflectance of canopies seen from above under a sun of 45 degrees, and how soils differ.

    Of the logarithm of the reflectance of measured soils (the half to which no prior is fitted) these are the mean and
    its principal components, of the length of one standard deviation.

    Parameters
    ----------
    folder
        Where to write.
    """
    import prosail
    from scipy.stats import qmc

    soils = measured("bare", 1)
    points = qmc.Sobol(len(RANGES), seed=14).random(CANOPIES)
    low, high = np.array(list(RANGES.values())).T
    canopies = []
    for values in low + points * (high - low):
        v = dict(zip(RANGES, values, strict=True))
        leaf = (v["n"], v["cab"], v["car"], v["cbrown"], v["cw"], v["cm"])
        canopy = (v["lai"], v["lidfa"], v["hspot"], 45, 0, 0)
        ground = v["bright"] * soils[min(int(v["rank"] * len(soils)), len(soils) - 1)]
        canopies.append(prosail.run_prosail(*leaf, *canopy, typelidf=2, rsoil0=ground))
    part = np.isin(WAVELENGTH, np.arange(START, END + 1, STEP))
    logarithm = np.log(soils[:, part])
    mean = logarithm.mean(axis=0)
    _, length, ways = np.linalg.svd(logarithm - mean, full_matrices=False)
    ways = length[:WAYS, None] / np.sqrt(len(soils)) * ways[:WAYS]
    packed = np.rint(1e4 * np.array(canopies)[:, part]).astype("u2")
    mean, ways = mean.astype("f4"), ways.astype("f4")
    np.savez_compressed(folder / "canopies.npz", canopy=packed, soil_mean=mean, soil_ways=ways)


if __name__ == "__main__":
    cli(run)
