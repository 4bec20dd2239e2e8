"""Kinds: packed, bidirectional and time-first recurrent layers, and their states."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.support.kinds.case import ROWS, TIME, Kinds, lengths, normal, time, width

KINDS = Kinds()
_STEPS = {0: "time", 1: "batch"}

_PADDED = {"x": normal(4, time(7), 3), "lengths": lengths(4, 7, "time")}

_SPEC = {"padded": {"x": "lengths"}}


@KINDS.add(_PADDED, lambda: {"rnn": nn.GRU(3, 4, batch_first=True, bidirectional=True)}, spec=_SPEC)
def rnn_repacked(self, x, lengths):
    """Packed and padded again, in both directions."""
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]


@KINDS.add(
    {"x": normal(3, time(7), 3)},
    lambda: {"rnn": nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True), "o": nn.Linear(10, 4)},
)
def rnn_both(self, x):
    """Two layers in both directions."""
    return self.o(self.rnn(x)[0])


@KINDS.add({"x": normal(7, 3, 3)}, lambda: {"rnn": nn.GRU(3, 4)}, dynamic={"x": _STEPS})
def rnn_time_first(self, x):
    """[time, batch, features] in and out, which is torch's default."""
    return self.rnn(x)[0]


@KINDS.add({"x": normal(7, 3, 3)}, lambda: {"rnn": nn.LSTM(3, 4), "o": nn.Linear(4, 2)}, dynamic={"x": _STEPS})
def rnn_time_first_last(self, x):
    """Time first in, one row for each example out."""
    return self.o(self.rnn(x)[0][-1])


@KINDS.add(
    {"x": normal(4, 5, 3), "h": normal(2, 4, 4)},
    lambda: {"rnn": nn.GRU(3, 4, 2, batch_first=True)},
    outputs=("y", "h2"),
    dynamic={"x": ROWS, "h": {1: "batch"}},
)
def rnn_state(self, x, h):
    """A state goes in and out, with the rows on its second axis."""
    return self.rnn(x, h)


@KINDS.add(
    {"x": normal(4, 5, 3), "state": (normal(1, 4, 4), normal(1, 4, 4))},
    lambda: {"rnn": nn.LSTM(3, 4, batch_first=True)},
    outputs=("y", "h", "c"),
    dynamic={"x": TIME, "state.0": {1: "batch"}, "state.1": {1: "batch"}},
)
def rnn_states(self, x, state):
    """Both states of an LSTM as a pair."""
    return self.rnn(x, state)


@KINDS.add({"x": normal(4, time(5), 3)}, lambda: {"rnn": nn.GRU(3, 4, 2, batch_first=True)}, outputs=("y", "h"))
def rnn_rows_first(self, x):
    """The states of all layers with the rows first."""
    y, h = self.rnn(x)
    return y, h.transpose(0, 1)


@KINDS.add({"x": normal(3, time(7), 3)}, lambda: {"rnn": nn.LSTM(3, 8, proj_size=4, batch_first=True)})
def rnn_projected(self, x):
    return self.rnn(x)[0]


@KINDS.add({"x": normal(3, 3)}, lambda: {"cell": nn.LSTMCell(3, 4), "o": nn.Linear(4, 3)})
def rnn_cells(self, x):
    """Cells in a loop of a fixed number of steps."""
    h = c = x.new_zeros(x.shape[0], 4)
    steps = []
    for _ in range(5):
        h, c = self.cell(x, (h, c))
        x = self.o(h)
        steps.append(x)
    return torch.stack(steps, 1)


@KINDS.add(
    {"image": normal(3, 1, 8, width(20))},
    lambda: {
        "conv": nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d((4, 2))),
        "rnn": nn.LSTM(12, 8, batch_first=True, bidirectional=True),
        "o": nn.Linear(16, 11),
    },
    sizes=({"batch": 1, "width": 2}, {"batch": 5, "width": 67}, {"batch": 2, "width": 30}),
)
def rnn_reader(self, image):
    """A convolution, then a recurrent layer over the columns: a reader of lines of text."""
    columns = self.conv(image).flatten(1, 2).transpose(1, 2)
    return self.o(self.rnn(columns)[0]).log_softmax(-1)
