"""Scores a part: reads its rows, keeps a limited number of them in the engine, and collects the answers in order."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from service.score.engine import Engine
from service.score.errors import ScoreError
from service.score.output.columns import Columns
from service.score.rows import Fault, RowMaker, has_files, render_value
from service.score.sources.files import PATH
from service.score.sources.source import START, Piece, Position, Source

_REQUEST_BYTES = 1 << 20
"""The most bytes of a request of several rows, approximately."""


class Slots:
    """Limits the rows in flight. A request of any size may go if there is no other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._changed = asyncio.Event()

    async def take(self, rows: int) -> None:
        while self._held and self._held + rows > self._most:
            self._changed.clear()
            await self._changed.wait()
        self._held += rows

    def give(self, rows: int) -> None:
        self._held -= rows
        self._changed.set()


class Scored(NamedTuple):
    """The rows of a part as they go into its file."""

    number: int
    batches: list[pa.RecordBatch]
    rows: int
    errors: int
    end: Position


class Scorer:
    """Scores parts with one engine."""

    def __init__(
        self, engine: Engine, source: Source, maker: RowMaker, columns: Columns, *, is_strict: bool = False
    ) -> None:
        self._engine = engine
        self._source = source
        self._maker = maker
        self._columns = columns
        self._is_strict = is_strict
        self.schema: pa.Schema = columns.schema
        """The columns of the output."""
        self.tell: Callable[[int, int], object] = lambda rows, errors: None
        """Called with the number of rows that are done, and how many of them have an error."""
        self.position = START
        """The position after the last row that was read."""
        self._slots = Slots(engine.rows_in_flight)
        self._at_once = engine.rows_at_once

    async def read(self, number: int, start: Position, rows: int, group: asyncio.TaskGroup) -> "Part":
        """Read a part of ``rows`` rows, or fewer at the end of the input, and send them.

        The answers come from ``Part.gather``. If a request fails, ``group`` raises. Raises ScoreError, OSError.
        """
        part, first = Part(number, start), number * rows
        pieces = self._source.read(start, rows)
        while (found := await asyncio.to_thread(self._make_next, pieces)) is not None:
            piece, values, sizes = found
            begin = 0
            for size in sizes:
                await self._slots.take(size)
                kept = piece.kept.slice(begin, size)
                part.tasks.append(group.create_task(self._score(values[begin : begin + size], kept, first + begin)))
                begin += size
            first += piece.number
            self.position = part.end = piece.end
            part.rows = part.rows + piece.number
        return part

    def _make_next(self, pieces: Iterator[Piece]) -> tuple[Piece, list[Any], list[int]] | None:
        """The next piece, its rows, and the number of rows of each request. Called in a thread: it reads and parses."""
        piece = next(pieces, None)
        if piece is None:
            return None
        values = self._maker.make(piece)
        return piece, values, self._cut(values)

    def _cut(self, values: list[Any]) -> list[int]:
        most = self._at_once
        first = next((value for value in values if not isinstance(value, Fault)), None)
        if most > 1 and first is not None and not has_files(first):
            most = max(1, min(most, _REQUEST_BYTES // _measure(first)))
        return [min(most, len(values) - begin) for begin in range(0, len(values), most)]

    async def _score(self, values: list[Any], kept: pa.RecordBatch, row: int) -> pa.RecordBatch:
        try:
            answers = await self._engine.answer(values)
            values.clear()
            faults = [(at, answer) for at, answer in enumerate(answers) if isinstance(answer, Fault)]
            if faults and self._is_strict:
                at, fault = faults[0]
                raise ScoreError(f"--strict: row {row + at} (from 0){_name_file(kept, at)}: {fault.text}")
            self.tell(len(answers), len(faults))
            return self._columns.make(kept, answers)
        finally:
            self._slots.give(kept.num_rows)


class Part:
    """A part whose rows have been sent."""

    def __init__(self, number: int, start: Position) -> None:
        self.number = number
        self.end = start
        self.rows = 0
        self.tasks: list[asyncio.Task[pa.RecordBatch]] = []

    async def gather(self) -> Scored:
        """Wait for its answers."""
        batches = [await task for task in self.tasks]
        errors = sum(batch.num_rows - batch.column(batch.num_columns - 1).null_count for batch in batches)
        return Scored(self.number, batches, self.rows, errors, self.end)


def _name_file(kept: pa.RecordBatch, at: int) -> str:
    """The file of a row for a message, if the row is a file."""
    return f", {kept.column(PATH)[at]}" if PATH in kept.schema.names else ""


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group, or of the groups in it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _measure(row: Any) -> int:
    """The bytes of a row in a request, approximately."""
    try:
        return len(orjson.dumps(row, default=render_value)) + 1
    except TypeError:
        return 1
