"""Digests of code: what a result depends on, for the rules, the look-up tables and the compiled kernels."""

import functools
import hashlib
import re
from pathlib import Path

#: The checkout, or where the package is installed.
ROOT = Path(__file__).parents[2]
# `from steps.a import b, c`, also over several lines in parentheses, and `import steps.a`. A parser takes 20 times as
# long.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(steps[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.*)|import[ \t]+(steps[\w.]*))", re.MULTILINE
)


def code_digest(module: str, *data: Path) -> str:
    """Return the digest of a module, of every module of ours that it imports, and of data files it reads.

    Constants count, wherever they are imported from, since it is the whole sources that are looked at.

    Parameters
    ----------
    module
        Dotted name, such as `steps.reflectance`; it is not imported.
    data
        Further files whose content counts.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in (*sorted(sources(module)), *data):
        digest.update(_digest_of(path))
    return digest.hexdigest()[:12]


@functools.cache
def _digest_of(path: Path) -> bytes:
    """Return the digest of a file: modules share most of what they import."""
    return hashlib.sha256(path.read_bytes()).digest()


@functools.cache
def sources(module: str) -> frozenset[Path]:
    """Return the files of a module and of every module of ours that it imports, directly or not."""
    found, waiting = {}, [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _file(name)
            waiting += _imported(found[name]) if found[name] else ()
    return frozenset(path for path in found.values() if path)


@functools.cache
def _file(module: str) -> Path | None:
    """Return the file of a module, None if the name is that of something in a module."""
    base = ROOT.joinpath(*module.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return path if path.exists() else None


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    """Return the names that a file imports: modules, or what is in them."""
    names = []
    for source, imported, plain in _IMPORT.findall(path.read_text(encoding="utf-8")):
        names += [source or plain, *(f"{source}.{name}" for name in re.findall(r"\w+", imported))]
    return tuple(names)
