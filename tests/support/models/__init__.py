"""Tiny and real models that tests serve."""
