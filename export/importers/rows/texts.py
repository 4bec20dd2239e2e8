"""Texts as rows of a model to import: from files, and made up; and the proof that padding does not matter."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.errors import ParityError, SpecError
from export.importers.changes.change import Arrays
from export.spec.description import ModelDescription
from model_store.datatypes import DATATYPES
from model_store.graph import Graph
from model_store.tasks import Tokens
from model_store.texts.rows import fill_rows, find_length
from model_store.texts.tokenizer import Encoded, open_tokenizer

TEXTS = ".txt"
TEXT_COLUMN, PAIR_COLUMN = "text", "text_pair"
Text = str | tuple[str, str]
_MADE_UP_TOKENS = 16
_PADDING = 1e-4
"""Padding may change an answer by this share of its magnitude: sums of more terms round differently."""


@dataclass(frozen=True)
class TextReader:
    """Reads texts and turns them into rows of the model."""

    name: str
    facts: Tokens
    graph: Graph
    content: bytes
    """The tokenizer.json."""

    def encode(self, texts: Sequence[Text], where: str) -> list[Encoded]:
        """The token ids of texts. Raises SpecError for a text that is too long or empty, with its number, from 1."""
        tokenizer = open_tokenizer(self.facts, self.content, where)
        encoded = []
        for number, text in enumerate(texts, 1):
            first, pair = (text, None) if isinstance(text, str) else text
            found = tokenizer.encode(self.facts.prefix + first, pair, special=self.facts.special)
            if not 0 < len(found.ids) <= self.facts.lengths[-1]:
                raise SpecError(
                    f"{where}: text {number} has {len(found.ids)} tokens: expected 1 to {self.facts.lengths[-1]}: "
                    "leave it out, or give --truncate"
                )
            encoded.append(found)
        return encoded

    def read_samples(self, texts: Sequence[Text], where: str) -> dict[str, np.ndarray]:
        """The texts that share the most frequent padded length, because all rows of samples must have one length."""
        encoded = self.encode(texts, where)
        lengths = [find_length(self.facts, len(each.ids)) for each in encoded]
        [(length, _)] = Counter(lengths).most_common(1)
        return self._fill([each for each, own in zip(encoded, lengths, strict=True) if own == length], length)

    def read_all(self, texts: Sequence[Text], where: str) -> dict[str, np.ndarray]:
        """All texts, padded to the longest. Raises SpecError if that needs a mask of padding and the graph has none."""
        encoded = self.encode(texts, where)
        counts = {len(each.ids) for each in encoded}
        if self.facts.mask is None and len(counts) > 1 and len(self.facts.lengths) > 1:
            raise SpecError(f"{where}: {self.name} has no mask of padding: expected texts of one length")
        return self._fill(encoded, find_length(self.facts, max(counts)))

    def make_rows(self, rows: int, length: int | None = None) -> dict[str, np.ndarray]:
        """Rows of random ids, with different numbers of tokens, padded to one length."""
        draw = np.random.default_rng(0)
        length = length or find_length(self.facts, min(_MADE_UP_TOKENS, self.facts.lengths[-1]))
        size = open_tokenizer(self.facts, self.content, self.name).size
        counts = draw.integers(1, length, rows, endpoint=True) if self.facts.mask else np.full(rows, length)
        counts[0] = length
        made = [Encoded(draw.integers(0, size, count).tolist(), [0] * int(count), []) for count in counts]
        return self._fill(made, length)

    @property
    def is_padded(self) -> bool:
        """Whether the server may pad a text or run it without padding."""
        return self.facts.mask is not None and len(self.facts.lengths) > 1

    def prove_padding(self, run: Callable[[Arrays], Arrays]) -> None:
        """Compare padded rows with the same rows without padding. Raises ParityError, which names the output."""
        assert self.facts.mask is not None  # noqa: S101  # ``is_padded`` was asked
        padded = self.make_rows(6)
        counts = padded[self.facts.mask].astype(int).sum(1)
        for row, count in enumerate(counts):
            one = {name: array[row : row + 1] for name, array in padded.items()}
            whole, alone = run(one), run({name: array[:, :count] for name, array in one.items()})
            for name, value in alone.items():
                found = whole[name] if whole[name].shape == value.shape else whole[name][:, :count]
                self._compare(name, value, found, int(count))

    def _compare(self, name: str, alone: np.ndarray, padded: np.ndarray, count: int) -> None:
        if alone.shape != padded.shape:
            raise ParityError(f"{self.name}: output {name!r}: its shape depends on the padding", f"{count} tokens")
        difference = np.abs(alone.astype(np.float64) - padded.astype(np.float64)).max(initial=0.0)
        share = difference / max(float(np.abs(alone).max(initial=0.0)), 1e-30)
        if not share <= _PADDING:
            raise ParityError(
                f"{self.name}: output {name!r} of a text of {count} tokens changes by {share:.2g} of its magnitude if "
                "it is padded: the graph does not ignore padding as its mask says: export it so that it does",
                f"{count} tokens",
            )

    def _fill(self, rows: Sequence[Encoded], length: int) -> dict[str, np.ndarray]:
        dtypes = {tensor.name: DATATYPES[tensor.datatype].dtype for tensor in self.graph.inputs}
        return fill_rows(self.facts, rows, length, dtypes)


def make_text_reader(description: ModelDescription, graph: Graph) -> TextReader | None:
    """None for a model that takes no texts."""
    facts = description.tokens
    if facts is None:
        return None
    return TextReader(description.name, facts, graph, description.further_files[facts.file])


def read_lines(path: Path) -> list[str]:
    """The texts of a file, one a line; empty lines are left out. Raises SpecError."""
    return [line for line in read_text(path).splitlines() if line.strip()]


def read_text(path: Path) -> str:
    """The content of a file. Raises SpecError."""
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: expected a text in UTF-8: {error}") from None


def take_column(columns: Mapping[str, Sequence[object]], path: Path) -> list[Text]:
    """The texts of a table, or pairs. Raises SpecError."""
    if TEXT_COLUMN not in columns:
        raise SpecError(f"{path}: expected a column {TEXT_COLUMN!r}, got {', '.join(columns)}")
    texts = [str(text) for text in columns[TEXT_COLUMN]]
    if PAIR_COLUMN not in columns:
        return list(texts)
    return list(zip(texts, [str(text) for text in columns[PAIR_COLUMN]], strict=True))
