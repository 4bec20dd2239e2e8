"""Measurements of tasks on sounds."""
