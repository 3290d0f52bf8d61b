"""What stages tell each other of a whole tile: the JSON documents between them, with units."""

from dataclasses import dataclass, field
from typing import Literal

from steps.sentinel2.scene import OzoneSource

#: How aerosol thickness was found: dark dense vegetation, forecast or reanalysis, climatology, setting.
AotMethod = Literal["DDV", "CAMS", "CLIMATOLOGY", "FIXED"]
#: What the aerosol's mixture was chosen by: setting, species of the CAMS data, ground (and these), nothing.
ModelSource = Literal["CONFIG", "CAMS", "GROUND", "DEFAULT"]
#: How the column of water vapour was found: its absorption in B09, forecast, setting.
WaterVapourMethod = Literal["B09", "ECMWF", "FIXED"]


@dataclass(frozen=True)
class Span:
    """Mean, lowest and highest value of a map over the whole tile."""

    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class SentUp:
    """Hold what a band sees of a tile's ground and clouds.

    Attributes
    ----------
    ground
        Mean stored number at the top of the atmosphere of all that is no cloud.
    clouds
        What clouds would add to it if they counted as ground does.
    """

    ground: float
    clouds: float


@dataclass(frozen=True)
class SceneMeans:
    """Hold what parts of a tile take from the whole (`steps.atmosphere.scene.WholeTile`).

    Attributes
    ----------
    elevation_km
        Of the ground, km.
    aot550
        Of the aerosol optical thickness at 550 nm.
    water_vapour
        Of the column, g/cm2.
    light
        What sends up light, by band; None where hardly any ground is clear.
    """

    elevation_km: Span
    aot550: Span
    water_vapour: Span
    light: dict[str, SentUp] | None


@dataclass(frozen=True)
class ChosenAerosol:
    """Describe the aerosol of a scene: a mixture of models.

    Attributes
    ----------
    shares
        Some of `steps.atmosphere.models.AEROSOL_MODELS` to their share of the optical thickness at 550 nm; the sum is
        1.
    other
        What it may be instead, a mixture one standard deviation off.
    tables
        Models of both to the name of the look-up table, which has the digest of the code that made it.
    """

    shares: dict[str, float]
    other: dict[str, float]
    tables: dict[str, str]


@dataclass(frozen=True)
class AerosolReport:
    """Tell how the aerosol was found.

    Attributes
    ----------
    method
        DDV, CAMS, CLIMATOLOGY or FIXED.
    source
        Name of the file that CAMS is from, else None.
    mean_aot550, spread_aot550
        Mean of the map, and standard deviation of what was found in cells, aerosol optical thickness at 550 nm.
    model, model_source, lut
        Aerosol model or mixture (`steps.atmosphere.models.mixture_name`), what it was chosen by (CONFIG, CAMS, GROUND
        or DEFAULT), and names of the look-up tables.
    ddv_percentage, ddv_swir_limit, ddv_cells
        Dark dense vegetation: percent of the land, its limit of reflectance in B12 (None without any), cells with a
        result.
    smoothing_km
        Standard deviation of the Gaussian that smoothed the map, km.
    defaults
        A sentence for everything that stood in for something missing.
    """

    method: AotMethod
    source: str | None
    mean_aot550: float
    spread_aot550: float
    model: str
    model_source: ModelSource
    lut: tuple[str, ...]
    ddv_percentage: float
    ddv_swir_limit: float | None
    ddv_cells: int
    smoothing_km: float
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class WaterVapourReport:
    """Tell how the water vapour was found.

    Attributes
    ----------
    method
        B09, ECMWF or FIXED.
    mean_water_vapour
        Mean of the map, g/cm2.
    valid_percentage
        Pixels with a result from B09, percent of the valid ones.
    defaults
        As in `AerosolReport`.
    """

    method: WaterVapourMethod
    mean_water_vapour: float
    valid_percentage: float
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class CirrusReport:
    """Tell what cirrus was taken out.

    Attributes
    ----------
    percentage
        Pixels of the tile with some, percent of the valid ones.
    mean_reflectance
        Mean of these of its reflectance in the visible.
    ratios
        Band to its reflectance relative to that in B10.
    ratio_uncertainty
        Standard uncertainty of the visible one.
    """

    percentage: float
    mean_reflectance: float
    ratios: dict[str, float]
    ratio_uncertainty: float


@dataclass(frozen=True)
class BandFigures:
    """Count a band's valid pixels.

    Attributes
    ----------
    valid_pixels
        Their number.
    negative_share
        Share of them with a negative reflectance, 0 to 1.
    mean_reflectance
        Their mean surface reflectance, None without any.
    """

    valid_pixels: int
    negative_share: float
    mean_reflectance: float | None


@dataclass(frozen=True)
class InvertedRaster:
    """Tell of surface reflectance of one pixel size.

    Attributes
    ----------
    resolution
        Pixel size, m.
    bands
        By name.
    outside_domain
        Share of the scene, 0 to 1, where an input was outside the look-up table, by the input's name.
    """

    resolution: int
    bands: dict[str, BandFigures]
    outside_domain: dict[str, float]


@dataclass(frozen=True)
class ReflectanceReport:
    """Tell how surface reflectance over flat terrain was computed.

    Attributes
    ----------
    adjacency, adjacency_km
        Whether the light of the surroundings was taken out, and their radius, km.
    resolutions
        One for each pixel size.
    defaults
        As in `AerosolReport`.
    """

    adjacency: bool
    adjacency_km: float
    resolutions: tuple[InvertedRaster, ...]
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class CorrectedRaster:
    """Tell of the terrain correction of one pixel size.

    Attributes
    ----------
    resolution
        Pixel size, m.
    applied
        False where there is no relief.
    shadow_percent
        Pixels in cast shadow, percent of the valid ones.
    limited_percent
        Pixels at a limit of the correction, percent of the valid ones, by band.
    """

    resolution: int
    applied: bool
    shadow_percent: float = 0.0
    limited_percent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TerrainReport:
    """Tell how reflectance was corrected for terrain.

    Attributes
    ----------
    min_cos_incidence
        Lower limit of the cosine of the angle of incidence.
    resolutions
        One for each pixel size.
    """

    min_cos_incidence: float
    resolutions: tuple[CorrectedRaster, ...]


@dataclass(frozen=True)
class QualityReport:
    """Hold the quality report of a complete product, `quality.json`; that of another one has some of the fields.

    Attributes
    ----------
    product, software
        Name of the L2A product without `.SAFE`; name and version of the software.
    class_percentages
        By name of the class, percent of the valid pixels.
    nodata_percentage
        Percent of all pixels.
    cloudy_over_land_percentage
        Percent of the valid pixels that are not water.
    dem_source
        Names of the elevation model's files, or `None` as a word.
    mean_elevation_km, mean_slope
        Km, degrees.
    aot_method, mean_aot550, ddv_percentage
        As in `AerosolReport`.
    aerosol_model, aerosol_model_source, lut
        As its `model`, `model_source` and `lut`.
    water_vapour_method, mean_water_vapour
        As in `WaterVapourReport`.
    ozone_dobson, ozone_source
        Column of ozone, DU, and where it is from.
    negative_percentage
        By band, percent of its valid pixels at its finest resolution.
    mean_reflectance
        By band at its finest resolution, None where no pixel is valid.
    outside_domain_percentage
        By input, percent of the scene where it was outside the look-up table and its limit was taken.
    terrain_corrected
        Whether terrain was corrected at any resolution.
    defaults
        A sentence for everything that was assumed because it was not given.
    aot_source
        As `source` in `AerosolReport`.
    bbox
        West, south, east and north of all pixels, degrees; west > east across the meridian of 180 degrees.
    cirrus_correction
        What cirrus was taken out, if that was wanted.
    """

    product: str
    software: str
    class_percentages: dict[str, float]
    nodata_percentage: float
    cloudy_over_land_percentage: float
    dem_source: str
    mean_elevation_km: float
    mean_slope: float
    aot_method: AotMethod
    mean_aot550: float
    ddv_percentage: float
    aerosol_model: str
    aerosol_model_source: ModelSource
    lut: tuple[str, ...]
    water_vapour_method: WaterVapourMethod
    mean_water_vapour: float
    ozone_dobson: float
    ozone_source: OzoneSource
    negative_percentage: dict[str, float]
    mean_reflectance: dict[str, float | None]
    outside_domain_percentage: dict[str, float]
    terrain_corrected: bool
    defaults: tuple[str, ...]
    aot_source: str | None = None
    bbox: tuple[float, ...] | None = None
    cirrus_correction: CirrusReport | None = None
