"""Sizes as polynomials: what the length of an axis is for every number of rows and for every other free size.

A size is a sum of products of symbols with whole-number factors, such as ``3·rows·length``. A symbol is a free axis of
an input or a number that the graph derives from such axes. Each symbol carries the value that it had in every measured
run, so a size can be compared with what was measured. Two sizes are equal where they are the same polynomial, not where
they were measured alike.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Values = tuple[int, ...]
"""One number for each measured run."""


class Symbol(NamedTuple):
    """``is_rows`` marks the number of rows of the batch, the only symbol that differs between requests of one batch.

    ``minimum`` is a whole number from 0 that it never falls below; -1 says that it may be negative.
    """

    name: str
    values: Values
    is_rows: bool = False
    minimum: int = 1


_Term = tuple[Symbol, ...]


class Size:
    """An immutable polynomial. Compare with ``==``; sums, differences and products give polynomials."""

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
        """The number that this is, whatever the symbols are; None where they matter."""
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
        """The size with other sizes in the place of some symbols."""
        total = Size({})
        for term, factor in self.terms.items():
            total += product([Size.of(factor), *(by.get(symbol) or Size.of(symbol) for symbol in term)])
        return total

    def divide(self, other: "Size") -> "Size | None":
        """The polynomial that gives this one when multiplied by ``other``; None where there is none."""
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
        """What is left when it is divided by the number of rows; None where it is not a multiple of that."""
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
        """A number that it never falls below; None where the polynomial does not show one."""
        total = 0
        for term, factor in self.terms.items():
            if term and (factor < 0 or any(symbol.minimum < 0 for symbol in term)):
                return None
            total += factor * math.prod(symbol.minimum for symbol in term)
        return total

    def most(self) -> int | None:
        """A number that it never exceeds; None where the polynomial does not show one."""
        below = (-self).least()
        return None if below is None else -below


ZERO, ONE = Size({}), Size.of(1)


def product(sizes: Iterable[Size]) -> Size:
    result = ONE
    for size in sizes:
        result *= size
    return result


def solve(size: Size, most: int) -> list[tuple[str, int]]:
    """The largest number that the size's symbol may have where the size must not exceed ``most``, with its name.

    Empty where the size has several symbols, or is no multiple of one with something added.
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
    """The symbols of ``term`` that are left when those of ``part`` are taken out; None where one is missing."""
    left = list(term)
    for symbol in part:
        if symbol not in left:
            return None
        left.remove(symbol)
    return tuple(left)
