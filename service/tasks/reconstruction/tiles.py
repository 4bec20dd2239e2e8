"""Runs large pictures in tiles: each tile is a row, which shares batches like any other, and the outputs are joined.

Only a few tiles are in flight, and the next ones are cut when their outputs are there. So memory does not grow with the
size of the picture, except for the pixels of the request and of the answer.
"""

import functools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Image, Picture, Reconstruction, Tile, Tiles
from service.codecs.model_context import known
from service.codecs.pictures.reader import scale_pixels
from service.codecs.pictures.writer import to_pixels
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput
from service.tasks.answer import check_finite
from service.tasks.request import TaskOptions
from service.tasks.work import Call, Infer, RunInThread

MOST_AT_ONCE = 16
"""The most tiles of a picture in flight, with any number of lanes, because the event loop checks their numbers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request asks for.

    ``row`` is the input that is compared with the output; None if the model has several inputs. ``picture`` says how
    outputs become pictures; None: they stay numbers.
    """

    call: Call[TaskOptions]
    facts: Reconstruction
    graph: str
    row: Tensor | None
    picture: Picture | None
    error_map: bool

    @property
    def tiles(self) -> Tiles | None:
        """How large rows are cut; None if they are not cut."""
        return None if self.row is None else self.facts.tiles


class Joined(NamedTuple):
    """The output [channels, height, width] for a picture, its error, and the map [height, width] of the errors."""

    output: np.ndarray
    error: float
    error_map: np.ndarray | None


async def infer_tiled(plan: Plan, row: np.ndarray) -> Joined:
    """Run a row [channels, height, width] of pixel values (uint8) or numbers, tile by tile."""
    joining, outputs = _join(plan, row), None
    while not isinstance(found := await RunInThread(functools.partial(_go_on, joining, outputs)), Joined):
        outputs = await Infer(found, plan.graph)
    return found


def _go_on(joining: Generator[Arrays, Any, Joined], outputs: Arrays | None) -> Arrays | Joined:
    try:
        return joining.send(outputs)
    except StopIteration as end:
        joined: Joined = end.value
        return joined


def _join(plan: Plan, row: np.ndarray) -> Generator[Arrays, Arrays, Joined]:
    """Yields the inputs of the next tiles, and is sent their outputs. Runs in threads, in one at a time.

    Raises ModelFailure and InvalidInput for numbers that are not finite.
    """
    model, facts, tensor, tiles = plan.call.model, plan.facts, known(plan.row), known(plan.tiles)
    dtype = DATATYPES[tensor.datatype].dtype
    output: np.ndarray | None = None
    error_map = np.empty(row.shape[1:], np.float32) if plan.error_map else None
    squares = 0.0
    for wave in _in_waves(tiles.cut(*row.shape[1:]), plan.call.limits.tiles_at_once):
        given = np.stack([_cut(row, tile, model.manifest.image).astype(dtype, copy=False) for tile in wave])
        outputs = yield {tensor.name: given}
        found = check_finite(model.name, facts.output, outputs[facts.output])
        if not are_finite(given):
            raise InvalidInput("inputs: expected finite numbers, for they are compared with the output")
        for tile, before, after in zip(wave, given, found, strict=True):
            lines, columns = (slice(s.kept_begin - s.begin, s.kept_end - s.begin) for s in tile)
            place = tuple(slice(span.kept_begin, span.kept_end) for span in tile)
            kept = after[:, lines, columns]  # without the margin of the tile
            difference = kept - before[:, lines, columns]
            squares += float(np.square(difference, dtype=np.float64).sum())
            if error_map is not None:
                error_map[place] = np.abs(difference).mean(axis=0)
            shown = kept if plan.picture is None else to_pixels(kept, plan.picture)
            if output is None:
                output = np.empty(row.shape, shown.dtype)
            output[:, *place] = shown
    mean = squares / row.size
    return Joined(known(output), mean if tiles.error == "mean_square" else mean**0.5, error_map)


def _cut(row: np.ndarray, tile: Tile, image: Image | None) -> np.ndarray:
    part = row[:, tile.lines.begin : tile.lines.end, tile.columns.begin : tile.columns.end]
    return scale_pixels(part, image) if part.dtype == np.uint8 and image is not None else part


def _in_waves(tiles: Iterator[Tile], at_once: int) -> Iterator[Sequence[Tile]]:
    """Groups of at most ``at_once`` tiles of the same shape."""
    waiting: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles:
        shape = tuple(span.end - span.begin for span in tile)
        alike = waiting.setdefault(shape, [])
        alike.append(tile)
        if len(alike) == at_once:
            yield waiting.pop(shape)
    yield from waiting.values()
