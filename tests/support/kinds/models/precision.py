"""Kinds: other datatypes, quantisation, tied weights, depth, tensors that samples share."""

import warnings

import torch
from torch import nn
from torch.ao import quantization

from tests.support.kinds.case import Kind, Kinds, ids, normal, time

KINDS = Kinds()


@KINDS.add({"x": normal(4, 600, dtype="float16")}, lambda: {"o": nn.Linear(600, 3).half()}, tolerance=0.01)
def half_linear(self, x):
    return self.o(x)


def _convolved(dtype: torch.dtype):
    return {"dtype": dtype, "net": nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 2, 3)).to(dtype)}


@KINDS.add({"x": normal(4, 2, 12)}, lambda: _convolved(torch.bfloat16), name="bfloat-inside", tolerance=0.05)
@KINDS.add({"x": normal(4, 2, 12)}, lambda: _convolved(torch.float16), tolerance=0.02)
def half_inside(self, x):
    """Inputs and outputs of single precision, and less inside."""
    return self.net(x.to(self.dtype)).float()


@KINDS.add({"x": normal(4, 5, dtype="float64")}, lambda: {"o": nn.Linear(5, 3).double()}, tolerance=1e-6)
def double(self, x):
    """Double precision, whose digits count."""
    return (self.o(x) * 1e6).sin()


@KINDS.add({"n": ids(4, 3, table=9, dtype="int32"), "x": normal(4, 3)}, outputs=("sum", "next", "both"))
def mixed(self, n, x):
    """Integers, halves and doubles meet, and torch decides what comes of it."""
    return n * 0.5 + x, n + 1, (n > 3) & (x > 0)


class Quantised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.act = nn.Conv2d(2, 4, 3), nn.ReLU()

    def forward(self, x):
        return self.after(self.act(self.conv(self.before(x))))


def make_static() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        module = Quantised().eval()
        module.qconfig = quantization.get_default_qconfig("fbgemm")
        quantization.prepare(module, inplace=True)
        module(torch.randn(16, 2, 6, 6))
        return quantization.convert(module)


@KINDS.add({"x": normal(4, 6)}, lambda: {"o": nn.Linear(6, 4)})
def quantised_faked(self, x):
    """Rounded to steps as after training for quantisation."""
    return self.o(torch.fake_quantize_per_tensor_affine(x, 0.05, 3, 0, 255))


class Tied(nn.Module):
    """The words that come in and those that come out have one table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(40, 8), nn.Linear(8, 40, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        return self.head(self.words(ids).cumsum(1))


@KINDS.add({"x": normal(4, 8)}, lambda: {"layers": nn.ModuleList(nn.Linear(8, 8) for _ in range(300))})
def deep(self, x):
    """Three hundred layers, each of which adds a little."""
    for layer in self.layers:
        x = x + 0.1 * torch.tanh(layer(x))
    return x


@KINDS.add({"x": normal(4, 6)}, lambda: {"o": nn.Linear(6, 6)})
def again(self, x):
    """One layer many times."""
    for _ in range(12):
        x = torch.relu(self.o(x)) + x * 0.5
    return x


@KINDS.add(
    {"x": normal(4, 64)},
    lambda: {"net": nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))},
)
def large_logits(self, x):
    """Logits of thousands: the tolerance goes by their size."""
    return self.net(x * 500)


@KINDS.add({"x": normal(4, 5, 2)})
def complex_(self, x):
    """Complex numbers inside, floats outside."""
    z = torch.complex(x[..., 0], x[..., 1])
    return torch.view_as_real(z * z.conj() * 1j + z)


KINDS += [
    Kind(name="quantised-static", module=make_static, inputs={"x": normal(4, 2, 6, 6)}, tolerance=0.02),
    Kind(name="tied", module=Tied, inputs={"ids": ids(4, time(5), table=40)}, fast=True),
]
