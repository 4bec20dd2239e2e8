"""Types of the requests and answers of the task routes, for the OpenAPI document and BentoML's client.

The types, limits and defaults of options come from the tasks. Tests check answers against these types.
"""

from typing import Annotated, Any, NotRequired, Optional

from pydantic import ConfigDict, Field, create_model, with_config
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType, TypedDict  # those of typing suffice for pydantic from Python 3.12 on

from service.api.openapi.protocol_types import Exact, exact
from service.tasks.explain import Method
from service.tasks.request import TaskOptions

Numbers = TypeAliasType("Numbers", "float | list[Numbers]")
"""Nested to any depth. It is recursive, which needs a type alias."""


class EncodedPicture(Exact):
    """A JPEG, PNG, WebP, GIF, TIFF or BMP file in JSON."""

    image: Annotated[str, Field(description="the file, in base64")]


class EncodedSound(Exact):
    """A WAV, FLAC, OGG or MP3 file in JSON."""

    sound: Annotated[str, Field(description="the file, in base64")]


Row = Annotated[
    Numbers
    | EncodedPicture
    | EncodedSound
    | str
    | dict[str, Numbers | EncodedPicture | EncodedSound | str | None]
    | list[float | str | None],
    Field(
        description="nested numbers of the model's row shape, a picture, or a sound; an object by name for several "
        'inputs or for the columns of a table; a text, or a pair of texts as an array or as {"text", "text_pair"}'
    ),
]
Shown = Annotated[
    Numbers | EncodedPicture | EncodedSound, Field(description="nested numbers, or a PNG or WAV if asked for")
]


class SoundPart(Exact):
    """A window of a sound, in seconds from its beginning."""

    begin_s: Annotated[float, Field(ge=0)]
    end_s: float


class LabelledPart(SoundPart):
    label: str
    index: int
    probability: Annotated[float, Field(ge=0, le=1)]


class EmbeddedPart(SoundPart):
    embedding: list[float] | str


@with_config(ConfigDict(extra="allow"))
class Series(TypedDict):
    """A series as an object. The other inputs of the model are further fields, by name."""

    values: NotRequired[Annotated[list[float], Field(description="oldest first; the name of the input works too")]]
    state: NotRequired[Annotated[str, Field(description="from an earlier answer; `values` are what came since")]]


class Answer(Exact):
    """The model version that answered."""

    model: str
    version: str


class Score(Exact):
    label: str
    index: Annotated[int, Field(description="position of the label, from 0")]
    probability: Annotated[float, Field(ge=0, le=1)]


class Explanation(Exact):
    """How much each position of the row counts for the label, as numbers or as a picture over the row."""

    method: Method
    window: NotRequired[Annotated[list[int], Field(description="size of what occlusion hides, by axis")]]
    stride: NotRequired[list[int]]
    values: NotRequired[Numbers]
    image: NotRequired[Annotated[str, Field(description="a PNG in base64")]]


class Classification(Score):
    """The most probable label, and the ``top_k`` most probable ones, highest first."""

    top: list[Score]
    labels: NotRequired[Annotated[list[Score], Field(description="all that count, if a row may have several")]]
    score: NotRequired[Annotated[float, Field(description="a number beside the label, if the model has one")]]
    explanation: NotRequired[Explanation]
    windows: NotRequired[Annotated[list[LabelledPart], Field(description="of a sound, if asked for")]]


class Part(Exact):
    """A part of a text that has a label."""

    label: str
    text: str
    start: Annotated[int, Field(description="its first character, counted in Unicode characters from 0")]
    end: Annotated[int, Field(description="the character after its last one")]
    probability: Annotated[float, Field(description="the mean of its tokens", ge=0, le=1)]


class TaggedText(Exact):
    """The parts of a text that have a label, in the order of the text."""

    spans: list[Part]


class Number(Exact):
    """One number, or several by name."""

    value: NotRequired[float]
    values: NotRequired[dict[str, float]]


class RegressAnswer(Answer):
    unit: NotRequired[str]
    predictions: list[Number]


class Point(Exact):
    name: NotRequired[str]
    x: float
    y: float
    score: NotRequired[float]


class Mask(Exact):
    """The pixels of a box that belong to the object."""

    left: int
    top: int
    image: Annotated[str, Field(description="a black and white PNG in base64, white inside")]


class Detected(Exact):
    """One box, with all coordinates in pixels of the picture as it was sent, upright."""

    box: Annotated[list[float], Field(description="left, top, right, bottom", min_length=4, max_length=4)]
    label: str
    index: Annotated[int, Field(description="position of the label, from 0")]
    score: Annotated[float, Field(ge=0, le=1)]
    points: NotRequired[list[Point]]
    mask: NotRequired[Mask]


class DetectPrediction(Exact):
    """The boxes of a picture, highest score first."""

    width: int
    height: int
    detections: list[Detected]


class Area(Exact):
    label: str
    index: Annotated[int, Field(description="position of the label, from 0")]
    share: Annotated[float, Field(description="of the pixels of the picture", ge=0, le=1)]


class SegmentPrediction(Exact):
    """The label of each pixel, and the labels that there are, largest area first."""

    width: int
    height: int
    labels: list[Area]
    mask: Annotated[
        EncodedPicture | list[list[int]],
        Field(description="positions of labels: the pixel values of a PNG, or nested numbers if asked for"),
    ]


class Comparison(Exact):
    """How similar two rows are, in the metric of the model. ``same``: the verdict, if the model has a threshold."""

    similarity: NotRequired[Annotated[float, Field(description="cosine of the angle", ge=-1, le=1)]]
    distance: NotRequired[Annotated[float, Field(description="Euclidean", ge=0)]]
    same: NotRequired[bool]


class EmbedPrediction(Exact):
    embedding: Annotated[list[float] | str, Field(description="the vector, as numbers or in base64")]
    comparisons: NotRequired[Annotated[list[Comparison], Field(description="one for each element of `compare`")]]
    windows: NotRequired[Annotated[list[EmbeddedPart], Field(description="of a sound, if asked for")]]


class ForecastPrediction(Exact):
    mean: Annotated[list[float], Field(description="the centre of the forecast, one value for each step")]
    quantiles: NotRequired[dict[str, list[float]]]
    state: NotRequired[Annotated[str, Field(description="signed; send it back with the values that came since")]]


class Piece(Exact):
    """A symbol that was read, and its place: sides in pixels of the picture as it was sent, or seconds of the sound."""

    text: str
    probability: Annotated[float, Field(ge=0, le=1)]
    left: NotRequired[float]
    right: NotRequired[float]
    start: NotRequired[float]
    end: NotRequired[float]


class WrittenPart(SoundPart):
    text: str
    probability: Annotated[float, Field(ge=0, le=1)]
    log_probability: Annotated[float, Field(le=0)]
    tokens: Annotated[int, Field(ge=0)]
    complete: bool


class TextPrediction(Exact):
    text: str
    probability: Annotated[
        float,
        Field(description="of a text that was written, that of all its tokens; that was read, the mean", ge=0, le=1),
    ]
    pieces: NotRequired[Annotated[list[Piece], Field(description="the symbols that were read, if asked for")]]
    log_probability: NotRequired[Annotated[float, Field(description="natural; of a long text it says more", le=0)]]
    tokens: NotRequired[Annotated[int, Field(description="how many tokens the text has", ge=0)]]
    complete: NotRequired[Annotated[bool, Field(description="false: the text had not ended at the last step")]]
    windows: NotRequired[Annotated[list[WrittenPart], Field(description="of a sound, if asked for")]]


class ReconstructPrediction(Exact):
    output: Shown
    error: Annotated[float, Field(description="the difference of output and row")]
    anomaly: NotRequired[Annotated[bool, Field(description="whether `score`, else `error`, is over `threshold`")]]
    score: NotRequired[float]
    threshold: NotRequired[float]
    error_map: NotRequired[Shown]


class GenerateAnswer(Answer):
    seed: NotRequired[Annotated[int, Field(description="the same seed gives the same rows again")]]
    seeds: NotRequired[Annotated[list[int], Field(description="the two ends of an interpolation")]]
    labels: NotRequired[list[str]]
    outputs: list[Shown]


class StepTimes(Exact):
    """The time that a step of a pipeline took. Steps may run side by side."""

    rows: int
    queue_s: float
    compute_s: float
    total_s: float


class PipelineAnswer(Answer):
    predictions: Annotated[list[dict[str, Any]], Field(description="the outputs of the pipeline, by name")]
    timings: NotRequired[Annotated[dict[str, StepTimes], Field(description="by step")]]


_VERSION = {"model": str, "version": str}
ClassifyAnswer = exact("ClassifyAnswer", **_VERSION, predictions=list[Classification | TaggedText])
DetectAnswer = exact("DetectAnswer", **_VERSION, predictions=list[DetectPrediction])
SegmentAnswer = exact("SegmentAnswer", **_VERSION, predictions=list[SegmentPrediction])
EmbedAnswer = exact("EmbedAnswer", **_VERSION, predictions=list[EmbedPrediction])
SequenceAnswer = exact("SequenceAnswer", **_VERSION, predictions=list[ForecastPrediction | TextPrediction])
ReconstructAnswer = exact("ReconstructAnswer", **_VERSION, predictions=list[ReconstructPrediction])

PipelineEvent = exact("PipelineEvent", "A step that has ended, and how many rows it had.", step=str, rows=int)
_EVENT = {"row": int, "step": int}
ForecastEvent = exact("ForecastEvent", **_EVENT, value=float)


class TextEvent(Exact):
    """`text` is the whole text up to this step."""

    row: int
    window: NotRequired[Annotated[int, Field(description="of a sound, from 0", ge=0)]]
    step: int
    text: str


_PREVIEW = "`preview` is the row as the model expects it to end."
GenerateEvent = exact("GenerateEvent", _PREVIEW, **_EVENT, steps=int, preview=Shown)


class Error(Exact):
    """Every error of every route."""

    error: Annotated[str, Field(description="what was expected, what came, and what to do")]
    request_id: Annotated[str, Field(description="as in the header X-Request-Id and in the log of the server")]


def describe_options(options: type[TaskOptions]) -> dict[str, tuple[Any, FieldInfo]]:
    """Name -> (type, field) of the options of a task, for `pydantic.create_model`. Each may be null."""
    fields = options.model_fields.items()
    return {name: (Optional[field.annotation], field) for name, field in fields}  # noqa: UP045  # mypy: it may be no type


def request_of(name: str, options: type[TaskOptions], rows: Any) -> Any:
    """The type of a whole request. ``rows`` is the type of one row, None for a task without ``inputs``."""
    inputs = {} if rows is None else {"inputs": (Annotated[list[rows], Field(min_length=1)], ...)}
    fields: dict[str, Any] = {**inputs, **describe_options(options)}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
