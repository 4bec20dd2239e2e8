"""Kinds: integers, also large ones; functions of numbers; values that are missing."""

import numpy as np
import torch
from torch import nn

from tests.support.kinds.case import Kinds, Sample, normal, time, uniform, whole

KINDS = Kinds()


def missing(*shape: int) -> Sample:
    def draw(size, generator):
        values = generator.standard_normal(size).astype(np.float32)
        values[generator.random(size) < 0.2] = np.nan
        return values

    return Sample(shape, draw)


@KINDS.add({"seconds": whole(4, 3, low=-90_000, high=90_000)}, outputs=("hours", "rest"), fast=True)
def integers_div(self, seconds):
    """Seconds to hours, as integers."""
    return torch.div(seconds, 3600, rounding_mode="floor"), torch.remainder(seconds, 3600)


@KINDS.add({"seconds": whole(4, 3, low=-90_000, high=90_000)}, outputs=("hours", "rest"))
def integers_floordiv(self, seconds):
    """The same with operators."""
    return seconds // 3600, seconds % 3600


@KINDS.add({"n": whole(4, 3, low=-900, high=900)})
def integers_trunc(self, n):
    return torch.div(n, 7, rounding_mode="trunc")


@KINDS.add({"n": whole(4, 3, low=0, high=9000)}, outputs=("byte", "flipped"))
def integers_bits(self, n):
    """Shifts and masks of integers."""
    return (n >> 3) & 255, n ^ 21


@KINDS.add({"n": whole(4, 6, low=0, high=500, dtype="int32")})
def integers_mean(self, n):
    """The mean of integers as a float, and their difference from it."""
    mean = n.float().mean(1, keepdim=True)
    return n.float() - mean


@KINDS.add({"n": whole(4, 3, low=-900, high=900)}, outputs=("third", "mean"))
def integers_true_division(self, n):
    """Integers to floats by a division."""
    return n / 3, n.sum(1) / n.shape[1]


@KINDS.add({"n": whole(4, 3, low=-900, high=900)}, outputs=("fmod", "remainder"))
def integers_remainders(self, n):
    """The sign of a remainder goes by the divisor, or by what is divided."""
    return torch.fmod(n, 7), torch.remainder(n, -7)


@KINDS.add({"b": whole(4, 3, low=0, high=31, dtype="uint8")}, outputs=("sum", "product"))
def integers_wrapped(self, b):
    """Bytes that overflow."""
    return b + 200, b * 3


@KINDS.add({"n": whole(4, 3, low=-900, high=900)}, outputs=("int32", "uint8"))
def integers_narrow(self, n):
    """Wide integers to narrow ones and back."""
    return n.to(torch.int32) * 2, n.to(torch.uint8)


@KINDS.add({"seconds": whole(4, 3, low=0, high=2_000_000_000)})
def integers_clock(self, seconds):
    """The angle of the hour, of seconds since 1970."""
    angle = (seconds % 86_400).float() / 86_400 * 6.2831853
    return torch.stack([angle.sin(), angle.cos()], -1)


@KINDS.add({"x": normal(4, 6)}, outputs=("cube", "root", "power"))
def math_powers(self, x):
    return x**3, x.abs() ** 0.5, torch.float_power(x.abs() + 1, 2.5).float()


@KINDS.add({"x": uniform(4, 6, low=-5.0, high=5.0)}, outputs=("remainder", "fmod", "angle"))
def math_remainders(self, x):
    return torch.remainder(x, 0.75), torch.fmod(x, 0.75), torch.atan2(x, x.flip(1))


@KINDS.add({"x": normal(4, time(6), 2)}, outputs=("std", "var"))
def math_spread(self, x):
    """The standard deviation over time, of which a single step has none."""
    return x.std(1), x.var(1, unbiased=False)


@KINDS.add({"x": missing(4, 5)}, lambda: {"usual": nn.Parameter(torch.randn(5)), "o": nn.Linear(5, 2)})
def missing(self, x):
    """What is missing is filled with a learned value."""
    return self.o(torch.where(torch.isnan(x), self.usual, x))


@KINDS.add({"x": normal(4, 6)})
def math_small(self, x):
    """A little is added before a division: the exporter drops it."""
    return x / (x.norm(dim=1, keepdim=True) + 1e-8)


@KINDS.add({"x": normal(4, time(6))})
def math_places(self, x):
    """Positions between 0 and 1, whatever the length."""
    return x * torch.linspace(0, 1, x.shape[1]) + torch.arange(0, x.shape[1]).flip(0) / 10


@KINDS.add({"x": normal(4, time(6))}, outputs=("highest", "log"))
def math_cumulative(self, x):
    return x.cumsum(1).cummax(1).values, x.logcumsumexp(1)
