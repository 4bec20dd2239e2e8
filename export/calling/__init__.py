"""Calls a model: accepts many forms of it, passes arguments by name, and names what it returns."""
