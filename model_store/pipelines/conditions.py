"""Conditions: comparisons of wires with constants, joined by ``and``, ``or`` and parentheses.

They are parsed into values, and never run as code.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from model_store.pipelines.answers import NUMBER, TEXT, TRUTH
from model_store.pipelines.wires import Wire, parse_wire

Constant = str | float | bool
Look = Callable[[Wire], Any]

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>==|!=|<=|>=|<|>)|(?P<bracket>[()])|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE]-?[0-9]+)?)"""
    r"""|"(?P<text>[^"]*)"|'(?P<other>[^']*)'|(?P<word>[A-Za-z][A-Za-z0-9_.\[\]-]*))"""
)
_MOST_CHARACTERS = 1000
_MOST_NESTED = 32
_FORM = 'expected comparisons such as find.score >= 0.5 or kind.label == "text", joined by and, or and parentheses'


class Comparison(NamedTuple):
    """A comparison of a wire with a constant."""

    wire: Wire
    operator: str
    constant: Constant


class Joined(NamedTuple):
    """Conditions that must ``all`` hold, or at least one of which must hold."""

    all: bool
    parts: tuple["Condition", ...]


Condition = Comparison | Joined


def parse_condition(text: str) -> Condition:
    """Raises ValueError."""
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"expected at most {_MOST_CHARACTERS} characters, got {len(text)}")
    reader = _Reader(text)
    found = reader.read_any()
    if reader.token is not None:
        raise reader.refuse("and, or, or the end")
    return found


def comparisons_of(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
        return
    for part in condition.parts:
        yield from comparisons_of(part)


def wires_of(condition: Condition) -> Iterator[Wire]:
    return (comparison.wire for comparison in comparisons_of(condition))


def holds(condition: Condition, look: Look) -> bool:
    """Whether a condition holds. A comparison with a value that is missing, or of another kind, does not hold."""
    if isinstance(condition, Joined):
        return (all if condition.all else any)(holds(part, look) for part in condition.parts)
    value = look(condition.wire)
    if kind_of(value) != kind_of(condition.constant):
        return False
    return _OPERATORS[condition.operator](value, condition.constant)


def kind_of(value: Any) -> str:
    """The form of a value, if a constant can have it; else ""."""
    if isinstance(value, bool):
        return TRUTH
    if isinstance(value, int | float):
        return NUMBER
    return TEXT if isinstance(value, str) else ""


class _Reader:
    """Reads tokens from left to right. ``token`` is the next one as (kind, text), or None at the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._begin = self._depth = 0
        self.token: tuple[str, str] | None = None
        self._advance()

    def _advance(self) -> None:
        self._begin = self._at
        if not self._text[self._at :].strip():
            self.token = None
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self.refuse("a wire, a comparison or a constant")
        kind = str(found.lastgroup)
        self.token = (kind, found[kind])
        self._at = found.end()

    def refuse(self, wanted: str) -> ValueError:
        rest = self._text[self._begin :].strip()
        return ValueError(f"{_FORM}; expected {wanted}, got " + (f"{rest!r:.60}" if rest else "the end"))

    def _take(self, kind: str, *texts: str) -> str | None:
        if self.token is None or self.token[0] != kind or (texts and self.token[1] not in texts):
            return None
        text = self.token[1]
        self._advance()
        return text

    def read_any(self) -> Condition:
        parts = [self._read_all()]
        while self._take("word", "or"):
            parts.append(self._read_all())
        return parts[0] if len(parts) == 1 else Joined(False, tuple(parts))

    def _read_all(self) -> Condition:
        parts = [self._read_one()]
        while self._take("word", "and"):
            parts.append(self._read_one())
        return parts[0] if len(parts) == 1 else Joined(True, tuple(parts))

    def _read_one(self) -> Condition:
        if self._take("bracket", "("):
            self._depth += 1
            if self._depth > _MOST_NESTED:
                raise ValueError(f"expected parentheses at most {_MOST_NESTED} deep, got more")
            found = self.read_any()
            self._depth -= 1
            if not self._take("bracket", ")"):
                raise self.refuse(")")
            return found
        word = None if self.token in (("word", "and"), ("word", "or")) else self._take("word")
        if word is None:
            raise self.refuse("a wire")
        wire = parse_wire(word)
        compared = self._take("operator")
        if compared is None:
            raise self.refuse(f"one of {' '.join(_OPERATORS)} after {word}")
        constant = self._read_constant()
        if compared not in ("==", "!=") and isinstance(constant, str | bool):
            raise ValueError(f"{word} {compared} {constant!r}: expected a number, or == or !=")
        return Comparison(wire, compared, constant)

    def _read_constant(self) -> Constant:
        number = self._take("number")
        if number is not None:
            return float(number)
        for kind in ("text", "other"):
            text = self._take(kind)
            if text is not None:
                return text
        word = self._take("word", "true", "false")
        if word is None:
            raise self.refuse('a number, a text in quotes, true or false, such as 0.5 or "text"')
        return word == "true"
