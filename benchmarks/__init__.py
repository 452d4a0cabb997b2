"""Measurements of this package beside its peers: `python -m benchmarks.train_step`, and others."""
