"""Large pictures in tiles: each tile is a row that shares batches like any other, and the answers are joined.

Few tiles are in flight at a time, and the next ones are cut when these have come back. So memory does not grow with the
picture, apart from the pixels that came and those of the answer.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Picture, Reconstruction, Tile, Tiles
from service.codecs.model_context import known
from service.codecs.picture_reader import scale_pixels
from service.codecs.picture_writer import to_pixels
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput
from service.tasks.answer import check_finite
from service.tasks.request import TaskOptions
from service.tasks.work import Call, Infer, RunInThread

MOST_AT_ONCE = 16
"""Tiles of one picture in flight, however many lanes there are: the event loop checks the numbers of all of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request to reconstruct asks for.

    ``row`` is the input that is compared with the output, None where a model has several. ``picture`` says how outputs
    become pictures, None: they stay numbers.
    """

    call: Call[TaskOptions]
    facts: Reconstruction
    graph: str
    row: Tensor | None
    picture: Picture | None
    error_map: bool

    @property
    def tiles(self) -> Tiles | None:
        """How large rows are cut, None where they are not."""
        return None if self.row is None else self.facts.tiles


class Joined(NamedTuple):
    """The output [channels, height, width] of a picture, their difference, and a map [height, width] of it."""

    output: np.ndarray
    error: float
    error_map: np.ndarray | None


async def infer_tiled(plan: Plan, row: np.ndarray) -> Joined:
    """Run a row [channels, height, width] tile by tile. It has pixel values (uint8) or numbers."""
    joining = _Joining(plan, row)
    inputs = await RunInThread(joining.cut_next)
    while inputs is not None:
        outputs = await Infer(inputs, plan.graph)
        inputs = await RunInThread(functools.partial(joining.go_on, outputs))
    return joining.finish()


class _Joining:
    """One picture that is being run. One thread at a time works on it."""

    def __init__(self, plan: Plan, row: np.ndarray) -> None:
        tensor = known(plan.row)
        self._plan = plan
        self._tiles = known(plan.tiles)
        self._row = row
        self._name = tensor.name
        self._dtype = DATATYPES[tensor.datatype].dtype
        self._waves = _in_waves(self._tiles.cut(*row.shape[1:]), plan.call.limits.tiles_at_once)
        self._wave: Sequence[Tile] = ()
        self._inputs: np.ndarray = row
        self._output: np.ndarray | None = None
        self._map = np.empty(row.shape[1:], np.float32) if plan.error_map else None
        self._squares = 0.0

    def cut_next(self) -> Arrays | None:
        """The next tiles as rows of a tensor; None when there are no more."""
        self._wave = next(self._waves, ())
        if not self._wave:
            return None
        self._inputs = np.stack([self._cut(tile) for tile in self._wave])
        return {self._name: self._inputs}

    def _cut(self, tile: Tile) -> np.ndarray:
        part = self._row[:, tile.lines.begin : tile.lines.end, tile.columns.begin : tile.columns.end]
        image = self._plan.call.model.manifest.image
        if part.dtype == np.uint8 and image is not None:
            part = scale_pixels(part, image)
        return part.astype(self._dtype, copy=False)

    def go_on(self, outputs: Arrays) -> Arrays | None:
        """Keep the outputs of the tiles, and cut the next. Raises ModelFailure, InvalidInput for what is not finite."""
        name = self._plan.facts.output
        found = check_finite(self._plan.call.model.name, name, outputs[name])
        if not are_finite(self._inputs):
            raise InvalidInput("inputs: expected finite numbers, for they are compared with the output")
        for tile, given, made in zip(self._wave, self._inputs, found, strict=True):
            self._add(tile, given, made)
        return self.cut_next()

    def _add(self, tile: Tile, given: np.ndarray, made: np.ndarray) -> None:
        """Keep the part of a tile that it answers for."""
        lines, columns = (slice(s.kept_begin - s.begin, s.kept_end - s.begin) for s in tile)
        place = tuple(slice(span.kept_begin, span.kept_end) for span in tile)
        kept = made[:, lines, columns]
        difference = kept - given[:, lines, columns]
        self._squares += float(np.square(difference, dtype=np.float64).sum())
        if self._map is not None:
            self._map[place] = np.abs(difference).mean(axis=0)
        picture = self._plan.picture
        shown = kept if picture is None else to_pixels(kept, picture)
        if self._output is None:
            self._output = np.empty(self._row.shape, shown.dtype)
        self._output[:, *place] = shown

    def finish(self) -> Joined:
        mean = self._squares / self._row.size
        error = mean if self._tiles.error == "mean_square" else mean**0.5
        return Joined(known(self._output), error, self._map)


def _in_waves(tiles: Iterator[Tile], at_once: int) -> Iterator[Sequence[Tile]]:
    """At most ``at_once`` tiles of one shape at a time."""
    waiting: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles:
        shape = tuple(span.end - span.begin for span in tile)
        alike = waiting.setdefault(shape, [])
        alike.append(tile)
        if len(alike) == at_once:
            yield waiting.pop(shape)
    yield from waiting.values()
