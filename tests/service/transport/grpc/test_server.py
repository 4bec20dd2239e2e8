"""The gRPC server's start and stop: with work in flight, beside another worker, as part of the runtime."""

import asyncio
import queue
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from service.settings import SettingsError
from service.transport.http2 import frames
from service.worker import Worker
from tests.service.transport.grpc.test_edge import STREAM_PATH, connected, message_of
from tests.service.transport.grpc.test_protocol import Transport
from tests.service.transport.grpc.test_streams import Stream, request_of
from tests.support.connections.http2 import read_frames
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, channel, ones, settings_of, waiting_rows
from tests.support.models import graphs


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.write_plain(tmp_path_factory.mktemp("small"), "double", graphs.double())


@pytest.mark.long
def test_accepted_work_is_finished_when_the_server_stops(small_store: Path) -> None:
    """A call that runs and one that waits are answered after the stop has begun; a new one is refused."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with GrpcServing(settings_of(small_store, lanes=1)) as server, server.grpc_client() as client:
        model = server.model("double")
        with gated(model) as gate:
            client.async_infer("double", ones(1), callback=lambda result, error: answers.put((result, error)))
            gate.entered.acquire()
            client.async_infer("double", ones(2), callback=lambda result, error: answers.put((result, error)))
            server.until(lambda: waiting_rows(model) == 2)
            server.stop()
            # Both clients have one connection. Until it is told, it may still send calls, which are answered.
            server.until(lambda: all(each._connection.is_leaving for each in server.grpc_server._connections))
            with server.grpc_client() as late, pytest.raises(InferenceServerException) as raised:
                late.infer("double", ones(), client_timeout=5)
            gate.opened.set()
        given = [answers.get(timeout=60) for _ in range(2)]
    # gRPC itself cancels a call that arrives just as it stops.
    assert raised.value.status() in ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")
    assert [error for _, error in given] == [None, None]
    assert sorted(result.as_numpy("y").shape[0] for result, _ in given) == [1, 2]


def test_open_streams_end_when_the_server_stops(small_store: Path) -> None:
    """A stream's accepted requests are answered, then it ends as UNAVAILABLE; one that is idle ends at once."""
    with GrpcServing(settings_of(small_store, lanes=1)) as server, channel(server) as open_channel:
        model = server.model("double")
        with gated(model) as gate:
            idle, busy = Stream(open_channel), Stream(open_channel)
            busy.send(request_of(1))
            gate.entered.acquire()
            server.stop()
            assert idle.answers.code() is grpc.StatusCode.UNAVAILABLE
            gate.opened.set()
        assert busy.read().infer_response.id == "1"
        with pytest.raises(grpc.RpcError) as raised:
            busy.read()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in raised.value.details()
        idle.end()
        busy.end()


def test_connection_that_is_made_after_the_stop_is_told_to_leave(small_store: Path) -> None:
    """A connection that was accepted just before the stop does not make it wait: its client is told to go elsewhere."""

    async def stop_and_connect() -> bytes:
        made, transport = server.grpc_server._make_protocol(), Transport()
        await server.grpc_server.stop(0.0)
        made.connection_made(transport)
        await asyncio.sleep(0)  # it writes at the end of the turn
        made.connection_lost(None)
        return transport.written

    with GrpcServing(settings_of(small_store)) as server:
        assert frames.GOAWAY in [frame.kind for frame in read_frames(server.run(stop_and_connect))]


def test_data_that_comes_after_the_end_of_a_stream_is_dropped(small_store: Path) -> None:
    """A stream that has ended, and whose answer the client does not read yet, holds no more of what comes."""

    def streams() -> list[Any]:
        return [stream for made in server.grpc_server._connections for stream in made._connection.open.values()]

    with GrpcServing(settings_of(small_store)) as server, connected(server) as wire:
        wire.send(wire.made.hello({frames.INITIAL_WINDOW_SIZE: 0}) + wire.made.call(1, STREAM_PATH))
        wire.send(wire.made.data(1, message_of(1), ends=False))
        server.until(lambda: any(stream.unsent_bytes for stream in streams()))
        server.call(server.grpc_server._inference.drain)
        server.until(lambda: any(stream.end for stream in streams()))
        wire.send(wire.made.data(1, bytes(1000), ends=False) + wire.made.call(3, b"/none") + wire.made.data(3, b""))
        assert wire.read_end_of(3)[b"grpc-status"] == b"12"
        assert server.body_budget.held_bytes == 0


@pytest.mark.long
def test_work_that_takes_too_long_is_dropped_when_the_server_stops(small_store: Path) -> None:
    """A call that still waits after ``drain_s`` is ended, so that the server stops."""
    errors: queue.SimpleQueue[Any] = queue.SimpleQueue()
    settings = settings_of(small_store, lanes=1, drain_s=0.2)
    with GrpcServing(settings) as server, server.grpc_client() as client, gated(server.model("double")) as gate:
        client.async_infer("double", ones(), callback=lambda result, error: errors.put(error))
        gate.entered.acquire()
        server.stop()
        error = errors.get(timeout=60)
    assert error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")


def test_port_that_is_taken_is_an_error(small_store: Path) -> None:
    """A single worker whose port is taken does not start."""

    async def start(port: int) -> None:
        await Worker(settings_of(small_store, grpc_port=port)).start()

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="expected to listen on 127"),
    ):
        asyncio.run(start(taken.getsockname()[1]))


def test_workers_share_a_port(small_store: Path) -> None:
    """Two servers of several workers listen on one port, and each answers some of the connections."""
    with socket.socket() as holder:  # it keeps the port, and may share it
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        settings = settings_of(small_store, workers=2, grpc_port=holder.getsockname()[1])
        series = 'sluice_requests_total{model="double"'
        with GrpcServing(settings) as first, GrpcServing(settings) as second:
            while not (first.count(series) and second.count(series)):  # the kernel picks by the client's port
                with grpc.insecure_channel(first.grpc_url, [("grpc.use_local_subchannel_pool", 1)]) as open_channel:
                    infer = open_channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                    assert infer(request_of(1).SerializeToString())
