"""Reads labels: a list of names, or a file with one name a line, or of JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.errors import SpecError


def read_labels(given: str | Path) -> tuple[str, ...]:
    """The labels in order. ``given`` is names such as ``cat,dog``, one name, or a file. Raises SpecError.

    A file of JSON has a list of names, or names by position: ``{"0": "cat"}`` or ``{"cat": 0}``. Any other file has one
    name a line; empty lines at its end do not count.
    """
    if isinstance(given, str) and "," in given:
        return _check(tuple(name.strip() for name in given.split(",")), "labels")
    path = Path(given)
    if isinstance(given, str) and not path.suffix and "/" not in given and not path.exists():
        return (given,)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise SpecError(f"labels {str(given)!r}: expected names such as cat,dog, or a file of them: {reason}") from None
    if path.suffix.lower() == ".json":
        try:
            return _check(order_labels(json.loads(text), path.name), path.name)
        except json.JSONDecodeError as error:
            raise SpecError(f"{path}: expected JSON: {error}") from None
    return _check(tuple(line.strip() for line in text.rstrip().splitlines()), path.name)


def order_labels(found: Any, where: str) -> tuple[str, ...]:
    """Labels of a list, or by position. Raises SpecError, which names ``where``."""
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return tuple(found)
    if isinstance(found, dict) and found:
        if all(isinstance(place, int) for place in found.values()):
            found = {place: name for name, place in found.items()}
        try:
            by_place = {int(place): _name(name) for place, name in found.items()}
        except (TypeError, ValueError):
            by_place = {}
        if sorted(by_place) == list(range(len(found))):
            return tuple(by_place[place] for place in range(len(by_place)))
    raise SpecError(f"{where}: expected labels as a list of names, or by position from 0 without gaps")


def find_twice(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that occur more than once, in order."""
    return tuple(label for label, count in Counter(labels).items() if count > 1)


def _name(found: Any) -> str:
    """A name, or the last of several: ``["n02123045", "tabby"]``."""
    if isinstance(found, list) and found:
        found = found[-1]
    if not isinstance(found, str):
        raise TypeError
    return found


def _check(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    empty = next((number for number, name in enumerate(labels) if not name), None)
    if not labels or empty is not None:
        place = f" at position {empty}" if labels else ""
        raise SpecError(f"{where}: expected a name for each label, got none{place}")
    return labels
