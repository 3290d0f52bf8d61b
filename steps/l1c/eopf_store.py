"""The nodes and arrays of an EOPF Zarr, of Zarr format 2 or 3, whatever product is in it."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.errors import StepError
from steps.l1c.documents import read_json
from steps.l1c.files import AGAIN

if TYPE_CHECKING:
    import numpy as np


class Store:
    """A Zarr that is read.

    Parameters
    ----------
    path
        Its folder.

    Raises
    ------
    StepError
        If it is not there or has no consolidated metadata.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not self.path.exists():
            raise StepError(f"{path}: does not exist; give the path of an L1C Zarr")
        self._open: dict[str, Any] = {}
        self._format = 3 if (self.path / "zarr.json").is_file() else 2
        if self._format == 2 and not (self.path / ".zmetadata").is_file():
            raise StepError(
                f"{path}: has no consolidated metadata (.zmetadata), so what is missing in it would not be noticed; "
                f"{AGAIN}, or if it is complete: python -c 'import zarr; zarr.consolidate_metadata(\"{path}\")'"
            )

    @functools.cached_property
    def _consolidated(self) -> Mapping[str, dict]:
        """What describes each node: of format 2 by file (`a/b/.zarray`), of format 3 by path if it is there at all."""
        if self._format == 2:
            found = read_json(self.path / ".zmetadata").get("metadata")
            if not isinstance(found, dict):
                raise StepError(f"{self.path / '.zmetadata'}: has no metadata in it; {AGAIN}")
            return found
        root = read_json(self.path / "zarr.json")
        consolidated = root.get("consolidated_metadata") or {}
        return {"": root, **consolidated.get("metadata", {})}

    def _node(self, path: str) -> dict | None:
        """Return what format 3 tells of a node, None where there is none."""
        if path not in self._consolidated and (self.path / path / "zarr.json").is_file():
            return read_json(self.path / f"{path}/zarr.json")
        return self._consolidated.get(path)

    def attributes(self, path: str) -> dict:
        """Return the attributes of a node, and those that older products have one level down in `_eopf_attrs`."""
        if self._format == 2:
            found = self._consolidated.get(f"{path}/.zattrs".lstrip("/"), {})
        else:
            found = (self._node(path) or {}).get("attributes", {})
        return {**found.get("_eopf_attrs", {}), **found}

    def array(self, path: str) -> dict | None:
        """Return what describes an array (`shape`, `fill_value` ...), None where there is none."""
        if self._format == 2:
            return self._consolidated.get(f"{path}/.zarray")
        node = self._node(path)
        return node if node and node.get("node_type") == "array" else None

    @property
    def origin(self) -> Path:
        """Return the file with what the product says of itself as a whole."""
        return self.path / ("zarr.json" if self._format == 3 else ".zattrs")

    @functools.cached_property
    def _group(self):
        import zarr

        return zarr.open_group(self.path, mode="r", zarr_format=self._format)

    def values(self, path: str, window=...) -> "np.ndarray":
        """Return the values of an array or of a part of it, in the machine's byte order.

        Raises
        ------
        StepError
            If they cannot be decoded.
        """
        array = self.opened(path)
        with self.refusing(path, "cannot be decoded"):
            found = array[window]
            return found.astype(found.dtype.newbyteorder("="), copy=False)

    def opened(self, path: str) -> Any:
        """Return an array of the library `zarr` to read from.

        Raises
        ------
        StepError
            If there is none at the path, or it cannot be opened.
        """
        if path not in self._open:
            with self.refusing(path, "cannot be opened"):
                self._open[path] = self._group[path]
                if not hasattr(self._open[path], "shape"):
                    raise ValueError("it is no array")
        return self._open[path]

    @contextlib.contextmanager
    def refusing(self, place: str, what: str) -> Iterator[None]:
        """Raise `StepError` at anything that is raised: libraries and codecs raise what they like."""
        try:
            yield
        except StepError:
            raise
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise StepError(f"{self.path / place}: {what} ({words:.200}); {AGAIN}") from error

    def chunk(self, path: str) -> tuple[int, ...]:
        """Return the rows, columns ... of the pieces that an array is read in."""
        array = self.opened(path)
        return array.shards or array.chunks
