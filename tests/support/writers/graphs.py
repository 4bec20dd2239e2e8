"""Tiny graphs that write: the scores of the next token are a row of ``SCORES``, by the sum of all tokens so far.

They do so in the ways that real exports keep what came before.
"""

from collections.abc import Sequence

import numpy as np

from model_store.tasks import Carry
from tests.support.models.text import make_model

SYMBOLS = 6
PLACES = 12
SCORES = np.random.default_rng(5).normal(0, 2, (SYMBOLS, SYMBOLS)).astype(np.float32)
"""Logits [sum of the tokens modulo 6, next token]."""

_CHOOSE = "left = Mod(sum, 6) scores = Gather(table, left)"


def sum_state() -> tuple[bytes, Sequence[Carry]]:
    """The sum is a state of one number."""
    step = make_model(
        "int64[batch] token, int64[batch] before => float[batch,6] scores, int64[batch] sum",
        f"sum = Add(token, before) {_CHOOSE}",
        table=SCORES,
    )
    return step, (Carry(input="before", output="sum"),)


def read_all() -> tuple[bytes, Sequence[Carry]]:
    """No cache: all tokens at every step, and scores for each place, as Hugging Face exports a decoder."""
    step = make_model(
        "int64[batch,length] tokens, float[batch,1] memory => float[batch,length,6] scores",
        """
        sum = CumSum(tokens, axis) left = Mod(sum, 6) found = Gather(table, left)
        none = Mul(memory, 0.0) cube = Unsqueeze(none, [2]) scores = Add(found, cube)
        """,
        table=SCORES,
        axis=np.array(1),
    )
    return step, (Carry(input="memory"),)


def grow_cache() -> tuple[bytes, Sequence[Carry]]:
    """A cache [batch, heads, length, 1] that is one place longer after each step; token and scores have a place too."""
    step = make_model(
        "int64[batch,1] token, float[batch,2,past,1] cache => float[batch,1,6] scores, float[batch,2,length,1] longer",
        """
        number = Cast<to=1>(token) place = Unsqueeze(number, [1,3]) both = Concat<axis=1>(place, place)
        longer = Concat<axis=2>(cache, both) sums = ReduceSum<keepdims=0>(longer, [2,3])
        first = Gather<axis=1>(sums, [0]) sum = Cast<to=7>(first) left = Mod(sum, 6) scores = Gather(table, left)
        """,
        table=SCORES,
    )
    return step, (Carry(input="cache", output="longer"),)


def fill_cache() -> tuple[bytes, Sequence[Carry]]:
    """A cache [batch, heads, places, 1] of fixed length, in which each step writes the place ``position``."""
    step = make_model(
        "int64[batch] token, int64[batch] position, float[batch,1,12,1] cache "
        "=> float[batch,6] scores, float[batch,1,12,1] filled",
        """
        column = Unsqueeze(position, [1]) here = Equal(column, places) chosen = Cast<to=1>(here)
        number = Cast<to=1>(token) value = Unsqueeze(number, [1]) written = Mul(chosen, value)
        shaped = Unsqueeze(written, [1,3]) filled = Add(cache, shaped)
        total = ReduceSum<keepdims=0>(filled, [1,2,3]) sum = Cast<to=7>(total)
        left = Mod(sum, 6) scores = Gather(table, left)
        """,
        table=SCORES,
        places=[range(PLACES)],
    )
    return step, (Carry(input="cache", output="filled"),)
