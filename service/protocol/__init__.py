"""Bytes to typed values and back: Open Inference Protocol v2 and pictures. No I/O, no engine."""
