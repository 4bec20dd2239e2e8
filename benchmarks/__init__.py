"""Benches that run the engine in process, without HTTP."""
