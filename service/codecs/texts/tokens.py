"""Turns rows that are texts, or pairs of texts, into token ids.

A row is padded to the next of ``tokens.lengths``, never to the length of other rows, so that other rows do not change
its result.
"""

from collections.abc import Callable, Sequence
from typing import Any

from model_store.datatypes import DATATYPES
from model_store.texts.rows import fill_rows, find_length
from model_store.texts.tokenizer import Encoded
from service.codecs.model_context import ModelContext, known
from service.codecs.pictures.reader import RowFile, describe_row
from service.codecs.rows import Group, TextRow
from service.errors import Cancelled, InvalidInput
from service.protocol.json import type_name

_MOST_CHARACTERS = 1 << 20
"""Longer texts are refused: to tokenise a million characters takes about a second."""
_CHARACTERS_A_TOKEN = 64
"""A text with more characters for each token that the model takes is too long, and is refused without tokenising it."""
_BYTES_A_CHARACTER = 32
"""The cost of a character, as ``run_in_thread`` counts."""
_FORMS = 'a text, ["text", "pair"], or {"text": ..., "text_pair": ...}'


def read_texts(
    rows: Sequence[Any], model: ModelContext, field: str, is_over: Callable[[], bool] = lambda: False
) -> list[Group]:
    """The token ids of rows, in a group for each padded length, the shortest first.

    Raises InvalidInput, which names the row; Cancelled when ``is_over`` says that nobody waits any more.
    """
    reader = _Reader(model)
    found: dict[int, list[tuple[int, TextRow]]] = {}
    for i, row in enumerate(rows):
        if is_over():
            raise Cancelled("nobody waits for the rows any more")
        text = reader.read(row, f"{field}[{i}]")
        found.setdefault(find_length(reader.facts, len(text.encoded.ids)), []).append((i, text))
    return [
        Group(
            [place for place, _ in group],
            fill_rows(reader.facts, [text.encoded for _, text in group], length, reader.dtypes),
            texts=[text for _, text in group],
        )
        for length, group in sorted(found.items())
    ]


def count_bytes_of_texts(rows: Sequence[Any], enough: int) -> int:
    """The cost of tokenising, as ``run_in_thread`` counts. Stops at ``enough``."""
    count = 0
    for row in rows:
        if count > enough:
            break
        content = row.content if isinstance(row, RowFile) else row
        parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else (content,)
        count += sum(len(part) for part in parts if isinstance(part, str | bytes | memoryview)) * _BYTES_A_CHARACTER + 1
    return count


def count_tokens(groups: Sequence[Group]) -> tuple[int, int]:
    """The number of tokens of rows that are texts, and of padding tokens."""
    tokens = sum(len(text.encoded.ids) for group in groups for text in group.texts)
    ids = [next(iter(group.inputs.values())) for group in groups if group.texts]
    return tokens, sum(array.size for array in ids) - tokens


def check_characters(text: str, most_tokens: int | None, where: str) -> None:
    """Raises InvalidInput for a text that is slow to tokenise, or surely has more than ``most_tokens`` tokens."""
    most = _MOST_CHARACTERS if most_tokens is None else min(_MOST_CHARACTERS, _CHARACTERS_A_TOKEN * most_tokens)
    if len(text) > most:
        raise InvalidInput(f"{where}: expected at most {most} characters, got {len(text)}: send a shorter text")


class _Reader:
    """Reads the texts of one request."""

    def __init__(self, model: ModelContext) -> None:
        manifest = model.manifest
        self.facts = known(manifest.tokens)
        self._model = model.name
        self._tokenizer = model.tokenizers[self.facts.file]
        self.dtypes = {
            name: DATATYPES[tensor.datatype].dtype for name, tensor in model.inputs(self.facts.graph).items()
        }
        self._most_tokens = None if self.facts.truncate else self.facts.lengths[-1]

    def read(self, row: Any, where: str) -> TextRow:
        text, pair = self._split(row, where)
        if pair is not None and not (self.facts.special and self._tokenizer.makes_pairs):
            raise InvalidInput(f"{where}: expected one text, got a pair: model {self._model!r} takes no pairs")
        for part in (text, pair):
            if part is not None:
                self._check(part, where)
        encoded = self._encode(text, pair)
        if not encoded.ids:
            raise InvalidInput(f"{where}: expected a text with at least one token, got {text!r:.40}, which has none")
        most = self.facts.lengths[-1]
        if len(encoded.ids) > most:
            raise InvalidInput(f"{where}: expected at most {most} tokens, got {len(encoded.ids)}: send a shorter text")
        return TextRow(text, pair, encoded)

    def _encode(self, text: str, pair: str | None) -> Encoded:
        facts = self.facts
        encoded = self._tokenizer.encode(facts.prefix + text, pair, special=facts.special)
        if not facts.prefix:
            return encoded
        before = len(facts.prefix)
        spans = [(max(0, start - before), max(0, end - before)) for start, end in encoded.spans]
        return encoded._replace(spans=spans)

    def _split(self, row: Any, where: str) -> tuple[str, str | None]:
        """The text and its pair. Raises InvalidInput."""
        if isinstance(row, RowFile):
            try:
                return bytes(row.content).decode(), None
            except UnicodeDecodeError:
                raise InvalidInput(f"{row.where}: expected a text in UTF-8, got other bytes") from None
        if isinstance(row, str):
            return row, None
        if isinstance(row, list) and len(row) == 2 and all(isinstance(part, str) for part in row):
            return row[0], row[1]
        if isinstance(row, dict) and {"text"} <= row.keys() <= {"text", "text_pair"}:
            text, pair = row["text"], row.get("text_pair")
            if isinstance(text, str) and (pair is None or isinstance(pair, str)):
                return text, pair
            at, got = ("text_pair", pair) if isinstance(text, str) else ("text", text)
            raise InvalidInput(f"{where}.{at}: expected a text, got {type_name(got)}")
        where, got = describe_row(row, where)
        if isinstance(row, list):
            has_texts = all(isinstance(part, str) for part in row)
            got = f"an array of {len(row)}" if has_texts else "an array of other values"
        expected = _FORMS if isinstance(row, list | dict) else "a text"
        raise InvalidInput(f"{where}: expected {expected}, got {got}")

    def _check(self, text: str, where: str) -> None:
        if not text.strip():
            raise InvalidInput(f"{where}: expected a text, got an empty one")
        check_characters(text, self._most_tokens, where)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput(
                f"{where}: expected a text, got half of a surrogate pair, which is no character"
            ) from None
