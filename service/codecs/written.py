"""Turns the tokens that a model writes into text: at the end, or piece by piece."""

from collections.abc import Callable, Mapping, Sequence

from model_store.tasks import Writing
from model_store.texts.tokenizer import Tokenizer

Decode = Callable[[Sequence[int]], str]
"""Ids of tokens -> their text."""
_MOST_HELD_BACK = 4
"""The most tokens that wait for the rest of a character: a token may be one byte, and no character has more bytes."""
_BROKEN = "\ufffd"
"""A decoder writes this for the bytes of an incomplete character."""


def find_decoder(facts: Writing, tokenizers: Mapping[str, Tokenizer]) -> Decode:
    """How the model's tokens become text."""
    if facts.file is not None:
        return tokenizers[facts.file].decode
    symbols, separator = facts.symbols, facts.separator
    return lambda ids: separator.join(symbols[id] for id in ids)


class GrowingText:
    """The text of one row while its tokens come. Incomplete characters are held back.

    Each step decodes the new tokens together with those of the step before, because a token may change the text of the
    one before it.
    """

    def __init__(self, decode: Decode) -> None:
        self.text = ""
        self._decode = decode
        self._context = 0
        self._read = 0
        """The number of tokens in ``text``. Those from ``_context`` on are decoded again together with new ones."""

    def read(self, tokens: Sequence[int]) -> bool:
        """``tokens`` are all tokens so far. Returns whether the text has grown."""
        before, now = self._decode(tokens[self._context : self._read]), self._decode(tokens[self._context :])
        if now.endswith(_BROKEN) and len(tokens) - self._read < _MOST_HELD_BACK:
            return False
        self._context, self._read = self._read, len(tokens)
        self.text += now[len(before) :]
        return len(now) > len(before)


def find_stop(text: str, stops: Sequence[str], start: int = 0) -> int | None:
    """Where the first of ``stops`` begins in a text, from ``start`` on; None if there is none."""
    found = [at for at in (text.find(stop, start) for stop in stops) if at >= 0]
    return min(found, default=None)


def without_part_of_stop(text: str, stops: Sequence[str]) -> str:
    """The text without its end, if that may be the beginning of one of ``stops``."""
    end = len(text)
    for stop in stops:
        at = text.find(stop[0], max(0, len(text) - len(stop) + 1), end)
        while at >= 0 and not stop.startswith(text[at:]):
            at = text.find(stop[0], at + 1, end)
        end = at if at >= 0 else end
    return text[:end]
