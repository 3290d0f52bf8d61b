"""What a user says of a scene to simulate: a YAML file of named scenes, each a change of the defaults."""

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import yaml

from steps.core.errors import StepError

#: The scenes of the regression bench.
BENCH = Path(__file__).parent / "data" / "bench.yaml"
#: Counts changes of the simulator, so that scenes are made again.
VERSION = 7
#: A landscape of fields, woods, villages and a lake.
FARMLAND = {"water": 0.04, "urban": 0.06, "bare": 0.15, "crop": 0.35, "grass": 0.15, "forest": 0.25}
#: Factor by which the auxiliary data of a product are wrong.
ERRORS = {"water_vapour": 1.07, "ozone": 0.97, "aot550": 1.25, "pressure": 1.001}


@dataclass(frozen=True)
class Recipe:
    """A scene to simulate.

    Attributes
    ----------
    name
        Of the scene.
    size
        Pixels of 10 m along a side, a multiple of 6.
    seed
        Of all that is random.
    time
        When it was taken, UTC; the climatology of aerosol looks at the month.
    sun_zenith, sun_azimuth
        Degrees, the same over the whole scene.
    track_km
        Distance of the scene's middle from the ground track; the view zenith is 5.7 degrees at 70 km, and each 24 km
        another detector looks.
    aot550, aot_variation
        Mean aerosol optical thickness at 550 nm, and its relative standard deviation in space.
    aerosol
        Model to its share of the optical thickness.
    water_vapour, water_vapour_variation
        Mean column, g/cm2, and its relative standard deviation.
    ozone
        DU.
    pressure
        At sea level, hPa.
    elevation
        Of the ground, of mountains their lowest point, km. Aerosol and water vapour are given above it.
    cover
        Kind of cover to its share of the ground (`steps.simulation.ground.COVERS`).
    ecmwf, cams
        Whether the product has such auxiliary data.
    errors
        Quantity to the factor by which the auxiliary data are wrong.
    relief
        Height of the mountains from the lowest to the highest point, m; 0 is level ground.
    clouds
        Settings of each layer of clouds, see `steps.simulation.clouds.layers`.
    glint
        Reflectance that the sun's glint adds to water.
    lost
        Number of the scene's lines that are lost in B05 and in B8A, and flagged as such.
    noise
        Whether there is noise of the camera.
    calibration
        Relative standard deviation of the bands' calibration errors.
    """

    name: str
    size: int = 1080
    seed: int = 1
    time: str = "2024-06-20T10:54:33"
    sun_zenith: float = 45.0
    sun_azimuth: float = 150.0
    track_km: float = 70.0
    aot550: float = 0.15
    aot_variation: float = 0.1
    aerosol: dict[str, float] = field(default_factory=lambda: {"continental": 1.0})
    water_vapour: float = 2.0
    water_vapour_variation: float = 0.06
    ozone: float = 320.0
    pressure: float = 1013.25
    elevation: float = 0.0
    cover: dict[str, float] = field(default_factory=lambda: dict(FARMLAND))
    ecmwf: bool = True
    cams: bool = True
    errors: dict[str, float] = field(default_factory=lambda: dict(ERRORS))
    relief: float = 0.0
    clouds: list = field(default_factory=list)
    glint: float = 0.0
    lost: int = 0
    noise: bool = True
    calibration: float = 0.0

    @property
    def digest(self) -> str:
        """Ten digits that differ between recipes, of what differs from the defaults."""
        defaults = asdict(Recipe(self.name))
        changes = {key: value for key, value in asdict(self).items() if key == "name" or value != defaults[key]}
        return hashlib.sha256(json.dumps([VERSION, changes], sort_keys=True).encode()).hexdigest()[:10]

    @property
    def created(self) -> dt.datetime:
        """A time of creation by which the products of different recipes have different names."""
        start = dt.datetime.fromisoformat(self.time).replace(tzinfo=dt.UTC) + dt.timedelta(hours=2)
        return start + dt.timedelta(seconds=int(self.digest[:6], 16) % 10_000_000)


def read_recipes(path: Path) -> dict[str, Recipe]:
    """Read the scenes of a file, by name.

    Raises
    ------
    StepError
        If the file cannot be read, has an unknown key or a value that cannot be.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StepError(f"{path}: cannot be read as YAML ({error}); give a file of scenes") from error
    if not isinstance(document, dict) or not document:
        raise StepError(f"{path}: has no scenes; give a name and its settings for each")
    return {str(name): recipe(str(name), settings or {}, path) for name, settings in document.items()}


def recipe(name: str, settings: dict, path: Path | str = "scene") -> Recipe:
    """Make one scene of its settings; errors as of `read_recipes`."""
    known = {f.name: f for f in fields(Recipe)}
    default = Recipe(name)
    for key, value in settings.items():
        if key not in known or key == "name":
            raise StepError(f"{path}: {name}: '{key}' is unknown; choose of {', '.join(sorted(set(known) - {'name'}))}")
        wanted = type(getattr(default, key))
        if not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise StepError(f"{path}: {name}: {key} is {value!r}, which is no {wanted.__name__}")
    made = Recipe(name, **settings)
    for key, (low, high) in _RANGES.items():
        if not low <= getattr(made, key) <= high:
            raise StepError(f"{path}: {name}: {key} is {getattr(made, key)}, not within {low} to {high}")
    if made.size % 6:
        raise StepError(f"{path}: {name}: size is {made.size}, no multiple of 6")
    return made


_RANGES = {
    "size": (60, 10980),
    "sun_zenith": (0, 80),
    "track_km": (-140, 140),
    "aot550": (0.005, 2.5),
    "aot_variation": (0, 0.3),
    "water_vapour": (0.05, 7),
    "water_vapour_variation": (0, 0.3),
    "ozone": (50, 600),
    "pressure": (900, 1060),
    "elevation": (0, 5),
    "relief": (0, 4000),
    "glint": (0, 0.3),
    "lost": (0, 20),
    "calibration": (0, 0.1),
}
