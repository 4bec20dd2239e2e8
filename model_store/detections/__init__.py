"""Boxes of what a detector gives: the best of candidates, and regions of a map."""
