"""nn.RNN by the newer exporter: one ONNX RNN for each layer, of any length."""

import numpy as np
import onnx
import onnxruntime
import pytest

from export import ExportError, publish

torch = pytest.importorskip("torch")

SERIES = {"inputs": {"x": torch.linspace(-1, 1, 108).reshape(3, 9, 4)}, "dynamic": {"x": {0: "batch", 1: "time"}}}


class Recurrent(torch.nn.Module):
    def __init__(self, before=lambda x: x, **options):
        super().__init__()
        self.rnn = torch.nn.RNN(4, 3, **options)
        self.before = before

    def forward(self, x):
        x = self.before(x)
        if not self.rnn.batch_first:
            return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)
        return self.rnn(x)[0]


def test_branch_before_an_rnn_is_refused_as_any_other(make_spec, store):
    """The message names the line; the older exporter, which would fix the branch, is not used."""
    module = Recurrent(lambda x: x / 10 if x.abs().max() > 10 else x, batch_first=True)
    with pytest.raises(ExportError, match=r"step 1/3 in .*test_recurrence.py, line \d+ .*torch.where or torch.cond"):
        publish(make_spec(module, **SERIES), store)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_first": True},
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "nonlinearity": "relu"},
        {"num_layers": 2, "bias": False},
    ],
    ids=["plain", "both ways", "time first"],
)
def test_rnn_is_one_operator_for_each_layer_and_takes_any_length(make_spec, store, options):
    """The graph is right at lengths that parity did not use."""
    torch.manual_seed(0)
    module = Recurrent(**options)
    version = publish(make_spec(module, **SERIES), store)
    manifest = version.read_manifest()
    content = version.read(manifest, "main.onnx")
    operators = [node.op_type for node in onnx.load_model_from_string(content).graph.node]
    assert operators.count("RNN") == options.get("num_layers", 1)
    assert manifest.provenance.exporter.startswith("torch.onnx dynamo")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x = torch.randn(4, 33, 4)
    with torch.no_grad():
        expected = module(x).numpy()
    assert np.allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-5)
