"""Batches on a device: lanes, dispatchers and the requests that they pass around."""
