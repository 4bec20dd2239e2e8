"""Kinds: control flow that depends on shapes, and on values."""

import math

import numpy as np
import torch
from torch import nn

from tests.support.kinds.case import PICTURE, ROWS, TIME, Kind, lengths, normal


class Tail(nn.Module):
    """The last 64 places alone, where there are more."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(3, 2)

    def forward(self, x):
        if x.shape[1] > 64:
            x = x[:, -64:]
        return self.o(x.mean(1))


class Step(nn.Module):
    """A single step goes another way, as with a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.later = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        return self.later(x) if x.shape[1] == 1 else self.first(x)


class Even(nn.Module):
    """An odd length loses its last place before the halves are added."""

    def forward(self, x):
        if x.shape[1] % 2:
            x = x[:, :-1]
        half = x.shape[1] // 2
        return (x[:, :half] + x[:, half:]).sum(1)


class Window(nn.Module):
    """No branch: the first 16 places at most."""

    def forward(self, x):
        return x[:, :16].mean(1)


class Table(nn.Module):
    """A learned place for each of 48 steps: PyTorch fails beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.o = nn.Parameter(torch.randn(1, 48, 6)), nn.Linear(6, 4)

    def forward(self, x):
        return self.o(x + self.places[:, : x.shape[1]])


class Checked(nn.Module):
    """The author's own check of the length."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(5, 5)

    def forward(self, x):
        if x.shape[1] > 30:
            raise ValueError("too long")
        return self.o(x).cumsum(1)


class Blocks(nn.Module):
    """Padded to a whole number of blocks of eight, and cut again."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(8, 8)

    def forward(self, x):
        length = x.shape[1]
        x = nn.functional.pad(x, (0, -length % 8))
        return self.o(x.unflatten(1, (-1, 8))).flatten(1)[:, :length]


class Shorter(nn.Module):
    """Two sequences, the longer of which is cut."""

    def forward(self, a, b):
        if a.shape[1] > b.shape[1]:
            a = a[:, : b.shape[1]]
        else:
            b = b[:, : a.shape[1]]
        return (a * b).sum(1)


class LongerOf(nn.Module):
    """Which of two sequences is the longer decides: no bound of either shows it."""

    def forward(self, a, b):
        return a.sum(1) if a.shape[1] > b.shape[1] else b.mean(1)


class Wider(nn.Module):
    """Upright pictures are turned."""

    def forward(self, x):
        if x.shape[2] > x.shape[3]:
            x = x.transpose(2, 3)
        return x.mean(3).amax(2)


class Crowd(nn.Module):
    """More than a hundred rows go another way."""

    def forward(self, x):
        return x * 2 if x.shape[0] <= 100 else x * 3


class Single(nn.Module):
    """A single row goes another way."""

    def forward(self, x):
        return x * 2 if x.shape[0] > 1 else x * 3


class Short(nn.Module):
    """What is too short is filled up."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 6)

    def forward(self, x):
        if x.shape[2] < 6:
            x = nn.functional.pad(x, (0, 6 - x.shape[2]))
        return self.conv(x).amax(2)


class Kernel(nn.Module):
    """A convolution that needs six places: PyTorch fails on fewer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 6)

    def forward(self, x):
        return self.conv(x).amax(2)


class Arithmetic(nn.Module):
    """Python's arithmetic on sizes."""

    def forward(self, x):
        kept = max(1, int(x.shape[1] * 0.7))
        return x[:, -kept:].sum(1) * math.log(x.shape[1] + 1) / x.shape[1] ** 0.5


class Constant(nn.Module):
    """A size as a tensor, which a trace keeps as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0].sum(1) / torch.tensor(float(x.shape[1]))


class Drawn(nn.Module):
    """A number of Python made of the values, before a layer that only the older exporter takes."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)

    def forward(self, x):
        loud = x.abs().max().item() > 60.0
        return self.rnn(x)[0][:, -1] * (0.5 if loud else 1.0)


class AsArray(nn.Module):
    """NumPy in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)

    def forward(self, x):
        limit = float(np.percentile(x.detach().numpy(), 99.9))
        return self.rnn(x)[0][:, -1] * max(limit, 4.0)


class EachRow(nn.Module):
    """The rows one after another, in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(6, 3)

    def forward(self, x):
        return torch.stack([self.o(row) for row in x])


class Alone(nn.Module):
    """`squeeze()` takes the axis of the rows away as well, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(6, 1)

    def forward(self, x):
        return torch.sigmoid(self.o(x)).squeeze()


class Clamp(nn.Module):
    """Large rows are scaled down, in Python, before a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(6, 8, batch_first=True)

    def forward(self, x):
        if x.abs().max() > 10:
            x = x / x.abs().max()
        return self.rnn(x)[0][:, -1]


class Guard(nn.Module):
    """The same before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(6, 3)

    def forward(self, x):
        if bool((x < -20).any()):
            return torch.zeros(x.shape[0], 3)
        return self.o(x)


class Finite(nn.Module):
    """A check for NaN that most training code has."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(6, 3)

    def forward(self, x):
        if torch.isnan(x).any():
            raise ValueError("NaN in the inputs")
        return self.o(x)


class Chosen(nn.Module):
    """The right form of a branch on values: each row for itself."""

    def forward(self, x):
        most = x.abs().amax(1, keepdim=True)
        return torch.where(most > 10, x / most.clamp(min=1e-3), x)


class Conditional(nn.Module):
    """torch.cond, for one example at a time."""

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda t: t * 2, lambda t: t - 1, (x,))


class Longest(nn.Module):
    """Cut to the longest of the rows: a size that depends on values."""

    def forward(self, x, n):
        x = x[:, : int(n.max())]
        places = torch.arange(x.shape[1])
        return (x * (places < n[:, None]).float()[..., None]).sum(1)


class Steps(nn.Module):
    """A Python loop over time, which a trace unrolls."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x):
        state = x.new_zeros(x.shape[0], 5)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state


class Depth(nn.Module):
    """The number of layers depends on the width, which is fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(6))

    def forward(self, x):
        for layer in self.layers[: x.shape[1] // 3]:
            x = torch.tanh(layer(x))
        return x


_TWO = tuple({"batch": 2, "time": time, "other": other} for time, other in ((30, 20), (20, 30), (5, 1), (1, 5)))

KINDS = (
    Kind(
        name="control-tail", module=Tail, inputs={"x": normal(4, 20, 3)}, dynamic={"x": TIME}, refused=False, fast=True
    ),
    Kind(
        name="control-step", module=Step, inputs={"x": normal(3, 10, 8)}, dynamic={"x": TIME}, refused=False, fast=True
    ),
    Kind(
        name="control-even",
        module=Even,
        inputs={"x": normal(3, 10, 4)},
        dynamic={"x": TIME},
        sizes=tuple({"batch": 2, "time": time} for time in (2, 3, 4, 9, 11, 66)),
    ),
    Kind(name="control-window", module=Window, inputs={"x": normal(3, 10, 4)}, dynamic={"x": TIME}),
    Kind(name="control-table", module=Table, inputs={"x": normal(3, 10, 6)}, dynamic={"x": TIME}),
    Kind(name="control-checked", module=Checked, inputs={"x": normal(3, 10, 5)}, dynamic={"x": TIME}),
    Kind(name="control-blocks", module=Blocks, inputs={"x": normal(3, 20)}, dynamic={"x": TIME}),
    Kind(
        name="control-shorter",
        module=Shorter,
        inputs={"a": normal(3, 9, 2), "b": normal(3, 14, 2)},
        dynamic={"a": TIME, "b": {0: "batch", 1: "other"}},
        sizes=_TWO,
    ),
    Kind(
        name="control-longer",
        module=LongerOf,
        inputs={"a": normal(3, 9, 2), "b": normal(3, 14, 2)},
        dynamic={"a": TIME, "b": {0: "batch", 1: "other"}},
        sizes=_TWO,
    ),
    Kind(
        name="control-wider",
        module=Wider,
        inputs={"x": normal(3, 2, 8, 10)},
        dynamic={"x": PICTURE},
        sizes=tuple({"batch": 2, "height": height, "width": width} for height, width in ((9, 30), (30, 9), (6, 6))),
    ),
    Kind(
        name="control-crowd", module=Crowd, inputs={"x": normal(4, 3)}, sizes=tuple({"batch": n} for n in (1, 100, 130))
    ),
    Kind(name="control-single", module=Single, inputs={"x": normal(4, 3)}),
    Kind(name="control-short", module=Short, inputs={"x": normal(3, 3, 14)}, dynamic={"x": {0: "batch", 2: "time"}}),
    Kind(name="control-kernel", module=Kernel, inputs={"x": normal(3, 3, 14)}, dynamic={"x": {0: "batch", 2: "time"}}),
    Kind(name="control-arithmetic", module=Arithmetic, inputs={"x": normal(3, 10, 2)}, dynamic={"x": TIME}),
    Kind(name="control-constant", module=Constant, inputs={"x": normal(3, 6, 3)}, dynamic={"x": TIME}),
    Kind(name="control-drawn", module=Drawn, inputs={"x": normal(3, 6, 3)}),
    Kind(name="control-array", module=AsArray, inputs={"x": normal(3, 6, 3)}),
    Kind(name="control-each-row", module=EachRow, inputs={"x": normal(4, 6)}),
    Kind(name="control-alone", module=Alone, inputs={"x": normal(4, 6)}),
    Kind(name="control-clamp", module=Clamp, inputs={"x": normal(4, 5, 6)}, refused=True, fast=True),
    Kind(name="control-guard", module=Guard, inputs={"x": normal(4, 6)}),
    Kind(name="control-finite", module=Finite, inputs={"x": normal(4, 6)}),
    Kind(name="control-chosen", module=Chosen, inputs={"x": normal(4, 6)}),
    Kind(name="control-cond", module=Conditional, inputs={"x": normal(3, 4)}, dynamic={"x": {}}),
    Kind(
        name="control-longest",
        module=Longest,
        inputs={"x": normal(4, 8, 3), "n": lengths(4, 8)},
        dynamic={"x": ROWS, "n": ROWS},
    ),
    Kind(name="control-unrolled", module=Steps, inputs={"x": normal(3, 6, 4)}, dynamic={"x": TIME}),
    Kind(name="control-steps", module=Steps, inputs={"x": normal(3, 6, 4)}),
    Kind(name="control-depth", module=Depth, inputs={"x": normal(3, 12)}),
)
