"""What a reader of a Level-1C product offers, whatever form the product has."""

from collections.abc import Hashable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from lxml import etree

from steps.l1c.checksums import Setting

if TYPE_CHECKING:
    import numpy as np

    from steps.core.rasters import Grid
    from steps.l1c.grib import Message

#: Rows and columns of an image.
Window = tuple[slice, slice]


class Product(Protocol):
    """The documents and images of a Level-1C product, whatever they are packed in, by their path inside a SAFE folder.

    `Safe` says what each method returns and raises. A new form is a class with these methods and an entry in
    `steps.l1c.formats.READERS`. One that has no XML documents makes them (`xml`), so that all forms are read and
    checked by the same code.
    """

    path: Path
    checksums: Setting

    def __init__(self, path: Path, checksums: Setting = "ignore"): ...

    @staticmethod
    def recognises(path: Path) -> bool:
        """Tell, at a glance, whether a path is a product in this form."""

    def label(self, name: str) -> str: ...  # noqa: D102

    def names(self) -> list[str]: ...  # noqa: D102

    def exists(self, name: str) -> bool: ...  # noqa: D102

    def size(self, name: str) -> int: ...  # noqa: D102

    def read(self, name: str) -> bytes: ...  # noqa: D102

    def verify(self, name: str) -> None: ...  # noqa: D102

    def unverified(self) -> tuple[str, ...]: ...  # noqa: D102

    def xml(self, name: str) -> etree._Element: ...  # noqa: D102

    def check_image(self, name: str, grid: "Grid", count: int = 1, dtype: str = "uint16") -> int: ...  # noqa: D102

    def pixels(self, name: str, window: Window | None = None) -> "np.ndarray": ...  # noqa: D102

    def reduced(self, name: str, factor: int) -> "np.ndarray": ...  # noqa: D102

    def tiles(self, name: str) -> list[tuple[Hashable, Window]]: ...  # noqa: D102

    def same_image(self, one: str, other: str) -> bool: ...  # noqa: D102

    def jp2(self, name: str) -> bytes | None: ...  # noqa: D102

    def auxiliary_files(self, granule: PurePosixPath) -> list[str]: ...  # noqa: D102

    def messages(self, name: str) -> "list[Message]": ...  # noqa: D102
