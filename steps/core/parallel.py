"""Workers for what a step does many times over, band by band or by blocks of rows: threads, processes or Dask.

The result is the same with each of them. Threads share memory, cost nothing to start, and run side by side because
the kernels let go of the interpreter's lock. Processes and Dask start interpreters, and results are copied back; Dask
can have its workers on other machines, which read the step's input files themselves.
"""

import contextlib
import ctypes
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Literal

from steps.core.errors import StepError

logger = logging.getLogger(__name__)

Backend = Literal["threads", "processes", "dask", "dask-adaptive"]
#: `run_all(function, items, *shared)`: the results of `function(item, *shared)` in the order of the items.
RunAll = Callable[..., Iterator]


@contextlib.contextmanager
def workers(backend: Backend = "threads", count: int = 1, scheduler: str = "local") -> Iterator[RunAll]:
    """Start workers; they end with the block.

    Parameters
    ----------
    backend
        `threads`; `processes` (joblib's); `dask`, a fixed number of Dask workers; `dask-adaptive`, as many as there
        is work for. One thread, or one process, is the caller itself.
    count
        Workers, for `dask-adaptive` at most.
    scheduler
        For Dask: `local`; `slurm` (dask-jobqueue with what its configuration says, one core and 2 GB a worker by
        default); or the address of a scheduler that runs, `tcp://...`, whose workers are its own affair.

    Yields
    ------
    RunAll
        A function `run_all(function, items, *shared)` that gives the results of `function(item, *shared)` in the
        order of the items, few ahead of their use. `shared` reaches each worker once. For processes and Dask the
        function has to be one of a module, and what it takes and returns is copied.

    Raises
    ------
    StepError
        If Dask is wanted and not installed, or its scheduler cannot be reached.
    """
    opened: contextlib.AbstractContextManager[RunAll]
    if backend.startswith("dask"):
        opened = _dask(count, scheduler, adaptive=backend == "dask-adaptive")
    elif count == 1:
        opened = contextlib.nullcontext(_run_here)
    else:
        opened = {"threads": _threads, "processes": _processes}[backend](count)
    with opened as run_all:
        yield run_all


def _run_here(function: Callable, items: Iterable, *shared) -> Iterator:
    return (function(item, *shared) for item in items)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[RunAll]:
    with ThreadPoolExecutor(count) as pool:
        yield lambda function, items, *shared: _in_order(lambda i: pool.submit(function, i, *shared), items, count)


@contextlib.contextmanager
def _processes(count: int) -> Iterator[RunAll]:
    from joblib import Parallel, delayed

    # Large arrays in `shared` go to the workers as memory maps; copy-on-write, since kernels are compiled for
    # arrays that may be written to.
    ends = {"initializer": _end_with_parent, "initargs": (os.getpid(),)}
    with Parallel(count, return_as="generator", mmap_mode="c", backend="loky", **ends) as parallel:
        yield lambda function, items, *shared: parallel(delayed(_importable(function))(i, *shared) for i in items)


@contextlib.contextmanager
def _dask(count: int, scheduler: str, adaptive: bool) -> Iterator[RunAll]:
    try:
        import dask.config
        from dask.distributed import Client
    except ImportError as error:
        raise StepError(
            f"parallel.backend `dask` needs what is not installed ({error}); "
            "pip install 'sen2flow[dask]', or choose `threads`"
        ) from error

    with contextlib.ExitStack() as stack:
        # What is shared goes with the calls, since a lost worker would take what is scattered with it.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "10GB"}))
        cluster = scheduler
        if scheduler in _CLUSTERS:
            cluster = stack.enter_context(_CLUSTERS[scheduler](0 if adaptive else count))
            if adaptive:
                # Work of half a second is worth another worker, and half a minute without any one less.
                cluster.adapt(minimum=0, maximum=count, interval="500ms", target_duration="500ms", wait_count=60)
        try:
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, ValueError) as error:
            raise StepError(
                f"parallel.scheduler `{scheduler}`: no Dask scheduler there ({error}); "
                "give `local`, `slurm` or the address of one that runs"
            ) from error

        def run_all(function: Callable, items: Iterable, *shared) -> Iterator:
            held = [client.submit(_itself, value, pure=False) for value in shared]
            calls = deque(client.submit(_importable(function), item, *held, pure=False) for item in items)
            while calls:
                yield calls.popleft().result()

        yield run_all


def _itself(value):
    return value


def _local(count: int):
    from dask.distributed import LocalCluster

    return LocalCluster(count, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)


def _slurm(count: int):
    import dask
    from dask_jobqueue import SLURMCluster

    settings = {key: dask.config.get(f"jobqueue.slurm.{key}", None) for key in ("cores", "memory")}
    return SLURMCluster(count, cores=settings["cores"] or 1, memory=settings["memory"] or "2GB")


_CLUSTERS = {"local": _local, "slurm": _slurm}


def write_files(output: Path, write: Callable, items: Iterable[tuple], count: int) -> None:
    """Call `write(*item)` for each item, by `count` processes that are forks of this one.

    For what holds the interpreter's lock for long, as GDAL's copying does. Forks start at once, where new processes
    would first import everything.

    Parameters
    ----------
    output
        What is written, for messages.
    write
        Any function that can be pickled.
    items
        Its arguments; those of the longest calls come first.
    count
        One runs here.

    Raises
    ------
    StepError
        If a process is killed.
    """
    alone = count == 1
    seconds = [_timed(write, *item) for item in items] if alone else _in_processes(output, write, items, count)
    logger.info("longest of %d files: %.2f s", len(seconds), max(seconds, default=0))


def _in_processes(output: Path, write: Callable, items: Iterable[tuple], count: int) -> list[float]:
    with process_pool(count) as pool:
        calls = [pool.submit(_timed, write, *item) for item in items]
        try:
            return [call.result() for call in calls]
        except BrokenProcessPool as error:
            raise StepError(
                f"{output}: a process that wrote it was killed, as for want of memory; take fewer cores or more memory"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _timed(write: Callable, *item) -> float:
    start = time.perf_counter()
    write(*item)
    return time.perf_counter() - start


def process_pool(count: int, start: Literal["fork", "spawn"] = "fork") -> ProcessPoolExecutor:
    """Return a pool of processes that end when this one is killed."""
    return ProcessPoolExecutor(count, multiprocessing.get_context(start), _end_with_parent, (os.getpid(),))


def _end_with_parent(parent: int) -> None:
    """Let the kernel kill this process, a child of `parent`, when that dies: it would wait for work for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _in_order(submit: Callable, items: Iterable, count: int) -> Iterator:
    """Yield the results of submitted calls in order, with two calls a worker under way or done and not yet taken."""
    calls: deque = deque()
    for item in items:
        calls.append(submit(item))
        if len(calls) > 2 * count:
            yield calls.popleft().result()
    while calls:
        yield calls.popleft().result()


def _importable(function: Callable) -> Callable:
    """Return a function of the script that runs as that of the module it is, so that workers import it by name.

    Otherwise it would be sent by its code, together with the kernels it calls, and each worker would compile those.
    """
    spec = sys.modules["__main__"].__spec__  # None in a script that is not run as `python -m module`
    if function.__module__ != "__main__" or spec is None:
        return function
    return getattr(importlib.import_module(spec.name), function.__name__)
