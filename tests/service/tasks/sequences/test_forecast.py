"""Forecasts, at once and rolled out, on real graphs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.loop.noise import draw_normal
from service.errors import InvalidInput, ModelFailure
from service.protocol.json import render_json
from service.tasks.sequences import sequence
from service.tasks.work import Limits
from tests.support import driving
from tests.support.models.sequences import (
    LIMITS,
    Model,
    monthly_forecaster,
    rolling_forecaster,
    sliding_forecaster,
    summing_forecaster,
)


def ask(model: Model, rows: Any, *, limits: Limits = LIMITS, **more: Any) -> list[dict[str, Any]]:
    predictions: list[dict[str, Any]] = driving.ask(sequence, model, rows, limits=limits, **more).body["predictions"]
    return predictions


def means(predictions: list[dict[str, Any]]) -> list[list[float]]:
    return [prediction["mean"].tolist() for prediction in predictions]


def as_bytes(prediction: dict[str, Any]) -> bytes:
    return render_json(prediction)


ROLLING, MONTHLY, SUMMING = rolling_forecaster(), monthly_forecaster(), summing_forecaster()
WHOLE = "model 'm' cannot go on from a state; send whole series"
STATE = "the text of an earlier answer, unchanged"
FORM = "an array of numbers or an object with values and perhaps state"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([], "inputs[1]: expected 2 to 50 values, got 0"),
        ([1], "inputs[1]: expected 2 to 50 values, got 1"),
        ([1] * 51, "inputs[1]: expected 2 to 50 values, got 51"),
        ([1, float("nan"), 3], "inputs[1]: expected finite numbers, got nan at position 1"),
        ([1, 2, float("-inf")], "inputs[1]: expected finite numbers, got -inf at position 2"),
        ([1, 1e300], "inputs[1]: expected FP32, got 1e+300, which is too large for it"),
        ([1, None], "inputs[1]: expected FP32, got null"),
        ([1, "2"], "inputs[1]: expected FP32, got '2'"),
        ([1, True], "inputs[1]: expected FP32, got a boolean"),
        ([[1], [2]], "inputs[1]: expected shape [time], got [2, 1]"),
        ("12", f"inputs[1]: expected {FORM}, got a string"),
        (None, f"inputs[1]: expected {FORM}, got null"),
        ({"value": [1, 2]}, f"inputs[1]: expected {FORM}, got an object with value"),
        ({"values": [1, 2], "history": [1, 2]}, f"inputs[1]: expected {FORM}, got an object with values, history"),
        ({"values": 3}, "inputs[1].values: expected 2 to 50 values, got a number"),
        ({"history": [1, float("inf")]}, "inputs[1].history: expected finite numbers, got inf at position 1"),
        ({"values": [], "state": "AAAA"}, f"inputs[1].state: expected {STATE}, got another"),
        ({"values": [1, 2], "state": None}, f"inputs[1].state: expected {STATE}, got another"),
    ],
)
def test_faulty_series_is_named(row: Any, complaint: str) -> None:
    """The text names the series at fault, the position in it, what was expected and what came; nothing runs."""
    ROLLING.runs.clear()
    with pytest.raises(InvalidInput) as caught:
        ask(ROLLING, [[1, 2], row])
    assert str(caught.value) == complaint
    assert not ROLLING.runs


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([1, 2], "inputs[0]: expected an object with values, month, got a series alone"),
        ({"history": [1, 2]}, "inputs[0]: expected an object with values, month, got an object with history"),
        ({"history": [1, 2], "month": 11.5}, "inputs[0].month: expected INT64, got 11.5"),
        ({"history": [1, 2], "month": [1]}, "inputs[0].month: expected shape [], got [1]"),
        ({"values": [1], "month": 1}, "inputs[0].values: expected 2 to 50 values, got 1"),
        ({"values": [1, 2], "month": 1, "state": "AAAA"}, f"inputs[0].state: {WHOLE}"),
    ],
)
def test_faulty_input_beside_the_history_is_named(row: Any, complaint: str) -> None:
    """A model of several inputs wants them all, each of its own type."""
    with pytest.raises(InvalidInput) as caught:
        ask(MONTHLY, [row])
    assert str(caught.value) == complaint


def test_state_of_another_version_is_refused() -> None:
    """A state that version 1 gave is not taken by version 2."""
    (first,) = ask(ROLLING, [[1, 2]], return_state=True)
    other = replace(ROLLING.context, version="2")
    with pytest.raises(InvalidInput, match=r"inputs\[0\].state: expected a state of model 'm' version 2, got one of"):
        ask(ROLLING, [{"values": [1], "state": first["state"]}], context=other)


@pytest.mark.parametrize("model", [ROLLING, SUMMING])
def test_output_that_overflows_is_a_failure_of_the_model(model: Model) -> None:
    """Finite input whose forecast is not finite is answered as a failure, and no such value is streamed."""
    events: list[Any] = []
    with pytest.raises(ModelFailure, match=r"model 'm' gave .* with numbers that are not finite"):
        ask(model, [[3e38, 3e38]], emit=events.append)
    assert not events


def test_forecast_at_once_has_the_quantiles_of_the_model() -> None:
    """The mean is the one nearest to 0.5; all come, or those that are named. ``values`` are a history."""
    row = {"history": [5, 1, 2], "month": 3}
    (whole,), (same,) = ask(MONTHLY, [row]), ask(MONTHLY, [{"values": [5, 1, 2], "month": 3}])
    quantiles = {name: of.tolist() for name, of in whole["quantiles"].items()}
    assert (whole["mean"].tolist(), quantiles) == ([7] * 3, {"0.1": [6] * 3, "0.5": [7] * 3, "0.9": [8] * 3})
    assert as_bytes(whole) == as_bytes(same)
    (part,) = ask(MONTHLY, [row], horizon=2, quantiles=[0.9])
    assert as_bytes(part) == b'{"mean":[7.0,7.0],"quantiles":{"0.9":[8.0,8.0]}}'
    assert ask(MONTHLY, [row], quantiles=[])[0].keys() == {"mean"}
    (low,) = ask(monthly_forecaster(quantiles=(0.01, 0.1, 0.3)), [row])
    assert low["mean"].tolist() == low["quantiles"]["0.3"].tolist() == [8] * 3


series = st.lists(st.integers(-50, 50), min_size=2, max_size=20)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(series, min_size=1, max_size=6))
def test_series_of_any_lengths_keep_their_order(rows: list[list[int]]) -> None:
    """Each series gets the forecast that it has alone, in the order of the request, padded or grouped by length."""
    assert means(ask(SUMMING, rows)) == [[sum(row)] * 2 for row in rows]
    monthly = ask(MONTHLY, [{"values": row, "month": 3} for row in rows])
    assert means(monthly) == [[2 * row[-1] + 3] * 3 for row in rows]


def test_lengths_share_few_runs() -> None:
    """Padded to powers of two, series of nine lengths take three runs; without a length input each takes its own."""
    rows = [[1.0] * count for count in range(8, 17)] + [[1.0] * 50, [2.0] * 40]
    padded, exact = summing_forecaster(), monthly_forecaster()
    assert means(ask(padded, rows)) == [[sum(row)] * 2 for row in rows]
    assert padded.runs == [("main", 1), ("main", 8), ("main", 2)]
    ask(exact, [{"values": row, "month": 0} for row in rows])
    assert len(exact.runs) == 11


def roll(history: list[float], before: float, steps: int) -> list[float]:
    """The centre path of the rolling forecaster, by hand."""
    value, state, path = history[-1], before + sum(history), []
    for _ in range(steps):
        value, state = 0.5 * value + state, state + 1
        path.append(value)
    return path


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(series, min_size=1, max_size=4), horizon=st.integers(1, 20))
def test_loop_feeds_back_what_it_forecast(rows: list[list[int]], horizon: int) -> None:
    """The mean is the path without noise from each series' own start, as many steps as were asked for."""
    expected = [roll([float(value) for value in row], 0, horizon) for row in rows]
    for got, wanted in zip(means(ask(ROLLING, rows, horizon=horizon)), expected, strict=True):
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-4)


def test_loop_without_a_start_graph_begins_with_the_series() -> None:
    """The history is carried where the manifest says so; the horizon is twelve, or as many steps as the model takes."""
    model, events = sliding_forecaster(), []
    found = ask(model, [[1, 2, 3], [4, 5], [1, 1, 1]], horizon=3, emit=events.append)
    assert means(found) == [[6, 12, 23], [9, 15, 26], [3, 6, 12]]
    assert [request.rows for request in model.requests] == [2, 1]
    assert sorted(tuple(event.values()) for event in events if event["step"] == 0) == [(0, 0, 6), (1, 0, 9), (2, 0, 3)]
    assert [len(ask(each, [[1, 2]])[0]["mean"]) for each in (ROLLING, model)] == [12, 10]


def test_series_of_different_lengths_share_one_loop_request() -> None:
    """What they carry has one shape. A model that draws nothing is given no noise."""
    model = rolling_forecaster(with_noise=False)
    found = ask(model, [[1, 2], [1, 2, 3], [1] * 20], horizon=2)
    assert means(found) == [roll([1, 2], 0, 2), roll([1, 2, 3], 0, 2), roll([1] * 20, 0, 2)]
    assert [request.rows for request in model.requests] == [3]


def test_quantiles_are_those_of_the_drawn_paths() -> None:
    """Path p takes the p-th number of each step's draw; the quantiles are taken over the paths of a step."""
    (got,) = ask(ROLLING, [[1, 2]], horizon=3, quantiles=[0.1, 0.9], paths=20, seed=5)
    values, state = np.full(20, 2.0), 3.0
    for step in range(3):
        values, state = 0.5 * values + state + draw_normal(5, 0, step, (20,)), state + 1
        low, high = np.quantile(values, [0.1, 0.9])
        assert got["quantiles"]["0.1"][step] == pytest.approx(low, rel=1e-5)
        assert got["quantiles"]["0.9"][step] == pytest.approx(high, rel=1e-5)
    assert got["mean"].tolist() == roll([1, 2], 0, 3)


def test_draws_do_not_depend_on_company_or_horizon() -> None:
    """A series has the same bytes alone, among others and as a longer forecast begins; the seed decides them."""
    wish: dict[str, Any] = {"quantiles": [0.2, 0.8], "paths": 30}
    first, second, third = [1, 2], [3, 4, 5], [6] * 20
    alone = [as_bytes(ask(ROLLING, [row], horizon=5, **wish)[0]) for row in (first, second, third)]
    together = ask(ROLLING, [third, first, second], horizon=5, **wish)
    assert [as_bytes(prediction) for prediction in together] == [alone[2], alone[0], alone[1]]
    (longer,) = ask(ROLLING, [first], horizon=9, **wish)
    short = {"mean": longer["mean"][:5], "quantiles": {name: of[:5] for name, of in longer["quantiles"].items()}}
    assert as_bytes(short) == alone[0]
    wish = {"quantiles": [0.2], "paths": 9}
    one, again, zero, other = (
        as_bytes(ask(ROLLING, [[1, 2]], **wish, **seed)[0]) for seed in ({}, {}, {"seed": 0}, {"seed": 1})
    )
    assert one == again == zero != other


def test_quantiles_of_many_draws_are_found_aside() -> None:
    """Many draws are sorted where it holds nobody up, with the same result."""
    model = rolling_forecaster()
    few = ask(model, [[1, 2]], quantiles=[0.5], paths=500, horizon=1)
    assert not model.threads_asked
    many = ask(model, [[1, 2]], quantiles=[0.5], paths=500, horizon=20)
    assert model.threads_asked == 1
    assert many[0]["quantiles"]["0.5"][0] == few[0]["quantiles"]["0.5"][0]


@settings(max_examples=20, deadline=None)
@given(history=st.lists(st.integers(-50, 50), min_size=3, max_size=30), data=st.data())
def test_session_goes_on_where_it_was(history: list[int], data: st.DataObject) -> None:
    """A series in two parts, with the state of the first, has the forecast of the whole; one value is enough then."""
    cut = data.draw(st.integers(2, len(history) - 1))
    (first,) = ask(ROLLING, [history[:cut]], return_state=True, horizon=3)
    rest = {"values": history[cut:], "state": first["state"]}
    (gone_on,), (whole,) = ask(ROLLING, [rest], return_state=True), ask(ROLLING, [history], return_state=True)
    assert as_bytes(gone_on) == as_bytes(whole)


def test_state_is_that_after_the_history() -> None:
    """The state does not depend on how far was forecast, and belongs to its own series."""
    short, long = (ask(ROLLING, [[1, 2], [3, 4]], return_state=True, horizon=n) for n in (1, 9))
    assert [prediction["state"] for prediction in short] == [prediction["state"] for prediction in long]
    resumed = ask(ROLLING, [{"values": [1], "state": p["state"]} for p in long] + [[1, 1]], horizon=2)
    assert means(resumed) == [roll([1], 3, 2), roll([1], 7, 2), roll([1, 1], 0, 2)]


def test_stream_sends_each_step_of_the_centre() -> None:
    """An event a step and series, whatever else is drawn or how it was made; the answer is that without a stream."""
    wish: dict[str, Any] = {"horizon": 2, "quantiles": [0.5], "paths": 4}
    events: list[Any] = []
    streamed = ask(ROLLING, [[1, 2], [3, 4]], emit=events.append, **wish)
    assert [as_bytes(p) for p in streamed] == [as_bytes(p) for p in ask(ROLLING, [[1, 2], [3, 4]], **wish)]
    expected = [(r, s, value) for r, mean in enumerate(means(streamed)) for s, value in enumerate(mean)]
    assert sorted(tuple(event.values()) for event in events) == expected
    assert render_json(events[0]) == b'{"row":0,"step":0,"value":4.0}'
    events = []
    ask(SUMMING, [[1, 2], [4]], emit=events.append)
    assert [tuple(event.values()) for event in events] == [(0, 0, 3), (0, 1, 3), (1, 0, 4), (1, 1, 4)]
