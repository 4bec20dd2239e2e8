"""What `sluice score` writes is what a server answers to each row alone, bit for bit."""

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_store import DEFAULT_ROOT
from service.api.openapi.examples import EXAMPLES
from tests.service.score.tables import read_lines, score, write_numbers
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

_LEFT_OUT = {"top", "threshold"}
"""Of an answer: what another column says, or the manifest for every row."""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Serving(settings_for(DEFAULT_ROOT, lazy=True, max_rows=8), FAST) as server, server.client() as client:
        yield client


def find_examples() -> Iterator[Any]:
    for task, examples in EXAMPLES.items():
        for name, (_, body) in examples.items():
            if task != "generate" and not body.get("stream"):
                yield pytest.param(task, body, id=f"{task}-{name}")


def same(got: Any, expected: Any) -> bool:
    """Whether values are equal, numbers of FP32 as such: HTTP writes some of them with the digits of FP32."""
    if isinstance(got, float) and isinstance(expected, int | float):
        return got == expected or struct.pack("<f", got) == struct.pack("<f", expected)
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    if isinstance(got, dict) and isinstance(expected, dict):
        shown = {name: value for name, value in got.items() if value is not None}
        return shown.keys() == expected.keys() and all(same(shown[name], expected[name]) for name in shown)
    return bool(got == expected)


def read_value(got: Any, expected: Any) -> Any:
    """A value of the output in the form that the answer has it."""
    if isinstance(got, str) and isinstance(expected, dict) and expected.keys() in ({"image"}, {"sound"}):
        return {next(iter(expected)): got}
    return json.loads(got) if isinstance(got, str) and not isinstance(expected, str) else got


@pytest.mark.parametrize(("task", "body"), [*find_examples()])
def test_rows_have_the_answers_of_a_server(
    client: httpx.Client, tmp_path: Path, task: str, body: dict[str, Any]
) -> None:
    """Each documented request: its rows are a table, its options are those of the command."""
    options = {name: value for name, value in body.items() if name not in ("model", "inputs")}
    rows = body["inputs"]
    is_table = body["model"] == "diabetes-regressor"
    records = [row if is_table else {"row": row} for row in rows]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    given = [text for name, value in options.items() for text in ("--option", f"{name}={json.dumps(value)}")]
    chosen = [] if is_table else ["--columns", "row"]
    arguments = (body["model"], tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--task", task, *given, *chosen)
    assert score(*arguments, store=DEFAULT_ROOT) == 0
    for row, found in zip(rows, read_lines(tmp_path / "out.jsonl"), strict=True):
        answer = client.post(f"/{task}", json={**body, "inputs": [row]})
        assert answer.status_code == 200, answer.text
        [expected] = answer.json()["predictions"]
        expected = {**expected, **expected.pop("values", {})} if task == "regress" else expected
        assert found.pop("row_error" if task == "reconstruct" else "error") is None
        lost = {name for name in expected if name not in found}
        assert lost <= _LEFT_OUT, "every field of an answer is a column"
        for name, value in found.items():
            if name in expected or value is not None:
                assert same(read_value(value, expected.get(name, True)), expected.get(name, True)), name


def test_pictures_have_the_answers_of_a_server(client: httpx.Client, tmp_path: Path) -> None:
    """A file of a folder is the body of a request."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, row in enumerate(EXAMPLES["reconstruct"]["anomaly"][1]["inputs"] * 3):
        (folder / f"{number}.png").write_bytes(base64.b64decode(row["image"]))
    arguments = ("digits-classifier", folder, tmp_path / "out", "--option", "top_k=3")
    assert score(*arguments, store=DEFAULT_ROOT) == 0
    for found in pq.read_table(tmp_path / "out").to_pylist():
        answer = client.post(
            "/classify?model=digits-classifier&top_k=3", content=(folder / found.pop("path")).read_bytes()
        )
        assert found.pop("error") is None
        assert [found] == answer.json()["predictions"]


def test_tensors_have_the_bits_of_a_server(tmp_path: Path) -> None:
    """Several inputs by name, of several types, and outputs as nested lists of their types."""
    content = graphs.make_model(
        "float[batch,2,2] a, int64[batch] b, string[batch] c => float[batch,2,2] total, int64[batch] twice, "
        "string[batch] same",
        "n = Cast<to=1>(b) wide = Unsqueeze(n, axes) total = Mul(a, wide) twice = Add(b, b) same = Identity(c)",
        axes=np.array([1, 2], np.int64),
    )
    store = graphs.write_plain(tmp_path / "store", "three", content)
    a = (np.arange(80, dtype=np.float32) / 7).reshape(20, 2, 2)
    table = pa.table(
        {
            "a": pa.array(a.reshape(20, 4).tolist(), pa.list_(pa.float32())),  # flat rows are given their shape
            "number": pa.array(range(20)),
            "c": [f"text {i}" for i in range(20)],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    assert score("three", tmp_path / "in.parquet", tmp_path / "out", "--columns", "a=a,b=number,c=c", store=store) == 0
    found = pq.read_table(tmp_path / "out")
    assert found.schema.field("total").type == pa.list_(pa.list_(pa.float32()))
    with Serving(settings_for(store, max_rows=8), FAST) as server, server.client() as client:
        for i, row in enumerate(found.to_pylist()):
            inputs = [
                {"name": "a", "datatype": "FP32", "shape": [1, 2, 2], "data": a[i].ravel().tolist()},
                {"name": "b", "datatype": "INT64", "shape": [1], "data": [i]},
                {"name": "c", "datatype": "BYTES", "shape": [1], "data": [f"text {i}"]},
            ]
            answer = client.post("/v2/models/three/infer", json={"inputs": inputs}).json()
            outputs = {each["name"]: each["data"] for each in answer["outputs"]}
            assert same(np.ravel(row["total"]).tolist(), outputs["total"])
            assert [row["twice"]] == outputs["twice"]
            assert [row["same"]] == outputs["same"]


@pytest.mark.parametrize("part_rows", [1, 7, 1000])
def test_parts_change_nothing(double_store: Path, tmp_path: Path, part_rows: int) -> None:
    """The rows are the same, however many a part has."""
    table = write_numbers(tmp_path / "in.parquet", 20)
    assert score("double", table, tmp_path / "out", "--part-rows", part_rows, store=double_store) == 0
    found = pq.read_table(tmp_path / "out").column("y").to_pylist()
    x = np.array(pq.read_table(table).column("x").to_pylist()).astype(np.float32)
    assert np.array(found, np.float32).tobytes() == (x * np.float32(2)).tobytes()
