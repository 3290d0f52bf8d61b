"""Sen2Flow: Sentinel-2 Level-1C to Level-2A, one module for each stage of the pipeline."""

import gc

__version__ = "0.1.0"

# To import what a stage needs makes a hundred thousand objects and no garbage. By default Python looks for some after
# each seven hundred of them, a tenth of a second in all.
gc.set_threshold(100_000)
