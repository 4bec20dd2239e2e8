"""A layout says how raw outputs hold boxes, for files without metadata."""

from typing import Any

import pytest

from export.errors import MissingFacts, SpecError
from export.importers.plan import Plan, make_plan
from export.importers.sources.onnx_file import describe_onnx
from export.importers.sources.source import Found
from tests.export.importers.publishing import as_options
from tests.support.detectors.yolo import SIDE, make_final, make_yolo
from tests.support.models.text import make_model

PICTURE = {"picture.scale": 1 / 255, "picture.order": "RGB", "picture.resize": "fit"}
LABELS = ("ant", "bee", "cat")


def plan(content: bytes, **said: Any) -> Plan:
    named = {name.replace("__", "."): value for name, value in said.items()}
    facts = as_options({"name": "m", **PICTURE, **named})
    return make_plan(Found(kind="a graph", facts={}, model=describe_onnx("m", content, {})), (facts,))


def make_maps(channels: tuple[int, ...], layout: str = "NCHW") -> bytes:
    """A graph with outputs of so many channels."""
    names = [f"y{number}" for number in range(len(channels))]
    cells = SIDE // 4
    shape = {"NCHW": "{},{},{}", "NHWC": "{1},{2},{0}"}[layout]
    outputs = ", ".join(
        f"float[batch,{shape.format(size, cells, cells)}] {name}" for name, size in zip(names, channels, strict=True)
    )
    body = ""
    for name, size in zip(names, channels, strict=True):
        body += f"c{name} = Conv<strides=[4, 4]>(x, w[{size},3,4,4]) "
        body += f"{name} = " + (f"Identity(c{name}) " if layout == "NCHW" else f"Transpose<perm=[0,2,3,1]>(c{name}) ")
    return make_model(f"float[batch,3,{SIDE},{SIDE}] x => {outputs}", body)


@pytest.mark.parametrize(
    ("layout", "content", "overlap", "most"),
    [
        ("yolov5", make_yolo("yolov5"), 0.45, 1000),
        ("yolov8", make_yolo("yolov8"), 0.7, 300),
        ("end2end", make_final(), None, 300),
        ("centernet", make_maps((3, 4)), 0.45, 100),
        ("centernet", make_maps((3, 4), "NHWC"), 0.45, 100),
    ],
)
def test_layout_gives_boxes_scores_and_labels(layout: str, content: bytes, overlap: float | None, most: int) -> None:
    """The task follows from the layout, and so do the defaults, unless a person says others."""
    found = plan(content, labels=LABELS, boxes__layout=layout)
    facts = found.description.detection
    assert found.description.task == "detect"
    assert facts is not None
    assert (facts.boxes, facts.scores, facts.classes) == ("boxes", "scores", "classes")
    assert (facts.overlap, facts.max_detections) == (overlap, most)
    other = plan(content, labels=LABELS, boxes__layout=layout, threshold=0.6, boxes__overlap=0.2).description.detection
    assert other is not None
    assert (other.threshold, other.overlap) == (0.6, 0.2)


def test_faces_have_named_points() -> None:
    """CenterFace has one label, five points and an overlap of 0.3."""
    facts = plan(make_maps((1, 2, 2, 10)), labels=("face",), boxes__layout="centerface").description.detection
    assert facts is not None
    assert (facts.classes, facts.overlap, facts.points, len(facts.point_names)) == (None, 0.3, "points", 5)


def test_names_of_points_give_their_size() -> None:
    """Numbers after the scores are points if names or a size say so."""
    content = make_yolo("yolov8", 1, 6)
    for said in ({"boxes__point_names": ("head", "tail")}, {"boxes__point_size": 3}):
        facts = plan(content, labels=("ant",), boxes__layout="yolov8", **said).description.detection
        assert facts is not None
        assert facts.points == "points"


def test_inner_tensors_keep_their_names() -> None:
    """An output gets another name where the graph has an inner tensor of the usual one."""
    content = make_model(
        f"float[batch,3,{SIDE},{SIDE}] x => float[batch,7,n] y",
        "boxes = Conv<strides=[8, 8]>(x, w[7,3,8,8]) scores = Sigmoid(boxes) y = Reshape(scores, [0, 7, -1])",
    )
    facts = plan(content, labels=LABELS, boxes__layout="yolov8").description.detection
    assert facts is not None
    assert (facts.boxes, facts.scores) == ("boxes_made", "scores_made")


@pytest.mark.parametrize(
    ("content", "said", "complaint"),
    [
        (
            make_yolo("yolov8"),
            {"boxes__layout": "yolov5"},
            r"expected \[batch, candidates, 5 \+ 3 labels\].*got 'output0'",
        ),
        (make_yolo("yolov8", 9), {"boxes__layout": "yolov8"}, "it has 6 more numbers: give --point-size"),
        (
            make_yolo("yolov8", 3, 4),
            {"boxes__layout": "yolov8", "boxes__point_size": 3},
            "expected points of 3 numbers",
        ),
        (make_maps((3, 2)), {"boxes__layout": "centernet"}, "a heat map of 3 labels .* and distances with 4 channels"),
        (make_maps((1, 2, 10)), {"boxes__layout": "centerface"}, "with 1, 2, 2 and 10 channels, got 3 labels"),
        (
            make_yolo("yolov8"),
            {"boxes__layout": "yolov8", "boxes__boxes": "z"},
            r"there is no output 'z' \(--boxes.boxes\), only 'output0'",
        ),
    ],
    ids=["other layout", "labels", "points", "distances", "faces", "name"],
)
def test_outputs_that_do_not_fit_are_refused(content: bytes, said: dict[str, Any], complaint: str) -> None:
    """The error says what the layout expects, and what the graph has."""
    with pytest.raises(SpecError, match=complaint):
        plan(content, labels=LABELS, **said)


@pytest.mark.parametrize("layout", ["yolov8", "centernet"])
def test_labels_are_asked_for(layout: str) -> None:
    """A layout needs labels, because their number decides what the columns are."""
    with pytest.raises(MissingFacts, match="the labels of its boxes, in their order: give --labels"):
        plan(make_yolo("yolov8"), boxes__layout=layout)
