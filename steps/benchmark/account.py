"""Table, figures and words of the parallelisation study."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from steps.benchmark.ahead import Compiled  # noqa: E402

_NAMES = {
    "numpy": "(a) plain NumPy, one core",
    "numba": "(b) Numba, one thread",
    "prange": "(c) Numba prange threads",
    "joblib": "(d) Joblib threads",
    "threads": "threads of the standard library (default)",
    "processes": "(e) Joblib processes",
    "dask": "(f) Dask, fixed workers",
    "dask-adaptive": "(g) Dask, adaptive workers",
}
_TITLES = {"reflectance": "Reflectance, 10 m", "aerosol": "Aerosol retrieval, 20 m"}
#: What the project of origin saved of Sen2Cor's total run time with threads and processes together, percent.
_ORIGIN = 38


def write_account(table: pd.DataFrame, start_up: dict[str, float], compiled: Sequence[Compiled], folder: Path) -> None:
    """Write `study.md` and the figures.

    Parameters
    ----------
    table
        One row a run, with the columns of `study.csv`.
    start_up
        CPU seconds that a process needs to start, `without` and `with` compiled kernels.
    compiled
        Kernels for this processor, and for levels.
    folder
        Where to.
    """
    _speed_up(table, folder / "speedup.png")
    _cost(table, folder / "cost.png")
    _memory(table, folder / "memory.png")
    lines = ["# Parallelisation study", "", *_words(table, start_up), "", *_rows(table), "", *_ahead(compiled), ""]
    (folder / "study.md").write_text("\n".join(lines), encoding="utf-8")


def _of_section(table: pd.DataFrame, section: str, size: int | None = None) -> pd.DataFrame:
    size = size or table["size"].max()
    return table[(table.section == section) & (table["size"] == size)]


def _fewest(table: pd.DataFrame, variant: str, column: str = "wall_s") -> float:
    return table[table.variant == variant][column].min()


def _words(table: pd.DataFrame, start_up: dict[str, float]) -> list[str]:
    size, most = table["size"].max(), table.workers.max()
    lines = [
        f"Wall and CPU time of whole stages, from start to end of their processes, with up to {most} workers. Images "
        f"of {size} pixels of 10 m along a side unless said otherwise.",
        "",
    ]
    alone = quickest = 0.0
    for section, title in _TITLES.items():
        part = _of_section(table, section)
        one, best = _fewest(part, "numba"), part.loc[part.wall_s.idxmin()]
        alone, quickest = alone + one, quickest + best.wall_s
        lines.append(
            f"* **{title}**: plain NumPy {_fewest(part, 'numpy'):.1f} s, compiled {one:.1f} s on one thread; quickest "
            f"is {_NAMES[best.variant]}, workers: {best.workers:.0f}, {best.wall_s:.1f} s."
        )
        for n in sorted(table["size"].unique()):
            of_size = _of_section(table, section, n)
            own = _fewest(of_size, "numba")
            gains = {v: 100 * (1 - _fewest(of_size, v) / own) for v in _NAMES if v not in ("numba", "numpy")}
            text = ", ".join(f"{_NAMES[v]} {gain:+.0f} %" for v, gain in gains.items())
            winner = "threads" if gains["threads"] > gains["processes"] else "processes"
            lines.append(f"  * {n} pixels: {winner} win. Wall time saved against one thread: {text}.")
    saved = 100 * (1 - quickest / alone)
    extra = start_up["with"] - start_up["without"]
    return [
        *lines,
        f"* Both together: the quickest saves {saved:.0f} % of the wall time of one compiled thread. The project of "
        f"origin saved up to {_ORIGIN} % of Sen2Cor's total run time with threads and Dask processes.",
        f"* Start-up: a process that loads the cached kernels needs {extra:.2f} CPU s more to start than one without "
        f"({start_up['without']:.2f} s).",
        _agreement(table),
    ]


def _ahead(compiled: Sequence[Compiled]) -> list[str]:
    head = "| (h) kernels of the inversion compiled for | start, CPU s | ns a pixel | MB |"
    rows = [f"| {c.processor} | {c.start:.2f} | {c.pixel:.2f} | {c.size:.1f} |" for c in compiled]
    return [
        head,
        "|---|---|---|---|",
        *rows,
        "",
        "`this` is what is cached just in time; levels are compiled ahead of time by `snakemake compile_kernels`.",
    ]


def _agreement(table: pd.DataFrame) -> str:
    differing = table[table.different_share > 0]
    if set(differing.variant) - {"numpy"}:
        return f"* NOT the same result from {', '.join(sorted(set(differing.variant)))}."
    text = "* Every variant of the compiled kernels writes the same bytes"
    if differing.empty:
        return f"{text}, and so does plain NumPy."
    return (
        f"{text}; plain NumPy, which rounds more often, differs in {100 * differing.different_share.max():.2g} % of "
        f"the pixels at most, by at most {differing.largest_difference.max()} in the stored number."
    )


def _rows(table: pd.DataFrame) -> list[str]:
    head = "| section | pixels along a side | variant | workers | wall s | CPU s | peak MB | ns CPU a pixel |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    order = list(_NAMES)
    for row in sorted(
        table.itertuples(), key=lambda r: (r.section != "reflectance", r.size, order.index(r.variant), r.workers)
    ):
        ns = 1e9 * row.cpu_s / row.size**2
        lines.append(
            f"| {row.section} | {row.size} | {_NAMES[row.variant]} | {row.workers} | {row.wall_s:.2f} "
            f"| {row.cpu_s:.2f} | {row.peak_mb:.0f} | {ns:.0f} |"
        )
    return lines


def _axes():
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for ax, title in zip(axes, _TITLES.values(), strict=True):
        ax.set_title(title)
        ax.grid(alpha=0.3)
    return figure, dict(zip(_TITLES, axes, strict=True))


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _speed_up(table: pd.DataFrame, path: Path) -> None:
    figure, axes = _axes()
    most = int(table.workers.max())
    for section, ax in axes.items():
        part = _of_section(table, section)
        one = _fewest(part, "numba")
        ax.plot([1, most], [1, most], color="0.7", linestyle=":", label="ideal")
        for variant in _NAMES:
            runs = part[part.variant == variant].sort_values("workers")
            if variant in ("joblib", "threads", "processes"):  # one worker is the stage by itself
                runs = pd.concat([part[part.variant == "numba"], runs])
            ax.plot(runs.workers, one / runs.wall_s, marker="o", label=_NAMES[variant])
        ax.set(xlabel="workers", ylabel="speed-up over (b)", xticks=range(1, most + 1))
    ax.legend(fontsize=8)
    _save(figure, path)


def _cost(table: pd.DataFrame, path: Path) -> None:
    figure, axes = _axes()
    for section, ax in axes.items():
        for variant, name in _NAMES.items():
            runs = table[(table.section == section) & (table.variant == variant)]
            runs = runs[runs.workers == runs.workers.max()].sort_values("size")
            ax.loglog(runs["size"] ** 2 / 1e6, runs.cpu_s, marker="o", label=name)
        ax.set(xlabel="million pixels of 10 m", ylabel="CPU s (most workers)")
    ax.legend(fontsize=8)
    _save(figure, path)


def _memory(table: pd.DataFrame, path: Path) -> None:
    figure, axes = _axes()
    for section, ax in axes.items():
        part = _of_section(table, section)
        peaks = [_fewest(part[part.workers == part[part.variant == v].workers.max()], v, "peak_mb") for v in _NAMES]
        ax.barh(list(_NAMES.values()), peaks)
        ax.invert_yaxis()
        ax.set(xlabel="peak memory of all processes, MB (most workers)")
    axes["aerosol"].set_yticklabels([])
    _save(figure, path)
