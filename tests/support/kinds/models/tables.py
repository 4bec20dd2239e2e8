"""Kinds: embedding bags and ids, top-k, sort and unique, boolean indexing."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.support.kinds.case import (
    NEGATIVE,
    OUTSIDE,
    ROWS,
    TIME,
    Kind,
    Sample,
    distinct,
    ids,
    lengths,
    mask,
    normal,
    whole,
)


class Words(nn.Module):
    """A table of 20: PyTorch raises IndexError for other ids."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(20, 4)

    def forward(self, ids):
        return self.e(ids).mean(1)


class OneBased(nn.Module):
    """Ids from 1 on: a zero would be the last entry, were it not refused."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(20, 4)

    def forward(self, ids):
        return self.e(ids - 1).mean(1)


class Composed(nn.Module):
    """One table for every hour of every day of the week."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(168, 4)

    def forward(self, day, hour):
        return self.e(day * 24 + hour)


class FromFloat(nn.Module):
    """Places of a table by a number that was measured."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(10, 4)

    def forward(self, x):
        return self.e((x * 10).long().clamp(max=9))


class Positions(nn.Module):
    """Places are counted by the mask, as in RoBERTa: there are 48 of them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 8), nn.Embedding(50, 8, padding_idx=1)

    def forward(self, input_ids, attention_mask):
        places = attention_mask.cumsum(1) * attention_mask + 1
        return self.words(input_ids) + self.places(places)


class Last(nn.Module):
    """What each row has at its end."""

    def forward(self, x, lengths):
        return x.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(30, 6, mode="mean", padding_idx=0)

    def forward(self, ids):
        return self.bag(ids)


class Weighted(nn.Module):
    """A bag whose entries have weights of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(30, 6, mode="sum")

    def forward(self, ids, weights):
        return self.bag(ids, per_sample_weights=weights)


class Most(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(30, 6, mode="max")

    def forward(self, ids):
        return self.bag(ids)


class Ragged(nn.Module):
    """Bags of lengths of their own in one row of ids."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(30, 6, mode="sum")

    def forward(self, ids, offsets):
        return self.bag(ids, offsets)


class Columns(nn.Module):
    """A table for each column, as of a click model, and numbers beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 4) for size in (7, 7, 7))
        self.o = nn.Linear(14, 1)

    def forward(self, numbers, categories):
        found = [table(categories[:, place]) for place, table in enumerate(self.tables)]
        return torch.sigmoid(self.o(torch.cat([numbers, *found], 1)))


class Hashed(nn.Module):
    """Places of a table by a hash of large ids."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(64, 4)

    def forward(self, ids):
        return self.e((ids * 2654435761 + 12345) % 64).sum(1)


class Buckets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bounds", torch.tensor([-1.0, -0.2, 0.3, 1.5]))
        self.e = nn.Embedding(5, 3)

    def forward(self, x):
        return self.e(torch.bucketize(x, self.bounds))


class OneHot(nn.Module):
    def forward(self, ids):
        return functional.one_hot(ids, 9).float().mean(1)


class Histogram(nn.Module):
    """How often each id occurs in a row."""

    def forward(self, ids):
        counts = torch.zeros(ids.shape[0], 12)
        return counts.scatter_add(1, ids, torch.ones_like(ids, dtype=torch.float32))


class Top(nn.Module):
    """The three largest, in their order."""

    def forward(self, x):
        return torch.topk(x, 3, dim=1).values


class TopOfLength(nn.Module):
    """A quarter of the places, at least one."""

    def forward(self, x):
        return torch.topk(x, max(1, x.shape[1] // 4), dim=1).values.mean(1)


class Sorted(nn.Module):
    def forward(self, x):
        return torch.sort(x, dim=1, descending=True)


class Median(nn.Module):
    def forward(self, x):
        return x.median(1).values, x.kthvalue(2, 1).values


class Quantiles(nn.Module):
    def forward(self, x):
        return torch.quantile(x, torch.tensor([0.25, 0.5, 0.9]), dim=1).transpose(0, 1)


class Different(nn.Module):
    """The values that occur, and how often: their number depends on values."""

    def forward(self, ids):
        return torch.unique(ids, return_counts=True)


class Positive(nn.Module):
    """Boolean indexing: what is positive, one after another."""

    def forward(self, x):
        return x[x > 0]


class PositiveRows(nn.Module):
    """Rows are left out by what they contain."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(4, 2)

    def forward(self, x):
        return self.o(x[x.mean(1) > 0])


class Picked(nn.Module):
    """One place of each row, by another input."""

    def forward(self, x, place):
        return x[torch.arange(x.shape[0]), place]


class Gathered(nn.Module):
    def forward(self, x, place):
        return torch.gather(x, 1, place[..., None].expand(-1, -1, x.shape[2]))


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


def signed(*shape: int) -> Sample:
    """Shares of one, and negative numbers, for which there is no place."""
    changes = {NEGATIVE: lambda a: -a / 2 - 0.1, "most": np.ones_like}
    return Sample(shape, lambda s, g: g.uniform(0, 1, s).astype(np.float32), changes)


_BAG = {"ids": ids(4, 5, table=30)}

KINDS = (
    Kind(name="ids-words", module=Words, inputs={"ids": ids(4, 6, table=20)}, refused=False, fast=True),
    Kind(name="ids-one-based", module=OneBased, inputs={"ids": from_one(4, 6, table=20)}),
    Kind(
        name="ids-composed",
        module=Composed,
        inputs={"hour": ids(4, 3, table=24), "day": ids(4, 3, table=7)},
    ),
    Kind(name="ids-float", module=FromFloat, inputs={"x": signed(4, 5)}),
    Kind(
        name="ids-positions",
        module=Positions,
        inputs={"attention_mask": mask(3, 10, dtype="int64"), "input_ids": ids(3, 10, table=50)},
        dynamic={"input_ids": TIME, "attention_mask": TIME},
        sizes=tuple({"batch": 2, "time": time} for time in (1, 47, 90, 11)),
    ),
    Kind(
        name="ids-last",
        module=Last,
        inputs={"x": normal(4, 7, 3), "lengths": lengths(4, 7, "time")},
        dynamic={"x": TIME, "lengths": ROWS},
        spec={"padded": {"x": "lengths"}},
    ),
    Kind(name="bag-mean", module=Bag, inputs=_BAG),
    Kind(name="bag-weighted", module=Weighted, inputs={**_BAG, "weights": normal(4, 5)}),
    Kind(name="bag-max", module=Most, inputs=_BAG),
    Kind(
        name="bag-ragged",
        module=Ragged,
        inputs={"ids": ids(9, table=30), "offsets": Sample((4,), _draw_offsets)},
        dynamic={"ids": {}, "offsets": {}},
        spec={"random_inputs": _draw_ragged},
    ),
    Kind(
        name="ids-columns",
        module=Columns,
        inputs={"categories": ids(4, 3, table=7), "numbers": normal(4, 2)},
    ),
    Kind(name="ids-hashed", module=Hashed, inputs={"ids": whole(4, 3, low=0, high=10_000)}),
    Kind(name="ids-buckets", module=Buckets, inputs={"x": normal(4, 6)}),
    Kind(name="ids-one-hot", module=OneHot, inputs={"ids": ids(4, 5, table=9)}),
    Kind(name="ids-histogram", module=Histogram, inputs={"ids": ids(4, 5, table=12)}),
    Kind(name="top-three", module=Top, inputs={"x": normal(4, 9)}),
    Kind(name="top-of-length", module=TopOfLength, inputs={"x": normal(4, 9)}, dynamic={"x": TIME}),
    Kind(name="top-sorted", module=Sorted, inputs={"x": distinct(4, 9)}, outputs=("values", "places")),
    Kind(name="top-median", module=Median, inputs={"x": normal(4, 9)}, outputs=("median", "second")),
    Kind(name="top-quantiles", module=Quantiles, inputs={"x": normal(4, 9)}),
    Kind(
        name="top-unique",
        module=Different,
        inputs={"ids": ids(12, table=8)},
        outputs=("ids_found", "counts"),
        dynamic={"ids": {}},
    ),
    Kind(name="index-positive", module=Positive, inputs={"x": normal(3, 4)}, dynamic={"x": {}}),
    Kind(name="index-rows", module=PositiveRows, inputs={"x": normal(6, 4)}),
    Kind(
        name="index-picked",
        module=Picked,
        inputs={"x": normal(4, 7), "place": ids(4, table=7)},
        dynamic={"x": ROWS, "place": ROWS},
    ),
    Kind(
        name="index-gathered",
        module=Gathered,
        inputs={"x": normal(4, 7, 3), "place": ids(4, 5, table=7)},
    ),
)
