"""Stage: the gallery of the documentation, scenes of different kinds before and after the correction."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from PIL import Image
from rasterio.enums import Resampling

from steps import demo, simulate
from steps.benchmark.accuracy import compared, process
from steps.benchmark.stamp import write_stamp
from steps.core.cli import cli
from steps.core.rasters import read
from steps.sentinel2.kinds import TOA, UNCERTAINTY
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene_classes import SCL_CLASSES, SCL_COLOURS
from steps.sentinel2.true_colour import RGB, true_colour
from steps.simulation.demo_scene import DEMO_PRODUCT
from steps.simulation.recipe import Recipe, read_recipes

logger = logging.getLogger(__name__)

#: The simulated scenes.
SCENES = Path(__file__).parents[1] / "simulation/data/gallery.yaml"
#: Pixels along a side of a map, and quality of the JPEGs, by which a scene takes some 200 kB.
_SIDE = 540
_QUALITY = 82
#: Quicklooks of the demo that the tutorial shows, and their longer side.
_QUICKLOOKS = ("tci_toa", "tci_boa", "scl", "aot")
_THUMBNAIL = 620
#: Band whose uncertainty is drawn, its key, and the quantities of the table.
_SHOWN = ("B04", "red")
_COMPARED = ("B02", "B04", "B8A", "AOT", "WV")


def run(folder: Path, work: Path, scenes: Path = SCENES, threads: int = 2) -> None:
    """Simulate and process the scenes, and the demo; draw each, and compare them with their truth.

    Parameters
    ----------
    folder
        For what the documentation shows: a JPEG a scene, the demo before and after and its quicklooks, `gallery.csv`
        (a line a scene and quantity), `scenes.json` (settings and shares of classes) and `stamp.json`.
    work
        For scenes and products, which are kept.
    scenes
        YAML file of scenes, as of the stage simulate.
    threads
        Cores to use.

    Raises
    ------
    StepError
        If a scene cannot be made or the pipeline fails.
    """
    recipes = read_recipes(scenes)
    simulate.run(work / "scenes/products.csv", scenes, None, threads)
    l1c = work / f"scenes/demo/{DEMO_PRODUCT}.SAFE"
    if not l1c.exists():
        demo.run(l1c)
    records = {name: simulate.record_of(work / "scenes" / name) for name in recipes}
    products = {"demo": DEMO_PRODUCT} | {name: record["product"] for name, record in records.items()}
    process(work, products, ["keep_intermediates=true"], threads)
    folder.mkdir(parents=True, exist_ok=True)
    _save_demo(folder, work / "products" / l2a_name(DEMO_PRODUCT))
    rows, shown = [], {}
    for name, product in products.items():
        result = work / "products" / l2a_name(product)
        _draw(folder / f"{name}.jpg", result)
        quality = json.loads((result / "report/quality.json").read_text(encoding="utf-8"))
        shown[name] = {"settings": _changes(records.get(name)), "classes": quality["class_percentages"]}
        if name in recipes:
            rows += [row for row in compared(work, name, product) if row["quantity"] in _COMPARED]
    columns = ["scene", "quantity", "truth", "A", "U", "inside"]
    pd.DataFrame(rows)[columns].to_csv(folder / "gallery.csv", index=False, float_format="%.4g")
    (folder / "scenes.json").write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    write_stamp(folder / "stamp.json", f"snakemake --cores {threads} gallery")


def _save_demo(folder: Path, product: Path) -> None:
    """Save the pictures of the demo before and after, and small ones of its quicklooks."""
    for name, picture in _pictures(product).items():
        Image.fromarray(picture).save(folder / f"demo_{name}.jpg", quality=_QUALITY)
    for name in _QUICKLOOKS:
        with Image.open(product / f"quicklook/{name}.png") as quicklook:
            small = quicklook.convert("RGB")
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
            small.save(folder / f"demo_{name}.jpg", quality=_QUALITY)


def _changes(record: dict | None) -> dict:
    """Return the settings of a simulated scene that differ from the defaults."""
    if record is None:
        return {}
    defaults = asdict(Recipe("scene"))
    return {key: value for key, value in record.items() if key in defaults and key != "name" and value != defaults[key]}


def _cog(product: Path, key: str, resampling: Resampling = Resampling.average) -> np.ndarray:
    """Return a COG at the size of the pictures, (rows, columns), of a picture in colour (rows, columns, 3)."""
    with rasterio.open(product / f"cog/{key}.tif") as image:
        pixels = image.read(out_shape=(image.count, _SIDE, _SIDE), resampling=resampling)
    return np.moveaxis(pixels, 0, -1).squeeze()


def _pictures(product: Path) -> dict[str, np.ndarray]:
    """Return true colour before and after the correction, with the same stretch."""
    stack = product / "work/resample/toa_20m.tif"
    before = np.dstack([true_colour(read(stack, TOA, band)) for band in RGB])
    return {"before": before, "after": _cog(product, "visual")}


def _draw(path: Path, product: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(12.6, 8.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    for one in axes.flat:
        one.set_axis_off()
    (before, after, classes), (aot, uncertainty, legend) = axes
    pictures = _pictures(product)
    for one, title, name in ((before, "top of the atmosphere", "before"), (after, "surface", "after")):
        one.imshow(pictures[name])
        one.set_title(title)
    found = _cog(product, "scl", Resampling.nearest)
    palette = np.array(SCL_COLOURS, np.uint8)
    classes.imshow(palette[found], interpolation="nearest")
    classes.set_title("scene classification")
    values, shares = np.unique(found[found > 0], return_counts=True)
    legend.legend(
        handles=[
            Patch(
                facecolor=palette[value] / 255,
                edgecolor="black",
                label=f"{value} {SCL_CLASSES[value].replace('_', ' ').lower()}, {100 * share / shares.sum():.1f} %",
            )
            for value, share in zip(values, shares, strict=True)
        ],
        loc="center left",
        frameon=False,
    )
    for one, key, scale, title in (
        (aot, "aot", 1e-3, "aerosol optical thickness at 550 nm"),
        (uncertainty, f"{_SHOWN[1]}_uncertainty", UNCERTAINTY.scale, f"standard uncertainty of {_SHOWN[0]}"),
    ):
        shown = np.ma.masked_equal(_cog(product, key), 0) * scale
        low, high = np.percentile(shown.compressed(), [2, 98])
        image = one.imshow(shown, vmin=low, vmax=max(high, low + 1e-3), cmap="viridis")
        figure.colorbar(image, ax=one, shrink=0.85)
        one.set_title(title)
    canvas.print_jpeg(path, pil_kwargs={"quality": _QUALITY})
    logger.info("%s: %s", path, product.name)


if __name__ == "__main__":
    cli(run)
