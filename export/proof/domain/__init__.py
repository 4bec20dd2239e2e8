"""Finds which inputs a graph accepts, and proves it at both ends and beyond the samples."""
