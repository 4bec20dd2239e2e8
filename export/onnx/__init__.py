"""PyTorch to ONNX: tracing, weights, precision, gradients."""
