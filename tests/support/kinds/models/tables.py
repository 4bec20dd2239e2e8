"""Kinds: embedding bags and ids, top-k, sort and unique, boolean indexing."""

import numpy as np
import torch
from torch import nn

from tests.support.kinds.case import NEGATIVE, OUTSIDE, Kinds, Sample, distinct, ids, lengths, mask, normal, time

KINDS = Kinds()


def _draw_offsets(shape, generator):
    return np.concatenate([[0], np.sort(generator.integers(0, 10, shape[0] - 1))])


def _draw_ragged(sizes, seed):
    generator = np.random.default_rng(seed)
    drawn = {"ids": generator.integers(0, 30, 9), "offsets": _draw_offsets((4,), generator)}
    return {name: torch.from_numpy(array) for name, array in drawn.items()}


def from_one(*shape: int, table: int) -> Sample:
    """Ids from 1 to ``table``, and those that are none of them."""
    changes = {NEGATIVE: np.zeros_like, OUTSIDE: lambda a: np.full_like(a, table + 1)}
    return Sample(shape, lambda s, g: g.integers(1, table, s, endpoint=True), changes)


_BAG = {"ids": ids(4, 5, table=30)}


@KINDS.add({"ids": from_one(4, 6, table=20)}, lambda: {"e": nn.Embedding(20, 4)})
def ids_one_based(self, ids):
    """Ids from 1 on: a zero would be the last entry, were it not refused."""
    return self.e(ids - 1).mean(1)


@KINDS.add(
    {"attention_mask": mask(3, time(10), dtype="int64"), "input_ids": ids(3, time(10), table=50)},
    lambda: {"words": nn.Embedding(50, 8), "places": nn.Embedding(50, 8, padding_idx=1)},
    sizes=tuple({"batch": 2, "time": time} for time in (1, 47, 90, 11)),
)
def ids_positions(self, input_ids, attention_mask):
    """Places are counted by the mask, as in RoBERTa: there are 48 of them."""
    places = attention_mask.cumsum(1) * attention_mask + 1
    return self.words(input_ids) + self.places(places)


@KINDS.add({"x": normal(4, time(7), 3), "lengths": lengths(4, 7, "time")}, spec={"padded": {"x": "lengths"}})
def ids_last(self, x, lengths):
    """What each row has at its end."""
    return x.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]


@KINDS.add(_BAG, lambda: {"bag": nn.EmbeddingBag(30, 6, mode="mean", padding_idx=0)})
def bag_mean(self, ids):
    return self.bag(ids)


@KINDS.add({**_BAG, "weights": normal(4, 5)}, lambda: {"bag": nn.EmbeddingBag(30, 6, mode="sum")})
def bag_weighted(self, ids, weights):
    """A bag whose entries have weights of their own."""
    return self.bag(ids, per_sample_weights=weights)


@KINDS.add(_BAG, lambda: {"bag": nn.EmbeddingBag(30, 6, mode="max")})
def bag_max(self, ids):
    return self.bag(ids)


@KINDS.add(
    {"ids": ids(9, table=30), "offsets": Sample((4,), _draw_offsets)},
    lambda: {"bag": nn.EmbeddingBag(30, 6, mode="sum")},
    dynamic={"ids": {}, "offsets": {}},
    spec={"random_inputs": _draw_ragged},
)
def bag_ragged(self, ids, offsets):
    """Bags of lengths of their own in one row of ids."""
    return self.bag(ids, offsets)


@KINDS.add(
    {"categories": ids(4, 3, table=7), "numbers": normal(4, 2)},
    lambda: {"tables": nn.ModuleList(nn.Embedding(size, 4) for size in (7, 7, 7)), "o": nn.Linear(14, 1)},
)
def ids_columns(self, numbers, categories):
    """A table for each column, as of a click model, and numbers beside them."""
    found = [table(categories[:, place]) for place, table in enumerate(self.tables)]
    return torch.sigmoid(self.o(torch.cat([numbers, *found], 1)))


@KINDS.add(
    {"x": normal(4, 6)}, lambda: {"bounds": nn.Buffer(torch.tensor([-1.0, -0.2, 0.3, 1.5])), "e": nn.Embedding(5, 3)}
)
def ids_buckets(self, x):
    return self.e(torch.bucketize(x, self.bounds))


@KINDS.add({"ids": ids(4, 5, table=12)})
def ids_histogram(self, ids):
    """How often each id occurs in a row."""
    counts = torch.zeros(ids.shape[0], 12)
    return counts.scatter_add(1, ids, torch.ones_like(ids, dtype=torch.float32))


@KINDS.add({"x": normal(4, 9)})
def top_three(self, x):
    """The three largest, in their order."""
    return torch.topk(x, 3, dim=1).values


@KINDS.add({"x": normal(4, time(9))})
def top_of_length(self, x):
    """A quarter of the places, at least one."""
    return torch.topk(x, max(1, x.shape[1] // 4), dim=1).values.mean(1)


@KINDS.add({"x": distinct(4, 9)}, outputs=("values", "places"))
def top_sorted(self, x):
    return torch.sort(x, dim=1, descending=True)


@KINDS.add({"x": normal(4, 9)}, outputs=("median", "second"))
def top_median(self, x):
    return x.median(1).values, x.kthvalue(2, 1).values


@KINDS.add({"x": normal(4, 9)})
def top_quantiles(self, x):
    return torch.quantile(x, torch.tensor([0.25, 0.5, 0.9]), dim=1).transpose(0, 1)


@KINDS.add({"ids": ids(12, table=8)}, outputs=("ids_found", "counts"), dynamic={"ids": {}})
def top_unique(self, ids):
    """The values that occur, and how often: their number depends on values."""
    return torch.unique(ids, return_counts=True)


@KINDS.add({"x": normal(3, 4)}, dynamic={"x": {}})
def index_positive(self, x):
    """Boolean indexing: what is positive, one after another."""
    return x[x > 0]


@KINDS.add({"x": normal(6, 4)}, lambda: {"o": nn.Linear(4, 2)})
def index_rows(self, x):
    """Rows are left out by what they contain."""
    return self.o(x[x.mean(1) > 0])


@KINDS.add({"x": normal(4, 7), "place": ids(4, table=7)})
def index_picked(self, x, place):
    """One place of each row, by another input."""
    return x[torch.arange(x.shape[0]), place]


@KINDS.add({"x": normal(4, 7, 3), "place": ids(4, 5, table=7)})
def index_gathered(self, x, place):
    return torch.gather(x, 1, place[..., None].expand(-1, -1, x.shape[2]))
