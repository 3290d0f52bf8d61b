# What users open: SAFE, COGs with a STAC item, quicklooks and the quality report.

PRODUCT_RASTERS = [
    "resample/toa_20m.tif",
    "dem/terrain_20m.tif",
    "classification/scl_20m.tif",
    "classification/scl_60m.tif",
    "aerosol/aot_20m.tif",
    "water_vapour/wvp_20m.tif",
    *each_size(str, BOA),
    *(
        each_size(str, "uncertainty/uncertainty_{}m.tif")
        if config["boa_uncertainty"]
        else []
    ),
]


rule crop:
    input:
        metadata=of("import/metadata.json"),
        rasters=[of(path) for path in PRODUCT_RASTERS],
    output:
        work("roi/import/metadata.json"),
        *(work(f"roi/{path}") for path in PRODUCT_RASTERS),
    log:
        kept("logs/crop.log"),
    benchmark:
        kept("benchmarks/crop.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(300),
    params:
        code=step("crop"),
        folder=lambda wildcards, output: Path(output[0]).parents[1],
    shell:
        "python -m steps.crop --metadata {input.metadata:q} --rasters {input.rasters:q} --folder {params.folder:q}"
        " --log {log:q}"


rule quality_report:
    input:
        metadata=final("import/metadata.json"),
        classification=final("classification/scl_20m.tif"),
        terrain=final("dem/terrain_20m.tif"),
        reports=[
            of("aerosol/aerosol.json"),
            of("water_vapour/water_vapour.json"),
            of("reflectance/reflectance.json"),
            *([of("terrain/terrain.json")] if CORRECT_TERRAIN else []),
        ],
    output:
        quality=kept("report/quality.json"),
    log:
        kept("logs/quality_report.log"),
    benchmark:
        kept("benchmarks/quality_report.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(300),
        workers=WORKERS,
    params:
        code=step("quality_report"),
    shell:
        "python -m steps.quality_report --metadata {input.metadata:q} --classification {input.classification:q}"
        " --terrain {input.terrain:q} --reports {input.reports:q} --quality {output.quality:q} --log {log:q}"


rule write_images:
    input:
        boa=each_size(final, BOA),
        aot=final("aerosol/aot_20m.tif"),
        wvp=final("water_vapour/wvp_20m.tif"),
        classification=[final(f"classification/scl_{size}m.tif") for size in (20, 60)],
        metadata=final("import/metadata.json"),
    output:
        images=work("images", directory),
        checksums=work("images.checksums.json"),
    log:
        kept("logs/write_images.log"),
    benchmark:
        kept("benchmarks/write_images.tsv")
    priority: 1
    conda:
        CONDA
    threads: unless_small(4)
    resources:
        mem_mb=memory(1800),
    params:
        code=step("write_images"),
    shell:
        "python -m steps.write_images --boa {input.boa:q} --aot {input.aot:q}"
        " --wvp {input.wvp:q} --classification {input.classification:q} --metadata {input.metadata:q}"
        " --images {output.images:q} --threads {threads} --log {log:q}"


rule write_safe:
    input:
        l1c=l1c_input,
        images=of("images"),
        checksums=of("images.checksums.json"),
        metadata=final("import/metadata.json"),
        quality=kept("report/quality.json"),
    output:
        f"{OUT}/{{product}}.SAFE/manifest.safe",
    log:
        kept("logs/write_safe.log"),
    benchmark:
        kept("benchmarks/write_safe.tsv")
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=memory(800),
    params:
        code=step("write_safe"),
        l1c=l1c_of,
        safe=lambda wildcards, output: Path(output[0]).parent,
        layers=LAYER_OPTIONS,
    shell:
        "python -m steps.write_safe --l1c {params.l1c:q} --images {input.images:q} --metadata {input.metadata:q}"
        " --quality {input.quality:q} --safe {params.safe:q} {params.layers:q}"
        " --threads {threads} --log {log:q}"


rule write_cog:
    input:
        boa=each_size(final, BOA),
        aot=final("aerosol/aot_20m.tif"),
        wvp=final("water_vapour/wvp_20m.tif"),
        classification=final("classification/scl_20m.tif"),
        metadata=final("import/metadata.json"),
        uncertainty=(
            each_size(final, "uncertainty/uncertainty_{}m.tif")
            if config["boa_uncertainty"]
            else []
        ),
    output:
        cogs=work("cog", directory),
        checksums=work("cog.checksums.json"),
    log:
        kept("logs/write_cog.log"),
    benchmark:
        kept("benchmarks/write_cog.tsv")
    priority: 1
    conda:
        CONDA
    threads: unless_small(4)
    resources:
        mem_mb=memory(1200),
    params:
        code=step("write_cog"),
        compression=config["cog"]["compression"],
        uncertainty="--uncertainty" if config["boa_uncertainty"] else "",
    shell:
        "python -m steps.write_cog --boa {input.boa:q} --aot {input.aot:q}"
        " --wvp {input.wvp:q} --classification {input.classification:q} --metadata {input.metadata:q}"
        " --cogs {output.cogs:q} --compression {params.compression} {params.uncertainty} {input.uncertainty:q}"
        " --threads {threads} --log {log:q}"


rule write_stac:
    input:
        cogs=of("cog"),
        checksums=of("cog.checksums.json"),
        metadata=final("import/metadata.json"),
        quality=kept("report/quality.json"),
    output:
        kept("cog/item.json"),
    log:
        kept("logs/write_stac.log"),
    benchmark:
        kept("benchmarks/write_stac.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(600),
    params:
        code=step("write_stac"),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python -m steps.write_stac --cogs {input.cogs:q} --metadata {input.metadata:q} --quality {input.quality:q}"
        " --folder {params.folder:q} --log {log:q}"


rule quicklook:
    input:
        toa=final("resample/toa_20m.tif"),
        boa=final(BOA.format(20)),
        classification=final("classification/scl_20m.tif"),
        aot=final("aerosol/aot_20m.tif"),
        wvp=final("water_vapour/wvp_20m.tif"),
        metadata=final("import/metadata.json"),
    output:
        report(
            expand(kept("quicklook/{name}.png"), name=QUICKLOOKS, allow_missing=True),
            caption="../report/quicklook.rst",
            category="{product}",
        ),
    log:
        kept("logs/quicklook.log"),
    benchmark:
        kept("benchmarks/quicklook.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(600),
    params:
        code=step("quicklook"),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python -m steps.quicklook --toa {input.toa:q} --boa {input.boa:q}"
        " --classification {input.classification:q} --aot {input.aot:q} --wvp {input.wvp:q}"
        " --metadata {input.metadata:q} --folder {params.folder:q} --log {log:q}"
