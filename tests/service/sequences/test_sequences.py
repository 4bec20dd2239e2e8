"""Sequences: state that the server keeps from request to request, and the explicit state that needs none."""

import asyncio
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from service.transport.awaited_request import AwaitedRequest
from service.transport.request import Reply
from tests.service.sequences.asking import Json, begin, body_of, integers, read, total_of
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, settings_of
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

PATH = "/v2/models/counter/infer"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sequences")
    graphs.write_loop(root, "counter", graphs.count_up(), {"total": "next_total", "x": None})
    graphs.write_loop(root, "growing", graphs.grow(), {"memory": "longer", "x": None})
    graphs.write_plain(root, "double", graphs.double())
    return root


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Serving]:
    with Serving(settings_for(store), FAST) as serving:
        yield serving


def add(client: httpx.Client, x: int, sequence: Any, *marks: str) -> int:
    response = client.post(PATH, json=body_of(x, sequence, *marks))
    assert response.status_code == 200, response.text
    return total_of(response.json())


def refuse(client: httpx.Client, body: Json, path: str = PATH) -> str:
    response = client.post(path, json=body)
    assert response.status_code == 400, response.text
    text: str = response.json()["error"]
    return text


def test_sequence_lasts_from_its_start_to_its_end(client: httpx.Client) -> None:
    """Before its start and after its end a sequence is unknown: 400. One request may start and end it."""
    text = refuse(client, body_of(1, "never"))
    assert text.startswith("sequence_id: there is no sequence 'never': expected sequence_start in its first request")
    assert add(client, 1, 5, "start") == 1
    assert add(client, 1, 5, "end") == 2
    assert add(client, 3, 6, "start", "end") == 3
    for ended in (5, 6):
        assert f"there is no sequence {ended}" in refuse(client, body_of(1, ended))


BAD: dict[str, tuple[Json, str]] = {
    "negative id": ({"sequence_id": -1}, "parameters.sequence_id: expected a whole number of 64 bits or a text"),
    "id of 65 bits": ({"sequence_id": 1 << 64}, "parameters.sequence_id: expected a whole number of 64 bits"),
    "long id": ({"sequence_id": "x" * 129}, "text of at most 128 characters"),
    "id of another type": ({"sequence_id": True}, "parameters.sequence_id: expected a whole number"),
    "number as start": ({"sequence_id": 1, "sequence_start": 1}, "parameters.sequence_start: expected a boolean"),
    "start without an id": ({"sequence_start": True}, "expected the id of the sequence that starts or ends"),
    "end of none": ({"sequence_id": "", "sequence_end": True}, "expected the id of the sequence that starts or ends"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_malformed_parameters_are_refused(client: httpx.Client, case: tuple[Json, str]) -> None:
    """Ids are 64 bits or short texts, marks are booleans, and a mark needs an id."""
    parameters, text = case
    assert text in refuse(client, {"inputs": [integers("x", 1)], "parameters": parameters})


def test_model_without_a_loop_has_no_sequences(client: httpx.Client) -> None:
    """A model that carries nothing says so; 0 and an empty text are no sequence for it."""
    x = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    path = "/v2/models/double/infer"
    body = {"inputs": [x], "parameters": {"sequence_id": 1, "sequence_start": True}}
    assert "model 'double' keeps no state between requests" in refuse(client, body, path)
    for nothing in (0, ""):
        assert client.post(path, json={"inputs": [x], "parameters": {"sequence_id": nothing}}).status_code == 200


def test_failed_request_changes_nothing(client: httpx.Client) -> None:
    """After a failure of the model, or a malformed request, the sequence is where it was."""
    assert add(client, 4, "fails", "start") == 4
    refuse(client, body_of(1, "fails"))  # there is no value for a total of 4
    refuse(client, {"inputs": [integers("y", 1)], "parameters": {"sequence_id": "fails"}})
    body = body_of(1, "fails")
    body["inputs"].append(integers("total", 3))
    assert total_of(client.post(PATH, json=body).json()) == 4
    refuse(client, body_of(1, "fails", "start", outputs=[{"name": "none"}]))
    refuse(client, body_of(1, "fails"))  # still 4


def test_sequence_goes_on_from_what_it_carried(client: httpx.Client) -> None:
    """The total begins with zero and is kept; one that is sent counts instead; ids of other types are others."""
    assert [add(client, 1, "a", *marks) for marks in (["start"], [], [])] == [1, 2, 3]
    body = body_of(1, "a")
    body["inputs"].append(integers("total", 1))
    assert total_of(client.post(PATH, json=body).json()) == 2
    assert add(client, 1, "a", "end") == 3
    assert add(client, 1, 7, "start") == 1
    assert add(client, 2, "7", "start") == 2
    assert add(client, 1, (1 << 64) - 1, "start") == 1
    assert (add(client, 1, 7), add(client, 1, "7")) == (2, 3)
    assert add(client, 1, 7, "start") == 1
    assert add(client, 1, 7) == 2


def test_open_size_is_sent_at_the_start(client: httpx.Client) -> None:
    """A state of open size comes with the first request, and is carried at the size that it has then."""
    path = "/v2/models/growing/infer"
    x = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2]}
    memory = {"name": "memory", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    start = {"sequence_id": "g", "sequence_start": True}
    text = refuse(client, {"inputs": [x], "parameters": start}, path)
    assert "input 'memory': expected it in the first request of a sequence" in text
    assert client.post(path, json={"inputs": [memory, x], "parameters": start}).status_code == 200
    answer = client.post(path, json={"inputs": [x], "parameters": {"sequence_id": "g"}}).json()
    assert answer["outputs"][0]["data"] == [1.0, 2.0, 2.0]


def test_explicit_state_needs_no_sequence(client: httpx.Client) -> None:
    """A caller that sends what the last answer gave back can use any server, and as many rows as it likes."""
    totals = [0, 1]
    for _ in range(2):
        body = {"inputs": [integers("x", 1, 1), integers("total", *totals)]}
        outputs = client.post(PATH, json=body).json()["outputs"]
        totals = next(output["data"] for output in outputs if output["name"] == "next_total")
    assert totals == [2, 3]


def test_requests_of_a_sequence_run_in_order(server: Serving, client: httpx.Client) -> None:
    """Requests that come while one runs wait for it; one whose caller goes leaves the line."""
    handler, loop = server.worker.handler, server.worker.tasks.loop
    model = server.worker.registry.find("counter")
    with gated(model) as gate, ThreadPoolExecutor(1) as pool:
        first = pool.submit(add, client, 1, "line", "start")
        gate.entered.acquire()

        async def join() -> list[AwaitedRequest]:
            calls = [begin(handler, body_of(1, "line", *marks)) for marks in ((), (), ("end",), ())]
            calls[1].work.cancel()
            return calls

        gone = asyncio.run_coroutine_threadsafe(join(), loop).result(20)
        assert not gone[0].answer.done()
        gate.opened.set()
        assert first.result(20) == 1
        replies = [asyncio.run_coroutine_threadsafe(_wait(gone[i]), loop).result(20) for i in (0, 2, 3)]
    assert [reply.status for reply in replies] == [200, 200, 400]
    assert [total_of(read(reply)) for reply in replies[:2]] == [2, 3]


async def _wait(call: AwaitedRequest) -> Reply:
    return await call.answer


def test_metadata_names_sequences_where_they_work(client: httpx.Client) -> None:
    """The extension is told, and the configuration of a model that carries state has what it carries."""
    assert "sequence" in client.get("/v2").json()["extensions"]
    config = client.get("/v2/models/growing/config").json()
    assert "dynamic_batching" not in config
    assert {tensor["name"]: tensor["optional"] for tensor in config["input"]} == {"memory": True, "x": True}
    batching = config["sequence_batching"]
    assert (batching["max_sequence_idle_microseconds"], batching["oldest"]["max_candidate_sequences"]) == (60e6, 1024)
    state = {"input_name": "memory", "output_name": "longer", "data_type": "TYPE_FP32", "dims": [-1]}
    assert batching["state"] == [state]  # x is carried without changing
    plain = client.get("/v2/models/double/config").json()
    assert "dynamic_batching" in plain
    assert "sequence_batching" not in plain
    assert "optional" not in plain["input"][0]


def test_triton_client_over_grpc(store: Path) -> None:
    """Two sequences in one stream, all requests sent at once, are each answered in their order."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    x = triton.InferInput("x", [1], "INT64")
    x.set_data_from_numpy(np.array([1]))
    with GrpcServing(settings_of(store)) as server, server.grpc_client() as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(3):
            for name in ("one", 2):
                marks = {"sequence_id": name, "sequence_start": i == 0, "sequence_end": i == 2}
                client.async_stream_infer("counter", [x], request_id=f"{name}", **marks)
        totals: dict[str, list[int]] = {"one": [], "2": []}
        for _ in range(6):
            result, error = answers.get(timeout=20)
            assert error is None
            totals[result.get_response().id].append(int(result.as_numpy("next_total")[0]))
        client.stop_stream()
    assert totals == {"one": [1, 2, 3], "2": [1, 2, 3]}
