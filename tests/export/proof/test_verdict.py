"""What a manifest says about the rows of an exported graph."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from export import DependentRows, ExportSpec, publish
from export.onnx.weights import Files
from model_store import Store
from model_store.graph import AxisRange, Graph, Tensor
from model_store.graphs.analyst import Analyst
from model_store.rows import Analysis
from model_store.tasks import Carry, Loop

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")

from export.proof import verdict  # noqa: E402  # needs torch

Make = Callable[..., Any]


def rarely_mixing(linear: Any, x: Any) -> Any:
    """The largest number of the batch counts, but only where it is above a million: no random row is."""
    return linear(x) + torch.relu(x.amax() - 1e6)


def test_graph_that_mixes_shares_no_batches_though_no_trial_shows_it(
    make_module: Make, make_spec: Make, store: Store
) -> None:
    """A note names the node that the analysis found, and the option that overrides it."""
    notes: list[str] = []
    rows = rows_of(publish(make_spec(make_module(rarely_mixing)), store, notes.append))
    assert rows.verdict == "mixing"
    [note] = [note for note in notes if "run alone" in note]
    assert re.search(r"graph main: each request will run alone.*ReduceMax '.*proved_by_trial=True", note)


def test_graph_that_mixes_is_refused_where_rows_share_the_steps_of_a_loop(
    make_module: Make, make_spec: Make, store: Store
) -> None:
    """In a loop a row never runs alone."""
    loop = Loop(carries=(Carry(input="x", output="y"),), max_steps=3)
    module = make_module(lambda linear, x: x + torch.relu(x.amax() - 1e6))
    with pytest.raises(DependentRows, match=r"no trial showed it: ReduceMax '"):
        publish(make_spec(module, loop=loop), store)
    assert store.names() == []


def test_trial_is_believed_where_the_spec_says_so(make_module: Make, make_spec: Make, store: Store) -> None:
    """The version is published, and its manifest says what proves it and what speaks against it."""
    rows = rows_of(publish(make_spec(make_module(rarely_mixing), proved_by_trial=True), store))
    assert rows.verdict == "proved"
    assert rows.reason.startswith("by its export, against the PyTorch original, although by its analysis ReduceMax '")


def test_graph_is_proved_by_its_operators(make_spec: Make, store: Store) -> None:
    """The reason is the analysis where it understands every operator."""
    rows = rows_of(publish(make_spec(), store))
    assert rows.verdict == "proved"
    assert rows.reason.endswith("keeps rows apart")


def test_graph_that_is_not_understood_is_proved_by_its_export(make_module: Make, make_spec: Make, store: Store) -> None:
    """Where the analysis does not know, the comparison with the original counts."""

    def chosen(linear: Any, x: Any) -> Any:
        return torch.where(torch.arange(x.shape[0])[:, None] >= 0, linear(x), x[:, :3])

    rows = rows_of(publish(make_spec(make_module(chosen)), store))
    assert (rows.verdict, rows.reason) == ("proved", "by its export, against the PyTorch original")


def test_model_of_fixed_batch_has_no_proved_rows(make_spec: Make, store: Store) -> None:
    """Without a batch axis nothing is called proved."""
    rows = rows_of(publish(make_spec(dynamic={}, inputs={"x": torch.linspace(-2, 2, 4)[None]}), store))
    assert (rows.verdict, rows.reason) == ("unknown", "it was published without a batch")


def rows_of(version: Any) -> Any:
    return version.read_manifest().graphs["main"].rows


class Found(Analyst):
    """Finds what it was told."""

    def __init__(self, found: Analysis) -> None:
        super().__init__()
        self._found = found

    def analyse(self, *_: Any) -> Analysis:
        return self._found


@pytest.mark.parametrize(
    ("found", "reason", "ranges"),
    [
        (
            Analysis("proved", "r", {"x": 0, "y": 0}, {"time": 4}, bounds={"time": 9}),
            "r",
            {"time": AxisRange(largest=9)},
        ),
        (Analysis("proved", "r", {"x": 0, "y": 0}, {"time": 4}, only_sizes=True), "by its export", {}),
        (Analysis("proved", "r", {"x": 1, "y": 1}, {"batch": 4}), "by its export", {}),
        (Analysis("mixing", "r", {"x": 1}, {"batch": 4}), "by its export", {}),
        (
            Analysis("unknown", "r", {"x": 0}, least={"time": 2, "else": 3}),
            "by its export",
            {"time": AxisRange(least=2)},
        ),
        (Analysis("unknown", "r", bounds={"time": 8}), "by its export", {}),
    ],
    ids=["proved", "one size", "other axis", "mixing along another axis", "least", "bound that parity went beyond"],
)
def test_what_the_analysis_finds_becomes_verdict_and_ranges(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch, found: Analysis, reason: str, ranges: dict[str, AxisRange]
) -> None:
    """Its proof counts for the graph's own batch axis and all sizes; its bounds unless parity went beyond them."""
    tensors = {
        name: (Tensor(name=name, datatype="FP32", shape=("batch", "time", 4), batch_axis=0),) for name in ("x", "y")
    }
    graph = Graph(file="main.onnx", inputs=tensors["x"], outputs=tensors["y"])
    spec: ExportSpec = make_spec(inputs={"x": torch.rand(2, 4, 4)}, dynamic={"x": {0: "batch", 1: "time"}})
    monkeypatch.setattr(verdict, "analyst", Found(found))
    judged = verdict.judge_rows(spec, graph, Files(b""))
    assert judged.rows is not None
    assert judged.rows.verdict == "proved"
    assert judged.rows.reason.startswith(reason)
    assert judged.axis_ranges == ranges
