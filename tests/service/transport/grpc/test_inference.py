"""ModelInfer with the real clients."""

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from model_store.datatypes import DATATYPES
from service.metrics.exposition import expose
from service.settings import MAX_INPUTS
from service.transport.grpc import translation
from service.transport.grpc.messages import MESSAGES
from tests.support.gates import HeldThread, gated
from tests.support.grpc_servers import GrpcServing, channel, ones, settings_of, tensor, waiting_rows

Client = triton.InferenceServerClient


def code_of(call: Callable[[], object]) -> tuple[str, str]:
    """The code and the text that a call of tritonclient is refused with."""
    with pytest.raises(InferenceServerException) as raised:
        call()
    return str(raised.value.status()).removeprefix("StatusCode."), str(raised.value.message())


def request_of(model: str, *inputs: dict[str, Any], **fields: Any) -> Any:
    return service_pb2.ModelInferRequest(model_name=model, inputs=inputs, **fields)


def infer(server: GrpcServing, request: Any, **options: Any) -> Any:
    with channel(server) as open_channel:
        return service_pb2_grpc.GRPCInferenceServiceStub(open_channel).ModelInfer(request, **options)


def count(server: GrpcServing, start: str) -> float:
    """The sum of the lines of the metrics that begin so."""
    lines = expose(server.worker.metrics, "")[0].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@pytest.mark.parametrize(
    ("model", "inputs", "options", "code", "said"),
    [
        ("none", ones(), {}, "NOT_FOUND", "no model 'none': there are"),
        ("double", ones(), {"model_version": "9"}, "NOT_FOUND", "no version '9' of 'double' serves"),
        ("double", ones(), {"model_version": "stable"}, "NOT_FOUND", "no alias 'stable' of 'double'"),
        ("broken", ones(), {}, "UNAVAILABLE", "model 'broken' is not ready"),
        ("double", [], {}, "INVALID_ARGUMENT", "inputs: expected x, got none"),
        ("double", ones() * 2, {}, "INVALID_ARGUMENT", "expected each name once"),
        ("double", [tensor("z", np.ones((1, 3), np.float32))], {}, "INVALID_ARGUMENT", "expected x, got z"),
        ("double", [tensor("x", np.ones((1, 4), np.float32))], {}, "INVALID_ARGUMENT", "expected shape [batch, 3]"),
        ("double", [tensor("x", np.ones((1, 3), np.float64))], {}, "INVALID_ARGUMENT", "expected FP32, got FP64"),
        ("double", [tensor("x", np.ones((0, 4), np.float32))], {}, "INVALID_ARGUMENT", "expected shape [batch, 3]"),
        ("double", ones(), {"outputs": [triton.InferRequestedOutput("z")]}, "INVALID_ARGUMENT", "no output 'z'"),
        ("exhausting", [tensor("x", np.array([[9]]))], {}, "INTERNAL", "the log has the reason under this id"),
    ],
)
def test_request_is_refused_with_its_code(
    client: Client, model: str, inputs: list[triton.InferInput], options: dict[str, Any], code: str, said: str
) -> None:
    """Each fault of a caller has its code and a text that says what was expected; a failure inside says nothing."""
    got, text = code_of(lambda: client.infer(model, inputs, **options))
    assert got == code
    assert said in text


def test_raw_contents_of_another_size_are_refused(server: GrpcServing) -> None:
    """Fewer or more bytes than the shape asks for are an INVALID_ARGUMENT that names both sizes."""
    for size in (0, 11, 13):
        request = request_of(
            "double", {"name": "x", "datatype": "FP32", "shape": [1, 3]}, raw_input_contents=[b"\0" * size]
        )
        with pytest.raises(grpc.RpcError) as raised:
            infer(server, request)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"expected 12 bytes for FP32 [1, 3], got {size}" in raised.value.details()


@pytest.mark.parametrize("field", ["inputs", "outputs", "parameters", "raw_input_contents"])
def test_message_of_many_fields_is_refused_before_it_is_parsed(
    server: GrpcServing, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields of two bytes each would take hundreds as objects, whether or not there is such a model."""
    descriptor = MESSAGES["ModelInferRequest"].DESCRIPTOR
    empty = bytes([descriptor.fields_by_name[field].number << 3 | 2, 0])
    monkeypatch.setattr(translation, "parse_message", lambda *_: pytest.fail("it was parsed"))
    with channel(server) as open_channel, pytest.raises(grpc.RpcError) as raised:
        open_channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\x0a\x01x" + empty * 500_000)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "message: expected fewer fields" in raised.value.details()


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_more_tensors_than_any_model_has_are_refused(server: GrpcServing, field: str) -> None:
    """Counted before they are translated."""
    request = service_pb2.ModelInferRequest(model_name="double", **{field: [{}] * (MAX_INPUTS + 1)})
    with pytest.raises(grpc.RpcError) as raised:
        infer(server, request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{field}: expected at most {MAX_INPUTS}, got {MAX_INPUTS + 1}" in raised.value.details()


def test_message_that_takes_long_to_read_is_read_in_a_thread(grpc_store: Path) -> None:
    """Meanwhile others are answered; its deadline holds, and with its caller it leaves the line."""
    many = request_of("double", *[{"name": "x"}] * 2000)
    with GrpcServing(settings_of(grpc_store, models=("double",), deadline_s=2.0)) as server, server.client() as client:
        cancelled = count(server, 'sluice_rejected_total{model="",reason="cancelled"}')
        thread = server.worker.handler.parsing = HeldThread()
        try:
            with channel(server) as open_channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(open_channel)
                late, gone = stub.ModelInfer.future(many), stub.ModelInfer.future(many)
                futures = [thread.given.get(timeout=10) for _ in range(2)]
                gone.cancel()
                assert client.infer("double", ones()).as_numpy("y").shape == (1, 3)
                assert late.exception(timeout=10).code() is grpc.StatusCode.DEADLINE_EXCEEDED
                assert "before the message was read" in late.details()
                server.until(lambda: all(future.cancelled() for future in futures))
        finally:
            thread.opened.set()
        server.until(lambda: count(server, 'sluice_rejected_total{model="",reason="cancelled"}') == cancelled + 1)


@pytest.mark.parametrize("where", ["input", "output"])
def test_shared_memory_is_refused_plainly(server: GrpcServing, client: Client, where: str) -> None:
    """A request whose tensors lie in shared memory is told that there is none here, and so are the methods of it."""
    given, wanted = ones()[0], triton.InferRequestedOutput("y")
    if where == "input":
        given.set_shared_memory("region", 12)
    else:
        wanted.set_shared_memory("region", 12)
    code, text = code_of(lambda: client.infer("double", [given], outputs=[wanted]))
    assert code == "INVALID_ARGUMENT"
    assert "shared memory" in text
    code, text = code_of(client.get_system_shared_memory_status)
    assert code == "UNIMPLEMENTED"
    assert "does not offer shared memory" in text


def test_message_that_is_none_is_refused(server: GrpcServing) -> None:
    """Bytes that are no message are an INVALID_ARGUMENT with the request id of the caller."""
    with channel(server) as open_channel, pytest.raises(grpc.RpcError) as raised:
        open_channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(
            b"\xff\xff", metadata=[("x-request-id", "of-mine")]
        )
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert ("x-request-id", "of-mine") in raised.value.trailing_metadata()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_message_over_the_limit_is_refused(server: GrpcServing, compression: grpc.Compression | None) -> None:
    """A message larger than a body may be is not taken in, even if it is small as long as it is compressed."""
    request = request_of("double", raw_input_contents=[b"\0" * (2 << 20)])
    with pytest.raises(grpc.RpcError) as raised:
        infer(server, request, compression=compression)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_full_queue_says_when_to_come_back(server: GrpcServing, client: Client) -> None:
    """More rows than may wait are a RESOURCE_EXHAUSTED with the seconds until another try in its metadata."""
    model = server.model("double")
    before = count(server, 'sluice_rejected_total{model="double",reason="queue_full"}')
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with gated(model) as gate:
        client.async_infer("double", ones(), callback=lambda result, error: answers.put((result, error)))
        gate.entered.acquire()
        client.async_infer("double", ones(1024), callback=lambda result, error: answers.put((result, error)))
        server.until(lambda: waiting_rows(model) == 1024)
        given = {"name": "x", "datatype": "FP32", "shape": [1, 3]}
        with pytest.raises(grpc.RpcError) as raised:
            infer(server, request_of("double", given, raw_input_contents=[bytes(12)]))
        gate.opened.set()
        assert [answers.get(timeout=10)[1] for _ in range(2)] == [None, None]
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = dict(raised.value.trailing_metadata())
    assert int(metadata["retry-after"]) >= 1
    assert metadata["x-request-id"]
    assert count(server, 'sluice_rejected_total{model="double",reason="queue_full"}') == before + 1


def test_bodies_beyond_what_is_held_are_refused(server: GrpcServing, client: Client) -> None:
    """When the bodies under way take all the room there is, another is a RESOURCE_EXHAUSTED, not more memory."""
    body_budget = server.worker.handler.body_budget
    server.run(lambda: asyncio.to_thread(body_budget.grow, body_budget.max_bytes))
    code, text = code_of(lambda: client.infer("double", ones()))
    server.run(lambda: asyncio.to_thread(body_budget.release, body_budget.max_bytes))
    assert code == "RESOURCE_EXHAUSTED"
    assert "holds as many bytes" in text
    assert client.infer("double", ones()).as_numpy("y") is not None
    assert body_budget.held_bytes == 0


def test_deadline_of_the_call_takes_it_out_of_the_queue(server: GrpcServing, client: Client) -> None:
    """A request whose caller waits no longer leaves the queue and is never run."""
    model = server.model("double")
    with gated(model) as gate:
        busy = threading.Thread(target=client.infer, args=("double", ones()))
        busy.start()
        gate.entered.acquire()
        code, _ = code_of(lambda: client.infer("double", ones(2), client_timeout=0.3))
        assert code == "DEADLINE_EXCEEDED"
        server.until(lambda: not waiting_rows(model))
        gate.opened.set()
        busy.join()
        assert gate.rows == [1]


def test_timeout_of_the_request_ends_it_in_the_queue(server: GrpcServing, client: Client) -> None:
    """The protocol's own timeout, in microseconds, is a DEADLINE_EXCEEDED although the caller would wait longer."""
    with gated(server.model("double")) as gate:
        busy = threading.Thread(target=client.infer, args=("double", ones()))
        busy.start()
        gate.entered.acquire()
        code, text = code_of(lambda: client.infer("double", ones(), timeout=200_000))
        gate.opened.set()
        busy.join()
    assert code == "DEADLINE_EXCEEDED"
    assert "while the request waited" in text


def test_deadline_of_the_call_is_that_of_the_request(server: GrpcServing, client: Client) -> None:
    """An answer that is not to be expected before the caller's deadline is refused at once, without a run."""
    model = server.model("double")
    with gated(model, run_s=0.01) as gate:
        model.dispatcher._learn_full_batch()
        code, text = code_of(lambda: client.infer("double", ones(640), client_timeout=0.05))
        assert code == "RESOURCE_EXHAUSTED"
        assert "the answer would take about" in text
        assert gate.rows == []


def test_cancelled_call_leaves_the_queue(server: GrpcServing, client: Client) -> None:
    """A caller that gives up takes its waiting rows with it, and nobody else's; it is counted as cancelled."""
    model = server.model("double")
    before = count(server, 'sluice_rejected_total{model="double",reason="cancelled"}')
    with gated(model) as gate:
        busy = threading.Thread(target=client.infer, args=("double", ones()))
        busy.start()
        gate.entered.acquire()
        cancelled = client.async_infer("double", ones(2), callback=lambda result, error: None)
        kept: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.async_infer("double", ones(3), callback=lambda result, error: kept.put((result, error)))
        server.until(lambda: waiting_rows(model) == 5)
        cancelled.cancel()
        server.until(lambda: waiting_rows(model) == 3)
        gate.opened.set()
        busy.join()
        result, error = kept.get(timeout=10)
        assert gate.rows == [1, 3]
    assert error is None
    assert result.as_numpy("y").shape == (3, 3)
    assert count(server, 'sluice_rejected_total{model="double",reason="cancelled"}') == before + 1


def test_raw_contents_are_answered(client: Client) -> None:
    """Two inputs in raw form give two outputs, or the one that is asked for; the id comes back."""
    a, b = np.array([[1, 2]], np.float32), np.array([[3, 5]], np.float32)
    result = client.infer("add", [tensor("b", b), tensor("a", a)], request_id="7")
    np.testing.assert_array_equal(result.as_numpy("total"), a + b)
    np.testing.assert_array_equal(result.as_numpy("negative"), -a - b)
    answer = result.get_response()
    assert (answer.id, answer.model_name, answer.model_version) == ("7", "add", "1")
    wanted = [triton.InferRequestedOutput("negative")]
    one = client.infer("add", [tensor("a", a), tensor("b", b)], model_version="1", outputs=wanted)
    assert [output.name for output in one.get_response().outputs] == ["negative"]


def test_typed_contents_are_answered(server: GrpcServing) -> None:
    """Typed contents give what raw ones give; those of a large message are read in a thread and give it too."""
    for values in ([1.5, -2, 3], [0.25] * 60_000):
        shape = [len(values) // 3, 3]
        given = {"name": "x", "datatype": "FP32", "shape": shape, "contents": {"fp32_contents": values}}
        answer = infer(server, request_of("double", given))
        assert list(answer.outputs[0].shape) == shape
        np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * np.array(values))


def test_no_rows_are_answered(server: GrpcServing, client: Client) -> None:
    """As raw contents, as typed ones and without any: the output has no rows and no bytes."""
    assert client.infer("double", [tensor("x", np.empty((0, 3), np.float32))]).as_numpy("y").shape == (0, 3)
    given = {"name": "x", "datatype": "FP32", "shape": [0, 3]}
    for request in (
        request_of("double", given),
        request_of("double", {**given, "contents": {"fp32_contents": []}}),
        request_of("double", given, raw_input_contents=[b""]),
    ):
        answer = infer(server, request)
        assert (list(answer.outputs[0].shape), list(answer.raw_output_contents)) == ([0, 3], [b""])


def test_model_without_inputs_is_answered(client: Client) -> None:
    """A request without tensors gets a run of its own each time."""
    first, second = (client.infer("draw", []).as_numpy("y") for _ in range(2))
    assert first.shape == second.shape == (2, 2)
    assert not np.array_equal(first, second)


def test_model_with_many_inputs_and_outputs_is_answered(client: Client) -> None:
    """Three hundred inputs, and three hundred outputs by name."""
    inputs = [tensor(f"c{i}", np.array([[i]], np.float32)) for i in range(300)]
    wanted = [triton.InferRequestedOutput(f"d{i}") for i in range(300)]
    answer = client.infer("table", inputs, outputs=wanted)
    assert [answer.as_numpy(f"d{i}").item() for i in range(300)] == list(range(300))


def test_typed_bytes_are_answered(server: GrpcServing) -> None:
    """BYTES as typed contents are any bytes too."""
    given = {"name": "x", "datatype": "BYTES", "shape": [1, 2], "contents": {"bytes_contents": [b"\xff", b""]}}
    answer = infer(server, request_of("texts", given))
    assert answer.raw_output_contents[0] == b"\1\0\0\0\xff\0\0\0\0"


def test_texts_and_halves_are_answered(client: Client) -> None:
    """BYTES, the empty text and what is not UTF-8 among them, and 16-bit floats come back as they were sent."""
    texts = np.array([[b"", "ü".encode(), b"a\0b", b"\xff\x80"]], object)
    assert client.infer("texts", [tensor("x", texts)]).as_numpy("y").tolist() == texts.tolist()
    halves = np.array([[0.5, np.inf]], np.float16)
    np.testing.assert_array_equal(client.infer("halves", [tensor("x", halves)]).as_numpy("y"), halves)
    brain = np.array([[1.5, -2, np.inf]], DATATYPES["BF16"].dtype)
    assert client.infer("brain", [tensor("x", brain)]).as_numpy("y").tolist() == [[4.5, -6, np.inf]]


def test_classes_are_answered(client: Client) -> None:
    """The classification extension gives the best classes with value, index and label, best first."""
    image = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    name = client.get_model_metadata("digits-classifier").inputs[0].name
    wanted = [triton.InferRequestedOutput("probabilities", class_count=3)]
    classes = client.infer("digits-classifier", [tensor(name, image)], outputs=wanted).as_numpy("probabilities")
    assert classes.shape == (2, 3)
    values = [float(text.decode().split(":")[0]) for text in classes[0]]
    assert values == sorted(values, reverse=True)
    assert all(index == label for _, index, label in (text.decode().split(":") for text in classes.ravel()))


def test_answer_says_where_its_time_went(server: GrpcServing) -> None:
    """The metadata after an answer holds the request id of the caller and the milliseconds of each stage."""
    request = request_of("double", {"name": "x", "datatype": "FP32", "shape": [1, 3]}, raw_input_contents=[bytes(12)])
    before = count(server, 'sluice_requests_total{model="double",route="grpc ModelInfer",status="200"}')
    with channel(server) as open_channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(open_channel)
        _, call = stub.ModelInfer.with_call(request, metadata=[("x-request-id", "of-mine")])
    metadata = dict(call.trailing_metadata())
    assert metadata["x-request-id"] == "of-mine"
    assert {part.split(";")[0] for part in metadata["server-timing"].split(", ")} == {
        *("queue", "batch", "compute", "total")
    }
    assert count(server, 'sluice_requests_total{model="double",route="grpc ModelInfer",status="200"}') == before + 1


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_message_is_answered(client: Client, algorithm: str) -> None:
    """A compressed request of several rows gives the answer of the plain one."""
    result = client.infer("double", ones(100), compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("y"), np.full((100, 3), 2, np.float32))


def test_asyncio_client_is_answered(server: GrpcServing) -> None:
    """Sixty-four calls at once by the client for asyncio each get their own answer."""

    async def ask() -> list[float]:
        async with triton_aio.InferenceServerClient(server.url) as client:
            results = await asyncio.gather(
                *(client.infer("double", [tensor("x", np.full((1, 3), i, np.float32))]) for i in range(64))
            )
        return [float(result.as_numpy("y")[0, 0]) for result in results]

    assert asyncio.run(ask()) == [2.0 * i for i in range(64)]
