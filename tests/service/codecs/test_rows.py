"""Rows as people send them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest
from model_store.tasks import Carry, Image, Loop
from service.codecs.model_context import ModelContext
from service.codecs.pictures.reader import RowFile
from service.codecs.rows import Group, in_order, read_groups, shown_input
from service.errors import BodyTooLarge, Cancelled, InvalidInput, UnsupportedMedia
from service.tasks.request import TaskOptions
from service.tasks.work import Call, Limits, decode_rows
from tests.support.pictures.encoding import as_row, encode


def describe(shape: tuple[int | str, ...], datatype: str = "FP32", image: Image | None = None) -> Manifest:
    tensor = Tensor(name="x", datatype=datatype, shape=("batch", *shape), batch_axis=0)
    graph = Graph(file="main.onnx", inputs=(tensor,), outputs=())
    return Manifest(name="m", task="tensors", graphs={"main": graph}, image=image)


def picture(value: int = 255) -> bytes:
    return encode(Pillow.new("L", (4, 4), value))


NUMBERS = describe((2,))
PICTURES = describe((1, 2, 2), image=Image(input="x", channels=1, height=2, width=2, scale=1 / 255))


def read(inputs: Any, manifest: Manifest = NUMBERS) -> np.ndarray:
    [group] = read_groups(inputs, manifest, 1000)
    return group.inputs["x"]


def several(image: Image | None = None) -> Manifest:
    """A model of a series of any length and a month; or of a picture and a month."""
    main = (PICTURES if image else describe(("time",))).graphs["main"].inputs[0].model_copy(update={"name": "history"})
    month = Tensor(name="month", datatype="INT64", shape=("batch",), batch_axis=0)
    graph = Graph(file="main.onnx", inputs=(main, month), outputs=())
    return Manifest(name="m", task="tensors", graphs={"main": graph}, image=image)


EXPECTED = "inputs: expected an array of 1 to 65536 rows"
BODY, FILE = RowFile(picture(), "body"), RowFile(b"", "file 1 (a.png)")
MONTH = {"history": [1, 2], "month": 3}


@pytest.mark.parametrize(
    ("manifest", "inputs", "error", "complaint"),
    [
        (NUMBERS, [1, 2], InvalidInput, r"inputs\[0\]: expected a row of shape \[2\], got \[\]"),
        (NUMBERS, [[1, 2, 3]], InvalidInput, r"inputs\[0\]: expected a row of shape \[2\], got \[3\]"),
        (NUMBERS, [[[1], [2]]], InvalidInput, r"inputs\[0\]: expected a row of shape \[2\], got \[2, 1\]"),
        (NUMBERS, [[1, 2], [3]], InvalidInput, r"inputs\[1\]: expected a row of shape \[2\], got \[1\]"),
        (NUMBERS, [[1, 2], [3, "x"]], InvalidInput, r"inputs\[1\]: expected FP32, got 'x'"),
        (NUMBERS, [[1, 2], [3, 4], None], InvalidInput, r"inputs\[2\]: expected FP32, got null"),
        (NUMBERS, [[1, 2], [True, 4]], InvalidInput, r"inputs\[1\]: expected FP32, got a boolean"),
        (NUMBERS, [[1, 2], [[3], 4]], InvalidInput, r"inputs\[1\]: expected arrays of equal length"),
        (NUMBERS, [[1, 2], {"image": "AA=="}], InvalidInput, r"inputs\[1\].image: .* numbers of shape \[2\], not pict"),
        (NUMBERS, [BODY], InvalidInput, r"body: model 'm' takes numbers of shape \[2\], not pictures"),
        (NUMBERS, [{"image": 5}], InvalidInput, r"inputs\[0\]: expected nested numbers or .*, got fields \['image'\]"),
        (NUMBERS, [{"picture": ""}], InvalidInput, r"inputs\[0\]: expected nested .*, got fields \['picture'\]"),
        (NUMBERS, [{}], InvalidInput, r"inputs\[0\]: expected nested numbers or .*, got fields \[\]"),
        (describe((), "BYTES"), ["a", ["b"]], InvalidInput, r"inputs\[1\]"),
        (PICTURES, [BODY, {"image": "?"}], InvalidInput, r"inputs\[1\].image: expected a base64 text"),
        (
            PICTURES,
            [BODY, as_row(b"none")],
            UnsupportedMedia,
            r"inputs\[1\].image: expected a JPEG, PNG, WebP, ",
        ),
        (PICTURES, [BODY, [[1, 2]]], InvalidInput, r"inputs\[1\]: expected a row of shape \[1, 2, 2\], got \[1, 2\]"),
        (several(), [MONTH, [1, 2]], InvalidInput, r"inputs\[1\]: .* takes an object of history, month, got an array"),
        (several(), [MONTH, {"history": [1]}], InvalidInput, r"inputs\[1\]: .* got fields \['history'\]"),
        (several(), [MONTH, {**MONTH, "year": 2}], InvalidInput, r"inputs\[1\]: .* got fields"),
        (several(), [MONTH, {**MONTH, "month": [1]}], InvalidInput, r"inputs\[1\]\.month: .* shape \[\], got \[1\]"),
        (several(), [MONTH, {**MONTH, "month": 1.5}], InvalidInput, r"inputs\[1\]\.month: expected INT64, got 1\.5"),
        (several(), [MONTH, {**MONTH, "history": ["x"]}], InvalidInput, r"inputs\[1\]\.history: expected FP32, got"),
        (several(), [MONTH, FILE], InvalidInput, r"file 1 \(a\.png\): .* object of history, month, got a picture"),
    ],
)
def test_first_row_at_fault_is_named(manifest: Manifest, inputs: Any, error: type[Exception], complaint: str) -> None:
    """The text has the place of the row, what a row must be and what came."""
    with pytest.raises(error, match=f"^{complaint}"):
        read_groups(inputs, manifest, 1000)


def test_row_of_several_inputs_is_an_object_of_them() -> None:
    """Each input becomes its tensor, a picture too; rows of different lengths become groups that know their places."""
    rows = [{"history": [1, 2], "month": 3}, {"month": 4, "history": [5]}, {"history": [6, 7], "month": 8}]
    first, second = read_groups(rows, several(), 1000)
    assert (first.places, second.places) == ([0, 2], [1])
    assert first.inputs["history"].tolist() == [[1, 2], [6, 7]]
    assert (first.inputs["month"].tolist(), first.inputs["month"].dtype) == ([3, 8], np.int64)
    assert second.inputs["history"].tolist() == [[5]]
    manifest = several(Image(input="history", channels=1, height=2, width=2))
    [group] = read_groups([{"history": as_row(picture()), "month": 3}], manifest, 1000)
    assert group.inputs["history"].tolist() == [[[[255, 255], [255, 255]]]]


def test_start_graph_takes_the_picture() -> None:
    """Where the graph that begins a loop takes the picture, rows of that graph are pictures, and those of main not."""
    (image,) = PICTURES.graphs["main"].inputs
    state = Tensor(name="x", datatype="FP32", shape=("batch", 1, 2, 2), batch_axis=0)
    manifest = Manifest(
        name="m",
        task="tensors",
        graphs={
            "main": Graph(file="main.onnx", inputs=(state,), outputs=()),
            "see": Graph(file="see.onnx", inputs=(image,), outputs=(state,)),
        },
        loop=Loop(carries=(Carry(input="x", start="x"),), max_steps=1, start="see"),
        image=Image(input="x", graph="see", channels=1, height=2, width=2),
    )
    [group] = read_groups([as_row(picture(7))], manifest, 1000, graph="see")
    assert group.inputs["x"].tolist() == [[[[7, 7], [7, 7]]]]
    assert [shown_input(manifest, graph) for graph in ("see", "main")] == [image, state]
    with pytest.raises(InvalidInput, match=r"^body: model 'm' takes numbers of shape \[1, 2, 2\], not pictures$"):
        read_groups([BODY], manifest, 1000)


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_rows_of_different_shapes_come_back_in_order(lengths: list[int]) -> None:
    """Rows are grouped by shape, and what each gives finds its way back."""
    rows = [[float(i)] * length for i, length in enumerate(lengths)]
    groups = read_groups(rows, describe(("time",)), 1000)
    assert len(groups) == len(set(lengths))
    assert [row.tolist() for row in in_order(groups, [group.inputs["x"] for group in groups])] == rows


def test_pictures_of_any_size_become_groups() -> None:
    """Where the manifest gives no size a picture keeps its own."""
    free = describe((1, "height", "width"), image=Image(input="x", channels=1))
    pictures = [RowFile(picture(), "a"), as_row(picture(7)), [[[0.5]]]]
    groups = read_groups(pictures, free, 1000)
    found = [(group.places, group.inputs["x"].shape) for group in groups]
    assert found == [([0, 1], (2, 1, 4, 4)), ([2], (1, 1, 1, 1))]


def test_pictures_have_a_limit_alone_and_together() -> None:
    """Each picture has a limit of pixels, and so have all of a request: in the tensor, and as they are decoded."""
    for row, name in ((as_row(picture()), r"inputs\[0\]\.image"), (BODY, "body")):
        with pytest.raises(BodyTooLarge, match=f"^{name}: expected at most 15 pixels, got 4 x 4$"):
            read_groups([row], PICTURES, 15)
    free = describe((1, "height", "width"), image=Image(input="x", channels=1))
    assert len(read_groups([BODY] * 2, free, 32)) == 1
    with pytest.raises(BodyTooLarge, match=r"inputs\[2\]: expected at most 32 pixels in all rows together"):
        read_groups([BODY] * 3, free, 32)
    one = describe((1, 1, 1), image=Image(input="x", channels=1, height=1, width=1))
    cut = RowFile(picture()[:50], "b")
    assert len(read_groups([BODY] * 8, one, 16)) == 1
    with pytest.raises(BodyTooLarge, match=r"^b: expected pictures of at most 128 pixels together, got more$"):
        read_groups([*[BODY] * 8, cut], one, 16)


def test_rows_that_nobody_waits_for_are_not_decoded() -> None:
    """The task was closed, at the deadline or because its caller has gone: the thread is there for others."""
    work = decode_rows(call([RowFile(noise_picture(200), "a")] * 2))
    step = work.send(None)
    work.close()
    with pytest.raises(Cancelled):
        step.do()


def call(rows: Any) -> Call[TaskOptions]:
    return Call(TaskOptions(), rows, ModelContext("m", "1", PICTURES), Limits(max_pixels=1_000_000))


def decode(rows: Any) -> tuple[list[Group], int]:
    """The groups, and how often something was done in a thread."""
    work, threads_asked, answer = decode_rows(call(rows)), 0, None
    while True:
        try:
            answer = work.send(answer).do()
        except StopIteration as end:
            return end.value, threads_asked
        threads_asked += 1


def noise_picture(side: int) -> bytes:
    return encode(Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)))


class Unread(list[Any]):
    """Rows that nobody may look at."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("a row was looked at")


def test_no_rows_and_too_many_are_refused_before_any_is_looked_at() -> None:
    """Millions of rows of a single number fit a body, and to look at them takes the event loop seconds."""
    with pytest.raises(InvalidInput, match=r"^inputs: expected an array of rows, got nothing$"):
        decode(None)
    for rows, got in (({}, "an object"), ("ab", "a string"), ([], "an array of 0")):
        with pytest.raises(InvalidInput, match=f"^{EXPECTED}, got {got}$"):
            decode(rows)
    with pytest.raises(InvalidInput, match=f"^{EXPECTED}, got an array of 65537$"):
        decode(Unread([[0]] * 65_537))


@pytest.mark.parametrize("as_value", [lambda content: RowFile(content, "body"), as_row])
def test_large_pictures_are_decoded_aside(as_value: Any) -> None:
    """Small ones and numbers are read at once."""
    assert decode([[[[0, 0], [0, 0]]]] * 9000)[1] == 0
    assert decode([as_value(picture())])[1] == 0
    [group], threads_asked = decode([as_value(noise_picture(200))])
    assert (group.inputs["x"].shape, threads_asked) == ((1, 1, 2, 2), 1)


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
    """A request may hold pictures and the numbers that a picture becomes, row by row; a body that is one is a row."""
    array = read([as_row(picture(255)), [[[0, 0.25], [0.5, 1]]], as_row(picture(51)), BODY], PICTURES)
    assert (array.shape, array.dtype) == ((4, 1, 2, 2), np.float32)
    np.testing.assert_allclose(array[:, 0, 0, 0], [1, 0, 0.2, 1], atol=1e-6)
