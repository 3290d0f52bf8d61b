"""Stage: pictures of a product for people."""

from pathlib import Path

import numpy as np

from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.rasters import BLOCK, Grid, Kind, grid_of, read, row_blocks
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, TOA, WVP
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_CLASSES, SCL_COLOURS
from steps.sentinel2.true_colour import RGB, block_mean, true_colour

#: Largest side of a map in a picture, pixels.
_SIDE = 1100
#: Smallest range of a colour bar, so that noise in a flat map does not look like a pattern.
_LEAST_RANGE = {AOT: 0.05, WVP: 0.2}


def run(
    metadata: Path,
    folder: Path,
    toa: Path | None = None,
    boa: Path | None = None,
    classification: Path | None = None,
    aot: Path | None = None,
    wvp: Path | None = None,
) -> None:
    """Draw the product: true colour before and after the correction, classes, aerosol and water vapour.

    Parameters
    ----------
    metadata
        The scene.
    folder
        Folder that is made, with those of tci_toa.png, tci_boa.png, scl.png, aot.png and wvp.png that something is
        given for.
    toa, boa
        Reflectance at the top of the atmosphere and at the surface; both are drawn with the same stretch.
    classification, aot, wvp
        At 20 m.
    """
    scene = Scene.read(metadata)
    with atomic(folder) as part:
        part.mkdir()
        for name, path, kind in (("tci_toa", toa, TOA), ("tci_boa", boa, BOA)):
            if path is None:
                continue
            level = "top of atmosphere" if kind is TOA else "surface"
            colours = np.dstack([true_colour(_overview(path, kind, band)) for band in RGB])
            with _Picture(part / f"{name}.png", scene, f"True colour, {level}") as picture:
                picture.show(colours)
        if classification:
            with _Picture(part / "scl.png", scene, "Scene classification") as picture:
                _draw_classes(picture, _thinned(classification))
        maps = ((aot, AOT, "Aerosol optical thickness at 550 nm"), (wvp, WVP, "Water vapour (g/cm²)"))
        for path, kind, title in maps:
            if path is None:
                continue
            values = _overview(path, kind, kind.name) * kind.scale
            with _Picture(part / ("aot.png" if kind is AOT else "wvp.png"), scene, title) as picture:
                _draw_map(picture, np.ma.masked_equal(values, 0), _LEAST_RANGE[kind])


def _step(grid: Grid) -> int:
    return -(-max(grid.shape) // _SIDE)


def _overview(path: Path, kind: Kind, band: str) -> np.ndarray:
    """Return the stored numbers of one band, averaged to at most `_SIDE` pixels a side."""
    grid = grid_of(path, kind)
    step = _step(grid)
    blocks = row_blocks(grid.height, -(-BLOCK // step) * step)
    return np.vstack([block_mean(read(path, kind, band, rows), step) for rows in blocks])


def _thinned(path: Path) -> np.ndarray:
    """Return every n-th pixel of the class map: classes have no mean."""
    grid = grid_of(path, CLASSIFICATION)
    step = _step(grid)
    return read(path, CLASSIFICATION, "SCL")[step // 2 :: step, step // 2 :: step]


class _Picture:
    """A map with its caption and coordinates, saved to a file at the end of the block."""

    def __init__(self, path: Path, scene: Scene, title: str):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._path, self._grid = path, scene.grid
        aspect = scene.grid.height / scene.grid.width
        self.figure = Figure(figsize=(12.5, 10.2 * min(max(aspect, 0.5), 2) + 1), dpi=100, layout="constrained")
        self._canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_subplot()
        self.axes.set_title(f"{title}\n{l2a_name(scene.product)}", fontsize=13)
        self.axes.set_xlabel(f"Easting (km), EPSG:{scene.grid.epsg}")
        self.axes.set_ylabel("Northing (km)")

    def __enter__(self) -> "_Picture":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            # `Figure.savefig` would draw everything twice because of the layout.
            self._canvas.print_png(self._path, pil_kwargs={"compress_level": 1})

    def show(self, image: np.ndarray, **options):
        """Draw an image of the whole scene."""
        g = self._grid
        right, bottom = g.left + g.width * g.resolution, g.top - g.height * g.resolution
        extent = (g.left / 1000, right / 1000, bottom / 1000, g.top / 1000)
        return self.axes.imshow(image, extent=extent, **options)


def _draw_classes(picture: _Picture, classes: np.ndarray) -> None:
    """Draw the class map with a legend of the classes in it and their shares: of the valid pixels, no data of all."""
    from matplotlib.patches import Patch

    palette = np.array(SCL_COLOURS, np.uint8)
    picture.show(palette[classes], interpolation="nearest")
    counts = np.bincount(classes.ravel(), minlength=len(palette))
    shares = counts / np.maximum(counts[1:].sum(), 1) * 100
    shares[0] = counts[0] / classes.size * 100
    patches = [
        Patch(
            facecolor=palette[value] / 255,
            edgecolor="black",
            label=f"{value} {name.replace('_', ' ').lower()} {shares[value]:.1f} %",
        )
        for value, name in SCL_CLASSES.items()
        if counts[value]
    ]
    columns = -(-len(patches) // 3)
    picture.figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=11)


def _draw_map(picture: _Picture, values: np.ma.MaskedArray, least_range: float) -> None:
    """Draw a map with a colour bar that spans all but the outermost values; grey is no data."""
    valid = values.compressed()
    low, high = np.percentile(valid, [1, 99]) if valid.size else (0.0, 0.0)
    spare = max(0.0, least_range - (high - low)) / 2
    low = max(0.0, low - spare)
    picture.axes.set_facecolor("lightgrey")
    image = picture.show(values, vmin=low, vmax=max(high + spare, low + least_range), cmap="viridis")
    bar = picture.figure.colorbar(image, ax=picture.axes, shrink=0.8, extend="both")
    bar.set_label(f"mean {valid.mean():.3f}" if valid.size else "no data", fontsize=11)


if __name__ == "__main__":
    cli(run)
