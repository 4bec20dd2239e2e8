"""Full written dates in English and German, from the CLDR data that ships inside Babel, split once and for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

SOURCE = "Babel, full dates of the CLDR in the locales en and de, of the years 1000 to 9999"
LICENCE = "Apache-2.0 (weights); names of days and months by the Unicode CLDR, Unicode License v3"
FIRST_YEAR = 1000
TRAIN_ROWS = 20_000
VALIDATION_ROWS = 1_000
TEST_ROWS = 1_000
_SPLIT_SEED = 0  # a seed of the data: every version of every model is measured on the same dates


@dataclass(frozen=True, slots=True)
class Part:
    """The same days in both languages: ``Saturday, December 31, 2022`` and ``Samstag, 31. Dezember 2022``."""

    english: tuple[str, ...]
    german: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dates:
    """Train to fit, validation to choose, test only to report. No day is in two of them.

    ``early`` has years 1 to 999, written with one to three digits, which do not occur elsewhere. It shows how far the
    model generalises, and is never used to choose.
    """

    train: Part
    validation: Part
    test: Part
    early: Part


def load_dates() -> Dates:
    generator = np.random.default_rng(_SPLIT_SEED)
    first = date(FIRST_YEAR, 1, 1).toordinal()
    days = np.arange(first, date.max.toordinal() + 1)
    days = generator.choice(days, TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS, replace=False)
    train, validation, test = np.split(days, [TRAIN_ROWS, TRAIN_ROWS + VALIDATION_ROWS])
    early = generator.choice(np.arange(1, first), TEST_ROWS, replace=False)
    return Dates(*(_write(part) for part in (train, validation, test, early)))


def _write(days: np.ndarray) -> Part:
    """Write days in both languages. ``days`` [rows] count from 1, the first of January of year 1 (Gregorian
    calendar)."""
    from babel.dates import format_date

    written = [
        tuple(format_date(date.fromordinal(int(day)), "full", locale=locale) for day in days) for locale in ("en", "de")
    ]
    return Part(*written)


def list_characters(texts: Sequence[str]) -> tuple[str, ...]:
    """Every character of some texts once, in order."""
    return tuple(sorted(set("".join(texts))))


def encode(texts: Sequence[str], characters: Sequence[str], width: int) -> np.ndarray:
    """Positions in ``characters``, int64 [rows, width]; what follows a text is 0, which stands for no character.

    Raises ValueError where a text is longer than ``width`` or has another character.
    """
    positions = {character: position for position, character in enumerate(characters) if position}
    encoded = np.zeros((len(texts), width), np.int64)
    for row, text in enumerate(texts):
        if len(text) > width or not positions.keys() >= set(text):
            raise ValueError(f"expected at most {width} characters of {''.join(characters)!r}, got {text!r}")
        encoded[row, : len(text)] = [positions[character] for character in text]
    return encoded
