"""Short texts in thirty languages, from the CLDR data that ships inside Babel, split once and for all.

A term has a key, such as the code of a territory, and texts in each language. The split is by key: a held-out term is
in training in no language. Related words are not held out: the language Armenian, or the zone of Armenia, may be in
training where the territory is not, and some languages call the two alike.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from export.zoo.data.sentences import SENTENCES

if TYPE_CHECKING:
    from babel import Locale

SOURCE = "Babel, names, units and dates of the CLDR in thirty languages"
LICENCE = "Apache-2.0 (weights); names by the Unicode CLDR, Unicode License v3"
CODES = tuple(SENTENCES)
"""The languages by ISO 639-1."""
PARTS = ("train", "validation", "test")
SHARES = (0.7, 0.1, 0.2)
DATES = 30  # of each part
MOST_JOINED = 5  # terms
_AMOUNTS = (1, 3, 20)  # many languages have other forms of a unit for them
_DURATIONS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}  # days
_DAYS = (date(1900, 1, 1).toordinal(), date(2100, 1, 1).toordinal())
_SPLIT_SEED = 0  # a seed of the data: every version of every model is measured on the same terms

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """Texts, and the place of the language of each in ``CODES``, int64 [rows]."""

    texts: tuple[str, ...]
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Languages:
    """Terms to fit, to choose, and only to report. No key is in two parts, and no text in two parts or languages.

    ``sentences`` are everyday sentences, which the terms are not. They show how far the model generalises, and are
    never used to choose.
    """

    train: Part
    validation: Part
    test: Part
    sentences: Part


def load_languages() -> Languages:
    from babel import Locale

    locales = [Locale.parse(code) for code in CODES]
    terms = [_list_terms(locale) for locale in locales]
    owners = _split_keys(sorted({key for each in terms for key in each}))
    texts = {}
    for part in PARTS:
        days = _draw_days(owners, part)
        texts[part] = [
            [text for key, found in sorted(each.items()) if owners[key] == part for text in found]
            + _write_days(days, locale)
            for each, locale in zip(terms, locales, strict=True)
        ]
    kept = _drop_shared(texts)
    return Languages(
        **{part: _collect(kept[part]) for part in PARTS}, sentences=_collect([SENTENCES[c] for c in CODES])
    )


def join_terms(part: Part, rows: int, seed: int) -> Part:
    """Two to ``MOST_JOINED`` terms of one language in each text, as lists of the language or with spaces between."""
    from babel import Locale
    from babel.lists import format_list

    locales = [Locale.parse(code) for code in CODES]
    generator = np.random.default_rng(seed)
    by_language = [np.flatnonzero(part.labels == label) for label in range(len(CODES))]
    labels = np.arange(rows) % len(CODES)
    texts = []
    for label in labels:
        count, style = generator.integers(2, MOST_JOINED + 1), generator.integers(3)
        chosen = [part.texts[place] for place in generator.choice(by_language[label], count)]
        listed = format_list(chosen, "or" if style else "standard", locale=locales[label])
        texts.append(" ".join(chosen) if style == 2 else listed)
    return Part(tuple(texts), labels)


def _list_terms(locale: "Locale") -> dict[Key, list[str]]:
    """The texts of each key. A currency belongs to its territory, and "in 3 days" to the unit."""
    from babel.dates import format_timedelta
    from babel.units import format_unit

    terms: defaultdict[Key, list[str]] = defaultdict(list)
    for kind, table in (("language", locale.languages), ("script", locale.scripts), ("territory", locale.territories)):
        for code, name in table.items():
            terms[kind, code].append(name)
    for code, name in locale.currencies.items():
        terms["territory", code[:2]].append(name)
    for code, forms in locale.meta_zones.items():
        terms["zone", code] += forms.get("long", {}).values()
    for code, names in locale.unit_display_names.items():
        amounts = [format_unit(amount, code, locale=locale) for amount in _AMOUNTS]
        terms["unit", code] += [text for text in (names.get("long"), *amounts) if text and code not in text]
    for name, days in _DURATIONS.items():
        for span in (timedelta(days=3 * days), timedelta(days=-2 * days)):
            text = format_timedelta(span, granularity="hour", threshold=1, add_direction=True, locale=locale)
            terms["unit", f"duration-{name}"].append(text)
    for kind, tables in (("month", locale.months), ("weekday", locale.days)):
        for form in ("format", "stand-alone"):
            for number, name in tables[form]["wide"].items():
                terms[kind, str(number)].append(name)
    return terms


def _split_keys(keys: Sequence[Key]) -> dict[Key, str]:
    """The part that has each key, in the shares of ``SHARES`` for each kind of key."""
    generator = np.random.default_rng(_SPLIT_SEED)
    owners: dict[Key, str] = {}
    for kind in sorted({kind for kind, _ in keys}):
        mine = [key for key in keys if key[0] == kind]
        ends = np.ceil(np.cumsum(SHARES) * len(mine)).astype(int)
        for part, places in zip(PARTS, np.split(generator.permutation(len(mine)), ends[:-1]), strict=True):
            owners |= {mine[place]: part for place in places}
    return owners


def _draw_days(owners: Mapping[Key, str], part: str) -> list[date]:
    """Days whose month and weekday belong to the part."""
    generator = np.random.default_rng(_SPLIT_SEED)
    days = map(date.fromordinal, generator.permutation(np.arange(*_DAYS)).tolist())
    mine = (d for d in days if owners["month", str(d.month)] == owners["weekday", str(d.weekday())] == part)
    return list(islice(mine, DATES))


def _write_days(days: Sequence[date], locale: "Locale") -> list[str]:
    from babel.dates import format_date

    return [format_date(day, ("full", "long")[i % 2], locale=locale) for i, day in enumerate(days)]


def _drop_shared(texts: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[list[str]]]:
    """Texts once each, without those of several languages, which nobody can tell, and those of an earlier part."""
    languages = defaultdict(set)
    for lists in texts.values():
        for label, found in enumerate(lists):
            for text in found:
                languages[text.casefold()].add(label)
    seen = {text for text, labels in languages.items() if len(labels) > 1}
    kept: dict[str, list[list[str]]] = {}
    for part, lists in texts.items():
        kept[part] = [[] for _ in lists]
        for found, mine in zip(lists, kept[part], strict=True):
            for text in found:
                if text.casefold() not in seen:
                    seen.add(text.casefold())
                    mine.append(text)
    return kept


def _collect(texts: Sequence[Sequence[str]]) -> Part:
    labels = np.repeat(np.arange(len(texts)), [len(found) for found in texts])
    return Part(tuple(chain.from_iterable(texts)), labels)
