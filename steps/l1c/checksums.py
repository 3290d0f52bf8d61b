"""Checksums of an L1C product's files, as its `manifest.safe` lists them: MD5 in old products, SHA3-256 since 04.00."""

import hashlib
from collections.abc import Callable, Container, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from lxml import etree

from steps.core.errors import StepError
from steps.l1c.files import AGAIN

MANIFEST = "manifest.safe"
#: What to do with a file that does not fit its checksum.
Setting = Literal["refuse", "warn", "ignore"]
_ALGORITHMS = {"MD5": "md5", "SHA3-256": "sha3_256"}
#: So many files are named in a sentence.
_NAMED = 3


def listed(manifest: etree._Element) -> dict[str, tuple[str, str]]:
    """Return the algorithm (of `hashlib`) and the checksum, in lower case, of each file that a manifest lists.

    Files without a checksum, or with one of an unknown kind, are left out.
    """
    result = {}
    for stream in manifest.iterfind(".//{*}byteStream"):
        location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
        if location is None or checksum is None:
            continue
        algorithm = _ALGORITHMS.get(checksum.get("checksumName", "").upper())
        digest = (checksum.text or "").strip().lower()
        if algorithm and digest:
            result[str(PurePosixPath(location.get("href", "")))] = algorithm, digest
    return result


class Checksums:
    """Checks of files against a manifest, each file once; files may be checked in several threads.

    Parameters
    ----------
    manifest
        What `listed` returns, or None if the product has no manifest.
    setting
        `refuse` raises an error at a file that does not fit, `warn` takes it down.
    """

    def __init__(self, manifest: Mapping[str, tuple[str, str]] | None, setting: Setting):
        self._manifest, self._setting = manifest, setting
        self._seen: set[str] = set()
        self._unlisted: set[str] = set()
        self._wrong: set[str] = set()

    def check(self, name: str, label: str, digest: Callable[[str], str]) -> None:
        """Compare a file with its checksum; `digest` returns that of its content by an algorithm of `hashlib`.

        Raises
        ------
        StepError
            If it does not fit and the setting is `refuse`.
        """
        if name in self._seen or self._manifest is None:
            return
        if name not in self._manifest:
            self._unlisted.add(name)
        else:
            algorithm, expected = self._manifest[name]
            if digest(algorithm) != expected:
                if self._setting == "refuse":
                    raise StepError(
                        f"{label}: does not fit its checksum in {MANIFEST}; {AGAIN}, or set `checksums: warn`"
                    )
                self._wrong.add(name)
        self._seen.add(name)

    def sentences(self, present: Container[str]) -> tuple[str, ...]:
        """Return a sentence for each kind of file so far that was not verified; `present` holds all that there are.

        Of files that are listed and missing just auxiliary data are named: all else is told where it is read.
        """
        if self._manifest is None:
            return (f"Checksums: the product has no {MANIFEST}; its files are not verified.",)
        result = []
        if missing := {n for n in self._manifest if PurePosixPath(n).parent.name == "AUX_DATA" and n not in present}:
            result.append(f"Auxiliary data: {_some(missing)} missing, though {MANIFEST} lists it.")
        if self._unlisted:
            result.append(f"Checksums: {MANIFEST} has none of {_some(self._unlisted)}; not verified.")
        if self._wrong:
            result.append(f"Checksums: {_some(self._wrong)} not as {MANIFEST} tells; used all the same.")
        return tuple(result)


def digest_of(content: bytes) -> Callable[[str], str]:
    """Return the function that computes the checksum of a content by an algorithm of `hashlib`."""
    return lambda algorithm: hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def digest_file(path: Path) -> Callable[[str], str]:
    """Return the function that computes the checksum of a file by an algorithm of `hashlib`."""

    def digest(algorithm: str) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    return digest


def _some(names: set[str]) -> str:
    named = ", ".join(ascii(PurePosixPath(name).name)[1:-1] for name in sorted(names)[:_NAMED])
    more = len(names) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
