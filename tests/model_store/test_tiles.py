"""How pictures are cut into tiles, and what a manifest may say about it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest
from model_store.tasks import Tiles

SIDES: tuple[int | str, ...] = ("batch", 3, "height", "width")


def describe(row: tuple[int | str, ...] = SIDES, output: tuple[int | str, ...] = SIDES, **facts: Any) -> Manifest:
    def tensor(name: str, shape: tuple[int | str, ...]) -> Tensor:
        return Tensor(name=name, datatype="FP32", shape=shape, batch_axis=0)

    outputs = (tensor("y", output), tensor("error", ("batch",)), tensor("odd", ("batch",)))
    graph = Graph(file="main.onnx", inputs=(tensor("x", row),), outputs=outputs)
    tiles = {"size": 16, "overlap": 4, "stride": 2}
    reconstruction = {"output": "y", "tiles": tiles, **facts}
    return Manifest.model_validate(
        {"name": "m", "task": "reconstruct", "graphs": {"main": graph}, "reconstruction": reconstruction}
    )


@pytest.mark.parametrize(
    ("tiles", "complaint"),
    [
        ({"size": 16, "overlap": 8}, "a size of more than twice the overlap 8, got 16"),
        ({"size": 18, "overlap": 4, "stride": 4}, "multiples of the stride 4, got 18 and 4"),
        ({"size": 16, "overlap": 3, "stride": 2}, "multiples of the stride 2, got 16 and 3"),
        ({"size": 0, "overlap": 0}, "greater than or equal to 1"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(tiles: dict[str, int], complaint: str) -> None:
    """A tile needs pixels beside its overlap, and must begin at a multiple of the stride."""
    with pytest.raises(ValidationError, match=complaint):
        Tiles.model_validate(tiles)


@pytest.mark.parametrize(
    ("shapes", "facts", "complaint"),
    [
        (("batch", 3, 32, 32), {}, r"input 'x' .* expected rows of \['any', 'free', 'free'\], got \[3, 32, 32\]"),
        (("batch", "height", "width"), {}, r"expected rows of \['any', 'free', 'free'\]"),
        (SIDES, {"error": "error"}, "tiles.error: expected it exactly if reconstruction.error names an output"),
        (SIDES, {"error": "error", "anomaly": "odd"}, "expected no anomaly output but the error, got 'odd'"),
    ],
)
def test_rows_that_cannot_be_cut_are_refused(shapes: tuple[int | str, ...], facts: Any, complaint: str) -> None:
    """Tiles are for pictures of any height and width, with results for the whole picture."""
    with pytest.raises(ValidationError, match=complaint):
        describe(shapes, shapes, **facts)


def test_output_of_another_size_is_refused() -> None:
    """An output of twice the size cannot be joined pixel for pixel."""
    with pytest.raises(ValidationError, match=r"output 'y' .* expected rows of"):
        describe(output=("batch", 3, "tall", "wide"))


@given(
    stride=st.integers(1, 5),
    overlap=st.integers(0, 4),
    more=st.integers(1, 9),
    height=st.integers(1, 120),
    width=st.integers(1, 120),
)
def test_tiles_cover_a_picture_once(stride: int, overlap: int, more: int, height: int, width: int) -> None:
    """Each pixel belongs to one tile, which reaches far enough beyond it or to the edge."""
    tiles = Tiles(size=stride * (2 * overlap + more), overlap=stride * overlap, stride=stride)
    covered = np.zeros((height, width), int)
    for tile in tiles.cut(height, width):
        for span, length in zip(tile, (height, width), strict=True):
            assert span.begin % stride == 0
            assert span.end - span.begin <= tiles.size
            assert span.kept_begin == span.begin == 0 or span.kept_begin - span.begin >= tiles.overlap
            assert span.kept_end == span.end == length or span.end - span.kept_end >= tiles.overlap
        covered[tile.lines.kept_begin : tile.lines.kept_end, tile.columns.kept_begin : tile.columns.kept_end] += 1
    assert (covered == 1).all()


def test_tiles_of_a_picture_have_few_shapes() -> None:
    """Tiles at the far edges are moved back, and lack less than a stride."""
    tiles = Tiles(size=64, overlap=8, stride=4)
    shapes = {tuple(span.end - span.begin for span in tile) for tile in tiles.cut(1001, 777)}
    assert shapes == {(64, 64), (61, 64), (64, 61), (61, 61)}
    assert (tiles.cuts(64, 64), tiles.cuts(64, 65)) == (False, True)
