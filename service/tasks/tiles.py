"""Large pictures in tiles: each is a row of its own, which shares batches like any other, and the whole is joined.

Only a few tiles are in flight. The next ones are cut when these have come back, so the memory does not grow with the
picture beyond the pixels that came and those that go.
"""

import functools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Picture, Tile, Tiles
from service.codecs.model_context import ModelContext
from service.codecs.picture_reader import scale_pixels
from service.codecs.picture_writer import to_pixels
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput
from service.tasks.answer import check_finite
from service.tasks.work import Infer, RunInThread

MOST_AT_ONCE = 16
"""Tiles of one picture in flight, where there are as many lanes: the event loop looks at all numbers of them."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """How the rows of a graph are cut and joined.

    ``image`` says how pixel values become numbers, and ``picture`` how the output becomes pixel values; without it it
    stays numbers.
    """

    context: ModelContext
    graph: str
    tiles: Tiles
    row: Tensor
    output: str
    image: Picture | None
    picture: Picture | None
    makes_map: bool
    at_once: int


class Joined(NamedTuple):
    """The output of a picture [channels, height, width], how far it is from the picture, and where [height, width]."""

    output: np.ndarray
    error: float
    error_map: np.ndarray | None


def infer_tiled(cutting: Cutting, row: np.ndarray) -> Generator[Infer | RunInThread, Any, Joined]:
    """Run a row [channels, height, width], pixel values (uint8) or numbers, tile by tile."""
    joining = _Joining(cutting, row)
    inputs: Arrays | None = yield RunInThread(joining.cut_next)
    while inputs is not None:
        outputs: Arrays = yield Infer(inputs, cutting.graph)
        inputs = yield RunInThread(functools.partial(joining.go_on, outputs))
    return joining.finish()


class _Joining:
    """One picture on its way. One thread at a time works on it."""

    def __init__(self, cutting: Cutting, row: np.ndarray) -> None:
        self._cutting = cutting
        self._row = row
        self._name = cutting.row.name
        self._dtype = DATATYPES[cutting.row.datatype].dtype
        self._waves = _in_waves(cutting.tiles.cut(*row.shape[1:]), cutting.at_once)
        self._wave: Sequence[Tile] = ()
        self._inputs: np.ndarray = row
        self._output: np.ndarray | None = None
        self._map = np.empty(row.shape[1:], np.float32) if cutting.makes_map else None
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
        if part.dtype == np.uint8 and self._cutting.image is not None:
            part = scale_pixels(part, self._cutting.image)
        return part.astype(self._dtype, copy=False)

    def go_on(self, outputs: Arrays) -> Arrays | None:
        """Take in what the tiles gave, and cut the next. Raises ModelFailure, InvalidInput for what is not finite."""
        cutting = self._cutting
        found = outputs[cutting.output]
        check_finite(cutting.context, cutting.output, found)
        if not are_finite(self._inputs):
            raise InvalidInput("inputs: expected finite numbers, for they are compared with the output")
        for tile, given, made in zip(self._wave, self._inputs, found, strict=True):
            self._add(tile, given, made)
        return self.cut_next()

    def _add(self, tile: Tile, given: np.ndarray, made: np.ndarray) -> None:
        """The part of a tile for which it is kept."""
        lines, columns = (slice(s.kept_begin - s.begin, s.kept_end - s.begin) for s in tile)
        place = tuple(slice(span.kept_begin, span.kept_end) for span in tile)
        kept = made[:, lines, columns]
        difference = kept - given[:, lines, columns]
        self._squares += float(np.square(difference, dtype=np.float64).sum())
        if self._map is not None:
            self._map[place] = np.abs(difference).mean(axis=0)
        shown = kept if self._cutting.picture is None else to_pixels(kept, self._cutting.picture)
        if self._output is None:
            self._output = np.empty(self._row.shape, shown.dtype)
        self._output[:, *place] = shown

    def finish(self) -> Joined:
        assert self._output is not None  # noqa: S101  # a picture has a tile at least
        mean = self._squares / self._row.size
        error = mean if self._cutting.tiles.error == "mean_square" else mean**0.5
        return Joined(self._output, error, self._map)


def _in_waves(tiles: Iterator[Tile], at_once: int) -> Iterator[Sequence[Tile]]:
    """Tiles of one shape, so many at a time."""
    waiting: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles:
        shape = tuple(span.end - span.begin for span in tile)
        alike = waiting.setdefault(shape, [])
        alike.append(tile)
        if len(alike) == at_once:
            yield waiting.pop(shape)
    yield from waiting.values()
