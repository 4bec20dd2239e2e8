"""Turns bytes into tensors and back: Open Inference Protocol v2, KServe's forms, compression. No I/O, no engine."""
