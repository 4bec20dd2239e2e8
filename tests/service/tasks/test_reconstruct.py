"""reconstruct: rows to rows like them, and how far they are apart."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper
from PIL import Image as Pillow

from service.codecs.picture_reader import PictureFile, decode_base64, decode_pixels
from service.errors import BodyTooLarge, InvalidInput, ModelFailure, UnsupportedMedia
from service.tasks import reconstruct
from service.tasks.request import TaskRequest
from service.tasks.work import Limits, Result
from tests.support.driving import LIMITS, Driver, body_of, make
from tests.support.models.graphs import build

FLOAT = TensorProto.FLOAT
SHAPE = ["batch", 1, "height", "width"]
ROW = [[[0.0, 100.0], [200.0, 50.0]]]


def halving(factor: float = 0.5, shape: Any = SHAPE) -> bytes:
    """y = factor x; its error is the largest value of the row, its anomaly the smallest."""
    axes = np.arange(1, len(shape))
    return build(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("ReduceMax", ["x", "axes"], ["error"], keepdims=0),
            helper.make_node("ReduceMin", ["x", "axes"], ["anomaly"], keepdims=0),
        ],
        [("x", FLOAT, shape)],
        [("y", FLOAT, shape), ("error", FLOAT, ["batch"]), ("anomaly", FLOAT, ["batch"])],
        {"factor": np.array(factor, np.float32), "axes": axes},
    )


def make_model(main: bytes | None = None, image: Any = None, further: bytes | None = None, **facts: Any) -> Driver:
    graphs = {"main": main or halving()} | ({"thin": further} if further else {})
    return make(graphs, task="reconstruct", reconstruction={"output": "y", **facts}, image=image)


MODEL = make_model()
GREY = {"input": "x", "channels": 1}


def ask(model: Driver, rows: Any, *, wants_picture: bool = False, limits: Limits = LIMITS, **fields: Any) -> Result:
    options = reconstruct.Options.parse(fields)
    request = TaskRequest(fields, rows, False, wants_picture)
    return model.drive(reconstruct.work(options, request, model.context, limits, None))


def predict(model: Driver, rows: Any, **fields: Any) -> list[dict[str, Any]]:
    body = body_of(ask(model, rows, **fields))
    assert (body["model"], body["version"]) == ("m", "1")
    found: list[dict[str, Any]] = body["predictions"]
    return found


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"graph": "thick"}, "graph: expected one of main, thin, got 'thick'"),
        ({"graph": 1}, "graph: expected a valid string"),
        ({"error_map": "yes"}, "error_map: expected a valid boolean"),
        ({"output_format": "png"}, "output_format: expected 'numbers' or 'picture'"),
        ({"output_format": "picture"}, "output_format: the rows of model 'm' are not pictures"),
        ({"top_k": 1}, "top_k: unknown field"),
    ],
)
def test_faulty_option_is_refused(fields: dict[str, Any], complaint: str) -> None:
    """Named, with what was expected."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(make_model(further=halving(), graphs=("main", "thin")), [ROW], **fields)


@pytest.mark.parametrize(
    ("image", "fields", "complaint"),
    [
        (None, {}, "accept: image/png: the rows of model 'm' are not pictures"),
        (GREY, {"error_map": True}, "error_map: expected an answer in JSON"),
        (GREY, {"stream": True}, "accept: image/png is one picture, and a stream has events"),
    ],
)
def test_picture_that_cannot_be_the_answer_is_refused(image: Any, fields: dict[str, Any], complaint: str) -> None:
    """Rows that are none, a map beside it, and a stream."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(make_model(image=image), [ROW], wants_picture=True, **fields)


@pytest.mark.parametrize(
    ("rows", "error", "complaint"),
    [
        (None, InvalidInput, "inputs: expected an array of rows, got nothing"),
        ([[1.0]], InvalidInput, r"inputs\[0\]: expected a row of shape \[1, height, width\], got \[1\]"),
        ([ROW, {"image": "AAAA"}], UnsupportedMedia, r"inputs\[1\]\.image: expected a PNG or JPEG picture"),
        ([PictureFile(png([[1] * 40] * 40), "body")], BodyTooLarge, "body: expected at most 1000 pixels"),
    ],
)
def test_faulty_rows_are_refused(rows: Any, error: type[Exception], complaint: str) -> None:
    """Before anything runs, and named."""
    model = make_model(image=GREY)
    with pytest.raises(error, match=f"^{complaint}"):
        ask(model, rows, limits=Limits(max_pixels=1000))
    assert model.inferred == []


def test_model_that_does_not_say_how_is_refused() -> None:
    """An older manifest has no facts of a reconstruction."""
    with pytest.raises(InvalidInput, match=r"^model: the manifest of 'm' does not say what it reconstructs$"):
        ask(make({"main": halving()}), [ROW])


@pytest.mark.parametrize(
    ("facts", "name"),
    [({}, "y"), ({"error": "error"}, "error"), ({"error": "error", "anomaly": "anomaly"}, "anomaly")],
)
def test_output_that_is_no_number_is_a_failure_of_the_model(facts: dict[str, str], name: str) -> None:
    """Of whichever output, for JSON has no NaN."""
    # 0 * infinity is NaN; the inputs of these graphs are not declared finite, so infinities pass.
    row = {"y": [[[np.inf]]], "error": [[[np.inf]]], "anomaly": [[[-np.inf, 1.0]]]}[name]
    model = make_model(halving(0.0 if name == "y" else 0.5), **facts)
    with pytest.raises(ModelFailure, match="not finite"):
        ask(model, [row])


def test_row_that_is_not_finite_cannot_be_compared() -> None:
    """Where the manifest lets infinities pass and the error is made here."""
    with pytest.raises(InvalidInput, match=r"^inputs: expected finite numbers"):
        ask(make_model(build_clipping()), [[np.inf]])


def build_clipping() -> bytes:
    """y = x between -1 and 1."""
    return build(
        [helper.make_node("Clip", ["x", "low", "high"], ["y"])],
        [("x", FLOAT, ["batch", 1])],
        [("y", FLOAT, ["batch", 1])],
        {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)},
    )


def test_output_of_another_shape_cannot_be_compared() -> None:
    """Where the manifest names no error there is none to be had."""
    model = make_model(
        build(
            [helper.make_node("Flatten", ["x"], ["y"])],
            [("x", FLOAT, ["batch", 1, 2, 2])],
            [("y", FLOAT, ["batch", 4])],
        )
    )
    with pytest.raises(ModelFailure, match=r"gave 'y' of shape \[1, 4\], which cannot be compared"):
        ask(model, [ROW])


def test_error_map_of_several_inputs_is_refused() -> None:
    """It would have to be guessed which of them the output is like."""
    two = build(
        [helper.make_node("Add", ["x", "z"], ["y"])],
        [("x", FLOAT, ["batch", 2]), ("z", FLOAT, ["batch", 2])],
        [("y", FLOAT, ["batch", 2])],
    )
    with pytest.raises(InvalidInput, match=r"^error_map: expected a model of one input, 'm' has several$"):
        ask(make_model(two), [{"x": [1, 2], "z": [3, 4]}], error_map=True)


@settings(deadline=None, max_examples=25)
@given(
    rows=arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.just(1), st.integers(1, 3), st.integers(1, 3)),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_error_is_the_root_mean_square_where_the_graph_has_none(rows: np.ndarray) -> None:
    """Of the differences between a row and its output, row by row."""
    for row, answer in zip(rows, predict(MODEL, rows.tolist()), strict=True):
        np.testing.assert_array_equal(np.array(answer["output"], np.float32), row / 2)
        assert answer["error"] == pytest.approx(np.sqrt(np.mean((row.astype(float) / 2) ** 2)), rel=1e-5, abs=1e-30)
        assert answer.keys() == {"output", "error"}


def test_error_comes_from_the_graph_where_it_has_one() -> None:
    """The largest value, in this graph."""
    assert [answer["error"] for answer in predict(make_model(error="error"), [ROW, [[[1.0]]]])] == [200.0, 1.0]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"error": "error", "threshold": 150.0}, [{"anomaly": True}, {"anomaly": False}]),
        (
            {"error": "error", "anomaly": "anomaly", "threshold": 0.5},
            [{"anomaly": False, "score": 0.0}, {"anomaly": True, "score": 1.0}],
        ),
        ({"error": "error", "anomaly": "anomaly"}, [{"score": 0.0}, {"score": 1.0}]),
        ({"threshold": 1.0}, [{"anomaly": True}, {"anomaly": False}]),
    ],
)
def test_anomaly_is_a_score_above_the_threshold(facts: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """The score is the anomaly of the graph, else the error; without a threshold nothing is judged."""
    answers = predict(make_model(**facts), [ROW, [[[1.0]]]])
    limit = {"threshold": facts["threshold"]} if "threshold" in facts else {}
    assert [{k: v for k, v in a.items() if k not in ("output", "error")} for a in answers] == [
        {**item, **limit} for item in expected
    ]


def test_score_at_the_threshold_is_no_anomaly() -> None:
    """Only what is larger is one."""
    assert predict(make_model(error="error", threshold=1.0), [[[[1.0]]]])[0]["anomaly"] is False


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
    model = make_model(image=GREY)
    sides = (3, 70, 3, 5)
    rows = [PictureFile(png(np.full((side, side + 1), 40 + side)), f"file {side}") for side in sides]
    answers = predict(model, rows, output_format="picture", error_map=True)
    assert model.inferred == [("main", 2), ("main", 1), ("main", 1)]
    assert model.manifest.image is not None
    for side, answer in zip(sides, answers, strict=True):
        content = decode_base64(answer["output"]["image"], "output")
        pixels = decode_pixels(content, model.manifest.image, 1_000_000, "output").astype(float)
        assert pixels.shape == (1, side, side + 1)
        assert abs(pixels - (40 + side) / 2).max() <= 0.5
        assert base64.b64decode(answer["error_map"]["image"]).startswith(b"\x89PNG")


def test_large_picture_is_decoded_and_encoded_aside() -> None:
    """A photograph of 640 x 427 holds nobody up, and comes back in its size."""
    noise = np.random.default_rng(0).integers(0, 256, (427, 640, 3), dtype=np.uint8)
    model = make_model(halving(1.0, ["batch", 3, "height", "width"]), image={"input": "x", "channels": 3})
    answer = ask(model, [PictureFile(png(noise), "body")], wants_picture=True)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(answer.body))), noise)
    assert (answer.media_type, model.threads_asked) == ("image/png", 2)


def test_several_rows_are_one_picture_in_a_grid() -> None:
    """Where they have one size; else the caller is told to ask for JSON."""
    model = make_model(image=GREY)
    grid = Pillow.open(io.BytesIO(ask(model, [ROW] * 4, wants_picture=True).body))
    assert min(grid.size) > 2 * 64
    with pytest.raises(InvalidInput, match=r"^accept: image/png shows rows of one size in a grid, got several"):
        ask(model, [ROW, [[[1.0]]]], wants_picture=True)
