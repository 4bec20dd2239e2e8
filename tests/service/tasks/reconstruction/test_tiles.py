"""Large pictures in tiles: the same answer as the whole, in bounded memory, however a request ends."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow

from service.codecs.pictures.reader import RowFile
from service.errors import BodyTooLarge, Cancelled, InvalidInput, ModelFailure, TryLater
from service.tasks.reconstruction import reconstruct
from service.tasks.room import PictureRoom
from service.tasks.work import Infer, RunInThread
from tests.support import driving
from tests.support.driving import LIMITS, Driver, body_of, load, make
from tests.support.models.graphs import build
from tests.support.pictures.encoding import encode

FLOAT = TensorProto.FLOAT
TILES = {"size": 32, "overlap": 4, "stride": 2, "error": "mean_square"}
HEIGHT, WIDTH = 75, 101


def unet(channels: int) -> bytes:
    """Halves a picture by a convolution, enlarges it again and adds it: it looks 3 pixels far, in steps of 2."""
    draw = np.random.default_rng(0)
    shape = ["batch", channels, "height", "width"]
    crop = {"starts": np.array([0, 0]), "axes": np.array([2, 3]), "sides": np.array([2, 3]), "line": np.array([-1])}
    weights = {
        "down": draw.normal(size=(4, channels, 3, 3)).astype(np.float32) / 9,
        "up": draw.normal(size=(4, channels, 2, 2)).astype(np.float32) / 4,
    }
    return build(
        [
            helper.make_node("Conv", ["x", "down"], ["half"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["half"], ["some"]),
            helper.make_node("ConvTranspose", ["some", "up"], ["large"], strides=[2, 2]),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "sides"], ["ends"]),
            helper.make_node("Slice", ["large", "starts", "ends", "axes"], ["added"]),
            helper.make_node("Add", ["x", "added"], ["y"]),
            helper.make_node("Mul", ["added", "added"], ["squares"]),
            helper.make_node("Flatten", ["squares"], ["flat"]),
            helper.make_node("ReduceMean", ["flat", "line"], ["error"], keepdims=0),
        ],
        [("x", FLOAT, shape)],
        [("y", FLOAT, shape), ("error", FLOAT, ["batch"])],
        {**weights, **crop},
    )


def pixelwise(operator: str, *constants: str) -> bytes:
    """y of x by one node, with an error that is 0."""
    shape = ["batch", 3, "height", "width"]
    nodes = [
        helper.make_node(operator, ["x", *constants], ["y"]),
        helper.make_node("Sub", ["x", "x"], ["nothing"]),
        helper.make_node("ReduceMax", ["nothing", "line"], ["error"], keepdims=0),
    ]
    outputs = [("y", FLOAT, shape), ("error", FLOAT, ["batch"])]
    values = {"line": np.array([1, 2, 3]), "two": np.array(2, np.float32), "zero": np.array(0, np.float32)}
    return build(nodes, [("x", FLOAT, shape)], outputs, values)


def make_model(tiles: Any = None, channels: int = 3, main: bytes | None = None, **image: Any) -> Driver:
    facts = {"output": "y", "error": "error", "tiles": tiles}
    image = {"input": "x", "channels": channels, **image}
    return make({"main": main or unet(channels)}, task="reconstruct", reconstruction=facts, image=image)


def png(mode: str = "RGB", height: int = HEIGHT, width: int = WIDTH) -> bytes:
    draw = np.random.default_rng(1)
    shape = (height, width) if mode in ("L", "I;16") else (height, width, len(mode))
    kind = np.uint16 if mode == "I;16" else np.uint8
    return encode(Pillow.fromarray(draw.integers(0, np.iinfo(kind).max, shape, kind, True)))


begin = functools.partial(driving.begin, reconstruct)
ask = functools.partial(driving.ask, reconstruct)


def predict(model: Driver, content: bytes, **more: Any) -> Mapping[str, Any]:
    [found] = body_of(ask(model, [RowFile(content, "body")], **more))["predictions"]
    return dict(found)


def refuse_above(most: int) -> Any:
    def check(elements: int) -> None:
        if elements > most:
            raise BodyTooLarge(f"a row of {elements}")

    return {"main": check}


@pytest.fixture
def room() -> Iterator[PictureRoom]:
    """Whatever a test does, nothing is held in the end."""
    room = PictureRoom(1 << 20)
    yield room
    assert room.held_bytes == 0


def test_picture_that_takes_too_much_is_refused(room: PictureRoom) -> None:
    """A tile is checked like any row, before it is decoded; numbers take as much as the whole, a picture does not."""
    limits, model = dataclasses.replace(LIMITS, room=room), make_model(TILES)
    model.context = dataclasses.replace(model.context, row_checks=refuse_above(3 * 32 * 32 - 1))
    with pytest.raises(BodyTooLarge, match=r"^a row of 3072$"):
        ask(model, [RowFile(png(), "body")], limits=limits, wants_picture=True)
    model.context = dataclasses.replace(model.context, row_checks=refuse_above(3 * HEIGHT * WIDTH - 1))
    with pytest.raises(BodyTooLarge, match=r"^a row of 22725; as a picture .* it may be larger$"):
        predict(model, png(), limits=limits)
    assert predict(model, png(), limits=limits, output_format="picture")["output"].keys() == {"image"}


def test_picture_waits_for_no_room_that_others_hold(room: PictureRoom) -> None:
    """It is refused for now; with nothing held, the largest goes through."""
    limits = dataclasses.replace(LIMITS, room=room)
    rows = [RowFile(png(height=300, width=300), "body")]
    with room.open() as other:
        other(1)
        with pytest.raises(TryLater, match=r"^inputs: expected room for 2160000 bytes of pictures"):
            ask(make_model(TILES), rows, limits=limits)
    ask(make_model(TILES), rows, limits=limits)


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_request_that_ends_between_tiles_gives_its_room_back(room: PictureRoom, runs: int) -> None:
    """Its caller has gone, or its deadline has passed: the task is closed, and no more tiles are cut."""
    model = make_model(TILES)
    work = begin(model, [RowFile(png(), "body")], limits=dataclasses.replace(LIMITS, room=room))
    wanted: Any = work.send(None)
    while len(model.inferred) < runs or not isinstance(wanted, Infer):
        is_run = isinstance(wanted, Infer)
        wanted = work.send(model.infer(wanted.graph, wanted.inputs) if is_run else wanted.do())
    assert room.held_bytes > 0
    work.close()


def test_picture_that_is_decoded_too_late_takes_no_room(room: PictureRoom) -> None:
    """Its request has ended before the thread came to it."""
    content = png(height=200, width=200)
    work = begin(make_model(TILES), [RowFile(content, "body")], limits=dataclasses.replace(LIMITS, room=room))
    decode: Any = work.send(None)
    assert isinstance(decode, RunInThread)
    work.close()
    with pytest.raises(Cancelled):
        decode.do()


def test_tile_that_is_not_finite_fails_the_request() -> None:
    """Overflow in one tile is the model's fault, infinity in a row the caller's."""
    row = np.zeros((3, HEIGHT, WIDTH), np.float32)
    row[:, 60:64, 90:94] = 3e38
    with pytest.raises(ModelFailure, match="'y' with numbers that are not finite"):
        ask(make_model(TILES, main=pixelwise("Mul", "two")), [row.tolist()])
    row[0, 60, 90] = np.inf
    with pytest.raises(InvalidInput, match="expected finite numbers"):
        ask(make_model(TILES, main=pixelwise("Clip", "zero", "two")), [row.tolist()])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_answer_of_tiles_is_that_of_the_whole(mode: str, channels: int) -> None:
    """Output, error and map, within 1e-4, with colours, alpha, grey and 16 bits."""
    whole, tiled = make_model(None, channels), make_model(TILES, channels)
    expected, got = (predict(model, png(mode), error_map=True) for model in (whole, tiled))
    assert (len(whole.inferred), len(tiled.inferred)) == (1, 12)
    for name in ("output", "error", "error_map"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-6, atol=1e-4)
    pictures = [predict(model, png(mode), error_map=True, output_format="picture") for model in (whole, tiled)]
    assert pictures[0]["output"] == pictures[1]["output"]


def test_rows_of_numbers_are_cut_too() -> None:
    """A row beyond a tile runs in tiles, whichever way it came; a root of the mean square is that of the whole."""
    row = np.random.default_rng(2).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32).tolist()
    [expected], [got] = (body_of(ask(make_model(tiles), [row]))["predictions"] for tiles in (None, TILES))
    np.testing.assert_allclose(got["output"], expected["output"], atol=1e-4)
    assert got["error"] == pytest.approx(expected["error"], abs=1e-4)
    models = [make_model({**TILES, "error": kind}) for kind in ("mean_square", "root_mean_square")]
    square, root = (predict(model, png()) for model in models)
    assert root["error"] == pytest.approx(square["error"] ** 0.5)


@pytest.mark.parametrize("at_once", [1, 3, 16])
def test_few_tiles_are_in_flight(at_once: int) -> None:
    """No run has more of them than are allowed, and each runs once."""
    model = make_model(TILES)
    predict(model, png(), limits=dataclasses.replace(LIMITS, tiles_at_once=at_once))
    assert max(rows for _, rows in model.inferred) == min(at_once, 6)
    assert sum(rows for _, rows in model.inferred) == 12


def test_small_and_large_pictures_come_back_in_order() -> None:
    """Small ones run whole, as before; each answer has the size of its row."""
    sides = (20, 75, 20, 60)
    rows = [RowFile(png("L", side, side), f"file {side}") for side in sides]
    model = make_model(TILES)
    answers = body_of(ask(model, rows, output_format="numbers"))["predictions"]
    assert [np.shape(answer["output"]) for answer in answers] == [(3, side, side) for side in sides]
    assert model.inferred[0] == ("main", 2)


@pytest.mark.long
def test_photograph_has_no_seams() -> None:
    """The reference photo restorer joins tiles of 512 to what it makes of the whole, at the borders too."""
    model = load("photo-restorer")
    facts = model.manifest.reconstruction
    row = np.random.default_rng(3).uniform(0, 255, (3, 530, 600)).astype(np.float32)
    whole = model.infer("main", {"image": row[None]})
    model.inferred.clear()
    [got] = body_of(ask(model, [row.tolist()], limits=dataclasses.replace(LIMITS, tiles_at_once=1)))["predictions"]
    assert len(model.inferred) > 2
    difference = np.abs(np.array(got["output"], np.float32) - whole["reconstruction"][0])
    borders = {tile.columns.kept_begin for tile in facts.tiles.cut(530, 600)} - {0}
    assert difference.max() <= 1e-4
    assert max(difference[:, :, at - 1 : at + 1].max() for at in borders) <= 1e-4
    assert got["error"] == pytest.approx(float(whole["error"][0]), rel=1e-4)
