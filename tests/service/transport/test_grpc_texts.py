"""Tensors of BYTES over gRPC: any bytes, raw or as typed contents, in calls and in streams."""

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, service_pb2, service_pb2_grpc

from tests.support.grpc_servers import GrpcServing, channel, settings_of, tensor
from tests.support.models import graphs

TEXTS = [b"", b"a", "né \U0001f600".encode(), b"\xff\x00\xfe", b"\0", bytes(range(256)), b"long " * 5000]
STRING = 8
"""The number of ONNX's strings."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServing]:
    store = graphs.write_plain(tmp_path_factory.mktemp("texts"), "texts", graphs.echo(STRING))
    with GrpcServing(settings_of(store)) as serving:
        yield serving


def rows_of(count: int) -> np.ndarray:
    return np.array(
        [[TEXTS[(row + column) % len(TEXTS)] for column in range(len(TEXTS))] for row in range(count)], object
    )


def request_of(elements: list[bytes], **more: Any) -> Any:
    """With typed contents."""
    given = {"name": "x", "datatype": "BYTES", "shape": [1, len(elements)], "contents": {"bytes_contents": elements}}
    return service_pb2.ModelInferRequest(model_name="texts", inputs=[{**given, **more}])


def infer(server: GrpcServing, request: Any) -> Any:
    with channel(server) as open_channel:
        return service_pb2_grpc.GRPCInferenceServiceStub(open_channel).ModelInfer(request)


@pytest.mark.parametrize("rows", [0, 1, 2, 60], ids=["none", "one", "two", "many, which are read in a thread"])
def test_any_bytes_come_back(server: GrpcServing, rows: int) -> None:
    """Raw contents come back unchanged through Triton's client."""
    with server.grpc_client() as client:
        result = client.infer("texts", [tensor("x", rows_of(rows).reshape(rows, len(TEXTS)))])
    assert result.as_numpy("y").tolist() == rows_of(rows).tolist()


def test_typed_contents_are_answered_as_raw_ones(server: GrpcServing) -> None:
    """Typed contents get the same answer as raw ones."""
    answer = infer(server, request_of(TEXTS))
    [content] = answer.raw_output_contents
    assert content == b"".join(len(text).to_bytes(4, "little") + text for text in TEXTS)


def test_known_message_may_have_other_texts(server: GrpcServing) -> None:
    """Messages that differ in nothing but texts of the same length get their own answers."""
    with server.grpc_client() as client:
        for text in (b"abc", b"xyz", b"\xff\xfe\xfd"):
            result = client.infer("texts", [tensor("x", np.array([[text]], object))])
            assert result.as_numpy("y").tolist() == [[text]]


def test_stream_takes_texts(server: GrpcServing) -> None:
    """The messages of a stream may have BYTES too."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client: InferenceServerClient
    with server.grpc_client() as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        client.async_stream_infer("texts", [tensor("x", rows_of(2))])
        result, error = answers.get(timeout=60)
        client.stop_stream()
    assert error is None
    assert result.as_numpy("y").tolist() == rows_of(2).tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x05\0\0\0abcd", "element 0 reaches beyond the end"),
        (b"\x01\0\0\0a\x01\0\0", "element 1 reaches beyond the end"),
        (b"\x01\0\0\0a", "expected at least 8 bytes for BYTES"),
        (b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0c", "expected 2 elements, got 3"),
        (b"\xff\xff\xff\xffabcd", "element 0 reaches beyond the end"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(server: GrpcServing, content: bytes, said: str) -> None:
    """A length beyond the end, or another number of elements than the shape says, is INVALID_ARGUMENT."""
    given = {"name": "x", "datatype": "BYTES", "shape": [1, 2]}
    request = service_pb2.ModelInferRequest(model_name="texts", inputs=[given], raw_input_contents=[content])
    with pytest.raises(grpc.RpcError) as raised:
        infer(server, request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in raised.value.details()
