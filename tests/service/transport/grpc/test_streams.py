"""ModelStreamInfer with the real client."""

import asyncio
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from service.transport.grpc.inference import MAX_STREAM_REQUESTS
from tests.support.gates import HeldThread, gated
from tests.support.grpc_servers import GrpcServing, channel, ones, settings_of, tensor, waiting_rows

Given = tuple[triton.InferResult | None, Exception | None]


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
    """A request that fails is told so under its id, and those after it in the same stream are answered."""
    with streaming(server) as stream:
        stream.send(request_of(1, "none"))
        failed = stream.read()
        assert "no model 'none'" in failed.error_message
        assert failed.infer_response.id == "1"
        stream.send(request_of(2, width=4))
        assert "expected shape [batch, 3]" in stream.read().error_message
        stream.send(request_of(3))
        good = stream.read()
        assert good.error_message == ""
        assert good.infer_response.id == "3"
        stream.end()
        assert list(stream.answers) == []
        assert stream.answers.code() is grpc.StatusCode.OK


def test_failure_inside_is_withheld_in_a_stream(server: GrpcServing) -> None:
    """The text of a failing model stays in the log; the answer has the request id that it stands under."""
    bad = service_pb2.ModelInferRequest(
        model_name="exhausting",
        id="of-mine",
        inputs=[{"name": "x", "datatype": "INT64", "shape": [1, 1], "contents": {"int64_contents": [9]}}],
    )
    with streaming(server) as stream:
        stream.send(bad)
        answer = stream.read()
    assert "the log has the reason" in answer.error_message
    assert answer.infer_response.parameters["x-request-id"].string_param == "of-mine"


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
    """A quick model's answer does not wait for that of a slow one which was asked before."""
    settings = settings_of(grpc_store, lanes=2, models=("double", "other"))
    with GrpcServing(settings) as server, gated(server.model("double")) as slow, streaming(server) as stream:
        stream.send(request_of(1))
        slow.entered.acquire()
        stream.send(request_of(2, "other"))
        assert stream.read().infer_response.id == "2"
        slow.opened.set()
        assert stream.read().infer_response.id == "1"


def test_many_requests_of_one_stream_are_answered(server: GrpcServing) -> None:
    """A thousand requests, more than may be under way at once, are each answered once under their id."""
    number = 4 * MAX_STREAM_REQUESTS
    with streaming(server) as stream:
        stream.send(*map(request_of, range(number)))
        stream.end()
        answers = {
            answer.infer_response.id: np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32)[0]
            for answer in stream.answers
        }
    assert answers == {str(i): 2.0 * i for i in range(number)}
    assert server.worker.handler.body_budget.held_bytes == 0


def test_stream_is_read_no_further_than_there_is_room(server: GrpcServing) -> None:
    """Requests beyond those that may be under way stay in the connection, so a fast sender is slowed down."""
    model = server.model("double")
    with gated(model) as gate, streaming(server) as stream:
        stream.send(*map(request_of, range(2 * MAX_STREAM_REQUESTS)))
        gate.entered.acquire()
        server.until(lambda: waiting_rows(model) == MAX_STREAM_REQUESTS - 1)  # and one in the lane
        with server.client() as other:
            assert other.is_server_live()
        assert waiting_rows(model) == MAX_STREAM_REQUESTS - 1
        gate.opened.set()
        stream.end()
        assert len(list(stream.answers)) == 2 * MAX_STREAM_REQUESTS


def test_streaming_clients_are_answered(server: GrpcServing) -> None:
    """The streams of both tritonclients work as they are, and the one answer to a request says it is the last."""
    given: queue.SimpleQueue[Given] = queue.SimpleQueue()
    with server.client() as client:
        client.start_stream(lambda result, error: given.put((result, error)))
        for i in range(8):
            client.async_stream_infer("double", ones(), request_id=str(i), enable_empty_final_response=True)
        client.stop_stream()
    answers = [given.get(timeout=10) for _ in range(8)]
    assert all(error is None for _, error in answers)
    responses = [result.get_response() for result, _ in answers if result is not None]
    assert sorted(response.id for response in responses) == [str(i) for i in range(8)]
    assert all(response.parameters["triton_final_response"].bool_param for response in responses)

    async def ask() -> list[float]:
        async def requests() -> Any:
            for i in range(3):
                yield {"model_name": "double", "inputs": [tensor("x", np.full((1, 3), i, np.float32))]}

        async with triton_aio.InferenceServerClient(server.url) as client:
            return [
                float(result.as_numpy("y")[0, 0])
                async for result, error in client.stream_infer(requests())
                if not error
            ]

    assert sorted(asyncio.run(ask())) == [0, 2, 4]


def test_requests_of_a_stream_begin_in_its_order(server: GrpcServing) -> None:
    """One that is read in a thread is not overtaken by those behind it: they may be the next of its sequence."""
    model = server.model("double")
    large = request_of(1)
    for number in range(600):
        large.parameters[f"p{number}"].int64_param = number
    with gated(model) as gate, streaming(server) as stream:
        handler, thread = server.worker.handler, HeldThread()
        kept, handler.parsing = handler.parsing, thread
        try:
            stream.send(large, request_of(2))
            reading = thread.given.get(timeout=10)
            with server.client() as other:
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
    """A message of a stream that finds no room before its time is over is told so under its id; the stream goes on."""
    with (
        GrpcServing(settings_of(grpc_store, deadline_s=0.3, models=("double",))) as server,
        streaming(server) as stream,
    ):
        body_budget = server.worker.handler.body_budget
        server.run(lambda: asyncio.to_thread(body_budget.grow, body_budget.max_bytes))
        stream.send(request_of(1))
        refused = stream.read()
        assert "holds as many bytes" in refused.error_message
        assert refused.infer_response.id == "1"
        server.run(lambda: asyncio.to_thread(body_budget.release, body_budget.max_bytes))
        stream.send(request_of(2))
        assert stream.read().error_message == ""
        server.until(lambda: body_budget.held_bytes == 0)
