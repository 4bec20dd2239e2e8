"""Server-sent events: the answer to `"stream": true`, one event per step. WHATWG HTML, "Server-sent events".

No package is used: an event is one line to format, and packages need an ASGI response, which the fast path lacks.
"""

from service.transport.request import HeaderField

HEADERS: tuple[HeaderField, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # else nginx collects the events
)


def render_event(data: bytes, name: str | None = None, comment: bytes = b"") -> bytes:
    """One event. ``data`` is JSON without line ends. An event without a name is a `message` for clients.

    ``comment`` becomes a line that clients ignore unless they look for it.
    """
    field = b"" if name is None else b"event: %b\n" % name.encode()
    note = b": %b\n" % comment if comment else b""
    return b"%b%bdata: %b\n\n" % (field, note, data)
