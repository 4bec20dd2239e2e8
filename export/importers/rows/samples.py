"""Real rows: a folder of pictures, texts or sounds, a file of texts, an ``.npz`` file by input, or a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError, SpecError
from export.importers.rows.cells import convert, read_cells
from export.importers.rows.sounds import SOUNDS, read_sound_rows
from export.importers.rows.tables import fill_inputs
from export.importers.rows.texts import TEXTS, Text, TextReader, read_lines, read_text, take_column
from model_store.datatypes import DATATYPES
from model_store.errors import PictureTooLarge, StoreError, UnreadablePicture
from model_store.graph import Graph, Tensor
from model_store.pictures.reading import read_picture
from model_store.tasks import Image, Sound, Table

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp")
_TABLES = (".csv", ".parquet")
_FILE_COLUMNS = ("file", "path", "picture", "image")
"""Names for a column with pictures. The first one that exists is used."""
LABEL_COLUMN = "label"
_MOST_PIXELS = 1 << 28
MOST_SAMPLES = 256
"""At most this many rows of samples are read: enough for statistics."""


@dataclass(frozen=True)
class Reader:
    """Reads rows for the model: pictures, sounds or texts if the model takes such, else numbers."""

    name: str
    graph: Graph
    image: Image | None
    table: Table | None = None
    sound: Sound | None = None
    texts: TextReader | None = None

    def read_samples(self, path: Path) -> dict[str, np.ndarray]:
        """Rows by input, at most 256. Raises SpecError, ExportError."""
        if path.suffix.lower() == ".npz":
            return self._read_arrays(path) if self.table is None else self._fill(read_named(path), path, MOST_SAMPLES)
        what, ends = self._kind
        files = spread(list_files(path, ends), MOST_SAMPLES) if path.is_dir() else []
        if path.is_dir() and not files:
            raise SpecError(f"samples {path}: expected {what} ({', '.join(ends)}), the folder has none")
        if self.texts is not None:
            texts = [read_text(file).strip() for file in files] or _read_texts(path)
            return self.texts.read_samples(texts[:MOST_SAMPLES], str(path))
        if files:
            return self._read_first_size(files)
        if path.suffix.lower() in _TABLES:
            return self.read_table(path, MOST_SAMPLES)[0]
        raise SpecError(f"samples {path}: expected a folder of {what}, or a file .npz, .parquet or .csv")

    @property
    def _kind(self) -> tuple[str, Sequence[str]]:
        """What the files of a folder are, in words, and the endings of their names."""
        if self.texts is not None:
            return "texts", (TEXTS,)
        return ("pictures", PICTURES) if self.sound is None else ("sounds", SOUNDS)

    def read_labelled(self, path: Path) -> tuple["Rows", list[str]]:
        """Rows that are read when they are needed, and the label of each. Raises SpecError, ExportError."""
        if path.is_dir():
            what, ends = self._kind
            named = [(file, folder.name) for folder in list_folders(path) for file in list_files(folder, ends)]
            if not named:
                raise SpecError(f"evaluate {path}: expected a sub-folder of {what} for each label, got none")
            files, labels = [file for file, _ in named], [label for _, label in named]
            if self.texts is None:
                return Rows(self, files=files), labels
            rows = self.texts.read_all([read_text(file).strip() for file in files], str(path))
            return Rows(self, arrays=rows), labels
        if path.suffix.lower() in _TABLES:
            arrays, given = self.read_table(path, None)
            if given is None:
                raise SpecError(f"evaluate {path}: expected a column {LABEL_COLUMN!r} with the labels")
            return Rows(self, arrays=arrays), given
        raise SpecError(f"evaluate {path}: expected a folder with a sub-folder for each label, or a .parquet or .csv")

    def read_files(self, files: Sequence[Path]) -> dict[str, np.ndarray]:
        """The rows of pictures of one size, or of a sound. Raises ExportError, which names the file."""
        if self.sound is not None:
            return self._read_sounds(files)
        name, rows = self._read_files(files)
        shapes = {row.shape for row in rows}
        if len(shapes) > 1:
            raise ExportError(f"{self.name}: expected pictures of one size, because the model takes any: got {shapes}")
        return {name: np.stack(rows)}

    def _read_first_size(self, files: Sequence[Path]) -> dict[str, np.ndarray]:
        """The pictures, or windows of sounds, that have the size of the first one."""
        if self.sound is not None:
            return self._read_sounds(files, only_first=True)
        name, rows = self._read_files(files)
        return {name: np.stack([row for row in rows if row.shape == rows[0].shape])}

    def _read_sounds(self, files: Sequence[Path], only_first: bool = False) -> dict[str, np.ndarray]:
        """The windows of sounds, at most 256 if they are samples, of one size."""
        assert self.sound is not None  # noqa: S101
        found: list[dict[str, np.ndarray]] = []
        count = 0
        for file in files:
            rows = read_sound_rows(self.name, file, self.sound, self.graph.inputs)
            if not found or rows[self.sound.input].shape[1:] == found[0][self.sound.input].shape[1:]:
                found.append(rows)
                count += len(rows[self.sound.input])
            if only_first and count >= MOST_SAMPLES:
                break
        joined = {name: np.concatenate([rows[name] for rows in found]) for name in found[0]}
        return {name: array[:MOST_SAMPLES] for name, array in joined.items()} if only_first else joined

    def _read_files(self, files: Sequence[Path]) -> tuple[str, list[np.ndarray]]:
        """The input that takes pictures, and a row for each file."""
        if self.image is None:
            raise SpecError(f"{self.name}: the model takes no pictures: give samples as .npz, .parquet or .csv")
        name = self.image.input
        dtype = next(DATATYPES[tensor.datatype].dtype for tensor in self.graph.inputs if tensor.name == name)
        try:
            rows = [
                read_picture(file.read_bytes(), self.image, _MOST_PIXELS, str(file), dtype=dtype)[0] for file in files
            ]
        except (OSError, StoreError, UnreadablePicture, PictureTooLarge) as error:
            raise ExportError(f"{self.name}: {error}") from None
        return name, rows

    def _read_arrays(self, path: Path) -> dict[str, np.ndarray]:
        return {name: self._cast(name, array, path) for name, array in _read_npz(path).items()}

    def _cast(self, name: str, array: np.ndarray, path: Path) -> np.ndarray:
        tensor = next((one for one in self.graph.inputs if one.name == name), None)
        if tensor is None:
            known = ", ".join(one.name for one in self.graph.inputs)
            raise SpecError(f"{path}: {name!r} is no input: expected {known}")
        return convert(array, tensor.datatype, f"{path}: input {name!r}")

    def read_table(self, path: Path, most: int | None) -> tuple[dict[str, np.ndarray], list[str] | None]:
        """Rows of a table and their labels, if it has any. Raises SpecError, ExportError."""
        columns = read_columns(path)
        is_column = self.table is not None and LABEL_COLUMN in {column.name for column in self.table.columns}
        labels = None if is_column else columns.pop(LABEL_COLUMN, None)
        shown = None if labels is None else [str(label) for label in labels[:most]]
        files = next((columns[name] for name in _FILE_COLUMNS if name in columns), None)
        if self.image is not None and files is not None:
            return self.read_files([path.parent / str(file) for file in files[:most]]), shown
        if self.texts is not None:
            return self.texts.read_all(take_column(columns, path)[:most], str(path)), shown
        return self._fill(columns, path, most), shown

    def _fill(self, columns: Mapping[str, Sequence[Any]], path: Path, most: int | None) -> dict[str, np.ndarray]:
        """The inputs: by ``table`` if there is one, else from columns with their names, else one from all columns."""
        cut = {name: values[:most] for name, values in columns.items()}
        if self.table is not None:
            return fill_inputs(cut, self.table, self.graph.inputs, path)
        inputs = [tensor for tensor in self.graph.inputs if not tensor.optional]
        if all(tensor.name in columns for tensor in inputs):
            return {tensor.name: _read_column(cut[tensor.name], tensor, path) for tensor in inputs}
        if len(inputs) == 1 and inputs[0].shape[1:] == (len(columns),):
            own = [read_cells(values, inputs[0].datatype, f"{path}: column {name!r}") for name, values in cut.items()]
            return {inputs[0].name: np.stack(own, 1)}
        wanted = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in inputs)
        raise SpecError(f"{path}: expected a column for each input ({wanted}), got {', '.join(columns)}")


@dataclass(frozen=True)
class Rows:
    """Rows for an evaluation. Pictures are read only when needed, so that any number of them fits into memory."""

    reader: Reader
    files: Sequence[Path] = ()
    arrays: Mapping[str, np.ndarray] | None = None

    def chunks(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """The rows, ``size`` at a time."""
        if self.arrays is None:
            for start in range(0, len(self.files), size):
                yield self.reader.read_files(self.files[start : start + size])
            return
        count = len(next(iter(self.arrays.values())))
        for start in range(0, count, size):
            yield {name: array[start : start + size] for name, array in self.arrays.items()}


def _read_column(values: Sequence[Any], tensor: Tensor, path: Path) -> np.ndarray:
    array = read_cells(values, tensor.datatype, f"{path}: column {tensor.name!r}")
    return array[:, None] if array.ndim == 1 and len(tensor.shape) == 2 else array


def _read_texts(path: Path) -> Sequence[Text]:
    """The texts of a table or of the lines of a file. Raises SpecError."""
    if path.suffix.lower() in _TABLES:
        return take_column(read_columns(path), path)
    if path.suffix.lower() != TEXTS:
        raise SpecError(f"samples {path}: expected a folder of texts, or a file .txt, .npz, .parquet or .csv")
    lines = read_lines(path)
    if not lines:
        raise SpecError(f"samples {path}: expected a text in each line, the file is empty")
    return lines


def list_files(folder: Path, ends: Sequence[str]) -> list[Path]:
    """The files of a folder, and of the folders in it, with one of these endings, by name."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in ends and file.is_file())


def list_folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most ``most`` of the files, from all parts of the list."""
    if len(files) <= most:
        return list(files)
    return [files[place] for place in np.linspace(0, len(files) - 1, most).astype(int)]


def read_named(path: Path) -> dict[str, list[Any]]:
    """The columns of a table by name, or the arrays of an .npz. Raises SpecError."""
    if path.suffix.lower() in _TABLES:
        return read_columns(path)
    if path.suffix.lower() != ".npz":
        raise SpecError(f"samples {path}: expected a table, .parquet or .csv, or an .npz with an array for each column")
    named: dict[str, list[Any]] = {}
    for name, array in _read_npz(path).items():
        if array.ndim > 1 and array.shape[1:] != (1,):
            named |= {f"{name}{place}": array[:, place].tolist() for place in range(array.shape[1])}
        else:
            named[name] = array.ravel().tolist()
    return named


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise SpecError(f"samples {path}: expected NumPy's .npz: {error}") from None


def read_columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a table by name. Raises SpecError, which says what to install."""
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file")
    try:
        if path.suffix.lower() == ".parquet":
            try:
                import pyarrow.parquet

                return dict(pyarrow.parquet.read_table(path).to_pydict())
            except ImportError:
                pass
        import pandas

        table = pandas.read_parquet(path) if path.suffix.lower() == ".parquet" else pandas.read_csv(path)
        return {str(name): table[name].tolist() for name in table.columns}
    except ImportError as error:
        needed = "pyarrow" if path.suffix.lower() == ".parquet" else "pandas"
        raise SpecError(f"{path}: reading it needs {needed} ({error}): pip install {needed}") from None
    except Exception as error:  # noqa: BLE001  # the parsers raise many types
        raise SpecError(f"{path}: it cannot be read: {error}") from None
