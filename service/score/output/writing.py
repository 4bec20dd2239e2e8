"""Writes parts of the output in their format, and joins them into one file."""

import base64
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.score.errors import ScoreError
from service.score.places import Place, copy_pieces

FORMATS = ("parquet", "csv", "jsonl")
_OTHER_FILES = {".tsv", ".ndjson", ".json", ".txt", ".xls", ".xlsx", ".gz", ".zip", ".pq", ".arrow", ".feather"}
"""A path that ends like this means a file, not a folder of parts."""


class Output(NamedTuple):
    """``folder`` holds the parts. ``file`` is the file that they are joined into, if the user wants one."""

    folder: Place
    format: str
    file: Place | None = None

    @property
    def shown(self) -> str:
        return (self.file or self.folder).shown

    def part(self, number: int) -> Place:
        return self.folder.join(f"part-{number:06d}.{self.format}")


def plan_output(place: Place, form: str | None) -> Output:
    """A file if the path has the suffix of a format, else a folder of parts. Raises ScoreError."""
    suffix = place.suffix.removeprefix(".")
    if suffix in FORMATS and place.kind() != "folder":
        if form not in (None, suffix):
            raise ScoreError(f"--format {form}: expected {suffix}, because OUT is {place.shown}: rename OUT")
        return Output(place.parent.join(f".{place.name}.parts"), suffix, place)
    if place.suffix in _OTHER_FILES and place.kind() != "folder":
        raise ScoreError(f"{place.shown}: expected a folder, or a file .parquet, .csv or .jsonl, got {place.suffix}")
    return Output(place, form or FORMATS[0])


def render_part(batches: Sequence[pa.RecordBatch], schema: pa.Schema, form: str) -> Any:
    """The content of a file with these rows, as bytes or a buffer."""
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_batches(batches, schema), sink)
        return sink.getvalue()
    rows = (row for batch in batches for row in _list_rows(batch))
    if form == "jsonl":
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=_write_other) for row in rows)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(schema.names)
    for row in rows:
        writer.writerow([_write_cell(value) for value in row.values()])
    return text.getvalue().encode()


def _list_rows(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any]]:
    """Rows by column; maps as objects."""
    columns = []
    for array in batch.columns:
        values = array.to_pylist()
        is_map = pa.types.is_map(array.type)
        columns.append([dict(value) if is_map and value is not None else value for value in values])
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


def _write_cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=_write_other).decode()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _write_other(value: Any) -> str:
    """Bytes in base64; other values without a JSON form, such as decimal numbers, as Python writes them."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def join_parts(output: Output, file: Place, parts: int, schema: pa.Schema) -> None:
    """Join all parts into one file, which appears when it is complete. Raises OSError."""
    places = [output.part(number) for number in range(parts)]
    if output.format == "parquet":
        pieces: Iterator[Any] = _join_tables(places, schema)
    elif output.format == "csv":
        pieces = _join_texts(places)
    else:
        pieces = (piece for place in places for piece in copy_pieces(place))
    file.write_pieces(pieces, staged_in=output.folder)


def _join_texts(places: Sequence[Place]) -> Iterator[bytes]:
    """CSV with the header of the first part only."""
    for number, place in enumerate(places):
        pieces = copy_pieces(place)
        if number:
            first = next(pieces)
            yield first[_end_of_header(first) :]
        yield from pieces


def _end_of_header(text: bytes) -> int:
    """The first byte after the header. Names may have line breaks in quotes."""
    quoted = False
    for at, byte in enumerate(text):
        if byte == ord('"'):
            quoted = not quoted
        elif byte == ord("\n") and not quoted:
            return at + 1
    return len(text)


def _join_tables(places: Sequence[Place], schema: pa.Schema) -> Iterator[Any]:
    """Parquet with at least one row group for each part, in pieces."""
    sink = _Buffer()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema) as writer:
        for place in places:
            with place.open() as file:
                writer.write_table(pq.read_table(file))
            yield sink.take()
    yield sink.take()


class _Buffer(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._written += content
        return len(content)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken
