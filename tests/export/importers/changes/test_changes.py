"""Each change of a graph gives what NumPy gives, with old and new operators."""

import numpy as np
import onnx
import pytest

from export.errors import ExportError
from export.importers.changes.boxes import BestLabels, FixCandidates, LabelScores, ToCorners, WholeClasses
from export.importers.changes.change import Change, apply_all
from export.importers.changes.classes import AddProbabilities
from export.importers.changes.shapes import AddBatchAxis, FixDefaults, FlattenRows, FreeSizes, KeepOutputs, PoolPlaces
from tests.support.inferring import Plain
from tests.support.models.text import make_model

DRAW = np.random.default_rng(0)


def copy(shape: str, opset: int = 20, kind: str = "float") -> bytes:
    """``y = x`` for rows of this shape."""
    return make_model(f"{kind}[batch,{shape}] x => {kind}[batch,{shape}] y", "y = Identity(x)", opset)


def draw(*shape: int) -> dict[str, np.ndarray]:
    return {"x": DRAW.standard_normal(shape).astype(np.float32)}


CASES: dict[str, tuple[Change, bytes, dict[str, np.ndarray]]] = {
    "flatten": (FlattenRows("y", "z"), copy("4,1,1"), draw(3, 4, 1, 1)),
    "mean": (PoolPlaces("y", "z", True), copy("places,4"), draw(3, 5, 4)),
    "mean, opset 13": (PoolPlaces("y", "z", True), copy("places,4", 13), draw(3, 5, 4)),
    "first": (PoolPlaces("y", "z", False), copy("places,4"), draw(3, 5, 4)),
    "softmax": (AddProbabilities("y", "p", "softmax"), copy("4"), draw(3, 4)),
    "sigmoid": (AddProbabilities("y", "p", "sigmoid"), copy("4"), draw(3, 4)),
    "batch axis": (AddBatchAxis(["y"]), copy("4"), draw(3, 4)),
    "batch axis, opset 11": (AddBatchAxis(["y"]), copy("4", 11), draw(3, 4)),
    "scores": (LabelScores("y", "s", "softmax", "last"), copy("5,4"), draw(2, 5, 4)),
    "scores, opset 11": (LabelScores("y", "s", "softmax", "first"), copy("5,4", 11), draw(2, 5, 4)),
    "scores, sigmoid": (LabelScores("y", "s", "sigmoid", "none"), copy("5,4"), draw(2, 5, 4)),
    "scores, none": (LabelScores("y", "s", "none", "last"), copy("5,4"), draw(2, 5, 4)),
    "best labels": (BestLabels("y", "s", "c"), copy("5,4"), draw(2, 5, 4)),
    "whole classes": (WholeClasses("y", "c"), copy("5"), {"x": np.array([[0, 1, 2, 3, 4]], np.float32)}),
    "nothing to keep": (KeepOutputs(["y"], []), copy("4"), draw(3, 4)),
}


@pytest.mark.parametrize("case", CASES)
def test_change_gives_what_numpy_gives(case: str) -> None:
    """What a change adds by ONNX operators equals what it expects by NumPy, for several rows."""
    change, content, inputs = CASES[case]
    expected = change.expect(inputs, Plain(content).run(inputs))
    changed = apply_all(content, [change])
    onnx.checker.check_model(changed, full_check=True)
    got = Plain(changed).run(inputs)
    assert got.keys() == expected.keys()
    assert str(change)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["ltrb", "cxcywh", "ltwh"])
@pytest.mark.parametrize("fractions", [True, False])
@pytest.mark.parametrize("size", ["20,30", "height,width"])
@pytest.mark.parametrize("opset", [9, 20])
def test_boxes_become_corners_in_pixels(form: str, fractions: bool, size: str, opset: int) -> None:
    """Every form of boxes becomes left, top, right, bottom in pixels, whether or not the picture's size is fixed."""
    content = make_model(
        f"float[batch,3,{size}] image, float[batch,n,4] x => float[batch,n,4] y, float[batch,3,{size}] same",
        "y = Identity(x) same = Identity(image)",
        opset,
    )
    inputs = {"x": np.array([[[2, 3, 4, 6], [1, 1, 2, 2]]], np.float32), "image": np.zeros((1, 3, 20, 30), np.float32)}
    change = ToCorners("y", "corners", form, fractions, "image")  # type: ignore[arg-type]
    got = Plain(apply_all(content, [change])).run(inputs)["corners"]
    known = {"ltrb": [2, 3, 4, 6], "cxcywh": [0, 0, 4, 6], "ltwh": [2, 3, 6, 9]}
    sides = [30, 20, 30, 20] if fractions else [1] * 4
    np.testing.assert_allclose(got[0, 0], np.multiply(known[form], sides), rtol=1e-6)
    np.testing.assert_allclose(change.expect(inputs, Plain(content).run(inputs))["corners"], got, rtol=1e-6)


@pytest.mark.parametrize("found", [0, 2, 7])
def test_number_of_candidates_becomes_fixed(found: int) -> None:
    """A graph that returns as many boxes as it finds returns the best of them, then padding with score 0."""
    content = make_model(
        "float[1,n,4] b, float[1,n] s, int64[1,n] c => float[1,n,4] boxes, float[1,n] scores, int64[1,n] classes",
        "boxes = Identity(b) scores = Identity(s) classes = Identity(c)",
    )
    inputs = {
        "b": DRAW.random((1, found, 4), np.float32),
        "s": DRAW.random((1, found), np.float32),
        "c": DRAW.integers(0, 9, (1, found)),
    }
    change = FixCandidates("boxes", "scores", "classes", 5)
    got = Plain(apply_all(content, [change])).run(inputs)
    expected = change.expect(inputs, Plain(content).run(inputs))
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)
    assert got["boxes"].shape == (1, 5, 4)
    assert list(got["scores"][0]) == sorted(got["scores"][0], reverse=True)
    assert got["scores"][0].max(initial=0) == inputs["s"].max(initial=0)


def test_number_of_candidates_needs_a_newer_opset() -> None:
    """The error says which opset is needed, and what to do."""
    content = make_model(
        "float[1,n,4] b, float[1,n] s => float[1,n,4] boxes, float[1,n] scores",
        "boxes = Identity(b) scores = Identity(s)",
        9,
    )
    with pytest.raises(ExportError, match=r"has opset 9: expected opset 11 or newer .*: export it again"):
        apply_all(content, [FixCandidates("boxes", "scores", None, 5)])


def test_declared_sizes_become_free() -> None:
    """A graph whose operators do not know its declared sizes takes others, and gives the same for those it declared."""
    content = make_model("float[2,3,4,4] x => float[2,3,4,4] y", "y = Relu(x)")
    freed = apply_all(content, [FreeSizes([("x", 0, "batch"), ("x", 2, "height"), ("x", 3, "width")])])
    assert Plain(freed).run(draw(1, 3, 7, 5))["y"].shape == (1, 3, 7, 5)
    inputs = draw(2, 3, 4, 4)
    np.testing.assert_array_equal(Plain(freed).run(inputs)["y"], Plain(content).run(inputs)["y"])


def test_weights_are_no_inputs() -> None:
    """Files of old formats list their weights as inputs; they become constants."""
    model = onnx.load_model_from_string(
        make_model("float[n,2] x => float[n,2] y", "y = MatMul(x, w)", w=np.eye(2, dtype=np.float32))
    )
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [2, 2]))
    changed = onnx.load_model_from_string(apply_all(model.SerializeToString(), [FixDefaults(["w"])]))
    assert [value.name for value in changed.graph.input] == ["x"]


def test_output_that_is_absent_is_named() -> None:
    """The error lists the outputs that there are."""
    with pytest.raises(ExportError, match="there is no output 'z', only y"):
        apply_all(copy("4"), [AddProbabilities("z", "p", "softmax")])
