"""Connections that break the rules, stall or do not read, over real sockets: the others are answered."""

import contextlib
import gzip
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from service.transport.grpc import protocol
from service.transport.http2 import frames
from service.transport.http2.frames import write_frame, write_settings
from tests.support.connections.http2 import INFER_PATH, Client, Frame, read_frames
from tests.support.grpc_servers import GrpcServing, ones, settings_of, tensor
from tests.support.models import graphs

ROWS = 60_000
STREAM_PATH = b"/inference.GRPCInferenceService/ModelStreamInfer"
LIVE_PATH = b"/inference.GRPCInferenceService/ServerLive"


@pytest.fixture(scope="module")
def edge_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.write_plain(tmp_path_factory.mktemp("edge"), "double", graphs.double())


@pytest.fixture(scope="module")
def edge(edge_store: Path) -> Iterator[GrpcServing]:
    """A server that gives clients little time and checks often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "_LOOK_S", 0.05)
        settings = settings_of(edge_store, body_timeout_s=0.3, header_timeout_s=0.3, max_body_bytes=1 << 20)
        with GrpcServing(settings) as serving:
            yield serving


class Wire:
    """A connection to the server, and the frames that it sends."""

    def __init__(self, client: socket.socket, stream: BinaryIO) -> None:
        self.send, self._stream, self.made = client.sendall, stream, Client()

    def read_to_end(self) -> list[Frame]:
        """All frames until the server closes."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = self._stream.read()
        return list(read_frames(received))

    def read_end_of(self, number: int) -> dict[bytes, bytes]:
        """The last header fields of a call."""
        return dict(self.made.decoder.decode(self.read_until(number)[-1].payload, raw=True))

    def read_until(self, number: int) -> list[Frame]:
        """All frames up to the last of a call."""
        received: list[Frame] = []
        while not received or received[-1][:3] != (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number):
            head = self._stream.read(frames.HEAD_BYTES)
            assert head, "the server has closed the connection"
            received += read_frames(head + self._stream.read(int.from_bytes(head[:3], "big")))
        return received


@contextlib.contextmanager
def connected(server: GrpcServing) -> Iterator[Wire]:
    host, _, port = server.grpc_url.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client, client.makefile("rb") as stream:
        yield Wire(client, stream)


def message_of(rows: int) -> bytes:
    """A ModelInferRequest of so many rows, with its prefix."""
    given = {"name": "x", "datatype": "FP32", "shape": [rows, 3]}
    request = service_pb2.ModelInferRequest(model_name="double", inputs=[given], raw_input_contents=[bytes(12 * rows)])
    content = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(content)) + content


def check_others(server: GrpcServing) -> None:
    with server.grpc_client() as client:
        assert client.infer("double", ones(2)).as_numpy("y").shape == (2, 3)


def test_client_of_another_protocol_is_told_and_closed(edge: GrpcServing) -> None:
    """HTTP/1.1 on this port gets a GOAWAY that says what is expected."""
    with connected(edge) as wire:
        wire.send(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        last = wire.read_to_end()[-1]
    assert last.kind == frames.GOAWAY
    assert b"expected HTTP/2" in last.payload
    check_others(edge)


@pytest.mark.parametrize("sent", [b"", b"PRI * HT"])
def test_silent_client_is_closed(edge: GrpcServing, sent: bytes) -> None:
    """A connection that does not say what it is ends after the time for headers."""
    with connected(edge) as wire:
        wire.send(sent)
        assert all(frame.kind != frames.HEADERS for frame in wire.read_to_end())


def test_message_that_does_not_arrive_is_refused(edge: GrpcServing) -> None:
    """A call whose message stops coming ends with DEADLINE_EXCEEDED; the connection goes on."""
    with connected(edge) as wire:
        wire.send(wire.made.hello() + wire.made.call(1) + wire.made.data(1, message_of(1)[:20], ends=False))
        fields = wire.read_end_of(1)
        assert fields[b"grpc-status"] == b"4"
        wire.send(wire.made.call(3) + wire.made.data(3, message_of(1)))
        assert wire.read_end_of(3)[b"grpc-status"] == b"0"


@pytest.mark.parametrize("path", [INFER_PATH, STREAM_PATH, LIVE_PATH])
@pytest.mark.parametrize("size", [1000, 900_000])
def test_message_that_drips_is_refused(edge: GrpcServing, path: bytes, size: int) -> None:
    """A message that comes byte by byte is refused like one that stops, whatever its length."""
    with connected(edge) as wire, ThreadPoolExecutor(1) as pool:
        wire.send(wire.made.hello() + wire.made.call(1, path))
        wire.send(wire.made.data(1, b"\0" + struct.pack(">I", size), ends=False))
        answer = pool.submit(wire.read_end_of, 1)
        while not wait([answer], timeout=0.02).done:
            wire.send(wire.made.data(1, b"\x0a", ends=False))
        assert answer.result()[b"grpc-status"] == b"4"
    edge.until(lambda: edge.body_budget.held_bytes == 0)


def test_client_that_does_not_read_is_dropped(edge: GrpcServing) -> None:
    """A client whose window has no room for its answer loses its connection, and the memory is released."""
    with connected(edge) as wire:
        wire.send(
            wire.made.hello({frames.INITIAL_WINDOW_SIZE: 0}) + wire.made.call(1) + wire.made.data(1, message_of(1))
        )
        received = wire.read_to_end()
    assert not any(frame.kind == frames.DATA for frame in received)
    edge.until(lambda: edge.body_budget.held_bytes == 0)
    check_others(edge)


def test_stream_that_is_not_read_is_reset_beside_one_that_is(edge: GrpcServing) -> None:
    """A client that reads nothing of an answer loses that call, even while it reads others."""
    with connected(edge) as wire:
        wire.send(wire.made.hello({frames.INITIAL_WINDOW_SIZE: 0}))
        wire.send(wire.made.call(1) + wire.made.data(1, message_of(1)))
        received, number = [], 1
        while not any(frame[:3] == (frames.RST_STREAM, 0, 1) for frame in received):
            number += 2
            room = [write_frame(frames.WINDOW_UPDATE, 0, each, b"\0\0\1\0") for each in (0, number)]
            wire.send(wire.made.call(number) + wire.made.data(number, message_of(1)) + b"".join(room))
            received = wire.read_until(number)
    edge.until(lambda: edge.body_budget.held_bytes == 0)


def test_large_message_comes_through_small_windows(edge: GrpcServing) -> None:
    """A message that is larger than the windows is answered."""
    rows = np.arange(3 * ROWS, dtype=np.float32).reshape(ROWS, 3)
    with edge.grpc_client() as client:
        np.testing.assert_array_equal(client.infer("double", [tensor("x", rows)]).as_numpy("y"), 2 * rows)
    edge.until(lambda: edge.body_budget.held_bytes == 0)


@pytest.mark.parametrize("path", [INFER_PATH, LIVE_PATH])
@pytest.mark.parametrize("sent", [b"", b"\0\0\0\0\0"])
def test_call_that_does_not_go_on_is_refused(edge: GrpcServing, path: bytes, sent: bytes) -> None:
    """A call without a message, or without an end after it, ends with DEADLINE_EXCEEDED."""
    with connected(edge) as wire:
        wire.send(wire.made.hello() + wire.made.call(1, path))
        wire.send(wire.made.data(1, sent, ends=False) if sent else b"")
        assert wire.read_end_of(1)[b"grpc-status"] == b"4"


def test_stream_may_be_silent_between_messages_only(edge: GrpcServing) -> None:
    """A stream ends if one of its messages stops coming, as a call does."""
    with connected(edge) as wire:
        wire.send(wire.made.hello() + wire.made.call(1, STREAM_PATH) + wire.made.call(3, STREAM_PATH))
        wire.send(wire.made.data(3, message_of(1)[:20], ends=False))
        assert wire.read_end_of(3)[b"grpc-status"] == b"4"
        wire.send(wire.made.data(1, b""))
        assert wire.read_end_of(1)[b"grpc-status"] == b"0"
    edge.until(lambda: edge.body_budget.held_bytes == 0)


def test_stream_that_is_reset_at_once_holds_nothing(edge: GrpcServing) -> None:
    """A stream whose reset comes with its first data releases the memory."""
    with connected(edge) as wire:
        reset = write_frame(frames.RST_STREAM, 0, 1, bytes(4))
        begin = wire.made.hello() + wire.made.call(1, STREAM_PATH)
        wire.send(begin + wire.made.data(1, message_of(1), ends=False) + reset)
        wire.send(wire.made.call(3) + wire.made.data(3, message_of(1)))
        assert wire.read_end_of(3)[b"grpc-status"] == b"0"
    edge.until(lambda: edge.body_budget.held_bytes == 0)


def test_large_messages_of_streams_wait_for_room(edge: GrpcServing) -> None:
    """When all room is taken, one large message may come; that of another stream gets no window."""
    part = message_of(ROWS)[: 64 << 10]
    with edge.other_bodies(edge.body_budget.max_bytes), connected(edge) as wire:
        calls = [wire.made.call(n, STREAM_PATH) + wire.made.data(n, part, ends=False) for n in (1, 3)]
        wire.send(wire.made.hello() + b"".join(calls) + wire.made.call(5, b"/none"))
        received = wire.read_until(5)
    assert {frame.stream for frame in received if frame.kind == frames.WINDOW_UPDATE} == {0, 1}
    edge.until(lambda: edge.body_budget.held_bytes == 0)


@pytest.mark.parametrize("path", [INFER_PATH, STREAM_PATH])
def test_message_takes_the_room_of_what_it_is_inflated_to(edge: GrpcServing, path: bytes) -> None:
    """A small message that decompresses to a large one is refused at once if others hold the room."""
    content = gzip.compress(message_of(ROWS)[5:])
    with edge.other_bodies(edge.body_budget.max_bytes - 100_000), connected(edge) as wire:
        wire.send(wire.made.hello() + wire.made.call(1, path, [(b"grpc-encoding", b"gzip")]))
        wire.send(wire.made.data(1, b"\1" + struct.pack(">I", len(content)) + content))
        received = wire.read_until(1)
    answers = [frame.payload for frame in received if frame.kind == frames.DATA] or [received[-1].payload]
    assert any(text in answers[0] for text in (b"hold the room", b"holds as many bytes"))
    edge.until(lambda: edge.body_budget.held_bytes == 0)


def test_message_that_will_be_too_large_is_refused_by_its_prefix(edge: GrpcServing) -> None:
    """A message over the limit is refused before its content comes."""
    with connected(edge) as wire:
        prefix = b"\0" + struct.pack(">I", (2 << 20))
        wire.send(wire.made.hello() + wire.made.call(1) + wire.made.data(1, prefix, ends=False))
        fields = wire.read_end_of(1)
    assert fields[b"grpc-status"] == b"8"
    assert b"expected at most" in fields[b"grpc-message"]


@pytest.mark.parametrize(
    "field", [(b"grpc-encoding", b"br"), (b"grpc-timeout", b"soon"), (b"grpc-timeout", b"123456789S")]
)
def test_call_that_cannot_be_read_is_refused(edge: GrpcServing, field: tuple[bytes, bytes]) -> None:
    """A call with an unknown coding or a malformed timeout is refused, and the connection goes on."""
    with connected(edge) as wire:
        wire.send(wire.made.hello() + wire.made.call(1, more=[field]) + wire.made.data(1, message_of(1)))
        wire.send(wire.made.call(3) + wire.made.data(3, message_of(1)))
        assert wire.read_end_of(1)[b"grpc-status"] == b"3"
        assert wire.read_end_of(3)[b"grpc-status"] == b"0"


def test_request_that_is_no_call_gets_a_status_of_http(edge: GrpcServing) -> None:
    """Another media type is 415, as the specification of gRPC demands."""
    block = Client()._encoder.encode([(b":method", b"POST"), (b":path", b"/x"), (b"content-type", b"text/html")])
    with connected(edge) as wire:
        wire.send(wire.made.hello() + write_frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block))
        assert wire.read_end_of(1)[b":status"] == b"415"


def test_flood_ends_its_own_connection_only(edge: GrpcServing) -> None:
    """Calls that are reset at once end the connection, and no work is left in the engine."""
    with connected(edge) as wire:
        wire.send(wire.made.hello())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number in range(1, 8001, 2):
                wire.send(wire.made.call(number) + wire.made.data(number, message_of(1)))
                wire.send(write_frame(frames.RST_STREAM, 0, number, bytes(4)))
        received = wire.read_to_end()
    assert any(frame.kind == frames.GOAWAY for frame in received) or not received
    edge.until(lambda: edge.body_budget.held_bytes == 0)
    check_others(edge)


def test_settings_may_come_again(edge: GrpcServing) -> None:
    """A client may change its windows while it is answered."""
    with connected(edge) as wire:
        wire.send(
            wire.made.hello({frames.INITIAL_WINDOW_SIZE: 1}) + wire.made.call(1) + wire.made.data(1, message_of(1))
        )
        wire.send(write_frame(frames.SETTINGS, 0, 0, write_settings({frames.INITIAL_WINDOW_SIZE: 1 << 20})))
        assert wire.read_end_of(1)[b"grpc-status"] == b"0"
