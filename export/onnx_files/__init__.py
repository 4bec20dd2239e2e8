"""Publishes ONNX files of any origin."""
