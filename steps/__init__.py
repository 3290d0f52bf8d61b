"""Sen2Flow: Sentinel-2 Level-1C to Level-2A, one module for each stage of the pipeline."""

__version__ = "0.1.0"
