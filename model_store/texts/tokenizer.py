"""A tokenizer of the library ``tokenizers``, which is imported only if a model needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from model_store.errors import StoreError
from model_store.manifest import Manifest
from model_store.tasks import Tokens

if TYPE_CHECKING:
    import tokenizers


class Encoded(NamedTuple):
    """The tokens of one text, or of a pair, without padding.

    ``types``: the number of the text that each token belongs to. ``spans``: the first and the last character of each
    token in its text, the last one exclusive; (0, 0) for special tokens.
    """

    ids: Sequence[int]
    types: Sequence[int]
    spans: Sequence[tuple[int, int]]


class Tokenizer:
    """``content`` is a ``tokenizer.json``. Its settings of padding and truncation are switched off.

    ``most``: longer texts are cut to this many tokens, including special ones; of a pair the longer text first.
    Raises StoreError if the content is no tokenizer, or the library is missing. Encoding and decoding are thread-safe,
    and encoding lets other threads run.
    """

    def __init__(self, content: bytes, where: str, most: int | None = None) -> None:
        try:
            from tokenizers import Tokenizer as Inner
        except ImportError as error:
            raise StoreError(
                f"{where}: a tokenizer needs the library tokenizers: install sluice-serving[text]"
            ) from error
        try:
            self._inner: tokenizers.Tokenizer = Inner.from_buffer(content)
        except Exception as error:  # the library raises Exception itself
            raise StoreError(f"{where}: expected a tokenizer.json of the library tokenizers: {error!s:.200}") from error
        self._inner.no_padding()
        self._inner.no_truncation()
        if most is not None:
            self._inner.enable_truncation(most)

    @property
    def size(self) -> int:
        """The number of ids, including those of added tokens."""
        return int(self._inner.get_vocab_size(with_added_tokens=True))

    @property
    def makes_pairs(self) -> bool:
        """Whether it puts special tokens between the texts of a pair, by which a model can tell them apart."""
        return bool(self._inner.num_special_tokens_to_add(True) > self._inner.num_special_tokens_to_add(False))

    def encode(self, text: str, pair: str | None = None, *, special: bool = True) -> Encoded:
        [found] = self._inner.encode_batch([text if pair is None else (text, pair)], add_special_tokens=special)
        return Encoded(found.ids, found.type_ids, found.offsets)

    def find(self, token: str) -> int | None:
        """The id of a token; None if there is no such token."""
        found: int | None = self._inner.token_to_id(token)
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, without special tokens."""
        return str(self._inner.decode(list(ids), skip_special_tokens=True))


def open_tokenizers(manifest: Manifest, contents: Mapping[str, bytes], where: str) -> dict[str, Tokenizer]:
    """The tokenizers of a version by file name. ``contents`` has its files. Raises StoreError."""
    facts = {manifest.tokens.file: manifest.tokens} if manifest.tokens is not None else {}
    return {
        file: open_tokenizer(facts.get(file), contents[file], f"{where}, {file}") for file in manifest.tokenizer_files
    }


def open_tokenizer(facts: Tokens | None, content: bytes, where: str) -> Tokenizer:
    """A tokenizer that cuts longer texts if the facts say so. Raises StoreError."""
    return Tokenizer(content, where, facts.lengths[-1] if facts is not None and facts.truncate else None)
