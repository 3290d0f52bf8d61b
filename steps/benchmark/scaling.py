"""How cost grows with the pixels of a product, and with the products of a run: the whole pipeline, COGs only."""

import logging
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from steps import demo
from steps.benchmark.measure import measure, workflow_command
from steps.benchmark.stamp import write_stamp
from steps.core.cli import cli
from steps.simulation import demo_pixels
from steps.simulation.demo_scene import DEMO_PRODUCT

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

logger = logging.getLogger(__name__)

#: Pixels of 10 m along a side: products of a sixteenth, a quarter, a half and all of a tile's area.
SIZES = (2748, 5490, 7764, 10980)
#: Numbers of products in one run.
PRODUCTS = (1, 2, 4)


def run(
    snakefile: Path, folder: Path, sizes: list[int] | None = None, products: list[int] | None = None, threads: int = 1
) -> None:
    """Run the pipeline over products of several sizes, and over several products at once.

    Parameters
    ----------
    snakefile
        The workflow.
    folder
        Output: `scaling.csv`, `scaling.md` and `scaling.png`.
    sizes
        Pixels of 10 m along a side of the products, made of the demo mirrored at its edges; multiples of 6, by default
        `SIZES`.
    products
        Numbers of demo products to process in one run, by default `PRODUCTS`.
    threads
        Cores of the runs.

    Raises
    ------
    StepError
        If a run fails.
    """
    sizes, products = sizes or list(SIZES), products or list(PRODUCTS)
    work = folder.absolute() / "work"  # the workflows run in it
    try:
        # So that no kernel has to be compiled in what is measured.
        _row(snakefile, work, demo_pixels.GRID.width, 1, threads)
        rows = [_row(snakefile, work, size, 1, threads) for size in sizes]
        rows += [_row(snakefile, work, demo_pixels.GRID.width, count, threads) for count in products]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "scaling.csv", index=False, float_format="%.4g")
    _write(table[: len(sizes)], table[len(sizes) :], folder)
    write_stamp(folder / "stamp.json", f"snakemake --cores {threads} benchmark_scaling")


def _row(snakefile: Path, work: Path, size: int, count: int, threads: int) -> dict:
    work.mkdir(parents=True)
    # Products of other names: the last part, the date of creation, tells one from the other.
    paths = [work / f"{DEMO_PRODUCT[:-2]}{number:02}.SAFE" for number in range(count)]
    for path in paths:
        demo.run(path, size)
    (work / "products.csv").write_text("\n".join(["input", *map(str, paths), ""]))
    settings = f"input={work}/products.csv", f"output={work}/out", "formats=cog"
    cost = measure(workflow_command(snakefile, work, threads, settings))
    logger.info("%d products of %d pixels: %s", count, size, cost)
    shutil.rmtree(work)
    return {"products": count, "size": size, "wall_s": cost.wall, "cpu_s": cost.cpu, "peak_mb": cost.peak}


def _write(by_size: pd.DataFrame, by_count: pd.DataFrame, folder: Path) -> None:
    pixels = by_size["size"] ** 2 / 1e6
    slope, start = np.polyfit(pixels, by_size.cpu_s, 1) if len(by_size) > 1 else (np.nan, np.nan)
    off = np.abs(by_size.cpu_s / (start + slope * pixels) - 1).max()
    each = by_count.wall_s / by_count.products
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(pixels, by_size.cpu_s, "o", label="CPU s")
    left.plot(pixels, start + slope * pixels, "-", color="0.6", label=f"{start:.0f} s + {slope:.2f} s per million")
    left.plot(pixels, by_size.wall_s, "s", label="wall s")
    left.set(xlabel="million pixels of 10 m", ylabel="s", xlim=(0, None), ylim=(0, None))
    right.plot(by_count.products, each, "o-")
    right.set(xlabel="products in one run", ylabel="wall s a product", ylim=(0, None), xticks=by_count.products)
    left.legend()
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.savefig(folder / "scaling.png", dpi=110)
    plt.close(figure)
    lines = [
        "# Cost by pixels and by products",
        "",
        f"From the L1C product to COGs. CPU time is {start:.1f} s and {slope:.2f} s for each million pixels of 10 m, "
        f"within {100 * off:.0f} %. Of demo products, one a run takes {each.iloc[0]:.1f} s of wall time, "
        f"{by_count.products.iloc[-1]} in one run take {each.iloc[-1]:.1f} s each.",
        "",
        "| products | pixels along a side | wall s | CPU s | peak MB |",
        "|---|---|---|---|---|",
    ]
    for row in pd.concat([by_size, by_count]).itertuples():
        lines.append(f"| {row.products} | {row.size} | {row.wall_s:.1f} | {row.cpu_s:.1f} | {row.peak_mb:.0f} |")
    (folder / "scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cli(run)
