"""The Python of the workflow's rules: which products there are, and the command of each rule's stage.

Nothing here needs more than what Snakemake itself installs, but for a region of interest.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from steps.atmosphere.models import AEROSOL_MODELS, lut_path
from steps.core.cache import cache_folder, check_writable
from steps.core.documents import atomic
from steps.core.errors import StepError
from steps.core.product_list import distinct, is_list, read_list
from steps.core.provenance import fingerprint
from steps.core.transfer import Store
from steps.l1c.addresses import is_elsewhere, product_at
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

#: Names of inputs and outputs of rules that are no options of their stage: what Snakemake alone looks at.
NOT_OPTIONS = frozenset({"provenance", "checksums", "region", "layers", "given", "luts", "done"})

#: Products of a table whose stages are planned all at once.
MOST_PLANNED = 500


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


def has_braces(path: str | Path) -> bool:
    """Return whether a path, or that of the working directory if it begins there, has braces."""
    return bool(set("{}") & set(str(Path(path).absolute())))


def check_braces(name: str, folder: str | Path) -> None:
    """Raise `StepError`, which begins with a name, if Snakemake would find wildcards in the path of a folder."""
    if has_braces(folder):
        raise StepError(f"{name}: {folder} has braces, in which Snakemake looks for wildcards; choose another folder")


def linked(folder: str, cache: Path) -> str:
    """Return the path of a link to a folder, in which Snakemake finds no wildcards; both are made if need be.

    Parameters
    ----------
    folder
        Of any path.
    cache
        Folder in which the link lies.

    Raises
    ------
    StepError
        If the cache cannot be written, or holds another link of that name.
    """
    place = Path(folder).absolute()
    link = cache.absolute() / "folders" / f"{zlib.crc32(str(place).encode()):08x}"
    if not link.exists():
        check_writable(link.parent, "folder for a link to the output", "choose an output folder without braces")
        for one in (place, link.parent):
            one.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(place)
    if not link.samefile(place):
        raise StepError(f"{link}: leads to another folder than {place}; remove it")
    return str(link)


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


def recorded_parameters(params: Mapping, places: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a stage that its results depend on, as text.

    Parameters
    ----------
    params
        Of the rule; those that Snakemake works out for each job are left out.
    places
        What stands in place of a path, so that results may be moved.
    """
    recorded = {}
    for name, value in params.items():
        if callable(value) and not hasattr(value, "value"):
            continue
        text = str(getattr(value, "value", value))
        for path, word in places.items():
            text = text.replace(path, word)
        recorded[name] = text
    return recorded


def product_of(path: str, store: Store) -> str:
    """Return the name of the Level-2A product that is made of an input; `store` tells how addresses are reached."""
    if path == "demo":
        return l2a_name(DEMO_PRODUCT)
    if is_elsewhere(path):
        return l2a_name(product_at(path, store))
    from steps.l1c.formats import product_name

    return l2a_name(product_name(Path(path)))


def l1c_products(
    given: str,
    demo: str,
    store: Store = Store(),  # noqa: B008  (it is never changed)
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the L1C product of each Level-2A product by its name, and what is wrong with others of a table by path.

    Parameters
    ----------
    given
        The setting `input`.
    demo
        Path of the demo product, which the word `demo` stands for.
    store
        How addresses are reached.

    Raises
    ------
    StepError
        If no product is left.
    """
    paths = [path for one in (read_list(given) if is_list(given) else [given]) for path in _products_in(one)]
    if len(paths) == 1 and not is_list(given):
        return {product_of(given, store): demo if given == "demo" else given}, {}
    products, set_aside = distinct(paths, lambda path: product_of(path, store))
    if not products:
        raise StepError(next(iter(set_aside.values())))
    return {name: demo if path == "demo" else path for name, path in products.items()}, set_aside


def _products_in(given: str) -> list[str]:
    """Return the products of an input, which is many where it holds granules; readers are not imported for nothing."""
    if given == "demo" or is_elsewhere(given):
        return [given]
    from steps.l1c.formats import products_in

    return products_in(given)


def keep_products(path: Path, given: str, found: tuple[Mapping[str, str], Mapping[str, str]]) -> None:
    """Write what `l1c_products` found in a table, so that no job of a run has to open thousands of products for it.

    Parameters
    ----------
    path
        File to write, unless it holds the same.
    given
        The table.
    found
        See `l1c_products`.
    """
    content = json.dumps([fingerprint(given), *found])
    if _text(path) != content:
        with atomic(path) as part:
            part.write_text(content, encoding="utf-8")


def kept_products(path: Path, given: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """Return what `keep_products` has written, None unless it did and the table is still the same."""
    with suppress(ValueError):
        table, products, set_aside = json.loads(_text(path))
        if table == fingerprint(given):
            return products, set_aside
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def parts_of(roi, products: Mapping[str, str], demo: str) -> tuple[dict, dict[str, str]]:
    """Return the part of each product that a region of interest wants, and what is wrong with other products by path.

    Parameters
    ----------
    roi
        As `steps.l1c.roi.part_of` takes it.
    products
        L1C product by name.
    demo
        Path of the demo product, which may not be there yet, nor are those that are fetched; the import of such a
        product tells whether it is touched.

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
        if path == demo or is_elsewhere(path):
            continue
        try:
            grid = tile_grid(open_product(Path(path)))
        except StepError as error:
            set_aside[path] = error.line
        else:
            parts[name] = part_of(roi, grid)
    return parts, set_aside


def touched(products: Mapping[str, str], parts: Mapping, given: str, roi: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the products that the region of interest touches, and the others.

    Parameters
    ----------
    products
        L1C product by name.
    parts
        See `parts_of`.
    given, roi
        The settings `input` and `roi`.

    Raises
    ------
    StepError
        If the region touches no product.
    """
    missed = {name: products[name] for name, part in parts.items() if part is None}
    if len(missed) == len(products):
        raise StepError(f"{given}: the region of interest {roi} does not touch it; correct `roi`")
    return {name: path for name, path in products.items() if name not in missed}, missed


class Chosen(NamedTuple):
    """What a run is to make.

    Attributes
    ----------
    products
        L1C product by the name of the L2A product.
    set_aside
        What is wrong with others, by path.
    parts
        Grid of the part of each product that the region of interest wants, as far as it is known.
    untouched
        L1C products that the region of interest does not touch, by name.
    """

    products: dict[str, str]
    set_aside: dict[str, str]
    parts: dict
    untouched: dict[str, str]


def chosen_products(given: str, found: tuple[Mapping[str, str], Mapping[str, str]], roi, demo: str) -> Chosen:
    """Return what a run is to make, of the products that were found.

    Parameters
    ----------
    given
        The setting `input`.
    found
        See `l1c_products`.
    roi
        Region of interest, see `parts_of`; without one products are whole.
    demo
        Path of the demo product.

    Raises
    ------
    StepError
        If the region cannot be read or touches no product, or no product is left.
    """
    products, set_aside = dict(found[0]), dict(found[1])
    if not roi:
        return Chosen(products, set_aside, {}, {})
    parts, unusable = parts_of(roi, products, demo)
    set_aside |= unusable
    products = {name: path for name, path in products.items() if path not in set_aside}
    if not products:
        raise StepError(next(iter(set_aside.values())))
    products, untouched = touched(products, parts, given, roi)
    return Chosen(products, set_aside, parts, untouched)


def look_up_tables(model: str) -> list[str]:
    """Return paths of the look-up tables of the aerosol models that the setting names.

    The first table is the one to start from, and what is left where nothing tells the model.

    Raises
    ------
    StepError
        If the model is unknown, or tables have to be made and cannot be written.
    """
    models = AEROSOL_MODELS if model == "auto" else [model]
    if not set(models) <= set(AEROSOL_MODELS):
        raise StepError(f"aerosol.model: {model!r} is unknown; choose one of auto, {', '.join(AEROSOL_MODELS)}")
    tables = [lut_path(one) for one in models]
    if not all(table.exists() for table in tables):
        check_writable(cache_folder(), "folder for look-up tables", "set SEN2FLOW_CACHE or `cache` to one of yours")
    return [str(table) for table in tables]


def read_pods_once(pods) -> None:
    """Let a client of Kubernetes (its class `CoreV1Api`) give the log of a job's only start.

    Of a job that failed Snakemake's plugin (0.5.1) wants that of an earlier start. There is none, and the error would
    end the run.
    """
    read = pods.read_namespaced_pod_log
    pods.read_namespaced_pod_log = lambda *given, previous=False, **named: read(*given, **named)


def plans_products(plan: str, count: int, settings) -> bool:
    """Tell whether Snakemake plans a job a product, rather than the stages of all.

    Fourteen jobs a product take Snakemake 20 ms and 0.4 MB.

    Parameters
    ----------
    plan
        The setting.
    count
        Number of products.
    settings
        Snakemake's `DAGSettings`: what the command line says on rules, and which batch of a table it wants.
    """
    if plan != "auto":
        return plan == "products"
    about_stages = settings.forcerun or settings.until or settings.omit_from or settings.forceall
    return not about_stages and (count > MOST_PLANNED or settings.batch is not None)
