"""Pipelines: the steps of one request, and what passes between them."""
