"""A connection and its transport: a slow reader is no stalled one."""

import asyncio

import pytest

from service.transport.grpc.protocol import GrpcProtocol
from tests.support.grpc_servers import GrpcServing


class Transport(asyncio.Transport):
    """``unwritten_bytes`` are what the client has not read."""

    def __init__(self) -> None:
        super().__init__()
        self.unwritten_bytes = 0
        self.is_closed = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.unwritten_bytes

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def pause_reading(self) -> None: ...


def connect(server: GrpcServing) -> tuple[GrpcProtocol, Transport]:
    assert server.worker.grpc is not None
    made, transport = GrpcProtocol(server.worker.grpc._service), Transport()
    made.connection_made(transport)
    return made, transport


@pytest.mark.parametrize(("left_bytes", "is_aborted"), [(1 << 20, True), ((1 << 20) - 1, True), (1 << 19, False)])
def test_client_that_reads_slowly_is_not_dropped(server: GrpcServing, left_bytes: int, is_aborted: bool) -> None:
    """A client that takes long for what is written keeps its connection while it reads some of it."""

    async def look() -> bool:
        made, transport = connect(server)
        transport.unwritten_bytes = 1 << 20
        made.pause_writing()
        made._moved_at -= 3600
        transport.unwritten_bytes = left_bytes
        made._look()
        made.connection_lost(None)
        return transport.is_aborted

    assert server.run(look) is is_aborted
