"""PyTorch to ONNX: tracing, weights, precision, the graph of gradients."""
