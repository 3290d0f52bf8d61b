"""Turn the `run` function of a step into its command line, from its signature and docstring alone."""

import argparse
import contextlib
import ctypes
import errno
import gc
import inspect
import logging
import os
import resource
import select
import signal
import sys
import threading
import time
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steps.core.checksums import RUN
from steps.core.environment import leave_foreign_variables
from steps.core.errors import StepError

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another output folder",
    errno.EDQUOT: "free some space or choose another output folder",
    errno.EFBIG: "raise the limit on the size of files or choose another output folder",
    errno.EROFS: "choose an output folder you may write to",
    errno.EACCES: "check the permissions or choose another folder",
    errno.EPERM: "check the permissions or choose another folder",
}
#: Numbers of these options of glibc's `mallopt`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def parser(run: Callable) -> argparse.ArgumentParser:
    """Build the argument parser of a step.

    Parameters
    ----------
    run
        The step's function. Each parameter becomes an option `--name`; its annotation is the type
        (`Path`, `str`, `int`, `float`, `bool`, `list[...]`, `Literal[...]`, or one of these `| None`).

    Returns
    -------
    argparse.ArgumentParser
        With the further options `--threads` and `--log`, which every step has.
    """
    module = sys.modules[run.__module__]
    name = getattr(module.__spec__, "name", run.__module__).removesuffix(".__main__")
    result = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=inspect.getdoc(run),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for parameter in inspect.signature(run, eval_str=True).parameters.values():
        if parameter.name != "threads":
            result.add_argument("--" + parameter.name.replace("_", "-"), **_option(parameter))
    result.add_argument("--threads", type=int, default=1, help="threads to use (default: %(default)s)")
    result.add_argument("--log", type=Path, help="also write messages to this file")
    return result


def _option(parameter: inspect.Parameter) -> dict:
    kind = parameter.annotation
    option: dict[str, Any] = {}
    optional = isinstance(kind, types.UnionType)
    if isinstance(kind, types.UnionType):
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    if typing.get_origin(kind) is list:
        option["nargs"] = "*"
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        option["choices"] = typing.get_args(kind)
        kind = str
    if kind is bool:
        option["action"] = argparse.BooleanOptionalAction
    else:
        option["type"] = kind
    if parameter.default is inspect.Parameter.empty:
        option["required"] = not optional
    else:
        option.update(default=parameter.default, help="default: %(default)s")
    return option


def _set_up_log(path: Path | None, step: str) -> None:
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [console]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, handlers=handlers, format=f"%(asctime)s {step} %(levelname)s: %(message)s")
    logging.getLogger("rasterio").setLevel(logging.ERROR)


def end_with_run() -> None:
    """Let this process be killed as soon as the run that has started it is dead, so that it does not go on unseen."""
    if RUN not in os.environ or not hasattr(os, "pidfd_open"):
        return
    try:
        run = os.pidfd_open(int(os.environ[RUN].split()[0]))
    except OSError:  # not to be seen from here, as from a container
        return

    def watch():
        select.select([run], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed arrays for the next ones, instead of giving it back to the system.

    What holds a block of an image is larger than what glibc keeps by itself, so that for each the system would clear
    memory anew: a sixth of the time of the classification and of the reflectance. All threads share one pool, since
    glibc gives back those of single threads whatever it is told. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, value in ((_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1)):
            set_option(option, value)


def cli(run: Callable, argv: Sequence[str] | None = None) -> None:
    """Run a step from its command line.

    Exit code 0 on success, 2 with one line on `StepError` or an output that cannot be written; any other
    exception is a defect of ours and keeps its traceback.
    """
    arguments = vars(parser(run).parse_args(argv))
    threads, log = arguments.pop("threads"), arguments.pop("log")
    logger = logging.getLogger(__name__)
    if "threads" in inspect.signature(run).parameters:
        arguments["threads"] = threads
    os.environ["GDAL_NUM_THREADS"] = str(threads)
    os.environ["CPL_LOG"] = os.devnull  # GDAL's own threads would say once more, in its words, what we say in a line.
    foreign = leave_foreign_variables()
    start = time.perf_counter()
    end_with_run()
    keep_freed_memory()
    try:
        _set_up_log(log, parser(run).prog.removeprefix("python -m "))
        for sentence in foreign:
            logger.warning("%s", sentence)
        run(**arguments)
    except StepError as error:
        logger.error("%s", error.line)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in _REMEDIES:
            raise
        remedy = _REMEDIES.get(error.errno or 0, "check the path")
        name = error.filename or "output"
        logger.error("%s: %s; %s", name, error.strerror, remedy)
        sys.exit(2)
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    logger.info("done in %.2f s, %.2f CPU s", time.perf_counter() - start, used)
    gc.freeze()  # Or else the interpreter looks at every object of Numba's once more as it ends: .2 s.
