"""Models: geometry, loading, growth, export to ONNX."""
