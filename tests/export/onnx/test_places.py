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

X = torch.linspace(0, 0.99, 15).reshape(3, 5)
NEGATIVE = {"x": np.full((2, 5), -0.3, np.float32)}


class Places(torch.nn.Module):
    """Rows of a table [10, 4], picked by numbers of ``x`` that are multiplied by ten. Each pick is an output."""

    def __init__(self, *picks):
        super().__init__()
        self.e, self.picks = torch.nn.Embedding(10, 4), picks

    def forward(self, x):
        return tuple(pick(self.e, (x * 10).long(), x) for pick in self.picks)


PICKS = {
    "embedding": lambda e, places, x: e(places),
    "select": lambda e, places, x: e.weight.index_select(0, places.flatten()).view(-1, 20),
    "gather": lambda e, places, x: e.weight[:, 0].expand(x.shape[0], 10).gather(1, places),
    "scatter": lambda e, places, x: x.repeat(1, 2).scatter(1, places, 1.0),
}


@pytest.mark.parametrize("unfit", [None, "for this test"], ids=["dynamo", "torchscript"])
def test_negative_place_that_pytorch_refuses_is_refused(make_spec, unfit):
    """The places are computed from floats, so no range of an input can exclude negative ones."""
    spec = make_spec(Places(*PICKS.values()), inputs={"x": X}, outputs=tuple(PICKS))
    extractor = onnx.utils.Extractor(export_graph(Original(spec), unfit).model)
    for name, pick in PICKS.items():
        with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
            Places(pick)(torch.from_numpy(NEGATIVE["x"]))
        with pytest.raises(ExportError, match=r"out of data bounds|[Oo]ut of range"):
            Runtime(extractor.extract_model(["x"], [name]).SerializeToString()).run(NEGATIVE)


@pytest.mark.parametrize(
    ("pick", "x"),
    [
        (PICKS["embedding"], X),
        (lambda e, places, x: e(x[:, :2] // 3 + x[:, 2:4] // 5), torch.arange(15).reshape(3, 5)),
    ],
    ids=["floats", "integers"],
)
def test_rows_of_a_guarded_graph_are_proved_by_their_analysis(make_spec, store, pick, x):
    """The graph is published, and its rows still share a batch."""
    spec = make_spec(Places(pick), inputs={"x": x})
    rows = publish(spec, store).read_manifest().graphs["main"].rows
    assert rows.verdict == "proved"
    assert rows != PROVED_BY_EXPORT


TAKEN = {
    "from_the_end": lambda e, places, x: x[:, -1:] + x.shape[-1] + x[..., -2].flip(0)[:, None],
    "of_the_table": lambda e, places, x: e.weight[places],
    "clamp": lambda e, places, x: e(places.clamp(0, 9)),
    "mask": lambda e, places, x: e((x > 0).long() + 3),
    "positions": lambda e, places, x: e(torch.arange(x.shape[1])) + x[..., None],
}


@pytest.mark.parametrize("unfit", [None, "for this test"], ids=["dynamo", "torchscript"])
def test_what_pytorch_takes_is_computed_as_before(make_spec, unfit):
    """Advanced indexing counts from the end, and what is never negative needs no guard."""
    spec = make_spec(Places(*TAKEN.values()), inputs={"x": X}, outputs=tuple(TAKEN))
    model = export_graph(Original(spec), unfit).model
    assert not _guards(model)
    got = Runtime(model.SerializeToString()).run(NEGATIVE)
    for name, expected in Original(spec).run(NEGATIVE).items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)


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
