# What a run is as a whole: products that are planned one by one, and what became of all of them.


rule product:
    input:
        l1c=l1c_given,
        given=external(*GIVEN),
        luts=if_any(not APART, ancient(LUTS)),
    output:
        done=touch(PLACES.done),
    log:
        kept("logs/product.log"),
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=memory(2600),
    params:
        code=" ".join(map(code_digest, STAGES)),
        l1c=lambda wildcards: L1C[wildcards.product],
        settings=literal(SETTINGS),
        snakefile=ROOT / "Snakefile",
    shell:
        command("product")


rule compile_kernels:
    # Not part of a run: `snakemake --cores N compile_kernels --config cache=FOLDER` fills a cache folder with all kernels.
    log:
        f"{OUT}/logs/compile_kernels.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=lambda wildcards, threads: 400 * threads + 300,
    params:
        folder=cache_folder(),
        processor=config["processor"],
    shell:
        command("compile_kernels")


rule files:
    input:
        final_files,


rule catalog:
    input:
        final_files,
    output:
        catalog=PLACES.catalog,
        collection=f"{OUT}/collection.json",
    log:
        f"{OUT}/logs/catalog.log",
    conda:
        CONDA
    params:
        url=config["cog"]["url"] or None,
    shell:
        command("catalog")


rule summary:
    input:
        final_files,
        table=external(TABLE) if is_list(TABLE) else [],
    output:
        report(PLACES.summary, category="summary", caption="../report/summary.rst"),
        PLACES.index,
    log:
        f"{OUT}/logs/{Path(PLACES.summary).stem}.log",
    run:
        summarise(output[0], output[1], log[0])
