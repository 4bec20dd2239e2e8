"""What a scenario found, as rows of one table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line: what was expected, what came, and whether that is enough."""

    fact: str
    expected: str
    found: str
    holds: bool


def at_most(fact: str, limit: float, found: float, unit: str = "") -> Check:
    return Check(fact, f"at most {limit:g}{unit}", f"{found:.4g}{unit}", found <= limit)


def equals(fact: str, expected: object, found: object) -> Check:
    return Check(fact, str(expected), str(found), expected == found)


def write_table(rows: Sequence[tuple[str, Check]]) -> str:
    """``rows`` are names of scenarios with their checks."""
    cells = [("scenario", "fact", "expected", "found", "holds")]
    cells += [(name, one.fact, one.expected, one.found, "yes" if one.holds else "NO") for name, one in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
