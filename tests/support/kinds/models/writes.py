"""Kinds: masked assignment, index put, and other writes into tensors."""

import torch
from torch import nn

from tests.support.kinds.case import TIME, Kind, ids, mask, normal


class Masked(nn.Module):
    """x[x < 0] = 0"""

    def forward(self, x):
        x = x.clone()
        x[x < 0] = 0.5
        return x


class MaskedByInput(nn.Module):
    """Marked places get a learned vector."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = nn.Parameter(torch.randn(4))

    def forward(self, x, marked):
        x = x.clone()
        x[marked] = self.mark
        return x


class FromOther(nn.Module):
    """Marked places get those of another tensor."""

    def forward(self, x, other, marked):
        x = x.clone()
        x[marked] = other[marked]
        return x


class Columns(nn.Module):
    """Columns and every second place are overwritten."""

    def forward(self, x):
        y = x * 2
        y[:, 0] = 1.0
        y[:, 1::2] *= -3.0
        y[:, -1] += x[:, 0]
        return y


class Rows(nn.Module):
    """One place of each row, by an index for each."""

    def forward(self, x, place):
        y = torch.zeros_like(x)
        y[torch.arange(x.shape[0]), place] = 1.0
        return x + y


class Accumulated(nn.Module):
    """Places that occur twice count twice."""

    def forward(self, x, place):
        y = torch.zeros(x.shape[0], 6)
        rows = torch.arange(x.shape[0])[:, None].expand_as(place)
        y.index_put_((rows, place), x, accumulate=True)
        return y


class Scattered(nn.Module):
    def forward(self, x, place):
        least = torch.full((x.shape[0], 6), 9.0).scatter_reduce(1, place, x, "amin")
        return torch.zeros(x.shape[0], 6).scatter_add_(1, place, x), least


class Copied(nn.Module):
    """index_copy and index_fill along time."""

    def forward(self, x):
        y = x.index_copy(1, torch.tensor([3, 1]), x[:, :2] * 2)
        return y.index_fill(1, torch.tensor([0]), -1.0)


class Inplace(nn.Module):
    """The input itself is changed."""

    def forward(self, x):
        x += 1
        x.mul_(2)
        return x.sum(1)


class Filled(nn.Module):
    """A result of the length of the input is filled step by step: shifted by one, for a decoder."""

    def forward(self, x):
        y = torch.zeros_like(x)
        y[:, 1:] = x[:, :-1]
        y[:, 0] = -1.0
        return y


class Triangle(nn.Module):
    """The products of pairs, once each."""

    def forward(self, x):
        rows, columns = torch.triu_indices(6, 6, 1)
        return (x[:, :, None] * x[:, None, :])[:, rows, columns]


KINDS = (
    Kind(name="write-masked", module=Masked, inputs={"x": normal(4, 6)}, refused=False, fast=True),
    Kind(
        name="write-marked",
        module=MaskedByInput,
        inputs={"x": normal(3, 5, 4), "marked": mask(3, 5)},
        dynamic={"x": TIME, "marked": TIME},
    ),
    Kind(
        name="write-other",
        module=FromOther,
        inputs={"marked": mask(3, 5), "x": normal(3, 5), "other": normal(3, 5)},
    ),
    Kind(name="write-columns", module=Columns, inputs={"x": normal(4, 6)}),
    Kind(name="write-rows", module=Rows, inputs={"x": normal(4, 6), "place": ids(4, table=6)}),
    Kind(name="write-accumulated", module=Accumulated, inputs={"x": normal(4, 5), "place": ids(4, 5, table=6)}),
    Kind(
        name="write-scattered",
        module=Scattered,
        inputs={"x": normal(4, 5), "place": ids(4, 5, table=6)},
        outputs=("total", "least"),
    ),
    Kind(name="write-copied", module=Copied, inputs={"x": normal(4, 5, 2)}),
    Kind(name="write-inplace", module=Inplace, inputs={"x": normal(4, 5)}),
    Kind(name="write-shifted", module=Filled, inputs={"x": normal(4, 5)}, dynamic={"x": TIME}),
    Kind(name="write-triangle", module=Triangle, inputs={"x": normal(4, 6)}),
)
