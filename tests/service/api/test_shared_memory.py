"""Tensors in shared memory, with the real clients over HTTP and gRPC."""

import asyncio
import os
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import serialize_byte_tensor

from service.settings import Settings
from tests.service.access.asking import header_of, render_keys
from tests.support.connections.shared_memory import FORMS, PATTERN, READ_ONLY, ShmClient, made_region, refusal
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, ones
from tests.support.models import graphs
from tests.support.servers import FAST, settings_for

X = np.arange(6, dtype=np.float32).reshape(2, 3)
LARGE = np.arange(3 * 200_000, dtype=np.float32).reshape(-1, 3)
"""2.4 MB: copied in a thread."""


def shared_settings(store: os.PathLike[str], **changes: object) -> Settings:
    return settings_for(
        store, shared_memory=(f"{READ_ONLY}:ro", PATTERN), max_body_bytes=4 << 20, max_rows=1024, **changes
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServing]:
    root = tmp_path_factory.mktemp("shared")
    for name, content in {
        "double": graphs.double(),
        "texts": graphs.echo(8),
        "add": graphs.add(),
        "exhausting": graphs.exhausting(),
    }.items():
        graphs.write_plain(root, name, content)
    graphs.write_loop(root, "counter", graphs.add_up(), {"total": "next_total", "x": None})
    with GrpcServing(shared_settings(root), FAST) as server:
        yield server


@pytest.fixture(params=FORMS)
def client(shared: GrpcServing, request: pytest.FixtureRequest) -> Iterator[ShmClient]:
    made = ShmClient(shared, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("x", [X, LARGE], ids=["short", "long"])
def test_tensors_come_and_go_through_a_region(shared: GrpcServing, client: ShmClient, x: np.ndarray) -> None:
    """The answer is that of the same tensors in the body; all that it says of an output is its shape, as Triton's."""
    with client.registered(2 * x.nbytes + 64) as region:
        region.fill(x, 64)
        given = client.input_of("x", "FP32", list(x.shape), region, x.nbytes, 64)
        wanted = client.output_to("y", region, x.nbytes, 64 + x.nbytes)
        found = client.described(client.client.infer("double", [given], outputs=[wanted]), "y")
        np.testing.assert_array_equal(region.read(np.float32, list(x.shape), 64 + x.nbytes), 2 * x)
        assert found == {"name": "y", "datatype": "FP32", "shape": list(x.shape)}
    shared.until(lambda: shared.worker.handler.body_budget.held_bytes == 0)


def test_texts_come_and_go_through_a_region(client: ShmClient) -> None:
    """BYTES lie in a region as in a body, each with its length before it; any bytes are kept."""
    texts = np.array([[b"", b"\xff\x00", "\u00e9".encode()]], object)
    content = serialize_byte_tensor(texts)
    with client.registered(256) as region:
        region.fill(content)
        size = len(content.item())
        given = client.input_of("x", "BYTES", [1, 3], region, size)
        client.client.infer("texts", [given], outputs=[client.output_to("y", region, 100, 128)])
        assert region.read(np.object_, [1, 3], 128).tolist() == texts.tolist()


def test_region_and_body_are_mixed(client: ShmClient) -> None:
    """One input may come in a region and another in the body, and one output in the answer."""
    ab = np.arange(4, dtype=np.float32).reshape(2, 2)
    with client.registered(64) as region:
        region.fill(ab, 32)
        a, b = client.input_of("a", "FP32", [2, 2], region, 16, 32), client.sent("b", "FP32", ab)
        for inputs in ([a, b], [b, a]):
            wanted = [client.output_to("total", region, 16), client.module.InferRequestedOutput("negative")]
            np.testing.assert_array_equal(
                client.client.infer("add", inputs, outputs=wanted).as_numpy("negative"), -2 * ab
            )
            np.testing.assert_array_equal(region.read(np.float32, [2, 2]), 2 * ab)
            region.fill(np.zeros((2, 2), np.float32))


def test_stream_takes_tensors_of_regions(shared: GrpcServing) -> None:
    """The messages of a stream over gRPC may have their tensors in regions too."""
    client = ShmClient(shared, "grpc")
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with client.registered(2 * X.nbytes) as region:
        region.fill(X)
        client.client.start_stream(callback=lambda result, error: answers.put(error))
        given = client.input_of("x", "FP32", [2, 3], region, X.nbytes)
        client.client.async_stream_infer("double", [given], outputs=[client.output_to("y", region, X.nbytes, X.nbytes)])
        assert answers.get(timeout=60) is None
        client.client.stop_stream()
        np.testing.assert_array_equal(region.read(np.float32, [2, 3], X.nbytes), 2 * X)
    client.close()


def test_sequence_takes_tensors_of_regions(client: ShmClient) -> None:
    """The rows of a sequence may come in regions."""
    totals = []
    with client.registered(64) as region:
        for number in (1, 2, 3):
            region.fill(np.full((1, 1), number, np.float32))
            given = client.input_of("x", "FP32", [1, 1], region, 4)
            marks = {"sequence_start": number == 1, "sequence_end": number == 3}
            outputs = [client.output_to("next_total", region, 4, 32)]
            client.client.infer("counter", [given], outputs=outputs, sequence_id=7, **marks)
            totals.append(region.read(np.float32, [1, 1], 32).item())
    assert totals == [1, 3, 6]


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        ({"shared_memory_region": "nobody's", "shared_memory_byte_size": 24}, None, "one that you have registered"),
        ({"shared_memory_byte_size": 20}, None, "expected 24 bytes for FP32 [2, 3], got 20"),
        (
            {"shared_memory_byte_size": 24, "shared_memory_offset": 41},
            None,
            "a part of its 64 bytes, got 24 from 41 on",
        ),
        ({"shared_memory_byte_size": 24, "shared_memory_offset": (1 << 63) - 1}, None, "a part of its 64 bytes"),
        (
            {"shared_memory_byte_size": 24, "shared_memory_offset": -1},
            None,
            "expected a number of bytes from 0, got -1",
        ),
        ({"shared_memory_byte_size": 24, "shared_memory_end": 3}, None, "unknown 'shared_memory_end'"),
        ({}, None, "shared_memory_byte_size: expected a number of bytes"),
        (
            {"shared_memory_byte_size": 24, "binary_data_size": 24},
            None,
            "a region of shared memory and binary_data_size",
        ),
        ({"shared_memory_byte_size": 24, "shared_memory_region": 7}, None, "expected the name of a region, got 7"),
        (None, {"shared_memory_byte_size": 23}, "expected 24 bytes or more for it, got a part of 23"),
        (None, {"shared_memory_byte_size": 65}, "a part of its 64 bytes, got 65 from 0 on"),
        (None, {"shared_memory_byte_size": 24, "classification": 1}, "either classification or shared memory"),
    ],
)
def test_part_that_does_not_fit_is_refused(
    shared: GrpcServing, given: dict[str, Any] | None, wanted: dict[str, Any] | None, said: str
) -> None:
    """A part outside of the region or of another size than the tensor is 400, and nothing is written."""
    client = ShmClient(shared, "http")
    with client.registered(64) as region, shared.client() as http:
        x: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [2, 3]}
        x |= {"data": [1] * 6} if given is None else {"parameters": {"shared_memory_region": region.name, **given}}
        body: dict[str, Any] = {"inputs": [x]}
        if wanted is not None:
            body["outputs"] = [{"name": "y", "parameters": {"shared_memory_region": region.name, **wanted}}]
        answer = http.post("/v2/models/double/infer", json=body)
        assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text
        assert region.read(np.uint8, [64]).sum() == 0
    client.close()
    shared.until(lambda: shared.worker.handler.body_budget.held_bytes == 0)


def test_output_may_not_go_to_a_region_for_inputs(client: ShmClient) -> None:
    """A region that the setting allows for inputs only is read, and never written."""
    with client.registered(64, READ_ONLY) as region:
        region.fill(X)
        given = client.input_of("x", "FP32", [2, 3], region, X.nbytes)
        np.testing.assert_array_equal(client.client.infer("double", [given]).as_numpy("y"), 2 * X)
        wanted = client.output_to("y", region, X.nbytes, 32)
        assert "may be read only" in refusal(lambda: client.client.infer("double", [given], outputs=[wanted]))
        assert region.read(np.uint8, [32], 32).sum() == 0


def test_file_that_becomes_shorter_is_an_error(client: ShmClient, shared: GrpcServing) -> None:
    """Reading and writing beyond the new end is refused, the file keeps its length, and the server goes on."""
    with client.registered(2 * LARGE.nbytes) as region:
        region.fill(LARGE)
        given = client.input_of("x", "FP32", list(LARGE.shape), region, LARGE.nbytes)
        wanted = client.output_to("y", region, LARGE.nbytes, LARGE.nbytes)
        with gated(shared.model("double")) as gate, ThreadPoolExecutor() as pool:
            running = pool.submit(client.infer_elsewhere, "double", [given], outputs=[wanted])
            gate.entered.acquire()
            os.truncate(region.path, 4096)
            gate.opened.set()
            assert "its file is shorter" in running.result(60)
        assert region.path.stat().st_size == 4096
        assert "its file is shorter" in refusal(lambda: client.client.infer("double", [given]))
        os.truncate(region.path, region.size_bytes)
        np.testing.assert_array_equal(client.client.infer("double", [given]).as_numpy("y")[1024:], 0 * LARGE[1024:])


def test_region_that_is_unregistered_meanwhile_is_not_written(client: ShmClient, shared: GrpcServing) -> None:
    """A request whose output has lost its region fails, and the bytes stay as they are."""
    with client.registered(64) as region, gated(shared.model("double")) as gate, ThreadPoolExecutor() as pool:
        region.fill(X)
        given = client.input_of("x", "FP32", [2, 3], region, X.nbytes)
        wanted = client.output_to("y", region, X.nbytes, 32)
        running = pool.submit(client.infer_elsewhere, "double", [given], outputs=[wanted])
        gate.entered.acquire()
        client.client.unregister_system_shared_memory(region.name)
        gate.opened.set()
        assert "it is no longer registered" in running.result(60)
        assert region.read(np.uint8, [32], 32).sum() == 0


def test_request_that_is_cancelled_writes_nothing(shared: GrpcServing) -> None:
    """When the caller has gone, the outputs of its request are dropped."""
    client = ShmClient(shared, "grpc")
    with client.registered(64) as region, gated(shared.model("double")) as gate:
        region.fill(X)
        given = client.input_of("x", "FP32", [2, 3], region, X.nbytes)
        wanted = client.output_to("y", region, X.nbytes, 32)
        call = client.client.async_infer("double", [given], outputs=[wanted], callback=lambda result, error: None)
        gate.entered.acquire()
        call.cancel()
        shared.until(lambda: shared.worker.handler.in_flight == 0)
        gate.opened.set()
        shared.until(lambda: bool(gate.rows))
        client.client.infer("double", ones())
        assert region.read(np.uint8, [32], 32).sum() == 0
    client.close()


def test_failure_of_the_model_writes_nothing(client: ShmClient) -> None:
    """An output is written only when the answer is right."""
    with client.registered(64) as region:
        region.fill(np.array([[9]], np.int64))
        given = client.input_of("x", "INT64", [1, 1], region, 8)
        said = refusal(
            lambda: client.client.infer("exhausting", [given], outputs=[client.output_to("y", region, 8, 32)])
        )
        assert "the log has the reason" in said
        assert region.read(np.uint8, [32], 32).sum() == 0


def test_inputs_count_as_a_body(client: ShmClient, shared: GrpcServing) -> None:
    """Inputs of more bytes than a body may have are refused, and so are those for which others hold the room."""
    rows = np.zeros((400_000, 3), np.float32)  # 4.8 MB
    budget = shared.worker.handler.body_budget
    with client.registered(rows.nbytes) as region:
        given = client.input_of("x", "FP32", list(rows.shape), region, rows.nbytes)
        assert "expected at most 4194304 bytes in shared memory" in refusal(
            lambda: client.client.infer("double", [given])
        )
        given = client.input_of("x", "FP32", list(LARGE.shape), region, LARGE.nbytes)
        held_bytes = budget.max_bytes - LARGE.nbytes + 1
        shared.run(lambda: asyncio.to_thread(budget.grow, held_bytes))
        said = refusal(lambda: client.client.infer("double", [given]))
        shared.run(lambda: asyncio.to_thread(budget.release, held_bytes))
        assert "others hold it" in said
        assert client.client.infer("double", [given]).as_numpy("y").shape == LARGE.shape
    shared.until(lambda: budget.held_bytes == 0)


def test_status_tells_what_is_registered(client: ShmClient) -> None:
    """The regions with their files, one of them or all; to unregister without a name removes all."""
    with made_region(64) as one, made_region(64) as two:
        for region, offset in ((one, 0), (two, 32)):
            client.client.register_system_shared_memory(region.name, f"/{region.key}", 32, offset)
        shown = client.client.get_system_shared_memory_status()
        found = shown if isinstance(shown, list) else [*shown.regions.values()]
        assert sorted(map(str, found)) == sorted(map(str, found))
        text = str(client.client.get_system_shared_memory_status(two.name))
        assert two.key in text
        assert one.key not in text
        client.client.unregister_system_shared_memory()
        assert "no region" in refusal(lambda: client.client.get_system_shared_memory_status(one.name))
        assert two.key not in str(client.client.get_system_shared_memory_status())


def test_extension_is_told_where_it_is_on(shared: GrpcServing, server: GrpcServing) -> None:
    """The metadata names the extension only where the setting allows regions; elsewhere its routes are 501."""
    with shared.client() as on, server.client() as off:
        assert "system_shared_memory" in on.get("/v2").json()["extensions"]
        assert "system_shared_memory" not in off.get("/v2").json()["extensions"]
        assert off.get("/v2/systemsharedmemory/status").status_code == 501
        assert on.get("/v2/cudasharedmemory/status").status_code == 404


def test_caller_beyond_this_machine_may_not_use_regions(shared: GrpcServing) -> None:
    """Without keys, a request that has come through a proxy cannot register, list or use regions."""
    client, far = ShmClient(shared, "http"), {"x-forwarded-for": "192.0.2.1"}
    with client.registered(64) as region, shared.client() as http:
        where = {"shared_memory_region": region.name, "shared_memory_byte_size": 24}
        x = {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": where}
        about = {"key": region.key, "byte_size": 8}
        answers = [
            http.post("/v2/models/double/infer", json={"inputs": [x]}, headers=far),
            http.post("/v2/systemsharedmemory/region/z/register", json=about, headers=far),
            http.get("/v2/systemsharedmemory/status", headers=far),
            http.post("/v2/systemsharedmemory/unregister", headers=far),
        ]
        assert [answer.status_code for answer in answers] == [403] * 4
        assert http.post("/v2/models/double/infer", json={"inputs": [x]}).status_code == 200
    client.close()


def test_region_belongs_to_the_key_that_has_registered_it(tmp_path: Path) -> None:
    """Another key cannot use, see or remove a region, and may use its name for its own."""
    store = graphs.write_plain(tmp_path / "store", "double", graphs.double())
    both = {"scopes": ["infer", "admin"]}
    keys = render_keys(
        "infer", "other", "limited", other=both, limited={"scopes": both["scopes"], "requests_per_s": 50.0}
    )
    with GrpcServing(shared_settings(store, api_keys=keys), FAST) as server, made_region(64) as region:
        region.fill(X)
        made = {"key": region.key, "byte_size": 64}
        where = {"shared_memory_region": "r", "shared_memory_byte_size": 24}
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": where}]}
        with server.client() as http:

            def ask(name: str, path: str, content: object = None) -> int:
                return http.post(path, json=content, headers=header_of(name)).status_code

            register, unregister, infer = (
                "/v2/systemsharedmemory/region/r/register",
                "/v2/systemsharedmemory/region/r/unregister",
                "/v2/models/double/infer",
            )
            assert ask("infer", register, made) == 403
            assert ask("other", register, made) == 200
            assert [ask(name, infer, body) for name in ("other", "limited", "infer")] == [200, 400, 400]
            assert ask("limited", unregister) == 200
            assert ask("other", infer, body) == 200
            listed = http.get("/v2/systemsharedmemory/status", headers=header_of("limited")).json()
            assert listed == []
            assert ask("limited", register, {**made, "byte_size": 8}) == 200
            assert ask("other", infer, body) == 200


def test_registration_reaches_every_worker(tmp_path: Path) -> None:
    """A region that one worker registers is known to the others, also for sequences that they keep, and to later ones.

    When it is unregistered no worker takes it any more.
    """
    store = graphs.write_plain(tmp_path / "store", "double", graphs.double())
    graphs.write_loop(store, "counter", graphs.add_up(), {"total": "next_total", "x": None})
    settings = shared_settings(store, workers=2, metrics_dir=tmp_path / "m")
    with ExitStack() as stack:
        one, two = (stack.enter_context(GrpcServing(settings, FAST)) for _ in range(2))
        clients = [ShmClient(server, "http") for server in (one, two)]
        region = stack.enter_context(made_region(64))
        clients[0].client.register_system_shared_memory(region.name, region.key, 64)
        region.fill(np.ones((2, 3), np.float32))
        x = clients[0].input_of("x", "FP32", [2, 3], region, 24)
        row = clients[0].input_of("x", "FP32", [1, 1], region, 4)
        total = [clients[0].output_to("next_total", region, 4, 32)]
        for each in clients:
            assert each.client.infer("double", [x]).as_numpy("y").sum() == 12
        for sequence in range(1, 9):  # each worker keeps some of them
            for number in (1, 2):
                each = clients[number % 2]
                each.client.infer("counter", [row], outputs=total, sequence_id=sequence, sequence_start=number == 1)
                assert region.read(np.float32, [1, 1], 32).item() == number
        two.stop()
        two._thread.join(30)
        three = ShmClient(stack.enter_context(GrpcServing(settings, FAST)), "http")
        assert three.client.infer("double", [x]).as_numpy("y").sum() == 12
        three.client.unregister_system_shared_memory(region.name)
        for each in (clients[0], three):
            assert "expected one that you have registered" in refusal(lambda: each.client.infer("double", [x]))  # noqa: B023
