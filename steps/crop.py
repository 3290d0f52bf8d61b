"""Crop: of what was computed around a region of interest, what the user wants."""

import dataclasses
from pathlib import Path

import rasterio
from rasterio.windows import Window

from steps.core.checksums import check, seal
from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.rasters import raster_errors_as
from steps.sentinel2.scene import Scene


def run(metadata: Path, rasters: list[Path], folder: Path) -> None:
    """Cut rasters to the region of interest.

    Parameters
    ----------
    metadata
        The scene.
    rasters
        Of its grid, at any resolution.
    folder
        Folder that is made: the rasters and the metadata of the part, each under its own name in a folder that is
        called as the one it comes from.

    Raises
    ------
    StepError
        If a raster cannot be read or written.
    """
    scene = Scene.read(metadata)
    with atomic(folder) as part:
        dataclasses.replace(scene, grid=scene.part).write(part / metadata.parent.name / metadata.name)
        for path in rasters:
            target = part / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            _crop(path, target, scene)


def _crop(source: Path, target: Path, scene: Scene) -> None:
    check(source)

    def explain(error: Exception) -> StepError:
        return StepError(f"{source}: cannot be cut ({error}); run the stage that makes it again")

    with raster_errors_as(explain), rasterio.open(source) as whole:
        left, top = scene.part.left - whole.transform.c, whole.transform.f - scene.part.top
        size = whole.res[0]
        grid = scene.part.at(round(size))
        window = Window(round(left / size), round(top / size), grid.width, grid.height)
        profile = whole.profile | {"width": grid.width, "height": grid.height, "transform": grid.transform}
        with rasterio.open(target, "w", **profile) as part:
            part.descriptions, part.scales, part.offsets = whole.descriptions, whole.scales, whole.offsets
            part.update_tags(**whole.tags())
            part.write(whole.read(window=window))
    seal(target)


if __name__ == "__main__":
    cli(run)
