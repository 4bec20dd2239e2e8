"""Tiny models of texts."""
