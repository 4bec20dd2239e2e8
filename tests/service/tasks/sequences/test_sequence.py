"""predict_sequence: which options a model takes, and what is refused before anything runs."""

from dataclasses import replace
from typing import Any

import pytest

from service.codecs.pictures.reader import RowFile
from service.errors import InvalidInput
from service.tasks.sequences import sequence
from service.tasks.sequences.forecast import MAX_VALUES
from service.tasks.sequences.sequence import NAME, Options
from tests.support.driving import ask
from tests.support.models.graphs import double
from tests.support.models.sequences import (
    LIMITS,
    Model,
    monthly_forecaster,
    rolling_forecaster,
    summing_forecaster,
    translator,
)


def refuse(model: Model, rows: Any, **fields: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        ask(sequence, model, rows, **{"limits": LIMITS, **fields})
    assert not model.runs, "refused before anything runs"
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"horizons": 3}, "horizons: unknown field"),
        ({"horizon": 0}, r"horizon: expected greater than or equal to 1 \(got 0\)"),
        ({"horizon": -(10**30)}, "horizon: expected greater than or equal to 1"),
        ({"horizon": 2.0}, r"horizon: .*integer.*\(got 2.0\)"),
        ({"quantiles": 0.5}, r"quantiles: expected a valid list \(got 0.5\)"),
        ({"quantiles": [0.5, 0]}, r"quantiles.1: expected greater than 0 \(got 0\)"),
        ({"quantiles": [1.0]}, r"quantiles.0: expected less than 1 \(got 1.0\)"),
        ({"quantiles": [float("nan")]}, "quantiles.0"),
        ({"quantiles": ["0.5"]}, "quantiles.0: expected a valid number"),
        ({"quantiles": [0.5] * 100}, "quantiles: expected at most 99 items, got 100"),
        ({"seed": -1}, "seed: expected greater than or equal to 0"),
        ({"seed": 2**63}, "seed"),
        ({"paths": 0}, "paths: expected greater than or equal to 1"),
        ({"paths": 2001}, "paths: expected less than or equal to 2000"),
        ({"beams": 0}, "beams: expected greater than or equal to 1"),
        ({"beams": 9}, "beams: expected less than or equal to 8"),
        ({"return_state": 1}, "return_state: expected a valid boolean"),
    ],
)
def test_faulty_options_are_refused(fields: dict[str, Any], complaint: str) -> None:
    """An unknown, mistyped or impossible option is refused by name, with what was expected and what came."""
    with pytest.raises(InvalidInput, match=complaint):
        Options.parse(fields)


NO_DRAWS, NO_STATE = rolling_forecaster(with_noise=False), rolling_forecaster(resumes=False)
LOOP, AT_ONCE, SUMMING, TEXTS = rolling_forecaster(), monthly_forecaster(), summing_forecaster(), translator()
MONTH = {"history": [1, 2], "month": 0}
DRAWS = "model 'm' answers at once, without draws or state; leave it out"
ROWS = "inputs: expected an array of 1 to 65536 series or texts"
NO_STATES = "model 'm' cannot go on from a state; send whole series"
MAY_CHANGE = "expected it with beams 1, for more may change what was sent"
PATHS = "expected at most 400 in a request"
MANY_VALUES = (
    f"horizon: expected at most {MAX_VALUES // 1_000_500} steps for 1000500 paths (500 series of 1 and 2000), got 40"
)
NINE_STEPS, EIGHT_ROWS = replace(LIMITS, max_steps=9), replace(LIMITS, max_rows=8)
FEW_PATHS, MANY_PATHS = replace(LIMITS, max_rows=400), replace(LIMITS, max_rows=2**30)
MEDIAN = {"quantiles": [0.5]}
PICTURE, SOUND = RowFile(b"", "body"), RowFile(b"RIFF....WAVE", "body")


@pytest.mark.parametrize(
    ("model", "rows", "fields", "complaint"),
    [
        (TEXTS, None, {}, f"{ROWS}, got none"),
        (TEXTS, [], {}, f"{ROWS}, got none"),
        (SUMMING, [[1.0]] * 65_537, {}, f"{ROWS}, got 65537"),
        (TEXTS, [PICTURE], {}, "body: expected a JSON body with series or texts as inputs, got a picture"),
        (SUMMING, [PICTURE], {}, "body: expected a JSON body with series or texts as inputs, got a picture"),
        (SUMMING, [SOUND], {}, "body: expected a JSON body with series or texts as inputs, got a sound"),
        (LOOP, [[1, 2]], {"beams": 1}, "beams: model 'm' forecasts series; leave it out"),
        (LOOP, [[1, 2]], {"horizon": 10**9}, "horizon: expected 1 to 40 steps for model 'm', got 1000000000"),
        (LOOP, [[1, 2]], {"horizon": 41}, "horizon: expected 1 to 40 steps for model 'm', got 41"),
        (LOOP, [[1, 2]], {"horizon": 10, "limits": NINE_STEPS}, "horizon: expected 1 to 9 steps for model 'm', got 10"),
        (LOOP, [[1, 2]] * 2, {**MEDIAN, "limits": FEW_PATHS}, f"paths: {PATHS}, got 402: 2 series of 1 and 200"),
        (LOOP, [[1, 2]] * 500, {**MEDIAN, "paths": 2000, "horizon": 40, "limits": MANY_PATHS}, MANY_VALUES),
        (NO_DRAWS, [[1, 2]], MEDIAN, "quantiles: model 'm' draws nothing, so it gives none; leave them out"),
        (NO_STATE, [[1, 2]], {"return_state": True}, "return_state: model 'm' cannot go on from a state; leave it out"),
        (NO_STATE, [{"values": [1, 2], "state": "AAAA"}], {}, f"inputs[0].state: {NO_STATES}"),
        (SUMMING, [[1, 2]], MEDIAN, "quantiles: expected none, for model 'm' gives no quantiles, got 0.5"),
        (AT_ONCE, [MONTH], {"beams": 4}, "beams: model 'm' forecasts series; leave it out"),
        (AT_ONCE, [MONTH], {"horizon": 4}, "horizon: expected 1 to 3 steps for model 'm', got 4"),
        (AT_ONCE, [MONTH], {"quantiles": [0.5, 0.25]}, "quantiles: expected one of 0.1, 0.5, 0.9, got 0.25"),
        (AT_ONCE, [MONTH], {"seed": 1}, f"seed: {DRAWS}"),
        (AT_ONCE, [MONTH], {"paths": 5}, f"paths: {DRAWS}"),
        (AT_ONCE, [MONTH], {"return_state": True}, f"return_state: {DRAWS}"),
        (TEXTS, ["a"], {"horizon": 3}, "horizon: model 'm' writes the likeliest characters; leave it out"),
        (TEXTS, ["a"], MEDIAN, "quantiles: model 'm' writes the likeliest characters; leave it out"),
        (TEXTS, ["a"], {"seed": 1}, "seed: model 'm' writes the likeliest characters; leave it out"),
        (TEXTS, ["a"], {"paths": 9}, "paths: model 'm' writes the likeliest characters; leave it out"),
        (TEXTS, ["a"], {"return_state": True}, "return_state: model 'm' writes the likeliest characters; leave it out"),
        (TEXTS, ["a"], {"beams": 2, "emit": print}, f"stream: {MAY_CHANGE}, got beams 2"),
        (TEXTS, ["a"] * 3, {"beams": 4, "limits": EIGHT_ROWS}, "inputs: expected at most 2 texts, got 3"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_model_refuses_what_it_cannot_do(model: Model, rows: Any, fields: dict[str, Any], complaint: str) -> None:
    """Nothing that is asked for is passed over. Rows, paths, values and steps have limits; hypotheses count as rows."""
    assert refuse(model, rows, **fields) == complaint


def test_model_without_facts_points_to_its_tensors() -> None:
    """A model of which the manifest says neither series nor text is refused with the route that serves it."""
    assert refuse(Model({"main": double()}), [[1, 2, 3]]).endswith("use /v2/models/m/infer")


def test_answer_names_its_model() -> None:
    """An answer names its model, and a query string says the same as JSON."""
    model = summing_forecaster()
    result = ask(sequence, model, [[1], [2]], limits=LIMITS)
    assert NAME == "predict_sequence"
    assert result.media_type is None
    assert (result.body["model"], result.body["version"], len(result.body["predictions"])) == ("m", "1", 2)
    texts = {"horizon": "3", "quantiles": "0.1, 0.9", "seed": "7", "return_state": "true"}
    asked = {"horizon": 3, "quantiles": [0.1, 0.9], "seed": 7, "return_state": True}
    assert Options.parse(texts, loose=True) == Options.parse(asked)
