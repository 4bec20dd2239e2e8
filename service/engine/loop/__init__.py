"""Graphs that run step by step on state that stays with its row."""
