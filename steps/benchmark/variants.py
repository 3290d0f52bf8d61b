"""A step with other kernels or workers, for the parallelisation study.

`python -m steps.benchmark.variants VARIANT WORKERS STEP ...` is `python -m steps.STEP ...` in one of these variants:

* numpy: plain NumPy in place of the compiled kernels;
* numba: the kernels, one thread;
* prange: Numba's own threads inside the kernels, which then take blocks of rows side by side;
* joblib: joblib's threads;
* threads, processes, dask, dask-adaptive: the backends of `steps.core.parallel`.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable
from unittest import mock

import numpy as np

import steps.core.parallel
from steps.atmosphere import dark_vegetation as rules
from steps.atmosphere.dark_vegetation import dark_vegetation
from steps.atmosphere.ground_samples import COS_INCIDENCE, sample_means
from steps.atmosphere.inversion import contrast, uniform_surface
from steps.atmosphere.inversion_kernel import POWERS, Block, invert, rows_together
from steps.core.cells import cell_moments
from steps.core.cli import cli

# After our kernels, which say where compiled code is kept.
from steps.core.compiled import helper, njit, prange, set_num_threads
from steps.core.mesh import interpolate
from steps.sentinel2.kinds import REFLECTANCE_ONE, REFLECTANCE_ZERO
from steps.sentinel2.scene_classes import VEGETATION

VARIANTS = ("numba", "numpy", "prange", "joblib", "threads", "processes", "dask", "dask-adaptive")
#: Those that are one thread by their nature.
SINGLE = ("numpy", "numba")
#: Rows at a time of the plain NumPy inversion, whose fields of coefficients are as large as the pixels.
_ROWS = 64


def numpy_invert(block, environment, nodes, first_row, boa, counts):
    """Do what `steps.atmosphere.inversion_kernel.invert` does, with arguments as there."""
    (toa, density, excess), (coefficients, cell) = block, nodes
    columns = np.arange(toa.shape[1], dtype="f4") + np.float32(0.5)
    numbers, ends = np.moveaxis(coefficients, -1, 0), np.cumsum((0, *POWERS))
    for start in range(0, toa.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        stored = toa[part]
        rows = first_row + start + np.arange(stored.shape[0], dtype="f4")
        thin = None if density is None else density[part].astype("f4")
        together = rows_together(cell)  # rows share the coefficients of the line in their middle
        lines = rows // together * together + together / 2

        def field(first, last, lines=lines, at=columns / cell):
            return interpolate(numbers[first:last], lines / cell, at)

        def horner(powers, thin=thin):
            value = powers[-1]
            for coefficient in powers[-2::-1]:
                value = coefficient + thin * value if thin is not None else coefficient
            return value

        def polynomial(k, field=field, horner=horner):
            return horner(field(ends[k], ends[k + 1]))

        signal, total = stored - polynomial(0), polynomial(1)
        if excess is not None:
            changes = field(ends[4], ends[6] + 2, at=columns // cell + np.float32(0.5))  # one for a cell
            change, path_change = (horner(changes[k : k + 3]) for k in (0, 3))
            more, (curve, bend) = excess[part], changes[6:]
            signal = signal + more * (stored * (change + more * curve) - (path_change + more * bend))
        if environment is None:
            number = uniform_surface(signal, total, polynomial(3))
        else:
            coarse, ratio = environment
            places = (rows + 0.5) / ratio - 0.5, columns / ratio - 0.5
            around = interpolate(coarse * np.float32(REFLECTANCE_ONE), *places)
            number = contrast(signal, around, total, polynomial(3)) * polynomial(2) ** 2 + around
        number = np.clip(number + np.float32(REFLECTANCE_ZERO + 0.5), 1, 32767).astype("u2")
        boa[part] = np.where(stored == 0, 0, number)
    counts[:, 0], counts[:, 1] = (boa > 0).sum(axis=1), ((boa > 0) & (boa < 1000)).sum(axis=1)
    counts[:, 2] = boa.sum(axis=1, dtype="i8")


def _cells(values, size, fill):
    """Return the pixels of each cell of `size` pixels: shape (rows, columns, pixels)."""
    padding = [(0, -n % size) for n in values.shape]
    padded = np.pad(values, padding, constant_values=fill)
    rows, columns = (n // size for n in padded.shape)
    return padded.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(rows, columns, size * size)


def numpy_sample_means(values, kinds, number, size):
    """Do what `steps.atmosphere.ground_samples.sample_means` does, with arguments as there."""
    pixels, of_kind = _cells(values, size, 0), _cells(kinds, size, 0)
    chosen = [of_kind == kind + 1 for kind in range(number)]
    count = np.stack([c.sum(axis=2) for c in chosen])
    total = np.stack([np.where(c, pixels, 0).sum(axis=2, dtype="f8") for c in chosen])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def numpy_cell_moments(values, size, nodata):
    """Do what `steps.core.cells.cell_moments` does, with arguments as there."""
    pixels = _cells(values, size, nodata).astype("i8")
    valid = pixels != nodata
    count = valid.sum(axis=2)
    number = np.maximum(count, 1)
    held = np.where(valid, pixels, 0)
    mean = held.sum(axis=2) / number
    variance = np.maximum((held**2).sum(axis=2) / number - mean**2, 0)
    low, high = (
        extreme(np.where(valid, pixels, fill), axis=2) for extreme, fill in ((np.min, 65536), (np.max, -65536))
    )
    return np.where(count > 0, np.stack([count, low, high, mean, variance]), 0.0)


def numpy_dark_vegetation(red, nir, swir, classes, near_cloud, ratio, cos_incidence, result):
    """Do what `steps.atmosphere.dark_vegetation.dark_vegetation` does, with arguments as there."""
    r, n, s = map(rules._reflectance, (red, nir, swir))
    near = near_cloud.repeat(ratio, 0).repeat(ratio, 1)[: red.shape[0], : red.shape[1]]
    dark = (classes == VEGETATION) & (swir > 0) & (s > rules._SWIR_LOWEST) & (s < rules.SWIR_LIMITS[2])
    dark &= (r <= rules._RED_HIGHEST) & (n < rules._NIR_HIGHEST) & (n - r > rules._NDVI_LOWEST * (n + r))
    dark &= (cos_incidence * 1e-4 > COS_INCIDENCE) & ~near
    result[:] = np.where(dark, 1 + np.searchsorted(rules.SWIR_LIMITS[:2], s, side="right"), 0)


_NUMPY: dict[str, Callable] = {
    "invert": numpy_invert,
    "sample_means": numpy_sample_means,
    "cell_moments": numpy_cell_moments,
    "dark_vegetation": numpy_dark_vegetation,
}


@helper(cache=True, nogil=True)
def _rows_of(values, first, last):
    return None if values is None else values[first:last]


@njit(cache=True, nogil=True, parallel=True)
def prange_invert(block, environment, nodes, first_row, boa, counts):
    """Do what `steps.atmosphere.inversion_kernel.invert` does, block by block."""
    toa, density, excess = block
    for number in prange(-(-toa.shape[0] // _ROWS)):
        i, j = number * _ROWS, min((number + 1) * _ROWS, toa.shape[0])
        part = Block(toa[i:j], _rows_of(density, i, j), _rows_of(excess, i, j))
        invert(part, environment, nodes, first_row + i, boa[i:j], counts[i:j])


@njit(cache=True, nogil=True, parallel=True)
def prange_sample_means(values, kinds, number, size):
    """Do what `steps.atmosphere.ground_samples.sample_means` does, block by block."""
    rows, columns = -(-values.shape[0] // size), -(-values.shape[1] // size)
    mean, count = np.empty((number, rows, columns)), np.empty((number, rows, columns), np.int64)
    for i in prange(rows):
        part = slice(i * size, min((i + 1) * size, values.shape[0]))
        m, c = sample_means(values[part], kinds[part], number, size)
        mean[:, i], count[:, i] = m[:, 0], c[:, 0]
    return mean, count


@njit(cache=True, nogil=True, parallel=True)
def prange_cell_moments(values, size, nodata):
    """Do what `steps.core.cells.cell_moments` does, block by block."""
    rows, columns = -(-values.shape[0] // size), -(-values.shape[1] // size)
    result = np.empty((5, rows, columns))
    for i in prange(rows):
        result[:, i] = cell_moments(values[i * size : min((i + 1) * size, values.shape[0])], size, nodata)[:, 0]
    return result


@njit(cache=True, nogil=True, parallel=True)
def prange_dark_vegetation(red, nir, swir, classes, near_cloud, ratio, cos_incidence, result):
    """Do what `steps.atmosphere.dark_vegetation.dark_vegetation` does, block by block."""
    for block in prange(near_cloud.shape[0]):
        i, j = block * ratio, min((block + 1) * ratio, red.shape[0])
        near = near_cloud[block : block + 1]
        dark_vegetation(red[i:j], nir[i:j], swir[i:j], classes[i:j], near, ratio, cos_incidence[i:j], result[i:j])


_PRANGE: dict[str, Callable] = {
    "invert": prange_invert,
    "sample_means": prange_sample_means,
    "cell_moments": prange_cell_moments,
    "dark_vegetation": prange_dark_vegetation,
}


@contextlib.contextmanager
def _joblib_threads(count):
    from joblib import Parallel, delayed

    with Parallel(count, backend="threading", return_as="generator") as parallel:
        yield lambda function, items, *shared: parallel(delayed(function)(i, *shared) for i in items)


def main() -> None:
    """Run a step in a variant."""
    variant, count, step, *arguments = sys.argv[1:]
    module = importlib.import_module(f"steps.{step}")
    users = [module, importlib.import_module("steps.atmosphere.scene")]
    replaced = {"numpy": _NUMPY, "prange": _PRANGE}.get(variant, {})
    backend, workers = (variant, count) if variant in ("processes", "dask", "dask-adaptive") else ("threads", count)
    with contextlib.ExitStack() as stack:
        for name, kernel in replaced.items():
            for user in users:
                if hasattr(user, name):
                    stack.enter_context(mock.patch.object(user, name, kernel))
        if variant == "prange":
            set_num_threads(int(count))
            workers = "1"
        if variant == "joblib":
            stack.enter_context(mock.patch.object(steps.core.parallel, "_threads", _joblib_threads))
        cli(module.run, [*arguments, "--threads", workers, "--backend", backend])


if __name__ == "__main__":
    main()
