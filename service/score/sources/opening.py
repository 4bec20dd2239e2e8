"""Finds out what an input is: a table in one or more files, or a folder of files."""

from collections.abc import Iterable, Mapping

from model_store.pictures.formats import NAMES as PICTURE_NAMES
from model_store.sounds.formats import NAMES as SOUND_NAMES
from service.score.errors import ScoreError
from service.score.places import Entry, Place
from service.score.sources.files import FileSource
from service.score.sources.lines import CsvSource, JsonSource
from service.score.sources.parquet import ParquetSource
from service.score.sources.source import Source

_TABLES: Mapping[str, type[Source]] = {
    ".parquet": ParquetSource,
    ".csv": CsvSource,
    ".tsv": CsvSource,
    ".jsonl": JsonSource,
    ".ndjson": JsonSource,
}
_FILES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"),
    *(".wav", ".flac", ".ogg", ".mp3"),
    ".txt",
)
_EXPECTED = (
    f"a table ({', '.join(_TABLES)}), or a folder of tables or of pictures ({PICTURE_NAMES}), sounds ({SOUND_NAMES}) "
    "or texts (.txt)"
)


def open_source(place: Place) -> tuple[Source, int]:
    """The input, and how many files of its folder are left out because they are of other kinds. Raises ScoreError."""
    kind = place.kind()
    if not kind:
        raise ScoreError(f"{place.shown}: expected {_EXPECTED}: there is no such file or folder")
    if kind == "file":
        found = _TABLES.get(place.suffix)
        if found is None:
            raise ScoreError(f"{place.shown}: expected {_EXPECTED}, got a file {place.suffix or 'without a suffix'}")
        return found(place, place.parent, [place.describe()]), 0
    entries = list(place.walk())
    kinds: dict[type[Source], list[Entry]] = {}
    for entry in entries:
        suffix = _suffix(entry)
        source = FileSource if suffix in _FILES else _TABLES.get(suffix)
        if source is not None:
            kinds.setdefault(source, []).append(entry)
    if not kinds:
        raise ScoreError(f"{place.shown}: expected {_EXPECTED}, got a folder with {len(entries)} other files")
    if len(kinds) > 1:
        raise ScoreError(
            f"{place.shown}: expected files of one kind, got {_list_suffixes(kinds.values())}: put them into folders "
            "of their own"
        )
    [(source, files)] = kinds.items()
    return source(place, place, files), len(entries) - len(files)


def _suffix(entry: Entry) -> str:
    stem, dot, suffix = entry.name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def _list_suffixes(files: Iterable[Iterable[Entry]]) -> str:
    return ", ".join(sorted({_suffix(entry) for of_kind in files for entry in of_kind}))
