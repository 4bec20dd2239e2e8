"""Which of torch's exporters makes the graph, and what the user is told."""

import numpy as np
import onnxruntime
import pytest

from export import ExportError, publish

torch = pytest.importorskip("torch")


def break_exporter(linear, x):
    """Splitting along a dynamic axis is valid PyTorch, and more than the newer exporter's optimiser takes."""
    first, second = torch.cat([x, 2 * x]).chunk(2)
    return linear(first) + second[:, :3]


def test_where_both_exporters_fail_both_reasons_are_reported(make_module, make_spec, store, capfd):
    """The message is one line with both reasons, and nothing is printed."""
    with pytest.raises(
        ExportError, match=r"DispatchError.*an operator has no ONNX form.*TorchScript exporter failed too"
    ) as e:
        publish(make_spec(make_module(lambda linear, x: torch.lgamma(linear(x)))), store)
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")
    assert store.names() == []


def test_what_the_other_exporter_would_fix_is_refused_with_its_line(make_module, make_spec, store):
    """A decision by the batch size is refused, even where the newer exporter fails for another reason."""

    def decide(linear, x):
        return break_exporter(linear, x) * (1 if len(x) < 40 else 2)

    with pytest.raises(ExportError, match=r"AttributeError.*test_tracing.py:\d+: forward takes .* a size that is free"):
        publish(make_spec(make_module(decide)), store)
    assert store.names() == []


def test_module_that_breaks_the_newer_exporter_goes_by_the_older_one(make_module, make_spec, publish_noting, capfd):
    """The graph passes the same parity; the manifest and a note say why the older exporter was used."""
    original = make_module(break_exporter)
    spec = make_spec(original)
    version, notes = publish_noting(spec)
    manifest = version.verify()
    assert manifest.provenance.exporter.startswith("torch.onnx torchscript (dynamo: AttributeError")
    assert notes == [f"note: graph main comes from {manifest.provenance.exporter}"]
    assert manifest.graphs["main"].outputs[0].shape[0] == "batch"
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(version.read(manifest, "main.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(7, *spec.inputs["x"].shape[1:])
    with torch.no_grad():
        expected = original(x).numpy()
    assert np.allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-5)


def test_older_exporter_gives_the_same_bytes_twice(make_module, make_spec):
    """Its graph holds no counter or path that changes between exports."""
    from export.onnx.exporter import export_graph
    from export.onnx.weights import serialise
    from export.original import Original

    original = Original(make_spec(make_module(break_exporter)))
    first, second = (serialise(export_graph(original).model).content for _ in range(2))
    assert first == second
    assert b"test_tracing" not in first


def test_input_that_nothing_uses_stays_an_input(make_spec, one_thread):
    """The older exporter drops an unused input; it is put back, because forward takes it."""
    from export.onnx.exporter import export_graph
    from export.original import Original

    class Ignoring(torch.nn.Module):
        def forward(self, ignored, x):
            return 2 * x

    spec = make_spec(
        Ignoring(),
        inputs={"x": torch.randn(2, 9, 4), "ignored": torch.zeros(2, 5, dtype=torch.int64)},
        dynamic={"x": {0: "batch", 1: "time"}, "ignored": {0: "batch"}},
    )
    traced = export_graph(Original(spec), unfit="the newer exporter is not asked")
    assert traced.fell_back
    assert [value.name for value in traced.model.graph.input] == ["x", "ignored"]
    shape = traced.model.graph.input[1].type.tensor_type.shape.dim
    assert (shape[0].dim_param, shape[1].dim_value) == ("batch", 5)
