"""Pipelines: versions without graphs of their own, whose steps are other models."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from model_store.graph import FileName
from model_store.strict_model import Finite, StrictModel

StepTask = Literal["classify", "detect", "segment", "embed", "regress", "predict_sequence", "reconstruct"]


class Step(StrictModel):
    """One step, for one row of a request: a model that does a task, or an operation without a model.

    A wire is a text that names a value: ``request`` is the row, ``find`` the answer of the step ``find``,
    ``find.detections`` a field of it, ``find.detections[0].score`` that of the first element, and
    ``find.detections[].label`` the list of those of all elements. A value that is missing makes a step that needs it
    answer null.
    """

    model: str | None = None
    """The name of a model."""
    version: str | None = None
    """A number or an alias. None: the version that serves."""
    task: StepTask | None = None
    """What the model does here."""
    options: Mapping[str, Any] = {}
    """Options of the task, as a request to its route has them."""
    do: Literal["crop", "compare"] | None = None
    """An operation, in place of a model. ``crop`` cuts ``boxes`` out of ``picture``; its answer is a list of pictures.
    ``compare`` gives the similarity of each of ``vectors`` to each of ``others``."""
    input: str | Mapping[str, str] | None = None
    """The wire of the model's input; if that is an object, a wire for each field. The step answers once."""
    each: str | None = None
    """In place of ``input``, the wire of a list: the step answers for each element, with a list."""
    when: str | None = None
    """A condition, such as ``find.detections[0].score >= 0.5 and kind.label == "text"``. If it does not hold, the step
    answers null. In a step with ``each``, wires with ``[]`` stand for the same element of another list."""
    picture: str | None = None
    """For ``crop``: the wire of a picture."""
    boxes: str | None = None
    """For ``crop``: the wire of a list of detections, of boxes [left, top, right, bottom], or of quadrilaterals, which
    are turned upright: four corners, left top, right top, right bottom, left bottom."""
    margin: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """For ``crop``: how far the part is extended on each side, relative to that side."""
    vectors: str | None = None
    """For ``compare``: the wire of a list of vectors, which come from a step with the task embed."""
    others: str | None = None
    """For ``compare``: the wire of the vectors that they are compared with."""


class GoldenRequest(StrictModel):
    """A stored request and its answer. Numbers must equal these within ``atol + rtol * |expected|``; all else must be
    the same."""

    request: FileName
    """A JSON file with the ``inputs`` of a request."""
    answer: FileName
    """A JSON file with the ``predictions``."""
    atol: Annotated[Finite, Field(ge=0)] = 1e-3
    rtol: Annotated[Finite, Field(ge=0)] = 1e-3


class Pipeline(StrictModel):
    """Steps by name, and the fields of the answer for each row."""

    steps: Mapping[str, Step]
    outputs: Mapping[str, str]
    """The fields of a prediction by name, with their wires."""
    golden: tuple[GoldenRequest, ...] = ()
    """Requests that are sent when the version is loaded."""
