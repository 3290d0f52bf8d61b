"""Draw the figures of the theory with the project's own functions: `python docs/figures.py`, into `docs/pictures`."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from steps.atmosphere.band import BandAtmosphere, band_atmosphere  # noqa: E402
from steps.atmosphere.interface import cached_table  # noqa: E402
from steps.atmosphere.inversion import aerosol_environment, rayleigh_environment  # noqa: E402
from steps.atmosphere.lut import LookUpTable  # noqa: E402
from steps.atmosphere.models import AEROSOL_MODELS  # noqa: E402
from steps.atmosphere.scattering import rayleigh_phase  # noqa: E402
from steps.atmosphere.sky import sky_terms  # noqa: E402
from steps.atmosphere.tables import aerosol_model  # noqa: E402
from steps.sentinel2.bands import BANDS  # noqa: E402
from steps.sentinel2.responses import reference_response  # noqa: E402
from steps.terrain.correction import Downward, Lie, SkyTerms, relative_irradiance  # noqa: E402

PICTURES = ROOT / "docs/pictures"
#: Column and row of each rule in the drawing of the architecture.
PLACES = {
    "import_l1c": (0, 1),
    "resample": (1, 0),
    "dem": (1, 2),
    "scene_classification_overview": (2, 1.3),
    "cirrus_correction": (3, 0),
    "scene_classification": (4, 2),
    "aerosol": (4, 0),
    "water_vapour": (5, 0),
    "reflectance": (6, 0),
    "terrain_correction": (7, 1),
    "uncertainty": (8, 2),
    "quality_report": (8, 0),
    "quicklook": (8, -1),
    "write_jp2": (8, 1),
    "write_zarr": (9, 0),
    "write_safe": (9, 0.72),
    "write_cog": (9, 2),
    "publish_cog": (10, 2),
    "report": (11, 0),
}
#: Degrees.
_SUN_ZENITH = 45.0


def _figure(width: float = 6.4, height: float = 4):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _atmosphere(table: LookUpTable, band: str, aot550: float) -> BandAtmosphere:
    """Return the atmosphere over the sea in summer as a band of Sentinel-2A sees it from the zenith."""
    return band_atmosphere(
        table,
        reference_response("S2A", band),
        sun_zenith=_SUN_ZENITH,
        view_zenith=0.0,
        relative_azimuth=0.0,
        elevation_km=0.0,
        aot550=aot550,
        water_vapour=2.0,
        ozone=0.33,
    )


def _save(figure: Figure, name: str) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(PICTURES / name, dpi=110, metadata={"Software": None})


def phase_functions() -> None:
    """Draw the phase functions at 550 nm."""
    figure, axes = _figure()
    for name in AEROSOL_MODELS:
        model = aerosol_model(name)
        at = np.abs(model.wavelength - 0.55).argmin()
        axes.semilogy(model.angle, model.phase[at], label=name)
    angle = np.linspace(0, 180, 181)
    axes.semilogy(angle, rayleigh_phase(np.cos(np.radians(angle))), "k--", label="molecules")
    axes.set(xlabel="scattering angle (degrees)", ylabel="phase function (mean 1)", xticks=range(0, 181, 30))
    axes.legend()
    _save(figure, "phase_functions.png")


def path_reflectance() -> None:
    """Draw path reflectance and transmittance of the bands."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    table = cached_table("continental")
    bands = [band for band in BANDS if band not in ("B09", "B10")]
    for aot550 in (0.05, 0.2, 0.5):
        atmospheres = [_atmosphere(table, band, aot550) for band in bands]
        left.plot(bands, [float(a.path_reflectance) for a in atmospheres], "o-", label=f"AOT {aot550}")
        both = [float(a.transmittance_down * a.transmittance_up) for a in atmospheres]
        right.plot(bands, both, "o-", label=f"AOT {aot550}")
    left.set(ylabel="path reflectance")
    right.set(ylabel="scattering transmittance, down and up")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.tick_params(axis="x", rotation=45)
        axes.legend()
    _save(figure, "path_reflectance.png")


def environment() -> None:
    """Draw the environment functions."""
    figure, axes = _figure()
    radius = np.geomspace(0.01, 30, 200)
    axes.semilogx(radius, rayleigh_environment(radius), label="molecules, $F_R$")
    axes.semilogx(radius, aerosol_environment(radius), label="aerosol, $F_A$")
    axes.set(xlabel="radius (km)", ylabel="share of the diffuse light from within", ylim=(0, 1))
    axes.legend()
    _save(figure, "environment.png")


def irradiance() -> None:
    """Draw the light on slopes that face the sun, or away from it."""
    figure, axes = _figure()
    slope = np.linspace(-55, 55, 221)
    cosine, level = np.cos(np.radians(_SUN_ZENITH - slope)), np.cos(np.radians(_SUN_ZENITH))
    sun = np.maximum(cosine, 0) / level - 1
    steep = 1 - np.cos(np.radians(slope))
    # A slope by itself: no mountain hides more of the sky than it does.
    lie = Lie(sun, np.zeros_like(sun), steep / 2, cosine - np.cos(np.radians(slope)) * level, steep)
    table = cached_table("continental")
    for aot550, style in ((0.1, "-"), (0.5, "--")):
        for band in ("B02", "B8A"):
            atmosphere = _atmosphere(table, band, aot550)
            downward = Downward(
                float(atmosphere.transmittance_down),
                float(atmosphere.direct_down),
                float(atmosphere.spherical_albedo),
            )
            sky = sky_terms(table, reference_response("S2A", band), _SUN_ZENITH, aot550, (0.0, 1.0))[0]
            light = relative_irradiance(lie, downward, SkyTerms(*sky), 0.15)
            axes.plot(slope, light, style, label=f"{band}, AOT {aot550}", color="C0" if band == "B02" else "C3")
    axes.set(xlabel="slope (degrees; positive towards the sun)", ylabel="light relative to level ground")
    axes.legend()
    _save(figure, "irradiance.png")


def rule_graph(known_only: bool = True) -> set[tuple[str, str]]:
    """Return which rule takes what from which, as Snakemake plans a product in all forms with everything in it.

    Those without a place in the drawing are left out unless they are asked for.
    """
    settings = [
        "dem=config",
        "boa_uncertainty=true",
        "cirrus_correction=true",
        "formats=safe,cog,zarr",
        "output=results/architecture",
    ]
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "--config", *settings]
    dot = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', dot))
    found = {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}
    return {edge for edge in found if not known_only or set(edge) <= set(PLACES)}


def direct(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges that do not follow from others."""
    after: dict[str, set[str]] = {}
    for start, end in edges:
        after.setdefault(start, set()).add(end)

    def reached(start: str) -> set[str]:
        return set().union(*({end} | reached(end) for end in after.get(start, ())))

    return {(start, end) for start, end in edges if not any(end in reached(one) for one in after[start] - {end})}


def architecture(path: Path) -> None:
    """Draw the stages and what goes from one to another, as an SVG with text; each time the documentation is built."""
    import matplotlib

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "sen2flow"})
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(-0.5, 11.5), ylim=(-2.4, 1.4))
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#eaf2fb", "edgecolor": "#2a6bac"}
    texts = {
        name: axes.text(x, -y, name.replace("_", "\n"), ha="center", va="center", fontsize=9, bbox=box)
        for name, (x, y) in PLACES.items()
    }
    figure.draw_without_rendering()
    for start, end in sorted(direct(rule_graph())):
        (x, y), (u, v) = PLACES[start], PLACES[end]
        arrow = {"arrowstyle": "-|>", "color": "0.45", "lw": 0.9, "shrinkA": 2, "shrinkB": 2}
        arrow |= {"patchA": texts[start].get_bbox_patch(), "patchB": texts[end].get_bbox_patch()}
        axes.annotate("", xy=(u, -v), xytext=(x, -y), arrowprops=arrow)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


FIGURES = (phase_functions, path_reflectance, environment, irradiance)

if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for draw in FIGURES:
        draw()
