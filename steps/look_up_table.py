"""Stage: the look-up table of an aerosol model."""

from pathlib import Path

from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.lut import make_table
from steps.core.cli import cli
from steps.sentinel2.responses import reference_response


def run(aerosol: str, lut: Path, threads: int = 1) -> None:
    """Build the look-up table of an aerosol model from its properties, unless it is there: about 15 CPU seconds.

    The same version of the code gives the same bytes, whatever `--threads`. The table is read back and used once, which
    also compiles what the stages after this need, before several of them would each compile it.
    """
    table = make_table(aerosol, lut, threads)
    point = dict.fromkeys(("sun_zenith", "view_zenith", "relative_azimuth", "elevation_km", "aot550"), 0.0)
    band_atmosphere(table, reference_response("S2A", "B02"), **point, water_vapour=1.0, ozone=0.3)


if __name__ == "__main__":
    cli(run)
