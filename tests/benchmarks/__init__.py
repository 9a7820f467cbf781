"""Measurements: paired, on the same work, printed as ratios. `python -m tests.benchmarks.NAME`."""
