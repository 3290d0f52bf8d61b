import atexit
import json
import os
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

# Stages are those of the checkout that these rules are in, here and in the processes that are started from here, also
# where another one is installed. Rules that Snakemake fetches itself need an installed package.
if isinstance(workflow.current_basedir, os.PathLike):
    here = str(Path(workflow.current_basedir).parents[1])
    sys.path.insert(0, here)
    paths = [here, os.environ.get("PYTHONPATH", "")]
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, paths)))

import steps
from steps.atmosphere.models import AEROSOL_MODELS, lut_path, other_aerosol_model
from steps.core.cache import cache_folder
from steps.core.code import ROOT, code_digest
from steps.core.environment import leave_foreign_variables
from steps.core.errors import StepError
from steps.core.product_list import end_with_failure, failures
from steps.core.provenance import Provenance, begin_run
from steps.core.settings import checked
from steps.sentinel2.satellites import CODE
from steps.simulation.demo_scene import DEMO_PRODUCT
from steps.workflow import Program, l1c_products, literal, options, parts_of

min_version("9.20")


def refuse(error):
    """Say in one line what is wrong with the configuration or the input, and end with exit code 2."""
    print(f"ERROR: {error}", file=sys.stderr, flush=True)
    os._exit(2)


# Python looks there first, and rules of others may rely on it.
other = Path("steps/__init__.py")
if other.exists() and not other.samefile(steps.__file__):
    refuse(
        f"{other.absolute()}: would be taken for the stages of {ROOT}; run from another folder or rename it"
    )

SCHEMA = yaml.safe_load(
    Path(workflow.source_path("../schemas/config.schema.yaml")).read_text()
)
try:
    config.update(checked(config, SCHEMA))
except StepError as error:
    refuse(error)
if config["terrain"]["correction"] == "always" and not config["dem"]:
    refuse(
        "terrain.correction: always needs an elevation model; give `dem` or leave it at auto"
    )

for sentence in leave_foreign_variables():
    print(f"WARNING: {sentence}", file=sys.stderr)
# Stages run with the interpreter that runs Snakemake, and find tables and compiled kernels where the config says.
# The C library shall keep memory that a stage gives back, for its next block: or else up to a third of the processor's
# time goes into clearing pages. So no block is mapped for itself, and a gigabyte is kept.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    MALLOC_MMAP_MAX_="0",
    MALLOC_TRIM_THRESHOLD_=str(2**30),
)
if config["cache"]:
    os.environ.update(SEN2FLOW_CACHE=str(Path(config["cache"]).absolute()))
begin_run()

OUT = config["output"].rstrip("/")
DEMO = f"{OUT}/demo/{DEMO_PRODUCT}.SAFE"
# The first table is the one to start from, and what is left where nothing tells the model.
MODELS = [config["aerosol"]["model"]]
if MODELS == ["auto"]:
    MODELS = AEROSOL_MODELS
elif MODELS[0] not in AEROSOL_MODELS:
    refuse(
        f"aerosol.model: {MODELS[0]!r} is unknown; choose one of auto, {', '.join(AEROSOL_MODELS)}"
    )
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
    L1C, SET_ASIDE = l1c_products(config["input"], DEMO)
    if ROI:
        PARTS, missed = parts_of(ROI, L1C, DEMO)
        SET_ASIDE.update(missed)
        L1C = {name: path for name, path in L1C.items() if path not in SET_ASIDE}
        if not L1C:
            raise StepError(next(iter(SET_ASIDE.values())))
        L1C = touched(L1C, PARTS)
except StepError as error:
    refuse(error)


if SET_ASIDE and workflow.is_main_process:
    for error in SET_ASIDE.values():
        print(f"ERROR: set aside: {error}", file=sys.stderr)
    atexit.register(end_with_failure, SET_ASIDE)


wildcard_constraints:
    product=rf"{CODE}_MSIL2A_\w+",
    model="|".join(AEROSOL_MODELS),
    digest="[0-9a-f]+",


def of(path):
    """An intermediate file, given by its path below the product's folder `work`, as an input."""
    return f"{OUT}/{{product}}/work/{path}"


def final(path):
    """The same in the extent of the product."""
    return of(f"roi/{path}" if ROI else path)


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


def half(most):
    """Threads of a stage, at most `most`: classification runs beside the stages from aerosol to reflectance."""
    try:
        return max(1, min(most, workflow.cores // 2))
    except WorkflowError:  # a cluster, with no number of cores of its own
        return most


# What of each format is written last.
FORMATS = {
    "safe": f"{OUT}/{{product}}.SAFE/manifest.safe",
    "cog": f"{OUT}/{{product}}/cog/item.json",
}


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


def external(*paths):
    """Inputs of a rule that come from the user (but for the demo), so a module's `prefix` must leave them alone.

    Where one has braces Snakemake cannot look at it.
    """
    found = [path for path in paths if path and not set("{}") & set(path)]
    return [path if path == DEMO else local(path) for path in found]


def l1c_input(wildcards):
    """The L1C product of a product, as an input."""
    return external(L1C[wildcards.product])


def l1c_of(wildcards, input):
    """The same for the command of a stage."""
    return input.get("l1c") or L1C[wildcards.product]


def final_files(wildcards):
    """What a user gets."""
    return [path for product in L1C for path in product_files(product)]


def product_files(product):
    """What a user gets of a product."""
    return [
        f"{OUT}/{product}/report/quality.json",
        *(f"{OUT}/{product}/quicklook/{name}.png" for name in QUICKLOOKS),
        *(FORMATS[name].format(product=product) for name in config["formats"]),
    ]


# Rules of a workflow that takes this one as a module.
OTHER_RULES = {one.name for one in workflow.rules}
PROVENANCE = Provenance(Path(workflow.modifier.modify_path(OUT)).absolute())


def provenance(stage):
    """Input function: the file that says what the results of a stage are made from."""
    inputs_of_users = {
        "region": [ROI] if ROI and not isinstance(config["roi"], list) else [],
        "dem": [config["dem"]] if config["dem"] else [],
        "layers": LAYER_PATHS,
    }
    names = list(stage.input.keys())
    files = [path for name in names for path in inputs_of_users.get(name, [])]
    parameters = {
        name: str(getattr(v, "value", v))
        for name, v in stage.params.items()
        if not callable(v) or hasattr(v, "value")
    }
    # What is put where does not matter: results may be moved, and be made from another folder.
    for path, name in {OUT: "", **{path: Path(path).name for path in files}}.items():
        parameters = {key: text.replace(path, name) for key, text in parameters.items()}

    def of_product(wildcards):
        l1c = L1C[wildcards.product]
        inputs = files + ([l1c] if "l1c" in names and l1c != DEMO else [])
        mode = "job" if not workflow.is_main_process else "look"
        if mode == "look" and workflow.executor_plugin and not workflow.dryrun:
            mode = "run"
        try:
            return PROVENANCE.record(
                wildcards.product, stage.name, parameters, inputs, mode
            )
        except StepError as error:
            refuse(error)

    return of_product


# Workers of the steps that take them: a resource, not a parameter of the rules, since results do not depend on it.
# A group of jobs wants such a text of all rules in it, since some of them may run side by side.
PARALLEL = ("aerosol", "water_vapour", "reflectance", "terrain_correction")
WORKERS = shlex.join(
    [
        *("--backend", config["parallel"]["backend"]),
        *("--scheduler", config["parallel"]["scheduler"]),
    ]
)
LAYER_PATHS = [
    config["classification"][key] for key in CCI_LAYERS if config["classification"][key]
]
LAYERS = external(*LAYER_PATHS)
LAYER_OPTIONS = {key: literal(config["classification"][key]) for key in CCI_LAYERS}


COMMANDS = {}


def command(rule, program=""):
    """The command of the stage of a rule, whose options follow from the names in the rule: see `complete`."""
    return COMMANDS.get(rule) or Program(rule, f"steps.{program or rule}")


def complete(stage):
    """Give a stage what follows from the names in its rule: the digest of its code and the options of its command."""
    program = stage.shellcmd
    # The name of a look-up table says what code it is made by.
    if "digest" not in stage.wildcard_names:
        stage.set_params(code=code_digest(program.module))
    named = (stage.input, stage.output, stage.params)
    workers = " {resources.workers}" if program.rule in PARALLEL else ""
    words = options(*(dict(n.items()) for n in named))
    stage.shellcmd = f"python -m {program.module} {words}{workers}"
    COMMANDS[program.rule] = stage.shellcmd
    if "product" in stage.wildcard_names:
        stage.set_input(provenance=provenance(stage))
