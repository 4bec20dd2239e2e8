"""reconstruct: rows to rows like them, and how far they are apart."""

import base64
import functools
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper
from PIL import Image as Pillow

from service.codecs.pictures.reader import RowFile, decode_base64, decode_pixels
from service.errors import BodyTooLarge, InvalidInput, ModelFailure, UnsupportedMedia
from service.tasks.reconstruction import reconstruct
from service.tasks.work import Limits
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.graphs import build
from tests.support.pictures.encoding import encode

FLOAT = TensorProto.FLOAT
SHAPE = ["batch", 1, "height", "width"]
ROW = [[[0.0, 100.0], [200.0, 50.0]]]


def halving(factor: float = 0.5, shape: Any = SHAPE, scale: float = 1.0) -> bytes:
    """y = factor x; its error is the largest value of the row times scale, its anomaly the smallest."""
    axes = np.arange(1, len(shape))
    return build(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("Mul", ["x", "scale"], ["scaled"]),
            helper.make_node("ReduceMax", ["scaled", "axes"], ["error"], keepdims=0),
            helper.make_node("ReduceMin", ["scaled", "axes"], ["anomaly"], keepdims=0),
        ],
        [("x", FLOAT, shape)],
        [("y", FLOAT, shape), ("error", FLOAT, ["batch"]), ("anomaly", FLOAT, ["batch"])],
        {"factor": np.array(factor, np.float32), "scale": np.array(scale, np.float32), "axes": axes},
    )


def make_model(main: bytes | None = None, image: Any = None, further: bytes | None = None, **facts: Any) -> Driver:
    graphs = {"main": main or halving()} | ({"thin": further} if further else {})
    return make(graphs, task="reconstruct", reconstruction={"output": "y", **facts}, image=image)


MODEL = make_model()
GREY = {"input": "x", "channels": 1}


ask = functools.partial(driving.ask, reconstruct)


def predict(model: Driver, rows: Any, **fields: Any) -> list[dict[str, Any]]:
    body = body_of(ask(model, rows, **fields))
    assert (body["model"], body["version"]) == ("m", "1")
    found: list[dict[str, Any]] = body["predictions"]
    return found


def png(pixels: Any) -> bytes:
    return encode(Pillow.fromarray(np.asarray(pixels, np.uint8)))


def two_inputs() -> bytes:
    tensors = [("x", FLOAT, ["batch", 2]), ("z", FLOAT, ["batch", 2])]
    return build([helper.make_node("Add", ["x", "z"], ["y"])], tensors, [("y", FLOAT, ["batch", 2])])


def clipping() -> bytes:
    """y = x between -1 and 1."""
    limits = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    return build([node], [("x", FLOAT, ["batch", 1])], [("y", FLOAT, ["batch", 1])], limits)


THIN = make_model(further=halving(), graphs=("main", "thin"))
PICTURES = make_model(image=GREY)
LARGE = RowFile(png([[1] * 40] * 40), "body")


@pytest.mark.parametrize(
    ("model", "rows", "arguments", "complaint"),
    [
        (THIN, [ROW], {"graph": "thick"}, "graph: expected one of main, thin, got 'thick'"),
        (THIN, [ROW], {"graph": 1}, "graph: expected a valid string"),
        (THIN, [ROW], {"error_map": "yes"}, "error_map: expected a valid boolean"),
        (THIN, [ROW], {"output_format": "png"}, "output_format: expected 'numbers', 'picture' or 'sound'"),
        (THIN, [ROW], {"output_format": "picture"}, "output_format: the rows of model 'm' are not pictures"),
        (MODEL, [ROW], {"wants_picture": True}, "accept: image/png: the rows of model 'm' are not pictures"),
        (PICTURES, [ROW], {"wants_picture": True, "error_map": True}, "error_map: expected an answer in JSON"),
        (PICTURES, [ROW], {"wants_picture": True, "stream": True}, "accept: image/png is one picture, and a stream"),
        (PICTURES, [LARGE], {"limits": Limits(max_pixels=1000)}, "body: expected at most 1000 pixels"),
        (make({"main": halving()}), [ROW], {}, "model: the manifest of 'm' does not say what it reconstructs$"),
        (
            make_model(two_inputs()),
            [{"x": [1, 2], "z": [3, 4]}],
            {"error_map": True},
            "error_map: expected a model of one input, 'm' has several$",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_answered_is_refused(model: Driver, rows: Any, arguments: Any, complaint: str) -> None:
    """Named, with what was expected, before anything runs."""
    model.inferred.clear()
    with pytest.raises((InvalidInput, UnsupportedMedia, BodyTooLarge), match=f"^{complaint}"):
        ask(model, rows, **arguments)
    assert model.inferred == []


@pytest.mark.parametrize(
    ("facts", "name"), [({}, "y"), ({"error": "error"}, "error"), ({"error": "error", "anomaly": "anomaly"}, "anomaly")]
)
def test_output_that_is_no_number_is_a_failure_of_the_model(facts: dict[str, str], name: str) -> None:
    """JSON has no NaN, so an output, error or anomaly that is NaN or infinite is a failure of the model."""
    model = make_model(halving(10.0) if name == "y" else halving(scale=10.0), **facts)
    with pytest.raises(ModelFailure, match="not finite"):
        ask(model, [[[[3e38, -3e38]]]])
    with pytest.raises(InvalidInput, match=r"inputs\[1\]: expected finite numbers"):  # that of the caller
        ask(model, [[[[1.0, 1.0]]], [[[np.inf, np.inf]]]])


def test_what_cannot_be_compared_has_no_error() -> None:
    """Without an error in the manifest, rows that are not finite and outputs of another shape are refused."""
    with pytest.raises(InvalidInput, match=r"^inputs: expected finite numbers"):
        ask(make_model(clipping()), [[np.inf]])
    flatten = helper.make_node("Flatten", ["x"], ["y"])
    flat = build([flatten], [("x", FLOAT, ["batch", 1, 2, 2])], [("y", FLOAT, ["batch", 4])])
    with pytest.raises(ModelFailure, match=r"gave 'y' of shape \[1, 4\], which cannot be compared"):
        ask(make_model(flat), [ROW])


@settings(deadline=None, max_examples=25)
@given(
    rows=arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.just(1), st.integers(1, 3), st.integers(1, 3)),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_error_is_the_root_mean_square_where_the_graph_has_none(rows: np.ndarray) -> None:
    """The error of each row is that of the differences between it and its output."""
    for row, answer in zip(rows, predict(MODEL, rows.tolist()), strict=True):
        np.testing.assert_array_equal(np.array(answer["output"], np.float32), row / 2)
        assert answer["error"] == pytest.approx(np.sqrt(np.mean((row.astype(float) / 2) ** 2)), rel=1e-5, abs=1e-30)
        assert answer.keys() == {"output", "error"}


@pytest.mark.parametrize(
    ("facts", "judged"),
    [
        ({"error": "error", "threshold": 150.0}, [{"anomaly": True}, {"anomaly": False}]),
        ({"error": "error", "threshold": 1.0}, [{"anomaly": True}, {"anomaly": False}]),
        ({"threshold": 1.0}, [{"anomaly": True}, {"anomaly": False}]),
        ({"error": "error", "anomaly": "anomaly"}, [{"score": 0.0}, {"score": 1.0}]),
        (
            {"error": "error", "anomaly": "anomaly", "threshold": 0.5},
            [{"anomaly": False, "score": 0.0}, {"anomaly": True, "score": 1.0}],
        ),
    ],
)
def test_anomaly_is_a_score_above_the_threshold(facts: dict[str, Any], judged: list[dict[str, Any]]) -> None:
    """The score is the anomaly of the graph, else the error; without a threshold nothing is judged."""
    limit = {"threshold": facts["threshold"]} if "threshold" in facts else {}
    for answer, expected, error in zip(predict(make_model(**facts), [ROW, [[[1.0]]]]), judged, (200, 1), strict=True):
        assert answer.pop("output")
        assert answer.pop("error") == error or "error" not in facts
        assert answer == {**expected, **limit}


def test_error_map_is_the_difference_averaged_over_channels() -> None:
    """[height][width], whatever the channels."""
    colour = make_model(halving(shape=["batch", 2, 1, 2]))
    [answer] = predict(colour, [[[[2.0, 4.0]], [[6.0, -8.0]]]], error_map=True)
    assert answer["error_map"] == [[2.0, 3.0]]


def test_graph_is_chosen_by_name() -> None:
    """The first of the manifest is the one that runs without a name."""
    model = make_model(further=halving(0.25), graphs=("thin", "main"))
    assert predict(model, [[[[4.0]]]])[0]["output"] == [[[1.0]]]
    assert predict(model, [[[[4.0]]]], graph="main")[0]["output"] == [[[2.0]]]
    assert [graph for graph, _ in model.inferred] == ["thin", "main"]


def test_pictures_of_any_size_go_in_and_out_in_order() -> None:
    """Rows of one size run together; each output is a picture of its row's size."""
    model = PICTURES
    model.inferred.clear()
    sides = (3, 70, 3, 5)
    rows = [RowFile(png(np.full((side, side + 1), 40 + side)), f"file {side}") for side in sides]
    answers = predict(model, rows, output_format="picture", error_map=True)
    assert model.inferred == [("main", 2), ("main", 1), ("main", 1)]
    for side, answer in zip(sides, answers, strict=True):
        content = decode_base64(answer["output"]["image"], "output")
        pixels = decode_pixels(content, model.manifest.image, 1_000_000, "output")[0].astype(float)
        assert pixels.shape == (1, side, side + 1)
        assert abs(pixels - (40 + side) / 2).max() <= 0.5
        assert base64.b64decode(answer["error_map"]["image"]).startswith(b"\x89PNG")


def test_several_rows_are_one_picture_in_a_grid() -> None:
    """Rows of one size are a grid, of several sizes none; a photograph is decoded and encoded aside, in its size."""
    model = PICTURES
    grid = Pillow.open(io.BytesIO(ask(model, [ROW] * 4, wants_picture=True).body))
    assert min(grid.size) > 2 * 64
    with pytest.raises(InvalidInput, match=r"^accept: image/png shows rows of one size in a grid, got several"):
        ask(model, [ROW, [[[1.0]]]], wants_picture=True)
    noise = np.random.default_rng(0).integers(0, 256, (427, 640, 3), dtype=np.uint8)
    model = make_model(halving(1.0, ["batch", 3, "height", "width"]), image={"input": "x", "channels": 3})
    answer = ask(model, [RowFile(png(noise), "body")], wants_picture=True)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(answer.body))), noise)
    assert (answer.media_type, model.threads_asked) == ("image/png", 2)
