"""Kinds: dict, nested, keyword and optional inputs, outputs of any form, inputs that all rows share."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tests.support.kinds.case import PICTURE, ROWS, TIME, Kind, ids, normal


class Batch(nn.Module):
    """One dictionary, as a data loader gives."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.number = nn.Linear(6, 3), nn.Linear(2, 3)

    def forward(self, batch):
        return self.image(batch["image"]) + self.number(batch["meta"]["number"]) * 2


class Levels(nn.Module):
    """A list of features, and a tensor beside it."""

    def forward(self, features, weight):
        first, second = features
        return first * weight + second.mean(2)


class KeywordOnly(nn.Module):
    def forward(self, x, *, scale, shift=None):
        return x * scale if shift is None else x * scale + shift


class Skipped(nn.Module):
    """The second parameter is left out, the third given."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(4, 3)

    def forward(self, x, mask=None, bias=None, times: float = 2.0):
        y = self.o(x) * times
        if mask is not None:
            y = y * mask
        return y if bias is None else y - bias


class Anything(nn.Module):
    """Names are in the dictionary of keywords."""

    def forward(self, **kwargs):
        return kwargs["b"] - 2 * kwargs["a"]


class Ignoring(nn.Module):
    """Whatever else is given is not looked at: nobody would notice a wrong name."""

    def forward(self, x, **kwargs):
        return x * kwargs.get("scales", 1)


class Positional(nn.Module):
    """Tensors without names of their own."""

    def forward(self, *tensors):
        return tensors[0] - 3 * tensors[1]


class Dictionary(nn.Module):
    """Keys in another order than the names of the outputs."""

    def forward(self, x):
        return {"logits": x * 2, "features": x.cumsum(1)}


class Pair(NamedTuple):
    mean: torch.Tensor
    spread: torch.Tensor


class Named(nn.Module):
    def forward(self, x):
        return Pair(x.mean(1), x.amax(1) - x.amin(1))


class Nested(nn.Module):
    """A tuple in a tuple, and a None."""

    def forward(self, x):
        return x * 2, (x + 1, None, [x - 1])


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Structured(nn.Module):
    """A dataclass, which torch does not take apart by itself."""

    def forward(self, x):
        return Answer(logits=x.sum(1), hidden=x * 3)


class Memory(nn.Module):
    """All rows look things up in one memory of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(4, 8)

    def forward(self, x, memory):
        return (self.q(x) @ memory.T / 3).softmax(-1) @ memory


class Scaled(nn.Module):
    """One number for all rows, and one for each column."""

    def forward(self, x, factor, columns):
        return x * factor + columns


class Temperature(nn.Module):
    """A number that is no tensor in eager code, as a tensor without axes."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(4, 5)

    def forward(self, x, temperature):
        return (self.o(x) / temperature).softmax(-1)


class Minus(nn.Module):
    """A difference: its inputs are given in the other order."""

    def forward(self, left, right):
        return left - 2 * right


class Same(nn.Module):
    """An input is an output, and one tensor is returned twice."""

    def forward(self, x):
        y = x * 2
        return x, y, y


class Unused(nn.Module):
    """One input is not looked at."""

    def forward(self, x, ids):
        return x.tanh()


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(6, 3)

    def forward(self, x):
        return self.o(x)


class Picture(nn.Module):
    """Its example is square, as pictures mostly are, and its sides are free."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.conv(image).relu()


class Weight(nn.Module):
    """Outputs that are named as parameters are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3))

    def forward(self, x):
        return x @ self.weight, x.mean(1) + self.bias.sum()


_X = {"x": normal(4, 5)}

KINDS = (
    Kind(
        name="call-dict",
        module=Batch,
        inputs={"batch": {"meta": {"number": normal(4, 2)}, "image": normal(4, 6)}},
        refused=False,
        fast=True,
    ),
    Kind(
        name="call-list",
        module=Levels,
        inputs={"weight": normal(4, 1), "features": [normal(4, 6), normal(4, 6, 3)]},
    ),
    Kind(name="call-keyword", module=KeywordOnly, inputs={"scale": normal(4, 1), "x": normal(4, 6)}),
    Kind(name="call-skipped", module=Skipped, inputs={"bias": normal(4, 3), "x": normal(4, 4)}),
    Kind(name="call-typo", module=Minus, inputs={"left": normal(4, 3), "rigth": normal(4, 3)}, refused=True),
    Kind(
        name="call-ignored",
        module=Ignoring,
        inputs={"x": normal(4, 3), "scale": normal(4, 1)},
        refused=True,
    ),
    Kind(name="call-kwargs", module=Anything, inputs={"a": normal(4, 3), "b": normal(4, 3)}),
    Kind(
        name="call-positional",
        module=Positional,
        inputs={"first": normal(4, 3), "second": normal(4, 3)},
        by_name=False,
    ),
    Kind(name="call-minus", module=Minus, inputs={"right": normal(4, 3), "left": normal(4, 3)}),
    Kind(name="return-dict", module=Dictionary, inputs=_X, outputs=("features", "logits"), refused=False, fast=True),
    Kind(name="return-named", module=Named, inputs=_X, outputs=("spread", "mean")),
    Kind(name="return-nested", module=Nested, inputs=_X, outputs=("double", "more", "less")),
    Kind(name="return-dataclass", module=Structured, inputs=_X, outputs=("hidden", "logits")),
    Kind(name="return-same", module=Same, inputs=_X, outputs=("same", "double", "again")),
    Kind(name="return-weight", module=Weight, inputs={"x": normal(4, 6)}, outputs=("weight", "bias")),
    Kind(
        name="shared-memory",
        module=Memory,
        inputs={"x": normal(4, 4), "memory": normal(9, 8)},
        dynamic={"x": ROWS, "memory": {0: "entries"}},
    ),
    Kind(
        name="shared-scale",
        module=Scaled,
        inputs={"x": normal(4, 5), "factor": normal(1), "columns": normal(5)},
        dynamic={"x": ROWS},
    ),
    Kind(
        name="shared-number",
        module=Temperature,
        inputs={"x": normal(4, 4), "temperature": normal()},
        dynamic={"x": ROWS},
    ),
    Kind(name="call-unused", module=Unused, inputs={"x": normal(4, 3), "ids": ids(4, 2, table=9)}),
    Kind(name="one-row", module=Plain, inputs={"x": normal(1, 6)}, sizes=({"batch": 1}, {"batch": 2}, {"batch": 33})),
    Kind(
        name="one-step",
        module=Plain,
        inputs={"x": normal(1, 1, 6)},
        dynamic={"x": TIME},
        sizes=({"batch": 1, "time": 1}, {"batch": 5, "time": 67}, {"batch": 2, "time": 11}),
    ),
    Kind(
        name="one-size",
        module=Picture,
        inputs={"image": normal(3, 3, 12, 12)},
        dynamic={"image": PICTURE},
        sizes=tuple({"batch": rows, "height": h, "width": w} for rows, h, w in ((1, 8, 8), (5, 30, 9), (2, 9, 31))),
    ),
)
