"""The protocol's conformance list by Triton's own HTTP client, below a base path.

Lines that say nothing of the client are tested elsewhere: 3, 8 and 14 in tests/service/api/test_v2.py, 4, 5 and 11 in
test_triton_repositories.py, 6, 10 and 18 in tests/service/protocol/test_infer_response.py, 19 in
tests/service/transport/test_requests.py and 20 in tests/service/api/info/test_info.py.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from model_store.datatypes import datatype_of
from tests.support.gates import gated
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

BASE = "/team/sluice"
MAX_ROWS = 8
MAX_QUEUE_ROWS = 64
Client = triton.InferenceServerClient
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    root = tmp_path_factory.mktemp("checklist")
    for version in (1, 2):
        graphs.write_plain(root, "double", graphs.double(), version)
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "spare", graphs.double())
    graphs.write_plain(root, "broken", b"no graph")
    graphs.write_plain(root, "scalars", graphs.scalars())
    graphs.write_plain(root, "floats", graphs.echo(TensorProto.FLOAT))
    limits = {"max_rows": MAX_ROWS, "max_queue_rows": MAX_QUEUE_ROWS, "lanes": 1}
    with Serving(settings_for(root, provider="cpu", control=True, base_path=BASE, **limits), FAST) as serving:
        yield serving


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    client = Client(f"127.0.0.1:{server.port}{BASE}", concurrency=4)
    yield client
    client.close()


def given(name: str, array: np.ndarray, binary: bool = True) -> triton.InferInput:
    item = triton.InferInput(name, array.shape, datatype_of(array).name)
    item.set_data_from_numpy(array, binary_data=binary)
    return item


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def wait_until(holds: Callable[[], bool]) -> None:
    """Let the greenlets of the client send what they have, until this holds; the test's own limit ends it otherwise."""
    while not holds():
        gevent.sleep(0.001)


def wait_for_rows(server: Serving, number: int) -> None:
    """Return when so many rows wait for ``double``."""
    queue = server.worker.registry.find("double").dispatcher.queue
    wait_until(lambda: queue.waiting_rows >= number)


def refusal(call: Callable[[], object]) -> str:
    """The status with which a call is refused."""
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert caught.value.message()
    return str(caught.value.status())


def test_line_1_both_clients_ask_and_change_everything(server: Serving, client: Client) -> None:
    """Each method of the client is answered, and the client for asyncio gets the same answers."""
    client.update_log_settings({"log_verbose_level": 0})  # as it will be at the end
    for _ in range(2):
        client.infer("add", [given("a", ones(1, 2)), given("b", ones(1, 2), binary=False)])
    asked: dict[str, tuple[Any, ...]] = {
        "is_server_live": (),
        "is_server_ready": (),
        "is_model_ready": ("double", "2"),
        "get_server_metadata": (),
        "get_model_metadata": ("double", "2"),
        "get_model_config": ("double",),
        "get_model_repository_index": (),
        "get_inference_statistics": ("add",),
        "get_trace_settings": ("double",),
        "get_log_settings": (),
        "unload_model": ("spare",),
        "load_model": ("spare",),
        "update_trace_settings": ("spare", {"trace_rate": "9"}),
        "update_log_settings": ({"log_verbose_level": 0},),
    }
    answers = {name: getattr(client, name)(*arguments) for name, arguments in asked.items()}
    assert [answers[name] for name in list(asked)[:3]] == [True, True, True]
    assert answers["get_model_metadata"]["versions"] == ["2"]
    [statistics] = answers["get_inference_statistics"]["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] == 2

    async def ask() -> Json:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}{BASE}") as other:
            result = await other.infer("double", [given("x", ones(1, 3))])
            assert result.as_numpy("y").tolist() == [[2, 2, 2]]
            return {name: await getattr(other, name)(*arguments) for name, arguments in asked.items()}

    assert asyncio.run(ask()) == answers


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_line_2_outputs_come_as_they_are_asked_for(client: Client, binary: bool) -> None:
    """Without a list all outputs come back binary, whatever the inputs were; a listed one comes as it is asked for."""
    inputs = [given("b", ones(2, 2), not binary), given("a", ones(2, 2), binary)]
    everything = client.infer("add", inputs)
    for name, value in (("total", 2), ("negative", -2)):
        assert "binary_data_size" in everything.get_output(name)["parameters"]
        np.testing.assert_array_equal(everything.as_numpy(name), value * ones(2, 2))
    listed = client.infer("add", inputs, outputs=[triton.InferRequestedOutput("total", binary_data=binary)])
    assert listed.get_output("negative") is None
    assert ("data" in listed.get_output("total")) is not binary
    np.testing.assert_array_equal(listed.as_numpy("total"), 2 * ones(2, 2))


def test_line_7_sizes(client: Client) -> None:
    """Rows up to and beyond the largest batch are answered, tensors without elements, and rows that are scalars."""
    for rows in (1, MAX_ROWS, MAX_ROWS + 1, 5 * MAX_ROWS):
        values = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        np.testing.assert_array_equal(client.infer("double", [given("x", values)]).as_numpy("y"), 2 * values)
    for shape in ((0, 3), (1, 0), (0, 0)):
        for binary in (True, False):
            assert client.infer("floats", [given("x", ones(*shape), binary)]).as_numpy("y").shape == shape
    for rows in (3, 1, 0):
        values = np.arange(rows, dtype=np.float32)
        np.testing.assert_array_equal(client.infer("scalars", [given("x", values)]).as_numpy("y"), values)


def test_line_9_statuses(client: Client) -> None:
    """The client is told what is unknown (404), malformed (400) and not ready (503)."""
    row = [given("x", ones(1, 3))]
    wanted = [triton.InferRequestedOutput("q")]
    assert refusal(lambda: client.infer("nobody", row)) == "404"
    assert refusal(lambda: client.infer("double", row, model_version="9")) == "404"
    assert refusal(lambda: client.infer("double", row, outputs=wanted)) == "400"
    assert refusal(lambda: client.infer("broken", row)) == "503"


@pytest.mark.long
def test_line_13_schedule(server: Serving, client: Client) -> None:
    """Of requests that wait the one of higher priority runs first; one whose timeout passes leaves the queue."""
    model = server.worker.registry.find("double")
    many = [given("x", ones(MAX_ROWS - 1, 3))]
    with gated(model) as gate:
        first = client.async_infer("double", [given("x", ones(1, 3))])
        wait_until(lambda: gate.entered.acquire(blocking=False))
        late = [client.async_infer("double", many, priority=2)]
        wait_for_rows(server, MAX_ROWS - 1)
        late.append(client.async_infer("double", [given("x", ones(4, 3))], priority=1))
        wait_for_rows(server, MAX_ROWS + 3)
        assert refusal(lambda: client.infer("double", many, timeout=1_000_000)) == "504"
        gate.opened.set()
        for call in (first, *late):
            call.get_result()
    assert gate.rows[0] == 1
    assert sum(gate.rows) == 1 + MAX_ROWS - 1 + 4
    assert gate.rows[1] != MAX_ROWS - 1  # the four rows of higher priority were taken before all of these
