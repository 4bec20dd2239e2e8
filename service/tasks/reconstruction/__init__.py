"""Reconstruction of rows; large pictures in tiles."""
