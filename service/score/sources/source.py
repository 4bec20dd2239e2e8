"""The interface of inputs: their columns, and their rows from any position on."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from service.score.places import Entry, Place

PIECE_ROWS = 1024
"""The most rows that are read at once."""


class Position(NamedTuple):
    """Where a row begins: the number of its file, and a byte or row in it, depending on the kind of file."""

    file: int
    offset: int


START = Position(0, 0)


class FileValue(NamedTuple):
    """A file that is a row or a part of one. It is read when the row is sent. ``size_bytes`` may be unknown."""

    place: Place
    size_bytes: int | None = None


class Piece(NamedTuple):
    """Rows as they were read.

    ``columns`` has the values of each column for the model. ``kept`` are the columns to copy to the output. ``end`` is
    the position after the piece. ``faults``: place of a row in the piece -> what is wrong with it.
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
    """An open input. Call ``select`` before ``read``."""

    is_text = False
    """Whether all values are texts, as in CSV, so that numbers must be read from them."""
    is_files = False
    """Whether each row is a file."""
    part_rows = 10_000
    """The default number of rows of a part of the output."""

    def __init__(self, place: Place, folder: Place, files: Sequence[Entry]) -> None:
        self.place = place
        self.folder = folder
        """Paths in a column are relative to this folder."""
        self.files = files
        self.names: Sequence[str] = ()
        """The columns."""
        self.feed: Sequence[str] = ()
        self.keep: Sequence[str] = ()
        self._before = [0]
        for file in files:
            self._before.append(self._before[-1] + file.size_bytes)

    def select(self, feed: Sequence[str], keep: Sequence[str]) -> None:
        """Set the columns for the model, and the columns to copy to the output."""
        self.feed, self.keep = feed, keep

    @property
    @abc.abstractmethod
    def kept_schema(self) -> pa.Schema:
        """The columns to copy to the output."""

    @abc.abstractmethod
    def read(self, start: Position, rows: int) -> Iterator[Piece]:
        """``rows`` rows from a position on, or as many as there are. Raises ScoreError, OSError."""

    @abc.abstractmethod
    def plan(self, part_rows: int) -> Iterator[tuple[Position, int]]:
        """The position and the number of rows of each part of ``part_rows`` rows. Raises ScoreError, OSError."""

    def fraction(self, position: Position) -> float:
        """The part of the input before a position, approximately."""
        if position.file >= len(self.files) or not self._before[-1]:
            return 1.0
        inside = self.fraction_of_file(position) * self.files[position.file].size_bytes
        return (self._before[position.file] + inside) / self._before[-1]

    def fraction_of_file(self, position: Position) -> float:
        return 0.0

    def open_file(self, number: int) -> Place:
        file = self.files[number]
        return Place(self.place.filesystem, file.path, file.name)
