"""KServe's forecasts of time series: requests, answers, and the calendar between them.

KServe, `kserve/protocol/rest/timeseries`.
"""

import calendar
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.manifest import describe
from service.errors import InvalidInput
from service.protocol.large_json import parse_body

UNIVARIATE = "univariate_time_series"
_SECONDS: Mapping[str, int] = {
    **dict.fromkeys(("S", "second"), 1),
    **dict.fromkeys(("T", "minute"), 60),
    **dict.fromkeys(("H", "hour"), 3600),
    **dict.fromkeys(("D", "day"), 86_400),
    **dict.fromkeys(("W", "week"), 604_800),
}
_MONTHS: Mapping[str, int] = {
    **dict.fromkeys(("M", "month"), 1),
    **dict.fromkeys(("Q", "quarter"), 3),
    **dict.fromkeys(("Y", "year"), 12),
}


class TimeSeries(BaseModel):
    """One series. Fields besides these are further inputs of the model, by their names."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    type: Literal["univariate_time_series", "multivariate_time_series"]
    name: str
    series: Annotated[list[Any], Field(json_schema_extra={"items": {"type": "number"}, "minItems": 1})]
    frequency: Annotated[str, Field(json_schema_extra={"enum": [*_SECONDS, *_MONTHS]})]
    start_timestamp: str | None = None


class TimeSeriesOptions(BaseModel):
    """``seed`` and ``paths`` are those of predict_sequence, for models that draw their quantiles."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    horizon: Annotated[int, Field(json_schema_extra={"minimum": 1})]
    quantiles: list[float] | None = None
    seed: int | None = None
    paths: int | None = None


class ForecastRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str
    inputs: Annotated[tuple[TimeSeries, ...], Field(min_length=1, strict=False)]
    options: TimeSeriesOptions
    metadata: dict[str, Any] | None = None


def read_forecast(body: bytes | memoryview) -> ForecastRequest:
    """Raises InvalidInput, which names the field, what was expected and what came."""
    try:
        request = ForecastRequest.model_validate(parse_body(body))
    except ValidationError as error:
        raise InvalidInput(describe(error)) from None
    for i, item in enumerate(request.inputs):
        if item.type != UNIVARIATE:
            raise InvalidInput(f"inputs[{i}].type: expected {UNIVARIATE}, got {item.type}")
        find_next(item, f"inputs[{i}]")
    return request


def find_next(item: TimeSeries, where: str) -> str | None:
    """The time of the first value after a series, in ISO 8601, None where its start is not known.

    A day that the month does not have becomes the last one of the month, as KServe has it: a month after 31 January is
    28 or 29 February. Raises InvalidInput, which names the field below ``where``.
    """
    if item.frequency not in _SECONDS and item.frequency not in _MONTHS:
        known = ", ".join([*_SECONDS, *_MONTHS])
        raise InvalidInput(f"{where}.frequency: expected one of {known}, got {item.frequency!r:.40}")
    if item.start_timestamp is None:
        return None
    try:
        start = datetime.fromisoformat(item.start_timestamp)
    except ValueError:
        raise InvalidInput(
            f"{where}.start_timestamp: expected a time of ISO 8601, got {item.start_timestamp!r:.40}"
        ) from None
    try:
        return _advance(start, item.frequency, len(item.series)).isoformat()
    except (ValueError, OverflowError):  # after the year 9999
        raise InvalidInput(
            f"{where}.start_timestamp: expected a series that ends before the year 10000, got one of "
            f"{len(item.series)} values from {item.start_timestamp!r:.40}"
        ) from None


def _advance(start: datetime, frequency: str, steps: int) -> datetime:
    if frequency in _SECONDS:
        return start + timedelta(seconds=_SECONDS[frequency] * steps)
    months = start.year * 12 + start.month - 1 + _MONTHS[frequency] * steps
    year, month = months // 12, months % 12 + 1
    if year > 9999:
        raise OverflowError
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def describe_forecast(
    request: ForecastRequest, predictions: Sequence[Mapping[str, Any]], answer_id: str, created_s: int
) -> dict[str, Any]:
    """The answer to a request, given what the model predicts of each of its series. ``created_s`` is Unix time."""
    content = []
    for i, (item, prediction) in enumerate(zip(request.inputs, predictions, strict=True)):
        forecast = {"type": UNIVARIATE, "name": item.name, "mean_forecast": prediction["mean"]}
        forecast |= {"frequency": item.frequency, "start_timestamp": find_next(item, f"inputs[{i}]")}
        content.append(forecast | {"quantiles": prediction.get("quantiles")})
    output = {"type": "time_series_forecast", "id": f"{answer_id}-0", "status": "completed", "error": None}
    return {
        "id": answer_id,
        "created_at": created_s,
        "status": "completed",
        "error": None,
        "model": request.model,
        "outputs": [output | {"content": content}],
    }
