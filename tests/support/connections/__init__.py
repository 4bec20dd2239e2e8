"""Tiny models and whole files that tests serve."""
