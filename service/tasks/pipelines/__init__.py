"""Pipelines: the steps of one request, and the values that pass between them."""
