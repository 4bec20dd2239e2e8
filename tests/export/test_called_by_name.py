"""Models as people write them, published without a wrapper, served, and compared with PyTorch called by name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from export import ExportError, ExportSpec, SpecError, publish
from model_store import Store
from model_store.datatypes import BY_DTYPE
from service.settings import Settings
from tests.support.servers import Serving

torch = pytest.importorskip("torch")
Tensors = Mapping[str, Any]


class Encoder(torch.nn.Module):
    """As BERT has them: the mask before the types, both optional, and a dictionary comes back."""

    def __init__(self):
        super().__init__()
        self.words, self.types = torch.nn.Embedding(50, 8), torch.nn.Embedding(2, 8)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, *, scale=None):
        hidden = self.words(input_ids)
        if token_type_ids is not None:
            hidden = hidden + self.types(token_type_ids)
        if attention_mask is not None:
            hidden = hidden * attention_mask[..., None]
        return {"last": hidden[:, 0] if scale is None else hidden[:, 0] * scale, "pooled": hidden.mean(1), "all": None}


@dataclass
class Result:
    state: Any
    parts: Any
    attention: Any = None


class Nested(torch.nn.Module):
    """Dictionaries and tuples on both sides; its state has one name on both."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, batch, state, pair=None):
        hidden = self.linear(batch["image"]) * batch["more"][0]
        return Result(state=state + hidden, parts={"hidden": hidden, "pair": None if pair is None else pair[1]})


class TimeFirst(torch.nn.Module):
    """x [time, batch, 3], states [layers, batch, 4] -> y [time, batch, 4], states."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(3, 4, 2)

    def forward(self, x, h):
        return self.gru(x, h)


class Table(torch.nn.Module):
    """Each row looks its ids up in a table of any size, which all rows share, as they share the scale."""

    def forward(self, ids, table, scale):
        return table[ids].sum(1) * scale


class Passing(torch.nn.Module):
    """An input and one tensor twice come back; outputs are called as a weight, a buffer and a tensor inside."""

    def __init__(self):
        super().__init__()
        self.y, self.linear = torch.nn.Parameter(torch.randn(4)), torch.nn.Linear(4, 4)
        self.register_buffer("z", torch.randn(4))

    def forward(self, x):
        first = self.linear(x) * self.y + self.z
        return first, first, x, self.linear(first)


def ids(*shape: int) -> Any:
    return torch.randint(0, 50, shape)


def bits(*shape: int) -> Any:
    return torch.randint(0, 2, shape)


TOKENS = {0: "batch", 1: "time"}
ENCODER = {"outputs": ("pooled", "last")}
CASES: dict[str, tuple[type, dict[str, Any], list[Tensors], Callable[..., Tensors]]] = {
    "parameters in another order": (
        Encoder,
        ENCODER
        | {"inputs": {"input_ids": ids(3, 9), "token_type_ids": bits(3, 9), "attention_mask": bits(3, 9)}}
        | {"dynamic": dict.fromkeys(("input_ids", "token_type_ids", "attention_mask"), TOKENS)},
        [{"input_ids": ids(4, 6), "attention_mask": bits(4, 6), "token_type_ids": bits(4, 6)}],
        lambda model, given: model(**given),
    ),
    "a parameter skipped, one by keyword only": (
        Encoder,
        ENCODER
        | {"inputs": {"scale": torch.rand(3, 1), "token_type_ids": bits(3, 9), "input_ids": ids(3, 9)}}
        | {"dynamic": {"input_ids": TOKENS, "token_type_ids": TOKENS, "scale": {0: "batch"}}},
        [{"input_ids": ids(4, 6), "token_type_ids": bits(4, 6), "scale": torch.rand(4, 1)}],
        lambda model, given: model(**given),
    ),
    "nested": (
        Nested,
        {
            "inputs": {
                "state": torch.randn(3, 3),
                "pair": None,
                "batch": {"more": [torch.randn(3, 1)], "image": torch.randn(3, 4)},
            },
            "outputs": ("hidden", "next_state"),
            "output_keys": {"next_state": "state"},
        },
        [{"batch.image": torch.randn(4, 4), "batch.more.0": torch.randn(4, 1), "state": torch.randn(4, 3)}],
        lambda model, given: (
            (result := model({"image": given["batch.image"], "more": [given["batch.more.0"]]}, given["state"])),
            {"hidden": result.parts["hidden"], "next_state": result.state},
        )[1],
    ),
    "rows on other axes": (
        TimeFirst,
        {
            "inputs": {"x": torch.randn(6, 4, 3), "h": torch.randn(2, 4, 4)},
            "outputs": ("y", "n"),
            "dynamic": {"x": {0: "time", 1: "batch"}, "h": {1: "batch"}},
        },
        [{"x": torch.randn(time, rows, 3), "h": torch.randn(2, rows, 4)} for time, rows in ((2, 7), (8, 1))],
        lambda model, given: dict(zip(("y", "n"), model(**given), strict=True)),
    ),
    "a table and a scalar that all rows share": (
        Table,
        {
            "inputs": {"ids": torch.randint(0, 6, (3, 4)), "table": torch.randn(6, 5), "scale": torch.tensor(0.7)},
            "dynamic": {"ids": {0: "batch", 1: "time"}, "table": {0: "entries"}},
        },
        [
            {"ids": torch.randint(0, 6, (rows, 3)), "table": torch.randn(size, 5), "scale": torch.tensor(scale)}
            for rows, size, scale in ((5, 9, 3.0), (2, 11, -1.0))
        ],
        lambda model, given: {"y": model(**given)},
    ),
    "tensors that come back": (
        Passing,
        {"inputs": {"x": torch.randn(1, 4)}, "outputs": ("y", "z", "linear", "mul")},
        [{"x": torch.randn(6, 4)}],
        lambda model, given: dict(zip(("y", "z", "linear", "mul"), model(**given), strict=True)),
    ),
}


@contextmanager
def serve(store: Store, name: str) -> Iterator[Callable[[Tensors], dict[str, np.ndarray]]]:
    with Serving(Settings(store=store.root)) as server:

        def ask(given: Tensors) -> dict[str, np.ndarray]:
            arrays = {key: tensor.numpy() for key, tensor in given.items()}
            inputs = [
                {"name": key, "datatype": BY_DTYPE[a.dtype].name, "shape": list(a.shape), "data": a.ravel().tolist()}
                for key, a in arrays.items()
            ]
            answer = httpx.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": inputs})
            assert answer.status_code == 200, answer.text
            return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]}

        yield ask


@pytest.mark.parametrize("case", CASES)
def test_model_is_served_as_it_is_called(store: Store, one_thread: None, case: str) -> None:
    """At sizes that parity did not use, each output has the numbers that PyTorch gives under that name."""
    make, fields, requests, call = CASES[case]
    model = make().eval()
    spec = ExportSpec(
        **{"name": "model", "task": "tensors", "module": model, "outputs": ("y",), "seeds": (0,), "batches": (1, 2, 5)}
        | fields
    )
    publish(spec, store)
    with serve(store, "model") as ask:
        for given in requests:
            got = ask(given)
            with torch.no_grad():
                expected = call(model, given)
            assert set(got) == set(spec.outputs)
            for name, array in got.items():
                assert array.shape == tuple(expected[name].shape)
                assert np.allclose(array, expected[name].numpy(), atol=1e-5)


def test_samples_of_one_tensor_are_two_inputs(make_module, make_spec, store) -> None:
    """A tensor that two inputs share, or whose parts they are, would be one input to the exporter."""
    shared = torch.randn(3, 4)
    module = make_module(lambda linear, x, y: linear(x) - 2 * linear(y), inputs=2)
    manifest = publish(make_spec(module, inputs={"x": shared, "y": shared}, outputs=("p",)), store).verify()
    assert [tensor.name for tensor in manifest.graphs["main"].inputs] == ["x", "y"]


def test_example_of_one_row_or_of_two_equal_sizes_gets_more_rows(make_spec) -> None:
    """No exporter can take the batch for a constant or for another axis: rows are repeated in the spec's copy."""
    assert make_spec(inputs={"x": torch.randn(1, 4)}).example_sizes == {"batch": 2}
    spec = make_spec(inputs={"x": torch.randn(4, 4)}, dynamic={"x": {0: "batch", 1: "width"}})
    assert spec.example_sizes == {"batch": 5, "width": 4}


def test_rows_of_an_input_that_dynamic_leaves_out_are_suspected(make_module, make_spec, store) -> None:
    """It fixes the number of rows of all others: the text names it beside what the exporter says."""
    module = make_module(lambda linear, x, y: linear(x) * y, inputs=2)
    inputs = {"x": torch.randn(3, 4), "y": torch.randn(3, 1)}
    with pytest.raises(ExportError, match=r"dynamic names no axis of y: name the batch there too"):
        publish(make_spec(module, inputs=inputs, outputs=("p",), dynamic={"x": {0: "batch"}}), store)


def test_input_that_only_kwargs_takes_and_nothing_uses_is_refused(make_spec, store) -> None:
    """``forward(x, mask=None, **kwargs)`` swallows a misspelt name: what comes out would be of another model."""

    class Swallowing(torch.nn.Module):
        def forward(self, x, mask=None, **kwargs):
            return x if mask is None else x * mask

    spec = make_spec(Swallowing(), inputs={"x": torch.randn(3, 4), "msk": torch.randn(3, 4)})
    with pytest.raises(SpecError, match=r"forward takes \(x, mask, kwargs\), and does nothing with 'msk'"):
        publish(spec, store)
    assert store.names() == []


def test_what_is_fixed_and_what_is_not_batched_is_noted(make_module, make_spec, store) -> None:
    """Constants among the inputs, and free axes of which none is the batch, are told beside the steps."""
    notes: list[str] = []
    module = make_module(lambda linear, x, y: linear(x) * y, inputs=2)
    spec = make_spec(module, inputs={"x": torch.randn(3, 4), "y": 2.0}, outputs=("p",), dynamic={"x": {0: "rows"}})
    publish(spec, store, lambda step: notes.append(step) if step.startswith("note") else None)
    assert notes == [
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
    """A tensor of its own, as the inputs are nested, or a whole group at once."""
    inputs = {"x": {"a": torch.randn(3, 4), "b": [torch.randn(5, 3), torch.randn(2, 3)]}}
    spec = make_spec(inputs=inputs, dynamic=dynamic)
    of_group = "x.b" in dynamic
    assert spec.batch_axes == {"x.a": 0, "x.b.0": 1} | ({"x.b.1": 1} if of_group else {})
