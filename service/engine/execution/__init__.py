"""Runs batches on a device: its lanes, and the dispatchers that fill them."""
