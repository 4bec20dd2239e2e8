"""Kinds: integers, also large ones; functions of numbers; values that are missing."""

import numpy as np
import torch
from torch import nn

from tests.support.kinds.case import TIME, Kind, Sample, normal, uniform, whole


class Divided(nn.Module):
    """Seconds to hours, as integers."""

    def forward(self, seconds):
        return torch.div(seconds, 3600, rounding_mode="floor"), torch.remainder(seconds, 3600)


class FloorDivided(nn.Module):
    """The same with operators."""

    def forward(self, seconds):
        return seconds // 3600, seconds % 3600


class Truncated(nn.Module):
    def forward(self, n):
        return torch.div(n, 7, rounding_mode="trunc")


class Bits(nn.Module):
    """Shifts and masks of integers."""

    def forward(self, n):
        return (n >> 3) & 255, n ^ 21


class Shared(nn.Module):
    """The mean of integers as a float, and their difference from it."""

    def forward(self, n):
        mean = n.float().mean(1, keepdim=True)
        return n.float() - mean


class TrueDivided(nn.Module):
    """Integers to floats by a division."""

    def forward(self, n):
        return n / 3, n.sum(1) / n.shape[1]


class Remainders(nn.Module):
    """The sign of a remainder goes by the divisor, or by what is divided."""

    def forward(self, n):
        return torch.fmod(n, 7), torch.remainder(n, -7)


class Wrapped(nn.Module):
    """Bytes that overflow."""

    def forward(self, b):
        return b + 200, b * 3


class Narrow(nn.Module):
    """Wide integers to narrow ones and back."""

    def forward(self, n):
        return n.to(torch.int32) * 2, n.to(torch.uint8)


class Clock(nn.Module):
    """The angle of the hour, of seconds since 1970."""

    def forward(self, seconds):
        angle = (seconds % 86_400).float() / 86_400 * 6.2831853
        return torch.stack([angle.sin(), angle.cos()], -1)


class Powers(nn.Module):
    def forward(self, x):
        return x**3, x.abs() ** 0.5, torch.float_power(x.abs() + 1, 2.5).float()


class FloatRemainders(nn.Module):
    def forward(self, x):
        return torch.remainder(x, 0.75), torch.fmod(x, 0.75), torch.atan2(x, x.flip(1))


class Spread(nn.Module):
    """The standard deviation over time, of which a single step has none."""

    def forward(self, x):
        return x.std(1), x.var(1, unbiased=False)


class Imputed(nn.Module):
    """What is missing is filled with a learned value."""

    def __init__(self) -> None:
        super().__init__()
        self.usual, self.o = nn.Parameter(torch.randn(5)), nn.Linear(5, 2)

    def forward(self, x):
        return self.o(torch.where(torch.isnan(x), self.usual, x))


class Small(nn.Module):
    """A little is added before a division: the exporter drops it."""

    def forward(self, x):
        return x / (x.norm(dim=1, keepdim=True) + 1e-8)


class Places(nn.Module):
    """Positions between 0 and 1, whatever the length."""

    def forward(self, x):
        return x * torch.linspace(0, 1, x.shape[1]) + torch.arange(0, x.shape[1]).flip(0) / 10


class Cumulative(nn.Module):
    def forward(self, x):
        return x.cumsum(1).cummax(1).values, x.logcumsumexp(1)


def missing(*shape: int) -> Sample:
    def draw(size, generator):
        values = generator.standard_normal(size).astype(np.float32)
        values[generator.random(size) < 0.2] = np.nan
        return values

    return Sample(shape, draw)


KINDS = (
    Kind(
        name="integers-div",
        module=Divided,
        inputs={"seconds": whole(4, 3, low=-90_000, high=90_000)},
        outputs=("hours", "rest"),
        refused=False,
        fast=True,
    ),
    Kind(
        name="integers-floordiv",
        module=FloorDivided,
        inputs={"seconds": whole(4, 3, low=-90_000, high=90_000)},
        outputs=("hours", "rest"),
    ),
    Kind(name="integers-trunc", module=Truncated, inputs={"n": whole(4, 3, low=-900, high=900)}),
    Kind(name="integers-bits", module=Bits, inputs={"n": whole(4, 3, low=0, high=9000)}, outputs=("byte", "flipped")),
    Kind(name="integers-mean", module=Shared, inputs={"n": whole(4, 6, low=0, high=500, dtype="int32")}),
    Kind(
        name="integers-true-division",
        module=TrueDivided,
        inputs={"n": whole(4, 3, low=-900, high=900)},
        outputs=("third", "mean"),
    ),
    Kind(
        name="integers-remainders",
        module=Remainders,
        inputs={"n": whole(4, 3, low=-900, high=900)},
        outputs=("fmod", "remainder"),
    ),
    Kind(
        name="integers-wrapped",
        module=Wrapped,
        inputs={"b": whole(4, 3, low=0, high=31, dtype="uint8")},
        outputs=("sum", "product"),
    ),
    Kind(
        name="integers-narrow",
        module=Narrow,
        inputs={"n": whole(4, 3, low=-900, high=900)},
        outputs=("int32", "uint8"),
    ),
    Kind(name="integers-clock", module=Clock, inputs={"seconds": whole(4, 3, low=0, high=2_000_000_000)}),
    Kind(name="math-powers", module=Powers, inputs={"x": normal(4, 6)}, outputs=("cube", "root", "power")),
    Kind(
        name="math-remainders",
        module=FloatRemainders,
        inputs={"x": uniform(4, 6, low=-5.0, high=5.0)},
        outputs=("remainder", "fmod", "angle"),
    ),
    Kind(
        name="math-spread",
        module=Spread,
        inputs={"x": normal(4, 6, 2)},
        outputs=("std", "var"),
        dynamic={"x": TIME},
    ),
    Kind(name="math-small", module=Small, inputs={"x": normal(4, 6)}),
    Kind(name="math-places", module=Places, inputs={"x": normal(4, 6)}, dynamic={"x": TIME}),
    Kind(
        name="math-cumulative",
        module=Cumulative,
        inputs={"x": normal(4, 6)},
        outputs=("highest", "log"),
        dynamic={"x": TIME},
    ),
    Kind(name="missing", module=Imputed, inputs={"x": missing(4, 5)}),
)
