"""Batches on a device: lanes, and the dispatchers that fill them."""
