"""Suggests a name in place of one that does not exist."""

import difflib
from collections.abc import Collection


def suggest(got: str, known: Collection[str]) -> str:
    """A suggestion for the end of a message: the nearest name, or else all names."""
    near = difflib.get_close_matches(got, known, 1, 0.6)
    return f": did you mean {near[0]!r}?" if near else f", only {', '.join(sorted(known)) or 'none'}"
