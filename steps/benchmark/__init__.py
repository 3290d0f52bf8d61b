"""What the pipeline costs: not part of a run, see workflow/rules/benchmark.smk."""
