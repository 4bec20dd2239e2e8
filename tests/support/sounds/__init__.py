"""Sounds as files, for tests."""
