# What the pipeline costs. Not part of a run: ask for a target by its name, alone on the machine.


localrules:
    benchmark_study,


BENCHMARKED = next(iter(L1C))


def of_benchmarked(path):
    """An intermediate file of the product that is measured, the first of the configuration."""
    return of(path).format(product=BENCHMARKED)


rule benchmark_study:
    # `snakemake --cores N benchmark_study`: reflectance and aerosol with other kernels and workers.
    input:
        toa_10m=of_benchmarked("import/toa_10m.tif"),
        stack=of_benchmarked("resample/toa_20m.tif"),
        terrain_10m=of_benchmarked("dem/terrain_10m.tif"),
        terrain_20m=of_benchmarked("dem/terrain_20m.tif"),
        classification=of_benchmarked("classification/scl_20m.tif"),
        aot=of_benchmarked("aerosol/aot_20m.tif"),
        wvp=of_benchmarked("water_vapour/wvp_20m.tif"),
        metadata=of_benchmarked("import/metadata.json"),
        angles=of_benchmarked("import/angles.tif"),
        lut=of_benchmarked("aerosol/table.npz"),
        code=step("benchmark.study"),
    output:
        report(
            expand(
                f"{OUT}/benchmark_study/{{name}}",
                name=(
                    "study.md",
                    "study.csv",
                    "speedup.png",
                    "cost.png",
                    "memory.png",
                ),
            ),
            caption="../report/benchmark_study.rst",
            category="benchmarks",
        ),
    log:
        f"{OUT}/logs/benchmark_study.log",
    conda:
        CONDA
    threads: workflow.cores
    resources:
        mem_mb=4000,
    params:
        folder=f"{OUT}/benchmark_study",
        sizes=config["study"]["sizes"],
        workers=optional(
            "--workers", " ".join(map(str, config["study"]["workers"]))
        ).replace("'", ""),
    shell:
        "python -m steps.benchmark.study --toa-10m {input.toa_10m:q} --stack {input.stack:q}"
        " --terrain-10m {input.terrain_10m:q} --terrain-20m {input.terrain_20m:q}"
        " --classification {input.classification:q} --aot {input.aot:q} --wvp {input.wvp:q}"
        " --metadata {input.metadata:q} --angles {input.angles:q} --lut {input.lut:q} --folder {params.folder:q}"
        " --sizes {params.sizes} {params.workers} --threads {threads} --log {log:q}"
