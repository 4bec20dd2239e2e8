"""Kinds: dict, nested, keyword and optional inputs, outputs of any form, inputs that all rows share."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tests.support.kinds.case import ROWS, Kinds, height, ids, normal, time, width

KINDS = Kinds()
_X = {"x": normal(4, 5)}


@KINDS.add(
    {"batch": {"meta": {"number": normal(4, 2)}, "image": normal(4, 6)}},
    lambda: {"image": nn.Linear(6, 3), "number": nn.Linear(2, 3)},
    fast=True,
)
def call_dict(self, batch):
    """One dictionary, as a data loader gives."""
    return self.image(batch["image"]) + self.number(batch["meta"]["number"]) * 2


@KINDS.add({"weight": normal(4, 1), "features": [normal(4, 6), normal(4, 6, 3)]})
def call_list(self, features, weight):
    """A list of features, and a tensor beside it."""
    first, second = features
    return first * weight + second.mean(2)


@KINDS.add({"scale": normal(4, 1), "x": normal(4, 6)}, fast=True)
def call_keyword(self, x, *, scale, shift=None):
    return x * scale if shift is None else x * scale + shift


@KINDS.add({"bias": normal(4, 3), "x": normal(4, 4)}, lambda: {"o": nn.Linear(4, 3)})
def call_skipped(self, x, mask=None, bias=None, times: float = 2.0):
    """The second parameter is left out, the third given."""
    y = self.o(x) * times
    if mask is not None:
        y = y * mask
    return y if bias is None else y - bias


@KINDS.add({"a": normal(4, 3), "b": normal(4, 3)})
def call_kwargs(self, **kwargs):
    """Names are in the dictionary of keywords."""
    return kwargs["b"] - 2 * kwargs["a"]


@KINDS.add({"first": normal(4, 3), "second": normal(4, 3)}, by_name=False)
def call_positional(self, *tensors):
    """Tensors without names of their own."""
    return tensors[0] - 3 * tensors[1]


@KINDS.add(_X, outputs=("features", "logits"), fast=True)
def return_dict(self, x):
    """Keys in another order than the names of the outputs."""
    return {"logits": x * 2, "features": x.cumsum(1)}


class Pair(NamedTuple):
    mean: torch.Tensor
    spread: torch.Tensor


@KINDS.add(_X, outputs=("spread", "mean"))
def return_named(self, x):
    return Pair(x.mean(1), x.amax(1) - x.amin(1))


@KINDS.add(_X, outputs=("double", "more", "less"))
def return_nested(self, x):
    """A tuple in a tuple, and a None."""
    return x * 2, (x + 1, None, [x - 1])


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


@KINDS.add(_X, outputs=("hidden", "logits"))
def return_dataclass(self, x):
    """A dataclass, which torch does not take apart by itself."""
    return Answer(logits=x.sum(1), hidden=x * 3)


@KINDS.add(
    {"x": normal(4, 4), "memory": normal(9, 8)},
    lambda: {"q": nn.Linear(4, 8)},
    dynamic={"x": ROWS, "memory": {0: "entries"}},
    fast=True,
)
def shared_memory(self, x, memory):
    """All rows look things up in one memory of any size."""
    return (self.q(x) @ memory.T / 3).softmax(-1) @ memory


@KINDS.add({"x": normal(4, 5), "factor": normal(1), "columns": normal(5)}, dynamic={"x": ROWS})
def shared_scale(self, x, factor, columns):
    """One number for all rows, and one for each column."""
    return x * factor + columns


@KINDS.add({"right": normal(4, 3), "left": normal(4, 3)})
def call_minus(self, left, right):
    """A difference: its inputs are given in the other order."""
    return left - 2 * right


@KINDS.add({"x": normal(4, 3), "ids": ids(4, 2, table=9)})
def call_unused(self, x, ids):
    """One input is not looked at."""
    return x.tanh()


_LINEAR = {"layers": lambda: {"o": nn.Linear(6, 3)}}


@KINDS.add(
    {"x": normal(1, time(1), 6)},
    name="one-step",
    sizes=({"batch": 1, "time": 1}, {"batch": 5, "time": 67}, {"batch": 2, "time": 11}),
    **_LINEAR,
)
@KINDS.add({"x": normal(1, 6)}, sizes=({"batch": 1}, {"batch": 2}, {"batch": 33}), **_LINEAR)
def one_row(self, x):
    """Its example has a single row, or a single step."""
    return self.o(x)


@KINDS.add(
    {"image": normal(3, 3, height(12), width(12))},
    lambda: {"conv": nn.Conv2d(3, 4, 3)},
    sizes=tuple({"batch": rows, "height": h, "width": w} for rows, h, w in ((1, 8, 8), (5, 30, 9), (2, 9, 31))),
)
def one_size(self, image):
    """Its example is square, as pictures mostly are, and its sides are free."""
    return self.conv(image).relu()
