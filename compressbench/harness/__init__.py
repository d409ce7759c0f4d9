"""Measures any artifact: size, latency, quality."""
