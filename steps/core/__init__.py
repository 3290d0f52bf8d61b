"""What every stage stands on: rasters and documents between the stages, command line, settings, workers, caches."""
