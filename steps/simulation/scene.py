"""One simulated scene: from its recipe to the numbers of the product and the truth."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from steps.atmosphere.uncertainty import NOISE
from steps.core.rasters import Grid
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.geometry import DETECTOR_WIDTH, Swath, earth_sun_factor, orbits
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene_classes import (
    CIRRUS,
    CLOUD_HIGH,
    DARK,
    SATURATED_DEFECTIVE,
    SHADOW,
    SNOW,
    SOIL,
    UNCLASSIFIED,
    VEGETATION,
    WATER,
)
from steps.simulation import auxiliary, clouds, fields, forward, relief, surroundings
from steps.simulation.acquisition import Acquisition
from steps.simulation.banding import SimulatedAtmosphere, atmospheres
from steps.simulation.gases import gases
from steps.simulation.ground import COVERS, Ground, mosaic
from steps.simulation.l1c_xml import IRRADIANCE
from steps.simulation.particles import AEROSOL_HEIGHT, MOLECULES_HEIGHT
from steps.simulation.recipe import Recipe
from steps.simulation.scattering import WAVELENGTHS, scattering
from steps.simulation.sky import sky

#: Tile of the scenes, near Toulouse, its projection, and its upper left corner, m.
TILE = "T31TCJ"
EPSG = 32631
LEFT = 300000
TOP = 4900020
#: Direction of flight there, degrees.
_HEADING = 194.0
#: Wavelength below which aerosol and water vapour do not vary, m, and their scale height, m.
_SMOOTH = 3000.0
_HEIGHT = 2000.0
#: NDVI from which the ground counts as vegetation.
_GREEN = 0.4
#: Reflectance from which clouds of droplets and of ice count as such, and below which there is none.
_CLOUDY = 0.15
_ICY = 0.015
_CLOUDLESS = 0.001
#: Share of the direct light below which the ground is in shadow, and above which it is not.
_SHADED = 0.65
_SUNNY = 0.99


@dataclass(frozen=True)
class Simulated:
    """A scene and its truth.

    Attributes
    ----------
    acquisition, grid, swath
        What, where and from where.
    toa
        Band to reflectance at the top of the atmosphere, with all errors of the camera.
    detectors
        Band to detector numbers.
    lost
        Band to 1 where pixels are lost.
    boa
        Band to the true reflectance of the surface.
    layers
        Name to further truth at 20 m: `aot550`, `water_vapour` (g/cm2), `classes` (codes of the scene classification),
        of mountains `elevation` (m), `cos_incidence`, `lit` and `sky_view`, of clouds `sunlight` and `cloud`.
    auxiliary
        Name of a file to its content.
    dem
        Elevation model of mountains, and its grid.
    """

    acquisition: Acquisition
    grid: Grid
    swath: Swath
    toa: dict[str, np.ndarray]
    detectors: dict[str, np.ndarray]
    lost: dict[str, np.ndarray]
    boa: dict[str, np.ndarray]
    layers: dict[str, np.ndarray]
    auxiliary: dict[str, bytes]
    dem: tuple[np.ndarray, Grid] | None


@dataclass
class _World:
    """What is the same in all bands."""

    recipe: Recipe
    grid: Grid
    swath: Swath
    ground: Ground
    lie: relief.Relief | None
    clouds: list[clouds.Layer]
    aot550: np.ndarray  # at MAP
    water_vapour: np.ndarray
    nodes: forward.Nodes
    sunlight: np.ndarray  # at 20 m


def simulate(recipe: Recipe) -> Simulated:
    """Simulate a scene."""
    scene, grid = acquisition(recipe), Grid(EPSG, LEFT, TOP, 10, recipe.size, recipe.size)
    rng = np.random.default_rng(recipe.seed)
    world = _world(recipe, grid, rng)
    nodes = world.nodes
    scattered = scattering(
        recipe.sun_zenith, recipe.aerosol, list(nodes.aot550), list(nodes.elevation), recipe.pressure
    )
    ends = float(nodes.water_vapour.min()), float(nodes.water_vapour.max())
    gas = gases(recipe.sun_zenith, 5.0, list(nodes.elevation), ends, recipe.ozone / 1000)
    responses = {band: reference_response(scene.satellite, band) for band in BANDS}
    toa, boa, detectors = {}, {}, {}
    for band, atmosphere in atmospheres(responses, scattered, gas, recipe.sun_zenith).items():
        boa[band], clean, detectors[band] = _band(band, atmosphere, world)
        toa[band] = _spoiled(clean, band, recipe, scene, rng)
    layers = _layers(world, boa)
    lost = _lose_lines(toa, layers["classes"], recipe.lost, rng) if recipe.lost else {}
    auxiliary_data = _auxiliary(recipe, grid)
    return Simulated(scene, grid, world.swath, toa, detectors, lost, boa, layers, auxiliary_data, _dem(world))


def _lose_lines(
    toa: dict[str, np.ndarray], classes: np.ndarray, count: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Write nonsense into some lines of two bands, and tell so in the classes; return where, by band."""
    lost = {}
    for band in ("B05", "B8A"):
        lines = rng.choice(len(classes), count, replace=False)
        lost[band] = np.zeros(classes.shape, "u1")
        lost[band][lines] = 1
        toa[band][lines] = 0.9
        classes[lines] = SATURATED_DEFECTIVE
    return lost


def acquisition(recipe: Recipe) -> Acquisition:
    """Return what the product of a recipe is called."""
    time = dt.datetime.fromisoformat(recipe.time).replace(tzinfo=dt.UTC)
    absolute, relative = orbits(time)
    return Acquisition(
        satellite="S2A",
        baseline="05.10",
        tile=TILE,
        datatake_start=time - dt.timedelta(minutes=2),
        sensing_time=time,
        creation_time=recipe.created,
        absolute_orbit=absolute,
        relative_orbit=relative,
        abstract=f"Simulated Sentinel-2 Level-1C by Sen2Flow: scene {recipe.name}, {recipe.digest}",
    )


def _world(recipe: Recipe, grid: Grid, rng: np.random.Generator) -> _World:
    middle = grid.left + grid.width * 5, grid.top - grid.height * 5
    swath = Swath(middle[0] - 1000 * recipe.track_km / np.cos(np.radians(_HEADING - 180)), middle[1], _HEADING)
    ground = mosaic(grid.shape, recipe.cover, rng)
    maps = grid.at(forward.MAP).shape
    shortest = _SMOOTH / forward.MAP
    aot550 = recipe.aot550 * fields.smooth(maps, recipe.aot_variation, rng, shortest)
    water_vapour = recipe.water_vapour * fields.smooth(maps, recipe.water_vapour_variation, rng, shortest)
    lie, elevation = None, np.full(maps, recipe.elevation)
    if recipe.relief:
        height = relief.mountains(grid.shape, recipe.relief, 1000 * recipe.elevation, rng)
        lie = relief.relief(height, recipe.sun_zenith, recipe.sun_azimuth)
        elevation = mean(height, forward.MAP // 10) / 1000
        thinner = np.exp(-(elevation - recipe.elevation) * 1000 / _HEIGHT)
        aot550, water_vapour = aot550 * thinner, water_vapour * thinner
    layers = clouds.layers(grid.at(20).shape, recipe.clouds, rng)
    sunlight = np.ones(grid.at(20).shape, "f4")
    for layer in layers:
        sunlight *= layer.sunlight(recipe.sun_zenith, recipe.sun_azimuth)
    every = elevation if lie is None else lie.elevation / 1000
    nodes = forward.nodes_of(aot550, water_vapour, every)
    return _World(recipe, grid, swath, ground, lie, layers, aot550, water_vapour, nodes, sunlight)


def _band(band: str, atmosphere: SimulatedAtmosphere, world: _World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true reflectance, that at the top of the atmosphere, and detectors of one band at its own pixels."""
    size, recipe = PIXEL_SIZE[band], world.recipe
    own = world.grid.at(size)
    glint = np.where(world.ground.cover == COVERS.index("water"), np.float32(recipe.glint), np.float32(0))
    true = mean(world.ground.reflectance(atmosphere.sampled) + glint, size // 10)
    # Within the band gas and haze let some wavelengths through better than others.
    seen = world.ground.reflectance(atmosphere.seen_weights(5.0, recipe.water_vapour)) + glint
    ground, leaving = _lit(seen, atmosphere, world, size)
    around = surroundings.environment(_with_clouds(leaving, band, atmosphere, world), atmosphere.molecules)
    around = forward.enlarge(around, forward.MAP // size)
    maps = forward.AtmosphereMaps(
        atmosphere, world.nodes, world.swath, recipe.sun_azimuth, world.grid, world.aot550, world.water_vapour
    )
    detector = detector_of(world.swath, *_middles(own))
    heights = _elevation_weights(world, size)
    toa = np.zeros(own.shape, "f4")
    for number in np.unique(detector):
        here = detector == number
        parts = forward.at_elevation(maps.parts(band, int(number)), forward.MAP // size, heights)
        below = forward.at_satellite(parts, ground, around)
        toa[here] = _through_clouds(below, band, int(number), atmosphere, world)[here]
    return true, toa, detector


def _elevation_weights(world: _World, size: int) -> list[np.ndarray]:
    if world.lie is None:
        return [np.ones((1, 1), "f4")]
    return list(forward.lagrange(world.nodes.elevation, mean(world.lie.elevation, size // 10) / 1000).astype("f4"))


def _lit(seen: np.ndarray, atmosphere: SimulatedAtmosphere, world: _World, size: int) -> tuple[forward.Lit, np.ndarray]:
    """Return what the ground sends up at the pixels of a band, and what leaves it in all in cells of `MAP`."""
    clear = fitted(world.sunlight, 10)
    direct, diffuse = atmosphere.light()
    if world.lie is None:
        parts = seen * clear, seen
        ground = forward.Lit(*(mean(part, size // 10) for part in parts))
        all_light = (parts[0] * direct + parts[1] * diffuse) / (direct + diffuse)
        return ground, mean(all_light, forward.MAP // 10)
    lie, level = world.lie, np.float32(np.cos(np.radians(world.recipe.sun_zenith)))
    sun = clear * lie.lit * lie.cos_incidence / level
    turn = np.abs((lie.aspect - world.recipe.sun_azimuth + 180) % 360 - 180)
    light = sky(world.recipe.sun_zenith, world.recipe.aerosol, world.nodes.middle_aot550)
    near, far = light.at(atmosphere.node_weights(WAVELENGTHS), lie.slope, turn)
    # Mountains hide of the sky what the ground's own plane has left of it.
    open_sky = lie.sky_view / ((1 + np.cos(np.radians(lie.slope))) / 2)
    sky_light = near * lie.lit * clear + far * open_sky
    hidden = 1 - lie.sky_view
    slopes = hidden * ndimage.uniform_filter(seen, 51, mode="wrap")
    ground = forward.Lit(*(mean(seen * part, size // 10) for part in (sun, sky_light, slopes)))
    leaving = seen * ((sun * direct + sky_light * diffuse) / (direct + diffuse) + slopes)
    return ground, mean(leaving.astype("f4"), forward.MAP // 10)


def _with_clouds(leaving: np.ndarray, band: str, atmosphere: SimulatedAtmosphere, world: _World) -> np.ndarray:
    """Return what the surroundings send up, in cells of `MAP`.

    Light is scattered above the clouds or below them. Above, a cloud takes from the ground's and adds its own, which
    has come down through less air than the ground's; below, only the ground's is.
    """
    molecules, down = atmosphere.molecules, sum(atmosphere.light())
    for layer in world.clouds:
        cloud = mean(layer.reflectance, forward.MAP // 20)
        air = atmosphere.above(0.0, layer.height, clouds.vapour_above(layer, world.recipe.water_vapour))
        own = np.float32(air.down / down) * air.lit(np.float32(clouds.band_factor(band, layer)) * cloud)
        of_molecules, of_aerosol = (np.exp(-layer.height / h) for h in (MOLECULES_HEIGHT, AEROSOL_HEIGHT))
        above = molecules * of_molecules + (1 - molecules) * of_aerosol
        leaving = leaving + np.float32(above) * (own - cloud * leaving)
    return leaving


def _through_clouds(
    below: np.ndarray, band: str, detector: int, atmosphere: SimulatedAtmosphere, world: _World
) -> np.ndarray:
    """Return the light above the clouds, as one detector sees them from the middle of its part of the scene."""
    size = PIXEL_SIZE[band]
    x, y = _middles(world.grid.at(120))
    inside = detector_of(world.swath, x, y) == detector
    if not world.clouds or not inside.any():
        return below
    middle = np.array([x[inside].mean()]), np.array([y[inside].mean()])
    zenith, azimuth = (float(v[0]) for v in world.swath.view(band, detector, *middle))
    for layer in sorted(world.clouds, key=lambda one: one.height):
        cloud = fitted(layer.seen(zenith, azimuth), size)
        air = atmosphere.above(zenith, layer.height, clouds.vapour_above(layer, world.recipe.water_vapour))
        own = air.lit(np.float32(clouds.band_factor(band, layer)) * cloud)
        # Light that a cloud lets through was lost on its way down where the shadow is.
        below = below * (1 - cloud) + np.float32(air.through) * own + np.float32(air.path) * cloud
    return below


def mean(values: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of blocks of `factor` x `factor` pixels, float32."""
    if factor == 1:
        return values.astype("f4")
    rows, columns = (n // factor for n in values.shape)
    return values.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype="f8").astype("f4")


def fitted(values: np.ndarray, size: int) -> np.ndarray:
    """Return a map (rows, columns) of 20 m at another pixel size, m."""
    if size == 10:
        return np.repeat(np.repeat(values, 2, 0), 2, 1)
    return mean(values, size // 20)


def _middles(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    x = grid.left + grid.resolution * (np.arange(grid.width) + 0.5)
    y = grid.top - grid.resolution * (np.arange(grid.height) + 0.5)
    return tuple(np.meshgrid(x, y))


def detector_of(swath: Swath, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the number, 1-12, of the detector that sees each point (map coordinates, m), uint8 of their shape.

    Of two it is the one whose middle is nearer.
    """
    return np.clip(np.floor(swath.distance(x, y) / DETECTOR_WIDTH) + 7, 1, 12).astype("u1")


def _spoiled(toa: np.ndarray, band: str, recipe: Recipe, scene: Acquisition, rng: np.random.Generator) -> np.ndarray:
    """Return a band with the errors of the camera."""
    error = 1 + recipe.calibration * rng.standard_normal()
    noise = rng.standard_normal(toa.shape, dtype="f4")
    if recipe.noise:
        radiance, ratio, constant = NOISE[band]
        sunlight = IRRADIANCE[band] * earth_sun_factor(scene.datatake_start) * np.cos(np.radians(recipe.sun_zenith))
        reference = np.pi * radiance / sunlight
        variance = (reference / ratio) ** 2 * (constant + (1 - constant) * toa / reference)
        toa = toa + noise * np.sqrt(np.maximum(variance, 0)).astype("f4")
    return toa * np.float32(error)


def _layers(world: _World, boa: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    layers = {"aot550": forward.enlarge(world.aot550, 3), "water_vapour": forward.enlarge(world.water_vapour, 3)}
    if lie := world.lie:
        for name in ("elevation", "cos_incidence", "lit", "sky_view"):
            layers[name] = mean(getattr(lie, name), 2)
    layers["classes"] = _ground_classes(world, boa)
    if world.clouds:
        layers["sunlight"] = world.sunlight
        layers["cloud"] = _cover_with_clouds(world, layers["classes"])
    return layers


def _ground_classes(world: _World, boa: dict[str, np.ndarray]) -> np.ndarray:
    """Return the classes at 20 m without clouds: of water and snow is what is so in most of a pixel."""
    red = mean(boa["B04"], 2)
    green = (boa["B8A"] - red) / np.maximum(boa["B8A"] + red, 1e-6) > _GREEN
    classes = np.where(green, VEGETATION, SOIL).astype("u1")
    for kind, code in (("water", WATER), ("snow", SNOW)):
        classes[mean((world.ground.cover == COVERS.index(kind)).astype("f4"), 2) > 0.5] = code
    if world.lie is not None:
        classes[mean(world.lie.lit, 2) < 0.5] = DARK
    return classes


def _cover_with_clouds(world: _World, classes: np.ndarray) -> np.ndarray:
    """Write clouds and their shadows into the classes; return the clouds' reflectance as B8A sees it.

    What is neither clear in all bands nor a cloud or a shadow in B8A is unclassified.
    """
    x, y = _middles(world.grid.at(20))
    detector = detector_of(world.swath, x, y)
    water, ice, any_band = np.zeros((3, *classes.shape), "f4")
    for number in np.unique(detector):
        here = detector == number
        middle = np.array([x[here].mean()]), np.array([y[here].mean()])
        for band in BANDS:
            zenith, azimuth = (float(v[0]) for v in world.swath.view(band, int(number), *middle))
            for layer in world.clouds:
                seen = layer.seen(zenith, azimuth)[here]
                any_band[here] = np.maximum(any_band[here], seen)
                if band == "B8A":
                    target = ice if layer.ice else water
                    target[here] = np.maximum(target[here], seen)
    classes[(world.sunlight < _SUNNY) | (any_band > _CLOUDLESS)] = UNCLASSIFIED
    classes[(world.sunlight < _SHADED) & (any_band <= _CLOUDY)] = SHADOW
    classes[(ice > _ICY) & (water <= _CLOUDLESS)] = CIRRUS
    classes[(water > _CLOUDY) | (ice > 2 * _CLOUDY)] = CLOUD_HIGH
    return np.maximum(water, ice)


def _dem(world: _World) -> tuple[np.ndarray, Grid] | None:
    if world.lie is None:
        return None
    values, margin = relief.dem(world.lie.elevation), relief.MARGIN * relief.DEM_PIXEL
    grid = world.grid
    rows, columns = values.shape
    return values, Grid(grid.epsg, grid.left - margin, grid.top + margin, relief.DEM_PIXEL, columns, rows)


def _auxiliary(recipe: Recipe, grid: Grid) -> dict[str, bytes]:
    wrong = {"water_vapour": 1.0, "ozone": 1.0, "aot550": 1.0, "pressure": 1.0} | recipe.errors
    files = {}
    if recipe.ecmwf:
        fields_of = auxiliary.weather(
            recipe.water_vapour * wrong["water_vapour"],
            recipe.ozone * wrong["ozone"],
            recipe.pressure * wrong["pressure"],
        )
        files["AUX_ECMWFT"] = auxiliary.grib(fields_of, grid)
    if recipe.cams:
        files["AUX_CAMSFO"] = auxiliary.grib(auxiliary.aerosol(recipe.aot550 * wrong["aot550"], recipe.aerosol), grid)
    return files
