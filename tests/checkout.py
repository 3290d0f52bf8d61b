"""Copies of the project in which the pipeline is run as users run it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
import rasterio.warp
import warm_snakemake

from steps.demo import GRID
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

ROOT = Path(__file__).resolve().parents[1]


class Checkout:
    """A copy of the project to run, edit and break.

    Parameters
    ----------
    folder
        Where the copy is made.
    kept
        Checkout to copy, with what was processed in it, and to restore; the project itself unless given.
    """

    def __init__(self, folder, kept=None):
        self.folder, self._kept = folder, kept
        if kept:
            self._copy()
            return
        folder.mkdir(exist_ok=True)
        for name in ("Snakefile", "workflow", "profiles", "steps", "config", "envs"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def restore(self):
        """Make all as it is in the checkout that was copied, times too."""
        shutil.rmtree(self.folder)
        self._copy()

    def _copy(self):
        shutil.copytree(self._kept, self.folder, symlinks=True)
        # Snakemake remembers the whole paths of what says what results are made from.
        for path in (self.folder / ".snakemake/metadata").rglob("*"):
            if path.is_file():
                path.write_text(path.read_text().replace(f"{self._kept}/", f"{self.folder}/"))

    @property
    def product(self):
        """The folder that holds the demo's reports, COGs and quicklooks."""
        return self.folder / "results" / l2a_name(DEMO_PRODUCT)

    @property
    def environment(self):
        """Variables for programs that run in the folder."""
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return os.environ | {"PYTHONPATH": str(self.folder), "PATH": paths}

    def bash(self, command, check=True):
        words = ["bash", "-c", command]
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        return _checked(done) if check else done

    def snakemake(self, arguments="", check=True):
        return self.bash(f"snakemake --cores 2 --config keep_intermediates=true {arguments}", check)

    def dry_run(self, arguments="", settings="keep_intermediates=true", check=True):
        """Plan a run with settings and further arguments, of which settings may be the first."""
        words = shlex.split(f"--dry-run --cores 2 {settings and '--config'} {settings} {arguments}")
        done = warm_snakemake.run(words, self.folder, self.environment)
        return _checked(done) if check else done

    def planned(self, arguments="", settings="keep_intermediates=true"):
        """Return the rules that a run would execute."""
        output = self.dry_run(f"{arguments} --quiet progress", settings).stdout
        return set(re.findall(r"^(?:local)?rule (\w+):", output, re.M)) - {"all", "products"}

    def edit(self, path, old, new):
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def _checked(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def region_of_interest():
    """West, south, east and north of a square of 3 km in the middle of the demo."""
    left, top = GRID.left + 3600, GRID.top - 3600
    corners = rasterio.warp.transform(f"EPSG:{GRID.epsg}", "EPSG:4326", [left, left + 3000], [top - 3000, top])
    (west, east), (south, north) = corners
    return [west, south, east, north]


def write_hills(path):
    """Write an elevation model with slopes of up to 48 degrees."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=260,
        height=260,
        count=1,
        dtype="float32",
        crs="EPSG:32618",
        transform=rasterio.transform.from_origin(430000, 4185000, 120, 120),
    ) as dem:
        x = np.arange(260) / 6
        dem.write((800 + 800 * np.sin(x) * np.sin(x)[:, None]).astype("f4"), 1)
