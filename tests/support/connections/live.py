"""A client of live streams on a real server."""

import json
from typing import Any

from tests.support.connections.sockets import Closed, Frames, open_bytes
from tests.support.servers import Serving
from tests.support.wires import Wire


class LiveClient(Frames):
    """``with LiveClient(server, "/v2/models/m/stream") as client``. Raises AssertionError unless it is opened."""

    def __init__(self, server: Serving, path: str, *headers: str) -> None:
        super().__init__()
        self.wire = Wire(server)
        self._found: list[Any] = []
        self.wire.send(open_bytes(path, *headers))
        status, self.headers = self.wire.read_head()
        assert status == 101, (status, self.wire.file.read())

    def __enter__(self) -> "LiveClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.__exit__()

    def say(self, *contents: str | bytes) -> None:
        self.wire.send(*map(self.message, contents))

    def next(self) -> Any:
        """The JSON of the next message, or the end, which it answers; None where the connection breaks off."""
        while not self._found:
            data = self.wire.file.read1(1 << 16)
            if not data:
                return None
            self._found += self.read(data)
        found = self._found.pop(0)
        if isinstance(found, Closed):
            self.wire.send(self.close(found.code))
            return found
        return json.loads(found)


def refuse(server: Serving, path: str, *headers: str) -> tuple[int, str]:
    """The status and the error of a handshake that is refused."""
    with Wire(server) as wire:
        wire.send(open_bytes(path, *headers))
        status, _, body = wire.read()
        return status, json.loads(body)["error"]
