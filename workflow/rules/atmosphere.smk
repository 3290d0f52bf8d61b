# What the air holds: the look-up table, aerosol and water vapour.


rule atmosphere:
    output:
        # Not to be removed beforehand: another run may have made it just now.
        lut=update(str(cache_folder() / "lut_{model}_{digest}.npz")),
    log:
        f"{OUT}/logs/atmosphere_{{model}}_{{digest}}.log",
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(800),
    params:
        model="{model}",
    shell:
        "python -m steps.atmosphere --aerosol {params.model} --lut {output.lut:q} --threads {threads} --log {log:q}"


rule atmosphere_facts:
    # Not part of a run: `snakemake results/atmosphere_facts` makes the shipped steps/atmosphere/data anew with 6S.
    output:
        directory(f"{OUT}/atmosphere_facts"),
    log:
        f"{OUT}/logs/atmosphere_facts.log",
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=memory(500),
    shell:
        "python -m steps.atmosphere.extract --folder {output:q} --threads {threads} --log {log:q}"


rule aerosol:
    input:
        stack=of("import/toa_80m.tif"),
        classification=of("classification/scl_80m.tif"),
        terrain=of("dem/terrain_80m.tif"),
        mask_20m=of("import/mask_20m.tif"),
        terrain_20m=of("dem/terrain_20m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        lut=ancient(LUTS),
    output:
        aot=work("aerosol/aot_20m.tif"),
        aot_overview=work("aerosol/aot_80m.tif"),
        table=work("aerosol/table.npz"),
        report=work("aerosol/aerosol.json"),
    log:
        kept("logs/aerosol.log"),
    benchmark:
        kept("benchmarks/aerosol.tsv")
    conda:
        CONDA
    threads: half(2)
    resources:
        mem_mb=memory(1200),
        workers=WORKERS,
    params:
        code=step("aerosol"),
        method=config["aerosol"]["method"],
        aot550=config["aerosol"]["aot550"],
        smoothing_km=config["aerosol"]["smoothing_km"],
    shell:
        "python -m steps.aerosol --stack {input.stack:q} --classification {input.classification:q}"
        " --terrain {input.terrain:q} --metadata {input.metadata:q} --angles {input.angles:q} --lut {input.lut:q}"
        " --mask-20m {input.mask_20m:q} --terrain-20m {input.terrain_20m:q}"
        " --aot-overview {output.aot_overview:q} --aot {output.aot:q} --table {output.table:q}"
        " --report {output.report:q} --method {params.method} --aot550 {params.aot550}"
        " --smoothing-km {params.smoothing_km} --threads {threads} {resources.workers} --log {log:q}"


rule water_vapour:
    input:
        stack=of("import/toa_80m.tif"),
        classification=of("classification/scl_80m.tif"),
        terrain=of("dem/terrain_80m.tif"),
        mask_20m=of("import/mask_20m.tif"),
        terrain_20m=of("dem/terrain_20m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_80m.tif"),
        lut=of("aerosol/table.npz"),
    output:
        wvp=work("water_vapour/wvp_20m.tif"),
        report=work("water_vapour/water_vapour.json"),
    log:
        kept("logs/water_vapour.log"),
    benchmark:
        kept("benchmarks/water_vapour.tsv")
    conda:
        CONDA
    threads: half(2)
    resources:
        mem_mb=memory(1000),
        workers=WORKERS,
    params:
        code=step("water_vapour"),
        method=config["water_vapour"]["method"],
        column=config["water_vapour"]["column"],
    shell:
        "python -m steps.water_vapour --stack {input.stack:q} --classification {input.classification:q}"
        " --terrain {input.terrain:q} --metadata {input.metadata:q} --angles {input.angles:q} --aot {input.aot:q}"
        " --mask-20m {input.mask_20m:q} --terrain-20m {input.terrain_20m:q} --lut {input.lut:q}"
        " --wvp {output.wvp:q} --report {output.report:q} --method {params.method}"
        " --column {params.column} --threads {threads} {resources.workers} --log {log:q}"
