"""Kinds: control flow that depends on shapes, and on values."""

import math

import numpy as np
import torch
from torch import nn

from tests.support.kinds.case import TIME, Axis, Kinds, height, lengths, normal, time, width

KINDS = Kinds()
_TWO = tuple({"batch": 2, "time": time, "other": other} for time, other in ((30, 20), (20, 30), (5, 1), (1, 5)))


@KINDS.add({"x": normal(3, time(10), 4)}, sizes=tuple({"batch": 2, "time": time} for time in (2, 3, 4, 9, 11, 66)))
def control_even(self, x):
    """An odd length loses its last place before the halves are added."""
    if x.shape[1] % 2:
        x = x[:, :-1]
    half = x.shape[1] // 2
    return (x[:, :half] + x[:, half:]).sum(1)


@KINDS.add({"x": normal(3, time(10), 4)})
def control_window(self, x):
    """No branch: the first 16 places at most."""
    return x[:, :16].mean(1)


@KINDS.add({"x": normal(3, time(10), 5)}, lambda: {"o": nn.Linear(5, 5)})
def control_checked(self, x):
    """The author's own check of the length."""
    if x.shape[1] > 30:
        raise ValueError("too long")
    return self.o(x).cumsum(1)


@KINDS.add({"x": normal(3, time(20))}, lambda: {"o": nn.Linear(8, 8)})
def control_blocks(self, x):
    """Padded to a whole number of blocks of eight, and cut again."""
    length = x.shape[1]
    x = nn.functional.pad(x, (0, -length % 8))
    return self.o(x.unflatten(1, (-1, 8))).flatten(1)[:, :length]


@KINDS.add({"a": normal(3, time(9), 2), "b": normal(3, Axis(14, "other"), 2)}, sizes=_TWO)
def control_shorter(self, a, b):
    """Two sequences, the longer of which is cut."""
    if a.shape[1] > b.shape[1]:
        a = a[:, : b.shape[1]]
    else:
        b = b[:, : a.shape[1]]
    return (a * b).sum(1)


@KINDS.add({"a": normal(3, time(9), 2), "b": normal(3, Axis(14, "other"), 2)}, sizes=_TWO)
def control_longer(self, a, b):
    """Which of two sequences is the longer decides: no bound of either shows it."""
    return a.sum(1) if a.shape[1] > b.shape[1] else b.mean(1)


@KINDS.add(
    {"x": normal(3, 2, height(8), width(10))},
    sizes=tuple({"batch": 2, "height": height, "width": width} for height, width in ((9, 30), (30, 9), (6, 6))),
)
def control_wider(self, x):
    """Upright pictures are turned."""
    if x.shape[2] > x.shape[3]:
        x = x.transpose(2, 3)
    return x.mean(3).amax(2)


@KINDS.add({"x": normal(4, 3)})
def control_single(self, x):
    """A single row goes another way."""
    return x * 2 if x.shape[0] > 1 else x * 3


@KINDS.add({"x": normal(3, 3, time(14))}, lambda: {"conv": nn.Conv1d(3, 4, 6)})
def control_short(self, x):
    """What is too short is filled up."""
    if x.shape[2] < 6:
        x = nn.functional.pad(x, (0, 6 - x.shape[2]))
    return self.conv(x).amax(2)


@KINDS.add({"x": normal(3, time(10), 2)})
def control_arithmetic(self, x):
    """Python's arithmetic on sizes."""
    kept = max(1, int(x.shape[1] * 0.7))
    return x[:, -kept:].sum(1) * math.log(x.shape[1] + 1) / x.shape[1] ** 0.5


@KINDS.add({"x": normal(3, time(6), 3)}, lambda: {"rnn": nn.RNN(3, 4, batch_first=True)})
def control_constant(self, x):
    """A size as a tensor, which a trace keeps as a constant."""
    return self.rnn(x)[0].sum(1) / torch.tensor(float(x.shape[1]))


@KINDS.add({"x": normal(3, 6, 3)}, lambda: {"rnn": nn.RNN(3, 4, batch_first=True)})
def control_drawn(self, x):
    """A number of Python made of the values, before a layer that only the older exporter takes."""
    loud = x.abs().max().item() > 60.0
    return self.rnn(x)[0][:, -1] * (0.5 if loud else 1.0)


@KINDS.add({"x": normal(3, 6, 3)}, lambda: {"rnn": nn.RNN(3, 4, batch_first=True)})
def control_array(self, x):
    """NumPy in forward."""
    limit = float(np.percentile(x.detach().numpy(), 99.9))
    return self.rnn(x)[0][:, -1] * max(limit, 4.0)


@KINDS.add({"x": normal(4, 6)}, lambda: {"o": nn.Linear(6, 3)})
def control_each_row(self, x):
    """The rows one after another, in Python."""
    return torch.stack([self.o(row) for row in x])


@KINDS.add({"x": normal(4, 6)}, lambda: {"o": nn.Linear(6, 1)})
def control_alone(self, x):
    """`squeeze()` takes the axis of the rows away as well, where there is one."""
    return torch.sigmoid(self.o(x)).squeeze()


@KINDS.add({"x": normal(4, 6)}, lambda: {"o": nn.Linear(6, 3)})
def control_finite(self, x):
    """A check for NaN that most training code has."""
    if torch.isnan(x).any():
        raise ValueError("NaN in the inputs")
    return self.o(x)


@KINDS.add({"x": normal(4, 6)})
def control_chosen(self, x):
    """The right form of a branch on values: each row for itself."""
    most = x.abs().amax(1, keepdim=True)
    return torch.where(most > 10, x / most.clamp(min=1e-3), x)


@KINDS.add({"x": normal(3, 4)}, dynamic={"x": {}})
def control_cond(self, x):
    """torch.cond, for one example at a time."""
    return torch.cond(x.sum() > 0, lambda t: t * 2, lambda t: t - 1, (x,))


@KINDS.add({"x": normal(4, 8, 3), "n": lengths(4, 8)})
def control_longest(self, x, n):
    """Cut to the longest of the rows: a size that depends on values."""
    x = x[:, : int(n.max())]
    places = torch.arange(x.shape[1])
    return (x * (places < n[:, None]).float()[..., None]).sum(1)


_STEPS = ({"x": normal(3, 6, 4)}, lambda: {"cell": nn.GRUCell(4, 5)})


@KINDS.add(*_STEPS, name="control-unrolled", dynamic={"x": TIME})
@KINDS.add(*_STEPS)
def control_steps(self, x):
    """A Python loop over time, which a trace unrolls."""
    state = x.new_zeros(x.shape[0], 5)
    for step in range(x.shape[1]):
        state = self.cell(x[:, step], state)
    return state


@KINDS.add({"x": normal(3, 12)}, lambda: {"layers": nn.ModuleList(nn.Linear(12, 12) for _ in range(6))})
def control_depth(self, x):
    """The number of layers depends on the width, which is fixed."""
    for layer in self.layers[: x.shape[1] // 3]:
        x = torch.tanh(layer(x))
    return x
