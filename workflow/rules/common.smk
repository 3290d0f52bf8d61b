import json
import hashlib
import os
import re
import sys
from functools import lru_cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

# Stages are those of the checkout that these rules are in, for this process and for those that it starts, whatever is
# installed and whatever lies in the working directory. Rules that Snakemake fetches itself need an installed package.
if isinstance(workflow.current_basedir, os.PathLike):
    here = str(Path(workflow.current_basedir).parents[1])
    sys.path.insert(0, here)
    os.environ.update(PYTHONSAFEPATH="1", PYTHONPATH=here)

import steps
from steps.aerosol_models import AEROSOL_MODELS, lut_path, other_aerosol_model
from steps.cache import cache_folder
from steps.errors import StepError
from steps.sentinel2.demo_scene import DEMO_PRODUCT
from steps.sentinel2.names import l2a_name
from steps.sentinel2.safe import product_name

min_version("9.20")


def refuse(problem):
    """Say in one line what is wrong with the configuration or the input, and end with exit code 2."""
    print(f"ERROR: {problem}", file=sys.stderr, flush=True)
    os._exit(2)


def numbers(value):
    """What stands in a list on the command line, which arrives as text; other values as they are."""
    try:
        return [float(item) for item in value] if isinstance(value, list) else value
    except ValueError:
        return value


# `--config key=true` arrives as text, only `True` as a boolean.
config.update({k: v == "true" for k, v in config.items() if v in ("true", "false")})
config.update(roi=numbers(config.get("roi")))
try:
    validate(config, schema="../schemas/config.schema.yaml")
except WorkflowError as problem:
    lines = str(problem).splitlines()
    where = next(line for line in lines if line.startswith("On instance"))[
        len("On instance") : -1
    ]
    refuse(f"configuration{where}: {lines[1]}; see config/README.md")

# Stages run with the interpreter that runs Snakemake, and find tables and compiled kernels where the config says.
# The C library shall keep memory that a stage gives back, for its next block: or else up to a third of the processor's
# time goes into clearing pages. So no block is mapped for itself, and a gigabyte is kept.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    MALLOC_MMAP_MAX_="0",
    MALLOC_TRIM_THRESHOLD_=str(2**30),
)
if config["cache"]:
    os.environ.update(SEN2FLOW_CACHE=config["cache"])

# The checkout, or where the package is installed.
PROJECT = Path(steps.__file__).parents[1]
OUT = config["output"].rstrip("/")
DEMO = f"{OUT}/demo/{DEMO_PRODUCT}.SAFE"
# The first table is the one to start from, and what is left where nothing tells the model.
MODELS = [config["aerosol"]["model"]]
if MODELS == ["auto"]:
    MODELS = AEROSOL_MODELS
LUTS = [str(lut_path(model)) for model in MODELS]
OTHER_LUTS = [str(lut_path(m)) for m in sorted(set(map(other_aerosol_model, MODELS)))]
CONDA = "../../envs/sen2flow.yaml"
QUICKLOOKS = ("tci_toa", "tci_boa", "scl", "aot", "wvp")
CCI_LAYERS = ("water_bodies", "land_cover", "snow_condition")
ROI = json.dumps(config["roi"]) if isinstance(config["roi"], list) else config["roi"]
CORRECT_TERRAIN = config["dem"] and config["terrain"]["correction"] != "never"
SHADOWS_MATCHED = (
    config["classification"]["mode"] == "improved"
    and "shadow" in config["classification"]["improvements"]
)
BOA = "terrain/boa_{}m.tif" if CORRECT_TERRAIN else "reflectance/boa_{}m.tif"


def table(path):
    """The column `input` of a table of products."""
    import pandas

    try:
        return list(pandas.read_csv(path, dtype=str)["input"].dropna())
    except (OSError, ValueError, KeyError) as problem:
        raise StepError(
            f"{path}: not a table with a column `input` ({problem}); see config/products.csv"
        ) from problem


def l1c_products():
    """Level-2A product name to the L1C product it is made from."""
    products = {}
    for path in (
        table(config["input"])
        if config["input"].endswith(".csv")
        else [config["input"]]
    ):
        name = l2a_name(DEMO_PRODUCT if path == "demo" else product_name(Path(path)))
        if name in products:
            raise StepError(
                f"{path}: the same product as {products[name]}; remove one of them"
            )
        products[name] = DEMO if path == "demo" else local(path)
    return products


def parts_of(products):
    """The region of interest in the grid of each product, None where it does not touch it."""
    from steps.sentinel2.l1c import tile_grid
    from steps.sentinel2.roi import part_of
    from steps.sentinel2.safe import Safe

    return {
        name: part_of(ROI, tile_grid(Safe(Path(path))))
        for name, path in products.items()
        if path != DEMO  # which does not exist before it is made; its import says so
    }


def touched(products, parts):
    """The products that the region of interest touches; the others are named on standard error."""
    missed = {name: products[name] for name, part in parts.items() if part is None}
    if len(missed) == len(products):
        raise StepError(
            f"{config['input']}: the region of interest {ROI} does not touch it; correct `roi`"
        )
    for path in missed.values():
        print(
            f"{path}: skipped, the region of interest does not touch it",
            file=sys.stderr,
        )
    return {name: path for name, path in products.items() if name not in missed}


PARTS = {}
try:
    L1C = l1c_products()
    if ROI:
        PARTS = parts_of(L1C)
        L1C = touched(L1C, PARTS)
except StepError as problem:
    refuse(problem)


wildcard_constraints:
    product=r"S2[A-Z]_MSIL2A_\w+",
    model="|".join(AEROSOL_MODELS),
    digest="[0-9a-f]+",


def of(path):
    """An intermediate file, given by its path below the product's folder `work`, as an input."""
    return f"{OUT}/{{product}}/work/{path}"


def final(path):
    """The same in the extent of the product."""
    return of(f"roi/{path}" if ROI else path)


def beside_output(wildcards, output):
    """The folder of a rule's first output, where a prefix has been put before it (of `module:`), too."""
    return str(Path(output[0]).parent)


# The product that the rules of benchmark.smk measure.
BENCHMARKED = next(iter(L1C))


def of_benchmarked(path):
    """An intermediate file of the product that is measured."""
    return of(path).format(product=BENCHMARKED)


def work(path, kind=str):
    """The same as an output of the given kind (`directory`), removed when no longer needed unless the config keeps it."""
    return kind(of(path)) if config["keep_intermediates"] else temp(kind(of(path)))


def each_size(place, path):
    """What `of`, `final` or `work` makes of the files of 10, 20 and 60 m, in this order."""
    return [place(path.format(size)) for size in (10, 20, 60)]


def kept(path):
    """A file that stays, given by its path below the product's folder."""
    return f"{OUT}/{{product}}/{path}"


# `from a.b import c, d`, also over several lines in parentheses, and `import a.b`. A parser takes 20 times as long.
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(steps[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.*)|import[ \t]+(steps[\w.]*))",
    re.MULTILINE,
)


@lru_cache
def code_of(module):
    """The file of a module of ours and of every one that it imports, found without importing any."""
    base = PROJECT.joinpath(*module.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not path.exists():
        return frozenset()
    found = {str(path)}
    for source, names, plain in IMPORT.findall(path.read_text(encoding="utf-8")):
        imported = [source or plain]
        imported += [f"{source}.{name}" for name in re.findall(r"\w+", names)]
        for name in imported:
            if name != module:
                found |= code_of(name)
    return frozenset(found)


def step(name):
    """A digest of the code of a stage, as parameter of its rule: an edited stage or kernel reruns just what uses it."""
    code = b"".join(
        Path(path).read_bytes() for path in sorted(code_of(f"steps.{name}"))
    )
    return hashlib.sha256(code).hexdigest()[:12]


def half(most):
    """Threads of a stage, at most `most`: classification runs beside the stages from aerosol to reflectance."""
    try:
        return max(1, min(most, workflow.cores // 2))
    except WorkflowError:  # a cluster, with no number of cores of its own
        return most


# A part of fewer pixels of 10 m is small.
SMALL = 2e6


def unless_small(threads):
    """Threads of a stage that writes images; one for a small part, beside which the other ones can be written."""

    def of_product(wildcards):
        part = PARTS.get(wildcards.product)  # none is known of the demo, which is small
        return 1 if ROI and not (part and part.width * part.height > SMALL) else threads

    return of_product


def memory(megabytes):
    """Memory of a job: what its stage needs, the two Snakemake processes around it on a cluster, more on a retry."""
    return lambda wildcards, attempt: (megabytes + 300) * attempt


def optional(flag, value):
    """A command-line option, or nothing where the config has no value."""
    return f"{flag} '{value}'" if value else ""


def final_files(wildcards):
    """What a user gets."""
    return [path for product in L1C for path in product_files(product)]


def product_files(product):
    folder = f"{OUT}/{product}"
    files = [
        f"{folder}/report/quality.json",
        *(f"{folder}/quicklook/{name}.png" for name in QUICKLOOKS),
    ]
    if "safe" in config["formats"]:
        files.append(f"{folder}.SAFE/manifest.safe")
    if "cog" in config["formats"]:
        files.append(f"{folder}/cog/item.json")
    return files


# Workers of the steps that take them: a resource, not a parameter of the rules, since results do not depend on it.
# A group of jobs wants such a text of all rules in it, since some of them may run side by side.
WORKERS = "--backend {backend} --scheduler {scheduler}".format(**config["parallel"])
# The optional layers of the classification, as options of a step.
LAYERS = [
    local(config["classification"][key])
    for key in CCI_LAYERS
    if config["classification"][key]
]
LAYER_OPTIONS = " ".join(
    optional(f"--{key.replace('_', '-')}", config["classification"][key])
    for key in CCI_LAYERS
)
SNOW_POSSIBLE = (
    "--snow-possible"
    if config["classification"]["snow_possible"]
    else "--no-snow-possible"
)
