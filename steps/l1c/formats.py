"""The forms in which a Level-1C product comes, and which of them a path is."""

from pathlib import Path

from steps.l1c.aws import AwsTile
from steps.l1c.checksums import Setting
from steps.l1c.eopf import Eopf
from steps.l1c.many_granules import ManyGranules, granules
from steps.l1c.protocol import Product
from steps.l1c.safe import Safe, name_in, product_metadata

#: Forms, the first that recognises a path reads it; the last tells what is wrong with any other.
READERS: list[type[Product]] = [Eopf, ManyGranules, AwsTile, Safe]


def open_product(path: Path, checksums: Setting = "ignore") -> Product:
    """Open a Level-1C product in whatever form it is.

    Parameters
    ----------
    path
        SAFE folder, zip or tar that holds one, folder of a granule in a product with many, tile folder in the layout of
        the AWS bucket, or EOPF Zarr.
    checksums
        What to do with a file that does not fit its checksum when it is read.

    Raises
    ------
    StepError
        If it is no Level-1C product in a form that is known.
    """
    reader = next((reader for reader in READERS if reader.recognises(Path(path))), READERS[-1])
    return reader(path, checksums)


def product_name(path: Path) -> str:
    """Return the name of a Level-1C product, without `.SAFE`, as its metadata give it; errors as of `open_product`."""
    product = open_product(path)
    return name_in(product, product_metadata(product))


def products_in(path: str) -> list[str]:
    """Return the paths of the products that a path holds: its granules in the format with many, else itself."""
    return [str(folder) for folder in granules(Path(path))] or [path]
