"""CSV and JSON lines: one file, or a folder of files with the same columns."""

import abc
import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import IO, Any

import orjson
import pyarrow as pa

from service.score.errors import ScoreError
from service.score.places import Entry, Place
from service.score.sources.parquet import no_columns
from service.score.sources.source import PIECE_ROWS, START, Piece, Position, Source

_LONGEST_BYTES = 64 << 20
"""The limit of a line or field. Without it, a missing quote would bring the rest of the file into memory."""
_PIECE_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 20

Record = dict[str, Any] | str
"""The values by column, or a text that says what is wrong with the record."""


class _Lines:
    """The lines of a file. ``end`` is the byte after the last line read, ``fault`` what is wrong with it, or ""."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        file.seek(start)
        self._file = io.BufferedReader(file, _BUFFER_BYTES)  # type: ignore[type-var]  # a file of Arrow is a raw one
        self.end = start
        self.fault = ""

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_LONGEST_BYTES):
            self.end += len(line)
            if len(line) == _LONGEST_BYTES and not line.endswith(b"\n"):
                self.fault = f"expected a line of at most {_LONGEST_BYTES} bytes, got a longer one"
                self._skip()
                line = b"\n"
            try:
                text = line.decode()
            except UnicodeDecodeError:
                self.fault = "expected text in UTF-8, got other bytes"
                text = line.decode(errors="replace")
            yield text

    def _skip(self) -> None:
        """Skip the rest of a line."""
        while line := self._file.readline(_LONGEST_BYTES):
            self.end += len(line)
            if line.endswith(b"\n"):
                return

    def take_fault(self) -> str:
        fault, self.fault = self.fault, ""
        return fault


class LineSource(Source):
    """The offset of a position is a byte of its file."""

    def __init__(self, place: Place, folder: Place, files: Sequence[Entry]) -> None:
        super().__init__(place, folder, files)
        self.names = self._read_names(0)
        if not self.names:
            raise ScoreError(f"{place.shown}: expected rows with named columns, got none: is the file empty?")

    @abc.abstractmethod
    def _read_names(self, number: int) -> Sequence[str]:
        """The names of the columns of a file."""

    @abc.abstractmethod
    def _records(self, lines: _Lines, number: int) -> Iterator[Record]:
        """The records of the lines. The first line begins a record."""

    @abc.abstractmethod
    def _as_text(self, value: Any) -> str | None:
        """A value in the form in which the output has it."""

    @property
    def kept_schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.keep])

    def _read_file(self, number: int, offset: int) -> Iterator[tuple[Record, int]]:
        """Each record, with the byte after it."""
        with self.open_file(number).open() as file:
            lines = _Lines(file, offset)
            for record in self._records(lines, number):
                yield record, lines.end

    def read(self, start: Position, rows: int) -> Iterator[Piece]:
        number, offset = start
        while rows and number < len(self.files):
            records = self._read_file(number, offset)
            begin = offset
            while rows and (taken := self._take(records, min(rows, PIECE_ROWS), begin)):
                begin = taken[-1][1]
                rows -= len(taken)
                yield self._make_piece([record for record, _ in taken], self._after(number, begin))
            records.close()  # type: ignore[attr-defined]  # a generator: this closes its file
            number, offset = number + 1, 0

    def _after(self, number: int, end: int) -> Position:
        return Position(number, end) if end < self.files[number].size_bytes else Position(number + 1, 0)

    @staticmethod
    def _take(records: Iterator[tuple[Record, int]], rows: int, begin: int) -> list[tuple[Record, int]]:
        """The next ``rows`` records, or fewer if they are long."""
        taken: list[tuple[Record, int]] = []
        for found in itertools.islice(records, rows):
            taken.append(found)
            if found[1] - begin > _PIECE_BYTES:
                break
        return taken

    def _make_piece(self, records: Sequence[Record], end: Position) -> Piece:
        faults = {i: record for i, record in enumerate(records) if isinstance(record, str)}
        found: list[dict[str, Any]] = [{} if isinstance(record, str) else record for record in records]
        columns = {name: [record.get(name) for record in found] for name in self.feed}
        if not self.keep:
            return Piece(columns, no_columns(len(found)), end, faults)
        texts = {name: [self._as_text(record.get(name)) for record in found] for name in self.keep}
        return Piece(columns, pa.RecordBatch.from_pydict(texts, schema=self.kept_schema), end, faults)

    def plan(self, part_rows: int) -> Iterator[tuple[Position, int]]:
        start, held = START, 0
        for number in range(len(self.files)):
            end = 0
            for _, after in self._read_file(number, 0):
                if not held:
                    start = Position(number, end)
                end, held = after, held + 1
                if held == part_rows:
                    yield start, held
                    held = 0
        if held:
            yield start, held

    def fraction_of_file(self, position: Position) -> float:
        return position.offset / max(1, self.files[position.file].size_bytes)


class CsvSource(LineSource):
    """CSV in UTF-8 with a header, by RFC 4180. In files with the suffix .tsv, fields are separated by tabs."""

    is_text = True

    def __init__(self, place: Place, folder: Place, files: Sequence[Entry]) -> None:
        csv.field_size_limit(_LONGEST_BYTES)
        super().__init__(place, folder, files)

    def _open_reader(self, lines: _Lines, number: int) -> Any:
        return csv.reader(lines, delimiter="\t" if self.files[number].name.lower().endswith(".tsv") else ",")

    def _read_names(self, number: int) -> Sequence[str]:
        with self.open_file(number).open() as file:
            return self._read_header(_Lines(file, 0), number)

    def _read_header(self, lines: _Lines, number: int) -> list[str]:
        header: list[str] = next(self._open_reader(lines, number), [])
        if header:
            header[0] = header[0].removeprefix("\ufeff")
        name = self.files[number].name
        if lines.take_fault():
            raise ScoreError(f"{name}: expected CSV in UTF-8 with a header, got other bytes: convert it to UTF-8")
        if len(set(header)) < len(header):
            twice = next(column for column in header if header.count(column) > 1)
            raise ScoreError(f"{name}: expected each column once in the header, got {twice!r} twice: rename one")
        return header

    def _records(self, lines: _Lines, number: int) -> Iterator[Record]:
        names = self.names
        if lines.end == 0:
            names = self._read_header(lines, number)
            if names != self.names:
                raise ScoreError(
                    f"{self.files[number].name}: expected the columns {', '.join(self.names):.300}, as in "
                    f"{self.files[0].name}, got {', '.join(names):.300}: give files with the same header"
                )
        reader = self._open_reader(lines, number)
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                yield f"expected a record of CSV: {str(error).partition(' - ')[0]}"
                continue
            if fields is None:
                return
            fault = lines.take_fault()
            if not fields and not fault:  # an empty line
                continue
            if not fault and len(fields) != len(names):
                fault = f"expected {len(names)} fields, as the header has, got {len(fields)}"
            yield fault or dict(zip(names, fields, strict=True))

    def _as_text(self, value: Any) -> str | None:
        return value  # type: ignore[no-any-return]  # a text already


class JsonSource(LineSource):
    """A JSON object on each line. The columns are the members of the first object."""

    def _read_names(self, number: int) -> Sequence[str]:
        with self.open_file(number).open() as file:
            for record in self._records(_Lines(file, 0), number):
                if isinstance(record, str):
                    raise ScoreError(f"{self.files[number].name}: its first line: {record}")
                return list(record)
        return ()

    def _records(self, lines: _Lines, number: int) -> Iterator[Record]:
        for line in lines:
            fault = lines.take_fault()
            if not fault and not line.strip():
                continue
            value = None
            try:
                value = None if fault else orjson.loads(line)
            except orjson.JSONDecodeError as error:
                fault = f"expected an object of JSON: {error}"
            if isinstance(value, dict):
                yield value
            else:
                yield fault or f"expected an object of JSON, got {line.strip()!r:.40}"

    def _as_text(self, value: Any) -> str | None:
        return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
