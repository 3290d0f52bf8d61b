# Surface reflectance: over flat terrain, then corrected for the terrain where there is a DEM.


rule reflectance:
    input:
        toa=native_or_stack,
        classification=of("classification/scl_20m.tif"),
        terrain=of("dem/terrain_{res}m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_20m.tif"),
        wvp=of("water_vapour/wvp_20m.tif"),
        lut=of("aerosol/table.npz"),
    output:
        boa=work("reflectance/boa_{res}m.tif"),
        report=work("reflectance/reflectance_{res}m.json"),
    log:
        kept("logs/reflectance_{res}m.log"),
    benchmark:
        kept("benchmarks/reflectance_{res}m.tsv")
    conda:
        CONDA
    threads: side_by_side(2)
    resources:
        mem_mb=memory(1700),
        workers=WORKERS,
    params:
        code=step("reflectance"),
        adjacency=(
            "--adjacency" if config["reflectance"]["adjacency"] else "--no-adjacency"
        ),
        adjacency_km=config["reflectance"]["adjacency_km"],
    shell:
        "python -m steps.reflectance --toa {input.toa:q} --resolution {wildcards.res}"
        " --classification {input.classification:q} --terrain {input.terrain:q} --metadata {input.metadata:q}"
        " --angles {input.angles:q} --aot {input.aot:q} --wvp {input.wvp:q} --lut {input.lut:q} --boa {output.boa:q}"
        " --report {output.report:q} {params.adjacency} --adjacency-km {params.adjacency_km}"
        " --threads {threads} {resources.workers} --log {log:q}"


rule uncertainty:
    input:
        boa=of("reflectance/boa_{res}m.tif"),
        classification=of("classification/scl_20m.tif"),
        terrain=of("dem/terrain_20m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_20m.tif"),
        wvp=of("water_vapour/wvp_20m.tif"),
        lut=of("aerosol/table.npz"),
        other_luts=ancient(OTHER_LUTS),
    output:
        uncertainty=work("uncertainty/uncertainty_{res}m.tif"),
    log:
        kept("logs/uncertainty_{res}m.log"),
    benchmark:
        kept("benchmarks/uncertainty_{res}m.tsv")
    conda:
        CONDA
    threads: side_by_side(2)
    resources:
        mem_mb=memory(1100),
    params:
        code=step("uncertainty"),
        adjacency=(
            "--adjacency" if config["reflectance"]["adjacency"] else "--no-adjacency"
        ),
        adjacency_km=config["reflectance"]["adjacency_km"],
    shell:
        "python -m steps.uncertainty --boa {input.boa:q} --resolution {wildcards.res}"
        " --classification {input.classification:q} --terrain {input.terrain:q} --metadata {input.metadata:q}"
        " --angles {input.angles:q} --aot {input.aot:q} --wvp {input.wvp:q} --lut {input.lut:q}"
        " --other-luts {input.other_luts:q} --uncertainty {output.uncertainty:q} {params.adjacency}"
        " --adjacency-km {params.adjacency_km} --threads {threads} --log {log:q}"


rule terrain:
    input:
        boa=of("reflectance/boa_{res}m.tif"),
        terrain=of("dem/terrain_{res}m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_20m.tif"),
        lut=of("aerosol/table.npz"),
    output:
        corrected=work("terrain/boa_{res}m.tif"),
        report=work("terrain/terrain_{res}m.json"),
    log:
        kept("logs/terrain_{res}m.log"),
    benchmark:
        kept("benchmarks/terrain_{res}m.tsv")
    conda:
        CONDA
    threads: side_by_side(2)
    resources:
        mem_mb=memory(1200),
        workers=WORKERS,
    params:
        code=step("terrain"),
        correction=config["terrain"]["correction"],
        min_cos_incidence=config["terrain"]["min_cos_incidence"],
    shell:
        "python -m steps.terrain --boa {input.boa:q} --resolution {wildcards.res} --terrain {input.terrain:q}"
        " --metadata {input.metadata:q} --angles {input.angles:q} --aot {input.aot:q}"
        " --lut {input.lut:q} --corrected {output.corrected:q} --report {output.report:q}"
        " --correction {params.correction} --min-cos-incidence {params.min_cos_incidence}"
        " --threads {threads} {resources.workers} --log {log:q}"
