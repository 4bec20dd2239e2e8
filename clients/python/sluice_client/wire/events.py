"""Server-sent events: bytes, as they come, to events. WHATWG HTML, "Server-sent events"."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
"""Only these: JSON may hold other characters that Python counts as ends of lines."""


class Event(NamedTuple):
    """``name`` is ``message`` where the server gave none."""

    name: str
    data: str


class EventReader:
    """``feed`` gives the events that bytes complete. An event that no empty line ends is never given."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, content: bytes) -> Iterator[Event]:
        """The events that are complete with these bytes."""
        *lines, self._rest = self._split(self._rest + content)
        for line in lines:
            if (event := self._read(line)) is not None:
                yield event

    def _split(self, content: bytes) -> list[bytes]:
        """The lines, and what is left. A CR at the end is left: an LF may follow it."""
        if content.endswith(b"\r"):
            *lines, last = _LINE_END.split(content[:-1])
            return [*lines, last + b"\r"]
        return _LINE_END.split(content)

    def _read(self, line: bytes) -> Event | None:
        if not line:
            name, data = self._name or "message", self._data
            self._name, self._data = "", []
            return Event(name, "\n".join(data)) if data else None
        field, _, text = line.decode("utf-8", "replace").partition(":")
        text = text.removeprefix(" ")
        if field == "event":
            self._name = text
        elif field == "data":
            self._data.append(text)
        return None
