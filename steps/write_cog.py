"""Stage: the cloud-optimised GeoTIFFs."""

from functools import partial
from pathlib import Path
from typing import Literal, get_args
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
from steps.core.parallel import write_files
from steps.core.rasters import Grid, Kind, bands_of, check_space, create, grid_of, row_blocks, writing
from steps.l2a import layers as layers_of
from steps.l2a.assets import ANGLE, DARK_VEGETATION, FLAT, QA, Asset, Layer, Product, chosen_assets
from steps.sentinel2.bands import RESOLUTIONS
from steps.sentinel2.kinds import AEROSOL_GROUND, ANGLES, AOT, BOA, CLASSIFICATION, MASK, TERRAIN, UNCERTAINTY, WVP
from steps.sentinel2.names import l2a_name
from steps.sentinel2.scene import Scene
from steps.sentinel2.scene_classes import SCL_COLOURS

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
# GDAL keeps the overviews in a file of its own until all are there, and would spend a fifth of the time on compressing
# that well. Without any, it averages a row in 512 wrongly (GDAL 3.10).
_OVERVIEWS = "PACKBITS"
#: Averages of codes, flags and azimuths mean nothing: overviews show the most frequent class, or one of the pixels.
_RESAMPLING = {CLASSIFICATION.name: "MODE", DARK_VEGETATION.name: "MODE", QA.name: "MODE", ANGLE.name: "NEAREST"}
#: GDAL's names of NumPy's types.
_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16"}


def run(
    metadata: Path,
    cogs: Path,
    boa: list[Path] | None = None,
    aot: Path | None = None,
    wvp: Path | None = None,
    classification: Path | None = None,
    uncertainty: list[Path] | None = None,
    flat: list[Path] | None = None,
    mask: Path | None = None,
    terrain: Path | None = None,
    angles: Path | None = None,
    aerosol_ground: Path | None = None,
    products: list[Product] | None = None,
    layers: list[Layer] | None = None,
    min_cos_incidence: float = 0.08,
    compression: Literal["deflate", "zstd"] = "deflate",
    threads: int = 1,
) -> None:
    """Write the cloud-optimised GeoTIFFs, named for their asset keys: red.tif, scl.tif ...

    At 10 m blue, green, red, nir and visual (true colour); at 20 m rededge1, rededge2, rededge3, nir08, swir16,
    swir22, aot, wvp, scl, cloud and snow; at 60 m coastal and nir09. Where a band's own pixel size is not among those
    given it is there at another. Each carries scale, offset and no-data value.

    Parameters
    ----------
    metadata
        The scene.
    cogs
        Folder that is made.
    boa
        Surface reflectance, a raster for each of these pixel sizes or some of them.
    aot, wvp, classification
        Aerosol optical thickness, water vapour and classification at 20 m.
    uncertainty
        Of the reflectance, in the order of `boa`; adds blue_uncertainty.tif and so on.
    flat
        Reflectance before terrain correction, in the order of `boa`.
    mask, terrain, angles, aerosol_ground
        Quality flags and terrain at 20 m, angles, and what the retrieval of aerosol says of the ground, for `layers`.
    products, layers
        What is written (`steps.l2a.assets`); all products unless given, and no layers.
    min_cos_incidence
        Cosine of the sun's incidence below which `qa` calls a slope faint.
    compression
        Both are lossless; deflate is read by every program, zstd is faster.
    threads
        Files that are written side by side, by processes: GDAL's copying holds the interpreter's lock, and its own
        threads do half of what they could. They help where there are more processes than long files.

    Raises
    ------
    StepError
        If a raster is on another grid or cannot be read, or the folder cannot be written.
    """
    scene = Scene.read(metadata)
    sizes_of_boa = [round(grid_of(path, BOA).resolution) for path in boa or ()]
    maps = ((AOT, aot), (WVP, wvp), (CLASSIFICATION, classification), (MASK, mask), (TERRAIN, terrain))
    given = [(20, kind, path) for kind, path in maps]
    for kind, paths in ((BOA, boa), (UNCERTAINTY, uncertainty), (FLAT, flat)):
        given += [(size, kind, path) for size, path in zip(sizes_of_boa, paths, strict=True)] if paths else []
    sources = _sources(scene, given)
    for of_size in sources.values():
        of_size |= {kind.name: path for kind, path in ((ANGLES, angles), (AEROSOL_GROUND, aerosol_ground)) if path}
    wanted = chosen_assets(products or get_args(Product), sizes_of_boa, layers or (), bool(uncertainty))
    sizes = {key: _size(asset, scene) for key, asset in wanted.items()}
    check_space(cogs, sum(sizes.values()))
    with atomic(cogs) as folder:
        folder.mkdir()
        largest_first = sorted(sizes, key=sizes.__getitem__, reverse=True)
        long = sum(2 * size > sizes[largest_first[0]] for size in sizes.values())
        options = _OPTIONS | {"compress": compression, "num_threads": 2 if threads > long else 1}
        write = partial(_write_asset, folder, scene, sources, min_cos_incidence, options)
        write_files(cogs, write, [(key, wanted[key]) for key in largest_first], threads)
        seal_folder(folder, cogs)


def _sources(scene: Scene, given: list[tuple[int, Kind, Path | None]]) -> dict[int, dict[str, Path]]:
    """Return the rasters that are given by pixel size (m) and kind; raise `StepError` if one is on another grid."""
    sources: dict[int, dict[str, Path]] = {size: {} for size in RESOLUTIONS}
    for size, kind, path in given:
        if path:
            if grid_of(path, BOA if kind == FLAT else kind) != scene.grid.at(size):
                raise StepError(f"{path}: its pixels are not those of the scene at {size} m; run its stage again")
            sources[size][kind.name] = path
    return sources


def _size(asset: Asset, scene: Scene) -> int:
    """Return the bytes of an asset's pixels."""
    rows, columns = scene.grid.at(asset.resolution).shape
    return rows * columns * len(asset.bands) * np.dtype(asset.kind.dtype).itemsize


def _write_asset(
    folder: Path, scene: Scene, sources: dict, faint: float, options: dict, key: str, asset: Asset
) -> None:
    grid = scene.grid.at(asset.resolution)
    made = layers_of.Layers(sources[asset.resolution], grid, faint)
    _write(folder / f"{key}.tif", asset, made, grid, _tags(scene, asset), options)


def _tags(scene: Scene, asset: Asset) -> dict[str, str]:
    year = scene.sensing_time[:4]
    return {
        "TIFFTAG_COPYRIGHT": f"Contains modified Copernicus Sentinel data {year}",
        "TIFFTAG_DATETIME": scene.sensing_time[:19].replace("-", ":").replace("T", " "),
        "TIFFTAG_IMAGEDESCRIPTION": f"{asset.title}, {'/'.join(asset.bands)}, {l2a_name(scene.product)}",
        "TIFFTAG_SOFTWARE": f"Sen2Flow {__version__}",
    }


def _write(path: Path, asset: Asset, layers: layers_of.Layers, grid: Grid, tags: dict, options: dict) -> None:
    derived = path.with_suffix(".raw")
    resampling = _RESAMPLING.get(asset.kind.name, "AVERAGE")
    try:
        if derives := layers_of.is_made(asset.kind):
            with create(derived, asset.kind, grid, asset.bands) as raster:
                for band in asset.bands:
                    for rows in row_blocks(grid.height):
                        raster.write(band, layers.read(asset.kind, band, rows), rows.start)
        virtual = _virtual(derived if derives else layers.source(asset.kind), asset, grid, tags)
        settings = {"GDAL_CACHEMAX": _CACHE, "GDAL_NUM_THREADS": 1, "COG_TMP_COMPRESSION": _OVERVIEWS}
        with writing(path, grid.width * grid.height), rasterio.Env(**settings):
            copy(virtual, path, overview_resampling=resampling, **options)
            # A disk that is full at the very end goes unnoticed; the last pixel is stored last.
            with rasterio.open(path) as file:
                file.read(window=Window(grid.width - 1, grid.height - 1, 1, 1))
    finally:
        derived.unlink(missing_ok=True)


def _virtual(source: Path, asset: Asset, grid: Grid, tags: dict[str, str]) -> str:
    """Return a GDAL virtual dataset: the asset's bands of `source` with just the metadata that the file shall carry."""
    names = bands_of(source, asset.kind)
    # A raster of one band is that band, whatever its stage calls it.
    bands = [names.index(band) + 1 if len(names) > 1 else 1 for band in asset.bands]
    colours = ["Palette"] if asset.kind == CLASSIFICATION else ["Red", "Green", "Blue"] if len(bands) == 3 else ["Gray"]
    transform = ", ".join(repr(float(v)) for v in grid.transform.to_gdal())
    items = "".join(f'<MDI key="{key}">{escape(value)}</MDI>' for key, value in tags.items())
    layers = "".join(
        f'<VRTRasterBand dataType="{_TYPES[asset.kind.dtype]}" band="{number}">'
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
