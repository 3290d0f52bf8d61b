# Memory and threads here and in the other files were measured on full tiles of 10980 x 10980 pixels, plus a third.
# From the L1C product to co-registered top-of-atmosphere reflectance and terrain.


rule demo:
    output:
        safe=directory(DEMO),
    log:
        f"{OUT}/demo/demo.log",
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(400),
    shell:
        command("demo")


rule simulate:
    # `snakemake --cores N simulate`: scenes with known truth; the table is an `input` of the next run.
    input:
        scenes=external(config["simulation"]["scenes"]),
    output:
        products=f"{OUT}/simulated/products.csv",
    log:
        f"{OUT}/logs/simulate.log",
    conda:
        CONDA
    threads: 64
    resources:
        mem_mb=memory(4000),
    params:
        names=config["simulation"]["names"] or None,
    shell:
        command("simulate")


rule fetch:
    input:
        given=l1c_given,
    output:
        l1c=work(FETCHED, directory),
    log:
        kept("logs/fetch.log"),
    benchmark:
        kept("benchmarks/fetch.tsv")
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(200),
    params:
        **REMOTE,
        address=lambda wildcards: L1C[wildcards.product],
        product=lambda wildcards: wildcards.product,
        checksums=config["checksums"],
    shell:
        command("fetch")


rule import_l1c:
    input:
        l1c=l1c_input,
        region=external(ROI) if not isinstance(config["roi"], list) else [],
    output:
        metadata=work("import/metadata.json"),
        angles=work("import/angles.tif"),
        toa_10m=work("import/toa_10m.tif"),
        toa_20m=work("import/toa_20m.tif"),
        toa_60m=work("import/toa_60m.tif"),
        mask=work("import/mask_20m.tif"),
        overview=work("import/toa_80m.tif"),
    log:
        kept("logs/import_l1c.log"),
    benchmark:
        kept("benchmarks/import_l1c.tsv")
    conda:
        CONDA
    threads: 16
    resources:
        mem_mb=memory(1700, each=75),
    params:
        l1c=l1c_of,
        ozone=config["ozone"],
        checksums=config["checksums"],
        roi=literal(ROI),
        roi_margin_km=config["reflectance"]["adjacency_km"],
        roi_clouds=not CHOICE.matches_shadows,
    shell:
        command("import_l1c")


rule resample:
    input:
        toa_10m=of("import/toa_10m.tif"),
        toa_20m=of("import/toa_20m.tif"),
        toa_60m=of("import/toa_60m.tif"),
    output:
        stack_20m=work("resample/toa_20m.tif"),
        stack_60m=if_any(60 in CHOICE.sizes, work("resample/toa_60m.tif")),
    log:
        kept("logs/resample.log"),
    benchmark:
        kept("benchmarks/resample.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(700),
        workers=WORKERS,
    shell:
        command("resample")


rule elevation_tiles:
    input:
        metadata=of("import/metadata.json"),
    output:
        tiles=work("elevation_tiles", directory),
    log:
        kept("logs/elevation_tiles.log"),
    benchmark:
        kept("benchmarks/elevation_tiles.tsv")
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(600),
    params:
        pixel_size=str(config["dem"]).removeprefix("copernicus_"),
        base=literal(config["dem_tiles"]),
        endpoint=REMOTE["endpoint"],
        profile=REMOTE["profile"],
    shell:
        command("elevation_tiles")


rule dem:
    input:
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        dem=of("elevation_tiles") if CHOICE.downloads_elevation else external(DEM),
    output:
        terrain_10m=if_any(10 in CHOICE.sizes, work("dem/terrain_10m.tif")),
        terrain_20m=work("dem/terrain_20m.tif"),
        terrain_60m=if_any(60 in CHOICE.sizes, work("dem/terrain_60m.tif")),
        terrain_80m=work("dem/terrain_80m.tif"),
    log:
        kept("logs/dem.log"),
    benchmark:
        kept("benchmarks/dem.tsv")
    conda:
        CONDA
    threads: 2 if config["dem"] else 1
    resources:
        mem_mb=memory(2300),
        workers=WORKERS,
    params:
        **({} if CHOICE.downloads_elevation else {"dem": literal(DEM)}),
        altitude=config["altitude"],
    shell:
        command("dem")


rule scene_classification:
    input:
        stack=of("resample/toa_20m.tif"),
        mask=of("import/mask_20m.tif"),
        metadata=of("import/metadata.json"),
        terrain=of("dem/terrain_20m.tif"),
        toa_10m=of("import/toa_10m.tif"),
        tile_shadow_limits=of("classification/shadow_limits_80m.tif"),
        tile_vapour=of("classification/vapour_80m.tif"),
        tile_stack=if_any(CHOICE.takes_out_haze, of("import/toa_80m.tif")),
        tile_classification=if_any(
            CHOICE.takes_out_haze, of("classification/scl_80m.tif")
        ),
        tile_aot=if_any(CHOICE.takes_out_haze, of("aerosol/aot_80m.tif")),
        aerosol_model=if_any(CHOICE.takes_out_haze, of("aerosol/model.json")),
        angles=if_any(CHOICE.takes_out_haze, of("import/angles.tif")),
        layers=LAYERS,
    output:
        classification=work("classification/scl_20m.tif"),
        classification_60m=if_any(
            set(config["formats"]) - {"cog"}, work("classification/scl_60m.tif")
        ),
    log:
        kept("logs/scene_classification.log"),
    benchmark:
        kept("benchmarks/scene_classification.tsv")
    conda:
        CONDA
    threads: threads_of("scene_classification", 8)
    resources:
        mem_mb=memory(1600, each=200),
        workers=WORKERS,
    params:
        **LAYER_OPTIONS,
        snow_possible=config["classification"]["snow_possible"],
        median_filter=config["classification"]["median_filter"],
        mode=config["classification"]["mode"],
        improvements=config["classification"]["improvements"],
        cloud_buffer=config["classification"]["cloud_buffer"],
        cloud_model=config["classification"]["cloud_model"],
    shell:
        command("scene_classification")


rule scene_classification_overview:
    # What the air is found from, where the shadows of clouds fall, what B10 sees: everything else waits for it.
    input:
        stack=of("import/toa_80m.tif"),
        metadata=of("import/metadata.json"),
        terrain=of("dem/terrain_80m.tif"),
        angles=of("import/angles.tif"),
        layers=LAYERS,
    output:
        classification=work("classification/scl_80m.tif"),
        shadow_limits=work("classification/shadow_limits_80m.tif"),
        vapour=work("classification/vapour_80m.tif"),
    log:
        kept("logs/scene_classification_overview.log"),
    benchmark:
        kept("benchmarks/scene_classification_overview.tsv")
    priority: 1
    conda:
        CONDA
    threads: threads_of("scene_classification_overview", 4)
    resources:
        mem_mb=memory(600),
        workers=WORKERS,
    params:
        **LAYER_OPTIONS,
        snow_possible=config["classification"]["snow_possible"],
        mode=config["classification"]["mode"],
        improvements=config["classification"]["improvements"],
        cloud_buffer=config["classification"]["cloud_buffer"],
    shell:
        command("scene_classification_overview", "scene_classification")
