"""The files that a product lies in: a folder, a zip or a tar.

A package is never unpacked: its members are read where they lie.
"""

import functools
import itertools
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from steps.core.errors import StepError

AGAIN = "download the product again"
#: What libraries raise at a package that is broken.
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
#: Bytes of a zip's directory, and members of a tar, that no product reaches; a reader would take them into memory.
_DIRECTORY_LIMIT = 4 * 2**20
_MEMBERS_LIMIT = 20_000
#: Bytes that are asked of a zip at a time, because a compressed piece may become thousands of times as long.
_PIECE = 2**16


class Files(Protocol):
    """Files by their path inside the product's folder."""

    #: Paths from `enter`'s folder or the top down, not all of them regular files; of a folder those at its top.
    listing: list[str]

    def enter(self, folder: PurePosixPath) -> None:
        """Take the files below a folder alone, by their path in it."""

    def label(self, name: str) -> str:
        """Return what messages call a file."""

    def names(self) -> Iterator[str]:
        """Yield the paths of all regular files."""

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file; what lies outside of the folder does not count."""

    def size(self, name: str) -> int:
        """Return the size of a file that exists, in bytes."""

    def read(self, name: str) -> bytes:
        """Return the content of a file that exists; raise `OSError` or one of `BROKEN`."""

    def place(self, name: str) -> Path | None:
        """Return the path of a file that exists on disk, None in a package."""


class Folder:
    """The files in a folder; links that lead out of it are refused (`StepError`)."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self.listing = [p.name for p in path.iterdir()]
        except OSError as error:
            raise StepError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error

    def enter(self, folder: PurePosixPath) -> None:  # noqa: D102
        self._path = self._path / folder

    def label(self, name: str) -> str:  # noqa: D102
        return str(self._path / name)

    def names(self) -> Iterator[str]:  # noqa: D102
        for folder, folders, files in os.walk(self._path):
            for path in map(Path(folder).joinpath, folders):
                if path.is_symlink():
                    raise StepError(f"{path}: is a link to a folder; put the folder in its place (cp -rL)")
            found = (Path(folder, file).relative_to(self._path).as_posix() for file in files)
            for name in filter(self.exists, found):
                if name.isprintable():
                    self.place(name)
                yield name

    def exists(self, name: str) -> bool:  # noqa: D102
        path = PurePosixPath(name)
        try:
            return not path.is_absolute() and ".." not in path.parts and (self._path / name).is_file()
        except OSError:  # a name that no file can have
            return False

    def size(self, name: str) -> int:  # noqa: D102
        return self.place(name).stat().st_size

    def read(self, name: str) -> bytes:  # noqa: D102
        return self.place(name).read_bytes()

    def place(self, name: str) -> Path:  # noqa: D102
        path = self._path / name
        if not path.resolve().is_relative_to(self._resolved):
            raise StepError(f"{path}: is a link that leads out of the product; put the file in its place (cp -rL)")
        return path

    @functools.cached_property
    def _resolved(self) -> Path:
        return self._path.resolve()


class _Package:
    """What packages have in common; a kind of package tells its members and reads them."""

    def __init__(self, path: Path):
        self._path, self._folder = path, PurePosixPath(".")
        self._all = list(self._infos())
        self.listing = [name for name, _ in self._all]

    def _infos(self) -> Iterator[tuple[str, Any]]:
        """Yield path and description of each member."""
        raise NotImplementedError

    def _regular(self, info: Any) -> bool:
        """Tell whether a member is a file, neither folder nor link."""
        raise NotImplementedError

    def enter(self, folder: PurePosixPath) -> None:
        self._folder = folder

    def label(self, name: str) -> str:
        return str(self._path / self._folder / name)

    @functools.cached_property
    def _members(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for text, info in self._all:
            path = PurePosixPath(text)
            if not self._regular(info) or ".." in path.parts or not path.is_relative_to(self._folder):
                continue
            name = str(path.relative_to(self._folder))
            if name in members:
                raise StepError(f"{self.label(name)}: is twice in the {self._path.suffix[1:]}; {AGAIN}")
            members[name] = info
        return members

    def names(self) -> Iterator[str]:
        return iter(self._members)

    def exists(self, name: str) -> bool:
        return name in self._members

    def place(self, name: str) -> None:
        return None


class Zip(_Package):
    """The files in a zip, whose checksums are always verified."""

    def __init__(self, path: Path):
        if _directory_size(path) > _DIRECTORY_LIMIT:
            raise StepError(f"{path}: holds far more files than a product; {AGAIN}")
        try:
            self._archive = zipfile.ZipFile(path)
        except BROKEN as error:
            raise StepError(f"{path}: the zip is broken ({error}); {AGAIN}") from error
        super().__init__(path)

    def _infos(self) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        return ((info.filename, info) for info in self._archive.infolist())

    def _regular(self, info: zipfile.ZipInfo) -> bool:
        return not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)

    def size(self, name: str) -> int:  # noqa: D102
        return self._members[name].file_size

    def read(self, name: str) -> bytes:  # noqa: D102
        with self._archive.open(self._members[name]) as file:
            return b"".join(iter(lambda: file.read(_PIECE), b""))


class Tar(_Package):
    """The files in a tar that is not compressed."""

    def _infos(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        try:
            with tarfile.open(self._path, "r:") as archive:
                infos = list(itertools.islice(archive, _MEMBERS_LIMIT + 1))
        except BROKEN as error:
            raise StepError(
                f"{self._path}: is no tar, or not all of one, or compressed ({error}); {AGAIN}, or unpack it"
            ) from error
        if len(infos) > _MEMBERS_LIMIT:
            raise StepError(f"{self._path}: holds far more files than a product; {AGAIN}")
        return ((info.name, info) for info in infos)

    def _regular(self, info: tarfile.TarInfo) -> bool:
        return info.isreg() and not info.issparse()

    def size(self, name: str) -> int:  # noqa: D102
        return self._members[name].size

    def read(self, name: str) -> bytes:  # noqa: D102
        info = self._members[name]
        with self._path.open("rb") as file:
            file.seek(info.offset_data)
            content = file.read(info.size)
        if len(content) < info.size:
            raise EOFError("the tar ends too early")
        return content


def opened(path: Path) -> Files:
    """Return the files that a path is or holds.

    Raises
    ------
    StepError
        If there is no such path, or it is broken, or neither folder nor package.
    """
    if not path.exists():
        raise StepError(f"{path}: does not exist; give the path of an L1C SAFE folder or zip")
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        try:
            if path.suffix.lower() == ".tar":
                return Tar(path)
            if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
                return Zip(path)
        except OSError as error:
            raise StepError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    raise StepError(f"{path}: is neither a SAFE folder nor a zip or tar; give the path of an L1C product")


def _directory_size(path: Path) -> int:
    """Return the bytes of a zip's directory as the record at its end tells them, 0 without one."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2**16 - 22, 0))
        end = file.read()
    place = end.rfind(b"PK\5\6")
    return int.from_bytes(end[place + 12 : place + 16], "little") if place >= 0 else 0
