"""HTTP/1.1 as both paths have it from uvicorn, but for ``Upgrade``, which is ignored: we speak nothing else.

Java's client asks for h2c with each request. To the parser such a request is the last of its connection: it has no
body, and the parser stops after its header. What a client sends as a body would be lost, or answered as a request that
nobody before us has seen. So the header is parsed again without that field, and what came after it follows
(RFC 9110, section 7.8). The first time, nothing is begun.

An idle connection is closed when the settings say so, and not when the options of whoever runs uvicorn do: BentoML's
worker has 5 seconds, and a proxy that keeps its connections longer answers 502 for one that is just being closed.

A tunnel is another matter: what follows CONNECT is for somebody else, so it is refused like what is not HTTP.
"""

import asyncio

import httptools
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.handler import HANDLER_STATE, RequestHandler

PROTOCOL = "service.transport.http1:Http1Protocol"


class Http1Protocol(HttpToolsProtocol):
    """One connection."""

    keep_alive_s: float
    """How long it may be idle."""

    _again = b""  # the header to parse again, from its end on until the parser has stopped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        handler: RequestHandler | None = self.app_state.get(HANDLER_STATE)
        self.keep_alive_s = float(self.timeout_keep_alive if handler is None else handler.keep_alive_s)
        self.timeout_keep_alive = self.keep_alive_s  # type: ignore[assignment]  # uvicorn's timer takes any number

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._ignore_upgrade()
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._again:
            super().on_message_complete()

    def _ignore_upgrade(self) -> None:
        """Begin nothing, and keep what to parse instead when the parser stops, which it does before another byte."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT: expected the method of a resource")
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self._again = b"\r\n".join([*lines, b"", b""])

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            again, self._again = self._again, b""
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            self.parser.feed_data(again)


def use_protocol(protocol: str) -> None:
    """Let the servers that this process makes from now on speak this, or what is built on it."""
    HTTP_PROTOCOLS["auto"] = protocol
