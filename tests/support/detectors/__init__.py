"""Graphs that detect."""
