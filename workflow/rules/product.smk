# What users open: SAFE, COGs with a STAC item, quicklooks and the quality report.

PRODUCT_RASTERS = [
    "dem/terrain_20m.tif",
    *if_any(CHOICE.reflectance, ["resample/toa_20m.tif"]),
    *if_any(CHOICE.qa, ["import/mask_20m.tif"]),
    *if_any(CHOICE.classes, ["classification/scl_20m.tif"]),
    *if_any(set(config["formats"]) - {"cog"}, ["classification/scl_60m.tif"]),
    *if_any(CHOICE.atmosphere, ["aerosol/aot_20m.tif", "water_vapour/wvp_20m.tif"]),
    *each_size(str, CHOICE.boa),
    *if_any(CHOICE.flat_reflectance, each_size(str, "reflectance/boa_{}m.tif")),
    *if_any(CHOICE.uncertainty, each_size(str, "uncertainty/uncertainty_{}m.tif")),
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
        classification=if_any(CHOICE.classes, final("classification/scl_20m.tif")),
        terrain=final("dem/terrain_20m.tif"),
        aerosol=if_any(CHOICE.air, of("aerosol/aerosol.json")),
        water_vapour=if_any(
            CHOICE.air,
            of("water_vapour/water_vapour.json"),
        ),
        cirrus=if_any(CHOICE.corrects_cirrus, of("cirrus/cirrus.json")),
        reflectance=if_any(CHOICE.reflectance, of("reflectance/reflectance.json")),
        terrain_correction=if_any(
            CHOICE.reflectance and CHOICE.corrects_terrain, of("terrain/terrain.json")
        ),
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
        boa=each_size(final, CHOICE.boa),
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
        mem_mb=memory(3200 if config["safe"]["jpeg2000"] == "high_throughput" else 1800),
    params:
        jpeg2000=config["safe"]["jpeg2000"],
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
        PLACES.formats["safe"],
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
        metadata=final("import/metadata.json"),
        boa=each_size(final, CHOICE.boa),
        aot=if_any(CHOICE.atmosphere, final("aerosol/aot_20m.tif")),
        wvp=if_any(CHOICE.atmosphere, final("water_vapour/wvp_20m.tif")),
        classification=if_any(CHOICE.classes, final("classification/scl_20m.tif")),
        uncertainty=if_any(
            CHOICE.uncertainty, each_size(final, "uncertainty/uncertainty_{}m.tif")
        ),
        flat=if_any(
            CHOICE.flat_reflectance, each_size(final, "reflectance/boa_{}m.tif")
        ),
        mask=if_any(CHOICE.qa, final("import/mask_20m.tif")),
        terrain=if_any(CHOICE.by_terrain, final("dem/terrain_20m.tif")),
        angles=if_any(CHOICE.by_angles, of("import/angles.tif")),
        aerosol_ground=if_any(CHOICE.dark_vegetation, of("aerosol/ground_80m.tif")),
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
    # The largest file is a fifth of the work; one of eight cores is left for quicklooks. Without reflectance there is
    # little to write.
    threads: unless_small(7 if CHOICE.reflectance else 1)
    resources:
        mem_mb=memory(200, each=250),
    params:
        products=config["products"],
        layers=config["layers"] or None,
        min_cos_incidence=config["terrain"]["min_cos_incidence"] if CHOICE.qa else None,
        compression=config["cog"]["compression"],
    shell:
        command("write_cog")


rule publish_cog:
    input:
        cogs=of("cog"),
        checksums=of("cog.checksums.json"),
        metadata=final("import/metadata.json"),
        angles=of("import/angles.tif"),
        quality=kept("report/quality.json"),
    output:
        PLACES.formats["cog"],
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
        products=config["products"],
        resolutions=config["resolutions"],
        layers=config["layers"] or None,
        url=config["cog"]["url"] or None,
    shell:
        command("publish_cog")


rule upload:
    input:
        finished=lambda wildcards: product_files(wildcards.product),
    output:
        uploaded=PLACES.uploaded,
    log:
        kept("logs/upload.log"),
    benchmark:
        kept("benchmarks/upload.tsv")
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(200),
    params:
        **UPLOAD,
        folder=literal(str(PLACE)),
    shell:
        command("upload")


rule write_zarr:
    input:
        l1c=l1c_input,
        boa=each_size(final, CHOICE.boa),
        aot=final("aerosol/aot_20m.tif"),
        wvp=final("water_vapour/wvp_20m.tif"),
        classification=[final(f"classification/scl_{size}m.tif") for size in (20, 60)],
        metadata=final("import/metadata.json"),
        quality=kept("report/quality.json"),
    output:
        PLACES.formats["zarr"],
    log:
        kept("logs/write_zarr.log"),
    benchmark:
        kept("benchmarks/write_zarr.tsv")
    priority: 1
    conda:
        CONDA
    threads: unless_small(4)
    resources:
        mem_mb=memory(1200),
    params:
        l1c=l1c_of,
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        command("write_zarr")


rule quicklook:
    input:
        metadata=final("import/metadata.json"),
        toa=if_any(CHOICE.reflectance, final("resample/toa_20m.tif")),
        boa=if_any(CHOICE.reflectance, final(CHOICE.boa.format(CHOICE.shown))),
        classification=if_any(
            CHOICE.classification, final("classification/scl_20m.tif")
        ),
        aot=if_any(CHOICE.atmosphere, final("aerosol/aot_20m.tif")),
        wvp=if_any(CHOICE.atmosphere, final("water_vapour/wvp_20m.tif")),
    output:
        report(
            expand(
                kept("quicklook/{name}.png"),
                name=CHOICE.quicklooks,
                allow_missing=True,
            ),
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


rule report:
    input:
        [PLACES.formats[name] for name in config["formats"]],
        expand(kept("quicklook/{name}.png"), name=CHOICE.quicklooks, allow_missing=True),
        l1c=l1c_input,
        metadata=final("import/metadata.json"),
        quality=kept("report/quality.json"),
        # A whole tile is shown by its pixels of 60 m; the few of a part are seen at 20 m.
        toa=if_any(
            CHOICE.reflectance,
            [
                final("resample/toa_20m.tif"),
                *if_any(60 in CHOICE.sizes and not ROI, [of("resample/toa_60m.tif")]),
            ],
        ),
        boa=each_size(final, CHOICE.boa),
        uncertainty=if_any(
            CHOICE.uncertainty, each_size(final, "uncertainty/uncertainty_{}m.tif")
        ),
        classification=if_any(
            CHOICE.classification, final("classification/scl_20m.tif")
        ),
        aot=if_any(CHOICE.atmosphere, final("aerosol/aot_20m.tif")),
        wvp=if_any(CHOICE.atmosphere, final("water_vapour/wvp_20m.tif")),
    output:
        page=kept(REPORT),
        thumbnail=kept(THUMBNAIL),
        crate=kept("ro-crate-metadata.json"),
    log:
        kept("logs/report.log"),
    benchmark:
        kept("benchmarks/report.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(700),
    params:
        code=code_digest("steps.report", *sorted(TEMPLATES.iterdir())),
        l1c=l1c_of,
        settings=literal(SETTINGS),
    shell:
        command("report")
