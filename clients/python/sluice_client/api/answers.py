"""What the tasks answer.

Written by ``make client-types`` from the OpenAPI document: do not edit.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from sluice_client.api.details import (
    Classification,
    DetectPrediction,
    EmbedPrediction,
    ForecastEvent,
    ForecastPrediction,
    Number,
    ReconstructPrediction,
    SegmentPrediction,
    StepTimes,
    TaggedText,
    TextEvent,
    TextPrediction,
)
from sluice_client.chosen import only
from sluice_client.files import Array, Picture, Sound
from sluice_client.meta import Meta


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[Classification | TaggedText]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)

    @property
    def classifications(self) -> list[Classification]:
        """The predictions, if they are of this kind. Raises TypeError for others."""
        return only(Classification, self.predictions)

    @property
    def tagged_texts(self) -> list[TaggedText]:
        """The predictions, if they are of this kind. Raises TypeError for others."""
        return only(TaggedText, self.predictions)


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[DetectPrediction]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[EmbedPrediction]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GenerateAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    seed: int | None = None
    """The same seed gives the same rows again."""

    seeds: list[int] | None = None
    """The two ends of an interpolation."""

    labels: list[str] | None = None
    outputs: list[Array | Picture | Sound]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)

    @property
    def arrays(self) -> list[Array]:
        """The outputs, if they are of this kind. Raises TypeError for others."""
        return only(np.ndarray, self.outputs)

    @property
    def pictures(self) -> list[Picture]:
        """The outputs, if they are of this kind. Raises TypeError for others."""
        return only(Picture, self.outputs)

    @property
    def sounds(self) -> list[Sound]:
        """The outputs, if they are of this kind. Raises TypeError for others."""
        return only(Sound, self.outputs)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GenerateEvent:
    """`preview` is the row as the model expects it to end."""

    row: int
    step: int
    steps: int
    preview: Array | Picture | Sound
    """Nested numbers, or a PNG or WAV if asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[dict[str, Any]]
    """The outputs of the pipeline, by name."""

    timings: dict[str, StepTimes] | None = None
    """By step."""

    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineEvent:
    """A step that has ended, and how many rows it had."""

    step: str
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[ReconstructPrediction]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    unit: str | None = None
    predictions: list[Number]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[SegmentPrediction]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceAnswer:
    """The answer, and the model version that gave it."""

    model: str
    version: str
    predictions: list[ForecastPrediction | TextPrediction]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)

    @property
    def forecasts(self) -> list[ForecastPrediction]:
        """The predictions, if they are of this kind. Raises TypeError for others."""
        return only(ForecastPrediction, self.predictions)

    @property
    def texts(self) -> list[TextPrediction]:
        """The predictions, if they are of this kind. Raises TypeError for others."""
        return only(TextPrediction, self.predictions)


SequenceEvent: TypeAlias = ForecastEvent | TextEvent
