"""KServe's routes: predict and explain of its first protocol, forecasts of time series."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from service.protocol.timeseries import TimeSeries, find_next
from tests.support.answers import assert_error

Json = dict[str, Any]
REFERENCE = ("digits-classifier", "sunspots-forecaster", "elnino-forecaster", "date-translator")
DIGIT = [[[16.0 if 2 < column < 5 else 0.0 for column in range(8)] for _ in range(8)]]
FORECAST = "/v1/timeseries/forecast"


def predict(client: httpx.Client, model: str, body: Any, verb: str = "predict") -> httpx.Response:
    return client.post(f"/v1/models/{model}:{verb}", json=body)


REFUSED: dict[str, tuple[str, str, Any, str]] = {
    "no object": ("double", "predict", [[1, 2, 3]], "body: expected a JSON object, got an array"),
    "no instances": ("double", "predict", {}, "instances: expected an array of rows, got null"),
    "other fields": ("double", "predict", {"instances": [], "inputs": []}, "body: expected instances, got 'inputs'"),
    "empty": ("double", "predict", {"instances": []}, "expected an array of 1 to"),
    "one input of two": ("add", "predict", {"instances": [{"a": [1, 2]}]}, "takes an object of a, b, got fields ['a']"),
    "no rows": ("fixed", "predict", {"instances": [[[1, 2], [3, 4]]]}, "model 'fixed' takes no rows"),
    "half precision": ("halves", "predict", {"instances": [[1]]}, "output 'y': FP16 has no JSON form"),
    "rows of nothing": ("open", "predict", {"instances": [[], []]}, "at least one row and no empty axis, got x [2, 0]"),
    "digit of wrong shape": ("digits-classifier", "explain", {"instances": [[1]]}, "expected a row of shape [1, 8, 8]"),
}


@pytest.mark.parametrize(("model", "verb", "body", "text"), REFUSED.values(), ids=REFUSED)
def test_bad_request_is_400(client: httpx.Client, model: str, verb: str, body: Any, text: str) -> None:
    """What does not fit the model is refused with what was expected and what came."""
    assert_error(predict(client, model, body, verb), 400, text)


@pytest.mark.parametrize(
    ("model", "instances", "predictions"),
    [
        ("double", [[1, 2, 3], [4, 5, 6]], [[2, 4, 6], [8, 10, 12]]),
        ("double", [{"x": [1, 2, 3]}], [[2, 4, 6]]),
        ("open", [[1], [2, 3], [4]], [[2], [4, 6], [8]]),
        ("add", [{"a": [1, 2], "b": [3, 4]}], [{"total": [4, 6], "negative": [-4, -6]}]),
        ("texts", [["a", "ü"]], [["a", "ü"]]),
    ],
)
def test_predictions_are_rows(client: httpx.Client, model: str, instances: list[Any], predictions: list[Any]) -> None:
    """One prediction an instance, in their order: the row of the only output, or an object of all outputs."""
    assert predict(client, model, {"instances": instances}).json() == {"predictions": predictions}


def test_classifier_predicts_and_explains(client: httpx.Client) -> None:
    """Predictions have all outputs; explanations have the most probable label and a number for each pixel."""
    prediction = predict(client, "digits-classifier", {"instances": [{"image": DIGIT}]}).json()["predictions"][0]
    (explanation,) = predict(client, "digits-classifier", {"instances": [DIGIT]}, "explain").json()["explanations"]
    probabilities = prediction["probabilities"]
    assert explanation["index"] == probabilities.index(max(probabilities))
    assert explanation["explanation"]["method"] == "saliency"
    assert [len(row) for row in explanation["explanation"]["values"]] == [8] * 8


def test_health_and_models_of_the_first_protocol(client: httpx.Client) -> None:
    """The root says alive; all models are listed, one with whether it is ready, the forecasters by themselves."""
    assert client.get("/").json() == {"status": "alive"}
    assert set(client.get("/v1/models").json()["models"]) >= {"double", "broken", *REFERENCE}
    assert client.get("/v1/models/double").json() == {"name": "double", "ready": True}
    assert client.get("/v1/timeseries/models").json() == ["elnino-forecaster", "sunspots-forecaster"]
    assert client.get("/v1/models/broken").status_code == 503
    assert predict(client, "broken", {"instances": [[1, 2, 3]]}).status_code == 503


def series(values: Any, frequency: str = "M", start: str | None = "2000-01-31", **fields: Any) -> Json:
    told = {"type": "univariate_time_series", "name": "s", "series": values, "frequency": frequency}
    return told | ({} if start is None else {"start_timestamp": start}) | fields


SUNSPOTS = [20.0, 30.0, 50.0, 80.0]


def request(*inputs: Any, model: str = "sunspots-forecaster", horizon: Any = 3, **options: Any) -> Json:
    return {"model": model, "inputs": [*inputs], "options": {"horizon": horizon, **options}}


REFUSED_FORECASTS: dict[str, tuple[Any, int, str, str]] = {
    "no JSON": ("{", 400, "body", "expected JSON"),
    "no object": ([], 400, "", "expected an object"),
    "no model": ({"inputs": [series(SUNSPOTS)], "options": {"horizon": 1}}, 400, "model", "expected a value, got none"),
    "no inputs": (request(), 400, "inputs", "at least 1 item"),
    "unknown model": (request(series(SUNSPOTS), model="x"), 404, "", "no model 'x'"),
    "translator": (request(series(SUNSPOTS), model="date-translator"), 400, "model", "writes texts"),
    "multivariate": (
        request(series([[1]], type="multivariate_time_series")),
        *(400, "inputs[0].type", "expected univariate_time_series, got multivariate"),
    ),
    "no type": (request(series([1], type="x")), 400, "inputs.0.type", "univariate_time_series"),
    "frequency": (request(series([1], "fortnight")), 400, "inputs[0].frequency", "got 'fortnight'"),
    "time": (request(series([1]), series([1], start="soon")), 400, "inputs[1].start_timestamp", "got 'soon'"),
    "last year": (request(series([1], "Y", "9999-01-01")), 400, "inputs[0].start_timestamp", "before the year 10000"),
    "text as horizon": (request(series(SUNSPOTS), horizon="3"), 400, "options.horizon", "valid integer"),
    "unknown option": (request(series(SUNSPOTS), seeds=1), 400, "options.seeds", "unknown field"),
    "not a number": (request(series([1, "2"])), 400, "inputs[0]", "expected FP32, got '2'"),
    "field of ours": (request(series(SUNSPOTS) | {"values": [1]}), 400, "inputs[0].values", "the history as series"),
    "missing input": (request(series([1.0] * 12), model="elnino-forecaster"), 400, "inputs[0]", "values, month"),
}


@pytest.mark.parametrize(("body", "status", "param", "text"), REFUSED_FORECASTS.values(), ids=REFUSED_FORECASTS)
def test_bad_forecast_has_its_own_error(client: httpx.Client, body: Any, status: int, param: str, text: str) -> None:
    """An error is an object: its code is the status, its param the field at fault."""
    sent = {"content": body} if isinstance(body, str) else {"json": body}
    response = client.post(FORECAST, **sent)
    error = response.json()["error"]
    assert response.status_code == status, error
    assert set(error) == {"code", "message", "type", "param"}
    assert (error["code"], error["param"]) == (str(status), param), error
    assert text in error["message"]


def test_wrong_method_has_the_error_of_the_protocol_too(client: httpx.Client) -> None:
    """A 405 has the error of this protocol too."""
    response = client.get(FORECAST)
    assert (response.status_code, response.json()["error"]["type"]) == (405, "WrongMethod")


def test_forecasts_are_those_of_the_task(client: httpx.Client) -> None:
    """Each of several series comes with its name, its frequency, the time that follows, and the task's numbers."""
    longer = [*SUNSPOTS, 90.0]
    body = request(series(SUNSPOTS, name="a"), series(longer, "year", "1990-01-01T00:00:00+02:00", name="b"))
    body["metadata"] = {"anything": [1]}
    answer = client.post(FORECAST, json=body).json()
    task = client.post("/predict_sequence", json={"model": body["model"], "inputs": [SUNSPOTS, longer], "horizon": 3})
    means = [prediction["mean"] for prediction in task.json()["predictions"]]
    assert {answer["status"], answer["outputs"][0]["status"]} == {"completed"}
    assert (answer["model"], answer["error"]) == ("sunspots-forecaster", None)
    facts = [("a", "M", "2000-05-31T00:00:00"), ("b", "year", "1995-01-01T00:00:00+02:00")]
    assert answer["outputs"][0]["content"] == [
        {"type": "univariate_time_series", "quantiles": None, "mean_forecast": mean}
        | {"name": name, "frequency": frequency, "start_timestamp": start}
        for mean, (name, frequency, start) in zip(means, facts, strict=True)
    ]


def test_quantiles_are_drawn_by_a_loop(client: httpx.Client) -> None:
    """Quantiles repeat with the seed, or are the model's own; a further input of a model is a field of the series."""
    body = request(series(SUNSPOTS, start=None), quantiles=[0.1, 0.9], seed=3, paths=50)
    first, again = (client.post(FORECAST, json=body).json()["outputs"][0]["content"][0] for _ in range(2))
    assert first == again
    assert first["start_timestamp"] is None
    assert list(first["quantiles"]) == ["0.1", "0.9"]
    assert all(low < high for low, high in zip(*first["quantiles"].values(), strict=True))
    body = request(series([25.0] * 12, month=3), model="elnino-forecaster", horizon=2, quantiles=[0.5])
    (content,) = client.post(FORECAST, json=body).json()["outputs"][0]["content"]
    assert len(content["mean_forecast"]) == 2
    assert content["quantiles"] == {"0.5": content["mean_forecast"]}


@pytest.mark.parametrize(
    ("frequency", "start", "count", "expected"),
    [
        ("S", "2024-02-29T23:59:58", 3, "2024-03-01T00:00:01"),
        ("minute", "2024-01-01T00:00:00Z", 61, "2024-01-01T01:01:00+00:00"),
        ("H", "2023-12-31T20:00", 5, "2024-01-01T01:00:00"),
        ("D", "2024-02-28", 2, "2024-03-01T00:00:00"),
        ("week", "2024-12-30", 1, "2025-01-06T00:00:00"),
        ("M", "2023-11-15", 14, "2025-01-15T00:00:00"),
        ("M", "2024-01-31", 1, "2024-02-29T00:00:00"),
        ("Q", "2023-11-30", 1, "2024-02-29T00:00:00"),
        ("quarter", "2020-01-01", 5, "2021-04-01T00:00:00"),
        ("Y", "2024-02-29", 1, "2025-02-28T00:00:00"),
        ("year", "2024-02-29T06:30:00+05:30", 4, "2028-02-29T06:30:00+05:30"),
    ],
)
def test_forecast_starts_after_the_series(frequency: str, start: str, count: int, expected: str) -> None:
    """Times follow the calendar: months and years keep their day, or take the last day of the month."""
    found = find_next(TimeSeries(**series([0] * count, frequency, start)), "inputs[0]")
    assert found == expected
    assert datetime.fromisoformat(found) > datetime.fromisoformat(start)


@pytest.mark.parametrize(("model", "shape", "is_row"), [("double", [1, 3], True), ("scalars", [3], False)])
def test_infinity_and_nan_on_every_route(client: httpx.Client, model: str, shape: list[int], is_row: bool) -> None:
    """All protocols take and give the same texts for them, in rows that are arrays and in rows of one number."""
    special = ["NaN", "Infinity", "-Infinity"]
    rows = [special] if is_row else special
    item = {"name": "x", "datatype": "FP32", "shape": shape, "data": special}
    assert predict(client, model, {"instances": rows}).json()["predictions"] == rows
    inferred = client.post(f"/v2/models/{model}/infer", json={"inputs": [item]}).json()
    assert inferred["outputs"][0]["data"] == special
    assert client.post(f"/v2/models/{model}/generate", json={"x": special}).json()["y"] == special
