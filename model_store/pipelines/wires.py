"""Wires: texts that name a value in a pipeline, such as ``find.detections[].label``."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

REQUEST = "request"
"""The source of wires that begin with the row of the request."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NAME_RULE = "letters, digits, '_' and '-', the first a letter"
_PART = re.compile(r"\.([A-Za-z][A-Za-z0-9_-]*)|\[([0-9]{0,4})\]")

EACH = None
"""A part of a path: every element of a list."""


class Wire(NamedTuple):
    """``path``: names of fields, positions in lists, and EACH."""

    source: str
    path: tuple[str | int | None, ...] = ()

    def __str__(self) -> str:
        return self.source + "".join(show_part(part) for part in self.path)

    @property
    def is_of_request(self) -> bool:
        return self.source == REQUEST

    @property
    def has_each(self) -> bool:
        return EACH in self.path


def show_part(part: str | int | None) -> str:
    if isinstance(part, str):
        return f".{part}"
    return "[]" if part is EACH else f"[{part}]"


def parse_wire(text: str) -> Wire:
    """Raises ValueError."""
    begin = NAME.match(text)
    at = begin.end() if begin else 0
    parts: list[str | int | None] = []
    while begin and at < len(text):
        found = _PART.match(text, at)
        if found is None:
            break
        name, position = found.groups()
        parts.append(name or (int(position) if position else EACH))
        at = found.end()
    if not begin or at < len(text):
        raise ValueError(
            f"expected a wire such as {REQUEST}, {REQUEST}.photo, find.detections or find.detections[0].score, got "
            f"{text!r:.80}" + (f", which cannot be read from {text[at:]!r:.40} on" if at else "")
        )
    return Wire(begin.group(), tuple(parts))


def count_elements(value: Any, path: tuple[str | int | None, ...]) -> int:
    """The number of elements of the first list on a path; 1 if there is none. The elements are not read."""
    found = follow(value, path[: path.index(EACH)] if EACH in path else path)
    return len(found) if isinstance(found, list | np.ndarray) else 1


def follow(value: Any, path: tuple[str | int | None, ...]) -> Any:
    """The value at a path; None if a part of the path is missing. After EACH it is a list.

    On the way arrays are treated as lists. A value that is an array is returned as one.
    """
    for at, part in enumerate(path):
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if part is EACH:
            rest = path[at + 1 :]
            return [follow(element, rest) for element in value] if isinstance(value, list) else None
        if isinstance(part, str):
            value = value.get(part) if isinstance(value, Mapping) else None
        else:
            value = value[part] if isinstance(value, list) and part < len(value) else None
        if value is None:
            return None
    return value
