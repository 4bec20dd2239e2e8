"""What every kind of input gives: its columns, and its rows from any position on."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from service.score.places import Entry, Place

PIECE_ROWS = 1024
"""Rows that are read at once, at most."""


class Position(NamedTuple):
    """Where a row begins: the number of its file, and a byte or row in it, as the kind of file has it."""

    file: int
    offset: int


START = Position(0, 0)


class FileValue(NamedTuple):
    """A file that is a row, or a part of one. It is read when the row is sent. ``size_bytes`` may be unknown."""

    place: Place
    size_bytes: int | None = None


class Piece(NamedTuple):
    """Rows as they were read.

    ``columns`` has a list of values for each column that feeds the model, ``faults`` what is wrong with single rows, by
    their place in the piece. ``kept`` are the columns for the output. ``end`` is the position after the piece.
    """

    columns: Mapping[str, list[Any]]
    kept: pa.RecordBatch
    end: Position
    faults: Mapping[int, str] = {}

    @property
    def number(self) -> int:
        rows: int = self.kept.num_rows
        return rows


class Source(abc.ABC):
    """An input that was opened. ``select`` comes before ``read``."""

    is_text = False
    """Whether all values are texts, as in CSV: numbers have to be read from them."""
    is_files = False
    """Whether each row is a file."""
    part_rows = 10_000
    """Rows of a part of the output, unless the user says another number."""

    def __init__(self, place: Place, folder: Place, files: Sequence[Entry]) -> None:
        self.place = place
        self.folder = folder
        """What the paths in a column start from."""
        self.files = files
        self.names: Sequence[str] = ()
        """The columns."""
        self.feed: Sequence[str] = ()
        self.keep: Sequence[str] = ()
        self._before = [0]
        for file in files:
            self._before.append(self._before[-1] + file.size_bytes)

    def select(self, feed: Sequence[str], keep: Sequence[str]) -> None:
        """Say which columns are wanted: those that feed the model, and those for the output. Raises ScoreError."""
        self.feed, self.keep = feed, keep

    @property
    @abc.abstractmethod
    def kept_schema(self) -> pa.Schema:
        """The columns for the output."""

    @abc.abstractmethod
    def read(self, start: Position, rows: int) -> Iterator[Piece]:
        """So many rows from a position on, or as many as there are. Raises ScoreError, OSError."""

    @abc.abstractmethod
    def plan(self, part_rows: int) -> Iterator[tuple[Position, int]]:
        """The positions of parts of so many rows, and the rows of each. Raises ScoreError, OSError."""

    def fraction(self, position: Position) -> float:
        """Which part of the input is before a position, about."""
        if position.file >= len(self.files) or not self._before[-1]:
            return 1.0
        inside = self.fraction_of_file(position) * self.files[position.file].size_bytes
        return (self._before[position.file] + inside) / self._before[-1]

    def fraction_of_file(self, position: Position) -> float:
        return 0.0

    def open_file(self, number: int) -> Place:
        file = self.files[number]
        return Place(self.place.filesystem, file.path, file.name)
