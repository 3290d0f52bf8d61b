"""Make the shipped spectra again: `python -m steps.simulation.extract_canopies --folder steps/simulation/data`.

For developers only; it needs the package `prosail` (PROSPECT-D, 4SAIL).
"""

from pathlib import Path

import numpy as np

from steps.core.cli import cli

#: Wavelengths of the tables, nm.
START = 400
END = 2500
STEP = 5
#: Number of canopies.
CANOPIES = 64
#: Least and greatest values: structure of the leaf, chlorophyll, carotenoids (ug/cm2), brown pigment, water and dry
#: matter (g/cm2), leaf area index, mean leaf angle (degrees), hot spot, brightness of the soil and its dryness.
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
    "rsoil": (0.5, 1.3),
    "psoil": (0, 1),
}


def run(folder: Path) -> None:
    """Write `canopies.npz`: reflectance of canopies seen from above under a sun of 45 degrees, and of two soils.

    Parameters
    ----------
    folder
        Where to write.
    """
    import prosail
    from scipy.stats import qmc

    points = qmc.Sobol(len(RANGES), seed=14).random(CANOPIES)
    low, high = np.array(list(RANGES.values())).T
    rows = []
    for values in low + points * (high - low):
        v = dict(zip(RANGES, values, strict=True))
        leaf = (v["n"], v["cab"], v["car"], v["cbrown"], v["cw"], v["cm"])
        canopy = (v["lai"], v["lidfa"], v["hspot"], 45, 0, 0)
        rows.append(prosail.run_prosail(*leaf, *canopy, typelidf=2, rsoil=v["rsoil"], psoil=v["psoil"]))
    soil = prosail.spectral_lib.soil
    tables = {"canopy": np.array(rows), "soil": np.array([soil.rsoil1, soil.rsoil2])}
    part = slice(START - 400, END - 400 + 1, STEP)
    packed = {name: np.rint(1e4 * values[:, part]).astype("u2") for name, values in tables.items()}
    np.savez_compressed(folder / "canopies.npz", canopy=packed["canopy"], soil=packed["soil"])


if __name__ == "__main__":
    cli(run)
