"""Server-sent events: the answer to `"stream": true`, one event per step.

WHATWG HTML, section "Server-sent events".
"""

import re

from service.transport.request import HeaderField

HEADERS: tuple[HeaderField, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # else nginx collects the events
)

_LINE_END = re.compile(rb"\r\n|\n|\r")


def event(data: bytes, name: str | None = None) -> bytes:
    """One event with ``data`` (UTF-8). Without a name the client takes it for a `message`.

    An event field is one line, so data of several lines go into several fields; the client joins them with newlines.
    A name with a line end could not be told from another field: ValueError.
    """
    lines = [b"data: " + line for line in _LINE_END.split(data)]
    if name is not None:
        if "\n" in name or "\r" in name:
            raise ValueError(f"name of an event: expected one line, got {name!r}")
        lines.insert(0, b"event: " + name.encode())
    return b"\n".join(lines) + b"\n\n"
