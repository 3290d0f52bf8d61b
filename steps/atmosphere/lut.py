"""The look-up table of one aerosol model: what it holds, how it is built, stored and read.

Only multiple scattering is tabulated, because single scattering is exact in closed form and has all the sharp features.
Between the nodes the table is a cubic spline in every axis.
"""

import contextlib
import fcntl
import hashlib
import logging
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steps.aerosol_models import AEROSOL_MODELS, lut_path
from steps.artefacts import atomic
from steps.atmosphere.scattering import delta_m, legendre_moments
from steps.atmosphere.solver import solve
from steps.atmosphere.tables import STANDARD_PRESSURE, aerosol_model, pressure, rayleigh_thickness
from steps.checksums import damaged
from steps.errors import StepError

logger = logging.getLogger(__name__)

#: What reading a damaged file raises.
_DAMAGE = (StepError, OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
#: Nodes of the axes. Pressure (elevation in km), aerosol optical thickness, sun and view zenith angle (degrees).
ELEVATION = np.array([9.0, 5.5, 3.0, 1.0, -0.5])
AOT = np.array([0, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2, 1.6, 2.2, 3.0])
SUN_ZENITH = np.array([80.0, 78, 74, 70, 66, 61, 55, 48, 40, 32, 24, 16, 8, 0])
VIEW_ZENITH = np.array([0.0, 4, 8, 12])
#: Azimuthal Fourier modes kept.
MODES = 4
#: Gauss angles in a hemisphere.
GAUSS = 12
#: Arrays of the file that are cubic splines over (pressure, AOT, cosine of sun zenith, view zenith) or some of these.
_AXES = {
    "multiple": (1, 2, 3, 4),
    "transmittance_down": (1, 2, 3),
    "transmittance_up": (1, 2, 4),
    "spherical_albedo": (1, 2),
    "aerosol_transmittance_up": (2, 4),
}


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """A look-up table in memory: B-spline coefficients and what single scattering needs.

    Attributes
    ----------
    aerosol
        Name of the model.
    wavelength, extinction, albedo, peak
        Shape (n,): um, relative to 550 nm, of single scattering, delta-M's share of the forward peak.
    rayleigh
        Optical thickness of molecules at 1013 hPa, shape (n,).
    angle, log_phase
        Scattering angles (degrees, ascending), and logarithm of the phase function there, shape (n, angles).
    knots
        Of the splines in pressure (hPa), AOT, cosine of the sun zenith and view zenith (degrees).
    multiple, transmittance_down, transmittance_up, spherical_albedo, aerosol_transmittance_up
        B-spline coefficients; the axes are wavelength, then those of `knots` that the quantity depends on, and for
        `multiple` the Fourier mode.
    """

    aerosol: str
    wavelength: np.ndarray
    extinction: np.ndarray
    albedo: np.ndarray
    peak: np.ndarray
    rayleigh: np.ndarray
    angle: np.ndarray
    log_phase: np.ndarray
    knots: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    multiple: np.ndarray
    transmittance_down: np.ndarray
    transmittance_up: np.ndarray
    spherical_albedo: np.ndarray
    aerosol_transmittance_up: np.ndarray


def build_table(aerosol: str, threads: int = 1) -> dict[str, np.ndarray]:
    """Solve every node of the look-up table of an aerosol model.

    Returns
    -------
    dict
        The arrays of the file, with axes (wavelength, pressure, AOT, sun, view, mode) or some of these, single
        precision, rounded to 1e-7, so that the last digits of a processor's exponential function do not show.
    """
    from scipy.interpolate import make_interp_spline

    model, rayleigh = aerosol_model(aerosol), rayleigh_thickness()
    shape = (model.wavelength.size, ELEVATION.size, AOT.size)
    suns, views = np.cos(np.radians(SUN_ZENITH)), np.cos(np.radians(VIEW_ZENITH))
    multiple = np.empty((*shape, suns.size, views.size, MODES))
    down, up, albedo = np.empty((*shape, suns.size)), np.empty((*shape, views.size)), np.empty(shape)
    aerosol_up = np.empty((shape[0], shape[2], views.size))
    moments = [legendre_moments(model.angle, phase, 2 * GAUSS) for phase in model.phase]

    def solve_wavelength(i):
        for k, aot in enumerate(AOT):
            thickness = aot * model.extinction[i]
            for j, p in enumerate(pressure(ELEVATION)):
                s = solve(
                    rayleigh[i] * p / STANDARD_PRESSURE,
                    thickness,
                    model.albedo[i],
                    moments[i],
                    suns,
                    views,
                    modes=MODES,
                )
                multiple[i, j, k] = s.multiple.T
                down[i, j, k], up[i, j, k] = s.transmittance_down, s.transmittance_up
                albedo[i, j, k] = s.spherical_albedo
            s = solve(0.0, max(thickness, 1e-9), model.albedo[i], moments[i], views[:1], views, modes=1)
            aerosol_up[i, k] = s.transmittance_up

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(solve_wavelength, range(shape[0])))
    solved = {
        "multiple": multiple,
        "transmittance_down": down,
        "transmittance_up": up,
        "spherical_albedo": albedo,
        "aerosol_transmittance_up": aerosol_up,
    }
    facts = {
        "aerosol": np.array(aerosol),
        "wavelength": model.wavelength,
        "extinction": model.extinction,
        "albedo": model.albedo,
        "peak": np.array([delta_m(b)[1] for b in moments]),
        "rayleigh": rayleigh,
        "angle": model.angle,
        "log_phase": np.log(model.phase),
    }
    axes = {"pressure": pressure(ELEVATION), "aot": AOT, "sun": suns, "view": VIEW_ZENITH}
    for name, axis in axes.items():
        # The cubic spline through values at the axis: its knots, and the matrix from the values to its coefficients.
        spline = make_interp_spline(axis, np.eye(axis.size))
        facts |= {f"knots_{name}": spline.t, f"coefficients_{name}": spline.c}
    return {name: np.round(values, 7).astype("f4") for name, values in solved.items()} | facts


def write_table(path: Path, table: dict[str, np.ndarray]) -> None:
    """Write the arrays of a look-up table and their checksum, atomically and with the same bytes every time."""
    arrays = {name: values for name, values in table.items() if name != "checksum"}
    with atomic(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **arrays, checksum=np.array(_checksum(arrays)))


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    # The name holds a digest of the code: a table that other code has made is not this one.
    digest = hashlib.blake2b(lut_path(str(arrays["aerosol"])).name.encode(), digest_size=16)
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def make_table(aerosol: str, path: Path, threads: int = 1) -> LookUpTable:
    """Read the look-up table of an aerosol model, and build it first if it is missing, damaged or that of another.

    Of several processes one builds it, and the others wait.
    """
    table, _ = _sound(path, aerosol)
    if table:
        return table
    with _alone(path):
        table, problem = _sound(path, aerosol)  # another process may have built it meanwhile
        if table:
            return table
        if path.exists():
            logger.warning("%s: is damaged (%s) and is made anew", path, problem)
        write_table(path, build_table(aerosol, threads))
        return _read(path)


def _sound(path: Path, aerosol: str) -> tuple[LookUpTable | None, object]:
    """Return the table that a file holds if it is that of the aerosol model, else what is wrong with it."""
    try:
        table = _read(path)
    except _DAMAGE as problem:
        return None, problem
    return (table, None) if table.aerosol == aerosol else (None, f"it is the table of {table.aerosol} aerosol")


@contextlib.contextmanager
def _alone(path: Path):
    """Let one process at a time into the block, as far as the file system knows locks and may be written to."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(path.with_name(f".{path.stem}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load_table(path: Path) -> LookUpTable:
    """Read a look-up table; one in the cache folder that is missing or damaged is built first.

    Raises
    ------
    StepError
        If another file is missing or broken.
    """
    model = next((m for m in AEROSOL_MODELS if lut_path(m) == Path(path)), None)
    if model:
        return make_table(model, Path(path))
    try:
        return _read(path)
    except _DAMAGE as problem:
        raise damaged(path, f"is no look-up table of ours: {problem}") from problem


def _read(path: Path) -> LookUpTable:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("checksum")) != _checksum(arrays):
        raise ValueError("its checksum is another")
    axes = ("pressure", "aot", "sun", "view")
    knots = tuple(arrays.pop(f"knots_{axis}") for axis in axes)
    to_coefficients = [arrays.pop(f"coefficients_{axis}") for axis in axes]
    for name, dimensions in _AXES.items():
        coefficients = arrays[name].astype("f8")
        for position, dimension in enumerate(dimensions, start=1):
            # Not a matrix product: for so little, the threads of its library cost more than they gain.
            values = np.moveaxis(coefficients, position, 0)
            along = np.einsum("ij,j...->i...", to_coefficients[dimension - 1], values)
            coefficients = np.moveaxis(along, 0, position)
        arrays[name] = np.ascontiguousarray(coefficients)
    return LookUpTable(knots=knots, **(arrays | {"aerosol": str(arrays["aerosol"])}))
