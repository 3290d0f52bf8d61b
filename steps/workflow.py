"""The Python of the workflow's rules: which products there are, and the command of each rule's stage.

Nothing here needs more than what Snakemake itself installs, but for a region of interest.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from steps.core.errors import StepError
from steps.core.product_list import distinct, is_list, read_list
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

#: Names of inputs and outputs of rules that are no options of their stage: what Snakemake alone looks at.
NOT_OPTIONS = frozenset({"provenance", "checksums", "region", "layers"})


class Program(NamedTuple):
    """What stands for a command until the names of its rule are known.

    Attributes
    ----------
    rule
        Name of the rule in its file, whatever a workflow that takes it as a part of a module calls it.
    module
        Dotted name of the stage.
    """

    rule: str
    module: str


def literal(value) -> Callable:
    """Return a parameter of a rule in which Snakemake does not look for wildcards, though it may have braces."""

    def parameter(wildcards):
        return value

    setattr(parameter, "value", value)  # noqa: B010  (a type checker knows no attributes of functions)
    return parameter


def options(inputs: Mapping, outputs: Mapping, params: Mapping) -> str:
    """Return the options of a stage's command, made from what its rule names.

    Parameters
    ----------
    inputs, outputs, params
        Named inputs, outputs and parameters of the rule, before Snakemake fills in wildcards. A parameter takes
        precedence over an input of the same name; `code` is none of the stage's.

    Returns
    -------
    str
        Text for Snakemake to format, such as `--boa {input.boa:q} --adjacency --smoothing-km {params.smoothing_km:q}`.
        True and false become `--name` and `--no-name`; what has no value is left out.
    """
    words = []
    for kind, named in {"input": inputs, "output": outputs, "params": params}.items():
        for name, value in named.items():
            flag, value = name.replace("_", "-"), getattr(value, "value", value)
            if name == "code" if kind == "params" else name in NOT_OPTIONS | set(params):
                continue
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif value is not None and (value != [] or kind == "params"):
                words.append(f"--{flag} {{{kind}.{name}:q}}")
    return " ".join([*words, "--threads {threads}", "--log {log:q}"])


def product_of(path: str) -> str:
    """Return the name of the Level-2A product that is made of an input."""
    if path == "demo":
        return l2a_name(DEMO_PRODUCT)
    from steps.l1c.formats import product_name

    return l2a_name(product_name(Path(path)))


def l1c_products(given: str, demo: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the L1C product of each Level-2A product by its name, and what is wrong with others of a table by path.

    Parameters
    ----------
    given
        The setting `input`.
    demo
        Path of the demo product, which the word `demo` stands for.

    Raises
    ------
    StepError
        If no product is left.
    """
    if not is_list(given):
        return {product_of(given): demo if given == "demo" else given}, {}
    products, set_aside = distinct(read_list(given), product_of)
    if not products:
        raise StepError(next(iter(set_aside.values())))
    return {name: demo if path == "demo" else path for name, path in products.items()}, set_aside


def parts_of(roi, products: Mapping[str, str], demo: str) -> tuple[dict, dict[str, str]]:
    """Return the part of each product that a region of interest wants, and what is wrong with other products by path.

    Parameters
    ----------
    roi
        As `steps.l1c.roi.part_of` takes it.
    products
        L1C product by name.
    demo
        Path of the demo product, which may not be there yet; its import tells whether it is touched.

    Returns
    -------
    dict
        The grid of the part by the product's name, None where the region does not touch it.
    dict
        One line by the product's path.

    Raises
    ------
    StepError
        If the region cannot be read.
    """
    from steps.l1c.formats import open_product
    from steps.l1c.metadata import tile_grid
    from steps.l1c.roi import part_of

    parts, set_aside = {}, {}
    for name, path in products.items():
        if path == demo:
            continue
        try:
            grid = tile_grid(open_product(Path(path)))
        except StepError as error:
            set_aside[path] = error.line
        else:
            parts[name] = part_of(roi, grid)
    return parts, set_aside
