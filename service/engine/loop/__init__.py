"""Runs graphs step by step. Each row keeps its state from one step to the next."""
