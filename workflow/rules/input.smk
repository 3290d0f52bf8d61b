# Memory and threads here and in the other files were measured on full tiles of 10980 x 10980 pixels, plus a third.
# From the L1C product to co-registered top-of-atmosphere reflectance and terrain.


rule demo:
    output:
        directory(DEMO),
    log:
        f"{OUT}/demo/demo.log",
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(400),
    params:
        code=step("demo"),
    shell:
        "python -m steps.demo --safe {output:q} --threads {threads} --log {log:q}"


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
    threads: 4
    resources:
        mem_mb=memory(2000),
    params:
        code=step("import_l1c"),
        l1c=l1c_of,
        ozone=config["ozone"],
        checksums=config["checksums"],
        roi=literal(option("--roi", ROI)),
        roi_margin_km=config["reflectance"]["adjacency_km"],
        roi_clouds="" if SHADOWS_MATCHED else "--roi-clouds",
    shell:
        "python -m steps.import_l1c --l1c {params.l1c:q} --metadata {output.metadata:q} --angles {output.angles:q}"
        " --toa-10m {output.toa_10m:q} --toa-20m {output.toa_20m:q} --toa-60m {output.toa_60m:q}"
        " --mask {output.mask:q} --overview {output.overview:q} --ozone {params.ozone} {params.roi:q}"
        " --checksums {params.checksums}"
        " --roi-margin-km {params.roi_margin_km} {params.roi_clouds} --threads {threads} --log {log:q}"


rule resample:
    input:
        toa_10m=of("import/toa_10m.tif"),
        toa_20m=of("import/toa_20m.tif"),
        toa_60m=of("import/toa_60m.tif"),
    output:
        stack_20m=work("resample/toa_20m.tif"),
        stack_60m=work("resample/toa_60m.tif"),
    log:
        kept("logs/resample.log"),
    benchmark:
        kept("benchmarks/resample.tsv")
    conda:
        CONDA
    resources:
        mem_mb=memory(700),
        workers=WORKERS,
    params:
        code=step("resample"),
    shell:
        "python -m steps.resample --toa-10m {input.toa_10m:q} --toa-20m {input.toa_20m:q} --toa-60m {input.toa_60m:q}"
        " --stack-20m {output.stack_20m:q} --stack-60m {output.stack_60m:q} --threads {threads} --log {log:q}"


rule dem:
    input:
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        dem=external(config["dem"]),
    output:
        terrain_10m=work("dem/terrain_10m.tif"),
        terrain_20m=work("dem/terrain_20m.tif"),
        terrain_60m=work("dem/terrain_60m.tif"),
        terrain_80m=work("dem/terrain_80m.tif"),
    log:
        kept("logs/dem.log"),
    benchmark:
        kept("benchmarks/dem.tsv")
    conda:
        CONDA
    threads: 2 if config["dem"] else 1
    resources:
        mem_mb=memory(1800),
        workers=WORKERS,
    params:
        code=step("dem"),
        dem=literal(option("--dem", config["dem"])),
        altitude=config["altitude"],
    shell:
        "python -m steps.dem --metadata {input.metadata:q} --angles {input.angles:q}"
        " --terrain-10m {output.terrain_10m:q} --terrain-20m {output.terrain_20m:q}"
        " --terrain-60m {output.terrain_60m:q} --terrain-80m {output.terrain_80m:q} {params.dem:q}"
        " --altitude {params.altitude} --threads {threads} --log {log:q}"


rule scene_classification:
    input:
        stack=of("resample/toa_20m.tif"),
        mask=of("import/mask_20m.tif"),
        metadata=of("import/metadata.json"),
        terrain=of("dem/terrain_20m.tif"),
        toa_10m=of("import/toa_10m.tif"),
        shadow_limits=of("classification/shadow_limits_80m.tif"),
        layers=LAYERS,
    output:
        classification=work("classification/scl_20m.tif"),
        classification_60m=work("classification/scl_60m.tif"),
    log:
        kept("logs/scene_classification.log"),
    benchmark:
        kept("benchmarks/scene_classification.tsv")
    conda:
        CONDA
    threads: half(2)
    resources:
        mem_mb=memory(2000),
        workers=WORKERS,
    params:
        code=step("scene_classification"),
        layers=LAYER_OPTIONS,
        snow=SNOW_POSSIBLE,
        median_filter=config["classification"]["median_filter"],
        mode=config["classification"]["mode"],
        improvements=config["classification"]["improvements"],
        cloud_buffer=config["classification"]["cloud_buffer"],
        cloud_model=config["classification"]["cloud_model"],
    shell:
        "python -m steps.scene_classification --stack {input.stack:q} --mask {input.mask:q}"
        " --metadata {input.metadata:q} --terrain {input.terrain:q} --classification {output.classification:q}"
        " --classification-60m {output.classification_60m:q} {params.layers:q} {params.snow}"
        " --median-filter {params.median_filter} --mode {params.mode} --improvements {params.improvements}"
        " --tile-shadow-limits {input.shadow_limits:q} --toa-10m {input.toa_10m:q}"
        " --cloud-buffer {params.cloud_buffer} --cloud-model {params.cloud_model}"
        " --threads {threads} --log {log:q}"


rule scene_classification_overview:
    # What the air is found from, and where the shadows of clouds fall: everything else waits for it.
    input:
        stack=of("import/toa_80m.tif"),
        metadata=of("import/metadata.json"),
        terrain=of("dem/terrain_80m.tif"),
        angles=of("import/angles.tif"),
        layers=LAYERS,
    output:
        classification=work("classification/scl_80m.tif"),
        shadow_limits=work("classification/shadow_limits_80m.tif"),
    log:
        kept("logs/scene_classification_overview.log"),
    benchmark:
        kept("benchmarks/scene_classification_overview.tsv")
    priority: 1
    conda:
        CONDA
    threads: 2 if ROI else half(2)  # of a whole tile, resampling goes on beside it
    resources:
        mem_mb=memory(600),
        workers=WORKERS,
    params:
        code=step("scene_classification"),
        layers=LAYER_OPTIONS,
        snow=SNOW_POSSIBLE,
        mode=config["classification"]["mode"],
        improvements=config["classification"]["improvements"],
        cloud_buffer=config["classification"]["cloud_buffer"],
    shell:
        "python -m steps.scene_classification --stack {input.stack:q}"
        " --metadata {input.metadata:q} --terrain {input.terrain:q} --classification {output.classification:q}"
        " --shadow-limits {output.shadow_limits:q}"
        " {params.layers:q} {params.snow} --mode {params.mode} --improvements {params.improvements}"
        " --angles {input.angles:q} --cloud-buffer {params.cloud_buffer} --threads {threads} --log {log:q}"
