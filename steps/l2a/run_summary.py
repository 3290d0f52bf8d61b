"""The summary of a run: a row a product, from what its stages have left in its folder.

Nothing heavy is imported: the workflow itself makes the summary when a run ends, however it ends.
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from steps.core.documents import atomic
from steps.sentinel2.scene_classes import CLOUDS, SCL_CLASSES

#: The job that runs all stages of a product where Snakemake plans products, not stages: its figures are theirs.
WHOLE_PRODUCT = "product"
_END = re.compile(r"done in ([\d.]+) s, ([\d.]+) CPU s\s*$")
_UNTOLD = "ended without a message, as when it is killed or there is too little memory"
#: Rows that are printed of those that are done; a table of thousands is for its file.
_PRINTED = 40


@dataclass(frozen=True)
class Row:
    """Hold what became of a product.

    Attributes
    ----------
    product
        Name of the L2A product, or the path of an input that is none.
    status
        What was wanted is there; a stage failed; the input was unusable from the start; the region of interest does not
        touch it; not all stages have run.
    stage, reason
        Of the first failed stage, its last error.
    cloud_cover
        Percent of the valid pixels that are clouds or cirrus.
    aot550, water_vapour
        Means: optical thickness at 550 nm, g/cm2.
    seconds, cpu_seconds
        Sums of its stages, whenever they last ran; stages run side by side.
    memory_mb
        Of the largest stage.
    input, quality
        Paths of the L1C product and the report.
    formats
        Path of the last file of each format by its name.
    """

    product: str
    status: Literal["done", "failed", "set aside", "skipped", "unfinished"]
    stage: str = ""
    reason: str = ""
    cloud_cover: float | None = None
    aot550: float | None = None
    water_vapour: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    memory_mb: float | None = None
    input: str = ""
    quality: str = ""
    formats: Mapping[str, str] | None = None


def product_row(name: str, l1c: str, folder: Path, wanted: Iterable[str], formats: Mapping[str, str]) -> Row:
    """Return the row of a product that was to be processed.

    Parameters
    ----------
    name, l1c
        Name of the L2A product, path of the L1C product.
    folder
        Of its reports and logs.
    wanted
        Paths of all files that were to be made.
    formats
        Those of them that are the last ones of each format, by its name.
    """
    costs, failed = _stages(folder / "logs")
    times = [Path(path).stat().st_mtime for path in wanted if Path(path).exists()]
    complete = len(times) == len(list(wanted))
    # What failed once does not count where everything is newer, as after another choice of formats.
    failed = [(since, stage, reason) for since, stage, reason in failed if not complete or since > min(times)]
    status: Literal["done", "failed", "unfinished"] = "failed" if failed else "done" if complete else "unfinished"
    _, stage, reason = min(failed, default=(0, "", ""))
    quality = folder / "report" / "quality.json"
    return Row(
        product=name,
        status=status,
        stage=stage,
        reason=reason,
        **(_figures(quality) if status == "done" else {}),
        seconds=round(sum(wall for wall, _ in costs), 2) if costs else None,
        cpu_seconds=round(sum(cpu for _, cpu in costs), 2) if costs else None,
        memory_mb=_memory(folder / "benchmarks"),
        input=l1c,
        quality=str(quality) if quality.exists() else "",
        formats={word: path if Path(path).exists() else "" for word, path in formats.items()},
    )


def _stages(logs: Path) -> tuple[list[tuple[float, float]], list[tuple[float, str, str]]]:
    """Return wall and CPU seconds of the stages that were done; when, which and why others failed."""
    costs, failed = [], []
    for log in sorted(logs.glob("*.log")):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if end := _END.search(lines[-1] if lines else ""):
            costs += [(float(end[1]), float(end[2]))] if log.stem != WHOLE_PRODUCT else []
            continue
        errors = [line.partition(" ERROR: ")[2] for line in lines if " ERROR: " in line]
        failed.append((log.stat().st_mtime, log.stem, errors[-1] if errors else _UNTOLD))
    stages = [one for one in failed if one[1] != WHOLE_PRODUCT]
    return costs, stages or failed


def stage_costs(logs: Path) -> dict[str, tuple[float, float]]:
    """Return wall and CPU seconds of each stage that was done, in the order in which they ended."""
    ends = {log: _END.search(log.read_text(encoding="utf-8", errors="replace")[-200:]) for log in logs.glob("*.log")}
    done = sorted((log.stat().st_mtime, log.stem, end) for log, end in ends.items() if end)
    return {stage: (float(end[1]), float(end[2])) for _, stage, end in done if stage != WHOLE_PRODUCT}


def warnings_in(logs: Path) -> list[str]:
    """Return the warnings of all stages, each once."""
    lines = (line for log in sorted(logs.glob("*.log")) for line in log.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(line.partition(" WARNING: ")[2] for line in lines if " WARNING: " in line))


def stage_seconds(logs: Path, since: float) -> dict[str, float]:
    """Return the wall time of each stage in a product's folder of logs that has ended since a time (s since 1970)."""
    found: dict[str, float] = {}
    for log in logs.glob("*.log"):
        with suppress(OSError):
            late = log.stem != WHOLE_PRODUCT and log.stat().st_mtime >= since
            end = _END.search(log.read_text(encoding="utf-8", errors="replace")[-200:]) if late else None
            found |= {log.stem: float(end[1])} if end else {}
    return found


def _figures(quality: Path) -> dict[str, float]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        report = json.loads(quality.read_bytes())
        shares = report["class_percentages"]
        return {
            "cloud_cover": round(sum(shares[SCL_CLASSES[code]] for code in CLOUDS), 2),
            "aot550": round(report["mean_aot550"], 4),
            "water_vapour": round(report["mean_water_vapour"], 3),
        }
    return {}


def _memory(benchmarks: Path) -> float | None:
    """Return the largest resident memory (MB) in Snakemake's benchmark files."""
    found = []
    for path in benchmarks.glob("*.tsv"):
        with suppress(OSError, ValueError, IndexError, KeyError):
            lines = path.read_text(encoding="utf-8").splitlines()
            found.append(float(dict(zip(lines[0].split("\t"), lines[1].split("\t"), strict=True))["max_rss"]))
    return max(found, default=None)


def write_summary(path: Path, rows: Iterable[Row], formats: Iterable[str]) -> None:
    """Write rows into a CSV file, with a column for the path of each of the formats."""
    names, words = [field.name for field in fields(Row) if field.name != "formats"], list(formats)
    with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow([*names, *words])
        for row in rows:
            paths = row.formats or {}
            table.writerow([*(getattr(row, name) for name in names), *(paths.get(word, "") for word in words)])


def failures(rows: Iterable[Row]) -> list[str]:
    """Return one line on each product that failed."""
    return [f"{row.product}: {row.stage}: {row.reason}" for row in rows if row.status == "failed"]


def printed(rows: list[Row]) -> list[str]:
    """Return the lines of a table for the terminal: what is done, and how many products became what."""
    done = [row for row in rows if row.status == "done"]
    lines = []
    if done:
        lines.append(f"{'product':60} {'clouds':>7} {'AOT':>6} {'WV':>6} {'CPU s':>7} {'MB':>6}  report")
    for row in done[:_PRINTED]:
        figures = (
            f"{_number(row.cloud_cover, '.1f', '%'):>7} {_number(row.aot550, '.3f'):>6} "
            f"{_number(row.water_vapour, '.2f'):>6} {_number(row.cpu_seconds, '.0f'):>7} "
            f"{_number(row.memory_mb, '.0f'):>6}"
        )
        lines.append(f"{row.product:60} {figures}  {row.quality}")
    if len(done) > _PRINTED:
        lines.append(f"... and {len(done) - _PRINTED} more")
    counts = {status: sum(row.status == status for row in rows) for status in ("failed", "set aside", "unfinished")}
    if len(rows) > 1:
        others = "".join(f", {number} {status}" for status, number in counts.items() if number)
        lines.append(f"{len(done)} of {len(rows)} products done{others}")
    return lines


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
