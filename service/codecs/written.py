"""Tokens that a model writes, as text: whole, and piece by piece while they come."""

from collections.abc import Callable, Mapping, Sequence

from model_store.tasks import Writing
from model_store.texts.tokenizer import Tokenizer

Decode = Callable[[Sequence[int]], str]
"""Ids of tokens -> their text."""
_MOST_HELD_BACK = 4
"""No character has more bytes, so no text waits for more tokens of one byte each."""
_BROKEN = "\ufffd"
"""What a decoder gives for bytes that are no whole character."""


def find_decoder(facts: Writing, tokenizers: Mapping[str, Tokenizer]) -> Decode:
    """How the model's tokens become text."""
    if facts.file is not None:
        return tokenizers[facts.file].decode
    symbols, separator = facts.symbols, facts.separator
    return lambda ids: separator.join(symbols[id] for id in ids)


class GrowingText:
    """The text of one row while its tokens come. Characters that are not whole yet are held back.

    Only the last tokens are decoded at each step: a tokenizer may join a token with the one before it.
    """

    def __init__(self, decode: Decode) -> None:
        self.text = ""
        self._decode = decode
        self._context = 0
        self._read = 0
        """``text`` has so many tokens. Those from ``_context`` on are decoded again together with new ones."""

    def read(self, tokens: Sequence[int]) -> bool:
        """Take all tokens so far. Returns whether the text has grown."""
        before, now = self._decode(tokens[self._context : self._read]), self._decode(tokens[self._context :])
        if now.endswith(_BROKEN) and len(tokens) - self._read < _MOST_HELD_BACK:
            return False
        self._context, self._read = self._read, len(tokens)
        self.text += now[len(before) :]
        return len(now) > len(before)


def find_stop(text: str, stops: Sequence[str], start: int = 0) -> int | None:
    """Where the first of ``stops`` begins in a text, searched from ``start`` on; None if none is there."""
    found = [at for at in (text.find(stop, start) for stop in stops) if at >= 0]
    return min(found, default=None)


def without_part_of_stop(text: str, stops: Sequence[str]) -> str:
    """The text without an end that may become one of ``stops``."""
    end = len(text)
    for stop in stops:
        at = text.find(stop[0], max(0, len(text) - len(stop) + 1), end)
        while at >= 0 and not stop.startswith(text[at:]):
            at = text.find(stop[0], at + 1, end)
        end = at if at >= 0 else end
    return text[:end]
