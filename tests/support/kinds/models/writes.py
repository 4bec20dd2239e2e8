"""Kinds: masked assignment, index put, and other writes into tensors."""

import torch
from torch import nn

from tests.support.kinds.case import Kinds, ids, mask, normal, time

KINDS = Kinds()


@KINDS.add({"x": normal(4, 6)}, fast=True)
def write_masked(self, x):
    """x[x < 0] = 0"""
    x = x.clone()
    x[x < 0] = 0.5
    return x


@KINDS.add({"x": normal(3, time(5), 4), "marked": mask(3, time(5))}, lambda: {"mark": nn.Parameter(torch.randn(4))})
def write_marked(self, x, marked):
    """Marked places get a learned vector."""
    x = x.clone()
    x[marked] = self.mark
    return x


@KINDS.add({"marked": mask(3, 5), "x": normal(3, 5), "other": normal(3, 5)})
def write_other(self, x, other, marked):
    """Marked places get those of another tensor."""
    x = x.clone()
    x[marked] = other[marked]
    return x


@KINDS.add({"x": normal(4, 6)})
def write_columns(self, x):
    """Columns and every second place are overwritten."""
    y = x * 2
    y[:, 0] = 1.0
    y[:, 1::2] *= -3.0
    y[:, -1] += x[:, 0]
    return y


@KINDS.add({"x": normal(4, 6), "place": ids(4, table=6)})
def write_rows(self, x, place):
    """One place of each row, by an index for each."""
    y = torch.zeros_like(x)
    y[torch.arange(x.shape[0]), place] = 1.0
    return x + y


@KINDS.add({"x": normal(4, 5), "place": ids(4, 5, table=6)})
def write_accumulated(self, x, place):
    """Places that occur twice count twice."""
    y = torch.zeros(x.shape[0], 6)
    rows = torch.arange(x.shape[0])[:, None].expand_as(place)
    y.index_put_((rows, place), x, accumulate=True)
    return y


@KINDS.add({"x": normal(4, 5), "place": ids(4, 5, table=6)}, outputs=("total", "least"))
def write_scattered(self, x, place):
    least = torch.full((x.shape[0], 6), 9.0).scatter_reduce(1, place, x, "amin")
    return torch.zeros(x.shape[0], 6).scatter_add_(1, place, x), least


@KINDS.add({"x": normal(4, 5, 2)})
def write_copied(self, x):
    """index_copy and index_fill along time."""
    y = x.index_copy(1, torch.tensor([3, 1]), x[:, :2] * 2)
    return y.index_fill(1, torch.tensor([0]), -1.0)


@KINDS.add({"x": normal(4, 5)})
def write_inplace(self, x):
    """The input itself is changed."""
    x += 1
    x.mul_(2)
    return x.sum(1)


@KINDS.add({"x": normal(4, time(5))})
def write_shifted(self, x):
    """A result of the length of the input is filled step by step: shifted by one, for a decoder."""
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    y[:, 0] = -1.0
    return y


@KINDS.add({"x": normal(4, 6)})
def write_triangle(self, x):
    """The products of pairs, once each."""
    rows, columns = torch.triu_indices(6, 6, 1)
    return (x[:, :, None] * x[:, None, :])[:, rows, columns]
