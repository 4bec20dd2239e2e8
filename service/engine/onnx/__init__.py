"""Graphs in ONNX Runtime: sessions, execution providers and bound buffers."""
