"""Heads that come again: programs send the same bytes before each body, and what they mean need not be parsed again."""

from typing import NamedTuple

from service.http.calls import Endpoint
from service.http.exchange import HotCall


class Head(NamedTuple):
    """What the bytes before a body said: whole, with a length, and a hot route."""

    text: bytes
    size: int
    endpoint: Endpoint
    query: bytes
    headers: dict[bytes, bytes]
    keep_alive: bool


def learn_head(call: HotCall, data: bytes) -> Head | None:
    """The head of ``data``, which came in one piece and began ``call``; None if it was not exactly that message."""
    if not call.body_is_there or call.refusal is not None:
        return None
    if call.size == 0 or call.headers.get(b"content-length") != b"%d" % call.size:
        return None  # in chunks, or with a length in some other form
    if call.size >= len(data):
        return None
    return Head(data[: -call.size], call.size, call.endpoint, call.query, dict(call.headers), call.keep_alive)
