"""Sizes of free axes: both ends are tried, and the manifest holds the range."""

import pytest

from export import DependentRows, ParityError, SpecError, publish
from export.spec import BATCHES
from model_store.graph import AxisRange
from tests.support.inferring import infer
from tests.support.servers import Serving, settings_for

torch = pytest.importorskip("torch")

TIME = {"dynamic": {"x": {0: "batch", 1: "time"}}}


def series(length=9):
    return {"x": torch.linspace(-2, 2, 3 * length * 4).reshape(3, length, 4)}


def decide(test):
    return lambda linear, x: linear(x) * (2 if test(x) else 1)


@pytest.mark.parametrize(
    ("test", "error", "complaint"),
    [
        (lambda x: x.shape[1] == 37, ParityError, r"where \(time != 37\) does not hold, for example at time=37"),
        (lambda x: x.shape[0] * x.shape[1] > 500, ParityError, r"batch\*time <= 500"),
        (lambda x: x.shape[0] > 40, DependentRows, "batches of 41 rows"),
    ],
    ids=["one size", "both axes", "batch"],
)
def test_branch_that_no_range_describes_is_refused(make_module, make_spec, store, test, error, complaint):
    """torch.export noted the decision, and a size on its other side is tried."""
    with pytest.raises(error, match=complaint):
        publish(make_spec(make_module(decide(test)), inputs=series(), **TIME), store)
    assert store.names() == []


def test_what_is_asked_for_and_not_right_is_refused(make_module, make_spec, store):
    """Bounds and lengths of the spec beyond a branch of forward are an error, not a smaller range."""
    module = make_module(decide(lambda x: x.shape[1] > 16))
    for asked in ({"bounds": {"time": (1, 32)}}, {"lengths": ({"time": 5}, {"time": 20})}):
        with pytest.raises(SpecError, match=r"ask for time = (32|20),.*up to 16"):
            publish(make_spec(module, inputs=series(), **TIME, **asked), store)
    first = make_spec(make_module(decide(lambda x: x.shape[1] == 1)), inputs=series(), bounds={"time": (1, 16)}, **TIME)
    with pytest.raises(ParityError, match=r"disagrees with PyTorch at .*time=1;"):
        publish(first, store)


@pytest.mark.parametrize(
    ("body", "fields", "expected"),
    [
        (decide(lambda x: x.shape[1] > 16), {}, AxisRange(least=1, largest=16)),
        (decide(lambda x: x.shape[1] == 1), {}, AxisRange(least=2)),
        (decide(lambda x: x.shape[1] % 3 == 0), {}, AxisRange(least=3, multiple_of=3)),
        (lambda linear, x: linear(x).unfold(1, 4, 1).sum(3), {}, AxisRange(least=4)),
        (lambda linear, x: linear(x) + torch.arange(12.0)[: x.shape[1], None], {}, AxisRange(least=1, largest=12)),
        (lambda linear, x: linear(x) * max(x.shape[1], 16), {}, None),
        (lambda linear, x: linear(x), {"bounds": {"time": (2, 10)}}, AxisRange(least=2, largest=10)),
    ],
    ids=["branch", "single step", "multiple", "window", "table", "symbolic", "asked for"],
)
def test_sizes_that_the_graph_is_right_for_are_in_the_manifest(make_module, make_spec, store, body, fields, expected):
    """The range comes from torch.export, from what PyTorch accepts and from the spec; size 1 is tried too."""
    steps = []
    spec = make_spec(make_module(body), inputs=series(), **TIME, **fields)
    manifest = publish(spec, store, steps.append).read_manifest()
    assert manifest.graphs["main"].axis_ranges == ({} if expected is None else {"time": expected})
    single = "published for time of 2 or more"
    assert any(single in step for step in steps) == (expected == AxisRange(least=2) and not fields)


def test_sizes_that_the_spec_makes_no_inputs_for_are_not_tried(make_module, make_spec, store):
    """An error of ``random_inputs`` at a size is not a failure of the export."""

    def draw(sizes, seed):
        assert sizes["time"] >= 3, "series have three values at least"
        generator = torch.Generator().manual_seed(seed)
        return {"x": torch.rand(sizes["batch"], sizes["time"], 4, generator=generator)}

    manifest = publish(make_spec(make_module(), inputs=series(), random_inputs=draw, **TIME), store).read_manifest()
    assert manifest.graphs["main"].axis_ranges == {"time": AxisRange(least=3)}


@pytest.mark.parametrize("most", [7, 500])
def test_rows_that_a_program_is_exported_for_are_the_most_of_a_batch(make_module, make_spec, store, most):
    """The rows are independent, so the server may cut larger requests into batches."""
    x = torch.linspace(-2, 2, 12).reshape(3, 4)
    rows = torch.export.Dim("batch", max=most)
    program = torch.export.export(make_module(), (x,), dynamic_shapes=({0: rows},))
    manifest = publish(make_spec(program, batches=BATCHES), store).read_manifest()
    assert manifest.graphs["main"].max_rows == most
    assert max(case.rows for case in manifest.parity.rungs) == min(most, BATCHES[-1])
    with Serving(settings_for(store.root)) as server, server.client() as client:
        given = torch.linspace(-2, 2, 4 * most + 4).reshape(-1, 4)
        got = infer(client, "tiny", {"x": given.numpy()})
    assert torch.allclose(torch.from_numpy(got["y"].copy()), make_module()(given), atol=1e-5)
