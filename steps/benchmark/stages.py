"""The guard against getting slower: the cost of each stage beside two yardsticks, one column a release."""

import logging
import re
import time
from pathlib import Path

import numpy as np

from steps import __version__
from steps.core.cli import cli
from steps.core.errors import StepError
from steps.l1c.formats import open_product

logger = logging.getLogger(__name__)

#: Stages that are mostly JPEG 2000 or TIFF codec; their yardstick is the decoding of a band, that of others a copy.
_CODECS = ("import_l1c", "write_jp2", "write_cog", "write_safe")
#: Growth from one release to the next from which on a stage is pointed out.
_SLOWER = 1.25
#: Copies of a band whose least time is taken, and pixels of the band copied.
_REPEATS = 20
_SIDE = 10980
_HEAD = """# What each stage costs, release by release

CPU seconds of a stage, from its log, by those of a yardstick of the same run on the same machine: for
stages that read or write JPEG 2000 or COGs (`decode`) decoding one 10 m band with one thread, for all others (`copy`)
copying a 10 m band of a full tile in memory. So columns of different machines compare roughly. A figure that has
grown by more than a quarter since the release before is **bold**. `snakemake --cores 2 benchmark_stages --config
input=... output=...`, on a full tile, writes the column of the present version.

"""


def run(logs: Path, l1c: Path, table: Path) -> None:
    """Write the column of the present version into the table of costs.

    Parameters
    ----------
    logs
        Folder with the logs of all stages of a product, which end with what the stage cost. (Snakemake's benchmark
        files know nothing of the time since it looked last, up to half a minute.)
    l1c
        The Level-1C product it was made from, whose B02 is decoded.
    table
        The table to write, or to add to.

    Raises
    ------
    StepError
        If there are no such logs, or the product cannot be read.
    """
    costs = _costs(logs)
    if not costs:
        raise StepError(f"{logs}: no log of a stage tells what it cost; process the product again")
    yardsticks = {"copy": _copy(), "decode": _decode(l1c)}
    logger.info("yardsticks, CPU s: %s", yardsticks)
    column = {"copy": f"{yardsticks['copy']:.3f} s", "decode": f"{yardsticks['decode']:.1f} s"}
    rows, releases = _read(table)
    for stage, seconds in costs.items():
        yardstick = "decode" if stage.startswith(_CODECS) else "copy"
        column[f"{stage} ({yardstick})"] = _figure(seconds / yardsticks[yardstick])
    _write(table, rows | {__version__: column}, [*(r for r in releases if r != __version__), __version__])


def _costs(logs: Path) -> dict[str, float]:
    """Return the CPU seconds of each stage."""
    ends = {path.stem: re.search(r"([\d.]+) CPU s$", path.read_text(encoding="utf-8")) for path in logs.glob("*.log")}
    return {stage: float(end[1]) for stage, end in sorted(ends.items()) if end}


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _copy() -> float:
    source = np.ones((_SIDE, _SIDE), np.uint16)
    target = np.empty_like(source)
    times = []
    for _ in range(_REPEATS):
        start = time.process_time()
        np.copyto(target, source)
        times.append(time.process_time() - start)
    return min(times)


def _decode(l1c: Path) -> float:
    safe = open_product(l1c)
    name = next(name for name in safe.names() if name.endswith("_B02.jp2") and "IMG_DATA" in name)
    start = time.process_time()
    safe.pixels(name)
    return time.process_time() - start


def _read(table: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return release to row to figure of a table that exists, and the releases in their order."""
    if not table.exists():
        return {}, []
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
    releases = cells[0][1:]
    return {r: {row[0]: row[k + 1] for row in cells[2:] if row[k + 1]} for k, r in enumerate(releases)}, releases


def _write(table: Path, columns: dict[str, dict[str, str]], releases: list[str]) -> None:
    names = list(dict.fromkeys(name for release in releases[::-1] for name in columns[release]))
    lines = [f"| stage | {' | '.join(releases)} |", f"|---|{'---|' * len(releases)}"]
    for name in names:
        cells, previous = [], float("nan")
        for release in releases:
            text = columns[release].get(name, "")
            value = float(re.sub(" s$", "", text) or "nan")
            slower = value > _SLOWER * previous and "(" in name
            if slower and release == releases[-1]:
                logger.warning("%s: %.2f times the release before", name, value / previous)
            cells.append(f"**{text}**" if slower else text)
            previous = value if text else previous
        lines.append(f"| {name} | {' | '.join(cells)} |")
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cli(run)
