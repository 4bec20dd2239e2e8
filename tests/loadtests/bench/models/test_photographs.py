"""The photograph, and the models that take it."""

import numpy as np
import onnx
import pytest
from PIL import Image

from loadtests.bench.models import detector
from loadtests.bench.models.classifier import CLASSIFIER, prepare
from loadtests.bench.models.detector import DETECTOR, suppress
from loadtests.bench.models.model import INPUT, BenchModel, open_session
from loadtests.bench.models.photograph import decode_jpeg, encode_jpeg, make_photograph


def test_photograph_is_as_large_as_photographs_are() -> None:
    """640 x 480 pixels of many levels, in 60 to 100 kB."""
    rows = CLASSIFIER.make_rows(1)
    assert rows.shape == (1, 480, 640, 3)
    assert 60_000 < len(encode_jpeg(rows)) < 100_000
    assert np.unique(make_photograph()).size > 200
    assert decode_jpeg(encode_jpeg(rows)).size == (640, 480)


@pytest.mark.parametrize("model", [CLASSIFIER, DETECTOR], ids=["classifier", "detector"])
def test_networks_are_the_same_every_time(model: BenchModel) -> None:
    """Everyone measures the same bytes, which take batches of any size."""
    content = model.build()
    assert content == model.build()
    [given] = onnx.load_from_string(content).graph.input
    assert given.type.tensor_type.shape.dim[0].dim_param == "batch"
    outputs = open_session(content).run(None, {INPUT: np.zeros((2, *model.row_shape), np.float32)})
    assert [output.shape for output in outputs] == [(2, *shape) for shape in model.output_shapes.values()]


def test_classifier_tells_labels_apart() -> None:
    """Its five likeliest labels have different probabilities, so that a wrong preparation would be seen."""
    rows = CLASSIFIER.make_rows(1)
    expected = CLASSIFIER.score(rows)
    assert expected.shape == (5, 2)
    assert (np.diff(expected[:, 1]) < 0).all()
    wrong = CLASSIFIER.score(rows[:, :, ::-1])
    assert CLASSIFIER.agrees(expected.copy(), expected)
    assert not CLASSIFIER.agrees(wrong, expected)
    assert not CLASSIFIER.agrees(expected[:4], expected)


def test_classifier_takes_the_centre() -> None:
    """What lies outside the centre is cut off, and levels become numbers by mean and standard deviation."""
    picture = Image.new("RGB", (640, 480), (255, 0, 0))
    picture.paste((0, 255, 0), (0, 0, 90, 480))
    row = prepare(picture)[0]
    assert row.shape == (3, 224, 224)
    np.testing.assert_allclose(row[:, 100, 100], [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)
    assert row[1].max() < 0


def test_detector_finds_boxes() -> None:
    """Some candidates of several labels are left, in the photograph's pixels."""
    found = DETECTOR.score(DETECTOR.make_rows(1))
    assert 10 < len(found) < 200
    assert len(np.unique(found[:, 4])) > 2
    assert found[:, :4].min() >= 0
    assert (found[:, 2] <= 640).all()
    assert (found[:, 3] <= 480).all()


def test_detector_answers_agree_within_a_pixel() -> None:
    """Boxes may be a pixel and scores a thousandth off, in any order of close scores; labels may not."""
    expected = np.array([[0, 0, 9, 9, 1, 0.5], [5, 5, 50, 50, 2, 0.4999]], np.float32)
    near = expected[::-1] + np.float32([0.9, -0.9, 0.9, 0.9, 0, 0.0009])
    assert DETECTOR.agrees(near, expected)
    assert not DETECTOR.agrees(expected[:1], expected)
    for column, off in ((0, 1.5), (4, 1), (5, 0.002)):
        wrong = expected.copy()
        wrong[0, column] += off
        assert not DETECTOR.agrees(wrong, expected)
    assert not DETECTOR.agrees(expected[[0, 0]], expected)


def test_letterbox_lies_in_the_centre() -> None:
    """A picture twice as wide as high is padded above and below, with 114."""
    row, scale, left, top = detector.prepare(Image.new("RGB", (640, 320), (255, 255, 255)))
    assert (scale, left, top) == (0.5, 0, 80)
    np.testing.assert_allclose(row[0, 0, [0, 79, 80, 239, 240], 7] * 255, [114, 114, 255, 255, 114], rtol=1e-5)


def test_letterbox_reads_the_nearest_pixels_only() -> None:
    """Of four columns that become one, the two in the middle count, as with OpenCV."""
    levels = np.zeros((8, 1280, 3), np.uint8)
    levels[:, 2::4] = 200
    row, _, _, top = detector.prepare(Image.fromarray(levels))
    np.testing.assert_allclose(row[0, :, top, 1:-1] * 255, 100, atol=1e-3)


def test_overlapping_boxes_of_one_label_are_suppressed() -> None:
    """The box with the lower score goes, unless it has another label; so does a score below the threshold."""
    boxes = np.array([[10, 10, 8, 8], [11, 10, 8, 8], [11, 10, 8, 8], [50, 50, 8, 8]], np.float32)
    scores = np.array([[0.5, 0], [0.9, 0], [0, 0.6], [0.2, 0]], np.float32)
    found = suppress(boxes, scores)
    np.testing.assert_allclose(found, [[7, 6, 15, 14, 0, 0.9], [7, 6, 15, 14, 1, 0.6]], rtol=1e-6)
