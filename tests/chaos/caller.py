"""A client that reads only what it must, so that hundreds of them fit beside a server on two cores."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self

ANSWER_S = 60.0


class Gone(Exception):
    """The connection ended before the answer was there, or no answer came in time."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection, made again when it has ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended the connection; what it sent need not have been read."""
        return self._streams is None or self._streams[1].is_closing() or self._streams[0].at_eof()

    async def get(self, path: str) -> Answer:
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode())

    async def post(self, path: str, body: bytes, headers: str = "Content-Type: application/json\r\n") -> Answer:
        return await self._ask(render_post(path, body, headers))

    async def post_json(self, path: str, document: Any) -> Answer:
        return await self.post(path, json.dumps(document).encode())

    async def begin(self, data: bytes) -> asyncio.StreamReader:
        """Send bytes and wait for nothing. Raises Gone."""
        reader, writer = await self._connect()
        writer.write(data)
        return reader

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                raise Gone(str(error)) from error
        return self._streams

    async def _ask(self, data: bytes) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await self._connect()
                writer.write(data)
                answer = await _read_answer(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError) as error:
            self.close()
            raise Gone(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()  # what is left of the answer would be taken for the next one
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer


def render_post(path: str, body: bytes, headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: chaos\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    fields = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in fields}
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)
