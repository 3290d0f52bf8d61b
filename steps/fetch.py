"""Stage: a product that lies at an address or in a compressed tar, brought to where the other stages read it."""

import bz2
import gzip
import json
import logging
import lzma
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from steps.core.cli import cli
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.parallel import workers
from steps.core.transfer import Missing, Store, is_address
from steps.l1c.addresses import bucket_of, place_of
from steps.l1c.checksums import MANIFEST, Checksums, Setting, digest_file, listed
from steps.l1c.documents import parse
from steps.l1c.formats import product_name
from steps.sentinel2.names import l2a_name

logger = logging.getLogger(__name__)

#: Files of a product that no stage reads: pictures, pages and schemas.
_UNUSED = re.compile(r"(.*_|.*/)?(TCI|PVI)\.jp2|(HTML|rep_info|preview)/.*|.*-ql\.jpg|preview\.jp[2g]", re.DOTALL)
_OPENERS: dict[str, Callable] = {"gz": gzip.open, "z2": bz2.open, "xz": lzma.open}
#: Bytes that no product's tar reaches.
_LARGEST = 4e9
_PIECE = 2**20


def run(
    address: str,
    product: str,
    l1c: Path,
    endpoint: str | None = None,
    profile: str | None = None,
    requester_pays: bool = False,
    checksums: Setting = "refuse",
    threads: int = 1,
) -> None:
    """Fetch a Level-1C product: of a prefix in an object store the files that are read, else the package.

    Each file is compared with its checksum in `manifest.safe` at once, and fetched anew if it does not fit. After a
    failure the next call goes on where this one stopped.

    Parameters
    ----------
    address
        `s3://` of a SAFE folder, of a tile's folder in the layout of the AWS bucket, or of a zip or tar; `https://` of
        a zip or tar; or the path of a compressed tar.
    product
        Name of the Level-2A product that is to be made of it.
    l1c
        Folder that is made, with the product in it.
    endpoint, profile, requester_pays
        How the object store is reached, see `steps.core.transfer.Store`.
    checksums
        What to do with a file that does not fit its checksum each time it is fetched.
    threads
        Files fetched side by side.

    Raises
    ------
    StepError
        If there is nothing, it cannot be had, or it is another product.
    """
    store = Store(endpoint, profile, requester_pays)
    # Not the beginning of a result, which would be removed, but what the next call goes on with.
    begun = l1c.with_name(f".{l1c.name}_begun")
    place = begun / place_of(address)
    if not is_address(address):
        _uncompress(Path(address), place)
    elif place.suffix in (".zip", ".tar"):
        store.fetch(address, place)
    else:
        _fetch_folder(store, address, begun, place, checksums, threads)
    if (found := l2a_name(product_name(place))) != product:
        shutil.rmtree(begun)
        raise StepError(f"{address}: holds the product of {found}, not that of {product}; correct the address")
    with atomic(l1c) as part:
        begun.replace(part)


def _fetch_folder(store: Store, address: str, begun: Path, place: Path, checksums: Setting, threads: int) -> None:
    """Fetch the files below a prefix that are read."""
    address = address.partition("#")[0].rstrip("/")
    found = store.sizes(address)
    sizes = {name: size for name, size in found.items() if _is_inside(name) and not _UNUSED.fullmatch(name)}
    if not sizes:
        raise StepError(f"{address}: there is nothing; correct the address or the endpoint")
    check: Callable[[str, Path], None] = lambda name, path: None  # noqa: E731
    if MANIFEST in sizes:
        store.fetch(f"{address}/{MANIFEST}", place / MANIFEST)
        if checksums == "refuse":
            expected = Checksums(listed(parse((place / MANIFEST).read_bytes(), f"{address}/{MANIFEST}")), checksums)
            check = lambda name, path: expected.check(name, f"{address}/{name}", digest_file(path))  # noqa: E731

    def fetch(name: str) -> int:
        store.fetch(f"{address}/{name}", place / name, lambda path: check(name, path))
        return sizes[name]

    with workers("threads", threads) as run_all:
        total = sum(run_all(fetch, sorted(sizes, key=sizes.__getitem__, reverse=True)))
    logger.info("%s: %d files, %.1f MB", address, len(sizes), total / 1e6)
    if bucket := bucket_of(address):
        _fetch_metadata(store, bucket, begun, place)


def _fetch_metadata(store: Store, bucket: str, begun: Path, place: Path) -> None:
    """Fetch what a tile's product and datastrip tell, from their folders in the bucket, if they are there."""
    try:
        about = json.loads((place / "tileInfo.json").read_bytes())
        folders = [about["productPath"], *([about["datastrip"]["path"]] if "datastrip" in about else [])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError(f"{place}/tileInfo.json: does not tell where its product is ({error})") from error
    for folder in folders:
        if not _is_inside(folder):
            raise StepError(f"{place}/tileInfo.json: '{folder:.100}' is no place in the bucket")
        try:
            store.fetch(f"{bucket}{folder}/metadata.xml", begun / folder / "metadata.xml")
        except Missing as error:
            logger.warning("%s", error.line)


def _is_inside(name: str) -> bool:
    """Tell whether a path stays in the folder that it starts from."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _uncompress(path: Path, place: Path) -> None:
    """Write the tar in a compressed one."""
    try:
        with atomic(place) as part, _OPENERS[path.suffix[-2:]](path, "rb") as source, part.open("wb") as target:
            while piece := source.read(_PIECE):
                target.write(piece)
                if target.tell() > _LARGEST:
                    raise ValueError("it becomes larger than any product")
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.filename not in (None, str(path)):
            raise
        raise StepError(f"{path}: cannot be unpacked ({error}); download it again") from error


if __name__ == "__main__":
    cli(run)
