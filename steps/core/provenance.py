"""What a run of the workflow knows beyond Snakemake: what results were made from, and who else is at work.

Snakemake's own memory lies in the working directory, so it knows nothing of results that another checkout made, and it
compares folders by their time alone. So what each result was made from lies beside it, in a file that is an input of
its rule: `<product>/logs/provenance/<rule>.json`, written anew when something has changed.
"""

import atexit
import fcntl
import functools
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, TextIO

from steps.core.checksums import RUN
from steps.core.errors import StepError

#: Files of at most so many bytes are told by their content, larger ones by size and time.
_SMALL = 2**20


def begin_run() -> None:
    """Tell the steps that are started from this process about it."""
    os.environ[RUN] = f"{os.getpid()} {time.time_ns()}"


class Provenance:
    """What the results in an output folder are made from.

    Parameters
    ----------
    output
        Folder of all products.
    """

    def __init__(self, output: Path):
        self._output = output
        self._lock: TextIO | None = None
        self._locked: set[str] = set()

    def record(
        self,
        product: str,
        rule: str,
        parameters: Mapping,
        inputs: list[str],
        mode: Literal["run", "plan", "look", "job"],
        stale: bool = False,
    ) -> str:
        """Return the file that says what a result is made from: newer than the result, if that has changed.

        Parameters
        ----------
        product, rule
            Name of the product and of what makes the result.
        parameters
            Texts by their names.
        inputs
            Files and folders that do not come from the workflow.
        mode
            A `run` makes results: it writes the file, after making sure that no other run is at work on the product. A
            `plan` does so without, where the product has a run of its own. To `look` touches nothing: where something
            has changed, the file is another, which goes when the process ends. A `job` of a run takes what its run has
            written.
        stale
            Whether the result is to be made again even if nothing has changed.

        Raises
        ------
        StepError
            If another run is at work on the product or the file cannot be written.
        """
        path = self._output / product / "logs" / "provenance" / f"{rule}.json"
        if mode == "job":
            return str(path)
        try:
            if mode == "run":
                self._claim(product)
            recorded = _recorded(path)
            if not recorded and mode == "look":  # of a table of thousands none is looked at
                return _something_new()
            record = {
                "parameters": dict(parameters),
                "inputs": [[Path(name).name, fingerprint(name)] for name in inputs],
            }
            if recorded == record and not stale:
                return str(path)
            if mode == "look":
                return _something_new()
            path.parent.mkdir(parents=True, exist_ok=True)
            # The time makes it differ from all that Snakemake has seen, even if the rest is that of an earlier run.
            path.write_text(json.dumps(record | {"since": time.time_ns()}, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StepError(f"{path}: {error.strerror}; choose another output folder") from error
        return str(path)

    def _claim(self, product: str) -> None:
        """Lock a product for as long as this process lives, however it ends."""
        if product in self._locked:
            return
        if self._lock is None:
            self._output.mkdir(parents=True, exist_ok=True)
            self._lock = (self._output / ".sen2flow.lock").open("a")
        # One byte of the file, far beyond its end, stands for a product: thousands take one open file.
        place = int.from_bytes(hashlib.sha256(product.encode()).digest()[:7], "big")
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            raise StepError(
                f"{self._output}: another run is at work on {product}; wait for its end or choose another `output`"
            ) from None
        except OSError:  # a file system without locks
            pass
        self._locked.add(product)


def _recorded(path: Path) -> dict | None:
    try:
        record = json.loads(path.read_bytes())
        del record["since"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record


@functools.cache
def _something_new() -> str:
    file, path = tempfile.mkstemp(prefix="sen2flow-changed-")
    os.close(file)
    atexit.register(Path(path).unlink, missing_ok=True)
    return path


@functools.cache
def fingerprint(path: str) -> str:
    """Return a text that changes with a file or with any file in a folder; one that cannot be looked at has none.

    Small files are told by their content, others by their size and time of change, wherever they lie.
    """
    digest = hashlib.sha256()
    for name, state in sorted(_files(Path(path), set())):
        digest.update(f"{name} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _files(path: Path, seen: set):
    """Yield name and state of each file, also behind symbolic links, but no folder twice."""
    with suppress(OSError):
        status = path.stat()
        if not path.is_dir():
            yield "", _state(path, status)
            return
        todo = [("", str(path))]
        while todo:
            prefix, folder = todo.pop()
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        todo.append((f"{prefix}{entry.name}/", entry.path))
                    else:
                        with suppress(OSError):
                            status = entry.stat()
                            yield f"{prefix}{entry.name}", f"{status.st_size} {status.st_mtime_ns}"


def _state(path: Path, status: os.stat_result) -> str:
    """Return what changes with a file."""
    if status.st_size <= _SMALL:
        return f"{status.st_size} {zlib.crc32(path.read_bytes()):08x}"
    return f"{status.st_size} {status.st_mtime_ns}"
