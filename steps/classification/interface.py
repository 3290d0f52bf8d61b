"""The classification as a function of arrays for users and checkers, without a workflow."""

from collections.abc import Sequence, Set

import numpy as np

from steps.classification.classify import BANDS, absorption, classify, fill_maps, find_displaced, sea_without_snow
from steps.classification.cloud_model import MODEL_BANDS, cloud_prediction
from steps.classification.cloud_shadow import ShadowLimits, displacement
from steps.classification.images import Bands, Image, Maps
from steps.classification.improved import IMPROVEMENTS, Refinements
from steps.classification.vapour import find_vapour, limits
from steps.sentinel2.bands import STACK_BANDS
from steps.sentinel2.responses import reference_response


def classify_scene(
    toa: dict[str, np.ndarray],
    resolution: int,
    sun_zenith: float,
    sun_azimuth: float,
    *,
    dem: np.ndarray | None = None,
    slope: np.ndarray | None = None,
    hillshade: np.ndarray | None = None,
    water_bodies: np.ndarray | None = None,
    land_cover: np.ndarray | None = None,
    snow_condition: np.ndarray | None = None,
    snow_possible: bool = True,
    water_vapour: float | None = None,
    mode: str = "classic",
    improvements: Sequence[str] = IMPROVEMENTS,
    view_zenith: float = 0,
    view_azimuth: float = 0,
    cast_shadow: np.ndarray | None = None,
    cloud_buffer: float = 0,
    cloud_model: str = "rules",
    shadows: ShadowLimits | None = None,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classify a scene held in arrays, all of one shape (rows, columns).

    Parameters
    ----------
    toa
        Band name to float32 reflectance at the top of the atmosphere, 0 where there is no data; the twelve
        `STACK_BANDS`, and for the parallax at 20 m `B08`, as the mean of 2x2 pixels.
    resolution
        Pixel size, m: 20 or 60.
    sun_zenith, sun_azimuth
        Scene means, degrees.
    dem, slope, hillshade
        Elevation (m), slope (degrees) and hillshade (0-255 as `gdaldem hillshade`); all or none.
    water_bodies, land_cover, snow_condition
        ESA CCI maps on the scene's grid.
    snow_possible
        False skips the snow rules.
    water_vapour
        Mean column by auxiliary data, g/cm2; what the image tells of it goes before.
    mode
        `classic`: the rules of Sen2Cor 2.8. `improved`: refined, with probabilities that agree with the classes.
    improvements
        Which of `IMPROVEMENTS` improved mode makes; in that mode only, as are:
    view_zenith, view_azimuth
        Scene means, degrees.
    cast_shadow
        1 where terrain throws a shadow.
    cloud_buffer
        Distance by which clouds grow, m.
    cloud_model
        `rules`, or `s2cloudless`: that model has its say too, and needs `B08`.
    shadows
        Where the shadows of clouds fall, else they are looked for.
    threads
        The result does not depend on it.

    Returns
    -------
    scl, cloud_probability, snow_probability : uint8
        Classes 0-11; percent.

    Raises
    ------
    ValueError
        For another mode, or if only part of `dem`, `slope`, `hillshade` is given.
    """
    if mode not in ("classic", "improved"):
        raise ValueError(f"mode {mode!r}: 'classic' and 'improved' are known")
    if len({array is None for array in (dem, slope, hillshade)}) > 1:
        raise ValueError("give dem, slope and hillshade together")
    given = (dem, slope, hillshade, water_bodies, sea_without_snow(snow_condition))

    def read_rows(rows: slice, _: Set[str]) -> tuple[Bands, Maps]:
        nodata = np.any([toa[name][rows] == 0 for name in STACK_BANDS], axis=0)
        bands = Bands._make([*(toa[name][rows] for name in BANDS), nodata])
        return bands, fill_maps(nodata.shape, *(array if array is None else array[rows] for array in given))

    refinements = None
    if mode == "improved":
        directions = np.array([[displacement(sun_zenith, sun_azimuth, view_zenith, view_azimuth)]])
        where = directions if shadows is None else shadows
        displaced = _displaced(toa, threads) if "B08" in toa and resolution == 20 else None
        prediction = _prediction(toa, resolution, threads) if cloud_model == "s2cloudless" else None
        refinements = Refinements(tuple(improvements), where, cast_shadow, displaced, cloud_buffer, prediction)
    image = Image(read_rows, toa["B02"].shape, resolution)
    table = absorption({band: reference_response("S2A", band) for band in ("B09", "B10")})
    believed = limits(water_vapour, 0 if dem is None else float(dem.mean()), sun_zenith)
    vapour = find_vapour(image, table, believed, threads)
    return classify(
        image, (sun_zenith, sun_azimuth), vapour=vapour, table=table,
        land_cover=land_cover, snow_possible=snow_possible, refinements=refinements, threads=threads,
    )[:3]  # fmt: skip


def _displaced(toa: dict[str, np.ndarray], threads: int) -> np.ndarray:
    return find_displaced(lambda rows: [toa[name][rows] for name in ("B07", "B08", "B8A")], toa["B08"].shape, threads)


def _prediction(toa: dict[str, np.ndarray], resolution: int, threads: int) -> np.ndarray:
    def read_rows(rows: slice) -> dict[str, np.ndarray]:
        return {name: toa[name][rows] for name in MODEL_BANDS}

    return cloud_prediction(read_rows, toa["B08"].shape, resolution, threads)
