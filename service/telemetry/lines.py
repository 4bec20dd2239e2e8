"""Makes the lines of the access log: JSON. Of a request's headers they have only its ids; they have no body or query.

A short request takes 30 µs, so this must be fast. It is compiled. The part that is the same in many lines is made once
and kept, and the texts of small numbers come from tables. To build a dictionary and write that took three times as
long. Everything that a caller can choose goes through a JSON writer. It escapes control characters, so no caller can
end a line.
"""

import time
from typing import Final

import orjson

from service.telemetry.context import trace_id_of
from service.transport.observer import RequestEnd

MOST_CHARACTERS: Final = 512
"""Longer paths and names, which callers choose, are cut."""
_MOST_KEPT: Final = 1024
_SECONDS: Final = [b"0.%06d" % us for us in range(10_000)]
"""By microseconds."""
_NUMBERS: Final = [b"%d" % number for number in range(10_000)]
_THOUSANDTHS: Final = [b".%03dZ" % number for number in range(1000)]


class LineWriter:
    """``base_path`` is the prefix of all routes."""

    def __init__(self, base_path: str = "") -> None:
        self._base_path = base_path
        self._second = -1
        self._time = b""
        self._known: dict[tuple[str, str, str, str, str, str], bytes] = {}
        self._last = RequestEnd("", "", "", 0, 0.0, "", {})
        self._about = self._find(self._last)

    def render(self, end: RequestEnd, now: float) -> bytes:
        """The line of a request that ended at ``now``, in seconds since 1970."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._time = b'{"time":"' + time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        last = self._last
        if (
            end.path is not last.path
            or end.client is not last.client
            or end.version is not last.version
            or end.model is not last.model
            or end.route is not last.route
            or end.method is not last.method
        ):
            self._last, self._about = end, self._find(end)
        parts = [
            self._time,
            _THOUSANDTHS[int((now - second) * 1e3)],
            self._about,
            _number(end.status),
            b',"seconds":',
            _seconds(end.seconds),
            b',"bytes_in":',
            _number(end.bytes_in),
            b',"bytes_out":',
            _number(end.bytes_out),
        ]
        if end.rows:
            parts.append(b',"rows":')
            parts.append(_number(end.rows))
        if end.has_run:
            parts.append(b',"batch_rows":')
            parts.append(_number(end.batch_rows))
            parts.append(b',"queue_s":')
            parts.append(_seconds(end.queue_s))
            parts.append(b',"batch_s":')
            parts.append(_seconds(end.batch_s))
            parts.append(b',"compute_s":')
            parts.append(_seconds(end.compute_s))
        parts.append(b',"request_id":')
        parts.append(_text(end.request_id))
        if end.trace is not None or b"traceparent" in end.headers:
            trace_id = end.trace.header[3:35] if end.trace is not None else trace_id_of(end.headers[b"traceparent"])
            if trace_id:
                parts.append(b',"trace_id":')
                parts.append(_text(trace_id))
        if end.caller:
            parts.append(b',"caller":')
            parts.append(_text(end.caller))
        if end.reason:
            parts.append(b',"error":')
            parts.append(_text(end.reason))
        parts.append(b"}\n")
        return b"".join(parts)

    def _find(self, end: RequestEnd) -> bytes:
        """The part that is the same in all lines of such requests from the same client."""
        key = (end.method, end.route, end.path, end.model, end.version, end.client)
        about = self._known.get(key)
        return self._learn(key, end) if about is None else about

    def _learn(self, key: tuple[str, str, str, str, str, str], end: RequestEnd) -> bytes:
        """Make that part, and keep it for the next lines."""
        path = self._base_path + end.path if end.is_below_base else end.path
        fields = {"method": end.method, "path": path, "route": end.route, "client": end.client}
        if end.model:
            fields["model"] = end.model
        if end.version:
            fields["version"] = end.version
        about = b'",' + b",".join([b'"%b":%b' % (name.encode(), _text(text)) for name, text in fields.items()])
        about += b',"status":'
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()  # for instance if somebody tries many paths
        if len(end.path) <= MOST_CHARACTERS and len(end.model) <= MOST_CHARACTERS:
            self._known[key] = about
        return about


def _text(text: str) -> bytes:
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS]
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:  # a lone surrogate
        return orjson.dumps(text.encode("ascii", "backslashreplace").decode("ascii"))


def _number(number: int) -> bytes:
    return _NUMBERS[number] if 0 <= number < 10_000 else b"%d" % number


def _seconds(seconds: float) -> bytes:
    us = int(seconds * 1e6 + 0.5)
    return _SECONDS[us] if 0 <= us < 10_000 else b"%.6f" % seconds
