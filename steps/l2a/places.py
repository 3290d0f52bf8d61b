"""Where the files of a run lie; `{product}` stands for the name of a product, as in the patterns of Snakemake."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from steps.l2a.pages import REPORT


@dataclass(frozen=True)
class Places:
    """Where the files of a run lie.

    Attributes
    ----------
    out
        Folder of the products.
    work
        Folder that holds what lies between the stages, which may be elsewhere.
    table
        The setting `input`: a table's name is that of its summary.
    """

    out: str
    work: str
    table: str

    def between(self, path: str) -> str:
        """Return a file that lies between the stages, given by its path below the product's folder `work`."""
        return f"{self.work}/{{product}}/work/{path}"

    def kept(self, path: str) -> str:
        """Return a file that stays, given by its path below the product's folder."""
        return f"{self.out}/{{product}}/{path}"

    @property
    def formats(self) -> dict[str, str]:
        """What of each format is written last."""
        return {
            "safe": f"{self.out}/{{product}}.SAFE/manifest.safe",
            "cog": self.kept("cog/item.json"),
            "zarr": f"{self.out}/{{product}}.zarr/.zmetadata",
        }

    @property
    def done(self) -> str:
        """What says that all of a product is there."""
        return self.kept("logs/product.done")

    @property
    def uploaded(self) -> str:
        """What says that a product was uploaded."""
        return self.kept("logs/upload.json")

    @property
    def summary(self) -> str:
        """What became of the products of a table: a file for each table, since several may share the folder."""
        return f"{self.out}/{Path(self.table).stem}_summary.csv"

    @property
    def index(self) -> str:
        """The same as a page."""
        return f"{self.out}/{Path(self.table).stem}_index.html"

    @property
    def catalog(self) -> str:
        """The STAC catalog of the folder."""
        return f"{self.out}/catalog.json"

    def last_files(self, product: str, formats: Iterable[str]) -> dict[str, str]:
        """Return what is written last of a product in each of the formats, by the format."""
        return {name: self.formats[name].format(product=product) for name in formats}

    def wanted(self, product: str, formats: Iterable[str], quicklooks: Iterable[str]) -> list[str]:
        """Return what a user gets of a product: reports, pictures by their names, and the last file of each format."""
        pictures = (f"quicklook/{name}.png" for name in quicklooks)
        files = [self.kept(path).format(product=product) for path in ("report/quality.json", REPORT, *pictures)]
        return files + list(self.last_files(product, formats).values())
