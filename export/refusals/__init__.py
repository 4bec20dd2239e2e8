"""Explains why a module cannot be exported, and what to change."""
