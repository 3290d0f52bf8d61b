"""The command line of `sen2flow`; its options for settings are those that the schema declares."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Never

import yaml

from steps import __version__
from steps.command.doctor import examine
from steps.command.launch import SCHEMA, launch
from steps.core.errors import StepError
from steps.core.product_list import read_list

_DEMO = "Process the scene of 10 km that comes with Sen2Flow."
_RUN = "Make Level-2A products from Level-1C products: SAFE folders, zips, or a table (.csv) with the column `input`."
_CHECK = "Tell whether products are complete and undamaged, without processing them."
_DOCTOR = "Look at what Sen2Flow needs of this machine, and say what to fix."
#: Settings that have an argument of their own here.
_OWN = ("input", "output", "roi")


def main(argv: list[str] | None = None) -> None:
    """Run `sen2flow`: exit code 0, 1 if a product or an examination failed, 2 with one line if the input is wrong."""
    arguments = parser().parse_args(argv)
    try:
        sys.exit(arguments.call(arguments))
    except StepError as error:
        sys.exit(_refused(error))


def _refused(error: StepError) -> int:
    print(f"ERROR: {error.line}", file=sys.stderr)  # noqa: T201
    return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(prog="sen2flow", description="Sentinel-2 Level-1C to Level-2A.")
    result.add_argument("--version", action="version", version=f"Sen2Flow {__version__}")
    commands = result.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help=_RUN.partition(":")[0] + ".", description=_RUN)
    run.add_argument("inputs", nargs="*", metavar="L1C", help="Level-1C product, or one table of many")
    run.add_argument("-o", "--output", required=True, help="folder for the products")
    run.add_argument("--roi", nargs="+", metavar="W S E N", help="region in degrees, or a GeoJSON file")
    run.add_argument("--only", metavar="N", help="one product of the table: its number from 0, or a variable with it")
    run.set_defaults(call=_run)
    demo = commands.add_parser("demo", help=_DEMO, description=_DEMO)
    demo.add_argument("-o", "--output", default="results", help="folder for the product (default: %(default)s)")
    demo.set_defaults(call=_run, inputs=["demo"], roi=None, only=None)
    for command in (run, demo):
        _add_options(command)
    check = commands.add_parser("check", help=_CHECK, description=_CHECK)
    check.add_argument("inputs", nargs="+", metavar="L1C", help="Level-1C product: SAFE folder or zip")
    check.set_defaults(call=_check)
    doctor = commands.add_parser("doctor", help=_DOCTOR, description=_DOCTOR)
    doctor.add_argument("-o", "--output", default=".", help="folder to write to (default: the working directory)")
    doctor.set_defaults(call=lambda arguments: examine(Path(arguments.output)))
    return result


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cores", help="processors to use (default: all)")
    command.add_argument("--profile", help="where jobs run: `slurm`, or a profile of Snakemake's")
    command.add_argument("--config", type=Path, help="file with settings (YAML)")
    command.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="any other setting")
    command.add_argument("-n", "--dry-run", action="store_true", help="only show what would be done")
    command.add_argument("--verbose", action="store_true", help="show what Snakemake says, with commands")
    settings = command.add_argument_group("settings", "as in config/README.md")
    for name, entry in SCHEMA["properties"].items():
        if name not in _OWN and "properties" not in entry:
            flag, text = "--" + name.replace("_", "-"), entry["description"].replace("%", "%%")
            kind: dict = {"action": argparse.BooleanOptionalAction} if entry.get("type") == "boolean" else {}
            settings.add_argument(flag, help=text, default=argparse.SUPPRESS, **kind or {"metavar": "VALUE"})


def _run(arguments: argparse.Namespace) -> Never:
    inputs, roi = _told_apart(arguments.inputs, arguments.roi or [])
    if not inputs:
        raise StepError("no product is given; name a Level-1C product or a table: sen2flow run L1C -o FOLDER")
    if arguments.only is not None:
        inputs = [_one_of(inputs[0], arguments.only)]
    settings = _file(arguments.config) if arguments.config else {}
    for word in arguments.set:
        _put(settings, word)
    settings |= {name: value for name, value in vars(arguments).items() if name in SCHEMA["properties"]}
    settings.pop("roi", None)
    launch(
        inputs,
        settings | ({"roi": roi} if roi else {}),
        cores=arguments.cores,
        profile=arguments.profile,
        dry_run=arguments.dry_run,
        verbose=arguments.verbose,
    )


def _one_of(table: str, number: str) -> str:
    """Return a product of a table by its number from 0, or by the variable that has it, as jobs of an array do."""
    text, products = os.environ.get(number, number), read_list(table)
    if not text.isdecimal() or int(text) >= len(products):
        raise StepError(f"--only {number}: '{text}' is no number from 0 to {len(products) - 1}; {table} has no more")
    return products[int(text)]


def _told_apart(inputs: list[str], words: list[str]) -> tuple[list[str], list[float] | str | None]:
    """Return products and region: four numbers or the name of a file, after which products may follow."""
    try:
        return inputs + words[4:], [float(word) for word in words[:4]] or None
    except ValueError:
        return inputs + words[1:], words[0]


def _file(path: Path) -> dict:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StepError(
            f"{path}: cannot be read ({error}); give a file with settings as in config/README.md"
        ) from error
    if not isinstance(settings, dict):
        raise StepError(f"{path}: holds no settings; see config/README.md")
    return settings


def _put(settings: dict, word: str) -> None:
    """Put a setting given as `section.name=value` in its place."""
    name, equals, value = word.partition("=")
    if not equals:
        raise StepError(f"--set {word}: has no value; write it as --set {word}=VALUE")
    *sections, last = name.split(".")
    for section in sections:
        inner = settings.setdefault(section, {})
        if not isinstance(inner, dict):
            raise StepError(f"--set {word}: {section} is no section; see config/README.md")
        settings = inner
    settings[last] = value


def _check(arguments: argparse.Namespace) -> int:
    from steps.import_l1c import check

    logging.basicConfig(level=logging.ERROR)  # what is assumed for something missing is told below
    failed = 0
    for path in arguments.inputs:
        try:
            name, sentences = check(Path(path))
        except StepError as error:
            failed = 1
            print(f"BAD   {error.line}")  # noqa: T201
        else:
            print(f"good  {path}: {name}")  # noqa: T201
            for sentence in sentences:
                print(f"      {sentence}")  # noqa: T201
    return failed


if __name__ == "__main__":
    main()
