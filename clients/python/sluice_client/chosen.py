"""Lists whose items may be of several kinds, as lists of one kind."""

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def only(kind: type[T], items: Sequence[Any]) -> list[T]:
    """The items. Raises TypeError if one is of another kind."""
    for item in items:
        if not isinstance(item, kind):
            raise TypeError(f"expected {kind.__name__}, got {type(item).__name__}: this model answers with these")
    return list(items)
