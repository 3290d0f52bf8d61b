"""Make the shipped tables again: `python -m steps.atmosphere.extract --folder steps/atmosphere/data`.

For developers only; no run of the pipeline needs this. The spectral responses of Sentinel-2A and 2B come from the
PyPI package `py6s`.
"""

import json
from pathlib import Path

from steps.cli import cli
from steps.sentinel2.bands import BANDS


def responses() -> dict:
    """Return the responses of Sentinel-2A and 2B that `py6s` carries, at its 2.5 nm spacing.

    Returns
    -------
    dict
        Satellite, band, then `start` and `step` in nm and `values` relative to the band's maximum.
    """
    from Py6S import PredefinedWavelengths

    tables = {}
    for satellite in ("S2A", "S2B"):
        tables[satellite] = {}
        for band in BANDS:
            _, start, _, values = getattr(PredefinedWavelengths, f"{satellite}_MSI_{band[1:]}")
            tables[satellite][band] = {
                "start": round(1000 * start, 1),
                "step": 2.5,
                "values": [round(float(v), 6) for v in values],
            }
    return tables


def run(folder: Path) -> None:
    """Write the shipped tables into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    bands = [
        f'"{satellite}": {{\n' + ",\n".join(f'"{band}": {json.dumps(r)}' for band, r in table.items()) + "\n}"
        for satellite, table in responses().items()
    ]
    (folder / "responses.json").write_text("{\n" + ",\n".join(bands) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    cli(run)
