"""What each way through the pipeline costs: every form of product, without and with an elevation model."""

import logging
import shutil
from pathlib import Path

import pandas as pd

from steps import compile_kernels
from steps.benchmark.measure import Cost, measure, workflow_command
from steps.benchmark.stamp import write_stamp
from steps.core.cli import cli

logger = logging.getLogger(__name__)

#: Form of the product to the settings that make it alone.
ROUTES = {
    "COG": ("formats=cog",),
    "Zarr": ("formats=zarr",),
    "SAFE, high-throughput JPEG 2000": ("formats=safe", "safe={jpeg2000: high_throughput}"),
    "SAFE": ("formats=safe",),
}


def run(snakefile: Path, l1c: str, folder: Path, dem: str | None = None, threads: int = 1) -> None:
    """Process a product once by each route, and write `routes.csv` and its stamp.

    Parameters
    ----------
    snakefile
        The workflow.
    l1c
        The Level-1C product, or `demo`.
    folder
        Output.
    dem
        An elevation model, for the routes with terrain.
    threads
        Cores of the runs.

    Raises
    ------
    StepError
        If a run fails.
    """
    cache = folder.absolute() / "cache"
    always = (f"cache={cache}",)
    compile_kernels.run(cache, threads=threads)  # so that nothing has to be in what is measured
    runs = [(name, "no", settings) for name, settings in ROUTES.items()]
    if dem:
        with_dem = [(name, "yes", (*settings, f"dem={dem}")) for name, settings in ROUTES.items()]
        name, _, settings = with_dem[0]
        # The tile's ground is kept for its next products.
        runs += [(name, "yes, first product of the tile", settings), *with_dem]
    rows = []
    for name, elevation, settings in runs:
        cost, size = _measured(snakefile, l1c, folder / "work", (*always, *settings), threads)
        rows.append(
            {
                "route": name,
                "elevation model": elevation,
                "wall s": cost.wall,
                "CPU s": cost.cpu,
                "peak MB": cost.peak,
                "product MB": size,
            }
        )
        logger.info("%s", rows[-1])
    shutil.rmtree(cache)
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "routes.csv", index=False, float_format="%.4g")
    options = f"input={Path(l1c).name}" + (f" dem={Path(dem).name}" if dem else "")
    write_stamp(folder / "stamp.json", f"snakemake --cores {threads} benchmark_routes --config {options}")


def _measured(snakefile: Path, l1c: str, work: Path, settings: tuple[str, ...], threads: int) -> tuple[Cost, float]:
    """Return what a run costs, and the size of its product in MB."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        cost = measure(workflow_command(snakefile, work, threads, (f"input={l1c}", f"output={work}", *settings)))
        places = [*work.glob("*.SAFE"), *work.glob("*.zarr"), *work.glob("*/cog")]
        return cost, sum(f.stat().st_size for place in places for f in place.rglob("*") if f.is_file()) / 1e6
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    cli(run)
