"""Sequences of plain models whose Triton configuration says what they carry, and what they are told of each request."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tritonclient.utils import InferenceServerException

from model_store.errors import BadConfig
from tests.service.models.test_triton_config import load
from tests.service.sequences.asking import begin
from tests.support.clocks import virtual
from tests.support.gates import gated
from tests.support.models import triton_sequences as models
from tests.support.models.triton_models import head_text, model_of, write_model
from tests.support.servers import ReadyWorker, settings_for
from tests.support.triton_clients import FORMS, TritonServing

TYPES = ("INT32", "FP32", "BOOL", "INT64", "FP64")
_ids = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServing]:
    root = tmp_path_factory.mktemp("sequences")
    for datatype in TYPES:
        for max_rows in (8, 0):
            models.write_accumulator(root, datatype, max_rows)
    models.write_accumulator(root, "INT32", 8, is_seen=True)
    models.write_begun(root, "zeros", "FP32", "initial_state: { dims: [ 2 ] zero_data: true }")
    models.write_begun(root, "undefined", "BYTES", "")
    numbers = np.array([3, 4], "<i4").tobytes()
    models.write_begun(root, "file", "INT32", 'initial_state: { dims: [ 2 ] data_file: "numbers" }', numbers=numbers)
    texts = b"\x03\x00\x00\x00one\x00\x00\x00\x00"
    models.write_begun(root, "texts", "BYTES", 'initial_state: { dims: [ 2 ] data_file: "texts" }', texts=texts)
    models.write_growing(root)
    models.write_growing(root, "empty", "initial_state: { dims: [ 0 ] zero_data: true }")
    models.write_accumulator(root, "FP32", 0, name="any_size", size=-1)
    for datatype in ("UINT64", "INT32", "BYTES"):
        models.write_telling(root, datatype)
    for max_rows in (4, 0):
        models.write_layered(root, max_rows)
    models.write_mixing(root)
    write_model(root, "explicit", None, models.layered())
    with TritonServing(settings_for(root, provider="cpu", lanes=1)) as serving:
        yield serving


def ask(
    server: TritonServing, form: str, model: str, x: np.ndarray, sequence: Any, marks: str = "", **more: Any
) -> Any:
    """The outputs; ``marks`` has s where the sequence starts, e where it ends."""
    steps = {"sequence_id": sequence, "sequence_start": "s" in marks, "sequence_end": "e" in marks}
    return server.ask(form, model, {"x": x}, **steps, **more).outputs


def row(*values: float, datatype: Any = np.float32) -> np.ndarray:
    return np.array([values], datatype)


@pytest.mark.parametrize("datatype", TYPES)
def test_state_goes_from_request_to_request(server: TritonServing, datatype: str) -> None:
    """Sequences of numbers and of texts add up, over each form, with a batch and without, and begin anew."""
    dtype = {"BOOL": np.int32}.get(datatype, np.dtype(datatype.lower().replace("fp", "float")))
    for name, lead in ((f"accumulate_{datatype.lower()}", 1), (f"accumulate_{datatype.lower()}_nobatch", 0)):
        for form, first in itertools.product(FORMS, (1, 10)):
            sequence = next(_ids) if first == 1 else f"text {next(_ids)}"
            x = np.full((1,) * (lead + 1), first, dtype)
            outputs = [ask(server, form, name, x, sequence, marks) for marks in ("s", "", "", "s", "e")]
            assert [int(each["y"].reshape(-1)[0]) // first for each in outputs] == [1, 2, 3, 1, 2]
            assert [*outputs[0]] == ["y"]
            with pytest.raises(InferenceServerException, match="there is no sequence"):
                ask(server, form, name, x, sequence)


ONE = np.array([[1]], np.int32)
REFUSED: Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, Any], str]] = {
    "no sequence": ({"x": ONE}, {"sequence_id": 0}, "expected the id of a sequence on the infer"),
    "two rows": ({"x": np.ones((2, 1), np.int32)}, {}, "a sequence takes one row a request, got shape [2, 1]"),
    "no start": ({"x": ONE}, {"sequence_start": False}, "there is no sequence 'refused'"),
    "state": ({"x": ONE, "s": ONE}, {}, "inputs: expected x, got x, s"),
    "control": ({"x": ONE, "START": ONE}, {}, "inputs: expected x, got x, START"),
    "no input": ({}, {}, "inputs: expected x, got none"),
    "wanted state": ({"x": ONE}, {"outputs": ["next_s"]}, "no output 'next_s'"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_request_that_is_none_of_a_sequence_is_refused(
    server: TritonServing, case: tuple[Mapping[str, np.ndarray], Mapping[str, Any], str]
) -> None:
    """Without an id, with several rows, or with what the server keeps a request is an error, over each form."""
    inputs, more, text = case
    for form in FORMS:
        steps = {"sequence_id": "refused", "sequence_start": True, **more}
        with pytest.raises(InferenceServerException) as caught:
            server.ask(form, "accumulate_int32", inputs, **steps)
        assert text in str(caught.value)


def test_other_routes_have_no_sequences(server: TritonServing) -> None:
    """KServe's predict and generate tell callers of such a model to use infer."""
    with server.client() as client:
        predict, generate = "/v1/models/accumulate_int32:predict", "/v2/models/accumulate_int32/generate"
        for path, body in ((predict, {"instances": [[1]]}), (generate, {"x": 1})):
            response = client.post(path, json=body)
            assert response.status_code == 400
            assert "expected the id of a sequence on the infer route" in response.json()["error"]


def test_state_that_is_an_output_too_is_given(server: TritonServing) -> None:
    """A state that the configuration lists among the outputs is given and named; what the server fills is not."""
    both = ask(server, "grpc", "accumulate_int32_seen", 5 * ONE, 1, "s")
    assert {name: array.tolist() for name, array in both.items()} == {"y": [[5]], "next_s": [[5]]}
    state = ask(server, "http binary", "accumulate_int32_seen", 5 * ONE, 1, "e", outputs=["next_s"])
    assert state["next_s"].tolist() == [[10]]
    for name, outputs in (("accumulate_int32", ["y"]), ("accumulate_int32_seen", ["y", "next_s"])):
        metadata = server.http.get_model_metadata(name)
        assert [(each["name"], each["shape"]) for each in metadata["inputs"]] == [("x", [-1, 1])]
        assert [each["name"] for each in metadata["outputs"]] == outputs


@pytest.mark.parametrize(
    ("name", "x", "first"),
    [
        ("zeros", row(1, 2), [[0.0, 0.0]]),
        ("file", row(1, 2, datatype=np.int32), [[3, 4]]),
        ("texts", np.array([[b"a", b"b"]], object), [[b"one", b""]]),
        ("undefined", np.array([[b"a", b"b"]], object), [[b"", b""]]),
    ],
)
def test_sequence_begins_as_configured(server: TritonServing, name: str, x: np.ndarray, first: list[list[Any]]) -> None:
    """It begins with zeros or empty texts, or with the contents of a file."""
    for _ in range(2):
        sequence = next(_ids)
        assert ask(server, "grpc", name, x, sequence, "s")["y"].tolist() == first
        assert ask(server, "grpc", name, x, sequence, "e")["y"].tolist() == x.tolist()


def test_state_of_an_open_size_begins_as_one_and_grows(server: TritonServing) -> None:
    """A size of -1 is 1 at first, or what the initial state says, then the output's; without a batch x is any size."""
    for name, begun in (("growing", [0.0]), ("empty", [])):
        for number, marks in ((1, "s"), (2, ""), (3, "e")):
            begun.append(float(number))
            assert ask(server, "grpc", name, row(number), name, marks)["y"].tolist() == [begun]
    x = np.array([1, 2, 3], np.float32)
    outputs = [ask(server, "grpc", "any_size", x, "any", marks)["y"].tolist() for marks in ("s", "", "e")]
    assert outputs == [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 6.0, 9.0]]
    assert ask(server, "grpc", "any_size", x[:1], "any", "se")["y"].tolist() == [1.0]


def test_controls_tell_the_model_of_each_request(server: TritonServing) -> None:
    """Start, end and ready have their own values of true and false, and the id is a number or a text."""
    for name, sequence in (("telling_uint64", (1 << 64) - 1), ("telling_int32", 7), ("telling_bytes", "seven")):
        outputs = [ask(server, "http binary", name, row(5), sequence, m) for m in ("s", "", "e", "se")]
        flags = [each["flags"].tolist()[0] for each in outputs]
        assert flags == [[2, -1, 2, 5], [-1, -1, 2, 5], [-1, 2, 2, 5], [2, 2, 2, 5]]
        expected = sequence.encode() if isinstance(sequence, str) else sequence
        assert all(each["id"].tolist() == [[expected]] for each in outputs)
    for name, sequence, text in (("telling_bytes", 7, "expected a text"), ("telling_int32", "7", "expected a number")):
        with pytest.raises(InferenceServerException, match=text):
            ask(server, "grpc", name, row(5), sequence, "s")


def share(server: TritonServing, name: str, x: np.ndarray, marks: str = "s") -> tuple[list[int], list[np.ndarray]]:
    """The rows of each run while one request runs and those of four other sequences wait, and the five answers."""
    model = server.worker.registry.find(name)
    with gated(model) as gate, ThreadPoolExecutor(5) as pool:
        plug = pool.submit(ask, server, "grpc", name, x, f"{name} 0", marks)
        gate.entered.acquire()
        others = [pool.submit(ask, server, "grpc", name, (i + 1) * x, f"{name} {i}", marks) for i in range(1, 5)]
        server.until(lambda: model.dispatcher.queue.waiting_rows == 4)
        gate.opened.set()
        return gate.rows, [each.result(20)["y"] for each in (plug, *others)]


@pytest.mark.parametrize("name", ["layered", "layered_whole"])
def test_state_on_another_axis_shares_batches(server: TritonServing, name: str) -> None:
    """States of [layers, batch, width] are joined along their own axis, whether dims have the batch or not."""
    x = row(1, 2, 3)
    for marks, factor in (("s", 1.0), ("", 1.5), ("e", 1.75)):
        rows, outputs = share(server, name, x, marks)
        assert rows == [1, 4]
        for number, y in enumerate(outputs):
            assert y.tolist() == [[2 * factor * (number + 1) * value for value in (1, 2, 3)]]


def test_explicit_state_on_another_axis_shares_batches(server: TritonServing) -> None:
    """Without a configuration callers send the state with as many rows as they like, on its own axis."""
    model = server.worker.registry.find("explicit")

    def one(count: int) -> Mapping[str, np.ndarray]:
        inputs = {"x": np.full((count, 3), count, np.float32), "h": np.full((2, count, 3), 2 * count, np.float32)}
        return server.ask("grpc", "explicit", inputs).outputs

    with gated(model) as gate, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(one, 1)]
        gate.entered.acquire()
        answers += [pool.submit(one, count) for count in (2, 3, 4)]
        server.until(lambda: model.dispatcher.queue.waiting_rows == 9)
        gate.opened.set()
        outputs = [answer.result(20) for answer in answers]
    assert gate.rows == [1, 9]
    for count, output in enumerate(outputs, 1):
        assert output["next_h"].tolist() == np.full((2, count, 3), 2.0 * count).tolist()
        assert output["y"].tolist() == np.full((count, 3), 4.0 * count).tolist()


def test_rows_that_mix_never_share_a_batch(server: TritonServing) -> None:
    """Sequences of a model whose rows are not independent run one by one."""
    rows, outputs = share(server, "mixing", row(3), "se")
    assert rows == [1] * 5
    assert [y.tolist() for y in outputs] == [[[1.0]]] * 5


@virtual
async def test_sequences_are_idle_for_as_long_as_their_model_says(tmp_path: Path) -> None:
    """Each model has its own time, from the last request of each sequence; without one it is a second, as in Triton."""
    models.write_begun(tmp_path, "zeros", "FP32", "")
    models.write_mixing(tmp_path)
    config = tmp_path / "mixing" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_sequence_idle_microseconds: 60000000", ""))
    worker = ReadyWorker(settings_for(tmp_path, provider="cpu"))

    async def status(name: str, starts: bool = False) -> int:
        values = [1, 2] if name == "zeros" else [1]
        x = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
        body = {"inputs": [x], "parameters": {"sequence_id": 1, "sequence_start": starts}}
        return (await begin(worker.handler, body, name).answer).status

    await worker.start()
    try:
        assert [await status(name, True) for name in ("zeros", "mixing")] == [200, 200]
        for idle_s, name, expected in (
            (0.9, "mixing", 200),
            (0.9, "mixing", 200),
            (1.1, "mixing", 400),
            (0.0, "zeros", 200),
            (59.0, "zeros", 200),
            (61.0, "zeros", 400),
        ):
            await asyncio.sleep(idle_s)
            assert await status(name) == expected
        assert (len(worker.sequences), worker.sequences.held_bytes) == (0, 0)
    finally:
        await worker.stop()


STATE = 'state { input_name: "s" output_name: "next_s" data_type: TYPE_FP32 dims: [ 1 ] %s }'
FLAG = 'control_input { name: "%s" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } }'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FLAG % "FLAG", "control_input 'FLAG': expected one of x, s, wide, START"),
        (FLAG % "wide", r"control_input 'wide': expected one element in each row, the graph has \['wide_0', 2\]"),
        (FLAG.replace("fp32", "int32") % "START", "control_input 'START': expected FP32 like the graph's, got INT32"),
        (STATE.replace('"s"', '"t"') % "", "state: input_name 't': expected one of"),
        (STATE.replace('"next_s"', '"t"') % "", "state: output_name 't': expected one of y, next_s"),
        (STATE.replace("FP32", "INT8") % "", "state: input_name 's': expected FP32 like the graph's, got INT8"),
        (STATE.replace("[ 1 ]", "[ 2 ]") % "", r"state 's': expected dims that fit the graph's \['s_0', 1\], without"),
        (STATE % 'initial_state { dims: [ 1 ] data_file: "none" }', "names initial_state/none, which is not in the"),
        (STATE % 'initial_state { dims: [ 1 ] data_file: "short" }', r"expected 4 bytes for FP32 \[1\], got 3"),
    ],
)
def test_sequence_batching_that_does_not_fit_the_graph_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """The reason names the control or the state, what was expected and what came."""
    nodes = [helper.make_node("Sum", ["x", "s", "START"], ["y"]), helper.make_node("Identity", ["y"], ["next_s"])]
    inputs = [(name, "FP32", [-1, size]) for name, size in (("x", 1), ("s", 1), ("wide", 2), ("START", 1))]
    content = model_of(nodes, inputs, [("y", "FP32", [-1, 1]), ("next_s", "FP32", [-1, 1])])
    (tmp_path / "model" / "initial_state").mkdir(parents=True)
    (tmp_path / "model" / "initial_state" / "short").write_bytes(b"abc")
    with pytest.raises(BadConfig, match=reason):
        load(tmp_path, head_text("model", 4) + f"sequence_batching {{ {text} }}", content)
