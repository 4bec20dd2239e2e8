"""Explanations of labels: gradients from the model's own graph, and occlusion of any classifier."""

import base64
import functools
import io
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow

from service.errors import InvalidInput, ModelFailure
from service.tasks import classify
from tests.support import driving
from tests.support.driving import Driver, body_of, load, make
from tests.support.models.graphs import build, classifier

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
LABELS = ("ant", "bee", "cat")
OFFSET = 0.25
ROW = [[[0.5, 0.0], [1.0, 0.25]]]
SHAPE = ["batch", 1, 2, 2]


def gradients(scale: float = 1.0, integrates: bool = False) -> bytes:
    """Gradient: the label in every pixel, with its sign turned in the last; integrated: times (image - baseline)."""
    nodes = [
        helper.make_node("Cast", ["label"], ["number"], to=FLOAT),
        helper.make_node("Reshape", ["number", "column"], ["wide"]),
        helper.make_node("Mul", ["wide", "pattern"], ["slope"]),
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),
        helper.make_node("Add", ["slope", "nothing"], ["gradient"]),
    ]
    inputs: list[Any] = [("image", FLOAT, SHAPE), ("label", INT64, ["batch"])]
    outputs = ["gradient", "loss_gradient"]
    if integrates:
        nodes += [
            helper.make_node("Sub", ["image", "baseline"], ["way"]),
            helper.make_node("Mul", ["way", "gradient"], ["integrated_gradients"]),
            helper.make_node("Reshape", ["epsilon", "column"], ["size"]),
            helper.make_node("Mul", ["size", "gradient"], ["perturbation"]),
        ]
        inputs += [("baseline", FLOAT, SHAPE), ("epsilon", FLOAT, ["batch"])]
        outputs = ["gradient", "integrated_gradients", "perturbation"]
    else:
        nodes.append(helper.make_node("Neg", ["gradient"], ["loss_gradient"]))
    pattern = np.array([1, 1, 1, -1], np.float32).reshape(1, 1, 2, 2) * np.float32(scale)
    constants = {"column": np.array([-1, 1, 1, 1]), "pattern": pattern, "zero": np.array(0, np.float32)}
    return build(nodes, inputs, [(name, FLOAT, SHAPE) for name in outputs], constants)


def make_model(explain: bytes | None = None, main: bytes | None = None, **facts: Any) -> Driver:
    known: dict[str, Any] = {
        "task": "classify",
        "labels": LABELS,
        "classes": {"probabilities": "probabilities"},
        "image": {"input": "image", "channels": 1, "height": 2, "width": 2, "scale": 1 / 255, "offset": OFFSET},
    }
    graphs = {"main": main or classifier()} | ({"explain": explain} if explain else {})
    return make(graphs, **{**known, **facts})


def linear(shape: list[int | str]) -> bytes:
    """Two classes of a row of any rank: the score of the first is the sum of the row."""
    return build(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("ReduceSum", ["flat", "axes"], ["sum"]),
            helper.make_node("Neg", ["sum"], ["minus"]),
            helper.make_node("Concat", ["sum", "minus"], ["scores"], axis=1),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        [("x", FLOAT, ["batch", *shape])],
        [("probabilities", FLOAT, ["batch", 2])],
        {"axes": np.array([1])},
    )


ask = functools.partial(driving.ask, classify)


def explanations(model: Driver, rows: Any, **fields: Any) -> list[dict[str, Any]]:
    return [answer["explanation"] for answer in body_of(ask(model, rows, **fields))["predictions"]]


def of_pictures(layout: str, shape: list[int | str]) -> Driver:
    image = {"input": "x", "channels": 3, "height": 9, "width": 16, "layout": layout, "offset": (0.0, 1.0, 2.0)}
    return make_model(main=linear(shape), labels=("up", "down"), image=image)


def of_texts() -> Driver:
    main = build(
        [helper.make_node("Equal", ["x", "words"], ["found"]), helper.make_node("Cast", ["found"], ["p"], to=FLOAT)],
        [("x", TensorProto.STRING, ["batch", 1])],
        [("p", FLOAT, ["batch", 3])],
        {"words": np.array([LABELS], dtype=object)},
    )
    return make_model(main=main, classes={"probabilities": "p"}, image=None)


def of_features(*shape: int | str) -> Driver:
    return make_model(main=linear([*shape]), labels=("up", "down"), image=None)


PICTURE = {"explanation_format": "picture"}
NONE, OTHER, GRADIENTS = make_model(), make_model(classifier()), make_model(gradients())
REFUSED: dict[str, tuple[Driver, list[Any], dict[str, Any], str]] = {
    "no gradients": (NONE, [ROW], {"explain": "saliency"}, "explain: model 'm' has no .*: .* occlusion, got saliency$"),
    "no gradients to integrate": (NONE, [ROW], {"explain": "integrated_gradients"}, "explain: model 'm' has no .*"),
    "a graph that is only called so": (OTHER, [ROW], {"explain": "saliency"}, "explain: .* expected occlusion"),
    "another one": (OTHER, [ROW], {"explain": "integrated_gradients"}, "explain: .* expected occlusion"),
    "texts": (of_texts(), [["ant"]], {"explain": True}, "explain: expected a classifier of one input of numbers"),
    "picture of none": (NONE, [ROW], {"wants_picture": True}, "accept: image/png shows an explanation, and none is"),
    "format of none": (NONE, [ROW], PICTURE, "explanation_format: a picture shows an explanation, and"),
    "picture of two": (NONE, [ROW, ROW], {"wants_picture": True, "explain": True}, "accept: image/png .* row, got 2"),
    "picture of features": (
        of_features(6),
        [[1.0] * 6],
        {"explain": True, **PICTURE},
        "explanation_format: .* model 'm' have no height and width",
    ),
}


@pytest.mark.parametrize(("model", "rows", "arguments", "complaint"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_explained_is_refused(model: Driver, rows: Any, arguments: Any, complaint: str) -> None:
    """A model names the method that it has; a picture shows one explanation of a row with height and width."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(model, rows, **arguments)


def test_gradient_that_is_no_number_is_a_failure_of_the_model() -> None:
    """JSON has no infinity, so a gradient that is infinite is a failure of the model."""
    model = make_model(gradients(scale=np.inf))
    with pytest.raises(ModelFailure, match="gave 'gradient' with numbers that are not finite"):
        ask(model, [ROW, ROW], explain="saliency")


@pytest.mark.parametrize("integrates", [False, True], ids=["now", "of older versions"])
def test_gradients_are_those_of_the_predicted_class(integrates: bool) -> None:
    """The graph is told the label. Integrated ones go from the value of a black pixel, not from the number 0."""
    model = make_model(gradients(integrates=integrates))
    answers = body_of(ask(model, [ROW, [[[0.0, 5.0], [0.0, 0.0]]]], explain="saliency"))["predictions"]
    assert len({answer["index"] for answer in answers}) == 2
    for answer in answers:
        assert answer["explanation"] == {"method": "saliency", "values": [[float(answer["index"])] * 2] * 2}
    [answer] = body_of(ask(model, [ROW], explain="integrated_gradients"))["predictions"]
    expected = answer["index"] * (np.array(ROW[0]) - OFFSET) * [[1, 1], [1, -1]]
    np.testing.assert_allclose(answer["explanation"]["values"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("explain", "method", "count", "runs"),
    [(gradients(), "integrated_gradients", 20, [256, 256, 128]), (None, "occlusion", 100, [256, 144])],
    ids=["integrated gradients", "occlusion"],
)
def test_explanations_run_in_bounded_batches(explain: bytes | None, method: str, count: int, runs: list[int]) -> None:
    """The points or windows of all rows run as rows, at most 256 at a time; each row gets what it gets alone."""
    model = make_model(explain)
    rows = np.random.default_rng(0).random((count, 1, 2, 2)).round(3)
    together = explanations(model, rows.tolist(), explain=method)
    assert [rows for _, rows in model.inferred] == [count, *runs]
    for i in (0, 7, 8, count - 1):
        [alone] = explanations(model, [rows[i].tolist()], explain=method)
        np.testing.assert_allclose(alone["values"], together[i]["values"], atol=1e-6 if explain is None else 0)


def test_true_is_saliency_where_there_are_gradients_else_occlusion() -> None:
    """A caller need not know what a model has."""
    methods = [explanations(model, [ROW], explain=True)[0]["method"] for model in (GRADIENTS, NONE)]
    assert methods == ["saliency", "occlusion"]


def test_occlusion_is_how_far_the_probability_falls() -> None:
    """Every pixel alone, hidden as black, on a picture of 2 x 2: compared with runs of the model itself."""
    model = NONE
    [found] = explanations(model, [ROW], explain="occlusion")
    assert (found["window"], found["stride"]) == ([1, 1], [1, 1])
    answer = body_of(ask(model, [ROW]))["predictions"][0]
    for y in range(2):
        for x in range(2):
            hidden = np.array([ROW])
            hidden[0, 0, y, x] = OFFSET
            top = body_of(ask(model, hidden.tolist(), top_k=3))["predictions"][0]["top"]
            left = next(item["probability"] for item in top if item["index"] == answer["index"])
            assert found["values"][y][x] == pytest.approx(answer["probability"] - left, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "window"), [([7], [1]), ([100], [3]), ([5, 9], [1, 2]), ([3, 16, 8], [4, 2]), ([2, 3, 4, 4], [1, 1])]
)
def test_occlusion_covers_every_place_of_any_row(shape: list[int], window: list[int]) -> None:
    """Each place of a row has its share; the windows and channels are as documented."""
    model = of_features(*shape)
    row = np.full(shape, 0.5 / np.prod(shape))
    [found] = explanations(model, [row.tolist()], explain=True)
    values = np.array(found["values"])
    assert (found["window"], values.shape) == (window, tuple(shape[-2:]))
    assert (values > 0).all()


def test_explanation_comes_as_a_picture_over_the_row() -> None:
    """The picture is base64 within JSON, or the whole answer where there is one row."""
    model = GRADIENTS
    found = explanations(model, [ROW, ROW], explain=True, explanation_format="picture")
    assert [list(item) for item in found] == [["method", "image"]] * 2
    answer = ask(model, [ROW], explain=True, wants_picture=True)
    assert answer.media_type == "image/png"
    assert base64.b64decode(found[0]["image"]) == answer.body
    assert min(Pillow.open(io.BytesIO(answer.body)).size) >= 64


def test_rows_of_different_sizes_are_explained_in_order() -> None:
    """A model of any size explains each row in its own."""
    model = of_features(1, "height", "width")
    rows = [np.full((1, side, side), 0.01).tolist() for side in (2, 5, 2)]
    assert [len(item["values"]) for item in explanations(model, rows, explain=True)] == [2, 5, 2]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
def test_reference_model_is_explained(method: str) -> None:
    """The label of a vertical stroke, which is a one, depends more on the stroke than on the empty sides."""
    stroke = np.zeros((1, 8, 8))
    stroke[0, :, 3:5] = 15
    model = load("digits-classifier")
    answer = body_of(ask(model, [stroke.tolist()], explain=method))["predictions"][0]
    values = np.abs(answer["explanation"]["values"])
    assert answer["label"] == "1"
    assert values.shape == (8, 8)
    assert values[:, 2:6].mean() > values[:, [0, 1, 6, 7]].mean()


def test_map_lies_over_the_picture_in_either_layout() -> None:
    """Windows hide parts of the height and of the width, whichever axes these are, with the black of each channel."""
    row = np.random.default_rng(0).normal(size=(3, 9, 16)) / 100
    first, last = of_pictures("NCHW", [3, 9, 16]), of_pictures("NHWC", [9, 16, 3])
    [expected] = explanations(first, [row.tolist()], explain="occlusion")
    [found] = explanations(last, [row.transpose(1, 2, 0).tolist()], explain="occlusion")
    assert np.shape(found["values"]) == (9, 16)
    assert (found["window"], found["stride"]) == (expected["window"], expected["stride"])
    np.testing.assert_allclose(found["values"], expected["values"], atol=1e-6)
    drawn = ask(last, [row.transpose(1, 2, 0).tolist()], explain="occlusion", wants_picture=True).body
    assert Pillow.open(io.BytesIO(drawn)).format == "PNG"
