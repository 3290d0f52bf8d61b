"""What became of a run: its table and its page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.core.documents import atomic
from steps.l2a.pages import index_page
from steps.l2a.run_summary import Row, product_row, write_summary


@dataclass(frozen=True)
class Run:
    """Hold what a run was to make, and what it left out from the start.

    Attributes
    ----------
    folder
        Of all products.
    products
        L1C product by the name of the L2A product.
    untouched
        The same of those that the region of interest does not touch.
    set_aside
        What is wrong with other products, by path.
    formats
        Their names, which are columns of the table.
    files
        A function of a product's name: paths of all files that were to be made of it, and of the last one of each
        format by its name.
    """

    folder: Path
    products: Mapping[str, str]
    untouched: Mapping[str, str]
    set_aside: Mapping[str, str]
    formats: Sequence[str]
    files: Callable[[str], tuple[Sequence[str], Mapping[str, str]]]

    def rows(self) -> list[Row]:
        """Return what became of each product."""
        found = [product_row(name, l1c, self.folder / name, *self.files(name)) for name, l1c in self.products.items()]
        found += [
            Row(name, "skipped", reason="not in the region of interest", input=l1c)
            for name, l1c in self.untouched.items()
        ]
        return found + [Row(l1c, "set aside", reason=reason, input=l1c) for l1c, reason in self.set_aside.items()]

    def write(self, rows: Sequence[Row], table: Path, page: Path, title: str) -> None:
        """Write rows as a table and, with a title, as a page."""
        write_summary(table, rows, self.formats)
        with atomic(page) as part:
            part.write_text(index_page(rows, self.folder, title))
