"""Integer inputs whose extremes PyTorch takes alone and not together."""

import pytest

from export import publish

torch = pytest.importorskip("torch")


class Composed(torch.nn.Module):
    def __init__(self, look_up):
        super().__init__()
        self.e, self.look_up = torch.nn.Embedding(168, 4), look_up

    def forward(self, x, y):
        return self.look_up(self.e, x, y)


def bounds_of(make_spec, store, look_up, x, y, **fields):
    inputs = {"x": torch.tensor(x), "y": torch.tensor(y)}
    graph = (
        publish(make_spec(Composed(look_up), inputs=inputs, outputs=("z",), **fields), store)
        .read_manifest()
        .graphs["main"]
    )
    return [(tensor.least, tensor.largest) for tensor in graph.inputs]


@pytest.mark.parametrize(
    ("look_up", "x", "y", "fields", "expected"),
    [
        (lambda e, x, y: e(x * 24 + y), [0, 3, 6], [0, 12, 23], {}, [(0, 6), (0, 23)]),
        (lambda e, x, y: e(x * 24 + y), [1, 3, 5], [3, 12, 20], {}, [(0, 6), (0, 23)]),
        (lambda e, x, y: e(x * 24 + 23 - y), [0, 3, 6], [0, 12, 23], {}, [(0, 6), (0, 23)]),
        (lambda e, x, y: e(x * 24 + y), [1, 3, 5], [3, 12, 20], {"ranges": {"x": (0, 5)}}, [(0, 5), (0, 47)]),
        (lambda e, x, y: e(x) + e(y), [1, 3, 5], [3, 12, 20], {}, [(0, 167), (0, 167)]),
    ],
    ids=["whole", "some", "backwards", "declared", "apart"],
)
def test_every_combination_of_the_ends_is_one_that_pytorch_takes(make_spec, store, look_up, x, y, fields, expected):
    """Hour -1 of day 0 is not in the table; hour -1 of day 2 and hour 30 of day 1 are."""
    assert bounds_of(make_spec, store, look_up, x, y, **fields) == expected


def test_inputs_that_depend_on_each_other_keep_their_own_bounds(make_spec, store):
    """The extremes of the samples fail in combination, and every sample is accepted."""

    def draw(sizes, seed):
        generator = torch.Generator().manual_seed(seed)
        first, more = torch.randint(0, 80, (2, sizes["batch"]), generator=generator)
        return {"x": first, "y": first + more}

    x, y = bounds_of(make_spec, store, lambda e, x, y: e(y - x), [0, 70, 79], [79, 71, 120], random_inputs=draw)
    assert x[1] == 79
    assert y[0] == 71
