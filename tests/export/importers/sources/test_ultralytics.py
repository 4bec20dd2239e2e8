"""Files of Ultralytics become detectors whose boxes equal those of a slow decoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError, SpecError
from export.importers.importing import plan_import
from export.importers.sources.kinds import choose_source
from export.importers.sources.onnx_metadata import read_metadata
from model_store import Store
from model_store.detections.boxes import measure_overlap, select_boxes
from tests.export.importers.publishing import publish
from tests.support.detectors.yolo import SIDE, make_final, make_with_nms, make_yolo, with_metadata
from tests.support.inferring import Plain
from tests.support.models.text import make_model

NAMES = {0: "ant", 1: "bee", 2: "cat"}
METADATA = {
    "description": "Ultralytics YOLO11n model",
    "license": "AGPL-3.0 License",
    "stride": 32,
    "task": "detect",
    "batch": 1,
    "imgsz": [SIDE, SIDE],
    "names": NAMES,
    "args": {"batch": 1, "dynamic": False, "nms": False},
    "channels": 3,
    "end2end": False,
}
POSE = {**METADATA, "task": "pose", "names": {0: "person"}, "kpt_shape": [5, 3]}
V5 = {"stride": 32, "names": NAMES}


def write(path: Path, content: bytes, metadata: Mapping[str, object]) -> Path:
    path.write_bytes(with_metadata(content, metadata))
    return path


def run(content: bytes, pictures: np.ndarray) -> dict[str, np.ndarray]:
    return Plain(content).run({"images": pictures})


def decode_slowly(rows: np.ndarray, labels: int, objectness: bool) -> list[dict[str, Any]]:
    """The candidates above 0.25 of [candidates, n], best first, in plain Python."""
    first = 5 if objectness else 4
    found = []
    for row in rows:
        x, y, width, height = (float(value) for value in row[:4])
        scores = [value * (row[4] if objectness else np.float32(1)) for value in row[first : first + labels]]
        label = max(range(labels), key=lambda each: scores[each])
        if scores[label] >= 0.25:
            box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            rest = [float(value) for value in row[first + labels :]]
            found.append({"box": box, "score": float(scores[label]), "label": label, "rest": rest})
    return sorted(found, key=lambda one: -one["score"])


def suppress_slowly(found: Sequence[dict[str, Any]], overlap: float, most: int) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for one in found:
        others = [other["box"] for other in kept if other["label"] == one["label"]]
        shares = measure_overlap(np.array(one["box"]), np.array(others).reshape(-1, 4))
        if not (shares > overlap).any():
            kept.append(one)
    return kept[:most]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


CASES: dict[str, tuple[bytes, Mapping[str, object], int, float]] = {
    "yolov8": (make_yolo("yolov8"), METADATA, 3, 0.7),
    "fixed batch": (make_yolo("yolov8", batch=1), METADATA, 3, 0.7),
    "yolov5": (make_yolo("yolov5"), V5, 3, 0.45),
    "pose": (make_yolo("yolov8", 1, 15), POSE, 1, 0.7),
    "segment": (make_yolo("yolov8", masks=True), {**METADATA, "task": "segment"}, 3, 0.7),
    "yolov5 segment": (make_yolo("yolov5", masks=True), V5, 3, 0.45),
}


@pytest.mark.parametrize("case", CASES)
def test_boxes_equal_those_of_a_slow_decoder(tmp_path: Path, store: Store, case: str) -> None:
    """Boxes, labels, scores, points and coefficients are those of the raw output, whatever the layout."""
    content, metadata, labels, overlap = CASES[case]
    _, version = publish(write(tmp_path / "model.onnx", content, metadata), store)
    facts = version.read_manifest().detection
    assert facts is not None
    assert (facts.threshold, facts.overlap) == (0.25, overlap)
    pictures = np.random.default_rng(1).random((3, 3, SIDE, SIDE), np.float32)
    got = run((version.folder / "main.onnx").read_bytes(), pictures)
    for number in range(3):
        raw = run(content, pictures[number : number + 1])["output0"][0]
        rows = raw if "yolov5" in case else raw.T
        wanted = suppress_slowly(decode_slowly(rows, labels, "yolov5" in case), overlap, facts.max_detections)
        of_row = {name: array[number] for name, array in got.items()}
        boxes = select_boxes(of_row, facts)
        assert len(boxes.scores) == len(wanted) > 3
        np.testing.assert_allclose(boxes.scores, [one["score"] for one in wanted], rtol=1e-5)
        np.testing.assert_array_equal(boxes.labels, [one["label"] for one in wanted])
        np.testing.assert_allclose(boxes.boxes, [one["box"] for one in wanted], rtol=1e-4, atol=1e-3)
        name = facts.points or facts.coefficients
        if name is not None:
            rest = of_row[name][boxes.candidates].reshape(len(wanted), -1)
            np.testing.assert_allclose(rest, [one["rest"] for one in wanted], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("columns", "metadata"),
    [
        (6, {**METADATA, "end2end": True}),
        (6, {**METADATA, "args": {"nms": True}}),
        (6, {**METADATA, "end2end": None}),
        (6 + 15, {**POSE, "names": NAMES, "end2end": True}),
    ],
    ids=["end2end", "nms", "older YOLOv10", "pose"],
)
def test_final_boxes_stay_as_they_are(
    tmp_path: Path, store: Store, columns: int, metadata: Mapping[str, object]
) -> None:
    """Boxes of a graph that selects them itself are only split, and the server removes none for its overlap."""
    content = make_final(columns)
    _, version = publish(write(tmp_path / "model.onnx", content, metadata), store)
    facts = version.read_manifest().detection
    assert facts is not None
    assert facts.overlap is None
    assert facts.classes is not None
    pictures = np.zeros((2, 3, SIDE, SIDE), np.float32)
    got, raw = run((version.folder / "main.onnx").read_bytes(), pictures), run(content, pictures)["output0"]
    np.testing.assert_array_equal(got[facts.boxes], raw[..., :4])
    np.testing.assert_array_equal(got[facts.scores], raw[..., 4])
    np.testing.assert_array_equal(got[facts.classes], raw[..., 5])
    if columns > 6:
        assert facts.points is not None
        np.testing.assert_array_equal(got[facts.points], raw[..., 6:].reshape(2, 300, 5, 3))


def test_export_with_nms_is_served_one_picture_a_run(tmp_path: Path, store: Store) -> None:
    """Its boxes are final, its padding has the score 0, and its rows are runs of their own."""
    content = make_with_nms()
    metadata = {**METADATA, "args": {"nms": True}}
    _, version = publish(write(tmp_path / "model.onnx", content, metadata), store)
    facts = version.read_manifest().detection
    assert facts is not None
    assert facts.overlap is None
    pictures = np.random.default_rng(1).random((1, 3, SIDE, SIDE), np.float32)
    got, [raw] = run((version.folder / "main.onnx").read_bytes(), pictures), run(content, pictures)["output0"]
    boxes = select_boxes({name: array[0] for name, array in got.items()}, facts)
    best = raw[np.argsort(-raw[:, 4], kind="stable")]
    best = best[best[:, 4] >= facts.threshold]
    assert len(best) > 3
    np.testing.assert_array_equal(boxes.boxes, best[:, :4])
    np.testing.assert_array_equal(boxes.labels, best[:, 5])


def test_rtdetr_is_told_from_final_boxes(tmp_path: Path, store: Store) -> None:
    """Two labels make its output as wide as final boxes; its boxes are fractions of a picture that is stretched."""
    content = make_model(
        f"float[batch,3,{SIDE},{SIDE}] images => float[batch,64,6] output0",
        "f = Conv<strides=[8, 8]>(images, w[6,3,8,8]) c = Reshape(f, [0, 6, -1]) "
        "s = Sigmoid(c) output0 = Transpose<perm=[0, 2, 1]>(s)",
    )
    metadata = {**METADATA, "description": "Ultralytics rtdetr-l model", "names": {0: "ant", 1: "bee"}}
    plan, version = publish(write(tmp_path / "model.onnx", content, metadata), store)
    facts, image = version.read_manifest().detection, plan.description.image
    assert facts is not None
    assert image is not None
    assert (image.resize, facts.overlap, facts.classes) == ("stretch", None, "classes")
    pictures = np.random.default_rng(1).random((2, 3, SIDE, SIDE), np.float32)
    got, raw = run((version.folder / "main.onnx").read_bytes(), pictures), run(content, pictures)["output0"]
    x, y, width, height = np.moveaxis(raw[..., :4] * SIDE, -1, 0)
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)
    np.testing.assert_allclose(got[facts.boxes], corners, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(got["classes"], raw[..., 4:].argmax(-1))


def test_only_the_best_candidates_leave_the_graph(tmp_path: Path, store: Store) -> None:
    """Of a picture with more than 1,000 candidates, as many leave, and rows stay proved independent."""
    content = make_yolo("yolov8", free=True)
    path = write(tmp_path / "model.onnx", content, METADATA)
    plan, version = publish(path, store)
    image = plan.description.image
    assert image is not None
    assert (image.resize, image.longest, image.multiple, image.padding, image.antialias) == (
        "fit",
        SIDE,
        32,
        114,
        False,
    )
    main = version.read_manifest().graphs["main"]
    assert main.rows is not None
    assert main.rows.verdict == "proved"
    large = np.random.default_rng(2).random((1, 3, 320, 320), np.float32)
    changed = (version.folder / "main.onnx").read_bytes()
    raw, got = run(content, large)["output0"][0], run(changed, large)
    assert raw.shape == (7, 1600)
    assert got["scores"].shape == (1, 1000)
    np.testing.assert_allclose(got["scores"][0], np.sort(raw[4:].max(0))[:-1001:-1], rtol=1e-6)
    assert run(changed, large[:, :, :64, :64])["scores"].shape == (1, 64)


def test_classifier_takes_the_centre(tmp_path: Path, store: Store) -> None:
    """A classifier has probabilities already; its picture is the centre of one with the shortest side imgsz."""
    content = make_model(
        f"float[batch,3,{SIDE},{SIDE}] images => float[batch,3] output0",
        "means = ReduceMean<keepdims=0>(images, [2,3]) scores = MatMul(means, w[3,3]) output0 = Softmax(scores)",
    )
    plan, version = publish(write(tmp_path / "cls.onnx", content, {**METADATA, "task": "classify"}), store)
    image = plan.description.image
    assert image is not None
    assert (image.resize, image.shortest, image.height, image.antialias) == ("crop", SIDE, SIDE, True)
    assert version.read_manifest().labels == ("ant", "bee", "cat")
    assert plan.description.licence == "AGPL-3.0 License"


@pytest.mark.parametrize(
    ("content", "metadata", "complaint"),
    [
        (make_yolo("yolov8", 3, 1), {**METADATA, "task": "obb"}, "task obb: its boxes are oriented"),
        (make_yolo("yolov8"), {**METADATA, "task": "depth"}, "task depth in its metadata: expected one of detect"),
        (make_yolo("yolov8", 5), METADATA, r"\[batch, 9, 64\]: expected \[batch, 4 \+ 3 labels, candidates\]"),
        (make_yolo("yolov8", 1, 15), {**POSE, "kpt_shape": [5]}, r"expected kpt_shape \(points, 2 or 3\)"),
        (make_yolo("yolov8"), {**METADATA, "names": "__import__('os')"}, "names: expected labels as a list"),
    ],
    ids=["oriented boxes", "unknown task", "labels", "points", "names that are code"],
)
def test_what_cannot_be_imported_is_refused(
    tmp_path: Path, content: bytes, metadata: Mapping[str, object], complaint: str
) -> None:
    """The error says what the metadata have and what was expected."""
    with pytest.raises((ExportError, SpecError), match=complaint):
        plan_import(write(tmp_path / "model.onnx", content, metadata), {})


def test_metadata_are_read_without_the_graph(tmp_path: Path) -> None:
    """The metadata decide which source reads a file; other files, whatever they hold, are not taken for it."""
    path = write(tmp_path / "model.onnx", make_yolo("yolov8"), METADATA)
    assert read_metadata(path)["names"] == str(NAMES)
    assert choose_source(path).kind.startswith("an ONNX file of Ultralytics")
    for content in (b"", b"\x72", b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"text", make_yolo("yolov8")):
        path.write_bytes(content)
        assert read_metadata(path) == {}
        assert choose_source(path).kind == "an ONNX file"
