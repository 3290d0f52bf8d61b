"""The command `sen2flow`: a thin layer over the workflow, wherever it is installed."""
