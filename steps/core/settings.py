"""The user's settings as the workflow takes them: paths completed, words for nothing understood, numbers finite."""

import math
from collections.abc import Iterator
from pathlib import Path

from steps.core.errors import StepError

#: Settings that are paths; those below have a default that is not null.
_PATHS = ("input", "output", "dem", "cache", "roi")
_LAYERS = ("water_bodies", "land_cover", "snow_condition")
_REQUIRED = ("input", "output")
#: These are made, or their absence is told elsewhere.
_MADE = ("input", "output", "cache", "roi")
#: What stands for no value on a command line, where all is text.
_NOTHING = ("", "null", "none")


def completed(config: dict) -> dict:
    """Return settings in which `~` is expanded, and the words of a command line are what they stand for.

    Raises
    ------
    StepError
        If a path has characters that no stage could pass on, or does not lead to what it has to.
    """
    # `--config key=true` arrives as text, only `True` as a boolean.
    result = {key: value == "true" if value in ("true", "false") else value for key, value in config.items()}
    result.update({key: _path(key, result[key]) for key in _PATHS if isinstance(result.get(key), str)})
    layers = result.get("classification")
    if isinstance(layers, dict):
        found = {
            key: _path(f"classification.{key}", layers[key]) for key in _LAYERS if isinstance(layers.get(key), str)
        }
        result["classification"] = layers | found
    if isinstance(result.get("formats"), str):
        result["formats"] = [result["formats"]]
    result["roi"] = _numbers(result.get("roi"))
    output = result.get("output")
    if isinstance(output, str) and set("{}") & set(output):
        raise StepError(
            f"output: {output} has braces, in which Snakemake looks for wildcards; choose another output folder"
        )
    if isinstance(output, str):
        places = (Path(output), *Path(output).absolute().parents)
        if not next(place for place in places if place.exists()).is_dir():
            raise StepError(f"output: {output} is not a folder; choose another")
    return result


def check_finite(config: dict) -> None:
    """Raise `StepError` if a number among valid settings is infinite or none."""
    for name, value in _numbers_in(config):
        if not math.isfinite(value):
            raise StepError(f"configuration at {name}: {value} is no number to compute with; see config/README.md")


def _path(name: str, value: str) -> str | None:
    if name not in _REQUIRED and value.strip().lower() in _NOTHING:
        return None
    if any(ord(character) < 32 for character in value):
        raise StepError(f"{name}: {value!r} has a control character; choose another path")
    path = Path(value).expanduser()
    if name not in _MADE and not path.exists():
        raise StepError(f"{name}: {value} does not exist; correct the path or leave it out")
    # A path that begins with a dash would be taken for an option.
    return f"./{value}" if value.startswith("-") else str(path) if value.startswith("~") else value


def _numbers(value):
    """Return as numbers what stands in a list on the command line, which arrives as text; other values as they are."""
    try:
        return [float(item) for item in value] if isinstance(value, list) else value
    except (TypeError, ValueError):
        return value


def _numbers_in(value, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield all floating point numbers in a setting, with their names."""
    if isinstance(value, float):
        yield name, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _numbers_in(item, f"{name}.{key}" if name else str(key))
