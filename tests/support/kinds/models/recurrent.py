"""Kinds: packed, bidirectional and time-first recurrent layers, and their states."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.support.kinds.case import ROWS, TIME, Kind, lengths, normal

_STEPS = {0: "time", 1: "batch"}


class Packed(nn.Module):
    """The last state of each row, whatever its padding."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][0][-1]


class Repacked(nn.Module):
    """Packed and padded again, in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class Both(nn.Module):
    """Two layers in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.o = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True), nn.Linear(10, 4)

    def forward(self, x):
        return self.o(self.rnn(x)[0])


class TimeFirst(nn.Module):
    """[time, batch, features] in and out, which is torch's default."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x):
        return self.rnn(x)[0]


class TimeFirstLast(nn.Module):
    """Time first in, one row for each example out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.o = nn.LSTM(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.o(self.rnn(x)[0][-1])


class State(nn.Module):
    """A state goes in and out, with the rows on its second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, 2, batch_first=True)

    def forward(self, x, h):
        return self.rnn(x, h)


class States(nn.Module):
    """Both states of an LSTM as a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x, state):
        return self.rnn(x, state)


class RowsFirst(nn.Module):
    """The states of all layers with the rows first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, 2, batch_first=True)

    def forward(self, x):
        y, h = self.rnn(x)
        return y, h.transpose(0, 1)


class Simple(nn.Module):
    """nn.RNN, which torch's exporters unroll."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, proj_size=4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


class Cells(nn.Module):
    """Cells in a loop of a fixed number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.o = nn.LSTMCell(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], 4)
        steps = []
        for _ in range(5):
            h, c = self.cell(x, (h, c))
            x = self.o(h)
            steps.append(x)
        return torch.stack(steps, 1)


class Reader(nn.Module):
    """A convolution, then a recurrent layer over the columns: a reader of lines of text."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d((4, 2)))
        self.rnn, self.o = nn.LSTM(12, 8, batch_first=True, bidirectional=True), nn.Linear(16, 11)

    def forward(self, image):
        columns = self.conv(image).flatten(1, 2).transpose(1, 2)
        return self.o(self.rnn(columns)[0]).log_softmax(-1)


_PADDED = {"x": normal(4, 7, 3), "lengths": lengths(4, 7, "time")}
_FREE = {"x": TIME, "lengths": ROWS}
_SPEC = {"padded": {"x": "lengths"}}

KINDS = (
    Kind(name="rnn-packed", module=Packed, inputs=_PADDED, outputs=("h",), dynamic=_FREE, spec=_SPEC),
    Kind(name="rnn-repacked", module=Repacked, inputs=_PADDED, dynamic=_FREE, spec=_SPEC),
    Kind(name="rnn-both", module=Both, inputs={"x": normal(3, 7, 3)}, dynamic={"x": TIME}),
    Kind(name="rnn-time-first", module=TimeFirst, inputs={"x": normal(7, 3, 3)}, dynamic={"x": _STEPS}),
    Kind(name="rnn-time-first-last", module=TimeFirstLast, inputs={"x": normal(7, 3, 3)}, dynamic={"x": _STEPS}),
    Kind(
        name="rnn-state",
        module=State,
        inputs={"x": normal(4, 5, 3), "h": normal(2, 4, 4)},
        outputs=("y", "h2"),
        dynamic={"x": ROWS, "h": {1: "batch"}},
        refused=False,
        fast=True,
    ),
    Kind(
        name="rnn-states",
        module=States,
        inputs={"x": normal(4, 5, 3), "state": (normal(1, 4, 4), normal(1, 4, 4))},
        outputs=("y", "h", "c"),
        dynamic={"x": TIME, "state.0": {1: "batch"}, "state.1": {1: "batch"}},
    ),
    Kind(
        name="rnn-rows-first",
        module=RowsFirst,
        inputs={"x": normal(4, 5, 3)},
        outputs=("y", "h"),
        dynamic={"x": TIME},
    ),
    Kind(name="rnn-simple", module=Simple, inputs={"x": normal(3, 7, 3)}),
    Kind(name="rnn-simple-free", module=Simple, inputs={"x": normal(3, 7, 3)}, dynamic={"x": TIME}),
    Kind(name="rnn-projected", module=Projected, inputs={"x": normal(3, 7, 3)}, dynamic={"x": TIME}),
    Kind(name="rnn-cells", module=Cells, inputs={"x": normal(3, 3)}),
    Kind(
        name="rnn-reader",
        module=Reader,
        inputs={"image": normal(3, 1, 8, 20)},
        dynamic={"image": {0: "batch", 3: "width"}},
        sizes=({"batch": 1, "width": 2}, {"batch": 5, "width": 67}, {"batch": 2, "width": 30}),
    ),
)
