"""ModelStreamInfer."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from service.transport.concurrency import MOST_REQUESTS
from tests.support.gates import HeldThread, gated
from tests.support.grpc_servers import GrpcServing, channel, settings_of, waiting_rows


def request_of(number: int, model: str = "double", width: int = 3) -> Any:
    given = {"name": "x", "datatype": "FP32", "shape": [1, width]}
    content = np.full(width, number, np.float32).tobytes()
    return service_pb2.ModelInferRequest(model_name=model, id=str(number), inputs=[given], raw_input_contents=[content])


class Stream:
    """A stream that is written and read step by step."""

    def __init__(self, open_channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stub = service_pb2_grpc.GRPCInferenceServiceStub(open_channel)
        self.answers = stub.ModelStreamInfer(iter(self._requests.get, None))

    def send(self, *requests: Any) -> None:
        for request in requests:
            self._requests.put(request)

    def end(self) -> None:
        self._requests.put(None)

    def read(self) -> Any:
        return next(self.answers)


@contextmanager
def streaming(server: GrpcServing) -> Iterator[Stream]:
    with channel(server) as open_channel:
        stream = Stream(open_channel)
        try:
            yield stream
        finally:
            stream.end()
            stream.answers.cancel()


def test_error_is_an_answer_of_the_stream(server: GrpcServing) -> None:
    """A failed request gets an error under its id, without the text of a failing model; later ones are answered."""
    x = {"name": "x", "datatype": "INT64", "shape": [1, 1], "contents": {"int64_contents": [9]}}
    with streaming(server) as stream:
        stream.send(request_of(1, "none"))
        failed = stream.read()
        assert "no model 'none'" in failed.error_message
        assert failed.infer_response.id == "1"
        stream.send(service_pb2.ModelInferRequest(model_name="exhausting", id="of-mine", inputs=[x]))
        failed = stream.read()
        assert "the log has the reason" in failed.error_message
        assert failed.infer_response.parameters["x-request-id"].string_param == "of-mine"
        stream.send(request_of(3))
        good = stream.read()
        assert (good.error_message, good.infer_response.id) == ("", "3")
        stream.end()
        assert list(stream.answers) == []
        assert stream.answers.code() is grpc.StatusCode.OK


def test_message_that_is_too_large_ends_the_stream(server: GrpcServing) -> None:
    """The stream ends with RESOURCE_EXHAUSTED, and what came before is answered."""
    with streaming(server) as stream:
        stream.send(request_of(1), request_of(2, width=1 << 20))
        assert stream.read().infer_response.id == "1"
        with pytest.raises(grpc.RpcError) as raised:
            stream.read()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most" in raised.value.details()


def test_cancelled_stream_takes_all_its_requests_with_it(server: GrpcServing) -> None:
    """When a stream is cancelled its waiting rows leave the queue and are never run."""
    model = server.model("double")
    with gated(model) as gate, streaming(server) as stream:
        stream.send(request_of(1))
        gate.entered.acquire()
        stream.send(*map(request_of, range(2, 20)))
        server.until(lambda: waiting_rows(model) == 18)
        stream.answers.cancel()
        server.until(lambda: not waiting_rows(model))
        gate.opened.set()
        server.until(lambda: model.dispatcher.is_idle)
        assert gate.rows == [1]


def test_answers_come_in_the_order_in_which_they_are_ready(grpc_store: Path) -> None:
    """The answer of a quick model does not wait for that of a slow one."""
    settings = settings_of(grpc_store, lanes=2, models=("double", "other"))
    with GrpcServing(settings) as server, gated(server.model("double")) as slow, streaming(server) as stream:
        stream.send(request_of(1))
        slow.entered.acquire()
        stream.send(request_of(2, "other"))
        assert stream.read().infer_response.id == "2"
        slow.opened.set()
        assert stream.read().infer_response.id == "1"


def test_stream_is_read_no_further_than_there_is_room(server: GrpcServing) -> None:
    """A stream has a bounded number of requests under way, and each is answered once under its id."""
    model, number = server.model("double"), 4 * MOST_REQUESTS
    with gated(model) as gate, streaming(server) as stream:
        stream.send(*map(request_of, range(number)))
        gate.entered.acquire()
        server.until(lambda: waiting_rows(model) + gate.held_rows == MOST_REQUESTS)
        with server.grpc_client() as other:
            assert other.is_server_live()
        assert waiting_rows(model) + gate.held_rows == MOST_REQUESTS
        gate.opened.set()
        stream.end()
        responses = [answer.infer_response for answer in stream.answers]
    answers = {each.id: np.frombuffer(each.raw_output_contents[0], np.float32)[0] for each in responses}
    assert answers == {str(i): 2.0 * i for i in range(number)}
    assert server.body_budget.held_bytes == 0


def test_requests_of_a_stream_begin_in_its_order(server: GrpcServing) -> None:
    """A request that is read in a thread is not overtaken by later ones of its stream."""
    model = server.model("double")
    large = request_of(1)
    for number in range(600):
        large.parameters[f"p{number}"].int64_param = number
    with gated(model) as gate, streaming(server) as stream:
        handler, thread = server.worker.handler, HeldThread()
        kept, handler.parsing = handler.parsing, thread
        try:
            stream.send(large, request_of(2))
            reading = thread.given.get(timeout=60)
            with server.grpc_client() as other:
                assert other.is_server_live()
            assert waiting_rows(model) == 0
            assert not gate.entered.acquire(blocking=False)
        finally:
            handler.parsing = kept
            thread.opened.set()
        gate.opened.set()
        answers = [stream.read() for _ in range(2)]
        assert reading.done()
        thread.shutdown()
    assert {answer.infer_response.id for answer in answers} == {"1", "2"}


def test_message_without_room_in_time_is_refused(grpc_store: Path) -> None:
    """A message that finds no room before its deadline gets an error under its id, and the stream goes on."""
    settings = settings_of(grpc_store, deadline_s=1.0, models=("double",))
    with GrpcServing(settings) as server, streaming(server) as stream:
        with server.other_bodies(server.body_budget.max_bytes):
            stream.send(request_of(1))
            refused = stream.read()
        assert "holds as many bytes" in refused.error_message
        assert refused.infer_response.id == "1"
        stream.send(request_of(2))
        assert stream.read().error_message == ""
        server.until(lambda: server.body_budget.held_bytes == 0)


def test_message_that_waits_for_room_is_answered_after_a_stop(grpc_store: Path) -> None:
    """A message that was read before the server stopped is answered, though it had no room at that time."""

    with GrpcServing(settings_of(grpc_store, models=("double",))) as server, streaming(server) as stream:
        with server.other_bodies(server.body_budget.max_bytes):
            stream.send(request_of(1))
            server.until(lambda: bool(server.body_budget._whole))
            server.call(server.grpc_server._inference.drain)
        answer = stream.read()
        assert (answer.error_message, answer.infer_response.id) == ("", "1")
