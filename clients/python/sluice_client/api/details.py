"""What answers are made of.

Written by ``make client-types`` from the OpenAPI document: do not edit.
"""

from dataclasses import dataclass
from typing import Literal

from sluice_client.files import Array, Picture, Sound


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Explanation:
    """How much each position of the row counts for the label, as numbers or as a picture over the row."""

    method: Literal["saliency", "integrated_gradients", "occlusion"]
    window: list[int] | None = None
    """Size of what occlusion hides, by axis."""

    stride: list[int] | None = None
    values: Array | None = None
    image: Picture | None = None
    """A PNG in base64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledPart:
    """Fields: begin_s, end_s, label, index, probability."""

    begin_s: float
    end_s: float
    label: str
    index: int
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Fields: label, index, probability."""

    label: str
    index: int
    """Position of the label, from 0."""

    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """The most probable label, and the ``top_k`` most probable ones, highest first."""

    label: str
    index: int
    """Position of the label, from 0."""

    probability: float
    top: list[Score]
    labels: list[Score] | None = None
    """All that count, if a row may have several."""

    score: float | None = None
    """A number beside the label, if the model has one."""

    explanation: Explanation | None = None
    windows: list[LabelledPart] | None = None
    """Of a sound, if asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a text that has a label."""

    label: str
    text: str
    start: int
    """Its first character, counted in Unicode characters from 0."""

    end: int
    """The character after its last one."""

    probability: float
    """The mean of its tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaggedText:
    """The parts of a text that have a label, in the order of the text."""

    spans: list[Part]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """The pixels of a box that belong to the object."""

    left: int
    top: int
    image: Picture
    """A black and white PNG in base64, white inside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Fields: name, x, y, score."""

    name: str | None = None
    x: float
    y: float
    score: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Detected:
    """One box, with all coordinates in pixels of the picture as it was sent, upright."""

    box: list[float]
    """Left, top, right, bottom."""

    label: str
    index: int
    """Position of the label, from 0."""

    score: float
    points: list[Point] | None = None
    mask: Mask | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectPrediction:
    """The boxes of a picture, highest score first."""

    width: int
    height: int
    detections: list[Detected]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How similar two rows are, in the metric of the model. ``same``: the verdict, if the model has a threshold."""

    similarity: float | None = None
    """Cosine of the angle."""

    distance: float | None = None
    """Euclidean."""

    same: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EmbeddedPart:
    """Fields: begin_s, end_s, embedding."""

    begin_s: float
    end_s: float
    embedding: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EmbedPrediction:
    """Fields: embedding, comparisons, windows."""

    embedding: Array
    """The vector, as numbers or in base64."""

    comparisons: list[Comparison] | None = None
    """One for each element of `compare`."""

    windows: list[EmbeddedPart] | None = None
    """Of a sound, if asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """The time that a step of a pipeline took. Steps may run side by side."""

    rows: int
    queue_s: float
    compute_s: float
    total_s: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReconstructPrediction:
    """Fields: output, error, anomaly, score, threshold, error_map."""

    output: Array | Picture | Sound
    """Nested numbers, or a PNG or WAV if asked for."""

    error: float
    """The difference of output and row."""

    anomaly: bool | None = None
    """Whether `score`, else `error`, is over `threshold`."""

    score: float | None = None
    threshold: float | None = None
    error_map: Array | Picture | Sound | None = None
    """Nested numbers, or a PNG or WAV if asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One number, or several by name."""

    value: float | None = None
    values: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """Fields: label, index, share."""

    label: str
    index: int
    """Position of the label, from 0."""

    share: float
    """Of the pixels of the picture."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SegmentPrediction:
    """The label of each pixel, and the labels that there are, largest area first."""

    width: int
    height: int
    labels: list[Area]
    mask: Array | Picture
    """Positions of labels: the pixel values of a PNG, or nested numbers if asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastPrediction:
    """Fields: mean, quantiles, state."""

    mean: list[float]
    """The centre of the forecast, one value for each step."""

    quantiles: dict[str, list[float]] | None = None
    state: str | None = None
    """Signed; send it back with the values that came since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A symbol that was read, and its place: sides in pixels of the picture as it was sent, or seconds of the sound."""

    text: str
    probability: float
    left: float | None = None
    right: float | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenPart:
    """Fields: begin_s, end_s, text, probability, log_probability, tokens, complete."""

    begin_s: float
    end_s: float
    text: str
    probability: float
    log_probability: float
    tokens: int
    complete: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPrediction:
    """Fields: text, probability, pieces, log_probability, tokens, complete, windows."""

    text: str
    probability: float
    """Of a text that was written, that of all its tokens; that was read, the mean."""

    pieces: list[Piece] | None = None
    """The symbols that were read, if asked for."""

    log_probability: float | None = None
    """Natural; of a long text it says more."""

    tokens: int | None = None
    """How many tokens the text has."""

    complete: bool | None = None
    """False: the text had not ended at the last step."""

    windows: list[WrittenPart] | None = None
    """Of a sound, if asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastEvent:
    """Fields: row, step, value."""

    row: int
    step: int
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEvent:
    """`text` is the whole text up to this step."""

    row: int
    window: int | None = None
    """Of a sound, from 0."""

    step: int
    text: str
