"""Sizes as polynomials: the length of an axis for every number of rows and for all other free sizes.

A size is a sum of products of symbols with integer factors, such as ``3·rows·length``. A symbol is a free axis of an
input, or a number that the graph derives from such axes. Each symbol has its value in every measured run, so sizes can
be compared with measurements. Two sizes are equal if they are the same polynomial, not if they were measured alike.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Values = tuple[int, ...]
"""One number per measured run."""


class Symbol(NamedTuple):
    """A variable of the polynomials.

    ``is_rows`` marks the number of rows, the only symbol that differs between requests of one batch. ``minimum`` is an
    integer that it never falls below, 0 or more; -1: it may be negative.
    """

    name: str
    values: Values
    is_rows: bool = False
    minimum: int = 1


_Term = tuple[Symbol, ...]


class Size:
    """An immutable polynomial. Sums, differences and products are polynomials; compare with ``==``."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[_Term, int]) -> None:
        self.terms = {term: factor for term, factor in terms.items() if factor}
        self._hash = hash(frozenset(self.terms.items()))

    @classmethod
    def of(cls, value: "int | Symbol") -> "Size":
        return cls({(value,): 1}) if isinstance(value, Symbol) else cls({(): value})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.constant == other
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        if not self.terms:
            return "0"
        return "+".join(
            "·".join([*([] if factor == 1 and term else [str(factor)]), *(s.name for s in term)])
            for term, factor in self.terms.items()
        )

    @property
    def constant(self) -> int | None:
        """The number that this size is for all values of the symbols; None if it depends on them."""
        if not self.terms:
            return 0
        return self.terms.get(()) if len(self.terms) == 1 else None

    @property
    def has_rows(self) -> bool:
        return any(symbol.is_rows for term in self.terms for symbol in term)

    def __add__(self, other: "Size") -> "Size":
        terms = dict(self.terms)
        for term, factor in other.terms.items():
            terms[term] = terms.get(term, 0) + factor
        return Size(terms)

    def __neg__(self) -> "Size":
        return Size({term: -factor for term, factor in self.terms.items()})

    def __sub__(self, other: "Size") -> "Size":
        return self + -other

    def __mul__(self, other: "Size") -> "Size":
        terms: dict[_Term, int] = {}
        for a, f in self.terms.items():
            for b, g in other.terms.items():
                term = tuple(sorted((*a, *b)))
                terms[term] = terms.get(term, 0) + f * g
        return Size(terms)

    def replace(self, by: Mapping[Symbol, "Size"]) -> "Size":
        """The size with some symbols replaced by sizes."""
        total = Size({})
        for term, factor in self.terms.items():
            total += product([Size.of(factor), *(by.get(symbol) or Size.of(symbol) for symbol in term)])
        return total

    def divide(self, other: "Size") -> "Size | None":
        """The polynomial that gives this one when multiplied by ``other``; None if there is none."""
        if not other.terms:
            return None
        lead, lead_factor = _leading(other)
        quotient, rest = Size({}), self
        for _ in range(16):
            if not rest.terms:
                return quotient
            term, factor = _leading(rest)
            left = _without(term, lead)
            if left is None or factor % lead_factor:
                return None
            step = Size({left: factor // lead_factor})
            quotient, rest = quotient + step, rest - step * other
        return None

    def per_row(self) -> "Size | None":
        """The quotient by the number of rows; None if it is not a multiple."""
        if not self.has_rows or not all(any(symbol.is_rows for symbol in term) for term in self.terms):
            return None
        terms = {}
        for term, factor in self.terms.items():
            rows = next(symbol for symbol in term if symbol.is_rows)
            terms[_without(term, (rows,)) or ()] = factor
        return Size(terms)

    def at(self, run: int) -> int:
        """Its value in a measured run."""
        total = 0
        for term, factor in self.terms.items():
            for symbol in term:
                factor *= symbol.values[run]
            total += factor
        return total

    def least(self) -> int | None:
        """A number that it never falls below; None if the polynomial does not show one."""
        total = 0
        for term, factor in self.terms.items():
            if term and (factor < 0 or any(symbol.minimum < 0 for symbol in term)):
                return None
            total += factor * math.prod(symbol.minimum for symbol in term)
        return total

    def most(self) -> int | None:
        """A number that it never exceeds; None if the polynomial does not show one."""
        below = (-self).least()
        return None if below is None else -below


ZERO, ONE = Size({}), Size.of(1)


def product(sizes: Iterable[Size]) -> Size:
    result = ONE
    for size in sizes:
        result *= size
    return result


def solve(size: Size, most: int) -> list[tuple[str, int]]:
    """The largest value of the size's symbol for which the size is at most ``most``, with the symbol's name.

    Empty unless the size is a multiple of one symbol plus a number.
    """
    if len(size.terms) > 2:
        return []
    terms = dict(size.terms)
    left = most - terms.pop((), 0)
    if len(terms) != 1:
        return []
    [(term, factor)] = terms.items()
    if len(term) != 1 or term[0].is_rows or factor < 1 or left < factor:
        return []
    return [(term[0].name, left // factor)]


def _leading(size: Size) -> tuple[_Term, int]:
    return max(size.terms.items(), key=lambda item: (len(item[0]), item[0]))


def _without(term: _Term, part: _Term) -> _Term | None:
    """The symbols of ``term`` without those of ``part``; None if one is missing."""
    left = list(term)
    for symbol in part:
        if symbol not in left:
            return None
        left.remove(symbol)
    return tuple(left)
