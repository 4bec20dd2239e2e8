"""predict_sequence: which options a model takes, and what is refused before anything runs."""

from typing import Any

import pytest

from service.codecs.picture_reader import PictureFile
from service.errors import InvalidInput
from service.tasks.request import TaskRequest
from service.tasks.sequence import NAME, Options, work
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
        model.drive(work(Options.parse(fields), TaskRequest({}, rows), model.context, LIMITS, None))
    assert not model.runs, "refused before anything runs"
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"horizons": 3}, "horizons: unknown field"),
        ({"horizon": 0}, r"horizon: expected greater than or equal to 1 \(got 0\)"),
        ({"horizon": -(10**30)}, "horizon: expected greater than or equal to 1"),
        ({"horizon": 2.0}, r"horizon: .*integer.*\(got 2.0\)"),
        ({"horizon": True}, "horizon: expected a valid integer"),
        ({"horizon": "3"}, r"horizon: .*integer.*\(got '3'\)"),
        ({"quantiles": 0.5}, r"quantiles: expected a valid list \(got 0.5\)"),
        ({"quantiles": [0.5, 0]}, r"quantiles.1: expected greater than 0 \(got 0\)"),
        ({"quantiles": [1.0]}, r"quantiles.0: expected less than 1 \(got 1.0\)"),
        ({"quantiles": [float("nan")]}, "quantiles.0"),
        ({"quantiles": ["0.5"]}, "quantiles.0: expected a valid number"),
        ({"quantiles": [0.5] * 100}, "quantiles: List should have at most 99 items"),
        ({"seed": -1}, "seed: expected greater than or equal to 0"),
        ({"seed": 2**63}, "seed"),
        ({"paths": 0}, "paths: expected greater than or equal to 1"),
        ({"paths": 2001}, "paths: expected less than or equal to 2000"),
        ({"beams": 0}, "beams: expected greater than or equal to 1"),
        ({"beams": 9}, "beams: expected less than or equal to 8"),
        ({"return_state": 1}, "return_state: expected a valid boolean"),
        ({"stream": "yes"}, "stream: expected a valid boolean"),
        ({"model": 3}, "model: expected a valid string"),
        ({"version": 1.5}, "version"),
    ],
)
def test_faulty_options_are_refused(fields: dict[str, Any], complaint: str) -> None:
    """An unknown, mistyped or impossible option is refused by name, with what was expected and what came."""
    with pytest.raises(InvalidInput, match=complaint):
        Options.parse(fields)


@pytest.mark.parametrize("rows", [None, []])
def test_a_request_without_rows_is_refused(rows: Any) -> None:
    """No series and no text is a fault, not an empty answer."""
    assert refuse(translator(), rows) == "inputs: expected an array of 1 to 65536 series or texts, got none"


@pytest.mark.parametrize("model", [summing_forecaster(), translator()])
def test_a_picture_is_refused(model: Model) -> None:
    """A picture is neither a series nor a text."""
    complaint = refuse(model, [PictureFile(b"", "body")])
    assert complaint == "body: expected a JSON body with series or texts as inputs, got a picture"


def test_more_rows_than_the_limit_are_refused() -> None:
    """A request may have as many series as the limit says."""
    assert refuse(summing_forecaster(), [[1.0]] * 65_537).endswith("series or texts, got 65537")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"beams": 1}, "beams: model 'm' forecasts series; leave it out"),
        ({"horizon": 10**9}, "horizon: expected 1 to 40 steps for model 'm', got 1000000000"),
        ({"horizon": 41}, "horizon: expected 1 to 40 steps for model 'm', got 41"),
    ],
)
def test_a_loop_refuses_what_it_cannot_do(fields: dict[str, Any], complaint: str) -> None:
    """Beams are for texts, and a horizon ends where the manifest says."""
    assert refuse(rolling_forecaster(), [[1, 2]], **fields) == complaint


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"beams": 4}, "beams: model 'm' forecasts series; leave it out"),
        ({"horizon": 4}, "horizon: expected 1 to 3 steps for model 'm', got 4"),
        ({"quantiles": [0.5, 0.25]}, "quantiles: expected one of 0.1, 0.5, 0.9, got 0.25"),
        ({"seed": 1}, "seed: model 'm' answers at once, without draws or state; leave it out"),
        ({"paths": 5}, "paths: model 'm' answers at once, without draws or state; leave it out"),
        ({"return_state": True}, "return_state: model 'm' answers at once, without draws or state; leave it out"),
    ],
)
def test_a_model_that_answers_at_once_refuses_what_it_cannot_do(fields: dict[str, Any], complaint: str) -> None:
    """Quantiles between those of the model are not made up, and nothing that is asked for is passed over."""
    assert refuse(monthly_forecaster(), [{"history": [1, 2], "month": 0}], **fields) == complaint


@pytest.mark.parametrize(
    "fields", [{"horizon": 3}, {"quantiles": [0.5]}, {"seed": 1}, {"paths": 9}, {"return_state": True}]
)
def test_a_model_of_texts_refuses_what_is_for_series(fields: dict[str, Any]) -> None:
    """Nothing of a forecast is passed over by a translator."""
    assert refuse(translator(), ["a"], **fields) == f"{next(iter(fields))}: model 'm' writes texts; leave it out"


def test_a_model_without_facts_points_to_its_tensors() -> None:
    """A model of which the manifest says neither series nor text is refused with the route that serves it."""
    complaint = refuse(Model({"main": double()}), [[1, 2, 3]])
    assert complaint.endswith("use /v2/models/m/infer")


def test_query_says_the_same_as_json() -> None:
    """Options are read from the texts of a query string, quantiles as a list between commas."""
    texts = {"horizon": "3", "quantiles": "0.1, 0.9", "seed": "7", "return_state": "true"}
    asked = {"horizon": 3, "quantiles": [0.1, 0.9], "seed": 7, "return_state": True}
    assert Options.parse(texts, loose=True) == Options.parse(asked)


def test_answer_names_its_model() -> None:
    """The answer carries the model, its version and one prediction a row."""
    model = summing_forecaster()
    result = model.drive(work(Options.parse({}), TaskRequest({}, [[1], [2]]), model.context, LIMITS, None))
    assert NAME == "predict_sequence"
    assert result.media_type is None
    assert (result.body["model"], result.body["version"], len(result.body["predictions"])) == ("m", "1", 2)
