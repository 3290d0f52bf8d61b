"""The list of products to process: a table that a person or a spreadsheet has written."""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from steps.core.errors import StepError
from steps.core.transfer import Store, is_address

_COLUMN = "input"
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def is_list(path: str) -> bool:
    """Tell whether an input is a table of products."""
    return path.lower().endswith(".csv")


def read_list(path: str) -> list[str]:
    """Return the column `input` of a table.

    Columns are separated by commas, semicolons or tabs, as the header tells; text is UTF-8, with or without a byte
    order mark, UTF-16 with one, or else Latin-1. Empty lines and lines that begin with `#` do not count. A relative
    path is looked for in the working directory, then beside the table, which may be at an address.

    Raises
    ------
    StepError
        If the file cannot be read, has no such column, or names no product.
    """
    try:
        lines = [line for line in _decoded(_content(path)).splitlines() if line.strip(" \t,;")]
    except (OSError, ValueError) as error:
        raise _no_list(path, error) from error
    lines = [line for line in lines if not line.lstrip().startswith("#")]
    if not lines:
        raise _no_list(path, "it is empty")
    for separator in ",;\t":
        header = [name.strip().lower() for name in next(csv.reader([lines[0]], delimiter=separator))]
        if _COLUMN in header:
            break
    else:
        raise _no_list(path, f"its first line is '{lines[0][:80]}'")
    if header.count(_COLUMN) > 1:
        raise _no_list(path, f"it has {header.count(_COLUMN)} of them")
    column = header.index(_COLUMN)
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines[1:])), delimiter=separator, strict=True))
    except csv.Error as error:
        raise _no_list(path, error) from error
    found = [row[column].strip() for row in rows if len(row) > column]
    products = [_located(name, Path(path).parent) for name in found if name]
    if not products:
        raise StepError(f"{path}: names no product; write the path of one in each line below the header `{_COLUMN}`")
    return products


def _content(path: str) -> bytes:
    return Store().read(path) if is_address(path) else Path(path).read_bytes()


def _decoded(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding)
    if b"\0" in content:
        raise ValueError("it is no text")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _no_list(path: str, error) -> StepError:
    return StepError(f"{path}: not a table with a column `{_COLUMN}` ({error}); see config/products.csv")


def _located(name: str, folder: Path) -> str:
    if is_address(name):
        return name
    path = Path(name).expanduser()
    if path.is_absolute() or path.exists() or not (folder / path).exists():
        return str(path)
    return str(folder / path)


def distinct(paths: Iterable[str], name_of: Callable[[str], str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the products by their names, and one line on what is wrong with each of the others by its path.

    Parameters
    ----------
    paths
        Of products.
    name_of
        Function of a path that returns the product's name; where it raises `StepError`, the product is set aside, as
        is a second one of the same name.
    """
    products: dict[str, str] = {}
    set_aside: dict[str, str] = {}
    for path in paths:
        try:
            name = name_of(path)
            if name in products:
                raise StepError(f"{path}: the same product as {products[name]}; remove one of them")
            products[name] = path
        except StepError as error:
            set_aside[path] = error.line
    return products, set_aside


def end_with_failure(set_aside: dict[str, str]) -> None:
    """Print, at the end of a run, one line for each product that was set aside, and exit with code 1."""
    for error in set_aside.values():
        print(f"ERROR: not processed: {error}", file=sys.stderr)  # noqa: T201
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
