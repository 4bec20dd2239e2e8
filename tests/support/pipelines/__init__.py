"""Pipelines of tiny models."""
