"""Connections of which a test sees every byte, and requests of the model `double` to send on them."""

import json
import socket
import ssl
from collections.abc import Callable

from tests.support.servers import Serving

INFER = "/v2/models/double/infer"
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


def body_of(value: float, request_id: str = "") -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [value] * 3}
    return json.dumps({"inputs": [tensor], **({"id": request_id} if request_id else {})}).encode()


def request_bytes(body: bytes, path: str = INFER, *headers: str, version: str = "1.1", method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/{version}", "Host: test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Wire:
    """A raw connection: bytes as they are."""

    def __init__(self, server: Serving, wrap: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.socket = wrap.wrap_socket(plain, server_hostname="localhost") if wrap else plain
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, *requests: bytes) -> None:
        self.socket.sendall(b"".join(requests))

    def read_head(self) -> tuple[int, dict[str, str]]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return status, headers

    def read(self) -> Answer:
        """One response with a content length."""
        status, headers = self.read_head()
        return status, headers, self.file.read(int(headers["content-length"]))

    def read_y(self) -> float:
        status, _, body = self.read()
        assert status == 200, body
        value: float = json.loads(body)["outputs"][0]["data"][0]
        return value

    def is_closed_by_server(self) -> bool:
        return self.file.read(1) == b""


def exchange(*requests: bytes, answers: list[Answer] | None = None) -> Callable[[Serving], None]:
    """A function that sends each request on a connection of its own, and collects the answers."""

    def ask(server: Serving) -> None:
        for request in requests:
            with Wire(server) as wire:
                wire.send(request)
                answer = wire.read()
            if answers is not None:
                answers.append(answer)

    return ask
