"""Data sets that packages bring along."""
