"""`sluice score`: what it refuses, what it does with bad rows, and what it writes."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import sluice
from model_store import DEFAULT_ROOT
from service.score.cli import SOME_FAILED
from service.score.sources import lines, source
from tests.service.score.tables import read_lines, score, write_numbers
from tests.support.models import graphs
from tests.support.signing.keys import Key


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def write_png(path: Path, value: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)
    return path


def test_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without pyarrow the command ends with code 2 and the line that installs it."""
    for name in [name for name in sys.modules if name.startswith(("pyarrow", "service.score."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert sluice.main(["score", "double", "a.csv", str(tmp_path / "out")]) == 2
    assert complaint(capsys) == "sluice score: pyarrow is not installed: pip install 'sluice-serving[score]'\n"


def test_unknown_model_names_those_of_the_store(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt name, and a version that is not there."""
    table = write_numbers(tmp_path / "in.parquet", 1)
    assert score("dubble", table, tmp_path / "out", store=double_store) == 1
    assert f"no model 'dubble' in {double_store}: it holds double" in complaint(capsys)
    assert score("double", table, tmp_path / "out", "--version", 7, store=double_store) == 1
    assert "no version 7 of 'double': expected one of 1" in complaint(capsys)
    assert not (tmp_path / "out").exists()


def test_store_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a setting, so the command ends with code 2."""
    assert score("double", "a.csv", tmp_path / "out", store=tmp_path / "nowhere") == 2
    assert "expected a folder of models that can be read, there is none" in complaint(capsys)


def test_model_that_is_not_signed_is_refused(
    double_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not served is not run either. A file of keys that is not there is a fault of the settings."""
    table, keys = write_numbers(tmp_path / "in.parquet", 1), tmp_path / "public.pem"
    monkeypatch.setenv("SLUICE_SIGNED_BY", str(keys))
    assert score("double", table, tmp_path / "out", store=double_store) == 2
    assert f"SLUICE_SIGNED_BY={keys}: expected a PEM file" in complaint(capsys)
    keys.write_bytes(Key().public_pem)
    assert score("double", table, tmp_path / "out", store=double_store) == 1
    assert "double version 1 has no manifest.json, which is what a signature covers" in complaint(capsys)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.csv", None, "there is no such file or folder"),
        ("in.xlsx", b"PK", "got a file .xlsx"),
        ("in.parquet", b"not Parquet", "expected a Parquet file"),
        ("in.csv", b"", "expected rows with named columns, got none"),
        ("in.csv", b"\xff\xfe\n", "expected CSV in UTF-8 with a header, got other bytes"),
        ("in.csv", b"a,a\n1,2\n", "expected each column once in the header, got 'a' twice"),
        ("in.jsonl", b"[1]\n", "expected an object of JSON, got '[1]'"),
    ],
)
def test_input_that_is_no_table_is_refused(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, said: str
) -> None:
    """The text says what was expected and what came; nothing is written."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert score("double", tmp_path / name, tmp_path / "out", store=double_store) == 1
    assert said in complaint(capsys)
    assert not (tmp_path / "out").exists()


def test_folder_without_rows_or_of_two_kinds_is_refused(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which kinds there are."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "README.md").touch()
    assert score("double", folder, tmp_path / "out", store=double_store) == 1
    assert "got a folder with 1 other files" in complaint(capsys)
    write_png(folder / "a.png")
    write_numbers(folder / "b.parquet", 1)
    assert score("double", folder, tmp_path / "out", store=double_store) == 1
    assert "expected files of one kind, got .parquet, .png" in complaint(capsys)


def test_output_of_another_kind_of_file_is_refused(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would become a folder of that name. A folder that is there may have any name."""
    table = write_numbers(tmp_path / "in.parquet", 1)
    assert score("double", table, tmp_path / "out.xlsx", store=double_store) == 1
    assert "expected a folder, or a file .parquet, .csv or .jsonl, got .xlsx" in complaint(capsys)
    (tmp_path / "out.gz").mkdir()
    assert score("double", table, tmp_path / "out.gz", store=double_store) == 0


def test_address_of_another_kind_is_refused(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only paths and S3 are read."""
    assert score("double", "gs://bucket/in.csv", tmp_path / "out", store=double_store) == 1
    assert "expected a path or s3://BUCKET/KEY, got gs://" in complaint(capsys)


def test_missing_column_names_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of named columns wants all of them; the text proposes a flag that helps."""
    table = tmp_path / "in.csv"
    table.write_text("age,sex,body_mass,blood_pressure\n59,2,32.1,101\n")
    assert score("diabetes-regressor", table, tmp_path / "out", store=DEFAULT_ROOT) == 1
    said = complaint(capsys)
    assert "there is no body_mass_index, cholesterol, ldl" in said
    assert "--columns body_mass_index=body_mass" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--columns", "y"), "--columns: expected columns of"),
        (("--columns", "x=x,id"), "expected only COLUMN, or only NAME=COLUMN"),
        (("--columns", "z=x"), "expected names of model 'double': x"),
        (("--keep", "y"), "--keep: expected all, none, or columns of id, x, got 'y'"),
        (("--task", "classify"), "--task classify: expected what model 'double' does: tensors"),
        (("--option", "top_k=2"), "the task tensors has no options"),
        (("--option", "top_k"), "expected NAME=VALUE"),
        (("--format", "csv"), ""),
    ],
)
def test_wrong_choice_is_told(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    """Each names what there is."""
    table = write_numbers(tmp_path / "in.parquet", 1)
    assert score("double", table, tmp_path / "out", *options, store=double_store) == (1 if said else 0)
    assert said in complaint(capsys)


def test_option_that_the_task_does_not_take_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown one, a wrong value, one that is the command's, and a model without input."""
    write_png(tmp_path / "in" / "a.png")
    for option, said in (("top=1", "top: unknown"), ("top_k=none", "top_k: "), ("stream=true", "sets this one")):
        assert (
            score("digits-classifier", tmp_path / "in", tmp_path / "out", "--option", option, store=DEFAULT_ROOT) == 1
        )
        assert said in complaint(capsys)
    assert score("digits-gan", tmp_path / "in", tmp_path / "out", store=DEFAULT_ROOT) == 1
    assert "makes rows from noise" in complaint(capsys)


def test_output_that_exists_is_not_replaced(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file, a folder with other files, and a folder within the input."""
    (tmp_path / "in").mkdir()
    table = write_numbers(tmp_path / "in" / "a.parquet", 1)
    (tmp_path / "out.csv").write_text("mine")
    assert score("double", table, tmp_path / "out.csv", store=double_store) == 1
    assert "out.csv exists: choose another output" in complaint(capsys)
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert score("double", table, tmp_path / "in", store=double_store) == 1
    assert "expected a new or empty folder" in complaint(capsys)
    assert score("double", tmp_path / "in", tmp_path / "in" / "out", store=double_store) == 1
    assert "expected an output outside of the input" in complaint(capsys)
    assert score("double", table, tmp_path / "out.csv", "--restart", store=double_store) == 0
    assert (tmp_path / "out.csv").read_text().startswith("y,error\n")


def test_bad_row_has_an_error_and_the_others_their_answers(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows of its request are answered; the summary and the exit code tell of it."""
    table = write_numbers(tmp_path / "in.parquet", 20, bad=[3, 4, 19])
    assert score("double", table, tmp_path / "out", "--keep", "id", store=double_store) == SOME_FAILED
    assert "20 rows, 3 of them with an error" in complaint(capsys)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["id"] for row in rows] == list(range(20))
    assert [row["id"] for row in rows if row["error"]] == [3, 4, 19]
    assert [row["id"] for row in rows if row["y"] is None] == [3, 4, 19]
    assert rows[3]["error"] == "input 'x': expected shape [batch, 3], got [1, 2]"
    assert rows[5]["y"] == [10.0, float(np.float32(5 / 7) * 2), -10.0]


def test_strict_run_stops_at_a_bad_row_and_can_go_on(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the row. The parts before it stay, so a run without --strict goes on after them."""
    table = write_numbers(tmp_path / "in.parquet", 100, bad=[70])
    options = ("--part-rows", 20, "--keep", "id")
    assert score("double", table, tmp_path / "out", *options, "--strict", store=double_store) == 1
    assert "--strict: row 70 (from 0): input 'x'" in complaint(capsys)
    assert score("double", table, tmp_path / "out", *options, store=double_store) == SOME_FAILED
    assert pq.read_table(tmp_path / "out").column("id").to_pylist() == list(range(100))


def test_bad_lines_of_text_are_bad_rows(double_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that are missing, other bytes than UTF-8, a field that never ends, and no JSON: the run goes on."""
    monkeypatch.setattr(lines, "_LONGEST_BYTES", 1000)
    table = tmp_path / "in.csv"
    table.write_bytes(
        b'\xef\xbb\xbfid,x\r\n1,"[1, 2, 3]"\r\n2\r\n\r\n3,"[\xff]"\r\n4,"[1,\r\n5,6]"\r\n5,many\r\n6,"'
        + b"1" * 3000
        + b'\n7,"[7, 8, 9]"\n'
    )
    assert score("double", table, tmp_path / "out.jsonl", "--keep", "id", store=double_store) == SOME_FAILED
    rows = {row["id"]: row for row in read_lines(tmp_path / "out.jsonl")}
    assert rows["1"]["y"] == [2.0, 4.0, 6.0]
    assert rows["4"]["y"] == [2.0, 10.0, 12.0], "a record may have several lines"
    assert rows["7"]["y"] == [14.0, 16.0, 18.0]
    assert sum(row["error"] is not None for row in read_lines(tmp_path / "out.jsonl")) >= 4
    table = tmp_path / "in.jsonl"
    table.write_text(
        '{"x": [1, 2, 3]}\n{"x": [1, 2\n\n3\n{"y": 1}\n{"x": [1, 2, "3"]}\n{"x": 1e999}\n{"x": [4, 5, 6]}\n'
    )
    assert score("double", table, tmp_path / "out2.jsonl", store=double_store) == SOME_FAILED
    rows = read_lines(tmp_path / "out2.jsonl")
    assert [row["y"] for row in rows] == [[2, 4, 6], None, None, None, None, None, [8, 10, 12]]
    assert "expected an object of JSON" in rows[1]["error"]


def test_unreadable_pictures_are_bad_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder is read with the folders in it, in the order of the paths; other files are left out."""
    folder = tmp_path / "in"
    write_png(folder / "b" / "one.png")
    write_png(folder / "a.png", 0)
    (folder / "c.jpg").write_bytes(b"no picture")
    (folder / "d.png").write_bytes(b"")
    (folder / "notes.md").touch()
    (folder / ".hidden.png").touch()
    assert score("digits-classifier", folder, tmp_path / "out", store=DEFAULT_ROOT) == SOME_FAILED
    assert "1 files of other kinds were left out" in complaint(capsys)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["path"] for row in rows] == ["a.png", "b/one.png", "c.jpg", "d.png"]
    assert [row["label"] is None for row in rows] == [False, False, True, True]
    assert "expected a JPEG, PNG, WebP, GIF, TIFF or BMP" in rows[2]["error"]
    assert score("digits-classifier", folder, tmp_path / "strict", "--strict", store=DEFAULT_ROOT) == 1
    assert "--strict: row 2 (from 0), c.jpg: body: expected a JPEG" in complaint(capsys)


def test_pictures_that_have_no_room_beside_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server would say 503, the command sends the row again when another one has its answer."""
    monkeypatch.setenv("SLUICE_MAX_HELD_BYTES", "2000")  # room for the decoded form of one picture of 8 x 8
    for number in range(20):
        write_png(tmp_path / "in" / f"{number:02}.png", number)
    assert score("digits-segmenter", tmp_path / "in", tmp_path / "out", store=DEFAULT_ROOT) == 0
    assert pq.read_table(tmp_path / "out").num_rows == 20


def test_column_of_pictures_may_have_bytes_or_paths(tmp_path: Path) -> None:
    """Bytes, the form of Hugging Face, paths from the folder of the table, and texts in base64 as over HTTP."""
    picture = write_png(tmp_path / "pictures" / "a.png")
    content = picture.read_bytes()
    nested = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "bytes": pa.array([content]),
        "nested": pa.array([{"bytes": content, "path": "a.png"}], nested),
        "path": pa.array(["pictures/a.png"]),
        "gone": pa.array(["pictures/b.png"]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    found = []
    for name in columns:
        out = tmp_path / f"{name}.jsonl"
        code = score("digits-classifier", tmp_path / "in.parquet", out, "--columns", name, store=DEFAULT_ROOT)
        assert code == (SOME_FAILED if name == "gone" else 0)
        found += read_lines(out)
    as_json = json.dumps({"image": {"image": base64.b64encode(content).decode()}})
    (tmp_path / "in.jsonl").write_text(as_json + "\n")
    assert score("digits-classifier", tmp_path / "in.jsonl", tmp_path / "out.jsonl", store=DEFAULT_ROOT) == 0
    assert read_lines(tmp_path / "out.jsonl") == [found[0]] == [found[1]] == [found[2]]
    assert "there is none" in found[3]["error"]


def test_table_in_csv_has_numbers_where_the_model_has_them(tmp_path: Path) -> None:
    """The columns may come in any order, and under other names; a text where a number should be is a bad row."""
    names = {
        "age": "59", "sex": "2", "bmi": "32.1", "blood_pressure": "101", "cholesterol": "157", "ldl": "93.2",
        "hdl": "38", "cholesterol_per_hdl": "4", "log_triglycerides": "4.86", "glucose": "87",
    }  # fmt: skip
    order = [*reversed(names), "value"]
    rows = [{**names, "value": "7"}, {**names, "age": "old", "value": "8"}, {**names, "age": "", "value": "9"}]
    table = tmp_path / "in.csv"
    table.write_text("\n".join([",".join(order), *(",".join(row[name] for name in order) for row in rows)]) + "\n")
    options = ("--columns", "body_mass_index=bmi", "--keep", "all")
    assert score("diabetes-regressor", table, tmp_path / "out.csv", *options, store=DEFAULT_ROOT) == SOME_FAILED
    out = (tmp_path / "out.csv").read_text().splitlines()
    assert out[0] == ",".join([*order[:-1], "input.value", "value", "error"]), "a name that is taken is changed"
    assert "expected a number, got 'old'" in out[2]
    assert "age: expected a number, got null" in out[3]


def test_empty_table_gives_an_output_with_columns(double_store: Path, tmp_path: Path) -> None:
    """No row is no error: what reads the output finds its columns."""
    table = write_numbers(tmp_path / "in.parquet", 0)
    assert score("double", table, tmp_path / "out", "--keep", "all", store=double_store) == 0
    assert pq.read_table(tmp_path / "out").schema.names == ["id", "x", "y", "error"]
    assert score("double", table, tmp_path / "out.parquet", store=double_store) == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_several_files_are_one_input(
    double_store: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rows come in the order of the names; parts do not end where files do, nor where pieces do."""
    monkeypatch.setattr(source, "PIECE_ROWS", 7)
    monkeypatch.setattr(lines, "PIECE_ROWS", 7)
    folder = tmp_path / "in"
    folder.mkdir()
    for number, count in enumerate((25, 0, 1, 40)):
        rows = [{"id": number * 100 + i, "x": [float(i)] * 3} for i in range(count)]
        file = folder / f"{number}.{suffix}"
        if suffix == "parquet":
            schema = pa.schema([("id", pa.int64()), ("x", pa.list_(pa.float64()))])
            pq.write_table(pa.Table.from_pylist(rows, schema), file, row_group_size=10)
        elif suffix == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            file.write_text("id,x\n" + "".join(f'{row["id"]},"{row["x"]}"\n' for row in rows))
    assert score("double", folder, tmp_path / "out", "--keep", "id", "--part-rows", 30, store=double_store) == 0
    found = [pq.read_table(part).to_pylist() for part in sorted((tmp_path / "out").glob("part-*"))]
    assert [len(part) for part in found] == [30, 30, 6]
    ids = [*range(25), 200, *range(300, 340)]
    assert [int(row["id"]) for part in found for row in part] == ids
    assert [row["y"][0] for part in found for row in part] == [2.0 * (i % 100) for i in ids]


def test_files_with_other_columns_are_refused(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named; what was done before stays."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_numbers(folder / "a.parquet", 5)
    pq.write_table(pa.table({"z": [1]}), folder / "b.parquet")
    assert score("double", folder, tmp_path / "out", store=double_store) == 1
    assert "b.parquet: expected the column 'x', as a.parquet has it, got z" in complaint(capsys)


def test_rows_that_depend_on_each_other_are_scored_alone(tmp_path: Path) -> None:
    """A model whose rows mix gives each row what a request of it alone gets."""
    content = graphs.make_model(
        "float[batch,3] x => float[batch,3] y", "total = ReduceSum<keepdims=1>(x, axes) y = Add(x, total)",
        axes=np.array([0], np.int64),
    )  # fmt: skip
    store = graphs.write_plain(tmp_path / "store", "mix", content)
    table = write_numbers(tmp_path / "in.parquet", 12)
    assert score("mix", table, tmp_path / "out", store=store) == 0
    found = pq.read_table(tmp_path / "out").column("y").to_pylist()
    assert [row[0] for row in found] == [2.0 * i for i in range(12)]
