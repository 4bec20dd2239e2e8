"""Models that were made elsewhere: an ONNX file of any origin."""
