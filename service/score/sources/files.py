"""A folder of pictures, sounds or texts: each file is a row."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from service.score.places import Entry, Place
from service.score.sources.source import FileValue, Piece, Position, Source

PATH = "path"
_PIECE_FILES = 64


class FileSource(Source):
    """The only column is the path of a file in the folder. The offset of a position is always 0."""

    is_files = True
    part_rows = 1_000

    def __init__(self, place: Place, folder: Place, files: Sequence[Entry]) -> None:
        super().__init__(place, folder, files)
        self.names = (PATH,)

    @property
    def kept_schema(self) -> pa.Schema:
        return pa.schema([(PATH, pa.string())])

    def read(self, start: Position, rows: int) -> Iterator[Piece]:
        end = min(start.file + rows, len(self.files))
        for begin in range(start.file, end, _PIECE_FILES):
            numbers = range(begin, min(begin + _PIECE_FILES, end))
            kept = pa.RecordBatch.from_pydict({PATH: [self.files[i].name for i in numbers]}, schema=self.kept_schema)
            values = [FileValue(self.open_file(i), self.files[i].size_bytes) for i in numbers]
            yield Piece({PATH: values}, kept, Position(numbers.stop, 0))

    def plan(self, part_rows: int) -> Iterator[tuple[Position, int]]:
        for begin in range(0, len(self.files), part_rows):
            yield Position(begin, 0), min(part_rows, len(self.files) - begin)

    def fraction(self, position: Position) -> float:
        return position.file / max(1, len(self.files))
