"""Explanations of labels: gradients from the model's own graph, and occlusion of any classifier."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow

from service.errors import InvalidInput, ModelFailure
from service.tasks import classify
from service.tasks.request import TaskRequest
from service.tasks.work import Result
from tests.support.driving import LIMITS, Driver, body_of, load, make
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
    outputs = ["gradient", "loss_gradient"]
    inputs = ["image", "label"]
    old = [
        helper.make_node("Sub", ["image", "baseline"], ["way"]),
        helper.make_node("Mul", ["way", "gradient"], ["integrated_gradients"]),
        helper.make_node("Reshape", ["epsilon", "column"], ["size"]),
        helper.make_node("Mul", ["size", "gradient"], ["perturbation"]),
    ]
    if integrates:
        nodes, inputs = nodes + old, [*inputs, "baseline", "epsilon"]
        outputs = ["gradient", "integrated_gradients", "perturbation"]
    else:
        nodes.append(helper.make_node("Neg", ["gradient"], ["loss_gradient"]))
    pattern = np.array([1, 1, 1, -1], np.float32).reshape(1, 1, 2, 2) * np.float32(scale)
    types: dict[str, Any] = {
        "image": (FLOAT, SHAPE),
        "label": (INT64, ["batch"]),
        "baseline": (FLOAT, SHAPE),
        "epsilon": (FLOAT, ["batch"]),
    }
    return build(
        nodes,
        [(name, *types[name]) for name in inputs],
        [(name, FLOAT, SHAPE) for name in outputs],
        {"column": np.array([-1, 1, 1, 1]), "pattern": pattern, "zero": np.array(0, np.float32)},
    )


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


def ask(model: Driver, rows: Any, *, wants_picture: bool = False, **fields: Any) -> Result:
    options = classify.Options.parse(fields)
    request = TaskRequest(fields, rows, False, wants_picture)
    return model.drive(classify.work(options, request, model.context, LIMITS, None))


def explanations(model: Driver, rows: Any, **fields: Any) -> list[dict[str, Any]]:
    return [answer["explanation"] for answer in body_of(ask(model, rows, **fields))["predictions"]]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
@pytest.mark.parametrize("graph", [None, classifier()], ids=["none", "another"])
def test_gradients_need_their_graph(method: str, graph: bytes | None) -> None:
    """A model without gradients says which method it has; a graph that is only called explain is none."""
    with pytest.raises(InvalidInput, match=rf"^explain: model 'm' has no .*: expected occlusion, got {method}$"):
        ask(make_model(graph), [ROW], explain=method)


def test_texts_cannot_be_explained() -> None:
    """There is no part of the way from nothing to a text."""
    main = build(
        [helper.make_node("Equal", ["x", "words"], ["found"]), helper.make_node("Cast", ["found"], ["p"], to=FLOAT)],
        [("x", TensorProto.STRING, ["batch", 1])],
        [("p", FLOAT, ["batch", 3])],
        {"words": np.array([LABELS], dtype=object)},
    )
    model = make_model(main=main, classes={"probabilities": "p"}, image=None)
    with pytest.raises(InvalidInput, match=r"^explain: expected a classifier of one input of numbers, model 'm'"):
        ask(model, [["ant"]], explain=True)


@pytest.mark.parametrize(
    ("rows", "wants_picture", "fields", "complaint"),
    [
        ([ROW], True, {}, "accept: image/png shows an explanation, and none is asked for"),
        ([ROW], False, {"explanation_format": "picture"}, "explanation_format: a picture shows an explanation, and"),
        ([ROW, ROW], True, {"explain": True}, "accept: image/png shows the explanation of one row, got 2"),
    ],
)
def test_picture_of_what_is_not_one_is_refused(
    rows: Any, wants_picture: bool, fields: dict[str, Any], complaint: str
) -> None:
    """A picture shows one explanation, which must be asked for; the text says what to do."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(make_model(), rows, wants_picture=wants_picture, **fields)


def test_row_without_height_and_width_has_no_picture() -> None:
    """The explanation of a row of features comes as numbers only."""
    model = make_model(main=linear([6]), labels=("up", "down"), image=None)
    with pytest.raises(InvalidInput, match=r"^explanation_format: .* model 'm' have no height and width"):
        ask(model, [[1.0] * 6], explain=True, explanation_format="picture")


def test_gradient_that_is_no_number_is_a_failure_of_the_model() -> None:
    """JSON has no infinity."""
    model = make_model(gradients(scale=np.inf))
    with pytest.raises(ModelFailure, match="gave 'gradient' with numbers that are not finite"):
        ask(model, [ROW, ROW], explain="saliency")


@pytest.mark.parametrize("integrates", [False, True], ids=["now", "of older versions"])
def test_saliency_is_the_magnitude_of_the_gradient_of_the_predicted_class(integrates: bool) -> None:
    """By the graph explain, told the label that was predicted."""
    model = make_model(gradients(integrates=integrates))
    answers = body_of(ask(model, [ROW, [[[0.0, 5.0], [0.0, 0.0]]]], explain="saliency"))["predictions"]
    assert len({answer["index"] for answer in answers}) == 2
    for answer in answers:
        assert answer["explanation"] == {"method": "saliency", "values": [[float(answer["index"])] * 2] * 2}


@pytest.mark.parametrize("integrates", [False, True], ids=["now", "of older versions"])
def test_integrated_gradients_go_from_the_value_of_a_black_pixel(integrates: bool) -> None:
    """The baseline is the offset of the picture, not the number 0."""
    answer = body_of(ask(make_model(gradients(integrates=integrates)), [ROW], explain="integrated_gradients"))[
        "predictions"
    ][0]
    expected = answer["index"] * (np.array(ROW[0]) - OFFSET) * [[1, 1], [1, -1]]
    np.testing.assert_allclose(answer["explanation"]["values"], expected, atol=1e-6)


def test_integrated_gradients_run_in_bounded_batches_and_keep_rows_apart() -> None:
    """The 32 points of each row run as rows, at most 256 at a time; each row gets what it gets alone."""
    model = make_model(gradients())
    rows = np.random.default_rng(0).random((20, 1, 2, 2)).round(3)
    together = explanations(model, rows.tolist(), explain="integrated_gradients")
    assert [rows for graph, rows in model.inferred if graph == "explain"] == [256, 256, 128]
    for i in (0, 7, 8, 19):
        [alone] = explanations(model, [rows[i].tolist()], explain="integrated_gradients")
        assert np.array_equal(alone["values"], together[i]["values"])


def test_true_is_saliency_where_there_are_gradients_else_occlusion() -> None:
    """A caller need not know what a model has."""
    assert explanations(make_model(gradients()), [ROW], explain=True)[0]["method"] == "saliency"
    assert explanations(make_model(), [ROW], explain=True)[0]["method"] == "occlusion"


def test_occlusion_is_how_far_the_probability_falls() -> None:
    """Every pixel alone, hidden as black, on a picture of 2 x 2: compared with runs of the model itself."""
    model = make_model()
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
    ("shape", "window"),
    [([7], [1]), ([100], [3]), ([5, 9], [1, 2]), ([3, 16, 8], [4, 2]), ([2, 3, 4, 4], [1, 1])],
)
def test_occlusion_covers_every_place_of_any_row(shape: list[int], window: list[int]) -> None:
    """Of a row whose every number counts, each place has its share; the windows and channels are as documented."""
    model = make_model(main=linear([*shape]), labels=("up", "down"), image=None)
    row = np.full(shape, 0.5 / np.prod(shape))
    [found] = explanations(model, [row.tolist()], explain=True)
    values = np.array(found["values"])
    assert (found["window"], values.shape) == (window, tuple(shape[-2:]))
    assert (values > 0).all()


def test_occlusion_runs_in_bounded_batches_and_keeps_rows_apart() -> None:
    """Windows of many rows are cut into runs of at most 256; each row gets what it gets alone."""
    model = make_model()
    rows = np.random.default_rng(0).random((100, 1, 2, 2)).round(3)
    together = explanations(model, rows.tolist(), explain="occlusion")
    assert [rows for _, rows in model.inferred] == [100, 256, 144]
    for i in (0, 63, 64, 99):
        alone = explanations(model, [rows[i].tolist()], explain="occlusion")[0]["values"]
        np.testing.assert_allclose(alone, together[i]["values"], atol=1e-6)


def test_explanation_comes_as_a_picture_over_the_row() -> None:
    """As base64 within JSON for every row, and for one row as the whole answer."""
    model = make_model(gradients())
    found = explanations(model, [ROW, ROW], explain=True, explanation_format="picture")
    assert [list(item) for item in found] == [["method", "image"]] * 2
    answer = ask(model, [ROW], explain=True, wants_picture=True)
    assert answer.media_type == "image/png"
    assert base64.b64decode(found[0]["image"]) == answer.body
    assert min(Pillow.open(io.BytesIO(answer.body)).size) >= 64


def test_rows_of_different_sizes_are_explained_in_order() -> None:
    """A model of any size explains each row in its own."""
    model = make_model(main=linear([1, "height", "width"]), labels=("up", "down"), image=None)
    rows = [np.full((1, side, side), 0.01).tolist() for side in (2, 5, 2)]
    assert [len(item["values"]) for item in explanations(model, rows, explain=True)] == [2, 5, 2]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
def test_reference_model_is_explained(method: str) -> None:
    """Of a vertical stroke, which is a one, the stroke counts more than the empty sides."""
    stroke = np.zeros((1, 8, 8))
    stroke[0, :, 3:5] = 15
    model = load("digits-classifier")
    answer = body_of(ask(model, [stroke.tolist()], explain=method))["predictions"][0]
    values = np.abs(answer["explanation"]["values"])
    assert answer["label"] == "1"
    assert values.shape == (8, 8)
    assert values[:, 2:6].mean() > values[:, [0, 1, 6, 7]].mean()
