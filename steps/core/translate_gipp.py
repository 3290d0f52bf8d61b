"""Translate Sen2Cor's settings into a configuration: `python -m steps.core.translate_gipp L2A_GIPP.xml > mine.yaml`.

What every parameter is here, or why there is no equal, is in `steps.core.gipp` and config/SEN2COR.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lxml import etree

from steps.core.errors import StepError
from steps.core.gipp import PARAMETERS, Gipp

_KNOWN = {parameter.name: parameter for parameter in PARAMETERS}
_ROOT = "Level-2A_Ground_Image_Processing_Parameter"
#: Elements with parameters of schemas in them, which count as one.
_GROUP = "PSD_Scheme"
_REMEDY = "give the L2A_GIPP.xml in the folder cfg of Sen2Cor"


def read_gipp(path: Path) -> tuple[Gipp, list[str]]:
    """Read a file of Sen2Cor's settings.

    Returns
    -------
    tuple
        The settings, and the names of parameters that no known version of Sen2Cor has.

    Raises
    ------
    StepError
        If the file is no `L2A_GIPP.xml`, or a value in it none that Sen2Cor takes.
    """
    given = _elements(path)
    if not given.keys() & _KNOWN.keys():
        raise StepError(f"{path}: has none of the parameters of L2A_GIPP.xml; {_REMEDY}")
    values = {}
    for parameter in PARAMETERS:
        name = parameter.name
        values[name] = given.get(name, (*parameter.defaults, "")[0])
        if parameter.words:
            values[name] = values[name].upper()
        wrong = parameter.error(values[name]) if name in given and name != _GROUP else ""
        if wrong:
            raise StepError(f"{path}: {name} {wrong}; correct it")
    return Gipp(path, values), [name for name in given if name not in _KNOWN]


def _elements(path: Path) -> dict[str, str]:
    """Return the text of each parameter in a file."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(path.read_bytes(), parser)
    except OSError as error:
        raise StepError(f"{path}: {error.strerror}; {_REMEDY}") from error
    except (etree.XMLSyntaxError, ValueError) as error:
        raise StepError(f"{path}: is not valid XML ({error}); {_REMEDY}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise StepError(f"{path}: has a document type declaration, which no settings of Sen2Cor have; {_REMEDY}")
    if _name(root) != _ROOT:
        raise StepError(f"{path}: holds no settings of Sen2Cor but <{_name(root)}>; {_REMEDY}")
    given: dict[str, str] = {}
    for element in root.iter("*"):
        if len(element) or any(_name(above) == _GROUP for above in element.iterancestors()):
            continue
        name, value = _name(element), (element.text or "").strip()
        if name in given and name != _GROUP:
            raise StepError(f"{path}: {name} is set twice; remove one")
        given[name] = value
    return given


def _name(element: etree._Element) -> str:
    return str(etree.QName(element).localname)


def translate(gipp: Gipp) -> tuple[dict[str, Any], list[str]]:
    """Return our settings for all that is set away from Sen2Cor's defaults, and a line for what has no equal.

    What is left at a default was not chosen, so that our own default, not Sen2Cor's, takes its place.

    Returns
    -------
    tuple
        The settings, in sections as the configuration has them, and a sentence for each parameter that has no equal,
        or one that differs.
    """
    settings: dict[str, Any] = {}
    lines = []
    for parameter in PARAMETERS:
        value = gipp.values[parameter.name]
        if parameter.is_default(value):
            continue
        ours = parameter.convert(gipp) if parameter.convert else None
        if ours is None:
            lack = "not translated" if parameter.convert else "no equal"
            lines.append(f"{parameter.name} {value}: {lack}. {parameter.text}")
        elif parameter.note and parameter.settings[0] in ours:
            lines.append(f"{parameter.name} {value}: now {_as_text(ours)}; {parameter.note}.")
        for name, setting in (ours or {}).items():
            section, _, key = name.rpartition(".")
            there = settings.setdefault(section, {}) if section else settings
            there[key] = there.get(key, []) + setting if isinstance(setting, list) else setting
    return settings, lines


def _as_text(settings: dict[str, Any]) -> str:
    import yaml

    flow = {name: yaml.safe_dump(value, default_flow_style=True).splitlines()[0] for name, value in settings.items()}
    return ", ".join(f"{name}: {value}" for name, value in flow.items())


def as_yaml(settings: dict[str, Any], path: Path) -> str:
    """Return settings as a file for `snakemake --configfile`."""
    import yaml

    head = f"# What {path.name!r} sets away from Sen2Cor's defaults; config/SEN2COR.md tells how it was translated.\n"
    return head + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the configuration that a file of Sen2Cor's settings is equal to, and tell on stderr what has no equal."""
    parser = argparse.ArgumentParser(
        prog="python -m steps.core.translate_gipp",
        description="Print the configuration that an L2A_GIPP.xml of Sen2Cor is equal to; see config/SEN2COR.md.",
    )
    parser.add_argument("gipp", type=Path, help="Sen2Cor's settings, L2A_GIPP.xml")
    path = parser.parse_args(arguments).gipp
    try:
        gipp, unknown = read_gipp(path)
    except StepError as error:
        sys.stderr.write(f"ERROR: {error.line}\n")
        sys.exit(2)
    settings, lines = translate(gipp)
    lines += [f"{name}: no equal. It is no parameter of L2A_GIPP.xml in Sen2Cor 2.8 to 2.12." for name in unknown]
    sys.stderr.writelines(f"WARNING: {line}\n" for line in lines)
    sys.stdout.write(as_yaml(settings, path))


if __name__ == "__main__":
    main()
