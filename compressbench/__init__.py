"""Compress BERT-family models and measure every artifact for size, CPU latency and score."""

__version__ = "0.1.0"
