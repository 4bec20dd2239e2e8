"""The error of `sluice score`."""


class ScoreError(Exception):
    """A run cannot go on. The text says what was expected, what came, and what to do."""
