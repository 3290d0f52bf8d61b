"""What the settings want of a run, from which its jobs follow."""

from collections.abc import Mapping
from dataclasses import dataclass

from steps.core.errors import StepError

#: Layers that need something of the inputs of `write_cog`, by what that is.
_LAYERS_THAT_NEED = {
    "qa": {"qa"},
    "flat_reflectance": {"flat_reflectance"},
    "dark_vegetation": {"dark_vegetation", "qa"},
    "by_angles": {"qa", "angles", "band_angles", "nbar"},
    "by_terrain": {"qa", "elevation"},
}


@dataclass(frozen=True)
class Choice:
    """What the settings want, from which the jobs follow.

    Attributes
    ----------
    reflectance, atmosphere, classification
        Products.
    sizes
        Pixel sizes of the reflectance, m, ascending.
    qa, flat_reflectance, dark_vegetation, by_angles, by_terrain
        Whether there are layers that need the quality flags, reflectance before the correction for terrain, what the
        aerosol was found from, the angles, the terrain.
    uncertainty
        Whether the reflectance has uncertainty layers.
    corrects_terrain, corrects_cirrus
        Whether these corrections are made.
    matches_shadows, takes_out_haze
        Whether the classification does so.
    of_part
        Whether a part of a tile is made.
    downloads_elevation
        Whether the elevation model is one of Copernicus that is fetched as far as it is not in the cache.
    """

    reflectance: bool
    atmosphere: bool
    classification: bool
    sizes: tuple[int, ...]
    qa: bool
    flat_reflectance: bool
    dark_vegetation: bool
    by_angles: bool
    by_terrain: bool
    uncertainty: bool
    corrects_terrain: bool
    corrects_cirrus: bool
    matches_shadows: bool
    takes_out_haze: bool
    of_part: bool
    downloads_elevation: bool

    @property
    def air(self) -> bool:
        """Whether aerosol and water vapour are found."""
        return self.reflectance or self.atmosphere

    @property
    def classes(self) -> bool:
        """Whether anything that is made needs the classes at 20 m."""
        return self.classification or self.qa

    @property
    def quicklooks(self) -> tuple[str, ...]:
        """Names of the pictures."""
        colours = ("tci_toa", "tci_boa") if self.reflectance else ()
        return colours + ("scl",) * self.classification + ("aot", "wvp") * self.atmosphere

    @property
    def shown(self) -> int:
        """Pixel size of the reflectance that the quicklook shows, m."""
        return 20 if 20 in self.sizes else max(self.sizes, default=20)

    @property
    def overview(self) -> str:
        """File of the whole tile at 80 m that the atmosphere is found from."""
        return "cirrus/toa_80m.tif" if self.corrects_cirrus else "import/toa_80m.tif"

    @property
    def boa(self) -> str:
        """Files of the reflectance, with {} for the pixel size."""
        return "terrain/boa_{}m.tif" if self.corrects_terrain else "reflectance/boa_{}m.tif"

    def top_of_atmosphere(self, size: int) -> str:
        """Return the file that the atmosphere is taken out of, without cirrus if that is wanted."""
        return f"cirrus/toa_{size}m.tif" if self.corrects_cirrus else self.uncorrected(size)

    @staticmethod
    def uncorrected(size: int) -> str:
        """Return the file of the top-of-atmosphere reflectance as the sensor saw it."""
        return f"{'import' if size == 10 else 'resample'}/toa_{size}m.tif"

    @property
    def alone(self) -> frozenset[str]:
        """Stages up to the reflectance that have the cores for themselves; the others have half of them.

        While the overview of a whole tile is classified, its pixels are resampled; then the classification runs beside
        what finds and takes out the air. It waits for the aerosol where haze is taken out of it. That of a part is done
        before the reflectance begins.
        """
        stages = {
            "scene_classification_overview": self.of_part,
            "aerosol": self.takes_out_haze,
            "scene_classification": not self.air,
            "reflectance": self.of_part,
        }
        return frozenset(stage for stage, alone in stages.items() if alone)


def choice_of(config: Mapping) -> Choice:
    """Return what the settings want.

    Parameters
    ----------
    config
        All settings, each valid by itself.

    Raises
    ------
    StepError
        If settings contradict each other.
    """
    products, layers, formats = (set(config[name]) for name in ("products", "layers", "formats"))
    improvements = config["classification"]["improvements"] if config["classification"]["mode"] == "improved" else ()
    reflectance, atmosphere = "reflectance" in products, "atmosphere" in products
    result = Choice(
        reflectance=reflectance,
        atmosphere=atmosphere,
        classification="classification" in products,
        sizes=tuple(sorted(config["resolutions"])) if reflectance else (),
        uncertainty=reflectance and config["boa_uncertainty"],
        corrects_terrain=bool(config["dem"]) and config["terrain"]["correction"] != "never",
        corrects_cirrus=config["cirrus_correction"] and (reflectance or atmosphere),
        matches_shadows="shadow" in improvements,
        takes_out_haze="haze" in improvements,
        of_part=bool(config["roi"]),
        downloads_elevation=str(config["dem"]).startswith("copernicus_"),
        **{need: bool(layers & names) for need, names in _LAYERS_THAT_NEED.items()},
    )
    if config["terrain"]["correction"] == "always" and not config["dem"]:
        raise StepError("terrain.correction: always needs an elevation model; give `dem` or leave it at auto")
    if result.downloads_elevation and not config["downloads"]:
        raise StepError(
            f"dem: {config['dem']} is downloaded as far as it is not in the cache; "
            "set `downloads: true`, or give a file or folder"
        )
    whole = sorted(formats - {"cog"})
    if whole and (len(products) < 3 or len(config["resolutions"]) < 3):
        raise StepError(
            f"formats: {whole[0]} holds all products at all pixel sizes; "
            "take `formats=cog` with a choice of `products` or `resolutions`"
        )
    if layers and "cog" not in formats:
        raise StepError("layers: are COGs; add `cog` to `formats` or leave them out")
    if "nbar" in layers and not reflectance:
        raise StepError("layers: nbar needs `reflectance` among the `products`; leave it out")
    if result.flat_reflectance and not (reflectance and result.corrects_terrain):
        raise StepError("layers: flat_reflectance needs `reflectance` that is corrected for terrain; leave it out")
    return result
