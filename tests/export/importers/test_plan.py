"""A plan holds every fact with its origin; what is dangerous to guess is asked for."""

from collections.abc import Mapping
from typing import Any

import pytest

from export.errors import MissingFacts, SpecError
from export.importers.facts import Fact
from export.importers.plan import Plan, make_plan
from export.importers.sources.onnx_file import describe_onnx
from export.importers.sources.source import Found
from model_store.tasks import Classes, Detection, Embedding
from tests.export.importers.publishing import as_options
from tests.support.models.text import make_model

NUMBERS = {"picture.scale": 1 / 255, "picture.order": "RGB", "picture.resize": "stretch"}
PICTURE = "float[batch,3,8,8] x"
MEANS = "m = ReduceMean<keepdims=0>(x, [2, 3]) "
SCORES = (f"{PICTURE} => float[batch,2] y", MEANS + "y = MatMul(m, w[3,2])")
BOXES = (
    f"{PICTURE} => float[batch,n,4] b, float[batch,n,3] s",
    "f = Reshape(x, [0, -1, 4]) b = Relu(f) s = Slice(f, [0], [3], [2])",
)


def plan(graph: tuple[str, str], said: Mapping[str, Any], in_file: Mapping[str, Any] | None = None) -> Plan:
    facts = {"name": Fact("m", "the name of m.onnx")}
    layers = [
        as_options(said),
        {path: Fact(value, f"model.toml: {path}") for path, value in (in_file or {}).items()},
    ]
    return make_plan(Found(kind="a graph", facts=facts, model=describe_onnx("m", make_model(*graph), {})), layers)


def test_what_is_said_first_counts() -> None:
    """Options win over model.toml, that wins over the source, and that over the graph and guesses."""
    found = plan(SCORES, {"labels": ("a", "b"), **NUMBERS}, {"name": "other", "picture.order": "BGR"})
    origins = {path: fact.origin for path, fact in found.facts.items()}
    assert found.description.name == "other"
    assert origins["name"] == "model.toml: name"
    assert (found.get("picture.order"), origins["picture.order"]) == ("RGB", "--picture.order")
    assert origins["picture.size"].startswith("the graph")
    assert {path for path, fact in found.facts.items() if fact.is_guess} == {
        "task",
        "activation",
        "picture.interpolation",
    }


def test_everything_that_is_missing_is_asked_for_at_once() -> None:
    """The error names each option, with examples of the usual values."""
    with pytest.raises(MissingFacts) as error:
        plan(SCORES, {"task": "classify"})
    text = str(error.value)
    assert "2 things are not known" in text
    for flag in ("--labels", "--scale, --mean, --std", "--order", "--resize", "--rows numbers"):
        assert flag in text
    assert "[batch, 3, 8, 8]" in text


def test_file_that_says_nothing_is_published_as_tensors() -> None:
    """Without a task nothing is asked for, and the graph stays as it is."""
    found = plan(SCORES, {})
    assert (found.description.task, found.changes, found.description.image) == ("tensors", (), None)
    assert found.facts["task"].is_guess


@pytest.mark.parametrize(
    ("nodes", "said", "expected", "changes"),
    [
        ("y = MatMul(m, w[3,2])", {}, Classes(probabilities="probabilities", logits="y"), ["softmax of 'y'"]),
        ("z = MatMul(m, w[3,2]) y = Softmax(z)", {}, Classes(probabilities="y"), []),
        (
            "y = MatMul(m, w[3,2])",
            {"multi_label": True, "threshold": 0.3},
            Classes(probabilities="probabilities", logits="y", multi_label=True, threshold=0.3),
            ["sigmoid of 'y'"],
        ),
        (
            "z = MatMul(m, w[3,2]) y = Sigmoid(z)",
            {},
            Classes(probabilities="y", multi_label=True),
            [],
        ),
        ("z = MatMul(m, w[3,2]) y = Exp(z)", {"activation": "none"}, Classes(probabilities="y"), []),
    ],
    ids=["scores", "softmax inside", "several labels", "sigmoid inside", "said"],
)
def test_probabilities_are_found_or_made(
    nodes: str, said: dict[str, Any], expected: Classes, changes: list[str]
) -> None:
    """The operator that makes the output tells whether it has probabilities; scores get softmax or sigmoid."""
    found = plan((SCORES[0], MEANS + nodes), {"labels": ("a", "b"), **NUMBERS, **said})
    assert found.description.classes == expected
    assert [str(change).partition(": ")[2] for change in found.changes] == changes


def test_scores_of_unknown_kind_are_asked_about() -> None:
    """Softmax over what may be probabilities already would give wrong answers, so it is not guessed."""
    with pytest.raises(MissingFacts, match="whether 'y', which Exp makes, has probabilities: give --activation none"):
        plan((SCORES[0], MEANS + "z = MatMul(m, w[3,2]) y = Exp(z)"), {"labels": ("a", "b"), **NUMBERS})


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"labels": ("a", "b", "c")}, r"has 2 scores, but there are 3 labels \(--labels\): name each"),
        ({"labels": ("a",)}, "one of them may mean 'none of these'"),
        ({"labels": ("a", "b"), "output": "z"}, r"there is no output 'z' \(--output\), only 'y' FP32"),
        ({"labels": ("a", "b"), "picture.size": 9}, r"is 9 x 9 \(--picture.size\), but the graph takes 8 x 8: leave"),
        ({"labels": ("a", "b"), "picture.longest": 9}, "longest.*expected no longest|no longest"),
        ({"labels": ("a", "b"), "picture.std": 0.0}, "scale and std: expected numbers other than 0"),
        ({"labels": ("a", "b"), "picture.input": "z"}, "--input z: expected an input with four axes, got 'x'"),
        ({"task": "generate"}, "task generate: expected one of classify, .*sluice export"),
        (
            {"labels": ("a", "b"), "threshold": 0.3},
            "--threshold: a model of one label .*: leave it out, or give --multi-l",
        ),
        ({"labels": ("a", "b"), "boxes.overlap": 0.3}, "--boxes.overlap: the task classify .*or give --task detect"),
        ({"labels": ("a", "b"), "vectors.pooling": "mean"}, "the task classify has no use for it.*--task embed"),
        ({"task": "embed", "vectors.pooling": "mean"}, "one vector for each row already: leave it out"),
        (
            {"task": "regress", "labels": ("a", "b"), "activation": "none"},
            "regress has no use for it.*classify or detect",
        ),
        ({"task": "tensors"}, "picture.order: the task tensors has no use for it"),
        ({"labels": ("a", "b"), "rows": "numbers"}, "picture.order: the model's rows are numbers"),
        ({"labels": ("a", "b"), "boxes.layout": "yolov8", "boxes.units": "pixels"}, "layout yolov8 .* says it already"),
        ({"labels": ("a", "a")}, "--labels: the label 'a' occurs more than once: expected different names"),
    ],
)
def test_facts_that_contradict_the_graph_or_do_nothing_are_refused(said: dict[str, Any], complaint: str) -> None:
    """The error says what the graph has and what was said and where, or why an option has no effect."""
    with pytest.raises(SpecError, match=complaint):
        plan(SCORES, {**NUMBERS, **said})


def test_file_beside_the_model_is_refused_as_options_are() -> None:
    """A limit for pictures of any size contradicts a fixed one, also where model.toml gives it."""
    with pytest.raises(SpecError, match="no longest"):
        plan(SCORES, {"labels": ("a", "b"), **NUMBERS}, {"picture.longest": 9})


def test_scaling_is_that_of_mean_and_deviation() -> None:
    """(level * scale - mean) / std becomes one factor and one summand for each channel."""
    numbers = {"picture.scale": 1 / 255, "picture.mean": (0.5, 0.4, 0.3), "picture.std": (0.5, 0.25, 0.2)}
    image = plan(SCORES, {"labels": ("a", "b"), **NUMBERS, **numbers}).description.image
    assert image is not None
    assert image.scale == pytest.approx((2 / 255, 4 / 255, 5 / 255))
    assert image.offset == pytest.approx((-1, -1.6, -1.5))


def test_rows_of_numbers_need_no_picture() -> None:
    """What looks like a picture is none if a person says so."""
    found = plan(SCORES, {"labels": ("a", "b"), "rows": "numbers"})
    assert found.description.image is None


@pytest.mark.parametrize(
    ("shape", "layout"), [("batch,8,8,3", "NHWC"), ("batch,1,8,8", "NCHW"), ("batch,3,height,width", "NCHW")]
)
def test_layout_follows_from_the_shape(shape: str, layout: str) -> None:
    """The axis of 1 or 3 is that of the channels; free sides need a limit."""
    nodes = "f = ReduceMax<keepdims=0>(x, [1, 2, 3]) g = Unsqueeze(f, [1]) y = MatMul(g, w[1,2])"
    said = {"labels": ("a", "b"), **NUMBERS, **({"picture.longest": 64} if "height" in shape else {})}
    image = plan((f"float[{shape}] x => float[batch,2] y", nodes), said).description.image
    assert image is not None
    assert image.layout == layout
    assert (image.height is None) == ("height" in shape)


@pytest.mark.parametrize(
    ("output", "nodes", "said", "changes"),
    [
        ("batch,2", "y = MatMul(m, w[3,2])", {}, 0),
        ("batch,3,1,1", "y = ReduceMean(x, [2, 3])", {}, 1),
        ("batch,3,64", "y = Reshape(x, [0, 3, 64])", {"vectors.pooling": "mean"}, 1),
    ],
)
def test_output_becomes_one_vector(output: str, nodes: str, said: dict[str, Any], changes: int) -> None:
    """Axes of size 1 go, and vectors of places are pooled."""
    before = MEANS if "(m" in nodes else ""
    found = plan((f"{PICTURE} => float[{output}] y", before + nodes), {"task": "embed", **NUMBERS, **said})
    assert isinstance(found.description.embedding, Embedding)
    assert len(found.changes) == changes


def test_pooling_is_asked_for() -> None:
    """Which of many vectors is meant is not guessed."""
    with pytest.raises(MissingFacts, match="a vector for each place, becomes one vector: give --pooling first"):
        plan((f"{PICTURE} => float[batch,3,64] y", "y = Reshape(x, [0, 3, 64])"), {"task": "embed", **NUMBERS})


def test_boxes_become_those_of_the_manifest() -> None:
    """Fractions of centres and sizes, and scores with a background, are changed by operators that the plan names."""
    said = {
        "boxes.boxes": "b",
        "boxes.scores": "s",
        "boxes.format": "cxcywh",
        "boxes.units": "fractions",
        "boxes.background": "last",
        "activation": "softmax",
        "boxes.overlap": "none",
        "labels": ("a", "b"),
    }
    found = plan(BOXES, {**NUMBERS, **said})
    assert found.description.task == "detect"
    assert found.description.detection == Detection(
        boxes="corners", scores="best_scores", classes="classes", overlap=None
    )
    assert [type(change).__name__ for change in found.changes] == ["LabelScores", "BestLabels", "ToCorners"]


def test_form_of_boxes_is_asked_for() -> None:
    """Nothing about boxes is guessed but the names of outputs."""
    with pytest.raises(MissingFacts) as error:
        plan(BOXES, {"task": "detect", "labels": ("a", "b", "c"), **NUMBERS, "boxes.boxes": "b"})
    for part in ("--box-format ltrb, cxcywh or ltwh, --box-units pixels or fractions", "has the scores", "--scores"):
        assert part in str(error.value)
