import logging

import numpy as np
import onnx
import pytest

from export import ExportError
from export.onnx.exporter import export_graph
from export.onnx.weights import serialise
from export.original import Original
from export.runtime import Runtime

torch = pytest.importorskip("torch")


def export(spec):
    return export_graph(Original(spec)).model


def refuse_values(linear, x):
    return linear(x) if x.sum() > 0 else x[:, :3]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (lambda linear, x: linear(x).view(3, 3), "step 1/3.*static shape of 3.*take it from tensor.shape"),
        (refuse_values, "data-dependent.*torch.where or torch.cond"),
        (lambda linear, x: linear(x) + torch.randn(x.shape[0], 3), "random numbers.*RandomNormal.*noise an input"),
    ],
    ids=["fixed batch", "branch on values", "random"],
)
def test_module_that_cannot_be_exported_says_what_to_change(make_module, make_spec, body, complaint):
    """The message is one line with the model, the reason and what to change; the older exporter is not used."""
    with pytest.raises(ExportError, match=f"^tiny: .*{complaint}") as caught:
        export(make_spec(make_module(body)))
    assert not any(text in str(caught.value) for text in ("\n", "\x1b", "TorchScript"))


def test_output_without_rows_is_refused(make_module, make_spec, store):
    """A mean over the batch is one answer for all rows, so no caller could be given theirs."""
    from export import publish

    with pytest.raises(ExportError, match=r"output 'y' of shape \(3,\) has no row for each row of the input"):
        publish(make_spec(make_module(lambda linear, x: linear(x).mean(0))), store)
    assert store.names() == []


def test_export_is_the_same_bytes_twice(make_spec):
    """Two exports of one module have the same digest, and the same name of the batch axis in inputs and outputs."""
    spec = make_spec()
    model = export(spec)
    assert serialise(model) == serialise(export(spec))
    tensors = (*model.graph.input, *model.graph.output)
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in tensors] == ["batch", "batch"]


def test_file_holds_no_trace_of_the_machine(make_module, make_spec):
    """Source paths and lines of code are removed from every node, at every depth of the graph."""

    def branch(linear, x):
        return torch.cond(x.sum() > 0, lambda v: linear(v) * 2, lambda v: linear(v).relu() + 1, (x,))

    model = export(make_spec(make_module(branch)))
    content = serialise(model).content
    graphs = [a.g for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    assert len(graphs) == 2
    for graph in (model.graph, *graphs):
        assert not graph.value_info
        assert all(not node.metadata_props and not node.doc_string for node in graph.node)
    for trace in (__file__, "site-packages", "def branch", "pkg.torch", "test_exporter", "/home", "/root"):
        assert trace.encode() not in content


def test_export_prints_warns_and_logs_nothing(make_spec, capfd, caplog):
    """The exporter's output is hidden, and the logging level is restored."""
    logging.disable(logging.INFO)
    try:
        export(make_spec())
        assert logging.root.manager.disable == logging.INFO
    finally:
        logging.disable(logging.NOTSET)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lambda linear, x: x.reshape(len(x), x.shape[2], x.shape[1]), None),
        (
            lambda linear, x: x if x.shape[1] == x.shape[2] else x[:, :1],
            r"axis 2 \(w\) of input 'x' was exported as 'h'",
        ),
    ],
    ids=["free", "made one"],
)
def test_two_free_axes_may_be_equal_in_the_example(make_module, make_spec, body, error):
    """They stay two axes, or the message says that forward made them one."""
    fields = {"inputs": {"x": torch.randn(3, 6, 6)}, "dynamic": {"x": {0: "batch", 1: "h", 2: "w"}}}
    spec = make_spec(make_module(body), **fields)
    if error is None:
        [output] = export(spec).graph.output
        assert [axis.dim_param for axis in output.type.tensor_type.shape.dim] == ["batch", "w", "h"]
    else:
        with pytest.raises(ExportError, match=error):
            export(spec)


class Passing(torch.nn.Module):
    """An input and one tensor twice come back."""

    def __init__(self):
        super().__init__()
        self.y, self.linear = torch.nn.Parameter(torch.randn(4)), torch.nn.Linear(4, 4)
        self.register_buffer("z", torch.randn(4))

    def forward(self, x):
        first = self.linear(x) * self.y + self.z
        return first, first, x, self.linear(first)


def test_outputs_may_have_the_names_of_weights_and_of_tensors_inside(make_spec, one_thread):
    """A weight, a buffer or a tensor inside gets another name, and the newer exporter's graph is kept."""
    module, x = Passing().eval(), torch.randn(6, 4)
    spec = make_spec(module, outputs=("y", "z", "linear", "mul"))
    traced = export_graph(Original(spec))
    got = Runtime(traced.model.SerializeToString()).run({"x": x.numpy()})
    assert not traced.fell_back
    for name, expected in zip(spec.outputs, module(x), strict=True):
        assert np.allclose(got[name], expected.detach().numpy(), atol=1e-5)
