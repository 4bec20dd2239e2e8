"""KServe's forecasts of time series (`kserve/protocol/rest/timeseries`): requests, answers, and the calendar."""

import calendar
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.errors import InvalidInput
from service.protocol.large_json import parse_body
from service.protocol.request_model import RequestModel

UNIVARIATE = "univariate_time_series"
_HOUR, _DAY, _WEEK = 3600, 86_400, 604_800
_SECONDS = {"S": 1, "second": 1, "T": 60, "minute": 60, "H": _HOUR, "hour": _HOUR}
_SECONDS |= {"D": _DAY, "day": _DAY, "W": _WEEK, "week": _WEEK}
_MONTHS = {"M": 1, "month": 1, "Q": 3, "quarter": 3, "Y": 12, "year": 12}
_FREQUENCIES = [*_SECONDS, *_MONTHS]


class TimeSeries(RequestModel):
    """One series. Other fields are further inputs of the model, by name."""

    model_config = ConfigDict(extra="allow")

    type: Literal["univariate_time_series", "multivariate_time_series"]
    name: str
    series: Annotated[list[Any], Field(json_schema_extra={"items": {"type": "number"}, "minItems": 1})]
    frequency: Annotated[str, Field(json_schema_extra={"enum": _FREQUENCIES})]
    start_timestamp: str | None = None


class TimeSeriesOptions(RequestModel):
    """``seed`` and ``paths`` are those of predict_sequence, for models that draw their quantiles."""

    horizon: Annotated[int, Field(json_schema_extra={"minimum": 1})]
    quantiles: list[float] | None = None
    seed: int | None = None
    paths: int | None = None


class ForecastRequest(RequestModel):
    model: str
    inputs: Annotated[tuple[TimeSeries, ...], Field(min_length=1, strict=False)]
    options: TimeSeriesOptions
    metadata: dict[str, Any] | None = None


def read_forecast(body: bytes | memoryview) -> ForecastRequest:
    """Raises InvalidInput, which names the field, what was expected and what came."""
    request = ForecastRequest.read(parse_body(body))
    for i, item in enumerate(request.inputs):
        if item.type != UNIVARIATE:
            raise InvalidInput(f"inputs[{i}].type: expected {UNIVARIATE}, got {item.type}")
        find_next(item, f"inputs[{i}]")
    return request


def find_next(item: TimeSeries, where: str) -> str | None:
    """The time of the first value after a series, in ISO 8601; None if its start is not known.

    A day that a month does not have becomes its last day, as in KServe: a month after 31 January is 28 or 29 February.
    Raises InvalidInput, which names the field below ``where``.
    """
    if item.frequency not in _FREQUENCIES:
        raise InvalidInput(f"{where}.frequency: expected one of {', '.join(_FREQUENCIES)}, got {item.frequency!r:.40}")
    if item.start_timestamp is None:
        return None
    field = f"{where}.start_timestamp"
    try:
        start = datetime.fromisoformat(item.start_timestamp)
    except ValueError:
        raise InvalidInput(f"{field}: expected a time of ISO 8601, got {item.start_timestamp!r:.40}") from None
    try:
        return _advance(start, item.frequency, len(item.series)).isoformat()
    except (ValueError, OverflowError):  # after the year 9999
        got = f"{len(item.series)} values from {item.start_timestamp!r:.40}"
        raise InvalidInput(f"{field}: expected a series that ends before the year 10000, got one of {got}") from None


def _advance(start: datetime, frequency: str, steps: int) -> datetime:
    if frequency in _SECONDS:
        return start + timedelta(seconds=_SECONDS[frequency] * steps)
    years, month = divmod(start.month - 1 + _MONTHS[frequency] * steps, 12)
    year, month = start.year + years, month + 1
    if year > 9999:
        raise OverflowError
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def describe_forecast(
    request: ForecastRequest, predictions: Sequence[Mapping[str, Any]], answer_id: str, created_s: int
) -> dict[str, Any]:
    """The answer with a prediction for each series. ``created_s`` is Unix time."""
    content = [
        {
            "type": UNIVARIATE,
            "name": item.name,
            "mean_forecast": prediction["mean"],
            "frequency": item.frequency,
            "start_timestamp": find_next(item, f"inputs[{i}]"),
            "quantiles": prediction.get("quantiles"),
        }
        for i, (item, prediction) in enumerate(zip(request.inputs, predictions, strict=True))
    ]
    status = {"status": "completed", "error": None}
    return {
        "id": answer_id,
        "created_at": created_s,
        **status,
        "model": request.model,
        "outputs": [{"type": "time_series_forecast", "id": f"{answer_id}-0", **status, "content": content}],
    }
