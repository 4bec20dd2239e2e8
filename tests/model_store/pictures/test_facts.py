"""What a manifest says of pictures fits its graph, and itself."""

from typing import Any

import pytest

from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest
from model_store.tasks import Carry, Image, Loop

ANY: tuple[int | str, ...] = (3, "height", "width")


def describe(row_shape: tuple[int | str, ...] = (3, 20, 30), datatype: str = "FP32", **facts: Any) -> Manifest:
    tensor = Tensor(name="x", datatype=datatype, shape=("batch", *row_shape), batch_axis=0)
    graph = Graph(file="main.onnx", inputs=(tensor,), outputs=())
    return Manifest(name="m", task="tensors", graphs={"main": graph}, image=Image(**{"input": "x", **facts}))


GIVEN = {"channels": 3, "height": 20, "width": 30}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another input": ({**GIVEN, "input": "y"}, "image.input 'y' is not an input of the graph 'main'"),
    "a graph that does not begin": ({**GIVEN, "graph": "see"}, "image.graph: expected 'main', got 'see'"),
    "a width alone": ({"channels": 3, "width": 30}, "image: expected both height and width, or neither, or a height"),
    "a free width for a fixed one": ({"channels": 3, "height": 20}, r"the picture would be \(3, 20, None\)"),
    "crop to any width": (
        {"row_shape": (3, 20, "w"), "channels": 3, "height": 20, "resize": "crop"},
        "expected a height and a width for crop",
    ),
    "narrowest of a fixed size": ({**GIVEN, "narrowest": 8}, "image.narrowest: expected a height without a width"),
    "narrowest above longest": (
        {"row_shape": (3, 20, "w"), "channels": 3, "height": 20, "narrowest": 90, "longest": 80},
        "image.narrowest: expected at most longest, 80, got 90",
    ),
    "another size": (
        {**GIVEN, "width": 31},
        r"image: 'x' has rows of \(3, 20, 30\), the picture would be \(3, 20, 31\)",
    ),
    "another layout": ({**GIVEN, "layout": "NHWC"}, r"the picture would be \(20, 30, 3\)"),
    "any size for a fixed one": ({"channels": 3}, r"image: 'x' has rows of \(3, 20, 30\)"),
    "scaled pixel values": ({**GIVEN, "datatype": "UINT8", "scale": 2.0}, "expected scale 1 and offset 0"),
    "three scales of one channel": (
        {"row_shape": (1, 20, 30), **GIVEN, "channels": 1, "scale": (1.0, 2.0, 3.0)},
        "expected one number for scale, offset and padding",
    ),
    "three levels of one channel": (
        {"row_shape": (1, 20, 30), **GIVEN, "channels": 1, "padding": (1, 2, 3)},
        "expected one number for scale, offset and padding",
    ),
    "crop to any size": ({"row_shape": ANY, "channels": 3, "resize": "crop"}, "expected a height and a width for crop"),
    "longest of a fixed size": ({**GIVEN, "longest": 40}, "expected no longest and no multiple"),
    "multiple of a fixed size": ({**GIVEN, "multiple": 4}, "expected no longest and no multiple"),
    "shortest of stretch": ({**GIVEN, "shortest": 40}, "image.shortest: expected resize crop"),
    "box without antialias": (
        {**GIVEN, "interpolation": "box", "antialias": False},
        "image.antialias: expected true for",
    ),
    "lanczos without antialias": (
        {**GIVEN, "interpolation": "lanczos", "antialias": False},
        "image.antialias: expected true for lanczos",
    ),
    "scale of nothing": ({**GIVEN, "scale": 0.0}, "expected a number other than 0"),
    "level beyond white": ({**GIVEN, "padding": 256}, "padding"),
}


@pytest.mark.parametrize(("facts", "complaint"), WRONG.values(), ids=WRONG)
def test_contradiction_is_refused(facts: dict[str, Any], complaint: str) -> None:
    """The text names the field, what is expected and what came."""
    with pytest.raises(ValueError, match=complaint):
        describe(**facts)


@pytest.mark.parametrize(
    "facts",
    [
        GIVEN,
        {**GIVEN, "resize": "crop", "shortest": 25, "rounding": "down"},
        {**GIVEN, "resize": "crop", "shortest": 10},  # smaller than the crop: it is padded
        {**GIVEN, "resize": "fit", "padding": (1, 2, 3), "padded": "end", "enlarge": False},
        {**GIVEN, "row_shape": (20, 30, 3), "layout": "NHWC", "order": "BGR", "datatype": "UINT8"},
        {**GIVEN, "row_shape": ANY, "interpolation": "bicubic", "antialias": False},
        {"row_shape": ANY, "channels": 3, "resize": "fit", "longest": 640, "multiple": 32},
        {"row_shape": ANY, "channels": 3, "shortest": 800, "longest": 1333, "reduced_decoding": True},
    ],
)
def test_what_fits_is_accepted(facts: dict[str, Any]) -> None:
    """The usual ways to make rows of pictures, and back from JSON."""
    manifest = describe(**facts)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def describe_loop(**facts: Any) -> Manifest:
    """A model whose start graph ``see`` takes pictures."""
    state = Tensor(name="state", datatype="FP32", shape=("batch", 4), batch_axis=0)
    main = Graph(file="main.onnx", inputs=(state,), outputs=(state.model_copy(update={"name": "next"}),))
    seen = describe(**GIVEN).graphs["main"].inputs
    return Manifest(
        name="m",
        task="tensors",
        graphs={"main": main, "see": Graph(file="see.onnx", inputs=seen, outputs=(state,))},
        loop=Loop(start="see", carries=(Carry(input="state", output="next", start="state"),), max_steps=3),
        image=Image(**{"input": "x", "graph": "see", **GIVEN, **facts}),
    )


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"input": "y"}, "image.input 'y' is not an input of the graph 'see'"),
        ({"graph": "look"}, "image.graph: expected 'main' or 'see', the loop's start graph, got 'look'"),
        ({"graph": "main"}, "image.input 'x' is not an input of the graph 'main'"),
        ({"width": 31}, r"image: 'x' has rows of \(3, 20, 30\), the picture would be \(3, 20, 31\)"),
    ],
)
def test_pictures_of_a_start_graph_are_checked_against_it(facts: dict[str, Any], complaint: str) -> None:
    """A loop may begin with a picture; what is said of it must fit the graph that takes it."""
    image = describe_loop().image
    assert image is not None
    assert image.graph == "see"
    with pytest.raises(ValueError, match=complaint):
        describe_loop(**facts)


def test_detection_reads_pictures_of_main() -> None:
    """Boxes belong to the rows of ``main``, so a model that detects has its pictures there."""
    change = {"task": "detect", "labels": ("a",), "detection": {"boxes": "b", "scores": "s"}}
    with pytest.raises(ValueError, match=r"detection: expected pictures as rows of 'main', image.graph is 'see'"):
        Manifest.model_validate({**describe_loop().model_dump(), **change})
