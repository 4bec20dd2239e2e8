"""What the routes of the Open Inference Protocol take and give, as types for the OpenAPI document.

Requests are read by ``service/protocol``, not by these types; tests check both against each other.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypeAliasType, TypedDict  # those of typing suffice for pydantic from Python 3.12 on

from model_store.datatypes import DATATYPES

_exact = with_config(ConfigDict(extra="forbid"))

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Value = bool | float | str
Values = TypeAliasType("Values", "list[Value | Values]")
"""Of any depth: nested as the shape says, or flat. It is recursive, which the ``type`` statement alone can say."""
Datatype = Annotated[str, Field(json_schema_extra={"enum": list(DATATYPES)})]
Shape = Annotated[list[Count], Field(max_length=32)]


def _open(of: dict[str, Any]) -> Callable[[Any], Any]:
    """Fields besides those that are named, each of one JSON schema."""
    return with_config(ConfigDict(extra="allow", json_schema_extra={"additionalProperties": of}))


_with_values = _open({"type": ["string", "number", "boolean", "null"]})


@_with_values
class InferParameters(TypedDict):
    """Others are let through; those that begin with `triton_` are refused. Null is as absent, here and below."""

    sequence_id: NotRequired[
        Annotated[
            Annotated[int, Field(ge=0, le=(1 << 64) - 1)] | str | None,
            Field(description="0 and an empty text are none"),
        ]
    ]
    sequence_start: NotRequired[bool | None]
    sequence_end: NotRequired[bool | None]
    priority: NotRequired[Annotated[int | None, Field(ge=0, description="1 goes before the others")]]
    timeout: NotRequired[Annotated[int | None, Field(ge=0, description="microseconds until 504")]]
    binary_data_output: NotRequired[
        Annotated[bool | None, Field(description="of outputs that do not say it themselves")]
    ]


@_with_values
class TensorParameters(TypedDict):
    binary_data_size: NotRequired[
        Annotated[int | None, Field(ge=0, description="bytes behind the JSON, in place of data")]
    ]


@_with_values
class OutputParameters(TypedDict):
    binary_data: NotRequired[bool | None]
    classification: NotRequired[
        Annotated[int | None, Field(ge=0, description="so many of the best, as value:index:label")]
    ]


@_exact
class InferInput(TypedDict):
    """A tensor: `data`, or bytes behind the JSON whose number `parameters` tell.

    Floats may be the texts `NaN`, `Infinity` and `-Infinity`.
    """

    name: str
    shape: Shape
    datatype: Datatype
    parameters: NotRequired[TensorParameters | None]
    data: NotRequired[Values | None]


@_exact
class InferWanted(TypedDict):
    name: str
    parameters: NotRequired[OutputParameters | None]


@_exact
class InferRequest(TypedDict):
    id: NotRequired[str | None]
    model_name: NotRequired[Annotated[Any, Field(description="not read: who answers is in the path")]]
    parameters: NotRequired[InferParameters | None]
    inputs: Annotated[list[InferInput], Field(description="none for a model that takes none")]
    outputs: NotRequired[Annotated[list[InferWanted] | None, Field(description="all where it is left out")]]


@_exact
class InferOutput(TypedDict):
    """`data` is flat, in the order of rows. Floats that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`."""

    name: str
    datatype: Datatype
    shape: Shape
    parameters: NotRequired[TensorParameters]
    data: NotRequired[Values]


@_exact
class InferAnswer(TypedDict):
    id: NotRequired[str]
    model_name: str
    model_version: str
    outputs: list[InferOutput]


_FLAT = {"anyOf": [{"type": ["string", "number", "boolean"]}, {"type": "array"}]}


@_open({"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"type": "array"}]})
class FlatRequest(TypedDict):
    """The inputs of the model by their names, a value or a flat array each. Any other value is a parameter.

    Floats may be the texts `NaN`, `Infinity` and `-Infinity`.
    """

    id: NotRequired[str | None]
    parameters: NotRequired[Annotated[dict[str, Any] | None, Field(description="inputs and parameters, as beside it")]]
    steps: NotRequired[Annotated[int | None, Field(ge=1, description="through the loop of a model that has one")]]


@_open(_FLAT)
class FlatAnswer(TypedDict):
    """The outputs of the model by their names; one that has one element is a value, another one a flat array.

    Floats that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`.
    """

    id: NotRequired[str]
    model_name: str
    model_version: str


@_exact
class Live(TypedDict):
    live: Literal[True]


@_exact
class Ready(Live):
    ready: Literal[True]


@_exact
class ModelReady(TypedDict):
    name: str
    ready: Literal[True]


@_exact
class Alive(TypedDict):
    status: Literal["alive"]


@_exact
class Names(TypedDict):
    models: list[str]


@_exact
class ServerMetadata(TypedDict):
    name: str
    version: str
    extensions: Annotated[list[str], Field(description="what of the protocol works besides its core")]


@_exact
class TensorMetadata(TypedDict):
    """Sizes that are not fixed, the batch among them, are -1."""

    name: str
    datatype: Datatype
    shape: list[Annotated[int, Field(ge=-1)]]


@_exact
class ModelMetadata(TypedDict):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    rows: Annotated[str, Field(description="whether rows of a batch are independent: proved, mixing or unknown")]
    rows_reason: Annotated[str, Field(description="how that is known, or the node at which it is not")]
    bits: Annotated[
        str, Field(description="how a row's bits vary with the rows beside it, on the provider that serves")
    ]


@_exact
class Duration(TypedDict):
    count: Count
    ns: Count


@_exact
class InferStatistics(TypedDict):
    """Of requests, summed over them."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


@_exact
class BatchStatistics(TypedDict):
    """Of runs of so many rows."""

    batch_size: Count
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@_exact
class VersionStatistics(TypedDict):
    """Since the server started, over all its workers."""

    name: str
    version: str
    last_inference: Annotated[int, Field(ge=0, description="milliseconds since 1970; 0: none")]
    inference_count: Annotated[int, Field(ge=0, description="rows")]
    execution_count: Annotated[int, Field(ge=0, description="runs")]
    inference_stats: InferStatistics
    response_stats: dict[str, Any]
    batch_stats: list[BatchStatistics]
    memory_usage: list[Any]


@_exact
class Statistics(TypedDict):
    model_stats: list[VersionStatistics]


@_exact
class IndexRequest(TypedDict):
    ready: NotRequired[Annotated[bool | None, Field(description="only versions that serve")]]


@_exact
class IndexEntry(TypedDict):
    """A version; without one, what lies in the store and cannot serve."""

    name: str
    version: NotRequired[str]
    state: Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING", "UNKNOWN"]
    reason: NotRequired[str]


@_exact
class LoadParameters(TypedDict):
    version: NotRequired[Annotated[Text | int | None, Field(description="a number or an alias; the newest without it")]]
    unload_dependents: NotRequired[Annotated[bool | None, Field(description="no model depends on another")]]


@_exact
class LoadRequest(TypedDict):
    parameters: NotRequired[LoadParameters | None]


@_exact
class Loaded(TypedDict):
    name: str
    load: Literal[True]


@_exact
class Unloaded(TypedDict):
    name: str
    unload: Literal[True]


Level = Literal["OFF", "TIMESTAMPS"]
Digits = Annotated[str, Field(pattern="^-?[0-9]{1,10}$")]


@_exact
class TraceSettings(TypedDict):
    """Traces go to the log. Numbers are texts."""

    trace_level: Annotated[list[Level], Field(min_length=1, max_length=1)]
    trace_rate: Digits
    trace_count: Digits
    log_frequency: Digits
    trace_file: Literal[""]
    trace_mode: Literal["triton"]


@_exact
class TraceChanges(TypedDict, total=False):
    """What is to change; null takes a model's own setting back."""

    trace_level: Level | Annotated[list[Level], Field(min_length=1, max_length=1)] | None
    trace_rate: Annotated[str, Field(pattern="^[1-9][0-9]{0,8}$", description="one request in so many")] | None
    trace_count: Annotated[str, Field(pattern="^(-1|[0-9]{1,9})$", description="-1: no end")] | None
    log_frequency: Annotated[str, Field(pattern="^[0-9]{1,9}$")] | None
    trace_file: Literal[""] | None
    trace_mode: Literal["triton"] | None


@_exact
class LogChanges(TypedDict, total=False):
    """What is to change."""

    log_file: Literal[""] | None
    log_info: bool | None
    log_warning: bool | None
    log_error: bool | None
    log_verbose_level: Annotated[int, Field(ge=0, lt=1 << 31)] | None
    log_format: Literal["default"] | None


@_exact
class LogSettings(TypedDict):
    """What holds."""

    log_file: Literal[""]
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: Count
    log_format: Literal["default"]
