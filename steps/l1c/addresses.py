"""Level-1C products that are not at hand: at an address, or in a compressed tar. Which they are, and how they come.

Nothing heavy is imported here: a workflow asks for many products' names before its first job runs.
"""

import json
import re
from pathlib import PurePosixPath

from steps.core.errors import StepError
from steps.core.transfer import Store, is_address
from steps.sentinel2.names import product_parts
from steps.sentinel2.satellites import CODE

_NAME = re.compile(rf"{CODE}_MSIL1C_\w{{15}}_N\d{{4}}_R\d{{3}}_T\w{{5}}_\w{{15}}", re.ASCII)
_COMPRESSED = re.compile(r".*\.(tar\.(gz|bz2|xz)|tgz|tbz2?|txz)", re.IGNORECASE | re.DOTALL)
#: A tile's folder in the layout of the AWS bucket.
_TILE = re.compile(r"s3://[^/]+/(?:.*/)?(tiles/\d+/[A-Z]/[A-Z]{2}/\d{4}/\d+/\d+/\d+)/?", re.ASCII)
_PACKED = (".zip", ".tar")


def is_elsewhere(given: str) -> bool:
    """Tell whether a product has to be fetched or unpacked first."""
    return is_address(given) or _COMPRESSED.fullmatch(given) is not None


def product_at(given: str, store: Store) -> str:
    """Return the name of a product, as its address or file name tells, or `tileInfo.json` in a tile's folder.

    An address that does not tell it may have it at its end, after a `#`.

    Raises
    ------
    StepError
        If nothing tells it.
    """
    if _TILE.fullmatch(given):
        address = f"{given.rstrip('/')}/tileInfo.json"
        try:
            name = str(json.loads(store.read(address))["productName"])
        except (ValueError, KeyError, TypeError) as error:
            raise StepError(f"{address}: does not tell the product's name ({error}); correct the address") from error
        if not product_parts(name):
            raise StepError(f"{given}: is of '{name:.100}', from before December 2016; download it and give its folder")
        return name
    return _named(given)


def _named(given: str) -> str:
    found = _NAME.findall(given)
    if not found or not product_parts(found[-1]):
        remedy = "add `#` and the name" if is_address(given) else "name the file as the product"
        raise StepError(f"{given}: does not tell the product's name, S2A_MSIL1C_... ; {remedy}")
    return found[-1]


def place_of(given: str) -> PurePosixPath:
    """Return where a product lies in the folder that it is fetched to; errors as of `product_at`."""
    if tile := _TILE.fullmatch(given):
        return PurePosixPath(tile[1])
    product = _named(given)
    if not is_address(given):
        return PurePosixPath(f"{product}.tar")
    suffix = PurePosixPath(given.partition("#")[0].rstrip("/")).suffix.lower()
    if suffix not in (*_PACKED, ".zarr"):
        suffix = ".SAFE" if given.startswith("s3://") else ".zip"
    return PurePosixPath(f"{product}{suffix}")


def bucket_of(given: str) -> str | None:
    """Return the address of the folder with `tiles` and `products` that a tile's folder is in; None of any other."""
    tile = _TILE.fullmatch(given)
    return tile and given[: tile.start(1)]
