"""Series to series, and text to text."""

from typing import Annotated

from pydantic import Field

from model_store.strict_model import Count, Index, StrictModel


class Forecast(StrictModel):
    """Series to series, in the unit of the series.

    ``history`` [batch, time] is an input of ``main`` or of the loop's start graph. ``output`` of ``main`` is [batch,
    horizon] or [batch, horizon, quantiles]; in a loop it is [batch], the next value.
    """

    history: str
    length: str | None = None
    """int64 [batch]: how many values of each history count; padding follows them."""
    least_history: Count = 1
    max_history: Count = 10_000
    output: str
    horizon: Count | None = None
    """The number of values in ``output``. None in a loop, which runs as many steps as are requested."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """The quantiles in ``output``, rising."""
    noise: str | None = None
    """Input [batch] of a loop's ``main``. With standard normal numbers ``output`` is a random draw; with 0 it is the
    centre."""
    unit: str = ""
    """The unit of the values, for people."""


class Text(StrictModel):
    """Text to text in a loop, one character at a time.

    ``source`` int64 [batch, length] of the start graph holds the positions of the characters in ``characters``;
    position 0 is padding. ``scores`` [batch, symbols] of ``main`` are log probabilities of the next symbol; ``token``
    int64 [batch] is the symbol before it.
    """

    source: str
    characters: Annotated[tuple[str, ...], Field(min_length=2)]
    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The lengths to which a source is padded, rising. The last is the longest that is accepted."""
    token: str
    scores: str
    symbols: Annotated[tuple[str, ...], Field(min_length=2)]
    begin: Index
    """The symbol before the first one."""
    end: Index
    """The symbol after the last one."""
