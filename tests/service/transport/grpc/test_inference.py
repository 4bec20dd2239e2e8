"""ModelInfer with the real clients."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from model_store.datatypes import DATATYPES
from service.models.registry import Model
from service.settings import MAX_INPUTS
from service.transport.grpc import infer_call
from service.transport.grpc.messages import MESSAGES
from tests.support.gates import Gate, HeldThread, gated
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


def refusal_of(server: GrpcServing, content: bytes, **options: Any) -> Any:
    """The error that the bytes of a message get."""
    with channel(server) as open_channel, pytest.raises(grpc.RpcError) as raised:
        open_channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(content, **options)
    return raised.value


@contextmanager
def busy(client: Client, model: Model) -> Iterator[Gate]:
    """One row is in the model's only lane, until the block ends."""
    with gated(model) as gate:
        first = threading.Thread(target=client.infer, args=("double", ones()))
        first.start()
        gate.entered.acquire()
        yield gate
        gate.opened.set()
        first.join()


X = {"name": "x", "datatype": "FP32", "shape": [1, 3]}


def rejected(model: str, reason: str) -> str:
    """The series that counts such refusals."""
    return f'sluice_rejected_total{{model="{model}",reason="{reason}"}}'


@pytest.mark.parametrize(
    ("model", "inputs", "options", "code", "said"),
    [
        ("none", ones(), {}, "NOT_FOUND", "no model 'none': there are"),
        ("broken", ones(), {}, "UNAVAILABLE", "model 'broken' is not ready"),
        ("double", ones() * 2, {}, "INVALID_ARGUMENT", "expected each name once"),
        ("double", [tensor("x", np.ones((1, 3), np.float64))], {}, "INVALID_ARGUMENT", "expected FP32, got FP64"),
        ("double", ones(), {"outputs": [triton.InferRequestedOutput("z")]}, "INVALID_ARGUMENT", "no output 'z'"),
        ("exhausting", [tensor("x", np.array([[9]]))], {}, "INTERNAL", "the log has the reason under this id"),
    ],
)
def test_request_is_refused_with_its_code(
    client: Client, model: str, inputs: list[triton.InferInput], options: dict[str, Any], code: str, said: str
) -> None:
    """An error of the caller has its code and says what was expected; a failure of the model does not say why."""
    got, text = code_of(lambda: client.infer(model, inputs, **options))
    assert got == code
    assert said in text


@pytest.mark.parametrize("field", ["inputs", "outputs", "parameters", "raw_input_contents"])
def test_message_of_many_fields_is_not_parsed(server: GrpcServing, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of very many small fields is refused before they become objects."""
    descriptor = MESSAGES["ModelInferRequest"].DESCRIPTOR
    empty = bytes([descriptor.fields_by_name[field].number << 3 | 2, 0])
    monkeypatch.setattr(infer_call, "translate_now", lambda *_: pytest.fail("it was parsed"))
    error = refusal_of(server, b"\x0a\x01x" + empty * 500_000)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "message: expected fewer fields" in error.details()


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_more_tensors_than_any_model_has_are_refused(server: GrpcServing, field: str) -> None:
    """Too many tensors are refused before they are translated."""
    request = service_pb2.ModelInferRequest(model_name="double", **{field: [{}] * (MAX_INPUTS + 1)})
    error = refusal_of(server, request.SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{field}: expected at most {MAX_INPUTS}, got {MAX_INPUTS + 1}" in error.details()


def test_message_that_takes_long_to_read_is_read_in_a_thread(grpc_store: Path) -> None:
    """While a long message is read others are answered; its deadline holds, and it is dropped with its caller."""
    many = request_of("double", *[{"name": "x"}] * 2000)
    with (
        GrpcServing(settings_of(grpc_store, models=("double",), deadline_s=0.5)) as server,
        server.grpc_client() as client,
    ):
        cancelled = server.count(rejected("", "cancelled"))
        thread = server.worker.handler.parsing = HeldThread()
        try:
            with channel(server) as open_channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(open_channel)
                late, gone = stub.ModelInfer.future(many), stub.ModelInfer.future(many)
                futures = [thread.given.get(timeout=60) for _ in range(2)]
                gone.cancel()
                assert client.infer("double", ones(), timeout=60_000_000).as_numpy("y").shape == (1, 3)
                assert late.exception(timeout=60).code() is grpc.StatusCode.DEADLINE_EXCEEDED
                assert "before the message was read" in late.details()
                server.until(lambda: all(future.cancelled() for future in futures))
        finally:
            thread.opened.set()
        server.until(lambda: server.count(rejected("", "cancelled")) == cancelled + 1)


def test_message_that_is_none_is_refused(server: GrpcServing, client: Client) -> None:
    """Bytes that are no message are an INVALID_ARGUMENT with the caller's id; shared memory is UNIMPLEMENTED."""
    error = refusal_of(server, b"\xff\xff", metadata=[("x-request-id", "of-mine")])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected a ModelInferRequest, but the 2 bytes are not one" in error.details()
    assert ("x-request-id", "of-mine") in error.trailing_metadata()
    code, text = code_of(client.get_system_shared_memory_status)
    assert (code, "does not offer shared memory" in text) == ("UNIMPLEMENTED", True)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_message_over_the_limit_is_refused(server: GrpcServing, compression: grpc.Compression | None) -> None:
    """A message over the limit of a body is refused, also if it is small while it is compressed."""
    content = request_of("double", raw_input_contents=[b"\0" * (2 << 20)]).SerializeToString()
    assert refusal_of(server, content, compression=compression).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_full_queue_says_when_to_come_back(server: GrpcServing, client: Client) -> None:
    """A full queue is RESOURCE_EXHAUSTED, with the seconds until another try in the metadata."""
    model = server.model("double")
    before = server.count(rejected("double", "queue_full"))
    answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with busy(client, model) as gate:
        client.async_infer("double", ones(1024), callback=lambda result, error: answered.put(error))
        server.until(lambda: waiting_rows(model) == 1024)
        error = refusal_of(server, request_of("double", X, raw_input_contents=[bytes(12)]).SerializeToString())
        gate.opened.set()
        assert answered.get(timeout=60) is None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = dict(error.trailing_metadata())
    assert int(metadata["retry-after"]) >= 1
    assert metadata["x-request-id"]
    assert server.count(rejected("double", "queue_full")) == before + 1


def test_bodies_beyond_what_is_held_are_refused(server: GrpcServing, client: Client) -> None:
    """When bodies take all the room there is, another one is RESOURCE_EXHAUSTED."""
    with server.other_bodies(server.body_budget.max_bytes):
        code, text = code_of(lambda: client.infer("double", ones()))
    assert code == "RESOURCE_EXHAUSTED"
    assert "holds as many bytes" in text
    assert client.infer("double", ones()).as_numpy("y") is not None
    assert server.body_budget.held_bytes == 0


@pytest.mark.parametrize("patience", [{"client_timeout": 1.0}, {"timeout": 1_000_000}], ids=["call", "request"])
def test_passed_deadline_takes_a_request_out(server: GrpcServing, client: Client, patience: dict[str, Any]) -> None:
    """The call's deadline or the request's timeout ends the request, and its rows are never run."""
    model = server.model("double")
    with busy(client, model) as gate:
        code, text = code_of(lambda: client.infer("double", ones(2), **patience))
        assert code == "DEADLINE_EXCEEDED"
        assert "timeout" not in patience or "while the request waited" in text
        server.until(lambda: not waiting_rows(model))
    assert gate.rows == [1]


def test_deadline_of_the_call_is_that_of_the_request(server: GrpcServing, client: Client) -> None:
    """A request that cannot be answered before the deadline of its call is refused without a run."""
    model = server.model("double")
    with gated(model, run_s=10.0) as gate:
        code, text = code_of(lambda: client.infer("double", ones(640), client_timeout=20))
        assert (code, gate.rows) == ("RESOURCE_EXHAUSTED", [])
        assert "the answer would take about" in text


def test_cancelled_call_leaves_the_queue(server: GrpcServing, client: Client) -> None:
    """The rows of a cancelled call leave the queue, other rows stay, and the call counts as cancelled."""
    model = server.model("double")
    before = server.count(rejected("double", "cancelled"))
    kept: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with busy(client, model) as gate:
        cancelled = client.async_infer("double", ones(2), callback=lambda result, error: None)
        client.async_infer("double", ones(3), callback=lambda result, error: kept.put((result, error)))
        server.until(lambda: waiting_rows(model) == 5)
        cancelled.cancel()
        server.until(lambda: waiting_rows(model) == 3)
        gate.opened.set()
        result, error = kept.get(timeout=60)
    assert gate.rows == [1, 3]
    assert error is None
    assert result.as_numpy("y").shape == (3, 3)
    assert server.count(rejected("double", "cancelled")) == before + 1


def test_typed_contents_are_answered(server: GrpcServing) -> None:
    """Typed contents get the same answer as raw ones, also in a large message, which is read in a thread."""
    for values in ([1.5, -2, 3], [0.25] * 60_000):
        shape = [len(values) // 3, 3]
        given = {"name": "x", "datatype": "FP32", "shape": shape, "contents": {"fp32_contents": values}}
        answer = infer(server, request_of("double", given))
        assert list(answer.outputs[0].shape) == shape
        np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * np.array(values))


def test_typed_contents_above_the_limit_of_a_body_are_refused(server: GrpcServing) -> None:
    """The limit is for the tensors alone. Their message may be a little larger."""
    values = [0.5] * (3 * 88_000)  # 1,056,000 bytes, in a message that may have 64 KiB more than the limit of 1 MiB
    given = {"name": "x", "datatype": "FP32", "shape": [88_000, 3], "contents": {"fp32_contents": values}}
    error = refusal_of(server, request_of("double", given).SerializeToString())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 1048576 bytes of tensors, got 1056000" in error.details()


def test_no_rows_are_answered(server: GrpcServing, client: Client) -> None:
    """Requests without rows (raw, typed or without contents) have outputs without rows. BF16 works both ways."""
    assert client.infer("double", [tensor("x", np.empty((0, 3), np.float32))]).as_numpy("y").shape == (0, 3)
    given = {**X, "shape": [0, 3]}
    for request in (
        request_of("double", given),
        request_of("double", {**given, "contents": {"fp32_contents": []}}),
        request_of("double", given, raw_input_contents=[b""]),
    ):
        answer = infer(server, request)
        assert (list(answer.outputs[0].shape), list(answer.raw_output_contents)) == ([0, 3], [b""])
    brain = np.array([[1.5, -2, np.inf]], DATATYPES["BF16"].dtype)
    assert client.infer("brain", [tensor("x", brain)]).as_numpy("y").tolist() == [[4.5, -6, np.inf]]


def test_answer_says_where_its_time_went(server: GrpcServing) -> None:
    """The metadata after an answer holds the request id of the caller and the milliseconds of each stage."""
    request = request_of("double", X, raw_input_contents=[bytes(12)])
    series = 'sluice_requests_total{model="double",route="grpc ModelInfer",status="200",version="1"}'
    before = server.count(series)
    with channel(server) as open_channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(open_channel)
        _, call = stub.ModelInfer.with_call(request, metadata=[("x-request-id", "of-mine")])
    metadata = dict(call.trailing_metadata())
    assert metadata["x-request-id"] == "of-mine"
    stages = [part.split(";")[0] for part in metadata["server-timing"].split(", ")]
    assert stages == ["queue", "batch", "compute", "rows", "total"]
    assert server.count(series) == before + 1


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_message_is_answered(client: Client, algorithm: str) -> None:
    """A compressed request of several rows gives the answer of the plain one."""
    result = client.infer("double", ones(100), compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("y"), np.full((100, 3), 2, np.float32))


def test_fault_while_a_message_is_read_is_answered(
    server: GrpcServing, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the server in the thread that reads large messages is INTERNAL, and logged."""

    class Broken(Executor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            raise RuntimeError("no thread")

    handler = server.worker.handler
    kept, handler.parsing = handler.parsing, Broken()
    try:
        with pytest.raises(InferenceServerException) as raised:
            client.infer("double", ones(1000), compression_algorithm="gzip", client_timeout=20)
    finally:
        handler.parsing = kept
    assert raised.value.status() == "StatusCode.INTERNAL"
    assert "no thread" in caplog.text
    server.until(lambda: server.body_budget.held_bytes == 0)
