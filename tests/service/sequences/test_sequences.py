"""Sequences: state that the server keeps from request to request, and the explicit state that needs none."""

import asyncio
import queue
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

from service.api.handler import RequestHandler
from service.models.registry import Model
from service.protocol.json import parse_json, render_json
from service.sequences.sequences import MAX_WAITING
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER, Endpoint, Reply
from tests.support.clocks import VirtualLoop
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, settings_of
from tests.support.models import graphs
from tests.support.servers import ReadyWorker, ServerPath, Serving, settings_for

Json = dict[str, Any]
T = TypeVar("T")
PATH = "/v2/models/counter/infer"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sequences")
    graphs.write_loop(root, "counter", graphs.count_up(), {"total": "next_total", "x": None})
    graphs.write_loop(root, "growing", graphs.grow(), {"memory": "longer", "x": None})
    graphs.write_plain(root, "double", graphs.double())
    return root


@pytest.fixture(scope="module")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store), server_path) as serving:
        yield serving


def integers(name: str, *values: int) -> Json:
    return {"name": name, "shape": [len(values)], "datatype": "INT64", "data": [*values]}


def body_of(x: int, sequence: Any, *marks: str, **fields: Any) -> Json:
    """A request to ``counter``: ``marks`` are start and end."""
    parameters = {"sequence_id": sequence, **{f"sequence_{mark}": True for mark in marks}}
    return {"inputs": [integers("x", x)], "parameters": parameters, **fields}


def total_of(answer: Any) -> int:
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    total: int = found["next_total"][0]
    return total


def add(client: httpx.Client, x: int, sequence: Any, *marks: str) -> int:
    response = client.post(PATH, json=body_of(x, sequence, *marks))
    assert response.status_code == 200, response.text
    return total_of(response.json())


def refuse(client: httpx.Client, body: Json, path: str = PATH, status: int = 400) -> str:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    text: str = response.json()["error"]
    return text


def test_unknown_sequence_is_refused(client: httpx.Client) -> None:
    """Without its start a sequence is not there: 400, and the text says what is expected."""
    text = refuse(client, body_of(1, "never"))
    assert text.startswith("sequence_id: there is no sequence 'never': expected sequence_start in its first request")


def test_ended_sequence_is_gone(client: httpx.Client) -> None:
    """After its end a sequence is unknown, also where start and end were one request."""
    assert add(client, 1, 5, "start") == 1
    assert add(client, 1, 5, "end") == 2
    assert "there is no sequence 5" in refuse(client, body_of(1, 5))
    assert add(client, 3, 6, "start", "end") == 3
    assert "there is no sequence 6" in refuse(client, body_of(1, 6))


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


def test_sequence_takes_one_row(client: httpx.Client) -> None:
    """Several rows cannot go on from one state."""
    body = {"inputs": [integers("x", 1, 2)], "parameters": {"sequence_id": 9, "sequence_start": True}}
    assert "a sequence takes one row a request, got shape [2]" in refuse(client, body)
    assert "there is no sequence 9" in refuse(client, body_of(1, 9))


def test_model_without_a_loop_has_no_sequences(client: httpx.Client) -> None:
    """A model that carries nothing says so; 0 and an empty text are no sequence for it."""
    x = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    path = "/v2/models/double/infer"
    body = {"inputs": [x], "parameters": {"sequence_id": 1, "sequence_start": True}}
    assert "model 'double' carries nothing between requests" in refuse(client, body, path)
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
    """The total begins with zero and is kept between requests; a carried input that is sent counts instead."""
    assert [add(client, 1, "a", *marks) for marks in (["start"], [], [])] == [1, 2, 3]
    body = body_of(1, "a")
    body["inputs"].append(integers("total", 1))
    assert total_of(client.post(PATH, json=body).json()) == 2
    assert add(client, 1, "a", "end") == 3


def test_sequences_are_apart_and_a_start_begins_anew(client: httpx.Client) -> None:
    """Ids of different types are different; who starts again begins with zeros."""
    assert add(client, 1, 7, "start") == 1
    assert add(client, 2, "7", "start") == 2
    assert add(client, 1, (1 << 64) - 1, "start") == 1
    assert (add(client, 1, 7), add(client, 1, "7")) == (2, 3)
    assert add(client, 1, 7, "start") == 1
    assert add(client, 1, 7) == 2


def test_open_size_is_sent_at_the_start(client: httpx.Client) -> None:
    """What has no zeros of one size comes with the first request, and is carried at the size that it has then."""
    path = "/v2/models/growing/infer"
    x = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2]}
    memory = {"name": "memory", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    start = {"sequence_id": "g", "sequence_start": True}
    assert "input 'memory': expected it where the sequence starts" in refuse(
        client, {"inputs": [x], "parameters": start}, path
    )
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
    assert server.worker is not None
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


def test_configuration_of_sequences_over_grpc(store: Path) -> None:
    """ModelConfig says the same as the route."""
    with GrpcServing(settings_of(store)) as server, server.client() as client:
        config = client.get_model_config("growing").config
    assert config.WhichOneof("scheduling_choice") == "sequence_batching"
    assert config.sequence_batching.WhichOneof("strategy_choice") == "oldest"
    [state] = config.sequence_batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("memory", "longer", [-1])
    assert [tensor.optional for tensor in config.input] == [True, True]


def test_triton_client_over_http(server: Serving) -> None:
    """tritonclient's own sequence arguments work, with ids of both types."""
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    x = triton.InferInput("x", [1], "INT64").set_data_from_numpy(np.array([1]))
    for sequence in (77, "seventy-seven"):
        totals = [
            client.infer("counter", [x], sequence_id=sequence, sequence_start=i == 0, sequence_end=i == 2).as_numpy(
                "next_total"
            )[0]
            for i in range(3)
        ]
        assert totals == [1, 2, 3]
    client.close()


def test_triton_client_over_a_grpc_stream(store: Path) -> None:
    """Two sequences in one stream, all requests sent at once, are each answered in their order."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    x = triton_grpc.InferInput("x", [1], "INT64")
    x.set_data_from_numpy(np.array([1]))
    with GrpcServing(settings_of(store)) as server, server.client() as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(3):
            for name in ("one", 2):
                client.async_stream_infer(
                    *("counter", [x]),
                    request_id=f"{name}",
                    sequence_id=name,
                    sequence_start=i == 0,
                    sequence_end=i == 2,
                )
        totals: dict[str, list[int]] = {"one": [], "2": []}
        for _ in range(6):
            result, error = answers.get(timeout=20)
            assert error is None
            totals[result.get_response().id].append(int(result.as_numpy("next_total")[0]))
        client.stop_stream()
    assert totals == {"one": [1, 2, 3], "2": [1, 2, 3]}


def begin(handler: RequestHandler, body: Json) -> AwaitedRequest:
    call = AwaitedRequest(Endpoint(INFER, "counter"), b"", {})
    call.body = render_json(body)
    handler.start(call)
    return call


def read(reply: Reply) -> Any:
    return parse_json(b"".join(reply.chunks))


class Bench:
    """A worker on an event loop whose clock jumps."""

    def __init__(self, worker: ReadyWorker) -> None:
        self.handler = worker.handler
        self.sequences = worker.sequences
        self.model: Model = worker.registry.find("counter")

    async def ask(self, x: int, sequence: Any, *marks: str, **fields: Any) -> Reply:
        return await begin(self.handler, body_of(x, sequence, *marks, **fields)).answer

    async def status(self, *args: Any, **fields: Any) -> int:
        return (await self.ask(*args, **fields)).status


def run(store: Path, act: Any, **settings: Any) -> None:
    async def main() -> None:
        worker = ReadyWorker(settings_for(store, models=("counter",), provider="cpu", **settings))
        await worker.start()
        try:
            coroutine: Coroutine[Any, Any, None] = act(Bench(worker))
            await coroutine
        finally:
            await worker.stop()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_idle_sequence_is_let_go_of(store: Path) -> None:
    """After so long without a request the state is gone, each sequence by its own last use."""

    async def act(bench: Bench) -> None:
        await bench.status(1, "early", "start")
        await asyncio.sleep(3)
        await bench.status(1, "late", "start")
        await asyncio.sleep(3)
        assert total_of(read(await bench.ask(1, "early"))) == 2
        await asyncio.sleep(8)  # 11 s after the last use of the one, 8 s after that of the other
        assert await bench.status(1, "late") == 400
        assert len(bench.sequences) == 1
        assert total_of(read(await bench.ask(1, "early"))) == 3
        await asyncio.sleep(11)
        assert (len(bench.sequences), bench.sequences.held_bytes) == (0, 0)

    run(store, act, sequence_idle_s=10.0)


def test_deadline_counts_while_a_request_waits_in_its_line(store: Path) -> None:
    """A request whose turn comes too late is 504, and the one after it goes on from where the sequence is."""

    async def act(bench: Bench) -> None:
        now = 0.0
        bench.handler.clock = lambda: now
        calls = [begin(bench.handler, body_of(1, "late", *marks)) for marks in (("start",), ())]
        now = 31.0
        calls.append(begin(bench.handler, body_of(1, "late")))
        assert [(await call.answer).status for call in calls] == [200, 504, 200]
        assert total_of(read(await bench.ask(1, "late"))) == 3

    run(store, act)


def test_request_that_waits_while_its_model_stops_is_answered(store: Path) -> None:
    """What the engine has accepted is finished, and what waits behind it is refused; nobody is left alone."""

    async def act(bench: Bench) -> None:
        calls = [begin(bench.handler, body_of(1, "stop", *marks)) for marks in (("start",), (), ())]
        await bench.model.dispatcher.drain()
        assert [(await call.answer).status for call in calls] == [200, 503, 503]

    run(store, act)


def test_line_of_a_sequence_is_bounded(store: Path) -> None:
    """So many requests may wait in one sequence; the next is 429, and the others are answered in order."""

    async def act(bench: Bench) -> None:
        calls = [begin(bench.handler, body_of(0, "long", "start")) for _ in range(MAX_WAITING + 2)]
        statuses = [(await call.answer).status for call in calls]
        assert statuses == [*[200] * (MAX_WAITING + 1), 429]

    run(store, act)


def test_too_many_sequences_are_429(store: Path) -> None:
    """At the bound no other sequence starts, those that are there go on, and an end makes room."""

    async def act(bench: Bench) -> None:
        assert [await bench.status(1, i, "start") for i in (1, 2, 3)] == [200, 200, 429]
        assert await bench.status(1, 1, "end") == 200
        assert await bench.status(1, 3, "start") == 200

    run(store, act, max_sequences=2)


def test_too_much_state_is_429(store: Path) -> None:
    """The state of all sequences is bounded in bytes, and ends give them back."""

    async def act(bench: Bench) -> None:
        assert [await bench.status(1, i, "start") for i in (1, 2, 3)] == [200, 200, 429]  # 16 bytes each
        assert bench.sequences.held_bytes == 32
        assert [await bench.status(1, i, "end") for i in (1, 2)] == [200, 200]
        assert (len(bench.sequences), bench.sequences.held_bytes) == (0, 0)

    run(store, act, max_sequence_bytes=40)


def test_workers_without_a_folder_keep_no_sequences(store: Path) -> None:
    """A request may reach any worker, and where they cannot reach each other none keeps state or claims to."""

    async def act(bench: Bench) -> None:
        reply = await bench.ask(1, 1, "start")
        assert reply.status == 501
        assert "set SLUICE_METRICS_DIR, or send what the model carries as inputs" in read(reply)["error"]

    run(store, act, workers=2)
