"""What a manifest says of boxes, masks, vectors and tables fits its graph."""

from typing import Any

import pytest

from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest

Shape = tuple[int | str, ...]
PICTURE = {"input": "x", "channels": 3}
LABELS = ("cat", "dog")
ONE = ("line",)


def tensor(name: str, row_shape: Shape, datatype: str = "FP32", batch: bool = True) -> Tensor:
    if not batch:
        return Tensor(name=name, datatype=datatype, shape=row_shape, batch_axis=None)
    return Tensor(name=name, datatype=datatype, shape=("batch", *row_shape), batch_axis=0)


def describe(task: str, *outputs: Tensor, inputs: tuple[Tensor, ...] = (), **facts: Any) -> Manifest:
    inputs = inputs or (tensor("x", (3, "height", "width")),)
    return Manifest.model_validate(
        {
            "name": "m",
            "task": task,
            "graphs": {"main": Graph(file="main.onnx", inputs=inputs, outputs=outputs)},
            **facts,
        }
    )


def detect(*outputs: Tensor, labels: tuple[str, ...] = LABELS, image: Any = PICTURE, **facts: Any) -> Manifest:
    return describe("detect", *outputs, labels=labels, image=image, detection=facts)


BOXES, SCORES = tensor("boxes", (100, 4)), tensor("scores", (100, 2))
ONE_SCORE, CLASSES = tensor("scores", (100,)), tensor("classes", (100,), "INT64")
POINTS, COEFFICIENTS = tensor("points", (100, 5, 3)), tensor("coefficients", (100, 32))
PROTOTYPES, MAP = tensor("prototypes", (32, 80, 80)), tensor("map", (1, "height", "width"))
MASKS = {"coefficients": "coefficients", "prototypes": "prototypes"}
GOOD = {
    "boxes with scores of each label": lambda: detect(BOXES, SCORES),
    "boxes with labels of their own": lambda: detect(BOXES, ONE_SCORE, CLASSES, classes="classes"),
    "boxes of one label": lambda: detect(BOXES, ONE_SCORE, labels=ONE),
    "points and masks": lambda: detect(
        BOXES, SCORES, POINTS, COEFFICIENTS, PROTOTYPES, points="points", point_names=tuple("abcde"), **MASKS
    ),
    "regions": lambda: detect(MAP, labels=ONE, regions={"output": "map"}),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_forms_of_detection_that_fit_are_accepted(make: Any) -> None:
    """Every form that the fields describe."""
    assert make().task == "detect"


BAD_BOXES: dict[str, tuple[tuple[Tensor, ...], dict[str, Any], str]] = {
    "no picture": ((BOXES, SCORES), {"image": None}, "detection: expected the field image"),
    "no labels": ((BOXES, SCORES), {"labels": ()}, "task detect needs labels"),
    "no boxes": ((SCORES,), {}, "detection.boxes: there is no output 'boxes' of the graph 'main', only scores"),
    "five corners": (
        (tensor("boxes", (100, 5)), SCORES),
        {},
        r"boxes.*: expected rows of \['any', 4\], got \[100, 5\]",
    ),
    "no scores": ((BOXES,), {}, "detection.scores: there is no output 'scores' of the graph 'main', only boxes"),
    "three scores": (
        (BOXES, tensor("scores", (100, 3))),
        {},
        r"scores.*: expected rows of \['any', 2\], got \[100, 3\]",
    ),
    "whole-number scores": (
        (BOXES, tensor("scores", (100, 2), "INT64")),
        {},
        "scores.*: expected FP16 or .*, got INT64",
    ),
    "scores without a batch": ((BOXES, tensor("scores", (100,), batch=False)), {}, "scores.* needs a batch axis"),
    "one score of two labels": ((BOXES, ONE_SCORE), {}, "detection.classes: expected it where scores are"),
    "classes beside scores": ((BOXES, SCORES, CLASSES), {"classes": "classes"}, "detection.classes: expected it where"),
    "classes of floats": (
        (BOXES, ONE_SCORE, tensor("classes", (100,))),
        {"classes": "classes"},
        "detection.classes: .*: expected INT64, got FP32",
    ),
    "points of four numbers": (
        (BOXES, SCORES, tensor("points", (100, 5, 4))),
        {"points": "points"},
        "detection.points: expected 2 or 3 numbers a point",
    ),
    "two names of five points": (
        (BOXES, SCORES, POINTS),
        {"points": "points", "point_names": ("a", "b")},
        "detection.point_names: expected 5, got 2",
    ),
    "half of the masks": (
        (BOXES, SCORES, COEFFICIENTS),
        {"coefficients": "coefficients"},
        "detection: expected both coefficients and prototypes, or neither",
    ),
    "other prototypes": (
        (BOXES, SCORES, COEFFICIENTS, tensor("prototypes", (31, 80, 80))),
        MASKS,
        r"detection.prototypes: .*: expected rows of \[32, 'any', 'any'\], got \[31, 80, 80\]",
    ),
    "regions of two labels": ((MAP,), {"regions": {"output": "map"}}, "detection.regions: expected one label"),
    "a map of two channels": (
        (tensor("map", (2, 80, 80)),),
        {"regions": {"output": "map"}, "labels": ONE},
        r"detection.regions: .*: expected rows of \[1, 'any', 'any'\]",
    ),
}


@pytest.mark.parametrize(("outputs", "facts", "complaint"), BAD_BOXES.values(), ids=BAD_BOXES)
def test_contradiction_of_detection_is_refused(outputs: Any, facts: dict[str, Any], complaint: str) -> None:
    """The text names the field, what is expected and what came."""
    with pytest.raises(ValueError, match=complaint):
        detect(*outputs, **facts)


def column(name: str, of: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "input": of, **more}


def table(*columns: dict[str, Any]) -> dict[str, Any]:
    return {"columns": columns}


ROWS = (tensor("x", (2,)),)
BAD: dict[str, tuple[str, tuple[Tensor, ...], dict[str, Any], str]] = {
    "detection that is missing": ("detect", (), {}, "task detect: expected the field detection"),
    "segmentation that is missing": ("segment", (), {}, "task segment: expected the field segmentation"),
    "embedding that is missing": ("embed", (), {}, "task embed: expected the field embedding"),
    "regression that is missing": ("regress", (), {}, "task regress: expected the field regression"),
    "mask without a picture": (
        "segment",
        (tensor("y", (2, 8, 8)),),
        {"segmentation": {"output": "y"}, "labels": LABELS},
        "segmentation: expected the field image",
    ),
    "mask without labels": (
        "segment",
        (tensor("y", (2, 8, 8)),),
        {"segmentation": {"output": "y"}, "image": PICTURE},
        "task segment needs labels",
    ),
    "mask of three labels": (
        "segment",
        (tensor("y", (3, 8, 8)),),
        {"segmentation": {"output": "y"}, "image": PICTURE, "labels": LABELS},
        r"segmentation.output: .*: expected rows of \[2, 'any', 'any'\], got \[3, 8, 8\]",
    ),
    "threshold of one label": (
        "segment",
        (tensor("y", (1, 8, 8)),),
        {"segmentation": {"output": "y", "threshold": 0.5}, "image": PICTURE, "labels": ONE},
        "segmentation.threshold: expected two labels, got 1",
    ),
    "positions of booleans": (
        "segment",
        (tensor("y", (8, 8), "BOOL"),),
        {"segmentation": {"output": "y"}, "image": PICTURE, "labels": LABELS},
        "segmentation.output: .*: expected UINT8 or INT32 or INT64, got BOOL",
    ),
    "vector with two axes": (
        "embed",
        (tensor("y", (4, 4)),),
        {"embedding": {"output": "y"}},
        r"embedding.output: .*: expected rows of \['any'\], got \[4, 4\]",
    ),
    "two values with one name": (
        "regress",
        (tensor("y", (2,)),),
        {"regression": {"output": "y", "names": ("a",)}},
        "regression.names: expected a name for each of 2 values, got 1",
    ),
    "value of two axes": (
        "regress",
        (tensor("y", (1, 1)),),
        {"regression": {"output": "y"}},
        r"regression.output: .*: expected rows of \['any'\], got \[1, 1\]",
    ),
    "column of another input": (
        "tensors",
        (),
        {"inputs": ROWS, "table": table(column("a", "z"))},
        "table: column 'a': 'z' is not an input, only x",
    ),
    "texts for numbers": (
        "tensors",
        (),
        {"inputs": ROWS, "table": table(column("a", values=("red",)), column("b", position=1))},
        "table: column 'a': values: expected numbers, as its input 'x' has",
    ),
    "place without a column": (
        "tensors",
        (),
        {"inputs": ROWS, "table": table(column("a"))},
        r"expected one column for each place of each input, which fails at \('x', 1\)",
    ),
    "free number of columns": (
        "tensors",
        (),
        {"inputs": (tensor("x", ("columns",)),), "table": table(column("a"))},
        "table: expected a fixed number of columns, got 'x'",
    ),
    "table of pictures": (
        "tensors",
        (),
        {"table": table(column("a"))},
        "table: expected rows of numbers or texts",
    ),
}


@pytest.mark.parametrize(("task", "outputs", "facts", "complaint"), BAD.values(), ids=BAD)
def test_contradiction_of_a_task_is_refused(task: str, outputs: Any, facts: dict[str, Any], complaint: str) -> None:
    """The text names the field, what is expected and what came."""
    with pytest.raises(ValueError, match=complaint):
        describe(task, *outputs, **facts)
