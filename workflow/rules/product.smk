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
        folder=lambda wildcards, output: Path(output[0]).parents[1],
    shell:
        command("crop")


rule quality_report:
    input:
        metadata=final("import/metadata.json"),
        classification=final("classification/scl_20m.tif"),
        terrain=final("dem/terrain_20m.tif"),
        aerosol=of("aerosol/aerosol.json"),
        water_vapour=of("water_vapour/water_vapour.json"),
        reflectance=of("reflectance/reflectance.json"),
        terrain_correction=of("terrain/terrain.json") if CORRECT_TERRAIN else [],
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
    shell:
        command("quality_report")


rule write_jp2:
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
        kept("logs/write_jp2.log"),
    benchmark:
        kept("benchmarks/write_jp2.tsv")
    priority: 1
    conda:
        CONDA
    threads: unless_small(4)
    resources:
        mem_mb=memory(1800),
    shell:
        command("write_jp2")


rule write_safe:
    input:
        l1c=l1c_input,
        images=of("images"),
        checksums=of("images.checksums.json"),
        metadata=final("import/metadata.json"),
        quality=kept("report/quality.json"),
    output:
        FORMATS["safe"],
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
        **LAYER_OPTIONS,
        l1c=l1c_of,
        safe=lambda wildcards, output: Path(output[0]).parent,
    shell:
        command("write_safe")


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
        compression=config["cog"]["compression"],
    shell:
        command("write_cog")


rule publish_cog:
    input:
        cogs=of("cog"),
        checksums=of("cog.checksums.json"),
        metadata=final("import/metadata.json"),
        quality=kept("report/quality.json"),
    output:
        FORMATS["cog"],
    log:
        kept("logs/publish_cog.log"),
    benchmark:
        kept("benchmarks/publish_cog.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(600),
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        command("publish_cog")


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
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        command("quicklook")
