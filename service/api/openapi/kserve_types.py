"""What KServe's routes take and give, as types for the OpenAPI document. Tests check them against what is served."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # that of typing suffices for pydantic from Python 3.12 on

_exact = with_config(ConfigDict(extra="forbid"))


@_exact
class Instances(TypedDict):
    """Rows as `/classify` takes them: nested numbers, texts, pictures, or objects of the inputs by name.

    Floats may be the texts `NaN`, `Infinity` and `-Infinity`, and are these texts in the predictions.
    """

    instances: Annotated[list[Any], Field(min_length=1)]


@_exact
class Predictions(TypedDict):
    predictions: Annotated[list[Any], Field(description="the row of the only output, or an object of all outputs")]


@_exact
class Explanations(TypedDict):
    explanations: Annotated[list[dict[str, Any]], Field(description="predictions of `/classify`, with `explain`")]


@_exact
class ForecastContent(TypedDict):
    """Of one series; `start_timestamp` is the time of the first value of the forecast."""

    type: Literal["univariate_time_series"]
    name: str
    mean_forecast: list[float]
    frequency: str
    start_timestamp: str | None
    quantiles: dict[str, list[float]] | None


@_exact
class ForecastOutput(TypedDict):
    type: Literal["time_series_forecast"]
    id: str
    status: Literal["completed"]
    error: None
    content: list[ForecastContent]


@_exact
class ForecastAnswer(TypedDict):
    id: str
    created_at: Annotated[int, Field(description="seconds since 1970")]
    status: Literal["completed"]
    error: None
    model: str
    outputs: list[ForecastOutput]


@_exact
class ForecastFault(TypedDict):
    code: Annotated[str, Field(description="the status")]
    message: str
    type: str
    param: Annotated[str, Field(description="the field at fault, where it is known")]


@_exact
class ForecastError(TypedDict):
    """KServe's shape of an error of this route."""

    error: ForecastFault
    request_id: str
