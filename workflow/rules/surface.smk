# Surface reflectance: over flat terrain, then corrected for the terrain where there is a DEM.


rule reflectance:
    input:
        toa=[of(CHOICE.top_of_atmosphere(size)) for size in CHOICE.sizes],
        classification=of("classification/scl_80m.tif"),
        terrain=each_size(of, "dem/terrain_{}m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_20m.tif"),
        wvp=of("water_vapour/wvp_20m.tif"),
        aerosol_model=of("aerosol/model.json"),
        scene_means=of("water_vapour/scene_means.json"),
    output:
        boa=each_size(work, "reflectance/boa_{}m.tif"),
        report=work("reflectance/reflectance.json"),
    log:
        kept("logs/reflectance.log"),
    benchmark:
        kept("benchmarks/reflectance.tsv")
    conda:
        CONDA
    threads: threads_of("reflectance", 8)
    resources:
        mem_mb=memory(1400, each=200),
        workers=WORKERS,
    params:
        unrounded=CHOICE.corrects_terrain,
        adjacency=config["reflectance"]["adjacency"],
        adjacency_km=config["reflectance"]["adjacency_km"],
    shell:
        command("reflectance")


rule uncertainty:
    input:
        boa=each_size(of, "reflectance/boa_{}m.tif"),
        gain=if_any(CHOICE.corrects_terrain, each_size(of, "terrain/gain_{}m.tif")),
        classification=of("classification/scl_80m.tif"),
        terrain=of("dem/terrain_20m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_20m.tif"),
        aot_uncertainty=of("aerosol/aot_uncertainty.tif"),
        wvp=of("water_vapour/wvp_20m.tif"),
        aerosol_model=of("aerosol/model.json"),
        scene_means=of("water_vapour/scene_means.json"),
    output:
        uncertainty=each_size(work, "uncertainty/uncertainty_{}m.tif"),
    log:
        kept("logs/uncertainty.log"),
    benchmark:
        kept("benchmarks/uncertainty.tsv")
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=memory(1100),
        workers=WORKERS,
    params:
        adjacency=config["reflectance"]["adjacency"],
        adjacency_km=config["reflectance"]["adjacency_km"],
    shell:
        command("uncertainty")


rule terrain_correction:
    input:
        boa=each_size(of, "reflectance/boa_{}m.tif"),
        terrain=each_size(of, "dem/terrain_{}m.tif"),
        classification=of("classification/scl_20m.tif"),
        metadata=of("import/metadata.json"),
        angles=of("import/angles.tif"),
        aot=of("aerosol/aot_20m.tif"),
        aerosol_model=of("aerosol/model.json"),
        scene_means=of("water_vapour/scene_means.json"),
    output:
        corrected=each_size(work, "terrain/boa_{}m.tif"),
        gain=if_any(CHOICE.uncertainty, each_size(work, "terrain/gain_{}m.tif")),
        report=work("terrain/terrain.json"),
    log:
        kept("logs/terrain_correction.log"),
    benchmark:
        kept("benchmarks/terrain_correction.tsv")
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=memory(1700),
        workers=WORKERS,
    params:
        correction=config["terrain"]["correction"],
        min_cos_incidence=config["terrain"]["min_cos_incidence"],
    shell:
        command("terrain_correction")
