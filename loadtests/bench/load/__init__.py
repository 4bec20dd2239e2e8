"""What makes the load, and ONNX Runtime alone as the ceiling."""
