"""Parquet: one file, or a folder of files with the same columns."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service.score.errors import ScoreError
from service.score.places import Entry, Place
from service.score.sources.source import PIECE_ROWS, START, Piece, Position, Source

_BUFFER_BYTES = 1 << 20
"""How much of a column is read at once. Without a limit, a whole row group would be in memory."""


class ParquetSource(Source):
    """The offset of a position is a row of its file."""

    def __init__(self, place: Place, folder: Place, files: Sequence[Entry]) -> None:
        super().__init__(place, folder, files)
        self._rows: dict[int, int] = {}
        self._schema = self._open(0).schema_arrow
        self.names = self._schema.names

    @property
    def kept_schema(self) -> pa.Schema:
        return pa.schema([self._schema.field(name).with_nullable(True) for name in self.keep])

    def _open(self, number: int) -> Any:
        file = self.open_file(number)
        try:
            opened = pq.ParquetFile(file.open(), pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except (pa.ArrowException, OSError) as error:
            raise ScoreError(f"{file.shown}: expected a Parquet file: {error}") from None
        self._rows[number] = opened.metadata.num_rows
        return opened

    def read(self, start: Position, rows: int) -> Iterator[Piece]:
        number, offset = start
        while rows and number < len(self.files):
            for piece in self._read_file(number, offset, rows):
                rows -= piece.number
                yield piece
            number, offset = number + 1, 0

    def _read_file(self, number: int, offset: int, rows: int) -> Iterator[Piece]:
        with self._open(number) as opened:
            self._check_columns(opened.schema_arrow, number)
            total, row, groups = opened.metadata.num_rows, 0, list(range(opened.num_row_groups))
            while groups and row + opened.metadata.row_group(groups[0]).num_rows <= offset:
                row += opened.metadata.row_group(groups.pop(0)).num_rows
            wanted = list(dict.fromkeys((*self.feed, *self.keep)))
            if not groups:
                return
            try:
                for batch in opened.iter_batches(PIECE_ROWS, groups, wanted, use_threads=False):
                    begin, row = max(0, offset - row), row + batch.num_rows
                    batch = batch.slice(begin, rows) if begin < batch.num_rows else batch.slice(0, 0)
                    if not batch.num_rows:
                        continue
                    rows -= batch.num_rows
                    offset += batch.num_rows
                    end = Position(number, offset) if offset < total else Position(number + 1, 0)
                    yield self._make_piece(batch, end)
                    if not rows:
                        return
            except pa.ArrowException as error:
                file = self.files[number].name
                raise ScoreError(f"{file}: its rows after {offset} cannot be read: {error}") from None

    def _check_columns(self, schema: pa.Schema, number: int) -> None:
        """Raises ScoreError for a file without the columns of the first one."""
        if absent := [name for name in (*self.feed, *self.keep) if name not in schema.names]:
            have = ", ".join(schema.names)
            raise ScoreError(
                f"{self.files[number].name}: expected the column {absent[0]!r}, as {self.files[0].name} has it, got "
                f"{have:.500}: give files with the same columns"
            )

    def _make_piece(self, batch: pa.RecordBatch, end: Position) -> Piece:
        columns = {name: list_values(batch.column(name)) for name in self.feed}
        try:
            kept = [batch.column(field.name).cast(field.type) for field in self.kept_schema]
        except pa.ArrowException as error:
            raise ScoreError(f"{self.place.shown}: files have other types in one column: {error}") from None
        if not kept:
            return Piece(columns, no_columns(batch.num_rows), end)
        return Piece(columns, pa.RecordBatch.from_arrays(kept, schema=self.kept_schema), end)

    def plan(self, part_rows: int) -> Iterator[tuple[Position, int]]:
        start, held = START, 0
        for number in range(len(self.files)):
            with self._open(number) as opened:
                left = total = opened.metadata.num_rows
            while left:
                if not held:
                    start = Position(number, total - left)
                taken = min(left, part_rows - held)
                left, held = left - taken, held + taken
                if held == part_rows:
                    yield start, held
                    held = 0
        if held:
            yield start, held

    def fraction_of_file(self, position: Position) -> float:
        return position.offset / max(1, self._rows.get(position.file, position.offset))


def no_columns(rows: int) -> pa.RecordBatch:
    """A batch with rows and without columns."""
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def list_values(array: pa.Array) -> list[Any]:
    """The values as Python objects. Lists of numbers are converted by NumPy, which is ten times as fast."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if array.null_count == 0 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return list(array.to_numpy(zero_copy_only=False).tolist())
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and array.null_count == 0:
        if pa.types.is_fixed_size_list(kind):
            ends = np.arange(len(array) + 1) * kind.list_size
        else:
            ends = array.offsets.to_numpy() - (array.offsets[0].as_py() if len(array.offsets) else 0)
        values = list_values(array.flatten())
        return [values[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    if pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}:  # Hugging Face's pictures
        return [None if value is None else value["bytes"] for value in array.to_pylist()]
    return list(array.to_pylist())
