"""Rows as people send them."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from model_store.manifest import Graph, Manifest, Tensor
from model_store.tasks import Image
from service.errors import InvalidInput, UnsupportedMedia
from service.tasks.rows import MAX_ROWS, image_rows, read_rows


def describe(shape: tuple[int | str, ...], datatype: str = "FP32", image: Image | None = None) -> Manifest:
    tensor = Tensor(name="x", datatype=datatype, shape=("batch", *shape), batch_axis=0)
    graph = Graph(file="main.onnx", inputs=(tensor,), outputs=())
    return Manifest(name="m", task="tensors", graphs={"main": graph}, image=image)


def picture(value: int = 255) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


def as_row(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


NUMBERS = describe((2,))
PICTURES = describe((1, 2, 2), image=Image(input="x", channels=1, height=2, width=2, scale=1 / 255))


def read(inputs: Any, manifest: Manifest = NUMBERS) -> np.ndarray:
    return read_rows(inputs, manifest, 1000)["x"]


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        (None, "inputs: expected an array of 1 to 65536 rows, got null"),
        ({}, "inputs: expected an array of 1 to 65536 rows, got an object"),
        ("ab", "inputs: expected an array of 1 to 65536 rows, got a string"),
        ([], "inputs: expected an array of 1 to 65536 rows, got an array of 0"),
        ([[0, 0]] * (MAX_ROWS + 1), "inputs: expected an array of 1 to 65536 rows, got an array of 65537"),
        ([1, 2], r"inputs\[0\]: expected a row of shape \[2\], got \[\]"),
        ([[1, 2, 3]], r"inputs\[0\]: expected a row of shape \[2\], got \[3\]"),
        ([[[1], [2]]], r"inputs\[0\]: expected a row of shape \[2\], got \[2, 1\]"),
        ([[1, 2], [3]], r"inputs\[1\]: expected a row of shape \[2\], got \[1\]"),
        ([[1, 2], [3, "x"]], r"inputs\[1\]: expected FP32, got 'x'"),
        ([[1, 2], [3, 4], None], r"inputs\[2\]: expected FP32, got null"),
        ([[1, 2], [True, 4]], r"inputs\[1\]: expected FP32, got a boolean"),
        ([[1, 2], [[3], 4]], r"inputs\[1\]: expected arrays of equal length"),
        ([[1, 2], {"image": "AA=="}], r"inputs\[1\].image: model 'm' takes numbers of shape \[2\], not pictures"),
        ([{"image": 5}], r"inputs\[0\]: expected nested numbers or .*, got fields \['image'\]"),
        ([{"picture": ""}], r"inputs\[0\]: expected nested numbers or .*, got fields \['picture'\]"),
        ([{}], r"inputs\[0\]: expected nested numbers or .*, got fields \[\]"),
    ],
)
def test_faulty_rows_are_refused_and_the_first_is_named(inputs: Any, complaint: str) -> None:
    """The text names the first row at fault, with what a row must be and what came."""
    with pytest.raises(InvalidInput, match=complaint):
        read(inputs)


@pytest.mark.parametrize(
    ("row", "error", "complaint"),
    [
        ({"image": "?"}, InvalidInput, r"inputs\[1\].image: expected a base64 text"),
        (as_row(b"no picture"), UnsupportedMedia, r"inputs\[1\].image: expected a PNG or JPEG picture"),
        ([[1, 2]], InvalidInput, r"inputs\[1\]: expected a row of shape \[1, 2, 2\], got \[1, 2\]"),
    ],
)
def test_faulty_picture_is_named(row: Any, error: type[Exception], complaint: str) -> None:
    """Among pictures, too, the row at fault is named."""
    with pytest.raises(error, match=complaint):
        read([as_row(picture()), row], PICTURES)


def test_model_of_several_tensors_points_to_its_route() -> None:
    """Rows of one tensor cannot feed a model of two; the text says which route can."""
    graph = NUMBERS.graphs["main"]
    both = (graph.inputs[0], graph.inputs[0].model_copy(update={"name": "z"}))
    manifest = NUMBERS.model_copy(update={"graphs": {"main": graph.model_copy(update={"inputs": both})}})
    with pytest.raises(InvalidInput, match=r"takes several tensors \(x, z\): use /v2/models/m/infer"):
        read([[1, 2]], manifest)


def test_picture_as_a_body_is_refused_by_a_model_of_numbers() -> None:
    """A picture sent to a model that takes numbers is told the shape of its rows."""
    with pytest.raises(InvalidInput, match=r"^body: model 'm' takes numbers of shape \[2\], not pictures$"):
        image_rows(picture(), NUMBERS, 1000)


def test_too_large_a_picture_is_refused() -> None:
    """The limit on pixels holds in rows and in bodies."""
    with pytest.raises(InvalidInput, match=r"^inputs\[0\]\.image: expected at most 15 pixels, got 4 x 4$"):
        read_rows([as_row(picture())], PICTURES, 15)
    with pytest.raises(InvalidInput, match=r"^body: expected at most 15 pixels, got 4 x 4$"):
        image_rows(picture(), PICTURES, 15)


def test_rows_of_different_sizes_beside_a_picture_are_refused() -> None:
    """Where a model takes pictures of any size, rows of one request must still have the same."""
    free = describe((1, "height", "width"), image=PICTURES.image)
    with pytest.raises(InvalidInput):
        read([as_row(picture()), [[[0.5]]]], free)


def test_nested_text_is_no_text() -> None:
    """A list where a row is one text is refused, as a list where a number belongs is."""
    with pytest.raises(InvalidInput, match=r"inputs\[1\]"):
        read(["a", ["b"]], describe((), "BYTES"))


@pytest.mark.parametrize(
    ("manifest", "inputs"),
    [
        (NUMBERS, [[1, 2.5], [3, 4]]),
        (describe((), "INT64"), [5, 6, 7]),
        (describe(("length",), "INT32"), [[1, 2, 3]]),
        (describe((2,), "BOOL"), [[True, False]]),
        (describe((1,), "BYTES"), [["é"], [""]]),
    ],
)
def test_rows_become_the_tensor_of_the_model(manifest: Manifest, inputs: Any) -> None:
    """Rows keep their order and values and take the model's datatype; an open size may be any."""
    array = read(inputs, manifest)
    assert array.tolist() == inputs
    dtypes = {"FP32": "float32", "INT64": "int64", "INT32": "int32", "BOOL": "bool", "BYTES": "object"}
    assert array.dtype == dtypes[manifest.graphs["main"].inputs[0].datatype]


def test_pictures_and_numbers_may_be_mixed() -> None:
    """A request may hold pictures and the numbers that a picture becomes, row by row."""
    array = read([as_row(picture(255)), [[[0, 0.25], [0.5, 1]]], as_row(picture(51))], PICTURES)
    assert (array.shape, array.dtype) == ((3, 1, 2, 2), np.float32)
    np.testing.assert_allclose(array[:, 0, 0, 0], [1, 0, 0.2], atol=1e-6)


def test_picture_as_a_body_is_one_row() -> None:
    """A body that is a picture becomes a batch of one row."""
    [(name, array)] = image_rows(picture(), PICTURES, 1000).items()
    assert (name, array.shape, array.max()) == ("x", (1, 1, 2, 2), 1)
