# Sen2Flow: Sentinel-2 Level-1C to Level-2A. One rule a stage; what a stage does is in steps/<stage>.py.
from pathlib import Path

# Projects that take this one as a module have their own.
if Path("config/config.yaml").exists():

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/input.smk"
include: "workflow/rules/atmosphere.smk"
include: "workflow/rules/surface.smk"
include: "workflow/rules/product.smk"
include: "workflow/rules/benchmark.smk"


for stage in workflow.rules:
    if stage.name not in OTHER_RULES and "product" in stage.wildcard_names:
        stage.set_input(provenance=provenance(stage))


# On a cluster these run where Snakemake runs: half a second each.
localrules:
    all,
    write_stac,


rule all:
    input:
        final_files,


onsuccess:
    for product in L1C:
        print(f"{product}: {OUT}/{product}/report/quality.json")


onerror:
    for sentence in failures(Path(OUT), L1C):
        print(f"ERROR: {sentence}", file=sys.stderr)
