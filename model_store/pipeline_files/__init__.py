"""Pipelines as people write them, in TOML: reading, checking against the models of a store, publishing."""
