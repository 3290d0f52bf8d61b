"""Stage: accuracy of the whole pipeline over simulated scenes, whose truth is known.

Accuracy is the mean error, precision its standard deviation and uncertainty its root mean square (A, P and U of the
Atmospheric Correction Inter-comparison eXercise, Doxani et al. 2018, Remote Sensing 10, 352).
"""

import csv
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from steps import simulate
from steps.benchmark.measure import workflow_command
from steps.benchmark.stamp import write_stamp
from steps.core.cli import cli
from steps.core.code import ROOT
from steps.core.errors import StepError
from steps.l2a.assets import ASSETS
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.kinds import BOA, UNCERTAINTY
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene_classes import (
    CIRRUS,
    CLOUD_HIGH,
    CLOUD_MEDIUM,
    CLOUDS,
    DARK,
    SATURATED_DEFECTIVE,
    SHADOW,
    SNOW,
    SOIL,
    UNCLASSIFIED,
    VEGETATION,
    WATER,
)
from steps.simulation.product import read_truth
from steps.simulation.recipe import BENCH, read_recipes

logger = logging.getLogger(__name__)

#: What an error of surface reflectance may be: 0.005 + 5 %; of aerosol: 0.05 + 10 %; of water vapour: 0.1 + 5 %.
REFLECTANCE_LIMIT = (0.005, 0.05)
AOT_LIMIT = (0.05, 0.10)
VAPOUR_LIMIT = (0.1, 0.05)
#: Fewest pixels of a class for a correlation.
_ENOUGH = 1000
_KEYS = {asset.bands[0]: key for key, asset in ASSETS.items() if asset.kind == BOA}
#: Classes whose probability of detection and false-alarm rate are told; those of clouds count together.
_DETECTED = {"cloud": (CLOUD_MEDIUM, CLOUD_HIGH), "cirrus": (CIRRUS,), "shadow": (SHADOW,), "water": (WATER,)}
_DETECTED |= {"snow": (SNOW,), "vegetation": (VEGETATION,), "soil": (SOIL,)}
_STATISTICS = ("truth", "A", "P", "U", "inside", "covered", "POD", "FAR")


def run(
    folder: Path,
    scenes: Path = BENCH,
    names: list[str] | None = None,
    settings: list[str] | None = None,
    threads: int = 2,
) -> None:
    """Simulate the scenes that are not there yet, process them, and write the tables `accuracy.*` and their stamp.

    Parameters
    ----------
    folder
        For the scenes (`scenes/`), which are kept, the products (`products/`) and the tables.
    scenes, names
        As of the stage simulate.
    settings
        Of the pipeline, as `aerosol={model: auto}`.
    threads
        Cores to use.

    Raises
    ------
    StepError
        If a scene cannot be made or the pipeline fails.
    """
    simulate.run(folder / "scenes/products.csv", scenes, names, threads)
    wanted = names or list(read_recipes(scenes))
    products = {name: simulate.record_of(folder / "scenes" / name)["product"] for name in wanted}
    process(folder, products, settings or [], threads)
    rows = [row for name in wanted for row in compared(folder, name, products[name])]
    with (folder / "accuracy.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = markdown(rows)
    (folder / "accuracy.md").write_text(table, encoding="utf-8")
    some = names and f"python -m steps.benchmark.accuracy --names {' '.join(names)}"
    write_stamp(folder / "stamp.json", some or f"snakemake --cores {threads} benchmark_accuracy")
    sys.stdout.write(table)


def _run(command: list[str]) -> None:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def process(folder: Path, products: Mapping[str, str], settings: list[str], threads: int) -> None:
    """Process the products; scenes with an elevation model apart, since it is a setting of a whole run."""
    groups: dict[str, list[str]] = {}
    for name in products:
        dem = folder / "scenes" / name / "dem.tif"
        groups.setdefault(str(dem.absolute()) if dem.exists() else "", []).append(name)
    for elevation, names in groups.items():
        table = folder / "products.csv"
        paths = [(folder / "scenes" / name / f"{products[name]}.SAFE").absolute() for name in names]
        table.write_text("input\n" + "".join(f"{path}\n" for path in paths), encoding="utf-8")
        config = [f"input={table.absolute()}", "output=products", "formats=cog", "boa_uncertainty=true", *settings]
        config += [f"dem={elevation}"] if elevation else []
        _run(workflow_command(ROOT / "Snakefile", folder, threads, config))


def compared(folder: Path, name: str, product: str) -> Iterator[dict]:
    """Yield a row of the table for each quantity of a scene: its name, statistics and the number of pixels."""
    truth, cogs = folder / "scenes" / name / "truth", folder / "products" / l2a_name(product) / "cog"
    classes = read_truth(truth / "classes.tif")
    clear = ~np.isin(classes, (SATURATED_DEFECTIVE, *CLOUDS, SHADOW, UNCLASSIFIED, DARK))
    for resolution, bands in OUTPUT_BANDS.items():
        for band in bands:
            if ASSETS[_KEYS[band]].resolution != resolution:
                continue
            stored = read_truth(cogs / f"{_KEYS[band]}.tif")
            value = stored * BOA.scale + BOA.offset
            here = _at(clear, resolution) & (stored > 0)
            sigma = read_truth(cogs / f"{_KEYS[band]}_uncertainty.tif")[here] * UNCERTAINTY.scale
            surface = read_truth(truth / f"{band}.tif")
            row = _row(name, band, value[here], surface[here], REFLECTANCE_LIMIT)
            yield row | {"covered": float((np.abs(value[here] - surface[here]) <= sigma).mean())}
            if band in ("B04", "B8A"):
                wet = here & _at(classes == WATER, resolution)
                if wet.any():
                    yield _row(name, f"{band} water", value[wet], surface[wet], REFLECTANCE_LIMIT)
    for quantity, key, true, limit in (
        ("AOT", "aot", "aot550", AOT_LIMIT),
        ("WV", "wvp", "water_vapour", VAPOUR_LIMIT),
    ):
        stored = read_truth(cogs / f"{key}.tif")
        here = clear & (stored > 0) & ((classes != WATER) | (key == "aot"))
        yield _row(name, quantity, stored[here] * 1e-3, read_truth(truth / f"{true}.tif")[here], limit)
    if (truth / "cos_incidence.tif").exists():
        yield from _on_slopes(name, truth, cogs, classes)
    found, known = read_truth(cogs / "scl.tif"), classes != UNCLASSIFIED
    for kind, codes in _DETECTED.items():
        yield _detection(name, kind, np.isin(found, codes), np.isin(classes, codes), known & (found != 0))


def _on_slopes(name: str, truth: Path, cogs: Path, classes: np.ndarray) -> Iterator[dict]:
    """Yield what is asked of a terrain correction, by the sun's angle of incidence on slopes that are not in shadow.

    The correlation of a class's reflectance with the cosine of that angle is told less that of its truth, in which
    bright and dark ground may by chance face one way.
    """
    angle = np.degrees(np.arccos(np.minimum(read_truth(truth / "cos_incidence.tif"), 1)))
    lit = np.isin(classes, (VEGETATION, SOIL)) & (read_truth(truth / "lit.tif") == 1)
    for band in ("B05", "B8A", "B11"):
        value = read_truth(cogs / f"{_KEYS[band]}.tif") * BOA.scale + BOA.offset
        true = read_truth(truth / f"{band}.tif")
        for low, high in ((0, 70), (70, 85)):
            here = lit & (value > BOA.offset) & (angle >= low) & (angle < high)
            if here.any():
                yield _row(name, f"{band} {low}-{high} deg", value[here], true[here], REFLECTANCE_LIMIT)
        for kind, code in (("vegetation", VEGETATION), ("soil", SOIL)):
            here = lit & (classes == code) & (value > BOA.offset)
            if here.sum() > _ENOUGH:
                rows = np.corrcoef([value[here], true[here], np.cos(np.radians(angle[here]))])
                r = float(rows[0, 2] - rows[1, 2])
                row: dict = dict.fromkeys(_STATISTICS, "")
                yield row | {"scene": name, "quantity": f"{band} r(cos i) {kind}", "A": r, "pixels": int(here.sum())}


def _at(mask: np.ndarray, resolution: int) -> np.ndarray:
    """Return where all of a mask of 20 m is set, at another resolution."""
    if resolution == 60:
        rows, columns = (n // 3 for n in mask.shape)
        return np.asarray(mask.reshape(rows, 3, columns, 3).all(axis=(1, 3)))
    factor = 20 // resolution
    return np.repeat(np.repeat(mask, factor, 0), factor, 1)


def _row(scene: str, quantity: str, value: np.ndarray, true: np.ndarray, limit: tuple[float, float]) -> dict:
    error = value.astype("f8") - true
    inside = np.abs(error) <= limit[0] + limit[1] * np.abs(true)
    return {
        "scene": scene,
        "quantity": quantity,
        "truth": float(true.mean()),
        "A": float(error.mean()),
        "P": float(error.std()),
        "U": float(np.sqrt(np.mean(error**2))),
        "inside": float(inside.mean()),
        "covered": "",
        "POD": "",
        "FAR": "",
        "pixels": int(error.size),
    }


def _detection(scene: str, kind: str, found: np.ndarray, true: np.ndarray, valid: np.ndarray) -> dict:
    """Return how much of a class is found, and how much of what is found is not of it.

    Where there is none, the latter is the share of all pixels; what is unclassified in the truth does not count.
    """
    found, true = found & valid, true & valid
    hit, seen, all_pixels = (int(np.count_nonzero(mask)) for mask in (found & true, found, valid))
    false = (seen - hit) / (seen if true.any() and seen else all_pixels)
    row: dict = dict.fromkeys(_STATISTICS, "")
    row |= {"scene": scene, "quantity": kind, "truth": float(true.sum() / all_pixels), "FAR": float(false)}
    row |= {"POD": hit / int(true.sum()) if true.any() else "", "pixels": all_pixels}
    return row


def markdown(rows: list[dict]) -> str:
    """Return the tables that people read: a line a scene."""
    table = pd.DataFrame(rows).set_index(["quantity", "scene"])
    bands = [band for band in _KEYS if band in table.index.levels[0]]
    scenes = list(dict.fromkeys(row["scene"] for row in rows))
    text = ""
    for title, key, form in (
        ("Uncertainty", "U", ".4f"),
        ("Accuracy", "A", "+.4f"),
        ("Precision", "P", ".4f"),
        ("Share inside 0.005 + 5 %", "inside", ".2f"),
        ("Share within one standard uncertainty", "covered", ".2f"),
    ):
        columns = {band: table.loc[band, key] for band in bands}
        text += _table(f"{title} of surface reflectance", scenes, columns, form)
    columns = {}
    for quantity in ("AOT", "WV"):
        for head, key in (("true", "truth"), ("bias", "A"), ("rmse", "U"), ("inside", "inside")):
            columns[f"{quantity} {head}"] = table.loc[quantity, key]
    columns |= {f"{kind} {key}": table.loc[kind, key] for kind in _DETECTED for key in ("POD", "FAR")}
    text += _table("Air and classes", scenes, columns, ".3f")
    others = [one for one in table.index.levels[0] if " " in one]
    columns = {f"{one} {key}".strip(): table.loc[one, key] for one in others for key in ("A", "U")}
    return text + _table("On water and slopes: bias, uncertainty, correlation", scenes, columns, "+.4f")


def _table(title: str, scenes: list[str], columns: Mapping[str, pd.Series], form: str) -> str:
    """Return a table in Markdown; what a scene has no number of is left empty."""
    columns = {head: pd.to_numeric(values, errors="coerce") for head, values in columns.items()}
    columns = {head: values for head, values in columns.items() if values.notna().any()}
    if not columns:
        return ""
    lines = ["| scene | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for scene in scenes:
        numbers = [values.get(scene, np.nan) for values in columns.values()]
        cells = ("" if np.isnan(number) else format(number, form) for number in numbers)
        lines.append(f"| {scene} | " + " | ".join(cells) + " |")
    return f"{title}\n\n" + "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    cli(run)
