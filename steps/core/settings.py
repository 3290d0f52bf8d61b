"""The user's settings: `workflow/schemas/config.schema.yaml` declares each once, with its type, range and default.

From there follow the defaults, what words of a command line stand for, what is refused, the table in config/README.md
(`tests/test_config.py`), and the choices and defaults of the stages, which a test compares.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from steps.core.errors import StepError
from steps.core.transfer import is_address

#: Settings that are paths.
_PATHS = (
    *("input", "output", "dem", "cache", "roi", "scratch"),
    *("classification.water_bodies", "classification.land_cover", "classification.snow_condition"),
)
#: These are made, or their absence is told elsewhere.
_MADE = ("input", "output", "cache", "roi", "scratch")
#: What stands in place of a path.
_WORDS = ("demo", "copernicus_30", "copernicus_90")
#: What stands for no value on a command line, where all is text.
_NOTHING = ("", "null", "none")
#: What a text stands for, by the type that a setting may have.
_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": {"true": True, "false": False}.__getitem__,
    "integer": int,
    "number": float,
}


def checked(given: Mapping, schema: Mapping) -> dict:
    """Return the user's settings with the defaults of all others, each of the type and in the range declared.

    Text of a command line becomes what it stands for: a number, true or false, nothing (`null`), a list (`a,b`). A `~`
    in a path is expanded.

    Parameters
    ----------
    given
        As Snakemake has read it.
    schema
        The declaration, a JSON schema.

    Raises
    ------
    StepError
        In one line, if a setting is unknown or its value not allowed; if a path has characters that no stage could
        pass on, or does not lead to what it has to.
    """
    from jsonschema import Draft202012Validator

    result = _section(given, schema, "", _names(schema))
    errors = sorted(Draft202012Validator(schema).iter_errors(result), key=lambda error: len(error.absolute_path))
    if errors:
        where = ".".join(map(str, errors[0].absolute_path))
        raise StepError(f"configuration at {where}: {errors[0].message}; see config/README.md")
    for name, value in _leaves(result):
        if isinstance(value, float) and not math.isfinite(value):
            raise StepError(f"configuration at {name}: {value} is no number to compute with; see config/README.md")
    _check_output(result["output"])
    return result


def _names(schema: Mapping, prefix: str = "") -> list[str]:
    """Return the names of all settings, `section.name` where they are in a section."""
    names = []
    for name, entry in schema["properties"].items():
        inside = _names(entry, f"{prefix}{name}.") if "properties" in entry else []
        names += inside or [prefix + name]
    return names


def _section(given: Any, schema: Mapping, prefix: str, names: list[str]) -> dict:
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise StepError(f"configuration at {prefix.rstrip('.')}: {given!r} is no section; see config/README.md")
    for name in given:
        if name not in schema["properties"]:
            raise _unknown(f"{prefix}{name}", names)
    result: dict[str, Any] = {}
    for name, entry in schema["properties"].items():
        value = given.get(name, entry["default"])
        if "properties" in entry:
            result[name] = _section(value, entry, f"{prefix}{name}.", names)
        else:
            result[name] = _value(f"{prefix}{name}", value, entry)
    return result


def _unknown(name: str, names: list[str]) -> StepError:
    """Return the error of a setting that there is not, with the one that may be meant."""
    plain = {known.replace(".", "_"): known for known in names}
    last = {known.rpartition(".")[2]: known for known in names}
    wanted = name.replace(".", "_").replace("-", "_")
    close = difflib.get_close_matches(wanted, plain, 1, 0.7) or difflib.get_close_matches(wanted, last, 1, 0.7)
    if not close:
        return StepError(f"configuration: {name} is no setting; see config/README.md")
    meant = plain.get(close[0]) or last[close[0]]
    section, _, key = meant.rpartition(".")
    how = f" (on a command line: --config {section}='{{{key}: ...}}')" if section else ""
    return StepError(f"configuration: {name} is no setting; did you mean {meant}{how}? See config/README.md")


def _value(name: str, value: object, entry: Mapping) -> object:
    """Return what a setting is given as: text of a command line as what it stands for, a path completed."""
    kinds = entry.get("type", "string")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if type(value) is int and "string" in kinds and "number" not in kinds:
        value = str(value)  # a folder whose name is a number
    if isinstance(value, str):
        if "null" in kinds and value.strip().lower() in _NOTHING:
            return None
        value = _read(value, kinds, entry)
    if kinds == ["array"] and not isinstance(value, (list, Mapping)):
        value = [value]  # one item needs no brackets
    if isinstance(value, list) and "items" in entry:
        items = entry["items"]
        value = [_read(item, [items.get("type", "string")], items) if isinstance(item, str) else item for item in value]
    return _path(name, value) if name in _PATHS and isinstance(value, str) else value


def _read(text: str, kinds: list[str], entry: Mapping) -> object:
    """Return what a text stands for, or the text itself, which validation then judges."""
    for kind in kinds:
        if kind in _READERS:
            try:
                return _READERS[kind](text)
            except (KeyError, ValueError):
                continue
        if kind == "array":
            item = entry["items"].get("type", "string")
            words = [_read(word.strip(), [item], entry["items"]) for word in text.split(",")]
            if item == "string" or not any(isinstance(word, str) for word in words):
                return words
    return text


def _path(name: str, value: str) -> str:
    if any(ord(character) < 32 for character in value):
        raise StepError(f"{name}: {value!r} has a control character; choose another path")
    path = Path(value).expanduser()
    if name not in _MADE and value not in _WORDS and not path.exists():
        raise StepError(f"{name}: {value} does not exist; correct the path or leave it out")
    # A path that begins with a dash would be taken for an option.
    return f"./{value}" if value.startswith("-") else str(path) if value.startswith("~") else value


def _check_output(output: str) -> None:
    places = (Path(output), *Path(output).absolute().parents)
    if not next(place for place in places if place.exists()).is_dir():
        raise StepError(f"output: {output} is not a folder; choose another")


def absolute(settings: Mapping, prefix: str = "") -> dict:
    """Return settings whose paths hold from any folder; words such as `demo`, addresses and variables are none."""
    result = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            value = absolute(value, f"{prefix}{name}.")
        elif prefix + name in _PATHS and isinstance(value, str) and not _is_no_path(value):
            value = str(Path(value).expanduser().absolute())
        result[name] = value
    return result


def _is_no_path(value: str) -> bool:
    return value in _WORDS or is_address(value) or value.startswith("$")


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield all values in settings, with their names."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield name, value
    for key, item in items or ():
        yield from _leaves(item, f"{name}.{key}" if name else str(key))
