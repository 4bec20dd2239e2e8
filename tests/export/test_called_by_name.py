"""How names in a spec belong to arguments, axes and outputs."""

import numpy as np
import pytest

from export import ExportError, SpecError, publish
from export.original import Original

torch = pytest.importorskip("torch")


def test_returned_key_may_have_another_name(make_spec) -> None:
    """``output_keys`` renames a key that is an input's name too; an input of None is passed as None."""

    def double(state, pair=None):
        return {"state": state * 2, "pair": pair}

    fields = {"outputs": ("next_state",), "output_keys": {"next_state": "state"}}
    original = Original(make_spec(double, inputs={"state": torch.rand(3, 4), "pair": None}, **fields))
    given = np.ones((2, 4), np.float32)
    assert {name: array.tolist() for name, array in original.run({"state": given}).items()} == {
        "next_state": (2 * given).tolist()
    }


def test_samples_of_one_tensor_are_two_inputs(make_module, make_spec, store) -> None:
    """Two inputs that share a tensor stay two inputs of the graph."""
    shared = torch.randn(3, 4)
    module = make_module(lambda linear, x, y: linear(x) - 2 * linear(y), inputs=2)
    manifest = publish(make_spec(module, inputs={"x": shared, "y": shared}, outputs=("p",)), store).verify()
    assert [tensor.name for tensor in manifest.graphs["main"].inputs] == ["x", "y"]


def test_example_of_one_row_or_of_two_equal_sizes_gets_more_rows(make_spec) -> None:
    """Rows are repeated in the spec's copy, so no exporter takes the batch for a constant or another axis."""
    assert make_spec(inputs={"x": torch.randn(1, 4)}).example_sizes == {"batch": 2}
    spec = make_spec(inputs={"x": torch.randn(4, 4)}, dynamic={"x": {0: "batch", 1: "width"}})
    assert spec.example_sizes == {"batch": 5, "width": 4}


def test_rows_of_an_input_that_dynamic_leaves_out_are_suspected(make_module, make_spec, store) -> None:
    """That input fixes the number of rows of all others, so the message names it."""
    module = make_module(lambda linear, x, y: linear(x) * y, inputs=2)
    inputs = {"x": torch.randn(3, 4), "y": torch.randn(3, 1)}
    with pytest.raises(ExportError, match=r"dynamic names no axis of y: name the batch there too"):
        publish(make_spec(module, inputs=inputs, outputs=("p",), dynamic={"x": {0: "batch"}}), store)


@pytest.mark.long
def test_input_that_only_kwargs_takes_and_nothing_uses_is_refused(make_spec, store) -> None:
    """``forward(x, mask=None, **kwargs)`` would swallow a misspelt name."""

    def swallow(x, mask=None, **kwargs):
        return x if mask is None else x * mask

    spec = make_spec(swallow, inputs={"x": torch.randn(3, 4), "msk": torch.randn(3, 4)})
    with pytest.raises(SpecError, match=r"forward takes \(x, mask, kwargs\), but does not use 'msk'"):
        publish(spec, store)
    assert store.names() == []


def test_what_is_fixed_and_what_is_not_batched_is_noted(make_module, make_spec, publish_noting) -> None:
    """Notes name constant inputs, and free axes of which none is the batch."""
    module = make_module(lambda linear, x, y: linear(x) * y, inputs=2)
    spec = make_spec(module, inputs={"x": torch.randn(3, 4), "y": 2.0}, outputs=("p",), dynamic={"x": {0: "rows"}})
    assert publish_noting(spec)[1] == [
        "note: forward is always called with y=2.0",
        "note: no axis is called 'batch', so requests run one at a time",
    ]


@pytest.mark.parametrize(
    "dynamic",
    [
        {"x": {"a": {0: "batch"}, "b": [{1: "batch"}, None]}},
        {"x.a": {0: "batch"}, "x.b.0": {1: "batch"}},
        {"x": {"a": {0: "batch"}}, "x.b": {1: "batch"}},
    ],
    ids=["nested", "flat", "of a group"],
)
def test_axes_are_named_nested_or_flat(make_spec, dynamic) -> None:
    """Axes are given for one tensor, nested as the inputs are, or for a whole group."""
    inputs = {"x": {"a": torch.randn(3, 4), "b": [torch.randn(5, 3), torch.randn(2, 3)]}}
    spec = make_spec(inputs=inputs, dynamic=dynamic)
    of_group = "x.b" in dynamic
    assert spec.batch_axes == {"x.a": 0, "x.b.0": 1} | ({"x.b.1": 1} if of_group else {})
