"""Pruning measured: `python -m benchmarks.pruning mask|study|curve|structured|sensitivity|control`."""
