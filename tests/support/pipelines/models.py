"""Tiny models that can be the steps of a pipeline, and pipelines of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_store import Store
from model_store.manifest import Manifest
from model_store.tasks import Classes, Column, Detection, Embedding, Image, Regression, Table
from service.codecs.pictures.writer import encode_png
from tests.support.driving import describe
from tests.support.models.text import make_model
from tests.support.pictures import encoding

SIDE = 32
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def halves(left: tuple[int, int, int], right: tuple[int, int, int], side: int = SIDE) -> np.ndarray:
    """A picture of two colours, uint8 [side, side, 3]."""
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:, : side // 2], pixels[:, side // 2 :] = left, right
    return pixels


def as_row(pixels: np.ndarray) -> dict[str, str]:
    """A picture [height, width, 3] as a row of a request."""
    return encoding.as_row(to_png(pixels))


def to_png(pixels: np.ndarray) -> bytes:
    return encode_png(pixels, Image(input="", channels=3, layout="NHWC"))


def finder() -> tuple[Manifest, dict[str, bytes]]:
    """Detects the left and the right half of a picture as boxes; the scores are its redness, and half of that."""
    graph = make_model(
        f"float[batch,3,{SIDE},{SIDE}] image => float[batch,2,4] boxes, float[batch,2] scores",
        "means = ReduceMean<keepdims=0>(image, [2, 3]) red = Slice(means, [0], [1], [1]) "
        "scores = Mul(red, [1.0, 0.5]) zero = Mul(red, 0.0) flat = Unsqueeze(zero, [2]) boxes = Add(flat, places)",
        places=[[[0.0, 0.0, SIDE / 2, SIDE], [SIDE / 2, 0.0, SIDE, SIDE]]],
    )
    facts = {
        "task": "detect",
        "labels": ("half",),
        "image": Image(input="image", channels=3, height=SIDE, width=SIDE, scale=1 / 255),
        "detection": Detection(threshold=0.01, overlap=None),
    }
    return _make("finder", graph, facts)


def painter(name: str = "painter", swapped: bool = False) -> tuple[Manifest, dict[str, bytes]]:
    """Classifies a picture as red, green or blue, by its mean; ``swapped``: calls red green, and so on."""
    graph = make_model(
        "float[batch,3,4,4] image => float[batch,3] probabilities",
        "means = ReduceMean<keepdims=0>(image, [2, 3]) probabilities = Softmax(means)",
    )
    facts = {
        "task": "classify",
        "labels": ("green", "blue", "red") if swapped else ("red", "green", "blue"),
        "classes": Classes(probabilities="probabilities"),
        "image": Image(input="image", channels=3, height=4, width=4, scale=10 / 255),
    }
    return _make(name, graph, facts)


def matcher() -> tuple[Manifest, dict[str, bytes]]:
    """The mean colour of a picture as a vector; the same up to a distance of 0.1."""
    graph = make_model(
        "float[batch,3,4,4] image => float[batch,3] mean", "mean = ReduceMean<keepdims=0>(image, [2, 3])"
    )
    facts = {
        "task": "embed",
        "embedding": Embedding(output="mean", normalise=False, metric="euclidean", threshold=0.1),
        "image": Image(input="image", channels=3, height=4, width=4, scale=1 / 255),
    }
    return _make("matcher", graph, facts)


def adder() -> tuple[Manifest, dict[str, bytes]]:
    """Regresses the sum of the columns age and share."""
    graph = make_model("float[batch,2] x => float[batch] y", "y = ReduceSum<keepdims=0>(x, [1])")
    columns = tuple(Column(name=name, input="x", position=at) for at, name in enumerate(("age", "share")))
    facts = {"task": "regress", "table": Table(columns=columns), "regression": Regression(output="y")}
    return _make("adder", graph, facts)


def _make(name: str, graph: bytes, facts: Mapping[str, Any]) -> tuple[Manifest, dict[str, bytes]]:
    manifest = describe({"main": graph}, **facts).model_copy(update={"name": name})
    return manifest, {"main.onnx": graph}


def make_pipeline(name: str, steps: Mapping[str, Any], outputs: Mapping[str, str], **more: Any) -> Manifest:
    return Manifest.model_validate(
        {"name": name, "task": "pipeline", "pipeline": {"steps": steps, "outputs": outputs, **more}}
    )


FIND = {"model": "finder", "task": "detect", "input": "request"}
HALVES = {"do": "crop", "picture": "request", "boxes": "find.detections"}
PAINT = {"model": "painter", "task": "classify", "each": "halves"}
COLOURS = {"colours": "paint[].label"}
PIPELINES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str]]] = {
    "colours": ({"find": FIND, "halves": HALVES, "paint": PAINT}, COLOURS),
    "sure": (
        {
            "find": FIND,
            "halves": HALVES,
            "paint": {**PAINT, "when": "find.detections[].score >= 0.3"},
            "whole": {
                "model": "painter",
                "task": "classify",
                "input": "request",
                "when": "find.detections[0].score < 0.4 or paint[0].label == 'blue'",
            },
        },
        {**COLOURS, "whole": "whole.label", "parts": "halves"},
    ),
    "known": (
        {
            "find": {**FIND, "input": "request.photo"},
            "halves": {**HALVES, "picture": "request.photo"},
            "mine": {"model": "matcher", "task": "embed", "each": "halves"},
            "theirs": {"model": "matcher", "task": "embed", "each": "request.known"},
            "who": {"do": "compare", "vectors": "mine[].embedding", "others": "theirs[].embedding"},
        },
        {"who": "who[].best"},
    ),
    "sums": (
        {
            "paint": {**PAINT, "each": None, "input": "request.photo"},
            "add": {"model": "adder", "task": "regress", "input": {"age": "request.age", "share": "paint.index"}},
        },
        {"sum": "add.value"},
    ),
    "broken": (
        {
            "paint": {**PAINT, "each": None, "input": "request", "options": {"explain": True}},
            "add": {"model": "adder", "task": "regress", "each": "paint.explanation.values"},
        },
        {"sums": "add"},
    ),
    "beside": (
        {
            "one": {**PAINT, "each": None, "input": "request"},
            "other": {"model": "matcher", "task": "embed", "input": "request"},
        },
        {"label": "one.label", "vector": "other.embedding"},
    ),
}
"""Name -> steps and outputs."""


def write_store(root: Path, *names: str) -> Store:
    """The models, and the pipelines with these names, by default all."""
    store = Store(root)
    for manifest, files in (finder(), painter(), matcher(), adder()):
        store.publish(manifest, files)
    for name in names or PIPELINES:
        store.publish(make_pipeline(name, *PIPELINES[name]), {})
    return store
