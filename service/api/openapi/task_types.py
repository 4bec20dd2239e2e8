"""What the task routes take and give, as types: the OpenAPI document and BentoML's client are made of them.

The options, their limits and defaults are those of the tasks; here is what each of them means. Answers are checked
against these types by tests, not at run time.
"""

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, NotRequired, Optional

from pydantic import ConfigDict, Field, create_model, with_config
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType, TypedDict  # those of typing suffice for pydantic from Python 3.12 on

from service.tasks.explain import Method
from service.tasks.request import TaskOptions

_exact = with_config(ConfigDict(extra="forbid"))

Numbers = TypeAliasType("Numbers", "float | list[Numbers]")
"""Of any depth. It is recursive, which the ``type`` statement alone can say."""


@_exact
class EncodedPicture(TypedDict):
    """A PNG or JPEG file in JSON."""

    image: Annotated[str, Field(description="the file, in base64")]


Row = Annotated[
    Numbers | EncodedPicture | dict[str, Numbers | EncodedPicture],
    Field(description="nested numbers of the model's row shape or a picture; by name where a model has several inputs"),
]
Shown = Annotated[Numbers | EncodedPicture, Field(description="nested numbers, or a PNG where one was asked for")]


@with_config(ConfigDict(extra="allow"))
class Series(TypedDict):
    """A series with more than its numbers. The model's further inputs go beside them, by their names."""

    values: NotRequired[Annotated[list[float], Field(description="oldest first; the name of the input will do too")]]
    state: NotRequired[Annotated[str, Field(description="of an earlier answer: `values` go on from there")]]


class Answer(TypedDict):
    """Who answered."""

    model: str
    version: str


@_exact
class Score(TypedDict):
    label: str
    index: Annotated[int, Field(description="position of the label")]
    probability: Annotated[float, Field(ge=0, le=1)]


@_exact
class Explanation(TypedDict):
    """How much each place of the row counts for the label, as numbers or as a picture over the row."""

    method: Method
    window: NotRequired[Annotated[list[int], Field(description="places that occlusion hides at a time, by axis")]]
    stride: NotRequired[list[int]]
    values: NotRequired[Numbers]
    image: NotRequired[Annotated[str, Field(description="a PNG in base64")]]


@_exact
class Classification(Score):
    """The most probable label, and the ``top_k`` first of them in falling order."""

    top: list[Score]
    explanation: NotRequired[Explanation]


@_exact
class ClassifyAnswer(Answer):
    predictions: list[Classification]


@_exact
class ForecastPrediction(TypedDict):
    mean: Annotated[list[float], Field(description="the centre of the forecast, a value a step")]
    quantiles: NotRequired[dict[str, list[float]]]
    state: NotRequired[Annotated[str, Field(description="signed; send it back with what came since")]]


@_exact
class TextPrediction(TypedDict):
    text: str
    probability: Annotated[float, Field(ge=0, le=1)]
    complete: NotRequired[Annotated[bool, Field(description="false: the steps ran out before the text ended")]]


@_exact
class SequenceAnswer(Answer):
    predictions: list[ForecastPrediction | TextPrediction]


@_exact
class ReconstructPrediction(TypedDict):
    output: Shown
    error: Annotated[float, Field(description="how far the output is from the row")]
    anomaly: NotRequired[Annotated[bool, Field(description="whether score, or error without one, is over threshold")]]
    score: NotRequired[float]
    threshold: NotRequired[float]
    error_map: NotRequired[Shown]


@_exact
class ReconstructAnswer(Answer):
    predictions: list[ReconstructPrediction]


@_exact
class GenerateAnswer(Answer):
    seed: NotRequired[Annotated[int, Field(description="gives the same rows again, in any company")]]
    seeds: NotRequired[Annotated[list[int], Field(description="the ends, where seeds were interpolated")]]
    labels: NotRequired[list[str]]
    outputs: list[Shown]


@_exact
class ForecastEvent(TypedDict):
    row: int
    step: int
    value: float


@_exact
class TextEvent(TypedDict):
    """``text`` is all that has been written so far."""

    row: int
    step: int
    text: str


@_exact
class GenerateEvent(TypedDict):
    """``preview`` is how the finished row looks at this step."""

    row: int
    step: int
    steps: int
    preview: Shown


@_exact
class Error(TypedDict):
    """Every error of every route."""

    error: Annotated[str, Field(description="what was expected, what came, and what to do")]
    request_id: Annotated[str, Field(description="as in the header X-Request-Id and in the log of the server")]


OPTIONS: Mapping[str, str] = {
    "model": "who is to answer; needed where several models do the task and the deployment names no default",
    "version": "a number or an alias; the newest that serves where it is left out",
    "stream": "answer with server-sent events, a step each; the last is `done`, with what is the answer without it",
    "top_k": "how many labels a row",
    "explain": "why: true leaves the method to the model",
    "explanation_format": "`picture`: over the row, as a PNG",
    "horizon": "steps ahead; 12, or what the model has, where it is left out",
    "quantiles": "between 0 and 1; of models that answer at once those that they have",
    "seed": "0 to 2^63 - 1; the same seed gives the same bits, alone and in company",
    "paths": "how many futures are drawn for the quantiles of a series",
    "return_state": "answer with a state too, to go on from later, on any replica with the same key",
    "beams": "how many texts are followed; 1 takes the likeliest character at each step",
    "graph": "which of the graphs that the manifest names; the first where it is left out",
    "error_map": "answer with the differences place by place too",
    "output_format": "`picture`: each row as a PNG in base64",
    "count": "how many rows; as many as there are labels, or 1, where it is left out",
    "labels": "texts or positions: one for all rows or one for each; in turn where they are left out",
    "steps": "of a diffusion",
    "guidance": "of a diffusion: how much the label counts beyond what it does by itself",
    "eta": "of a diffusion: 0 draws no noise between the steps (DDIM), 1 all of it (DDPM)",
    "interpolate": "go from the row of one seed to that of another, with one label; not of a diffusion",
}
"""What each option of a task means."""


def describe_options(options: type[TaskOptions]) -> dict[str, tuple[Any, FieldInfo]]:
    """Name -> (type, field) of the options of a task, for `pydantic.create_model`. Each may be null."""
    described = {}
    for name, field in options.model_fields.items():
        described[name] = (Optional[field.annotation], copy(field))  # noqa: UP045  # mypy: it may be no type
        described[name][1].description = OPTIONS[name]
    return described


def request_of(name: str, options: type[TaskOptions], rows: Any) -> Any:
    """A model of a whole request; ``rows`` is the type of one of its ``inputs``, or None where it has none."""
    inputs = {} if rows is None else {"inputs": (Annotated[list[rows], Field(min_length=1)], ...)}
    fields: dict[str, Any] = {**inputs, **describe_options(options)}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
