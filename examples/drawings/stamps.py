"""The drawings of Tux Paint, each with what it shows in many languages, and a dictionary of English and German.

    apt-get install tuxpaint-stamps-default trans-de-en

Both are free (GPL and others) and read where they are installed; ``SHARE`` names another folder than ``/usr/share``.
"""

import bisect
import hashlib
import itertools
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SHARE = Path(os.environ.get("SHARE", "/usr/share"))
HELD_OUT = 8
"""One drawing in so many is held out of the training."""
MOST_WORDS = 3
"""In an entry of the dictionary."""
_DRAWN = ("[zool.]", "[bot.]", "[cook.]", "[mus.]", "[sport]", "[astron.]")
"""The fields of words that people draw."""
_ARTICLES = {"m": ("Ein", "Der", "er"), "f": ("Eine", "Die", "e"), "n": ("Ein", "Das", "es")}
"""By gender: a, the, and the end of an adjective after a."""
_ADJECTIVES = 200
"""How many of the most frequent adjectives are declined."""
_REMARK = re.compile(r"\[[^]]*\]|\([^)]*\)")
_KIND = re.compile(r"^[^{]*\{(m|f|n|adj)\}$")


class Stamp(NamedTuple):
    """A drawing, and what it shows in English and German."""

    picture: Path
    english: str
    german: str

    @property
    def is_held_out(self) -> bool:
        """Whether it tests what was learned of other drawings."""
        return is_held_out(self.picture.stem)


class Entry(NamedTuple):
    """Of the dictionary. ``kind`` is the gender of a German noun (m, f or n), or adj."""

    english: str
    german: str
    kind: str
    is_drawn: bool


def is_held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT == 0


def read_stamps() -> list[Stamp]:
    """All with pixels, in the order of their names."""
    return [stamp for stamp in _read_texts() if stamp.picture.exists()]


def read_pairs() -> list[tuple[str, str]]:
    """What all of them show in English and German, each pair once."""
    return list(dict.fromkeys((stamp.english, stamp.german) for stamp in _read_texts() if stamp.german))


def _read_texts() -> Iterator[Stamp]:
    folder = SHARE / "tuxpaint" / "stamps"
    found = sorted(folder.rglob("*.txt"))
    if not found:
        raise SystemExit(f"no stamps in {folder}: see the first lines of {__file__}")
    for file in found:
        english, *others = file.read_text("utf-8").splitlines() or [""]
        texts = dict(line.split(".utf8=", 1) for line in others if ".utf8=" in line)
        if english:
            yield Stamp(file.with_suffix(".png"), english.strip(), texts.get("de", "").strip())


def read_dictionary(common: int, phrases: int, described: int) -> list[tuple[str, str]]:
    """Pairs in English and German: the ``common`` words that most entries have, the words of what people draw
    (``_DRAWN``), ``phrases`` short phrases of all these, and ``described`` nouns with an adjective that is declined.

    Nouns come with articles, as drawings are described.
    """
    file = SHARE / "trans" / "de-en"
    if not file.exists():
        raise SystemExit(f"no dictionary in {file}: see the first lines of {__file__}")
    entries = list(_read_entries(file.read_text("utf-8")))
    counts = Counter(word for entry in entries for word in set(entry.english.lower().split()))
    known = {word for word, _ in counts.most_common(common)}
    known |= {entry.english.lower() for entry in entries if entry.is_drawn}
    together = Counter(pair for entry in entries for pair in _pair_words(entry))
    ordered = sorted(entry.german for entry in entries)
    usable = [entry for entry in entries if set(entry.english.lower().split()) <= known]
    best = _choose_best(usable, together, ordered)
    adjectives = _choose_best([entry for entry in usable if _is_regular(entry)], together, ordered)
    spaced = sorted((each for each in best if " " in each), key=lambda text: hashlib.sha256(text.encode()).digest())
    pairs = [pair for english in best if " " not in english for pair in _add_articles(best[english])]
    pairs += [pair for english in spaced[:phrases] for pair in _add_articles(best[english])]
    nouns = [entry for entry in best.values() if entry.kind in _ARTICLES and " " not in entry.english + entry.german]
    usual = [entry for entry in adjectives.values() if best[entry.english].german.lower() == entry.german]
    often = sorted(usual, key=lambda entry: -counts[entry.english])[:_ADJECTIVES]
    draw = random.Random(0)  # noqa: S311  # the same in each run
    return pairs + [_describe(draw.choice(often), draw.choice(nouns)) for _ in range(described)]


def _choose_best(
    entries: Iterable[Entry], together: Mapping[tuple[str, str], int], ordered: list[str]
) -> dict[str, Entry]:
    """The best German for each English text: it is often beside it in entries, and many compounds begin with it."""
    best: dict[str, tuple[float, Entry]] = {}
    for entry in entries:
        chance = sum(together[pair] for pair in _pair_words(entry)) / len(entry.german.split())
        chance *= _count_beginning(ordered, entry.german) ** 0.5
        best[entry.english] = max(best.get(entry.english, (-1.0, entry)), (chance, entry))
    return {english: entry for english, (_, entry) in best.items()}


def _is_regular(entry: Entry) -> bool:
    """Whether it is an adjective that is declined by adding ends."""
    is_one_word = " " not in entry.english and entry.german.isalpha()
    return entry.kind == "adj" and is_one_word and not entry.german.endswith(("e", "el", "er", "a", "hoch"))


def _add_articles(entry: Entry) -> Iterator[tuple[str, str]]:
    """A noun with each of its articles; any other word by itself."""
    if entry.kind not in _ARTICLES:
        yield entry.english, entry.german
        return
    a, the, _ = _ARTICLES[entry.kind]
    yield f"{_find_article(entry.english)} {entry.english}.", f"{a} {entry.german}."
    if " " not in entry.german:  # an adjective would have another end
        yield f"The {entry.english}.", f"{the} {entry.german}."


def _describe(adjective: Entry, noun: Entry) -> tuple[str, str]:
    a, _, end = _ARTICLES[noun.kind]
    english = f"{_find_article(adjective.english)} {adjective.english} {noun.english}."
    return english, f"{a} {adjective.german}{end} {noun.german}."


def _find_article(english: str) -> str:
    return "An" if english[0].lower() in "aeiou" else "A"


def _count_beginning(ordered: list[str], word: str) -> int:
    """How many of the texts begin with a word."""
    return bisect.bisect(ordered, f"{word}\uffff") - bisect.bisect_left(ordered, word)


def _pair_words(entry: Entry) -> Iterator[tuple[str, str]]:
    return itertools.product(set(entry.english.lower().split()), set(entry.german.split()))


def _read_entries(text: str) -> Iterator[Entry]:
    """Where an entry has several German words for one thing, the first is taken."""
    for line in text.splitlines():
        german, _, english = line.partition(" :: ")
        for ours, theirs in zip(english.split("|"), german.split("|"), strict=False):
            wanted = theirs.split(";")[0].strip()
            kind = _KIND.match(_REMARK.sub("", wanted).strip())
            is_drawn = any(field in theirs for field in _DRAWN)
            wanted = _clean(wanted)
            for word in map(_clean, ours.split(";")):
                if word and wanted and len(word.split()) <= MOST_WORDS and len(wanted.split()) <= MOST_WORDS:
                    is_noun = kind is not None and kind[1] in _ARTICLES
                    yield Entry(word, wanted, kind[1] if kind else "", is_drawn and is_noun and " " not in word)


def _clean(text: str) -> str:
    """Leave out remarks, and words behind a slash."""
    return " ".join(re.sub(r"\{[^}]*\}|/.*", " ", _REMARK.sub(" ", text)).split())
