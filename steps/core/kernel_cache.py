"""Numba's cache of compiled kernels: checked before it is used, and only where it belongs.

Its files hold machine code and pickles, and Numba takes whatever lies there. Here each ends in a checksum, so that a
damaged one is compiled anew; and one that somebody else may have written is not looked at. The cache may be read-only:
what is in it is found, and nothing is compiled into the folder of the source.
"""

import contextlib
import functools
import hashlib
import io
import logging
import os
import pickle
import stat
from pathlib import Path

from numba.core import caching

from steps.core.code import ROOT, code_digest

logger = logging.getLogger(__name__)

_PACKAGE = ROOT / "steps"
#: Bytes of the checksum at the end of a file.
_CHECKSUM = 16


def install(folder: Path) -> None:
    """Keep compiled kernels of this package in a folder, each under the digest of the code that it depends on.

    Numba itself does not notice an edit to a function or constant that a kernel has from another file.
    """

    class Locator(caching._CacheLocator):
        """Where a kernel is kept: the same place for all checkouts of the same sources, wherever they lie."""

        def __init__(self, kernel, source):
            self._py_file, self._lineno = source, kernel.__code__.co_firstlineno  # for a message of Numba's
            # Not `kernel.__module__`, which is `__main__` in a stage that is run.
            self._module = ".".join(Path(source).relative_to(ROOT).with_suffix("").parts)
            self._digest = _digest(self._module)

        @classmethod
        def from_function(cls, kernel, source):
            return cls(kernel, source) if Path(source).is_relative_to(_PACKAGE) else None

        def ensure_cache_path(self):
            with _warned(folder):
                folder.mkdir(parents=True, exist_ok=True)

        def get_cache_path(self):
            return str(folder)

        def get_source_stamp(self):
            return self._digest

        def get_disambiguator(self):
            return f"{self._module}-{self._digest}"

    implementation = getattr(caching, "CacheImpl" if hasattr(caching, "CacheImpl") else "_CacheImpl")
    implementation._locator_classes = [Locator, *implementation._locator_classes]
    caching.IndexDataCacheFile = _CheckedFile  # type: ignore[misc]  # Numba looks the class up under this name.


class _CheckedFile(caching.IndexDataCacheFile):
    """The index and the compiled code of a kernel, each with its checksum at its end."""

    def save(self, key, data):
        """Write the compiled code of a signature, or warn if the folder cannot be written."""
        with _warned(Path(self._cache_path)):
            super().save(key, data)

    def _load_index(self):
        try:
            stream = io.BytesIO(content_of(Path(self._index_path)))
        except OSError:
            return {}
        if pickle.load(stream) != self._version:
            return {}
        stamp, overloads = pickle.load(stream)
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name):
        return pickle.loads(content_of(Path(self._data_path(name))))

    @contextlib.contextmanager
    def _open_for_write(self, filepath):
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as stream:
            os.fchmod(stream.fileno(), 0o644)  # whatever the umask: see `content_of`
            stream.write(content.getvalue() + _checksum(Path(filepath).name, content.getvalue()))


_digest = functools.cache(code_digest)


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.blake2b(name.encode() + content, digest_size=_CHECKSUM).digest()


def content_of(path: Path) -> bytes:
    """Return the content of a file of the cache.

    Raises
    ------
    OSError
        If it cannot be read, is damaged, or others can write it; the kernel is then compiled.
    """
    with path.open("rb") as stream:
        status, data = os.fstat(stream.fileno()), stream.read()
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        _warn(path.parent, "is left aside, since others than you can write what is in it; delete it or make it yours")
        raise PermissionError(f"{path}: others can write it")
    content, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if checksum != _checksum(path.name, content):
        logger.info("%s: is damaged, the kernel is compiled anew", path)
        raise OSError(f"{path}: is damaged")
    return content


@contextlib.contextmanager
def _warned(folder: Path):
    try:
        yield
    except OSError as error:
        _warn(folder, f"cannot be written ({error.strerror}): each stage compiles kernels anew; set SEN2FLOW_CACHE")


_warnings: set[str] = set()


def _warn(folder: Path, text: str) -> None:
    if text not in _warnings:
        _warnings.add(text)
        logger.warning("%s: the cache of compiled kernels %s", folder, text)
