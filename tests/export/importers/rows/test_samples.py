"""Samples are read from arrays, tables and folders, and labels from lists and files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from export.errors import ExportError, SpecError
from export.importers.labels import read_labels
from export.importers.rows.samples import Reader
from model_store.graph import Graph, Tensor
from model_store.tasks import Image


def make_reader(image: Image | None = None, *inputs: Tensor) -> Reader:
    return Reader("m", Graph(file="m.onnx", inputs=inputs, outputs=()), image)


NUMBERS = make_reader(None, Tensor(name="x", datatype="FP32", shape=("n", 2)))
COLUMNS = make_reader(
    None, Tensor(name="a", datatype="FP32", shape=("n", 1)), Tensor(name="b", datatype="INT64", shape=("n",))
)
PICTURES = make_reader(
    Image(input="x", channels=3, height=4, width=4), Tensor(name="x", datatype="FP32", shape=("n", 3, 4, 4))
)
ANY_SIZE = make_reader(Image(input="x", channels=3), Tensor(name="x", datatype="FP32", shape=("n", 3, "h", "w")))


def write_pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        Pillow.new("RGB", size, (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def test_arrays_get_the_datatype_of_their_input(tmp_path: Path) -> None:
    """An .npz file has an array for each input."""
    np.savez(tmp_path / "s.npz", x=np.arange(4.0).reshape(2, 2))
    found = NUMBERS.read_samples(tmp_path / "s.npz")
    assert found["x"].dtype == np.float32
    assert found["x"].tolist() == [[0, 1], [2, 3]]


def test_table_fills_inputs_by_name_or_one_input_in_order(tmp_path: Path) -> None:
    """Columns are inputs, or the places of the only input; a column of labels is neither."""
    pytest.importorskip("pandas")
    (tmp_path / "t.csv").write_text("a,b,label\n0.5,1,yes\n1.5,2,no\n")
    arrays, labels = COLUMNS.read_table(tmp_path / "t.csv", None)
    assert (arrays["a"].shape, arrays["b"].tolist(), labels) == ((2, 1), [1, 2], ["yes", "no"])
    assert NUMBERS.read_samples(tmp_path / "t.csv")["x"].tolist() == [[0.5, 1], [1.5, 2]]
    rows, labels = NUMBERS.read_labelled(tmp_path / "t.csv")
    assert [chunk["x"].shape for chunk in rows.chunks(1)] == [(1, 2), (1, 2)]


def test_table_may_name_pictures(tmp_path: Path) -> None:
    """A column of files is read from beside the table."""
    pytest.importorskip("pandas")
    write_pictures(tmp_path / "p", (5, 6), (7, 8))
    (tmp_path / "t.csv").write_text("file,label\np/0.png,a\np/1.png,b\n")
    arrays, labels = PICTURES.read_table(tmp_path / "t.csv", None)
    assert (arrays["x"].shape, labels) == ((2, 3, 4, 4), ["a", "b"])


def test_pictures_of_a_folder_become_rows(tmp_path: Path) -> None:
    """Where any size is taken, those of the first one's size are samples."""
    folder = write_pictures(tmp_path / "p", (4, 5), (6, 7), (4, 5))
    assert PICTURES.read_samples(folder)["x"].shape == (3, 3, 4, 4)
    assert ANY_SIZE.read_samples(folder)["x"].shape == (2, 3, 5, 4)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("s.npz", b"no", "expected NumPy's .npz"),
        ("s.txt", b"", "expected a folder of pictures, or a file .npz, .parquet or .csv"),
        ("t.csv", b"c\n1\n", r"expected a column for each input \(x \['n', 2\]\), got c"),
        ("t.csv", b"", "it cannot be read"),
        ("t.parquet", b"", "cannot be read|needs"),
    ],
)
def test_samples_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    """The error says what was expected and what came."""
    pytest.importorskip("pandas")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=complaint):
        NUMBERS.read_samples(tmp_path / name)


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ("a,b\n1,2\n,3\n", r"t\.csv: column 'a', row 1: expected a number \(FP32\) in each row.*, got nan"),
        ("a,b\n1,2\n1,foo\n", r"t\.csv: column 'b', row 1: expected numbers \(FP32\), got 'foo'"),
        ("a,b\n1e300,2\n", r"t\.csv: column 'a', row 0: expected numbers that FP32 can hold, got 1e\+300"),
        ("a,b\n", r"t\.csv: column 'a': expected at least one row, got none"),
    ],
    ids=["missing", "text", "large", "none"],
)
def test_cell_that_is_no_number_is_named(tmp_path: Path, cells: str, complaint: str) -> None:
    """The error names the file, the column, the row and what was expected."""
    pytest.importorskip("pandas")
    (tmp_path / "t.csv").write_text(cells)
    with pytest.raises(SpecError, match=complaint):
        NUMBERS.read_samples(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("reader", "name", "value", "expected"),
    [
        (NUMBERS, "x", 1e300, "numbers that FP32 can hold"),
        (NUMBERS, "x", "foo", r"numbers \(FP32\)"),
        (COLUMNS, "b", 1.5, "whole numbers that INT64 can hold"),
        (COLUMNS, "b", np.nan, "whole numbers that INT64 can hold"),
    ],
)
def test_element_that_an_input_cannot_hold_is_named(
    tmp_path: Path, reader: Reader, name: str, value: Any, expected: str
) -> None:
    """The error names the file, the input and the row of an .npz; NaN is a number for inputs of floats."""
    np.savez(tmp_path / "s.npz", **{name: np.array([1, value])[:, None]})
    with pytest.raises(SpecError, match=rf"s\.npz: input '{name}', row (0|1): expected {expected}, got "):
        reader.read_samples(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", x=np.array([[1, np.nan]]))
    assert np.isnan(NUMBERS.read_samples(tmp_path / "s.npz")["x"][0, 1])


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ExportError, match=r"a\.png"):
        PICTURES.read_samples(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("n.txt", "cat\ndog\n\n", ("cat", "dog")),
        ("n.json", ["cat", "dog"], ("cat", "dog")),
        ("n.json", {"1": "dog", "0": "cat"}, ("cat", "dog")),
        ("n.json", {"dog": 1, "cat": 0}, ("cat", "dog")),
        ("n.json", {"0": ["n01", "cat"]}, ("cat",)),
    ],
)
def test_labels_are_read_in_their_order(tmp_path: Path, name: str, content: Any, expected: tuple[str, ...]) -> None:
    """A file has a name a line, or JSON by position."""
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_labels(tmp_path / name) == expected


def test_labels_may_be_given_as_they_are() -> None:
    """Names with commas between them, or a single name."""
    assert read_labels("cat, dog") == ("cat", "dog")
    assert read_labels("face") == ("face",)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("absent.txt", "expected names such as cat,dog, or a file of them: No such file"),
        ("cat,,dog", "expected a name for each label, got none at position 1"),
    ],
)
def test_labels_that_are_none_are_refused(given: str, complaint: str) -> None:
    """The error says what was expected."""
    with pytest.raises(SpecError, match=complaint):
        read_labels(given)
