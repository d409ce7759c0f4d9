"""INT8 quantization with ONNX Runtime."""
