"""A cache of translated messages. A client sends the same message again and again, with other tensors and other ids.

To parse and to write such a message takes several times as long as to find it here.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from service.errors import ServiceError
from service.transport.request import Reply

_MOST: Final = 256
_MAX_KEY_BYTES: Final = 4 << 10
"""Longer messages, apart from their tensors, are not kept: so the cache takes a few megabytes at most."""
_MOST_FIELDS: Final = 64
_ID, _RAW = 0x1A, 0x3A
"""The tags of `id` and of `raw_input_contents` in a `ModelInferRequest`."""
_SIZED: Final = 2


class Translation(NamedTuple):
    """A ``ModelInferRequest`` as a body of HTTP, or the reason to refuse it. The JSON in the body has no id."""

    id: str
    model_name: str
    model_version: str
    body: bytes
    header_bytes: int
    refusal: ServiceError | None


class Split(NamedTuple):
    """The parts of a message: its id, its tensors, and as ``key`` the rest with the sizes of the tensors."""

    key: tuple[bytes, tuple[int, ...]]
    id: bytes
    tensors: list[bytes]


def split_message(content: bytes) -> Split | None:
    """Split a message; None if it is not written as clients do: with raw contents, and its fields in order."""
    at, end, count = 0, len(content), 0
    given_id, id_begin, id_end, tensors_begin = b"", 0, 0, 0
    tensors: list[bytes] = []
    while at < end:
        tag, begin, count = content[at], at, count + 1
        if tag & 0x87 != _SIZED or count > _MOST_FIELDS:
            return None
        at += 1
        size = shift = 0
        while True:
            if at >= end or shift > 28:
                return None
            byte = content[at]
            at += 1
            size |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if at + size > end:
            return None
        if tag == _RAW:
            tensors_begin = tensors_begin or begin
            tensors.append(content[at : at + size])
        elif tensors or (tag == _ID and id_end):
            return None
        elif tag == _ID:
            given_id, id_begin, id_end = content[at : at + size], begin, at + size
        at += size
    if not tensors or tensors_begin > _MAX_KEY_BYTES:
        return None
    rest = content[:id_begin] + content[id_end:tensors_begin] if id_end else content[:tensors_begin]
    return Split((rest, tuple([len(tensor) for tensor in tensors])), given_id, tensors)


class KnownMessages:
    """``write_head`` makes the message of an answer from its JSON, without tensors, and gives their sizes in bytes."""

    def __init__(self, write_head: Callable[[bytes, bool], tuple[bytes, list[int]]]) -> None:
        self._requests: dict[tuple[bytes, tuple[int, ...]], tuple[str, str, bytes]] = {}
        self._answers: dict[tuple[bytes, bool], tuple[bytes, list[int]]] = {}
        self._write_head = write_head

    def find(self, split: Split) -> Translation | None:
        """The translation of a message that differs from an earlier one only in its tensors and its id."""
        known = self._requests.get(split.key)
        if known is None:
            return None
        try:
            given_id = split.id.decode()
        except UnicodeDecodeError:
            return None
        name, version, head = known
        return Translation(given_id, name, version, b"".join((head, *split.tensors)), len(head), None)

    def learn(self, split: Split, found: Translation) -> None:
        if found.refusal is None:
            if len(self._requests) >= _MOST:
                self._requests.clear()
            self._requests[split.key] = found.model_name, found.model_version, found.body[: found.header_bytes]

    def find_head(self, reply: Reply, *, is_streamed: bool) -> tuple[bytes, list[int], bytes]:
        """The message of an answer without its tensors, their sizes, and the bytes of the answer that hold them."""
        content = b"".join(reply.chunks)
        at = len(content)
        for name, value in reply.headers:
            if name == b"inference-header-content-length":
                at = int(value)
                break
        key = content[:at], is_streamed
        known = self._answers.get(key)
        if known is None:
            known = self._write_head(*key)
            if at <= _MAX_KEY_BYTES:
                if len(self._answers) >= _MOST:
                    self._answers.clear()
                self._answers[key] = known
        return (*known, content[at:])
