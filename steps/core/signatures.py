"""What the kernels are called with: the types that each is compiled for ahead of time.

They are recorded in `kernels.json`, by module and function, from a cache that runs of the workflow have filled:
`python -m steps.core.signatures --cache CACHE`. A type is written as JSON: a name for a number, with the dimensions and
the layout for an array ("float32[2C]"), a list for a tuple, its class for a named one ({"module:Class": [...]}), and
the default of an argument that is left out ({"omitted": 1.5}).
"""

import importlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

from steps.core.cli import cli
from steps.core.code import code_digest
from steps.core.compiled import Dispatcher, types
from steps.core.kernel_cache import content_of

FILE = Path(__file__).with_name("kernels.json")


def encoded(kind: types.Type):
    """Return a type as JSON.

    Raises
    ------
    ValueError
        For one that only kernels hand on, such as a number that is known when they are compiled.
    """
    if isinstance(kind, types.NamedTuple):
        cls = kind.instance_class
        return {f"{cls.__module__}:{cls.__qualname__}": _encoded_fields(kind)}
    if isinstance(kind, types.BaseTuple):
        return _encoded_fields(kind)
    if isinstance(kind, types.Array) and kind.mutable and kind.aligned:
        return f"{kind.dtype}[{kind.ndim}{kind.layout}]"
    if isinstance(kind, types.Number | types.Boolean | types.NoneType) and not isinstance(kind, types.Literal):
        return str(kind)
    if isinstance(kind, types.Omitted):
        return {"omitted": kind.value}
    raise ValueError(f"{kind}: is no type of a kernel's arguments")


def _encoded_fields(kind: Any) -> list:
    return [encoded(field) for field in kind]


def decoded(text: Any) -> types.Type:
    """Return the type that `encoded` has made JSON of."""
    if isinstance(text, list):
        return types.BaseTuple.from_types([decoded(t) for t in text])
    if isinstance(text, dict):
        [(name, fields)] = text.items()
        if name == "omitted":
            return types.Omitted(fields)
        module, cls = name.split(":")
        return types.NamedTuple([decoded(t) for t in fields], getattr(importlib.import_module(module), cls))
    name, _, shape = text.partition("[")
    kind = getattr(types, "boolean" if name == "bool" else name)
    return types.Array(kind, int(shape[0]), shape[1]) if shape else kind


def kernels_of(module: str) -> dict[str, Dispatcher]:
    """Return the kernels of a module that are called from Python, by name."""
    found = vars(importlib.import_module(module)).items()
    return {
        name: value
        for name, value in found
        if isinstance(value, Dispatcher)
        and value.py_func.__module__ == module
        and not value.targetoptions.get("no_cpython_wrapper")
    }


def recorded() -> dict[str, dict[str, list]]:
    """Return the signatures of all kernels as JSON, by module and function."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def run(cache: Path) -> None:
    """Record what the kernels in CACHE, filled by runs of the workflow with this code, were compiled for."""
    found: dict[str, dict[str, list]] = {}
    for path in sorted((cache / "numba").glob("*.nbi")):
        # <module>.<function>-<module with its packages>-<digest>.py<version>.nbi
        function, module, rest = path.name.split("-")
        name = function.rpartition(".")[2]
        if rest.partition(".")[0] == code_digest(module) and name in kernels_of(module):
            signatures = sorted(filter(None, map(_encoded_all, _signatures(path))), key=json.dumps)
            found.setdefault(module, {})[name] = signatures
    lines = json.dumps(found, indent=1, sort_keys=True)
    FILE.write_text(lines + "\n", encoding="utf-8")


def _signatures(index: Path) -> list[tuple]:
    """Return the signatures in an index file of Numba's cache: its version, then stamp and overloads, are pickles."""
    stream = io.BytesIO(content_of(index))
    pickle.load(stream)
    _, overloads = pickle.load(stream)
    return [signature for signature, *_ in overloads]


def _encoded_all(signature: tuple) -> list | None:
    """Return the types of arguments as JSON, None for those that only another kernel gives."""
    try:
        return [encoded(kind) for kind in signature]
    except ValueError:
        return None


if __name__ == "__main__":
    cli(run)
