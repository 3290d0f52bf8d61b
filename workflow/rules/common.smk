import atexit
import functools
import json
import os
import shlex
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

# Stages are those of the checkout or package that these rules are in, here and in the processes that are started from
# here, also where another one is installed. Rules that Snakemake fetches itself need an installed package.
if isinstance(workflow.current_basedir, os.PathLike):
    here = str(Path(workflow.current_basedir).parents[1])
else:
    import sen2flow

    here = str(Path(sen2flow.__file__).parent)
sys.path.insert(0, here)
paths = [here, os.environ.get("PYTHONPATH", "")]
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, paths)))

import steps
from steps.atmosphere.models import AEROSOL_MODELS
from steps.command.progress import show_progress
from steps.core.cache import cache_folder
from steps.core.choice import choice_of
from steps.core.cli import end_with_run
from steps.core.code import ROOT, code_digest
from steps.core.environment import leave_foreign_variables
from steps.core.errors import StepError
from steps.core.product_list import end_with_failure, is_list
from steps.core.provenance import Provenance, begin_run
from steps.core.settings import checked
from steps.l2a.pages import REPORT, TEMPLATES, THUMBNAIL
from steps.l2a.places import Places
from steps.l2a.results import Run
from steps.core.transfer import is_address, Store
from steps.l1c.addresses import is_elsewhere, place_of
from steps.l2a.run_summary import failures, printed
from steps.sentinel2.satellites import CODE
from steps.simulation.demo_scene import DEMO_PRODUCT
from steps.workflow import (
    Program,
    check_braces,
    chosen_products,
    has_braces,
    keep_products,
    kept_products,
    l1c_products,
    linked,
    literal,
    look_up_tables,
    options,
    plans_products,
    read_pods_once,
    recorded_parameters,
)

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
    CHOICE = choice_of(config)
except StepError as error:
    refuse(error)

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
end_with_run()  # that this one is a part of
begin_run()

# Where what lies between the stages is put, by the run that makes it. A variable that is not set here may be on the
# node where a product has a run of its own.
SCRATCH = os.path.expandvars(config["scratch"] or "")
OUT = config["output"].rstrip("/")
try:
    check_braces("workflow", here)
    check_braces("cache", cache_folder())
    if SCRATCH:
        check_braces("scratch", SCRATCH)
    if has_braces(place := workflow.modifier.modify_path(OUT)):
        OUT = linked(place, cache_folder())
except StepError as error:
    refuse(error)
# Where jobs share no file system with this process (Kubernetes, AWS Batch) Snakemake has a storage that both reach. Each
# job then fetches, makes and uploads a product, and puts the file that says so, and its log, into the storage.
APART = workflow.storage_settings.default_storage_provider is not None
if APART and not Path().samefile(ROOT):
    refuse("jobs get the files of a clone; start `snakemake` in the folder of one")
if APART and "kubernetes" in sys.modules:
    read_pods_once(sys.modules["kubernetes"].client.CoreV1Api)
# How addresses are reached: those of products, and that to upload to.
REMOTE = {key: literal(value) for key, value in config["remote"].items()}
UPLOAD = {key: literal(value) for key, value in config["upload"].items()}
DEMO = f"{OUT}/demo/{DEMO_PRODUCT}.SAFE"
try:
    LUTS = look_up_tables(config["aerosol"]["model"])
except StepError as error:
    refuse(error)
CONDA = "../../envs/sen2flow.yaml"
CCI_LAYERS = ("water_bodies", "land_cover", "snow_condition")
# The user's own elevation model.
DEM = None if CHOICE.downloads_elevation else config["dem"]
ROI = json.dumps(config["roi"]) if isinstance(config["roi"], list) else config["roi"]


TABLE = config["input"]
# Where the results are, also where a workflow that takes this one as a module puts them elsewhere.
PLACE = Path(OUT if APART else workflow.modifier.modify_path(OUT))
LIST = PLACE / f"logs/{Path(TABLE).stem}_products.json"
try:
    # Jobs on other machines take it from the run that has started them.
    known = None if workflow.is_main_process else kept_products(LIST, TABLE)
    FOUND = known or l1c_products(TABLE, DEMO, Store(**config["remote"]))
    L1C, SET_ASIDE, PARTS, UNTOUCHED = chosen_products(TABLE, FOUND, ROI, DEMO)
    for path in UNTOUCHED.values():
        sentence = "skipped, the region of interest does not touch it"
        print(f"{path}: {sentence}", file=sys.stderr)
    for path in (TABLE, *L1C.values()):
        if APART and not (is_address(path) and config["upload"]["to"]):
            sentence = "no other machine sees it; give products and a table of them"
            raise StepError(f"{path}: {sentence} at addresses, and `upload.to`")
except StepError as error:
    refuse(error)


if SET_ASIDE and workflow.is_main_process:
    for error in SET_ASIDE.values():
        print(f"ERROR: set aside: {error}", file=sys.stderr)
    atexit.register(end_with_failure, SET_ASIDE)


# On a terminal a line a product. A workflow that takes this one as a module shows what it likes.
PROGRESS = None
if workflow.modifier.namespace is None:
    PROGRESS = show_progress(
        workflow, PLACE, cache_folder() / "stage_seconds.json", sys.stderr
    )
    if PROGRESS:
        atexit.register(PROGRESS.close)


wildcard_constraints:
    product=rf"{CODE}_MSIL2A_\w+",
    model="|".join(AEROSOL_MODELS),
    digest="[0-9a-f]+",


# A folder of this output alone.
WORK = OUT
if SCRATCH:
    WORK = f"{Path(SCRATCH).absolute()}/sen2flow_{zlib.crc32(str(PLACE.absolute()).encode()):08x}"
PLACES = Places(OUT, WORK, TABLE)
# An intermediate file as an input, and a file that stays, by their paths below the product's folder.
of, kept = PLACES.between, PLACES.kept


def final(path):
    """Return an intermediate file in the extent of the product, as an input."""
    return of(f"roi/{path}" if ROI else path)


# The product that the rules of benchmark.smk measure, which have no wildcard.
BENCHMARKED = next(iter(L1C))


def of_benchmarked(path):
    """Return an intermediate file of the product that is measured."""
    return of(path).format(product=BENCHMARKED)


def work(path, kind=str):
    """Return the same as an output of a kind (`directory`), removed after its last use unless the config keeps it."""
    return kind(of(path)) if config["keep_intermediates"] else temp(kind(of(path)))


def each_size(place, path):
    """Return what `of`, `final` or `work` makes of the files of each pixel size of reflectance, in ascending order."""
    return [place(path.format(size)) for size in CHOICE.sizes]


def if_any(wanted, file):
    """Return an input or output of a rule, if it is wanted."""
    return file if wanted else []


def threads_of(stage, most):
    """Return the threads of a stage, at most `most`: all cores if it runs alone, else half of them."""
    try:
        return most if stage in CHOICE.alone else max(1, min(most, workflow.cores // 2))
    except WorkflowError:  # a cluster, with no number of cores of its own
        return most


# A part of fewer pixels of 10 m is small.
SMALL = 2e6


def unless_small(threads):
    """Return the threads of a stage that writes images; one for a small part, beside which others can be written."""

    def of_product(wildcards):
        part = PARTS.get(wildcards.product)  # none is known of the demo, which is small
        return 1 if ROI and not (part and part.width * part.height > SMALL) else threads

    return of_product


# Folder with the product that was fetched.
FETCHED = "l1c"


def memory(megabytes, each=0):
    """Return the memory of a job: what its stage and `each` of its threads need, two Snakemakes, more on a retry."""
    return lambda wildcards, threads, attempt: (
        (megabytes + each * threads + 300) * attempt
    )


def external(*paths):
    """Return what comes from the user (but for the demo) as inputs, which a module's `prefix` leaves alone.

    Where one has braces, or is on another machine, Snakemake cannot look at it.
    """
    found = [path for path in paths if path and not (APART or set("{}") & set(path))]
    return [path if path == DEMO else local(path) for path in found]


def l1c_given(wildcards):
    """Return what the user gave of a product, as an input; nothing for an address."""
    path = L1C[wildcards.product]
    return [] if is_address(path) else external(path)


def l1c_input(wildcards):
    """Return the L1C product of a product, as an input: where it is fetched to, if it is elsewhere."""
    product = wildcards.get("product", BENCHMARKED)
    path = L1C[product]
    return of(FETCHED).format(product=product) if is_elsewhere(path) else external(path)


def l1c_of(wildcards, input):
    """Return the same for the command of a stage."""
    path = L1C[wildcards.get("product", BENCHMARKED)]
    return (
        f"{input.l1c}/{place_of(path)}"
        if is_elsewhere(path)
        else input.get("l1c") or path
    )


def final_files(wildcards):
    """What a user gets of all products, or the files that say that all of a product is there."""
    if APART or plans_products(config["plan"], len(L1C), workflow.dag_settings):
        return [PLACES.done.format(product=product) for product in L1C]
    if "$" in SCRATCH:
        refuse(
            f"scratch: {SCRATCH} has a variable that is not set here; set it, or take `plan=products`"
        )
    uploaded = (
        [PLACES.uploaded.format(product=product) for product in L1C]
        if config["upload"]["to"]
        else []
    )
    return uploaded + [path for product in L1C for path in product_files(product)]


def wanted(wildcards):
    """What is made by default. Summary and catalog are of all products here: not of a batch, nor of jobs elsewhere."""
    if APART or workflow.dag_settings.batch is not None:
        return final_files(wildcards)
    catalog = if_any("cog" in config["formats"], [PLACES.catalog])
    return (
        [*catalog, PLACES.summary]
        if is_list(TABLE)
        else [*final_files(wildcards), *catalog]
    )


def product_files(product):
    """Return what a user gets of a product."""
    return PLACES.wanted(product, config["formats"], CHOICE.quicklooks)


# Rules of a workflow that takes this one as a module.
OTHER_RULES = {one.name for one in workflow.rules}
PROVENANCE = Provenance(PLACE.absolute())


@functools.cache
def keep_list():
    """Write, once in a run, which products a table names, or an address, which is asked for some."""
    if is_list(TABLE) or is_address(TABLE):
        keep_products(LIST, TABLE, FOUND)


# As this process sees them.
SEEN = Places(str(PLACE), WORK, TABLE)


def files_of(product):
    """Where the files are that a user gets of a product."""
    return SEEN.wanted(product, config["formats"], CHOICE.quicklooks)


def brought(product):
    """Bring a product's log from the storage, and the empty file that says that it is done; return where that is."""
    for name in ("product.log", "product.done"):
        path = workflow.modifier.path_modifier.apply_default_storage(
            f"{OUT}/{product}/logs/{name}"
        )
        stored, file = path.flags["storage_object"], PLACE / product / "logs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        if stored.exists():
            stored.set_local_path(file)
            stored.retrieve_object() if stored.size() else file.touch()
            os.utime(file, (stored.mtime(),) * 2)
    return file


def made(product):
    """Return where the files are that a user gets of a product, and the last one of each format by its name."""
    if APART:
        return [brought(product)], {}
    return files_of(product), SEEN.last_files(product, config["formats"])


RUN = Run(PLACE, L1C, UNTOUCHED, SET_ASIDE, config["formats"], made)
TITLE = f"{Path(TABLE).stem}: {Path(config['output']).name}"


def summarise(table, page, log):
    """Write the summary as a table and as a page, and what it says in short into a log."""
    found = RUN.rows()
    RUN.write(found, Path(table), Path(page), TITLE)
    Path(log).write_text("\n".join(printed(found)) + "\n")


def list_products():
    """Run the command of rule `catalog` where products have failed, so that Snakemake has not run it."""
    if any(PLACE.glob("*/cog/item.json")):
        (stage,) = (
            one for one in workflow.rules if one.shellcmd == COMMANDS["catalog"]
        )
        with suppress(subprocess.CalledProcessError):  # the stage says why
            shell(
                stage.shellcmd,
                output=stage.output,
                params=stage.params,
                log=stage.log,
                threads=1,
            )


def start_of_run():
    """Lift Snakemake's own limit of 100 jobs a second, unless the user has set another one.

    With the limit, each job that has ended leaves a timer that looks for new jobs once a second till the run is over:
    after some thousand products that takes a whole core (Snakemake 9.27). Every run waits for the last timers, too.
    """
    limiter = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def end_of_run():
    """Write and print the summary, also where products have failed, so that its rule has not run."""
    if PROGRESS:
        PROGRESS.close()
    found = RUN.rows()
    if is_list(TABLE):
        RUN.write(found, Path(SEEN.summary), Path(SEEN.index), TITLE)
    print(*printed(found), sep="\n", flush=True)
    for sentence in failures(found):
        print(f"ERROR: {sentence}", file=sys.stderr)


def provenance(stage):
    """Return an input function: of the file that says what the results of a stage are made from."""
    inputs_of_users = {
        "region": [ROI] if ROI and not isinstance(config["roi"], list) else [],
        "dem": [DEM] if DEM else [],
        "layers": LAYER_PATHS,
        "given": GIVEN,
    }
    names = list(stage.input.keys())
    files = [path for name in names for path in inputs_of_users.get(name, [])]
    # What is put where does not matter: results may be moved, and be made from another folder.
    places = {OUT: "", **{path: Path(path).name for path in files}}
    parameters = recorded_parameters(dict(stage.params.items()), places)
    whole = "done" in stage.output.keys()

    def of_product(wildcards):
        l1c, name = L1C[wildcards.product], wildcards.product
        inputs = files + (
            [l1c] if "l1c" in names and l1c != DEMO and not is_address(l1c) else []
        )
        stale = whole and not all(map(os.path.exists, files_of(name)))
        mode = "job" if not workflow.is_main_process else "look"
        if mode == "look" and workflow.executor_plugin and not workflow.dryrun:
            mode = "plan" if whole else "run"
        try:
            if mode in ("run", "plan"):
                keep_list()
            return PROVENANCE.record(name, stage.name, parameters, inputs, mode, stale)
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
# All that comes from the user for any product.
GIVEN = [*filter(None, (ROI if isinstance(config["roi"], str) else "", DEM))]
GIVEN += LAYER_PATHS
# What the run of a product by itself is told, and the stages that its results depend on.
SETTINGS = json.dumps(
    {
        **{key: value for key, value in config.items() if key not in ("input", "plan")},
        "output": str(PLACE),
    },
    sort_keys=True,
)
STAGES = [f"steps.{path.stem}" for path in sorted((ROOT / "steps").glob("[a-z]*.py"))]
LAYER_OPTIONS = {key: literal(config["classification"][key]) for key in CCI_LAYERS}


COMMANDS = {}
# Snakemake takes PYTHONPATH away from what runs in an environment of conda's.
IN_CONDA = {
    method.name for method in workflow.deployment_settings.deployment_method
} & {"CONDA"}
PYTHON = f"PYTHONPATH={shlex.quote(here)} python" if IN_CONDA else "python"
PYTHON = PYTHON.replace("{", "{{").replace("}", "}}")


def command(rule, program=""):
    """Return the command of the stage of a rule, whose options follow from the names in the rule: see `complete`."""
    return COMMANDS.get(rule) or Program(rule, f"steps.{program or rule}")


def complete(stage):
    """Give a stage what follows from the names in its rule: the digest of its code and the options of its command."""
    program = stage.shellcmd
    # The name of a look-up table says what code it is made by.
    if not {"digest"} & set(stage.wildcard_names) and "code" not in stage.params.keys():
        stage.set_params(code=code_digest(program.module))
    named = (stage.input, stage.output, stage.params)
    workers = " {resources.workers}" if program.rule in PARALLEL else ""
    words = options(*(dict(n.items()) for n in named))
    stage.shellcmd = f"{PYTHON} -m {program.module} {words}{workers}"
    COMMANDS[program.rule] = stage.shellcmd
    if "product" in stage.wildcard_names and not APART:
        stage.set_input(provenance=provenance(stage))
