"""A request that a model answers: from a file, from the server's examples, or made for its signature."""

import json
import mimetypes
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from loadtests.http_client import Request, exchange
from loadtests.sending.body import Body
from loadtests.sending.rows import make_inputs
from loadtests.signature import DYNAMIC, NoModel, Signature
from loadtests.wire import shorten

JSON_TYPE = "application/json"
STREAMING_TASKS = ("predict_sequence", "generate")
"""Tasks that answer step by step where a request asks for it."""
_NUMBER_TASKS = ("classify", "embed", "reconstruct", "regress")
_MOST_NUMBERS = 4096
"""A row of more numbers is sent as people would send it, such as a picture: JSON of that size is no usual request."""


def read_body(path: Path, model: str) -> tuple[str, Body]:
    """What a query string adds to the route, and the body: a JSON request, or a picture, sound or text as it is.

    Raises NoModel for a file that cannot be read or whose type is not known.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NoModel(f"--body {path}: expected a file that can be read: {error.strerror}") from None
    kind, _ = mimetypes.guess_type(path.name)
    if kind is None:
        raise NoModel(f"--body {path}: expected a name that tells its type, such as request.json, row.png or row.wav")
    if kind != JSON_TYPE:
        return f"?model={quote(model, safe='')}", Body(content, {"Content-Type": kind})
    try:
        json.loads(content)
    except ValueError as error:
        raise NoModel(f"--body {path}: expected JSON: {error}") from None
    return "", Body(content, {"Content-Type": JSON_TYPE})


def make_bodies(address: str, task: str, signature: Signature, rows: int, count: int, seed: int) -> tuple[Body, ...]:
    """``count`` requests of ``rows`` rows for the route of a task. Raises NoModel, Unreachable."""
    if task in _NUMBER_TASKS and _is_small(signature):
        return tuple(_make_numbers(signature, rows, count, seed))
    example = find_example(address, task, signature.model)
    return tuple(encode(with_rows(example, rows, number)) for number in range(count))


def make_streams(address: str, task: str, signature: Signature, rows: int, count: int) -> tuple[Body, ...]:
    """The same, answered step by step. Raises NoModel for a task that is answered at once."""
    if task not in STREAMING_TASKS:
        raise NoModel(
            f"model {signature.model!r} does the task {task!r}: expected one of {', '.join(STREAMING_TASKS)} "
            "for --protocol stream"
        )
    example = {**find_example(address, task, signature.model, streams=True), "stream": True}
    return tuple(encode(with_rows(example, rows, number)) for number in range(count))


def find_example(address: str, task: str, model: str, streams: bool = False) -> dict[str, Any]:
    """An example of the task that names the model, one that streams if asked for. Raises NoModel, Unreachable."""
    found = [*_read_examples(address, task, model), *_read_documented(address, task, model)]
    usable = [one for one in found if "interpolate" not in one]
    for example in usable:
        if bool(example.get("stream")) == streams:
            return example
    for example in usable:
        if streams or "stream" not in example:
            return example
    raise NoModel(
        f"the server has no example of the task {task!r} for model {model!r}: give a request of your own with --body"
    )


def with_rows(example: Mapping[str, Any], rows: int, number: int) -> dict[str, Any]:
    """The example with so many rows. ``number`` is another seed for each body of a task that has one."""
    made = dict(example)
    if "inputs" in made:
        made["inputs"] = list(islice(cycle(made["inputs"]), rows))
    elif "labels" in made:
        made["labels"] = list(islice(cycle(made["labels"]), rows))
    else:
        made["count"] = rows
    if "seed" in made:
        made["seed"] = number
    return made


def encode(document: Mapping[str, Any]) -> Body:
    return Body(json.dumps(document).encode(), {"Content-Type": JSON_TYPE})


def _is_small(signature: Signature) -> bool:
    """Whether a row is one input of floats, few enough for JSON."""
    if not signature.inputs:
        return False
    [first, *others] = signature.inputs
    numbers = int(np.prod([size for size in first.row_shape if size != DYNAMIC], dtype=np.int64))
    return not others and first.datatype.startswith("FP") and numbers <= _MOST_NUMBERS


def _make_numbers(signature: Signature, rows: int, count: int, seed: int) -> Iterator[Body]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        [values] = make_inputs(signature, rows, rng).values()
        yield encode({"model": signature.model, "inputs": shorten(values)})


def _read_examples(address: str, task: str, model: str) -> list[dict[str, Any]]:
    """Those of ``/v2/models/NAME/example``: ``{"examples": [{"task", "body"}]}``."""
    entries = _read(address, f"/v2/models/{quote(model, safe='')}/example").get("examples")
    found = entries if isinstance(entries, list) else []
    bodies = [one.get("body") for one in found if isinstance(one, dict) and one.get("task") == task]
    return [body for body in bodies if isinstance(body, dict)]


def _read_documented(address: str, task: str, model: str) -> list[dict[str, Any]]:
    """Those of the OpenAPI document that name the model."""
    document: Any = _read(address, "/docs.json")
    try:
        content = document["paths"][f"/{task}"]["post"]["requestBody"]["content"][JSON_TYPE]
        bodies = [example["value"] for example in content["examples"].values()]
    except (KeyError, TypeError, AttributeError):
        return []
    return [body for body in bodies if isinstance(body, dict) and body.get("model") == model]


def _read(address: str, path: str) -> dict[str, Any]:
    """A JSON object that the server has; empty without it."""
    answer = exchange(address, Request(path))
    try:
        document = json.loads(answer.body) if answer.status == 200 else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
