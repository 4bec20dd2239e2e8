"""Texts as rows of token ids, labels of tokens, and a loop that writes text."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.graph import MAIN, FileName
from model_store.strict_model import Count, Index, StrictModel


class Tokens(StrictModel):
    """How a text becomes a row: the ids of its tokens, padded at the end to the next of ``lengths``.

    The length of a row depends on its own text alone, and so do its bits.
    """

    file: FileName = "tokenizer.json"
    """A file of the version, in the format of the library ``tokenizers``."""
    graph: str = MAIN
    """The graph that takes the ids: ``main``, or the loop's start graph."""
    ids: str
    """Input INT64 or INT32 [batch, length]."""
    mask: str | None = None
    """Input [batch, length]: 1 for a token, 0 for padding."""
    types: str | None = None
    """Input [batch, length]: the number of the text that a token belongs to, 0 or 1; 0 for padding."""
    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The lengths to which rows are padded, rising. The last is the most tokens of a row."""
    truncate: bool = False
    """Whether a longer text is cut at its end. False: it is refused."""
    pad: Index = 0
    """The id of padding."""
    special: bool = True
    """Whether the tokenizer adds its special tokens, such as those of begin and end."""
    prefix: str = ""
    """What is put before each text, such as ``query: ``."""

    @model_validator(mode="after")
    def _rise(self) -> "Tokens":
        if list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError(f"tokens.lengths: expected rising numbers, got {list(self.lengths)}")
        return self


class Tags(StrictModel):
    """A label for each token: ``output`` float [batch, length, labels]."""

    output: str
    activation: Literal["softmax", "none"] = "softmax"
    """What makes probabilities of the output. ``none``: it has them."""
    scheme: Literal["plain", "iob"] = "plain"
    """``iob``: ``B-NAME`` begins a span and ``I-NAME`` goes on with it. ``plain``: neighbours with one label are a
    span."""
    outside: str | None = "O"
    """The label of tokens that belong to no span. None: all belong to one."""


class Writing(StrictModel):
    """How the loop writes text, one token at a time.

    ``scores`` of ``main`` are logits or log probabilities of the next token. A graph with a cache takes the last
    ``token`` only. One without a cache takes the ``prefix`` of all tokens so far at each step, so the time of a text
    grows with the square of its length.

    If the loop has a start graph, that takes the row, which is a text, picture or sound. Without one a row is a prompt:
    the text is ``begin`` and the tokens of the prompt, and goes on from there.
    """

    file: FileName | None = "tokenizer.json"
    """The tokenizer that turns ids into text. None: ``symbols`` are the texts of the ids."""
    symbols: tuple[str, ...] = ()
    """The texts of the ids, in order, without a tokenizer."""
    separator: str = ""
    """What comes between symbols."""
    token: str | None = None
    """Input INT64 [batch] or [batch, 1] of ``main``: the token before the next."""
    prefix: str | None = None
    """Input INT64 [batch, length] of ``main``: all tokens so far, the first of them ``begin``."""
    position: str | None = None
    """Input INT64 [batch] or [batch, 1] of ``main``: how many tokens came before ``token``."""
    scores: str
    """Output of ``main``, float [batch, symbols], or [batch, length, symbols], whose last place counts."""
    begin: Annotated[tuple[Index, ...], Field(min_length=1)]
    """The tokens before the first that is chosen. A graph with a cache takes them in its first steps."""
    ends: Annotated[tuple[Index, ...], Field(min_length=1)]
    """The tokens that end a text."""
    suppressed: tuple[Index, ...] = ()
    """Tokens that are never chosen."""
    suppressed_first: tuple[Index, ...] = ()
    """Tokens that are not chosen as the first."""

    @model_validator(mode="after")
    def _one_way(self) -> "Writing":
        if (self.token is None) == (self.prefix is None):
            raise ValueError("writing: expected either token, of a graph with a cache, or prefix, of one without")
        if self.prefix is not None and self.position is not None:
            raise ValueError("writing.position: expected it with token only")
        if (self.file is None) != bool(self.symbols):
            raise ValueError("writing: expected either a tokenizer file or symbols, with file None")
        if self.separator and not self.symbols:
            raise ValueError("writing.separator: expected symbols, which it separates")
        return self
