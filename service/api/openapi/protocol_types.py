"""Types of the requests and answers of the Open Inference Protocol and of KServe, for the OpenAPI document.

``service/protocol`` reads requests with tensors without these types. Tests check that both agree.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, create_model, with_config
from typing_extensions import TypeAliasType, TypedDict  # those of typing suffice for pydantic from Python 3.12 on

from model_store.datatypes import DATATYPES
from service.api.admin.changes import Digits, OneLevel

Count = Annotated[int, Field(ge=0)]
SequenceId = Annotated[int, Field(ge=0, le=(1 << 64) - 1)]
Value = bool | float | str
Values = TypeAliasType("Values", "list[Value | Values]")
"""Nested as the shape says, or flat. It is recursive, which needs a type alias."""
Datatype = Annotated[str, Field(json_schema_extra={"enum": list(DATATYPES)})]
Shape = Annotated[list[Count], Field(max_length=32)]


def open_to(schema: dict[str, Any]) -> Any:
    """A decorator: the type may have more fields, and each fits this JSON schema."""
    return with_config(ConfigDict(extra="allow", json_schema_extra={"additionalProperties": schema}))


_open_to_values = open_to({"type": ["string", "number", "boolean", "null"]})


@with_config(ConfigDict(extra="forbid"))
class Exact(TypedDict):
    """Base of types that have no other fields."""


def exact(name: str, about: str | None = None, /, **fields: Any) -> Any:
    """The type of an object with exactly these fields, all of them required."""
    required: dict[str, Any] = {field: (kind, ...) for field, kind in fields.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=about, **required)


def _array_of(kind: Any) -> Any:
    return list[kind]


@_open_to_values
class InferParameters(TypedDict, total=False):
    """Unknown parameters have no effect; names that begin with `triton_` are refused. Null counts as absent."""

    sequence_id: Annotated[SequenceId | str | None, Field(description="0 or an empty text: no sequence")]
    sequence_start: bool | None
    sequence_end: bool | None
    priority: Annotated[int | None, Field(ge=0, description="1 goes before the others")]
    timeout: Annotated[int | None, Field(ge=0, description="microseconds until 504")]
    binary_data_output: Annotated[bool | None, Field(description="default of the outputs' `binary_data`")]


@_open_to_values
class TensorParameters(TypedDict, total=False):
    binary_data_size: Annotated[int | None, Field(ge=0, description="bytes after the JSON, in place of `data`")]
    shared_memory_region: Annotated[str | None, Field(description="a registered region, in place of `data`")]
    shared_memory_offset: Annotated[int | None, Field(ge=0, description="where the tensor begins in the region")]
    shared_memory_byte_size: Annotated[int | None, Field(ge=0, description="bytes of the tensor")]


@_open_to_values
class OutputParameters(TypedDict, total=False):
    binary_data: bool | None
    classification: Annotated[int | None, Field(ge=0, description="so many highest values, as value:index:label")]
    shared_memory_region: Annotated[str | None, Field(description="a registered region that the output is written to")]
    shared_memory_offset: Annotated[int | None, Field(ge=0, description="where it is written in the region")]
    shared_memory_byte_size: Annotated[int | None, Field(ge=0, description="room for it there")]


class InferInput(Exact):
    """A tensor: `data`, or bytes after the JSON whose number is in `parameters`.

    Floats may be the texts `NaN`, `Infinity` and `-Infinity`.
    """

    name: str
    shape: Shape
    datatype: Datatype
    parameters: NotRequired[TensorParameters | None]
    data: NotRequired[Values | None]


class InferWanted(Exact):
    name: str
    parameters: NotRequired[OutputParameters | None]


class InferRequest(Exact):
    id: NotRequired[str | None]
    model_name: NotRequired[Annotated[Any, Field(description="not read: the path names the model")]]
    parameters: NotRequired[InferParameters | None]
    inputs: Annotated[list[InferInput], Field(description="empty for a model without inputs")]
    outputs: NotRequired[Annotated[list[InferWanted] | None, Field(description="default: all")]]


class InferOutput(Exact):
    """`data` is flat, in row-major order. NaN and infinities are the texts `NaN`, `Infinity` and `-Infinity`."""

    name: str
    datatype: Datatype
    shape: Shape
    parameters: NotRequired[TensorParameters]
    data: NotRequired[Values]


class InferAnswer(Exact):
    id: NotRequired[str]
    model_name: str
    model_version: str
    outputs: list[InferOutput]


@open_to({"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"type": "array"}]})
class FlatRequest(TypedDict):
    """The inputs of the model by name, each a value or a flat array. Any other field is a parameter.

    Floats may be the texts `NaN`, `Infinity` and `-Infinity`.
    """

    id: NotRequired[str | None]
    parameters: NotRequired[Annotated[dict[str, Any] | None, Field(description="more inputs and parameters")]]
    steps: NotRequired[Annotated[int | None, Field(ge=1, description="how often a model with a loop is run")]]


@open_to({"anyOf": [{"type": ["string", "number", "boolean"]}, {"type": "array"}]})
class FlatAnswer(TypedDict):
    """The outputs of the model by name: a value where there is one element, else a flat array.

    NaN and infinities are the texts `NaN`, `Infinity` and `-Infinity`.
    """

    id: NotRequired[str]
    model_name: str
    model_version: str


Live = exact("Live", live=Literal[True])
Ready = exact("Ready", live=Literal[True], ready=Literal[True], loading=list[str])
Alive = exact("Alive", status=Literal["alive"])
ServerMetadata = exact("ServerMetadata", name=str, version=str, extensions=list[str])
Names = exact("Names", models=list[str])
ModelReady = exact("ModelReady", name=str, ready=Literal[True])
Loaded = exact("Loaded", name=str, load=Literal[True])
Unloaded = exact("Unloaded", name=str, unload=Literal[True])


class Example(Exact):
    """A request that a model answers; ``body`` is for the route of the task, or for infer."""

    task: str
    title: str
    body: dict[str, Any]


class Examples(Exact):
    examples: list[Example]


class StreamFacts(Exact):
    """What the messages of a stream hold. A row is complete after ``window`` samples; null: each message is one."""

    name: str
    version: str
    protocol: Literal["websocket"]
    takes: Literal["samples", "requests"]
    rate: NotRequired[int]
    window: NotRequired[int | None]
    overlap: NotRequired[int]


class TensorMetadata(Exact):
    """Sizes that are not fixed, such as that of the batch, are -1."""

    name: str
    datatype: Datatype
    shape: list[Annotated[int, Field(ge=-1)]]


class ModelMetadata(Exact):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    rows: Annotated[str, Field(description="whether the rows of a batch are independent: proved, mixing or unknown")]
    rows_reason: Annotated[str, Field(description="how that is known, or the node that mixes rows or is unknown")]
    bits: Annotated[str, Field(description="how a row's bits depend on the other rows of its batch, on this provider")]
    writing: NotRequired[Annotated[str, Field(description="of a model that writes text: what its length costs")]]


class PipelineFacts(Exact):
    steps: Annotated[dict[str, dict[str, Any]], Field(description="as they were written")]
    outputs: dict[str, str]
    golden: Annotated[str, Field(description="what its golden requests have shown")]
    mermaid: Annotated[str, Field(description="a drawing")]


class PipelineMetadata(Exact):
    """A pipeline takes no tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    pipeline: PipelineFacts


_Duration = exact("Duration", count=Count, ns=Count)
_RUN = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), _Duration)
_REQUEST = dict.fromkeys(("success", "fail", "queue", "cache_hit", "cache_miss"), _Duration)
_InferStatistics = exact("InferStatistics", "Sums over requests.", **_REQUEST, **_RUN)
_BatchStatistics = exact("BatchStatistics", "Sums over the batches of one size.", batch_size=Count, **_RUN)
_VersionStatistics = exact(
    "VersionStatistics",
    "Since the server started, over all its workers.",
    name=str,
    version=str,
    last_inference=Annotated[int, Field(ge=0, description="milliseconds since 1970; 0: none")],
    inference_count=Annotated[int, Field(ge=0, description="rows")],
    execution_count=Annotated[int, Field(ge=0, description="runs")],
    inference_stats=_InferStatistics,
    response_stats=dict[str, Any],
    batch_stats=_array_of(_BatchStatistics),
    memory_usage=list[Any],
)
Statistics = exact("Statistics", model_stats=_array_of(_VersionStatistics))


class IndexEntry(Exact):
    """A version. Without a version: what is in the store and cannot serve."""

    name: str
    version: NotRequired[str]
    state: Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING", "UNKNOWN"]
    reason: NotRequired[str]


TraceSettings = exact(
    "TraceSettings",
    "Traces go to the log. Numbers are strings.",
    trace_level=OneLevel,
    **dict.fromkeys(("trace_rate", "trace_count", "log_frequency"), Digits),
    trace_file=Literal[""],
    trace_mode=Literal["triton"],
)
LogSettings = exact(
    "LogSettings",
    **dict.fromkeys(("log_info", "log_warning", "log_error"), bool),
    log_file=Literal[""],
    log_verbose_level=Count,
    log_format=Literal["default"],
)


class Instances(Exact):
    """Rows as `/classify` takes them: nested numbers, texts, pictures, or objects of the inputs by name.

    Floats may be the texts `NaN`, `Infinity` and `-Infinity`, and are these texts in the predictions.
    """

    instances: Annotated[list[Any], Field(min_length=1)]


class TextVector(Exact):
    object: Literal["embedding"]
    index: int
    embedding: Annotated[list[float] | str, Field(description="the vector, as numbers or in base64")]


class Usage(Exact):
    """The tokens of all texts, special ones among them."""

    prompt_tokens: int
    total_tokens: int


Embeddings = exact("Embeddings", object=Literal["list"], data=list[TextVector], model=str, usage=Usage)
_Prediction = Annotated[Any, Field(description="a row of the only output, or an object of all outputs")]
_Explanation = Annotated[dict[str, Any], Field(description="a prediction of `/classify`, with `explain`")]
Predictions = exact("Predictions", predictions=list[_Prediction])
Explanations = exact("Explanations", explanations=list[_Explanation])


_ForecastContent = exact(
    "ForecastContent",
    "The forecast of one series; `start_timestamp` is the time of its first value.",
    type=Literal["univariate_time_series"],
    name=str,
    mean_forecast=list[float],
    frequency=str,
    start_timestamp=str | None,
    quantiles=dict[str, list[float]] | None,
)
_COMPLETED: dict[str, Any] = {"id": str, "status": Literal["completed"], "error": None}
_ForecastOutput = exact(
    "ForecastOutput", type=Literal["time_series_forecast"], **_COMPLETED, content=_array_of(_ForecastContent)
)
_CREATED = Annotated[int, Field(description="seconds since 1970")]
ForecastAnswer = exact(
    "ForecastAnswer", **_COMPLETED, created_at=_CREATED, model=str, outputs=_array_of(_ForecastOutput)
)
_CODE = Annotated[str, Field(description="the status")]
_PARAM = Annotated[str, Field(description="the wrong field, or an empty text")]
_ForecastFault = exact("ForecastFault", code=_CODE, message=str, type=str, param=_PARAM)
ForecastError = exact("ForecastError", error=_ForecastFault, request_id=str)


class Region(Exact):
    name: str
    key: Annotated[str, Field(description="name of its file below /dev/shm")]
    offset: Annotated[int, Field(ge=0, description="where it begins in the file")]
    byte_size: Annotated[int, Field(ge=1)]


class Nothing(Exact):
    """An empty object."""
