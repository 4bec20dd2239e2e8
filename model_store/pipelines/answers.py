"""The form of each step's answer, by which wires are checked before anything runs."""

from collections.abc import Mapping
from typing import Any

from model_store.pipelines.facts import Pipeline, Step
from model_store.pipelines.names import suggest
from model_store.pipelines.wires import EACH, REQUEST, Wire, show_part

Form = Any
"""A word such as NUMBER; ``{field: form}`` of an object; ``[form]`` of a list."""

NUMBER, TEXT, TRUTH, PICTURE, ANYTHING = "number", "text", "true or false", "picture", "anything"

_SCORE = {"label": TEXT, "index": NUMBER, "probability": NUMBER}
_COMPARISON = {"similarity": NUMBER, "distance": NUMBER, "same": TRUTH}
_POINT = {"name": TEXT, "x": NUMBER, "y": NUMBER, "score": NUMBER}
_DETECTION = {"label": TEXT, "index": NUMBER, "score": NUMBER, "box": [NUMBER], "points": [_POINT], "mask": ANYTHING}

_SPAN = {"label": TEXT, "text": TEXT, "start": NUMBER, "end": NUMBER, "probability": NUMBER}
_PIECE = {"text": TEXT, "probability": NUMBER, "left": NUMBER, "right": NUMBER, "start": NUMBER, "end": NUMBER}

PREDICTIONS: Mapping[str, Form] = {
    "classify": {
        **_SCORE,
        "top": [_SCORE],
        "labels": [_SCORE],
        "score": NUMBER,
        "explanation": ANYTHING,
        "windows": ANYTHING,
        "spans": [_SPAN],
    },
    "detect": {"width": NUMBER, "height": NUMBER, "detections": [_DETECTION]},
    "segment": {
        "width": NUMBER,
        "height": NUMBER,
        "labels": [{"label": TEXT, "index": NUMBER, "share": NUMBER}],
        "mask": ANYTHING,
    },
    "embed": {"embedding": [NUMBER], "comparisons": [_COMPARISON], "windows": ANYTHING},
    "regress": {"value": NUMBER, "values": ANYTHING},
    "predict_sequence": {
        "mean": [NUMBER],
        "quantiles": ANYTHING,
        "state": TEXT,
        "text": TEXT,
        "probability": NUMBER,
        "log_probability": NUMBER,
        "tokens": NUMBER,
        "pieces": [_PIECE],
        "windows": ANYTHING,
        "complete": TRUTH,
    },
    "reconstruct": {
        "output": ANYTHING,
        "error": NUMBER,
        "anomaly": TRUTH,
        "score": NUMBER,
        "threshold": NUMBER,
        "error_map": ANYTHING,
    },
}
"""Task -> the form of one prediction, with every field that it may have."""

OPERATIONS: Mapping[str, Form] = {
    "crop": [PICTURE],
    "compare": [{"best": {"index": NUMBER, **_COMPARISON}, "comparisons": [_COMPARISON]}],
}
"""Operation -> the form of its answer."""


def find_forms(pipeline: Pipeline) -> Mapping[str, Form]:
    """The form of each source of wires: the request, and the answer of each step for a row."""
    return {REQUEST: ANYTHING, **{name: _form_of(step) for name, step in pipeline.steps.items()}}


def _form_of(step: Step) -> Form:
    if step.do is not None:
        return OPERATIONS[step.do]
    prediction = PREDICTIONS[str(step.task)]
    return prediction if step.each is None else [prediction]


def form_at(wire: Wire, form: Form) -> Form:
    """The form of the value that a wire names, given the form of its source. Raises ValueError."""
    so_far = wire.source
    for at, part in enumerate(wire.path):
        if form == ANYTHING:
            return ANYTHING
        if isinstance(part, str):
            if isinstance(form, list):
                raise ValueError(
                    f"{wire}: {so_far} is a list: write {so_far}[]{show_part(part)} for all of its elements, or "
                    f"{so_far}[0]{show_part(part)} for the first"
                )
            if not isinstance(form, Mapping):
                raise ValueError(f"{wire}: {so_far} is a {form}, which has no fields")
            if part not in form:
                raise ValueError(f"{wire}: {so_far} has no field {part!r:.60}{suggest(part, form)}")
            form = form[part]
        else:
            if not isinstance(form, list):
                raise ValueError(f"{wire}: {so_far} is {show_form(form)}, no list: leave out {show_part(part)}")
            form = form[0]
            if part is EACH:
                rest = Wire(f"{so_far}[]", wire.path[at + 1 :])
                return [form_at(rest, form)]
        so_far += show_part(part)
    return form


def show_form(form: Form) -> str:
    """A form in words."""
    if isinstance(form, list):
        return f"a list of {show_form(form[0]).removeprefix('a ').removeprefix('an ')}s"
    if isinstance(form, Mapping):
        return f"an object ({', '.join(form)})"
    return form if form in (ANYTHING, TRUTH) else f"a {form}"
