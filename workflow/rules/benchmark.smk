# What the pipeline costs. Not part of a run: ask for a target by its name, alone on the machine.


localrules:
    benchmark_study,
    benchmark_stages,
    benchmark_scaling,
    benchmark_accuracy,
    benchmark_routes,
    benchmark_cores,
    gallery,


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
        scene_means=of_benchmarked("water_vapour/scene_means.json"),
        metadata=of_benchmarked("import/metadata.json"),
        angles=of_benchmarked("import/angles.tif"),
        aerosol_model=of_benchmarked("aerosol/model.json"),
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
    threads: 64
    resources:
        mem_mb=4000,
    params:
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        command("benchmark_study", "benchmark.study")


rule benchmark_stages:
    # `snakemake --cores N benchmark_stages --config input=...`: one column of workflow/report/performance.md.
    input:
        product_files(BENCHMARKED),
        l1c=l1c_input,
    output:
        # The table itself, which is there from the beginning, would be taken for done.
        touch(f"{OUT}/logs/{BENCHMARKED}.done"),
    log:
        f"{OUT}/logs/benchmark_stages.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=1000,
    params:
        l1c=l1c_of,
        logs=lambda wildcards, input: str(Path(input[0]).parents[1] / "logs"),
        table=ROOT / "workflow/report/performance.md",
    shell:
        command("benchmark_stages", "benchmark.stages")


rule benchmark_scaling:
    # `snakemake --cores N benchmark_scaling`: the whole pipeline by pixels of a product and products of a run.
    input:
        ancient(LUTS),
    output:
        report(
            expand(
                f"{OUT}/benchmark_scaling/scaling.{{kind}}", kind=("md", "csv", "png")
            ),
            caption="../report/benchmark_scaling.rst",
            category="benchmarks",
        ),
    log:
        f"{OUT}/logs/benchmark_scaling.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=5000,
    params:
        snakefile=ROOT / "Snakefile",
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        command("benchmark_scaling", "benchmark.scaling")


rule benchmark_routes:
    # `snakemake --cores N benchmark_routes --config input=... dem=...`: each form of product, without and with terrain.
    output:
        f"{OUT}/benchmark_routes/routes.csv",
    log:
        f"{OUT}/logs/benchmark_routes.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=5000,
    params:
        snakefile=ROOT / "Snakefile",
        l1c=TABLE if TABLE == "demo" else str(Path(TABLE).absolute()),
        folder=lambda wildcards, output: str(Path(output[0]).parent.absolute()),
        dem=str(Path(config["dem"]).absolute()) if config["dem"] else None,
    shell:
        command("benchmark_routes", "benchmark.routes")


rule benchmark_cores:
    # `snakemake --cores 2 benchmark_cores --config input=...`: one product on more cores than there are, simulated.
    input:
        ancient(LUTS),
    output:
        expand(f"{OUT}/benchmark_cores/{{name}}.csv", name=("cores", "stages")),
    log:
        f"{OUT}/logs/benchmark_cores.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=5000,
    params:
        snakefile=ROOT / "Snakefile",
        l1c=TABLE if TABLE == "demo" else str(Path(TABLE).absolute()),
        folder=lambda wildcards, output: str(Path(output[0]).parent.absolute()),
    shell:
        command("benchmark_cores", "benchmark.cores")


rule benchmark_accuracy:
    # `snakemake --cores N benchmark_accuracy`: the whole pipeline over simulated scenes, against their truth.
    input:
        scenes=external(config["simulation"]["scenes"]),
    output:
        report(
            expand(f"{OUT}/benchmark_accuracy/accuracy.{{kind}}", kind=("md", "csv")),
            caption="../report/benchmark_accuracy.rst",
            category="benchmarks",
        ),
    log:
        f"{OUT}/logs/benchmark_accuracy.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=6000,
    params:
        folder=lambda wildcards, output: str(Path(output[0]).parent),
        names=config["simulation"]["names"] or None,
    shell:
        command("benchmark_accuracy", "benchmark.accuracy")


rule gallery:
    # `snakemake --cores N gallery`: what docs/gallery.md shows, of the demo and of simulated scenes.
    input:
        ancient(LUTS),
    output:
        touch(f"{OUT}/logs/gallery.done"),
    log:
        f"{OUT}/logs/gallery.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=6000,
    params:
        folder=ROOT / "docs/gallery",
        work=f"{OUT}/gallery",
    shell:
        command("gallery", "benchmark.gallery")
