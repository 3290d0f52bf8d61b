"""What the pipeline knows of one product, read once from its XML and kept as `metadata.json`."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from steps.core.documents import read_document, write_document
from steps.core.rasters import Grid

#: Pixel size of the overview of a tile, m.
OVERVIEW = 80
#: Where the column of ozone is from: the granule's meteorology or the setting.
OzoneSource = Literal["AUX_ECMWFT", "CONFIG"]


@dataclass(frozen=True)
class SpectralResponse:
    """Relative response of one band.

    Attributes
    ----------
    start, step
        First wavelength and spacing, nm.
    values
        Response at start, start + step, ...; any scale.
    """

    start: float
    step: float
    values: tuple[float, ...]

    @property
    def wavelength(self) -> np.ndarray:
        """Wavelengths of `values`, nm."""
        return self.start + self.step * np.arange(len(self.values))

    @property
    def centre_and_width(self) -> tuple[float, float]:
        """Mean wavelength, weighted by the response, and full width at half maximum, um."""
        values = np.array(self.values)
        above = self.wavelength[values >= values.max() / 2]
        centre = np.average(self.wavelength, weights=values)
        return round(float(centre) / 1000, 4), round(float(np.ptp(above) + self.step) / 1000, 4)


@dataclass(frozen=True)
class Band:
    """One band of the product.

    Attributes
    ----------
    offset
        RADIO_ADD_OFFSET of the L1C product (0 where it has none).
    solar_irradiance
        W/m2/um.
    response
        From the product itself where it carries it.
    """

    offset: float
    solar_irradiance: float
    response: SpectralResponse


@dataclass(frozen=True)
class Auxiliary:
    """Auxiliary data of the granule (meteorology and CAMS aerosol); None where the product has none.

    Attributes
    ----------
    ozone
        Tile-mean column, cm-atm (0.300 = 300 DU), or that of the configuration; NaN until it is known.
    ozone_source
        Where `ozone` is from.
    water_vapour
        Tile-mean column, g/cm2.
    pressure
        Tile-mean sea-level pressure, hPa.
    latitude, longitude
        Of the grid points of `cams`, degrees.
    cams
        Variable name (`aod550`, `duaod550`, ...) to its values at the grid points, rows north to south.
    cams_file
        Name of the file that `cams` is from.
    """

    ozone: float = math.nan
    water_vapour: float | None = None
    pressure: float | None = None
    latitude: tuple[tuple[float, ...], ...] | None = None
    longitude: tuple[tuple[float, ...], ...] | None = None
    cams: dict[str, tuple[tuple[float, ...], ...]] | None = None
    cams_file: str | None = None
    ozone_source: OzoneSource = "CONFIG"


@dataclass(frozen=True)
class Scene:
    """One Level-1C product.

    Attributes
    ----------
    product
        Name without `.SAFE`.
    satellite
        `S2A`, `S2B`, `S2C`, ...
    tile
        MGRS tile with its T: `T31TCJ`.
    sensing_time
        Mean of the tile, ISO 8601, UTC.
    baseline
        Processing baseline of the L1C product: `05.10`.
    quantification
        DN per unit reflectance (10000).
    earth_sun
        U, the metadata's factor of the Earth-Sun distance.
    grid
        At 10 m, of what is processed.
    sun_zenith, sun_azimuth
        Tile means, degrees.
    bands
        By name, in the order of the `bandId`.
    auxiliary
        Auxiliary data of the granule.
    defaults
        A sentence for every default that stood in for something the product lacks.
    roi, tile_grid
        At 10 m, of the part of the tile that is wanted and of the whole tile, if just a part is processed.
    """

    product: str
    satellite: str
    tile: str
    sensing_time: str
    baseline: str
    quantification: float
    earth_sun: float
    grid: Grid
    sun_zenith: float
    sun_azimuth: float
    bands: dict[str, Band]
    auxiliary: Auxiliary = field(default_factory=Auxiliary)
    defaults: tuple[str, ...] = ()
    roi: Grid | None = None
    tile_grid: Grid | None = None

    @property
    def whole(self) -> Grid:
        """Grid at 10 m of the whole tile, whatever part of it is processed."""
        return self.tile_grid or self.grid

    @property
    def part(self) -> Grid:
        """Grid at 10 m of the part of the tile that is wanted, which may be the whole."""
        return self.roi or self.grid

    @property
    def overview(self) -> Grid:
        """Grid of the overview of the whole tile.

        The pixels of a coarser level of an image's wavelets lie around the first of the pixels they stand for, not in
        their middle; so means of those of 20 m bands lie 10 m, of those of 10 m bands 5 m before that of their area.
        """
        tile = self.whole
        width, height = (-(-round(n * tile.resolution) // OVERVIEW) for n in (tile.width, tile.height))
        return Grid(tile.epsg, tile.left - 10, tile.top + 10, OVERVIEW, width, height)

    def write(self, path: Path) -> None:
        """Write to a JSON file."""
        write_document(path, self)

    @classmethod
    def read(cls, path: Path) -> "Scene":
        """Read from a JSON file.

        Raises
        ------
        StepError
            If it is missing, broken or no scene.
        """
        scene = read_document(path, cls)
        bands = dict(sorted(scene.bands.items(), key=lambda item: item[0].replace("8A", "08A")))
        return replace(scene, bands=bands)
