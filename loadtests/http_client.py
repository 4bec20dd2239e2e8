"""One HTTP request and its answer, outside any measurement: metadata, readiness, checks before a benchmark."""

import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class Unreachable(Exception):
    """No HTTP answer came from the server; the text names the address and what happened."""


@dataclass(frozen=True)
class Request:
    """A request to a path below the server's address."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def key_headers() -> Mapping[str, str]:
    """The header with the API key of the variable ``LOADTEST_KEY``; none if it is not set."""
    key = os.environ.get("LOADTEST_KEY", "")
    return {"x-api-key": key} if key else {}


def exchange(address: str, request: Request, timeout_s: float = 10.0) -> Answer:
    """Send ``request`` to the server at ``address`` (``http://host:port/prefix``) on a connection of its own.

    Raises Unreachable when no complete answer came within ``timeout_s`` for each read and write.
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        path = parts.path.rstrip("/") + request.path
        sent = {**request.headers, **key_headers()}
        connection.request(request.method, path, body=request.body or None, headers=sent)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    except (OSError, http.client.HTTPException) as failure:
        reason = str(failure) or type(failure).__name__
        raise Unreachable(f"no answer from {address}: {reason}: check that a server runs there") from failure
    finally:
        connection.close()
