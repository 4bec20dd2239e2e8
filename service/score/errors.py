"""Why a run of `sluice score` cannot go on."""


class ScoreError(Exception):
    """The text says what was expected, what came, and what to do."""
