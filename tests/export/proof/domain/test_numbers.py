"""Integers: which ones a graph takes, and that large ones are right."""

import pytest

from export import ParityError, publish

torch = pytest.importorskip("torch")

IDS = {"x": torch.tensor([[3, 7, 4], [5, 6, 11], [9, 3, 8]])}


class Table(torch.nn.Module):
    def __init__(self, look_up):
        super().__init__()
        self.table = torch.nn.Parameter(torch.linspace(-1, 1, 80).reshape(20, 4))
        self.look_up = look_up

    def forward(self, x):
        return self.look_up(self.table, x)


def bounds_of(spec, store):
    tensor = publish(spec, store).read_manifest().graphs["main"].inputs[0]
    return tensor.least, tensor.largest


@pytest.mark.long
@pytest.mark.parametrize(
    ("look_up", "expected"),
    [
        (lambda table, x: torch.nn.functional.embedding(x, table), (0, 19)),
        (lambda table, x: torch.nn.functional.embedding_bag(x, table), (0, 19)),
        (lambda table, x: table[:, 0].expand(x.shape[0], 20).gather(1, x), (0, 19)),
        (lambda table, x: torch.nn.functional.one_hot(x, 20).float() @ table, (0, 19)),
        (lambda table, x: table[x], (-20, 19)),
        (lambda table, x: torch.nn.functional.embedding(x % 20, table), (None, None)),
    ],
    ids=["embedding", "bag", "gather", "one-hot", "negative", "hash"],
)
def test_integers_that_pytorch_refuses_are_refused(make_spec, store, look_up, expected):
    """ONNX takes negative indices and unknown classes that PyTorch refuses. Samples are 3 to 11."""
    assert bounds_of(make_spec(Table(look_up), inputs=IDS), store) == expected


def test_index_along_a_free_axis_has_no_bound_above(make_module, make_spec, store):
    """The table is as long as the request, so only negative indices are refused."""

    def pick(linear, x, y):
        return linear(x).gather(1, y[:, None, None].expand(-1, 1, 3))[:, 0]

    spec = make_spec(
        make_module(pick, inputs=2),
        inputs={"x": torch.linspace(-1, 1, 72).reshape(2, 9, 4), "y": torch.tensor([0, 2])},
        outputs=("z",),
        dynamic={"x": {0: "batch", 1: "time"}, "y": {0: "batch"}},
        bounds={"time": (3, None)},
    )
    tensor = publish(spec, store).read_manifest().graphs["main"].inputs[1]
    assert (tensor.least, tensor.largest) == (0, None)


def test_division_through_floats_is_made_by_the_other_exporter(make_module, make_spec, store):
    """The newer exporter loses digits above 2^24; the manifest says which one was used, and why."""
    module = make_module(lambda linear, x: torch.div(x, 3, rounding_mode="floor"))
    exporter = publish(make_spec(module, inputs=IDS), store).read_manifest().provenance.exporter
    assert exporter.startswith("torch.onnx torchscript (dynamo: its graph fails: the exported graph loses digits")


def test_sum_is_published_for_integers_that_it_is_right_for(make_module, make_spec, store):
    """ONNX Runtime sums in float64, which holds 53 bits: larger integers are refused, with a note."""
    steps = []
    spec = make_spec(make_module(lambda linear, x: x.sum(1)), inputs=IDS)
    tensor = publish(spec, store, steps.append).read_manifest().graphs["main"].inputs[0]
    assert (tensor.least, tensor.largest) == (-(2**47), 2**47)
    assert "note: tiny: the graph is right for integers up to 2^47; larger ones are refused" in steps


def test_where_no_exporter_is_right_the_operator_is_named_and_the_form_to_write(make_spec, store, monkeypatch):
    """This holds also where only large integers show the difference."""
    monkeypatch.setattr("export.onnx.candidate.export_otherwise", lambda *_: None)
    module = Table(lambda table, x: torch.div(x, 3, rounding_mode="floor"))
    with pytest.raises(ParityError, match=r"loses digits of large integers in 'x'.*Div .*float32.*write a // b"):
        publish(make_spec(module, inputs=IDS), store)
    spec = make_spec(module, inputs=IDS, ranges={"x": (0, 2**20)})
    assert publish(spec, store).read_manifest().graphs["main"].inputs[0].largest == 2**20
