"""Load generators, and ONNX Runtime alone as the ceiling."""
