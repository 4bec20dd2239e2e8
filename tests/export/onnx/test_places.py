"""Indices that a graph computes: negative ones are refused exactly where PyTorch refuses them."""

import numpy as np
import onnx
import pytest

from export import ExportError, publish
from export.onnx.exporter import export_graph
from export.original import Original
from export.runtime import Runtime
from model_store.graphs.batch import PROVED_BY_EXPORT

torch = pytest.importorskip("torch")

FEW = {"batches": (1, 2, 5), "seeds": (0,), "inputs": {"x": torch.linspace(0, 0.99, 15).reshape(3, 5)}}
NEGATIVE = {"x": np.full((2, 5), -0.3, np.float32)}


class Places(torch.nn.Module):
    """Rows of a table [10, 4], picked by numbers of ``x`` that are multiplied by ten."""

    def __init__(self, pick):
        super().__init__()
        self.e, self.pick = torch.nn.Embedding(10, 4), pick

    def forward(self, x):
        return self.pick(self.e, (x * 10).long(), x)


PICKS = {
    "embedding": lambda e, places, x: e(places),
    "select": lambda e, places, x: e.weight.index_select(0, places.flatten()).view(-1, 20),
    "gather": lambda e, places, x: e.weight[:, 0].expand(x.shape[0], 10).gather(1, places),
    "scatter": lambda e, places, x: x.repeat(1, 2).scatter(1, places, 1.0),
}


@pytest.mark.parametrize("unfit", [None, "for this test"], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS)
def test_negative_place_that_pytorch_refuses_is_refused(make_spec, pick, unfit):
    """The places are computed from floats, so no range of an input can exclude negative ones."""
    module = Places(pick)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
        module(torch.from_numpy(NEGATIVE["x"]))
    model = export_graph(Original(make_spec(module, **FEW)), unfit).model
    with pytest.raises(ExportError, match=r"out of data bounds|[Oo]ut of range"):
        Runtime(model.SerializeToString()).run(NEGATIVE)


@pytest.mark.parametrize(
    ("pick", "x"),
    [
        (PICKS["embedding"], torch.linspace(0, 0.99, 15).reshape(3, 5)),
        (lambda e, places, x: e(x[:, :2] // 3 + x[:, 2:4] // 5), torch.arange(15).reshape(3, 5)),
    ],
    ids=["floats", "integers"],
)
def test_rows_of_a_guarded_graph_are_proved_by_their_analysis(make_spec, store, pick, x):
    """The graph is published, and its rows still share a batch."""
    spec = make_spec(Places(pick), **{**FEW, "inputs": {"x": x}})
    rows = publish(spec, store).read_manifest().graphs["main"].rows
    assert rows.verdict == "proved"
    assert rows != PROVED_BY_EXPORT


@pytest.mark.parametrize("unfit", [None, "for this test"], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize(
    "pick",
    [
        lambda e, places, x: x[:, -1:] + x.shape[-1] + x[..., -2].flip(0)[:, None],
        lambda e, places, x: e.weight[places],
        lambda e, places, x: e(places.clamp(0, 9)),
        lambda e, places, x: e((x > 0).long() + 3),
        lambda e, places, x: e(torch.arange(x.shape[1])) + x[..., None],
    ],
    ids=["from the end", "table[places]", "clamp", "mask", "positions"],
)
def test_what_pytorch_takes_is_computed_as_before(make_spec, pick, unfit):
    """Advanced indexing counts from the end, and what is never negative needs no guard."""
    spec = make_spec(Places(pick), **FEW)
    model = export_graph(Original(spec), unfit).model
    assert not _guards(model)
    expected = Original(spec).run(NEGATIVE)["y"]
    np.testing.assert_array_equal(Runtime(model.SerializeToString()).run(NEGATIVE)["y"], expected)


def test_ids_that_the_server_checks_have_no_guard(make_spec):
    """The server refuses negative ids before they reach the graph, so the graph needs no guard."""
    ids = torch.arange(15).reshape(3, 5)
    shifted = Places(lambda e, places, x: e(x - 1 + 1))
    columns = Places(lambda e, places, x: e(x[:, :2]))
    for module, ranges in ((shifted, {}), (columns, {"x": (0, 9)})):
        spec = make_spec(module, inputs={"x": ids % 10}, ranges=ranges)
        assert not _guards(export_graph(Original(spec)).model)
    assert _guards(export_graph(Original(make_spec(columns, inputs={"x": ids % 10}))).model)


def _guards(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.output[0].endswith("_place")]
