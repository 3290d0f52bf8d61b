# What the air holds: the look-up table, aerosol and water vapour.


rule look_up_table:
    output:
        # Not to be removed beforehand: another run may have made it just now.
        lut=update(str(cache_folder() / "lut_{model}_{digest}.npz")),
    log:
        f"{OUT}/logs/look_up_table_{{model}}_{{digest}}.log",
    conda:
        CONDA
    threads: 4
    resources:
        mem_mb=memory(800),
    params:
        aerosol="{model}",
    shell:
        command("look_up_table")


rule atmosphere_data:
    # Not part of a run: `snakemake results/atmosphere_data` makes the shipped steps/atmosphere/data anew with 6S.
    output:
        folder=directory(f"{OUT}/atmosphere_data"),
    log:
        f"{OUT}/logs/atmosphere_data.log",
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=memory(500),
    shell:
        command("atmosphere_data", "atmosphere.extract")


rule cirrus_correction:
    input:
        stack=of("import/toa_80m.tif"),
        toa=[of(CHOICE.uncorrected(size)) for size in CHOICE.sizes],
        classification=of("classification/scl_80m.tif"),
        terrain=of("dem/terrain_80m.tif"),
        vapour=of("classification/vapour_80m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
    output:
        corrected_stack=work("cirrus/toa_80m.tif"),
        corrected=[work(f"cirrus/toa_{size}m.tif") for size in CHOICE.sizes],
        report=work("cirrus/cirrus.json"),
    log:
        kept("logs/cirrus_correction.log"),
    benchmark:
        kept("benchmarks/cirrus_correction.tsv")
    conda:
        CONDA
    threads: threads_of("cirrus_correction", 2)
    resources:
        mem_mb=memory(1500),
        workers=WORKERS,
    shell:
        command("cirrus_correction")


rule aerosol:
    input:
        stack=of(CHOICE.overview),
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
        aot_uncertainty=work("aerosol/aot_uncertainty.tif"),
        aerosol_ground=if_any(CHOICE.dark_vegetation, work("aerosol/ground_80m.tif")),
        aerosol_model=work("aerosol/model.json"),
        report=work("aerosol/aerosol.json"),
    log:
        kept("logs/aerosol.log"),
    benchmark:
        kept("benchmarks/aerosol.tsv")
    conda:
        CONDA
    threads: threads_of("aerosol", 4)
    resources:
        mem_mb=memory(1200),
        workers=WORKERS,
    params:
        method=config["aerosol"]["method"],
        aot550=config["aerosol"]["aot550"],
        smoothing_km=config["aerosol"]["smoothing_km"],
    shell:
        command("aerosol")


rule water_vapour:
    input:
        stack=of(CHOICE.overview),
        classification=of("classification/scl_80m.tif"),
        terrain=of("dem/terrain_80m.tif"),
        mask_20m=of("import/mask_20m.tif"),
        terrain_20m=of("dem/terrain_20m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_80m.tif"),
        aerosol_model=of("aerosol/model.json"),
    output:
        wvp=work("water_vapour/wvp_20m.tif"),
        scene_means=work("water_vapour/scene_means.json"),
        report=work("water_vapour/water_vapour.json"),
    log:
        kept("logs/water_vapour.log"),
    benchmark:
        kept("benchmarks/water_vapour.tsv")
    conda:
        CONDA
    threads: threads_of("water_vapour", 2)
    resources:
        mem_mb=memory(1000),
        workers=WORKERS,
    params:
        method=config["water_vapour"]["method"],
        column=config["water_vapour"]["column"],
    shell:
        command("water_vapour")
