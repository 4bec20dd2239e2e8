"""Scenes with a few digits, and the sentences that say which digit is where."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from export.zoo.data import scenes

SIDE = 96
REGIONS = 9
MOST_DIGITS = 2
HEIGHTS = (24.0, 36.0)
"""The least and the largest, in pixels."""
BEGIN, END = 0, 1
_REGIONS = (
    " at the top left",
    " at the top",
    " at the top right",
    " on the left",
    " in the middle",
    " on the right",
    " at the bottom left",
    " at the bottom",
    " at the bottom right",
)
"""The ninths of a picture, row by row."""
_ARTICLES = tuple("an" if digit == 8 else "a" for digit in range(10))
_MARGIN = 4  # pixels between a centre and the border of its ninth, so that the place of a digit is never in doubt
_THIRD = SIDE / 3
_TRIES = 30
_BLUR = 6.0  # sigma, in pixels of a photograph
_DIGITS = tuple(f" {digit}" for digit in range(10))
_WORDS = (" at", " the", " on", " in", " top", " bottom", " left", " right", " middle")
SYMBOLS = ("", "", "no digit", "a", "an", " a", " an", " and", ",", *_DIGITS, *_WORDS)
"""The parts of sentences: begin and end, which are no text, and words with the space before them."""
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
LONGEST = 1 + MOST_DIGITS * 6 + (MOST_DIGITS - 1) + 1
"""Symbols of the longest sentence, with begin and end."""


def load_sources() -> scenes.Sources:
    """The sources of the detector, but with photographs out of focus."""
    data = scenes.load_sources()
    return scenes.Sources(*(_blur(source) for source in (data.train, data.validation, data.test)))


def _blur(source: scenes.Source) -> scenes.Source:
    blurred = (Image.fromarray(photo).filter(ImageFilter.GaussianBlur(_BLUR)) for photo in source.photos)
    return replace(source, photos=tuple(map(np.asarray, blurred)))


def draw_scenes(
    source: scenes.Source, counts: Sequence[int] | np.ndarray, generator: np.random.Generator
) -> list[scenes.Scene]:
    """Square scenes of ``SIDE`` pixels with these numbers of digits, or fewer, each digit in its own ninth."""
    return [scenes.draw_scene(source, SIDE, int(count), generator, HEIGHTS, _find_place) for count in counts]


def draw_captioned(source: scenes.Source, count: int, generator: np.random.Generator) -> list[scenes.Scene]:
    """``count`` scenes with 0 to ``MOST_DIGITS`` digits."""
    return draw_scenes(source, generator.integers(MOST_DIGITS + 1, size=count), generator)


def _find_place(
    size: int, inside: scenes.Edges, taken: Sequence[scenes.Square], generator: np.random.Generator
) -> scenes.Square | None:
    """A free square whose centre lies clearly inside a ninth that has no other centre."""
    regions = find_regions(np.array([(x + side / 2, y + side / 2) for x, y, side in taken]).reshape(-1, 2))
    free = np.setdiff1d(np.arange(9), regions)
    tried = free[generator.integers(len(free), size=_TRIES)]
    corners = []
    for third, first, last in ((tried % 3, inside[0], inside[2]), (tried // 3, inside[1], inside[3])):
        low = np.maximum(first, np.ceil(third * _THIRD + _MARGIN - size / 2))
        high = np.minimum(last - size, np.floor((third + 1) * _THIRD - _MARGIN - size / 2))
        corners.append(np.where(low <= high, np.floor(low + generator.random(_TRIES) * (high - low + 1)), -SIDE))
    x, y = corners
    fits = (x >= 0) & (y >= 0)
    return scenes.choose_free(x[fits], y[fits], size, taken) if fits.any() else None


def find_regions(centres: np.ndarray) -> np.ndarray:
    """The ninths, 0..8, in which centres [digits, 2], in pixels, lie."""
    columns, rows = np.clip(centres // _THIRD, 0, 2).astype(int).T
    regions: np.ndarray = rows * 3 + columns
    return regions


def list_digits(scene: scenes.Scene) -> list[tuple[int, int]]:
    """The ninth and the label of each digit, in the order of reading."""
    regions = find_regions((scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2)
    return sorted(zip(regions.tolist(), scene.labels.tolist(), strict=True))


def write(digits: Sequence[tuple[int, int]]) -> list[int]:
    """The symbols of the sentence that says which digit is where, without begin and end."""
    if not digits:
        return [_NUMBERS["no digit"]]
    written: list[int] = []
    for place, (region, label) in enumerate(digits):
        article = _ARTICLES[label]
        if place:
            written.append(_NUMBERS[" and" if place == len(digits) - 1 else ","])
            article = f" {article}"
        words = [f" {word}" for word in _REGIONS[region].split()]
        written += [_NUMBERS[article], _NUMBERS[_DIGITS[label]], *(_NUMBERS[word] for word in words)]
    return written


def read(symbols: Sequence[int]) -> str:
    """The sentence of symbols."""
    return "".join(SYMBOLS[symbol] for symbol in symbols)


def encode(drawn: Sequence[scenes.Scene]) -> tuple[np.ndarray, np.ndarray]:
    """The symbol before each symbol, and the symbols with the end; int64 [rows, width], padded with ``BEGIN``."""
    texts = [[*write(list_digits(scene)), END] for scene in drawn]
    target = np.full((len(texts), max(map(len, texts))), BEGIN, np.int64)
    for row, text in enumerate(texts):
        target[row, : len(text)] = text
    token = np.roll(target, 1, axis=1)
    token[:, 0] = BEGIN
    return token, target
