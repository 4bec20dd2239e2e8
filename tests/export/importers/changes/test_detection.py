"""Raw outputs of detectors are decoded as a slow loop over their cells and candidates does it."""

import math
from collections.abc import Mapping

import numpy as np
import onnx
import pytest

from export.errors import ExportError
from export.importers.changes.candidates import BestCandidates, ColumnsLast, Part, SplitColumns
from export.importers.changes.change import Change, apply_all
from export.importers.changes.heat_maps import DistancesToBoxes, FacesToBoxes, ReadHeatMap, at_places
from export.importers.changes.opset import RaiseOpset
from tests.support.inferring import Plain
from tests.support.models.text import make_model

DRAW = np.random.default_rng(0)


def prove(content: bytes, changes: list[Change], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of the changed graph, which equal what the changes expect."""
    expected = Plain(content).run(inputs)
    for change in changes:
        expected = change.expect(inputs, expected)
        assert str(change)
    changed = apply_all(content, changes)
    onnx.checker.check_model(changed, full_check=True)
    got = Plain(changed).run(inputs)
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-5)
    return got


def copy(shape: str, opset: int = 20) -> bytes:
    return make_model(f"float[batch,{shape}] x => float[batch,{shape}] y", "y = Identity(x)", opset)


@pytest.mark.parametrize("shape", ["7,6", "n,6"])
@pytest.mark.parametrize("count", [3, 50])
@pytest.mark.parametrize("factor", [None, 4])
@pytest.mark.parametrize("opset", [13, 20])
def test_best_candidates_come_first(shape: str, count: int, factor: int | None, opset: int) -> None:
    """Of each row its own best candidates are kept, best first, and all of them where there are fewer."""
    inputs = {"x": DRAW.random((2, 7, 6), np.float32)}
    got = prove(copy(shape, opset), [BestCandidates("y", "best", 2, 4, factor, count)], inputs)["best"]
    for row, kept in zip(inputs["x"], got, strict=True):
        scores = [max(one[2:4]) * (1 if factor is None else one[factor]) for one in row]
        order = sorted(range(7), key=lambda place: -scores[place])[:count]
        np.testing.assert_array_equal(kept, row[order])


def test_columns_become_outputs() -> None:
    """Boxes, one number, points, a label and products of two columns are outputs of their own."""
    parts = [
        Part("boxes", 0, 4),
        Part("score", 4, 5, (), factor=5),
        Part("label", 6, 7, (), whole=True),
        Part("points", 7, 13, (2, 3)),
        Part("scores", 4, 6, None, factor=6),
    ]
    inputs = {"x": DRAW.random((2, 13, 5), np.float32)}
    got = prove(copy("13,5"), [ColumnsLast("y", "rows"), SplitColumns("rows", parts)], inputs)
    assert {name: array.shape for name, array in got.items()} == {
        "boxes": (2, 5, 4),
        "score": (2, 5),
        "label": (2, 5),
        "points": (2, 5, 2, 3),
        "scores": (2, 5, 2),
    }


MAPS = {"NCHW": ("3,h,w", "4,h,w"), "NHWC": ("h,w,3", "h,w,4")}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("peaks", [True, False])
def test_heat_map_gives_boxes_around_its_peaks(layout: str, peaks: bool) -> None:
    """The best places of all labels get a box by their distances; with peaks, none beside a higher one."""
    heat, distances = MAPS[layout]
    content = make_model(
        f"float[batch,{heat}] h0, float[batch,{distances}] d0 => float[batch,{heat}] heat, float[batch,{distances}] d",
        "heat = Identity(h0) d = Identity(d0)",
    )
    maps = DRAW.random((2, 3, 5, 6), np.float32), DRAW.random((2, 4, 5, 6), np.float32)
    to_layout = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    inputs = {"h0": maps[0].transpose(to_layout).copy(), "d0": maps[1].transpose(to_layout).copy()}
    changes: list[Change] = [
        ReadHeatMap("heat", ["d"], "scores", "classes", "cells", layout, peaks, 4),  # type: ignore[arg-type]
        DistancesToBoxes("cells", at_places("d"), "boxes"),
    ]
    got = prove(content, changes, inputs)
    for row in range(2):
        found = []
        for label, y, x in np.ndindex(3, 5, 6):
            around = maps[0][row, label, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            score = float(maps[0][row, label, y, x])
            if not peaks or score >= around.max():
                left, top, right, bottom = maps[1][row, :, y, x]
                found.append((score, label, (4 * x - left, 4 * y - top, 4 * x + right, 4 * y + bottom)))
        wanted = sorted(found, reverse=True)[:4]
        np.testing.assert_allclose(got["scores"][row], [one[0] for one in wanted])
        np.testing.assert_array_equal(got["classes"][row], [one[1] for one in wanted])
        np.testing.assert_allclose(got["boxes"][row], [one[2] for one in wanted], rtol=1e-5)


def test_faces_have_boxes_and_points() -> None:
    """Sides are exp(scale) * 4, the centre is in its cell by the offset, and points lie within the box."""
    sizes = {"heat": 1, "scale": 2, "offset": 2, "landmarks": 10}
    signature = ", ".join(f"float[batch,{size},h,w] {name}0" for name, size in sizes.items())
    outputs = ", ".join(f"float[batch,{size},h,w] {name}" for name, size in sizes.items())
    content = make_model(f"{signature} => {outputs}", " ".join(f"{name} = Identity({name}0)" for name in sizes))
    inputs = {f"{name}0": DRAW.random((2, size, 4, 3), np.float32) for name, size in sizes.items()}
    others = [name for name in sizes if name != "heat"]
    changes: list[Change] = [
        ReadHeatMap("heat", others, "scores", "classes", "cells", "NCHW", False, 1),
        FacesToBoxes("cells", *map(at_places, others), boxes="boxes", points="points"),
    ]
    got = prove(content, changes, inputs)
    for row in range(2):
        y, x = np.unravel_index(inputs["heat0"][row, 0].argmax(), (4, 3))
        scale, offset, landmarks = (inputs[f"{name}0"][row, :, y, x].astype(float) for name in others)
        height, width = math.exp(scale[0]) * 4, math.exp(scale[1]) * 4
        left, top = (x + offset[1] + 0.5) * 4 - width / 2, (y + offset[0] + 0.5) * 4 - height / 2
        np.testing.assert_allclose(got["boxes"][row, 0], [left, top, left + width, top + height], rtol=1e-5)
        points = [(landmarks[2 * i + 1] * width + left, landmarks[2 * i] * height + top) for i in range(5)]
        np.testing.assert_allclose(got["points"][row, 0], points, rtol=1e-5)


def test_old_operators_become_newer_ones() -> None:
    """A graph of opset 9 gives the same by operators of opset 13, and then takes changes that need them."""
    inputs = {"x": DRAW.random((2, 7, 6), np.float32)}
    prove(copy("7,6", 9), [RaiseOpset(13), BestCandidates("y", "best", 2, 4, None, 3)], inputs)


def test_operators_without_a_newer_form_are_named() -> None:
    """The error says which opset the graph has, and what to do."""
    model = onnx.load_model_from_string(copy("7,6", 9))
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(ExportError, match=r"has opset 9, and cannot be brought to opset 13 .*export it again"):
        RaiseOpset(13).apply(model)
