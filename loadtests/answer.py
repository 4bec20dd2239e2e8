"""Checks an answer: its shape against the model's signature, its numbers against their meaning."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from loadtests.signature import DYNAMIC, Signature, Tensor
from loadtests.wire import WrongAnswer, decode


def check_status(status: int) -> None:
    """Raises WrongAnswer unless ``status`` is 200; 0 stands for a connection that gave no answer."""
    if status == 0:
        raise WrongAnswer("no answer: the connection failed or timed out")
    if status != 200:
        raise WrongAnswer(f"status {status} instead of 200")


def check_task(task: str, body: bytes, rows: int | None) -> None:
    """Raises WrongAnswer unless ``body`` answers a task, with something for each row; ``rows`` None: for any number.

    Labels and probabilities of /classify are checked too.
    """
    name = "outputs" if task == "generate" else "predictions"
    try:
        answers = json.loads(body)[name]
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer(f"the answer is not a JSON object with {name}") from None
    if not isinstance(answers, list) or (rows is not None and len(answers) != rows):
        raise WrongAnswer(f"the number of {name} is not the number of rows")
    if task == "classify":
        for prediction in answers:
            _check_prediction(prediction)


def check_event(line: bytes) -> bool:
    """Whether a line of a stream of events has data. Raises WrongAnswer for an event with an error."""
    if line.startswith(b"event: error"):
        raise WrongAnswer("an event tells an error")
    return line.startswith(b"data: ")


def check_outputs(headers: Mapping[str, str], body: bytes, signature: Signature, rows: int) -> None:
    """Raises WrongAnswer unless the infer answer holds every output of ``signature`` with ``rows`` finite rows."""
    check_tensors(decode(headers, body), signature, rows)


def check_tensors(outputs: Mapping[str, np.ndarray], signature: Signature, rows: int) -> None:
    """Raises WrongAnswer unless every output of ``signature`` is there with ``rows`` finite rows."""
    for tensor in signature.outputs:
        if tensor.name not in outputs:
            raise WrongAnswer(f"output {tensor.name!r} is missing")
        _check_output(tensor, outputs[tensor.name], rows)


def _check_prediction(prediction: Any) -> None:
    if isinstance(prediction, dict) and isinstance(prediction.get("spans"), list):
        return  # the parts of a text
    if not isinstance(prediction, dict) or not {"label", "index", "probability"} <= prediction.keys():
        raise WrongAnswer("a prediction lacks label, index or probability")
    probability = prediction["probability"]
    if not isinstance(probability, int | float) or not math.isfinite(probability) or not 0 <= probability <= 1.000001:
        raise WrongAnswer("a probability is not a number from 0 to 1")


def _check_output(tensor: Tensor, values: np.ndarray, rows: int) -> None:
    expected = (rows, *tensor.row_shape)
    if len(values.shape) != len(expected) or any(
        size not in (DYNAMIC, got) for size, got in zip(expected, values.shape, strict=True)
    ):
        raise WrongAnswer(f"output {tensor.name!r} does not have its signature's shape with one row per row sent")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise WrongAnswer(f"output {tensor.name!r} holds numbers that are not finite")
