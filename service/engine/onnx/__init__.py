"""Graphs in ONNX Runtime: sessions, execution providers, bound buffers."""
