"""Checksums of the files between the stages, so that a stage never computes from a file that has decayed.

A file carries its own: `seal` appends a trailer, which readers of GeoTIFF do not look at. Beside a folder lies a list,
`<folder>.checksums.json`. Within a run what the run itself wrote is not read twice: only files from before its
beginning are checked.
"""

import errno
import functools
import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

from steps.core.errors import StepError

#: Variable by which stages know their run: `PID TIME`, Snakemake's process and when it started, in ns.
RUN = "SEN2FLOW_RUN"
_TRAILER = struct.Struct("<8sQI")
_MAGIC = b"SEN2FLOW"
#: Errors that say nothing about the content of a file.
_NOT_DAMAGE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTDIR}


def damaged(path: Path, error: object) -> StepError:
    """Return the error that a file or folder between the stages cannot be used.

    Within a run it is deleted, so that the next run makes it again; `error` says what is wrong with it.
    """
    path, text = Path(path), f"{path}: cannot be read ({error})"
    if getattr(error, "errno", None) in _NOT_DAMAGE or not path.exists():
        return StepError(f"{text}; run the stage that makes it again")
    if RUN not in os.environ:
        return StepError(f"{text}; delete it and run the stage that makes it again")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return StepError(f"{text}; it was deleted, give the same command again")


def seal(path: Path) -> None:
    """Add the length and the checksum of a file at its end."""
    trailer = _TRAILER.pack(_MAGIC, path.stat().st_size, _checksum(path))
    with path.open("ab") as stream:
        stream.write(trailer)


def check(path: Path) -> None:
    """Raise `StepError` unless a sealed file is as it was sealed; once in a process, unless this run wrote it."""
    path = Path(path)
    if path.stat().st_mtime_ns < _start_of_run():
        _check_once(path.absolute())


def seal_folder(written: Path, folder: Path) -> None:
    """Write the lengths and checksums of the files in `written` beside `folder`, which it is to become."""
    _list_of(folder).write_text(json.dumps(_listed(written), indent=1) + "\n", encoding="utf-8")


def check_folder(folder: Path) -> None:
    """Raise `StepError` unless the files in a sealed folder are as they were sealed, or unless this run wrote them.

    Outside of a run a folder without a list is taken as it is.
    """
    folder, start = Path(folder), _start_of_run()
    try:
        expected = json.loads(_list_of(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if RUN not in os.environ:
            return
        raise damaged(folder, "the list of its checksums is missing") from None
    except (OSError, ValueError) as error:
        raise damaged(folder, error) from error
    if any(path.stat().st_mtime_ns < start for path in folder.iterdir()) and _listed(folder) != expected:
        raise damaged(folder, "a file in it has another checksum")


def of_document(document: Mapping) -> str:
    """Return the checksum of a JSON document, whatever its layout, but for its key `checksum`."""
    content = json.loads(json.dumps({key: value for key, value in document.items() if key != "checksum"}))
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _start_of_run() -> float:
    return int(os.environ[RUN].split()[1]) if RUN in os.environ else float("inf")


def _checksum(path: Path, length: int = sys.maxsize) -> int:
    """Return a checksum of the first `length` bytes of a file: the CRC-32 of the sums of its pieces' words.

    A sum changes with every single bit, and takes a fifth of the time of a CRC.
    """
    import numpy as np  # not for the workflow, which looks at no file

    words, crc = np.empty(2**17, "u8"), 0
    piece = memoryview(words.data).cast("B")
    with path.open("rb") as stream:
        while length > 0 and (n := stream.readinto(piece[: min(length, len(piece))])):
            piece[n : -(-n // 8) * 8] = bytes(-n % 8)
            crc, length = zlib.crc32(words[: -(-n // 8)].sum().tobytes(), crc), length - n
    return crc


@functools.cache
def _check_once(path: Path) -> None:
    size = path.stat().st_size - _TRAILER.size
    with path.open("rb") as stream:
        stream.seek(max(size, 0))
        trailer = stream.read()
    if len(trailer) != _TRAILER.size or trailer != _TRAILER.pack(_MAGIC, size, _checksum(path, size)):
        raise damaged(path, "its checksum is another")


def _listed(folder: Path) -> dict[str, list[int]]:
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]  # Snakemake puts one there
    return {path.name: [path.stat().st_size, _checksum(path)] for path in files}


def _list_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.checksums.json")
