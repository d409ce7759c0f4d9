"""Runtimes that run an ONNX artifact."""
