"""Tiny models that write: one copies the bytes of a text, others count on from the last byte of a prompt."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from model_store.files.integrity import describe_bytes
from model_store.tasks import Carry, Loop, Tokens, Writing
from service.tasks.work import Limits
from tests.support.driving import Driver, describe
from tests.support.models.text import make_model

LIMITS = Limits(max_pixels=1)
BEGIN, END, FIRST = 0, 1, 2
"""Two tokens, and the token of byte 0."""
SYMBOLS = FIRST + 256
SCORE = 8.0
"""The logit of the token that the models mean; that of all others is 0."""


@cache
def byte_tokenizer() -> bytes:
    """A ``tokenizer.json`` whose tokens are bytes, after two special ones."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # the others have characters from 256 on
    hidden = [byte for byte in range(256) if byte not in shown]
    letter = {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + at) for at, byte in enumerate(hidden)}}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    vocabulary = {"<s>": BEGIN, "</s>": END, **{letter[byte]: FIRST + byte for byte in range(256)}}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": BEGIN, "content": "<s>", **special}, {"id": END, "content": "</s>", **special}],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    return json.dumps(content).encode()


class Writer(Driver):
    """A model of these graphs, with a tokenizer of bytes."""

    def __init__(self, graphs: Mapping[str, bytes], **facts: Any) -> None:
        files = {f"{name}.onnx": describe_bytes(content) for name, content in graphs.items()}
        self.files = {"tokenizer.json": byte_tokenizer()}
        files["tokenizer.json"] = describe_bytes(byte_tokenizer())
        super().__init__(describe(graphs, task="predict_sequence", files=files, **facts), graphs, self.files)
        self.graphs = graphs


_MEAN = f"is_meant = Equal(meant, every) number = Cast<to=1>(is_meant) scores = Mul(number, {SCORE})"
_EVERY = [range(SYMBOLS)]


def copier(lengths: tuple[int, ...] = (2, 4, 8, 32), max_steps: int = 40, **facts: Any) -> Writer:
    """Writes what it reads: a step looks at the place in the source that ``position`` says."""
    start = make_model(
        "int64[batch,length] ids, int64[batch,length] mask => int64[batch,longer] memory",
        """
        there = Cast<to=9>(mask) ended = Where(there, ids, 1) first = Gather<axis=1>(ids, [0]) none = Mul(first, 0)
        end = Add(none, 1) memory = Concat<axis=1>(ended, end)
        """,
    )
    step = make_model(
        f"int64[batch] token, int64[batch] position, int64[batch,longer] memory => float[batch,{SYMBOLS}] scores",
        f"place = Unsqueeze(position, [1]) meant = GatherElements<axis=1>(memory, place) {_MEAN}",
        every=_EVERY,
    )
    return Writer(
        {"main": step, "read": start},
        loop=Loop(start="read", carries=(Carry(input="memory", start="memory"),), max_steps=max_steps),
        tokens=Tokens(graph="read", ids="ids", mask="mask", lengths=lengths),
        writing=Writing(token="token", position="position", scores="scores", begin=(BEGIN,), ends=(END,), **facts),
    )


def counter(with_prefix: bool = False, max_steps: int = 12) -> Writer:
    """Goes on with the byte after the last one, and never ends. ``with_prefix``: it takes all tokens so far."""
    if with_prefix:
        step = make_model(
            f"int64[batch,length] tokens, float[batch,1] none => float[batch,length,{SYMBOLS}] scores",
            f"""
            meant = Add(one, tokens) column = Unsqueeze(meant, [2]) same = Equal(column, every)
            number = Cast<to=1>(same) clear = Mul(none, 0.0) cube = Unsqueeze(clear, [2]) likely = Mul(number, {SCORE})
            scores = Add(likely, cube)
            """,
            one=1,
            every=[_EVERY],
        )
        carry, how = Carry(input="none"), {"prefix": "tokens"}
    else:
        step = make_model(
            f"int64[batch,1] token, int64[batch,1] count => float[batch,1,{SYMBOLS}] scores, int64[batch,1] counted",
            f"""
            meant = Add(token, 1) same = Equal(meant, every) number = Cast<to=1>(same) likely = Mul(number, {SCORE})
            scores = Unsqueeze(likely, [1]) counted = Add(count, 1)
            """,
            every=_EVERY,
        )
        carry, how = Carry(input="count", output="counted"), {"token": "token"}
    return Writer(
        {"main": step},
        loop=Loop(carries=(carry,), max_steps=max_steps),
        writing=Writing(scores="scores", begin=(BEGIN,), ends=(END,), **how),
    )


def quantised() -> Writer:
    """As ``copier``, without a cache. The scores of a row depend on all rows of its step."""
    other = copier()
    step = make_model(
        f"int64[batch,length] tokens, int64[batch,longer] memory => float[batch,length,{SYMBOLS}] scores",
        f"""
        shape = Shape(tokens) size = Gather(shape, [1]) last = Sub(size, 1) cut = Slice(memory, [0], size, [1])
        column = Unsqueeze(cut, [2]) same = Equal(column, every) number = Cast<to=1>(same) likely = Mul(number, {SCORE})
        most = ReduceMax<keepdims=1>(likely, [0]) half = Mul(most, 0.5) scores = Sub(likely, half)
        """,
        every=[_EVERY],
    )
    return Writer(
        {"main": step, "read": other.graphs["read"]},
        loop=Loop(start="read", carries=(Carry(input="memory", start="memory"),), max_steps=40),
        tokens=other.manifest.tokens,
        writing=Writing(prefix="tokens", scores="scores", begin=(BEGIN,), ends=(END,)),
    )
