"""Stage: the cloud-optimised GeoTIFFs."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.shutil import copy
from rasterio.windows import Window

from steps import __version__
from steps.core.checksums import seal_folder
from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.parallel import end_with_parent
from steps.core.rasters import RASTER_ERRORS, Grid, Kind, bands_of, check_space, create, grid_of, read, row_blocks
from steps.l2a.assets import ASSETS, PROBABILITY, TRUE_COLOUR, UNCERTAINTIES, Asset
from steps.sentinel2.kinds import AOT, BOA, CLASSIFICATION, UNCERTAINTY, WVP
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_COLOURS
from steps.sentinel2.true_colour import true_colour

# Level 1 of both codecs. On real bands, libdeflate's level 1 is not only faster than its level 6 but also gives
# smaller files; Zstandard's is twice as fast again, with files up to 6 % larger.
_OPTIONS = {
    "driver": "COG",
    "level": 1,
    "predictor": "STANDARD",
    "blocksize": 512,
    "bigtiff": "IF_SAFER",
}
# GDAL's own limit is a share of the machine's memory, which a job may not have; more than this gains nothing. In bytes,
# as rasterio takes it.
_CACHE = 128 * 2**20


def run(
    boa: list[Path],
    aot: Path,
    wvp: Path,
    classification: Path,
    metadata: Path,
    cogs: Path,
    compression: Literal["deflate", "zstd"] = "deflate",
    uncertainty: list[Path] | None = None,
    threads: int = 1,
) -> None:
    """Write the cloud-optimised GeoTIFFs, named for their asset keys: red.tif, scl.tif ...

    At 10 m blue, green, red, nir and visual (true colour); at 20 m rededge1, rededge2, rededge3, nir08, swir16,
    swir22, aot, wvp, scl, cloud and snow; at 60 m coastal and nir09. Each carries scale, offset and no-data value.

    Parameters
    ----------
    boa
        Surface reflectance, a raster for each of these pixel sizes or some of them.
    aot, wvp, classification
        Aerosol optical thickness, water vapour and classification at 20 m.
    metadata
        The scene.
    cogs
        Folder that is made.
    compression
        Both are lossless; deflate is read by every program, zstd is faster.
    uncertainty
        Of the reflectance, in the order of `boa`; adds blue_uncertainty.tif and so on.
    threads
        Files that are written side by side, by processes: GDAL's copying holds the interpreter's lock, and its own
        threads do half of what they could.
    """
    scene = Scene.read(metadata)
    maps, sources = {AOT: aot, WVP: wvp, CLASSIFICATION: classification}, {}
    for path, layer in zip(boa, uncertainty or repeat(None, len(boa)), strict=True):
        resolution = round(grid_of(path, BOA).resolution)
        of_kind = {BOA: path} | (maps if resolution == 20 else {}) | ({UNCERTAINTY: layer} if layer else {})
        sources[resolution] = of_kind
        for kind, source in of_kind.items():
            if grid_of(source, kind) != scene.grid.at(resolution):
                raise StepError(
                    f"{source}: its pixels are not those of the scene at {resolution} m; run its stage again"
                )
    wanted = ASSETS | (UNCERTAINTIES if uncertainty else {})
    sizes = {key: _size(asset, scene) for key, asset in wanted.items() if asset.resolution in sources}
    check_space(cogs, sum(sizes.values()))
    # Forked, so that they start at once; a new process would first import everything.
    context = multiprocessing.get_context("fork")
    with atomic(cogs) as folder, ProcessPoolExecutor(threads, context, end_with_parent, (os.getpid(),)) as pool:
        folder.mkdir()
        write = partial(_write_asset, folder, scene, sources, compression)
        largest_first = sorted(sizes, key=sizes.__getitem__, reverse=True)
        try:
            for _ in pool.map(write, largest_first, [wanted[key] for key in largest_first]):
                pass
        except BrokenProcessPool as error:
            raise StepError(
                f"{cogs}: a process that wrote it was killed, as for want of memory; take fewer cores or more memory"
            ) from error
        seal_folder(folder, cogs)


def _size(asset: Asset, scene: Scene) -> int:
    """Return the bytes of an asset's pixels."""
    rows, columns = scene.grid.at(asset.resolution).shape
    return rows * columns * len(asset.bands) * np.dtype(asset.kind.dtype).itemsize


def _write_asset(folder: Path, scene: Scene, sources: dict, compression: str, key: str, asset: Asset) -> None:
    grid, options = scene.grid.at(asset.resolution), _OPTIONS | {"compress": compression}
    _write(folder / f"{key}.tif", asset, sources[asset.resolution], grid, _tags(scene, asset), options)


def _tags(scene: Scene, asset: Asset) -> dict[str, str]:
    year = scene.sensing_time[:4]
    return {
        "TIFFTAG_COPYRIGHT": f"Contains modified Copernicus Sentinel data {year}",
        "TIFFTAG_DATETIME": scene.sensing_time[:19].replace("-", ":").replace("T", " "),
        "TIFFTAG_IMAGEDESCRIPTION": f"{asset.title}, {'/'.join(asset.bands)}, {l2a_name(scene.product)}",
        "TIFFTAG_SOFTWARE": f"Sen2Flow {__version__}",
    }


def _write(path: Path, asset: Asset, sources: dict[Kind, Path], grid: Grid, tags: dict, options: dict) -> None:
    derived = path.with_suffix(".raw")
    # The average of class codes means nothing: overviews show the most frequent class.
    resampling = "MODE" if asset.kind == CLASSIFICATION else "AVERAGE"
    try:
        if asset.kind in _DERIVED:
            with create(derived, asset.kind, grid, asset.bands) as raster:
                for band in asset.bands:
                    for rows in row_blocks(grid.height):
                        raster.write(band, _DERIVED[asset.kind](sources, band, rows), rows.start)
        source = derived if asset.kind in _DERIVED else sources[asset.kind]
        with rasterio.Env(GDAL_CACHEMAX=_CACHE, GDAL_NUM_THREADS=1):
            virtual = _virtual(source, asset, grid, tags)
            copy(virtual, path, overview_resampling=resampling, **options)
            # A disk that is full at the very end goes unnoticed; the last pixel is stored last.
            with rasterio.open(path) as file:
                file.read(window=Window(grid.width - 1, grid.height - 1, 1, 1))
    except RASTER_ERRORS as error:
        check_space(path, grid.width * grid.height)
        raise StepError(f"{path}: cannot be written ({error}); check the output folder and its disk") from error
    finally:
        derived.unlink(missing_ok=True)


def _true_colour(sources: dict[Kind, Path], band: str, rows: slice) -> np.ndarray:
    return true_colour(read(sources[BOA], BOA, band, rows))


def _probability(sources: dict[Kind, Path], band: str, rows: slice) -> np.ndarray:
    values = read(sources[CLASSIFICATION], CLASSIFICATION, band, rows)
    values[read(sources[CLASSIFICATION], CLASSIFICATION, "SCL", rows) == CLASSIFICATION.nodata] = PROBABILITY.nodata
    return values


# Assets that are computed from a stage's raster rather than copied.
_DERIVED = {TRUE_COLOUR: _true_colour, PROBABILITY: _probability}


def _virtual(source: Path, asset: Asset, grid: Grid, tags: dict[str, str]) -> str:
    """Return a GDAL virtual dataset: the asset's bands of `source` with just the facts that the file shall carry."""
    names = bands_of(source, asset.kind)
    # A raster of one band is that band, whatever its stage calls it.
    bands = [names.index(band) + 1 if len(names) > 1 else 1 for band in asset.bands]
    colours = ["Palette"] if asset.kind == CLASSIFICATION else ["Red", "Green", "Blue"] if len(bands) == 3 else ["Gray"]
    transform = ", ".join(repr(float(v)) for v in grid.transform.to_gdal())
    items = "".join(f'<MDI key="{key}">{escape(value)}</MDI>' for key, value in tags.items())
    layers = "".join(
        f'<VRTRasterBand dataType="{ {"uint8": "Byte", "uint16": "UInt16"}[asset.kind.dtype] }" band="{number}">'
        f"<Description>{name}</Description><UnitType>{asset.unit}</UnitType>"
        f"<NoDataValue>{asset.kind.nodata}</NoDataValue>{_scaling(asset.kind)}"
        f"<ColorInterp>{colour}</ColorInterp>{_palette() if colour == 'Palette' else ''}<SimpleSource>"
        f'<SourceFilename relativeToVRT="0">{escape(str(source.absolute()))}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for number, (name, band, colour) in enumerate(zip(asset.bands, bands, colours, strict=True), 1)
    )
    return (
        f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}"><SRS>EPSG:{grid.epsg}</SRS>'
        f"<GeoTransform>{transform}</GeoTransform><Metadata>{items}</Metadata>{layers}</VRTDataset>"
    )


def _scaling(kind: Kind) -> str:
    return "" if (kind.scale, kind.offset) == (1, 0) else f"<Scale>{kind.scale}</Scale><Offset>{kind.offset}</Offset>"


def _palette() -> str:
    entries = (f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="255"/>' for red, green, blue in SCL_COLOURS)
    return f"<ColorTable>{''.join(entries)}</ColorTable>"


if __name__ == "__main__":
    cli(run)
