"""Names that do not exist, and the ones that may have been meant."""

import difflib
from collections.abc import Collection


def suggest(got: str, known: Collection[str]) -> str:
    """What may have been meant, for the end of a message: the nearest name, else all of them."""
    near = difflib.get_close_matches(got, known, 1, 0.6)
    return f": did you mean {near[0]!r}?" if near else f", only {', '.join(sorted(known)) or 'none'}"
