"""Files and folders that appear under their name only when they are complete, and JSON documents between the stages."""

import contextlib
import dataclasses
import glob
import json
import os
import platform
import shutil
import time
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steps.core import checksums

Document = typing.TypeVar("Document")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and rename it to `path` when the block ends without an exception.

    Works for files and folders. On an exception what was written is removed, and before the block what a process that
    was killed has left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()  # made beforehand by Snakemake; it is not to outlive a failure
    part = path.with_name(f".{path.stem}.{_process(os.getpid())}.part{path.suffix}")
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        if _is_left(left, left.name.removesuffix(path.suffix).split(".")[-2]):
            with contextlib.suppress(OSError):  # another user's
                _remove(left)
    try:
        yield part
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        _remove(part)


def link(source: Path, target: Path) -> None:
    """Hard-link a file as `target`, or copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _process(number: int) -> str:
    """Return a name of a process that no other has had: its number, when it started, and its machine."""
    return f"{number}-{_started(number)}@{platform.node().replace('.', '_')}"


def _started(number: int) -> str:
    """Return when a process started, in the kernel's ticks; "" if it has ended, 0 on a system that does not tell."""
    try:
        # The name, in brackets, may contain anything. Of what follows the 1st field is the state, the 20th the start.
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else "0"
    return "" if fields[0] in "ZX" else fields[19]


def _is_left(part: Path, process: str) -> bool:
    """Tell whether the process that wrote to `part` is gone; one of another machine is, when a day has passed."""
    number, _, machine = process.partition("-")
    if machine.partition("@")[2] != platform.node().replace(".", "_"):
        return time.time() - part.stat().st_mtime > 86400
    return process != _process(int(number))


def write_json(path: Path, document: Mapping, *, checksum: bool = True) -> None:
    """Write a JSON document atomically, with sorted keys so that equal documents are equal files.

    Between the stages it gets a key `checksum`; `read_json` looks at it and leaves it out.
    """
    if checksum:
        document = {**document, "checksum": checksums.of_document(document)}
    with atomic(path) as part:
        part.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON document; raise `StepError` if it is missing, broken or not what its checksum says."""
    try:
        document = dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise checksums.damaged(path, error) from error
    expected = document.pop("checksum", None)
    if expected and expected != checksums.of_document(document):
        raise checksums.damaged(path, "its checksum is another")
    return document


def write_document(path: Path, document: Any) -> None:
    """Write a dataclass as a JSON document, as `write_json` does."""
    write_json(path, dataclasses.asdict(document))


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read a JSON document as a dataclass.

    Parameters
    ----------
    path
        A file of `write_document`.
    kind
        The dataclass. Its fields may be text, numbers, truth values, literals, dataclasses, `dict[str, ...]` and
        `tuple[..., ...]` of these, or one of these `| None`. Only fields with a default may be missing.

    Raises
    ------
    StepError
        If the file is missing or broken, or if a name or a type in it is not that of the dataclass.
    """
    try:
        return _typed(read_json(path), kind, "")
    except TypeError as error:
        raise checksums.damaged(path, f"it is no {kind.__name__}: {error}") from error


def _typed(value: Any, kind: Any, name: str) -> Any:
    """Return a JSON value as one of a type; raise `TypeError`, which names the value by its keys, if it is another."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if types.NoneType in arguments:
        return None if value is None else _typed(value, arguments[0], name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        kinds = typing.get_type_hints(kind)
        if unknown := value.keys() - kinds.keys():
            raise TypeError(f"{name}{min(unknown)} is unknown")
        required = {f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING}
        if missing := required - value.keys():
            raise TypeError(f"{name}{min(missing)} is missing")
        return kind(**{key: _typed(one, kinds[key], f"{name}{key}.") for key, one in value.items()})
    if origin is dict and isinstance(value, dict):
        return {key: _typed(one, arguments[1], f"{name}{key}.") for key, one in value.items()}
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(one, arguments[0], name) for one in value)
    if value in arguments if origin is typing.Literal else type(value) in ((int, float) if kind is float else (kind,)):
        return value
    raise TypeError(f"{name.rstrip('.') or 'all of it'} is {str(value)[:40]!r}")
