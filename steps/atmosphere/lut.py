"""Look-up tables of aerosol models: what they hold, how they are stored, read and mixed. `table` computes them."""

import contextlib
import fcntl
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steps.atmosphere.models import AEROSOL_MODELS, lut_path, mixture_name
from steps.atmosphere.table import build_table
from steps.atmosphere.tables import DATA
from steps.core.checksums import damaged
from steps.core.documents import atomic, read_document
from steps.core.errors import StepError
from steps.sentinel2.reports import ChosenAerosol

logger = logging.getLogger(__name__)

#: What reading a damaged file raises.
_DAMAGE = (StepError, OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
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
        Name of the model or of the mixture.
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


def write_table(path: Path, table: dict[str, np.ndarray]) -> None:
    """Write the arrays of a look-up table and their checksum, atomically and with the same bytes every time."""
    arrays: dict[str, Any] = {name: values for name, values in table.items() if name != "checksum"}
    with atomic(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **arrays, checksum=np.array(table_checksum(arrays)))


def table_checksum(arrays: dict[str, np.ndarray]) -> str:
    """Return the checksum of the arrays of a look-up table, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def make_table(aerosol: str, path: Path, threads: int = 1) -> LookUpTable:
    """Read the look-up table of an aerosol model, and build it first if it is missing, damaged or that of another.

    Of several processes one builds it, and the others wait.

    Raises
    ------
    StepError
        If a shipped table is damaged.
    """
    return _splined(_made(aerosol, path, threads))


def _made(aerosol: str, path: Path, threads: int = 1) -> dict[str, np.ndarray]:
    """Return the arrays of `make_table`."""
    arrays, error = _sound(path, aerosol)
    if arrays:
        return arrays
    if path.parent == DATA:
        raise StepError(f"{path}: is damaged ({error}); install Sen2Flow anew, or let git restore the file")
    with _alone(path):
        arrays, error = _sound(path, aerosol)  # another process may have built it meanwhile
        if arrays:
            return arrays
        if path.exists():
            logger.warning("%s: is damaged (%s) and is made anew", path, error)
        write_table(path, build_table(aerosol, threads))
        return _read(path)


def _sound(path: Path, aerosol: str) -> tuple[dict[str, np.ndarray] | None, object]:
    """Return the arrays that a file holds if they are those of the aerosol model, else what is wrong with it."""
    try:
        arrays = _read(path)
    except _DAMAGE as error:
        return None, error
    found = str(arrays["aerosol"])
    return (arrays, None) if found == aerosol else (None, f"it is the table of {found} aerosol")


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
    return load_mixture({path: 1.0})


def load_mixture(shares: Mapping[Path, float]) -> LookUpTable:
    """Read look-up tables, as `load_table` does, and mix them by their shares in the optical thickness at 550 nm.

    Raises
    ------
    StepError
        If a file is missing or broken.
    """
    return _splined(mixed([_load(path) for path in shares], np.array(list(shares.values()))))


def table_of(aerosol_model: Path, *, other: bool = False) -> LookUpTable:
    """Read the look-up table of the aerosol that a document describes (`ChosenAerosol`), or of what it may be instead.

    Raises
    ------
    StepError
        If the document is none, or other code has made a table it names.
    """
    chosen = read_document(aerosol_model, ChosenAerosol)
    for model, name in chosen.tables.items():
        now = lut_path(model).name
        if now != name:
            raise StepError(f"{aerosol_model}: names {name}, but the table is now {now}; run the stage aerosol again")
    shares = chosen.other if other else chosen.shares
    return load_mixture({lut_path(model): share for model, share in shares.items()})


def mixed(tables: Sequence[dict[str, np.ndarray]], shares: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of the look-up table of an external mixture of aerosols.

    Extinction, albedo, phase function and the share of its forward peak are those of the mixture, so that single
    scattering is exact. Multiple scattering is the mean of those of the parts (Wang and Gordon 1994, Applied Optics 33,
    7088: standard linear mixing), transmittances and spherical albedo are geometric means, since transmittances of
    layers are multiplied. Of two models by halves this is right within 0.001 of reflectance and 0.0015 of transmittance
    at an optical thickness of 0.3, and within 0.005 at 0.8.

    Parameters
    ----------
    tables
        Arrays of the look-up tables of `table.build_table`.
    shares
        Of the optical thickness at 550 nm; their sum is 1.
    """
    if len(tables) == 1:
        return tables[0]

    def mean(name: str, weights: np.ndarray = shares) -> np.ndarray:
        return sum(w.reshape(-1, *[1] * (t[name].ndim - 1)) * t[name] for w, t in zip(weights, tables, strict=True))

    extinction = np.array([share * t["extinction"] for share, t in zip(shares, tables, strict=True)])
    scattering = np.array([e * t["albedo"] for e, t in zip(extinction, tables, strict=True)])
    scattered = scattering / scattering.sum(axis=0)
    phase = sum(s[:, None] * np.exp(t["log_phase"]) for s, t in zip(scattered, tables, strict=True))
    geometric = {
        name: np.exp(sum(s * np.log(t[name]) for s, t in zip(shares, tables, strict=True)))
        for name in _AXES
        if name != "multiple"
    }
    return (
        tables[0]
        | geometric
        | {
            "aerosol": np.array(mixture_name({str(t["aerosol"]): s for s, t in zip(shares, tables, strict=True)})),
            "extinction": extinction.sum(axis=0),
            "albedo": scattering.sum(axis=0) / extinction.sum(axis=0),
            "peak": mean("peak", scattered),
            "log_phase": np.log(phase),
            "multiple": mean("multiple"),
        }
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of `load_table`."""
    model = next((m for m in AEROSOL_MODELS if lut_path(m) == Path(path)), None)
    if model:
        return _made(model, Path(path))
    try:
        return _read(path)
    except _DAMAGE as error:
        raise damaged(path, f"is no look-up table of ours: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("checksum")) != table_checksum(arrays):
        raise ValueError("its checksum is another")
    return arrays


def _splined(values_at_nodes: dict[str, np.ndarray]) -> LookUpTable:
    """Return the look-up table of the arrays of a file: values at the nodes become coefficients of splines."""
    arrays: dict[str, Any] = dict(values_at_nodes)
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
